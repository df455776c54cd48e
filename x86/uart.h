/* The serial line: a 16550 at COM1's place. */
#ifndef X86_UART_H
#define X86_UART_H

/* 115200 baud, 8 bits, no parity; polled. Nothing is asked for before. */
void uart_init(void);

/* Lets it interrupt when characters come; its line must be routed by then. */
void uart_enable_interrupt(void);

#endif
