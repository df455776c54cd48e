/*
 * domctl: a domain is made, piece by piece: an empty one, its vCPUs (domctl.h). How these begin is in
 * hc_domctl_vcpu.c; its memory comes by memory_op, what is in it by foreign mappings.
 */
#include <string.h>

#include "hv/build.h"
#include "hv/domain_pool.h"
#include "hv/hc_control.h"
#include "hv/print.h"
#include "hv/pv.h"
#include "hv/time.h"

/* ---- an empty one ---- */

/* What a person asks for in a file of xl's, and cannot have, is said: xl knows the error's number only. */
static int64_t refused(const char *why)
{
    print("umbra: a domain of xl's is refused: %s\n", why);
    return -XEN_EOPNOTSUPP;
}

/* A guest with a processor of its own: a local APIC is all of a board that it gets. */
static int64_t wanted_hvm(const struct xen_domctl_createdomain *c, struct config *config)
{
    bool nested = (c->flags & XEN_DOMCTL_CDF_hap) != 0;

    if ((c->arch.emulation_flags & XEN_X86_EMU_LAPIC) == 0)
        return -XEN_EINVAL;
    if (c->arch.emulation_flags != XEN_X86_EMU_LAPIC)
        return refused("there are no devices for it: write type=\"pvh\"");
    if (!machine_offers_hvm())
        return refused("this machine runs PV guests only: write type=\"pv\"");
    if (nested && !machine_offers_nested())
        return refused("this machine has no nested paging: write hap=0");
    config->type = CONFIG_PVH;
    config->paging = nested ? CONFIG_PAGING_NESTED : CONFIG_PAGING_SHADOW;
    return 0;
}

/* A kernel that finds vCPUs which never come up waits for them, or panics. */
static int64_t too_many_vcpus(uint32_t count)
{
    if (count <= machine_vcpus_max())
        return 0;
    print("umbra: a domain with %u vCPUs is refused: write vcpus=%u\n", count, machine_vcpus_max());
    return -XEN_EOPNOTSUPP;
}

/* What the hypervisor cannot do is refused, and so is what it would only ignore; oos_off is a hint. */
static int64_t wanted(const struct xen_domctl_createdomain *c, struct config *config)
{
    uint32_t known = XEN_DOMCTL_CDF_hvm | XEN_DOMCTL_CDF_hap | XEN_DOMCTL_CDF_oos_off;

    if ((c->flags & ~known) != 0 || c->iommu_opts != 0 || c->vmtrace_size != 0 ||
        c->cpupool_id != 0 || c->max_vcpus == 0 || c->arch.misc_flags != 0 ||
        XEN_DOMCTL_GRANT_version(c->grant_opts) != 1)
        return -XEN_EINVAL;
    *config = (struct config){ .type = CONFIG_PV, .vcpus = c->max_vcpus };
    if ((c->flags & XEN_DOMCTL_CDF_hvm) != 0)
        return wanted_hvm(c, config);
    return c->max_vcpus != 1 || c->flags != 0 || c->arch.emulation_flags != 0 ? -XEN_EINVAL : 0;
}

/* A number that is given must be free; 0 and what is no number ask for any. */
int64_t domctl_createdomain(struct vcpu *v, struct domain *none, struct xen_domctl *op)
{
    struct config  config;
    int64_t        result = too_many_vcpus(op->u.createdomain.max_vcpus);
    uint16_t       id = op->domain < DOMID_FIRST_RESERVED ? op->domain : 0;
    struct domain *d;

    (void)v;
    (void)none;
    if (result == 0)
        result = wanted(&op->u.createdomain, &config);
    if (result != 0)
        return result;
    if (id != 0 && domain_by_id(id) != NULL)
        return -XEN_EEXIST;
    d = domain_create_empty(&config, id);
    if (d == NULL)
        return -XEN_ENOMEM;
    memcpy(d->handle, op->u.createdomain.handle, sizeof(d->handle));
    op->domain = d->id;
    return 0;
}

/* The pool of tables grows to what so many need, then they come one by one. */
int64_t domctl_max_vcpus(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    (void)v;
    if (op->u.max_vcpus.max != d->config.vcpus || d->state != DOMAIN_BUILDING)
        return -XEN_EINVAL;
    if (d->pv == NULL) {
        enum domain_pool_result pool = domain_pool_grow(d, domain_pool_least(d, 0));

        if (pool != DOMAIN_POOL_DONE)
            return pool == DOMAIN_POOL_AGAIN ? HC_AGAIN : -XEN_ENOMEM;
    }
    if (!domain_create_vcpu(d))
        return -XEN_ENOMEM;
    return d->nr_vcpus < d->config.vcpus ? HC_AGAIN : 0;
}

/* The TSC is never emulated, which is what these modes allow. */
int64_t domctl_settscinfo(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    (void)v;
    (void)d;
    return op->u.tsc_info.tsc_mode == 0 || op->u.tsc_info.tsc_mode == 2 ? 0 : -XEN_EINVAL;
}

int64_t domctl_gettscinfo(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    (void)v;
    (void)d;
    op->u.tsc_info = (struct xen_domctl_tsc_info){ .tsc_mode = 2,
                                                   .gtsc_khz = (uint32_t)machine_ticks_per_ms(),
                                                   .elapsed_nsec = machine_now() };
    return 0;
}

/* The page of hypercalls, for kernels that have one. */
int64_t domctl_hypercall_init(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    mfn_t mfn = mfn_of(op->u.hypercall_init.gmfn);

    (void)v;
    if (d->pv == NULL)
        return -XEN_EOPNOTSUPP; /* it asks by an MSR */
    if (!pv_keep(d, mfn, TYPE_WRITABLE))
        return -XEN_EINVAL;
    pv_hypercall_page(phys_ptr(&machine_phys, mfn));
    pv_let_go(d, mfn, TYPE_WRITABLE);
    return 0;
}
