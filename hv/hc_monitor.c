/*
 * The control domain's calls about watching another domain: access rights of its frames, who listens,
 * which other events are told. doc/vm_event.md.
 */
#include "hv/access.h"
#include "hv/control.h"
#include "hv/hc_control.h"
#include "hv/kind.h"
#include "hv/pv.h"
#include "hv/vm_event.h"

/* memory.h has these numbers in a comment. EMULATE needs no permission of its own here. */
#define ACCESS_OP_ENABLE_EMULATE  2
#define ACCESS_OP_DISABLE_EMULATE 3

#define OLD_SHIFT 8 /* of hvm_op's word: above it stands how far a call has come */

/* hvm_op.h has the numbers of these calls only. */
struct old_set_access {
    uint16_t domid;
    uint16_t access;
    uint32_t nr;
    uint64_t first;
};
struct old_get_access {
    uint16_t domid;
    uint16_t access; /* out */
    uint64_t pfn;
};

_Static_assert((int)XENMEM_access_n == ACCESS_NONE && (int)XENMEM_access_r == ACCESS_READ &&
                   (int)XENMEM_access_w == ACCESS_WRITE && (int)XENMEM_access_x == ACCESS_FETCH &&
                   (int)XENMEM_access_rwx == ACCESS_ALL &&
                   (int)XENMEM_access_rx2rw == ACCESS_RX2RW &&
                   (int)XENMEM_access_n2rwx == ACCESS_N2RWX &&
                   (int)XENMEM_access_default == ACCESS_DEFAULT,
               "memory.h");
_Static_assert(sizeof(struct xen_mem_access_op) == 32, "memory.h");
_Static_assert(sizeof(struct old_set_access) == 16 && sizeof(struct old_get_access) == 16, "");

/* ---- rights ---- */

/* The domain, if it can be watched by this caller; else an error. */
static int64_t target(struct vcpu *v, uint16_t id, struct domain **d)
{
    int64_t result;

    if (!domain_is_control(v->domain))
        return -XEN_EPERM;
    result = hc_target(v, id, d);
    if (result != 0)
        return result;
    if (*d == v->domain)
        return -XEN_EPERM;
    if (access_refused(*d) != NULL)
        return -XEN_EOPNOTSUPP;
    return vm_event_is_on(*d) ? 0 : -XEN_ENODEV;
}

/* What a step has asked for. HC_AGAIN: the same step again. */
static int64_t stepped(struct domain *d, const struct verdict *verdict)
{
    verdict_flush(d, verdict);
    if (verdict->kind == VERDICT_CRASH) {
        domain_crash(d, "%s", verdict->why);
        return -XEN_ENOMEM;
    }
    return verdict->again ? HC_AGAIN : 0;
}

static int64_t set_default(struct domain *d, enum access_type type)
{
    struct verdict verdict;

    if (type == ACCESS_DEFAULT) /* stays what it is */
        return 0;
    verdict = paging_access_default(domain_lock(d), type);
    return stepped(d, &verdict);
}

/* From *done on, until others should have their turn. */
static int64_t set_range(struct domain *d, uint64_t first, uint64_t nr, enum access_type type,
                         uint64_t *done)
{
    for (bool later = false; *done < nr; later = true) {
        struct verdict verdict;
        uint64_t       now;
        int64_t        result;

        if (later && hc_preempt())
            return HC_AGAIN;
        verdict = paging_access_set(domain_lock(d), gfn_of(first + *done), nr - *done, type, &now);
        *done += now;
        result = stepped(d, &verdict);
        if (result != 0 && result != HC_AGAIN)
            return result;
    }
    return 0;
}

static bool in_map(const struct domain *d, uint64_t first, uint64_t nr)
{
    return nr == 0 || (first + nr - 1 >= first && first + nr - 1 < access_frames(d));
}

static int64_t set_access(struct domain *d, const struct xen_mem_access_op *op, uint64_t *done)
{
    if (op->access > ACCESS_DEFAULT)
        return -XEN_EINVAL;
    d->access_by_operator = false;
    if (op->pfn == ~UINT64_C(0))
        return set_default(d, (enum access_type)op->access);
    if (*done > op->nr || !in_map(d, op->pfn, op->nr))
        return -XEN_EINVAL;
    return set_range(d, op->pfn, op->nr, (enum access_type)op->access, done);
}

/* Each of a list; what was set before a wrong one stays. */
static int64_t set_multi(struct vcpu *v, struct domain *d, const struct xen_mem_access_op *op,
                         uint64_t *done)
{
    if (*done > op->nr)
        return -XEN_EINVAL;
    d->access_by_operator = false;
    for (bool later = false; *done < op->nr; later = true, ++*done) {
        uint64_t pfn, one = 0;
        uint8_t  access;
        int64_t  result = 0;

        if (later && hc_preempt())
            return HC_AGAIN;
        if (!guest_copy_in(v, &pfn, hc_address(op->pfn_list.p) + *done * sizeof(pfn),
                           sizeof(pfn)) ||
            !guest_copy_in(v, &access, hc_address(op->access_list.p) + *done, sizeof(access)))
            return -XEN_EFAULT;
        if (access > ACCESS_DEFAULT || !in_map(d, pfn, 1))
            result = -XEN_EINVAL;
        if (result == 0)
            result = set_range(d, pfn, 1, (enum access_type)access, &one);
        if (result != 0)
            return result;
    }
    return 0;
}

static int64_t get_access(const struct domain *d, uint64_t pfn, unsigned *access)
{
    if (pfn == ~UINT64_C(0))
        *access = d->paging.access.fallback;
    else if (in_map(d, pfn, 1))
        *access = access_get(&d->paging.access, gfn_of(pfn));
    else
        return -XEN_EINVAL;
    return 0;
}

int64_t hc_access_op(struct vcpu *v, struct hypercall *h)
{
    uint64_t                 done = h->arg[0] >> HC_EXTENT_SHIFT;
    struct xen_mem_access_op op;
    struct domain           *d;
    unsigned                 access;
    int64_t                  result;

    if (!guest_copy_in(v, &op, h->arg[1], sizeof(op)))
        return -XEN_EFAULT;
    result = target(v, op.domid, &d);
    if (result != 0)
        return result;
    switch (op.op) {
    case XENMEM_access_op_set_access:
        result = set_access(d, &op, &done);
        break;
    case XENMEM_access_op_set_access_multi:
        result = set_multi(v, d, &op, &done);
        break;
    case XENMEM_access_op_get_access:
        result = get_access(d, op.pfn, &access);
        if (result != 0)
            return result;
        op.access = (uint8_t)access;
        return guest_copy_out(v, h->arg[1], &op, sizeof(op)) ? 0 : -XEN_EFAULT;
    case ACCESS_OP_ENABLE_EMULATE:
    case ACCESS_OP_DISABLE_EMULATE:
        return 0;
    default:
        return -XEN_ENOSYS;
    }
    if (result == HC_AGAIN)
        h->arg[0] = XENMEM_access_op | done << HC_EXTENT_SHIFT;
    return result;
}

static int64_t old_set_access(struct vcpu *v, struct hypercall *h)
{
    uint64_t                 done = h->arg[0] >> OLD_SHIFT;
    struct old_set_access    old;
    struct xen_mem_access_op op = { .op = XENMEM_access_op_set_access };
    struct domain           *d;
    int64_t                  result;

    if (!guest_copy_in(v, &old, h->arg[1], sizeof(old)))
        return -XEN_EFAULT;
    result = target(v, old.domid, &d);
    if (result != 0)
        return result;
    if (old.access > ACCESS_DEFAULT)
        return -XEN_EINVAL;
    op.access = (uint8_t)old.access;
    op.nr = old.nr;
    op.pfn = old.first;
    result = set_access(d, &op, &done);
    if (result == HC_AGAIN)
        h->arg[0] = HVMOP_set_mem_access | done << OLD_SHIFT;
    return result;
}

static int64_t old_get_access(struct vcpu *v, struct hypercall *h)
{
    struct old_get_access old;
    struct domain        *d;
    unsigned              access;
    int64_t               result;

    if (!guest_copy_in(v, &old, h->arg[1], sizeof(old)))
        return -XEN_EFAULT;
    result = target(v, old.domid, &d);
    if (result == 0)
        result = get_access(d, old.pfn, &access);
    if (result != 0)
        return result;
    old.access = (uint16_t)access;
    return guest_copy_out(v, h->arg[1], &old, sizeof(old)) ? 0 : -XEN_EFAULT;
}

int64_t hc_monitor_hvm_op(struct vcpu *v, struct hypercall *h)
{
    uint64_t op = h->arg[0] & ((1u << OLD_SHIFT) - 1);

    if (op == HVMOP_set_mem_access)
        return old_set_access(v, h);
    if (op != h->arg[0])
        return -XEN_ENOSYS;
    if (op == HVMOP_get_mem_access)
        return old_get_access(v, h);
    if (op != HVMOP_guest_request_vm_event)
        return -XEN_ENOSYS;
    vm_event_guest_request(v);
    return 0;
}

/* ---- who listens ---- */

/* A PV guest's own tables are the real ones, in which nothing can be forbidden. */
static int64_t give_shadows(struct domain *d)
{
    if (d->pv == NULL || pv_is_shadowed(d))
        return 0;
    if (d->nr_vcpus == 0)
        return -XEN_EINVAL; /* those to come would not have them */
    switch (kind_change_step(d, PAGED_SHADOW)) {
    case KIND_DONE:
        d->pv->watched = true;
        return 0;
    case KIND_AGAIN:
        return HC_AGAIN;
    case KIND_NO_MEMORY:
    case KIND_CRASHED:
        break;
    }
    return -XEN_ENOMEM;
}

static int64_t enable(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    unsigned port;
    int64_t  result = 0;

    if (!vm_event_is_on(d) && mfn_valid(vm_event_page(d)))
        result = give_shadows(d);
    if (result != 0)
        return result;
    switch (vm_event_enable(d, v->domain->id, &port)) {
    case VM_EVENT_OK:
        op->u.vm_event_op.u.enable.port = port;
        return 0;
    case VM_EVENT_BUSY:
        return -XEN_EBUSY;
    case VM_EVENT_NO_PAGE:
        return d->pv != NULL || d->hvm_param[HVM_PARAM_MONITOR_RING_PFN] != 0 ? -XEN_EINVAL
                                                                              : -XEN_EOPNOTSUPP;
    case VM_EVENT_NO_MEMORY:
        break;
    }
    return -XEN_ENOMEM;
}

int64_t domctl_vm_event_op(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    if (d == v->domain)
        return -XEN_EINVAL;
    if (op->u.vm_event_op.mode != XEN_DOMCTL_VM_EVENT_OP_MONITOR)
        return -XEN_EOPNOTSUPP;
    switch (op->u.vm_event_op.op) {
    case XEN_VM_EVENT_ENABLE:
        return enable(v, d, op);
    case XEN_VM_EVENT_DISABLE:
        vm_event_disable(d);
        return 0;
    case XEN_VM_EVENT_RESUME:
        vm_event_answered(d);
        return vm_event_is_on(d) ? 0 : -XEN_ENODEV;
    default:
        return -XEN_ENOSYS;
    }
}

int64_t domctl_set_access_required(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    if (d == v->domain)
        return -XEN_EPERM;
    d->access_required = op->u.access_required.access_required != 0;
    return 0;
}

int64_t domctl_debug_op(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    uint32_t what = op->u.debug_op.op, vcpu = op->u.debug_op.vcpu;

    if (d == v->domain || vcpu >= d->nr_vcpus)
        return -XEN_EINVAL;
    if (what != XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_ON && what != XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_OFF)
        return -XEN_ENOSYS;
    if (!vm_event_is_on(d))
        return -XEN_ENODEV; /* whom should it be told? */
    vm_event_step(d->vcpu[vcpu], what == XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_ON);
    return 0;
}

/* ---- which events ---- */

/* What can be told of, besides accesses. */
#define CAPABILITIES                                                                               \
    (VM_EVENT_BIT(GUEST_REQUEST) | VM_EVENT_BIT(SINGLESTEP) | VM_EVENT_BIT(SOFTWARE_BREAKPOINT) |  \
     VM_EVENT_BIT(DEBUG_EXCEPTION) | VM_EVENT_BIT(CPUID) | VM_EVENT_BIT(WRITE_CTRLREG) |           \
     VM_EVENT_BIT(MOV_TO_MSR))

static int64_t switch_cr(struct domain *d, const struct xen_domctl_monitor_op *op, bool on)
{
    const struct vm_event_register how = { .on = on,
                                           .sync = op->u.mov_to_cr.sync,
                                           .on_change = op->u.mov_to_cr.onchangeonly,
                                           .ignored = op->u.mov_to_cr.bitmask };

    _Static_assert(VM_EVENT_X86_CR0 == 0 && VM_EVENT_X86_CR3 == 1 && VM_EVENT_X86_CR4 == 2,
                   "vm_event.h");
    if (op->u.mov_to_cr.pad1 != 0 || op->u.mov_to_cr.pad2 != 0)
        return -XEN_EINVAL;
    if (op->u.mov_to_cr.index >= VM_EVENT_CRS)
        return -XEN_EOPNOTSUPP; /* XCR0: guests have no XSAVE */
    return vm_event_watch_cr(d, op->u.mov_to_cr.index, &how);
}

static int64_t switch_msr(struct domain *d, const struct xen_domctl_monitor_op *op, bool on)
{
    const struct vm_event_register how = { .msr = op->u.mov_to_msr.msr,
                                           .on = on,
                                           .sync = true,
                                           .on_change = op->u.mov_to_msr.onchangeonly };

    return d->pv != NULL || machine_msr_is_seen(how.msr) ? vm_event_watch_msr(d, &how)
                                                         : -XEN_EOPNOTSUPP;
}

/* Turning on what is on, or off what is off, is an error. */
static int64_t switch_bit(struct vm_event *e, const struct xen_domctl_monitor_op *op, bool on)
{
    uint32_t bit = 1u << op->event;

    if (((e->events & bit) != 0) == on)
        return -XEN_EEXIST;
    e->events ^= bit;
    if (bit == VM_EVENT_BIT(GUEST_REQUEST))
        e->request_sync = op->u.guest_request.sync;
    if (bit == VM_EVENT_BIT(DEBUG_EXCEPTION))
        e->debug_sync = op->u.debug_exception.sync;
    return 0;
}

static int64_t switch_event(struct domain *d, const struct xen_domctl_monitor_op *op, bool on)
{
    int64_t result;

    if (op->event >= 32 || !(CAPABILITIES & 1u << op->event))
        return -XEN_EOPNOTSUPP;
    if (!vm_event_is_on(d))
        return -XEN_ENODEV;
    if (op->event == XEN_DOMCTL_MONITOR_EVENT_WRITE_CTRLREG)
        result = switch_cr(d, op, on);
    else if (op->event == XEN_DOMCTL_MONITOR_EVENT_MOV_TO_MSR)
        result = switch_msr(d, op, on);
    else
        result = switch_bit(d->vm_event, op, on);
    for (unsigned i = 0; result == 0 && i < d->nr_vcpus; i++)
        if (vcpu_has_edge(d->vcpu[i]))
            machine_vcpu_watch(d->vcpu[i]);
    return result;
}

int64_t domctl_monitor_op(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    if (d == v->domain)
        return -XEN_EPERM;
    switch (op->u.monitor_op.op) {
    case XEN_DOMCTL_MONITOR_OP_ENABLE:
        return switch_event(d, &op->u.monitor_op, true);
    case XEN_DOMCTL_MONITOR_OP_DISABLE:
        return switch_event(d, &op->u.monitor_op, false);
    case XEN_DOMCTL_MONITOR_OP_GET_CAPABILITIES:
        op->u.monitor_op.event = CAPABILITIES;
        return 0;
    case XEN_DOMCTL_MONITOR_OP_CONTROL_REGISTERS: /* a write that is asked about waits always */
        return vm_event_is_on(d) ? 0 : -XEN_ENODEV;
    default:
        return -XEN_EOPNOTSUPP;
    }
}

/* ---- events for a guest ---- */

/* arg[0]: domain, arg[1]: number of buffers, arg[2]: these. Injecting an event is all there is. */
int64_t hc_dm_op(struct vcpu *v, struct hypercall *h)
{
    struct xen_dm_op_buf buffer;
    struct xen_dm_op     op = { .op = 0 };
    struct domain       *d;
    struct machine_event event;
    int64_t              result;

    if (!domain_is_control(v->domain))
        return -XEN_EPERM;
    result = hc_target(v, (uint16_t)h->arg[0], &d);
    if (result != 0)
        return result;
    if (h->arg[1] != 1)
        return -XEN_EINVAL;
    if (!guest_copy_in(v, &buffer, h->arg[2], sizeof(buffer)))
        return -XEN_EFAULT;
    if (buffer.size < offsetof(struct xen_dm_op, u) + sizeof(op.u.inject_event))
        return -XEN_EINVAL;
    if (!guest_copy_in(v, &op, hc_address(buffer.h.p),
                       offsetof(struct xen_dm_op, u) + sizeof(op.u.inject_event)))
        return -XEN_EFAULT;
    if (op.op != XEN_DMOP_inject_event)
        return -XEN_EOPNOTSUPP;
    if (op.u.inject_event.vcpuid >= d->nr_vcpus || op.u.inject_event.pad0 != 0)
        return -XEN_EINVAL;
    event = (struct machine_event){ .vector = op.u.inject_event.vector,
                                    .type = op.u.inject_event.type,
                                    .length = op.u.inject_event.insn_len,
                                    .error = op.u.inject_event.error_code,
                                    .cr2 = op.u.inject_event.cr2 };
    return machine_vcpu_inject(d->vcpu[op.u.inject_event.vcpuid], &event) ? 0 : -XEN_EBUSY;
}
