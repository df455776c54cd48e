/* test: with paging/ test/model/ */
/*
 * Large leaves of our own: when there is one, when it is split, when it comes back. Stories of
 * 2 MiB are done in two worlds (test/model/world.h); those of 1 GiB on a machine of 3 GiB that is
 * touched in a few places only, with the audit after each step.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "paging/rmap.h"
#include "test/model/story.h"

#define ROOT_A 1
#define ROOT_B 2
#define FLAGS  UINT64_C(0x67)     /* present, writable, user, accessed, dirty */
#define PAGE   (FLAGS | 0x80)     /* the same of a large page */
#define GROUP  32                 /* leaves of a direct table that are filled together */
#define BLOCK  UINT64_C(0x200000) /* where the guest maps its large block, and where it is */

static const struct world_setup setup = {
    .gfns = 96,
    .spare = 4,
    .pairs = 128,
    .maxphys = 40,
    .large = true,
    .gb1 = true,
    .audit = 1,
    .tlbs = 1,
};

/* A page where the block was is something else now; the block is as it was. */
static void change_page(struct world *w, uint64_t gfn, enum mmu_behind behind)
{
    step(w, (struct op){ .kind = OP_P2M, .acc = (uint8_t)behind, .va = gfn, .value = 98 });
}

static void restore_block(struct world *w, enum mmu_behind behind)
{
    step(w, (struct op){ .kind = OP_BLOCK, .acc = (uint8_t)behind });
}

/* Two roots that share tables 3 and 4; table 4 maps the block as a large page. */
static struct world *with_large_page(const struct world_setup *s)
{
    struct world *w = world_create(s);

    assert_string_equal(w->failure, "");
    poke(w, ROOT_A, 0, 3 << 12 | FLAGS);
    poke(w, ROOT_B, 0, 3 << 12 | FLAGS);
    poke(w, 3, 0, 4 << 12 | FLAGS);
    poke(w, 4, 1, BLOCK | PAGE);
    long_mode(w, ROOT_A);
    return w;
}

static uint32_t leaves(const struct world *w, unsigned level)
{
    return w->domain.stats.leaves[level - 1];
}

static void a_large_page_is_one_leaf_and_one_fault(void **state)
{
    struct world *w = with_large_page(&setup);
    uint64_t      faults = w->domain.stats.faults;

    (void)state;
    for (uint64_t i = 0; i < 512; i += 37)
        touch(w, BLOCK + i * 4096, i & 1 ? ACC_WRITE : 0);
    assert_int_equal(w->domain.stats.faults, faults + 1);
    assert_int_equal(leaves(w, 2), 1);
    assert_int_equal(leaves(w, 1), 0);
    end(w);
}

static void the_first_write_to_a_clean_large_page_sets_dirty(void **state)
{
    struct world *w = with_large_page(&setup);
    uint64_t      entry;

    (void)state;
    poke(w, 4, 1, BLOCK | (PAGE & ~UINT64_C(0x60)));
    touch(w, BLOCK, 0);
    mmu_read_memory(&w->memory, 4 << 12 | 8, &entry, 8);
    assert_int_equal(entry, BLOCK | (PAGE & ~UINT64_C(0x40)));
    touch(w, BLOCK + 0x3000, ACC_WRITE);
    mmu_read_memory(&w->memory, 4 << 12 | 8, &entry, 8);
    assert_int_equal(entry, BLOCK | PAGE);
    assert_int_equal(leaves(w, 2), 1);
    end(w);
}

static void with_paging_off_memory_is_in_large_leaves(void **state)
{
    struct world *w = world_create(&setup);

    (void)state;
    touch(w, BLOCK + 0x1000, ACC_WRITE);
    touch(w, BLOCK + 0x5000, 0);
    assert_int_equal(w->domain.stats.faults, 1);
    assert_int_equal(leaves(w, 2), 1);
    touch(w, 0x5000, 0); /* what lies scattered is not */
    assert_int_equal(leaves(w, 1), GROUP);
    end(w);
}

/* Table 4's third entry leads to a table that is the last frame of the block, which maps frame 0x40. */
static void make_table_in_block(struct world *w)
{
    poke(w, 0x3ff, 0, 0x40 << 12 | FLAGS);
    poke(w, 4, 2, UINT64_C(0x3ff) << 12 | FLAGS);
    touch(w, 2 * BLOCK, 0);
}

static void a_large_leaf_is_split_by_a_table_and_merged_when_it_goes(void **state)
{
    struct world *w = with_large_page(&setup);

    (void)state;
    touch(w, BLOCK, ACC_WRITE);
    make_table_in_block(w);
    touch(w, BLOCK + 0x8000, 0); /* reading goes on */
    assert_int_equal(w->domain.stats.split, 0);
    touch(w, BLOCK + 0x8000, ACC_WRITE);
    assert_int_equal(w->domain.stats.split, 1);
    assert_int_equal(leaves(w, 2), 0);
    touch(w, BLOCK + 0x1ff008, ACC_WRITE); /* the table itself */
    assert_int_equal(w->counts.emulated, 1);

    poke(w, 4, 2, 0);
    step(w, (struct op){ .kind = OP_UNSHADOW, .va = 0x3ff });
    touch(w, BLOCK + 0x9000, 0); /* what there is stays */
    assert_int_equal(w->domain.stats.merged, 0);
    touch(w, BLOCK + 0x100000, 0);
    assert_int_equal(w->domain.stats.merged, 1);
    assert_int_equal(leaves(w, 2), 1);
    touch(w, BLOCK + 0x1ff008, ACC_WRITE);
    assert_int_equal(w->counts.emulated, 1);
    end(w);
}

static void a_read_only_large_page_may_hold_tables(void **state)
{
    struct world *w = with_large_page(&setup);

    (void)state;
    make_table_in_block(w);
    poke(w, 4, 1, BLOCK | (PAGE & ~UINT64_C(2)));
    touch(w, BLOCK + 0x1ff000, 0);
    assert_int_equal(leaves(w, 2), 1);
    touch(w, BLOCK + 0x1ff000, ACC_WRITE); /* the guest's own fault */
    end(w);
}

static void read_only_memory_is_a_read_only_leaf(void **state)
{
    struct world *w = with_large_page(&setup);

    (void)state;
    restore_block(w, MMU_ROM);
    touch(w, BLOCK + 0x5000, 0);
    assert_int_equal(leaves(w, 2), 1);
    touch(w, BLOCK + 0x5000, ACC_WRITE);
    assert_int_equal(w->counts.devices, 1);
    end(w);
}

static void a_change_of_the_p2m_splits_and_a_whole_block_merges(void **state)
{
    struct world *w = with_large_page(&setup);

    (void)state;
    touch(w, BLOCK, ACC_WRITE);
    change_page(w, WORLD_LARGE + 7, MMU_HOLE);
    assert_int_equal(leaves(w, 2), 0);
    touch(w, BLOCK + 0x7000, ACC_WRITE);
    assert_int_equal(w->counts.devices, 1);
    touch(w, BLOCK + 0x8000, ACC_WRITE);
    assert_int_equal(leaves(w, 1), GROUP - 1);
    change_page(w, WORLD_LARGE + 7, MMU_RAM); /* another frame */
    touch(w, BLOCK + 0x7000, ACC_WRITE);
    assert_int_equal(leaves(w, 2), 0);
    restore_block(w, MMU_RAM);
    touch(w, BLOCK + 0x7000, ACC_WRITE);
    assert_int_equal(leaves(w, 2), 1);
    end(w);
}

static void a_page_of_4_mib_is_two_leaves(void **state)
{
    struct world *w = world_create(&setup);

    (void)state;
    step(w, (struct op){ .kind = OP_POKE, .length = 4, .va = ROOT_A << 12, .value = PAGE });
    set(w, OP_CR4, 0x10);
    set(w, OP_CR3, ROOT_A << 12);
    set(w, OP_CR0, 0x80010011);
    touch(w, BLOCK + 0x3000, ACC_WRITE);
    touch(w, BLOCK + 0x4000, ACC_WRITE);
    assert_int_equal(leaves(w, 2), 1);
    touch(w, 0x3000, 0); /* the first half lies scattered */
    assert_int_equal(leaves(w, 2), 1);
    assert_int_equal(leaves(w, 1), GROUP);
    end(w);
}

static void a_block_has_at_most_so_many_writable_large_leaves(void **state)
{
    struct world *w = with_large_page(&setup);

    (void)state;
    for (unsigned i = 0; i < RMAP_LARGE_MAX + 2; i++) {
        poke(w, 4, i, BLOCK | PAGE);
        touch(w, i * BLOCK, ACC_WRITE);
    }
    assert_int_equal(leaves(w, 2), RMAP_LARGE_MAX + 2);
    assert_int_equal(w->domain.stats.evicted, 2);
    end(w);
}

static void a_guard_is_at_its_frame_though_the_leaf_is_large(void **state)
{
    struct world *w = with_large_page(&setup);

    (void)state;
    touch(w, BLOCK, ACC_WRITE);
    step(w, (struct op){ .kind = OP_GUARD, .length = 8, .va = BLOCK + 0x6000, .value = 8 });
    touch(w, BLOCK + 0x6008, ACC_WRITE);
    assert_int_equal(w->counts.guarded, 1);
    touch(w, BLOCK + 0x7008, ACC_WRITE);
    assert_int_equal(w->counts.guarded, 1);
    assert_int_equal(leaves(w, 2), 0);
    end(w);
}

static void a_vcpu_gets_its_root_when_there_is_memory_for_it(void **state)
{
    struct world *w = with_large_page(&setup);

    (void)state;
    change_page(w, 0x20, MMU_HOLE);
    set(w, OP_CR3, 0x20 << 12);
    step(w, (struct op){ .kind = OP_P2M, .acc = MMU_RAM, .va = 0x20, .value = 99 });
    poke(w, 0x20, 0, 3 << 12 | FLAGS);
    touch(w, BLOCK, ACC_WRITE);
    assert_int_equal(leaves(w, 2), 1);
    end(w);
}

/* ---- 1 GiB ---- */

#define FRAMES (3 * (UINT64_C(1) << 18))
#define GUEST  64 /* scattered frames of the guest's, as gfn 0 to 63 */
#define POOL   512
#define GIANT  (UINT64_C(1) << 18) /* gfn and mfn of 1 GiB in one piece */

static struct phys          phys;
static struct paging_domain domain;
static struct paging_vcpu   vcpu;
static struct paging_locked lock = { &domain };

static void *reserve(uint64_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);

    if (p == MAP_FAILED)
        abort();
    return p;
}

static void p2m(uint64_t gfn, uint64_t mfn, unsigned order)
{
    const struct p2m_entry entry = { mfn_of(mfn), P2M_RAM, (uint8_t)order };

    assert_int_equal(paging_p2m_set(lock, gfn_of(gfn), entry).kind, VERDICT_RETRY);
}

static void machine(enum paging_kind kind, bool gb1)
{
    phys = (struct phys){ reserve(FRAMES * PAGE_SIZE), FRAMES, reserve(FRAMES * 64),
                          reserve(phys_blocks(FRAMES) * 2), reserve(phys_words(FRAMES) * 8) };
    memset(&domain, 0, sizeof(domain));
    for (uint64_t i = 0; i < FRAMES; i++)
        phys.frame[i] = (struct frame){
            .kind = i >= GIANT || (i >= GUEST && i < 2 * GUEST) ? FRAME_GUEST : FRAME_HV, .owner = 5
        };
    pool_init(&domain.pool, &phys, 5);
    for (unsigned i = POOL; i < 2 * POOL; i += 2)
        pool_add(&domain.pool, mfn_of(i));
    assert_true(paging_domain_init(&domain, &phys, 5, kind, (struct pt_features){ 40, gb1, true }));
    paging_vcpu_init(&domain, &vcpu, mfn_of(1));
    for (unsigned i = 0; i < GUEST; i++)
        p2m(i, GUEST + i, 0);
    p2m(GIANT, GIANT, 18);
}

static void assert_sound(void)
{
    struct audit audit;

    memset(&audit, 0, sizeof(audit));
    paging_audit(lock, &audit);
    if (audit.violations != 0)
        fail_msg("%s", audit.first);
}

static void machine_end(void)
{
    assert_sound();
    while (!paging_domain_reap(lock, 100))
        ;
    assert_int_equal(pool_free_frames(&domain.pool), domain.pool.total);
    munmap(phys.base, FRAMES * PAGE_SIZE);
    munmap(phys.frame, FRAMES * 64);
    munmap(phys.watched, phys_blocks(FRAMES) * 2);
    munmap(phys.dirty, phys_words(FRAMES) * 8);
}

static void fault(uint64_t va, unsigned acc)
{
    const struct fault f = { gva_of(va), acc, false };

    assert_int_equal(paging_fault(lock, &vcpu, &f).kind, VERDICT_RETRY);
    assert_sound();
}

static void nested_memory_is_in_leaves_of_1_gib(void **state)
{
    (void)state;
    machine(PAGING_NESTED, true);
    fault((GIANT << 12) + 0x12345678, ACC_WRITE);
    assert_int_equal(domain.stats.leaves[2], 1);
    p2m(GIANT + 0x12345, 2 * GIANT, 0); /* one page less, and all but 2 MiB stay in large leaves */
    assert_int_equal(domain.stats.leaves[2], 0);
    fault((GIANT + 0x12345) << 12, ACC_WRITE);
    fault((GIANT + 0x12000) << 12, ACC_WRITE);
    assert_int_equal(domain.stats.leaves[2], 0);
    assert_int_equal(domain.stats.leaves[1], 1);
    assert_int_equal(domain.stats.leaves[0], GROUP);
    machine_end();
}

static void a_processor_without_pages_of_1_gib_gets_2_mib(void **state)
{
    (void)state;
    machine(PAGING_NESTED, false);
    fault((GIANT << 12) + 0x12345678, ACC_WRITE);
    assert_int_equal(domain.stats.leaves[2], 0);
    assert_int_equal(domain.stats.leaves[1], 1);
    machine_end();
}

static void memory_that_is_not_aligned_gets_no_large_leaf(void **state)
{
    (void)state;
    machine(PAGING_NESTED, true);
    p2m(2 * GIANT, 2 * GIANT + 512, 9);
    p2m(2 * GIANT + 512, 2 * GIANT + 1024 + 8, 9);
    fault(2 * GIANT << 12, 0);
    assert_int_equal(domain.stats.leaves[1], 1);
    fault((2 * GIANT + 512) << 12, 0);
    assert_int_equal(domain.stats.leaves[1], 1);
    assert_int_equal(domain.stats.leaves[0], GROUP);
    machine_end();
}

/* What is 1 GiB to the guest, but blocks of 2 MiB to the p2m. */
static void a_gib_in_pieces_gets_leaves_of_2_mib(void **state)
{
    (void)state;
    machine(PAGING_NESTED, true);
    p2m(GIANT, GIANT, 9);
    fault(GIANT << 12, 0);
    fault((GIANT << 12) + BLOCK, 0);
    assert_int_equal(domain.stats.leaves[2], 0);
    assert_int_equal(domain.stats.leaves[1], 2);
    machine_end();
}

static void guest_entry(uint64_t mfn, unsigned index, uint64_t value)
{
    struct verdict v = paging_write(lock, mfn_of(mfn), index * 8, &value, 8);

    assert_int_equal(v.kind, VERDICT_RETRY);
}

static void a_page_of_1_gib_with_a_table_in_it_is_2_mib_and_less(void **state)
{
    const struct paging_regs regs = { 0x80010011, 1 << 12, 0x20, 0x500 };

    (void)state;
    machine(PAGING_SHADOW, true);
    guest_entry(GUEST + 1, 0, 2 << 12 | FLAGS);
    guest_entry(GUEST + 1, 1, (GIANT + 0x205) << 12 | FLAGS);
    guest_entry(GUEST + 2, 0, GIANT << 12 | PAGE);
    guest_entry(GIANT + 0x205, 0, GIANT << 12 | PAGE);
    assert_int_equal(paging_set_regs(lock, &vcpu, &regs).kind, VERDICT_RETRY);
    fault(0x12345000, ACC_WRITE);
    assert_int_equal(domain.stats.leaves[2], 1);

    fault(UINT64_C(1) << 39, ACC_WRITE); /* by the table in the second 2 MiB */
    assert_int_equal(domain.stats.leaves[2], 1);
    assert_int_equal(domain.stats.leaves[1], 1);
    fault((UINT64_C(1) << 39) + BLOCK, ACC_WRITE);
    assert_int_equal(domain.stats.leaves[1], 1);
    assert_int_equal(domain.stats.leaves[0], GROUP);
    fault(0x12345000, ACC_WRITE); /* the leaf of 1 GiB was read-only since */
    assert_int_equal(domain.stats.leaves[2], 0);
    assert_int_equal(domain.stats.leaves[1], 2);
    machine_end();
}

static void write_pages(unsigned pages)
{
    for (unsigned i = 0; i < pages; i++) {
        const struct fault f = { gva_of(i * PAGE_SIZE), ACC_WRITE, false };

        assert_int_equal(paging_fault(lock, &vcpu, &f).kind, VERDICT_RETRY);
    }
}

static void no_leaf_is_made_while_a_frame_is_being_unmapped(void **state)
{
    const struct paging_regs regs = { 0x80010011, 1 << 12, 0x20, 0x500 };
    const struct p2m_entry   hole = { MFN_NONE, P2M_HOLE, 0 };
    uint32_t                 small;

    (void)state;
    machine(PAGING_SHADOW, true);
    guest_entry(GUEST + 1, 0, 2 << 12 | FLAGS);
    guest_entry(GUEST + 2, 0, 3 << 12 | FLAGS);
    guest_entry(GUEST + 2, 1, GIANT << 12 | PAGE);
    guest_entry(GUEST + 3, 0, 4 << 12 | FLAGS);
    for (unsigned i = 0; i < 400; i++)
        guest_entry(GUEST + 4, i, (GIANT + 5) << 12 | FLAGS);
    assert_int_equal(paging_set_regs(lock, &vcpu, &regs).kind, VERDICT_RETRY);
    write_pages(400);
    assert_true(paging_p2m_set(lock, gfn_of(GIANT + 5), hole).again);
    small = domain.stats.leaves[0];
    fault(UINT64_C(1) << 30, ACC_WRITE); /* the guest goes on meanwhile */
    assert_int_equal(domain.stats.leaves[2], 0);
    write_pages(400);
    assert_true(domain.stats.leaves[0] <= small);
    while (paging_p2m_set(lock, gfn_of(GIANT + 5), hole).again)
        ;
    fault((UINT64_C(1) << 30) + BLOCK, ACC_WRITE);
    assert_int_equal(domain.stats.leaves[1], 1);
    machine_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_large_page_is_one_leaf_and_one_fault),
        cmocka_unit_test(the_first_write_to_a_clean_large_page_sets_dirty),
        cmocka_unit_test(with_paging_off_memory_is_in_large_leaves),
        cmocka_unit_test(a_large_leaf_is_split_by_a_table_and_merged_when_it_goes),
        cmocka_unit_test(a_read_only_large_page_may_hold_tables),
        cmocka_unit_test(read_only_memory_is_a_read_only_leaf),
        cmocka_unit_test(a_change_of_the_p2m_splits_and_a_whole_block_merges),
        cmocka_unit_test(a_page_of_4_mib_is_two_leaves),
        cmocka_unit_test(a_block_has_at_most_so_many_writable_large_leaves),
        cmocka_unit_test(a_guard_is_at_its_frame_though_the_leaf_is_large),
        cmocka_unit_test(a_vcpu_gets_its_root_when_there_is_memory_for_it),
        cmocka_unit_test(nested_memory_is_in_leaves_of_1_gib),
        cmocka_unit_test(a_processor_without_pages_of_1_gib_gets_2_mib),
        cmocka_unit_test(memory_that_is_not_aligned_gets_no_large_leaf),
        cmocka_unit_test(a_gib_in_pieces_gets_leaves_of_2_mib),
        cmocka_unit_test(a_page_of_1_gib_with_a_table_in_it_is_2_mib_and_less),
        cmocka_unit_test(no_leaf_is_made_while_a_frame_is_being_unmapped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
