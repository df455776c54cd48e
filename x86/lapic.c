/* The guest's local APIC: registers, priorities, the timer's count. APM vol. 2, chapter 16. */
#include "x86/lapic.h"

/* 1 ns per count before the divider: the timer's clock is as fast as our own. */
#define TICK_NS 1

enum {
    ERROR_SEND_VECTOR = 1u << 5,
    ERROR_RECEIVE_VECTOR = 1u << 6,
    ERROR_REGISTER = 1u << 7,
};

/* Bits of the local vector table; the last is of those that have the first. */
#define LVT_LEVEL      (1u << 15)
#define LVT_STATUS     (UINT64_C(1) << 12)
#define LVT_REMOTE_IRR (UINT64_C(1) << 14)

/* As firmware leaves the local pins: LINT0 level triggered from the 8259s, LINT1 the NMI. */
#define LVT_WIRE_LINT0 (LAPIC_LVT_EXTINT | LVT_LEVEL)
#define LVT_WIRE_LINT1 (LAPIC_LVT_NMI | LVT_LEVEL)

#define VERSION      (UINT64_C(0x10) | (uint64_t)(LAPIC_LVTS - 1) << 16)
#define FIRST_VECTOR 16 /* those below are exceptions, and no interrupt may have them */

/* Bits of each entry of the local vector table that may be set; APM vol. 2, 16.4. */
static const uint32_t lvt_valid[LAPIC_LVTS] = {
    [0] = 0x300ff,
    [LAPIC_LVT_THERMAL - LAPIC_LVT_TIMER] = 0x107ff,
    [LAPIC_LVT_PERF - LAPIC_LVT_TIMER] = 0x107ff,
    [LAPIC_LVT_LINT0 - LAPIC_LVT_TIMER] = 0x1a7ff,
    [LAPIC_LVT_LINT1 - LAPIC_LVT_TIMER] = 0x1a7ff,
    [LAPIC_LVT_ERROR - LAPIC_LVT_TIMER] = 0x100ff,
};

void lapic_init(struct lapic *apic, uint32_t id, bool bsp)
{
    *apic = (struct lapic){
        .id = id,
        .base = LAPIC_BASE_ADDRESS | LAPIC_BASE_ENABLE | (bsp ? LAPIC_BASE_BSP : 0),
        .svr = 0xff,
        .dfr = LAPIC_DFR_FLAT,
        .due = UINT64_MAX,
    };
    for (unsigned i = 0; i < LAPIC_LVTS; i++)
        apic->lvt[i] = LAPIC_LVT_MASKED;
}

void lapic_virtual_wire(struct lapic *apic)
{
    apic->svr |= LAPIC_SVR_ENABLE;
    apic->lvt[LAPIC_LVT_LINT0 - LAPIC_LVT_TIMER] = LVT_WIRE_LINT0;
    apic->lvt[LAPIC_LVT_LINT1 - LAPIC_LVT_TIMER] = LVT_WIRE_LINT1;
}

bool lapic_takes_extint(const struct lapic *apic)
{
    uint32_t lint0 = apic->lvt[LAPIC_LVT_LINT0 - LAPIC_LVT_TIMER];

    /* A local APIC that is off lets the 8259s' line through: 16.3.1. */
    return !(apic->base & LAPIC_BASE_ENABLE) ||
           (lint0 & (LAPIC_LVT_MASKED | LAPIC_LVT_MODE)) == LAPIC_LVT_EXTINT;
}

uint32_t lapic_lvt_valid(unsigned reg)
{
    return lvt_valid[reg - LAPIC_LVT_TIMER];
}

void lapic_illegal_register(struct lapic *apic)
{
    apic->esr |= ERROR_REGISTER;
}

static int highest(const uint32_t bits[8])
{
    for (int i = 7; i >= 0; i--)
        if (bits[i])
            return i * 32 + 31 - __builtin_clz(bits[i]);
    return -1;
}

static void set_bit(uint32_t bits[8], uint8_t vector)
{
    bits[vector / 32] |= UINT32_C(1) << vector % 32;
}

static void clear_bit(uint32_t bits[8], uint8_t vector)
{
    bits[vector / 32] &= ~(UINT32_C(1) << vector % 32);
}

/* Processor priority: the higher class of the task's and of what is in service. */
static uint8_t ppr(const struct lapic *apic)
{
    int     vector = highest(apic->isr);
    uint8_t service = vector < 0 ? 0 : (uint8_t)(vector & 0xf0);

    return (apic->tpr & 0xf0) >= service ? apic->tpr : service;
}

/* True if the request was taken. */
static bool raise(struct lapic *apic, uint8_t vector)
{
    if (!(apic->svr & LAPIC_SVR_ENABLE))
        return false;
    if (vector < FIRST_VECTOR) {
        apic->esr |= ERROR_RECEIVE_VECTOR;
        return false;
    }
    set_bit(apic->irr, vector);
    return true;
}

void lapic_raise(struct lapic *apic, uint8_t vector)
{
    if (raise(apic, vector))
        clear_bit(apic->tmr, vector);
}

void lapic_raise_level(struct lapic *apic, uint8_t vector)
{
    if (raise(apic, vector))
        set_bit(apic->tmr, vector);
}

bool lapic_pending(const struct lapic *apic, uint8_t *vector)
{
    int top = highest(apic->irr);

    if (top < 0 || (top & 0xf0) <= (ppr(apic) & 0xf0))
        return false;
    *vector = (uint8_t)top;
    return true;
}

void lapic_accept(struct lapic *apic, uint8_t vector)
{
    clear_bit(apic->irr, vector);
    set_bit(apic->isr, vector);
}

static void end_of_interrupt(struct lapic *apic, struct lapic_effect *effect)
{
    int vector = highest(apic->isr);

    if (vector < 0)
        return;
    clear_bit(apic->isr, (uint8_t)vector);
    effect->eoi = apic->tmr[vector / 32] >> vector % 32 & 1;
    effect->vector = (uint8_t)vector;
}

/* ---- the timer ---- */

/* Divide configuration: bits 3, 1 and 0 give 2, 4, ... 128, and 111b gives 1. */
unsigned lapic_divisor(const struct lapic *apic)
{
    unsigned code = (apic->divide & 3) | (apic->divide >> 1 & 4);

    return 1u << ((code + 1) & 7);
}

static uint64_t count_ns(const struct lapic *apic)
{
    return TICK_NS * (uint64_t)lapic_divisor(apic);
}

static void timer_start(struct lapic *apic, uint64_t now)
{
    apic->start = now;
    apic->due = apic->initial ? now + apic->initial * count_ns(apic) : UINT64_MAX;
}

static uint64_t timer_count(const struct lapic *apic, uint64_t now)
{
    if (apic->due == UINT64_MAX)
        return 0;
    if (now >= apic->due)
        return 0;
    return (apic->due - now + count_ns(apic) - 1) / count_ns(apic);
}

void lapic_timer_expired(struct lapic *apic, uint64_t now)
{
    uint32_t lvt = apic->lvt[0];
    uint64_t period = apic->initial * count_ns(apic);

    if (apic->due == UINT64_MAX || now < apic->due)
        return;
    if (!(lvt & LAPIC_LVT_MASKED))
        lapic_raise(apic, (uint8_t)lvt);
    if (!(lvt & LAPIC_LVT_PERIODIC) || !period) {
        apic->due = UINT64_MAX;
        return;
    }
    /* Periods that were missed are one interrupt, as the request register has one bit. */
    apic->start = apic->due + (now - apic->due) / period * period;
    apic->due = apic->start + period;
}

/* ---- registers ---- */

bool lapic_get(const struct lapic *apic, unsigned reg, uint64_t now, uint64_t *value)
{
    switch (reg) {
    case LAPIC_ID:
        *value = apic->id;
        return true;
    case LAPIC_VERSION:
        *value = VERSION;
        return true;
    case LAPIC_TPR:
        *value = apic->tpr;
        return true;
    case LAPIC_PPR:
        *value = ppr(apic);
        return true;
    case LAPIC_LDR:
        *value = lapic_logical(apic->id);
        return true;
    case LAPIC_SVR:
        *value = apic->svr;
        return true;
    case LAPIC_ISR ... LAPIC_ISR + 7:
        *value = apic->isr[reg - LAPIC_ISR];
        return true;
    case LAPIC_TMR ... LAPIC_TMR + 7:
        *value = apic->tmr[reg - LAPIC_TMR];
        return true;
    case LAPIC_IRR ... LAPIC_IRR + 7:
        *value = apic->irr[reg - LAPIC_IRR];
        return true;
    case LAPIC_ESR:
        *value = apic->esr_latched;
        return true;
    case LAPIC_ICR:
        *value = apic->icr;
        return true;
    case LAPIC_LVT_TIMER ... LAPIC_LVT_ERROR:
        *value = apic->lvt[reg - LAPIC_LVT_TIMER];
        return true;
    case LAPIC_INITIAL_COUNT:
        *value = apic->initial;
        return true;
    case LAPIC_CURRENT_COUNT:
        *value = timer_count(apic, now);
        return true;
    case LAPIC_DIVIDE:
        *value = apic->divide;
        return true;
    default:
        return false; /* EOI and SELF_IPI are write-only */
    }
}

bool lapic_read(const struct lapic *apic, unsigned reg, uint64_t now, uint64_t *value)
{
    return (apic->base & LAPIC_BASE_X2APIC) && lapic_get(apic, reg, now, value);
}

static bool write_svr(struct lapic *apic, uint64_t value)
{
    if (value & ~UINT64_C(0x3ff)) /* vector, enable, focus */
        return false;
    apic->svr = (uint32_t)value;
    if (!(value & LAPIC_SVR_ENABLE))
        for (unsigned i = 0; i < LAPIC_LVTS; i++)
            apic->lvt[i] |= LAPIC_LVT_MASKED;
    return true;
}

/* Delivery status and remote IRR may only be read: writing them does nothing, which Linux relies on. */
static bool write_lvt(struct lapic *apic, unsigned i, uint64_t value)
{
    value &= ~LVT_STATUS;
    if (lvt_valid[i] & LVT_LEVEL)
        value &= ~LVT_REMOTE_IRR;
    if (value & ~(uint64_t)lvt_valid[i])
        return false;
    if (!(apic->svr & LAPIC_SVR_ENABLE))
        value |= LAPIC_LVT_MASKED;
    apic->lvt[i] = (uint32_t)value;
    return true;
}

static bool write_icr(struct lapic *apic, uint64_t value, struct lapic_effect *effect)
{
    uint64_t mode = value & LAPIC_ICR_MODE;

    if (value & ~LAPIC_ICR_VALID)
        return false;
    apic->icr = value;
    if (!(apic->svr & LAPIC_SVR_ENABLE))
        return true;
    if ((mode == LAPIC_ICR_FIXED || mode == LAPIC_ICR_LOWEST) &&
        (value & LAPIC_ICR_VECTOR) < FIRST_VECTOR) {
        apic->esr |= ERROR_SEND_VECTOR;
        return true;
    }
    effect->send = true;
    effect->icr = value;
    return true;
}

static bool write_timer(struct lapic *apic, unsigned reg, uint64_t value, uint64_t now,
                        struct lapic_effect *effect)
{
    if (reg == LAPIC_INITIAL_COUNT) {
        if (value > UINT32_MAX)
            return false;
        apic->initial = (uint32_t)value;
        timer_start(apic, now);
    } else {
        uint64_t left = timer_count(apic, now);

        if (value & ~UINT64_C(0xb))
            return false;
        apic->divide = (uint32_t)value;
        if (apic->due != UINT64_MAX)
            apic->due = now + left * count_ns(apic);
    }
    effect->timer = true;
    return true;
}

bool lapic_put(struct lapic *apic, unsigned reg, uint64_t value, uint64_t now,
               struct lapic_effect *effect)
{
    *effect = (struct lapic_effect){ 0 };
    switch (reg) {
    case LAPIC_TPR:
        if (value > 0xff)
            return false;
        apic->tpr = (uint8_t)value;
        return true;
    case LAPIC_EOI:
        if (value)
            return false;
        end_of_interrupt(apic, effect);
        return true;
    case LAPIC_SVR:
        return write_svr(apic, value);
    case LAPIC_ESR:
        if (value)
            return false;
        apic->esr_latched = apic->esr;
        apic->esr = 0;
        return true;
    case LAPIC_ICR:
        return write_icr(apic, value, effect);
    case LAPIC_LVT_TIMER ... LAPIC_LVT_ERROR:
        return write_lvt(apic, reg - LAPIC_LVT_TIMER, value);
    case LAPIC_INITIAL_COUNT:
    case LAPIC_DIVIDE:
        return write_timer(apic, reg, value, now, effect);
    case LAPIC_SELF_IPI:
        if (value > 0xff)
            return false;
        lapic_raise(apic, (uint8_t)value);
        return true;
    default:
        return false;
    }
}

bool lapic_write(struct lapic *apic, unsigned reg, uint64_t value, uint64_t now,
                 struct lapic_effect *effect)
{
    *effect = (struct lapic_effect){ 0 };
    return (apic->base & LAPIC_BASE_X2APIC) && lapic_put(apic, reg, value, now, effect);
}

bool lapic_set_base(struct lapic *apic, uint64_t value)
{
    uint64_t mode = LAPIC_BASE_X2APIC | LAPIC_BASE_ENABLE;
    uint64_t from = apic->base & mode, to = value & mode;

    /* The window's address is fixed: nothing is mapped there, so nothing can be moved. */
    if ((value & ~mode) != (apic->base & ~mode))
        return false;
    if (to == LAPIC_BASE_X2APIC)
        return false; /* a combination that does not exist */
    if (from == mode && to == LAPIC_BASE_ENABLE)
        return false; /* x2APIC mode is left by disabling only */
    if (from == 0 && to == mode)
        return false; /* and entered from xAPIC mode only */
    if (to == 0 && from != 0)
        lapic_init(apic, apic->id, apic->base & LAPIC_BASE_BSP);
    apic->base = value;
    return true;
}

/* Logical destinations in xAPIC mode: eight bits, or clusters of four. APM vol. 2, 16.6.1. */
static bool xapic_logical(const struct lapic *apic, uint32_t dest)
{
    uint32_t own = apic->ldr >> 24;

    if (apic->dfr == LAPIC_DFR_FLAT)
        return dest & own & 0xff;
    return dest == 0xff || (dest >> 4 == own >> 4 && (dest & own & 0xf));
}

bool lapic_addresses(const struct lapic *apic, uint32_t from, uint64_t icr)
{
    uint32_t dest = (uint32_t)(icr >> 32);
    uint32_t logical = lapic_logical(apic->id);

    switch ((enum lapic_shorthand)(icr >> LAPIC_ICR_SHORT_SHIFT & 3)) {
    case LAPIC_TO_SELF:
        return apic->id == from;
    case LAPIC_TO_ALL:
        return true;
    case LAPIC_TO_OTHERS:
        return apic->id != from;
    case LAPIC_TO_DEST:
        break;
    }
    if (dest == LAPIC_BROADCAST)
        return true;
    if (!(icr & LAPIC_ICR_LOGICAL))
        return dest == apic->id;
    if (!(apic->base & LAPIC_BASE_X2APIC))
        return xapic_logical(apic, dest);
    return dest >> 16 == logical >> 16 && (dest & logical & 0xffff);
}
