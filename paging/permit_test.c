/* test: with paging/ test/model/ */
/* The monitor's rights: what is forbidden is told, and what is told is what was forbidden. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paging/shadow.h"
#include "test/model/story.h"

#define ROOT  1
#define PAGE  40 /* gfn of the page that the stories are about */
#define FLAGS 7  /* present, writable, user */

static const struct world_setup setup = {
    .gfns = 96,
    .spare = 4,
    .pairs = 128,
    .maxphys = 40,
    .large = true,
    .audit = 1,
    .tlbs = 1,
};

/* Four levels, in which virtual page i is guest frame i, and 2 MiB at 4 MiB are the large block. */
static struct world *four_levels(bool nested)
{
    struct world *w = world_create(&setup);

    assert_string_equal(w->failure, "");
    poke(w, ROOT, 0, 2 << 12 | FLAGS);
    poke(w, 2, 0, 3 << 12 | FLAGS);
    poke(w, 3, 0, 4 << 12 | FLAGS);
    poke(w, 3, 2, WORLD_LARGE << 12 | FLAGS | 0x80);
    for (unsigned i = 0; i < setup.gfns; i++)
        poke(w, 4, i, (uint64_t)i << 12 | FLAGS);
    long_mode(w, ROOT);
    if (nested)
        set(w, OP_KIND, PAGING_NESTED);
    return w;
}

static void rights(struct world *w, uint64_t gfn, uint64_t count, unsigned type)
{
    step(w, (struct op){
                .kind = OP_RIGHTS, .acc = (uint8_t)type, .length = 8, .va = gfn, .value = count });
}

static void rights_of_all(struct world *w, unsigned type)
{
    step(w, (struct op){ .kind = OP_RIGHTS, .acc = (uint8_t)type, .length = 1 });
}

static const unsigned accesses[] = { 0, ACC_WRITE, ACC_FETCH };

/* Each set of rights against each kind of access: the worlds compare what is told. */
static void each_access_needs_its_right(void **state)
{
    (void)state;
    for (unsigned nested = 0; nested < 2; nested++) {
        struct world *w = four_levels(nested);
        uint64_t      expected = 0;

        for (unsigned type = ACCESS_NONE; type <= ACCESS_ALL; type++) {
            rights(w, PAGE, 1, type);
            for (unsigned i = 0; i < 3; i++) {
                touch(w, PAGE << 12, accesses[i]);
                expected += !(type & (i == 0 ? ACCESS_READ : i == 1 ? ACCESS_WRITE : ACCESS_FETCH));
                assert_int_equal(w->counts.refused, expected);
            }
        }
        assert_int_equal(w->counts.refused_walks, 0);
        end(w);
    }
}

/* What another root has built already is not linked in one that may not be read. */
static void a_new_root_that_may_not_be_read_is_not_walked_unseen(void **state)
{
    struct world *w = four_levels(false);

    (void)state;
    touch(w, PAGE << 12, ACC_WRITE);
    poke(w, 0x50, 0, 2 << 12 | FLAGS | 0x20);
    rights(w, 0x50, 1, ACCESS_NONE);
    set(w, OP_CR3, 0x50 << 12);
    touch(w, PAGE << 12, ACC_WRITE);
    assert_int_equal(w->counts.refused_walks, 1);
    end(w);
}

/* Nor what is written to a root in use by others than its processor. */
static void a_link_that_is_written_there_is_not_walked_unseen(void **state)
{
    struct world *w = four_levels(false);

    (void)state;
    touch(w, PAGE << 12, ACC_WRITE);
    set(w, OP_CR3, 0x50 << 12);
    touch(w, PAGE << 12, ACC_WRITE); /* nothing there */
    rights(w, 0x50, 1, ACCESS_NONE);
    poke(w, 0x50, 0, 2 << 12 | FLAGS | 0x20);
    touch(w, PAGE << 12, ACC_WRITE);
    assert_int_equal(w->counts.refused_walks, 1);
    end(w);
}

static void mappings_that_there_are_lose_what_is_taken_away(void **state)
{
    struct world *w = four_levels(false);

    (void)state;
    touch(w, PAGE << 12, ACC_WRITE);
    touch(w, (PAGE + 1) << 12, ACC_WRITE);
    rights(w, PAGE, 1, ACCESS_READ);
    touch(w, (PAGE + 1) << 12, ACC_WRITE);
    assert_int_equal(w->counts.refused, 0);
    touch(w, PAGE << 12, ACC_WRITE);
    touch(w, PAGE << 12, ACC_FETCH);
    assert_int_equal(w->counts.refused, 2);
    rights(w, PAGE, 1, ACCESS_DEFAULT);
    touch(w, PAGE << 12, ACC_WRITE);
    assert_int_equal(w->counts.refused, 2);
    end(w);
}

static void a_default_holds_for_all_and_its_end_as_well(void **state)
{
    struct world *w = four_levels(false);

    (void)state;
    rights(w, ROOT, 4, ACCESS_ALL); /* the tables, in which D would be set */
    touch(w, PAGE << 12, ACC_WRITE);
    rights_of_all(w, ACCESS_READ | ACCESS_FETCH);
    touch(w, PAGE << 12, ACC_WRITE);
    touch(w, (PAGE + 1) << 12, ACC_WRITE);
    assert_int_equal(w->counts.refused, 2);
    rights_of_all(w, ACCESS_ALL);
    touch(w, PAGE << 12, ACC_WRITE);
    assert_int_equal(w->counts.refused, 2);
    end(w);
}

static void a_large_leaf_is_split_where_rights_differ(void **state)
{
    struct world *w = four_levels(false);

    (void)state;
    touch(w, 0x400000, ACC_WRITE);
    assert_int_equal(w->domain.stats.leaves[1], 1);
    rights(w, WORLD_LARGE + 5, 1, ACCESS_READ);
    touch(w, 0x400000, ACC_WRITE);
    assert_int_equal(w->domain.stats.leaves[1], 0);
    touch(w, 0x405000, ACC_WRITE);
    assert_int_equal(w->counts.refused, 1);
    rights(w, WORLD_LARGE, 512, ACCESS_READ | ACCESS_WRITE);
    touch(w, 0x405000, ACC_WRITE);
    assert_int_equal(w->counts.refused, 1);
    assert_int_equal(w->domain.stats.leaves[1], 1);
    touch(w, 0x407000, ACC_FETCH);
    assert_int_equal(w->counts.refused, 2);
    end(w);
}

static void rights_change_by_the_access_that_they_are_for(void **state)
{
    struct world *w = four_levels(false);

    (void)state;
    rights(w, PAGE, 1, ACCESS_N2RWX);
    touch(w, PAGE << 12, 0);
    touch(w, PAGE << 12, ACC_WRITE);
    assert_int_equal(w->counts.promoted, 1);
    assert_int_equal(w->counts.refused, 0);
    rights(w, PAGE, 1, ACCESS_RX2RW);
    touch(w, PAGE << 12, ACC_FETCH);
    touch(w, PAGE << 12, ACC_WRITE);
    assert_int_equal(w->counts.refused, 0);
    touch(w, PAGE << 12, ACC_FETCH);
    assert_int_equal(w->counts.refused, 1);
    end(w);
}

/* A walk writes nothing where the access itself is refused. */
static void what_is_refused_changes_the_rights_of_no_table(void **state)
{
    struct world        *w = four_levels(false);
    struct paging_locked lock = { &w->domain };

    (void)state;
    rights(w, 4, 1, ACCESS_RX2RW);
    rights(w, PAGE, 1, ACCESS_READ);
    touch(w, PAGE << 12, ACC_FETCH);
    assert_int_equal(w->counts.refused, 1);
    assert_int_equal(paging_access_get(lock, gfn_of(4)), ACCESS_RX2RW);
    touch(w, PAGE << 12, 0); /* sets A */
    assert_int_equal(paging_access_get(lock, gfn_of(4)), ACCESS_READ | ACCESS_WRITE);
    end(w);
}

/* The walk reads tables, and writes them when it sets A or D. */
static void a_walk_needs_rights_on_the_tables(void **state)
{
    struct world *w = four_levels(false);

    (void)state;
    rights(w, 4, 1, ACCESS_READ);
    touch(w, PAGE << 12, 0);
    assert_int_equal(w->counts.refused_walks, 1); /* A in the leaf table */
    rights(w, 4, 1, ACCESS_ALL);
    touch(w, PAGE << 12, 0);
    rights(w, 4, 1, ACCESS_READ);
    touch(w, PAGE << 12, 0);
    assert_int_equal(w->counts.refused_walks, 1);
    touch(w, PAGE << 12, ACC_WRITE);
    assert_int_equal(w->counts.refused_walks, 2); /* D */
    rights(w, 3, 1, ACCESS_NONE);
    touch(w, (PAGE + 1) << 12, 0);
    assert_int_equal(w->counts.refused_walks, 3);
    end(w);
}

/* There the processor walks, and is told of what it has written when it has. */
static void a_walk_under_nested_paging_is_told_only_if_it_writes(void **state)
{
    struct world *w = four_levels(true);

    (void)state;
    rights(w, 4, 1, ACCESS_READ);
    touch(w, PAGE << 12, 0);
    assert_int_equal(w->counts.told, 1);
    touch(w, PAGE << 12, 0);
    assert_int_equal(w->counts.told, 1);
    assert_true(w->counts.stepped >= 2);
    touch(w, PAGE << 12, ACC_WRITE);
    assert_int_equal(w->counts.told, 2);
    end(w);
}

/* The frame is open to the walk, so only what changes can be told, as if by the walk. */
static void a_write_to_a_table_of_its_own_walk_is_told_if_it_changes_it(void **state)
{
    struct world *w = four_levels(true);

    (void)state;
    touch(w, 4 << 12, ACC_WRITE); /* no A or D is left to set */
    rights(w, 4, 1, ACCESS_READ);
    store(w, 4 << 12 | 0xff0, 0);
    assert_int_equal(w->counts.told, 0);
    store(w, 4 << 12 | 0xff0, 1);
    assert_int_equal(w->counts.told, 1);
    assert_int_equal(w->counts.refused, 0);
    end(w);
}

/* Nothing is asked, what hardware cannot say is opened, and all is as it was when it is done. */
static void what_is_excused_happens_once_and_changes_no_rights(void **state)
{
    static const struct {
        bool     nested;
        unsigned acc;
    } cases[] = { { false, ACC_WRITE }, { false, ACC_FETCH }, { true, ACC_WRITE }, { true, 0 } };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world        *w = four_levels(cases[i].nested);
        struct paging_vcpu  *v = &w->vcpu[0].core;
        struct paging_locked lock = { &w->domain };
        struct fault         f = { gva_of(PAGE << 12), cases[i].acc, false };
        struct verdict       d;

        touch(w, PAGE << 12, ACC_WRITE); /* no A or D is left to set */
        rights(w, PAGE, 1, ACCESS_NONE);
        v->excused = true;
        d = paging_fault(lock, v, &f);
        assert_true(d.kind == VERDICT_RETRY && d.step && !d.again);
        v->excused = false;
        d = paging_step_done(lock, v);
        assert_true(d.kind == VERDICT_RETRY && !d.again && d.flush != FLUSH_NONE);
        assert_int_equal(paging_access_get(lock, gfn_of(PAGE)), ACCESS_NONE);
        assert_int_equal(paging_fault(lock, v, &f).kind, VERDICT_ACCESS);
        end(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_access_needs_its_right),
        cmocka_unit_test(a_new_root_that_may_not_be_read_is_not_walked_unseen),
        cmocka_unit_test(a_link_that_is_written_there_is_not_walked_unseen),
        cmocka_unit_test(mappings_that_there_are_lose_what_is_taken_away),
        cmocka_unit_test(a_default_holds_for_all_and_its_end_as_well),
        cmocka_unit_test(a_large_leaf_is_split_where_rights_differ),
        cmocka_unit_test(rights_change_by_the_access_that_they_are_for),
        cmocka_unit_test(what_is_refused_changes_the_rights_of_no_table),
        cmocka_unit_test(a_walk_needs_rights_on_the_tables),
        cmocka_unit_test(a_walk_under_nested_paging_is_told_only_if_it_writes),
        cmocka_unit_test(a_write_to_a_table_of_its_own_walk_is_told_if_it_changes_it),
        cmocka_unit_test(what_is_excused_happens_once_and_changes_no_rights),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
