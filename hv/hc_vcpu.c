/* vcpu_op: the areas that a vCPU shares with us, its timers, and whether it is there. */
#include <string.h>

#include "hv/evtchn.h"
#include "hv/hc.h"
#include "hv/pv.h"
#include "hv/shared.h"
#include "hv/time.h"

#define PERIOD_MIN UINT64_C(1000000) /* ns: a guest must not keep us busy with ticks */

/* The frame of guest memory behind a gfn stays while the domain lives. */
static bool keep_frame(struct domain *d, uint64_t gfn, mfn_t *mfn)
{
    struct paging_reach reach = paging_reach_gpa(domain_lock(d), gfn << PAGE_SHIFT);

    if (reach.kind != REACH_RAM || reach.rom ||
        phys_frame(&machine_phys, reach.mfn)->owner != d->id)
        return false;
    direct_hold(&machine_phys, reach.mfn);
    *mfn = reach.mfn;
    return true;
}

/*
 * Moves vcpu_info to a place of the guest's choice, once. The frame gets a reference, so
 * that it stays while the domain lives, whatever the guest does to its memory map.
 */
static int64_t register_info(struct vcpu *v, struct vcpu *target, uint64_t va)
{
    struct vcpu_register_vcpu_info arg;
    mfn_t                          mfn;
    struct vcpu_info               copy;

    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    if (!mfn_eq(target->info_mfn, v->domain->shared_mfn) ||
        arg.mfn >> (P2M_BITS - PAGE_SHIFT) != 0 || arg.offset > PAGE_SIZE - sizeof(copy) ||
        arg.offset % 8 != 0)
        return -XEN_EINVAL;
    mfn = mfn_of(arg.mfn);
    if (v->pv != NULL ? !pv_hold(v->domain, mfn) : !keep_frame(v->domain, arg.mfn, &mfn))
        return -XEN_EINVAL;

    memcpy(&copy, target->info, sizeof(copy));
    shared_write(v->domain, mfn, arg.offset, &copy, sizeof(copy));
    target->info =
        (struct vcpu_info *)(void *)((uint8_t *)phys_ptr(&machine_phys, mfn) + arg.offset);
    target->info_mfn = mfn;
    time_areas_stale(target, VCPU_STALE_TIME);
    if (copy.evtchn_pending_sel != 0)
        evtchn_upcall(target);
    return 0;
}

static int64_t register_runstate(struct vcpu *v, struct vcpu *target, uint64_t va)
{
    struct vcpu_register_runstate_memory_area arg;

    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    target->runstate_va = gva_of(arg.addr.p);
    time_areas_stale(target, VCPU_STALE_RUNSTATE);
    return 0;
}

static int64_t register_time(struct vcpu *v, struct vcpu *target, uint64_t va)
{
    struct vcpu_register_time_memory_area arg;

    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    target->time_va = gva_of(arg.addr.p);
    time_areas_stale(target, VCPU_STALE_TIME);
    return 0;
}

static int64_t set_periodic(struct vcpu *v, struct vcpu *target, uint64_t va)
{
    struct vcpu_set_periodic_timer arg;

    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    if (arg.period_ns < PERIOD_MIN || arg.period_ns > INT64_MAX)
        return -XEN_EINVAL;
    target->period = arg.period_ns;
    timer_set(&target->periodic, machine_now() + arg.period_ns);
    return 0;
}

static int64_t set_singleshot(struct vcpu *v, uint64_t va)
{
    struct vcpu_set_singleshot_timer arg;

    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    if ((arg.flags & VCPU_SSHOTTMR_future) != 0 && arg.timeout_abs_ns < machine_now())
        return -XEN_ETIME;
    timer_set(&v->singleshot, arg.timeout_abs_ns);
    return 0;
}

static int64_t go_down(struct vcpu *target)
{
    struct domain *d = target->domain;
    bool           alive = false;

    time_vcpu_stop(target);
    target->state = VCPU_DOWN;
    target->poll = false;
    time_runstate(target, RUNSTATE_offline);
    for (unsigned i = 0; i < d->nr_vcpus; i++)
        alive |= d->vcpu[i]->state != VCPU_DOWN;
    if (!alive)
        domain_stop(d, SHUTDOWN_poweroff);
    return 0;
}

/* Areas are given by the vCPU itself, or by another one before it is up. */
static int64_t register_area(struct vcpu *v, struct vcpu *target, uint64_t op, uint64_t va)
{
    if (target != v && target->state != VCPU_DOWN)
        return -XEN_EINVAL;
    if (op == VCPUOP_register_vcpu_info)
        return register_info(v, target, va);
    if (op == VCPUOP_register_runstate_memory_area)
        return register_runstate(v, target, va);
    return register_time(v, target, va);
}

/* arg[0]: operation, arg[1]: vCPU, arg[2]: its structure. */
int64_t hc_vcpu_op(struct vcpu *v, struct hypercall *h)
{
    struct vcpu              *target;
    struct vcpu_runstate_info info;

    if (h->arg[1] >= v->domain->nr_vcpus)
        return -XEN_ENOENT;
    target = v->domain->vcpu[h->arg[1]];
    switch (h->arg[0]) {
    case VCPUOP_register_vcpu_info:
    case VCPUOP_register_runstate_memory_area:
    case VCPUOP_register_vcpu_time_memory_area:
        return register_area(v, target, h->arg[0], h->arg[2]);
    case VCPUOP_set_singleshot_timer:
        return target == v ? set_singleshot(v, h->arg[2]) : -XEN_EINVAL;
    case VCPUOP_stop_singleshot_timer:
        if (target != v)
            return -XEN_EINVAL;
        timer_cancel(&v->singleshot);
        return 0;
    case VCPUOP_set_periodic_timer:
        return set_periodic(v, target, h->arg[2]);
    case VCPUOP_stop_periodic_timer:
        target->period = 0;
        timer_cancel(&target->periodic);
        return 0;
    case VCPUOP_down:
        return go_down(target);
    case VCPUOP_initialise: /* all are, from the beginning */
        return v->pv != NULL ? -XEN_EEXIST : -XEN_ENOSYS;
    case VCPUOP_up: /* nothing brings back one that went down */
        if (v->pv == NULL)
            return -XEN_ENOSYS;
        return target->state != VCPU_DOWN ? 0 : -XEN_EINVAL;
    case VCPUOP_is_up:
        return target->state != VCPU_DOWN;
    case VCPUOP_get_runstate_info:
        info = time_runstate_of(target);
        return guest_copy_out(v, h->arg[2], &info, sizeof(info)) ? 0 : -XEN_EFAULT;
    default:
        return -XEN_ENOSYS;
    }
}
