/*
 * hvm_op: the parameters of a domain (hvm/params.h): its own, and those by which the control domain tells one that
 * it makes where things are.
 */
#include "hv/hc.h"
#include "hv/vm_event.h"

#define VECTOR_FIRST 0x10 /* below are exceptions; the local APIC refuses them, APM vol. 2, 16.4 */

#define GFNS      (UINT64_C(1) << (P2M_BITS - PAGE_SHIFT))
#define ADDRESSES (UINT64_C(1) << P2M_BITS)

/* What whoever makes a domain may say: values below this; 0: nothing. What is not there can only be off. */
static const uint64_t limit[HVM_NR_PARAMS] = {
    [HVM_PARAM_STORE_PFN] = GFNS,
    [HVM_PARAM_STORE_EVTCHN] = DOMAIN_PORTS_MAX,
    [HVM_PARAM_IOREQ_PFN] = GFNS,
    [HVM_PARAM_BUFIOREQ_PFN] = GFNS,
    [HVM_PARAM_VIRIDIAN] = 1,
    [HVM_PARAM_TIMER_MODE] = HVMPTM_one_missed_tick_pending + 1,
    [HVM_PARAM_HPET_ENABLED] = 1,
    [HVM_PARAM_IDENT_PT] = ADDRESSES,
    [HVM_PARAM_CONSOLE_PFN] = GFNS,
    [HVM_PARAM_CONSOLE_EVTCHN] = DOMAIN_PORTS_MAX,
    [HVM_PARAM_PAGING_RING_PFN] = GFNS,
    [HVM_PARAM_MONITOR_RING_PFN] = GFNS,
    [HVM_PARAM_SHARING_RING_PFN] = GFNS,
    [HVM_PARAM_ALTP2M] = 1,
    [HVM_PARAM_MCA_CAP] = 1,
};

static int64_t set_callback(struct domain *d, uint64_t value)
{
    uint64_t type = value >> 56;
    uint8_t  vector = (uint8_t)value;

    if (value == 0) {
        d->callback_vector = 0;
    } else {
        if (type != HVM_PARAM_CALLBACK_TYPE_VECTOR || vector < VECTOR_FIRST)
            return -XEN_EINVAL;
        d->callback_vector = vector;
    }
    d->hvm_param[HVM_PARAM_CALLBACK_IRQ] = value;
    return 0;
}

static int64_t set_param(const struct vcpu *v, struct domain *d, const struct xen_hvm_param *param)
{
    if (param->index == HVM_PARAM_CALLBACK_IRQ)
        return set_callback(d, param->value);
    if (d == v->domain)
        return -XEN_EPERM; /* the others are the builder's */
    if (param->value >= limit[param->index])
        return -XEN_EINVAL;
    d->hvm_param[param->index] = param->value;
    return 0;
}

/* Of a PV domain there is only where a listener finds its ring. */
static bool has_param(const struct domain *d, uint64_t op, uint32_t index)
{
    return d->pv == NULL || (op == HVMOP_get_param && index == HVM_PARAM_MONITOR_RING_PFN);
}

/* arg[0]: operation, arg[1]: its structure. */
int64_t hc_hvm_op(struct vcpu *v, struct hypercall *h)
{
    struct xen_hvm_param param;
    struct domain       *d = NULL;
    int64_t              result;

    if (h->arg[0] == HVMOP_pagetable_dying)
        return -XEN_EINVAL; /* a hint that does not pay: doc/shadow.md */
    if (h->arg[0] != HVMOP_set_param && h->arg[0] != HVMOP_get_param)
        return hc_monitor_hvm_op(v, h);
    if (!guest_copy_in(v, &param, h->arg[1], sizeof(param)))
        return -XEN_EFAULT;
    result = hc_target(v, param.domid, &d);
    if (result != 0)
        return result;
    if (param.index >= HVM_NR_PARAMS || !has_param(d, h->arg[0], param.index))
        return -XEN_EINVAL;
    if (h->arg[0] == HVMOP_set_param)
        return set_param(v, d, &param);
    /* Xen's tools ask this before they map the page, which is nobody's then if one of them has died. */
    if (param.index == HVM_PARAM_MONITOR_RING_PFN && d != v->domain)
        vm_event_disable_dead(d);
    param.value = d->pv != NULL ? VM_EVENT_PV_PFN : d->hvm_param[param.index];
    return guest_copy_out(v, h->arg[1], &param, sizeof(param)) ? 0 : -XEN_EFAULT;
}
