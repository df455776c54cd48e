/* The 8254 against its data sheet: counts, outputs, and the ticks that interrupt. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "x86/dev_pit.h"

#define SECOND UINT64_C(1000000000)

static struct pit pit;

/* The first nanosecond at which so many steps have been made since time 0. */
static uint64_t at(uint64_t steps)
{
    return (steps * SECOND + PIT_HZ - 1) / PIT_HZ;
}

static void set(unsigned counter, unsigned mode, uint16_t count, uint64_t now)
{
    pit_write(&pit, 3, (uint8_t)(counter << 6 | 0x30 | mode << 1), now);
    pit_write(&pit, counter, (uint8_t)count, now);
    pit_write(&pit, counter, (uint8_t)(count >> 8), now);
}

static uint16_t count(unsigned counter, uint64_t now)
{
    uint16_t low;

    pit_write(&pit, 3, (uint8_t)(counter << 6), now);
    low = pit_read(&pit, counter, now + SECOND); /* latched: time does not matter */
    return (uint16_t)(low | pit_read(&pit, counter, now + SECOND) << 8);
}

static void firmware_leaves_18_ticks_a_second(void **state)
{
    unsigned ticks = 0;

    (void)state;
    pit_init(&pit, 0);
    for (uint64_t ms = 1; ms <= 1000; ms++)
        ticks += pit_ticked(&pit, ms * 1000000);
    assert_int_equal(ticks, 18);
    assert_int_equal(pit_next_tick(&pit, 0), at(65536));
    assert_int_equal(pit_next_tick(&pit, at(65536)), at(2 * 65536));
}

static void a_repeating_counter_ticks_once_a_period_however_it_is_asked(void **state)
{
    (void)state;
    for (unsigned mode = 2; mode <= 3; mode++) {
        pit_init(&pit, 0);
        set(0, mode, 1000, 0);
        assert_false(pit_ticked(&pit, at(999)));
        assert_true(pit_ticked(&pit, at(1000)));
        assert_false(pit_ticked(&pit, at(1999)));
        assert_true(pit_ticked(&pit, at(5000))); /* what was missed is one */
        assert_false(pit_ticked(&pit, at(5999)));
        assert_int_equal(pit_next_tick(&pit, at(5999)), at(6000));
    }
}

static void a_single_count_ticks_once(void **state)
{
    (void)state;
    pit_init(&pit, 0);
    set(0, 0, 500, at(100));
    assert_int_equal(pit_next_tick(&pit, at(100)), at(600));
    assert_false(pit_ticked(&pit, at(599)));
    assert_true(pit_ticked(&pit, at(600)));
    assert_false(pit_ticked(&pit, at(100000)));
    assert_true(pit_next_tick(&pit, at(600)) == UINT64_MAX);
    pit_write(&pit, 3, 0x30, at(700)); /* a mode without a count does nothing */
    assert_true(pit_next_tick(&pit, at(700)) == UINT64_MAX);
}

static void counts_are_latched_and_count_down(void **state)
{
    (void)state;
    pit_init(&pit, 0);
    set(0, 2, 1000, 0);
    assert_int_equal(count(0, 0), 1000);
    assert_int_equal(count(0, at(1)), 999);
    assert_int_equal(count(0, at(999)), 1);
    assert_int_equal(count(0, at(1000)), 1000);
    set(0, 3, 1000, 0);
    assert_int_equal(count(0, at(100)), 800); /* by twos */
    set(0, 0, 10, 0);
    assert_int_equal(count(0, at(10)), 0);
    assert_int_equal(count(0, at(11)), 0xffff); /* it goes on */
    pit_write(&pit, 3, 0x10, 0);                /* the low byte alone */
    pit_write(&pit, 0, 200, 0);
    assert_int_equal(pit_read(&pit, 0, at(5)), 195);
    assert_int_equal(pit_read(&pit, 0, at(6)), 194);
}

static void bcd_counts_are_decimal(void **state)
{
    (void)state;
    pit_init(&pit, 0);
    pit_write(&pit, 3, 0x35, 0);
    pit_write(&pit, 0, 0x00, 0);
    pit_write(&pit, 0, 0x10, 0); /* 1000 */
    assert_int_equal(pit_next_tick(&pit, 0), at(1000));
    assert_int_equal(count(0, at(1)), 0x0999);
}

static void the_gate_holds_counter_2_and_its_output_is_seen(void **state)
{
    (void)state;
    pit_init(&pit, 0);
    set(2, 0, 1000, 0);
    assert_int_equal(pit_read_speaker(&pit, at(5000)) & 0x20, 0); /* it never began */
    pit_write_speaker(&pit, 1, at(5000));
    assert_int_equal(count(2, at(5400)), 600);
    pit_write_speaker(&pit, 0, at(5400));
    assert_int_equal(count(2, at(9000)), 600);
    pit_write_speaker(&pit, 3, at(9000));
    assert_int_equal(pit_read_speaker(&pit, at(9599)) & 0x23, 0x03);
    assert_int_equal(pit_read_speaker(&pit, at(9600)) & 0x23, 0x23);
    set(2, 3, 1000, at(10000));
    assert_int_equal(pit_read_speaker(&pit, at(10499)) & 0x20, 0x20);
    assert_int_equal(pit_read_speaker(&pit, at(10500)) & 0x20, 0);
}

static void the_gate_starts_the_modes_that_wait_for_it(void **state)
{
    (void)state;
    pit_init(&pit, 0);
    set(2, 1, 100, 0);
    assert_int_equal(pit_read_speaker(&pit, at(10)) & 0x20, 0x20);
    pit_write_speaker(&pit, 1, at(10));
    assert_int_equal(pit_read_speaker(&pit, at(109)) & 0x20, 0);
    assert_int_equal(pit_read_speaker(&pit, at(110)) & 0x20, 0x20);
}

static void status_is_read_back_before_the_count(void **state)
{
    (void)state;
    pit_init(&pit, 0);
    set(0, 2, 1000, 0);
    pit_write(&pit, 3, 0xc2, at(1));
    assert_int_equal(pit_read(&pit, 0, at(9)), 0x80 | 0x30 | 2 << 1);
    assert_int_equal(pit_read(&pit, 0, at(9)), 999 & 0xff);
    assert_int_equal(pit_read(&pit, 0, at(9)), 999 >> 8);
    assert_int_equal(pit_read(&pit, 3, 0), 0xff); /* the control word is write-only */
}

static void refresh_toggles(void **state)
{
    unsigned changes = 0;

    (void)state;
    pit_init(&pit, 0);
    for (uint64_t us = 0; us < 1000; us++)
        changes +=
            (pit_read_speaker(&pit, us * 1000) ^ pit_read_speaker(&pit, us * 1000 + 1000)) >> 4 & 1;
    assert_in_range(changes, 60, 70);
}

/* All orders of bytes at all times: no division by zero, no count out of its range. */
static void any_writes_are_survived(void **state)
{
    uint64_t seed = 1, now = 0;

    (void)state;
    pit_init(&pit, 0);
    for (unsigned i = 0; i < 200000; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        now += seed >> 44;
        switch (seed >> 33 & 7) {
        case 0:
            (void)pit_read(&pit, (unsigned)(seed >> 40 & 3), now);
            break;
        case 1:
            pit_write_speaker(&pit, (uint8_t)(seed >> 40), now);
            break;
        case 2:
            (void)pit_read_speaker(&pit, now);
            break;
        case 3:
            if (pit_ticked(&pit, now))
                assert_true(pit_next_tick(&pit, now) > now);
            break;
        default:
            pit_write(&pit, (unsigned)(seed >> 40 & 3), (uint8_t)(seed >> 48), now);
            break;
        }
        assert_true(pit_next_tick(&pit, now) > now);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(firmware_leaves_18_ticks_a_second),
        cmocka_unit_test(a_repeating_counter_ticks_once_a_period_however_it_is_asked),
        cmocka_unit_test(a_single_count_ticks_once),
        cmocka_unit_test(counts_are_latched_and_count_down),
        cmocka_unit_test(bcd_counts_are_decimal),
        cmocka_unit_test(the_gate_holds_counter_2_and_its_output_is_seen),
        cmocka_unit_test(the_gate_starts_the_modes_that_wait_for_it),
        cmocka_unit_test(status_is_read_back_before_the_count),
        cmocka_unit_test(refresh_toggles),
        cmocka_unit_test(any_writes_are_survived),
    };

    return cmocka_run_group_tests_name("x86/dev_pit", tests, NULL, NULL);
}
