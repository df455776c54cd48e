/* test: with paging/ hv/ */
/* vm_event: two domains, one of which listens to the other. The listener is the test, which may lie. */
#include "hv/access.h"
#include "hv/domain_world.h"
#include "hv/vm_event.h"

#define RING_GFN 0x380

static struct domain         *guest, *listener;
static unsigned               port, local; /* of the guest's, of the listener's */
static struct vm_event_sring *ring;
static uint32_t               heard, said;

static void listen(void)
{
    assert_int_equal(vm_event_enable(guest, listener->id, &port), VM_EVENT_OK);
    assert_int_equal(evtchn_bind_interdomain(listener, guest->id, port, &local), EVTCHN_OK);
    ring = phys_ptr(&machine_phys, guest->vm_event->frame);
    heard = said = 0;
}

static int set_up_two(void **state)
{
    (void)set_up(state);
    memset(&listened, 0, sizeof(listened));
    config.vcpus = 4;
    guest = create();
    strcpy(config.name, "listener");
    listener = create();
    domain_unpause(guest);
    domain_unpause(listener);
    for (unsigned i = 0; i < 4; i++)
        guest->vcpu[i]->state = VCPU_RUNNABLE;
    guest->hvm_param[HVM_PARAM_MONITOR_RING_PFN] = RING_GFN;
    return 0;
}

static vm_event_request_t *slot(uint32_t index)
{
    return &ring->ring[index % VM_EVENT_SLOTS].req;
}

/* A frame that this vCPU may not write. */
static struct verdict refusal(uint64_t gfn)
{
    return (struct verdict){ .kind = VERDICT_ACCESS,
                             .gpa = gfn << PAGE_SHIFT | 0x123,
                             .refused = ACCESS_WRITE };
}

static void violate(unsigned vcpu, uint64_t gfn)
{
    struct verdict v = refusal(gfn);

    access_tell(guest->vcpu[vcpu], &v, gva_of(0x7000), 0x1000);
}

/* The next request, which must be there. */
static vm_event_request_t hear(void)
{
    assert_true(heard != ring->req_prod);
    return *slot(heard++);
}

static void say(vm_event_response_t r)
{
    *slot(said++) = r;
    ring->rsp_prod = said;
}

static void send(void)
{
    assert_int_equal(evtchn_send(listener, local), EVTCHN_OK);
}

static void a_violation_is_told_and_its_vcpu_waits_for_the_answer(void **state)
{
    vm_event_request_t r;

    (void)state;
    listen();
    violate(2, 0x300);
    assert_int_equal(guest->vcpu[2]->state, VCPU_WATCHED);
    assert_true(evtchn_pending(listener, local));
    r = hear();
    assert_int_equal(r.version, 7);
    assert_int_equal(r.flags, VM_EVENT_FLAG_VCPU_PAUSED);
    assert_int_equal(r.reason, VM_EVENT_REASON_MEM_ACCESS);
    assert_int_equal(r.vcpu_id, 2);
    assert_int_equal(r.u.mem_access.gfn, 0x300);
    assert_int_equal(r.u.mem_access.offset, 0x123);
    assert_int_equal(r.u.mem_access.gla, 0x7000);
    assert_int_equal(r.u.mem_access.flags,
                     MEM_ACCESS_W | MEM_ACCESS_GLA_VALID | MEM_ACCESS_FAULT_WITH_GLA);
    assert_true(r.data.regs.x86.rip == 0x1002 && r.data.regs.x86.gs_sel == 0x77);
    vcpu_kick(guest->vcpu[2]); /* an event of the guest's own changes nothing */
    assert_int_equal(guest->vcpu[2]->state, VCPU_WATCHED);
    say(r);
    assert_int_equal(guest->vcpu[2]->state, VCPU_WATCHED);
    send();
    assert_int_equal(guest->vcpu[2]->state, VCPU_RUNNABLE);
    assert_int_equal(guest->vm_event->answered, 1);
}

/* As Xen's tools do: it is enabled, its channel bound, and then the ring is initialised. */
static void a_request_that_is_older_than_the_ring_is_told_again(void **state)
{
    vm_event_request_t r;

    (void)state;
    assert_int_equal(vm_event_enable(guest, listener->id, &port), VM_EVENT_OK);
    ring = phys_ptr(&machine_phys, guest->vm_event->frame);
    heard = said = 0;
    violate(1, 0x300);
    assert_int_equal(evtchn_bind_interdomain(listener, guest->id, port, &local), EVTCHN_OK);
    for (unsigned i = 0; i < 3; i++) { /* whenever it does so */
        SHARED_RING_INIT(ring);
        assert_int_equal(ring->req_prod, 0);
        listener->shared->evtchn_pending[local / 64] = 0;
        now += 50000000;
        timers_run();
        assert_int_equal(ring->req_prod, 1);
        assert_true(evtchn_pending(listener, local));
    }
    listener->shared->evtchn_pending[local / 64] = 0;
    now += 50000000;
    timers_run();
    assert_false(evtchn_pending(listener, local)); /* it knows */
    r = hear();
    assert_int_equal(r.u.mem_access.gfn, 0x300);
    say(r);
    send();
    assert_int_equal(guest->vcpu[1]->state, VCPU_RUNNABLE);
    now += 50000000;
    timers_run();
    assert_false(guest->vm_event->again.armed);
    violate(1, 0x300);
    assert_false(guest->vm_event->again.armed);
    violate(2, 0x300);
    vm_event_disable(guest);
    listen();
    violate(2, 0x300);
    vm_event_disable(guest); /* and nothing looks at what is gone */
    now += 50000000;
    timers_run();
}

static void answers_are_checked(void **state)
{
    vm_event_request_t r, wrong;

    (void)state;
    listen();
    for (unsigned i = 0; i < 3; i++)
        violate(i, 0x300 + i);
    r = hear();
    wrong = r;
    wrong.version = 6;
    say(wrong);
    wrong = r;
    wrong.vcpu_id = 4;
    say(wrong);
    wrong.vcpu_id = 3; /* was not asked */
    wrong.flags |= VM_EVENT_FLAG_EMULATE | VM_EVENT_FLAG_SET_REGISTERS;
    say(wrong);
    send();
    assert_int_equal(guest->vm_event->refused, 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(guest->vcpu[i]->state, VCPU_WATCHED);
    assert_true(listened.excused == 0 && listened.set == 0);
    say(r); /* nothing is outstanding any more */
    send();
    assert_int_equal(guest->vcpu[0]->state, VCPU_WATCHED);
    evtchn_close_ours(guest, port);
    assert_int_equal(evtchn_close(listener, local), EVTCHN_OK);
    vm_event_disable(guest);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(guest->vcpu[i]->state, VCPU_RUNNABLE);
}

static void flags_are_carried_out(void **state)
{
    static const uint32_t flags[] = {
        VM_EVENT_FLAG_EMULATE,       VM_EVENT_FLAG_EMULATE_NOWRITE,
        VM_EVENT_FLAG_SET_REGISTERS, VM_EVENT_FLAG_TOGGLE_SINGLESTEP,
        VM_EVENT_FLAG_DENY,          VM_EVENT_FLAG_TOGGLE_SINGLESTEP,
    };

    (void)state;
    listen();
    for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        violate(0, 0x300);
        vm_event_request_t r = hear();

        r.flags |= flags[i];
        r.data.regs.x86.rip = 0xabc;
        say(r);
        send();
        assert_int_equal(listened.stepping, i >= 3 && i < 5);
    }
    assert_true(listened.excused == 2 && listened.muted == 1 && listened.set == 1);
    assert_true(listened.rip == 0xabc);
}

/* Without VCPU_PAUSED the rest counts, and the vCPU waits on. */
static void only_the_flag_lets_a_vcpu_go(void **state)
{
    (void)state;
    listen();
    violate(0, 0x300);
    vm_event_request_t r = hear();

    r.flags = VM_EVENT_FLAG_EMULATE;
    say(r);
    send();
    assert_int_equal(listened.excused, 1);
    assert_int_equal(guest->vcpu[0]->state, VCPU_WATCHED);
}

/* More requests than slots: those that are not awaited fill the ring. */
static void with_a_full_ring_vcpus_wait_and_nothing_is_lost(void **state)
{
    struct vm_event_note note = { .reason = VM_EVENT_REASON_GUEST_REQUEST };

    (void)state;
    listen();
    for (unsigned i = 0; i < VM_EVENT_SLOTS; i++) {
        vm_event_raise(guest->vcpu[0], &note);
        assert_int_equal(guest->vcpu[0]->state, VCPU_RUNNABLE);
    }
    vm_event_raise(guest->vcpu[0], &note); /* not awaited, but there is no place for it */
    assert_int_equal(guest->vcpu[0]->state, VCPU_WATCHED);
    violate(1, 0x301);
    violate(2, 0x302);
    assert_int_equal(ring->req_prod, VM_EVENT_SLOTS);
    say(hear());
    send();
    assert_int_equal(guest->vcpu[0]->state, VCPU_RUNNABLE);
    for (unsigned i = 1; i < VM_EVENT_SLOTS + 1; i++)
        assert_int_equal(hear().reason, VM_EVENT_REASON_GUEST_REQUEST), say(*slot(heard - 1));
    send();
    assert_int_equal(hear().u.mem_access.gfn, 0x301);
    assert_int_equal(hear().u.mem_access.gfn, 0x302);
    assert_int_equal(guest->vm_event->untold, 0);
}

static void the_guest_cannot_use_the_listeners_port(void **state)
{
    struct evtchn_port before_it;

    (void)state;
    listen();
    before_it = guest->ports[port];
    assert_int_equal(evtchn_close(guest, port), EVTCHN_INVALID);
    assert_int_equal(evtchn_send(guest, port), EVTCHN_INVALID);
    assert_int_equal(evtchn_unmask(guest, port), EVTCHN_INVALID);
    assert_int_equal(evtchn_bind_vcpu(guest, port, 1), EVTCHN_INVALID);
    while (!evtchn_reset(guest))
        ;
    assert_memory_equal(&before_it, &guest->ports[port], sizeof(before_it));
    assert_false(evtchn_pending(listener, local) && heard);
}

static void when_the_listener_goes_all_go_on(void **state)
{
    (void)state;
    listen();
    violate(0, 0x300);
    violate(1, 0x301);
    assert_int_equal(evtchn_close(listener, local), EVTCHN_OK);
    assert_null(guest->vm_event);
    assert_int_equal(guest->vcpu[0]->state, VCPU_RUNNABLE);
    assert_int_equal(guest->vcpu[1]->state, VCPU_RUNNABLE);
    listen(); /* another one */
    violate(0, 0x300);
    assert_int_equal(hear().u.mem_access.gfn, 0x300);
    while (!domain_destroy_step(listener)) /* which goes as a whole */
        ;
    assert_null(guest->vm_event);
    assert_int_equal(guest->vcpu[0]->state, VCPU_RUNNABLE);
}

static void a_domain_can_be_destroyed_while_it_waits(void **state)
{
    (void)state;
    listen();
    violate(0, 0x300);
    domain_destroy(guest);
    vm_event_end(guest);
    assert_int_equal(ring->req_prod,
                     1); /* the listener has it mapped, and sees no more than there was */
    while (!domain_destroy_step(guest))
        ;
    guest = NULL;
    assert_int_equal(evtchn_send(listener, local), EVTCHN_OK);
}

static void without_a_listener_the_page_is_relaxed_or_the_domain_crashes(void **state)
{
    uint64_t done;

    (void)state;
    assert_int_equal(
        paging_access_set(domain_lock(guest), gfn_of(0x300), 2, ACCESS_READ, &done).kind,
        VERDICT_RETRY);
    violate(0, 0x300);
    assert_int_equal(paging_access_get(domain_lock(guest), gfn_of(0x300)), ACCESS_ALL);
    assert_int_equal(paging_access_get(domain_lock(guest), gfn_of(0x301)), ACCESS_READ);
    assert_int_equal(guest->vcpu[0]->state, VCPU_RUNNABLE);
    guest->access_required = true;
    violate(0, 0x301);
    assert_int_equal(guest->state, DOMAIN_CRASHED);
}

/* Under nested paging: a walk of a table that may not be written; it sets no bit, so that nothing is forbidden. */
static void walk_without_change(struct domain *d, uint64_t gfn)
{
    const struct fault f = { gva_of(gfn << PAGE_SHIFT), ACC_WALK, false };
    struct verdict     verdict = paging_fault(domain_lock(d), &d->vcpu[0]->paging, &f);

    assert_true(verdict.kind == VERDICT_RETRY && verdict.step);
    access_close(d->vcpu[0], 0x1000);
}

static void rights_left_over_do_not_have_each_walk_stepped(void **state)
{
    static const struct {
        bool             required, by_operator;
        enum access_type after;
    } cases[] = { { false, false, ACCESS_ALL },
                  { true, false, ACCESS_READ },
                  { false, true, ACCESS_READ } };
    struct domain *d;
    uint64_t       done;

    (void)state;
    config.paging = CONFIG_PAGING_NESTED;
    strcpy(config.name, "walker");
    d = create();
    domain_unpause(d);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(
            paging_access_set(domain_lock(d), gfn_of(0x300), 2, ACCESS_READ, &done).kind,
            VERDICT_RETRY);
        d->access_required = cases[i].required;
        d->access_by_operator = cases[i].by_operator;
        walk_without_change(d, 0x300);
        assert_int_equal(paging_access_get(domain_lock(d), gfn_of(0x300)), cases[i].after);
        assert_int_equal(paging_access_get(domain_lock(d), gfn_of(0x301)), ACCESS_READ);
        assert_int_equal(d->state, DOMAIN_RUNNING);
    }
    d->access_by_operator = false;
    assert_int_equal(vm_event_enable(d, listener->id, &port), VM_EVENT_OK);
    walk_without_change(d, 0x301);
    assert_int_equal(paging_access_get(domain_lock(d), gfn_of(0x301)), ACCESS_READ);
    while (!domain_destroy_step(d))
        ;
}

static void the_page_leaves_the_guest_and_comes_back(void **state)
{
    const uint64_t                word = 0x1234;
    struct xen_memory_reservation r = { .nr_extents = 1, .domid = DOMID_SELF };
    xen_pfn_t                     gfn = RING_GFN;
    uint64_t                      free;

    (void)state;
    listen();
    free = alloc_free_count();
    poke(guest, AREA + 64, &gfn, sizeof(gfn));
    r.extent_start.p = (void *)(AREA + 64);
    poke(guest, AREA, &r, sizeof(r));
    assert_int_equal(call(guest, __HYPERVISOR_memory_op, XENMEM_decrease_reservation, AREA, 0), 1);
    assert_false(guest_phys_write(guest, RING_GFN << PAGE_SHIFT, &word, 8));
    assert_int_equal(alloc_free_count(), free); /* the frame is still the ring */
    violate(0, 0x300);
    assert_int_equal(hear().u.mem_access.gfn, 0x300);
    vm_event_disable(guest);
    poke(guest, RING_GFN << PAGE_SHIFT, &word, 8);
    assert_int_equal(ring->ring[0].req.version, 0);
}

static void what_cannot_be_enabled_is_refused(void **state)
{
    unsigned other;

    (void)state;
    guest->hvm_param[HVM_PARAM_MONITOR_RING_PFN] = 0;
    assert_int_equal(vm_event_enable(guest, listener->id, &other), VM_EVENT_NO_PAGE);
    guest->hvm_param[HVM_PARAM_MONITOR_RING_PFN] = 0x99999;
    assert_int_equal(vm_event_enable(guest, listener->id, &other), VM_EVENT_NO_PAGE);
    guest->hvm_param[HVM_PARAM_MONITOR_RING_PFN] = RING_GFN;
    listen();
    assert_int_equal(vm_event_enable(guest, listener->id, &other), VM_EVENT_BUSY);
}

/* Any bytes in the page at any time, and the channel closed and opened again. */
static void a_hostile_listener_hurts_nobody_else(void **state)
{
    const char *text = getenv("SEED");
    unsigned    seed = text ? (unsigned)atoi(text) : 1;

    (void)state;
    listen();
    for (unsigned i = 0; i < 50000; i++) {
        unsigned vcpu = (unsigned)rand_r(&seed) % 4;

        if (guest->vcpu[vcpu]->state == VCPU_RUNNABLE)
            violate(vcpu, 0x300 + vcpu);
        for (unsigned n = (unsigned)rand_r(&seed) % 8; n != 0; n--)
            ((uint8_t *)ring)[rand_r(&seed) % (int)PAGE_SIZE] = (uint8_t)rand_r(&seed);
        if (rand_r(&seed) % 4 == 0)
            ring->rsp_prod = guest->vm_event->ring.req_prod + (uint32_t)rand_r(&seed) % 3 - 1;
        if (rand_r(&seed) % 3 == 0)
            for (unsigned n = 0; n < VM_EVENT_SLOTS; n++) {
                vm_event_response_t r = { .version = 7,
                                          .vcpu_id = (uint32_t)rand_r(&seed) % 5,
                                          .flags = (uint32_t)rand_r(&seed) };

                *slot(n) = r;
            }
        send();
        if (rand_r(&seed) % 100 == 0) {
            assert_int_equal(evtchn_close(listener, local), EVTCHN_OK);
            for (unsigned n = 0; n < 4; n++)
                assert_int_equal(guest->vcpu[n]->state, VCPU_RUNNABLE);
            listen();
        }
        assert_true(guest->vm_event->count <= 4);
        assert_int_equal(guest->vm_event->untold, 0);
    }
    assert_int_equal(guest->state, DOMAIN_RUNNING);
    assert_true(listened.set > 100);
}

#define TWO(name) cmocka_unit_test_setup_teardown(name, set_up_two, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TWO(a_violation_is_told_and_its_vcpu_waits_for_the_answer),
        TWO(a_request_that_is_older_than_the_ring_is_told_again),
        TWO(answers_are_checked),
        TWO(flags_are_carried_out),
        TWO(only_the_flag_lets_a_vcpu_go),
        TWO(with_a_full_ring_vcpus_wait_and_nothing_is_lost),
        TWO(the_guest_cannot_use_the_listeners_port),
        TWO(when_the_listener_goes_all_go_on),
        TWO(a_domain_can_be_destroyed_while_it_waits),
        TWO(without_a_listener_the_page_is_relaxed_or_the_domain_crashes),
        TWO(rights_left_over_do_not_have_each_walk_stepped),
        TWO(the_page_leaves_the_guest_and_comes_back),
        TWO(what_cannot_be_enabled_is_refused),
        TWO(a_hostile_listener_hurts_nobody_else),
    };

    return cmocka_run_group_tests(tests, machine_up, machine_down);
}
