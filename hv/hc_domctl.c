/*
 * domctl: what the control domain does to a domain. One copy in, one copy out (domctl.h, version 0x15). An
 * operation that is not finished leaves in the domain itself how far it has come, and is made again.
 */
#include <string.h>

#include "hv/build.h"
#include "hv/control.h"
#include "hv/hc_control.h"
#include "hv/pv.h"

_Static_assert(sizeof(struct xen_domctl) == 144, "domctl.h");
_Static_assert(offsetof(struct xen_domctl, u) == 16, "domctl.h");
_Static_assert(sizeof(struct xen_domctl_createdomain) == 64, "domctl.h");

static int64_t pause(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    (void)op;
    if (d == v->domain)
        return -XEN_EINVAL;
    domain_pause(d);
    return 0;
}

static int64_t unpause(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    (void)v;
    (void)op;
    if (d->paused == 0)
        return -XEN_EINVAL;
    /* What was asked for its tables is finished before it runs. */
    if (d->pv != NULL && !pv_drain(&d->pv->keeper))
        return HC_AGAIN;
    domain_unpause(d);
    return 0;
}

/* What it has comes back in the background, as far as nobody else holds it. */
static int64_t destroy(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    (void)op;
    if (d == v->domain)
        return -XEN_EINVAL;
    domain_destroy(d);
    return 0;
}

static int64_t max_mem(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    (void)v;
    d->max_pages = op->u.max_mem.max_memkb >> (PAGE_SHIFT - 10);
    return 0;
}

static int64_t set_handle(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    (void)v;
    memcpy(d->handle, op->u.setdomainhandle.handle, sizeof(d->handle));
    return 0;
}

/* All guests have 64 bits. */
static int64_t get_address_size(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    (void)v;
    (void)d;
    op->u.address_size.size = 64;
    return 0;
}

static int64_t set_address_size(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    (void)v;
    (void)d;
    return op->u.address_size.size == 64 ? 0 : -XEN_EINVAL;
}

/* ---- dispatch ---- */

static const struct {
    domctl_run *run;
    bool        answers; /* the structure goes back, also when it goes on */
    bool        dying;   /* of domains that are being taken away too */
    bool        none;    /* of none, or of whichever it finds itself */
} ops[] = {
    [XEN_DOMCTL_createdomain] = { domctl_createdomain, true, false, true },
    [XEN_DOMCTL_destroydomain] = { destroy, false, true, false },
    [XEN_DOMCTL_pausedomain] = { pause, false, true, false },
    [XEN_DOMCTL_unpausedomain] = { unpause, false, true, false },
    [XEN_DOMCTL_getdomaininfo] = { domctl_getdomaininfo, true, true, true },
    [XEN_DOMCTL_setvcpuaffinity] = { domctl_setvcpuaffinity, true, false, false },
    [XEN_DOMCTL_shadow_op] = { domctl_shadow_op, true, false, false },
    [XEN_DOMCTL_max_mem] = { max_mem, false, false, false },
    [XEN_DOMCTL_getvcpuinfo] = { domctl_getvcpuinfo, true, false, false },
    [XEN_DOMCTL_setdomainhandle] = { set_handle, false, false, false },
    [XEN_DOMCTL_getvcpuaffinity] = { domctl_getvcpuaffinity, true, false, false },
    [XEN_DOMCTL_gethvmcontext] = { domctl_gethvmcontext, true, false, false },
    [XEN_DOMCTL_sethvmcontext] = { domctl_sethvmcontext, false, false, false },
    [XEN_DOMCTL_set_address_size] = { set_address_size, false, false, false },
    [XEN_DOMCTL_get_address_size] = { get_address_size, true, false, false },
    [XEN_DOMCTL_debug_op] = { domctl_debug_op, false, false, false },
    [XEN_DOMCTL_gethvmcontext_partial] = { domctl_gethvmcontext_partial, true, false, false },
    [XEN_DOMCTL_vm_event_op] = { domctl_vm_event_op, true, false, false },
    [XEN_DOMCTL_set_access_required] = { domctl_set_access_required, false, false, false },
    [XEN_DOMCTL_monitor_op] = { domctl_monitor_op, true, false, false },
    [XEN_DOMCTL_setnodeaffinity] = { domctl_nodeaffinity, false, false, false },
    [XEN_DOMCTL_getnodeaffinity] = { domctl_nodeaffinity, false, false, false },
    [XEN_DOMCTL_max_vcpus] = { domctl_max_vcpus, false, false, false },
    [XEN_DOMCTL_setvcpucontext] = { domctl_setvcpucontext, false, false, false },
    [XEN_DOMCTL_getvcpucontext] = { domctl_getvcpucontext, false, false, false },
    [XEN_DOMCTL_set_ext_vcpucontext] = { domctl_set_ext_vcpucontext, false, false, false },
    [XEN_DOMCTL_get_ext_vcpucontext] = { domctl_get_ext_vcpucontext, true, false, false },
    [XEN_DOMCTL_setvcpuextstate] = { domctl_vcpuextstate, false, false, false },
    [XEN_DOMCTL_getvcpuextstate] = { domctl_vcpuextstate, true, false, false },
    [XEN_DOMCTL_set_vcpu_msrs] = { domctl_vcpu_msrs, false, false, false },
    [XEN_DOMCTL_get_vcpu_msrs] = { domctl_vcpu_msrs, true, false, false },
    [XEN_DOMCTL_getpageframeinfo3] = { domctl_getpageframeinfo3, true, false, false },
    [XEN_DOMCTL_resumedomain] = { domctl_resumedomain, false, false, false },
    [XEN_DOMCTL_hypercall_init] = { domctl_hypercall_init, false, false, false },
    [XEN_DOMCTL_settscinfo] = { domctl_settscinfo, false, false, false },
    [XEN_DOMCTL_gettscinfo] = { domctl_gettscinfo, true, false, false },
    [XEN_DOMCTL_set_cpu_policy] = { domctl_set_cpu_policy, true, false, false },
    [XEN_DOMCTL_get_cpu_policy] = { domctl_get_cpu_policy, true, false, false },
    [XEN_DOMCTL_get_paging_mempool_size] = { domctl_get_mempool_size, true, false, false },
    [XEN_DOMCTL_set_paging_mempool_size] = { domctl_set_mempool_size, false, false, false },
};

/* arg[0]: struct xen_domctl. */
int64_t hc_domctl(struct vcpu *v, struct hypercall *h)
{
    struct xen_domctl op;
    struct domain    *d = NULL;
    int64_t           result;

    if (!domain_is_control(v->domain))
        return -XEN_EPERM;
    if (!guest_copy_in(v, &op, h->arg[0], sizeof(op)))
        return -XEN_EFAULT;
    if (op.interface_version != XEN_DOMCTL_INTERFACE_VERSION)
        return -XEN_EACCES;
    if (op.cmd >= sizeof(ops) / sizeof(ops[0]) || ops[op.cmd].run == NULL)
        return -XEN_EOPNOTSUPP;
    if (op.cmd == XEN_DOMCTL_vm_event_op && op.u.vm_event_op.op == XEN_VM_EVENT_GET_VERSION) {
        op.u.vm_event_op.u.version = VM_EVENT_INTERFACE_VERSION; /* whatever domain is named */
        return guest_copy_out(v, h->arg[0], &op, sizeof(op)) ? 0 : -XEN_EFAULT;
    }
    if (!ops[op.cmd].none)
        d = op.domain == DOMID_SELF ? v->domain : domain_by_id(op.domain);
    if ((d == NULL && !ops[op.cmd].none) ||
        (d != NULL && d->state == DOMAIN_DYING && !ops[op.cmd].dying))
        return -XEN_ESRCH;
    result = ops[op.cmd].run(v, d, &op);
    if ((result == 0 || result == HC_AGAIN) && ops[op.cmd].answers &&
        !guest_copy_out(v, h->arg[0], &op, sizeof(op)))
        return -XEN_EFAULT;
    return result;
}
