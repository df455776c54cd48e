/* test: with paging/ hv/ hv/pv_view.c */
/*
 * The control domain: what it is told at its start, its keyboard, sysctl and domctl, and that nobody else
 * may make these calls.
 */
#include "hv/control_world.h"

/* ---- what it is ---- */

static void the_control_domain_is_told_that_it_is_one(void **state)
{
    struct start_info       info;
    struct xen_feature_info feature = { 0 };

    (void)state;
    assert_int_equal(control->id, 0);
    assert_ptr_equal(control_domain(), control);
    look(control, started.rsi, &info, sizeof(info));
    assert_int_equal(info.flags, SIF_PRIVILEGED | SIF_INITDOMAIN);
    assert_int_equal(info.store_mfn, 0);
    assert_int_equal(info.store_evtchn, 0);
    assert_int_equal(info.console.dom0.info_size, 0);
    assert_int_equal(info.console.dom0.info_off, 0);
    assert_int_equal(rings, 0);
    store(control, PAGE_OF(0), &feature, sizeof(feature));
    assert_int_equal(call(control, __HYPERVISOR_xen_version, XENVER_get_features, PAGE_OF(0), 0),
                     0);
    look(control, PAGE_OF(0), &feature, sizeof(feature));
    assert_true((feature.submap & UINT32_C(1) << XENFEAT_dom0) != 0);
}

static void there_is_one_control_domain_at_most(void **state)
{
    (void)state;
    strcpy(config.name, "second");
    assert_null(domain_create(&config, &images, error, sizeof(error)));
    assert_non_null(strstr(error, "there is a control domain already"));
    assert_int_not_equal(other(CONFIG_PV)->id, 0);
}

static void what_is_typed_is_read_once_and_in_order(void **state)
{
    struct evtchn_bind_virq bind = { .virq = VIRQ_CONSOLE };
    char                    text[8] = { 0 };

    (void)state;
    store(control, PAGE_OF(0), &bind, sizeof(bind));
    assert_int_equal(
        call(control, __HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, PAGE_OF(0), 0), 0);
    look(control, PAGE_OF(0), &bind, sizeof(bind));
    assert_false(evtchn_pending(control, bind.port));
    assert_int_equal(control_type(control, "xl list", 7), 7);
    assert_true(evtchn_pending(control, bind.port));
    assert_int_equal(call(control, __HYPERVISOR_console_io, CONSOLEIO_read, 3, PAGE_OF(1)), 3);
    look(control, PAGE_OF(1), text, 3);
    assert_string_equal(text, "xl ");
    assert_int_equal(call(control, __HYPERVISOR_console_io, CONSOLEIO_read, 100, PAGE_OF(1)), 4);
    look(control, PAGE_OF(1), text, 4);
    assert_memory_equal(text, "list", 4);
    assert_int_equal(call(control, __HYPERVISOR_console_io, CONSOLEIO_read, 100, PAGE_OF(1)), 0);
    assert_int_equal(call(control, __HYPERVISOR_console_io, CONSOLEIO_read, 100, WILD), 0);
    for (unsigned i = 0; i < 4096; i++)
        (void)control_type(control, "0123456789", 10);
    assert_int_equal(control_type(control, "x", 1), 0);
    assert_int_equal(call(control, __HYPERVISOR_console_io, CONSOLEIO_read, 9, WILD), -XEN_EFAULT);
    while (call(control, __HYPERVISOR_console_io, CONSOLEIO_read, 100, PAGE_OF(1)) != 0)
        ;
}

/* ---- who may ---- */

static void nobody_else_may_make_privileged_calls(void **state)
{
    struct domain *pv = other(CONFIG_PV);

    (void)state;
    (void)control_type(control, "secret", 6);
    assert_int_equal(call(pv, __HYPERVISOR_console_io, CONSOLEIO_read, 100, PAGE_OF(1)), 0);
    for (uint32_t cmd = 0; cmd < 100; cmd++) {
        struct xen_sysctl s = { .cmd = cmd };
        struct xen_domctl d = { .cmd = cmd };

        assert_int_equal(sysctl(pv, &s), -XEN_EPERM);
        assert_int_equal(domctl(pv, control->id, &d), -XEN_EPERM);
        assert_int_equal(domctl(pv, DOMID_SELF, &d), -XEN_EPERM);
    }
    assert_int_equal(call(pv, __HYPERVISOR_platform_op, PAGE_OF(0), 0, 0), -XEN_EPERM);
    assert_int_equal(call(control, __HYPERVISOR_platform_op, PAGE_OF(0), 0, 0), -XEN_ENOSYS);
    assert_int_equal(call(pv, __HYPERVISOR_memory_op, XENMEM_machine_memory_map, PAGE_OF(0), 0),
                     -XEN_EPERM);
    assert_int_equal(control->paused, 0);
    while (call(control, __HYPERVISOR_console_io, CONSOLEIO_read, 100, PAGE_OF(1)) != 0)
        ;
}

static void nor_may_a_guest_with_a_map_of_ours(void **state)
{
    struct domain *pvh = other(CONFIG_PVH);

    (void)state;
    assert_int_equal(call(pvh, __HYPERVISOR_sysctl, 0, 0, 0), -XEN_EPERM);
    assert_int_equal(call(pvh, __HYPERVISOR_domctl, 0, 0, 0), -XEN_EPERM);
    assert_int_equal(call(pvh, __HYPERVISOR_platform_op, 0, 0, 0), -XEN_EPERM);
}

static void another_version_is_refused(void **state)
{
    struct xen_sysctl s = { .cmd = XEN_SYSCTL_physinfo, .interface_version = 0x14 };
    struct xen_domctl d = { .cmd = XEN_DOMCTL_getdomaininfo, .interface_version = 0x16 };

    (void)state;
    store(control, PAGE_OF(0), &s, sizeof(s));
    assert_int_equal(call(control, __HYPERVISOR_sysctl, PAGE_OF(0), 0, 0), -XEN_EACCES);
    store(control, PAGE_OF(0), &d, sizeof(d));
    assert_int_equal(call(control, __HYPERVISOR_domctl, PAGE_OF(0), 0, 0), -XEN_EACCES);
    assert_int_equal(call(control, __HYPERVISOR_sysctl, WILD, 0, 0), -XEN_EFAULT);
    assert_int_equal(call(control, __HYPERVISOR_domctl, WILD, 0, 0), -XEN_EFAULT);
    s.cmd = 5000;
    assert_int_equal(sysctl(control, &s), -XEN_EOPNOTSUPP);
    d.cmd = 5000;
    assert_int_equal(domctl(control, 0, &d), -XEN_EOPNOTSUPP);
    d.cmd = XEN_DOMCTL_getdomaininfo;
    assert_int_equal(domctl(control, 77, &d), -XEN_ESRCH);
}

/* ---- sysctl ---- */

static void the_machine_is_described(void **state)
{
    struct xen_sysctl op = { .cmd = XEN_SYSCTL_physinfo };
    uint8_t           map[16], expected[16] = { 1 };

    (void)state;
    assert_int_equal(sysctl(control, &op), 0);
    assert_int_equal(op.u.physinfo.nr_cpus, 1);
    assert_int_equal(op.u.physinfo.free_pages, alloc_free_count());
    assert_int_equal(op.u.physinfo.total_pages, FRAMES - 1);
    assert_int_equal(op.u.physinfo.cpu_khz, machine_ticks_per_ms());
    assert_int_equal(op.u.physinfo.hw_cap[7], 8);
    assert_true((op.u.physinfo.capabilities & XEN_SYSCTL_PHYSCAP_hap) != 0);
    no_nested = true;
    assert_int_equal(sysctl(control, &op), 0);
    assert_true((op.u.physinfo.capabilities & XEN_SYSCTL_PHYSCAP_hap) == 0);

    memset(map, 0xff, sizeof(map));
    store(control, PAGE_OF(1), map, sizeof(map));
    op = (struct xen_sysctl){ .cmd = XEN_SYSCTL_cpupool_op };
    op.u.cpupool_op.op = XEN_SYSCTL_CPUPOOL_OP_INFO;
    op.u.cpupool_op.cpumap.nr_bits = 121;
    op.u.cpupool_op.cpumap.bitmap.p = (void *)PAGE_OF(1);
    assert_int_equal(sysctl(control, &op), 0);
    assert_int_equal(op.u.cpupool_op.n_dom, 1);
    look(control, PAGE_OF(1), map, sizeof(map));
    assert_memory_equal(map, expected, sizeof(map));
    op.u.cpupool_op.cpupool_id = 1;
    assert_int_equal(sysctl(control, &op), -XEN_ENOENT);
}

static void sizes_are_asked_for_without_a_place_for_the_list(void **state)
{
    struct xen_sysctl         op = { .cmd = XEN_SYSCTL_numainfo };
    struct xen_sysctl_meminfo memory;
    struct xen_sysctl_cputopo topo = { 9, 9, 9 };

    (void)state;
    assert_int_equal(sysctl(control, &op), 0);
    assert_int_equal(op.u.numainfo.num_nodes, 1);
    op.u.numainfo.meminfo.p = (void *)PAGE_OF(1);
    assert_int_equal(sysctl(control, &op), 0);
    look(control, PAGE_OF(1), &memory, sizeof(memory));
    assert_int_equal(memory.memfree, alloc_free_count() << PAGE_SHIFT);
    op = (struct xen_sysctl){ .cmd = XEN_SYSCTL_cputopoinfo };
    store(control, PAGE_OF(1), &topo, sizeof(topo));
    assert_int_equal(sysctl(control, &op), 0);
    assert_int_equal(op.u.cputopoinfo.num_cpus, 1);
    op.u.cputopoinfo.cputopo.p = (void *)PAGE_OF(1);
    assert_int_equal(sysctl(control, &op), 0);
    look(control, PAGE_OF(1), &topo, sizeof(topo));
    assert_int_equal(topo.core + topo.socket + topo.node, 0);
    op.u.cputopoinfo.cputopo.p = (void *)WILD;
    assert_int_equal(sysctl(control, &op), -XEN_EFAULT);
}

static void all_domains_are_listed_from_a_number_on(void **state)
{
    struct domain                  *d = other(CONFIG_PVH);
    struct xen_sysctl               op = { .cmd = XEN_SYSCTL_getdomaininfolist };
    struct xen_domctl_getdomaininfo info[2];

    (void)state;
    op.u.getdomaininfolist.max_domains = 10;
    op.u.getdomaininfolist.buffer.p = (void *)PAGE_OF(1);
    assert_int_equal(sysctl(control, &op), 0);
    assert_int_equal(op.u.getdomaininfolist.num_domains, 2);
    look(control, PAGE_OF(1), info, sizeof(info));
    assert_int_equal(info[0].domain, 0);
    assert_int_equal(info[1].domain, d->id);
    assert_int_equal(info[0].flags & XEN_DOMINF_hvm_guest, 0);
    assert_int_equal(info[1].flags & (XEN_DOMINF_hvm_guest | XEN_DOMINF_hap), XEN_DOMINF_hvm_guest);
    assert_int_equal(info[1].tot_pages, d->pages);
    assert_int_equal(info[0].shared_info_frame, control->shared_mfn.raw);

    op.u.getdomaininfolist.first_domain = 1;
    assert_int_equal(sysctl(control, &op), 0);
    assert_int_equal(op.u.getdomaininfolist.num_domains, 1);
    op.u.getdomaininfolist.first_domain = 0;
    op.u.getdomaininfolist.max_domains = 1;
    assert_int_equal(sysctl(control, &op), 0);
    assert_int_equal(op.u.getdomaininfolist.num_domains, 1);
    op.u.getdomaininfolist.buffer.p = (void *)WILD;
    assert_int_equal(sysctl(control, &op), -XEN_EFAULT);
}

static void what_was_printed_is_read_piece_by_piece(void **state)
{
    struct xen_sysctl op = { .cmd = XEN_SYSCTL_readconsole };
    char              text[64], many[4096];
    uint32_t          start = conring_next();

    (void)state;
    conring_put("umbra: one\n", 11);
    assert_true(conring_changed());
    assert_false(conring_changed());
    op.u.readconsole.incremental = 1;
    op.u.readconsole.index = start;
    op.u.readconsole.buffer.p = (void *)PAGE_OF(1);
    op.u.readconsole.count = 7;
    assert_int_equal(sysctl(control, &op), 0);
    assert_int_equal(op.u.readconsole.count, 7);
    assert_int_equal(op.u.readconsole.index, start + 7);
    op.u.readconsole.count = 50;
    assert_int_equal(sysctl(control, &op), 0);
    assert_int_equal(op.u.readconsole.count, 4);
    look(control, PAGE_OF(1), text, 4);
    assert_memory_equal(text, "one\n", 4);

    /* More than is kept: what is gone is left out. */
    memset(many, 'x', sizeof(many));
    for (unsigned i = 0; i < CONRING_SIZE / sizeof(many) + 1; i++)
        conring_put(many, sizeof(many));
    op.u.readconsole.incremental = 0;
    op.u.readconsole.count = UINT32_MAX;
    op.u.readconsole.clear = 1;
    assert_int_equal(sysctl(control, &op), 0);
    assert_int_equal(op.u.readconsole.count, CONRING_SIZE);
    op.u.readconsole.count = 10;
    assert_int_equal(sysctl(control, &op), 0);
    assert_int_equal(op.u.readconsole.count, 0);
}

static void debug_keys_are_handed_on(void **state)
{
    struct xen_sysctl op = { .cmd = XEN_SYSCTL_debug_keys };

    (void)state;
    debug_key = 0;
    store(control, PAGE_OF(1), "q", 1);
    op.u.debug_keys.keys.p = (void *)PAGE_OF(1);
    op.u.debug_keys.nr_keys = 1;
    assert_int_equal(sysctl(control, &op), 0);
    assert_int_equal(debug_key, 'q');
    op.u.debug_keys.nr_keys = 33;
    assert_int_equal(sysctl(control, &op), -XEN_E2BIG);
}

/* ---- domctl ---- */

static void a_domain_is_paused_and_goes_on(void **state)
{
    struct domain    *d = other(CONFIG_PV);
    struct xen_domctl op = { .cmd = XEN_DOMCTL_pausedomain };

    (void)state;
    assert_int_equal(domctl(control, d->id, &op), 0);
    assert_int_equal(d->paused, 1);
    assert_int_equal(domctl(control, 0, &op), -XEN_EINVAL);
    assert_int_equal(domctl(control, DOMID_SELF, &op), -XEN_EINVAL);
    op.cmd = XEN_DOMCTL_getdomaininfo;
    assert_int_equal(domctl(control, d->id, &op), 0);
    assert_true((op.u.getdomaininfo.flags & XEN_DOMINF_paused) != 0);
    op.cmd = XEN_DOMCTL_unpausedomain;
    assert_int_equal(domctl(control, d->id, &op), 0);
    assert_int_equal(d->paused, 0);
    assert_int_equal(domctl(control, d->id, &op), -XEN_EINVAL);
}

static void the_end_of_a_domain_is_told(void **state)
{
    struct evtchn_bind_virq bind = { .virq = VIRQ_DOM_EXC };
    struct domain          *d = other(CONFIG_PV), *second;
    struct xen_domctl       op = { .cmd = XEN_DOMCTL_getdomaininfo };
    uint16_t                id = d->id;

    (void)state;
    store(control, PAGE_OF(0), &bind, sizeof(bind));
    assert_int_equal(
        call(control, __HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, PAGE_OF(0), 0), 0);
    look(control, PAGE_OF(0), &bind, sizeof(bind));
    domain_stop(d, SHUTDOWN_reboot);
    assert_true(evtchn_pending(control, bind.port));
    assert_int_equal(domctl(control, id, &op), 0);
    assert_true((op.u.getdomaininfo.flags & XEN_DOMINF_shutdown) != 0);
    assert_int_equal(op.u.getdomaininfo.flags >> XEN_DOMINF_shutdownshift, SHUTDOWN_reboot);

    strcpy(config.name, "second");
    second = create();
    op.cmd = XEN_DOMCTL_destroydomain;
    assert_int_equal(domctl(control, 0, &op), -XEN_EINVAL);
    assert_int_equal(domctl(control, second->id, &op), 0);
    assert_int_equal(second->state, DOMAIN_DYING);
    assert_int_equal(domctl(control, second->id, &op), 0);
    op.cmd = XEN_DOMCTL_pausedomain; /* the tools do so, and mean no harm */
    assert_int_equal(domctl(control, second->id, &op), 0);
    op.cmd = XEN_DOMCTL_max_mem;
    assert_int_equal(domctl(control, second->id, &op), -XEN_ESRCH);
    id = second->id;
    while (!domain_destroy_step(second))
        ;
    op.cmd = XEN_DOMCTL_getdomaininfo;
    assert_int_equal(domctl(control, id, &op), -XEN_ESRCH);
}

static void information_is_of_the_first_domain_from_a_number_on(void **state)
{
    struct domain    *d = other(CONFIG_PV);
    struct xen_domctl op = { .cmd = XEN_DOMCTL_getdomaininfo };

    (void)state;
    assert_int_equal(domctl(control, 1, &op), 0);
    assert_int_equal(op.domain, d->id);
    assert_int_equal(op.u.getdomaininfo.domain, d->id);
    assert_int_equal(domctl(control, d->id, &op), 0);
    assert_int_equal(op.domain, d->id);
    assert_int_equal(domctl(control, (uint16_t)(d->id + 1), &op), -XEN_ESRCH);
    assert_int_equal(domctl(control, DOMID_SELF, &op), -XEN_EINVAL);
}

static void affinities_must_include_the_one_processor(void **state)
{
    struct domain    *d = other(CONFIG_PV);
    struct xen_domctl op = { .cmd = XEN_DOMCTL_setvcpuaffinity };
    uint8_t           map[2] = { 2, 0 };

    (void)state;
    op.u.vcpuaffinity.flags = XEN_VCPUAFFINITY_HARD;
    op.u.vcpuaffinity.cpumap_hard.nr_bits = 16;
    op.u.vcpuaffinity.cpumap_hard.bitmap.p = (void *)PAGE_OF(1);
    store(control, PAGE_OF(1), map, sizeof(map));
    assert_int_equal(domctl(control, d->id, &op), -XEN_EINVAL);
    map[0] = 0xff;
    store(control, PAGE_OF(1), map, sizeof(map));
    assert_int_equal(domctl(control, d->id, &op), 0);
    look(control, PAGE_OF(1), map, sizeof(map));
    assert_int_equal(map[0], 1);
    op.u.vcpuaffinity.vcpu = 1;
    assert_int_equal(domctl(control, d->id, &op), -XEN_ESRCH);
    op = (struct xen_domctl){ .cmd = XEN_DOMCTL_getvcpuinfo };
    assert_int_equal(domctl(control, d->id, &op), 0);
    assert_int_equal(op.u.getvcpuinfo.online, 1);
    op.u.getvcpuinfo.vcpu = 1;
    assert_int_equal(domctl(control, d->id, &op), -XEN_ESRCH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTROL(the_control_domain_is_told_that_it_is_one),
        CONTROL(there_is_one_control_domain_at_most),
        CONTROL(what_is_typed_is_read_once_and_in_order),
        CONTROL(nobody_else_may_make_privileged_calls),
        CONTROL(nor_may_a_guest_with_a_map_of_ours),
        CONTROL(another_version_is_refused),
        CONTROL(the_machine_is_described),
        CONTROL(sizes_are_asked_for_without_a_place_for_the_list),
        CONTROL(all_domains_are_listed_from_a_number_on),
        CONTROL(what_was_printed_is_read_piece_by_piece),
        CONTROL(debug_keys_are_handed_on),
        CONTROL(a_domain_is_paused_and_goes_on),
        CONTROL(the_end_of_a_domain_is_told),
        CONTROL(information_is_of_the_first_domain_from_a_number_on),
        CONTROL(affinities_must_include_the_one_processor),
    };

    return cmocka_run_group_tests(tests, machine_up, machine_down);
}
