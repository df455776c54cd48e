/*
 * The allocator against a naive model: one byte per frame says who has it. Sparse memory on
 * both sides of 4 GiB, random requests; after each the two must agree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/alloc.h"
#include "hv/print.h"

#define FOUR_GIB   (UINT64_C(1) << 20)
#define FRAMES     (FOUR_GIB + 2200)
#define LOW_FIRST  UINT64_C(1)
#define LOW_COUNT  UINT64_C(3999)
#define HOLE       UINT64_C(1700) /* an odd piece that is missing: 1700 to 1800 */
#define HOLE_END   UINT64_C(1800)
#define HIGH_FIRST (FOUR_GIB + 3)
#define HIGH_COUNT UINT64_C(2100)
#define BLOCKS_MAX 4096
#define ROUNDS     100000

struct block {
    uint64_t first, frames;
    unsigned order; /* of frames; UINT_MAX: from alloc_bytes */
};

/* The frame table is large and mostly never touched. */
static struct phys  phys;
static uint8_t      taken[FRAMES]; /* 0: not memory, 1: free, 2: allocated */
static struct block blocks[BLOCKS_MAX];
static unsigned     block_count;
static uint64_t     model_free;
static jmp_buf      panicked;
static bool         panic_expected;

void panic(const char *fmt, ...)
{
    if (panic_expected)
        longjmp(panicked, 1);
    fail_msg("panic: %s", fmt);
    abort();
}

static uint64_t seed_of_run(void)
{
    const char *text = getenv("SEED");
    uint64_t    seed = text != NULL ? strtoull(text, NULL, 0) : 1;

    print_message("SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

static uint64_t random_state;

static uint64_t random_below(uint64_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % limit;
}

static void model_add(uint64_t first, uint64_t count)
{
    alloc_add(&phys, mfn_of(first), count);
    for (uint64_t i = first; i < first + count; i++)
        if (i != 0) {
            taken[i] = 1;
            model_free++;
        }
}

/* alloc_add cannot be undone, so that all tests share one memory and leave it all free. */
static int set_up(void **state)
{
    (void)state;
    phys.frames = FRAMES;
    phys.frame = calloc(FRAMES, sizeof(struct frame));
    /* Only the first frames are ever reached through the base. */
    phys.base = calloc(LOW_COUNT + 1, PAGE_SIZE);
    if (phys.frame == NULL || phys.base == NULL)
        return -1;
    model_add(0, HOLE); /* frame 0 has to be left out */
    model_add(HOLE_END, LOW_FIRST + LOW_COUNT - HOLE_END);
    model_add(HIGH_FIRST, HIGH_COUNT);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(phys.frame);
    free(phys.base);
    return 0;
}

static void model_take(uint64_t first, uint64_t count)
{
    for (uint64_t i = first; i < first + count; i++) {
        assert_int_equal(taken[i], 1);
        assert_int_equal(phys.frame[i].kind, FRAME_HV);
        assert_int_equal(phys.frame[i].refs, 0);
        taken[i] = 2;
    }
    model_free -= count;
}

static void model_give(uint64_t first, uint64_t count)
{
    for (uint64_t i = first; i < first + count; i++) {
        assert_int_equal(taken[i], 2);
        taken[i] = 1;
    }
    model_free += count;
}

/* True if the model has a free aligned block in [from, to). */
static bool model_has(unsigned order, uint64_t from, uint64_t to)
{
    uint64_t size = UINT64_C(1) << order;

    for (uint64_t first = (from + size - 1) & ~(size - 1); first + size <= to; first += size) {
        uint64_t i = 0;

        while (i < size && taken[first + i] == 1)
            i++;
        if (i == size)
            return true;
    }
    return false;
}

static void take_frames(unsigned order, enum alloc_zone zone)
{
    bool  low = model_has(order, 0, LOW_FIRST + LOW_COUNT);
    bool  high = zone == ALLOC_ANY && model_has(order, FOUR_GIB, FRAMES);
    mfn_t mfn = alloc_frames(order, zone);

    assert_int_equal(mfn_valid(mfn), low || high);
    if (!mfn_valid(mfn))
        return;
    assert_int_equal(mfn.raw >= FOUR_GIB, high);
    assert_int_equal(mfn.raw & ((UINT64_C(1) << order) - 1), 0);
    assert_int_equal(phys.frame[mfn.raw].order, order);
    model_take(mfn.raw, UINT64_C(1) << order);
    blocks[block_count++] = (struct block){ mfn.raw, UINT64_C(1) << order, order };
}

/* Whole, or frame by frame: either is allowed. */
static void give_frames(struct block b)
{
    bool single = random_below(4) == 0;

    for (uint64_t i = 0; i < b.frames; i++)
        phys.frame[b.first + i].refs = 7; /* what an owner leaves behind does not matter */
    model_give(b.first, b.frames);
    if (!single)
        free_frames(mfn_of(b.first), b.order);
    for (uint64_t i = 0; single && i < b.frames; i++)
        free_frames(mfn_of(b.first + i), 0);
}

static void give_any(void)
{
    unsigned     i = (unsigned)random_below(block_count);
    struct block b = blocks[i];

    blocks[i] = blocks[--block_count];
    give_frames(b);
}

/* Whatever is asked for in whatever order, allocator and model agree. */
static void agrees_with_the_model(void **state)
{
    uint64_t succeeded = 0;

    (void)state;
    random_state = seed_of_run() | UINT64_C(1) << 40;
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned before = block_count;
        /* In turns more is taken or more is given back, so that it runs full and empty. */
        bool take = random_below(8) < (round / 1000 % 2 ? 3 : 5);

        if (take && block_count < BLOCKS_MAX)
            take_frames((unsigned)random_below(12), random_below(3) ? ALLOC_ANY : ALLOC_LOW_4G);
        else if (block_count > 0)
            give_any();
        succeeded += block_count > before;
        assert_int_equal(alloc_free_count(), model_free);
        /* The audit reads the whole frame table. */
        if (round % 2000 == 0)
            assert_int_equal(alloc_audit(), 0);
    }
    assert_true(succeeded > ROUNDS / 10);
    while (block_count > 0)
        give_any();
    assert_int_equal(alloc_audit(), 0);
    assert_int_equal(alloc_free_count(), LOW_COUNT - (HOLE_END - HOLE) + HIGH_COUNT);
}

/* Once all is free again, every block that memory can hold is there again, and no other. */
static void everything_merges_again(void **state)
{
    (void)state;
    for (unsigned order = 0; order <= ALLOC_ORDER_MAX + 1; order++) {
        bool  low = model_has(order, 0, LOW_FIRST + LOW_COUNT);
        mfn_t mfn = alloc_frames(order, ALLOC_LOW_4G);

        assert_int_equal(low, order <= 10);
        assert_int_equal(mfn_valid(mfn), low);
        if (mfn_valid(mfn))
            free_frames(mfn, order);
    }
    assert_int_equal(alloc_audit(), 0);
}

/* Bytes come zeroed, in as many frames as they need, and the rest of the block stays free. */
static void bytes_are_zeroed_and_trimmed(void **state)
{
    static const size_t sizes[] = { 1, PAGE_SIZE, PAGE_SIZE + 1, 5 * PAGE_SIZE,
                                    300 * PAGE_SIZE - 1 };
    mfn_t               high[32];
    unsigned            count = 0;

    (void)state;
    /* Memory above 4 GiB does not exist in this process: use it up. */
    for (unsigned order = ALLOC_ORDER_MAX + 1; order-- > 0;)
        for (;;) {
            mfn_t mfn = alloc_frames(order, ALLOC_ANY);

            if (!mfn_valid(mfn) || mfn.raw < FOUR_GIB) {
                if (mfn_valid(mfn))
                    free_frames(mfn, order);
                break;
            }
            assert_true(count < 32);
            high[count++] = mfn;
        }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint64_t before = alloc_free_count();
        size_t   frames = (sizes[i] + PAGE_SIZE - 1) / PAGE_SIZE;
        uint8_t *p;

        memset(phys.base, 0xa5, (LOW_COUNT + 1) * PAGE_SIZE);
        p = alloc_bytes(sizes[i]);
        assert_non_null(p);
        for (size_t at = 0; at < frames * PAGE_SIZE; at++)
            assert_int_equal(p[at], 0);
        assert_int_equal(alloc_free_count(), before - frames);
        assert_int_equal(alloc_audit(), 0);
        free_bytes(p, sizes[i]);
        assert_int_equal(alloc_free_count(), before);
        assert_int_equal(alloc_audit(), 0);
    }
    assert_null(alloc_bytes(0));
    assert_null(alloc_bytes((size_t)5000 * PAGE_SIZE));
    free_bytes(NULL, 5);
    while (count > 0) {
        count--;
        free_frames(high[count], phys.frame[high[count].raw].order);
    }
    assert_int_equal(alloc_audit(), 0);
}

/* Freeing twice, or what is still in use as something else, is our bug and stops the machine. */
static void wrong_frees_are_caught(void **state)
{
    static mfn_t    mfn; /* static: lives through longjmp */
    static uint64_t before;

    (void)state;
    before = alloc_free_count();
    mfn = alloc_frames(3, ALLOC_LOW_4G);
    assert_true(mfn_valid(mfn));
    panic_expected = true;

    phys.frame[mfn.raw + 5].kind = FRAME_GUEST;
    if (setjmp(panicked) == 0) {
        free_frames(mfn, 3);
        fail_msg("a guest's frame was freed");
    }
    phys.frame[mfn.raw + 5].kind = FRAME_HV;
    if (setjmp(panicked) == 0) {
        free_frames(mfn_of(mfn.raw + 1), 1);
        fail_msg("a block that is not aligned was freed");
    }
    free_frames(mfn, 3);
    if (setjmp(panicked) == 0) {
        free_frames(mfn, 3);
        fail_msg("a block was freed twice");
    }
    panic_expected = false;
    assert_int_equal(alloc_free_count(), before);
}

/* The audit is not blind: each kind of damage is counted. */
static void audit_finds_damage(void **state)
{
    mfn_t mfn = alloc_frames(0, ALLOC_LOW_4G);

    (void)state;
    assert_true(mfn_valid(mfn));
    phys.frame[mfn.raw].kind = FRAME_FREE;
    assert_int_not_equal(alloc_audit(), 0);
    phys.frame[mfn.raw].kind = FRAME_HV;
    assert_int_equal(alloc_audit(), 0);
    free_frames(mfn, 0);
    phys.frame[HOLE_END + 9].kind = FRAME_GUEST;
    assert_int_not_equal(alloc_audit(), 0);
    phys.frame[HOLE_END + 9].kind = FRAME_FREE;
    assert_int_equal(alloc_audit(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_model),        cmocka_unit_test(everything_merges_again),
        cmocka_unit_test(bytes_are_zeroed_and_trimmed), cmocka_unit_test(wrong_frees_are_caught),
        cmocka_unit_test(audit_finds_damage),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
