/* test: with paging/ test/direct/world.c */
/* Direct paging, case by case: what each operation answers, asks for, and leaves behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "story.h"

static int fresh(void **state)
{
    (void)state;
    world_init(&w, 10, 2, 0);
    return 0;
}

static int fresh_and_quick(void **state)
{
    (void)fresh(state);
    w.machine.quick = w.machine.wide = true;
    return 0;
}

static struct direct_verdict set(unsigned frame, unsigned index, uint64_t value)
{
    struct direct_request r = world_request(&w, DIRECT_UPDATE, frame);

    r.index = index;
    r.value = value;
    return world_do(&w, 0, &r, 1000);
}

static void the_word_keeps_what_is_put_into_it(void **state)
{
    const struct type types[] = {
        { .kind = TYPE_L3,
          .count = 1,
          .partial = true,
          .cursor = 511,
          .half = true,
          .linear = 512 },
        { .kind = TYPE_L4,
          .count = 7,
          .validated = true,
          .pinned = true,
          .linear = -TYPE_LINEAR_MAX },
        { .kind = TYPE_SEGMENTS, .count = 1, .partial = true, .cursor = 1023 },
        { .kind = TYPE_WRITABLE, .count = TYPE_COUNT_MAX, .validated = true },
        { .kind = TYPE_L1 },
    };
    const uint32_t stamps[] = { 0, 0, 0, 0xffffffff, 0x80000001 };

    (void)state;
    for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        struct type put = stamps[i] != 0 ? type_stamped(types[i], stamps[i]) : types[i];
        struct type t = type_unpack(put.word);

        assert_int_equal(t.kind, types[i].kind);
        assert_int_equal(t.count, types[i].count);
        assert_int_equal(t.validated, types[i].validated);
        assert_int_equal(t.partial, types[i].partial);
        assert_int_equal(t.pinned, types[i].pinned);
        if (stamps[i] != 0) {
            assert_int_equal(type_stamp(t), stamps[i]);
            continue;
        }
        assert_int_equal(t.cursor, types[i].cursor);
        assert_int_equal(t.half, types[i].half);
        assert_int_equal(t.linear, types[i].linear);
    }
}

static void the_guests_kernel_gets_its_entries_back_as_it_wrote_them(void **state)
{
    (void)state;
    *world_entry(&w, 1, 0) = ENTRY(2, PTE_P | PTE_W);
    *world_entry(&w, 1, 1) = ENTRY(2, RO | PTE_NX);
    assert_int_equal(on(DIRECT_PIN, 1, TYPE_L1), DIRECT_DONE);
    assert_int_equal(*world_entry(&w, 1, 0), ENTRY(2, RW | PTE_KERNEL));
    assert_int_equal(*world_entry(&w, 1, 1), ENTRY(2, RO | PTE_NX));
    assert_int_equal(on(DIRECT_UNPIN, 1, 0), DIRECT_DONE);
    assert_int_equal(*world_entry(&w, 1, 0), ENTRY(2, PTE_P | PTE_W));
}

/* Guests look at inner entries for bits that they do not know. */
static void above_level_1_only_u_is_added(void **state)
{
    (void)state;
    *world_entry(&w, 1, 0) = ENTRY(2, PTE_P | PTE_W);
    assert_int_equal(on(DIRECT_PIN, 1, TYPE_L2), DIRECT_DONE);
    assert_int_equal(*world_entry(&w, 1, 0), ENTRY(2, RW));
    assert_int_equal(set(1, 1, ENTRY(2, PTE_P | PTE_W)).status, DIRECT_DONE);
    assert_int_equal(*world_entry(&w, 1, 1), ENTRY(2, RW));
    assert_int_equal(on(DIRECT_UNPIN, 1, 0), DIRECT_DONE);
    assert_int_equal(*world_entry(&w, 1, 0), ENTRY(2, RW));
}

static void a_refused_table_leaves_no_trace(void **state)
{
    uint8_t before[4 * PAGE_SIZE];

    (void)state;
    *world_entry(&w, 1, 7) = ENTRY(2, RW);
    *world_entry(&w, 2, 9) = ENTRY(3, PTE_P | PTE_W);
    *world_entry(&w, 2, 10) = ENTRY(3, RW | PTE_PS); /* PAT */
    memcpy(before, w.memory, sizeof(before));
    assert_int_equal(on(DIRECT_PIN, 1, TYPE_L2), DIRECT_REFUSED);
    assert_memory_equal(before, w.memory, sizeof(before));
    for (unsigned f = 1; f < 4; f++) {
        assert_int_equal(type_of(f).count, 0);
        assert_int_equal(w.frame[f].refs, REFS_ALLOCATED | REFS_DIRECT);
    }
}

static void a_table_is_never_mapped_writable(void **state)
{
    (void)state;
    assert_int_equal(on(DIRECT_PIN, 1, TYPE_L1), DIRECT_DONE);
    assert_int_equal(set(1, 0, ENTRY(1, RW)).error, DIRECT_TYPED);
    assert_int_equal(set(1, 0, ENTRY(1, RO)).status, DIRECT_DONE);
    assert_int_equal(set(1, 0, ENTRY(1, RW)).status, DIRECT_REFUSED);
    assert_int_equal(set(1, 1, ENTRY(2, RW)).status, DIRECT_DONE);
    assert_int_equal(on(DIRECT_PIN, 2, TYPE_L1), DIRECT_REFUSED);
}

static void frames_of_others_are_mapped_only_if_the_edge_says_so(void **state)
{
    struct direct_request r = world_request(&w, DIRECT_UPDATE, 1);

    (void)state;
    w.frame[5].owner = w.domain[1].id;
    assert_int_equal(on(DIRECT_PIN, 1, TYPE_L1), DIRECT_DONE);
    assert_int_equal(set(1, 0, ENTRY(5, RO)).status, DIRECT_REFUSED);
    r.value = ENTRY(5, RW);
    r.from = w.domain[1].id;
    assert_int_equal(world_do(&w, 0, &r, 10).status, DIRECT_DONE);
    assert_int_equal(type_of(5).kind, TYPE_WRITABLE);
    r.value = ENTRY(6, RW);
    assert_int_equal(world_do(&w, 0, &r, 10).status, DIRECT_REFUSED);
    /* A frame that its domain gives up stays until the mapping goes. */
    assert_int_equal(direct_release(&w.domain[1], mfn_of(5)), DIRECT_OK);
    assert_false(mfn_valid(direct_freed(&w.machine)));
    assert_int_equal(set(1, 0, 0).status, DIRECT_DONE);
    assert_int_equal(direct_freed(&w.machine).raw, 5);
    assert_int_equal(direct_release(&w.domain[1], mfn_of(5)), DIRECT_INVALID);
}

static void the_hypervisors_slots_are_written_and_not_the_guests(void **state)
{
    (void)state;
    *world_entry(&w, 1, DIRECT_SLOT_FIRST) = 0xdead;
    assert_int_equal(on(DIRECT_PIN, 1, TYPE_L4), DIRECT_DONE);
    assert_int_equal(*world_entry(&w, 1, DIRECT_SLOT_FIRST), w.machine.slots[0].raw);
    assert_int_not_equal(w.machine.slots[0].raw, 0);
    assert_int_equal(set(1, DIRECT_SLOT_FIRST, 0).status, DIRECT_REFUSED);
    assert_int_equal(set(1, DIRECT_SLOT_FIRST + DIRECT_SLOTS - 1, 0).status, DIRECT_REFUSED);
    assert_int_equal(set(1, DIRECT_SLOT_FIRST + DIRECT_SLOTS, 0).status, DIRECT_DONE);
}

static void changes_above_level_1_are_flushed_and_refused_ones_are_not(void **state)
{
    (void)state;
    assert_int_equal(on(DIRECT_PIN, 1, TYPE_L2), DIRECT_DONE);
    assert_false(set(1, 0, ENTRY(2, RW)).flush_all); /* nothing was there to be remembered */
    assert_false(set(1, 0, ENTRY(3, RW | PTE_PS)).flush_all);
    assert_false(set(2, 0, ENTRY(3, RW)).flush_all);
    assert_false(set(2, 0, 0).flush_all);
    assert_true(set(1, 0, ENTRY(4, RW)).flush_all);
    assert_true(set(1, 0, 0).flush_all);
}

static void an_emulated_write_needs_a_leaf_table_that_is_as_it_was_read(void **state)
{
    struct direct_request r = world_request(&w, DIRECT_UPDATE, 1);

    (void)state;
    r.flags = DIRECT_EXPECT | DIRECT_LEAF;
    r.value = ENTRY(2, RO);
    assert_int_equal(world_do(&w, 0, &r, 10).status, DIRECT_REFUSED); /* plain memory */
    assert_int_equal(on(DIRECT_PIN, 1, TYPE_L1), DIRECT_DONE);
    r.expect = ENTRY(3, RO);
    assert_int_equal(world_do(&w, 0, &r, 10).error, DIRECT_CHANGED);
    r.expect = 0;
    assert_int_equal(world_do(&w, 0, &r, 10).status, DIRECT_DONE);
    assert_int_equal(on(DIRECT_PIN, 4, TYPE_L2), DIRECT_DONE);
    r.mfn = mfn_of(4);
    assert_int_equal(world_do(&w, 0, &r, 10).error, DIRECT_TYPED);
}

static void an_update_waits_for_a_table_that_is_being_validated(void **state)
{
    struct direct_request r = world_request(&w, DIRECT_UPDATE, 1);
    struct direct_request pin = world_request(&w, DIRECT_PIN, 1);

    (void)state;
    *world_entry(&w, 1, 0) = ENTRY(2, RW);
    pin.kind = TYPE_L1;
    direct_begin(&w.vcpu[1], &pin, 10000);
    while (!type_is_busy(type_of(1)))
        assert_true(direct_step(&w.vcpu[1]));
    assert_int_equal(direct_do(&w.vcpu[0], &r, 10).status, DIRECT_AGAIN);
    while (direct_step(&w.vcpu[1]))
        continue;
    assert_int_equal(direct_end(&w.vcpu[1]).status, DIRECT_DONE);
    assert_int_equal(direct_do(&w.vcpu[0], &r, 10).status, DIRECT_DONE);
    assert_int_equal(*world_entry(&w, 1, 0), 0);
}

/* Nobody goes on with it: it cannot be updated, but it can be validated by anybody else. */
static void a_table_that_is_left_partial_is_taken_over(void **state)
{
    struct direct_request pin = world_request(&w, DIRECT_PIN, 1);

    (void)state;
    *world_entry(&w, 1, 0) = ENTRY(2, RW);
    *world_entry(&w, 2, 3) = ENTRY(3, RW);
    pin.kind = TYPE_L2;
    assert_int_equal(direct_do(&w.vcpu[1], &pin, 3).status, DIRECT_AGAIN);
    world_drain(&w, 1, 10);
    assert_true(type_of(1).partial && type_of(1).half && type_of(2).partial);
    assert_int_equal(set(1, 0, 0).error, DIRECT_UNFINISHED);
    assert_int_equal(set(5, 0, ENTRY(2, RW)).status, DIRECT_DONE); /* plain memory */
    assert_int_equal(on(DIRECT_PIN, 5, TYPE_L2), DIRECT_DONE);
    assert_int_equal(type_of(2).count, 1);
    assert_int_equal(on(DIRECT_PIN, 1, TYPE_L2), DIRECT_DONE);
    assert_int_equal(type_of(2).count, 2);
}

static void a_frame_is_stolen_only_if_nobody_holds_it(void **state)
{
    (void)state;
    assert_int_equal(on(DIRECT_PIN, 1, TYPE_SEGMENTS - 4), DIRECT_DONE);
    assert_int_equal(direct_steal(&w.domain[0], mfn_of(1)), DIRECT_TYPED);
    assert_int_equal(set(1, 0, ENTRY(2, RO)).status, DIRECT_DONE);
    assert_int_equal(direct_steal(&w.domain[0], mfn_of(2)), DIRECT_TYPED);
    assert_int_equal(set(1, 0, 0).status, DIRECT_DONE);
    assert_int_equal(direct_steal(&w.domain[1], mfn_of(2)), DIRECT_INVALID);
    assert_int_equal(direct_steal(&w.domain[0], mfn_of(2)), DIRECT_OK);
    assert_int_equal(direct_steal(&w.domain[0], mfn_of(2)), DIRECT_INVALID);
    assert_int_equal(set(1, 0, ENTRY(2, RO)).status, DIRECT_REFUSED);
}

/* The type of a page of descriptors does not follow the page to its next owner. */
static void a_frame_begins_with_nothing_known_about_it(void **state)
{
    (void)state;
    assert_int_equal(direct_release(&w.domain[0], mfn_of(3)), DIRECT_OK);
    assert_int_equal(direct_freed(&w.machine).raw, 3);
    /* What somebody else kept in the record meanwhile. */
    memset(&w.frame[3].guest, 0x77, sizeof(w.frame[3].guest));
    direct_allocate(&w.domain[0], mfn_of(3));
    for (unsigned i = 0; i < sizeof(w.frame[3].guest); i++)
        assert_int_equal(((const uint8_t *)&w.frame[3].guest)[i], 0);
    assert_int_equal(type_of(3).kind, TYPE_NONE);
}

static void what_nobody_holds_gets_no_reference(void **state)
{
    (void)state;
    assert_int_equal(on(DIRECT_PIN, 1, TYPE_L1), DIRECT_DONE);
    assert_int_equal(set(1, 0, ENTRY(2, RO)).status, DIRECT_DONE);
    assert_int_equal(direct_release(&w.domain[0], mfn_of(2)), DIRECT_OK);
    assert_int_equal(set(1, 1, ENTRY(2, RO)).error, DIRECT_OK);
    assert_int_equal(set(1, 0, 0).status, DIRECT_DONE);
    assert_int_equal(set(1, 1, 0).status, DIRECT_DONE);
    assert_int_equal(set(1, 1, ENTRY(2, RO)).error, DIRECT_INVALID);
    assert_int_equal(direct_freed(&w.machine).raw, 2);
    /* A table is unpinned after it was given back. */
    assert_int_equal(on(DIRECT_PIN, 4, TYPE_L1), DIRECT_DONE);
    assert_int_equal(direct_release(&w.domain[0], mfn_of(4)), DIRECT_OK);
    assert_int_equal(on(DIRECT_UNPIN, 4, 0), DIRECT_DONE);
    assert_int_equal(direct_freed(&w.machine).raw, 4);
    /* Of a guest with paging of another kind: counted otherwise. */
    w.frame[3] = (struct frame){ .kind = FRAME_GUEST, .owner = w.domain[0].id, .refs = 3 };
    assert_int_equal(set(1, 1, ENTRY(3, RO)).error, DIRECT_INVALID);
    assert_int_equal(set(3, 0, 0).error, DIRECT_INVALID);
    assert_int_equal(on(DIRECT_PIN, 3, TYPE_L1), DIRECT_REFUSED);
    w.frame[3].kind = FRAME_FREE;
}

static void a_stolen_or_freed_frame_has_no_type_any_more(void **state)
{
    (void)state;
    assert_int_equal(on(DIRECT_GET, 1, TYPE_SEGMENTS), DIRECT_DONE);
    assert_int_equal(on(DIRECT_PUT, 1, TYPE_SEGMENTS), DIRECT_DONE);
    assert_int_equal(type_of(1).kind, TYPE_SEGMENTS);
    assert_int_equal(direct_steal(&w.domain[0], mfn_of(1)), DIRECT_OK);
    assert_int_equal(type_of(1).kind, TYPE_NONE);
    assert_true(direct_stale_cpus(&w.machine, mfn_of(1)) != 0);
}

static void descriptors_that_would_lead_elsewhere_are_refused(void **state)
{
    struct direct_request r = world_request(&w, DIRECT_DESCRIPTOR, 1);

    (void)state;
    *world_entry(&w, 1, 1) = UINT64_C(0x00af9b000000ffff);
    assert_int_equal(on(DIRECT_GET, 1, TYPE_SEGMENTS), DIRECT_DONE);
    assert_int_equal(*world_entry(&w, 1, 1), UINT64_C(0x00affb000000ffff));
    assert_int_equal(set(1, 0, 0).error, DIRECT_TYPED);
    r.index = 2;
    r.value = UINT64_C(0x00008b0000000067);
    assert_int_equal(world_do(&w, 0, &r, 10).status, DIRECT_REFUSED);
    r.value = UINT64_C(0x00cf93000000ffff);
    assert_int_equal(world_do(&w, 0, &r, 10).status, DIRECT_DONE);
    assert_int_equal(*world_entry(&w, 1, 2), UINT64_C(0x00cff3000000ffff));
    assert_int_equal(on(DIRECT_PUT, 1, TYPE_SEGMENTS), DIRECT_DONE);
    *world_entry(&w, 1, 511) = UINT64_C(0x00008c0000000067); /* a call gate */
    *world_entry(&w, 1, 1) = UINT64_C(0x00af9b000000ffff);
    assert_int_equal(on(DIRECT_GET, 1, TYPE_SEGMENTS), DIRECT_REFUSED);
    assert_int_equal(*world_entry(&w, 1, 1), UINT64_C(0x00af9b000000ffff));
}

static void too_many_references_are_refused(void **state)
{
    struct type t, full;

    (void)state;
    assert_int_equal(on(DIRECT_PIN, 1, TYPE_L1), DIRECT_DONE);
    assert_int_equal(set(1, 0, ENTRY(2, RW)).status, DIRECT_DONE);
    t = type_of(2);
    w.frame[2].guest.type += TYPE_COUNT_MAX - t.count;
    assert_int_equal(set(1, 1, ENTRY(2, RW)).error, DIRECT_OVERFLOW);
    w.frame[2].guest.type -= TYPE_COUNT_MAX - t.count;
    w.frame[3].refs += REFS_MAX;
    assert_int_equal(set(1, 1, ENTRY(3, RO)).error, DIRECT_OVERFLOW);
    w.frame[3].refs -= REFS_MAX;
    /* And one table under too many linear entries. */
    assert_int_equal(on(DIRECT_PIN, 4, TYPE_L2), DIRECT_DONE);
    assert_int_equal(on(DIRECT_PIN, 5, TYPE_L2), DIRECT_DONE);
    t = type_of(5);
    full = t;
    full.linear = -TYPE_LINEAR_MAX;
    w.frame[5].guest.type = full.word;
    assert_int_equal(set(4, 0, ENTRY(5, RO)).error, DIRECT_OVERFLOW);
    w.frame[5].guest.type = t.word;
}

static void whoever_flushed_after_the_stamp_need_not_again(void **state)
{
    (void)state;
    assert_int_equal(on(DIRECT_PIN, 1, TYPE_L1), DIRECT_DONE);
    assert_int_equal(set(1, 0, ENTRY(2, RW)).status, DIRECT_DONE);
    assert_int_equal(set(1, 0, 0).status, DIRECT_DONE);
    assert_int_equal(direct_stale_cpus(&w.machine, mfn_of(2)), 3);
    world_flush_begin(&w, 1);
    world_flush_end(&w, 1);
    assert_int_equal(direct_stale_cpus(&w.machine, mfn_of(2)), 1);
    w.machine.clock = 0xffffffff;
    assert_int_equal(direct_flush_begin(&w.machine), 0);
    assert_int_equal(direct_stale_cpus(&w.machine, mfn_of(2)), 3);
    direct_flush_end(&w.machine, 0, 0);
    direct_flush_end(&w.machine, 1, 0);
    direct_clock_restart(&w.machine);
    assert_int_equal(direct_stale_cpus(&w.machine, mfn_of(2)), 0); /* from before the wrap */
}

static void an_update_lowers_the_shadows_before_the_old_frame_is_released(void **state)
{
    struct direct_request r = world_request(&w, DIRECT_UPDATE, 1);
    struct direct_verdict v;

    (void)state;
    assert_int_equal(on(DIRECT_PIN, 1, TYPE_L1), DIRECT_DONE);
    assert_int_equal(set(1, 3, ENTRY(2, RW)).status, DIRECT_DONE);
    w.frame[1].guest.shadows = 1;
    r.index = 3;
    v = direct_do(&w.vcpu[0], &r, 10);
    assert_int_equal(v.status, DIRECT_ASK);
    assert_int_equal(v.ask.kind, DIRECT_ASK_FOLLOW);
    assert_int_equal(v.ask.mfn.raw, 1);
    assert_int_equal(v.ask.index, 3);
    assert_int_equal(type_of(2).count, 1);
    v = direct_do(&w.vcpu[0], &r, 10);
    assert_int_equal(v.status, DIRECT_DONE);
    assert_int_equal(type_of(2).count, 0);
    w.frame[1].guest.shadows = 0;
}

static void roots_are_loaded_and_taken_away(void **state)
{
    struct direct_request r = world_request(&w, DIRECT_ROOT, 1);

    (void)state;
    assert_int_equal(world_do(&w, 0, &r, 10).status, DIRECT_DONE);
    assert_int_equal(w.loaded[0][0].raw, 1);
    r.user = true;
    assert_int_equal(world_do(&w, 0, &r, 10).status, DIRECT_DONE);
    assert_int_equal(type_of(1).count, 2);
    r.mfn = MFN_NONE;
    assert_int_equal(world_do(&w, 0, &r, 10).status, DIRECT_DONE);
    assert_int_equal(type_of(1).count, 1);
    r.user = false;
    assert_int_equal(world_do(&w, 0, &r, 10).status, DIRECT_REFUSED);
    assert_int_equal(w.vcpu[0].root[0].raw, 1);
}

/* What needs nobody to wait, if the machine may; the last reference of the old one is for the machine. */
static void a_root_is_exchanged_in_one_go(void **state)
{
    struct direct_request r = world_request(&w, DIRECT_ROOT, 1);
    struct direct_vcpu   *v = &w.vcpu[0];
    mfn_t                 old;

    (void)state;
    assert_int_equal(on(DIRECT_PIN, 2, TYPE_L4), DIRECT_DONE);
    assert_false(direct_root_take(v, mfn_of(1), false, &old)); /* nothing yet */
    assert_int_equal(world_do(&w, 0, &r, 10).status, DIRECT_DONE);
    assert_false(direct_root_take(v, mfn_of(1), false, &old)); /* it is the same */
    assert_false(direct_root_take(v, MFN_NONE, true, &old));
    assert_false(direct_root_take(v, mfn_of(UINT64_MAX >> 20), true, &old));
    assert_int_equal(direct_root_take(v, mfn_of(2), false, &old), w.machine.quick);
    if (!w.machine.quick)
        return;
    assert_int_equal(old.raw, 1);
    assert_int_equal(v->root[0].raw, 2);
    assert_int_equal(type_of(1).count, 1);
    assert_int_equal(type_of(2).count, 2);
    w.loaded[0][0] = mfn_of(2);
    direct_root_leave(v, old);
    assert_true(direct_unfinished(v));
    assert_false(direct_root_take(v, mfn_of(1), true, &old));
    assert_false(direct_root_take(v, mfn_of(2), true, &old)); /* first what is left */
    world_drain(&w, 0, 1000);
    assert_int_equal(type_of(1).count, 0);
    assert_true(direct_root_take(v, mfn_of(2), true, &old));
    w.loaded[0][1] = mfn_of(2);
    direct_root_leave(v, old);
    assert_int_equal(type_of(2).count, 3);
}

/* An interrupt handler asks for something else before what was answered is all released. */
static void what_is_left_is_released_by_whatever_comes_next(void **state)
{
    struct direct_request unpin = world_request(&w, DIRECT_UNPIN, 1);
    struct direct_request other = world_request(&w, DIRECT_UPDATE, 5);
    struct direct_request drain = { .op = DIRECT_DRAIN };
    struct direct_verdict v;

    (void)state;
    for (unsigned i = 0; i < 20; i++)
        *world_entry(&w, 1, i) = ENTRY(2, RW);
    assert_int_equal(on(DIRECT_PIN, 1, TYPE_L2), DIRECT_DONE);
    v = direct_do(&w.vcpu[0], &unpin, 15);
    assert_int_equal(v.status, DIRECT_DONE);
    assert_true(v.unfinished && direct_unfinished(&w.vcpu[0]));
    assert_true(type_of(1).partial);
    other.index = DIRECT_ENTRIES;
    v = direct_do(&w.vcpu[0], &other, 1);
    assert_int_equal(v.status, DIRECT_AGAIN);
    v = direct_do(&w.vcpu[0], &drain, 1);
    assert_int_equal(v.status, DIRECT_AGAIN);
    v = direct_do(&w.vcpu[0], &other, 10000);
    assert_int_equal(v.status, DIRECT_REFUSED);
    assert_false(v.unfinished);
    assert_int_equal(type_of(1).count | type_of(2).count, 0);
    v = direct_do(&w.vcpu[0], &drain, 0);
    assert_int_equal(v.status, DIRECT_DONE);
}

static void a_call_stops_at_its_budget(void **state)
{
    struct direct_request pin = world_request(&w, DIRECT_PIN, 1);
    struct direct_request unpin = world_request(&w, DIRECT_UNPIN, 1);
    struct direct_request down = world_request(&w, DIRECT_TEARDOWN, 0);

    (void)state;
    for (unsigned i = 0; i < DIRECT_ENTRIES; i++)
        *world_entry(&w, 1, i) = ENTRY(2, RW);
    pin.kind = TYPE_L1;
    for (unsigned calls = 1; calls <= 51; calls++) {
        assert_int_equal(direct_do(&w.vcpu[0], &pin, 10).status, DIRECT_AGAIN);
        assert_int_equal(type_of(1).cursor, 10 * calls);
        assert_int_equal(type_of(2).count, 10 * calls);
    }
    assert_int_equal(direct_do(&w.vcpu[0], &pin, 10).status, DIRECT_DONE);
    assert_true(direct_do(&w.vcpu[0], &unpin, 10).unfinished);
    assert_int_equal(type_of(1).cursor, DIRECT_ENTRIES - 10);
    w.domain[0].dying = true;
    assert_int_equal(direct_do(&w.vcpu[0], &down, 10000).status, DIRECT_DONE);
    while (mfn_valid(direct_freed(&w.machine)))
        continue;
    assert_int_equal(direct_do(&w.vcpu[0], &down, 3).status, DIRECT_AGAIN);
    assert_int_equal(w.domain[0].scan, 3);
    assert_int_equal(direct_do(&w.vcpu[0], &down, 100).status, DIRECT_DONE);
}

static void the_audit_looks_through_windows(void **state)
{
    struct direct_domain *domains[WORLD_DOMAINS] = { &w.domain[0], &w.domain[1] };
    struct direct_audit   all = { 0 }, parts = { 0 };
    struct direct_tally   tally[10] = { { 0 } };
    struct direct_window  window = { mfn_of(0), 10, tally };

    (void)state;
    *world_entry(&w, 1, 0) = ENTRY(2, RO);
    *world_entry(&w, 2, 0) = ENTRY(3, RW);
    assert_int_equal(on(DIRECT_PIN, 2, TYPE_L2 - 1), DIRECT_DONE);
    assert_int_equal(on(DIRECT_PIN, 1, TYPE_L2), DIRECT_DONE);
    w.frame[3].refs++;
    *world_entry(&w, 2, 1) = ENTRY(4, RW | PTE_PS);
    direct_audit(&w.machine, domains, WORLD_DOMAINS, &window, &all);
    memset(tally, 0, sizeof(tally));
    for (window.frames = 1; window.first.raw < 10; window.first.raw++, window.tally++)
        direct_audit(&w.machine, domains, WORLD_DOMAINS, &window, &parts);
    assert_int_equal(all.violations, 2);
    assert_memory_equal(&all, &parts, offsetof(struct direct_audit, first));
    w.frame[3].refs--;
    *world_entry(&w, 2, 1) = 0;
}

static void what_was_a_table_is_flushed_before_it_is_writable(void **state)
{
    struct direct_request r = world_request(&w, DIRECT_UPDATE, 1);
    struct direct_verdict v;

    (void)state;
    assert_int_equal(on(DIRECT_PIN, 1, TYPE_L1), DIRECT_DONE);
    assert_int_equal(on(DIRECT_PIN, 2, TYPE_L1), DIRECT_DONE);
    assert_int_equal(on(DIRECT_UNPIN, 2, TYPE_NONE), DIRECT_DONE);
    r.value = ENTRY(2, RW);
    v = direct_do(&w.vcpu[0], &r, 10);
    assert_int_equal(v.status, DIRECT_ASK);
    assert_int_equal(v.ask.kind, DIRECT_ASK_FLUSH);
    world_carry_out(&w, &w.vcpu[0]);
    assert_int_equal(world_do(&w, 0, &r, 10).status, DIRECT_DONE);
    assert_true(type_of(2).validated);
}

int main(void)
{
#define TESTS(list) (sizeof(list) / sizeof((list)[0]))
#define CASE(name)  cmocka_unit_test_setup_teardown(name, fresh, sound)
    const struct CMUnitTest tests[] = {
        CASE(the_word_keeps_what_is_put_into_it),
        CASE(the_guests_kernel_gets_its_entries_back_as_it_wrote_them),
        CASE(above_level_1_only_u_is_added),
        CASE(a_refused_table_leaves_no_trace),
        CASE(a_table_is_never_mapped_writable),
        CASE(frames_of_others_are_mapped_only_if_the_edge_says_so),
        CASE(the_hypervisors_slots_are_written_and_not_the_guests),
        CASE(changes_above_level_1_are_flushed_and_refused_ones_are_not),
        CASE(an_emulated_write_needs_a_leaf_table_that_is_as_it_was_read),
        CASE(an_update_waits_for_a_table_that_is_being_validated),
        CASE(a_table_that_is_left_partial_is_taken_over),
        CASE(a_frame_is_stolen_only_if_nobody_holds_it),
        CASE(a_frame_begins_with_nothing_known_about_it),
        CASE(what_nobody_holds_gets_no_reference),
        CASE(a_stolen_or_freed_frame_has_no_type_any_more),
        CASE(descriptors_that_would_lead_elsewhere_are_refused),
        CASE(too_many_references_are_refused),
        CASE(whoever_flushed_after_the_stamp_need_not_again),
        CASE(an_update_lowers_the_shadows_before_the_old_frame_is_released),
        CASE(roots_are_loaded_and_taken_away),
        CASE(a_root_is_exchanged_in_one_go),
        CASE(what_is_left_is_released_by_whatever_comes_next),
        CASE(a_call_stops_at_its_budget),
        CASE(the_audit_looks_through_windows),
        CASE(what_was_a_table_is_flushed_before_it_is_writable),
    };
    struct CMUnitTest both[2 * TESTS(tests)];

    /* Each of them again, in one go. */
    for (size_t i = 0; i < TESTS(both); i++) {
        both[i] = tests[i % TESTS(tests)];
        if (i >= TESTS(tests))
            both[i].setup_func = fresh_and_quick;
    }
    return cmocka_run_group_tests(both, NULL, NULL);
}
