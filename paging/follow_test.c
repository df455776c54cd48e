/* test: with paging/ test/model/ */
/*
 * Stories of what is followed, linked and made writable before anybody asks, and what is not. All is
 * done in two worlds (test/model/world.h); what a test asserts besides is how much work it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paging/shadow.h"
#include "test/model/story.h"

#define ROOT  1
#define FLAGS 7    /* present, writable, user */
#define USED  0x67 /* the same with A and D */

static const struct world_setup setup = {
    .gfns = 96,
    .spare = 4,
    .pairs = 128,
    .maxphys = 40,
    .gb1 = true,
    .audit = 1,
    .tlbs = 1,
};

/* Root 1, tables 3 and 4, and table 5, which maps virtual page i to guest frame i. */
static struct world *four_levels_of(const struct world_setup *s)
{
    struct world *w = world_create(s);

    assert_string_equal(w->failure, "");
    identity_tables(w, ROOT, (unsigned)s->gfns);
    long_mode(w, ROOT);
    return w;
}

static struct world *four_levels(void)
{
    return four_levels_of(&setup);
}

static void changed_entries_around_one_that_is_needed_come_with_it(void **state)
{
    struct world *w = four_levels();
    uint64_t      faults, synced;

    (void)state;
    touch(w, 0x20000, ACC_WRITE);
    for (unsigned i = 96; i < 128; i++) /* the second of these writes lets the table go */
        store(w, 0x5000 + i * 8, 0x20 << 12 | USED);
    assert_int_equal(w->domain.unsynced.count, 1);
    synced = w->domain.stats.synced;
    touch(w, 100 << 12, ACC_WRITE);
    faults = w->domain.stats.faults;
    for (unsigned i = 96; i < 112; i++)
        touch(w, (uint64_t)i << 12, ACC_WRITE);
    assert_int_equal(w->domain.stats.faults, faults);
    touch(w, 112 << 12, 0); /* in another group */
    assert_int_equal(w->domain.stats.faults, faults + 1);
    assert_int_equal(w->domain.stats.synced, synced);
    store(w, 0x5000 + 101 * 8,
          0); /* seen to differ, though it is as it was before the table went */
    set(w, OP_CR3, ROOT << 12);
    touch(w, 101 << 12, 0);
    end(w);
}

/*
 * A world with memory in one piece at guest frame 0x200, which entries of a table that is synchronised
 * usually map. Table 5 is out of sync; frame 0x210 is a table.
 */
static struct world *with_a_table_over_a_block(bool wp)
{
    struct world_setup s = setup;
    struct world      *w;

    s.large = true;
    w = four_levels_of(&s);
    set(w, OP_CR0, wp ? 0x80010011 : 0x80000011);
    poke(w, 4, 1, 0x210 << 12 | FLAGS);
    poke(w, 0x210, 0, 0x22 << 12 | FLAGS);
    touch(w, 0x200000, ACC_WRITE);
    for (unsigned i = 64; i < 68; i++)
        store(w, 0x5000 + i * 8, 0x200 << 12 | USED);
    assert_int_equal(w->domain.unsynced.count, 1);
    return w;
}

/* What the audit after each step says of entries that are followed all at once. */
static void entries_of_a_table_that_is_synchronised_obey_the_rules(void **state)
{
    struct world *w = with_a_table_over_a_block(true);

    (void)state;
    store(w, 0x5000 + 80 * 8, 0x201 << 12 | FLAGS);                    /* not accessed */
    store(w, 0x5000 + 81 * 8, 0x201 << 12 | FLAGS | 0x20);             /* not dirty */
    store(w, 0x5000 + 82 * 8, UINT64_C(1) << 45 | 0x202 << 12 | USED); /* a reserved bit */
    store(w, 0x5000 + 83 * 8, 0x210 << 12 | USED);                     /* a table */
    store(w, 0x5000 + 84 * 8, 0x203 << 12 | USED);
    set(w, OP_CR3, ROOT << 12);
    assert_int_equal(w->domain.unsynced.count, 0);
    for (unsigned i = 80; i < 85; i++)
        touch(w, (uint64_t)i << 12, ACC_WRITE);
    end(w);
}

/* Without EFER.NXE the bit is reserved: nothing else that is reserved in a leaf gets as far as the p2m. */
static void nx_is_reserved_in_a_table_that_is_synchronised(void **state)
{
    struct world *w = with_a_table_over_a_block(true);

    (void)state;
    set(w, OP_EFER, 0x100);
    for (unsigned i = 64; i < 68; i++)
        store(w, 0x5000 + i * 8, 0x200 << 12 | USED);
    assert_int_equal(w->domain.unsynced.count, 1);
    store(w, 0x5000 + 80 * 8, UINT64_C(1) << 63 | 0x202 << 12 | USED);
    set(w, OP_CR3, ROOT << 12);
    touch(w, 80 << 12, 0);
    end(w);
}

/* Without CR0.WP a supervisor writes where W is clear; its tables are not synchronised as others are. */
static void without_wp_a_table_is_synchronised_by_its_own_rules(void **state)
{
    struct world *w = with_a_table_over_a_block(false);
    uint64_t      faults;

    (void)state;
    store(w, 0x5000 + 80 * 8, 0x201 << 12 | 0x61); /* the supervisor's, read only */
    store(w, 0x5000 + 81 * 8, 0x202 << 12 | 0x65);
    set(w, OP_CR3, ROOT << 12);
    assert_int_equal(w->domain.unsynced.count, 0);
    faults = w->domain.stats.faults;
    touch(w, 80 << 12, ACC_WRITE);
    assert_int_equal(w->domain.stats.faults, faults); /* it has W at once */
    touch(w, 81 << 12, ACC_WRITE);
    touch(w, 81 << 12, ACC_WRITE | ACC_USER);
    end(w);
}

static void the_monitor_has_its_say_in_a_table_that_is_synchronised(void **state)
{
    struct world *w = with_a_table_over_a_block(true);

    (void)state;
    step(w, (struct op){
                .kind = OP_RIGHTS, .va = 0x201, .value = 1, .acc = ACCESS_READ | ACCESS_FETCH });
    assert_int_equal(w->domain.unsynced.count, 1);
    store(w, 0x5000 + 80 * 8, 0x201 << 12 | USED);
    set(w, OP_CR3, ROOT << 12);
    assert_int_equal(w->domain.unsynced.count, 0);
    touch(w, 80 << 12, ACC_WRITE);
    end(w);
}

static void a_table_that_is_synchronised_adds_no_leaf_too_many(void **state)
{
    struct world        *w = with_a_table_over_a_block(true);
    const struct mapped *m =
        &phys_frame(&w->phys, p2m_get(&w->domain.p2m, gfn_of(0x201)).mfn)->guest.mapped;

    (void)state;
    w->setup.audit = w->setup.tlbs = 0;
    for (unsigned i = 0; i < RMAP_WRITABLE_MAX; i++) {
        if (i % 512 == 0)
            poke(w, 4, 2 + i / 512, (0x40 + i / 512) << 12 | FLAGS);
        poke(w, 0x40 + i / 512, i % 512, 0x201 << 12 | USED);
        touch(w, 0x400000 + (uint64_t)i * PAGE_SIZE, ACC_WRITE);
    }
    w->setup.audit = w->setup.tlbs = 1;
    assert_int_equal(m->writable[0], RMAP_WRITABLE_MAX);
    for (unsigned i = 80; i < 84; i++)
        store(w, 0x5000 + i * 8, 0x201 << 12 | USED);
    assert_int_equal(w->domain.unsynced.count, 1);
    set(w, OP_CR3, ROOT << 12);
    assert_int_equal(w->domain.unsynced.count, 0);
    assert_int_equal(m->writable[0], RMAP_WRITABLE_MAX);
    end(w);
}

/* Two entries of four bytes, written by one instruction. */
static uint64_t narrow(uint64_t first, uint64_t second)
{
    return (second << 12 | USED) << 32 | first << 12 | USED;
}

static void a_table_of_narrow_entries_is_synchronised_in_several_steps(void **state)
{
    struct world *w = world_create(&setup);
    uint64_t      again;

    (void)state;
    poke(w, ROOT, 0, 5 << 12 | FLAGS);
    for (unsigned i = 0; i < setup.gfns / 2; i++)
        poke(w, 5, i, narrow(2 * i, 2 * i + 1));
    set(w, OP_CR3, ROOT << 12);
    set(w, OP_CR0, 0x80010011);
    touch(w, 0x20000, ACC_WRITE);
    for (unsigned i = 60; i < 60 + 2 * CHANGE_BUDGET; i++)
        store(w, 0x5000 + i * 8, narrow(0x20, 0x21));
    assert_int_equal(w->domain.unsynced.count, 1);
    again = w->counts.again;
    set(w, OP_CR3, ROOT << 12);
    assert_true(w->counts.again >= again + 2);
    touch(w, 130 << 12, ACC_WRITE);
    end(w);
}

/* The same for what is taken back: W of one entry, and another one as a whole. */
static void what_is_taken_back_in_a_table_that_is_synchronised_is_lost(void **state)
{
    struct world *w = with_a_table_over_a_block(true);

    (void)state;
    set(w, OP_CR3, ROOT << 12);
    for (unsigned i = 64; i < 68; i++)
        touch(w, (uint64_t)i << 12, ACC_WRITE);
    for (unsigned i = 70; i < 74; i++)
        store(w, 0x5000 + i * 8, 0x201 << 12 | USED);
    assert_int_equal(w->domain.unsynced.count, 1);
    store(w, 0x5000 + 64 * 8, 0x200 << 12 | 0x65);
    store(w, 0x5000 + 65 * 8, 0);
    set(w, OP_CR3, ROOT << 12);
    touch(w, 64 << 12, ACC_WRITE | ACC_USER);
    touch(w, 65 << 12, 0);
    end(w);
}

/* Table 6, linked and used: it is protected where virtual page 6 maps it. */
static struct world *with_another_table(void)
{
    struct world *w = four_levels();

    touch(w, 0x6000, ACC_WRITE);
    store(w, 0x6000, 0x22 << 12 | FLAGS);
    store(w, 0x4008, 6 << 12 | FLAGS);
    touch(w, 0x200000, ACC_WRITE);
    assert_true(w->domain.stats.withdrawn > 0);
    return w;
}

static void a_frame_that_is_no_table_any_more_is_written_without_a_fault(void **state)
{
    struct world *w = with_another_table();
    uint64_t      faults;

    (void)state;
    store(w, 0x4008, 0);
    faults = w->domain.stats.faults;
    store(w, 0x6000, 0x1234);
    assert_int_equal(w->domain.stats.faults, faults);
    end(w);
}

static void but_not_where_the_guest_has_taken_back_what_it_allowed(void **state)
{
    struct world *w = with_another_table();

    (void)state;
    store(w, 0x5000 + 6 * 8, 6 << 12 | FLAGS | 0x20); /* not dirty: the next write says so */
    store(w, 0x4008, 0);
    store(w, 0x6000, 0x1234);
    store(w, 0x4008, 6 << 12 | FLAGS);
    touch(w, 0x200000, 0);
    store(w, 0x5000 + 6 * 8, 6 << 12 | 0x65); /* read only */
    store(w, 0x4008, 0);
    touch(w, 0x6000, ACC_WRITE | ACC_USER);
    end(w);
}

static void nor_in_a_table_out_of_sync(void **state)
{
    struct world *w = with_another_table();

    (void)state;
    store(w, 0x5000 + 6 * 8, 6 << 12 | 0x65);
    for (unsigned i = 96; i < 100; i++)
        store(w, 0x5000 + i * 8, 0x20 << 12 | USED);
    assert_int_equal(w->domain.unsynced.count, 1);
    store(w, 0x5000 + 6 * 8, 6 << 12 | USED);
    store(w, 0x4008, 0);
    store(w, 0x5000 + 6 * 8, 6 << 12 | 0x65); /* as in the copy: no difference is found */
    set(w, OP_CR3, ROOT << 12);
    touch(w, 0x6000, ACC_WRITE | ACC_USER);
    end(w);
}

/* Table 6 goes out of sync, and is written at 1040 addresses from 0x400000 on: 16 lose W again. */
static struct world *with_a_table_that_is_written_everywhere(void)
{
    struct world_setup s = setup;
    struct world      *w;

    s.audit = s.tlbs = 500;
    w = four_levels_of(&s);
    poke(w, 4, 1, 6 << 12 | FLAGS);
    poke(w, 6, 0, 0x22 << 12 | FLAGS);
    touch(w, 0x200000, ACC_WRITE);
    for (unsigned i = 1; i < 4; i++)
        store(w, 0x6000 + i * 8, 0x22 << 12 | USED);
    assert_int_equal(w->domain.unsynced.count, 1);
    for (unsigned t = 0; t < 3; t++) {
        poke(w, 4, 2 + t, (7 + t) << 12 | FLAGS);
        for (unsigned i = 0; i < 512; i++)
            poke(w, 7 + t, i, 6 << 12 | FLAGS);
    }
    for (unsigned i = 0; i < 1040; i++)
        store(w, 0x400000 + i * UINT64_C(4096) + 64, 0x22 << 12 | USED);
    return w;
}

static void nor_where_another_address_would_lose_what_this_one_gets(void **state)
{
    struct world        *w = with_a_table_that_is_written_everywhere();
    const struct mapped *m = &w->phys.frame[w->mfn_of_page[6]].guest.mapped;
    uint64_t             evicted = w->domain.stats.evicted;

    (void)state;
    assert_true(evicted > 0);
    assert_int_equal(m->writable[0], 1024);
    assert_int_equal(w->domain.unsynced.count, 1);
    step(w, (struct op){ .kind = OP_UNSHADOW, .length = 8, .va = 6 });
    assert_int_equal(w->domain.unsynced.count, 0);
    assert_int_equal(w->domain.stats.evicted, evicted);
    assert_int_equal(m->writable[0], 1024);
    end(w);
}

/* Tables 6 to 8 lead from entry 1 of the root to frame 0x20. */
static struct world *with_a_branch(void)
{
    struct world *w = four_levels();

    poke(w, ROOT, 1, 6 << 12 | FLAGS);
    poke(w, 6, 0, 7 << 12 | FLAGS);
    poke(w, 7, 0, 8 << 12 | FLAGS);
    poke(w, 8, 0, 0x20 << 12 | FLAGS);
    touch(w, UINT64_C(1) << 39, ACC_WRITE);
    return w;
}

static void a_branch_that_is_taken_down_goes_with_its_last_entry(void **state)
{
    struct world *w = with_a_branch();
    uint64_t      emulated = w->domain.stats.emulated;

    (void)state;
    store(w, 0x7000, 0);
    assert_int_equal(w->domain.stats.emulated, emulated + 1);
    store(w, 0x6000, 0); /* is no table any more */
    assert_int_equal(w->domain.stats.emulated, emulated + 1);
    touch(w, UINT64_C(1) << 39, ACC_WRITE);
    store(w, 0x7000, 8 << 12 | FLAGS);
    store(w, 0x6000, 7 << 12 | FLAGS);
    touch(w, UINT64_C(1) << 39, ACC_WRITE);
    end(w);
}

static void a_table_with_another_branch_stays(void **state)
{
    struct world  *w = with_a_branch();
    const uint64_t other = UINT64_C(1) << 39 | UINT64_C(1) << 30;
    uint64_t       faults;

    (void)state;
    store(w, 0x6008, 9 << 12 | FLAGS);
    poke(w, 9, 0, 10 << 12 | FLAGS);
    poke(w, 10, 0, 0x21 << 12 | FLAGS);
    touch(w, other, ACC_WRITE);
    store(w, 0x7000, 0);
    faults = w->domain.stats.faults;
    touch(w, other, ACC_WRITE);
    assert_int_equal(w->domain.stats.faults, faults);
    end(w);
}

/* The walk began at a table that is given back before the fault is through: it comes again. */
static void a_fault_may_have_to_give_back_the_tables_that_lead_to_it(void **state)
{
    struct world_setup s = setup;
    struct world      *w;

    (void)state;
    s.pairs = 30;
    w = four_levels_of(&s);
    for (unsigned i = 0; i < 40; i++) { /* all in use, below table 4 */
        poke(w, 4, 1 + i, (10 + i) << 12 | FLAGS);
        poke(w, 10 + i, 0, 0x50 << 12 | FLAGS);
        poke(w, 10 + i, 1, 0x51 << 12 | FLAGS);
    }
    for (unsigned i = 0; i < 160; i++)
        touch(w, (1 + i / 2 % 40) * UINT64_C(0x200000) + i % 2 * 4096, ACC_WRITE);
    assert_true(w->domain.stats.unhooked > 1);
    end(w);
}

/* The table that was taken down has come back to the pool; what is found in it does not escape the audit. */
static void a_free_table_that_is_not_cleared_again_is_empty(void **state)
{
    struct world *w = with_a_branch();
    struct audit  audit = { 0 };
    mfn_t         free = MFN_NONE;

    (void)state;
    store(w, 0x7000, 0);
    while (!paging_work((struct paging_locked){ &w->domain }, 64))
        ;
    for (uint64_t i = 0; i < w->phys.frames; i++)
        if (w->phys.frame[i].kind == FRAME_POOL && w->phys.frame[i].free.zero)
            free = mfn_of(i);
    assert_true(mfn_valid(free));
    *(uint64_t *)phys_ptr(&w->phys, free) = 1;
    paging_audit((struct paging_locked){ &w->domain }, &audit);
    assert_int_equal(audit.violations, 1);
    *(uint64_t *)phys_ptr(&w->phys, free) = 0;
    end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changed_entries_around_one_that_is_needed_come_with_it),
        cmocka_unit_test(entries_of_a_table_that_is_synchronised_obey_the_rules),
        cmocka_unit_test(nx_is_reserved_in_a_table_that_is_synchronised),
        cmocka_unit_test(without_wp_a_table_is_synchronised_by_its_own_rules),
        cmocka_unit_test(the_monitor_has_its_say_in_a_table_that_is_synchronised),
        cmocka_unit_test(a_table_that_is_synchronised_adds_no_leaf_too_many),
        cmocka_unit_test(a_table_of_narrow_entries_is_synchronised_in_several_steps),
        cmocka_unit_test(what_is_taken_back_in_a_table_that_is_synchronised_is_lost),
        cmocka_unit_test(a_frame_that_is_no_table_any_more_is_written_without_a_fault),
        cmocka_unit_test(but_not_where_the_guest_has_taken_back_what_it_allowed),
        cmocka_unit_test(nor_in_a_table_out_of_sync),
        cmocka_unit_test(nor_where_another_address_would_lose_what_this_one_gets),
        cmocka_unit_test(a_branch_that_is_taken_down_goes_with_its_last_entry),
        cmocka_unit_test(a_table_with_another_branch_stays),
        cmocka_unit_test(a_fault_may_have_to_give_back_the_tables_that_lead_to_it),
        cmocka_unit_test(a_free_table_that_is_not_cleared_again_is_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
