/* test: with paging/pool.c */
/* The pool: pairs, halves, and the way back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paging/pool.h"

#define FRAMES 64
#define OWNER  3

static _Alignas(4096) uint8_t memory[FRAMES * PAGE_SIZE];
static struct frame      frames[FRAMES];
static const struct phys phys = { memory, FRAMES, frames, NULL, NULL };

static void fresh(struct pool *pool, unsigned pairs)
{
    memset(memory, 0xaa, sizeof(memory));
    memset(frames, 0, sizeof(frames));
    pool_init(pool, &phys, OWNER);
    for (unsigned i = 0; i < pairs; i++)
        pool_add(pool, mfn_of(2 + 2 * i));
}

static bool all_zero(mfn_t mfn)
{
    const uint8_t *p = phys_ptr(&phys, mfn);

    for (unsigned i = 0; i < PAGE_SIZE; i++)
        if (p[i] != 0)
            return false;
    return true;
}

static void a_pool_without_frames_gives_nothing(void **state)
{
    struct pool pool;

    (void)state;
    fresh(&pool, 0);
    assert_false(mfn_valid(pool_pair(&pool)));
    assert_false(mfn_valid(pool_single(&pool, FRAME_P2M)));
    assert_false(mfn_valid(pool_remove(&pool)));
    assert_int_equal(pool_free_frames(&pool), 0);
}

static void a_pair_is_a_cleared_table_with_links_beside_it(void **state)
{
    struct pool pool;

    (void)state;
    fresh(&pool, 2);

    mfn_t a = pool_pair(&pool);

    assert_true(mfn_valid(a));
    assert_int_equal(a.raw % 2, 0);
    assert_int_equal(frames[a.raw].kind, FRAME_SHADOW);
    assert_int_equal(frames[a.raw + 1].kind, FRAME_LINKS);
    assert_int_equal(frames[a.raw].owner, OWNER);
    assert_true(all_zero(a));
    assert_int_equal(pool.free_pairs, 1);
}

static void a_pair_that_came_back_empty_is_not_cleared_again(void **state)
{
    struct pool pool;

    (void)state;
    fresh(&pool, 1);

    mfn_t     a = pool_pair(&pool);
    uint64_t *word = phys_ptr(&phys, a);

    pool_put_empty_pair(&pool, a);
    word[7] = 1; /* so it is seen */
    assert_true(mfn_eq(pool_pair(&pool), a));
    assert_int_equal(word[7], 1);
    pool_put_pair(&pool, a);
    assert_true(mfn_eq(pool_pair(&pool), a));
    assert_int_equal(word[7], 0);
    pool_put_empty_pair(&pool, a);

    mfn_t half = pool_single(&pool, FRAME_SNAPSHOT), other = pool_single(&pool, FRAME_SNAPSHOT);

    word[7] = 1; /* what was in halves is not known */
    pool_put_single(&pool, half);
    pool_put_single(&pool, other);
    assert_true(mfn_eq(pool_pair(&pool), a));
    assert_int_equal(word[7], 0);
}

static void two_halves_of_a_pair_come_from_one_and_make_it_whole_again(void **state)
{
    struct pool pool;

    (void)state;
    fresh(&pool, 1);

    mfn_t a = pool_single(&pool, FRAME_P2M), b = pool_single(&pool, FRAME_SNAPSHOT);

    assert_int_equal(a.raw ^ b.raw, 1);
    assert_int_equal(frames[a.raw].kind, FRAME_P2M);
    assert_int_equal(frames[b.raw].kind, FRAME_SNAPSHOT);
    assert_true(all_zero(a)); /* the other is written as a whole */
    assert_false(mfn_valid(pool_single(&pool, FRAME_P2M)));
    pool_put_single(&pool, a);
    assert_false(mfn_valid(pool_pair(&pool)));
    pool_put_single(&pool, b);
    assert_int_equal(pool.free_pairs, 1);
    assert_int_equal(pool.free_singles, 0);
    assert_true(mfn_valid(pool_pair(&pool)));
}

static void a_pair_that_was_removed_is_the_hypervisors(void **state)
{
    struct pool pool;

    (void)state;
    fresh(&pool, 3);

    mfn_t a = pool_remove(&pool);

    assert_int_equal(frames[a.raw].kind, FRAME_HV);
    assert_int_equal(frames[a.raw + 1].kind, FRAME_HV);
    assert_int_equal(pool.total, 4);
    assert_int_equal(pool_free_frames(&pool), 4);
}

static void the_low_mark_remembers_the_worst_moment(void **state)
{
    struct pool pool;

    (void)state;
    fresh(&pool, 4);

    mfn_t a = pool_pair(&pool), b = pool_single(&pool, FRAME_P2M);

    assert_int_equal(pool.low, 5);
    pool_put_pair(&pool, a);
    pool_put_single(&pool, b);
    assert_int_equal(pool.low, 5);
    assert_int_equal(pool_free_frames(&pool), 8);
}

/* Random use, and at the end everything is whole again. */
static void nothing_is_lost_or_given_twice(void **state)
{
    struct pool pool;
    mfn_t       held[FRAMES];
    bool        pair[FRAMES], taken[FRAMES] = { false };
    unsigned    n = 0;

    (void)state;
    fresh(&pool, 16);
    srand(1);
    for (unsigned step = 0; step < 20000; step++) {
        if (rand() % 2 && n < FRAMES) {
            pair[n] = rand() % 3 == 0;
            held[n] = pair[n] ? pool_pair(&pool) : pool_single(&pool, FRAME_P2M);
            if (!mfn_valid(held[n]))
                continue;
            for (unsigned i = 0; i <= pair[n]; i++) {
                assert_false(taken[held[n].raw + i]);
                taken[held[n].raw + i] = true;
            }
            n++;
        } else if (n > 0) {
            unsigned k = (unsigned)rand() % n;

            for (unsigned i = 0; i <= pair[k]; i++)
                taken[held[k].raw + i] = false;
            if (pair[k])
                pool_put_pair(&pool, held[k]);
            else
                pool_put_single(&pool, held[k]);
            held[k] = held[--n];
            pair[k] = pair[n];
        }
    }
    while (n-- > 0) {
        if (pair[n])
            pool_put_pair(&pool, held[n]);
        else
            pool_put_single(&pool, held[n]);
    }
    assert_int_equal(pool.free_pairs, 16);
    assert_int_equal(pool.free_singles, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_without_frames_gives_nothing),
        cmocka_unit_test(a_pair_is_a_cleared_table_with_links_beside_it),
        cmocka_unit_test(a_pair_that_came_back_empty_is_not_cleared_again),
        cmocka_unit_test(two_halves_of_a_pair_come_from_one_and_make_it_whole_again),
        cmocka_unit_test(a_pair_that_was_removed_is_the_hypervisors),
        cmocka_unit_test(the_low_mark_remembers_the_worst_moment),
        cmocka_unit_test(nothing_is_lost_or_given_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
