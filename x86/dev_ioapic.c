/* An 82093AA; see dev_ioapic.h. */
#include "x86/dev_ioapic.h"

enum { SELECT = 0x00, WINDOW = 0x10 };           /* offsets */
enum { ID, VERSION, ARBITRATION, FIRST = 0x10 }; /* by SELECT */

#define VERSION_VALUE (0x11u | (IOAPIC_PINS - 1) << 16)
#define ENTRY_VALID   UINT64_C(0xff0000000001afff) /* what can be written; 12 and 14 cannot */
#define ID_SHIFT      24
#define ID_VALID      0x0f

void ioapic_init(struct ioapic *a)
{
    *a = (struct ioapic){ 0 };
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        a->entry[pin] = IOAPIC_MASK;
}

/* A level that the entry lets through now; one at a time, until the processor has ended it. */
static uint32_t deliver_level(struct ioapic *a, unsigned pin)
{
    uint32_t bit = UINT32_C(1) << pin;
    uint64_t e = a->entry[pin];

    if (!(a->line & bit) || (e & (IOAPIC_LEVEL | IOAPIC_MASK | IOAPIC_REMOTE_IRR)) != IOAPIC_LEVEL)
        return 0;
    a->entry[pin] |= IOAPIC_REMOTE_IRR;
    return bit;
}

uint32_t ioapic_set_line(struct ioapic *a, unsigned pin, bool up)
{
    uint32_t bit = UINT32_C(1) << pin;
    bool     rose;

    if (pin >= IOAPIC_PINS)
        return 0;
    rose = up && !(a->line & bit);
    a->line = up ? a->line | bit : a->line & ~bit;
    if (rose && !(a->entry[pin] & (IOAPIC_LEVEL | IOAPIC_MASK)))
        return bit;
    return deliver_level(a, pin);
}

uint32_t ioapic_end(struct ioapic *a, uint8_t vector)
{
    uint32_t pins = 0;

    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        if ((a->entry[pin] & IOAPIC_VECTOR) != vector || !(a->entry[pin] & IOAPIC_REMOTE_IRR))
            continue;
        a->entry[pin] &= ~IOAPIC_REMOTE_IRR;
        pins |= deliver_level(a, pin);
    }
    return pins;
}

static uint32_t read_register(const struct ioapic *a)
{
    unsigned i = (unsigned)a->select - FIRST;

    if (i < 2 * IOAPIC_PINS)
        return (uint32_t)(a->entry[i / 2] >> (i & 1 ? 32 : 0));
    switch (a->select) {
    case ID:
    case ARBITRATION:
        return (uint32_t)a->id << ID_SHIFT;
    case VERSION:
        return VERSION_VALUE;
    default:
        return 0;
    }
}

uint32_t ioapic_read(const struct ioapic *a, unsigned offset)
{
    switch (offset) {
    case SELECT:
        return a->select;
    case WINDOW:
        return read_register(a);
    default:
        return 0;
    }
}

static uint32_t write_entry(struct ioapic *a, unsigned pin, bool high, uint32_t value)
{
    uint64_t e = a->entry[pin], keep = high ? UINT32_MAX : ~(uint64_t)UINT32_MAX;
    uint64_t new = (uint64_t)value << (high ? 32 : 0);

    e = (e & (keep | ~ENTRY_VALID)) | (new & ~keep &ENTRY_VALID);
    if (!(e & IOAPIC_LEVEL))
        e &= ~IOAPIC_REMOTE_IRR;
    a->entry[pin] = e;
    return deliver_level(a, pin);
}

uint32_t ioapic_write(struct ioapic *a, unsigned offset, uint32_t value)
{
    unsigned i;

    if (offset == SELECT)
        a->select = (uint8_t)value;
    if (offset != WINDOW)
        return 0;
    i = (unsigned)a->select - FIRST;
    if (i < 2 * IOAPIC_PINS)
        return write_entry(a, i / 2, i & 1, value);
    if (a->select == ID)
        a->id = value >> ID_SHIFT & ID_VALID;
    return 0;
}
