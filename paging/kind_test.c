/* test: with paging/ test/model/ */
/*
 * The kind of paging changes while the guest is in the middle of something. The worlds of
 * test/model compare every step, under both kinds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paging/shadow.h"
#include "test/model/story.h"

#define ROOT  1
#define FLAGS 7 /* present, writable, user */

static const struct world_setup setup = {
    .gfns = 96,
    .spare = 4,
    .pairs = 256,
    .maxphys = 40,
    .audit = 1,
    .tlbs = 1,
};

static void kind(struct world *w, enum paging_kind kind)
{
    set(w, OP_KIND, kind == PAGING_NESTED);
    assert_int_equal(w->domain.kind, kind);
}

/* Leaf tables below one of the second level; each maps page i of its 2 MiB to guest frame i. */
static struct world *with_tables(unsigned tables)
{
    struct world *w = world_create(&setup);

    assert_string_equal(w->failure, "");
    w->setup.audit = w->setup.tlbs = 0;
    poke(w, ROOT, 0, 3 << 12 | FLAGS);
    leaf_tables(w, tables);
    long_mode(w, ROOT);
    w->setup.audit = w->setup.tlbs = 1;
    return w;
}

static void work(struct world *w)
{
    for (unsigned calls = 0; !paging_work((struct paging_locked){ &w->domain }, 64); calls++)
        assert_true(calls < 1000);
}

/* Its shadows of before are still there, and say nothing any more. */
static void the_guest_writes_its_tables_unseen_under_nested_paging(void **state)
{
    struct world *w = with_tables(2);
    uint64_t      emulated;

    (void)state;
    for (unsigned i = 60; i < 80; i++)
        touch(w, leaf_address(1, i), ACC_WRITE);
    kind(w, PAGING_NESTED);
    emulated = w->domain.stats.emulated;
    store(w, leaf_address(0, STORY_LEAVES + 1) + 70 * 8, 81 << 12 | FLAGS);
    store(w, leaf_address(0, STORY_LEAVES + 1) + 71 * 8, 0);
    store(w, leaf_address(0, 4) + 0 * 8, (STORY_LEAVES + 0) << 12 | FLAGS);
    touch(w, leaf_address(1, 70), ACC_WRITE);
    touch(w, leaf_address(1, 71), ACC_WRITE);
    assert_int_equal(w->domain.stats.emulated, emulated);
    assert_true(phys_frame(&w->phys, mfn_of(w->mfn_of_page[STORY_LEAVES + 1]))->guest.shadows != 0);
    kind(w, PAGING_SHADOW);
    for (unsigned i = 60; i < 80; i++)
        touch(w, leaf_address(1, i), ACC_WRITE);
    end(w);
}

static void shadows_go_in_the_background_under_nested_paging(void **state)
{
    struct world *w = with_tables(20);

    (void)state;
    for (unsigned t = 0; t < 20; t++)
        for (unsigned i = 60; i < 80; i++)
            touch(w, leaf_address(t, i), ACC_WRITE);
    store(w, leaf_address(0, STORY_LEAVES + 1) + 80 * 8, 81 << 12 | FLAGS);
    store(w, leaf_address(0, STORY_LEAVES + 1) + 81 * 8, 81 << 12 | FLAGS);
    store(w, leaf_address(0, STORY_LEAVES + 1) + 82 * 8, 82 << 12 | FLAGS);
    assert_int_equal(w->domain.unsynced.count, 1);
    kind(w, PAGING_NESTED);
    assert_true(w->domain.stats.shadows > 20);
    work(w);
    assert_int_equal(w->domain.stats.shadows, 1); /* the root of the direct tree */
    touch(w, leaf_address(1, 80), ACC_WRITE);
    kind(w, PAGING_SHADOW);
    work(w);
    assert_int_equal(w->domain.stats.shadows, 2); /* and an empty root */
    touch(w, leaf_address(1, 80), ACC_WRITE);
    end(w);
}

static void a_table_out_of_sync_is_seen_as_it_is_after_two_changes(void **state)
{
    struct world *w = with_tables(2);

    (void)state;
    touch(w, leaf_address(1, 80), ACC_WRITE);
    store(w, leaf_address(0, STORY_LEAVES + 1) + 80 * 8, 81 << 12 | FLAGS);
    store(w, leaf_address(0, STORY_LEAVES + 1) + 81 * 8, 81 << 12 | FLAGS);
    store(w, leaf_address(0, STORY_LEAVES + 1) + 82 * 8, 82 << 12 | FLAGS);
    kind(w, PAGING_NESTED);
    touch(w, leaf_address(1, 80), ACC_WRITE);
    store(w, leaf_address(0, STORY_LEAVES + 1) + 80 * 8, 83 << 12 | FLAGS);
    touch(w, leaf_address(1, 80), ACC_WRITE);
    kind(w, PAGING_SHADOW);
    assert_int_equal(w->domain.idle.count, 1);
    touch(w, leaf_address(1, 80), ACC_WRITE);
    touch(w, leaf_address(1, 82), ACC_WRITE);
    assert_int_equal(w->domain.idle.count, 0);
    end(w);
}

/* Three levels: four root entries, the first of which leads to two more. */
static struct world *with_pae(void)
{
    struct world *w = world_create(&setup);

    assert_string_equal(w->failure, "");
    poke(w, ROOT, 0, 2 << 12 | 1);
    poke(w, 2, 0, STORY_LEAVES << 12 | FLAGS);
    poke(w, 3, 0, (STORY_LEAVES + 1) << 12 | FLAGS);
    for (unsigned i = 0; i < setup.gfns; i++) {
        poke(w, STORY_LEAVES, i, (uint64_t)i << 12 | FLAGS);
        poke(w, STORY_LEAVES + 1, i, (uint64_t)(i ^ 1) << 12 | FLAGS);
    }
    set(w, OP_EFER, 0x800);
    set(w, OP_CR4, 0x20);
    set(w, OP_CR3, ROOT << 12);
    set(w, OP_CR0, 0x80010011);
    touch(w, leaf_address(0, 80), ACC_WRITE);
    kind(w, PAGING_NESTED);
    touch(w, leaf_address(0, 80), ACC_WRITE);
    return w;
}

static void root_entries_of_pae_are_latched_by_the_change(void **state)
{
    struct world *w = with_pae();

    (void)state;
    poke(w, ROOT, 0, 3 << 12 | 1);
    kind(w, PAGING_SHADOW);
    assert_int_equal(w->vcpu[0].core.pdpte[0], 3 << 12 | 1);
    touch(w, leaf_address(0, 80), ACC_WRITE);
    poke(w, ROOT, 0, 2 << 12 | 1); /* not looked at until CR3 is loaded */
    touch(w, leaf_address(0, 81), ACC_WRITE);
    end(w);
}

/* Nobody can be told at the change: they fault when used, as they did before it. */
static void root_entries_with_reserved_bits_fault_when_they_are_used(void **state)
{
    struct world *w = with_pae();
    uint64_t      reserved;

    (void)state;
    poke(w, ROOT, 0, 2 << 12 | FLAGS);
    poke(w, ROOT, 1, 2 << 12 | 1);
    kind(w, PAGING_SHADOW);
    reserved = w->counts.reserved;
    touch(w, leaf_address(0, 80), ACC_WRITE);
    assert_int_equal(w->counts.reserved - reserved, 1);
    touch(w, UINT64_C(1) << 30 | leaf_address(0, 80), ACC_WRITE);
    assert_int_equal(w->counts.reserved - reserved, 1);
    end(w);
}

static void guards_end_with_shadow_paging(void **state)
{
    struct world *w = with_tables(1);

    (void)state;
    touch(w, leaf_address(0, 80), ACC_WRITE);
    step(w, (struct op){ .kind = OP_GUARD, .length = 8, .va = leaf_address(0, 80), .value = 103 });
    touch(w, leaf_address(0, 80), ACC_WRITE);
    assert_true(w->counts.guarded > 0);
    kind(w, PAGING_NESTED);
    assert_false(phys_frame(&w->phys, mfn_of(w->mfn_of_page[80]))->guest.guarded);
    touch(w, leaf_address(0, 80), ACC_WRITE);
    kind(w, PAGING_SHADOW);
    touch(w, leaf_address(0, 80), ACC_WRITE);
    end(w);
}

static void memory_is_in_large_leaves_although_shadowed_tables_are_in_it(void **state)
{
    const struct world_setup large = {
        .gfns = 96,
        .spare = 4,
        .pairs = 256,
        .maxphys = 40,
        .large = true,
        .audit = 1,
        .tlbs = 1,
    };
    struct world *w = world_create(&large);

    (void)state;
    poke(w, ROOT, 0, 3 << 12 | FLAGS);
    poke(w, 3, 0, 4 << 12 | FLAGS);
    poke(w, 4, 0, (uint64_t)(WORLD_LARGE + 7) << 12 | FLAGS); /* a leaf table in the block */
    poke(w, WORLD_LARGE + 7, 0, (uint64_t)(WORLD_LARGE + 9) << 12 | FLAGS);
    long_mode(w, ROOT);
    touch(w, 0, ACC_WRITE);
    assert_int_equal(w->domain.stats.leaves[1], 0);
    kind(w, PAGING_NESTED);
    touch(w, 0, ACC_WRITE);
    assert_int_equal(w->domain.stats.leaves[1], 1);
    kind(w, PAGING_SHADOW);
    touch(w, 0, ACC_WRITE);
    touch(w, 0, 0);
    work(w);
    assert_int_equal(w->domain.stats.leaves[1], 0);
    end(w);
}

static void a_guest_without_paging_goes_there_and_back(void **state)
{
    struct world *w = world_create(&setup);

    (void)state;
    kind(w, PAGING_NESTED);
    touch(w, 0x5000, ACC_WRITE);
    kind(w, PAGING_SHADOW);
    touch(w, 0x5000, ACC_WRITE);
    step(w, (struct op){ .kind = OP_P2M, .acc = MMU_RAM, .length = 8, .va = 5, .value = 98 });
    touch(w, 0x5000, ACC_WRITE);
    end(w);
}

static void the_kind_that_is_there_is_no_change(void **state)
{
    struct world  *w = with_tables(1);
    struct verdict verdict;

    (void)state;
    touch(w, leaf_address(0, 80), ACC_WRITE);
    verdict = paging_set_kind((struct paging_locked){ &w->domain }, PAGING_SHADOW);
    assert_int_equal(verdict.kind, VERDICT_RETRY);
    assert_int_equal(verdict.flush, FLUSH_NONE);
    assert_int_equal(w->domain.generation, 0);
    end(w);
}

/* Records of frames that a change writes; words of memory are those of the tables it makes. */
static unsigned cost_of(struct world *w, enum paging_kind to)
{
    size_t        bytes = WORLD_FRAMES * sizeof(struct frame);
    struct frame *before = malloc(bytes);
    unsigned      n = 0;

    assert_non_null(before);
    memcpy(before, w->phys.frame, bytes);
    assert_false(paging_set_kind((struct paging_locked){ &w->domain }, to).again);
    for (unsigned i = 0; i < WORLD_FRAMES; i++)
        n += memcmp(&before[i], &w->phys.frame[i], sizeof(*before)) != 0;
    free(before);
    w->max_lowered = w->domain.lowered;
    return n;
}

static void the_cost_of_a_change_does_not_depend_on_the_number_of_tables(void **state)
{
    unsigned there[2], back[2];

    (void)state;
    for (unsigned n = 0; n < 2; n++) {
        unsigned      tables = n == 0 ? 1 : 40;
        struct world *w = with_tables(tables);

        for (unsigned t = 0; t < tables; t++)
            touch(w, leaf_address(t, 60), 0);
        there[n] = cost_of(w, PAGING_NESTED);
        for (unsigned t = 0; t < tables; t++)
            touch(w, leaf_address(t, 60), 0);
        back[n] = cost_of(w, PAGING_SHADOW);
        world_free(w);
    }
    assert_int_equal(there[0], there[1]);
    assert_int_equal(back[0], back[1]);
    assert_true(there[0] < 24 && back[0] < 24);
}

/* Memory for the new roots is made free first, and until there is some nothing has changed. */
static void a_change_without_a_free_frame_finds_memory_first(void **state)
{
    struct world  *w = with_tables(40);
    mfn_t          held[256];
    unsigned       count = 0, calls = 0;
    struct verdict verdict;

    (void)state;
    for (unsigned t = 0; t < 40; t++)
        touch(w, leaf_address(t, 80), 0);
    while (w->domain.pool.free_pairs > 0)
        held[count++] = pool_pair(&w->domain.pool);
    do {
        assert_int_equal(w->domain.kind, PAGING_SHADOW);
        verdict = paging_set_kind((struct paging_locked){ &w->domain }, PAGING_NESTED);
        assert_int_equal(verdict.kind, VERDICT_RETRY);
        assert_true(calls++ < 10);
    } while (verdict.again);
    assert_int_equal(w->domain.kind, PAGING_NESTED);
    w->max_lowered = w->domain.lowered;
    while (count > 0)
        pool_put_pair(&w->domain.pool, held[--count]);
    touch(w, leaf_address(1, 80), ACC_WRITE);
    end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_guest_writes_its_tables_unseen_under_nested_paging),
        cmocka_unit_test(shadows_go_in_the_background_under_nested_paging),
        cmocka_unit_test(a_table_out_of_sync_is_seen_as_it_is_after_two_changes),
        cmocka_unit_test(root_entries_of_pae_are_latched_by_the_change),
        cmocka_unit_test(root_entries_with_reserved_bits_fault_when_they_are_used),
        cmocka_unit_test(guards_end_with_shadow_paging),
        cmocka_unit_test(memory_is_in_large_leaves_although_shadowed_tables_are_in_it),
        cmocka_unit_test(a_guest_without_paging_goes_there_and_back),
        cmocka_unit_test(the_kind_that_is_there_is_no_change),
        cmocka_unit_test(the_cost_of_a_change_does_not_depend_on_the_number_of_tables),
        cmocka_unit_test(a_change_without_a_free_frame_finds_memory_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
