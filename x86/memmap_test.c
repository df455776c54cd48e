/* The memory map against a naive model: two flags for each page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paging/frame.h"
#include "x86/memmap.h"

#define PAGES     600
#define LOW_PAGES (MEMMAP_LOW / PAGE_SIZE)
#define ROUNDS    30000
#define STEPS     12

struct model {
    bool ram[PAGES], unused[PAGES];
};

/* Bytes, and the pages that lie in them wholly or partly. */
struct bytes {
    uint64_t start, end;
    uint64_t whole_first, whole_end, partly_first, partly_end;
};

static uint64_t random_state;

static uint64_t random_below(uint64_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % limit;
}

static struct bytes random_bytes(void)
{
    struct bytes b;

    b.start = random_below((PAGES - 110) * PAGE_SIZE);
    b.end = b.start + random_below(random_below(4) ? 100 * PAGE_SIZE : 2 * PAGE_SIZE);
    if (random_below(8) == 0)
        b.start &= ~PAGE_MASK;
    b.whole_first = (b.start + PAGE_MASK) / PAGE_SIZE;
    b.whole_end = b.end / PAGE_SIZE;
    b.partly_first = b.start / PAGE_SIZE;
    b.partly_end = (b.end + PAGE_MASK) / PAGE_SIZE;
    return b;
}

static void add(struct model *m)
{
    struct bytes b = random_bytes();

    memmap_add(b.start, b.end);
    for (uint64_t i = b.whole_first; i < b.whole_end; i++) {
        m->ram[i] = true;
        m->unused[i] = i >= LOW_PAGES;
    }
}

static void lose(struct model *m, void (*how)(uint64_t, uint64_t), bool ram_too)
{
    struct bytes b = random_bytes();

    how(b.start, b.end);
    for (uint64_t i = b.partly_first; i < b.partly_end; i++) {
        m->unused[i] = false;
        if (ram_too)
            m->ram[i] = false;
    }
}

/* What is taken was free, aligned, below the limit, and is not free any more. */
static bool take(struct model *m)
{
    uint64_t count = random_below(20) + 1;
    uint64_t align = PAGE_SIZE << random_below(4);
    uint64_t below = random_below(PAGES) * PAGE_SIZE;
    uint64_t at = memmap_take(count * PAGE_SIZE - random_below(PAGE_SIZE), align, below);

    if (at == 0)
        return false;
    assert_int_equal(at % align, 0);
    assert_true(at + count * PAGE_SIZE <= below);
    for (uint64_t i = at / PAGE_SIZE; i < at / PAGE_SIZE + count; i++) {
        assert_true(m->unused[i]);
        m->unused[i] = false;
    }
    return true;
}

/* No page is listed twice, and exactly the model's pages are listed. */
static void check(const bool *expected, unsigned count, struct range (*get)(unsigned))
{
    bool     seen[PAGES] = { false };
    unsigned i;

    for (i = 0; i < count; i++)
        for (uint64_t at = get(i).start; at < get(i).end; at += PAGE_SIZE) {
            assert_false(seen[at / PAGE_SIZE]);
            seen[at / PAGE_SIZE] = true;
        }
    assert_memory_equal(seen, expected, sizeof(seen));
}

static void agrees_with_the_model(void **state)
{
    const char *text = getenv("SEED");
    unsigned    taken = 0;

    (void)state;
    random_state = (text != NULL ? strtoull(text, NULL, 0) : 1) | UINT64_C(1) << 40;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct model m = { { false }, { false } };

        memmap_remove(0, PAGES * PAGE_SIZE);
        for (unsigned step = 0; step < STEPS; step++) {
            switch (random_below(6)) {
            case 0:
                lose(&m, memmap_remove, true);
                break;
            case 1:
                lose(&m, memmap_reserve, false);
                break;
            case 2:
                taken += take(&m);
                break;
            default:
                add(&m);
            }
            check(m.ram, memmap_ram_count(), memmap_ram);
            check(m.unused, memmap_free_count(), memmap_free);
        }
    }
    assert_true(taken > ROUNDS / 10);
    assert_true(memmap_complete());
}

static void the_end_and_the_sum_are_those_of_ram(void **state)
{
    (void)state;
    memmap_remove(0, PAGES * PAGE_SIZE);
    assert_int_equal(memmap_end(), 0);
    memmap_add(0x1800, 0x9fc00);
    memmap_add(0x100000, 0x180000);
    memmap_reserve(0x100000, 0x180000);
    assert_int_equal(memmap_end(), 0x180000);
    assert_int_equal(memmap_bytes(), 0x9d000 + 0x80000);
    assert_int_equal(memmap_take(1, PAGE_SIZE, UINT64_MAX), 0); /* the first MiB is never taken */
}

/* The last of the tests: what was forgotten once is never complete again. */
static void too_many_ranges_are_reported(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 200; i++)
        memmap_add((2 * i + 1000) * PAGE_SIZE, (2 * i + 1001) * PAGE_SIZE);
    assert_false(memmap_complete());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_model),
        cmocka_unit_test(the_end_and_the_sum_are_those_of_ram),
        cmocka_unit_test(too_many_ranges_are_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
