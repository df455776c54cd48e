/* Ports and who answers them. A device is a row; what crosses its end goes to the bus. */
#include "x86/ioport.h"

#include "x86/platform.h"

#define PORT_DEBUG 0xe9 /* Xen's and Bochs's: a character goes out, 0xe9 is read back */

static uint32_t debug_read(struct vcpu *v, uint16_t port, unsigned bytes)
{
    (void)v, (void)bytes;
    return port;
}

static void debug_write(struct vcpu *v, uint16_t port, unsigned bytes, uint32_t value)
{
    (void)port;
    for (unsigned i = 0; i < bytes; i++)
        domain_debug_char(v->domain, (char)(value >> 8 * i));
}

static const struct ioport_row {
    uint16_t first, last;
    uint32_t (*read)(struct vcpu *v, uint16_t port, unsigned bytes);
    void (*write)(struct vcpu *v, uint16_t port, unsigned bytes, uint32_t value);
} rows[] = {
    { PORT_DEBUG, PORT_DEBUG, debug_read, debug_write },
};

static const struct ioport_row *row_of(uint16_t port)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (port >= rows[i].first && port <= rows[i].last)
            return &rows[i];
    return NULL;
}

uint32_t ioport_read(struct vcpu *v, uint16_t port, unsigned bytes)
{
    const struct ioport_row *row = row_of(port);
    uint32_t                 ones = (uint32_t)((UINT64_C(1) << 8 * bytes) - 1);

    if (row)
        return row->read(v, port, bytes) & ones;
    return v->domain->platform ? platform_port_read(v, port, bytes) : ones;
}

void ioport_write(struct vcpu *v, uint16_t port, unsigned bytes, uint32_t value)
{
    const struct ioport_row *row = row_of(port);

    if (row)
        row->write(v, port, bytes, value);
    else if (v->domain->platform)
        platform_port_write(v, port, bytes, value);
}
