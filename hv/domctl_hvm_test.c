/* test: with paging/ hv/ hv/pv_view.c */
/*
 * The control domain makes a domain with a map of ours by the calls that Debian's tools make: an empty one, the pool
 * of its tables, its memory, its parameters; and what is refused on the way.
 */
#include "hv/hvm_world.h"

static int64_t param(struct domain *who, uint16_t id, uint64_t op, uint32_t index, uint64_t *value)
{
    struct xen_hvm_param p = { .domid = id, .index = index, .value = *value };
    int64_t              result = call_with(who, __HYPERVISOR_hvm_op, op, &p, sizeof(p));

    *value = p.value;
    return result;
}

/* The machine's memory, all but so many frames: a chain. */
static mfn_t take_all_but(uint64_t keep)
{
    mfn_t first = MFN_NONE;

    while (alloc_free_count() > keep) {
        mfn_t mfn = alloc_frames(0, ALLOC_ANY);

        *(mfn_t *)phys_ptr(&machine_phys, mfn) = first;
        first = mfn;
    }
    return first;
}

static void give_back(mfn_t first)
{
    while (mfn_valid(first)) {
        mfn_t next = *(mfn_t *)phys_ptr(&machine_phys, first);

        free_frames(first, 0);
        first = next;
    }
}

/* ---- making it ---- */

static void an_empty_domain_of_each_kind_is_made(void **state)
{
    (void)state;
    for (unsigned nested = 0; nested < 2; nested++) {
        struct domain    *d = made(nested != 0);
        struct xen_domctl op = { .cmd = XEN_DOMCTL_getdomaininfo };

        assert_non_null(d);
        assert_null(d->pv);
        assert_int_equal(d->state, DOMAIN_BUILDING);
        assert_int_equal(d->paging.kind, nested ? PAGING_NESTED : PAGING_SHADOW);
        assert_int_equal(d->pages, 1);
        assert_int_equal(pool_of(d), (128 + 64) * PAGE_SIZE);
        assert_int_equal(domctl(control, d->id, &op), 0);
        assert_int_equal(op.u.getdomaininfo.flags,
                         XEN_DOMINF_hvm_guest | XEN_DOMINF_paused | (nested ? XEN_DOMINF_hap : 0u));
        assert_int_equal(op.u.getdomaininfo.arch_config.emulation_flags, XEN_X86_EMU_LAPIC);
        assert_int_equal(simple(control, d, XEN_DOMCTL_max_vcpus, 1), -XEN_EINVAL);
        for (unsigned i = 0; i < 2; i++) {
            assert_int_equal(simple(control, d, XEN_DOMCTL_max_vcpus, 2), 0);
            assert_int_equal(pool_of(d), (2 * 128 + 64) * PAGE_SIZE);
            assert_int_equal(d->nr_vcpus, 2);
            assert_int_equal(vcpus_made, 2 + 2 * nested);
        }
        assert_int_equal(d->vcpu[0]->state, VCPU_DOWN);
        domain_unpause(d);
        cpu.pending = 0;
        assert_false(vcpu_may_run(d->vcpu[0])); /* nobody has said how it begins */
        audit();
    }
}

static void what_cannot_be_had_is_refused(void **state)
{
    struct xen_domctl op;

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        op = wanted(true);
        if (i == 0)
            op.u.createdomain.arch.emulation_flags = 0;
        else if (i == 1)
            op.u.createdomain.arch.emulation_flags = XEN_X86_EMU_ALL & ~XEN_X86_EMU_VPCI;
        else if (i == 2)
            op.u.createdomain.flags = XEN_DOMCTL_CDF_hap;
        else if (i == 3)
            op.u.createdomain.flags |= XEN_DOMCTL_CDF_nested_virt;
        else
            op.u.createdomain.arch.misc_flags = XEN_X86_MSR_RELAXED;
        assert_int_equal(domctl(control, 0, &op), i == 1 ? -XEN_EOPNOTSUPP : -XEN_EINVAL);
    }
    assert_non_null(strstr(lines, "refused: there are no devices for it: write type=\"pvh\"\n"));
    op = wanted(true);
    op.u.createdomain.max_vcpus = DOMAIN_VCPUS_MAX + 1;
    assert_int_equal(domctl(control, 0, &op), -XEN_EOPNOTSUPP);
    assert_non_null(strstr(lines, "umbra: a domain with 9 vCPUs is refused: write vcpus=8\n"));
    vcpus_max = 1;
    op = wanted(true);
    assert_int_equal(domctl(control, 0, &op), -XEN_EOPNOTSUPP);
    assert_non_null(strstr(lines, "umbra: a domain with 2 vCPUs is refused: write vcpus=1\n"));
    vcpus_max = DOMAIN_VCPUS_MAX;
    no_nested = true;
    op = wanted(true);
    assert_int_equal(domctl(control, 0, &op), -XEN_EOPNOTSUPP);
    assert_non_null(strstr(lines, "refused: this machine has no nested paging: write hap=0\n"));
    op = wanted(false);
    assert_int_equal(domctl(control, 0, &op), 0);
}

static void vcpus_for_which_there_is_no_memory_may_be_asked_for_again(void **state)
{
    struct domain *d = made(true);
    mfn_t          taken;

    (void)state;
    vcpus_fail_at = 1;
    assert_int_equal(simple(control, d, XEN_DOMCTL_max_vcpus, 2), -XEN_ENOMEM);
    assert_non_null(d->vcpu[0]->machine);
    vcpus_fail_at = UINT32_MAX;
    assert_int_equal(simple(control, d, XEN_DOMCTL_max_vcpus, 2), 0);
    assert_non_null(d->vcpu[1]->machine);
    assert_int_equal(vcpus_made, 2);
    d = made(false);
    taken = take_all_but(1);
    assert_int_equal(simple(control, d, XEN_DOMCTL_max_vcpus, 2), -XEN_ENOMEM);
    give_back(taken);
}

/* ---- the pool and memory ---- */

static void a_pool_is_set_in_steps(void **state)
{
    struct domain    *d = made(true), *stranger;
    struct xen_domctl op = { .cmd = XEN_DOMCTL_set_paging_mempool_size,
                             .interface_version = XEN_DOMCTL_INTERFACE_VERSION,
                             .domain = d->id };
    struct hypercall  h = { .nr = __HYPERVISOR_domctl, .arg = { PAGE_OF(0) } };
    unsigned          again = 0;

    (void)state;
    op.u.paging_mempool.size = 4 << 20;
    store(control, PAGE_OF(0), &op, sizeof(op));
    while (hypercall_run(control->vcpu[0], &h) == HYPERCALL_AGAIN)
        assert_true(again++ < 100);
    assert_int_equal(h.result, 0);
    assert_true(again > 3);
    assert_int_equal(pool_of(d), 4 << 20);
    assert_int_equal(simple(control, d, XEN_DOMCTL_set_paging_mempool_size, 4097), -XEN_EINVAL);
    assert_int_equal(simple(control, d, XEN_DOMCTL_set_paging_mempool_size, UINT64_C(1) << 40),
                     -XEN_EINVAL);
    assert_int_equal(simple(control, d, XEN_DOMCTL_set_paging_mempool_size, 256 << 20),
                     -XEN_ENOMEM);
    /* Less than it must have for the memory that it may have is as much as that. */
    assert_int_equal(simple(control, d, XEN_DOMCTL_max_mem, 32 << 10), 0);
    assert_int_equal(simple(control, d, XEN_DOMCTL_set_paging_mempool_size, 0), 0);
    assert_int_equal(pool_of(d), (2 * 128 + 64 + 32 / 2) * PAGE_SIZE);
    assert_int_equal(simple(control, d, XEN_DOMCTL_max_mem, UINT64_MAX), 0);
    assert_int_equal(simple(control, d, XEN_DOMCTL_set_paging_mempool_size, 0), 0);
    assert_int_equal(pool_of(d), (2 * 128 + 64 + FRAMES / 512) * PAGE_SIZE);
    assert_int_equal(simple(control, control, XEN_DOMCTL_set_paging_mempool_size, 0),
                     -XEN_EOPNOTSUPP);
    stranger = other(CONFIG_PV);
    assert_int_equal(simple(stranger, d, XEN_DOMCTL_set_paging_mempool_size, 0), -XEN_EPERM);
}

/* The same pool by the words that tools had for it before, in MiB. */
static void a_pool_is_set_by_shadow_op(void **state)
{
    struct domain    *d = made(true);
    struct xen_domctl op = { .cmd = XEN_DOMCTL_shadow_op,
                             .interface_version = XEN_DOMCTL_INTERFACE_VERSION,
                             .domain = d->id };
    struct hypercall  h = { .nr = __HYPERVISOR_domctl, .arg = { PAGE_OF(0) } };
    static const struct {
        uint32_t mb;
        int64_t  result;
        uint64_t frames;
    } cases[] = {
        { 4, 0, 4 * 256 },
        { 2, 0, 2 * 256 },
        { 256, -XEN_ENOMEM, 0 },
        { UINT32_MAX, -XEN_EINVAL, 0 },
        { 0, 0, 2 * 128 + 64 + 32 / 2 }, /* the least that it must have */
    };

    (void)state;
    assert_int_equal(simple(control, d, XEN_DOMCTL_max_mem, 32 << 10), 0);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        unsigned again = 0;

        op.u.shadow_op.op = XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION;
        op.u.shadow_op.mb = cases[i].mb;
        store(control, PAGE_OF(0), &op, sizeof(op));
        while (hypercall_run(control->vcpu[0], &h) == HYPERCALL_AGAIN)
            assert_true(again++ < 10000);
        assert_int_equal(h.result, cases[i].result);
        if (cases[i].result != 0)
            continue;
        assert_true(again > 3); /* in pieces, both ways */
        assert_int_equal(pool_of(d), cases[i].frames * PAGE_SIZE);
        op.u.shadow_op.op = XEN_DOMCTL_SHADOW_OP_GET_ALLOCATION;
        assert_int_equal(domctl(control, d->id, &op), 0);
        assert_int_equal(op.u.shadow_op.mb, (cases[i].frames + 255) / 256);
    }
    d = other(CONFIG_PV);
    op.u.shadow_op.op = XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION;
    assert_int_equal(domctl(control, d->id, &op), -XEN_EOPNOTSUPP);
    assert_int_equal(domctl(d, d->id, &op), -XEN_EPERM);
    audit();
}

static void memory_comes_as_far_as_it_may_have_and_its_pool_goes(void **state)
{
    struct domain *d = made(false);

    (void)state;
    assert_int_equal(simple(control, d, XEN_DOMCTL_max_vcpus, 2), 0);
    assert_int_equal(populate(d, 0, 0, 1), 0); /* it may have none yet */
    assert_int_equal(simple(control, d, XEN_DOMCTL_max_mem, (2 << 10) + 64), 0);
    assert_int_equal(populate(d, 0, 9, 2), 0); /* the pool is for less than 2 MiB */
    assert_int_equal(populate(d, 0x1000, 0, 2), 2);
    assert_int_equal(simple(control, d, XEN_DOMCTL_set_paging_mempool_size, 0), 0);
    assert_int_equal(populate(d, 0, 9, 2), 1); /* all that it may have */
    assert_int_equal(d->pages, 1 + 2 + 512);
    assert_int_equal(p2m_get(&d->paging.p2m, gfn_of(17)).order, 9);
    assert_int_equal(populate(d, 0x40000, 18, 1), 0); /* 1 GiB: smaller ones are tried then */
    assert_int_equal(d->state, DOMAIN_BUILDING);
    audit();
}

static void its_memory_map_is_what_was_set(void **state)
{
    struct domain                *d = filled(true);
    struct xen_foreign_memory_map set = { .domid = d->id };
    const struct domain_range     range[2] = { { 0, 1 << 20, 1 }, { 0xfc000000, 4096, 3 } };
    struct domain_range           told[2] = { 0 };
    struct xen_memory_map         map = { .nr_entries = 2 };

    (void)state;
    assert_int_equal(d->map_entries, 0);
    store(control, LIST, range, sizeof(range));
    set.map.buffer.p = (void *)LIST;
    set.map.nr_entries = 2;
    assert_int_equal(
        call_with(control, __HYPERVISOR_memory_op, XENMEM_set_memory_map, &set, sizeof(set)), 0);
    map.buffer.p = (void *)UINT64_C(0x2000);
    poke(d, 0x1000, &map, sizeof(map));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_memory_map, 0x1000, 0), 0);
    peek(d, 0x2000, told, sizeof(told));
    assert_memory_equal(told, range, sizeof(range));
    map.nr_entries = 1;
    poke(d, 0x1000, &map, sizeof(map));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_memory_map, 0x1000, 0), -XEN_EINVAL);
}

/* ---- parameters ---- */

static void parameters_are_set_and_told(void **state)
{
    static const struct {
        uint32_t index;
        uint64_t most;
    } cases[] = {
        { HVM_PARAM_STORE_PFN, 0xfffffff },   { HVM_PARAM_MONITOR_RING_PFN, 0xfffffff },
        { HVM_PARAM_IDENT_PT, 0xffffffffff }, { HVM_PARAM_CONSOLE_EVTCHN, DOMAIN_PORTS_MAX - 1 },
        { HVM_PARAM_TIMER_MODE, 3 },          { HVM_PARAM_ALTP2M, 0 },
    };
    struct domain *d = made(true);
    uint64_t       value;

    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        value = cases[i].most + 1;
        assert_int_equal(param(control, d->id, HVMOP_set_param, cases[i].index, &value),
                         -XEN_EINVAL);
        value = cases[i].most;
        assert_int_equal(param(control, d->id, HVMOP_set_param, cases[i].index, &value), 0);
        value = 77;
        assert_int_equal(param(control, d->id, HVMOP_get_param, cases[i].index, &value), 0);
        assert_int_equal(value, cases[i].most);
    }
    value = 0;
    assert_int_equal(param(control, d->id, HVMOP_set_param, HVM_PARAM_NESTEDHVM, &value),
                     -XEN_EINVAL);
    assert_int_equal(param(control, d->id, HVMOP_set_param, HVM_NR_PARAMS, &value), -XEN_EINVAL);
    assert_int_equal(param(control, d->id, HVMOP_get_param, HVM_NR_PARAMS, &value), -XEN_EINVAL);
    assert_int_equal(param(control, 999, HVMOP_get_param, HVM_PARAM_STORE_PFN, &value), -XEN_ESRCH);
    value = UINT64_C(2) << 56 | 0xf3;
    assert_int_equal(param(control, d->id, HVMOP_set_param, HVM_PARAM_CALLBACK_IRQ, &value), 0);
    assert_int_equal(d->callback_vector, 0xf3);
}

static void parameters_are_not_for_everybody(void **state)
{
    struct domain *d = made(true), *stranger = other(CONFIG_PV);
    uint64_t       value = 5;

    (void)state;
    assert_int_equal(param(stranger, d->id, HVMOP_set_param, HVM_PARAM_STORE_PFN, &value),
                     -XEN_EPERM);
    assert_int_equal(param(stranger, d->id, HVMOP_get_param, HVM_PARAM_STORE_PFN, &value),
                     -XEN_EPERM);
    /* A PV domain has none. */
    assert_int_equal(param(stranger, DOMID_SELF, HVMOP_get_param, HVM_PARAM_STORE_PFN, &value),
                     -XEN_EINVAL);
    assert_int_equal(param(control, stranger->id, HVMOP_set_param, HVM_PARAM_STORE_PFN, &value),
                     -XEN_EINVAL);
    assert_int_equal(d->hvm_param[HVM_PARAM_STORE_PFN], 0);
}

/* Whatever step of it there is no memory for. */
static void a_domain_for_which_memory_is_short_is_not_made(void **state)
{
    unsigned count = 0;

    (void)state;
    for (uint64_t keep = 0; keep < 300; keep += keep < 16 ? 1 : 16) {
        struct xen_domctl op = wanted(keep & 1);
        mfn_t             taken = take_all_but(keep);

        if (domctl(control, 0, &op) == 0) {
            struct domain *d = domain_by_id(op.domain);

            count++;
            while (!domain_destroy_step(d))
                ;
        }
        assert_int_equal(alloc_free_count(), keep);
        give_back(taken);
    }
    assert_in_range(count, 1, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTROL(an_empty_domain_of_each_kind_is_made),
        CONTROL(what_cannot_be_had_is_refused),
        CONTROL(vcpus_for_which_there_is_no_memory_may_be_asked_for_again),
        CONTROL(a_pool_is_set_in_steps),
        CONTROL(a_pool_is_set_by_shadow_op),
        CONTROL(memory_comes_as_far_as_it_may_have_and_its_pool_goes),
        CONTROL(its_memory_map_is_what_was_set),
        CONTROL(parameters_are_set_and_told),
        CONTROL(parameters_are_not_for_everybody),
        CONTROL(a_domain_for_which_memory_is_short_is_not_made),
    };

    return cmocka_run_group_tests(tests, machine_up, machine_down);
}
