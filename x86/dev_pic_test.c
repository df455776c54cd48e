/* The pair of 8259A against the sentences of its data sheet. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "x86/dev_pic.h"

static struct pic pic;

/* Initialised as kernels do it, vectors 20h and 28h, nothing masked. */
static int make(void **state)
{
    (void)state;
    pic_init(&pic);
    for (unsigned i = 0; i < 2; i++) {
        pic_write(&pic, i, 0, 0x11);
        pic_write(&pic, i, 1, (uint8_t)(0x20 + 8 * i));
        pic_write(&pic, i, 1, i ? 2 : 4);
        pic_write(&pic, i, 1, 1);
        pic_write(&pic, i, 1, 0);
    }
    return 0;
}

static void pulse(unsigned line)
{
    pic_set_line(&pic, line, true);
    pic_set_line(&pic, line, false);
}

static void expect(uint8_t vector)
{
    assert_true(pic_pending(&pic));
    assert_int_equal(pic_acknowledge(&pic), vector);
}

static uint8_t isr(unsigned which)
{
    pic_write(&pic, which, 0, 0x0b);
    return pic_read(&pic, which, 0);
}

static uint8_t irr(unsigned which)
{
    pic_write(&pic, which, 0, 0x0a);
    return pic_read(&pic, which, 0);
}

static void firmware_leaves_vectors_8_and_70(void **state)
{
    (void)state;
    pic_init(&pic);
    pulse(1);
    expect(9);
    pic_write(&pic, 0, 0, 0x20);
    pulse(12);
    expect(0x74);
}

static void a_higher_line_interrupts_a_lower_one_and_not_itself(void **state)
{
    (void)state;
    pulse(3);
    expect(0x23);
    pulse(3);
    pulse(5);
    assert_false(pic_pending(&pic));
    pulse(1);
    expect(0x21);
    pic_write(&pic, 0, 0, 0x20); /* ends the highest */
    assert_int_equal(isr(0), 1 << 3);
    pic_write(&pic, 0, 0, 0x20);
    expect(0x23);
    pic_write(&pic, 0, 0, 0x63); /* line 3 by name */
    expect(0x25);
}

static void masked_requests_wait(void **state)
{
    (void)state;
    pic_write(&pic, 0, 1, 0x02);
    assert_true(pic_masked(&pic, 1) && !pic_masked(&pic, 0));
    pulse(1);
    assert_false(pic_pending(&pic));
    assert_int_equal(irr(0), 2);
    assert_int_equal(pic_read(&pic, 0, 1), 2);
    pic_write(&pic, 0, 1, 0);
    expect(0x21);
    assert_int_equal(irr(0), 0);
    pic_write(&pic, 0, 1, 0x04); /* the cascade masks all of the second one's lines */
    assert_true(pic_masked(&pic, 9));
}

static void the_second_one_speaks_through_line_2(void **state)
{
    (void)state;
    pulse(9);
    pulse(14);
    expect(0x29);
    assert_int_equal(isr(0), 4);
    assert_int_equal(isr(1), 2);
    assert_false(pic_pending(&pic));
    pic_write(&pic, 1, 0, 0x20);
    assert_false(pic_pending(&pic)); /* the first one has its line in service yet */
    pic_write(&pic, 0, 0, 0x20);
    expect(0x2e);
    pic_write(&pic, 0, 0, 0x20); /* the first one's end comes first: as good */
    pic_write(&pic, 1, 0, 0x20);
    assert_int_equal(isr(0) | isr(1), 0);
    assert_false(pic_pending(&pic));
}

static void special_fully_nested_lets_the_second_ones_higher_lines_in(void **state)
{
    (void)state;
    pulse(14);
    expect(0x2e);
    pulse(9);
    assert_false(pic_pending(&pic));
    make(NULL);
    pic_write(&pic, 0, 0, 0x11);
    for (unsigned i = 0; i < 4; i++)
        pic_write(&pic, 0, 1, (const uint8_t[]){ 0x20, 4, 0x11, 0 }[i]);
    pulse(14);
    expect(0x2e);
    pulse(5);
    assert_false(pic_pending(&pic)); /* lower ones of the first still wait */
    pulse(9);
    expect(0x29);
}

static void an_interrupt_that_is_gone_is_the_spurious_one(void **state)
{
    (void)state;
    pulse(10);
    pic_write(&pic, 1, 1, 0xff);
    assert_false(pic_pending(&pic));
    assert_int_equal(pic_acknowledge(&pic), 0x27);
    assert_int_equal(isr(0), 0);
}

static void level_lines_request_as_long_as_they_are_up(void **state)
{
    (void)state;
    pic_write_elcr(&pic, 0, 0xff);
    assert_int_equal(pic_read_elcr(&pic, 0), 0xf8);
    pic_set_line(&pic, 5, true);
    expect(0x25);
    pic_write(&pic, 0, 0, 0x20);
    expect(0x25);
    pic_set_line(&pic, 5, false);
    pic_write(&pic, 0, 0, 0x20);
    assert_false(pic_pending(&pic));
}

static void automatic_eoi_leaves_nothing_in_service(void **state)
{
    (void)state;
    pic_write(&pic, 0, 0, 0x11);
    for (unsigned i = 0; i < 4; i++)
        pic_write(&pic, 0, 1, (const uint8_t[]){ 0x20, 4, 3, 0 }[i]);
    pic_write(&pic, 0, 0, 0x80); /* and rotate */
    pulse(0);
    expect(0x20);
    assert_int_equal(isr(0), 0);
    pulse(0);
    pulse(4);
    expect(0x24); /* line 0 has become the last */
    expect(0x20);
}

static void priorities_rotate(void **state)
{
    (void)state;
    pic_write(&pic, 0, 0, 0xc4); /* 4 is the last: 5 comes first */
    pulse(4);
    pulse(5);
    expect(0x25);
    pic_write(&pic, 0, 0, 0xa0); /* end, and rotate it to the end */
    pulse(5);
    expect(0x24);
    pic_write(&pic, 0, 0, 0xe4);
    expect(0x25);
}

static void special_mask_lets_lower_lines_in(void **state)
{
    (void)state;
    pulse(1);
    expect(0x21);
    pulse(6);
    assert_false(pic_pending(&pic));
    pic_write(&pic, 0, 1, 0x02);
    pic_write(&pic, 0, 0, 0x68);
    expect(0x26);
    pic_write(&pic, 0, 0, 0x48); /* off */
    pulse(7);
    assert_false(pic_pending(&pic));
}

static void a_poll_acknowledges(void **state)
{
    (void)state;
    pulse(6);
    pic_write(&pic, 0, 0, 0x0c);
    assert_int_equal(pic_read(&pic, 0, 0), 0x86);
    assert_int_equal(isr(0), 0x40);
    pic_write(&pic, 0, 0, 0x0c);
    assert_int_equal(pic_read(&pic, 0, 0), 0);
}

static void initialisation_forgets_edges_and_masks(void **state)
{
    (void)state;
    pic_write(&pic, 0, 1, 0xff);
    pulse(3);
    pic_write(&pic, 0, 0, 0x13); /* single: no third word */
    pic_write(&pic, 0, 1, 0x47);
    pic_write(&pic, 0, 1, 1);
    assert_int_equal(pic_read(&pic, 0, 1), 0);
    assert_false(pic_pending(&pic));
    pulse(3);
    expect(0x43); /* the low bits are the line's */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(firmware_leaves_vectors_8_and_70, make),
        cmocka_unit_test_setup(a_higher_line_interrupts_a_lower_one_and_not_itself, make),
        cmocka_unit_test_setup(masked_requests_wait, make),
        cmocka_unit_test_setup(the_second_one_speaks_through_line_2, make),
        cmocka_unit_test_setup(special_fully_nested_lets_the_second_ones_higher_lines_in, make),
        cmocka_unit_test_setup(an_interrupt_that_is_gone_is_the_spurious_one, make),
        cmocka_unit_test_setup(level_lines_request_as_long_as_they_are_up, make),
        cmocka_unit_test_setup(automatic_eoi_leaves_nothing_in_service, make),
        cmocka_unit_test_setup(priorities_rotate, make),
        cmocka_unit_test_setup(special_mask_lets_lower_lines_in, make),
        cmocka_unit_test_setup(a_poll_acknowledges, make),
        cmocka_unit_test_setup(initialisation_forgets_edges_and_masks, make),
    };

    return cmocka_run_group_tests_name("x86/dev_pic", tests, NULL, NULL);
}
