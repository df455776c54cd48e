/* test: with paging/p2m.c paging/pool.c */
/* The p2m against a plain array, with every allocation made to fail once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paging/p2m.h"

#define FRAMES 256

static _Alignas(4096) uint8_t memory[FRAMES * PAGE_SIZE];
static struct frame      frames[FRAMES];
static const struct phys phys = { memory, FRAMES, frames, NULL, NULL };
static struct pool       pool;
static struct p2m        p2m;

static void fresh(unsigned pairs)
{
    memset(frames, 0, sizeof(frames));
    pool_init(&pool, &phys, 1);
    for (unsigned i = 0; i < pairs; i++)
        pool_add(&pool, mfn_of(2 + 2 * i));
    assert_true(p2m_init(&p2m, &pool));
}

static struct p2m_entry ram(uint64_t mfn, uint8_t order)
{
    return (struct p2m_entry){ mfn_of(mfn), P2M_RAM, order };
}

static void an_empty_p2m_is_one_hole(void **state)
{
    (void)state;
    fresh(8);
    assert_int_equal(p2m_get(&p2m, gfn_of(0)).type, P2M_HOLE);
    assert_int_equal(p2m_get(&p2m, gfn_of(12345)).type, P2M_HOLE);
    assert_false(mfn_valid(p2m_get(&p2m, gfn_of(7)).mfn));
}

static void beyond_the_widest_address_there_is_a_hole_that_cannot_be_filled(void **state)
{
    const uint64_t beyond[] = { UINT64_C(1) << 28, UINT64_C(0xffffffffff), ~UINT64_C(0) };

    (void)state;
    fresh(8);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(p2m_get(&p2m, gfn_of(beyond[i])).type, P2M_HOLE);
        assert_false(p2m_set(&p2m, gfn_of(beyond[i]), ram(5, 0)));
    }
    assert_true(p2m_set(&p2m, gfn_of((UINT64_C(1) << 28) - 1), ram(5, 0)));
    assert_int_equal(p2m_get(&p2m, gfn_of((UINT64_C(1) << 28) - 1)).mfn.raw, 5);
    assert_int_equal(p2m_get(&p2m, gfn_of((UINT64_C(1) << 36 | UINT64_C(1) << 28) - 1)).type,
                     P2M_HOLE); /* the same places in the tree */
}

static void a_block_that_is_not_aligned_is_refused(void **state)
{
    (void)state;
    fresh(8);
    assert_false(p2m_set(&p2m, gfn_of(1), ram(512, 9)));
    assert_false(p2m_set(&p2m, gfn_of(512), ram(512, 5)));
    assert_false(p2m_set(&p2m, gfn_of(0), ram(0, 27)));
}

static void a_block_keeps_what_is_around_a_changed_page(void **state)
{
    (void)state;
    fresh(8);
    assert_true(p2m_set(&p2m, gfn_of(512), ram(0x1000, 9)));
    assert_int_equal(p2m_get(&p2m, gfn_of(700)).order, 9);
    assert_int_equal(p2m_get(&p2m, gfn_of(700)).mfn.raw, 0x1000 + 188);
    assert_true(p2m_set(&p2m, gfn_of(700), (struct p2m_entry){ MFN_NONE, P2M_DEVICE, 0 }));
    assert_int_equal(p2m_get(&p2m, gfn_of(700)).type, P2M_DEVICE);
    assert_int_equal(p2m_get(&p2m, gfn_of(699)).mfn.raw, 0x1000 + 187);
    assert_int_equal(p2m_get(&p2m, gfn_of(701)).mfn.raw, 0x1000 + 189);
    assert_int_equal(p2m_get(&p2m, gfn_of(699)).order, 0);
    assert_int_equal(p2m.pages, 511);
}

static void a_block_over_small_pages_gives_their_nodes_back(void **state)
{
    uint32_t before;

    (void)state;
    fresh(8);
    assert_true(p2m_set(&p2m, gfn_of(512), ram(0x1000, 9)));
    before = pool_free_frames(&pool);
    assert_true(p2m_set(&p2m, gfn_of(600), ram(9, 0)));
    assert_int_equal(pool_free_frames(&pool), before - 1);
    assert_true(p2m_set(&p2m, gfn_of(512), ram(0x1000, 9)));
    assert_int_equal(pool_free_frames(&pool), before);
    assert_int_equal(p2m.pages, 512);
}

static void when_memory_is_short_nothing_changes(void **state)
{
    (void)state;
    for (unsigned singles = 1; singles <= 4; singles++) {
        fresh(4);
        assert_true(p2m_set(&p2m, gfn_of(0), ram(0x40000, 18)));
        while (pool_free_frames(&pool) >= singles)
            assert_true(mfn_valid(pool_single(&pool, FRAME_SNAPSHOT)));
        if (p2m_set(&p2m, gfn_of(5), ram(9, 0)))
            assert_int_equal(p2m_get(&p2m, gfn_of(5)).mfn.raw, 9);
        else
            assert_int_equal(p2m_get(&p2m, gfn_of(5)).mfn.raw, 0x40005);
        assert_int_equal(p2m_get(&p2m, gfn_of(6)).mfn.raw, 0x40006);
        assert_int_equal(p2m_get(&p2m, gfn_of(1000)).mfn.raw, 0x40000 + 1000);
        assert_int_equal(p2m.pages, 1 << 18);
    }
}

static void the_reaper_gives_every_frame_back_within_its_budget(void **state)
{
    unsigned calls = 0;

    (void)state;
    fresh(32);
    for (uint64_t i = 0; i < 20; i++)
        assert_true(p2m_set(&p2m, gfn_of(i << 9), ram(i + 1, 0)));
    while (!p2m_reap(&p2m, 3))
        assert_true(++calls < 100);
    assert_true(calls >= 5);
    assert_int_equal(pool_free_frames(&pool), pool.total);
    assert_true(p2m_reap(&p2m, 1));
}

static struct {
    uint64_t      mfn;
    enum p2m_type type;
} model[2048];

/* As many holes as there are in a row, at most to the end of the 2 MiB, where one node ends. */
static void assert_holes(uint64_t base, unsigned at)
{
    uint64_t holes = p2m_holes(&p2m, gfn_of(base + at)), count = 0;

    while (at + count < 2048 && model[at + count].type == P2M_HOLE)
        count++;
    assert_true(holes <= count || at + count == 2048);
    assert_true(holes >= count || (at + holes) % 512 == 0);
    assert_true(holes != 0 || count == 0);
}

/* Pages of 4 KiB and blocks of 2 MiB over four of the latter. */
static void it_agrees_with_an_array(void **state)
{
    const uint64_t base = UINT64_C(1) << 20;
    uint64_t       end = 0;

    (void)state;
    fresh(32);
    srand(2);
    for (unsigned step = 0; step < 3000; step++) {
        uint8_t       order = rand() % 20 ? 0 : 9;
        uint64_t      at = (uint64_t)(rand() % 2048) & ~((UINT64_C(1) << order) - 1);
        enum p2m_type type = (enum p2m_type)(rand() % 4);
        bool          memory_there = type == P2M_RAM || type == P2M_ROM;
        uint64_t      mfn = (uint64_t)(rand() % 64) << 9, pages = 0;

        assert_true(
            p2m_set(&p2m, gfn_of(base + at),
                    (struct p2m_entry){ memory_there ? mfn_of(mfn) : MFN_NONE, type, order }));
        for (uint64_t i = 0; i < UINT64_C(1) << order; i++) {
            model[at + i].mfn = mfn + i;
            model[at + i].type = type;
            end = type != P2M_HOLE && at + i >= end ? at + i + 1 : end;
        }
        for (unsigned i = 0; i < 2048; i++) {
            struct p2m_entry e = p2m_get(&p2m, gfn_of(base + i));

            pages += model[i].type == P2M_RAM;
            assert_holes(base, i);
            assert_int_equal(e.type, model[i].type);
            if (e.type == P2M_RAM || e.type == P2M_ROM)
                assert_int_equal(e.mfn.raw, model[i].mfn);
            else
                assert_false(mfn_valid(e.mfn));
        }
        assert_int_equal(p2m.pages, pages);
        assert_int_equal(p2m.end, end == 0 ? 0 : base + end);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_p2m_is_one_hole),
        cmocka_unit_test(beyond_the_widest_address_there_is_a_hole_that_cannot_be_filled),
        cmocka_unit_test(a_block_that_is_not_aligned_is_refused),
        cmocka_unit_test(a_block_keeps_what_is_around_a_changed_page),
        cmocka_unit_test(a_block_over_small_pages_gives_their_nodes_back),
        cmocka_unit_test(when_memory_is_short_nothing_changes),
        cmocka_unit_test(the_reaper_gives_every_frame_back_within_its_budget),
        cmocka_unit_test(it_agrees_with_an_array),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
