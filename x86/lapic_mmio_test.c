/* test: with x86/lapic_mmio.c x86/lapic.c */
/* The local APIC in memory: formats of xAPIC mode, and the way from and to x2APIC mode. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "x86/lapic.h"

#define X2APIC (LAPIC_BASE_ADDRESS | LAPIC_BASE_BSP | LAPIC_BASE_ENABLE | LAPIC_BASE_X2APIC)

static struct lapic        apic;
static struct lapic_effect effect;

static int make(void **state)
{
    (void)state;
    lapic_init(&apic, 3, true);
    return 0;
}

static uint32_t get(unsigned offset)
{
    uint32_t value;

    assert_true(lapic_mmio_read(&apic, offset, 4, 0, &value));
    return value;
}

static void put(unsigned offset, uint32_t value)
{
    assert_true(lapic_mmio_write(&apic, offset, 4, value, 0, &effect));
}

static void the_window_is_there_in_xapic_mode_only(void **state)
{
    uint32_t value;

    (void)state;
    assert_int_equal(get(0x20), 3u << 24);
    assert_true(lapic_set_base(&apic, X2APIC));
    assert_false(lapic_mmio_read(&apic, 0x20, 4, 0, &value));
    assert_false(lapic_mmio_write(&apic, 0xf0, 4, 0x1ff, 0, &effect));
    assert_int_equal(apic.svr, 0xff);
    assert_true(lapic_set_base(&apic, LAPIC_BASE_ADDRESS | LAPIC_BASE_BSP));
    assert_false(lapic_mmio_read(&apic, 0x20, 4, 0, &value));
}

static void registers_have_their_formats(void **state)
{
    (void)state;
    assert_int_equal(get(0x30), 0x00050010);
    put(0x20, 0x07000000);
    assert_int_equal(get(0x20), 3u << 24); /* the ID is what CPUID says */
    put(0xd0, 0xffffffff);
    assert_int_equal(get(0xd0), 0xff000000);
    assert_int_equal(get(0xe0), 0xffffffff);
    put(0xe0, 0);
    assert_int_equal(get(0xe0), 0x0fffffff);
    put(0x80, 0xffffff35);
    assert_int_equal(get(0x80), 0x35);
    put(0xf0, 0xffffffff);
    assert_int_equal(get(0xf0), 0x3ff);
    put(0x320, 0xffffffff);
    assert_int_equal(get(0x320), 0x300ff);
    put(0x3e0, 0xffffffff);
    assert_int_equal(get(0x3e0), 0xb);
    put(0x280, 0); /* ESR: nothing of this was an error */
    assert_int_equal(get(0x280), 0);
}

static void what_does_not_exist_is_an_error_in_esr(void **state)
{
    static const unsigned none[] = { 0x000, 0x040, 0x3f0, 0x400, 0xff0 };

    (void)state;
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        assert_int_equal(get(none[i]), 0);
        put(0x280, 0);
        assert_int_equal(get(0x280), 0x80);
        put(none[i], 1);
        put(0x280, 0);
        assert_int_equal(get(0x280), 0x80);
    }
    put(0x30, 1); /* what can only be read is no error */
    put(0x280, 0);
    assert_int_equal(get(0x280), 0);
}

static void parts_of_registers_are_read_and_never_written(void **state)
{
    uint32_t value;

    (void)state;
    put(0xd0, 0x12000000);
    assert_true(lapic_mmio_read(&apic, 0xd3, 1, 0, &value));
    assert_int_equal(value, 0x12);
    assert_true(lapic_mmio_read(&apic, 0xd4, 4, 0, &value));
    assert_int_equal(value, 0);
    assert_true(lapic_mmio_write(&apic, 0xd3, 1, 0x55, 0, &effect));
    assert_true(lapic_mmio_write(&apic, 0xd4, 4, 0x55, 0, &effect));
    assert_int_equal(get(0xd0), 0x12000000);
}

static void interrupts_go_to_where_both_halves_say(void **state)
{
    (void)state;
    put(0xf0, 0x1ff);
    put(0x310, 0x05ffffff);
    assert_int_equal(get(0x310), 0x05000000);
    put(0x300, 0x40);
    assert_true(effect.send && effect.icr == (UINT64_C(5) << 32 | 0x40));
    assert_int_equal(get(0x300), 0x40);
    assert_int_equal(get(0x310), 0x05000000);
    assert_false(lapic_addresses(&apic, 0, effect.icr));
    put(0x310, 0xff000000);
    put(0x300, 0x40);
    assert_true(lapic_addresses(&apic, 0, effect.icr)); /* all */
    put(0x300, 0x000c4500);
    assert_true(effect.send); /* INIT, for the edge to look at */
    put(0x300, 0x0f);
    assert_false(effect.send); /* no such vector */
    put(0x280, 0);
    assert_int_equal(get(0x280), 0x20);
}

static void logical_destinations_are_flat_or_clusters(void **state)
{
    (void)state;
    put(0xd0, 0x04000000);
    assert_true(lapic_addresses(&apic, 0, UINT64_C(0x0c) << 32 | 0x840));
    assert_false(lapic_addresses(&apic, 0, UINT64_C(0x0b) << 32 | 0x840));
    put(0xe0, 0x0fffffff);
    put(0xd0, 0x24000000);
    assert_true(lapic_addresses(&apic, 0, UINT64_C(0x26) << 32 | 0x840));
    assert_false(lapic_addresses(&apic, 0, UINT64_C(0x16) << 32 | 0x840));
    assert_true(lapic_addresses(&apic, 0, UINT64_C(0xff) << 32 | 0x840));
    assert_true(lapic_addresses(&apic, 0, UINT64_C(3) << 32 | 0x40));
}

static void the_end_of_a_level_is_told(void **state)
{
    uint8_t vector = 0;

    (void)state;
    put(0xf0, 0x1ff);
    lapic_raise_level(&apic, 0x45);
    assert_int_equal(get(0x1a0), 1 << 5);
    assert_true(lapic_pending(&apic, &vector));
    lapic_accept(&apic, vector);
    put(0xb0, 77); /* any value ends it */
    assert_true(effect.eoi);
    assert_int_equal(effect.vector, 0x45);
    lapic_raise(&apic, 0x45); /* now as an edge */
    assert_int_equal(get(0x1a0), 0);
    lapic_accept(&apic, 0x45);
    put(0xb0, 0);
    assert_false(effect.eoi);
    put(0xb0, 0);
    assert_false(effect.eoi);
}

static void the_8259s_come_through_lint0(void **state)
{
    (void)state;
    assert_false(lapic_takes_extint(&apic)); /* as the processor resets it */
    lapic_virtual_wire(&apic);
    assert_true(lapic_takes_extint(&apic));
    assert_int_equal(get(0x350), 0x8700);
    put(0x350, 0x10700);
    assert_false(lapic_takes_extint(&apic));
    put(0x350, 0x00700);
    assert_true(lapic_takes_extint(&apic));
    put(0x350, 0x00040);
    assert_false(lapic_takes_extint(&apic));
    assert_true(lapic_set_base(&apic, LAPIC_BASE_ADDRESS | LAPIC_BASE_BSP));
    assert_true(lapic_takes_extint(&apic)); /* off, it lets the line through */
}

static void the_timer_is_the_same_in_both_modes(void **state)
{
    uint32_t value;

    (void)state;
    put(0xf0, 0x1ff);
    put(0x320, 0x50);
    put(0x3e0, 0xb);
    put(0x380, 1000);
    assert_true(effect.timer);
    assert_int_equal(apic.due, 1000);
    assert_true(lapic_mmio_read(&apic, 0x390, 4, 400, &value));
    assert_int_equal(value, 600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_window_is_there_in_xapic_mode_only, make),
        cmocka_unit_test_setup(registers_have_their_formats, make),
        cmocka_unit_test_setup(what_does_not_exist_is_an_error_in_esr, make),
        cmocka_unit_test_setup(parts_of_registers_are_read_and_never_written, make),
        cmocka_unit_test_setup(interrupts_go_to_where_both_halves_say, make),
        cmocka_unit_test_setup(logical_destinations_are_flat_or_clusters, make),
        cmocka_unit_test_setup(the_end_of_a_level_is_told, make),
        cmocka_unit_test_setup(the_8259s_come_through_lint0, make),
        cmocka_unit_test_setup(the_timer_is_the_same_in_both_modes, make),
    };

    return cmocka_run_group_tests_name("x86/lapic_mmio", tests, NULL, NULL);
}
