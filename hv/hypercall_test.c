/* test: with paging/ hv/ */
/* Hypercalls of a domain that was really built: what they do, and what they refuse. */
#include "hv/domain_world.h"

static void wild_pointers_are_efault_everywhere(void **state)
{
    static const struct {
        uint64_t nr, a, b, c;
    } calls[] = {
        { __HYPERVISOR_memory_op, XENMEM_add_to_physmap, WILD, 0 },
        { __HYPERVISOR_memory_op, XENMEM_add_to_physmap_batch, WILD, 0 },
        { __HYPERVISOR_memory_op, XENMEM_remove_from_physmap, WILD, 0 },
        { __HYPERVISOR_memory_op, XENMEM_memory_map, WILD, 0 },
        { __HYPERVISOR_memory_op, XENMEM_decrease_reservation, WILD, 0 },
        { __HYPERVISOR_memory_op, XENMEM_populate_physmap, WILD, 0 },
        { __HYPERVISOR_memory_op, XENMEM_current_reservation, WILD, 0 },
        { __HYPERVISOR_multicall, WILD, 1, 0 },
        { __HYPERVISOR_xen_version, XENVER_extraversion, WILD, 0 },
        { __HYPERVISOR_xen_version, XENVER_get_features, WILD, 0 },
        { __HYPERVISOR_console_io, CONSOLEIO_write, 10, WILD },
        { __HYPERVISOR_grant_table_op, GNTTABOP_query_size, WILD, 1 },
        { __HYPERVISOR_grant_table_op, GNTTABOP_setup_table, WILD, 1 },
        { __HYPERVISOR_grant_table_op, GNTTABOP_set_version, WILD, 1 },
        { __HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, WILD },
        { __HYPERVISOR_vcpu_op, VCPUOP_register_runstate_memory_area, 0, WILD },
        { __HYPERVISOR_vcpu_op, VCPUOP_set_singleshot_timer, 0, WILD },
        { __HYPERVISOR_vcpu_op, VCPUOP_set_periodic_timer, 0, WILD },
        { __HYPERVISOR_vcpu_op, VCPUOP_get_runstate_info, 0, WILD },
        { __HYPERVISOR_sched_op, SCHEDOP_shutdown, WILD, 0 },
        { __HYPERVISOR_sched_op, SCHEDOP_poll, WILD, 0 },
        { __HYPERVISOR_event_channel_op, EVTCHNOP_send, WILD, 0 },
        { __HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, WILD, 0 },
        { __HYPERVISOR_hvm_op, HVMOP_get_param, WILD, 0 },
        { __HYPERVISOR_hvm_op, HVMOP_set_param, WILD, 0 },
    };
    struct domain *d = create();

    (void)state;
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        if (call(d, calls[i].nr, calls[i].a, calls[i].b, calls[i].c) != -XEN_EFAULT)
            fail_msg("call %zu", i);
    assert_int_equal(d->state, DOMAIN_BUILDING);
}

static void unknown_calls_are_enosys_and_counted(void **state)
{
    struct domain *d = create();

    (void)state;
    assert_int_equal(call(d, 63, 0, 0, 0), -XEN_ENOSYS);
    assert_int_equal(call(d, 64, 0, 0, 0), -XEN_ENOSYS);
    assert_int_equal(call(d, UINT64_MAX, 0, 0, 0), -XEN_ENOSYS);
    assert_int_equal(call(d, __HYPERVISOR_physdev_op, 0, 0, 0), -XEN_ENOSYS);
    assert_int_equal(d->hypercalls_unknown, 4);
    assert_int_equal(call(d, __HYPERVISOR_event_channel_op, EVTCHNOP_init_control, AREA, 0),
                     -XEN_ENOSYS);
    assert_int_equal(call(d, __HYPERVISOR_xen_version, XENVER_version, 0, 0), 4 << 16 | 17);
}

static void shared_info_goes_where_the_guest_wants_it(void **state)
{
    struct domain            *d = create();
    struct xen_add_to_physmap arg = { .domid = DOMID_SELF,
                                      .space = XENMAPSPACE_shared_info,
                                      .gpfn = 1 };
    uint64_t                  pages = d->pages, free = alloc_free_count();
    uint32_t                  seconds[3];

    (void)state;
    poke(d, AREA, &arg, sizeof(arg));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_add_to_physmap, AREA, 0), 0);
    peek(d, PAGE_SIZE + offsetof(struct shared_info, wc_sec), seconds, sizeof(seconds));
    assert_int_equal(seconds[0], 0x65432100);
    assert_int_equal(seconds[2], 1);
    /* The frame that was there is free again; a second place takes the first away. */
    assert_int_equal(d->pages, pages - 1);
    assert_int_equal(alloc_free_count(), free + 1);
    arg.gpfn = 0x100001;
    poke(d, AREA, &arg, sizeof(arg));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_add_to_physmap, AREA, 0), 0);
    assert_int_equal(p2m_get(&d->paging.p2m, gfn_of(1)).type, P2M_HOLE);
    arg.gpfn = UINT64_C(1) << 28;
    poke(d, AREA, &arg, sizeof(arg));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_add_to_physmap, AREA, 0), -XEN_EINVAL);
    arg.domid = 77;
    poke(d, AREA, &arg, sizeof(arg));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_add_to_physmap, AREA, 0), -XEN_ESRCH);
}

static void memory_is_given_back_and_taken_again(void **state)
{
    struct domain                *d = create();
    struct xen_memory_reservation arg = { .nr_extents = 200, .domid = DOMID_SELF };
    uint64_t                      list[200], pages = d->pages;

    (void)state;
    for (unsigned i = 0; i < 200; i++)
        list[i] = 0x400 + i;
    arg.extent_start.p = (void *)(uintptr_t)(AREA + PAGE_SIZE);
    poke(d, AREA, &arg, sizeof(arg));
    poke(d, AREA + PAGE_SIZE, list, sizeof(list));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_decrease_reservation, AREA, 0), 200);
    assert_int_equal(d->pages, pages - 200);
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_decrease_reservation, AREA, 0), 0);
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_populate_physmap, AREA, 0), 200);
    assert_int_equal(d->pages, pages);
    for (unsigned i = 0; i < 200; i++)
        list[i] = 0x200000 + i; /* beyond what it may have */
    poke(d, AREA + PAGE_SIZE, list, sizeof(list));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_populate_physmap, AREA, 0), 0);
}

static int64_t reservation(struct domain *d, unsigned op, unsigned order, uint64_t gfn,
                           uint64_t count)
{
    struct xen_memory_reservation arg = { .nr_extents = count,
                                          .extent_order = order,
                                          .domid = DOMID_SELF };

    for (uint64_t i = 0; i < count; i++) {
        uint64_t word = gfn + (i << order);

        poke(d, AREA + PAGE_SIZE + i * 8, &word, sizeof(word));
    }
    arg.extent_start.p = (void *)(uintptr_t)(AREA + PAGE_SIZE);
    poke(d, AREA, &arg, sizeof(arg));
    return call(d, __HYPERVISOR_memory_op, op, AREA, 0);
}

static void assert_zero(struct domain *d, uint64_t gfn)
{
    uint8_t page[PAGE_SIZE];

    peek(d, gfn << PAGE_SHIFT, page, sizeof(page));
    for (unsigned i = 0; i < sizeof(page); i++)
        assert_int_equal(page[i], 0);
}

static void blocks_of_2_mib_are_given_back_and_taken_again(void **state)
{
    const uint64_t word = 7;
    struct domain *d;
    uint64_t       pages;

    (void)state;
    config.memory = 32;
    d = create();
    pages = d->pages;
    poke(d, 0x1123 << PAGE_SHIFT, &word, 8);
    assert_int_equal(reservation(d, XENMEM_decrease_reservation, 9, 0x1000, 2), 2);
    assert_int_equal(d->pages, pages - 1024);
    assert_int_equal(reservation(d, XENMEM_populate_physmap, 9, 0x1000, 2), 2);
    assert_int_equal(d->pages, pages);
    assert_zero(d, 0x1123);
    assert_int_equal(p2m_get(&d->paging.p2m, gfn_of(0x1234)).order, 9);
    assert_false(mfn_valid(d->block));
    /* Not where there is memory, not more than it may have, nor larger ones. */
    assert_int_equal(reservation(d, XENMEM_populate_physmap, 9, 0x1000, 1), 0);
    assert_int_equal(reservation(d, XENMEM_populate_physmap, 9, 0x40000, 1), 0);
    assert_int_equal(reservation(d, XENMEM_decrease_reservation, 10, 0x1000, 1), 0);
    /* Other sizes, and places that are not aligned, are made of single frames. */
    assert_int_equal(reservation(d, XENMEM_decrease_reservation, 3, 0x1105, 5), 5);
    assert_int_equal(d->pages, pages - 40);
    assert_int_equal(p2m_get(&d->paging.p2m, gfn_of(0x1105)).type, P2M_HOLE);
    assert_int_equal(p2m_get(&d->paging.p2m, gfn_of(0x1104)).type, P2M_RAM);
    assert_int_equal(reservation(d, XENMEM_populate_physmap, 3, 0x1105, 5), 5);
    assert_int_equal(d->pages, pages);
}

/* Who is interrupted in the middle of a block goes on, and so does a domain that ends there. */
static void a_block_is_made_ready_in_steps(void **state)
{
    struct hypercall h = { .nr = __HYPERVISOR_memory_op, .arg = { XENMEM_populate_physmap, AREA } };
    struct domain   *d;
    unsigned         runs = 1;

    (void)state;
    config.memory = 32;
    d = create();
    assert_int_equal(reservation(d, XENMEM_decrease_reservation, 9, 0x1000, 2), 2);
    cpu.pending = PENDING_RESCHED;                               /* somebody waits all the time */
    (void)reservation(d, XENMEM_maximum_ram_page, 9, 0x1000, 2); /* says which extents */
    while (hypercall_run(d->vcpu[0], &h) == HYPERCALL_AGAIN && runs < 50)
        runs++;
    assert_int_equal(runs, 50);
    assert_true(mfn_valid(d->block));
    assert_int_equal(p2m_get(&d->paging.p2m, gfn_of(0x1000)).order, 9);
    cpu.pending = 0;
}

static int64_t physmap(struct domain *d, unsigned space, uint64_t index, uint64_t gfn,
                       uint16_t size)
{
    struct xen_add_to_physmap arg = {
        .domid = DOMID_SELF, .size = size, .space = space, .idx = index, .gpfn = gfn
    };

    poke(d, AREA, &arg, sizeof(arg));
    return call(d, __HYPERVISOR_memory_op, XENMEM_add_to_physmap, AREA, 0);
}

static void pages_move_within_the_map(void **state)
{
    struct domain *d = create();
    uint64_t       pages = d->pages, word = 0x1234;

    (void)state;
    poke(d, 0x300 << PAGE_SHIFT, &word, 8);
    assert_int_equal(physmap(d, XENMAPSPACE_gmfn, 0x300, 0x100005, 0), 0);
    assert_int_equal(d->pages, pages);
    word = 0;
    peek(d, UINT64_C(0x100005) << PAGE_SHIFT, &word, 8);
    assert_int_equal(word, 0x1234);
    assert_int_equal(p2m_get(&d->paging.p2m, gfn_of(0x300)).type, P2M_HOLE);
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_maximum_ram_page, 0, 0),
                     machine_phys.frames - 1);
    /* Onto another page, which is given up. */
    assert_int_equal(physmap(d, XENMAPSPACE_gmfn, 0x100005, 0x301, 0), 0);
    assert_int_equal(d->pages, pages - 1);
    peek(d, 0x301 << PAGE_SHIFT, &word, 8);
    assert_int_equal(word, 0x1234);
    assert_int_equal(physmap(d, XENMAPSPACE_gmfn, 0x301, 0x301, 0), 0);
    assert_int_equal(physmap(d, XENMAPSPACE_gmfn, 0x300, 0x301, 0), -XEN_EINVAL);
    assert_int_equal(physmap(d, XENMAPSPACE_gmfn, UINT64_C(1) << 28, 0x301, 0), -XEN_EINVAL);
    assert_int_equal(physmap(d, XENMAPSPACE_gmfn, 0x301, UINT64_C(1) << 28, 0), -XEN_EINVAL);
    assert_int_equal(d->pages, pages - 1);
}

/* A range onto itself, a page further: the last one remains. */
static void ranges_move_page_by_page(void **state)
{
    struct domain *d = create();
    uint64_t       pages = d->pages, word;

    (void)state;
    for (uint64_t i = 0; i < 100; i++) {
        word = i;
        poke(d, (0x500 + i) << PAGE_SHIFT, &word, 8);
    }
    assert_int_equal(physmap(d, XENMAPSPACE_gmfn_range, 0x500, 0x4ff, 100), 0);
    assert_int_equal(d->pages, pages - 1);
    for (uint64_t i = 0; i < 100; i++) {
        peek(d, (0x4ff + i) << PAGE_SHIFT, &word, 8);
        assert_int_equal(word, i);
    }
    assert_int_equal(physmap(d, XENMAPSPACE_gmfn_range, 0x560, 0x600, 10), -XEN_EINVAL);
    assert_int_equal(p2m_get(&d->paging.p2m, gfn_of(0x602)).type, P2M_RAM);
    assert_int_equal(d->pages, pages - 1 - 3);
    assert_int_equal(physmap(d, XENMAPSPACE_gmfn_range, 0x9000, 0x600, 0), 0);
}

static void special_pages_move_too(void **state)
{
    struct domain *d = create();
    uint32_t       seconds = 0;

    (void)state;
    assert_int_equal(physmap(d, XENMAPSPACE_shared_info, 0, 0x300, 0), 0);
    assert_int_equal(physmap(d, XENMAPSPACE_grant_table, 1, 0x301, 0), 0);
    assert_int_equal(physmap(d, XENMAPSPACE_gmfn_range, 0x300, 0x100000, 2), 0);
    assert_int_equal(d->shared_gfn.raw, 0x100000);
    assert_int_equal(d->grant_gfn[1].raw, 0x100001);
    peek(d, (UINT64_C(0x100000) << PAGE_SHIFT) + offsetof(struct shared_info, wc_sec), &seconds, 4);
    assert_int_equal(seconds, 0x65432100);
    assert_int_equal(physmap(d, XENMAPSPACE_shared_info, 0, 0x302, 0), 0);
    assert_int_equal(p2m_get(&d->paging.p2m, gfn_of(0x100000)).type, P2M_HOLE);
}

#define BATCH 4

static void a_batch_has_an_error_for_each_page(void **state)
{
    const uint64_t index[BATCH] = { 0x500, 0x9000, 0x501, 0x502 };
    const uint64_t gfn[BATCH] = { 0x100000, 0x100001, UINT64_C(1) << 40, 0x100002 };
    const int32_t  wanted[BATCH] = { 0, -XEN_EINVAL, -XEN_EINVAL, 0 };
    int32_t        errors[BATCH] = { 1, 1, 1, 1 };
    struct domain *d = create();

    struct xen_add_to_physmap_batch arg = {
        .domid = DOMID_SELF,
        .space = XENMAPSPACE_gmfn,
        .size = BATCH,
    };

    (void)state;
    arg.idxs.p = (void *)(uintptr_t)(AREA + 0x100);
    arg.gpfns.p = (void *)(uintptr_t)(AREA + 0x200);
    arg.errs.p = (void *)(uintptr_t)(AREA + 0x300);
    poke(d, AREA, &arg, sizeof(arg));
    poke(d, AREA + 0x100, index, sizeof(index));
    poke(d, AREA + 0x200, gfn, sizeof(gfn));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_add_to_physmap_batch, AREA, 0), 0);
    peek(d, AREA + 0x300, errors, sizeof(errors));
    assert_memory_equal(errors, wanted, sizeof(errors));
    assert_int_equal(p2m_get(&d->paging.p2m, gfn_of(0x100002)).type, P2M_RAM);
    arg.space = XENMAPSPACE_gmfn_range;
    poke(d, AREA, &arg, sizeof(arg));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_add_to_physmap_batch, AREA, 0),
                     -XEN_EINVAL);
    arg.space = XENMAPSPACE_gmfn_foreign;
    arg.u.foreign_domid = 77;
    poke(d, AREA, &arg, sizeof(arg));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_add_to_physmap_batch, AREA, 0),
                     -XEN_ESRCH);
}

static void sizes_are_told(void **state)
{
    const domid_t  self = DOMID_SELF;
    struct domain *d = create();

    (void)state;
    poke(d, AREA, &self, sizeof(self));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_current_reservation, AREA, 0),
                     d->pages);
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_maximum_reservation, AREA, 0),
                     d->max_pages);
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_maximum_gpfn, AREA, 0),
                     PVH_SPECIAL_END - 1);
    assert_int_equal(physmap(d, XENMAPSPACE_gmfn, 0x500, 0x200000, 0), 0);
    poke(d, AREA, &self, sizeof(self));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_maximum_gpfn, AREA, 0), 0x200000);
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_exchange, AREA, 0), -XEN_EOPNOTSUPP);
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_get_vnumainfo, AREA, 0),
                     -XEN_EOPNOTSUPP);
}

static void registered_vcpu_info_outlives_its_page_in_the_map(void **state)
{
    struct domain                 *d = create();
    struct vcpu_register_vcpu_info reg = { .mfn = 0x300, .offset = 0xfc8 };
    struct xen_remove_from_physmap gone = { .domid = DOMID_SELF, .gpfn = 0x300 };

    (void)state;
    poke(d, AREA, &reg, sizeof(reg));
    assert_int_equal(call(d, __HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, AREA),
                     -XEN_EINVAL);
    reg.offset = 0xfbc;
    poke(d, AREA, &reg, sizeof(reg));
    assert_int_equal(call(d, __HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, AREA),
                     -XEN_EINVAL);
    reg.offset = 0xfc0;
    reg.mfn = UINT64_MAX;
    poke(d, AREA, &reg, sizeof(reg));
    assert_int_equal(call(d, __HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, AREA),
                     -XEN_EINVAL);
    reg.mfn = 0x300;
    poke(d, AREA, &reg, sizeof(reg));
    assert_int_equal(call(d, __HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, AREA), 0);
    assert_int_equal(call(d, __HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, AREA),
                     -XEN_EINVAL);
    vcpu_before_entry(d->vcpu[0]);
    assert_int_equal(d->vcpu[0]->info->time.system_time, now);
    assert_int_equal(d->vcpu[0]->info->time.tsc_timestamp, now * 2 + 7);
    assert_int_equal(d->vcpu[0]->info->time.version % 2, 0);

    poke(d, AREA, &gone, sizeof(gone));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_remove_from_physmap, AREA, 0), 0);
    assert_int_equal(phys_frame(&machine_phys, d->vcpu[0]->info_mfn)->kind, FRAME_GUEST);
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_remove_from_physmap, AREA, 0),
                     -XEN_ENOENT);
}

static void a_multicall_runs_all_its_calls(void **state)
{
    struct domain         *d = create();
    struct multicall_entry entry[300];
    char                   text[1500];

    (void)state;
    memset(entry, 0, sizeof(entry));
    memset(text, 'x', sizeof(text));
    poke(d, AREA + (1u << 20), text, sizeof(text));
    for (unsigned i = 0; i < 300; i++) {
        entry[i].op = i == 7 ? __HYPERVISOR_multicall : __HYPERVISOR_xen_version;
        entry[i].args[0] = XENVER_pagesize;
    }
    entry[3] = (struct multicall_entry){ .op = __HYPERVISOR_console_io };
    entry[3].args[0] = CONSOLEIO_write;
    entry[3].args[1] = sizeof(text);
    entry[3].args[2] = AREA + (1u << 20);
    poke(d, AREA, entry, sizeof(entry));
    assert_int_equal(call(d, __HYPERVISOR_multicall, AREA, 300, 0), 0);
    peek(d, AREA, entry, sizeof(entry));
    for (unsigned i = 0; i < 300; i++)
        assert_int_equal((int64_t)entry[i].result, i == 7   ? -XEN_EINVAL
                                                   : i == 3 ? 0
                                                            : (int64_t)PAGE_SIZE);
    assert_int_equal(out_count, sizeof(text));
}

static void params_can_be_read_but_only_the_callback_set(void **state)
{
    struct domain       *d = create();
    struct xen_hvm_param arg = { .domid = DOMID_SELF, .index = HVM_PARAM_CONSOLE_PFN };
    uint8_t              vector = 0;

    (void)state;
    poke(d, AREA, &arg, sizeof(arg));
    assert_int_equal(call(d, __HYPERVISOR_hvm_op, HVMOP_get_param, AREA, 0), 0);
    peek(d, AREA, &arg, sizeof(arg));
    assert_int_equal(arg.value, 0xfefff);
    assert_int_equal(call(d, __HYPERVISOR_hvm_op, HVMOP_set_param, AREA, 0), -XEN_EPERM);
    arg.index = UINT32_MAX;
    poke(d, AREA, &arg, sizeof(arg));
    assert_int_equal(call(d, __HYPERVISOR_hvm_op, HVMOP_get_param, AREA, 0), -XEN_EINVAL);
    arg.index = HVM_PARAM_CALLBACK_IRQ;
    arg.value = UINT64_C(2) << 56 | 0xf3;
    poke(d, AREA, &arg, sizeof(arg));
    assert_int_equal(call(d, __HYPERVISOR_hvm_op, HVMOP_set_param, AREA, 0), 0);
    assert_false(vcpu_upcall(d->vcpu[0], &vector));
    evtchn_upcall(d->vcpu[0]);
    assert_true(vcpu_upcall(d->vcpu[0], &vector));
    assert_int_equal(vector, 0xf3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(wild_pointers_are_efault_everywhere),
        TEST(unknown_calls_are_enosys_and_counted),
        TEST(shared_info_goes_where_the_guest_wants_it),
        TEST(memory_is_given_back_and_taken_again),
        TEST(blocks_of_2_mib_are_given_back_and_taken_again),
        TEST(a_block_is_made_ready_in_steps),
        TEST(pages_move_within_the_map),
        TEST(ranges_move_page_by_page),
        TEST(special_pages_move_too),
        TEST(a_batch_has_an_error_for_each_page),
        TEST(sizes_are_told),
        TEST(registered_vcpu_info_outlives_its_page_in_the_map),
        TEST(a_multicall_runs_all_its_calls),
        TEST(params_can_be_read_but_only_the_callback_set),
    };

    return cmocka_run_group_tests(tests, machine_up, machine_down);
}
