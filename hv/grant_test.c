/* test: with paging/ hv/ */
/*
 * Grants of domains that were really built, mapped by one with a p2m: what its tables have of them, and
 * who waits for whom at the end.
 */
#include "hv/grant.h"
#include "hv/domain_world.h"
#include "hv/kind.h"

#define ROOM    UINT64_C(0x40000) /* frames where there is nothing */
#define LENT    UINT64_C(0x300) /* first of the lender's frames that are granted, and of references */
#define REF     8
#define PATTERN UINT64_C(0x6c656e74)
#define MANY    300

static struct domain *lender, *user;

static uint64_t gpa_of(uint64_t frame)
{
    return frame << PAGE_SHIFT;
}

static struct domain *make(const char *name)
{
    struct domain           *d;
    const struct paging_regs unpaged = { 0 };

    strcpy(config.name, name);
    d = create();
    domain_unpause(d);
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        struct verdict verdict;

        do
            verdict = paging_set_regs(domain_lock(d), &d->vcpu[i]->paging, &unpaged);
        while (verdict.again);
        assert_int_equal(verdict.kind, VERDICT_RETRY);
    }
    return d;
}

static mfn_t lent_mfn(unsigned i)
{
    return p2m_get(&lender->paging.p2m, gfn_of(LENT + i)).mfn;
}

static void grant(unsigned i, uint16_t flags)
{
    struct grant_entry_v1 *table = phys_ptr(&machine_phys, lender->grant_mfn[0]);

    table[REF + i] = (struct grant_entry_v1){ flags, user->id, (uint32_t)(LENT + i) };
}

static int make_two(void **state)
{
    (void)set_up(state);
    lender = make("lender");
    user = make("user");
    assert_true(grant_grow(lender, 1));
    for (unsigned i = 0; i < 8; i++) {
        const uint64_t word = PATTERN + i;

        poke(lender, gpa_of(LENT + i), &word, 8);
        grant(i, GTF_permit_access);
    }
    return 0;
}

/* All at once, as whoever is first may have to wait for another. */
static int end_all(void **state)
{
    for (struct domain *d = domains; d != NULL; d = d->next)
        domain_destroy(d);
    for (unsigned i = 0; domains != NULL; i++) {
        assert_true(i < 100000);
        (void)!domains_work_step();
    }
    return tear_down(state);
}

static void audit(void)
{
    for (struct domain *d = domains; d != NULL; d = d->next) {
        struct audit sum = { 0 };

        if (!d->paging_ready || d->state == DOMAIN_DYING)
            continue;
        paging_audit(domain_lock(d), &sum);
        if (sum.violations != 0)
            fail_msg("%s: %s", d->name, sum.first);
    }
}

static int16_t map(unsigned i, uint64_t frame, unsigned flags, uint32_t *handle)
{
    struct gnttab_map_grant_ref op = {
        .host_addr = gpa_of(frame), .flags = flags, .ref = REF + i, .dom = lender->id
    };

    poke(user, AREA, &op, sizeof(op));
    assert_int_equal(call(user, __HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, AREA, 1), 0);
    peek(user, AREA, &op, sizeof(op));
    *handle = op.handle;
    audit();
    return op.status;
}

/* One run of the hypercall; true when it was the last. */
static bool unmap_once(uint64_t frame, uint32_t handle, int16_t *status)
{
    struct gnttab_unmap_grant_ref op = { .host_addr = gpa_of(frame), .handle = handle };
    struct hypercall              h = { .nr = __HYPERVISOR_grant_table_op,
                                        .arg = { GNTTABOP_unmap_grant_ref, AREA, 1 } };
    bool                          done;

    poke(user, AREA, &op, sizeof(op));
    done = hypercall_run(user->vcpu[0], &h) == HYPERCALL_DONE;
    peek(user, AREA, &op, sizeof(op));
    *status = op.status;
    audit();
    return done;
}

static void unmap(uint64_t frame, uint32_t handle)
{
    int16_t status = 0;

    while (!unmap_once(frame, handle, &status))
        continue;
    assert_int_equal(status, GNTST_okay);
}

/* A vCPU of the user's, without paging of its own, makes an access. */
static void touch(uint64_t frame, bool write)
{
    struct fault f = { .va = gva_of(gpa_of(frame)), .acc = write ? ACC_WRITE : 0 };

    for (unsigned i = 0; i < 4; i++, f.present = i == 3) {
        struct verdict verdict = paging_fault(domain_lock(user), &user->vcpu[0]->paging, &f);

        assert_int_equal(verdict.kind, VERDICT_RETRY);
    }
    audit();
}

static const struct mapped *lists(uint32_t handle)
{
    return &user->grants->map[handle].borrow.mapped;
}

static bool maps(uint32_t handle, bool write)
{
    return lists(handle)->leaves[0][write] != 0;
}

static uint64_t word_at(uint64_t frame)
{
    uint64_t word;

    peek(user, gpa_of(frame), &word, sizeof(word));
    return word;
}

static void end(struct domain *d)
{
    while (!domain_destroy_step(d))
        audit();
}

/* ---- tables ---- */

static void a_mapped_frame_is_reached_until_it_is_given_back(void **state)
{
    uint64_t word = 77;
    uint32_t handle, readable;

    (void)state;
    assert_int_equal(map(0, ROOM, GNTMAP_host_map, &handle), GNTST_okay);
    assert_int_equal(map(1, ROOM + 1, GNTMAP_host_map | GNTMAP_readonly, &readable), GNTST_okay);
    assert_int_equal(word_at(ROOM), PATTERN);
    poke(user, gpa_of(ROOM), &word, 8);
    poke(user, gpa_of(ROOM + 1), &word, 8); /* is lost */
    assert_int_equal(word_at(ROOM + 1), PATTERN + 1);
    peek(lender, gpa_of(LENT), &word, 8);
    assert_int_equal(word, 77);
    touch(ROOM, true);
    touch(ROOM + 1, false);
    assert_true(maps(handle, true) && maps(readable, false));
    assert_false(maps(handle, false) || maps(readable, true));
    unmap(ROOM, handle);
    assert_int_equal(p2m_get(&user->paging.p2m, gfn_of(ROOM)).type, P2M_HOLE);
    assert_false(maps(handle, true));
    assert_true(maps(readable, false));
    assert_int_equal(lender->grants->lent, 1);
}

static void one_frame_by_several_handles_is_in_one_list(void **state)
{
    uint32_t handle[3], more[2];

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(map(0, ROOM + i, GNTMAP_host_map, &handle[i]), GNTST_okay);
        touch(ROOM + i, true);
        assert_int_equal(lists(handle[0])->writable[0], i + 1);
    }
    unmap(ROOM, handle[0]);
    touch(ROOM + 1, true);
    touch(ROOM + 2, true);
    assert_int_equal(lists(handle[2])->writable[0], 2);
    unmap(ROOM + 1, handle[1]); /* it has no leaves: those of the frame go, and one comes back */
    for (unsigned i = 1; i < 3; i++) /* the handles are used anew */
        assert_int_equal(map(i, ROOM + 8 + i, GNTMAP_host_map, &more[i - 1]), GNTST_okay);
    assert_int_equal(more[0], handle[0]);
    assert_int_equal(more[1], handle[1]);
    touch(ROOM + 2, true);
    assert_int_equal(lists(handle[2])->writable[0], 1);
    unmap(ROOM + 2, handle[2]);
    assert_int_equal(lender->grants->lent, 2);
}

/* More leaves than are taken back at once. */
static void giving_back_stops_on_the_way(void **state)
{
    static uint32_t handle[MANY];
    unsigned        runs = 1;
    int16_t         status;

    (void)state;
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(map(0, ROOM + i, GNTMAP_host_map, &handle[i]), GNTST_okay);
        touch(ROOM + i, true);
    }
    assert_int_equal(lists(handle[0])->writable[0], MANY);
    while (!unmap_once(ROOM + 9, handle[9], &status))
        runs++;
    assert_int_equal(status, GNTST_okay);
    assert_true(runs > 2);
    assert_int_equal(p2m_get(&user->paging.p2m, gfn_of(ROOM + 9)).type, P2M_HOLE);
    assert_int_equal(word_at(ROOM + 10), PATTERN);
}

/* What takes everything back, and changes whose tables are in use, knows such leaves as well. */
static void other_changes_go_on_around_it(void **state)
{
    uint32_t handle, readable;

    (void)state;
    assert_int_equal(map(0, ROOM, GNTMAP_host_map, &handle), GNTST_okay);
    assert_int_equal(map(1, ROOM + 1, GNTMAP_host_map | GNTMAP_readonly, &readable), GNTST_okay);
    for (unsigned i = 0; i < 6; i++) {
        struct verdict verdict = { .kind = VERDICT_RETRY };

        touch(ROOM, true);
        touch(ROOM + 1, false);
        if (i % 3 == 0)
            assert_int_equal(kind_change(user, kind_other(user)), KIND_DONE);
        else if (i % 3 == 1)
            verdict = paging_blow(domain_lock(user));
        else if (user->paging.dirty.on)
            verdict = paging_dirty_off(domain_lock(user));
        else
            verdict = paging_dirty_on(domain_lock(user));
        assert_int_equal(verdict.kind, VERDICT_RETRY);
        audit();
        if (i % 2 == 0)
            while (!paging_work(domain_lock(user), 8))
                audit();
    }
    unmap(ROOM, handle);
    unmap(ROOM + 1, readable);
}

/* The lender's marks are its own: it is told when the frame comes back. */
static void the_users_log_does_not_tell_of_it(void **state)
{
    struct verdict verdict;
    uint64_t       bits = 0;
    uint32_t       handle;

    (void)state;
    assert_int_equal(map(0, ROOM, GNTMAP_host_map, &handle), GNTST_okay);
    do
        verdict = paging_dirty_on(domain_lock(user));
    while (verdict.again);
    touch(ROOM, true);
    do
        verdict = paging_dirty_on(domain_lock(lender));
    while (verdict.again);
    for (unsigned i = 0; i < 2; i++) {
        struct dirty_fetch f = { .first = gfn_of(ROOM),
                                 .next = gfn_of(ROOM),
                                 .end = gfn_of(ROOM + 8),
                                 .clean = true,
                                 .bitmap = &bits };
        struct dirty_fetch g = { .first = gfn_of(LENT),
                                 .next = gfn_of(LENT),
                                 .end = gfn_of(LENT + 8),
                                 .clean = true,
                                 .bitmap = &bits };

        verdict = paging_dirty_fetch(domain_lock(user), &f);
        assert_int_equal(f.found, 0);
        verdict = paging_dirty_fetch(domain_lock(lender), &g);
        assert_int_equal(g.found, i);
        if (i == 0)
            unmap(ROOM, handle);
    }
}

/* What is a table of the lender's stops the user not, and stays the lender's to follow. */
static void a_table_of_the_lenders_is_a_page_to_the_user(void **state)
{
    const struct paging_regs regs = {
        .cr0 = UINT64_C(0x80010001), .cr3 = gpa_of(LENT + 2), .cr4 = 1 << 5, .efer = UINT64_C(0xd00)
    };
    struct paging_vcpu *v = &lender->vcpu[0]->paging;
    const uint64_t      zero = 0, word = PATTERN;
    uint32_t            handle, shadow;
    struct verdict      verdict;

    (void)state;
    poke(lender, gpa_of(LENT + 2), &zero, sizeof(zero));
    do
        verdict = paging_set_regs(domain_lock(lender), v, &regs);
    while (verdict.again);
    assert_int_equal(verdict.kind, VERDICT_RETRY);
    shadow = phys_frame(&machine_phys, lent_mfn(2))->guest.shadows;
    assert_int_not_equal(shadow, 0);
    assert_int_equal(map(2, ROOM, GNTMAP_host_map, &handle), GNTST_okay);
    touch(ROOM, true);
    assert_true(maps(handle, true));
    poke(user, gpa_of(ROOM) + 8, &word, 8);
    assert_int_equal(user->paging.stats.writes, 0);
    unmap(ROOM, handle);
    assert_int_equal(phys_frame(&machine_phys, lent_mfn(2))->guest.shadows, shadow);
}

static void its_place_is_taken_by_nothing_else(void **state)
{
    struct xen_remove_from_physmap remove = { .domid = DOMID_SELF, .gpfn = ROOM };
    uint32_t                       handle, more;

    (void)state;
    assert_int_equal(map(0, ROOM, GNTMAP_host_map, &handle), GNTST_okay);
    poke(user, AREA, &remove, sizeof(remove));
    assert_int_equal(call(user, __HYPERVISOR_memory_op, XENMEM_remove_from_physmap, AREA, 0),
                     -XEN_EPERM);
    assert_int_equal(map(1, ROOM, GNTMAP_host_map, &more), GNTST_general_error);
    assert_int_equal(lender->grants->active[REF + 1].writers, 0);
    assert_int_equal(word_at(ROOM), PATTERN);
    unmap(ROOM, handle);
}

/* ---- ends ---- */

/* The frame stays what it is until the user lets go; then the lender's end goes on. */
static void a_lender_that_ends_waits_for_the_user(void **state)
{
    uint32_t handle;
    uint64_t frame;

    (void)state;
    assert_int_equal(map(0, ROOM, GNTMAP_host_map, &handle), GNTST_okay);
    touch(ROOM, true);
    frame = lent_mfn(0).raw;
    for (unsigned i = 0; i < 2000; i++) {
        assert_false(domain_destroy_step(lender));
        assert_int_equal(word_at(ROOM), PATTERN);
    }
    assert_int_equal(phys_frame(&machine_phys, mfn_of(frame))->kind, FRAME_GUEST);
    touch(ROOM, true);
    unmap(ROOM, handle);
    end(lender);
    assert_int_equal(phys_frame(&machine_phys, mfn_of(frame))->kind, FRAME_FREE);
}

static void a_user_that_ends_lets_go(void **state)
{
    uint32_t handle;

    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(map(i / 2, ROOM + i, GNTMAP_host_map, &handle), GNTST_okay);
        touch(ROOM + i, true);
    }
    end(user);
    assert_int_equal(lender->grants->lent, 0);
    for (unsigned i = 0; i < 4; i++)
        assert_null(phys_frame(&machine_phys, lent_mfn(i))->guest.borrows);
}

/* Both at once (end_all), each with the other's frame. */
static void two_that_end_with_each_others_frames_do_not_wait_for_ever(void **state)
{
    uint32_t       handle;
    struct domain *was;

    (void)state;
    assert_int_equal(map(0, ROOM, GNTMAP_host_map, &handle), GNTST_okay);
    touch(ROOM, true);
    was = lender;
    lender = user;
    user = was;
    assert_true(grant_grow(lender, 1));
    grant(0, GTF_permit_access);
    assert_int_equal(map(0, ROOM, GNTMAP_host_map, &handle), GNTST_okay);
    touch(ROOM, true);
}

#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_two, end_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_mapped_frame_is_reached_until_it_is_given_back),
        TEST(one_frame_by_several_handles_is_in_one_list),
        TEST(giving_back_stops_on_the_way),
        TEST(other_changes_go_on_around_it),
        TEST(the_users_log_does_not_tell_of_it),
        TEST(a_table_of_the_lenders_is_a_page_to_the_user),
        TEST(its_place_is_taken_by_nothing_else),
        TEST(a_lender_that_ends_waits_for_the_user),
        TEST(a_user_that_ends_lets_go),
        TEST(two_that_end_with_each_others_frames_do_not_wait_for_ever),
    };

    return cmocka_run_group_tests(tests, machine_up, machine_down);
}
