/* The guest's local APIC against the manual's sentences. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "x86/lapic.h"

#define X2APIC (LAPIC_BASE_ADDRESS | LAPIC_BASE_BSP | LAPIC_BASE_ENABLE | LAPIC_BASE_X2APIC)

static struct lapic enabled(uint32_t id)
{
    struct lapic        a;
    struct lapic_effect e;

    lapic_init(&a, id, true);
    assert_true(lapic_set_base(&a, X2APIC));
    assert_true(lapic_write(&a, LAPIC_SVR, LAPIC_SVR_ENABLE | 0xff, 0, &e));
    return a;
}

static uint64_t get(const struct lapic *a, unsigned reg, uint64_t now)
{
    uint64_t value;

    assert_true(lapic_read(a, reg, now, &value));
    return value;
}

static void put(struct lapic *a, unsigned reg, uint64_t value, uint64_t now)
{
    struct lapic_effect e;

    assert_true(lapic_write(a, reg, value, now, &e));
}

static void modes_are_entered_in_the_order_of_the_manual(void **state)
{
    struct lapic a;
    uint64_t     value;

    (void)state;
    lapic_init(&a, 0, true);
    assert_false(lapic_read(&a, LAPIC_ID, 0, &value)); /* not in x2APIC mode yet */
    assert_false(lapic_set_base(&a, X2APIC + 0x1000)); /* the window cannot be moved */
    assert_false(lapic_set_base(&a, X2APIC & ~LAPIC_BASE_BSP));
    assert_false(lapic_set_base(&a, X2APIC & ~LAPIC_BASE_ENABLE)); /* no such mode */
    assert_true(lapic_set_base(&a, X2APIC));
    assert_false(lapic_set_base(&a, X2APIC & ~LAPIC_BASE_X2APIC)); /* no way back to xAPIC */
    assert_true(lapic_set_base(&a, LAPIC_BASE_ADDRESS | LAPIC_BASE_BSP));
    assert_false(lapic_set_base(&a, X2APIC)); /* nor from off to x2APIC */
    assert_true(lapic_set_base(&a, LAPIC_BASE_ADDRESS | LAPIC_BASE_BSP | LAPIC_BASE_ENABLE));
    assert_true(lapic_set_base(&a, X2APIC));
}

static void a_higher_class_interrupts_a_lower_one_and_not_itself(void **state)
{
    struct lapic a = enabled(0);
    uint8_t      vector = 0;

    (void)state;
    lapic_raise(&a, 0x35);
    assert_true(lapic_pending(&a, &vector));
    assert_int_equal(vector, 0x35);
    lapic_accept(&a, vector);
    assert_int_equal(get(&a, LAPIC_PPR, 0), 0x30);
    lapic_raise(&a, 0x3f); /* the same class waits */
    assert_false(lapic_pending(&a, &vector));
    lapic_raise(&a, 0x40);
    assert_true(lapic_pending(&a, &vector));
    assert_int_equal(vector, 0x40);
    lapic_accept(&a, vector);
    put(&a, LAPIC_EOI, 0, 0); /* ends 0x40, the highest in service */
    assert_false(lapic_pending(&a, &vector));
    put(&a, LAPIC_EOI, 0, 0);
    assert_true(lapic_pending(&a, &vector));
    assert_int_equal(vector, 0x3f);
}

static void the_task_priority_holds_its_class_back(void **state)
{
    struct lapic a = enabled(0);
    uint8_t      vector;

    (void)state;
    lapic_raise(&a, 0x51);
    lapic_set_cr8(&a, 5);
    assert_int_equal(get(&a, LAPIC_TPR, 0), 0x50);
    assert_false(lapic_pending(&a, &vector));
    put(&a, LAPIC_TPR, 0x4f, 0);
    assert_int_equal(lapic_cr8(&a), 4);
    assert_true(lapic_pending(&a, &vector));
}

static void a_disabled_apic_takes_nothing_and_masks_its_table(void **state)
{
    struct lapic a = enabled(0);
    uint8_t      vector;

    (void)state;
    put(&a, LAPIC_LVT_TIMER, 0x40, 0);
    put(&a, LAPIC_SVR, 0xff, 0);
    assert_true(get(&a, LAPIC_LVT_TIMER, 0) & LAPIC_LVT_MASKED);
    put(&a, LAPIC_LVT_TIMER, 0x40, 0); /* and it stays masked */
    assert_true(get(&a, LAPIC_LVT_TIMER, 0) & LAPIC_LVT_MASKED);
    lapic_raise(&a, 0x40);
    assert_false(lapic_pending(&a, &vector));
}

static void what_may_only_be_read_is_not_written(void **state)
{
    struct lapic a = enabled(0);

    (void)state;
    put(&a, LAPIC_LVT_LINT0, 0x5700, 0); /* as Linux does when it goes down */
    assert_int_equal(get(&a, LAPIC_LVT_LINT0, 0), 0x700);
    put(&a, LAPIC_LVT_TIMER, 0x1040, 0);
    assert_int_equal(get(&a, LAPIC_LVT_TIMER, 0), 0x40);
}

static void the_timer_counts_down_and_fires_once_or_again(void **state)
{
    struct lapic a = enabled(0);
    uint8_t      vector = 0;

    (void)state;
    put(&a, LAPIC_LVT_TIMER, 0x40, 0);
    put(&a, LAPIC_DIVIDE, 0, 0); /* by 2 */
    put(&a, LAPIC_INITIAL_COUNT, 1000, 500);
    assert_int_equal(a.due, 2500);
    assert_int_equal(get(&a, LAPIC_CURRENT_COUNT, 1500), 500);
    lapic_timer_expired(&a, 2499); /* too early: nothing */
    assert_false(lapic_pending(&a, &vector));
    lapic_timer_expired(&a, 2500);
    assert_true(lapic_pending(&a, &vector));
    assert_int_equal(vector, 0x40);
    assert_true(a.due == UINT64_MAX);
    assert_int_equal(get(&a, LAPIC_CURRENT_COUNT, 2600), 0);

    put(&a, LAPIC_DIVIDE, 0xb, 0); /* by 1 */
    put(&a, LAPIC_LVT_TIMER, LAPIC_LVT_PERIODIC | 0x40, 0);
    put(&a, LAPIC_INITIAL_COUNT, 100, 1000);
    lapic_timer_expired(&a, 1350); /* three periods late: in step again */
    assert_int_equal(a.due, 1400);
    put(&a, LAPIC_INITIAL_COUNT, 0, 1350);
    assert_true(a.due == UINT64_MAX);
}

static void a_masked_timer_runs_in_silence(void **state)
{
    struct lapic a = enabled(0);
    uint8_t      vector;

    (void)state;
    put(&a, LAPIC_DIVIDE, 0xb, 0);
    put(&a, LAPIC_INITIAL_COUNT, 100, 0);
    lapic_timer_expired(&a, 100);
    assert_false(lapic_pending(&a, &vector));
}

static void interrupts_reach_those_that_are_addressed(void **state)
{
    struct lapic a = enabled(0x12);
    uint64_t     logical = LAPIC_ICR_LOGICAL | 0x40;

    (void)state;
    assert_true(lapic_addresses(&a, 0, 0x40 | UINT64_C(0x12) << 32));
    assert_false(lapic_addresses(&a, 0, 0x40 | UINT64_C(0x13) << 32));
    assert_true(lapic_addresses(&a, 0, 0x40 | UINT64_C(0xffffffff) << 32));
    assert_true(lapic_addresses(&a, 0, logical | UINT64_C(0x10004) << 32));
    assert_true(lapic_addresses(&a, 0, logical | UINT64_C(0x1000c) << 32));
    assert_false(lapic_addresses(&a, 0, logical | UINT64_C(0x10002) << 32));
    assert_false(lapic_addresses(&a, 0, logical | UINT64_C(0x00004) << 32));
    assert_true(lapic_addresses(&a, 0x12, LAPIC_TO_SELF << LAPIC_ICR_SHORT_SHIFT));
    assert_false(lapic_addresses(&a, 0x10, LAPIC_TO_SELF << LAPIC_ICR_SHORT_SHIFT));
    assert_true(lapic_addresses(&a, 0x12, LAPIC_TO_ALL << LAPIC_ICR_SHORT_SHIFT));
    assert_false(lapic_addresses(&a, 0x12, LAPIC_TO_OTHERS << LAPIC_ICR_SHORT_SHIFT));
    assert_true(lapic_addresses(&a, 0x10, LAPIC_TO_OTHERS << LAPIC_ICR_SHORT_SHIFT));
}

static void sending_a_reserved_vector_is_an_error_that_esr_tells(void **state)
{
    struct lapic        a = enabled(0);
    struct lapic_effect e;

    (void)state;
    assert_true(lapic_write(&a, LAPIC_ICR, 0x0f, 0, &e));
    assert_false(e.send);
    assert_int_equal(get(&a, LAPIC_ESR, 0), 0); /* latched by a write only */
    put(&a, LAPIC_ESR, 0, 0);
    assert_int_equal(get(&a, LAPIC_ESR, 0), 1 << 5);
    assert_true(lapic_write(&a, LAPIC_ICR, 0x10, 0, &e));
    assert_true(e.send);
    assert_int_equal(e.icr, 0x10);
}

static void reserved_bits_and_registers_are_refused(void **state)
{
    static const struct {
        unsigned reg;
        uint64_t value;
    } bad[] = {
        { LAPIC_TPR, 0x100 },
        { LAPIC_EOI, 1 },
        { LAPIC_SVR, 0x400 },
        { LAPIC_ESR, 1 },
        { LAPIC_ICR, 1u << 12 },
        { LAPIC_ICR, 1u << 20 },
        { LAPIC_LVT_TIMER, 1u << 8 },
        { LAPIC_LVT_TIMER, 1u << 14 },
        { LAPIC_LVT_TIMER, UINT64_C(1) << 32 },
        { LAPIC_INITIAL_COUNT, UINT64_C(1) << 32 },
        { LAPIC_DIVIDE, 4 },
        { LAPIC_SELF_IPI, 0x100 },
        { LAPIC_ID, 0 },
        { LAPIC_VERSION, 0 },
        { LAPIC_LDR, 0 },
        { LAPIC_PPR, 0 },
        { LAPIC_ISR, 0 },
        { LAPIC_CURRENT_COUNT, 0 },
        { 0x31, 0 },
        { 0x2f, 0 },
        { 0xff, 0 },
    };
    struct lapic        a = enabled(0);
    struct lapic_effect e;
    uint64_t            value;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(lapic_write(&a, bad[i].reg, bad[i].value, 0, &e));
    assert_false(lapic_read(&a, LAPIC_EOI, 0, &value));
    assert_false(lapic_read(&a, LAPIC_SELF_IPI, 0, &value));
    assert_false(lapic_read(&a, 0x00, 0, &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modes_are_entered_in_the_order_of_the_manual),
        cmocka_unit_test(a_higher_class_interrupts_a_lower_one_and_not_itself),
        cmocka_unit_test(the_task_priority_holds_its_class_back),
        cmocka_unit_test(a_disabled_apic_takes_nothing_and_masks_its_table),
        cmocka_unit_test(what_may_only_be_read_is_not_written),
        cmocka_unit_test(the_timer_counts_down_and_fires_once_or_again),
        cmocka_unit_test(a_masked_timer_runs_in_silence),
        cmocka_unit_test(interrupts_reach_those_that_are_addressed),
        cmocka_unit_test(sending_a_reserved_vector_is_an_error_that_esr_tells),
        cmocka_unit_test(reserved_bits_and_registers_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
