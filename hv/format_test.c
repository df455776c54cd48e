/* format_string against the C library, on tables and at random. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/print.h"

#define ROUNDS 200000

static uint64_t random_state;

static uint64_t random_below(uint64_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % limit;
}

/* Formats that are made at run time or are odd on purpose: the library is the judge here. */
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
#pragma GCC diagnostic ignored "-Wformat"

/* Text, length and what lies behind the text are as the library's, for every size of the buffer. */
#define CHECK(...)                                                                                 \
    for (size_t size = 0; size < 64; size += size < 8 ? 1 : 11) {                                  \
        char ours[64], theirs[64];                                                                 \
        int  length;                                                                               \
                                                                                                   \
        memset(ours, '#', sizeof(ours));                                                           \
        memset(theirs, '#', sizeof(theirs));                                                       \
        length = format_string(ours, size, __VA_ARGS__);                                           \
        assert_int_equal(length, snprintf(theirs, size, __VA_ARGS__));                             \
        assert_memory_equal(ours, theirs, sizeof(ours));                                           \
    }

static void known_conversions_agree_with_the_library(void **state)
{
    char text[] = "abcdefgh";

    (void)state;
    CHECK("plain");
    CHECK("%%|%c|%5c|%-5c|", 'x', 'y', 'z');
    CHECK("%s|%8s|%-8s|%.2s|%8.1s|", "abc", "abc", "abc", "abc", "abc");
    CHECK("%d|%i|%5d|%-5d|%05d|", -1, 0, -42, -42, -42);
    CHECK("%.0d|%.0u|%.3d|%8.3d|%-8.3d|%08.3d|", 0, 0, -5, -5, -5, -5);
    CHECK("%x|%X|%08x|%-8x|%.4X|", 0xbeefu, 0xbeefu, 0xbeefu, 0xbeefu, 0xbefu);
    CHECK("%lu|%ld|%lx|", UINT64_MAX, INT64_MIN, UINT64_MAX);
    CHECK("%llu|%lld|%zu|%zx|", ~0ull, -1ll, (size_t)123, (size_t)0xabc);
    CHECK("%hhu|%hhd|%hu|%hd|", 0x1ff, 0x1ff, 0x1ffff, 0x1ffff);
    CHECK("%d|%d|%u|", INT32_MIN, INT32_MAX, UINT32_MAX);
    CHECK("%p|%20p|%-20p|", (void *)text, (void *)0x1234, (void *)0x1234);
    CHECK("%-05d|%0-5d|", 3, 3);
}

/* Every mix of flags, width, precision, size and conversion that we know. */
static void random_integer_formats_agree_with_the_library(void **state)
{
    static const char *const flags[] = { "", "-", "0", "-0" };
    static const char *const sizes[] = { "hh", "h", "", "l", "ll", "z" };
    const char              *text = getenv("SEED");

    (void)state;
    random_state = (text != NULL ? strtoull(text, NULL, 0) : 1) | UINT64_C(1) << 40;
    for (unsigned round = 0; round < ROUNDS; round++) {
        const char *size = sizes[random_below(6)];
        uint64_t    value = random_below(UINT64_MAX) >> random_below(64);
        char        fmt[32], ours[64], theirs[64], width[4] = "", precision[4] = "";
        int         length, expected;

        if (random_below(2))
            snprintf(width, sizeof(width), "%u", (unsigned)random_below(25) + 1);
        if (random_below(2))
            snprintf(precision, sizeof(precision), ".%u", (unsigned)random_below(25));
        snprintf(fmt, sizeof(fmt), "<%%%s%s%s%s%c>", flags[random_below(4)], width, precision, size,
                 "diuxX"[random_below(5)]);
        if (strchr(size, 'l') != NULL || *size == 'z') {
            length = format_string(ours, sizeof(ours), fmt, value);
            expected = snprintf(theirs, sizeof(theirs), fmt, value);
        } else {
            length = format_string(ours, sizeof(ours), fmt, (unsigned)value);
            expected = snprintf(theirs, sizeof(theirs), fmt, (unsigned)value);
        }
        if (length != expected || strcmp(ours, theirs) != 0)
            fail_msg("%s of %llx: \"%s\", not \"%s\"", fmt, (unsigned long long)value, ours,
                     theirs);
    }
}

/* Address sanitizer sees a byte read too many. */
static void a_precision_stops_reading_a_string(void **state)
{
    char text[4] = { 'a', 'b', 'c', 'd' };
    char out[16];

    (void)state;
    assert_int_equal(format_string(out, sizeof(out), "%.4s|%.0s|", text, text), 6);
    assert_string_equal(out, "abcd||");
}

static void a_missing_string_is_shown(void **state)
{
    char out[16];
    const char *volatile none = NULL; /* volatile: the compiler would see that it is NULL */

    (void)state;
    assert_int_equal(format_string(out, sizeof(out), "%s", none), 6);
    assert_string_equal(out, "(null)");
}

/* What is not known is shown as it stands, and no argument is guessed at. */
static void unknown_conversions_are_shown(void **state)
{
    char out[32];

    (void)state;
    format_string(out, sizeof(out), "a %-5q %d", 1);
    assert_string_equal(out, "a %-5q %d");
    format_string(out, sizeof(out), "50%");
    assert_string_equal(out, "50%");
}

/* A width that nobody can mean is cut, so that the work is bounded. */
static void widths_are_bounded(void **state)
{
    const char *volatile fmt = "%99999999999d"; /* volatile: the compiler would refuse it */
    char out[8];

    (void)state;
    assert_int_equal(format_string(out, sizeof(out), fmt, 1), 1024);
    assert_string_equal(out, "       ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_conversions_agree_with_the_library),
        cmocka_unit_test(random_integer_formats_agree_with_the_library),
        cmocka_unit_test(a_precision_stops_reading_a_string),
        cmocka_unit_test(a_missing_string_is_shown),
        cmocka_unit_test(unknown_conversions_are_shown),
        cmocka_unit_test(widths_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
