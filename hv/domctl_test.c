/* test: with paging/ hv/ hv/pv_view.c */
/*
 * The control domain makes a PV domain by the calls that Debian's tools make: an empty one, its memory, its
 * first table, how its vCPU begins; what is refused on the way; and what CPUID is said to be.
 */
#include "hv/made_world.h"

/* ---- making it ---- */

static void an_empty_domain_is_made(void **state)
{
    struct domain    *d = made();
    struct xen_domctl op = { .cmd = XEN_DOMCTL_getdomaininfo };

    (void)state;
    assert_non_null(d);
    assert_int_not_equal(d->id, 0);
    assert_int_equal(d->state, DOMAIN_BUILDING);
    assert_int_equal(domctl(control, d->id, &op), 0);
    assert_memory_equal(op.u.getdomaininfo.handle, "0123456789abcdef", 16);
    assert_int_equal(op.u.getdomaininfo.max_vcpu_id, XEN_INVALID_MAX_VCPU_ID);
    assert_int_equal(op.u.getdomaininfo.shared_info_frame, d->shared_mfn.raw);
    assert_int_equal(max_vcpus(d, 2), -XEN_EINVAL);
    assert_int_equal(max_vcpus(d, 1), 0);
    assert_int_equal(max_vcpus(d, 1), 0);
    assert_int_equal(d->nr_vcpus, 1);
    audit();
}

static void a_number_may_be_asked_for(void **state)
{
    struct xen_domctl op = wanted_pv();

    (void)state;
    assert_int_equal(domctl(control, 1234, &op), 0);
    assert_int_equal(op.domain, 1234);
    assert_non_null(domain_by_id(1234));
    op = wanted_pv();
    assert_int_equal(domctl(control, 1234, &op), -XEN_EEXIST);
    op = wanted_pv();
    assert_int_equal(domctl(control, DOMID_INVALID, &op), 0);
    assert_true(op.domain != 0 && op.domain < DOMID_FIRST_RESERVED);
}

static void what_cannot_be_had_is_refused(void **state)
{
    struct xen_domctl op;
    struct domain    *d;
    unsigned          count = 0;

    (void)state;
    for (unsigned i = 0; i < 9; i++) {
        op = wanted_pv();
        if (i == 0)
            op.u.createdomain.flags = XEN_DOMCTL_CDF_iommu;
        else if (i == 1)
            op.u.createdomain.flags = XEN_DOMCTL_CDF_hap;
        else if (i == 2)
            op.u.createdomain.max_vcpus = 0;
        else if (i == 3)
            op.u.createdomain.max_vcpus = 2;
        else if (i == 4)
            op.u.createdomain.grant_opts = 2;
        else if (i == 5)
            op.u.createdomain.vmtrace_size = 4096;
        else if (i == 6)
            op.u.createdomain.cpupool_id = 1;
        else if (i == 7)
            op.u.createdomain.arch.emulation_flags = XEN_X86_EMU_LAPIC;
        else
            op.u.createdomain.iommu_opts = 1;
        assert_int_equal(domctl(control, 0, &op), -XEN_EINVAL);
    }
    for (d = domains; d != NULL; d = d->next)
        count++;
    assert_int_equal(count, 1);
}

static void its_memory_is_what_it_may_have(void **state)
{
    struct domain *d = made(), *stranger;

    (void)state;
    assert_int_equal(populate(control, d->id, MEMORY), 0); /* it may have none yet */
    assert_int_equal(max_mem(d, (MEMORY / 2 + DOMAIN_GRANT_FRAMES + 1) * 4), 0);
    assert_int_equal(populate(control, d->id, MEMORY), MEMORY / 2);
    look(control, LIST, frames, sizeof(frames));
    for (unsigned i = 0; i < MEMORY / 2; i++) {
        assert_int_equal(phys_frame(&machine_phys, mfn_of(frames[i]))->owner, d->id);
        assert_int_equal(m2p[frames[i]], i);
    }
    stranger = other(CONFIG_PV);
    assert_int_equal(populate(stranger, d->id, 1), -XEN_EPERM);
    assert_int_equal(populate(stranger, control->id, 1), -XEN_EPERM);
    audit();
}

/* A guest with a map of ours gets memory by its own numbers, and no others are answered. */
static void memory_comes_by_the_numbers_of_its_kind(void **state)
{
    struct domain                *d = other(CONFIG_PVH);
    uint64_t                      gfn = UINT64_C(0x40000), pages = d->pages;
    struct xen_memory_reservation r = { .nr_extents = 1, .domid = d->id };

    (void)state;
    r.extent_start.p = (void *)LIST;
    store(control, LIST, &gfn, sizeof(gfn));
    assert_int_equal(
        call_with(control, __HYPERVISOR_memory_op, XENMEM_populate_physmap, &r, sizeof(r)), 0);
    assert_int_equal(max_mem(d, 40 << 10), 0);
    assert_int_equal(
        call_with(control, __HYPERVISOR_memory_op, XENMEM_populate_physmap, &r, sizeof(r)), 1);
    assert_int_equal(d->pages, pages + 1);
    assert_int_equal(p2m_get(&d->paging.p2m, gfn_of(gfn)).type, P2M_RAM);
    look(control, LIST, &gfn, sizeof(gfn));
    assert_int_equal(gfn, 0x40000);
    assert_int_equal(
        call_with(control, __HYPERVISOR_memory_op, XENMEM_decrease_reservation, &r, sizeof(r)), 1);
    assert_int_equal(d->pages, pages);
}

/* ---- how it begins ---- */

static void a_vcpu_begins_as_it_is_told(void **state)
{
    struct domain            *d = filled();
    struct vcpu_guest_context c = context();
    struct xen_domctl         op = { .cmd = XEN_DOMCTL_unpausedomain };
    const struct pv_vcpu     *pv = d->vcpu[0]->pv;

    (void)state;
    assert_int_equal(d->vcpu[0]->state, VCPU_DOWN);
    assert_int_equal(begin(d, &c), 0);
    assert_int_equal(pv->regs.rip, c.user_regs.rip);
    assert_int_equal(pv->regs.rsi, 0x1234);
    assert_int_equal(pv->regs.rsp, 0x5678);
    assert_int_equal(pv->regs.cs, 0xe033);
    assert_int_equal(pv->regs.ss, 0xe02b);
    assert_int_equal(pv->regs.rflags, 0x202);
    assert_int_equal(pv->kernel_sp, 0x9abc);
    assert_int_equal(pv->trap[14].address, c.trap_ctxt[14].address);
    assert_true(pv->trap[14].masks);
    assert_int_equal(pv->direct.root[0].raw, frames[0]);
    assert_int_equal(bases[PV_BASE_GS_KERNEL], 77);
    assert_int_equal(d->vcpu[0]->state, VCPU_RUNNABLE);
    assert_int_not_equal(d->shared->wc_sec, 0);
    assert_int_equal(domctl(control, d->id, &op), 0);
    assert_int_equal(d->state, DOMAIN_RUNNING);
    audit();
    /* It runs now: registers may be set, but it stays where it is. */
    c.user_regs.rax = 5;
    assert_int_equal(begin(d, &c), 0);
    assert_int_equal(pv->regs.rax, 5);
    c.ctrlreg[3] = frames[1] << PAGE_SHIFT;
    assert_int_equal(begin(d, &c), -XEN_EOPNOTSUPP);
}

static void a_wild_beginning_is_refused_and_changes_nothing(void **state)
{
    struct domain *d = filled();

    (void)state;
    for (unsigned i = 0; i < 14; i++) {
        struct vcpu_guest_context c = context();

        if (i == 0)
            c.ctrlreg[3] = control->vcpu[0]->pv->direct.root[0].raw << PAGE_SHIFT;
        else if (i == 1)
            c.ctrlreg[3] = machine_phys.frames << PAGE_SHIFT;
        else if (i == 2)
            c.ctrlreg[3] = 0;
        else if (i == 3)
            c.trap_ctxt[200].address = PV_RESERVED_START;
        else if (i == 4)
            c.event_callback_eip = PV_RESERVED_START;
        else if (i == 5)
            c.failsafe_callback_eip = UINT64_C(1) << 47;
        else if (i == 6)
            c.syscall_callback_eip = PV_RESERVED_START;
        else if (i == 7)
            c.fs_base = UINT64_C(1) << 47;
        else if (i == 8)
            c.gs_base_user = UINT64_C(1) << 63;
        else if (i == 9)
            c.debugreg[7] = UINT64_C(0x20002); /* of a port */
        else if (i == 10)
            c.gdt_ents = 1;
        else if (i == 11)
            c.ldt_base = 8;
        else if (i == 12)
            c.vm_assist = UINT64_C(1) << 31;
        else
            c.flags = VGCF_online;
        assert_int_equal(begin(d, &c), -XEN_EINVAL);
        assert_int_equal(d->vcpu[0]->state, VCPU_DOWN);
        assert_int_equal(d->vcpu[0]->pv->regs.rip, 0);
        audit();
    }
}

static void the_fpu_is_given_nothing_that_it_refuses(void **state)
{
    struct domain            *d = filled();
    struct vcpu_guest_context c = context();
    uint32_t                  mxcsr;

    (void)state;
    c.flags |= VGCF_i387_valid;
    memset(&c.fpu_ctxt, 0xff, sizeof(c.fpu_ctxt));
    assert_int_equal(begin(d, &c), 0);
    memcpy(&mxcsr, d->vcpu[0]->pv->fpu + 24, sizeof(mxcsr));
    assert_int_equal(mxcsr, 0xffff);
}

static void a_half_made_domain_goes_away(void **state)
{
    struct xen_domctl op = { .cmd = XEN_DOMCTL_destroydomain };
    uint64_t          before_it = alloc_free_count();
    struct domain    *d;

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct vcpu_guest_context c;

        d = i == 0 ? made() : filled();
        if (i == 2) {
            c = context();
            assert_int_equal(begin(d, &c), 0);
        }
        assert_int_equal(domctl(control, d->id, &op), 0);
        while (!domain_destroy_step(d))
            ;
        assert_int_equal(alloc_free_count(), before_it);
    }
}

/* ---- around it ---- */

static void its_memory_map_is_what_was_set(void **state)
{
    struct domain                *d = filled();
    struct xen_foreign_memory_map map = { .domid = d->id };
    struct domain_range           range[2] = { { 0, 4096, 1 }, { 8192, 4096, 2 } };

    (void)state;
    store(control, LIST, range, sizeof(range));
    map.map.buffer.p = (void *)LIST;
    map.map.nr_entries = DOMAIN_RANGES_MAX + 1;
    assert_int_equal(
        call_with(control, __HYPERVISOR_memory_op, XENMEM_set_memory_map, &map, sizeof(map)),
        -XEN_EINVAL);
    map.map.nr_entries = 2;
    assert_int_equal(
        call_with(control, __HYPERVISOR_memory_op, XENMEM_set_memory_map, &map, sizeof(map)), 0);
    assert_int_equal(d->map_entries, 2);
    assert_memory_equal(d->map, range, sizeof(range));
    map.domid = DOMID_SELF;
    assert_int_equal(
        call_with(control, __HYPERVISOR_memory_op, XENMEM_set_memory_map, &map, sizeof(map)),
        -XEN_EINVAL);
    d = other(CONFIG_PV);
    assert_int_equal(call_with(d, __HYPERVISOR_memory_op, XENMEM_set_memory_map, &map, sizeof(map)),
                     -XEN_EPERM);
}

static void a_claim_is_compared_with_what_is_there(void **state)
{
    struct domain                *d = filled();
    struct xen_memory_reservation r = { .nr_extents = 100, .domid = d->id };

    (void)state;
    assert_int_equal(call_with(control, __HYPERVISOR_memory_op, XENMEM_claim_pages, &r, sizeof(r)),
                     0);
    assert_int_equal(max_mem(d, UINT64_C(1) << 40), 0);
    r.nr_extents = alloc_free_count() + d->pages + 1;
    assert_int_equal(call_with(control, __HYPERVISOR_memory_op, XENMEM_claim_pages, &r, sizeof(r)),
                     -XEN_ENOMEM);
    assert_int_equal(max_mem(d, 400), 0);
    r.nr_extents = 101;
    assert_int_equal(call_with(control, __HYPERVISOR_memory_op, XENMEM_claim_pages, &r, sizeof(r)),
                     -XEN_EINVAL);
}

/* The tools write as many as there may be, all zero; and what a domain has is what all have. */
static void a_policy_of_msrs_is_none(struct domain *d)
{
    struct xen_domctl op = { .cmd = XEN_DOMCTL_set_cpu_policy };
    xen_msr_entry_t   m[2] = { { .idx = 0xce }, { .idx = 0x10a } };
    xen_cpuid_leaf_t  leaf[4];

    op.u.cpu_policy.nr_msrs = 2;
    op.u.cpu_policy.msrs.p = (void *)CONTEXT;
    store(control, CONTEXT, m, sizeof(m));
    assert_int_equal(domctl(control, d->id, &op), 0);
    m[1].val = 1;
    store(control, CONTEXT, m, sizeof(m));
    assert_int_equal(domctl(control, d->id, &op), -XEN_EINVAL);

    op = (struct xen_domctl){ .cmd = XEN_DOMCTL_get_cpu_policy };
    assert_int_equal(domctl(control, d->id, &op), 0);
    assert_in_range(op.u.cpu_policy.nr_leaves, 128, 1024);
    assert_in_range(op.u.cpu_policy.nr_msrs, 2, 64);
    op.u.cpu_policy.leaves.p = (void *)CONTEXT;
    assert_int_equal(domctl(control, d->id, &op), 0);
    assert_int_equal(op.u.cpu_policy.nr_leaves, 4);
    assert_int_equal(op.u.cpu_policy.nr_msrs, 0);
    look(control, CONTEXT, leaf, sizeof(leaf));
    assert_int_equal(leaf[3].a, 0xf3);
}

static void a_policy_is_told_and_compared(void **state)
{
    struct domain    *d = made();
    struct xen_sysctl s = { .cmd = XEN_SYSCTL_get_cpu_policy };
    struct xen_domctl op = { .cmd = XEN_DOMCTL_set_cpu_policy };
    xen_cpuid_leaf_t  leaf[4];
    uint32_t          words[10];

    (void)state;
    assert_int_equal(sysctl(control, &s), 0);
    assert_in_range(s.u.cpu_policy.nr_leaves, 128, 1024);
    s.u.cpu_policy.leaves.p = (void *)LIST;
    assert_int_equal(sysctl(control, &s), 0);
    assert_int_equal(s.u.cpu_policy.nr_leaves, 4);
    look(control, LIST, leaf, sizeof(leaf));
    assert_int_equal(leaf[1].leaf, 1);
    assert_int_equal(leaf[1].subleaf, XEN_CPUID_NO_SUBLEAF);
    assert_int_equal(leaf[2].leaf, 7);
    assert_int_equal(leaf[2].subleaf, 0);
    s.u.cpu_policy.nr_leaves = 3;
    assert_int_equal(sysctl(control, &s), -XEN_ENOBUFS);

    op.u.cpu_policy.nr_leaves = 4;
    op.u.cpu_policy.leaves.p = (void *)LIST;
    assert_int_equal(domctl(control, d->id, &op), 0);
    leaf[1].d |= UINT32_C(1) << 28; /* HTT is about topology */
    store(control, LIST, leaf, sizeof(leaf));
    assert_int_equal(domctl(control, d->id, &op), 0);
    for (unsigned i = 1; i < 4; i++) {
        leaf[i].c |= 1;
        store(control, LIST, leaf, sizeof(leaf));
        assert_int_equal(domctl(control, d->id, &op), i == 1 || i == 3 ? 0 : -XEN_EINVAL);
        leaf[i].c &= ~1u;
        leaf[i].c |= 8; /* none has it */
        store(control, LIST, leaf, sizeof(leaf));
        assert_int_equal(domctl(control, d->id, &op), -XEN_EINVAL);
        leaf[i].c &= ~8u;
    }
    op.u.cpu_policy.nr_leaves = 100000;
    assert_int_equal(domctl(control, d->id, &op), -XEN_EINVAL);
    a_policy_of_msrs_is_none(d);

    s = (struct xen_sysctl){ .cmd = XEN_SYSCTL_get_cpu_featureset };
    assert_int_equal(sysctl(control, &s), 0);
    assert_int_equal(s.u.cpu_featureset.nr_features, 10);
    s.u.cpu_featureset.features.p = (void *)LIST;
    assert_int_equal(sysctl(control, &s), 0);
    look(control, LIST, words, sizeof(words));
    assert_int_equal(words[0], 0xf1);
    assert_int_equal(words[5], 0xf2);
    assert_int_equal(words[2], 0xf3);
    assert_int_equal(words[4], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTROL(an_empty_domain_is_made),
        CONTROL(a_number_may_be_asked_for),
        CONTROL(what_cannot_be_had_is_refused),
        CONTROL(its_memory_is_what_it_may_have),
        CONTROL(memory_comes_by_the_numbers_of_its_kind),
        CONTROL(a_vcpu_begins_as_it_is_told),
        CONTROL(a_wild_beginning_is_refused_and_changes_nothing),
        CONTROL(the_fpu_is_given_nothing_that_it_refuses),
        CONTROL(a_half_made_domain_goes_away),
        CONTROL(its_memory_map_is_what_was_set),
        CONTROL(a_claim_is_compared_with_what_is_there),
        CONTROL(a_policy_is_told_and_compared),
    };

    return cmocka_run_group_tests(tests, machine_up, machine_down);
}
