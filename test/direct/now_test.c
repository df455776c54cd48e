/* test: with paging/ test/direct/world.c */
/* Updates of leaf entries that are made as a list: direct_update_now. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "story.h"

static uint32_t refs_of(unsigned frame)
{
    return w.frame[frame].refs & REFS_COUNT;
}

/* Leaf tables in 1 and 2, one of the next level in 3. */
static int fresh(void **state)
{
    (void)state;
    world_init(&w, 10, 2, 0);
    w.machine.quick = true;
    assert_int_equal(on(DIRECT_PIN, 1, TYPE_L1), DIRECT_DONE);
    assert_int_equal(on(DIRECT_PIN, 2, TYPE_L1), DIRECT_DONE);
    assert_int_equal(on(DIRECT_PIN, 3, TYPE_L2), DIRECT_DONE);
    return 0;
}

static struct direct_store store(unsigned table, unsigned index, uint64_t value)
{
    return (struct direct_store){ (uint64_t)table << PAGE_SHIFT | index * 8, value };
}

static unsigned now(const struct direct_store *list, unsigned count)
{
    return direct_update_now(&w.vcpu[0], list, count, 64);
}

static void tables_are_held_for_their_updates_only(void **state)
{
    const struct direct_store list[] = {
        store(1, 0, ENTRY(5, RW)), store(1, 511, ENTRY(5, RO)), store(2, 7, ENTRY(5, RW)),
        store(1, 1, ENTRY(6, RO)), store(1, 0, ENTRY(5, RO)),   store(2, 7, 0),
    };

    (void)state;
    assert_int_equal(now(list, 6), 6);
    assert_int_equal(*world_entry(&w, 1, 0), ENTRY(5, RO));
    assert_int_equal(*world_entry(&w, 1, 511), ENTRY(5, RO));
    assert_int_equal(*world_entry(&w, 1, 1), ENTRY(6, RO));
    assert_int_equal(*world_entry(&w, 2, 7), 0);
    assert_int_equal(type_of(1).count, 1);
    assert_int_equal(type_of(2).count, 1);
    assert_int_equal(refs_of(1), 1);
    assert_int_equal(type_of(5).count, 0);
    assert_int_equal(refs_of(5), 2);
}

/* What is the machine's to refuse, or to do step by step, ends the list before it. */
static void a_list_ends_before_what_is_not_usual(void **state)
{
    static const uint64_t values[] = {
        ENTRY(1, RW),             /* a table */
        ENTRY(10, RO),            /* no memory */
        ENTRY(5, RO | PTE_PS),    /* another cache, since it is PAT here */
        ENTRY(5, RO) | 1ull << 3, /* the same */
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct direct_store list[] = { store(1, 0, ENTRY(6 + i % 2, RW)), store(1, 1, values[i]),
                                       store(1, 2, ENTRY(6, RW)) };

        assert_int_equal(now(list, 3), 1);
        assert_int_equal(*world_entry(&w, 1, 0), list[0].value);
        assert_int_equal(*world_entry(&w, 1, 1) | *world_entry(&w, 1, 2), 0);
        assert_false(direct_unfinished(&w.vcpu[0]));
    }
    assert_int_equal(type_of(1).count, 1);
}

static void only_live_leaf_tables_are_updated_so(void **state)
{
    const unsigned others[] = { 3, 4, 10, 1000000 };

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct direct_store s = store(others[i], 0, 0);

        assert_int_equal(now(&s, 1), 0);
    }
    struct direct_store s = store(1, 0, ENTRY(5, RO));

    w.machine.quick = false;
    assert_int_equal(now(&s, 1), 0);
    w.machine.quick = true;
    w.frame[1].owner = w.domain[1].id;
    assert_int_equal(now(&s, 1), 0);
    w.frame[1].owner = w.domain[0].id;
    w.frame[5].owner = w.domain[1].id;
    assert_int_equal(now(&s, 1), 0);
    w.frame[5].owner = w.domain[0].id;
    assert_int_equal(now(&s, 1), 1);
}

/* A and D of the old entry, if that is asked for; bits that decide nothing need no references. */
static void what_is_alike_is_exchanged(void **state)
{
    struct direct_store s = store(1, 4, ENTRY(5, RW | PTE_A | PTE_D));

    (void)state;
    assert_int_equal(now(&s, 1), 1);
    s = store(1, 4, ENTRY(5, RW | PTE_NX));
    s.at |= DIRECT_AT_PRESERVE;
    assert_int_equal(now(&s, 1), 1);
    assert_int_equal(*world_entry(&w, 1, 4), ENTRY(5, RW | PTE_NX | PTE_A | PTE_D));
    s.at &= ~DIRECT_AT_PRESERVE;
    s.value = ENTRY(5, PTE_P | PTE_W);
    assert_int_equal(now(&s, 1), 1);
    assert_int_equal(*world_entry(&w, 1, 4), ENTRY(5, RW | PTE_KERNEL));
    assert_int_equal(type_of(5).count, 1);
    assert_int_equal(refs_of(5), 1);
    s.at |= DIRECT_AT_PRESERVE;
    s.value = 0x5000; /* not present: what it says is the guest's business */
    assert_int_equal(now(&s, 1), 1);
    assert_int_equal(*world_entry(&w, 1, 4), 0x5000);
    assert_int_equal(type_of(5).count, 0);
}

/* Where the cache could be read through an entry that is not present, it is for the machine to say. */
static void what_could_leak_is_not_stored(void **state)
{
    struct direct_store s = store(1, 0, ENTRY(5, PTE_NX));

    (void)state;
    w.machine.l1tf_limit = 6;
    assert_int_equal(now(&s, 1), 0);
    assert_int_equal(*world_entry(&w, 1, 0), 0);
    s.value = ENTRY(6, PTE_NX);
    assert_int_equal(now(&s, 1), 1);
}

/* The shadows follow, and only then the old frame is let go. */
static void the_machine_goes_on_where_a_table_has_shadows(void **state)
{
    struct direct_store   list[] = { store(1, 0, ENTRY(5, RW)), store(1, 0, ENTRY(6, RW)),
                                     store(1, 1, ENTRY(7, RW)) };
    struct direct_request r = world_request(&w, DIRECT_UPDATE, 1);
    struct direct_verdict v;

    (void)state;
    assert_int_equal(now(list, 1), 1);
    w.frame[1].guest.shadows = 1;
    assert_int_equal(now(list + 1, 2), 0);
    r.value = ENTRY(6, RW);
    v = direct_do(&w.vcpu[0], &r, 10);
    assert_int_equal(v.status, DIRECT_ASK);
    assert_int_equal(v.ask.kind, DIRECT_ASK_FOLLOW);
    assert_int_equal(v.ask.mfn.raw, 1);
    assert_int_equal(v.ask.index, 0);
    assert_int_equal(*world_entry(&w, 1, 0), ENTRY(6, RW));
    assert_int_equal(refs_of(5), 1);
    assert_int_equal(now(list + 2, 1), 0); /* one thing after the other */
    assert_int_equal(direct_do(&w.vcpu[0], &r, 10).status, DIRECT_DONE);
    w.frame[1].guest.shadows = 0;
    assert_int_equal(refs_of(5), 0);
    assert_int_equal(*world_entry(&w, 1, 1), 0);
}

/* Here a root that was left: whatever an earlier call has left goes first. */
static void nothing_is_done_while_something_is_to_be_released(void **state)
{
    const struct direct_store s = store(1, 0, ENTRY(7, RO));
    struct direct_vcpu       *v = &w.vcpu[0];
    mfn_t                     old;

    (void)state;
    assert_int_equal(on(DIRECT_ROOT, 4, TYPE_NONE), DIRECT_DONE);
    assert_int_equal(on(DIRECT_PIN, 5, TYPE_L4), DIRECT_DONE);
    assert_true(direct_root_take(v, mfn_of(5), false, &old));
    w.loaded[0][0] = mfn_of(5);
    direct_root_leave(v, old);
    assert_true(direct_unfinished(v));
    assert_int_equal(now(&s, 1), 0);
    world_drain(&w, 0, 1000);
    assert_int_equal(now(&s, 1), 1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fresh, sound)
    const struct CMUnitTest tests[] = {
        CASE(tables_are_held_for_their_updates_only),
        CASE(a_list_ends_before_what_is_not_usual),
        CASE(only_live_leaf_tables_are_updated_so),
        CASE(what_is_alike_is_exchanged),
        CASE(what_could_leak_is_not_stored),
        CASE(the_machine_goes_on_where_a_table_has_shadows),
        CASE(nothing_is_done_while_something_is_to_be_released),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
