/* event_channel_op: the ABI's structures in, evtchn.h called, its answers back. */
#include "hv/evtchn.h"
#include "hv/hc.h"

static int64_t errno_of(enum evtchn_result result)
{
    switch (result) {
    case EVTCHN_OK:
        return 0;
    case EVTCHN_INVALID:
        return -XEN_EINVAL;
    case EVTCHN_FULL:
        return -XEN_ENOSPC;
    case EVTCHN_EXISTS:
        return -XEN_EEXIST;
    case EVTCHN_NO_VCPU:
        return -XEN_ENOENT;
    case EVTCHN_NO_DOMAIN:
        return -XEN_ESRCH;
    }
    return -XEN_EINVAL;
}

/* The arguments of the operations that this file copies in and, if they answer, out again. */
union event_args {
    struct evtchn_alloc_unbound    alloc_unbound;
    struct evtchn_bind_interdomain bind_interdomain;
    struct evtchn_bind_virq        bind_virq;
    struct evtchn_bind_ipi         bind_ipi;
    struct evtchn_bind_vcpu        bind_vcpu;
    struct evtchn_close            close;
    struct evtchn_send             send;
    struct evtchn_status           status;
    struct evtchn_unmask           unmask;
    struct evtchn_reset            reset;
};

static int64_t alloc_unbound(struct vcpu *v, union event_args *a)
{
    uint16_t       remote = a->alloc_unbound.remote_dom;
    unsigned       port = 0;
    struct domain *d;
    int64_t        result = hc_target(v, a->alloc_unbound.dom, &d);

    if (result != 0)
        return result;
    if (remote == DOMID_SELF)
        remote = v->domain->id;
    result = errno_of(evtchn_alloc_unbound(d, remote, &port));
    a->alloc_unbound.port = port;
    return result;
}

static int64_t bind_interdomain(struct vcpu *v, union event_args *a)
{
    uint16_t remote = a->bind_interdomain.remote_dom;
    unsigned port = 0;
    int64_t  result;

    if (remote == DOMID_SELF)
        remote = v->domain->id;
    result = errno_of(
        evtchn_bind_interdomain(v->domain, remote, a->bind_interdomain.remote_port, &port));
    a->bind_interdomain.local_port = port;
    return result;
}

static int64_t bind_virq(struct vcpu *v, union event_args *a)
{
    unsigned port = 0;
    int64_t  result =
        errno_of(evtchn_bind_virq(v->domain, a->bind_virq.vcpu, a->bind_virq.virq, &port));

    a->bind_virq.port = port;
    return result;
}

static int64_t bind_ipi(struct vcpu *v, union event_args *a)
{
    unsigned port = 0;
    int64_t  result = errno_of(evtchn_bind_ipi(v->domain, a->bind_ipi.vcpu, &port));

    a->bind_ipi.port = port;
    return result;
}

static int64_t bind_vcpu(struct vcpu *v, union event_args *a)
{
    return errno_of(evtchn_bind_vcpu(v->domain, a->bind_vcpu.port, a->bind_vcpu.vcpu));
}

static int64_t close_port(struct vcpu *v, union event_args *a)
{
    return errno_of(evtchn_close(v->domain, a->close.port));
}

static int64_t send_port(struct vcpu *v, union event_args *a)
{
    return errno_of(evtchn_send(v->domain, a->send.port));
}

static int64_t unmask(struct vcpu *v, union event_args *a)
{
    return errno_of(evtchn_unmask(v->domain, a->unmask.port));
}

static int64_t status(struct vcpu *v, union event_args *a)
{
    struct evtchn_report report;
    struct domain       *d;
    int64_t              result = hc_target(v, a->status.dom, &d);

    if (result == 0)
        result = errno_of(evtchn_status(d, a->status.port, &report));
    if (result != 0)
        return result;
    a->status.status = report.status;
    a->status.vcpu = report.vcpu;
    if (report.status == EVTCHNSTAT_unbound)
        a->status.u.unbound.dom = report.remote_domain;
    if (report.status == EVTCHNSTAT_interdomain) {
        a->status.u.interdomain.dom = report.remote_domain;
        a->status.u.interdomain.port = report.remote_port;
    }
    if (report.status == EVTCHNSTAT_virq)
        a->status.u.virq = report.virq;
    return 0;
}

static int64_t reset(struct vcpu *v, union event_args *a)
{
    struct domain *d;
    int64_t        result = hc_target(v, a->reset.dom, &d);

    if (result == 0 && !evtchn_reset(d))
        return HC_AGAIN;
    return result;
}

static const struct event_op {
    int64_t (*run)(struct vcpu *v, union event_args *a);
    uint8_t size;
    bool    answers; /* the structure goes back to the guest */
} ops[] = {
    [EVTCHNOP_bind_interdomain] = { bind_interdomain, sizeof(struct evtchn_bind_interdomain),
                                    true },
    [EVTCHNOP_bind_virq] = { bind_virq, sizeof(struct evtchn_bind_virq), true },
    [EVTCHNOP_close] = { close_port, sizeof(struct evtchn_close), false },
    [EVTCHNOP_send] = { send_port, sizeof(struct evtchn_send), false },
    [EVTCHNOP_status] = { status, sizeof(struct evtchn_status), true },
    [EVTCHNOP_alloc_unbound] = { alloc_unbound, sizeof(struct evtchn_alloc_unbound), true },
    [EVTCHNOP_bind_ipi] = { bind_ipi, sizeof(struct evtchn_bind_ipi), true },
    [EVTCHNOP_bind_vcpu] = { bind_vcpu, sizeof(struct evtchn_bind_vcpu), false },
    [EVTCHNOP_unmask] = { unmask, sizeof(struct evtchn_unmask), false },
    [EVTCHNOP_reset] = { reset, sizeof(struct evtchn_reset), false },
};

/* A port that the guest could not be told of is closed again. */
static void take_back(struct vcpu *v, uint64_t op, const union event_args *a)
{
    struct domain *d = v->domain;
    unsigned       port = 0;

    if (op == EVTCHNOP_bind_interdomain)
        port = a->bind_interdomain.local_port;
    else if (op == EVTCHNOP_bind_virq)
        port = a->bind_virq.port;
    else if (op == EVTCHNOP_alloc_unbound)
        port = hc_target(v, a->alloc_unbound.dom, &d) == 0 ? a->alloc_unbound.port : 0;
    else if (op == EVTCHNOP_bind_ipi)
        port = a->bind_ipi.port;
    if (port != 0 && evtchn_close(d, port) != EVTCHN_OK)
        return;
}

/* arg[0]: operation, arg[1]: its structure. */
int64_t hc_event_channel_op(struct vcpu *v, struct hypercall *h)
{
    union event_args args = { 0 };
    uint64_t         op = h->arg[0];
    int64_t          result;

    if (op >= sizeof(ops) / sizeof(ops[0]) || ops[op].run == NULL)
        return -XEN_ENOSYS;
    if (!guest_copy_in(v, &args, h->arg[1], ops[op].size))
        return -XEN_EFAULT;
    result = ops[op].run(v, &args);
    if (result != 0 || !ops[op].answers)
        return result;
    if (guest_copy_out(v, h->arg[1], &args, ops[op].size))
        return 0;
    take_back(v, op, &args);
    return -XEN_EFAULT;
}
