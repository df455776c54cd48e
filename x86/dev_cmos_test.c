/* The clock of a PC against the C library, and the memory sizes it keeps. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <time.h>

#include "x86/dev_cmos.h"

static unsigned number(uint8_t index, uint64_t seconds)
{
    uint8_t bcd = cmos_read(index, seconds, 0);

    assert_true((bcd >> 4) < 10 && (bcd & 15) < 10);
    return (bcd >> 4) * 10u + (bcd & 15);
}

static void the_date_is_the_c_librarys(void **state)
{
    (void)state;
    /* A stride of about three days and a prime of seconds, to the year 2400. */
    for (uint64_t s = 0; s < UINT64_C(13569465600); s += 270001) {
        time_t    t = (time_t)s;
        struct tm tm;

        assert_non_null(gmtime_r(&t, &tm));
        assert_int_equal(number(0, s), tm.tm_sec);
        assert_int_equal(number(2, s), tm.tm_min);
        assert_int_equal(number(4, s), tm.tm_hour);
        assert_int_equal(number(6, s), tm.tm_wday + 1);
        assert_int_equal(number(7, s), tm.tm_mday);
        assert_int_equal(number(8, s), tm.tm_mon + 1);
        assert_int_equal(number(0x32, s) * 100 + number(9, s), tm.tm_year + 1900);
    }
}

static unsigned word(uint8_t index, uint64_t memory)
{
    return cmos_read(index, 0, memory) | (unsigned)cmos_read(index + 1, 0, memory) << 8;
}

static void memory_is_told_as_a_bios_does(void **state)
{
    (void)state;
    assert_int_equal(word(0x15, 1), 640);
    assert_int_equal(word(0x17, 32u << 20), 31 * 1024);
    assert_int_equal(word(0x30, UINT64_C(0xf0000000)), 0xffff);
    assert_int_equal(word(0x34, 32u << 20), 256);
    assert_int_equal(word(0x34, UINT64_C(0xf0000000)), 0xef00);
    assert_int_equal(cmos_read(0x0a, 0, 0) & 0x80, 0);
    assert_int_equal(cmos_read(0x0b, 0, 0), 2);
    assert_int_equal(cmos_read(0x0d, 0, 0), 0x80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_date_is_the_c_librarys),
        cmocka_unit_test(memory_is_told_as_a_bios_does),
    };

    return cmocka_run_group_tests_name("x86/dev_cmos", tests, NULL, NULL);
}
