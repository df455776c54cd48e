/* test: with paging/ test/model/ */
/*
 * Stories of ways through our tables that were found before, and of faults that end there at once: what
 * the guest changes on the way is seen by the next access. All is done in two worlds
 * (test/model/world.h), which must not differ; besides it is asserted that a way was kept.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paging/way.h"
#include "test/model/story.h"

#define ROOT   1
#define OTHER  2 /* another root */
#define FLAGS  7 /* present, writable, user */
#define USED   0x67
#define BRANCH (UINT64_C(1) << 39) /* by entry 1 of the root */
#define LARGE  (BRANCH + (UINT64_C(1) << 21))

static const struct world_setup setup = {
    .gfns = 96,
    .spare = 4,
    .pairs = 128,
    .maxphys = 40,
    .gb1 = true,
    .audit = 1,
    .tlbs = 1,
};

static bool is_kept(const struct world *w, uint64_t va)
{
    return way_kept(&w->vcpu[0].core, gva_of(va)) != NULL;
}

/* Tables 6 to 8 lead from entry 1 of the root to frame 0x20; what follows is not there. */
static struct world *with_a_branch(void)
{
    struct world *w = world_create(&setup);

    assert_string_equal(w->failure, "");
    identity_tables(w, ROOT, (unsigned)setup.gfns);
    poke(w, ROOT, 1, 6 << 12 | FLAGS);
    poke(w, 6, 0, 7 << 12 | FLAGS);
    poke(w, 7, 0, 8 << 12 | FLAGS);
    poke(w, 8, 0, 0x20 << 12 | FLAGS);
    for (unsigned i = 0; i < 8; i++) /* another leaf table, in which more is there */
        poke(w, 11, i, (0x30 + i) << 12 | FLAGS);
    long_mode(w, ROOT);
    touch(w, BRANCH, ACC_WRITE);
    touch(w, BRANCH + 0x1000, ACC_WRITE); /* the guest's own fault */
    assert_true(is_kept(w, BRANCH));
    return w;
}

static void what_is_found_again_is_what_a_walk_would_find(void **state)
{
    struct world *w = with_a_branch();
    uint64_t      walks = w->domain.stats.reflected;

    (void)state;
    for (unsigned acc = 0; acc <= (ACC_WRITE | ACC_USER); acc++)
        if (acc == (acc & (ACC_WRITE | ACC_USER)))
            touch(w, BRANCH + 0x2000, acc);
    assert_int_equal(w->domain.stats.reflected, walks + 4);
    store(w, 0x8010, 0x21 << 12 | 1); /* read only, and the supervisor's */
    for (unsigned acc = 0; acc <= (ACC_WRITE | ACC_USER); acc++)
        if (acc == (acc & (ACC_WRITE | ACC_USER)))
            touch(w, BRANCH + 0x2000, acc);
    store(w, 0x8010, UINT64_C(1) << 51 | 0x21 << 12 | 7); /* reserved bits */
    touch(w, BRANCH + 0x2000, ACC_USER);
    store(w, 0x7000, 8 << 12 | 1); /* the same for all below it */
    touch(w, BRANCH, ACC_USER);
    touch(w, BRANCH, ACC_WRITE);
    touch(w, BRANCH, ACC_WRITE);
    end(w);
}

static void another_leaf_table(void **state)
{
    struct world *w = with_a_branch();

    (void)state;
    store(w, 0x7000, 11 << 12 | FLAGS);
    touch(w, BRANCH + 0x1000, ACC_WRITE);
    touch(w, BRANCH + 0x2000, ACC_WRITE);
    assert_true(is_kept(w, BRANCH));
    end(w);
}

static void another_table_above_it(void **state)
{
    struct world *w = with_a_branch();

    (void)state;
    poke(w, 12, 0, 11 << 12 | FLAGS);
    store(w, 0x6000, 12 << 12 | FLAGS);
    touch(w, BRANCH + 0x1000, ACC_WRITE);
    store(w, 0x6000, 7 << 12 | FLAGS);
    touch(w, BRANCH + 0x1000, ACC_WRITE);
    end(w);
}

static void another_root(void **state)
{
    struct world *w = with_a_branch();

    (void)state;
    identity_tables(w, OTHER, (unsigned)setup.gfns);
    poke(w, OTHER, 1, 13 << 12 | FLAGS);
    poke(w, 13, 0, 14 << 12 | FLAGS);
    poke(w, 14, 0, 11 << 12 | FLAGS);
    set(w, OP_CR3, OTHER << 12);
    touch(w, BRANCH + 0x1000, ACC_WRITE);
    set(w, OP_CR3, ROOT << 12);
    touch(w, BRANCH + 0x1000, ACC_WRITE);
    touch(w, 0x10000, 0);
    set(w, OP_CR3, OTHER << 12);
    touch(w, 0x11000, 0);
    touch(w, 0x12000, 0);
    assert_true(is_kept(w, 0));
    set(w, OP_CR3, ROOT << 12);
    assert_true(is_kept(w, 0)); /* what they share */
    end(w);
}

static void a_large_page_and_a_table_take_turns(void **state)
{
    struct world *w = with_a_branch();

    (void)state;
    poke(w, 7, 1, 0x80 | FLAGS);
    touch(w, LARGE + 0x20000, ACC_WRITE);
    store(w, LARGE + 0x8010, 0x21 << 12 | FLAGS); /* a write to a table, through the large page */
    store(w, LARGE + 0x8010, 0);
    assert_true(is_kept(w, LARGE));
    touch(w, BRANCH + 0x2000, ACC_WRITE);
    store(w, 0x7008, 11 << 12 | FLAGS);
    touch(w, LARGE + 0x1000, ACC_WRITE);
    touch(w, LARGE + 0x8000, ACC_WRITE);
    assert_true(is_kept(w, LARGE));
    store(w, 0x7008, 0x80 | FLAGS);
    touch(w, LARGE + 0x8000, 0);
    store(w, LARGE + 0x8010, 0x22 << 12 | FLAGS);
    touch(w, BRANCH + 0x2000, ACC_WRITE);
    end(w);
}

/* A table that was freed and made again may stand for another one, or for the map of memory. */
static void what_the_last_table_stands_for_is_asked_again(void **state)
{
    struct world       *w = with_a_branch();
    struct paging_vcpu *v = &w->vcpu[0].core;
    struct frame       *last = shadow_of(&w->domain, mfn_of(way_kept(v, gva_of(BRANCH))->table));
    struct paging_root *root = &v->root[v->current];

    (void)state;
    last->shadow.format = PT_DIRECT;
    assert_false(is_kept(w, BRANCH));
    last->shadow.format = PT_64;
    root->format = PT_LA57; /* where the same bits of an address name another entry */
    assert_false(is_kept(w, BRANCH));
    root->format = PT_64;
    assert_true(is_kept(w, BRANCH));
    end(w);
}

/* The short way is still kept when there is a longer one: the entry is no page's. */
static void a_table_where_a_large_page_was_is_walked_through(void **state)
{
    struct world *w = with_a_branch();

    (void)state;
    poke(w, 11, 8, 12 << 12 | USED); /* its own entry 8; 12 is a table, as 8 is */
    poke(w, 12, 0, 0x20 << 12 | USED);
    poke(w, 7, 1, 0xe0 | FLAGS);
    poke(w, 7, 2, 11 << 12 | USED);
    poke(w, 7, 3, 12 << 12 | USED);
    touch(w, LARGE + 0x200000, 0);
    touch(w, LARGE + 0x208000, 0);
    touch(w, LARGE + 0x400000, 0);
    touch(w, LARGE + 0x20000, ACC_WRITE);
    store(w, LARGE + 0x8010, 0x21 << 12 | FLAGS); /* to table 8, which stays in sync */
    assert_true(is_kept(w, LARGE));
    store(w, 0x7008, 11 << 12 | USED); /* linked at once: it is a table in use */
    assert_true(is_kept(w, LARGE));
    store(w, LARGE + 0x8008, 0x23 << 12 | USED);
    touch(w, LARGE + 0x401000, 0);
    end(w);
}

static void the_first_write_to_a_table_sets_d(void **state)
{
    struct world *w = with_a_branch();

    (void)state;
    poke(w, 5, 8, 8 << 12 | FLAGS | 0x20); /* no D */
    touch(w, 0x8000, 0);
    touch(w, 0x60000, 0); /* the guest's own fault */
    touch(w, 0x60000, 0);
    assert_true(is_kept(w, 0x8000));
    store(w, 0x8010, 0x11 << 12 | FLAGS | 0x10); /* such a value is stored without a walk */
    end(w);
}

static void without_wp_there_is_none(void **state)
{
    struct world *w = with_a_branch();

    (void)state;
    store(w, 0x8010, 0x21 << 12 | 0x61); /* read only: a supervisor may write without WP */
    set(w, OP_CR0, 0x80000011);
    touch(w, BRANCH + 0x2000, ACC_WRITE);
    set(w, OP_CR0, 0x80010011);
    touch(w, BRANCH + 0x2000, ACC_WRITE);
    end(w);
}

static void a_table_that_was_unlinked_is_written_freely(void **state)
{
    struct world *w = with_a_branch();

    (void)state;
    store(w, 0x8008, 0x22 << 12 | USED); /* at once, and followed at once */
    touch(w, BRANCH + 0x1000, ACC_WRITE);
    store(w, 0x8010, 0x23 << 12 | USED); /* in a row: it goes out of sync */
    store(w, 0x8018, 0x24 << 12 | USED);
    touch(w, BRANCH + 0x3000, ACC_WRITE);
    store(w, 0x8018, 0);
    set(w, OP_CR3, ROOT << 12);
    touch(w, BRANCH + 0x3000, ACC_WRITE);
    store(w, 0x7000, 0);
    store(w, 0x8000, 0);
    touch(w, BRANCH, ACC_WRITE);
    end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_found_again_is_what_a_walk_would_find),
        cmocka_unit_test(another_leaf_table),
        cmocka_unit_test(another_table_above_it),
        cmocka_unit_test(another_root),
        cmocka_unit_test(a_large_page_and_a_table_take_turns),
        cmocka_unit_test(what_the_last_table_stands_for_is_asked_again),
        cmocka_unit_test(a_table_where_a_large_page_was_is_walked_through),
        cmocka_unit_test(the_first_write_to_a_table_sets_d),
        cmocka_unit_test(without_wp_there_is_none),
        cmocka_unit_test(a_table_that_was_unlinked_is_written_freely),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
