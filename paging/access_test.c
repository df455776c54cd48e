/* test: with paging/access.c paging/pool.c */
/* The tree of the monitor's rights against a plain array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paging/access.h"

#define FRAMES 128
#define GFNS   (5 * ACCESS_LEAF_GFNS)

static _Alignas(4096) uint8_t memory[FRAMES * PAGE_SIZE];
static struct frame      frames[FRAMES];
static const struct phys phys = { .base = memory, .frames = FRAMES, .frame = frames };
static struct pool       pool;
static struct access     a;
static uint8_t           own[GFNS]; /* enum access_type, ACCESS_DEFAULT included */

static void fresh(unsigned pairs)
{
    memset(frames, 0, sizeof(frames));
    memset(own, ACCESS_DEFAULT, sizeof(own));
    pool_init(&pool, &phys, 1);
    for (unsigned i = 0; i < pairs; i++)
        pool_add(&pool, mfn_of(2 + 2 * i));
    access_init(&a, &pool);
}

static void set(uint64_t first, uint64_t count, enum access_type type)
{
    bool full;

    assert_int_equal(access_set(&a, gfn_of(first), count, type, 1000, &full), count);
    assert_false(full);
    if (first + count <= GFNS)
        memset(own + first, type, count);
}

static enum access_type expected(uint64_t gfn)
{
    return own[gfn] == ACCESS_DEFAULT ? (enum access_type)a.fallback : (enum access_type)own[gfn];
}

static void without_rights_of_their_own_all_frames_follow_the_default(void **state)
{
    (void)state;
    fresh(4);
    assert_int_equal(access_get(&a, gfn_of(7)), ACCESS_ALL);
    access_set_default(&a, ACCESS_READ | ACCESS_FETCH);
    assert_int_equal(access_get(&a, gfn_of(7)), ACCESS_READ | ACCESS_FETCH);
    assert_int_equal(access_get(&a, gfn_of(~UINT64_C(0))), ACCESS_READ | ACCESS_FETCH);
    assert_int_equal(pool_free_frames(&pool), 8);
}

static void a_new_default_changes_no_rights_of_a_frames_own(void **state)
{
    (void)state;
    fresh(4);
    set(100, 3, ACCESS_ALL);
    set(103, 1, ACCESS_NONE);
    access_set_default(&a, ACCESS_READ);
    assert_int_equal(access_get(&a, gfn_of(99)), ACCESS_READ);
    assert_int_equal(access_get(&a, gfn_of(102)), ACCESS_ALL);
    assert_int_equal(access_get(&a, gfn_of(103)), ACCESS_NONE);
    set(100, 4, ACCESS_DEFAULT);
    assert_int_equal(access_get(&a, gfn_of(103)), ACCESS_READ);
}

static void rights_beyond_the_widest_address_are_of_no_effect(void **state)
{
    bool full;

    (void)state;
    fresh(4);
    assert_int_equal(access_set(&a, gfn_of(UINT64_C(1) << 40), 5, ACCESS_NONE, 1, &full), 5);
    assert_int_equal(access_set(&a, gfn_of(~UINT64_C(0)), 1, ACCESS_NONE, 1, &full), 1);
    assert_int_equal(access_get(&a, gfn_of(0)), ACCESS_ALL);
    set((UINT64_C(1) << 28) - 1, 1, ACCESS_NONE);
    assert_int_equal(access_get(&a, gfn_of((UINT64_C(1) << 28) - 1)), ACCESS_NONE);
    assert_int_equal(access_get(&a, gfn_of((UINT64_C(1) << 31 | UINT64_C(1) << 28) - 1)),
                     ACCESS_ALL);
}

static void whole_blocks_take_no_leaf(void **state)
{
    (void)state;
    fresh(2);
    set(0, GFNS, ACCESS_READ);
    assert_int_equal(pool_free_frames(&pool), 2);
    set(5, 1, ACCESS_ALL);
    assert_int_equal(pool_free_frames(&pool), 1);
    set(0, GFNS, ACCESS_DEFAULT);
    assert_int_equal(pool_free_frames(&pool), 2);
    assert_int_equal(access_get(&a, gfn_of(5)), ACCESS_ALL);
}

static void a_budget_ends_it_early_and_it_goes_on_from_there(void **state)
{
    bool     full;
    uint64_t done;

    (void)state;
    fresh(8);
    done = access_set(&a, gfn_of(100), 3 * ACCESS_LEAF_GFNS, ACCESS_READ, 2, &full);
    assert_int_equal(done, 2 * ACCESS_LEAF_GFNS - 100);
    assert_false(full);
    assert_int_equal(access_get(&a, gfn_of(100 + done - 1)), ACCESS_READ);
    assert_int_equal(access_get(&a, gfn_of(100 + done)), ACCESS_ALL);
    done += access_set(&a, gfn_of(100 + done), 3 * ACCESS_LEAF_GFNS - done, ACCESS_READ, 9, &full);
    assert_int_equal(done, 3 * ACCESS_LEAF_GFNS);
    assert_int_equal(access_get(&a, gfn_of(100 + done - 1)), ACCESS_READ);
    assert_int_equal(access_get(&a, gfn_of(100 + done)), ACCESS_ALL);
}

/* With every size of the pool: what did not fit is as it was, and it can be tried again. */
static void without_memory_a_step_changes_nothing(void **state)
{
    (void)state;
    for (unsigned pairs = 0; pairs < 4; pairs++) {
        bool     full;
        uint64_t done, count = 4 * ACCESS_LEAF_GFNS - 200;

        fresh(pairs);
        done = access_set(&a, gfn_of(100), count, ACCESS_READ, 100, &full);
        assert_true(full == (pairs < 2));
        assert_int_equal(done, pairs < 2 ? 0 : count);
        for (uint64_t gfn = 0; gfn < GFNS; gfn += 50)
            assert_int_equal(access_get(&a, gfn_of(gfn)),
                             done != 0 && gfn >= 100 && gfn < 100 + count ? ACCESS_READ
                                                                          : ACCESS_ALL);
        while (!access_reap(&a, 1))
            ;
        assert_int_equal(pool_free_frames(&pool), 2 * pairs);
    }
}

static bool is_uniform(uint64_t gfn, unsigned order)
{
    uint64_t size = UINT64_C(1) << order, first = gfn & ~(size - 1);

    for (uint64_t i = first; i < first + size; i++)
        if (expected(i) != expected(first))
            return false;
    return true;
}

static void check_all(void)
{
    for (uint64_t gfn = 0; gfn < GFNS; gfn++)
        assert_int_equal(access_get(&a, gfn_of(gfn)), expected(gfn));
    for (uint64_t gfn = 0; gfn < GFNS; gfn += 512)
        if (access_is_uniform(&a, gfn_of(gfn + 3), 9))
            assert_true(is_uniform(gfn, 9));
}

static void random_sets_agree_with_an_array(void **state)
{
    (void)state;
    srand(5);
    fresh(8);
    for (unsigned i = 0; i < 2000; i++) {
        enum access_type type = (enum access_type)(rand() % (ACCESS_DEFAULT + 1));
        uint64_t         first = (uint64_t)rand() % GFNS, count = (uint64_t)rand() % 40;

        if (rand() % 8 == 0) {
            first &= ~UINT64_C(511);
            count = (uint64_t)(rand() % 4) * ACCESS_LEAF_GFNS / 2;
        }
        if (first + count > GFNS)
            count = GFNS - first;
        set(first, count, type);
        if (rand() % 16 == 0)
            access_set_default(&a, (enum access_type)(rand() % ACCESS_DEFAULT));
        if (i % 32 == 0)
            check_all();
    }
    check_all();
}

static void a_block_is_uniform_when_all_its_frames_are_alike(void **state)
{
    const uint64_t block = 2 * ACCESS_LEAF_GFNS + 512;

    (void)state;
    fresh(8);
    set(block, 512, ACCESS_READ);
    assert_true(access_is_uniform(&a, gfn_of(block + 17), 9));
    assert_true(access_is_uniform(&a, gfn_of(block - 1), 9));
    assert_false(access_is_uniform(&a, gfn_of(block), 18));
    set(block + 511, 1, ACCESS_ALL);
    assert_false(access_is_uniform(&a, gfn_of(block), 9));
    assert_true(access_is_uniform(&a, gfn_of(block), 0));
    set(UINT64_C(1) << 18, UINT64_C(1) << 18, ACCESS_READ);
    assert_true(access_is_uniform(&a, gfn_of(3 * (UINT64_C(1) << 17)), 18));
    set((UINT64_C(1) << 18) + 31 * ACCESS_LEAF_GFNS, ACCESS_LEAF_GFNS, ACCESS_ALL);
    assert_false(access_is_uniform(&a, gfn_of(UINT64_C(1) << 18), 18));
}

static void when_the_tree_goes_everything_is_allowed_and_all_memory_comes_back(void **state)
{
    unsigned calls = 1;

    (void)state;
    fresh(8);
    access_set_default(&a, ACCESS_NONE);
    for (unsigned i = 0; i < 5; i++)
        set(i * ACCESS_LEAF_GFNS + 1, 1, ACCESS_READ);
    for (; !access_reap(&a, 2); calls++)
        assert_int_equal(access_get(&a, gfn_of(1)), ACCESS_ALL);
    assert_int_equal(calls, 3);
    assert_int_equal(pool_free_frames(&pool), 16);
    assert_int_equal(access_get(&a, gfn_of(1)), ACCESS_ALL);
    set(1, 1, ACCESS_READ);
    assert_int_equal(access_get(&a, gfn_of(1)), ACCESS_READ);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_rights_of_their_own_all_frames_follow_the_default),
        cmocka_unit_test(a_new_default_changes_no_rights_of_a_frames_own),
        cmocka_unit_test(rights_beyond_the_widest_address_are_of_no_effect),
        cmocka_unit_test(whole_blocks_take_no_leaf),
        cmocka_unit_test(a_budget_ends_it_early_and_it_goes_on_from_there),
        cmocka_unit_test(without_memory_a_step_changes_nothing),
        cmocka_unit_test(random_sets_agree_with_an_array),
        cmocka_unit_test(a_block_is_uniform_when_all_its_frames_are_alike),
        cmocka_unit_test(when_the_tree_goes_everything_is_allowed_and_all_memory_comes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
