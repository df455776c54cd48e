/* test: with tools/access/walk.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tools/access/walk.h"

#define P     1ull
#define LARGE 0x80ull
#define NX    (1ull << 63)
#define VA    0xffffffff81234567ull /* indices 511, 511, 510, 9, 0x34 in five levels */

static uint64_t table[6][512];

static bool read_table(void *from, uint64_t frame, unsigned index, uint64_t *entry)
{
    (void)from;
    if (frame >= 6)
        return false;
    *entry = table[frame][index];
    return true;
}

static void build(void)
{
    memset(table, 0, sizeof(table));
    table[0][511] = 1 << 12 | P; /* the fifth level, read in five levels only */
    table[1][511] = 2 << 12 | P;
    table[2][510] = 3 << 12 | P;
    table[3][9] = 4 << 12 | P;
    table[4][0x34] = 0xabcdeull << 12 | P | NX | 0xffe;
}

static void goes(uint64_t root, unsigned levels, uint64_t wanted)
{
    uint64_t frame = 0;
    unsigned level;

    assert_true(walk(read_table, NULL, root, levels, VA, &frame, &level));
    assert_int_equal(frame, wanted);
}

static void stops(uint64_t root, unsigned at)
{
    uint64_t frame;
    unsigned level = 0;

    assert_false(walk(read_table, NULL, root, 4, VA, &frame, &level));
    assert_int_equal(level, at);
}

static void tables_lead_to_the_frame(void **state)
{
    (void)state;
    build();
    goes(1, 4, 0xabcde);
    goes(0, 5, 0xabcde);
}

static void large_pages_have_frames_inside(void **state)
{
    (void)state;
    build();
    table[3][9] = 0x40000000ull | P | LARGE | 1 << 12; /* bit 12 is a memory type's */
    goes(1, 4, 0x40034);
    table[2][510] = 0x80000000ull | P | LARGE;
    goes(1, 4, 0x80000 + 9 * 512 + 0x34);
}

static void what_is_missing_is_told_with_its_level(void **state)
{
    (void)state;
    build();
    table[4][0x34] &= ~P;
    stops(1, 1);
    table[3][9] = 0;
    stops(1, 2);
    table[2][510] = 77 << 12 | P; /* a table that cannot be read */
    stops(1, 2);
    table[1][511] = 0;
    stops(1, 4);
    stops(99, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_lead_to_the_frame),
        cmocka_unit_test(large_pages_have_frames_inside),
        cmocka_unit_test(what_is_missing_is_told_with_its_level),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
