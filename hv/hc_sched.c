/* sched_op and set_timer_op: giving the CPU away, waiting, stopping. */
#include "hv/evtchn.h"
#include "hv/hc.h"
#include "hv/time.h"

#define POLL_PORTS_MAX 128

static int64_t yield(struct vcpu *v)
{
    v->slice_end = 0;
    __atomic_fetch_or(&this_cpu()->pending, PENDING_RESCHED, __ATOMIC_SEQ_CST);
    return 0;
}

static int64_t block(struct vcpu *v)
{
    /* A PV guest that waits takes events again. */
    if (v->pv != NULL)
        __atomic_store_n(&v->info->evtchn_upcall_mask, 0, __ATOMIC_SEQ_CST);
    /* Also without an upcall vector, an event that has come is a reason not to sleep. */
    if (__atomic_load_n(&v->info->evtchn_upcall_pending, __ATOMIC_SEQ_CST) == 0)
        vcpu_block(v);
    return 0;
}

/* A guest that suspends goes on behind this call, here or where it was restored: xen.h, SHUTDOWN_suspend. */
static int64_t shutdown(struct vcpu *v, uint64_t va)
{
    struct sched_shutdown arg;

    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    if (arg.reason > SHUTDOWN_MAX)
        return -XEN_EINVAL;
    if (arg.reason == SHUTDOWN_soft_reset)
        return -XEN_EOPNOTSUPP;
    domain_stop(v->domain, arg.reason);
    return 0;
}

/* Is one of the ports pending already? Negative: an error. */
static int64_t poll_ready(struct vcpu *v, uint64_t va, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        evtchn_port_t port;

        if (!guest_copy_in(v, &port, va + i * sizeof(port), sizeof(port)))
            return -XEN_EFAULT;
        if (port >= DOMAIN_PORTS_MAX)
            return -XEN_EINVAL;
        if (evtchn_pending(v->domain, port))
            return 1;
    }
    return 0;
}

static int64_t poll(struct vcpu *v, uint64_t va)
{
    struct sched_poll arg;
    int64_t           ready;

    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    if (arg.nr_ports > POLL_PORTS_MAX)
        return -XEN_EINVAL;
    ready = poll_ready(v, hc_address(arg.ports.p), arg.nr_ports);
    if (ready != 0)
        return ready < 0 ? ready : 0;
    if (arg.timeout != 0 && arg.timeout <= machine_now())
        return 0;
    vcpu_block(v);
    if (v->state != VCPU_BLOCKED)
        return 0;
    v->poll = true;
    if (arg.timeout != 0)
        timer_set(&v->poll_timer, arg.timeout);
    return 0;
}

/* arg[0]: operation, arg[1]: its structure. */
int64_t hc_sched_op(struct vcpu *v, struct hypercall *h)
{
    switch (h->arg[0]) {
    case SCHEDOP_yield:
        return yield(v);
    case SCHEDOP_block:
        return block(v);
    case SCHEDOP_shutdown:
        return shutdown(v, h->arg[1]);
    case SCHEDOP_poll:
        return poll(v, h->arg[1]);
    case SCHEDOP_remote_shutdown:
        return -XEN_EPERM;
    default:
        return -XEN_ENOSYS;
    }
}

/* arg[0]: system time at which VIRQ_TIMER comes; 0: never. */
int64_t hc_set_timer_op(struct vcpu *v, struct hypercall *h)
{
    if (h->arg[0] == 0)
        timer_cancel(&v->singleshot);
    else
        timer_set(&v->singleshot, h->arg[0]);
    return 0;
}
