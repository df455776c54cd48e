/*
 * The MSRs that a guest may touch and that are not its own in hardware. Pure: the edge
 * carries out what a write asks of the processor.
 */
#ifndef X86_MSR_H
#define X86_MSR_H

#include "x86/lapic.h"

/* The values behind them. */
struct guest_msrs {
    struct lapic lapic;
    uint64_t     efer; /* as the guest reads it; written by the edge */
    uint64_t     pat;
    uint64_t     tsc_offset; /* guest's TSC minus the machine's */
};

struct msr_time {
    uint64_t ticks; /* the machine's TSC */
    uint64_t now;   /* nanoseconds */
};

enum msr_effect_kind {
    MSR_EFFECT_NONE,
    MSR_EFFECT_EFER,       /* `value` is to be checked and written */
    MSR_EFFECT_PAT,        /* pat has changed */
    MSR_EFFECT_TSC,        /* tsc_offset has changed */
    MSR_EFFECT_APIC,       /* see apic */
    MSR_EFFECT_HYPERCALLS, /* the hypercall page is to be written at guest-physical `value` */
};

struct msr_effect {
    enum msr_effect_kind kind;
    uint64_t             value;
    struct lapic_effect  apic;
};

void msr_init(struct guest_msrs *msrs, uint32_t apic_id, bool bsp);

/* False: #GP(0). */
must_check bool msr_read(const struct guest_msrs *msrs, uint32_t index, struct msr_time time,
                         uint64_t *value);
must_check bool msr_write(struct guest_msrs *msrs, uint32_t index, uint64_t value,
                          struct msr_time time, struct msr_effect *effect);

#endif
