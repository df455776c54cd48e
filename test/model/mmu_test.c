/* test: with test/model/mmu.c */
/*
 * The naive processor alone, against a second reading of the manuals: for each mode, what
 * entries say, what is accessed how, and the error code or the address it must give.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/model/mmu.h"

#define NX (UINT64_C(1) << 63)

enum { R = 0, W = 1, U = 2, F = 4, AC = 8 };            /* accesses */
enum { WP = 1, NXE = 2, SMEP = 4, SMAP = 8, PSE = 16 }; /* rules  */

#define OK UINT32_MAX

static uint8_t           bytes[16 * 4096], behind[16];
static bool              touched[16];
static uint32_t          page_of[16];
static struct mmu_memory memory = {
    .bytes = bytes,
    .pages = 16,
    .touched = touched,
    .gfns = 16,
    .page_of = page_of,
    .behind = behind,
};

struct test_case {
    unsigned rules, access;
    uint64_t top, third, second, leaf; /* entries from the level next below the root's down */
    uint32_t error;                    /* or OK */
    uint64_t gpa;
};

static void put(uint64_t gpa, uint64_t value, unsigned n)
{
    memcpy(bytes + gpa, &value, n);
}

static void fresh(void)
{
    memset(bytes, 0, sizeof(bytes));
    for (uint32_t i = 0; i < 16; i++) {
        page_of[i] = i;
        behind[i] = i < 12 ? MMU_RAM : MMU_HOLE;
    }
}

static struct mmu with_rules(unsigned rules, uint64_t cr4, uint64_t efer)
{
    struct mmu mmu = { .memory = &memory, .maxphys = 40, .gb1 = true };

    mmu.regs.cr0 = 0x80000011 | (rules & WP ? 0x10000 : 0);
    mmu.regs.cr4 = cr4 | (rules & SMEP ? 0x100000 : 0) | (rules & SMAP ? 0x200000 : 0) |
                   (rules & PSE ? 0x10 : 0);
    mmu.regs.efer = efer | (rules & NXE ? 0x800 : 0);
    mmu.regs.cr3 = 0x1000;
    return mmu;
}

static struct mmu_access access_of(unsigned a)
{
    return (struct mmu_access){ a & W, a & U, a & F, a & AC };
}

static void check(struct mmu *mmu, uint64_t va, const struct test_case *c, size_t number)
{
    struct mmu_outcome o = mmu_access(mmu, va, access_of(c->access));

    if (o.ok != (c->error == OK) || (o.ok ? o.gpa != c->gpa : o.error != c->error))
        fail_msg("case %zu: ok %d error %#x gpa %#lx, want %#x %#lx", number, o.ok, o.error,
                 (unsigned long)o.gpa, c->error, (unsigned long)c->gpa);
}

#define HOLE (UINT64_C(13) << 12)
#define T3   (UINT64_C(2) << 12)
#define T2   (UINT64_C(3) << 12)
#define T1   (UINT64_C(4) << 12)
#define PAGE (UINT64_C(5) << 12)

static const struct test_case long_cases[] = {
    { WP, R, T3 | 7, T2 | 7, T1 | 7, PAGE | 7, OK, 0x5123 },
    { WP, R, T3 | 6, T2 | 7, T1 | 7, PAGE | 7, 0, 0 },
    { WP, W | U, T3 | 7, T2 | 7, T1 | 7, PAGE | 6, 6, 0 },
    { WP, F, T3 | 7, T2 | 7, T1 | 7, PAGE | 6, 0, 0 }, /* no NX, no SMEP: I is not told */
    { WP | NXE, F, T3 | 7, T2 | 7, T1 | 7, PAGE | 6, 16, 0 },
    { WP | SMEP, F, T3 | 7, T2 | 7, T1 | 7, PAGE | 6, 16, 0 },
    { WP, W, T3 | 7, T2 | 7, T1 | 7, PAGE | 5, 3, 0 },
    { 0, W, T3 | 7, T2 | 7, T1 | 7, PAGE | 5, OK, 0x5123 },
    { 0, W | U, T3 | 7, T2 | 7, T1 | 7, PAGE | 5, 7, 0 },
    { WP, W, T3 | 5, T2 | 7, T1 | 7, PAGE | 7, 3, 0 },
    { WP, U, T3 | 7, T2 | 3, T1 | 7, PAGE | 7, 5, 0 },
    { WP | NXE, F | U, T3 | 7 | NX, T2 | 7, T1 | 7, PAGE | 7, 21, 0 },
    { WP | NXE, R, T3 | 7 | NX, T2 | 7, T1 | 7, PAGE | 7 | NX, OK, 0x5123 },
    { WP, R, T3 | 7 | NX, T2 | 7, T1 | 7, PAGE | 7, 9, 0 },
    { WP, W | U, T3 | 7, T2 | 7, T1 | 7, PAGE | 7 | NX, 15, 0 },
    { WP, R, T3 | 7, T2 | 7, T1 | 7, PAGE | 7 | UINT64_C(1) << 40, 9, 0 },
    { WP, R, T3 | 7, T2 | 7, T1 | 7, PAGE | 7 | UINT64_C(1) << 51, 9, 0 },
    { WP, R, T3 | 7, T2 | 7, T1 | 7, PAGE | 7 | UINT64_C(0x7ff) << 52, OK, 0x5123 },
    { WP, R, T3 | 0x87, T2 | 7, T1 | 7, PAGE | 7, 9, 0 },
    { WP, R, T3 | 7, 0x87, 0, 0, OK, 0x3123 + (UINT64_C(5) << 21) },
    { WP, R, T3 | 7, 0x1087, 0, 0, OK, 0x3123 + (UINT64_C(5) << 21) }, /* PAT */
    { WP, R, T3 | 7, 0x2087, 0, 0, 9, 0 },
    { WP, R, T3 | 7, T2 | 7, 0x400087, 0, OK, 0x403123 },
    { WP, R, T3 | 7, T2 | 7, 0x401087, 0, OK, 0x403123 },
    { WP, R, T3 | 7, T2 | 7, 0x402087, 0, 9, 0 },
    { WP, R, T3 | 7, T2 | 7, T1 | 7, PAGE | 0x87, OK, 0x5123 },
    { WP | SMEP, F, T3 | 7, T2 | 7, T1 | 7, PAGE | 7, 17, 0 },
    { WP | SMEP, F, T3 | 7, T2 | 3, T1 | 7, PAGE | 7, OK, 0x5123 },
    { WP | SMEP, F | U, T3 | 7, T2 | 7, T1 | 7, PAGE | 7, OK, 0x5123 },
    { WP | SMAP, R, T3 | 7, T2 | 7, T1 | 7, PAGE | 7, 1, 0 },
    { WP | SMAP, W | AC, T3 | 7, T2 | 7, T1 | 7, PAGE | 7, OK, 0x5123 },
    { WP | SMAP, F, T3 | 7, T2 | 7, T1 | 7, PAGE | 7, OK, 0x5123 },
    { SMAP, W, T3 | 7, T2 | 7, T1 | 7, PAGE | 5, 3, 0 },
    { SMAP, W | AC, T3 | 7, T2 | 7, T1 | 7, PAGE | 5, OK, 0x5123 },
    { WP, R, HOLE | 7, 0, 0, 0, 9, 0 }, /* all ones: reserved bits */
    { WP, R, T3 | 7, HOLE | 7, 0, 0, 9, 0 },
    { WP, R, T3 | 7, T2 | 7, HOLE | 7, 0, 9, 0 },
    { WP, R, T3 | 7, T2 | 7, T1 | 7, HOLE | 7, OK, 0xd123 },
};

static void with_four_levels(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(long_cases) / sizeof(long_cases[0]); i++) {
        const struct test_case *c = &long_cases[i];
        struct mmu              mmu = with_rules(c->rules, 0x20, 0x500);

        fresh();
        put(0x1000 + 511 * 8, c->top, 8);
        put(0x2000 + 7 * 8, c->third, 8);
        put(0x3000 + 5 * 8, c->second, 8);
        put(0x4000 + 3 * 8, c->leaf, 8);
        check(&mmu, UINT64_C(0xffffff8000000000) | UINT64_C(7) << 30 | 5 << 21 | 3 << 12 | 0x123, c,
              i);
    }
}

static void with_five_levels_the_same_below_one_more(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(long_cases) / sizeof(long_cases[0]); i++) {
        const struct test_case *c = &long_cases[i];
        struct mmu              mmu = with_rules(c->rules, 0x1020, 0x500);

        fresh();
        mmu.regs.cr3 = 0x6000;
        put(0x6000 + 256 * 8, 0x1007, 8);
        put(0x1000 + 511 * 8, c->top, 8);
        put(0x2000 + 7 * 8, c->third, 8);
        put(0x3000 + 5 * 8, c->second, 8);
        put(0x4000 + 3 * 8, c->leaf, 8);
        check(&mmu, UINT64_C(0xff00ff8000000000) | UINT64_C(7) << 30 | 5 << 21 | 3 << 12 | 0x123, c,
              i);
    }
}

static const struct test_case pae_cases[] = {
    { WP, R, T2 | 1, 0, T1 | 7, PAGE | 7, OK, 0x5123 },
    { WP, W | U, T2 | 1, 0, T1 | 7, PAGE | 7, OK, 0x5123 }, /* the root entry has no rights */
    { WP, R, T2, 0, T1 | 7, PAGE | 7, 0, 0 },
    { WP, R, T2 | 1, 0, T1 | 7, PAGE | 7 | UINT64_C(1) << 52, 9, 0 },
    { WP, R, T2 | 1, 0, T1 | 7 | UINT64_C(1) << 62, PAGE | 7, 9, 0 },
    { WP, R, T2 | 1, 0, T1 | 7 | NX, PAGE | 7, 9, 0 },
    { WP | NXE, F, T2 | 1, 0, T1 | 7 | NX, PAGE | 7, 17, 0 },
    { WP | NXE, F, T2 | 1, 0, T1 | 7, PAGE | 6, 16, 0 },
    { WP, R, T2 | 1, 0, 0x400087, 0, OK, 0x403123 },
    { WP, R, T2 | 1, 0, 0x402087, 0, 9, 0 },
    { WP, W | U, T2 | 1, 0, T1 | 5, PAGE | 7, 7, 0 },
};

static void with_pae(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(pae_cases) / sizeof(pae_cases[0]); i++) {
        const struct test_case *c = &pae_cases[i];
        struct mmu              mmu = with_rules(c->rules, 0x20, 0);
        struct mmu_registers    regs = mmu.regs;

        fresh();
        regs.cr3 = 0x1020;
        put(0x1020 + 3 * 8, c->top, 8);
        put(0x3000 + 5 * 8, c->second, 8);
        put(0x4000 + 3 * 8, c->leaf, 8);
        assert_true(mmu_write_registers(&mmu, &regs, true));
        check(&mmu, UINT64_C(3) << 30 | 5 << 21 | 3 << 12 | 0x123, c, i);
    }
}

static void root_entries_of_pae_are_latched(void **state)
{
    struct mmu           mmu = with_rules(WP, 0x20, 0);
    struct mmu_registers regs = mmu.regs;

    (void)state;
    fresh();
    put(0x1000, T2 | 1, 8);
    put(0x3000, T1 | 7, 8);
    put(0x4000, PAGE | 7, 8);
    assert_true(mmu_write_registers(&mmu, &regs, true));
    put(0x1000, 0, 8);
    assert_true(mmu_peek(&mmu, 0, access_of(R)).ok);
    regs.cr0 &= ~UINT64_C(0x10000); /* WP does not latch them anew */
    assert_true(mmu_write_registers(&mmu, &regs, false));
    assert_true(mmu_peek(&mmu, 0, access_of(R)).ok);
    regs.cr4 ^= 0x80; /* PGE does */
    assert_true(mmu_write_registers(&mmu, &regs, false));
    assert_false(mmu_peek(&mmu, 0, access_of(R)).ok);
    put(0x1018, 3, 8); /* W is reserved there: #GP, and nothing changes */
    regs.cr3 = 0x1000;
    assert_false(mmu_write_registers(&mmu, &regs, true));
    put(0x1018, 2, 8);
    assert_true(mmu_write_registers(&mmu, &regs, true));
}

static const struct test_case legacy_cases[] = {
    { WP, R, T1 | 7, 0, 0, PAGE | 7, OK, 0x5123 },
    { WP, R, T1 | 6, 0, 0, PAGE | 7, 0, 0 },
    { WP, W | U, T1 | 7, 0, 0, PAGE | 5, 7, 0 },
    { WP, W, T1 | 7, 0, 0, PAGE | 5, 3, 0 },
    { 0, W, T1 | 7, 0, 0, PAGE | 5, OK, 0x5123 },
    { WP | NXE, F, T1 | 7, 0, 0, PAGE | 6, 0, 0 }, /* no NX in this format */
    { WP | SMEP, F, T1 | 7, 0, 0, PAGE | 7, 17, 0 },
    { WP, R, T1 | 0x87, 0, 0, PAGE | 7, OK, 0x5123 }, /* PS means nothing */
    { WP | PSE, R, 0x400087, 0, 0, 0, OK, 0x403123 },
    { WP | PSE, R, 0x401087, 0, 0, 0, OK, 0x403123 },
    { WP | PSE, R, 0x402087, 0, 0, 0, OK, UINT64_C(0x100403123) },
    { WP | PSE, R, 0x5fe087, 0, 0, 0, OK, UINT64_C(0xff00403123) },
    { WP | PSE, R, 0x600087, 0, 0, 0, 9, 0 },
    { WP | PSE, W | U, 0x400085, 0, 0, 0, 7, 0 },
    { WP | PSE, R, T1 | 7, 0, 0, PAGE | 0x87, OK, 0x5123 },
    { WP, R, HOLE | 7, 0, 0, 0, OK, 0xfffff123 }, /* all ones reserve nothing here */
};

static void with_two_levels(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(legacy_cases) / sizeof(legacy_cases[0]); i++) {
        const struct test_case *c = &legacy_cases[i];
        struct mmu              mmu = with_rules(c->rules, 0, 0);

        fresh();
        put(0x1000 + 1000 * 4, c->top, 4);
        put(0x4000 + 3 * 4, c->leaf, 4);
        check(&mmu, UINT64_C(1000) << 22 | 3 << 12 | 0x123, c, i);
    }
}

static void with_paging_off_addresses_are_32_bits_and_nothing_faults(void **state)
{
    struct mmu         mmu = { .memory = &memory, .regs = { .cr0 = 0x11, .cr4 = 0x300000 } };
    struct mmu_outcome o = mmu_access(&mmu, UINT64_C(0x1fee00123), access_of(W | U));

    (void)state;
    assert_true(o.ok);
    assert_int_equal(o.gpa, 0xfee00123);
}

static void accessed_and_dirty_are_set_on_success_only(void **state)
{
    struct mmu mmu = with_rules(WP, 0x20, 0x500);
    uint64_t   e;

    (void)state;
    fresh();
    put(0x1000, T3 | 7, 8);
    put(0x2000, T2 | 7, 8);
    put(0x3000, T1 | 7, 8);
    put(0x4000, PAGE | 5, 8);
    assert_false(mmu_access(&mmu, 0, access_of(W)).ok);
    memcpy(&e, bytes + 0x1000, 8);
    assert_int_equal(e, T3 | 7);
    assert_true(mmu_access(&mmu, 0, access_of(R)).ok);
    memcpy(&e, bytes + 0x1000, 8);
    assert_int_equal(e, T3 | 0x27);
    memcpy(&e, bytes + 0x4000, 8);
    assert_int_equal(e, PAGE | 0x25);
    assert_true(mmu_bits_set(&mmu, 0, access_of(R)));
    put(0x4000, PAGE | 7, 8);
    assert_true(mmu_access(&mmu, 0, access_of(W)).ok);
    memcpy(&e, bytes + 0x4000, 8);
    assert_int_equal(e, PAGE | 0x67);
    memcpy(&e, bytes + 0x3000, 8);
    assert_int_equal(e, T1 | 0x27); /* D is the leaf's alone */
}

static void a_table_that_points_at_itself_serves_at_every_level(void **state)
{
    struct mmu         mmu = with_rules(WP, 0x20, 0x500);
    struct mmu_outcome o;
    uint64_t           e;

    (void)state;
    fresh();
    put(0x1000 + 511 * 8, 0x1003, 8);
    o = mmu_access(&mmu, ~UINT64_C(7), access_of(W));
    assert_true(o.ok);
    assert_int_equal(o.gpa, 0x1ff8);
    memcpy(&e, bytes + 0x1ff8, 8);
    assert_int_equal(e, 0x1063);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_four_levels),
        cmocka_unit_test(with_five_levels_the_same_below_one_more),
        cmocka_unit_test(with_pae),
        cmocka_unit_test(root_entries_of_pae_are_latched),
        cmocka_unit_test(with_two_levels),
        cmocka_unit_test(with_paging_off_addresses_are_32_bits_and_nothing_faults),
        cmocka_unit_test(accessed_and_dirty_are_set_on_success_only),
        cmocka_unit_test(a_table_that_points_at_itself_serves_at_every_level),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
