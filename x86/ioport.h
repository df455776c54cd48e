/* The I/O ports a guest sees. */
#ifndef X86_IOPORT_H
#define X86_IOPORT_H

#include <stdint.h>

struct vcpu;

/*
 * An access of 1, 2 or 4 bytes. A port that nobody answers reads as all ones and takes
 * writes in silence, as an empty bus does.
 */
uint32_t ioport_read(struct vcpu *v, uint16_t port, unsigned bytes);
void     ioport_write(struct vcpu *v, uint16_t port, unsigned bytes, uint32_t value);

#endif
