/* Writes to control registers: which are good, and what they make. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "x86/control.h"
#include "x86/hw/cpu.h"

static const struct control_policy policy = {
    .cr4_valid = CR4_PSE | CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_LA57 | CR4_SMEP,
    .efer_valid = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE,
    .maxphys = 40,
};

static void impossible_combinations_in_cr0_are_refused(void **state)
{
    static const struct {
        uint64_t value;
        bool     good;
    } cases[] = {
        { CR0_PE, true },
        { CR0_PG, false },
        { CR0_PE | CR0_PG, true },
        { CR0_NW, false },
        { CR0_NW | CR0_CD, true },
        { CR0_CD, true },
        { CR0_PE | UINT64_C(1) << 32, false },
        { 0, true },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct paging_regs r = { .cr0 = CR0_ET };

        assert_int_equal(control_write_cr0(&r, cases[i].value, false), cases[i].good);
        assert_int_equal(r.cr0, cases[i].good ? cases[i].value | CR0_ET : CR0_ET);
    }
}

static void long_mode_begins_and_ends_with_paging(void **state)
{
    struct paging_regs r = { .cr0 = CR0_PE, .efer = EFER_LME };

    (void)state;
    assert_false(control_write_cr0(&r, CR0_PE | CR0_PG, false)); /* without PAE */
    r.cr4 = CR4_PAE;
    assert_false(control_write_cr0(&r, CR0_PE | CR0_PG, true)); /* from code with CS.L */
    assert_true(control_write_cr0(&r, CR0_PE | CR0_PG, false));
    assert_true(r.efer & EFER_LMA);
    assert_false(control_write_cr4(&policy, &r, 0)); /* PAE stays while it lasts */
    assert_false(control_write_efer(&policy, &r, 0));
    assert_true(control_write_efer(&policy, &r, EFER_LME | EFER_NXE));
    assert_true(r.efer & EFER_LMA);                    /* not the guest's to write */
    assert_false(control_write_cr0(&r, CR0_PE, true)); /* not from 64-bit code */
    assert_true(control_write_cr0(&r, CR0_PE, false));
    assert_false(r.efer & EFER_LMA);
    assert_true(control_write_efer(&policy, &r, EFER_LMA));
    assert_false(r.efer & EFER_LMA);
}

static void what_is_not_offered_cannot_be_set(void **state)
{
    struct paging_regs r = { 0 };

    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t value = UINT64_C(1) << bit;

        assert_int_equal(control_write_cr4(&policy, &r, value), (policy.cr4_valid & value) != 0);
        assert_int_equal(control_write_efer(&policy, &r, value), (policy.efer_valid & value) != 0);
        assert_int_equal(control_write_cr3(&policy, &r, value), bit < policy.maxphys);
    }
}

static void the_number_of_levels_is_fixed_in_long_mode(void **state)
{
    struct paging_regs r = { .cr0 = CR0_PE, .efer = EFER_LME };

    (void)state;
    assert_true(control_write_cr4(&policy, &r, CR4_PAE | CR4_LA57));
    assert_true(control_write_cr0(&r, CR0_PE | CR0_PG, false));
    assert_false(control_write_cr4(&policy, &r, CR4_PAE));
    assert_true(control_write_cr4(&policy, &r, CR4_PAE | CR4_LA57 | CR4_PGE));
    assert_true(control_write_cr0(&r, CR0_PE, false));
    assert_true(control_write_cr4(&policy, &r, CR4_PAE));
    assert_true(control_write_cr0(&r, CR0_PE | CR0_PG, false));
    assert_false(control_write_cr4(&policy, &r, CR4_PAE | CR4_LA57));
    assert_int_equal(r.cr4, CR4_PAE);
}

static void lmsw_sets_four_bits_and_never_clears_pe(void **state)
{
    (void)state;
    assert_int_equal(control_lmsw(CR0_PE | CR0_TS | CR0_PG, 0), CR0_PE | CR0_PG);
    assert_int_equal(control_lmsw(CR0_PG, 0xffff), CR0_PG | CR0_PE | CR0_MP | CR0_EM | CR0_TS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(impossible_combinations_in_cr0_are_refused),
        cmocka_unit_test(long_mode_begins_and_ends_with_paging),
        cmocka_unit_test(what_is_not_offered_cannot_be_set),
        cmocka_unit_test(the_number_of_levels_is_fixed_in_long_mode),
        cmocka_unit_test(lmsw_sets_four_bits_and_never_clears_pe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
