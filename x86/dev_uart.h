/*
 * A 16550 serial port (National's data sheet PC16550D). A pure machine: what it sends is
 * returned at the write, so that its transmitter is always empty; what it receives waits in a
 * queue that is larger than the chip's, since nobody slows the sender down.
 */
#ifndef X86_DEV_UART_H
#define X86_DEV_UART_H

#include <stdbool.h>
#include <stdint.h>

#include "paging/frame.h"

#define UART_REGISTERS 8
#define UART_QUEUE     256

struct uart {
    uint8_t  ier, fcr, lcr, mcr, scratch;
    uint16_t divisor;
    bool     thre; /* the transmitter ran empty, and nobody has been told */
    bool     overrun;
    uint32_t first, count; /* a circle: */
    uint8_t  queue[UART_QUEUE];
};

void    uart_reset(struct uart *uart);
uint8_t uart_read(struct uart *uart, unsigned reg);
/* True: `value` is sent. */
must_check bool uart_write(struct uart *uart, unsigned reg, uint8_t value);
/* A character comes in; false: there is no room, which the guest is told as an overrun. */
bool uart_receive(struct uart *uart, uint8_t c);
/* The interrupt line. */
must_check bool uart_interrupts(const struct uart *uart);

#endif
