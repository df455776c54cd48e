/*
 * MSR policy: a table of those that exist; all others are #GP(0), as on a processor that
 * does not have them. Memory-type and machine-check registers are not offered.
 */
#include "x86/msr.h"

#include "x86/hw/cpu.h"
#include "x86/hw/msr.h"

struct access {
    struct guest_msrs *msrs;
    uint32_t           index;
    struct msr_time    time;
    struct msr_effect *effect;
};

static bool read_zero(const struct guest_msrs *msrs, uint32_t index, struct msr_time time,
                      uint64_t *value)
{
    (void)msrs, (void)index, (void)time;
    *value = 0;
    return true;
}

static bool write_lost(const struct access *a, uint64_t value)
{
    (void)a, (void)value;
    return true;
}

static bool read_tsc(const struct guest_msrs *msrs, uint32_t index, struct msr_time time,
                     uint64_t *value)
{
    (void)index;
    *value = time.ticks + msrs->tsc_offset;
    return true;
}

static bool write_tsc(const struct access *a, uint64_t value)
{
    a->msrs->tsc_offset = value - a->time.ticks;
    a->effect->kind = MSR_EFFECT_TSC;
    return true;
}

static bool read_apic_base(const struct guest_msrs *msrs, uint32_t index, struct msr_time time,
                           uint64_t *value)
{
    (void)index, (void)time;
    *value = msrs->lapic.base;
    return true;
}

static bool write_apic_base(const struct access *a, uint64_t value)
{
    a->effect->kind = MSR_EFFECT_APIC;
    a->effect->apic.timer = true; /* disabling stops the count */
    return lapic_set_base(&a->msrs->lapic, value);
}

static bool read_apic(const struct guest_msrs *msrs, uint32_t index, struct msr_time time,
                      uint64_t *value)
{
    return lapic_read(&msrs->lapic, index - MSR_X2APIC_FIRST, time.now, value);
}

static bool write_apic(const struct access *a, uint64_t value)
{
    a->effect->kind = MSR_EFFECT_APIC;
    return lapic_write(&a->msrs->lapic, a->index - MSR_X2APIC_FIRST, value, a->time.now,
                       &a->effect->apic);
}

static bool read_pat(const struct guest_msrs *msrs, uint32_t index, struct msr_time time,
                     uint64_t *value)
{
    (void)index, (void)time;
    *value = msrs->pat;
    return true;
}

/* Eight memory types, of which 2 and 3 do not exist: APM vol. 2, 7.8.1. */
static bool write_pat(const struct access *a, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) {
        uint64_t type = value >> 8 * i & 0xff;

        if (type > 7 || type == 2 || type == 3)
            return false;
    }
    a->msrs->pat = value;
    a->effect->kind = MSR_EFFECT_PAT;
    return true;
}

static bool read_efer(const struct guest_msrs *msrs, uint32_t index, struct msr_time time,
                      uint64_t *value)
{
    (void)index, (void)time;
    *value = msrs->efer;
    return true;
}

static bool write_efer(const struct access *a, uint64_t value)
{
    a->effect->kind = MSR_EFFECT_EFER;
    a->effect->value = value;
    return true;
}

static bool read_de_cfg(const struct guest_msrs *msrs, uint32_t index, struct msr_time time,
                        uint64_t *value)
{
    (void)msrs, (void)index, (void)time;
    *value = DE_CFG_LFENCE;
    return true;
}

/* The page's number is in the low bits, and there is one page. */
static bool write_hypercalls(const struct access *a, uint64_t value)
{
    if (value & PAGE_MASK)
        return false;
    a->effect->kind = MSR_EFFECT_HYPERCALLS;
    a->effect->value = value;
    return true;
}

/* No last: one MSR. No function: #GP. Sorted, those in use most first within reason. */
static const struct msr_row {
    uint32_t first, last;
    bool (*read)(const struct guest_msrs *, uint32_t, struct msr_time, uint64_t *);
    bool (*write)(const struct access *, uint64_t);
} rows[] = {
    { MSR_X2APIC_FIRST, MSR_X2APIC_LAST, read_apic, write_apic },
    { MSR_EFER, MSR_EFER, read_efer, write_efer },
    { MSR_TSC, MSR_TSC, read_tsc, write_tsc },
    { MSR_APIC_BASE, MSR_APIC_BASE, read_apic_base, write_apic_base },
    { MSR_PAT, MSR_PAT, read_pat, write_pat },
    { MSR_BIOS_SIGN_ID, MSR_BIOS_SIGN_ID, read_zero, write_lost },
    { MSR_DEBUGCTL, MSR_DEBUGCTL, read_zero, write_lost },
    { MSR_PERF_CTL0, MSR_PERF_CTR3, read_zero, write_lost },
    { MSR_SYSCFG, MSR_SYSCFG, read_zero, write_lost },
    { MSR_HWCR, MSR_HWCR, read_zero, write_lost },
    { MSR_NB_CFG, MSR_NB_CFG, read_zero, write_lost },
    { MSR_BP_CFG, MSR_BP_CFG, read_zero, write_lost },
    { MSR_DE_CFG, MSR_DE_CFG, read_de_cfg, write_lost },
    { MSR_XEN_HYPERCALLS, MSR_XEN_HYPERCALLS, NULL, write_hypercalls },
};

static const struct msr_row *row_of(uint32_t index)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (index >= rows[i].first && index <= rows[i].last)
            return &rows[i];
    return NULL;
}

void msr_init(struct guest_msrs *msrs, uint32_t apic_id, bool bsp)
{
    *msrs = (struct guest_msrs){ .pat = PAT_RESET };
    lapic_init(&msrs->lapic, apic_id, bsp);
}

bool msr_read(const struct guest_msrs *msrs, uint32_t index, struct msr_time time, uint64_t *value)
{
    const struct msr_row *row = row_of(index);

    return row && row->read && row->read(msrs, index, time, value);
}

bool msr_write(struct guest_msrs *msrs, uint32_t index, uint64_t value, struct msr_time time,
               struct msr_effect *effect)
{
    const struct msr_row *row = row_of(index);
    struct access         access = { msrs, index, time, effect };

    *effect = (struct msr_effect){ .kind = MSR_EFFECT_NONE };
    return row && row->write && row->write(&access, value);
}
