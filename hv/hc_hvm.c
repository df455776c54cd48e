/* hvm_op: the parameters of the domain. */
#include "hv/hc.h"

#define VECTOR_FIRST 0x10 /* below are exceptions; the local APIC refuses them, APM vol. 2, 16.4 */

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

static int64_t set_param(struct vcpu *v, const struct xen_hvm_param *param)
{
    if (param->index == HVM_PARAM_CALLBACK_IRQ)
        return set_callback(v->domain, param->value);
    return -XEN_EPERM; /* the others are the builder's */
}

/* arg[0]: operation, arg[1]: its structure. */
int64_t hc_hvm_op(struct vcpu *v, struct hypercall *h)
{
    struct xen_hvm_param param;
    int64_t              result;

    if (h->arg[0] == HVMOP_pagetable_dying)
        return -XEN_EINVAL; /* a hint that does not pay: doc/shadow.md */
    if (h->arg[0] != HVMOP_set_param && h->arg[0] != HVMOP_get_param)
        return hc_monitor_hvm_op(v, h);
    if (!guest_copy_in(v, &param, h->arg[1], sizeof(param)))
        return -XEN_EFAULT;
    result = hc_own_domain(v, param.domid);
    if (result != 0)
        return result;
    if (param.index >= HVM_NR_PARAMS)
        return -XEN_EINVAL;
    if (h->arg[0] == HVMOP_set_param)
        return set_param(v, &param);
    param.value = v->domain->hvm_param[param.index];
    return guest_copy_out(v, h->arg[1], &param, sizeof(param)) ? 0 : -XEN_EFAULT;
}
