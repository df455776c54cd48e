/*
 * The guest's local APIC (APM vol. 2, chapter 16): registers as MSRs in x2APIC mode, and in
 * memory in xAPIC mode (lapic_mmio.c), which only domains with devices have a window for.
 *
 * A pure machine: registers, requests and a count; time is an argument, and what must
 * happen outside (an interrupt for another vCPU, a timer to be armed) is returned. Nothing
 * here can fail but by the guest's #GP.
 */
#ifndef X86_LAPIC_H
#define X86_LAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "paging/frame.h"

#define LAPIC_BASE_ADDRESS UINT64_C(0xfee00000)
#define LAPIC_BASE_BSP     (UINT64_C(1) << 8)
#define LAPIC_BASE_X2APIC  (UINT64_C(1) << 10)
#define LAPIC_BASE_ENABLE  (UINT64_C(1) << 11)

/* Registers: the MSR's number less MSR_X2APIC_FIRST. */
enum {
    LAPIC_ID = 0x02,
    LAPIC_VERSION = 0x03,
    LAPIC_TPR = 0x08,
    LAPIC_PPR = 0x0a,
    LAPIC_EOI = 0x0b,
    LAPIC_LDR = 0x0d,
    LAPIC_DFR = 0x0e, /* xAPIC mode only */
    LAPIC_SVR = 0x0f,
    LAPIC_ISR = 0x10, /* eight of each */
    LAPIC_TMR = 0x18,
    LAPIC_IRR = 0x20,
    LAPIC_ESR = 0x28,
    LAPIC_ICR = 0x30,
    LAPIC_ICR_HIGH = 0x31, /* xAPIC mode only */
    LAPIC_LVT_TIMER = 0x32,
    LAPIC_LVT_THERMAL = 0x33,
    LAPIC_LVT_PERF = 0x34,
    LAPIC_LVT_LINT0 = 0x35,
    LAPIC_LVT_LINT1 = 0x36,
    LAPIC_LVT_ERROR = 0x37,
    LAPIC_INITIAL_COUNT = 0x38,
    LAPIC_CURRENT_COUNT = 0x39,
    LAPIC_DIVIDE = 0x3e,
    LAPIC_SELF_IPI = 0x3f,
};

#define LAPIC_SVR_ENABLE   (1u << 8)
#define LAPIC_LVT_MASKED   (1u << 16)
#define LAPIC_LVT_PERIODIC (1u << 17)
#define LAPIC_LVT_MODE     (7u << 8)
#define LAPIC_LVT_NMI      (4u << 8)
#define LAPIC_LVT_EXTINT   (7u << 8)
#define LAPIC_LVTS         6

#define LAPIC_DFR_FLAT    UINT32_C(0xffffffff)
#define LAPIC_DFR_CLUSTER UINT32_C(0x0fffffff)

/* ICR, APM vol. 2, 16.5 and 16.13 */
#define LAPIC_ICR_VECTOR      UINT64_C(0xff)
#define LAPIC_ICR_MODE        (UINT64_C(7) << 8)
#define LAPIC_ICR_FIXED       (UINT64_C(0) << 8)
#define LAPIC_ICR_LOWEST      (UINT64_C(1) << 8)
#define LAPIC_ICR_LOGICAL     (UINT64_C(1) << 11)
#define LAPIC_ICR_SHORT_SHIFT 18
#define LAPIC_ICR_VALID       UINT64_C(0xffffffff000ccfff) /* all other bits are reserved */
#define LAPIC_BROADCAST       UINT32_C(0xffffffff)

enum lapic_shorthand { LAPIC_TO_DEST, LAPIC_TO_SELF, LAPIC_TO_ALL, LAPIC_TO_OTHERS };

/* Logical x2APIC id of a physical one: cluster in the high half, one bit of sixteen below. */
static inline uint32_t lapic_logical(uint32_t id)
{
    return (id >> 4) << 16 | UINT32_C(1) << (id & 15);
}

struct lapic {
    uint32_t id;
    uint64_t base; /* APIC_BASE */
    uint8_t  tpr;
    uint32_t svr;
    uint32_t esr, esr_latched; /* collecting; as the guest reads it */
    uint64_t icr;
    uint32_t lvt[LAPIC_LVTS];
    uint32_t ldr, dfr; /* xAPIC mode's */
    uint32_t irr[8], isr[8], tmr[8];
    uint32_t divide, initial;
    uint64_t start; /* ns at which the count began; due is UINT64_MAX when it does not run */
    uint64_t due;
};

/* What a write asks of others. */
struct lapic_effect {
    bool     timer; /* lapic_timer_due has changed */
    bool     send;  /* deliver `icr` with lapic_addresses to the domain's local APICs */
    uint64_t icr;
    bool     eoi; /* a level-triggered interrupt `vector` has ended: tell the IOAPIC */
    uint8_t  vector;
};

void lapic_init(struct lapic *apic, uint32_t id, bool bsp);
/* As a PC's firmware leaves it: enabled, interrupts of the 8259s come in by LINT0. */
void lapic_virtual_wire(struct lapic *apic);
/* Do interrupts of the 8259s get to the processor? */
must_check bool lapic_takes_extint(const struct lapic *apic);

/* Registers by number; `now` in nanoseconds. False: #GP(0). */
must_check bool lapic_read(const struct lapic *apic, unsigned reg, uint64_t now, uint64_t *value);
must_check bool lapic_write(struct lapic *apic, unsigned reg, uint64_t value, uint64_t now,
                            struct lapic_effect *effect);

/*
 * The registers in memory, 16 bytes apart, in xAPIC mode: an access of `length` bytes at
 * `offset` of the page. False: there is no such window in this mode. APM vol. 2, 16.3.2.
 */
must_check bool lapic_mmio_read(struct lapic *apic, unsigned offset, unsigned length, uint64_t now,
                                uint32_t *value);
must_check bool lapic_mmio_write(struct lapic *apic, unsigned offset, unsigned length,
                                 uint32_t value, uint64_t now, struct lapic_effect *effect);
/* The same registers whatever the mode, for lapic_mmio.c. False: no such register, or value. */
must_check bool lapic_get(const struct lapic *apic, unsigned reg, uint64_t now, uint64_t *value);
must_check bool lapic_put(struct lapic *apic, unsigned reg, uint64_t value, uint64_t now,
                          struct lapic_effect *effect);
/* Bits of an entry of the local vector table that may be set, by register. */
uint32_t lapic_lvt_valid(unsigned reg);
/* A register that does not exist was reached for. */
void lapic_illegal_register(struct lapic *apic);

/* A write to APIC_BASE, whose transitions are checked: APM vol. 2, 16.9. False: #GP(0). */
must_check bool lapic_set_base(struct lapic *apic, uint64_t value);

/* Is this APIC meant by an ICR value written by the APIC `from`? */
must_check bool lapic_addresses(const struct lapic *apic, uint32_t from, uint64_t icr);

void lapic_raise(struct lapic *apic, uint8_t vector);
void lapic_raise_level(struct lapic *apic, uint8_t vector); /* its end is told: effect.eoi */
/* The interrupt to be taken next, if it may interrupt what is in service. */
must_check bool lapic_pending(const struct lapic *apic, uint8_t *vector);
/* 0 if none is requested at all, to be taken now or later; asked before each entry. */
static inline uint64_t lapic_requests(const struct lapic *apic)
{
    typedef uint64_t __attribute__((may_alias, aligned(4))) pair_t;
    const pair_t *pair = (const pair_t *)apic->irr;

    _Static_assert(4 * sizeof(*pair) == sizeof(apic->irr), "two words at a time");
    return pair[0] | pair[1] | pair[2] | pair[3];
}
static inline bool lapic_requested(const struct lapic *apic)
{
    return lapic_requests(apic) != 0;
}
void lapic_accept(struct lapic *apic, uint8_t vector); /* IRR to ISR */

/* CR8 is the upper half of TPR. */
static inline uint64_t lapic_cr8(const struct lapic *apic)
{
    return apic->tpr >> 4;
}
static inline void lapic_set_cr8(struct lapic *apic, uint64_t value)
{
    apic->tpr = (uint8_t)(value << 4);
}

/* By what the timer's clock is divided. */
unsigned lapic_divisor(const struct lapic *apic);

/* The count ends at lapic->due: raise, and begin again if periodic. */
void lapic_timer_expired(struct lapic *apic, uint64_t now);

#endif
