/* test: with paging/ hv/ hv/pv_view.c hv/dirty.c */
/*
 * The control domain maps memory of others, of either kind: what that is counted as, who may not, and that
 * neither a frame nor its domain goes while it is mapped.
 */
#include "hv/control_world.h"
#include "hv/dirty.h"
#include "hv/grant.h"
#include "hv/kind.h"

#define FLAGS (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D)
#define GFN   UINT64_C(0x333)

static int64_t map(uint16_t id, uint64_t frame, uint64_t flags)
{
    return map_window(control, id, frame << PAGE_SHIFT | flags, MMU_NORMAL_PT_UPDATE);
}

static int64_t unmap(void)
{
    return map_window(control, DOMID_SELF, 0, MMU_NORMAL_PT_UPDATE);
}

static struct type type_of(mfn_t mfn)
{
    return type_read(&pv_machine, mfn);
}

/* ---- mappings ---- */

static void a_frame_of_a_pv_guest_is_seen_and_written(void **state)
{
    struct domain *d = other(CONFIG_PV);
    mfn_t          mfn = frame_at(d, PAGE_OF(5));
    char           text[8];

    (void)state;
    store(d, PAGE_OF(5), "guest's", 8);
    assert_int_equal(map(d->id, mfn.raw, FLAGS), 0);
    look(control, WINDOW, text, 8);
    assert_string_equal(text, "guest's");
    store(control, WINDOW, "control", 8);
    look(d, PAGE_OF(5), text, 8);
    assert_string_equal(text, "control");
    assert_int_equal(type_of(mfn).kind, TYPE_WRITABLE);
    assert_int_equal(type_of(mfn).count, 2);
    audit();
    assert_int_equal(unmap(), 0);
    assert_int_equal(type_of(mfn).count, 1);
    audit();
}

static void a_table_of_a_pv_guest_is_never_writable(void **state)
{
    struct domain *d = other(CONFIG_PV);
    mfn_t          root = d->vcpu[0]->pv->direct.root[0];

    (void)state;
    assert_int_equal(map(d->id, root.raw, FLAGS), -XEN_EINVAL);
    assert_int_equal(map(d->id, root.raw, FLAGS & ~PTE_W), 0);
    audit();
    assert_int_equal(unmap(), 0);
}

static void a_frame_of_another_guest_is_found_by_its_own_number(void **state)
{
    struct domain *d = other(CONFIG_PVH);
    mfn_t          mfn = p2m_get(&d->paging.p2m, gfn_of(GFN)).mfn;
    uint32_t       refs = phys_frame(&machine_phys, mfn)->refs;
    char           text[8];

    (void)state;
    poke(d, GFN << PAGE_SHIFT, "guest's", 8);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(map(d->id, GFN, i != 0 ? FLAGS : FLAGS & ~PTE_W), 0);
        look(control, WINDOW, text, 8);
        assert_string_equal(text, "guest's");
        assert_true(direct_is_lent(&machine_phys, mfn));
        audit();
        assert_int_equal(unmap(), 0);
        assert_false(direct_is_lent(&machine_phys, mfn));
        assert_int_equal(phys_frame(&machine_phys, mfn)->refs, refs);
        audit();
    }
    assert_int_equal(map(d->id, UINT64_C(0xfffff), FLAGS), -XEN_EINVAL);      /* a hole */
    assert_int_equal(map(d->id, UINT64_C(0xffffffffff), FLAGS), -XEN_EINVAL); /* nowhere */
    assert_int_equal(
        map_window(control, d->id, mfn.raw << PAGE_SHIFT | FLAGS, MMU_PT_UPDATE_NO_TRANSLATE), 0);
    audit();
    assert_int_equal(map_window(control, d->id, control->shared_mfn.raw << PAGE_SHIFT | FLAGS,
                                MMU_PT_UPDATE_NO_TRANSLATE),
                     -XEN_EINVAL);
    assert_int_equal(map_window(control, d->id, machine_phys.frames << PAGE_SHIFT | FLAGS,
                                MMU_PT_UPDATE_NO_TRANSLATE),
                     -XEN_EINVAL);
    assert_int_equal(unmap(), 0);
}

static void frames_of_the_wrong_domain_are_refused(void **state)
{
    struct domain *d = other(CONFIG_PV);
    mfn_t          mfn = frame_at(d, PAGE_OF(5));

    (void)state;
    assert_int_equal(map(DOMID_SELF, mfn.raw, FLAGS), -XEN_EINVAL);
    assert_int_equal(map(d->id, frame_at(control, PAGE_OF(5)).raw, FLAGS), -XEN_EINVAL);
    assert_int_equal(map(77, mfn.raw, FLAGS), -XEN_ESRCH);
    assert_int_equal(map(DOMID_IO, 0xb8, FLAGS), -XEN_ESRCH);
    /* The owner is no control domain. */
    assert_int_equal(map_window(d, control->id,
                                frame_at(control, PAGE_OF(5)).raw << PAGE_SHIFT | FLAGS,
                                MMU_NORMAL_PT_UPDATE),
                     -XEN_EPERM);
    assert_int_equal(map_window(d, DOMID_SELF, control->shared_mfn.raw << PAGE_SHIFT | FLAGS,
                                MMU_NORMAL_PT_UPDATE),
                     -XEN_EINVAL);
    audit();
}

static void a_mapping_that_is_refused_leaves_no_loan(void **state)
{
    struct domain *d = other(CONFIG_PVH);
    mfn_t    mfn = p2m_get(&d->paging.p2m, gfn_of(GFN)).mfn, mine = frame_at(control, PAGE_OF(5));
    uint32_t refs = phys_frame(&machine_phys, mfn)->refs;
    struct mmu_update u = { MMU_NORMAL_PT_UPDATE, GFN << PAGE_SHIFT | FLAGS };
    struct hypercall  h = { .nr = __HYPERVISOR_mmu_update, .arg = { PAGE_OF(0), 1, 0, d->id } };

    (void)state;
    assert_int_equal(
        map_window(control, d->id, mine.raw << PAGE_SHIFT | FLAGS, MMU_PT_UPDATE_NO_TRANSLATE),
        -XEN_EINVAL);
    assert_false(direct_is_lent(&machine_phys, mine));
    while (phys_frame(&machine_phys, mfn_of(u.ptr >> PAGE_SHIFT))->kind != FRAME_HV)
        u.ptr += PAGE_SIZE;
    store(control, PAGE_OF(0), &u, sizeof(u)); /* the hypervisor's frame is no table */
    while (hypercall_run(control->vcpu[0], &h) == HYPERCALL_AGAIN)
        ;
    assert_int_equal(h.result, -XEN_EINVAL);
    assert_false(direct_is_lent(&machine_phys, mfn));
    assert_int_equal(phys_frame(&machine_phys, mfn)->refs, refs);
    audit();
}

/* Shadows know no frame of others that nobody has said is borrowed. */
static void a_control_domain_with_its_own_tables_keeps_them(void **state)
{
    const pte_t      leaky = { UINT64_C(5) << PAGE_SHIFT };
    struct hypercall h = { .nr = __HYPERVISOR_update_va_mapping, .arg = { WINDOW, leaky.raw } };

    (void)state;
    assert_non_null(strstr(kind_refused(control, PAGED_SHADOW), "pvh"));
    assert_int_equal(dirty_on(control), DIRTY_REFUSED);
    pv_machine.l1tf_limit = 6;
    assert_int_equal(hypercall_run(control->vcpu[0], &h), HYPERCALL_DONE);
    pv_machine.l1tf_limit = 0;
    assert_int_equal(h.result, -XEN_EINVAL);
    assert_int_equal(kind_of(control), PAGED_DIRECT);
    assert_null(kind_refused(other(CONFIG_PV), PAGED_SHADOW));
}

/* ---- lifetimes ---- */

static void a_pv_guest_is_not_gone_while_it_is_mapped(void **state)
{
    struct domain *d = other(CONFIG_PV);
    uint16_t       id = d->id;
    mfn_t          mfn = frame_at(d, PAGE_OF(5));
    char           text[8];

    (void)state;
    store(d, PAGE_OF(5), "guest's", 8);
    assert_int_equal(map(id, mfn.raw, FLAGS), 0);
    domain_destroy(d);
    assert_false(destroy_some(d));
    assert_int_equal(d->pages, 1);
    look(control, WINDOW, text, 8);
    assert_string_equal(text, "guest's");
    assert_int_equal(phys_frame(&machine_phys, mfn)->kind, FRAME_GUEST);
    audit();
    assert_int_equal(map(id, mfn.raw, FLAGS), -XEN_ESRCH);
    assert_int_equal(unmap(), 0);
    assert_true(destroy_some(d));
    audit();
}

static void nor_is_a_guest_with_a_map_of_ours(void **state)
{
    struct domain *d = other(CONFIG_PVH);
    uint16_t       id = d->id;
    mfn_t          mfn = p2m_get(&d->paging.p2m, gfn_of(GFN)).mfn;
    char           text[8];

    (void)state;
    poke(d, GFN << PAGE_SHIFT, "guest's", 8);
    assert_int_equal(map(id, GFN, FLAGS & ~PTE_W), 0);
    domain_destroy(d);
    assert_false(destroy_some(d));
    assert_int_equal(d->pages, 1);
    look(control, WINDOW, text, 8);
    assert_string_equal(text, "guest's");
    audit();
    assert_int_equal(unmap(), 0);
    assert_int_equal(phys_frame(&machine_phys, mfn)->owner, id);
    assert_true(destroy_some(d));
    audit();
}

/* Its pages that are shared with us have references of ours as well. */
static void a_shared_frame_that_was_mapped_does_not_keep_its_domain(void **state)
{
    struct domain *d = other(CONFIG_PVH);

    (void)state;
    assert_true(grant_grow(d, 1));
    for (unsigned i = 0; i < 2; i++) {
        mfn_t mfn = i == 0 ? d->shared_mfn : d->grant_mfn[0];

        assert_int_equal(
            map_window(control, d->id, mfn.raw << PAGE_SHIFT | FLAGS, MMU_PT_UPDATE_NO_TRANSLATE),
            0);
    }
    assert_int_equal(map(d->id, PVH_STORE_GFN, FLAGS), 0);
    assert_int_equal(unmap(), 0);
    audit();
    domain_destroy(d);
    assert_true(destroy_some(d));
}

static void a_frame_that_is_given_back_stays_while_it_is_mapped(void **state)
{
    struct domain                *d = other(CONFIG_PVH);
    mfn_t                         mfn = p2m_get(&d->paging.p2m, gfn_of(GFN)).mfn;
    uint64_t                      list = GFN;
    struct xen_memory_reservation r = { .nr_extents = 1, .domid = DOMID_SELF };

    (void)state;
    assert_int_equal(map(d->id, GFN, FLAGS), 0);
    r.extent_start.p = (void *)(AREA + 64);
    poke(d, AREA + 64, &list, sizeof(list));
    poke(d, AREA, &r, sizeof(r));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_decrease_reservation, AREA, 0), 1);
    assert_int_equal(phys_frame(&machine_phys, mfn)->kind, FRAME_GUEST);
    assert_false(hc_memory_settle(d));
    assert_int_equal(map(d->id, GFN, FLAGS), -XEN_EINVAL);
    audit();
    assert_int_equal(unmap(), 0);
    assert_true(hc_memory_settle(d));
    assert_int_equal(phys_frame(&machine_phys, mfn)->kind, FRAME_FREE);
}

static void the_control_domain_may_end_first(void **state)
{
    struct domain *d = other(CONFIG_PVH);

    (void)state;
    assert_int_equal(map(d->id, GFN, FLAGS), 0);
    domain_destroy(d);
    assert_false(destroy_some(d));
    domain_destroy(control);
    assert_true(destroy_some(control));
    assert_true(destroy_some(d));
}

/* ---- resources, tables, ports ---- */

static void a_grant_table_is_acquired(void **state)
{
    struct xen_mem_acquire_resource arg = { .type = XENMEM_resource_grant_table };
    struct domain                  *d = other(CONFIG_PVH);
    struct grant_entry_v1           entry = { GTF_permit_access, 0, GFN };
    uint64_t                        mfn;

    (void)state;
    arg.domid = d->id;
    assert_int_equal(
        call_with(control, __HYPERVISOR_memory_op, XENMEM_acquire_resource, &arg, sizeof(arg)), 0);
    assert_int_equal(arg.nr_frames, DOMAIN_GRANT_FRAMES);
    arg.nr_frames = 1;
    arg.frame_list.p = (void *)PAGE_OF(1);
    assert_int_equal(
        call_with(control, __HYPERVISOR_memory_op, XENMEM_acquire_resource, &arg, sizeof(arg)), 0);
    look(control, PAGE_OF(1), &mfn, sizeof(mfn));
    assert_int_equal(mfn, d->grant_mfn[0].raw);
    assert_int_equal(
        map_window(control, d->id, mfn << PAGE_SHIFT | FLAGS, MMU_PT_UPDATE_NO_TRANSLATE), 0);
    store(control, WINDOW, &entry, sizeof(entry));
    assert_memory_equal(phys_ptr(&machine_phys, d->grant_mfn[0]), &entry, sizeof(entry));
    audit();
    assert_int_equal(unmap(), 0);

    arg.frame = DOMAIN_GRANT_FRAMES;
    assert_int_equal(
        call_with(control, __HYPERVISOR_memory_op, XENMEM_acquire_resource, &arg, sizeof(arg)),
        -XEN_EINVAL);
    arg.type = XENMEM_resource_vmtrace_buf;
    assert_int_equal(
        call_with(control, __HYPERVISOR_memory_op, XENMEM_acquire_resource, &arg, sizeof(arg)),
        -XEN_EOPNOTSUPP);
    arg.domid = 77;
    assert_int_equal(
        call_with(control, __HYPERVISOR_memory_op, XENMEM_acquire_resource, &arg, sizeof(arg)),
        -XEN_ESRCH);
}

static void resources_tables_and_ports_of_others_are_the_control_domains_only(void **state)
{
    struct xen_mem_acquire_resource arg = { .domid = 0, .type = XENMEM_resource_grant_table };
    struct evtchn_alloc_unbound     port = { .dom = 0 };
    struct domain                  *d = other(CONFIG_PV);
    struct mmuext_op                pin = { .cmd = MMUEXT_UNPIN_TABLE };
    struct hypercall h = { .nr = __HYPERVISOR_mmuext_op, .arg = { PAGE_OF(1), 1, 0, 0 } };

    (void)state;
    assert_int_equal(
        call_with(d, __HYPERVISOR_memory_op, XENMEM_acquire_resource, &arg, sizeof(arg)),
        -XEN_EPERM);
    assert_int_equal(
        call_with(d, __HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, &port, sizeof(port)),
        -XEN_EPERM);
    pin.arg1.mfn = control->vcpu[0]->pv->direct.root[0].raw;
    store(d, PAGE_OF(1), &pin, sizeof(pin));
    assert_int_equal(hypercall_run(d->vcpu[0], &h), HYPERCALL_DONE);
    assert_int_equal(h.result, -XEN_EPERM);

    port.dom = d->id;
    port.remote_dom = DOMID_SELF;
    assert_int_equal(call_with(control, __HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound,
                               &port, sizeof(port)),
                     0);
    assert_int_equal(d->ports[port.port].kind, EVTCHN_UNBOUND);
    assert_int_equal(d->ports[port.port].remote_domain, control->id);
}

static void tables_are_pinned_for_another(void **state)
{
    struct domain   *d = other(CONFIG_PV);
    struct mmuext_op op = { .cmd = MMUEXT_PIN_L1_TABLE };
    struct hypercall h = { .nr = __HYPERVISOR_mmuext_op };
    mfn_t            table = frame_at(d, PAGE_OF(5));

    (void)state;
    /* Nothing of the owner's may map it writable. */
    for (unsigned i = 0; i < 3; i++) {
        static const unsigned cmd[] = { MMUEXT_PIN_L1_TABLE, MMUEXT_UNPIN_TABLE,
                                        MMUEXT_TLB_FLUSH_ALL };

        if (i == 0) {
            struct pv_place   place;
            struct mmu_update u;
            struct hypercall  own = { .nr = __HYPERVISOR_mmu_update,
                                      .arg = { PAGE_OF(0), 1, 0, DOMID_SELF } };

            assert_true(pv_walk(d->vcpu[0]->pv->direct.root[0], gva_of(PAGE_OF(5)), 1, &place));
            u = (struct mmu_update){ place.table.raw << PAGE_SHIFT | place.index * 8,
                                     place.entry.raw & ~PTE_W };
            store(d, PAGE_OF(0), &u, sizeof(u));
            assert_int_equal(hypercall_run(d->vcpu[0], &own), HYPERCALL_DONE);
            assert_int_equal(own.result, 0);
        }
        op = (struct mmuext_op){ .cmd = cmd[i] };
        op.arg1.mfn = table.raw;
        store(control, PAGE_OF(1), &op, sizeof(op));
        h.arg[0] = PAGE_OF(1);
        h.arg[1] = 1;
        h.arg[2] = 0;
        h.arg[3] = d->id;
        while (hypercall_run(control->vcpu[0], &h) == HYPERCALL_AGAIN)
            ;
        assert_int_equal(h.result, i == 2 ? -XEN_EPERM : 0);
        assert_int_equal(type_of(table).pinned, i == 0);
        audit();
    }
}

/* A parameter of another domain's, or the error. */
static int64_t param(struct domain *who, uint16_t id, uint32_t index)
{
    struct xen_hvm_param arg = { .domid = id, .index = index };
    int64_t result = call_with(who, __HYPERVISOR_hvm_op, HVMOP_get_param, &arg, sizeof(arg));

    return result != 0 ? result : (int64_t)arg.value;
}

static void parameters_of_others_are_the_control_domains(void **state)
{
    struct domain       *pv, *d;
    struct xen_hvm_param arg = { .index = HVM_PARAM_MONITOR_RING_PFN };
    uint16_t             id;

    (void)state;
    d = other(CONFIG_PVH);
    assert_int_equal(param(control, d->id, HVM_PARAM_MONITOR_RING_PFN), 0xfeff9);
    assert_int_equal(param(control, d->id, HVM_PARAM_CONSOLE_PFN), 0xfefff);
    assert_int_equal(param(control, 77, HVM_PARAM_CONSOLE_PFN), -XEN_ESRCH);
    arg.domid = d->id;
    arg.value = 0xfeff8;
    assert_int_equal(call_with(control, __HYPERVISOR_hvm_op, HVMOP_set_param, &arg, sizeof(arg)),
                     0);
    assert_int_equal(param(control, d->id, HVM_PARAM_MONITOR_RING_PFN), 0xfeff8);
    assert_int_equal(param(control, DOMID_SELF, HVM_PARAM_CONSOLE_PFN), -XEN_EINVAL);
    id = d->id;
    assert_true(destroy_some(d));
    assert_int_equal(param(control, id, HVM_PARAM_CONSOLE_PFN), -XEN_ESRCH);
    pv = other(CONFIG_PV);
    assert_int_equal(param(pv, control->id, HVM_PARAM_CONSOLE_PFN), -XEN_EPERM);
    arg.domid = pv->id;
    assert_int_equal(call_with(control, __HYPERVISOR_hvm_op, HVMOP_set_param, &arg, sizeof(arg)),
                     -XEN_EINVAL);
}

/* ---- the log of what is written ---- */

/* How many frames a whole round finds; more than one step, for the machine has many. */
static uint64_t round_of(struct domain *d, bool final)
{
    struct dirty_round round;
    enum dirty_result  result;
    uint64_t           steps = 0;

    dirty_begin(d, &round, dirty_frames(d), true, final);
    while ((result = dirty_step(d, &round)) != DIRTY_DONE) {
        assert_int_not_equal(result, DIRTY_REFUSED);
        steps++;
    }
    assert_true(!final || steps > 5);
    return round.found;
}

/* What is mapped to be read only, and what is another's, is not. */
static void may_be_written(struct domain *d, uint64_t frame, struct domain *third,
                           uint64_t its_frame)
{
    uint64_t shared;

    (void)round_of(d, true);
    shared = round_of(d, true);
    assert_int_equal(map(d->id, frame, FLAGS & ~PTE_W), 0);
    assert_int_equal(round_of(d, true), shared);
    assert_int_equal(map(third->id, its_frame, FLAGS), 0);
    (void)round_of(third, false);
    assert_int_equal(round_of(d, true), shared);
    assert_int_equal(round_of(third, false), 0);
    assert_int_equal(map(d->id, frame, FLAGS), 0);
    assert_int_equal(round_of(d, false), 0);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(round_of(d, true), shared + 1);
    assert_int_equal(round_of(d, false), 0);
    assert_int_equal(unmap(), 0);
    assert_int_equal(round_of(d, false), 1); /* once more when it ends */
    assert_int_equal(round_of(d, true), shared);
}

static void what_may_be_written_is_in_the_log(void **state)
{
    struct domain *pv = other(CONFIG_PV), *pvh;
    uint64_t       frame = frame_at(pv, PAGE_OF(5)).raw;

    (void)state;
    pv->name[0] = 'a'; /* names differ */
    pvh = other(CONFIG_PVH);
    while (dirty_on(pv) == DIRTY_AGAIN || dirty_on(pvh) == DIRTY_AGAIN)
        ;
    assert_true(pv->paging.dirty.on && pvh->paging.dirty.on);
    may_be_written(pvh, GFN, pv, frame);
    may_be_written(pv, frame, pvh, GFN);
    audit();
}

static void how_far_a_domains_memory_reaches_can_be_asked(void **state)
{
    struct domain *d = other(CONFIG_PVH), *pv;
    uint16_t       id = d->id;

    (void)state;
    assert_int_equal(
        call_with(control, __HYPERVISOR_memory_op, XENMEM_maximum_gpfn, &id, sizeof(id)), 0xfefff);
    assert_true(destroy_some(d));
    pv = other(CONFIG_PV);
    id = pv->id;
    for (unsigned i = 0; i < 3; i++) { /* what the guest says, if that can be */
        const uint64_t said[] = { 0, UINT64_MAX, 1234 };

        pv->shared->arch.max_pfn = said[i];
        assert_int_equal(
            call_with(control, __HYPERVISOR_memory_op, XENMEM_maximum_gpfn, &id, sizeof(id)),
            i == 2 ? 1233 : (int64_t)pv->pages - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTROL(a_frame_of_a_pv_guest_is_seen_and_written),
        CONTROL(a_table_of_a_pv_guest_is_never_writable),
        CONTROL(a_frame_of_another_guest_is_found_by_its_own_number),
        CONTROL(frames_of_the_wrong_domain_are_refused),
        CONTROL(a_mapping_that_is_refused_leaves_no_loan),
        CONTROL(a_control_domain_with_its_own_tables_keeps_them),
        CONTROL(a_pv_guest_is_not_gone_while_it_is_mapped),
        CONTROL(nor_is_a_guest_with_a_map_of_ours),
        CONTROL(a_shared_frame_that_was_mapped_does_not_keep_its_domain),
        CONTROL(a_frame_that_is_given_back_stays_while_it_is_mapped),
        CONTROL(the_control_domain_may_end_first),
        CONTROL(a_grant_table_is_acquired),
        CONTROL(resources_tables_and_ports_of_others_are_the_control_domains_only),
        CONTROL(tables_are_pinned_for_another),
        CONTROL(parameters_of_others_are_the_control_domains),
        CONTROL(what_may_be_written_is_in_the_log),
        CONTROL(how_far_a_domains_memory_reaches_can_be_asked),
    };

    return cmocka_run_group_tests(tests, machine_up, machine_down);
}
