/*
 * The local APIC by MMIO, the IOAPIC and the legacy controllers, as far as the hypervisor
 * itself needs them: one timer and one serial interrupt.
 */
#ifndef X86_APIC_H
#define X86_APIC_H

#include <stdbool.h>
#include <stdint.h>

/* Masks the legacy controllers, turns the local APIC on, routes COM1. After mm_init_frames. */
void apic_init(void);

void apic_eoi(void);

/* An interrupt of this vector for this processor. */
void apic_interrupt_self(uint8_t vector);

/* True while an interrupt of this vector waits for its EOI. */
bool apic_in_service(uint8_t vector);

/* One-shot timer: `count` steps of the timer from now; 0 stops it. */
void     apic_timer_start(uint32_t count);
uint32_t apic_timer_left(void); /* steps */

#endif
