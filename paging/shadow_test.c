/* test: with paging/ test/model/ */
/*
 * Shadows, one story each. All is done in two worlds (test/model/world.h), so that outcome,
 * error codes, accessed and dirty bits, TLBs and the audit are compared after every step;
 * what a test asserts besides is what the worlds cannot see: how much work it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paging/direct.h"
#include "test/model/story.h"

#define ROOT_A 1
#define ROOT_B 2
#define FLAGS  7 /* present, writable, user */

static const struct world_setup setup = {
    .gfns = 96,
    .spare = 4,
    .pairs = 128,
    .maxphys = 40,
    .gb1 = true,
    .audit = 1,
    .tlbs = 1,
};

static uint64_t read_guest(const struct world *w, uint64_t gpa)
{
    uint64_t value;

    mmu_read_memory(&w->memory, gpa, &value, 8);
    return value;
}

/* Two roots that share tables 3, 4, 5; table 5 maps virtual page i to guest frame i. */
static struct world *four_levels(const struct world_setup *s)
{
    struct world *w = world_create(s);

    assert_string_equal(w->failure, "");
    identity_tables(w, ROOT_A, (unsigned)s->gfns);
    poke(w, ROOT_B, 0, 3 << 12 | FLAGS);
    long_mode(w, ROOT_A);
    return w;
}

static void with_paging_off_the_guest_runs_on_its_memory_as_it_is(void **state)
{
    struct world *w = world_create(&setup);

    (void)state;
    touch(w, 0x5000, 0);
    touch(w, 0x5000, ACC_WRITE);
    touch(w, 0xfee00000, ACC_WRITE);
    assert_int_equal(w->counts.devices, 1);
    assert_int_equal(w->domain.stats.reflected, 0);
    end(w);
}

static void the_first_use_sets_accessed_and_the_first_write_dirty(void **state)
{
    struct world *w = four_levels(&setup);

    (void)state;
    touch(w, 0x20000, 0);
    assert_int_equal(read_guest(w, 5 << 12 | 0x20 * 8), 0x20 << 12 | FLAGS | 0x20);
    assert_int_equal(read_guest(w, ROOT_A << 12), 3 << 12 | FLAGS | 0x20);
    touch(w, 0x20000, ACC_WRITE);
    assert_int_equal(read_guest(w, 5 << 12 | 0x20 * 8), 0x20 << 12 | FLAGS | 0x60);
    end(w);
}

static void what_is_mapped_costs_no_second_fault(void **state)
{
    struct world *w = four_levels(&setup);
    uint64_t      faults;

    (void)state;
    touch(w, 0x20000, ACC_WRITE);
    faults = w->domain.stats.faults;
    for (unsigned i = 0; i < 10; i++)
        touch(w, 0x20000 + i * 8, i % 2 ? ACC_WRITE | ACC_USER : ACC_FETCH);
    assert_int_equal(w->domain.stats.faults, faults);
    end(w);
}

static void a_write_to_a_table_is_emulated_once_and_followed_at_once(void **state)
{
    struct world *w = four_levels(&setup);
    uint64_t      faults, emulated;

    (void)state;
    touch(w, 0x20000, ACC_WRITE);
    touch(w, 0x21000, ACC_WRITE);
    faults = w->domain.stats.faults;
    emulated = w->domain.stats.emulated;
    store(w, 0x5000 + 0x20 * 8, 0x21 << 12 | FLAGS | 0x60);
    assert_int_equal(w->domain.stats.emulated, emulated + 1);
    touch(w, 0x20000, ACC_WRITE); /* the new entry has A and D: nothing is left to fault for */
    assert_int_equal(w->domain.stats.faults, faults + 1);
    end(w);
}

static void a_frame_that_becomes_a_table_loses_its_writable_mappings(void **state)
{
    struct world *w = four_levels(&setup);

    (void)state;
    touch(w, 0x30000, ACC_WRITE); /* data for now */
    store(w, 0x30000, 0x22 << 12 | FLAGS);
    store(w, 0x4000 + 8, 0x30 << 12 | FLAGS);
    touch(w, 0x200000, ACC_WRITE); /* through the new table */
    assert_true(w->domain.stats.protected_frames > 0);
    store(w, 0x30000, 0x23 << 12 | FLAGS);
    touch(w, 0x200000, ACC_WRITE);
    assert_int_equal(read_guest(w, 0x23000), 0x1234);
    end(w);
}

static void a_table_that_was_unshadowed_can_be_written_without_exits(void **state)
{
    struct world *w = four_levels(&setup);
    uint64_t      emulated;

    (void)state;
    poke(w, 4, 1, 6 << 12 | FLAGS);
    poke(w, 6, 0, 0x22 << 12 | FLAGS);
    touch(w, 0x200000, 0);
    step(w, (struct op){ .kind = OP_UNSHADOW, .length = 8, .va = 6 });
    store(w, 0x6000, 0x23 << 12 | FLAGS);
    emulated = w->domain.stats.emulated;
    for (unsigned i = 1; i < 20; i++)
        store(w, 0x6000 + i * 8, 0x23 << 12 | FLAGS);
    assert_int_equal(w->domain.stats.emulated, emulated);
    touch(w, 0x200000, ACC_WRITE);
    end(w);
}

static void a_page_that_is_written_over_is_no_table_any_more(void **state)
{
    struct world *w = four_levels(&setup);
    uint64_t      emulated;

    (void)state;
    poke(w, 4, 1, 7 << 12 | FLAGS);
    poke(w, 7, 0, 0x22 << 12 | FLAGS);
    touch(w, 0x200000, 0);
    step(w, (struct op){ .kind = OP_UNSHADOW, .length = 8, .va = 7 });
    store(w, 0x7000, 0x23 << 12 | FLAGS);
    emulated = w->domain.stats.emulated;
    for (unsigned i = 1; i < 20; i++)
        store(w, 0x7000 + i * 8, 0x23 << 12 | FLAGS);
    assert_int_equal(w->domain.stats.emulated, emulated);
    touch(w, 0x200000, ACC_WRITE);
    end(w);
}

static void roots_share_the_shadows_of_what_their_tables_share(void **state)
{
    struct world *w = four_levels(&setup);
    uint64_t      made, faults;

    (void)state;
    touch(w, 0x20000, ACC_WRITE);
    store(w, ROOT_B << 12, 3 << 12 | FLAGS | 0x20);
    made = w->domain.stats.made;
    faults = w->domain.stats.faults;
    set(w, OP_CR3, ROOT_B << 12);
    touch(w, 0x20000, ACC_WRITE);
    assert_int_equal(w->domain.stats.made, made + 1); /* the new root only */
    assert_int_equal(w->domain.stats.faults, faults); /* linked when the root was made */
    end(w);
}

static void going_back_to_a_root_builds_nothing_and_keeps_its_tlb(void **state)
{
    struct world *w = four_levels(&setup);
    uint64_t      made, faults, flushes;

    (void)state;
    touch(w, 0x20000, ACC_WRITE);
    set(w, OP_CR3, ROOT_B << 12);
    touch(w, 0x20000, ACC_WRITE);
    set(w, OP_CR3, ROOT_A << 12);
    touch(w, 0x20000, ACC_WRITE);
    made = w->domain.stats.made;
    faults = w->domain.stats.faults;
    flushes = w->vcpu[0].hardware.full_flushes;
    for (unsigned i = 0; i < 6; i++) {
        set(w, OP_CR3, (i % 2 ? ROOT_A : ROOT_B) * UINT64_C(4096));
        touch(w, 0x20000, ACC_WRITE);
    }
    assert_int_equal(w->domain.stats.made, made);
    assert_int_equal(w->domain.stats.faults, faults);
    assert_true(w->vcpu[0].hardware.full_flushes <= flushes + 2);
    end(w);
}

static void toggling_wp_switches_between_two_cached_roots(void **state)
{
    struct world *w = four_levels(&setup);
    uint64_t      made;

    (void)state;
    poke(w, 5, 0x20, 0x20 << 12 | 0x65); /* read-only, user */
    for (unsigned i = 0; i < 2; i++) {
        touch(w, 0x20000, ACC_WRITE);
        set(w, OP_CR0, 0x80000011);
        touch(w, 0x20000, ACC_WRITE);
        touch(w, 0x20000, ACC_USER);
        touch(w, 0x20000, ACC_USER | ACC_WRITE);
        set(w, OP_CR0, 0x80010011);
        made = i == 0 ? w->domain.stats.made : made;
    }
    assert_int_equal(w->domain.stats.made, made);
    end(w);
}

static void a_frame_that_leaves_the_p2m_leaves_every_table(void **state)
{
    struct world *w = four_levels(&setup);

    (void)state;
    touch(w, 0x20000, ACC_WRITE);
    step(w, (struct op){ .kind = OP_P2M, .acc = MMU_HOLE, .length = 8, .va = 0x20, .value = 0x20 });
    touch(w, 0x20000, ACC_WRITE);
    assert_int_equal(w->counts.devices, 1);
    step(w, (struct op){ .kind = OP_P2M, .acc = MMU_ROM, .length = 8, .va = 0x20, .value = 98 });
    touch(w, 0x20000, 0);
    touch(w, 0x20000, ACC_WRITE);
    assert_int_equal(w->counts.devices, 2);
    end(w);
}

static void a_root_that_gets_other_memory_is_followed_there(void **state)
{
    struct world *w = four_levels(&setup);

    (void)state;
    touch(w, 0x20000, ACC_WRITE);
    step(w, (struct op){ .kind = OP_P2M, .acc = MMU_RAM, .length = 8, .va = ROOT_A, .value = 98 });
    touch(w, 0x20000, ACC_WRITE); /* the new page is empty */
    poke(w, ROOT_A, 0, 3 << 12 | FLAGS);
    touch(w, 0x20000, ACC_WRITE);
    poke(w, ROOT_A, 0, 0);
    touch(w, 0x20000, ACC_WRITE);
    assert_int_equal(w->counts.absent, 2);
    end(w);
}

static void a_root_that_moves_in_the_map_is_followed(void **state)
{
    struct world *w = four_levels(&setup);

    (void)state;
    touch(w, 0x20000, ACC_WRITE);
    step(w, (struct op){ .kind = OP_P2M, .acc = MMU_HOLE, .length = 8, .va = 0x50 });
    step(w, (struct op){ .kind = OP_MOVE, .length = 8, .va = ROOT_A, .value = 0x50 });
    touch(w, 0x20000, ACC_WRITE); /* nothing answers where it was */
    assert_int_equal(w->counts.reserved, 1);
    step(w, (struct op){ .kind = OP_MOVE, .length = 8, .va = 0x50, .value = ROOT_A });
    touch(w, 0x20000, ACC_WRITE);
    assert_int_equal(w->counts.reserved, 1);
    end(w);
}

static void a_root_that_was_a_hole_is_followed_when_there_is_memory(void **state)
{
    struct world *w = four_levels(&setup);
    struct op     op = { .kind = OP_P2M, .acc = MMU_HOLE, .length = 8, .va = ROOT_A, .value = 98 };

    (void)state;
    step(w, op);
    touch(w, 0x20000, ACC_WRITE); /* nothing answers: all ones, which has reserved bits */
    assert_int_equal(w->counts.reserved, 1);
    op.acc = MMU_RAM;
    op.value = ROOT_A;
    step(w, op);
    touch(w, 0x20000, ACC_WRITE);
    poke(w, ROOT_A, 0, 0);
    touch(w, 0x20000, ACC_WRITE);
    assert_int_equal(w->counts.absent, 1);
    end(w);
}

/* Guest frame 0x40 at 1536 addresses from 0x200000 on. */
static void map_often(struct world *w)
{
    for (unsigned t = 0; t < 3; t++) {
        poke(w, 4, 1 + t, (6 + t) << 12 | FLAGS);
        for (unsigned i = 0; i < 512; i++)
            poke(w, 6 + t, i, 0x40 << 12 | FLAGS);
    }
    for (unsigned i = 0; i < 1536; i++)
        touch(w, 0x200000 + i * UINT64_C(4096), ACC_WRITE);
}

static void a_frame_has_at_most_so_many_writable_leaves(void **state)
{
    struct world_setup s = setup;
    struct world      *w;
    uint64_t           again;

    (void)state;
    s.audit = s.tlbs = 500;
    w = four_levels(&s);
    map_often(w);
    assert_true(w->domain.stats.evicted >= 512);
    assert_true(w->phys.frame[w->mfn_of_page[0x40]].guest.mapped.writable[0] <= 1024);
    again = w->counts.again;
    step(w, (struct op){ .kind = OP_P2M, .acc = MMU_HOLE, .length = 8, .va = 0x40, .value = 0x40 });
    assert_true(w->counts.again >= again + 10); /* none of them takes away more than 128 */
    end(w);
}

static void many_changes_of_a_table_are_carried_over_in_several_calls(void **state)
{
    struct world_setup s = setup;
    struct world      *w;
    uint64_t           again;

    (void)state;
    s.audit = s.tlbs = 50;
    w = four_levels(&s);
    touch(w, 0x20000, ACC_WRITE);
    for (unsigned i = 96; i < 496; i++)
        store(w, 0x5000 + i * 8, 0x20 << 12 | FLAGS | 0x60);
    assert_true(w->domain.stats.unsynced > 0);
    again = w->counts.again;
    set(w, OP_CR3, ROOT_A << 12);
    assert_true(w->counts.again >= again + 2);
    assert_true(w->domain.stats.changed > 300);
    touch(w, UINT64_C(450) << 12, ACC_WRITE);
    end(w);
}

static void a_small_pool_is_used_again_and_the_guest_goes_on(void **state)
{
    struct world_setup s = setup;
    struct world      *w;

    (void)state;
    s.pairs = 40;
    w = four_levels(&s);
    for (unsigned i = 0; i < 40; i++) { /* each its own root, third, second and first level */
        uint64_t root = 10 + i % 20 * 4;

        poke(w, root, 0, 3 << 12 | FLAGS);
        for (unsigned level = 0; level < 3; level++)
            poke(w, root + level, 5, (root + level + 1) << 12 | FLAGS);
        poke(w, root + 3, 5, 0x5f << 12 | FLAGS);
        set(w, OP_CR3, root << 12);
        touch(w, UINT64_C(5) << 39 | UINT64_C(5) << 30 | 5 << 21 | 5 << 12, ACC_WRITE);
        touch(w, 0x5f000, ACC_USER);
    }
    assert_true(w->domain.stats.reclaimed > 0);
    end(w);
}

static void a_large_page_with_a_frame_number_beyond_32_bits_is_not_memory(void **state)
{
    struct world_setup s = setup;
    struct world      *w;

    (void)state;
    s.maxphys = 52;
    w = four_levels(&s);
    poke(w, 3, 1, UINT64_C(1) << 44 | 0x80 | FLAGS);
    poke(w, 4, 1, UINT64_C(1) << 44 | 0x80 | FLAGS);
    touch(w, 0x40020000, ACC_WRITE);
    touch(w, 0x220000, ACC_WRITE);
    assert_int_equal(w->counts.devices, 2);
    end(w);
}

static void a_table_can_be_linked_from_every_entry_of_another(void **state)
{
    struct world_setup s = setup;
    struct world      *w;
    uint64_t           again;

    (void)state;
    s.audit = s.tlbs = 64;
    w = four_levels(&s);
    for (unsigned i = 0; i < 512; i++)
        poke(w, 4, i, 5 << 12 | FLAGS);
    for (unsigned i = 0; i < 512; i++)
        touch(w, (uint64_t)i << 21 | 0x20000, ACC_WRITE);
    for (unsigned i = 0; i < 400; i++)
        poke(w, 4, i, 0);
    touch(w, 0x20000, ACC_WRITE);
    touch(w, UINT64_C(511) << 21 | 0x20000, ACC_WRITE);
    for (unsigned i = 0; i < 400; i++)
        poke(w, 4, i, 5 << 12 | FLAGS | 0x20);
    again = w->counts.again;
    step(w, (struct op){ .kind = OP_P2M, .acc = MMU_RAM, .length = 8, .va = 5, .value = 5 });
    assert_true(w->counts.again >= again + 3);
    end(w);
}

static void dead_tables_are_taken_apart_within_a_budget(void **state)
{
    struct world *w = four_levels(&setup);
    unsigned      calls = 1;

    (void)state;
    for (unsigned i = 0x20; i < 0x50; i++)
        touch(w, (uint64_t)i << 12, ACC_WRITE);
    step(w, (struct op){ .kind = OP_UNSHADOW, .length = 8, .va = 5 });
    while (!paging_work((struct paging_locked){ &w->domain }, 10))
        calls++;
    assert_true(calls >= 5 && calls < 60); /* 48 entries, and the table */
    assert_int_equal(w->domain.dead.head, 0);
    end(w);
}

/* Straight to the core: the naive world has no memory that high. */
static void install(struct world *w, uint64_t cr0, uint64_t cr3, uint64_t cr4, uint64_t efer)
{
    const struct paging_regs regs = { cr0, cr3, cr4, efer };

    assert_int_equal(
        paging_set_regs((struct paging_locked){ &w->domain }, &w->vcpu[0].core, &regs).kind,
        VERDICT_RETRY);
}

static struct verdict read_at(struct world *w, uint64_t va)
{
    const struct fault f = { gva_of(va), 0, false };

    return paging_fault((struct paging_locked){ &w->domain }, &w->vcpu[0].core, &f);
}

static void a_frame_that_is_being_unmapped_gets_no_new_mappings(void **state)
{
    const struct p2m_entry hole = { MFN_NONE, P2M_HOLE, 0 };
    struct world_setup     s = setup;
    struct world          *w;
    struct paging_locked   p;
    uint32_t               leaves;

    (void)state;
    s.audit = s.tlbs = 500;
    w = four_levels(&s);
    p.domain = &w->domain;
    map_often(w);
    assert_true(paging_p2m_set(p, gfn_of(0x40), hole).again);
    leaves = w->domain.stats.leaves[0];
    for (unsigned i = 0; i < 1536; i++)
        assert_int_equal(read_at(w, 0x200000 + i * UINT64_C(4096)).kind, VERDICT_RETRY);
    assert_true(w->domain.stats.leaves[0] <= leaves);
    while (paging_p2m_set(p, gfn_of(0x40), hole).again)
        ;
    assert_int_equal(read_at(w, 0x200000).kind, VERDICT_DEVICE);
    assert_true(world_finish(w));
    world_free(w);
}

/*
 * The upper half of a 64-bit entry is an entry of a 32-bit table, and its A is one bit of the
 * frame number: what a 32-bit walk marks moves a page that 64-bit shadows map.
 */
static void what_a_walk_marks_is_followed_in_a_table_of_another_format(void **state)
{
    struct world        *w = four_levels(&setup);
    struct paging_locked p = { &w->domain };
    const uint64_t       high = UINT64_C(1) << 20;
    struct audit         audit = { 0 };

    (void)state;
    assert_int_equal(paging_p2m_set(p, gfn_of(high),
                                    (struct p2m_entry){ mfn_of(w->mfn_of_page[98]), P2M_RAM, 0 })
                         .kind,
                     VERDICT_RETRY);
    poke(w, 5, 7, high << 12 | FLAGS);
    poke(w, 8, 0, 5 << 12 | FLAGS); /* a directory of 32-bit entries */
    assert_int_equal(read_at(w, 0x7000).kind, VERDICT_RETRY);
    install(w, 0x10011, 0, 0, 0);
    install(w, 0x80010011, 8 << 12, 0, 0);
    assert_int_equal(read_at(w, 15 << 12).kind, VERDICT_RETRY); /* entry 15 is half of entry 7 */
    paging_audit(p, &audit);
    assert_string_equal(audit.first, "");
    install(w, 0x10011, 0, 0, 0);
    install(w, 0x80010011, ROOT_A << 12, 0x20, 0xd00);
    assert_int_equal(read_at(w, 0x7000).kind, VERDICT_DEVICE);
    assert_true(world_finish(w));
    world_free(w);
}

/* What is granted is no table, even if it is the guest's own frame and a table where it is at home. */
static void a_table_is_none_where_it_is_granted(void **state)
{
    const struct p2m_entry hole = { MFN_NONE, P2M_HOLE, 0 };
    struct world          *w = four_levels(&setup);
    struct paging_locked   lock = { &w->domain };
    const struct p2m_entry grant = { mfn_of(w->mfn_of_page[5]), P2M_GRANT, 0 };

    (void)state;
    touch(w, 0x7000, 0);
    while (paging_p2m_set(lock, gfn_of(setup.gfns), grant).again)
        ;
    touch(w, 0x7000, 0);
    store(w, 0x4008, setup.gfns << 12 | FLAGS | 0x20); /* with A: it would be linked */
    touch(w, 0x207000, 0); /* reads as all ones, as the hole that it is in the other world */
    while (paging_p2m_set(lock, gfn_of(setup.gfns), hole).again)
        ;
    end(w);
}

/* Whoever holds it last, the guest's borrower or a shadow of it, leaves it as nobody's loan. */
static void a_table_that_is_lent_is_back_when_its_shadows_are_gone(void **state)
{
    struct world      *w = four_levels(&setup);
    const struct phys *phys = w->domain.phys;
    mfn_t              table = p2m_get(&w->domain.p2m, gfn_of(5)).mfn;

    (void)state;
    touch(w, 0x7000, 0);
    direct_lend(phys, table);
    direct_take_back(phys, table);
    assert_true(direct_is_lent(phys, table)); /* an entry may map it still */
    step(w, (struct op){ .kind = OP_UNSHADOW, .length = 8, .va = 5 });
    assert_false(direct_is_lent(phys, table));
    assert_int_equal(phys_frame(phys, table)->refs, 0);
    end(w);
}

/* A PV guest's registers are noted for a walk while the processor stays on another root. */
static void a_root_is_found_again_after_registers_were_only_noted(void **state)
{
    struct world            *w = four_levels(&setup);
    struct paging_vcpu      *v = &w->vcpu[0].core;
    struct paging_locked     lock = { &w->domain };
    const struct paging_regs before = v->regs;
    struct paging_regs       other = before;

    (void)state;
    other.cr3 = ROOT_B << 12;
    paging_note_regs(lock, v, &other);
    assert_true(paging_runs_on(v, mfn_of(w->mfn_of_page[ROOT_A])));
    assert_int_equal(paging_set_regs(lock, v, &other).kind, VERDICT_RETRY);
    assert_true(paging_runs_on(v, mfn_of(w->mfn_of_page[ROOT_B])));
    assert_int_equal(paging_set_regs(lock, v, &before).kind, VERDICT_RETRY);
    end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_paging_off_the_guest_runs_on_its_memory_as_it_is),
        cmocka_unit_test(the_first_use_sets_accessed_and_the_first_write_dirty),
        cmocka_unit_test(what_is_mapped_costs_no_second_fault),
        cmocka_unit_test(a_write_to_a_table_is_emulated_once_and_followed_at_once),
        cmocka_unit_test(a_frame_that_becomes_a_table_loses_its_writable_mappings),
        cmocka_unit_test(a_table_is_none_where_it_is_granted),
        cmocka_unit_test(a_table_that_is_lent_is_back_when_its_shadows_are_gone),
        cmocka_unit_test(a_table_that_was_unshadowed_can_be_written_without_exits),
        cmocka_unit_test(a_page_that_is_written_over_is_no_table_any_more),
        cmocka_unit_test(roots_share_the_shadows_of_what_their_tables_share),
        cmocka_unit_test(going_back_to_a_root_builds_nothing_and_keeps_its_tlb),
        cmocka_unit_test(toggling_wp_switches_between_two_cached_roots),
        cmocka_unit_test(a_frame_that_leaves_the_p2m_leaves_every_table),
        cmocka_unit_test(a_root_that_gets_other_memory_is_followed_there),
        cmocka_unit_test(a_root_that_moves_in_the_map_is_followed),
        cmocka_unit_test(a_root_that_was_a_hole_is_followed_when_there_is_memory),
        cmocka_unit_test(a_frame_has_at_most_so_many_writable_leaves),
        cmocka_unit_test(many_changes_of_a_table_are_carried_over_in_several_calls),
        cmocka_unit_test(a_small_pool_is_used_again_and_the_guest_goes_on),
        cmocka_unit_test(a_large_page_with_a_frame_number_beyond_32_bits_is_not_memory),
        cmocka_unit_test(a_table_can_be_linked_from_every_entry_of_another),
        cmocka_unit_test(dead_tables_are_taken_apart_within_a_budget),
        cmocka_unit_test(a_frame_that_is_being_unmapped_gets_no_new_mappings),
        cmocka_unit_test(what_a_walk_marks_is_followed_in_a_table_of_another_format),
        cmocka_unit_test(a_root_is_found_again_after_registers_were_only_noted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
