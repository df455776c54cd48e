/* test: with paging/ hv/ hv/pv_view.c hv/dirty.c */
/*
 * A control domain with a map of ours has memory of others in it, under either kind of paging: what that is counted
 * as, and that neither a frame nor its domain goes while it is there.
 */
#include "hv/control_world.h"
#include "hv/dirty.h"
#include "hv/foreign.h"
#include "hv/grant.h"

#define GFN  UINT64_C(0x333)   /* of others', with a map */
#define HERE UINT64_C(0x20000) /* beyond the control domain's memory */

static int set_up_shadow(void **state)
{
    return set_up_control_as(state, CONFIG_PVH, CONFIG_PAGING_SHADOW);
}

static int set_up_nested(void **state)
{
    return set_up_control_as(state, CONFIG_PVH, CONFIG_PAGING_NESTED);
}

#define BOTH(name)                                                                                 \
    { #name " (shadow)", name, set_up_shadow, tear_down, NULL },                                   \
    {                                                                                              \
#name " (nested)", name, set_up_nested, tear_down, NULL                                    \
    }

/* ---- calls ---- */

static int64_t call_again(struct domain *d, uint64_t op, uint64_t va)
{
    struct hypercall h = { .nr = __HYPERVISOR_memory_op, .arg = { op, va } };

    while (hypercall_run(d->vcpu[0], &h) == HYPERCALL_AGAIN)
        ;
    return h.result;
}

/* A batch of one page: what the call says, or what it says of the page. */
static int64_t put_as(struct domain *who, uint16_t owner, uint64_t number, uint64_t gfn)
{
    struct xen_add_to_physmap_batch arg = { .domid = DOMID_SELF,
                                            .space = XENMAPSPACE_gmfn_foreign,
                                            .size = 1 };
    int32_t                         status = 1;
    int64_t                         result;

    arg.u.foreign_domid = owner;
    arg.idxs.p = (void *)PAGE_OF(1);
    arg.gpfns.p = (void *)PAGE_OF(2);
    arg.errs.p = (void *)PAGE_OF(3);
    store(who, PAGE_OF(0), &arg, sizeof(arg));
    store(who, PAGE_OF(1), &number, sizeof(number));
    store(who, PAGE_OF(2), &gfn, sizeof(gfn));
    store(who, PAGE_OF(3), &status, sizeof(status));
    result = call_again(who, XENMEM_add_to_physmap_batch, PAGE_OF(0));
    look(who, PAGE_OF(3), &status, sizeof(status));
    return result != 0 ? result : status;
}

static int64_t bring(const struct domain *owner, uint64_t number, uint64_t gfn)
{
    return put_as(control, owner->id, number, gfn);
}

static int64_t take(uint64_t gfn)
{
    struct xen_remove_from_physmap arg = { .domid = DOMID_SELF, .gpfn = gfn };

    store(control, PAGE_OF(0), &arg, sizeof(arg));
    return call_again(control, XENMEM_remove_from_physmap, PAGE_OF(0));
}

static mfn_t frame_of(const struct domain *d)
{
    return p2m_get(&d->paging.p2m, gfn_of(GFN)).mfn;
}

static enum p2m_type type_at(uint64_t gfn)
{
    return p2m_get(&control->paging.p2m, gfn_of(gfn)).type;
}

/* ---- mappings ---- */

static void a_frame_of_another_is_seen_and_written(void **state)
{
    struct domain *d = other(CONFIG_PVH);
    char           text[8];

    (void)state;
    poke(d, GFN << PAGE_SHIFT, "guest's", 8);
    assert_int_equal(bring(d, GFN, HERE), 0);
    look(control, HERE << PAGE_SHIFT, text, 8);
    assert_string_equal(text, "guest's");
    store(control, HERE << PAGE_SHIFT, "control", 8);
    peek(d, GFN << PAGE_SHIFT, text, 8);
    assert_string_equal(text, "control");
    assert_true(direct_is_lent(&machine_phys, frame_of(d)));
    audit();
    assert_int_equal(take(HERE), 0);
    assert_int_equal(type_at(HERE), P2M_HOLE);
    assert_false(direct_is_lent(&machine_phys, frame_of(d)));
    assert_int_equal(take(HERE), -XEN_ENOENT);
    audit();
}

static void one_frame_may_stand_at_several_places(void **state)
{
    struct domain *d = other(CONFIG_PVH);
    char           text[8];

    (void)state;
    assert_int_equal(bring(d, GFN, HERE), 0);
    assert_int_equal(bring(d, GFN, HERE + 1), 0);
    store(control, HERE << PAGE_SHIFT, "control", 8);
    look(control, (HERE + 1) << PAGE_SHIFT, text, 8);
    assert_string_equal(text, "control");
    assert_int_equal(take(HERE), 0);
    audit();
    look(control, (HERE + 1) << PAGE_SHIFT, text, 8);
    assert_string_equal(text, "control");
    assert_true(direct_is_lent(&machine_phys, frame_of(d)));
    assert_int_equal(take(HERE + 1), 0);
    assert_false(direct_is_lent(&machine_phys, frame_of(d)));
    audit();
}

/* What was there, its own memory or another's, is given up. */
static void what_was_there_goes(void **state)
{
    struct domain *d = other(CONFIG_PVH);
    uint64_t       pages = control->pages;

    (void)state;
    assert_int_equal(bring(d, GFN, GFN), 0);
    assert_int_equal(control->pages, pages - 1);
    assert_int_equal(bring(d, GFN + 1, GFN), 0);
    assert_false(direct_is_lent(&machine_phys, frame_of(d)));
    assert_true(direct_is_lent(&machine_phys, p2m_get(&d->paging.p2m, gfn_of(GFN + 1)).mfn));
    assert_int_equal(control->pages, pages - 1);
    audit();
}

static void what_is_not_theirs_is_refused(void **state)
{
    struct domain            *d = other(CONFIG_PVH), *pv;
    struct xen_add_to_physmap single = { .domid = DOMID_SELF, .space = XENMAPSPACE_gmfn_foreign };

    (void)state;
    assert_int_equal(bring(d, HERE, HERE), -XEN_EINVAL);
    assert_int_equal(bring(d, UINT64_C(1) << 60, HERE), -XEN_EINVAL);
    assert_int_equal(bring(d, GFN, UINT64_C(1) << 60), -XEN_EINVAL);
    assert_int_equal(bring(control, GFN, HERE), -XEN_EINVAL);
    assert_int_equal(put_as(control, 77, GFN, HERE), -XEN_ESRCH);
    store(control, PAGE_OF(0), &single, sizeof(single));
    assert_int_equal(call_again(control, XENMEM_add_to_physmap, PAGE_OF(0)), -XEN_ENOSYS);
    assert_int_equal(put_as(d, control->id, GFN, HERE), -XEN_EPERM);
    assert_int_equal(put_as(d, d->id, GFN, HERE), -XEN_EINVAL);
    strcpy(config.extra, "");
    domain_destroy(d);
    assert_int_equal(bring(d, GFN, HERE), -XEN_ESRCH);
    assert_true(destroy_some(d));
    pv = other(CONFIG_PV);
    assert_int_equal(bring(pv, machine_phys.frames, HERE), -XEN_EINVAL);
    assert_int_equal(bring(pv, 0, HERE), -XEN_EINVAL);
    assert_int_equal(type_at(HERE), P2M_HOLE);
    audit();
}

/* A table can be read; what can be written becomes no table. */
static void a_table_of_a_pv_guest_is_never_writable(void **state)
{
    struct domain *d = other(CONFIG_PV);
    mfn_t          root = d->vcpu[0]->pv->direct.root[0],
          data = pv_allocate(d, 7); /* it maps that nowhere */
    struct mmuext_op pin = { .cmd = MMUEXT_PIN_L1_TABLE };
    struct hypercall h = { .nr = __HYPERVISOR_mmuext_op, .arg = { PAGE_OF(0), 1, 0, d->id } };
    const uint64_t   word = UINT64_C(0x1234567) << PAGE_SHIFT | PTE_P;
    uint64_t         first;

    (void)state;
    assert_int_equal(bring(d, root.raw, HERE), 0);
    assert_int_equal(type_at(HERE), P2M_FOREIGN_ROM);
    look(control, HERE << PAGE_SHIFT, &first, 8);
    assert_true((first & PTE_P) != 0);
    store(control, HERE << PAGE_SHIFT, &word, 8);
    assert_int_not_equal(*(uint64_t *)phys_ptr(&machine_phys, root), word);

    assert_int_equal(bring(d, data.raw, HERE + 1), 0);
    assert_int_equal(type_at(HERE + 1), P2M_FOREIGN);
    pin.arg1.mfn = data.raw;
    store(control, PAGE_OF(0), &pin, sizeof(pin));
    for (unsigned i = 0; i < 2; i++) {
        struct hypercall again = h;

        while (hypercall_run(control->vcpu[0], &again) == HYPERCALL_AGAIN)
            ;
        assert_int_equal(again.result, i == 0 ? -XEN_EINVAL : 0);
        audit();
        assert_int_equal(take(HERE + 1 - i), 0);
        store(control, PAGE_OF(0), &pin, sizeof(pin));
    }
}

/* To be read, at several places, and nobody has more of what is ours than that. */
static void the_m2p_stands_where_the_control_domain_wants_it(void **state)
{
    struct xen_machphys_mfn_list list = { .max_extents = M2P_EXTENTS + 1 };
    struct domain               *d = other(CONFIG_PVH);
    uint64_t                     extents[M2P_EXTENTS];
    mfn_t                        outside;
    char                         text[8];

    (void)state;
    lend_m2p();
    outside = mfn_of(m2p_first + m2p_count);
    list.extent_start.p = (void *)PAGE_OF(1);
    assert_int_equal(
        call_with(control, __HYPERVISOR_memory_op, XENMEM_machphys_mfn_list, &list, sizeof(list)),
        0);
    assert_int_equal(list.nr_extents, M2P_EXTENTS);
    look(control, PAGE_OF(1), extents, sizeof(extents));
    assert_true(extents[0] == m2p_first && extents[1] == m2p_first + 512);
    assert_int_equal(
        call_with(d, __HYPERVISOR_memory_op, XENMEM_machphys_mfn_list, &list, sizeof(list)),
        -XEN_EPERM);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(put_as(control, DOMID_XEN, m2p_first, HERE + i), 0);
        assert_int_equal(type_at(HERE + i), P2M_FOREIGN_ROM);
        look(control, (HERE + i) << PAGE_SHIFT, text, 8);
        assert_string_equal(text, "the M2P");
        store(control, (HERE + i) << PAGE_SHIFT, "control", 8);
        look(control, (HERE + i) << PAGE_SHIFT, text, 8);
        assert_string_equal(text, "the M2P");
        audit();
    }
    assert_int_equal(put_as(control, DOMID_XEN, m2p_first + m2p_count - 1, HERE), 0);
    assert_int_equal(put_as(control, DOMID_XEN, m2p_first - 1, HERE), -XEN_EINVAL);
    assert_int_equal(put_as(control, DOMID_XEN, outside.raw, HERE), -XEN_EINVAL);
    assert_int_equal(put_as(control, DOMID_XEN, ~UINT64_C(0), HERE), -XEN_EINVAL);
    assert_int_equal(put_as(control, DOMID_XEN, d->shared_mfn.raw, HERE), -XEN_EINVAL);
    assert_int_equal(put_as(control, DOMID_XEN, control->shared_mfn.raw, HERE), -XEN_EINVAL);
    assert_int_equal(put_as(d, DOMID_XEN, m2p_first, HERE), -XEN_ESRCH);
    assert_int_equal(put_as(control, d->id, m2p_first, HERE), -XEN_EINVAL);
    assert_int_equal(take(HERE), 0);
    assert_int_equal(take(HERE + 1), 0);
    audit();
    take_m2p_back();
}

/* ---- lifetimes ---- */

static void its_owner_is_not_gone_while_it_is_there(void **state)
{
    static const enum config_type types[] = { CONFIG_PVH, CONFIG_PV };

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct domain *d = other(types[i]);
        mfn_t          mfn = i == 0 ? frame_of(d) : frame_at(d, PAGE_OF(5));

        assert_int_equal(bring(d, i == 0 ? GFN : mfn.raw, HERE), 0);
        store(control, HERE << PAGE_SHIFT, "control", 8);
        domain_destroy(d);
        assert_false(destroy_some(d));
        assert_int_equal(d->pages, 1);
        assert_string_equal(phys_ptr(&machine_phys, mfn), "control");
        audit();
        assert_int_equal(take(HERE), 0);
        assert_true(destroy_some(d));
        audit();
    }
}

static void the_control_domain_may_end_first(void **state)
{
    struct domain *d = other(CONFIG_PVH), *pv;

    (void)state;
    for (unsigned i = 0; i < 300; i++)
        assert_int_equal(bring(d, GFN + i, HERE + i), 0);
    assert_int_equal(bring(d, GFN, HERE + 300), 0);
    strcpy(config.name, "third");
    config.type = CONFIG_PV;
    config.paging = CONFIG_PAGING_DEFAULT;
    pv = create_running();
    assert_int_equal(bring(pv, frame_at(pv, PAGE_OF(5)).raw, HERE + 301), 0);
    lend_m2p();
    assert_int_equal(put_as(control, DOMID_XEN, m2p_first, HERE + 302), 0);
    domain_destroy(d);
    domain_destroy(pv);
    assert_false(destroy_some(d));
    assert_false(destroy_some(pv));
    domain_destroy(control);
    assert_true(destroy_some(control));
    take_m2p_back();
    assert_true(destroy_some(d));
    assert_true(destroy_some(pv));
}

/* ---- resources, and the log of what is written ---- */

static void a_grant_table_is_put_where_it_shall_be(void **state)
{
    struct xen_mem_acquire_resource arg = { .type = XENMEM_resource_grant_table, .nr_frames = 1 };
    struct domain                  *d = other(CONFIG_PV);
    struct grant_entry_v1           entry = { GTF_permit_access, 0, GFN };
    uint64_t                        gfn = HERE;

    (void)state;
    arg.domid = d->id;
    arg.frame_list.p = (void *)PAGE_OF(1);
    store(control, PAGE_OF(1), &gfn, sizeof(gfn));
    assert_int_equal(
        call_with(control, __HYPERVISOR_memory_op, XENMEM_acquire_resource, &arg, sizeof(arg)), 0);
    store(control, HERE << PAGE_SHIFT, &entry, sizeof(entry));
    assert_memory_equal(phys_ptr(&machine_phys, d->grant_mfn[0]), &entry, sizeof(entry));
    audit();
    assert_int_equal(take(HERE), 0);
    gfn = UINT64_C(1) << 60;
    store(control, PAGE_OF(1), &gfn, sizeof(gfn));
    assert_int_equal(
        call_with(control, __HYPERVISOR_memory_op, XENMEM_acquire_resource, &arg, sizeof(arg)),
        -XEN_EINVAL);
}

/* How many frames a whole round finds. */
static uint64_t round_of(struct domain *d, bool final)
{
    struct dirty_round round;
    enum dirty_result  result;

    dirty_begin(d, &round, dirty_frames(d), true, final);
    while ((result = dirty_step(d, &round)) != DIRTY_DONE)
        assert_int_not_equal(result, DIRTY_REFUSED);
    return round.found;
}

static void what_may_be_written_is_in_the_log(void **state)
{
    struct domain *d = other(CONFIG_PVH);
    uint64_t       shared;

    (void)state;
    while (dirty_on(d) == DIRTY_AGAIN)
        ;
    shared = round_of(d, true);
    assert_int_equal(bring(d, GFN, HERE), 0);
    assert_int_equal(round_of(d, false), 0);
    assert_int_equal(round_of(d, true), shared + 1);
    assert_int_equal(round_of(d, false), 0);
    assert_int_equal(take(HERE), 0);
    assert_int_equal(round_of(d, false), 1);
    assert_int_equal(round_of(d, true), shared);
    domain_destroy(d);
    assert_true(destroy_some(d));
}

/* Its tables would be refused to it while they are read. */
static void a_pv_guest_is_not_moved_while_it_runs(void **state)
{
    struct domain    *pv = other(CONFIG_PV), *pvh;
    struct xen_domctl op = { .cmd = XEN_DOMCTL_shadow_op };

    (void)state;
    strcpy(pv->name, "pv");
    pvh = other(CONFIG_PVH);
    op.u.shadow_op.op = XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY;
    assert_int_equal(domctl(control, pv->id, &op), -XEN_EOPNOTSUPP);
    assert_false(pv->paging.dirty.on);
    assert_non_null(strstr(lines, "umbra: pv cannot be moved while it runs: "));
    op.u.shadow_op.op = XEN_DOMCTL_SHADOW_OP_ENABLE;
    op.u.shadow_op.mode = XEN_DOMCTL_SHADOW_ENABLE_LOG_DIRTY;
    assert_int_equal(domctl(control, pv->id, &op), -XEN_EOPNOTSUPP);
    assert_int_equal(domctl(control, pvh->id, &op), 0);
    assert_true(pvh->paging.dirty.on);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_frame_of_another_is_seen_and_written),
        BOTH(one_frame_may_stand_at_several_places),
        BOTH(what_was_there_goes),
        BOTH(what_is_not_theirs_is_refused),
        BOTH(a_table_of_a_pv_guest_is_never_writable),
        BOTH(the_m2p_stands_where_the_control_domain_wants_it),
        BOTH(its_owner_is_not_gone_while_it_is_there),
        BOTH(the_control_domain_may_end_first),
        BOTH(a_grant_table_is_put_where_it_shall_be),
        BOTH(what_may_be_written_is_in_the_log),
        BOTH(a_pv_guest_is_not_moved_while_it_runs),
    };

    return cmocka_run_group_tests(tests, machine_up, machine_down);
}
