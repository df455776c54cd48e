/*
 * The local APIC's registers in memory: xAPIC mode, APM vol. 2, 16.3.2, and the formats of ID,
 * LDR, DFR and ICR that differ from x2APIC mode's. Here nothing is refused: bits that are
 * reserved are ignored, and a register that does not exist is an error in ESR.
 *
 * Registers are 16 bytes apart and have 32 bits. A read of fewer bytes gives a part; a write
 * that is not of the whole register is undefined by the manual and does nothing here.
 */
#include "x86/lapic.h"

#define REGISTER_SHIFT 4
#define PAGE_REGISTERS 0x40u /* those behind them are AMD's extended space, which is not offered */
#define XAPIC_DEST     24    /* shift of an 8-bit ID in its register */
#define XAPIC_ALL      UINT64_C(0xff)

static bool in_xapic_mode(const struct lapic *apic)
{
    return (apic->base & (LAPIC_BASE_ENABLE | LAPIC_BASE_X2APIC)) == LAPIC_BASE_ENABLE;
}

static bool read_register(const struct lapic *apic, unsigned reg, uint64_t now, uint32_t *value)
{
    uint64_t wide;

    switch (reg) {
    case LAPIC_ID:
        *value = apic->id << XAPIC_DEST;
        return true;
    case LAPIC_LDR:
        *value = apic->ldr;
        return true;
    case LAPIC_DFR:
        *value = apic->dfr;
        return true;
    case LAPIC_ICR_HIGH:
        *value = (uint32_t)(apic->icr >> 32);
        return true;
    case LAPIC_EOI: /* write-only, but software that reads it back sees no error */
        *value = 0;
        return true;
    default:
        if (!lapic_get(apic, reg, now, &wide))
            return false;
        *value = (uint32_t)wide;
        return true;
    }
}

bool lapic_mmio_read(struct lapic *apic, unsigned offset, unsigned length, uint64_t now,
                     uint32_t *value)
{
    unsigned byte = offset & 15;

    if (!in_xapic_mode(apic))
        return false;
    *value = 0;
    if (byte > 3 || length > 4)
        return true; /* nothing lies between the registers */
    if (offset >> REGISTER_SHIFT >= PAGE_REGISTERS ||
        !read_register(apic, offset >> REGISTER_SHIFT, now, value))
        lapic_illegal_register(apic);
    *value >>= 8 * byte;
    return true;
}

/*
 * The high half keeps the destination as it was written, 8 bits at the top. What is sent has
 * it as a number, and the broadcast of all bits.
 */
static bool write_icr(struct lapic *apic, uint32_t value, uint64_t now, struct lapic_effect *effect)
{
    uint32_t high = (uint32_t)(apic->icr >> 32);
    uint64_t dest = high >> XAPIC_DEST, low = value & LAPIC_ICR_VALID & UINT32_MAX;

    if (dest == XAPIC_ALL && !(low & LAPIC_ICR_LOGICAL))
        dest = LAPIC_BROADCAST;
    if (!lapic_put(apic, LAPIC_ICR, dest << 32 | low, now, effect))
        return false;
    apic->icr = (uint64_t)high << 32 | low;
    return true;
}

static bool write_register(struct lapic *apic, unsigned reg, uint32_t value, uint64_t now,
                           struct lapic_effect *effect)
{
    switch (reg) {
    case LAPIC_ID: /* fixed: the ACPI tables and CPUID say the same */
        return true;
    case LAPIC_LDR:
        apic->ldr = value & UINT32_C(0xff000000);
        return true;
    case LAPIC_DFR:
        apic->dfr = value | LAPIC_DFR_CLUSTER;
        return true;
    case LAPIC_TPR:
        return lapic_put(apic, reg, value & 0xff, now, effect);
    case LAPIC_EOI:
    case LAPIC_ESR:
        return lapic_put(apic, reg, 0, now, effect);
    case LAPIC_SVR:
        return lapic_put(apic, reg, value & 0x3ff, now, effect);
    case LAPIC_ICR:
        return write_icr(apic, value, now, effect);
    case LAPIC_ICR_HIGH:
        apic->icr = (apic->icr & UINT32_MAX) | (uint64_t)(value & UINT32_C(0xff000000)) << 32;
        return true;
    case LAPIC_LVT_TIMER ... LAPIC_LVT_ERROR:
        return lapic_put(apic, reg, value & lapic_lvt_valid(reg), now, effect);
    case LAPIC_DIVIDE:
        return lapic_put(apic, reg, value & 0xb, now, effect);
    case LAPIC_INITIAL_COUNT:
        return lapic_put(apic, reg, value, now, effect);
    default:
        /* What can only be read is there all the same. */
        return read_register(apic, reg, now, &value);
    }
}

bool lapic_mmio_write(struct lapic *apic, unsigned offset, unsigned length, uint32_t value,
                      uint64_t now, struct lapic_effect *effect)
{
    unsigned reg = offset >> REGISTER_SHIFT;

    *effect = (struct lapic_effect){ 0 };
    if (!in_xapic_mode(apic))
        return false;
    if ((offset & 15) || length != 4)
        return true;
    if (reg >= PAGE_REGISTERS || reg == LAPIC_SELF_IPI ||
        !write_register(apic, reg, value, now, effect))
        lapic_illegal_register(apic);
    return true;
}
