/* test: with paging/ hv/ hv/pv_view.c */
/* The control domain's calls about watching: what they do, what they refuse, and to whom. */
#include "hv/access.h"
#include "hv/control.h"
#include "hv/domain_world.h"
#include "hv/vm_event.h"

#define PAGE_OF(n) (UINT64_C(0x200000) + (n)*PAGE_SIZE) /* of the control domain's memory */
#define RING_GFN   0x380

static struct domain *control, *guest;

static int set_up_control(void **state)
{
    (void)set_up(state);
    memset(&listened, 0, sizeof(listened));
    config.type = CONFIG_PV;
    config.vcpus = 1;
    config.paging = CONFIG_PAGING_DEFAULT;
    config.memory = 8;
    config.control = 1;
    control = create();
    strcpy(config.name, "watched");
    config.type = CONFIG_PVH;
    config.paging = CONFIG_PAGING_SHADOW;
    config.control = 0;
    config.memory = 32;
    guest = create();
    domain_unpause(control);
    domain_unpause(guest);
    guest->hvm_param[HVM_PARAM_MONITOR_RING_PFN] = RING_GFN;
    return 0;
}

static void store(uint64_t va, const void *from, size_t len)
{
    assert_true(guest_copy_out(control->vcpu[0], va, from, len));
}

static int64_t domctl(uint16_t id, uint32_t cmd, struct xen_domctl *op)
{
    int64_t result;

    op->cmd = cmd;
    op->domain = id;
    op->interface_version = XEN_DOMCTL_INTERFACE_VERSION;
    store(PAGE_OF(0), op, sizeof(*op));
    result = call(control, __HYPERVISOR_domctl, PAGE_OF(0), 0, 0);
    assert_true(guest_copy_in(control->vcpu[0], op, PAGE_OF(0), sizeof(*op)));
    return result;
}

static int64_t vm_event_op(uint32_t what, uint32_t mode, uint32_t *port)
{
    struct xen_domctl op = { .u.vm_event_op = { .op = what, .mode = mode } };
    int64_t           result = domctl(guest->id, XEN_DOMCTL_vm_event_op, &op);

    *port = op.u.vm_event_op.u.enable.port;
    return result;
}

static uint32_t enable(void)
{
    uint32_t port;

    assert_int_equal(vm_event_op(XEN_VM_EVENT_ENABLE, XEN_DOMCTL_VM_EVENT_OP_MONITOR, &port), 0);
    return port;
}

static int64_t access_op(struct xen_mem_access_op *op)
{
    int64_t result;

    op->domid = guest->id;
    store(PAGE_OF(1), op, sizeof(*op));
    result = call(control, __HYPERVISOR_memory_op, XENMEM_access_op, PAGE_OF(1), 0);
    assert_true(guest_copy_in(control->vcpu[0], op, PAGE_OF(1), sizeof(*op)));
    return result;
}

static int64_t set(uint64_t pfn, uint32_t nr, unsigned access)
{
    struct xen_mem_access_op op = {
        .op = XENMEM_access_op_set_access, .access = (uint8_t)access, .nr = nr, .pfn = pfn
    };

    return access_op(&op);
}

static int64_t get(uint64_t pfn)
{
    struct xen_mem_access_op op = { .op = XENMEM_access_op_get_access, .access = 99, .pfn = pfn };
    int64_t                  result = access_op(&op);

    return result != 0 ? result : op.access;
}

static void rights_are_set_and_told(void **state)
{
    uint64_t last = guest->paging.p2m.end - 1;

    (void)state;
    (void)enable();
    assert_int_equal(get(0x300), XENMEM_access_rwx);
    for (unsigned type = 0; type < XENMEM_access_default; type++) {
        assert_int_equal(set(0x300, 3, type), 0);
        assert_int_equal(get(0x2ff), XENMEM_access_rwx);
        assert_int_equal(get(0x302), type);
        assert_int_equal(get(0x303), XENMEM_access_rwx);
    }
    assert_int_equal(set(~UINT64_C(0), 0, XENMEM_access_rx), 0);
    assert_int_equal(get(~UINT64_C(0)), XENMEM_access_rx);
    assert_int_equal(get(0x400), XENMEM_access_rx);
    assert_int_equal(get(0x302), XENMEM_access_n2rwx);
    assert_int_equal(set(~UINT64_C(0), 0, XENMEM_access_default), 0);
    assert_int_equal(get(~UINT64_C(0)), XENMEM_access_rx);
    assert_int_equal(set(0, (uint32_t)last + 1, XENMEM_access_default), 0);
    assert_int_equal(get(0x302), XENMEM_access_rx);
    assert_int_equal(set(last, 1, XENMEM_access_r), 0);
    assert_int_equal(get(last), XENMEM_access_r);
    assert_int_equal(set(0, 0, XENMEM_access_r), 0);
    assert_int_equal(get(0), XENMEM_access_rx);
}

static void wrong_arguments_are_refused(void **state)
{
    struct xen_mem_access_op op = { .op = 77 };
    uint64_t                 end = guest->paging.p2m.end;

    (void)state;
    assert_int_equal(set(0x300, 1, XENMEM_access_r), -XEN_ENODEV); /* nobody listens */
    (void)enable();
    assert_int_equal(set(0x300, 1, 11), -XEN_EINVAL);
    assert_int_equal(set(end, 1, XENMEM_access_r), -XEN_EINVAL);
    assert_int_equal(set(end - 1, 2, XENMEM_access_r), -XEN_EINVAL);
    assert_int_equal(set(~UINT64_C(0) - 1, 4, XENMEM_access_r), -XEN_EINVAL);
    assert_int_equal(get(end), -XEN_EINVAL);
    assert_int_equal(access_op(&op), -XEN_ENOSYS);
    assert_int_equal(get(0x300), XENMEM_access_rwx);
    assert_int_equal(call(control, __HYPERVISOR_memory_op, XENMEM_access_op, WILD, 0), -XEN_EFAULT);
    op = (struct xen_mem_access_op){
        .op = XENMEM_access_op_set_access, .access = XENMEM_access_r, .nr = 1, .pfn = 1
    };
    op.domid = guest->id; /* more done than there is */
    store(PAGE_OF(1), &op, sizeof(op));
    assert_int_equal(
        call(control, __HYPERVISOR_memory_op, XENMEM_access_op | 5 << 6, PAGE_OF(1), 0),
        -XEN_EINVAL);
}

static void a_list_is_set_and_stops_at_what_is_wrong(void **state)
{
    uint64_t pfns[6];
    uint8_t  access[6];

    (void)state;
    (void)enable();
    for (unsigned i = 0; i < 6; i++) {
        pfns[i] = 0x500 - 7 * i;
        access[i] = (uint8_t)i;
    }
    access[4] = 44;
    store(PAGE_OF(2), pfns, sizeof(pfns));
    store(PAGE_OF(3), access, sizeof(access));
    struct xen_mem_access_op op = { .op = XENMEM_access_op_set_access_multi, .nr = 6 };

    op.pfn_list.p = (void *)PAGE_OF(2);
    op.access_list.p = (void *)PAGE_OF(3);
    assert_int_equal(access_op(&op), -XEN_EINVAL);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(get(pfns[i]), i);
    assert_int_equal(get(pfns[5]), XENMEM_access_rwx);
    op.access_list.p = (void *)WILD;
    assert_int_equal(access_op(&op), -XEN_EFAULT);
}

/* It stops after each step while something is pending, and comes to the same end. */
static void long_calls_go_on_where_they_were(void **state)
{
    uint64_t         pfns[32];
    uint8_t          access[32];
    struct hypercall h = { .nr = __HYPERVISOR_memory_op, .arg = { XENMEM_access_op, PAGE_OF(1) } };
    unsigned         calls = 1;

    (void)state;
    (void)enable();
    for (unsigned i = 0; i < 32; i++) {
        pfns[i] = 0x300 + i;
        access[i] = XENMEM_access_rx;
    }
    store(PAGE_OF(2), pfns, sizeof(pfns));
    store(PAGE_OF(3), access, sizeof(access));
    struct xen_mem_access_op op = { .op = XENMEM_access_op_set_access_multi,
                                    .domid = guest->id,
                                    .nr = 32 };

    op.pfn_list.p = (void *)PAGE_OF(2);
    op.access_list.p = (void *)PAGE_OF(3);
    store(PAGE_OF(1), &op, sizeof(op));
    cpu.pending = PENDING_TIMER;
    while (hypercall_run(control->vcpu[0], &h) == HYPERCALL_AGAIN)
        assert_true(++calls < 100);
    cpu.pending = 0;
    assert_int_equal(h.result, 0);
    assert_int_equal(calls, 32);
    for (unsigned i = 0; i < 32; i++)
        assert_int_equal(get(pfns[i]), XENMEM_access_rx);
}

static void the_old_calls_do_the_same(void **state)
{
    struct {
        uint16_t domid, access;
        uint32_t nr;
        uint64_t first;
    } set_old = { guest->id, XENMEM_access_rw, 4, 0x300 };
    struct {
        uint16_t domid, access;
        uint64_t pfn;
    } get_old = { guest->id, 99, 0x303 };

    (void)state;
    (void)enable();
    store(PAGE_OF(1), &set_old, sizeof(set_old));
    assert_int_equal(call(control, __HYPERVISOR_hvm_op, HVMOP_set_mem_access, PAGE_OF(1), 0), 0);
    assert_int_equal(get(0x303), XENMEM_access_rw);
    assert_int_equal(get(0x304), XENMEM_access_rwx);
    store(PAGE_OF(1), &get_old, sizeof(get_old));
    assert_int_equal(call(control, __HYPERVISOR_hvm_op, HVMOP_get_mem_access, PAGE_OF(1), 0), 0);
    assert_true(guest_copy_in(control->vcpu[0], &get_old, PAGE_OF(1), sizeof(get_old)));
    assert_int_equal(get_old.access, XENMEM_access_rw);
    set_old.access = 0x107; /* its low byte would be good */
    store(PAGE_OF(1), &set_old, sizeof(set_old));
    assert_int_equal(call(control, __HYPERVISOR_hvm_op, HVMOP_set_mem_access, PAGE_OF(1), 0),
                     -XEN_EINVAL);
}

static void the_ring_is_there_once(void **state)
{
    struct xen_domctl op = { .u.vm_event_op = { .op = XEN_VM_EVENT_GET_VERSION } };
    uint32_t          port, again;

    (void)state;
    assert_int_equal(domctl(DOMID_INVALID, XEN_DOMCTL_vm_event_op, &op), 0);
    assert_int_equal(op.u.vm_event_op.u.version, 7);
    assert_int_equal(vm_event_op(XEN_VM_EVENT_ENABLE, XEN_DOMCTL_VM_EVENT_OP_PAGING, &again),
                     -XEN_EOPNOTSUPP);
    port = enable();
    assert_int_equal(guest->ports[port].remote_domain, control->id);
    assert_int_equal(vm_event_op(XEN_VM_EVENT_ENABLE, XEN_DOMCTL_VM_EVENT_OP_MONITOR, &again),
                     -XEN_EBUSY);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(vm_event_op(XEN_VM_EVENT_DISABLE, XEN_DOMCTL_VM_EVENT_OP_MONITOR, &again),
                         0);
    assert_int_equal(vm_event_op(XEN_VM_EVENT_RESUME, XEN_DOMCTL_VM_EVENT_OP_MONITOR, &again),
                     -XEN_ENODEV);
    guest->hvm_param[HVM_PARAM_MONITOR_RING_PFN] = 0;
    assert_int_equal(vm_event_op(XEN_VM_EVENT_ENABLE, XEN_DOMCTL_VM_EVENT_OP_MONITOR, &again),
                     -XEN_EOPNOTSUPP);
    guest->hvm_param[HVM_PARAM_MONITOR_RING_PFN] = 0xfeffa; /* nothing is there */
    assert_int_equal(vm_event_op(XEN_VM_EVENT_ENABLE, XEN_DOMCTL_VM_EVENT_OP_MONITOR, &again),
                     -XEN_EINVAL);
    op.u.vm_event_op = (struct xen_domctl_vm_event_op){ .mode = XEN_DOMCTL_VM_EVENT_OP_MONITOR };
    assert_int_equal(domctl(control->id, XEN_DOMCTL_vm_event_op, &op), -XEN_EINVAL);
}

static int64_t monitor(uint32_t what, uint32_t event)
{
    struct xen_domctl op = { .u.monitor_op = { .op = what, .event = event } };
    int64_t           result;

    op.u.monitor_op.u.guest_request.sync = 1;
    result = domctl(guest->id, XEN_DOMCTL_monitor_op, &op);
    return what == XEN_DOMCTL_MONITOR_OP_GET_CAPABILITIES ? op.u.monitor_op.event : result;
}

static void events_are_told_only_if_they_are_wanted(void **state)
{
    const uint32_t REQUEST = XEN_DOMCTL_MONITOR_EVENT_GUEST_REQUEST;

    (void)state;
    assert_int_equal(monitor(XEN_DOMCTL_MONITOR_OP_ENABLE, REQUEST), -XEN_ENODEV);
    (void)enable();
    assert_int_equal(monitor(XEN_DOMCTL_MONITOR_OP_GET_CAPABILITIES, 0), 0x7f);
    assert_int_equal(monitor(XEN_DOMCTL_MONITOR_OP_ENABLE, 12), -XEN_EOPNOTSUPP);
    assert_int_equal(monitor(XEN_DOMCTL_MONITOR_OP_ENABLE, 32 + REQUEST), -XEN_EOPNOTSUPP);
    assert_int_equal(call(guest, __HYPERVISOR_hvm_op, HVMOP_guest_request_vm_event, 0, 0), 0);
    assert_false(vm_event_cpuid(guest->vcpu[0], 2, 1, 0));
    access_stepped(guest->vcpu[0], gva_of(0x1000));
    assert_int_equal(guest->vm_event->asked, 0);
    assert_int_equal(monitor(XEN_DOMCTL_MONITOR_OP_ENABLE, REQUEST), 0);
    assert_int_equal(monitor(XEN_DOMCTL_MONITOR_OP_ENABLE, REQUEST), -XEN_EEXIST);
    assert_int_equal(call(guest, __HYPERVISOR_hvm_op, HVMOP_guest_request_vm_event, 0, 0), 0);
    assert_int_equal(guest->vm_event->asked, 1);
    assert_int_equal(guest->vcpu[0]->state, VCPU_WATCHED);
    vm_event_disable(guest);
    (void)enable();
    assert_int_equal(monitor(XEN_DOMCTL_MONITOR_OP_ENABLE, XEN_DOMCTL_MONITOR_EVENT_CPUID), 0);
    assert_true(vm_event_cpuid(guest->vcpu[0], 2, 0x40000000, 3));
    const vm_event_request_t *r = &guest->vm_event->ring.page->ring[0].req;

    assert_int_equal(r->reason, VM_EVENT_REASON_CPUID);
    assert_true(r->u.cpuid.insn_length == 2 && r->u.cpuid.leaf == 0x40000000 &&
                r->u.cpuid.subleaf == 3);
}

static int64_t register_event(uint32_t what, struct xen_domctl_monitor_op how)
{
    struct xen_domctl op = { .u.monitor_op = how };

    op.u.monitor_op.op = what;
    return domctl(guest->id, XEN_DOMCTL_monitor_op, &op);
}

static void registers_are_watched_as_the_interface_says(void **state)
{
    const uint32_t on = XEN_DOMCTL_MONITOR_OP_ENABLE, off = XEN_DOMCTL_MONITOR_OP_DISABLE;
    struct xen_domctl_monitor_op    how = { .event = XEN_DOMCTL_MONITOR_EVENT_WRITE_CTRLREG };
    const struct vm_event_register *cr;

    (void)state;
    how.u.mov_to_cr.index = VM_EVENT_X86_CR4;
    how.u.mov_to_cr.sync = 1;
    how.u.mov_to_cr.bitmask = 0x80;
    assert_int_equal(register_event(on, how), -XEN_ENODEV);
    (void)enable();
    assert_int_equal(register_event(on, how), 0);
    assert_int_equal(listened.watched, 1);
    cr = &guest->vm_event->cr[VM_EVENT_X86_CR4];
    assert_true(cr->on && cr->sync && !cr->on_change && cr->ignored == 0x80);
    assert_int_equal(register_event(on, how), -XEN_EEXIST);
    how.u.mov_to_cr.index = VM_EVENT_X86_CR3;
    assert_int_equal(register_event(off, how), -XEN_EEXIST);
    how.u.mov_to_cr.pad2 = 1;
    assert_int_equal(register_event(on, how), -XEN_EINVAL);
    how.u.mov_to_cr.pad2 = 0;
    how.u.mov_to_cr.index = VM_EVENT_X86_XCR0;
    assert_int_equal(register_event(on, how), -XEN_EOPNOTSUPP);
    how = (struct xen_domctl_monitor_op){ .event = XEN_DOMCTL_MONITOR_EVENT_MOV_TO_MSR };
    how.u.mov_to_msr.msr = 0xc0000082; /* does not come to the hypervisor */
    assert_int_equal(register_event(on, how), -XEN_EOPNOTSUPP);
    how.u.mov_to_msr.msr = 0xc0000080;
    how.u.mov_to_msr.onchangeonly = 1;
    assert_int_equal(register_event(on, how), 0);
    assert_true(guest->vm_event->msr[0].on && guest->vm_event->msr[0].on_change);
    assert_int_equal(register_event(XEN_DOMCTL_MONITOR_OP_CONTROL_REGISTERS, how), 0);
    vm_event_disable(guest);
    assert_int_equal(listened.watched, 3); /* the intercepts go with the listener */
}

static int64_t inject(struct domain *who, uint16_t id, struct xen_dm_op_inject_event event,
                      uint32_t size)
{
    struct xen_dm_op     op = { .op = XEN_DMOP_inject_event, .u.inject_event = event };
    struct xen_dm_op_buf buffer = { .size = size };
    uint64_t             at = who == control ? PAGE_OF(1) : AREA;

    buffer.h.p = (void *)(at + sizeof(buffer));
    if (who == control) {
        store(at, &buffer, sizeof(buffer));
        store(at + sizeof(buffer), &op, sizeof(op));
    }
    return call(who, __HYPERVISOR_dm_op, id, 1, at);
}

static void a_listener_injects_events(void **state)
{
    const uint32_t                size = sizeof(struct xen_dm_op);
    struct xen_dm_op_inject_event e = { .vector = 3, .type = 6, .insn_len = 1, .cr2 = 7 };

    (void)state;
    e.error_code = ~0u;
    assert_int_equal(inject(control, guest->id, e, size), 0);
    assert_true(listened.event.vector == 3 && listened.event.type == XEN_DMOP_EVENT_sw_exc &&
                listened.event.length == 1 && listened.event.error == ~0u &&
                listened.event.cr2 == 7);
    assert_int_equal(inject(control, guest->id, e, size), -XEN_EBUSY);
    assert_int_equal(inject(control, guest->id, e, 16), -XEN_EINVAL);
    e.vcpuid = 1;
    assert_int_equal(inject(control, guest->id, e, size), -XEN_EINVAL);
    assert_int_equal(inject(control, 77, e, size), -XEN_ESRCH);
    assert_int_equal(inject(control, control->id, e, size), -XEN_EINVAL);
    assert_int_equal(inject(guest, guest->id, e, size), -XEN_EPERM);
    assert_int_equal(listened.injected, 2);
}

static void single_step_is_switched(void **state)
{
    struct xen_domctl op = { .u.debug_op = { .op = XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_ON } };

    (void)state;
    assert_int_equal(domctl(guest->id, XEN_DOMCTL_debug_op, &op), -XEN_ENODEV);
    (void)enable();
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(domctl(guest->id, XEN_DOMCTL_debug_op, &op), 0);
    assert_int_equal(listened.stepping, 1);
    op.u.debug_op.vcpu = 1;
    assert_int_equal(domctl(guest->id, XEN_DOMCTL_debug_op, &op), -XEN_EINVAL);
    assert_int_equal(monitor(XEN_DOMCTL_MONITOR_OP_ENABLE, XEN_DOMCTL_MONITOR_EVENT_SINGLESTEP), 0);
    access_stepped(guest->vcpu[0], gva_of(0x300123));
    assert_int_equal(guest->vm_event->ring.page->ring[0].req.u.singlestep.gfn, 0x300);
    vm_event_disable(guest); /* who would be told? */
    assert_int_equal(listened.stepping, 0);
}

static void a_listener_may_be_required(void **state)
{
    struct xen_domctl op = { .u.access_required = { .access_required = 1 } };

    (void)state;
    assert_int_equal(domctl(guest->id, XEN_DOMCTL_set_access_required, &op), 0);
    assert_true(guest->access_required);
    assert_int_equal(domctl(control->id, XEN_DOMCTL_set_access_required, &op), -XEN_EPERM);
    op.u.access_required.access_required = 0;
    assert_int_equal(domctl(guest->id, XEN_DOMCTL_set_access_required, &op), 0);
    assert_false(guest->access_required);
}

/* The guest may not watch anybody, itself included. */
static void nobody_else_may(void **state)
{
    struct xen_mem_access_op op = { .op = XENMEM_access_op_set_access, .nr = 1, .pfn = 1 };
    const uint16_t           ids[] = { control->id, guest->id, DOMID_SELF, 77 };

    (void)state;
    (void)enable();
    for (unsigned i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        op.domid = ids[i];
        poke(guest, AREA, &op, sizeof(op));
        assert_int_equal(call(guest, __HYPERVISOR_memory_op, XENMEM_access_op, AREA, 0),
                         -XEN_EPERM);
        poke(guest, AREA, &ids[i], sizeof(ids[i])); /* both old calls begin with it */
        assert_int_equal(call(guest, __HYPERVISOR_hvm_op, HVMOP_set_mem_access, AREA, 0),
                         -XEN_EPERM);
        assert_int_equal(call(guest, __HYPERVISOR_hvm_op, HVMOP_get_mem_access, AREA, 0),
                         -XEN_EPERM);
    }
    assert_int_equal(get(1), XENMEM_access_rwx);
    op.domid = control->id; /* nor the control domain itself */
    store(PAGE_OF(1), &op, sizeof(op));
    assert_int_equal(call(control, __HYPERVISOR_memory_op, XENMEM_access_op, PAGE_OF(1), 0),
                     -XEN_EPERM);
}

#define TWO(name) cmocka_unit_test_setup_teardown(name, set_up_control, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TWO(rights_are_set_and_told),
        TWO(wrong_arguments_are_refused),
        TWO(a_list_is_set_and_stops_at_what_is_wrong),
        TWO(long_calls_go_on_where_they_were),
        TWO(the_old_calls_do_the_same),
        TWO(the_ring_is_there_once),
        TWO(events_are_told_only_if_they_are_wanted),
        TWO(registers_are_watched_as_the_interface_says),
        TWO(a_listener_injects_events),
        TWO(single_step_is_switched),
        TWO(a_listener_may_be_required),
        TWO(nobody_else_may),
    };

    return cmocka_run_group_tests(tests, machine_up, machine_down);
}
