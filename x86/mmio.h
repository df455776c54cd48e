/*
 * Guest-physical addresses that are neither memory nor nothing. The emulator's accesses to
 * what is not memory end here.
 */
#ifndef X86_MMIO_H
#define X86_MMIO_H

#include <stdint.h>

struct vcpu;

/*
 * An access of 1 to 16 bytes. Where nobody answers all ones are read, and writes are taken in
 * silence, as on an empty bus. What crosses the end of a device's page falls on such a bus.
 */
void mmio_read(struct vcpu *v, uint64_t gpa, void *to, unsigned length);
void mmio_write(struct vcpu *v, uint64_t gpa, const void *from, unsigned length);

#endif
