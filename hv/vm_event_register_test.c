/* test: with paging/ hv/ */
/* Writes to registers and exceptions, as a listener is told of them, and what its answers do. */
#include "hv/domain_world.h"
#include "hv/evtchn.h"
#include "hv/vm_event.h"

#define RING_GFN 0x380
#define CR4      VM_EVENT_X86_CR4
#define EFER     0xc0000080u

static struct domain         *guest, *listener;
static struct vcpu           *vcpu;
static unsigned               port, local;
static struct vm_event_sring *ring;
static uint32_t               heard;

static int set_up_listener(void **state)
{
    (void)set_up(state);
    memset(&listened, 0, sizeof(listened));
    guest = create();
    strcpy(config.name, "listener");
    listener = create();
    domain_unpause(guest);
    domain_unpause(listener);
    vcpu = guest->vcpu[0];
    vcpu->state = VCPU_RUNNABLE;
    guest->hvm_param[HVM_PARAM_MONITOR_RING_PFN] = RING_GFN;
    assert_int_equal(vm_event_enable(guest, listener->id, &port), VM_EVENT_OK);
    assert_int_equal(evtchn_bind_interdomain(listener, guest->id, port, &local), EVTCHN_OK);
    ring = phys_ptr(&machine_phys, guest->vm_event->frame);
    heard = 0;
    return 0;
}

static vm_event_request_t hear(void)
{
    assert_true(heard != ring->req_prod);
    return ring->ring[heard++ % VM_EVENT_SLOTS].req;
}

/* The last request is answered so. */
static void answer(uint32_t flags)
{
    vm_event_request_t r = ring->ring[(heard - 1) % VM_EVENT_SLOTS].req;

    r.flags = flags;
    ring->ring[(heard - 1) % VM_EVENT_SLOTS].req = r;
    ring->rsp_prod = heard;
    assert_int_equal(evtchn_send(listener, local), EVTCHN_OK);
}

static void watch(struct vm_event_register how)
{
    how.on = true;
    assert_int_equal(vm_event_watch_cr(guest, CR4, &how), 0);
}

static void a_write_waits_for_the_answer(void **state)
{
    vm_event_request_t r;

    (void)state;
    watch((struct vm_event_register){ .sync = true });
    assert_int_equal(vm_event_write_cr(vcpu, CR4, 1, 3), VM_EVENT_GATE_ASKED);
    assert_int_equal(vcpu->state, VCPU_WATCHED);
    r = hear();
    assert_int_equal(r.reason, VM_EVENT_REASON_WRITE_CTRLREG);
    assert_int_equal(r.flags, VM_EVENT_FLAG_VCPU_PAUSED);
    assert_true(r.u.write_ctrlreg.index == CR4 && r.u.write_ctrlreg.old_value == 1 &&
                r.u.write_ctrlreg.new_value == 3);
    answer(VM_EVENT_FLAG_DENY); /* others count, but it waits */
    assert_int_equal(vcpu->watch.gate, VM_EVENT_GATE_ASKED);
    vm_event_disable(guest); /* nobody is there any more: it begins anew */
    assert_int_equal(vcpu->watch.gate, VM_EVENT_GATE_NONE);
    assert_int_equal(vcpu->state, VCPU_RUNNABLE);
    assert_int_equal(vm_event_write_cr(vcpu, CR4, 1, 3), VM_EVENT_GATE_OPEN);
}

static void an_answer_lets_it_be_made_once_or_denies_it(void **state)
{
    (void)state;
    watch((struct vm_event_register){ .sync = true });
    for (unsigned deny = 0; deny < 2; deny++) {
        enum vm_event_gate gate = deny ? VM_EVENT_GATE_SHUT : VM_EVENT_GATE_OPEN;

        assert_int_equal(vm_event_write_cr(vcpu, CR4, 1, 3), VM_EVENT_GATE_ASKED);
        (void)hear();
        answer(VM_EVENT_FLAG_VCPU_PAUSED | (deny ? VM_EVENT_FLAG_DENY : 0));
        assert_int_equal(vcpu->state, VCPU_RUNNABLE);
        for (unsigned again = 0; again < 3; again++) /* it cannot be finished at once */
            assert_int_equal(vm_event_write_cr(vcpu, CR4, 1, 3), gate);
        assert_int_equal(heard, ring->req_prod);
        vm_event_written(vcpu);
    }
    assert_int_equal(vm_event_write_cr(vcpu, CR4, 1, 3), VM_EVENT_GATE_ASKED);
}

static void what_is_not_waited_for_is_told_and_made(void **state)
{
    vm_event_request_t r;

    (void)state;
    watch((struct vm_event_register){ .sync = false });
    assert_int_equal(vm_event_write_cr(vcpu, CR4, 1, 3), VM_EVENT_GATE_OPEN);
    assert_int_equal(vm_event_write_cr(vcpu, CR4, 1, 3), VM_EVENT_GATE_OPEN);
    r = hear();
    assert_int_equal(r.flags, 0);
    assert_int_equal(heard, ring->req_prod);
    assert_int_equal(vcpu->state, VCPU_RUNNABLE);
    vm_event_written(vcpu);
    assert_int_equal(vm_event_write_cr(vcpu, CR4, 3, 1), VM_EVENT_GATE_OPEN);
    (void)hear();
}

/* Which writes are told. */
static void only_what_is_wanted_is_told(void **state)
{
    static const struct {
        struct vm_event_register how;
        unsigned                 index;
        uint64_t                 old, value;
        bool                     told;
    } cases[] = {
        { { .on_change = false }, CR4, 5, 5, true },
        { { .on_change = true }, CR4, 5, 5, false },
        { { .on_change = true }, CR4, 5, 4, true },
        { { .on_change = true, .ignored = 1 }, CR4, 5, 4, false },
        { { .on_change = true, .ignored = 1 }, CR4, 5, 6, true },
        { { .on_change = false, .ignored = 1 }, CR4, 5, 4, false },
        { { .on_change = false }, VM_EVENT_X86_CR0, 5, 4, false },
        { { .on_change = false }, VM_EVENT_X86_CR3, 5, 4, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct vm_event_register off = { .on = false };
        uint32_t                       asked = ring->req_prod;

        watch(cases[i].how);
        assert_int_equal(vm_event_write_cr(vcpu, cases[i].index, cases[i].old, cases[i].value),
                         VM_EVENT_GATE_OPEN);
        assert_int_equal(ring->req_prod - asked, cases[i].told);
        vm_event_written(vcpu);
        assert_int_equal(vm_event_watch_cr(guest, CR4, &off), 0);
    }
    assert_false(vm_event_wants(guest, VM_EVENT_BIT(WRITE_CTRLREG)));
    assert_int_equal(call(guest, __HYPERVISOR_hvm_op, HVMOP_guest_request_vm_event, 0, 0), 0);
    assert_int_equal(guest->vm_event->count, 0);
}

static void msrs_are_told_one_by_one(void **state)
{
    struct vm_event_register how = { .msr = EFER, .on = true, .sync = true };
    vm_event_request_t       r;

    (void)state;
    assert_int_equal(vm_event_write_msr(vcpu, EFER, 1, 2), VM_EVENT_GATE_OPEN);
    for (unsigned i = 0; i < VM_EVENT_MSRS; i++, how.msr++)
        assert_int_equal(vm_event_watch_msr(guest, &how), 0);
    assert_int_equal(vm_event_watch_msr(guest, &how), -XEN_ENOSPC);
    how.msr = EFER;
    assert_int_equal(vm_event_watch_msr(guest, &how), -XEN_EEXIST);
    assert_int_equal(vm_event_write_msr(vcpu, EFER - 1, 1, 2), VM_EVENT_GATE_OPEN);
    assert_int_equal(vm_event_write_msr(vcpu, EFER, 1, 2), VM_EVENT_GATE_ASKED);
    r = hear();
    assert_int_equal(r.reason, VM_EVENT_REASON_MOV_TO_MSR);
    assert_true(r.u.mov_to_msr.msr == EFER && r.u.mov_to_msr.old_value == 1 &&
                r.u.mov_to_msr.new_value == 2);
    answer(VM_EVENT_FLAG_VCPU_PAUSED);
    assert_int_equal(vm_event_write_msr(vcpu, EFER, 1, 2), VM_EVENT_GATE_OPEN);
    vm_event_written(vcpu);
    how.on = false;
    assert_int_equal(vm_event_watch_msr(guest, &how), 0);
    assert_int_equal(vm_event_watch_msr(guest, &how), -XEN_EEXIST);
    assert_int_equal(vm_event_write_msr(vcpu, EFER, 1, 2), VM_EVENT_GATE_OPEN);
    assert_int_equal(heard, ring->req_prod);
}

static void exceptions_are_asked_about(void **state)
{
    const struct vm_event_debug what = { .pending_dbg = 0x4000, .insn_length = 1, .type = 3 };
    vm_event_request_t          r;

    (void)state;
    assert_false(vm_event_breakpoint(vcpu, 0x300, 1));
    assert_false(vm_event_debug(vcpu, 0x300, &what));
    guest->vm_event->events = VM_EVENT_BIT(SOFTWARE_BREAKPOINT) | VM_EVENT_BIT(DEBUG_EXCEPTION);
    assert_true(vm_event_breakpoint(vcpu, 0x300, 1));
    r = hear();
    assert_int_equal(r.reason, VM_EVENT_REASON_SOFTWARE_BREAKPOINT);
    assert_true(r.u.software_breakpoint.gfn == 0x300 && r.u.software_breakpoint.insn_length == 1 &&
                r.u.software_breakpoint.type == XEN_DMOP_EVENT_sw_exc);
    answer(VM_EVENT_FLAG_VCPU_PAUSED);
    assert_false(vm_event_debug(vcpu, 0x301, &what)); /* told, and delivered */
    r = hear();
    assert_int_equal(r.flags, 0);
    assert_true(r.u.debug_exception.gfn == 0x301 && r.u.debug_exception.pending_dbg == 0x4000 &&
                r.u.debug_exception.type == 3);
    guest->vm_event->debug_sync = true;
    assert_true(vm_event_debug(vcpu, 0x301, &what));
    assert_int_equal(vcpu->state, VCPU_WATCHED);
}

#define LISTENED(name) cmocka_unit_test_setup_teardown(name, set_up_listener, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LISTENED(a_write_waits_for_the_answer),
        LISTENED(an_answer_lets_it_be_made_once_or_denies_it),
        LISTENED(what_is_not_waited_for_is_told_and_made),
        LISTENED(only_what_is_wanted_is_told),
        LISTENED(msrs_are_told_one_by_one),
        LISTENED(exceptions_are_asked_about),
    };

    return cmocka_run_group_tests(tests, machine_up, machine_down);
}
