/* Data sheet of the PC16550D, section 8. Output is polled, input interrupts and is then polled. */
#include "x86/uart.h"

#include "hv/machine.h"
#include "x86/cpu.h"

#define COM1 0x3f8

enum {
    UART_DATA = COM1,
    UART_DIVISOR_LOW = COM1, /* with LCR_DIVISOR */
    UART_IER = COM1 + 1,
    UART_DIVISOR_HIGH = COM1 + 1,
    UART_FCR = COM1 + 2,
    UART_LCR = COM1 + 3,
    UART_MCR = COM1 + 4,
    UART_LSR = COM1 + 5,
};

enum {
    IER_RECEIVED = 0x01,
    FCR_ENABLE_AND_CLEAR = 0x07, /* interrupt at the first character */
    LCR_8_BITS = 0x03,
    LCR_DIVISOR = 0x80,
    MCR_READY = 0x03,     /* DTR, RTS */
    MCR_INTERRUPT = 0x08, /* OUT2, which gates the interrupt on PCs */
    LSR_RECEIVED = 0x01,
    LSR_CAN_SEND = 0x20,
    LSR_ABSENT = 0xff, /* what a port without a device reads as */
};

void uart_init(void)
{
    outb(UART_IER, 0);
    outb(UART_LCR, LCR_DIVISOR);
    outb(UART_DIVISOR_LOW, 1);
    outb(UART_DIVISOR_HIGH, 0);
    outb(UART_LCR, LCR_8_BITS);
    outb(UART_FCR, FCR_ENABLE_AND_CLEAR);
    outb(UART_MCR, MCR_READY | MCR_INTERRUPT);
}

void uart_enable_interrupt(void)
{
    outb(UART_IER, IER_RECEIVED);
}

static void put(char c)
{
    while (!(inb(UART_LSR) & LSR_CAN_SEND))
        cpu_relax();
    outb(UART_DATA, (uint8_t)c);
}

/* A terminal wants a carriage return before a line feed; guests send theirs themselves. */
void machine_serial_put(char c)
{
    static char last;

    if (c == '\n' && last != '\r')
        put('\r');
    put(c);
    last = c;
}

int machine_serial_get(void)
{
    uint8_t status = inb(UART_LSR);

    if (status == LSR_ABSENT || !(status & LSR_RECEIVED))
        return -1;
    return inb(UART_DATA);
}
