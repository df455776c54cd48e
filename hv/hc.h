/*
 * The handlers behind hypercall_run: each takes the registers, copies its arguments in once
 * and returns what the guest gets in its result register.
 */
#ifndef HV_HC_H
#define HV_HC_H

#include "hv/guest.h"
#include "hv/hypercall.h"

/* Not finished: the handler has put into h->arg[] what is left to do. */
#define HC_AGAIN INT64_MIN

typedef int64_t hypercall_handler(struct vcpu *v, struct hypercall *h);

hypercall_handler hc_sysctl, hc_domctl, hc_platform_op;

hypercall_handler hc_console_io, hc_event_channel_op, hc_grant_table_op, hc_hvm_op, hc_memory_op,
    hc_multicall, hc_sched_op, hc_set_timer_op, hc_vcpu_op, hc_vm_assist, hc_xen_version,
    hc_monitor_hvm_op, hc_access_op, hc_dm_op;

hypercall_handler hc_set_trap_table, hc_mmu_update, hc_set_gdt, hc_stack_switch, hc_set_callbacks,
    hc_fpu_taskswitch, hc_set_debugreg, hc_get_debugreg, hc_update_descriptor, hc_update_va_mapping,
    hc_update_va_mapping_otherdomain, hc_iret, hc_set_segment_base, hc_mmuext_op, hc_nmi_op,
    hc_callback_op, hc_physdev_op, hc_pv_memory_op;

/* Runs a call by its number and counts it; what nobody knows is -ENOSYS. */
int64_t hc_dispatch(struct vcpu *v, struct hypercall *h);

#define HC_STRETCHES_PER_MS 20 /* a hypercall goes on for 50 us at most, and then one step more */

/* What has been done since the last preemption point was long enough. */
static inline bool hc_long(void)
{
    return machine_ticks() - this_cpu()->stretch_start >=
           machine_ticks_per_ms() / HC_STRETCHES_PER_MS;
}

/*
 * A long operation should make room for others now. Asked before each step but the first: so there is
 * always progress, and no step by itself may be long.
 */
static inline bool hc_preempt(void)
{
    return __atomic_load_n(&this_cpu()->pending, __ATOMIC_RELAXED) != 0 || hc_long();
}

/* 0 if `id` is the caller's own domain; -EPERM for another's, -ESRCH if there is none. */
int64_t hc_own_domain(const struct vcpu *v, uint16_t id);

/*
 * The domain that a call is about: 0 and the domain. The control domain may name any that is not being
 * taken away, others only themselves: else errors as above.
 */
must_check int64_t hc_target(struct vcpu *v, uint16_t id, struct domain **d);

/* Address in an XEN_GUEST_HANDLE of our copy of a structure. */
static inline uint64_t hc_address(const void *handle)
{
    return (uint64_t)(uintptr_t)handle;
}

/* ---- hc_memory.c ---- */

#define HC_EXTENT_SHIFT 6 /* memory_op: command bits 63:6 say how much is done */

/* What is done with a piece of an extent: 0, an error, or HC_AGAIN. `word` is the guest's. */
typedef int64_t hc_extent(struct domain *d, uint64_t *word);

struct hc_reservation_way {
    hc_extent *one;       /* a single frame: `word` is its number */
    hc_extent *block;     /* 2 MiB in one piece; -ENOMEM: frame by frame then. NULL: always so */
    unsigned   order_max; /* of extents; larger ones are not done */
    bool       answers;   /* the words go back to the guest */
};

enum hc_change {
    HC_TAKE,
    HC_BRING,
};

/* How the memory of a PV domain is changed: by itself, and by the control domain for it. */
extern const struct hc_reservation_way hc_pv_way[], hc_pv_other_way[];

/*
 * An operation on the extents of struct xen_memory_reservation at arg[1]. Returns how many were done:
 * fewer than asked for says that one could not be.
 */
int64_t hc_reservation(struct vcpu *v, struct hypercall *h, enum hc_change change);

/*
 * Changes what is behind a gfn: 0, HC_AGAIN, -EBUSY: frames have to be freed first, or -EPERM: it is
 * borrowed. If the domain has crashed meanwhile (0 all the same), it may not have changed.
 */
int64_t hc_memory_replace(struct domain *d, gfn_t gfn, struct p2m_entry entry);

/* Takes a borrowed frame out of the map, if it still stands there: 0 or HC_AGAIN. */
int64_t hc_memory_withdraw(struct domain *d, gfn_t gfn, mfn_t mfn);

/* XENMEM_memory_map: as whoever made the domain has set it. */
must_check int64_t hc_memory_map(struct vcpu *v, uint64_t va);

/* XENMEM_current_reservation, maximum_reservation, maximum_gpfn: `va` has the domain's number. */
int64_t hc_count_of(struct vcpu *v, uint64_t op, uint64_t va);

/* Frees frames in limbo that nobody names any more. True when none is left. */
bool hc_memory_settle(struct domain *d);

#endif
