/* A 16550; see dev_uart.h. */
#include "x86/dev_uart.h"

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCRATCH, FCR = IIR };

#define IER_VALID    0x0f
#define IER_RECEIVED 0x01
#define IER_EMPTY    0x02
#define IER_LINE     0x04

#define IIR_NONE     0x01
#define IIR_EMPTY    0x02
#define IIR_RECEIVED 0x04
#define IIR_LINE     0x06
#define IIR_TIMEOUT  0x0c
#define IIR_FIFO     0xc0

#define FCR_ENABLE 0x01
#define FCR_CLEAR  0x02 /* the receiver's queue */
#define FCR_KEPT   0xc9

#define LCR_DIVISOR 0x80

#define MCR_VALID    0x1f
#define MCR_OUT2     0x08 /* on a PC: lets the interrupt through */
#define MCR_LOOPBACK 0x10

#define LSR_READY   0x01
#define LSR_OVERRUN 0x02
#define LSR_EMPTY   0x60 /* both the register behind the queue and the one that shifts */

#define MSR_PRESENT 0xb0 /* CTS, DSR, DCD: somebody listens */

void uart_reset(struct uart *uart)
{
    *uart = (struct uart){ .divisor = 12 }; /* 9600 baud */
}

static unsigned trigger(const struct uart *u)
{
    static const uint8_t level[] = { 1, 4, 8, 14 };

    return u->fcr & FCR_ENABLE ? level[u->fcr >> 6] : 1;
}

/* The cause of the highest priority, as IIR shows it. */
static uint8_t cause(const struct uart *u)
{
    if ((u->ier & IER_LINE) && u->overrun)
        return IIR_LINE;
    if ((u->ier & IER_RECEIVED) && u->count >= trigger(u))
        return IIR_RECEIVED;
    /* The sender pauses whenever we look: fewer characters than the trigger are old at once. */
    if ((u->ier & IER_RECEIVED) && u->count > 0)
        return IIR_TIMEOUT;
    if ((u->ier & IER_EMPTY) && u->thre)
        return IIR_EMPTY;
    return IIR_NONE;
}

bool uart_interrupts(const struct uart *u)
{
    return (u->mcr & MCR_OUT2) && !(u->mcr & MCR_LOOPBACK) && cause(u) != IIR_NONE;
}

bool uart_receive(struct uart *u, uint8_t c)
{
    if (u->count == UART_QUEUE) {
        u->overrun = true;
        return false;
    }
    u->queue[(u->first + u->count++) % UART_QUEUE] = c;
    return true;
}

static uint8_t take(struct uart *u)
{
    uint8_t c;

    if (u->count == 0)
        return 0;
    c = u->queue[u->first];
    u->first = (u->first + 1) % UART_QUEUE;
    u->count--;
    return c;
}

static uint8_t read_iir(struct uart *u)
{
    uint8_t value = cause(u);

    if (value == IIR_EMPTY)
        u->thre = false;
    return value | (u->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint8_t read_lsr(struct uart *u)
{
    uint8_t value =
        (uint8_t)(LSR_EMPTY | (u->count > 0 ? LSR_READY : 0) | (u->overrun ? LSR_OVERRUN : 0));

    u->overrun = false;
    return value;
}

/* In loopback the outputs come back: DTR as DSR, RTS as CTS, OUT1 as RI, OUT2 as DCD. */
static uint8_t read_msr(const struct uart *u)
{
    if (!(u->mcr & MCR_LOOPBACK))
        return MSR_PRESENT;
    return (uint8_t)((u->mcr & 0x01) << 5 | (u->mcr & 0x02) << 3 | (u->mcr & 0x0c) << 4);
}

uint8_t uart_read(struct uart *u, unsigned reg)
{
    switch (reg & 7) {
    case DATA:
        return u->lcr & LCR_DIVISOR ? (uint8_t)u->divisor : take(u);
    case IER:
        return u->lcr & LCR_DIVISOR ? (uint8_t)(u->divisor >> 8) : u->ier;
    case IIR:
        return read_iir(u);
    case LCR:
        return u->lcr;
    case MCR:
        return u->mcr;
    case LSR:
        return read_lsr(u);
    case MSR:
        return read_msr(u);
    default:
        return u->scratch;
    }
}

/* True if it leaves the chip. */
static bool send(struct uart *u, uint8_t value)
{
    u->thre = true;
    if (!(u->mcr & MCR_LOOPBACK))
        return true;
    (void)uart_receive(u, value);
    return false;
}

static void write_ier(struct uart *u, uint8_t value)
{
    /* An empty transmitter interrupts as soon as that is allowed. */
    if ((value & IER_EMPTY) && !(u->ier & IER_EMPTY))
        u->thre = true;
    u->ier = value & IER_VALID;
}

bool uart_write(struct uart *u, unsigned reg, uint8_t value)
{
    switch (reg & 7) {
    case DATA:
        if (!(u->lcr & LCR_DIVISOR))
            return send(u, value);
        u->divisor = (uint16_t)((u->divisor & 0xff00) | value);
        break;
    case IER:
        if (!(u->lcr & LCR_DIVISOR))
            write_ier(u, value);
        else
            u->divisor = (uint16_t)((u->divisor & 0xff) | value << 8);
        break;
    case FCR:
        if ((value & FCR_CLEAR) || ((value ^ u->fcr) & FCR_ENABLE))
            u->count = 0;
        u->fcr = value & FCR_KEPT;
        break;
    case LCR:
        u->lcr = value;
        break;
    case MCR:
        u->mcr = value & MCR_VALID;
        break;
    case SCRATCH:
        u->scratch = value;
        break;
    default: /* LSR and MSR are to be read only */
        break;
    }
    return false;
}
