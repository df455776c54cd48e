/* The machine of control_world.h, and what the control domain does to make a domain with a map of ours. */
#ifndef HV_HVM_WORLD_H
#define HV_HVM_WORLD_H

#include "hv/control_world.h"

#define LIST PAGE_OF(6)

static struct xen_domctl wanted(bool nested)
{
    struct xen_domctl op = { .cmd = XEN_DOMCTL_createdomain };

    op.u.createdomain.flags =
        XEN_DOMCTL_CDF_hvm | (nested ? XEN_DOMCTL_CDF_hap : XEN_DOMCTL_CDF_oos_off);
    op.u.createdomain.arch.emulation_flags = XEN_X86_EMU_LAPIC;
    op.u.createdomain.max_vcpus = 2;
    op.u.createdomain.max_evtchn_port = 1023;
    op.u.createdomain.max_grant_frames = 64;
    op.u.createdomain.grant_opts = 1;
    return op;
}

static struct domain *made(bool nested)
{
    struct xen_domctl op = wanted(nested);

    assert_int_equal(domctl(control, 0, &op), 0);
    return domain_by_id(op.domain);
}

static int64_t simple(struct domain *who, struct domain *d, uint32_t cmd, uint64_t value)
{
    struct xen_domctl op = { .cmd = cmd };

    if (cmd == XEN_DOMCTL_max_vcpus)
        op.u.max_vcpus.max = (uint32_t)value;
    else if (cmd == XEN_DOMCTL_max_mem)
        op.u.max_mem.max_memkb = value;
    else if (cmd == XEN_DOMCTL_set_paging_mempool_size)
        op.u.paging_mempool.size = value;
    return domctl(who, d->id, &op);
}

static inline uint64_t pool_of(struct domain *d)
{
    struct xen_domctl op = { .cmd = XEN_DOMCTL_get_paging_mempool_size };

    assert_int_equal(domctl(control, d->id, &op), 0);
    return op.u.paging_mempool.size;
}

/* `count` extents from the gfn on; how many came. */
static inline int64_t populate(struct domain *d, uint64_t gfn, unsigned order, uint64_t count)
{
    struct xen_memory_reservation r = { .nr_extents = count,
                                        .extent_order = order,
                                        .domid = d->id };

    for (uint64_t i = 0, at; i < count; i++) {
        at = gfn + (i << order);
        store(control, LIST + i * 8, &at, 8);
    }
    r.extent_start.p = (void *)LIST;
    return call_with(control, __HYPERVISOR_memory_op, XENMEM_populate_physmap, &r, sizeof(r));
}

static inline struct domain *filled(bool nested)
{
    struct domain *d = made(nested);

    assert_int_equal(simple(control, d, XEN_DOMCTL_max_vcpus, 2), 0);
    assert_int_equal(simple(control, d, XEN_DOMCTL_max_mem, 8 << 10), 0);
    assert_int_equal(simple(control, d, XEN_DOMCTL_set_paging_mempool_size, 0), 0);
    assert_int_equal(populate(d, 0, 9, 1), 1);
    return d;
}

#endif
