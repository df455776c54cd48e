/* test: with paging/ */
/*
 * Nested paging on a small machine: what the nested tables say against the p2m, by a walk of
 * four levels that is spelled out here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paging/paging.h"

#define FRAMES   256
#define PAE      1  /* the hypervisor's frame for the vCPU */
#define GUEST    2  /* first frame of the guest's */
#define POOL     64 /* first frame of the pool */
#define ABOVE_4G UINT64_C(0x100000)

static _Alignas(4096) uint8_t memory[FRAMES * PAGE_SIZE];
static struct frame         frames[FRAMES];
static uint16_t             watched[1];
static uint64_t             dirty[(FRAMES + 63) / 64];
static const struct phys    phys = { memory, FRAMES, frames, watched, dirty };
static struct paging_domain domain;
static struct paging_vcpu   vcpu;
static struct paging_locked lock = { &domain };

static void set(uint64_t gfn, uint64_t mfn, enum p2m_type type)
{
    bool                   there = type == P2M_RAM || type == P2M_ROM;
    const struct p2m_entry entry = { there ? mfn_of(mfn) : MFN_NONE, type, 0 };

    assert_int_equal(paging_p2m_set(lock, gfn_of(gfn), entry).kind, VERDICT_RETRY);
}

static int set_up(void **state)
{
    (void)state;
    memset(frames, 0, sizeof(frames));
    memset(&domain, 0, sizeof(domain));
    for (unsigned i = 0; i < FRAMES; i++)
        frames[i] = (struct frame){ .kind = i < GUEST ? FRAME_HV : FRAME_GUEST, .owner = 5 };
    pool_init(&domain.pool, &phys, 5);
    for (unsigned i = POOL; i < FRAMES; i += 2)
        pool_add(&domain.pool, mfn_of(i));
    assert_true(paging_domain_init(&domain, &phys, 5, PAGING_NESTED,
                                   (struct pt_features){ 40, true, true }));
    paging_vcpu_init(&domain, &vcpu, mfn_of(PAE));
    for (unsigned i = 0; i < 8; i++)
        set(i, GUEST + i, P2M_RAM);
    return 0;
}

static void assert_sound(void)
{
    struct audit audit;

    memset(&audit, 0, sizeof(audit));
    paging_audit(lock, &audit);
    if (audit.violations != 0)
        fail_msg("%s", audit.first);
}

static int tear_down(void **state)
{
    (void)state;
    assert_sound();
    while (!paging_domain_reap(lock, 100))
        ;
    assert_int_equal(pool_free_frames(&domain.pool), domain.pool.total);
    return 0;
}

static struct verdict fault(uint64_t gpa, unsigned acc)
{
    const struct fault   f = { gva_of(gpa), acc, false };
    const struct verdict verdict = paging_fault(lock, &vcpu, &f);

    assert_sound();
    return verdict;
}

/* What the nested tables say; 0 if they say nothing. */
static uint64_t leaf(uint64_t gpa)
{
    struct paging_hw hw = paging_hw(&vcpu);
    uint64_t         e = hw.cr3 | 1;

    assert_int_equal(hw.levels, 4);
    for (unsigned shift = 39; shift >= 12 && (e & 1); shift -= 9)
        memcpy(&e, memory + (e & UINT64_C(0xffffffffff000)) + (gpa >> shift & 511) * 8, 8);
    return e & 1 ? e : 0;
}

static void assert_maps(uint64_t gpa, uint64_t mfn, bool writable)
{
    assert_int_equal((leaf(gpa) & UINT64_C(0xffffffffff000)) >> 12, mfn);
    assert_int_equal(leaf(gpa) >> 1 & 1, writable);
    assert_int_equal(leaf(gpa) >> 2 & 1, 1); /* every nested access counts as a user's */
    assert_int_equal(leaf(gpa) >> 63, 0);
}

static void memory_is_mapped_when_it_is_used(void **state)
{
    (void)state;
    assert_int_equal(leaf(0x3000), 0);
    assert_int_equal(fault(0x3123, 0).kind, VERDICT_RETRY);
    assert_maps(0x3000, GUEST + 3, true);
    assert_maps(0x4000, GUEST + 4, true); /* and what lies near it */
    assert_int_equal(leaf(0x8000), 0);
}

static void memory_above_4_gib_is_not_what_lies_below(void **state)
{
    (void)state;
    set(ABOVE_4G + 3, GUEST + 20, P2M_RAM);
    assert_int_equal(fault((ABOVE_4G + 3) << 12, ACC_WRITE).kind, VERDICT_RETRY);
    assert_maps((ABOVE_4G + 3) << 12, GUEST + 20, true);
    assert_int_equal(leaf(0x3000), 0);
    assert_int_equal(fault((ABOVE_4G + 4) << 12, ACC_WRITE).kind, VERDICT_DEVICE);
}

static void read_only_memory_is_read_and_its_writes_are_a_device_s(void **state)
{
    struct verdict verdict;

    (void)state;
    set(5, GUEST + 21, P2M_ROM);
    assert_int_equal(fault(0x5000, 0).kind, VERDICT_RETRY);
    assert_maps(0x5000, GUEST + 21, false);
    verdict = fault(0x5678, ACC_WRITE);
    assert_int_equal(verdict.kind, VERDICT_DEVICE);
    assert_int_equal(verdict.gpa, 0x5678);
    assert_maps(0x5000, GUEST + 21, false);
}

static void what_the_p2m_no_longer_says_is_gone_and_flushed(void **state)
{
    const struct p2m_entry   hole = { MFN_NONE, P2M_HOLE, 0 };
    const struct paging_regs regs = { 0x80010011, 0x1000, 0x20, 0xd00 };
    uint64_t                 root = paging_hw(&vcpu).cr3, lowered = domain.lowered;
    struct verdict           verdict;

    (void)state;
    paging_note_regs(lock, &vcpu, &regs); /* the guest's own paging makes no difference */
    assert_int_equal(fault(0x3000, ACC_WRITE).kind, VERDICT_RETRY);
    verdict = paging_p2m_set(lock, gfn_of(3), hole);
    assert_int_equal(verdict.kind, VERDICT_RETRY);
    assert_int_not_equal(verdict.flush, FLUSH_NONE);
    assert_true(domain.lowered > lowered);
    assert_int_equal(leaf(0x3000), 0);
    assert_int_equal(paging_hw(&vcpu).cr3, root);
    assert_int_equal(fault(0x3000, ACC_WRITE).kind, VERDICT_DEVICE);
    set(3, GUEST + 22, P2M_RAM);
    assert_int_equal(fault(0x3000, ACC_WRITE).kind, VERDICT_RETRY);
    assert_maps(0x3000, GUEST + 22, true);
}

/* The tables in use give way, and the guest goes on with what is left. */
static void a_pool_that_shrinks_takes_tables_in_use(void **state)
{
    bool     ready = false;
    unsigned calls = 0;
    mfn_t    held[FRAMES];
    unsigned count = 0;

    (void)state;
    for (uint64_t i = 0; i < 30; i++) {
        set(i << 18, GUEST + i, P2M_RAM);
        assert_int_equal(fault(i << 30, ACC_WRITE).kind, VERDICT_RETRY);
    }
    while (domain.pool.free_pairs > 20)
        held[count++] = pool_pair(&domain.pool);
    while (!ready) {
        const struct verdict verdict = paging_pool_spare(lock, 20, &ready);

        assert_true(calls++ < 100);
        assert_true(ready || verdict.again);
    }
    assert_true(domain.pool.free_pairs >= 20 + 12);
    assert_int_equal(leaf(UINT64_C(3) << 30), 0);
    assert_int_equal(fault(UINT64_C(3) << 30, ACC_WRITE).kind, VERDICT_RETRY);
    assert_maps(UINT64_C(3) << 30, GUEST + 3, true);
    while (count > 0)
        pool_put_pair(&domain.pool, held[--count]);
}

static void after_a_blow_everything_is_asked_for_again(void **state)
{
    struct paging_hw before = paging_hw(&vcpu), after;
    uint64_t         faults = domain.stats.faults;
    struct verdict   verdict;

    (void)state;
    for (uint64_t i = 0; i < 8; i++)
        assert_int_equal(fault(i << 12, ACC_WRITE).kind, VERDICT_RETRY);
    verdict = paging_blow(lock);
    assert_int_equal(verdict.kind, VERDICT_RETRY);
    assert_int_equal(verdict.flush, FLUSH_ALL);
    assert_false(verdict.again);
    after = paging_hw(&vcpu);
    assert_int_not_equal(after.serial, before.serial); /* a fresh ASID */
    assert_int_not_equal(after.cr3, before.cr3);
    for (uint64_t i = 0; i < 8; i++)
        assert_int_equal(leaf(i << 12), 0);
    set(3, GUEST + 22, P2M_ROM);
    assert_int_equal(fault(0x3000, 0).kind, VERDICT_RETRY);
    assert_maps(0x3000, GUEST + 22, false);
    assert_int_equal(domain.stats.faults - faults, 9); /* each fault does what it is for */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(memory_is_mapped_when_it_is_used),
        TEST(memory_above_4_gib_is_not_what_lies_below),
        TEST(read_only_memory_is_read_and_its_writes_are_a_device_s),
        TEST(what_the_p2m_no_longer_says_is_gone_and_flushed),
        TEST(a_pool_that_shrinks_takes_tables_in_use),
        TEST(after_a_blow_everything_is_asked_for_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
