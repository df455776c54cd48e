/* test: with paging/ test/model/ */
/*
 * Blowing all tables of ours: it touches as little with many tables as with few, and whatever is
 * needed afterwards is built anew. The worlds of test/model compare every step.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paging/shadow.h"
#include "test/model/story.h"

#define ROOT_A 1
#define ROOT_B 2
#define FLAGS  7 /* present, writable, user */

static const struct world_setup setup = {
    .gfns = 96,
    .spare = 4,
    .pairs = 256,
    .maxphys = 40,
    .audit = 1,
    .tlbs = 1,
};

static void blow(struct world *w)
{
    step(w, (struct op){ .kind = OP_BLOW, .length = 8 });
}

/*
 * Two roots that share tables 3 and 4, and `tables` leaf tables below 4; each maps virtual page
 * i of its 2 MiB to guest frame i.
 */
static struct world *with_tables(unsigned tables)
{
    struct world *w = world_create(&setup);

    assert_string_equal(w->failure, "");
    w->setup.audit = w->setup.tlbs = 0;
    poke(w, ROOT_A, 0, 3 << 12 | FLAGS);
    poke(w, ROOT_B, 0, 3 << 12 | FLAGS);
    leaf_tables(w, tables);
    long_mode(w, ROOT_A);
    w->setup.audit = w->setup.tlbs = 1;
    return w;
}

/* Records of frames and words of memory that a blow changes. */
struct cost {
    unsigned frames, words;
};

static struct cost cost_of_blow(struct world *w)
{
    size_t          frames = WORLD_FRAMES * sizeof(struct frame), bytes = WORLD_FRAMES * PAGE_SIZE;
    struct frame   *before = malloc(frames);
    uint64_t       *memory = malloc(bytes);
    const uint64_t *now = (const uint64_t *)(const void *)w->phys.base;
    struct cost     cost = { 0, 0 };

    assert_true(before && memory);
    memcpy(before, w->phys.frame, frames);
    memcpy(memory, now, bytes);
    assert_false(paging_blow((struct paging_locked){ &w->domain }).again);
    for (unsigned i = 0; i < WORLD_FRAMES; i++)
        cost.frames += memcmp(&before[i], &w->phys.frame[i], sizeof(*before)) != 0;
    for (size_t i = 0; i < bytes / sizeof(*now); i++)
        cost.words += memory[i] != now[i];
    free(before);
    free(memory);
    w->max_lowered = w->domain.lowered;
    return cost;
}

static void the_cost_of_a_blow_does_not_depend_on_the_number_of_tables(void **state)
{
    struct cost cost[2];

    (void)state;
    for (unsigned n = 0; n < 2; n++) {
        unsigned      tables = n == 0 ? 1 : 40;
        struct world *w = with_tables(tables);
        uint64_t      made;

        for (unsigned t = 0; t < tables; t++)
            for (unsigned i = 60; i < 60 + 20 * (n + 1) && i < setup.gfns; i++)
                touch(w, leaf_address(t, i), 0);
        assert_int_equal(w->domain.stats.shadows > 40, n);
        made = w->domain.stats.made;
        cost[n] = cost_of_blow(w);
        assert_int_equal(w->domain.stats.made - made, 2); /* an empty root, and the direct tree's */
        world_free(w);
    }
    assert_int_equal(cost[0].frames, cost[1].frames);
    assert_int_equal(cost[0].words, cost[1].words);
    assert_true(cost[0].frames < 24);
    assert_true(cost[0].words <= 2 * 512 + 16); /* two tables of zeros */
}

static void what_is_used_after_a_blow_is_built_anew(void **state)
{
    struct world *w = with_tables(2);
    uint64_t      faults, made;

    (void)state;
    touch(w, leaf_address(0, 80), ACC_WRITE);
    touch(w, leaf_address(0, 81), ACC_WRITE);
    touch(w, leaf_address(1, 81), ACC_WRITE);
    blow(w);
    faults = w->domain.stats.faults;
    made = w->domain.stats.made;
    touch(w, leaf_address(0, 80), 0);
    assert_int_equal(w->domain.stats.faults - faults, 2); /* the root, and what is below it */
    assert_int_equal(w->domain.stats.made - made + w->domain.stats.freshened, 4);
    assert_true(w->domain.stats.freshened > 0);
    touch(w, leaf_address(0, 81), ACC_WRITE);
    assert_int_equal(w->domain.stats.faults - faults, 3);
    end(w);
}

/* Roots that the vCPU kept may not be used as they are, nor what they share with the new one. */
static void roots_that_were_kept_are_gone(void **state)
{
    struct world *w = with_tables(1);
    uint64_t      hits;

    (void)state;
    touch(w, leaf_address(0, 80), ACC_WRITE);
    set(w, OP_CR3, ROOT_B << 12);
    touch(w, leaf_address(0, 80), ACC_WRITE);
    blow(w);
    hits = w->domain.stats.root_hits;
    set(w, OP_CR3, ROOT_A << 12);
    touch(w, leaf_address(0, 80), ACC_WRITE);
    set(w, OP_CR3, ROOT_B << 12);
    touch(w, leaf_address(0, 80), ACC_WRITE);
    assert_int_equal(w->domain.stats.root_hits, hits);
    end(w);
}

static void a_table_that_is_written_and_not_used_again_is_no_table(void **state)
{
    struct world *w = with_tables(2);
    uint64_t      writes;

    (void)state;
    touch(w, leaf_address(1, 80), 0);
    blow(w);
    store(w, leaf_address(0, STORY_LEAVES + 1) + 80 * 8, 81 << 12 | FLAGS);
    writes = w->domain.stats.writes;
    for (unsigned i = 0; i < 8; i++)
        store(w, leaf_address(0, STORY_LEAVES + 1) + i * 8, 81 << 12 | FLAGS);
    assert_int_equal(w->domain.stats.writes, writes);
    touch(w, leaf_address(1, 80), 0);
    end(w);
}

/*
 * A full table takes several calls, and no entry of before is seen in between. That it is linked
 * at a second place keeps it alive.
 */
static void a_full_table_is_emptied_in_several_steps(void **state)
{
    struct world *w = with_tables(1);
    uint64_t      again;

    (void)state;
    w->setup.audit = w->setup.tlbs = 0;
    for (unsigned i = 0; i < 512; i++)
        poke(w, STORY_LEAVES, i, 40 << 12 | FLAGS);
    poke(w, 3, 1, 5 << 12 | FLAGS);
    poke(w, 5, 0, STORY_LEAVES << 12 | FLAGS);
    touch(w, UINT64_C(1) << 30, 0);
    for (unsigned i = 0; i < 512; i++)
        touch(w, leaf_address(0, i), 0);
    w->setup.audit = w->setup.tlbs = 1;
    blow(w);
    again = w->counts.again;
    touch(w, leaf_address(0, 3), 0);
    touch(w, UINT64_C(1) << 30, 0);
    assert_in_range(w->counts.again - again, 512 / (2 * CHANGE_BUDGET), 512 / CHANGE_BUDGET + 2);
    end(w);
}

/* The root that is emptied is not used before it is empty, whoever asks for it. */
static void a_full_root_is_emptied_in_several_steps(void **state)
{
    struct world *w = with_tables(1);
    uint64_t      again;

    (void)state;
    w->setup.audit = w->setup.tlbs = 0;
    for (uint64_t i = 0; i < 250; i++) {
        poke(w, ROOT_A, (unsigned)i, 3 << 12 | FLAGS);
        touch(w, i << 39 | leaf_address(0, 80), 0);
    }
    w->setup.audit = w->setup.tlbs = 1;
    blow(w);
    again = w->counts.again;
    touch(w, UINT64_C(7) << 39 | leaf_address(0, 80), ACC_WRITE);
    assert_int_equal(w->counts.again - again, 250 / CHANGE_BUDGET);
    blow(w);
    set(w, OP_CR3, ROOT_B << 12);
    set(w, OP_CR3, ROOT_A << 12);
    touch(w, UINT64_C(9) << 39 | leaf_address(0, 80), ACC_WRITE);
    end(w);
}

/* Two entries of a leaf table are written in a row, and then it is the guest's. */
static struct world *out_of_sync(void)
{
    struct world *w = with_tables(2);

    touch(w, leaf_address(1, 80), ACC_WRITE);
    store(w, leaf_address(0, STORY_LEAVES + 1) + 80 * 8, 81 << 12 | FLAGS);
    store(w, leaf_address(0, STORY_LEAVES + 1) + 81 * 8, 81 << 12 | FLAGS);
    store(w, leaf_address(0, STORY_LEAVES + 1) + 82 * 8, 82 << 12 | FLAGS);
    assert_int_equal(w->domain.unsynced.count, 1);
    return w;
}

static void a_table_out_of_sync_is_seen_as_it_is_now(void **state)
{
    struct world *w = out_of_sync();

    (void)state;
    blow(w);
    assert_int_equal(w->domain.unsynced.count, 0);
    assert_int_equal(w->domain.idle.count, 1);
    store(w, leaf_address(0, STORY_LEAVES + 1) + 80 * 8, 83 << 12 | FLAGS);
    assert_int_equal(w->domain.idle.count, 1);
    touch(w, leaf_address(1, 80), ACC_WRITE);
    touch(w, leaf_address(1, 82), ACC_WRITE);
    assert_int_equal(w->domain.idle.count, 0);
    store(w, leaf_address(0, STORY_LEAVES + 1) + 80 * 8, 84 << 12 | FLAGS);
    touch(w, leaf_address(1, 80), ACC_WRITE);
    end(w);
}

static void a_table_out_of_sync_may_be_blown_twice(void **state)
{
    struct world *w = out_of_sync();

    (void)state;
    blow(w);
    touch(w, leaf_address(0, STORY_LEAVES + 1), ACC_WRITE);
    blow(w);
    step(w, (struct op){ .kind = OP_UNSHADOW, .length = 8, .va = STORY_LEAVES + 1 });
    assert_int_equal(w->domain.idle.count, 0);
    touch(w, leaf_address(1, 82), ACC_WRITE);
    end(w);
}

static void a_vcpu_with_paging_off_gets_a_new_direct_tree(void **state)
{
    struct world *w = world_create(&setup);

    (void)state;
    touch(w, 0x5000, ACC_WRITE);
    blow(w);
    step(w, (struct op){ .kind = OP_P2M, .acc = MMU_RAM, .length = 8, .va = 5, .value = 98 });
    touch(w, 0x5000, ACC_WRITE);
    touch(w, 0x6000, ACC_WRITE);
    end(w);
}

/* Memory for the empty roots is made free first, and until there is some nothing is blown. */
static void a_blow_without_a_free_frame_finds_memory_first(void **state)
{
    struct world  *w = with_tables(40);
    mfn_t          held[256];
    unsigned       count = 0, calls = 0;
    uint64_t       generation = w->domain.generation;
    struct verdict verdict;

    (void)state;
    for (unsigned t = 0; t < 40; t++)
        touch(w, leaf_address(t, 80), 0);
    while (w->domain.pool.free_pairs > 0)
        held[count++] = pool_pair(&w->domain.pool);
    do {
        assert_int_equal(w->domain.generation, generation);
        verdict = paging_blow((struct paging_locked){ &w->domain });
        assert_int_equal(verdict.kind, VERDICT_RETRY);
        assert_true(calls++ < 10);
    } while (verdict.again);
    assert_int_equal(w->domain.generation, generation + 1);
    w->max_lowered = w->domain.lowered;
    while (count > 0)
        pool_put_pair(&w->domain.pool, held[--count]);
    touch(w, leaf_address(1, 80), ACC_WRITE);
    end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cost_of_a_blow_does_not_depend_on_the_number_of_tables),
        cmocka_unit_test(what_is_used_after_a_blow_is_built_anew),
        cmocka_unit_test(roots_that_were_kept_are_gone),
        cmocka_unit_test(a_table_that_is_written_and_not_used_again_is_no_table),
        cmocka_unit_test(a_full_table_is_emptied_in_several_steps),
        cmocka_unit_test(a_full_root_is_emptied_in_several_steps),
        cmocka_unit_test(a_table_out_of_sync_is_seen_as_it_is_now),
        cmocka_unit_test(a_table_out_of_sync_may_be_blown_twice),
        cmocka_unit_test(a_blow_without_a_free_frame_finds_memory_first),
        cmocka_unit_test(a_vcpu_with_paging_off_gets_a_new_direct_tree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
