/*
 * An 82093AA IOAPIC (Intel's data sheet 290566): 24 pins, each with an entry that says which
 * interrupt it makes. A pure machine: lines and register accesses in; what is to be delivered
 * is returned as pins, whose entries the caller looks up. An edge that comes while its pin is
 * masked is lost.
 */
#ifndef X86_DEV_IOAPIC_H
#define X86_DEV_IOAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "paging/frame.h"

#define IOAPIC_ADDRESS_DEFAULT UINT64_C(0xfec00000)
#define IOAPIC_PINS            24

/* A redirection entry. */
#define IOAPIC_VECTOR     UINT64_C(0xff)
#define IOAPIC_MODE       UINT64_C(0x700) /* as the local APIC's ICR has it */
#define IOAPIC_EXTINT     UINT64_C(0x700)
#define IOAPIC_LOGICAL    (UINT64_C(1) << 11)
#define IOAPIC_POLARITY   (UINT64_C(1) << 13)
#define IOAPIC_REMOTE_IRR (UINT64_C(1) << 14)
#define IOAPIC_LEVEL      (UINT64_C(1) << 15)
#define IOAPIC_MASK       (UINT64_C(1) << 16)
#define IOAPIC_DEST_SHIFT 56

struct ioapic {
    uint8_t  id, select;
    uint32_t line; /* as the lines are, bit per pin */
    uint64_t entry[IOAPIC_PINS];
};

void     ioapic_init(struct ioapic *ioapic);
uint32_t ioapic_read(const struct ioapic *ioapic, unsigned offset);
/* Each of these returns the pins whose interrupt is to be delivered now, bit per pin. */
must_check uint32_t ioapic_write(struct ioapic *ioapic, unsigned offset, uint32_t value);
must_check uint32_t ioapic_set_line(struct ioapic *ioapic, unsigned pin, bool up);
must_check uint32_t ioapic_end(struct ioapic *ioapic, uint8_t vector);

#endif
