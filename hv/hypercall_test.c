/* test: with paging/ hv/build.c hv/destroy.c hv/pvh.c hv/multiboot.c hv/multiboot_load.c */
/* test: with hv/elf.c hv/acpi.c hv/domain.c hv/evtchn.c hv/shared.c hv/time.c hv/timer.c */
/* test: with hv/sched.c hv/alloc.c hv/format.c hv/guest.c hv/hypercall.c hv/hc_console.c */
/* test: with hv/hc_event.c hv/hc_grant.c hv/hc_hvm.c hv/hc_memory.c hv/hc_sched.c hv/hc_vcpu.c */
/* test: with hv/hc_version.c hv/domain_pool.c hv/kind.c hv/monitor_parse.c */
/* test: with hv/pv.c hv/pv_shadow.c hv/pv_build.c hv/hc_pv.c hv/hc_mmu.c hv/hc_pv_memory.c */
/* Hypercalls of a domain that was really built: what they do, and what they refuse. */
#include "hv/domain_world.h"

static void wild_pointers_are_efault_everywhere(void **state)
{
    static const struct {
        uint64_t nr, a, b, c;
    } calls[] = {
        { __HYPERVISOR_memory_op, XENMEM_add_to_physmap, WILD, 0 },
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
        TEST(registered_vcpu_info_outlives_its_page_in_the_map),
        TEST(a_multicall_runs_all_its_calls),
        TEST(params_can_be_read_but_only_the_callback_set),
    };

    return cmocka_run_group_tests(tests, machine_up, machine_down);
}
