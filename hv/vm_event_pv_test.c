/* test: with paging/ hv/ */
/* A PV guest loads CR3 by hypercall, of which a listener is told before anything comes of it. */
#include "hv/control_world.h"
#include "hv/evtchn.h"
#include "hv/hypercall.h"
#include "hv/vm_event.h"

#define BAD_ROOT UINT64_C(0x7777777) /* no frame */

static struct domain         *guest;
static struct vcpu           *vcpu;
static unsigned               local;
static struct vm_event_sring *ring;
static uint32_t               heard;

static int set_up_listener(void **state)
{
    unsigned port;

    (void)set_up_control(state);
    guest = other(CONFIG_PV);
    vcpu = guest->vcpu[0];
    assert_true(mfn_valid(vm_event_make_page(guest, control)));
    assert_int_equal(vm_event_enable(guest, control->id, &port), VM_EVENT_OK);
    assert_int_equal(evtchn_bind_interdomain(control, guest->id, port, &local), EVTCHN_OK);
    ring = phys_ptr(&machine_phys, guest->vm_event->frame);
    heard = 0;
    return 0;
}

static void watch(bool sync, bool on_change)
{
    const struct vm_event_register how = { .on = true, .sync = sync, .on_change = on_change };

    assert_int_equal(vm_event_watch_cr(guest, VM_EVENT_X86_CR3, &how), 0);
}

static uint64_t root(void)
{
    return vcpu->pv->direct.root[0].raw;
}

/* The next request is a write of this root, and is answered so. */
static void hear(uint64_t value, uint32_t flags)
{
    vm_event_request_t r;

    assert_int_equal(ring->req_prod, heard + 1);
    r = ring->ring[heard++ % VM_EVENT_SLOTS].req;
    assert_int_equal(r.reason, VM_EVENT_REASON_WRITE_CTRLREG);
    assert_int_equal(r.u.write_ctrlreg.index, VM_EVENT_X86_CR3);
    assert_int_equal(r.u.write_ctrlreg.old_value, root() << PAGE_SHIFT);
    assert_int_equal(r.u.write_ctrlreg.new_value, value << PAGE_SHIFT);
    r.flags |= flags;
    ring->ring[(heard - 1) % VM_EVENT_SLOTS].req = r;
    ring->rsp_prod = heard;
    assert_int_equal(evtchn_send(control, local), EVTCHN_OK);
}

static struct hypercall load(uint64_t first, uint64_t second)
{
    struct mmuext_op op[2] = { { .cmd = MMUEXT_NEW_BASEPTR, .arg1.mfn = first },
                               { .cmd = MMUEXT_NEW_BASEPTR, .arg1.mfn = second } };

    store(guest, PAGE_OF(0), op, sizeof(op));
    return (struct hypercall){ .nr = __HYPERVISOR_mmuext_op,
                               .arg = { PAGE_OF(0), 2, 0, DOMID_SELF } };
}

/* As the run loop has it: as long as it may run. True: the call is done. */
static bool run(struct hypercall *h)
{
    for (unsigned i = 0; i < 100 && vcpu->state == VCPU_RUNNABLE; i++)
        if (hypercall_run(vcpu, h) == HYPERCALL_DONE)
            return true;
    assert_int_equal(vcpu->state, VCPU_WATCHED);
    return false;
}

static void a_load_waits_for_the_answer_and_is_told_once(void **state)
{
    struct hypercall h;

    (void)state;
    watch(true, false);
    h = load(root(), BAD_ROOT);
    assert_false(run(&h));
    assert_int_equal(vcpu->state, VCPU_WATCHED);
    hear(root(), 0);
    assert_int_equal(vcpu->state, VCPU_RUNNABLE);
    assert_false(run(&h)); /* the second, after the first */
    assert_int_equal(h.arg[1] & 0xffff, 1);
    hear(BAD_ROOT, 0);
    assert_true(run(&h));
    assert_int_equal(h.result, -XEN_EINVAL); /* it was told before it was checked */
    assert_int_equal(vcpu->watch.gate, VM_EVENT_GATE_NONE);
    assert_int_equal(ring->req_prod, 2);
}

static void what_is_denied_is_not_loaded(void **state)
{
    struct hypercall h;

    (void)state;
    watch(true, false);
    h = load(BAD_ROOT, BAD_ROOT);
    for (unsigned i = 0; i < 2; i++) {
        assert_false(run(&h));
        hear(BAD_ROOT, VM_EVENT_FLAG_DENY);
    }
    assert_true(run(&h));
    assert_int_equal(h.result, 0);
    assert_int_equal(vcpu->watch.gate, VM_EVENT_GATE_NONE);
}

static void what_is_not_waited_for_is_told_and_loaded(void **state)
{
    struct hypercall h;

    (void)state;
    watch(false, false);
    h = load(root(), root());
    assert_true(run(&h));
    assert_int_equal(h.result, 0);
    assert_int_equal(vcpu->watch.gate, VM_EVENT_GATE_NONE);
    assert_int_equal(ring->req_prod, 2);
    h = load(BAD_ROOT, 0);
    heard = 2;
    assert_true(run(&h));
    assert_int_equal(h.result, -XEN_EINVAL);
    hear(BAD_ROOT, 0);
}

static void only_changes_may_be_told(void **state)
{
    struct hypercall h;

    (void)state;
    watch(true, true);
    h = load(root(), BAD_ROOT);
    assert_false(run(&h));
    hear(BAD_ROOT, VM_EVENT_FLAG_DENY);
    assert_true(run(&h));
}

/* One of several calls made at once. */
static void a_load_among_others_is_told_once_too(void **state)
{
    struct hypercall       h;
    struct multicall_entry calls[3], seen[3];

    (void)state;
    watch(true, false);
    h = load(root(), root());
    for (unsigned i = 0; i < 3; i++)
        calls[i] =
            (struct multicall_entry){ .op = i == 1 ? __HYPERVISOR_mmuext_op
                                                   : __HYPERVISOR_fpu_taskswitch,
                                      .args = { i == 1 ? PAGE_OF(0) : 1, 1, 0, DOMID_SELF } };
    store(guest, PAGE_OF(1), calls, sizeof(calls));
    h = (struct hypercall){ .nr = __HYPERVISOR_multicall, .arg = { PAGE_OF(1), 3 } };
    assert_false(run(&h));
    assert_int_equal(h.arg[1], 2);
    hear(root(), 0);
    assert_true(run(&h));
    look(guest, PAGE_OF(1), seen, sizeof(seen));
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(seen[i].result, 0);
    assert_int_equal(ring->req_prod, 1);
}

static void a_listener_that_goes_lets_it_begin_anew(void **state)
{
    struct hypercall h;

    (void)state;
    watch(true, false);
    h = load(BAD_ROOT, BAD_ROOT);
    assert_false(run(&h));
    vm_event_disable(guest);
    assert_true(run(&h));
    assert_int_equal(h.result, -XEN_EINVAL);
}

#define LISTENED(name) cmocka_unit_test_setup_teardown(name, set_up_listener, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LISTENED(a_load_waits_for_the_answer_and_is_told_once),
        LISTENED(what_is_denied_is_not_loaded),
        LISTENED(what_is_not_waited_for_is_told_and_loaded),
        LISTENED(only_changes_may_be_told),
        LISTENED(a_load_among_others_is_told_once_too),
        LISTENED(a_listener_that_goes_lets_it_begin_anew),
    };

    return cmocka_run_group_tests(tests, machine_up, machine_down);
}
