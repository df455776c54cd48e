/* The wires of the board: see platform.h. */
#include "x86/platform.h"

#include "hv/alloc.h"
#include "hv/console.h"

#define LINE_TIMER      0
#define LINE_SERIAL     4
#define IOAPIC_TIMER    2
#define IOAPIC_PIN_PICS 0               /* may have the 8259s' line, as ExtINT */
#define TICK_MIN_NS     UINT64_C(50000) /* a guest does not get our clock faster than this */

/* ---- from the IOAPIC to the vCPUs ---- */

/* The entry in the form that a local APIC knows, with the 8-bit destination as a number. */
static uint64_t icr_of(uint64_t entry)
{
    uint64_t dest = entry >> IOAPIC_DEST_SHIFT;

    if (!(entry & IOAPIC_LOGICAL) && dest == 0xff)
        dest = LAPIC_BROADCAST;
    return dest << 32 | (entry & (IOAPIC_VECTOR | IOAPIC_MODE | IOAPIC_LOGICAL));
}

static void deliver_pin(struct machine_platform *p, unsigned pin)
{
    struct domain *d = p->domain;
    uint64_t       entry = p->ioapic.entry[pin], icr = icr_of(entry);
    uint64_t       mode = icr & LAPIC_ICR_MODE;

    if (mode != LAPIC_ICR_FIXED && mode != LAPIC_ICR_LOWEST)
        return;
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        struct lapic *apic = vcpu_lapic(d->vcpu[i]);

        if (!apic || !lapic_addresses(apic, LAPIC_BROADCAST, icr))
            continue;
        if (entry & IOAPIC_LEVEL)
            lapic_raise_level(apic, (uint8_t)(icr & LAPIC_ICR_VECTOR));
        else
            lapic_raise(apic, (uint8_t)(icr & LAPIC_ICR_VECTOR));
        vcpu_kick(d->vcpu[i]);
        if (mode == LAPIC_ICR_LOWEST)
            return;
    }
}

void platform_deliver(struct machine_platform *p, uint32_t pins)
{
    for (; pins; pins &= pins - 1)
        deliver_pin(p, (unsigned)__builtin_ctz(pins));
}

void platform_eoi(struct domain *d, uint8_t vector)
{
    if (d->platform)
        platform_deliver(d->platform, ioapic_end(&d->platform->ioapic, vector));
}

/* ---- lines ---- */

static void set_line(struct machine_platform *p, unsigned line, bool up)
{
    pic_set_line(&p->pic, line, up);
    platform_deliver(p, ioapic_set_line(&p->ioapic, line == LINE_TIMER ? IOAPIC_TIMER : line, up));
}

bool platform_has_interrupt(const struct vcpu *v)
{
    const struct machine_platform *p = v->domain->platform;
    uint64_t                       through;

    if (v->id != 0 || !pic_pending(&p->pic))
        return false;
    through = p->ioapic.entry[IOAPIC_PIN_PICS] & (IOAPIC_MASK | IOAPIC_MODE);
    return through == IOAPIC_EXTINT || lapic_takes_extint(vcpu_lapic(v));
}

uint8_t platform_acknowledge(struct vcpu *v)
{
    return pic_acknowledge(&v->domain->platform->pic);
}

static bool timer_is_heard(const struct machine_platform *p)
{
    return !pic_masked(&p->pic, LINE_TIMER) || !(p->ioapic.entry[IOAPIC_TIMER] & IOAPIC_MASK);
}

void platform_update(struct machine_platform *p)
{
    struct vcpu *first = p->domain->vcpu[0];
    uint64_t     now = machine_now(), next = UINT64_MAX;

    if (pit_ticked(&p->pit, now)) {
        set_line(p, LINE_TIMER, true);
        set_line(p, LINE_TIMER, false);
    }
    set_line(p, LINE_SERIAL, uart_interrupts(&p->uart));
    if (p->domain->state <= DOMAIN_RUNNING && timer_is_heard(p)) /* else it has ended */
        next = pit_next_tick(&p->pit, now);
    if (next == UINT64_MAX)
        timer_cancel(&p->tick);
    else
        timer_set(&p->tick, next > now + TICK_MIN_NS ? next : now + TICK_MIN_NS);
    if (first && vcpu_lapic(first) && platform_interrupt(first))
        vcpu_kick(first);
}

static void tick(void *platform)
{
    platform_update(platform);
}

/* ---- beginning and end ---- */

bool machine_platform_create(struct domain *d)
{
    struct machine_platform *p = alloc_bytes(sizeof(*p));

    if (!p)
        return false;
    p->domain = d;
    p->tick.run = tick;
    p->tick.arg = p;
    pic_init(&p->pic);
    pit_init(&p->pit, machine_now());
    uart_reset(&p->uart);
    ioapic_init(&p->ioapic);
    d->platform = p;
    timer_set(&p->tick, machine_now()); /* the first look at who hears what */
    return true;
}

void machine_platform_destroy(struct domain *d)
{
    struct machine_platform *p = d->platform;

    if (!p)
        return;
    d->platform = NULL;
    timer_cancel(&p->tick);
    free_bytes(p, sizeof(*p));
}

bool machine_platform_type(struct domain *d, char c)
{
    bool taken = uart_receive(&d->platform->uart, (uint8_t)c);

    platform_update(d->platform);
    return taken;
}
