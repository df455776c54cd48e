/* test: with paging/mode.c */
/* The numbers of the modes, spelled out a second time from the manuals' figures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "paging/mode.h"

static struct pt_mode make(enum pt_format format, uint8_t view, uint8_t maxphys, bool gb1)
{
    struct pt_mode mode;

    pt_mode_init(&mode, format, view, (struct pt_features){ maxphys, gb1, true });
    return mode;
}

static void levels_and_indexes_are_the_manuals(void **state)
{
    static const struct {
        enum pt_format format;
        uint8_t        levels, bytes, bits, top_shift;
    } want[] = {
        { PT_DIRECT, 0, 8, 0, 0 }, { PT_32, 2, 4, 10, 22 },  { PT_PAE, 3, 8, 9, 30 },
        { PT_64, 4, 8, 9, 39 },    { PT_LA57, 5, 8, 9, 48 },
    };

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        struct pt_mode m = make(want[i].format, 0, 40, true);

        assert_int_equal(m.levels, want[i].levels);
        assert_int_equal(m.entry_bytes, want[i].bytes);
        if (m.levels == 0)
            continue;
        assert_int_equal(m.level[1].shift, 12);
        assert_int_equal(m.level[1].bits, want[i].bits);
        assert_int_equal(m.level[m.levels].shift, want[i].top_shift);
    }
    assert_int_equal(make(PT_PAE, 0, 40, true).level[3].bits, 2);
}

static void address_bits_that_the_processor_lacks_are_reserved(void **state)
{
    (void)state;
    for (uint8_t maxphys = 32; maxphys <= 52; maxphys++) {
        struct pt_mode m = make(PT_64, PT_VIEW_NX, maxphys, true);
        uint64_t       want = 0;

        for (unsigned b = maxphys; b < 52; b++)
            want |= UINT64_C(1) << b;
        for (unsigned l = 1; l <= 4; l++)
            assert_int_equal(m.level[l].rsvd[0], want);
    }
}

static void nx_is_reserved_while_it_is_off(void **state)
{
    (void)state;
    assert_true(make(PT_64, 0, 52, true).level[1].rsvd[0] == PTE_NX);
    assert_true(make(PT_64, PT_VIEW_NX, 52, true).level[1].rsvd[0] == 0);
    assert_true(make(PT_PAE, 0, 52, true).level[1].rsvd[0] >> 52 == 0xfff);
    assert_true(make(PT_PAE, PT_VIEW_NX, 52, true).level[1].rsvd[0] >> 52 == 0x7ff);
}

static void large_pages_are_aligned_and_only_where_there_are_any(void **state)
{
    struct pt_mode m = make(PT_64, PT_VIEW_NX, 52, true);

    (void)state;
    assert_true(m.level[2].may_leaf && m.level[3].may_leaf);
    assert_false(m.level[1].may_leaf || m.level[4].may_leaf);
    assert_int_equal(m.level[2].rsvd[1], 0x001fe000);
    assert_int_equal(m.level[3].rsvd[1], 0x3fffe000);
    assert_int_equal(m.level[4].rsvd[1], PTE_PS);
    assert_int_equal(m.level[1].rsvd[1], 0); /* PAT */
    m = make(PT_64, PT_VIEW_NX, 52, false);
    assert_false(m.level[3].may_leaf);
    assert_int_equal(m.level[3].rsvd[1], PTE_PS);
    m = make(PT_LA57, PT_VIEW_NX, 52, true);
    assert_int_equal(m.level[5].rsvd[1], PTE_PS);
    assert_false(make(PT_PAE, PT_VIEW_NX, 52, true).level[3].may_leaf);
}

static void ps_of_a_32_bit_directory_counts_with_pse_only(void **state)
{
    struct pt_mode m = make(PT_32, 0, 40, true);

    (void)state;
    assert_false(m.level[2].may_leaf);
    assert_int_equal(m.level[2].rsvd[1], 0);
    m = make(PT_32, PT_VIEW_PSE, 40, true);
    assert_true(m.level[2].may_leaf);
    assert_int_equal(m.level[2].rsvd[1], 0x200000); /* bits 20:13 are address bits 39:32 */
    m = make(PT_32, PT_VIEW_PSE, 36, true);
    assert_int_equal(m.level[2].rsvd[1], 0x3e0000);
    m = make(PT_32, PT_VIEW_PSE, 32, true);
    assert_int_equal(m.level[2].rsvd[1], 0x3fe000);
}

static void pae_root_entries_have_no_rights(void **state)
{
    struct pt_mode m = make(PT_PAE, PT_VIEW_NX, 52, true);

    (void)state;
    assert_true((m.level[3].rsvd[0] & (PTE_W | PTE_U | PTE_NX | 0x1c0)) ==
                (PTE_W | PTE_U | PTE_NX | 0x1c0));
    assert_false(m.level[3].rsvd[0] & 0x18); /* PWT, PCD */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_and_indexes_are_the_manuals),
        cmocka_unit_test(address_bits_that_the_processor_lacks_are_reserved),
        cmocka_unit_test(nx_is_reserved_while_it_is_off),
        cmocka_unit_test(large_pages_are_aligned_and_only_where_there_are_any),
        cmocka_unit_test(ps_of_a_32_bit_directory_counts_with_pse_only),
        cmocka_unit_test(pae_root_entries_have_no_rights),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
