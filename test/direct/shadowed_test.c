/* test: with paging/ test/direct/world.c test/direct/shadowed.c */
/* Stories of a domain under direct paging that is shadowed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "shadowed.h"

#define FRAMES 10

static struct world    w;
static struct shadowed s;

/* Frame 1 is the root, 2 to 4 the tables below it, 5 the page at address 0. */
static int set_up(void **state)
{
    struct direct_request r;

    (void)state;
    world_init(&w, FRAMES, 1, 0);
    shadowed_init(&s, &w);
    for (unsigned frame = 1; frame < 5; frame++)
        *world_entry(&w, frame, 0) = ENTRY(frame + 1, RW);
    r = world_request(&w, DIRECT_ROOT, 1);
    assert_int_equal(world_do(&w, 0, &r, 100000).status, DIRECT_DONE);
    assert_true(shadowed_switch(&s, true, 0));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    world_free(&w);
    return 0;
}

static void what_is_used_is_shadowed_down_to_the_page(void **state)
{
    struct outcome o = shadowed_access(&s, 0, false, 0x123, ACC_WRITE);

    (void)state;
    assert_true(o.made);
    assert_int_equal(o.frame, 5);
    for (unsigned frame = 1; frame < 5; frame++)
        assert_int_not_equal(w.frame[frame].guest.shadows, 0);
    assert_true(shadowed_sound(&s) && world_sound(&w));
}

static void a_table_that_ceases_to_be_one_meanwhile_gets_no_shadow(void **state)
{
    uint64_t      *word = &w.frame[3].guest.type, before = *word;
    struct type    busy = type_unpack(before);
    struct fault   f = { .va = gva_of(0), .acc = ACC_USER };
    struct verdict v;

    (void)state;
    (void)shadowed_access(&s, 0, false, UINT64_C(1) << 39, 0); /* it has a root */
    busy.validated = false;
    busy.cursor = DIRECT_ENTRIES;
    *word = busy.word; /* another vCPU takes it down, and has seen no shadow of it */
    v = paging_fault((struct paging_locked){ &s.paging }, &s.vcpu[0], &f);
    assert_int_equal(v.kind, VERDICT_RETRY);
    assert_true(v.again);
    assert_int_equal(w.frame[3].guest.shadows, 0);
    *word = before;
    assert_true(shadowed_access(&s, 0, false, 0, 0).made);
    assert_true(shadowed_sound(&s));
}

static void a_table_is_let_go_of_however_many_places_lead_to_it(void **state)
{
    struct direct_request r = world_request(&w, DIRECT_UPDATE, 3);

    (void)state;
    r.value = ENTRY(4, RW);
    for (r.index = 1; r.index < DIRECT_ENTRIES; r.index++) {
        assert_int_equal(world_do(&w, 0, &r, 100000).status, DIRECT_DONE);
        assert_true(shadowed_access(&s, 0, false, (uint64_t)r.index << 21, 0).made);
    }
    /* The shadow of the table above dies, with its 512 entries; the one below is made an orphan. */
    r = world_request(&w, DIRECT_UPDATE, 2);
    s.paging.stats.unshadowed = 0;
    assert_int_equal(world_do(&w, 0, &r, 100000).status, DIRECT_DONE);
    assert_int_equal(s.paging.stats.unshadowed, 1);
    assert_int_equal(w.frame[3].guest.shadows | w.frame[4].guest.shadows, 0);
    assert_true(shadowed_sound(&s) && world_sound(&w));
    assert_true(paging_pv_knows(&w.phys, mfn_of(5))); /* an orphan's entry is left */
    while (!shadowed_work(&s, 7))
        assert_true(shadowed_sound(&s));
    assert_false(paging_pv_knows(&w.phys, mfn_of(5)));
}

static void a_fault_before_shadows_follow_enters_what_the_table_says_now(void **state)
{
    struct direct_request r = world_request(&w, DIRECT_UPDATE, 3);

    (void)state;
    r.index = 1; /* the table stays one, and its shadow with it */
    r.value = ENTRY(4, RW);
    assert_int_equal(world_do(&w, 0, &r, 100000).status, DIRECT_DONE);
    assert_true(shadowed_access(&s, 0, false, 0, 0).made);
    assert_true(shadowed_access(&s, 0, false, UINT64_C(1) << 21, 0).made);
    *world_entry(&w, 6, 1) = ENTRY(7, RW);
    r.index = 0;
    r.value = ENTRY(6, RW);
    direct_begin(&w.vcpu[0], &r, 100000);
    while (direct_step(&w.vcpu[0]))
        continue;
    assert_int_equal(w.vcpu[0].phase, PHASE_ASK);
    assert_int_equal(w.vcpu[0].ask.kind, DIRECT_ASK_FOLLOW);
    assert_int_equal(shadowed_access(&s, 0, false, PAGE_SIZE, 0).frame, 7);
    world_carry_out(&w, &w.vcpu[0]);
    assert_int_equal(world_do(&w, 0, &r, 100000).status, DIRECT_DONE);
    assert_true(shadowed_sound(&s) && world_sound(&w));
}

static void who_goes_back_leaves_nothing(void **state)
{
    struct direct_request r = world_request(&w, DIRECT_UPDATE, 2);

    (void)state;
    assert_true(shadowed_access(&s, 0, false, 0, ACC_WRITE).made);
    assert_false(shadowed_switch(&s, false, 0));
    /* Its tables change while the shadows of them are on their way out. */
    assert_int_equal(world_do(&w, 0, &r, 100000).status, DIRECT_DONE);
    assert_false(shadowed_access(&s, 0, false, 0, 0).made);
    while (!shadowed_switch(&s, false, 1))
        assert_true(world_sound(&w));
    assert_true(shadowed_sound(&s));
    assert_true(shadowed_switch(&s, true, 0)); /* and again */
    assert_false(shadowed_access(&s, 0, false, 0, 0).made);
    assert_true(shadowed_sound(&s));
}

/* Whoever changed a table before it went back may still ask for that, and finds nothing to do. */
static void what_is_on_its_way_out_follows_nothing(void **state)
{
    struct verdict v;

    (void)state;
    assert_true(shadowed_access(&s, 0, false, 0, ACC_WRITE).made);
    assert_false(shadowed_switch(&s, false, 0));
    *world_entry(&w, 4, 0) = 0;
    v = paging_pv_follow((struct paging_locked){ &s.paging }, mfn_of(4), 0);
    assert_int_equal(v.kind, VERDICT_RETRY);
    assert_true(paging_pv_knows(&w.phys, mfn_of(5)));
    *world_entry(&w, 4, 0) = ENTRY(5, RW);
    while (!shadowed_switch(&s, false, 1))
        assert_true(world_sound(&w));
    assert_false(paging_pv_knows(&w.phys, mfn_of(5)));
    assert_true(shadowed_sound(&s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_used_is_shadowed_down_to_the_page, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_table_that_ceases_to_be_one_meanwhile_gets_no_shadow,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_table_is_let_go_of_however_many_places_lead_to_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            a_fault_before_shadows_follow_enters_what_the_table_says_now, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_goes_back_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_on_its_way_out_follows_nothing, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
