/*
 * The board's ports. All devices have 8 bits: a wider access is one to each port in turn, as
 * the bus of a PC splits it, but for those that take a whole value (exit status, power).
 */
#include "x86/platform.h"

#include "hv/console.h"
#include "hv/pvh.h"
#include "x86/dev_cmos.h"

#define PORT_PIC1             0x20
#define PORT_PIC2             0xa0
#define PORT_PIT              0x40
#define PORT_KEYBOARD         0x60
#define PORT_SPEAKER          0x61
#define PORT_KEYBOARD_COMMAND 0x64
#define PORT_CMOS             0x70
#define PORT_SYSTEM           0x92
#define PORT_EXIT             0xf4
#define PORT_SERIAL           0x3f8
#define PORT_ELCR             0x4d0
#define PORT_POWER            0x604
#define PORT_RESET            0xcf9

#define KEYBOARD_STATUS 0x1c /* nothing to be read, ready to be written, tested, not locked */
#define KEYBOARD_RESET  0xfe
#define SYSTEM_RESET    0x01
#define SYSTEM_A20      0x02
#define RESET_NOW       0x04
#define POWER_SLEEP     (1u << 13) /* ACPI's PM1 control: SLP_EN */
#define CMOS_INDEX      0x7f
#define NOTHING         0xff

/* ---- the devices ---- */

static uint8_t read_pic(struct machine_platform *p, uint16_t port)
{
    return pic_read(&p->pic, port >> 7 & 1, port & 1);
}

static void write_pic(struct machine_platform *p, uint16_t port, uint8_t value)
{
    pic_write(&p->pic, port >> 7 & 1, port & 1, value);
}

static uint8_t read_elcr(struct machine_platform *p, uint16_t port)
{
    return pic_read_elcr(&p->pic, port & 1);
}

static void write_elcr(struct machine_platform *p, uint16_t port, uint8_t value)
{
    pic_write_elcr(&p->pic, port & 1, value);
}

static uint8_t read_pit(struct machine_platform *p, uint16_t port)
{
    return pit_read(&p->pit, port & 3, machine_now());
}

static void write_pit(struct machine_platform *p, uint16_t port, uint8_t value)
{
    pit_write(&p->pit, port & 3, value, machine_now());
}

static uint8_t read_speaker(struct machine_platform *p, uint16_t port)
{
    (void)port;
    return pit_read_speaker(&p->pit, machine_now());
}

static void write_speaker(struct machine_platform *p, uint16_t port, uint8_t value)
{
    (void)port;
    pit_write_speaker(&p->pit, value, machine_now());
}

static uint8_t read_serial(struct machine_platform *p, uint16_t port)
{
    return uart_read(&p->uart, port & 7);
}

static void write_serial(struct machine_platform *p, uint16_t port, uint8_t value)
{
    char c = (char)value;

    if (uart_write(&p->uart, port & 7, value))
        console_guest_output(p->domain, &c, 1);
}

/* There is no keyboard; its controller is asked whether it is busy, and told to reset. */
static uint8_t read_keyboard(struct machine_platform *p, uint16_t port)
{
    (void)p;
    return port == PORT_KEYBOARD_COMMAND ? KEYBOARD_STATUS : 0;
}

static void write_keyboard(struct machine_platform *p, uint16_t port, uint8_t value)
{
    if (port == PORT_KEYBOARD_COMMAND && value == KEYBOARD_RESET)
        domain_stop(p->domain, SHUTDOWN_reboot);
}

static uint8_t read_cmos(struct machine_platform *p, uint16_t port)
{
    uint64_t seconds = machine_wallclock() + machine_now() / UINT64_C(1000000000);

    if (port == PORT_CMOS)
        return NOTHING;
    return cmos_read(p->cmos_index, seconds, pvh_low_ram(p->domain));
}

static void write_cmos(struct machine_platform *p, uint16_t port, uint8_t value)
{
    if (port == PORT_CMOS)
        p->cmos_index =
            value & CMOS_INDEX; /* the bit above it masks NMIs, of which there are none */
}

/* Address line 20 is always there. */
static uint8_t read_system(struct machine_platform *p, uint16_t port)
{
    (void)port;
    return p->port_92 | SYSTEM_A20;
}

static void write_system(struct machine_platform *p, uint16_t port, uint8_t value)
{
    (void)port;
    p->port_92 = value & (uint8_t)~SYSTEM_RESET;
    if (value & SYSTEM_RESET)
        domain_stop(p->domain, SHUTDOWN_reboot);
}

static uint8_t read_nothing(struct machine_platform *p, uint16_t port)
{
    (void)p, (void)port;
    return 0;
}

static void write_reset(struct machine_platform *p, uint16_t port, uint8_t value)
{
    (void)port;
    if (value & RESET_NOW)
        domain_stop(p->domain, SHUTDOWN_reboot);
}

static const struct port_row {
    uint16_t first, last;
    uint8_t (*read)(struct machine_platform *p, uint16_t port);
    void (*write)(struct machine_platform *p, uint16_t port, uint8_t value);
} rows[] = {
    { PORT_SERIAL, PORT_SERIAL + 7, read_serial, write_serial },
    { PORT_PIC1, PORT_PIC1 + 1, read_pic, write_pic },
    { PORT_PIC2, PORT_PIC2 + 1, read_pic, write_pic },
    { PORT_PIT, PORT_PIT + 3, read_pit, write_pit },
    { PORT_SPEAKER, PORT_SPEAKER, read_speaker, write_speaker },
    { PORT_CMOS, PORT_CMOS + 1, read_cmos, write_cmos },
    { PORT_KEYBOARD, PORT_KEYBOARD, read_keyboard, write_keyboard },
    { PORT_KEYBOARD_COMMAND, PORT_KEYBOARD_COMMAND, read_keyboard, write_keyboard },
    { PORT_SYSTEM, PORT_SYSTEM, read_system, write_system },
    { PORT_ELCR, PORT_ELCR + 1, read_elcr, write_elcr },
    { PORT_RESET, PORT_RESET, read_nothing, write_reset },
};

/* ---- accesses ---- */

static const struct port_row *row_of(uint16_t port)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (port >= rows[i].first && port <= rows[i].last)
            return &rows[i];
    return NULL;
}

uint32_t platform_port_read(struct vcpu *v, uint16_t port, unsigned bytes)
{
    struct machine_platform *p = v->domain->platform;
    uint32_t                 value = 0;

    platform_update(p); /* what time has done is seen */
    for (unsigned i = 0; i < bytes; i++) {
        uint16_t               at = (uint16_t)(port + i);
        const struct port_row *row = row_of(at);

        value |= (uint32_t)(row ? row->read(p, at) : NOTHING) << 8 * i;
    }
    platform_update(p);
    return value;
}

void platform_port_write(struct vcpu *v, uint16_t port, unsigned bytes, uint32_t value)
{
    struct machine_platform *p = v->domain->platform;

    if (port == PORT_EXIT) {
        domain_exit(v->domain, value);
        return;
    }
    if (port == PORT_POWER) {
        if (value & POWER_SLEEP)
            domain_stop(v->domain, SHUTDOWN_poweroff);
        return;
    }
    platform_update(p); /* a tick of the old count is not lost with it */
    for (unsigned i = 0; i < bytes; i++) {
        uint16_t               at = (uint16_t)(port + i);
        const struct port_row *row = row_of(at);

        if (row)
            row->write(p, at, (uint8_t)(value >> 8 * i));
    }
    platform_update(p);
}
