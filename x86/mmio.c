/* Which device is where. A device is a row; it sees accesses of up to 4 bytes in its page. */
#include "x86/mmio.h"

#include "x86/platform.h"

/* False: the device does not answer. */
static bool read_ioapic(struct vcpu *v, unsigned offset, unsigned length, uint32_t *value)
{
    (void)length;
    *value = ioapic_read(&v->domain->platform->ioapic, offset & ~3u) >> 8 * (offset & 3);
    return true;
}

static void write_ioapic(struct vcpu *v, unsigned offset, unsigned length, uint32_t value)
{
    struct machine_platform *p = v->domain->platform;

    /* The index has 8 bits, and may be written as such; all else has 32. */
    if (length == 4 || offset == 0)
        platform_deliver(p, ioapic_write(&p->ioapic, offset, value));
    platform_update(p);
}

static bool read_lapic(struct vcpu *v, unsigned offset, unsigned length, uint32_t *value)
{
    return lapic_mmio_read(vcpu_lapic(v), offset, length, machine_now(), value);
}

static void write_lapic(struct vcpu *v, unsigned offset, unsigned length, uint32_t value)
{
    struct lapic_effect effect;

    if (lapic_mmio_write(vcpu_lapic(v), offset, length, value, machine_now(), &effect))
        vcpu_apic_effect(v, &effect);
}

static const struct mmio_row {
    uint64_t page;
    bool (*read)(struct vcpu *v, unsigned offset, unsigned length, uint32_t *value);
    void (*write)(struct vcpu *v, unsigned offset, unsigned length, uint32_t value);
} rows[] = {
    { LAPIC_BASE_ADDRESS, read_lapic, write_lapic },
    { IOAPIC_ADDRESS_DEFAULT, read_ioapic, write_ioapic },
};

static const struct mmio_row *row_of(const struct vcpu *v, uint64_t gpa)
{
    if (!v->domain->platform)
        return NULL;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if ((gpa & ~(uint64_t)PAGE_MASK) == rows[i].page)
            return &rows[i];
    return NULL;
}

/* Bytes of the next piece: within 4 aligned ones, and so within a page. */
static unsigned piece_of(uint64_t gpa, unsigned left)
{
    unsigned room = 4 - (unsigned)(gpa & 3);

    return left < room ? left : room;
}

void mmio_read(struct vcpu *v, uint64_t gpa, void *to, unsigned length)
{
    uint8_t *bytes = to;

    while (length > 0) {
        const struct mmio_row *row = row_of(v, gpa);
        unsigned               piece = piece_of(gpa, length);
        uint32_t               value;

        if (!row || !row->read(v, (unsigned)(gpa & PAGE_MASK), piece, &value))
            value = UINT32_MAX;
        __builtin_memcpy(bytes, &value, piece);
        bytes += piece;
        gpa += piece;
        length -= piece;
    }
}

void mmio_write(struct vcpu *v, uint64_t gpa, const void *from, unsigned length)
{
    const uint8_t *bytes = from;

    while (length > 0) {
        const struct mmio_row *row = row_of(v, gpa);
        unsigned               piece = piece_of(gpa, length);
        uint32_t               value = 0;

        __builtin_memcpy(&value, bytes, piece);
        if (row)
            row->write(v, (unsigned)(gpa & PAGE_MASK), piece, value);
        bytes += piece;
        gpa += piece;
        length -= piece;
    }
}
