/* Hypercalls: dispatch by number, and the calls that consist of calls. */
#include "hv/hypercall.h"

#include "hv/control.h"
#include "hv/hc.h"
#include "hv/hc_foreign.h"
#include "hv/pv.h"
#include "hv/trace.h"

static hypercall_handler *const hvm_table[DOMAIN_HYPERCALLS] = {
    [__HYPERVISOR_memory_op] = hc_memory_op,
    [__HYPERVISOR_multicall] = hc_multicall,
    [__HYPERVISOR_set_timer_op] = hc_set_timer_op,
    [__HYPERVISOR_xen_version] = hc_xen_version,
    [__HYPERVISOR_console_io] = hc_console_io,
    [__HYPERVISOR_grant_table_op] = hc_grant_table_op,
    [__HYPERVISOR_vm_assist] = hc_vm_assist,
    [__HYPERVISOR_vcpu_op] = hc_vcpu_op,
    [__HYPERVISOR_sched_op] = hc_sched_op,
    [__HYPERVISOR_event_channel_op] = hc_event_channel_op,
    [__HYPERVISOR_hvm_op] = hc_hvm_op,
    [__HYPERVISOR_mmuext_op] = hc_mmuext_op_of_others,
    [__HYPERVISOR_dm_op] = hc_dm_op,
    [__HYPERVISOR_platform_op] = hc_platform_op,
    [__HYPERVISOR_sysctl] = hc_sysctl,
    [__HYPERVISOR_domctl] = hc_domctl,
};

static hypercall_handler *const pv_table[DOMAIN_HYPERCALLS] = {
    [__HYPERVISOR_set_trap_table] = hc_set_trap_table,
    [__HYPERVISOR_mmu_update] = hc_mmu_update,
    [__HYPERVISOR_set_gdt] = hc_set_gdt,
    [__HYPERVISOR_stack_switch] = hc_stack_switch,
    [__HYPERVISOR_set_callbacks] = hc_set_callbacks,
    [__HYPERVISOR_fpu_taskswitch] = hc_fpu_taskswitch,
    [__HYPERVISOR_set_debugreg] = hc_set_debugreg,
    [__HYPERVISOR_get_debugreg] = hc_get_debugreg,
    [__HYPERVISOR_update_descriptor] = hc_update_descriptor,
    [__HYPERVISOR_memory_op] = hc_pv_memory_op,
    [__HYPERVISOR_hvm_op] = hc_hvm_op,
    [__HYPERVISOR_dm_op] = hc_dm_op,
    [__HYPERVISOR_multicall] = hc_multicall,
    [__HYPERVISOR_update_va_mapping] = hc_update_va_mapping,
    [__HYPERVISOR_set_timer_op] = hc_set_timer_op,
    [__HYPERVISOR_xen_version] = hc_xen_version,
    [__HYPERVISOR_console_io] = hc_console_io,
    [__HYPERVISOR_grant_table_op] = hc_grant_table_op,
    [__HYPERVISOR_vm_assist] = hc_vm_assist,
    [__HYPERVISOR_update_va_mapping_otherdomain] = hc_update_va_mapping_otherdomain,
    [__HYPERVISOR_iret] = hc_iret,
    [__HYPERVISOR_vcpu_op] = hc_vcpu_op,
    [__HYPERVISOR_set_segment_base] = hc_set_segment_base,
    [__HYPERVISOR_mmuext_op] = hc_mmuext_op,
    [__HYPERVISOR_nmi_op] = hc_nmi_op,
    [__HYPERVISOR_sched_op] = hc_sched_op,
    [__HYPERVISOR_callback_op] = hc_callback_op,
    [__HYPERVISOR_event_channel_op] = hc_event_channel_op,
    [__HYPERVISOR_physdev_op] = hc_physdev_op,
    [__HYPERVISOR_platform_op] = hc_platform_op,
    [__HYPERVISOR_sysctl] = hc_sysctl,
    [__HYPERVISOR_domctl] = hc_domctl,
};

int64_t hc_dispatch(struct vcpu *v, struct hypercall *h)
{
    struct domain            *d = v->domain;
    hypercall_handler *const *table = d->pv != NULL ? pv_table : hvm_table;

    if (h->nr >= DOMAIN_HYPERCALLS || table[h->nr] == NULL) {
        d->hypercalls_unknown++;
        return -XEN_ENOSYS;
    }
    d->hypercalls[h->nr]++;
    return table[h->nr](v, h);
}

static enum hypercall_outcome outcome(struct hypercall *h, int64_t result)
{
    h->result = result;
    return result == HC_AGAIN ? HYPERCALL_AGAIN : HYPERCALL_DONE;
}

/* Apart from the rest, which needs to keep nothing over the call. */
static __attribute__((noinline)) enum hypercall_outcome run_traced(struct vcpu      *v,
                                                                   struct hypercall *h)
{
    uint64_t               first = h->arg[0];
    enum hypercall_outcome o = outcome(h, hc_dispatch(v, h));

    if (o == HYPERCALL_DONE)
        trace(TRACE_HYPERCALL, v, h->nr, first, (uint64_t)h->result);
    return o;
}

enum hypercall_outcome hypercall_run(struct vcpu *v, struct hypercall *h)
{
    if (__builtin_expect(trace_enabled, 0))
        return run_traced(v, h);
    return outcome(h, hc_dispatch(v, h));
}

int64_t hc_own_domain(const struct vcpu *v, uint16_t id)
{
    if (id == DOMID_SELF || id == v->domain->id)
        return 0;
    return domain_by_id(id) != NULL ? -XEN_EPERM : -XEN_ESRCH;
}

int64_t hc_target(struct vcpu *v, uint16_t id, struct domain **d)
{
    if (!domain_is_control(v->domain)) {
        *d = v->domain;
        return hc_own_domain(v, id);
    }
    *d = id == DOMID_SELF ? v->domain : domain_by_id(id);
    return *d != NULL && (*d)->state != DOMAIN_DYING ? 0 : -XEN_ESRCH;
}

/* The machine's firmware, its power and its clock are nobody's. */
int64_t hc_platform_op(struct vcpu *v, struct hypercall *h)
{
    (void)h;
    return domain_is_control(v->domain) ? -XEN_ENOSYS : -XEN_EPERM;
}

/* ---- multicall ---- */

/*
 * Runs one entry. HC_AGAIN: it is not finished, and the guest's entry says what is left.
 * -EFAULT: the entry cannot be read or written; anything else: go on.
 */
static int64_t multicall_one(struct vcpu *v, uint64_t va)
{
    struct multicall_entry entry;
    struct hypercall       h;
    int64_t                result;

    _Static_assert(sizeof(entry.args) == sizeof(h.arg), "xen.h");
    if (!guest_copy_in(v, &entry, va, sizeof(entry)))
        return -XEN_EFAULT;
    h = (struct hypercall){ .nr = entry.op };
    for (unsigned i = 0; i < 6; i++)
        h.arg[i] = entry.args[i];
    /* Neither calls of calls, nor a return to elsewhere in the middle of them. */
    result = h.nr == __HYPERVISOR_multicall || h.nr == __HYPERVISOR_iret ? -XEN_EINVAL
                                                                         : hc_dispatch(v, &h);
    if (result != HC_AGAIN) {
        entry.result = (xen_ulong_t)result;
        return guest_copy_out(v, va + offsetof(struct multicall_entry, result), &entry.result,
                              sizeof(entry.result))
                   ? 0
                   : -XEN_EFAULT;
    }
    for (unsigned i = 0; i < 6; i++)
        entry.args[i] = h.arg[i];
    return guest_copy_out(v, va + offsetof(struct multicall_entry, args), entry.args,
                          sizeof(entry.args))
               ? HC_AGAIN
               : -XEN_EFAULT;
}

/* arg[0]: the next entry, arg[1]: how many are left. */
int64_t hc_multicall(struct vcpu *v, struct hypercall *h)
{
    h->arg[1] = (uint32_t)h->arg[1];
    for (bool first = true; h->arg[1] != 0; first = false) {
        int64_t result;

        if (!first && hc_preempt())
            return HC_AGAIN;
        result = multicall_one(v, h->arg[0]);
        if (result != 0)
            return result;
        h->arg[0] += sizeof(struct multicall_entry);
        h->arg[1]--;
        /* The call that put the vCPU to sleep or ended the domain was the last of this run. */
        if (h->arg[1] != 0 && (v->state != VCPU_RUNNABLE || v->domain->state != DOMAIN_RUNNING))
            return HC_AGAIN;
    }
    return 0;
}
