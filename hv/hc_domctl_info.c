/* domctl: what a domain and its vCPUs are, and on which processors they may run: there is one (domctl.h). */
#include <string.h>

#include "hv/control.h"
#include "hv/hc_control.h"
#include "hv/kind.h"

#define GPA_BITS 40 /* of guest-physical addresses, as CPUID has them */

static uint32_t flags_of(const struct domain *d, unsigned up, unsigned awake)
{
    uint32_t flags = 0;

    if (d->state == DOMAIN_DYING)
        flags |= XEN_DOMINF_dying;
    if (d->pv == NULL)
        flags |= XEN_DOMINF_hvm_guest;
    if (d->state == DOMAIN_STOPPED || d->state == DOMAIN_CRASHED)
        flags |= XEN_DOMINF_shutdown;
    if (d->paused != 0)
        flags |= XEN_DOMINF_paused;
    if (up != 0 && awake == 0)
        flags |= XEN_DOMINF_blocked;
    if (this_cpu()->current != NULL && this_cpu()->current->domain == d)
        flags |= XEN_DOMINF_running;
    if (kind_of(d) == PAGED_NESTED)
        flags |= XEN_DOMINF_hap;
    return flags | (d->stop & XEN_DOMINF_shutdownmask) << XEN_DOMINF_shutdownshift;
}

void domctl_describe(const struct domain *d, struct xen_domctl_getdomaininfo *info)
{
    unsigned up = 0, awake = 0;

    memset(info, 0, sizeof(*info));
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        up += d->vcpu[i]->state != VCPU_DOWN;
        awake += d->vcpu[i]->state == VCPU_RUNNABLE;
        info->cpu_time += d->vcpu[i]->ran;
    }
    info->domain = d->id;
    info->flags = flags_of(d, up, awake);
    info->tot_pages = d->pages;
    info->max_pages = d->max_pages;
    /* A PV domain's is a machine frame, another's where the guest has put it. */
    info->shared_info_frame = d->pv != NULL ? d->shared_mfn.raw : d->shared_gfn.raw;
    info->nr_online_vcpus = up;
    info->max_vcpu_id = d->nr_vcpus != 0 ? d->nr_vcpus - 1 : XEN_INVALID_MAX_VCPU_ID;
    memcpy(info->handle, d->handle, sizeof(info->handle));
    info->gpaddr_bits = GPA_BITS;
    info->arch_config.emulation_flags = d->pv != NULL ? 0 : XEN_X86_EMU_LAPIC;
}

/* The first one from this number on: who asks looks at the number in the answer. */
int64_t domctl_getdomaininfo(struct vcpu *v, struct domain *none, struct xen_domctl *op)
{
    const struct domain *d = domains;

    (void)v;
    (void)none;
    if (op->domain >= DOMID_FIRST_RESERVED)
        return -XEN_EINVAL;
    while (d != NULL && d->id < op->domain)
        d = d->next;
    if (d == NULL)
        return -XEN_ESRCH;
    domctl_describe(d, &op->u.getdomaininfo);
    op->domain = d->id;
    return 0;
}

int64_t domctl_getvcpuinfo(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    struct xen_domctl_getvcpuinfo *info = &op->u.getvcpuinfo;
    const struct vcpu             *which;

    if (info->vcpu >= d->nr_vcpus)
        return -XEN_ESRCH;
    which = d->vcpu[info->vcpu];
    info->online = which->state != VCPU_DOWN;
    info->blocked = which->state == VCPU_BLOCKED;
    info->running = which == v;
    info->cpu_time = which->ran;
    info->cpu = 0;
    return 0;
}

int64_t domctl_getvcpuaffinity(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    struct xen_domctl_vcpuaffinity *a = &op->u.vcpuaffinity;

    if (a->vcpu >= d->nr_vcpus)
        return -XEN_ESRCH;
    if ((a->flags & XEN_VCPUAFFINITY_HARD) != 0 && !bitmap_out(v, &a->cpumap_hard, 1))
        return -XEN_EFAULT;
    if ((a->flags & XEN_VCPUAFFINITY_SOFT) != 0 && !bitmap_out(v, &a->cpumap_soft, 1))
        return -XEN_EFAULT;
    return 0;
}

/* It runs where it runs: what is asked for must allow that, and what holds is answered. */
int64_t domctl_setvcpuaffinity(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    const struct xen_domctl_vcpuaffinity *a = &op->u.vcpuaffinity;
    uint8_t                               hard = 1, soft = 1;

    if (a->vcpu >= d->nr_vcpus)
        return -XEN_ESRCH;
    if ((a->flags & XEN_VCPUAFFINITY_HARD) != 0 && !bitmap_in(v, &a->cpumap_hard, &hard))
        return -XEN_EFAULT;
    if ((a->flags & XEN_VCPUAFFINITY_SOFT) != 0 && !bitmap_in(v, &a->cpumap_soft, &soft))
        return -XEN_EFAULT;
    if ((hard & 1) == 0 || soft == 0)
        return -XEN_EINVAL;
    return domctl_getvcpuaffinity(v, d, op);
}

int64_t domctl_nodeaffinity(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    uint8_t nodes;

    (void)d;
    if (op->cmd == XEN_DOMCTL_getnodeaffinity)
        return bitmap_out(v, &op->u.nodeaffinity.nodemap, 1) ? 0 : -XEN_EFAULT;
    if (!bitmap_in(v, &op->u.nodeaffinity.nodemap, &nodes))
        return -XEN_EFAULT;
    return (nodes & 1) != 0 ? 0 : -XEN_EINVAL;
}
