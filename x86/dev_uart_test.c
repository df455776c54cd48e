/* The 16550: what software polls, and when it interrupts. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "x86/dev_uart.h"

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCRATCH, FCR = IIR };

static struct uart uart;

static void set(unsigned reg, uint8_t value)
{
    assert_false(uart_write(&uart, reg, value));
}

static int make(void **state)
{
    (void)state;
    uart_reset(&uart);
    return 0;
}

static void what_is_written_is_sent_and_the_transmitter_is_empty(void **state)
{
    (void)state;
    assert_int_equal(uart_read(&uart, LSR), 0x60);
    assert_true(uart_write(&uart, DATA, 'x'));
    assert_int_equal(uart_read(&uart, LSR), 0x60);
    assert_false(uart_interrupts(&uart));
}

static void the_divisor_hides_behind_its_bit(void **state)
{
    (void)state;
    set(LCR, 0x83);
    set(DATA, 1);
    set(IER, 2);
    assert_int_equal(uart_read(&uart, DATA), 1);
    assert_int_equal(uart_read(&uart, IER), 2);
    set(LCR, 3);
    assert_int_equal(uart_read(&uart, IER), 0);
    assert_int_equal(uart_read(&uart, LCR), 3);
    assert_true(uart_write(&uart, DATA, 'x'));
}

static void what_comes_in_is_read_in_order(void **state)
{
    (void)state;
    assert_true(uart_receive(&uart, 'a'));
    assert_true(uart_receive(&uart, 'b'));
    assert_int_equal(uart_read(&uart, LSR), 0x61);
    assert_int_equal(uart_read(&uart, DATA), 'a');
    assert_int_equal(uart_read(&uart, DATA), 'b');
    assert_int_equal(uart_read(&uart, LSR), 0x60);
    assert_int_equal(uart_read(&uart, DATA), 0);
}

static void too_much_is_an_overrun_that_is_told_once(void **state)
{
    (void)state;
    for (unsigned i = 0; i < UART_QUEUE; i++)
        assert_true(uart_receive(&uart, (uint8_t)i));
    assert_false(uart_receive(&uart, 'x'));
    set(MCR, 8);
    set(IER, 4);
    assert_true(uart_interrupts(&uart));
    assert_int_equal(uart_read(&uart, IIR), 6);
    assert_int_equal(uart_read(&uart, LSR), 0x63);
    assert_int_equal(uart_read(&uart, LSR), 0x61);
    assert_false(uart_interrupts(&uart));
    for (unsigned i = 0; i < UART_QUEUE; i++)
        assert_int_equal(uart_read(&uart, DATA), i & 0xff);
}

static void interrupts_have_their_order_and_ends(void **state)
{
    (void)state;
    set(MCR, 8);
    set(IER, 3); /* the transmitter is empty: at once */
    assert_true(uart_interrupts(&uart));
    assert_true(uart_receive(&uart, 'a'));
    assert_int_equal(uart_read(&uart, IIR), 4);
    assert_int_equal(uart_read(&uart, DATA), 'a');
    assert_int_equal(uart_read(&uart, IIR), 2);
    assert_int_equal(uart_read(&uart, IIR), 1); /* told, so that it has ended */
    assert_false(uart_interrupts(&uart));
    assert_true(uart_write(&uart, DATA, 'x'));
    assert_true(uart_interrupts(&uart));
    set(MCR, 0); /* OUT2 lets it through */
    assert_false(uart_interrupts(&uart));
}

static void queues_are_cleared_and_time_out(void **state)
{
    (void)state;
    set(FCR, 0xc1);
    set(MCR, 8);
    set(IER, 1);
    assert_int_equal(uart_read(&uart, IIR), 0xc1);
    assert_true(uart_receive(&uart, 'a'));
    assert_int_equal(uart_read(&uart, IIR), 0xcc); /* fewer than the trigger */
    for (unsigned i = 0; i < 13; i++)
        assert_true(uart_receive(&uart, 'b'));
    assert_int_equal(uart_read(&uart, IIR), 0xc4);
    set(FCR, 0xc3);
    assert_int_equal(uart_read(&uart, LSR), 0x60);
}

static void loopback_brings_all_back_and_sends_nothing(void **state)
{
    (void)state;
    set(MCR, 0x1f);
    assert_int_equal(uart_read(&uart, MSR), 0xf0);
    set(MCR, 0x11);
    assert_int_equal(uart_read(&uart, MSR), 0x20);
    set(MCR, 0x12);
    assert_int_equal(uart_read(&uart, MSR), 0x10);
    assert_false(uart_write(&uart, DATA, 0xae));
    assert_int_equal(uart_read(&uart, LSR), 0x61);
    assert_int_equal(uart_read(&uart, DATA), 0xae);
    set(MCR, 0);
    assert_int_equal(uart_read(&uart, MSR), 0xb0);
    set(SCRATCH, 0x5a);
    assert_int_equal(uart_read(&uart, SCRATCH), 0x5a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_is_written_is_sent_and_the_transmitter_is_empty, make),
        cmocka_unit_test_setup(the_divisor_hides_behind_its_bit, make),
        cmocka_unit_test_setup(what_comes_in_is_read_in_order, make),
        cmocka_unit_test_setup(too_much_is_an_overrun_that_is_told_once, make),
        cmocka_unit_test_setup(interrupts_have_their_order_and_ends, make),
        cmocka_unit_test_setup(queues_are_cleared_and_time_out, make),
        cmocka_unit_test_setup(loopback_brings_all_back_and_sends_nothing, make),
    };

    return cmocka_run_group_tests_name("x86/dev_uart", tests, NULL, NULL);
}
