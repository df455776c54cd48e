/* test: with paging/ */
/*
 * Log-dirty under nested paging, against a plain array of what was written; and what the random
 * worlds (test/model), which do the same under shadow paging, have no room for: blocks that lie
 * askew in the machine, other domains' frames, how much one call does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paging/shadow.h"

#define FRAMES 4096
#define PAE    1
#define SMALL  16   /* first frame of what is mapped in pages of 4 KiB */
#define COUNT  256  /* guest frames 0 to COUNT - 1 */
#define BLOCK  512  /* gfn and first frame of an aligned block of 2 MiB */
#define ASKEW  1024 /* gfn of a block whose frames begin at ASKEW_MFN */
#define POOL   2048
#define END    2048 /* gfn beyond all memory */
#define MINE   5
#define OTHERS 6

#define ASKEW_MFN (1024 + 37)

static _Alignas(4096) uint8_t memory[FRAMES * PAGE_SIZE];
static struct frame         frames[FRAMES];
static uint16_t             watched[FRAMES / 512];
static uint64_t             dirty[FRAMES / 64];
static const struct phys    phys = { memory, FRAMES, frames, watched, dirty };
static struct paging_domain domain;
static struct paging_vcpu   vcpu;
static struct paging_locked lock = { &domain };
static bool                 written[END]; /* what must be reported */

static void set(uint64_t gfn, uint64_t mfn, enum p2m_type type, unsigned order)
{
    const struct p2m_entry entry = { mfn_of(mfn), type, (uint8_t)order };
    struct verdict         d;

    do
        d = paging_p2m_set(lock, gfn_of(gfn), entry);
    while (d.again);
    assert_int_equal(d.kind, VERDICT_RETRY);
    for (unsigned i = 0; i < 1u << order; i++)
        written[gfn + i] = type == P2M_RAM || type == P2M_ROM;
}

static int set_up(void **state)
{
    (void)state;
    memset(frames, 0, sizeof(frames));
    memset(watched, 0, sizeof(watched));
    memset(dirty, 0xff, sizeof(dirty)); /* left behind by others */
    memset(&domain, 0, sizeof(domain));
    for (unsigned i = 0; i < FRAMES; i++)
        frames[i] = (struct frame){ .kind = i < SMALL ? FRAME_HV : FRAME_GUEST, .owner = MINE };
    pool_init(&domain.pool, &phys, MINE);
    for (unsigned i = POOL; i < FRAMES; i += 2)
        pool_add(&domain.pool, mfn_of(i));
    assert_true(paging_domain_init(&domain, &phys, MINE, PAGING_NESTED,
                                   (struct pt_features){ 40, true, true }));
    paging_vcpu_init(&domain, &vcpu, mfn_of(PAE));
    for (unsigned i = 0; i < COUNT; i++)
        set(i, SMALL + i, P2M_RAM, 0);
    set(BLOCK, BLOCK, P2M_RAM, 9);
    set(ASKEW, ASKEW_MFN, P2M_RAM, 9);
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

static void turn_on(void)
{
    struct verdict d;

    do
        d = paging_dirty_on(lock);
    while (d.again);
    assert_int_equal(d.kind, VERDICT_RETRY);
    assert_int_equal(d.flush, FLUSH_ALL);
    memset(written, 0, sizeof(written));
}

static void turn_off(void)
{
    const struct verdict d = paging_dirty_off(lock);

    assert_int_equal(d.kind, VERDICT_RETRY);
    assert_int_equal(d.flush, FLUSH_ALL);
    assert_false(d.again);
}

/* The leaf for this guest frame: 0 if there is none. */
static uint64_t leaf(uint64_t gfn, unsigned *order)
{
    uint64_t e = paging_hw(&vcpu).cr3 | 1;

    for (unsigned shift = 27; (e & 1); shift -= 9) {
        memcpy(&e, memory + (e & UINT64_C(0xffffffffff000)) + (gfn >> shift & 511) * 8, 8);
        *order = shift;
        if (shift == 0 || (e & 0x80))
            break;
    }
    return e & 1 ? e : 0;
}

/* What a processor does: a fault if the leaf does not allow it, and then the access. */
static bool touch(uint64_t gfn, bool write)
{
    const struct fault f = { gva_of(gfn << 12), write ? ACC_WRITE : 0, false };
    bool               faulted = false;

    for (unsigned i = 0; i < 3; i++) {
        unsigned order;
        uint64_t e = leaf(gfn, &order);

        if (e != 0 && (!write || (e & 2))) {
            written[gfn] = written[gfn] || write;
            return faulted;
        }
        faulted = true;
        assert_int_equal(paging_fault(lock, &vcpu, &f).kind, VERDICT_RETRY);
    }
    fail_msg("three faults for one access");
    return true;
}

/* All of [first, end); returns what was asked to be flushed. */
static enum flush_kind fetch(uint64_t first, uint64_t end, bool clean)
{
    uint64_t           bitmap[END / 64] = { 0 }, found = 0;
    enum flush_kind    flush = FLUSH_NONE;
    struct verdict     d;
    struct dirty_fetch f = { gfn_of(first), gfn_of(end), clean, gfn_of(first), bitmap, 0 };

    do {
        uint64_t before = f.found;

        d = paging_dirty_fetch(lock, &f);
        flush = d.flush > flush ? d.flush : flush;
        assert_true(!clean || f.found - before <= CHANGE_BUDGET);
    } while (d.again);
    for (uint64_t gfn = first; gfn < end; gfn++) {
        bool ours = bitmap[(gfn - first) / 64] >> (gfn - first) % 64 & 1;

        if (ours != written[gfn])
            fail_msg("gfn %lu: written %d, reported %d", (unsigned long)gfn, written[gfn], ours);
        written[gfn] = written[gfn] && !clean;
        found += ours;
    }
    assert_int_equal(f.found, found);
    assert_sound();
    return flush;
}

static void a_write_is_seen_once_until_it_is_cleaned(void **state)
{
    (void)state;
    touch(3, true);
    turn_on();
    fetch(0, END, false);
    assert_true(touch(3, false));
    assert_true(touch(3, true));
    assert_false(touch(3, true));
    assert_int_equal(domain.dirty.faults, 1);
    assert_int_equal(fetch(0, END, false), FLUSH_NONE);
    assert_false(touch(3, true));
    assert_int_not_equal(fetch(0, END, true), FLUSH_NONE);
    assert_true(touch(3, true));
    fetch(0, END, true);
    fetch(0, END, true);
}

static void what_is_read_is_not_written(void **state)
{
    (void)state;
    turn_on();
    for (unsigned i = 0; i < COUNT; i++)
        touch(i, false);
    touch(BLOCK + 7, false);
    fetch(0, END, true);
    assert_int_equal(domain.dirty.faults, 0);
}

static void large_leaves_are_back_when_it_is_over(void **state)
{
    unsigned order;

    (void)state;
    touch(BLOCK, true);
    assert_true(leaf(BLOCK, &order) & 2);
    assert_int_equal(order, 9);
    turn_on();
    touch(BLOCK + 3, true);
    (void)leaf(BLOCK + 3, &order);
    assert_int_equal(order, 0);
    fetch(0, END, true);
    turn_off();
    assert_int_equal(leaf(BLOCK + 3, &order), 0);
    touch(BLOCK + 3, true);
    assert_true(leaf(BLOCK + 3, &order) & 2);
    assert_int_equal(order, 9);
}

/* Every offset of the first bit in a word, and parts of a block. */
static void blocks_that_lie_askew_are_reported_exactly(void **state)
{
    (void)state;
    turn_on();
    for (unsigned i = 0; i < 512; i += 1 + i % 5)
        touch(ASKEW + i, true);
    for (unsigned first = 0; first < 130; first += 13)
        fetch(ASKEW + first, ASKEW + 512 - first, false);
    fetch(ASKEW + 100, ASKEW + 164, true);
    fetch(0, END, true);
}

static void what_comes_behind_a_guest_frame_is_as_good_as_written(void **state)
{
    (void)state;
    turn_on();
    set(7, SMALL + 300, P2M_RAM, 0);
    set(8, SMALL + 301, P2M_ROM, 0);
    touch(9, true);
    set(9, 0, P2M_HOLE, 0);
    fetch(0, END, true);
    set(9, SMALL + 9, P2M_RAM, 0);
    set(ASKEW, ASKEW_MFN, P2M_RAM, 9);
    fetch(0, END, true);
}

static void a_second_log_begins_with_nothing(void **state)
{
    (void)state;
    turn_on();
    for (unsigned i = 0; i < COUNT; i++)
        touch(i, true);
    turn_off();
    touch(3, true);
    set(4, SMALL + 302, P2M_RAM, 0);
    turn_on();
    fetch(0, END, true);
}

static bool exchange(uint64_t gfn, uint64_t old, uint64_t new)
{
    bool           done = false;
    struct verdict d = paging_cmpxchg(lock, mfn_of(SMALL + gfn), 16, &old, &new, 8, &done);

    assert_int_equal(d.kind, VERDICT_RETRY);
    written[gfn] = true;
    return done;
}

/* One that finds another value is a write as well: APM vol. 3, CMPXCHG. */
static void the_hypervisor_s_writes_count(void **state)
{
    const uint64_t value = 1;

    (void)state;
    turn_on();
    assert_int_equal(paging_write(lock, mfn_of(SMALL + 5), 8, &value, 8).kind, VERDICT_RETRY);
    written[5] = true;
    paging_dirty_mark(lock, mfn_of(SMALL + 6));
    written[6] = true;
    assert_true(exchange(70, 0, 1));
    fetch(0, END, true);
    assert_false(exchange(70, 0, 1));
    fetch(0, END, true);
}

static void memory_of_others_is_theirs_to_log(void **state)
{
    struct borrow b;

    (void)state;
    frames[SMALL + 310].owner = OTHERS;
    dirty[(SMALL + 310) / 64] = 0;
    paging_borrow(&phys, &b, MINE, mfn_of(SMALL + 310));
    set(9, SMALL + 310, P2M_FOREIGN, 0);
    turn_on();
    touch(9, true);
    assert_int_equal(domain.dirty.faults, 0);
    paging_dirty_mark(lock, mfn_of(SMALL + 310));
    assert_int_equal(dirty[(SMALL + 310) / 64], 0);
    set(9, SMALL + 9, P2M_RAM, 0);
    paging_give_back(&phys, &b);
    frames[SMALL + 310].owner = MINE;
}

/* Runs of accesses, changes, looks at parts: never a page more or less. */
static void random_writes_are_reported_exactly(void **state)
{
    uint64_t seed = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 0) : 1;

    (void)state;
    print_message("seed %lu\n", (unsigned long)seed);
    srandom((unsigned)seed);
    turn_on();
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t dice = (uint64_t)random() % 1000, gfn = (uint64_t)random() % COUNT;
        uint64_t first = (uint64_t)random() % END;

        if (dice < 300)
            gfn = BLOCK + (uint64_t)random() % 1024;
        if (dice == 1)
            fetch(0, END, true);
        else if (dice < 4)
            fetch(first, first + (uint64_t)random() % (END - first), dice == 2);
        else if (dice == 4 && gfn < COUNT)
            set(gfn, SMALL + gfn, random() % 2 ? P2M_RAM : P2M_HOLE, 0);
        else if (dice == 5 && i % 4 == 0) {
            turn_off();
            turn_on();
        } else if (gfn >= COUNT || p2m_get(&domain.p2m, gfn_of(gfn)).type == P2M_RAM)
            touch(gfn, random() % 2);
    }
    fetch(0, END, true);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_write_is_seen_once_until_it_is_cleaned),
        TEST(what_is_read_is_not_written),
        TEST(large_leaves_are_back_when_it_is_over),
        TEST(blocks_that_lie_askew_are_reported_exactly),
        TEST(what_comes_behind_a_guest_frame_is_as_good_as_written),
        TEST(a_second_log_begins_with_nothing),
        TEST(the_hypervisor_s_writes_count),
        TEST(memory_of_others_is_theirs_to_log),
        TEST(random_writes_are_reported_exactly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
