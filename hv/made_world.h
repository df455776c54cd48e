/* In the machine of control_world.h: PV domains that the control domain makes, as Debian's tools do. */
#ifndef HV_MADE_WORLD_H
#define HV_MADE_WORLD_H

#include "hv/control_world.h"

#define CONTEXT PAGE_OF(4) /* and the page behind it */
#define LIST    PAGE_OF(6)
#define MEMORY  16 /* frames */

static uint64_t frames[MEMORY];

static inline struct xen_domctl wanted_pv(void)
{
    struct xen_domctl op = { .cmd = XEN_DOMCTL_createdomain };

    op.u.createdomain.max_vcpus = 1;
    op.u.createdomain.max_evtchn_port = 1023;
    op.u.createdomain.max_grant_frames = 64;
    op.u.createdomain.grant_opts = 1;
    memcpy(op.u.createdomain.handle, "0123456789abcdef", 16);
    return op;
}

static inline struct domain *made(void)
{
    struct xen_domctl op = wanted_pv();

    assert_int_equal(domctl(control, 0, &op), 0);
    return domain_by_id(op.domain);
}

static inline int64_t max_vcpus(struct domain *d, uint32_t max)
{
    struct xen_domctl op = { .cmd = XEN_DOMCTL_max_vcpus };

    op.u.max_vcpus.max = max;
    return domctl(control, d->id, &op);
}

static inline int64_t max_mem(struct domain *d, uint64_t kib)
{
    struct xen_domctl op = { .cmd = XEN_DOMCTL_max_mem };

    op.u.max_mem.max_memkb = kib;
    return domctl(control, d->id, &op);
}

static inline int64_t populate(struct domain *who, uint16_t id, uint64_t count)
{
    struct xen_memory_reservation r = { .nr_extents = count, .domid = id };

    for (uint64_t i = 0; i < count; i++)
        store(who, LIST + i * 8, &i, 8);
    r.extent_start.p = (void *)LIST;
    return call_with(who, __HYPERVISOR_memory_op, XENMEM_populate_physmap, &r, sizeof(r));
}

/* With memory, and an empty root: its first frame. */
static inline struct domain *filled(void)
{
    struct domain *d = made();

    assert_int_equal(max_vcpus(d, 1), 0);
    assert_int_equal(max_mem(d, 1024), 0);
    assert_int_equal(populate(control, d->id, MEMORY), MEMORY);
    look(control, LIST, frames, sizeof(frames));
    return d;
}

static inline int64_t begin(struct domain *d, const struct vcpu_guest_context *c)
{
    struct xen_domctl op = { .cmd = XEN_DOMCTL_setvcpucontext };

    store(control, CONTEXT, c, sizeof(*c));
    op.u.vcpucontext.ctxt.p = (void *)CONTEXT;
    return domctl(control, d->id, &op);
}

static inline struct vcpu_guest_context context(void)
{
    struct vcpu_guest_context c;

    memset(&c, 0, sizeof(c));
    c.flags = VGCF_in_kernel | VGCF_online;
    c.user_regs.rip = UINT64_C(0xffffffff81000000);
    c.user_regs.rsi = 0x1234;
    c.user_regs.rsp = 0x5678;
    c.user_regs.cs = 0xe030;
    c.user_regs.ss = 0xe028;
    c.user_regs.rflags = UINT64_C(0x23202); /* IOPL 3, VM: not for it */
    c.ctrlreg[3] = frames[0] << PAGE_SHIFT;
    c.kernel_sp = 0x9abc;
    c.gs_base_kernel = 77;
    c.trap_ctxt[14] = (struct trap_info){ 14, 4, 0xe033, UINT64_C(0xffffffff81000100) };
    return c;
}

#endif
