/* test: with paging/ hv/ hv/pv_view.c */
/* The page of a listener's ring to a PV domain: the steps that Debian's tools make for it, and its end. */
#include "hv/control_world.h"
#include "hv/evtchn.h"
#include "hv/kind.h"
#include "hv/vm_event.h"

#define HERE  UINT64_C(0x20000) /* beyond the memory of a control domain with a map */
#define FLAGS (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D)

static int64_t map(struct domain *who, uint16_t id, uint64_t frame)
{
    return map_window(who, id, frame << PAGE_SHIFT | FLAGS, MMU_NORMAL_PT_UPDATE);
}

/* More or less memory: one frame, whose number is answered. */
static int64_t reserve(struct domain *who, unsigned op, uint16_t id, uint64_t *frame)
{
    struct xen_memory_reservation r = { .nr_extents = 1, .domid = id };
    int64_t                       done;

    r.extent_start.p = (xen_pfn_t *)PAGE_OF(3);
    store(who, PAGE_OF(3), frame, sizeof(*frame));
    done = call_with(who, __HYPERVISOR_memory_op, op, &r, sizeof(r));
    look(who, PAGE_OF(3), frame, sizeof(*frame));
    return done;
}

static uint64_t number_of_ring(uint16_t id)
{
    struct xen_hvm_param arg = { .domid = id, .index = HVM_PARAM_MONITOR_RING_PFN };

    assert_int_equal(call_with(control, __HYPERVISOR_hvm_op, HVMOP_get_param, &arg, sizeof(arg)),
                     0);
    return arg.value;
}

static int64_t listen(uint16_t id, uint32_t what)
{
    struct xen_domctl op = { .cmd = XEN_DOMCTL_vm_event_op };
    struct hypercall  h = { .nr = __HYPERVISOR_domctl, .arg = { PAGE_OF(0) } };

    op.u.vm_event_op.op = what;
    op.u.vm_event_op.mode = XEN_DOMCTL_VM_EVENT_OP_MONITOR;
    op.interface_version = XEN_DOMCTL_INTERFACE_VERSION;
    op.domain = id;
    store(control, PAGE_OF(0), &op, sizeof(op));
    while (hypercall_run(control->vcpu[0], &h) == HYPERCALL_AGAIN)
        ;
    return h.result;
}

/* As xc_monitor_enable does; the frame. */
static uint64_t attach(struct domain *d)
{
    uint64_t ring = number_of_ring(d->id);

    assert_int_equal(reserve(control, XENMEM_populate_physmap, d->id, &ring), 1);
    assert_int_equal(map(control, d->id, ring), 0);
    assert_int_equal(listen(d->id, XEN_VM_EVENT_ENABLE), 0);
    assert_int_equal(reserve(control, XENMEM_decrease_reservation, d->id, &ring), 1);
    return ring;
}

static void a_ring_is_the_listeners_memory(void **state)
{
    struct domain      *d = other(CONFIG_PV);
    uint64_t            had, of_guest = d->pages, ring;
    vm_event_request_t *slot;

    (void)state;
    (void)!pv_collect();
    had = control->pages;
    ring = attach(d);
    assert_int_equal(control->pages, had + 1);
    assert_int_equal(d->pages, of_guest);
    assert_int_equal(kind_of(d), PAGED_SHADOW);
    assert_non_null(kind_refused(d, PAGED_DIRECT));
    audit();
    vm_event_raise(d->vcpu[0],
                   &(struct vm_event_note){ .reason = VM_EVENT_REASON_MEM_ACCESS, .sync = true });
    slot = phys_ptr(&machine_phys, mfn_of(ring));
    assert_int_equal(((struct vm_event_sring *)slot)->ring[0].req.reason,
                     VM_EVENT_REASON_MEM_ACCESS);
    assert_int_equal(d->vcpu[0]->state, VCPU_WATCHED);

    assert_int_equal(listen(d->id, XEN_VM_EVENT_DISABLE), 0);
    assert_int_equal(d->vcpu[0]->state, VCPU_RUNNABLE);
    assert_int_equal(kind_of(d), PAGED_DIRECT);
    assert_int_equal(control->pages, had + 1); /* it is mapped still */
    assert_int_equal(map_window(control, DOMID_SELF, 0, MMU_NORMAL_PT_UPDATE), 0);
    (void)!pv_collect();
    assert_int_equal(control->pages, had);
    audit();
}

static void a_guest_cannot_reach_the_ring(void **state)
{
    struct domain *d = other(CONFIG_PV);
    uint64_t       ring = number_of_ring(d->id), own = ring;

    (void)state;
    for (unsigned stage = 0; stage < 4; stage++) {
        if (stage == 1)
            assert_int_equal(reserve(control, XENMEM_populate_physmap, d->id, &ring), 1);
        if (stage == 2)
            assert_int_equal(listen(d->id, XEN_VM_EVENT_ENABLE), 0);
        if (stage == 3)
            assert_int_equal(reserve(control, XENMEM_decrease_reservation, d->id, &ring), 1);
        assert_int_not_equal(map(d, DOMID_SELF, ring), 0);
        assert_int_equal(reserve(d, XENMEM_decrease_reservation, DOMID_SELF, &ring), 0);
    }
    /* What it asks for itself by that number is a frame like others. */
    d->max_pages++;
    assert_int_equal(reserve(d, XENMEM_populate_physmap, DOMID_SELF, &own), 1);
    assert_int_not_equal(own, ring);
    assert_int_equal(phys_frame(&machine_phys, mfn_of(own))->owner, d->id);
    audit();
}

static void there_is_one_ring_at_a_time(void **state)
{
    struct domain *d = other(CONFIG_PV);
    uint64_t       ring = number_of_ring(d->id), again = ring, mfn;

    (void)state;
    assert_int_not_equal(listen(d->id, XEN_VM_EVENT_ENABLE), 0); /* there is no page yet */
    assert_int_equal(kind_of(d), PAGED_DIRECT);
    assert_int_equal(reserve(control, XENMEM_populate_physmap, d->id, &ring), 1);
    assert_int_equal(reserve(control, XENMEM_populate_physmap, d->id, &again), 1);
    assert_int_equal(again, ring);
    assert_int_equal(map(control, d->id, ring), 0);
    assert_int_equal(listen(d->id, XEN_VM_EVENT_ENABLE), 0);
    mfn = number_of_ring(d->id);
    assert_int_equal(reserve(control, XENMEM_populate_physmap, d->id, &mfn), 0);
    assert_int_equal(listen(d->id, XEN_VM_EVENT_ENABLE), -XEN_EBUSY);
    assert_int_equal(reserve(control, XENMEM_decrease_reservation, d->id, &ring), 1);
    audit();
}

static void either_side_may_end_first(void **state)
{
    struct domain *d = other(CONFIG_PV);
    uint64_t       had, ring;

    (void)state;
    (void)!pv_collect();
    had = control->pages;
    ring = attach(d);
    assert_true(destroy_some(d));
    assert_int_equal(map_window(control, DOMID_SELF, 0, MMU_NORMAL_PT_UPDATE), 0);
    (void)!pv_collect();
    assert_int_equal(control->pages, had);
    d = other(CONFIG_PV);
    ring = number_of_ring(d->id);
    assert_int_equal(reserve(control, XENMEM_populate_physmap, d->id, &ring), 1);
    assert_true(destroy_some(d)); /* nobody has listened */
    (void)!pv_collect();
    assert_int_equal(control->pages, had);
    d = other(CONFIG_PV);
    (void)attach(d);
    vm_event_raise(d->vcpu[0],
                   &(struct vm_event_note){ .reason = VM_EVENT_REASON_MEM_ACCESS, .sync = true });
    assert_true(destroy_some(control));
    assert_false(vm_event_is_on(d));
    assert_false(mfn_valid(d->pv->ring));
    assert_int_equal(d->vcpu[0]->state, VCPU_RUNNABLE);
    audit();
}

/* ---- a listener with a map of ours ---- */

static int set_up_shadow(void **state)
{
    return set_up_control_as(state, CONFIG_PVH, CONFIG_PAGING_SHADOW);
}

static int set_up_nested(void **state)
{
    return set_up_control_as(state, CONFIG_PVH, CONFIG_PAGING_NESTED);
}

/* Under either kind of paging. */
#define MAPPED(name)                                                                               \
    cmocka_unit_test_setup_teardown(name, set_up_shadow, tear_down),                               \
        cmocka_unit_test_setup_teardown(name, set_up_nested, tear_down)

/* A batch of one page: what the call says, or what it says of the page. */
static int64_t place(struct domain *who, uint16_t of, uint64_t number, uint64_t gfn)
{
    struct xen_add_to_physmap_batch arg = { .domid = DOMID_SELF,
                                            .space = XENMAPSPACE_gmfn_foreign,
                                            .size = 1 };
    int32_t                         status = 1;
    int64_t                         result;

    arg.u.foreign_domid = of;
    arg.idxs.p = (void *)PAGE_OF(1);
    arg.gpfns.p = (void *)PAGE_OF(2);
    arg.errs.p = (void *)PAGE_OF(4);
    store(who, PAGE_OF(1), &number, sizeof(number));
    store(who, PAGE_OF(2), &gfn, sizeof(gfn));
    result = call_with(who, __HYPERVISOR_memory_op, XENMEM_add_to_physmap_batch, &arg, sizeof(arg));
    look(who, PAGE_OF(4), &status, sizeof(status));
    return result != 0 ? result : status;
}

static int64_t remove_at(uint64_t gfn)
{
    struct xen_remove_from_physmap arg = { .domid = DOMID_SELF, .gpfn = gfn };

    return call_with(control, __HYPERVISOR_memory_op, XENMEM_remove_from_physmap, &arg,
                     sizeof(arg));
}

static mfn_t ring_at(uint64_t gfn)
{
    return p2m_get(&control->paging.p2m, gfn_of(gfn)).mfn;
}

/* As xc_monitor_enable does it there. */
static void attach_here(struct domain *d, uint64_t gfn)
{
    uint64_t ring = number_of_ring(d->id);

    assert_int_equal(reserve(control, XENMEM_populate_physmap, d->id, &ring), 1);
    assert_int_equal(ring, VM_EVENT_PV_PFN);
    assert_int_equal(place(control, d->id, ring, gfn), 0);
    assert_int_equal(listen(d->id, XEN_VM_EVENT_ENABLE), 0);
    assert_int_equal(reserve(control, XENMEM_decrease_reservation, d->id, &ring), 1);
}

static void raise(struct domain *d)
{
    vm_event_raise(d->vcpu[0],
                   &(struct vm_event_note){ .reason = VM_EVENT_REASON_MEM_ACCESS, .sync = true });
}

static void a_ring_stands_where_a_listener_with_a_map_wants_it(void **state)
{
    struct domain               *d = other(CONFIG_PV);
    uint64_t                     had = control->pages, of_guest = d->pages;
    struct vm_event_sring        seen;
    const struct vm_event_sring *page = &seen;

    (void)state;
    attach_here(d, HERE);
    assert_int_equal(control->pages, had + 1);
    assert_int_equal(d->pages, of_guest);
    assert_true(mfn_eq(ring_at(HERE), d->vm_event->frame));
    assert_int_equal(place(control, d->id, VM_EVENT_PV_PFN, HERE + 1), -XEN_EBUSY);
    raise(d);
    look(control, HERE << PAGE_SHIFT, &seen, sizeof(seen));
    assert_int_equal(page->ring[0].req.reason, VM_EVENT_REASON_MEM_ACCESS);
    audit();
    assert_int_equal(listen(d->id, XEN_VM_EVENT_DISABLE), 0);
    assert_int_equal(d->vcpu[0]->state, VCPU_RUNNABLE);
    assert_int_equal(remove_at(HERE), 0);
    assert_int_equal(control->pages, had);
    assert_int_equal(kind_of(d), PAGED_DIRECT);
    audit();
}

/* It gives the page up first, tries again, or ends; or the domain does. */
static void such_a_ring_lasts_as_long_as_its_listening(void **state)
{
    struct domain *d = other(CONFIG_PV);
    uint64_t       had = control->pages;

    (void)state;
    assert_int_equal(place(control, d->id, VM_EVENT_PV_PFN, HERE), 0); /* and no more comes of it */
    assert_int_equal(place(control, d->id, VM_EVENT_PV_PFN, HERE), 0);
    assert_int_equal(remove_at(HERE), 0);
    assert_int_equal(control->pages, had + 1); /* it is the ring still */
    attach_here(d, HERE);
    assert_int_equal(remove_at(HERE), 0);
    raise(d); /* to nobody */
    audit();
    assert_int_equal(listen(d->id, XEN_VM_EVENT_DISABLE), 0);
    assert_true(hc_memory_settle(control));
    assert_int_equal(control->pages, had);
    attach_here(d, HERE);
    raise(d);
    assert_true(destroy_some(d));
    assert_int_equal(remove_at(HERE), 0);
    assert_int_equal(control->pages, had);
    d = other(CONFIG_PV);
    attach_here(d, HERE);
    raise(d);
    assert_true(destroy_some(control));
    assert_false(vm_event_is_on(d) || mfn_valid(d->pv->ring));
    assert_int_equal(d->vcpu[0]->state, VCPU_RUNNABLE);
    audit();
}

static void nobody_else_can_have_such_a_ring(void **state)
{
    struct domain *third = other(CONFIG_PVH), *d;
    uint64_t       ring = VM_EVENT_PV_PFN;

    (void)state;
    strcpy(third->name, "third");
    d = other(CONFIG_PV);
    assert_int_equal(place(third, d->id, ring, HERE), -XEN_EPERM);
    assert_int_not_equal(place(control, third->id, ring, HERE), 0); /* that one has a map */
    attach_here(d, HERE);
    assert_int_not_equal(map(d, DOMID_SELF, d->vm_event->frame.raw), 0);
    assert_int_equal(reserve(d, XENMEM_decrease_reservation, DOMID_SELF, &ring), 0);
    audit();
}

/* ---- one that dies before it has bound its channel ---- */

/* The process's map of the page, which its death takes away. */
static void take_map(struct domain *d, uint64_t ring)
{
    if (control->pv != NULL)
        assert_int_equal(map(control, d->id, ring), 0);
    else
        assert_int_equal(place(control, d->id, ring, HERE), 0);
}

static void lose_map(void)
{
    if (control->pv != NULL)
        assert_int_equal(map_window(control, DOMID_SELF, 0, MMU_NORMAL_PT_UPDATE), 0);
    else
        assert_int_equal(remove_at(HERE), 0);
}

/* As xc_monitor_enable does, as far as `steps` goes: the map, the enabling, the page out of the guest. */
static int64_t attach_some(struct domain *d, unsigned steps)
{
    uint64_t ring = number_of_ring(d->id);
    int64_t  result;

    if (d->pv != NULL || p2m_get(&d->paging.p2m, gfn_of(ring)).type == P2M_HOLE)
        assert_int_equal(reserve(control, XENMEM_populate_physmap, d->id, &ring), 1);
    take_map(d, ring);
    result = listen(d->id, XEN_VM_EVENT_ENABLE);
    if (result == 0 && steps > 1)
        assert_int_equal(reserve(control, XENMEM_decrease_reservation, d->id, &ring), 1);
    return result;
}

static void some_time(void)
{
    now += 100000000;
    timers_run();
}

static void dies_unbound(enum config_type type)
{
    struct domain *d = other(type);
    uint64_t       had = d->pages;

    for (unsigned i = 0; i < 8; i++) {
        unsigned steps = 1 + i % 2, late = i / 2 % 2, asks = i / 4;

        assert_int_equal(attach_some(d, steps), 0);
        raise(d);
        some_time(); /* it lives, for all that we know */
        assert_int_equal(listen(d->id, XEN_VM_EVENT_ENABLE), -XEN_EBUSY);
        assert_int_equal(d->vcpu[0]->state, VCPU_WATCHED);
        if (asks) {
            (void)number_of_ring(d->id);
            assert_int_equal(listen(d->id, XEN_VM_EVENT_ENABLE), -XEN_EBUSY);
        }
        lose_map();
        if (late) { /* who waits for it goes on */
            some_time();
            assert_int_equal(d->vcpu[0]->state, VCPU_RUNNABLE);
        }
        assert_int_equal(vm_event_is_on(d), !late);
        assert_int_equal(attach_some(d, steps), 0); /* the next one's */
        assert_int_equal(listen(d->id, XEN_VM_EVENT_DISABLE), 0);
        lose_map();
        assert_int_equal(d->vcpu[0]->state, VCPU_RUNNABLE);
        assert_int_equal(d->pages, had);
        audit();
    }
}

static void a_listener_to_a_pv_domain_that_dies_unbound_is_none(void **state)
{
    (void)state;
    dies_unbound(CONFIG_PV);
}

static void a_listener_to_another_that_dies_unbound_is_none(void **state)
{
    (void)state;
    dies_unbound(CONFIG_PVH);
}

/* From then on the channel says whether it is there. */
static void a_listener_that_is_bound_needs_no_map(void **state)
{
    struct domain *d = other(CONFIG_PV);
    unsigned       port;

    (void)state;
    assert_int_equal(attach_some(d, 2), 0);
    assert_int_equal(evtchn_bind_interdomain(control, d->id, d->vm_event->port, &port), EVTCHN_OK);
    lose_map();
    raise(d);
    some_time();
    (void)number_of_ring(d->id);
    assert_int_equal(listen(d->id, XEN_VM_EVENT_ENABLE), -XEN_EBUSY);
    assert_int_equal(evtchn_close(control, port), EVTCHN_OK);
    assert_false(vm_event_is_on(d));
}

/* The guest's own question changes nothing. */
static void only_the_control_domain_finds_it_dead(void **state)
{
    struct domain       *d = other(CONFIG_PVH);
    struct xen_hvm_param arg = { .domid = DOMID_SELF, .index = HVM_PARAM_MONITOR_RING_PFN };

    (void)state;
    assert_int_equal(attach_some(d, 2), 0);
    lose_map();
    poke(d, 0x3000, &arg, sizeof(arg));
    assert_int_equal(call(d, __HYPERVISOR_hvm_op, HVMOP_get_param, 0x3000, 0), 0);
    assert_true(vm_event_is_on(d));
    (void)number_of_ring(d->id);
    assert_false(vm_event_is_on(d));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTROL(a_ring_is_the_listeners_memory),
        CONTROL(a_guest_cannot_reach_the_ring),
        CONTROL(there_is_one_ring_at_a_time),
        CONTROL(either_side_may_end_first),
        MAPPED(a_ring_stands_where_a_listener_with_a_map_wants_it),
        MAPPED(such_a_ring_lasts_as_long_as_its_listening),
        MAPPED(nobody_else_can_have_such_a_ring),
        CONTROL(a_listener_to_a_pv_domain_that_dies_unbound_is_none),
        MAPPED(a_listener_to_a_pv_domain_that_dies_unbound_is_none),
        CONTROL(a_listener_to_another_that_dies_unbound_is_none),
        MAPPED(a_listener_to_another_that_dies_unbound_is_none),
        CONTROL(a_listener_that_is_bound_needs_no_map),
        MAPPED(a_listener_that_is_bound_needs_no_map),
        CONTROL(only_the_control_domain_finds_it_dead),
    };

    return cmocka_run_group_tests(tests, machine_up, machine_down);
}
