/* The IOAPIC: edges, levels, masks, and its registers. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "x86/dev_ioapic.h"

static struct ioapic ioapic;

static uint32_t set(uint32_t index, uint32_t value)
{
    assert_int_equal(ioapic_write(&ioapic, 0, index), 0);
    return ioapic_write(&ioapic, 0x10, value);
}

static uint32_t get(uint32_t index)
{
    assert_int_equal(ioapic_write(&ioapic, 0, index), 0);
    return ioapic_read(&ioapic, 0x10);
}

static int make(void **state)
{
    (void)state;
    ioapic_init(&ioapic);
    return 0;
}

static void registers_read_as_the_data_sheet_says(void **state)
{
    (void)state;
    assert_int_equal(get(1), 0x00170011);
    assert_int_equal(set(0, 0xffffffff), 0);
    assert_int_equal(get(0), 0x0f000000);
    for (uint32_t pin = 0; pin < IOAPIC_PINS; pin++) {
        assert_int_equal(get(0x10 + 2 * pin), 0x10000);
        assert_int_equal(set(0x10 + 2 * pin + 1, 0xffffffff), 0);
        assert_int_equal(get(0x10 + 2 * pin + 1), 0xff000000);
        assert_int_equal(set(0x10 + 2 * pin, 0xffffffff), 0);
        assert_int_equal(get(0x10 + 2 * pin), 0x1afff); /* not status and remote IRR */
    }
    assert_int_equal(get(0x10 + 2 * IOAPIC_PINS), 0);
    assert_int_equal(set(0x10 + 2 * IOAPIC_PINS, 1), 0);
    assert_int_equal(ioapic_read(&ioapic, 0x20), 0);
    assert_int_equal(ioapic_set_line(&ioapic, IOAPIC_PINS, true), 0);
}

static void an_edge_is_delivered_once_and_lost_while_masked(void **state)
{
    (void)state;
    assert_int_equal(ioapic_set_line(&ioapic, 3, true), 0);
    assert_int_equal(set(0x16, 0x40), 0);
    assert_int_equal(ioapic_set_line(&ioapic, 3, true), 0); /* no edge */
    assert_int_equal(ioapic_set_line(&ioapic, 3, false), 0);
    assert_int_equal(ioapic_set_line(&ioapic, 3, true), 1 << 3);
    assert_int_equal(ioapic_end(&ioapic, 0x40), 0);
}

static void a_level_comes_again_until_it_falls(void **state)
{
    (void)state;
    assert_int_equal(ioapic_set_line(&ioapic, 5, true), 0);
    assert_int_equal(set(0x1a, 0x8041), 1 << 5); /* it is up already */
    assert_int_equal(get(0x1a), 0xc041);
    assert_int_equal(ioapic_set_line(&ioapic, 5, true), 0); /* one at a time */
    assert_int_equal(ioapic_end(&ioapic, 0x42), 0);
    assert_int_equal(ioapic_end(&ioapic, 0x41), 1 << 5);
    assert_int_equal(ioapic_set_line(&ioapic, 5, false), 0);
    assert_int_equal(ioapic_end(&ioapic, 0x41), 0);
    assert_int_equal(get(0x1a), 0x8041);
    assert_int_equal(ioapic_set_line(&ioapic, 5, true), 1 << 5);
    assert_int_equal(set(0x1a, 0x41), 0); /* as an edge nothing is outstanding */
    assert_int_equal(get(0x1a), 0x41);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(registers_read_as_the_data_sheet_says, make),
        cmocka_unit_test_setup(an_edge_is_delivered_once_and_lost_while_masked, make),
        cmocka_unit_test_setup(a_level_comes_again_until_it_falls, make),
    };

    return cmocka_run_group_tests_name("x86/dev_ioapic", tests, NULL, NULL);
}
