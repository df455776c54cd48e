/* test: with x86/msr.c x86/lapic.c */
/* MSR policy: those that exist, and that all others are refused. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "x86/hw/cpu.h"
#include "x86/hw/msr.h"
#include "x86/msr.h"

static const struct msr_time at = { .ticks = 1000, .now = 400 };

static struct guest_msrs fresh(void)
{
    struct guest_msrs m;

    msr_init(&m, 4, true);
    return m;
}

static void unknown_msrs_are_refused_both_ways(void **state)
{
    static const uint32_t unknown[] = { 0x0,         0x11,        MSR_MTRRCAP, 0x200,
                                        0x2ff,       MSR_MCG_CAP, MSR_VM_CR,   MSR_VM_HSAVE_PA,
                                        MSR_TSC_AUX, 0xc0010008,  0x7ff,       0x900,
                                        0xffffffff };
    struct guest_msrs     m = fresh();
    struct msr_effect     e;
    uint64_t              value;

    (void)state;
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        assert_false(msr_read(&m, unknown[i], at, &value));
        assert_false(msr_write(&m, unknown[i], 0, at, &e));
    }
}

static void a_write_to_the_tsc_moves_the_offset(void **state)
{
    struct guest_msrs m = fresh();
    struct msr_effect e;
    uint64_t          value;

    (void)state;
    assert_true(msr_write(&m, MSR_TSC, 5, at, &e));
    assert_int_equal(e.kind, MSR_EFFECT_TSC);
    assert_true(msr_read(&m, MSR_TSC, (struct msr_time){ .ticks = 1010 }, &value));
    assert_int_equal(value, 15);
}

static void pat_takes_memory_types_that_exist(void **state)
{
    struct guest_msrs m = fresh();
    struct msr_effect e;
    uint64_t          value;

    (void)state;
    assert_true(msr_read(&m, MSR_PAT, at, &value));
    assert_true(value == PAT_RESET);
    for (uint64_t type = 0; type < 256; type++) {
        bool good = type == 0 || type == 1 || (type >= 4 && type <= 7);

        for (unsigned i = 0; i < 8; i++)
            assert_int_equal(msr_write(&m, MSR_PAT, type << 8 * i, at, &e), good);
    }
}

static void efer_and_the_hypercall_page_are_left_to_the_edge(void **state)
{
    struct guest_msrs m = fresh();
    struct msr_effect e;
    uint64_t          value;

    (void)state;
    m.efer = EFER_LME;
    assert_true(msr_read(&m, MSR_EFER, at, &value));
    assert_int_equal(value, EFER_LME);
    assert_true(msr_write(&m, MSR_EFER, 77, at, &e));
    assert_int_equal(e.kind, MSR_EFFECT_EFER);
    assert_int_equal(e.value, 77);
    assert_int_equal(m.efer, EFER_LME);
    assert_true(msr_write(&m, MSR_XEN_HYPERCALLS, 0x5000, at, &e));
    assert_int_equal(e.kind, MSR_EFFECT_HYPERCALLS);
    assert_int_equal(e.value, 0x5000);
    assert_false(msr_write(&m, MSR_XEN_HYPERCALLS, 0x5001, at, &e));
    assert_false(msr_read(&m, MSR_XEN_HYPERCALLS, at, &value));
}

static void the_apic_is_reached_in_x2apic_mode_only(void **state)
{
    struct guest_msrs m = fresh();
    struct msr_effect e;
    uint64_t          value;

    (void)state;
    assert_false(msr_read(&m, MSR_X2APIC_FIRST + LAPIC_ID, at, &value));
    assert_true(msr_read(&m, MSR_APIC_BASE, at, &value));
    assert_true(msr_write(&m, MSR_APIC_BASE, value | LAPIC_BASE_X2APIC, at, &e));
    assert_int_equal(e.kind, MSR_EFFECT_APIC);
    assert_true(msr_read(&m, MSR_X2APIC_FIRST + LAPIC_ID, at, &value));
    assert_int_equal(value, 4);
    assert_true(msr_write(&m, MSR_X2APIC_FIRST + LAPIC_INITIAL_COUNT, 100, at, &e));
    assert_true(e.apic.timer);
    assert_int_equal(m.lapic.due, 400 + 200);
    assert_false(msr_read(&m, MSR_X2APIC_LAST, at, &value));
}

static void old_performance_counters_take_writes_in_silence(void **state)
{
    struct guest_msrs m = fresh();
    struct msr_effect e;
    uint64_t          value;

    (void)state;
    for (uint32_t i = MSR_PERF_CTL0; i <= MSR_PERF_CTR3; i++) {
        assert_true(msr_write(&m, i, 0, at, &e));
        assert_int_equal(e.kind, MSR_EFFECT_NONE);
        assert_true(msr_read(&m, i, at, &value));
        assert_int_equal(value, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_msrs_are_refused_both_ways),
        cmocka_unit_test(a_write_to_the_tsc_moves_the_offset),
        cmocka_unit_test(pat_takes_memory_types_that_exist),
        cmocka_unit_test(efer_and_the_hypercall_page_are_left_to_the_edge),
        cmocka_unit_test(the_apic_is_reached_in_x2apic_mode_only),
        cmocka_unit_test(old_performance_counters_take_writes_in_silence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
