/*
 * The devices of a PC board, for domains whose kernel expects them: who hears which line, and
 * who answers at which port and address. The devices themselves (dev_*.c, lapic.c) are pure;
 * here they get the time, the console and the vCPUs.
 *
 *     ports     20 21 a0 a1 4d0 4d1 8259s      40 to 43 61  8254      3f8 to 3ff  16550, line 4
 *               70 71 clock    60 64 92 cf9 604 reset and power       f4  exit status
 *     memory    fec00000 IOAPIC    fee00000 local APIC of the vCPU that reaches for it
 *
 * Line 0 is pin 2 of the IOAPIC, as on PCs; each other line has the same number at both.
 */
#ifndef X86_PLATFORM_H
#define X86_PLATFORM_H

#include "hv/domain.h"
#include "x86/dev_ioapic.h"
#include "x86/dev_pic.h"
#include "x86/dev_pit.h"
#include "x86/dev_uart.h"
#include "x86/lapic.h"

struct machine_platform {
    struct domain *domain;
    struct pic     pic;
    struct pit     pit;
    struct uart    uart;
    struct ioapic  ioapic;
    struct timer   tick; /* the next one of the 8254 that somebody may hear */
    uint8_t        cmos_index;
    uint8_t        port_92;
};

/* ---- interrupts ---- */

/* An interrupt of the 8259s that gets to this vCPU, and taking it: its vector. */
must_check bool               platform_has_interrupt(const struct vcpu *v);
must_check static inline bool platform_interrupt(const struct vcpu *v)
{
    return v->domain->platform && platform_has_interrupt(v);
}
uint8_t platform_acknowledge(struct vcpu *v);
/* The vCPU has ended an interrupt that was level-triggered. */
void platform_eoi(struct domain *d, uint8_t vector);

/* Interrupts of the IOAPIC's pins, bit per pin, to the local APICs that their entries name. */
void platform_deliver(struct machine_platform *p, uint32_t pins);

/* After registers of the devices have changed: lines, timer, and who is to wake up. */
void platform_update(struct machine_platform *p);

/* ---- ports and memory; the domain has a platform ---- */

uint32_t platform_port_read(struct vcpu *v, uint16_t port, unsigned bytes);
void     platform_port_write(struct vcpu *v, uint16_t port, unsigned bytes, uint32_t value);

/* ---- provided by the edge ---- */

struct lapic *vcpu_lapic(const struct vcpu *v); /* NULL while it is built */
/* Carries out what a write to the vCPU's local APIC asks for. */
void vcpu_apic_effect(struct vcpu *v, const struct lapic_effect *effect);

#endif
