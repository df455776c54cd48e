/* An 8254; see dev_pit.h. */
#include "x86/dev_pit.h"

#define NS_PER_S UINT64_C(1000000000)
#define COUNT_0  0x10000u /* what a count of 0 means */
#define BCD_0    10000u

#define SPEAKER_GATE   0x01
#define SPEAKER_KEPT   0x0f
#define SPEAKER_TOGGLE 0x10 /* memory refresh */
#define SPEAKER_OUT    0x20
#define REFRESH_NS     UINT64_C(15085)

#define STATUS_OUT       0x80
#define READ_BACK        3
#define READ_BACK_STATUS 0x10 /* both are active when 0 */
#define READ_BACK_COUNT  0x20

/* Neither product overflows: the remainders are below 2^30 and 2^21. */
static uint64_t steps_of(uint64_t ns)
{
    return ns / NS_PER_S * PIT_HZ + ns % NS_PER_S * PIT_HZ / NS_PER_S;
}

/* The first nanosecond at which so many steps are over. */
static uint64_t ns_of(uint64_t steps)
{
    return steps / PIT_HZ * NS_PER_S + (steps % PIT_HZ * NS_PER_S + PIT_HZ - 1) / PIT_HZ;
}

/* ---- a counter ---- */

static bool repeats(const struct pit_counter *c)
{
    return c->mode == 2 || c->mode == 3;
}

static bool wants_trigger(const struct pit_counter *c)
{
    return c->mode == 1 || c->mode == 5;
}

static bool running(const struct pit_counter *c)
{
    return c->loaded && (wants_trigger(c) ? c->triggered : c->gate);
}

/* Steps since it began to count down. */
static uint64_t elapsed(const struct pit_counter *c, uint64_t steps)
{
    return running(c) ? steps - c->start : c->held;
}

static bool output(const struct pit_counter *c, uint64_t steps)
{
    uint64_t at = elapsed(c, steps);

    switch (c->mode) {
    case 0:
        return c->loaded && at >= c->count;
    case 1:
        return !running(c) || at >= c->count;
    case 2:
        return !running(c) || at % c->count != c->count - 1;
    case 3:
        return !running(c) || at % c->count < (c->count + 1) / 2;
    default: /* low for one step at the end only */
        return !c->loaded || at != c->count;
    }
}

static uint16_t to_bcd(uint32_t value)
{
    uint32_t bcd = 0;

    for (unsigned i = 0; i < 4; i++) {
        bcd |= value % 10 << 4 * i;
        value /= 10;
    }
    return (uint16_t)bcd;
}

static uint32_t from_bcd(uint16_t bcd)
{
    uint32_t value = 0;

    for (unsigned i = 4; i-- > 0;)
        value = value * 10 + (bcd >> 4 * i & 15);
    return value;
}

/* What is in the counting element, as it is read. */
static uint16_t current(const struct pit_counter *c, uint64_t steps)
{
    uint32_t whole = c->bcd ? BCD_0 : COUNT_0;
    uint64_t at = elapsed(c, steps);
    uint32_t value;

    if (!c->loaded)
        return 0;
    if (c->mode == 3)
        value = c->count - (uint32_t)(2 * at % c->count);
    else if (repeats(c))
        value = c->count - (uint32_t)(at % c->count);
    else /* at its end it goes on, from the greatest count */
        value = (uint32_t)((c->count + whole - at % whole) % whole);
    value %= whole;
    return c->bcd ? to_bcd(value) : (uint16_t)value;
}

static void load(struct pit_counter *c, uint16_t value, uint64_t steps)
{
    uint32_t count = c->bcd ? from_bcd(value) : value;

    if (count == 0)
        count = c->bcd ? BCD_0 : COUNT_0;
    if (repeats(c) && count == 1) /* not allowed by the data sheet */
        count = 2;
    c->count = count;
    c->loaded = true;
    c->start = steps;
    c->held = 0;
}

static void set_gate(struct pit_counter *c, bool gate, uint64_t steps)
{
    if (gate == c->gate)
        return;
    if (!gate && !wants_trigger(c))
        c->held = repeats(c) ? 0 : elapsed(c, steps);
    c->gate = gate;
    if (!gate)
        return;
    if (wants_trigger(c)) {
        c->triggered = c->loaded;
        c->start = steps;
    } else {
        c->start = steps - c->held;
    }
}

static void set_mode(struct pit_counter *c, uint8_t control, uint64_t steps)
{
    uint8_t mode = control >> 1 & 7;

    c->mode = mode > 5 ? mode & 3 : mode; /* 6 and 7 are 2 and 3 */
    c->access = control >> 4 & 3;
    c->bcd = control & 1;
    c->loaded = c->triggered = false;
    c->write_high = c->read_high = false;
    c->latched = c->status_latched = false;
    c->start = steps;
    c->held = 0;
}

static void latch_count(struct pit_counter *c, uint64_t steps)
{
    if (c->latched)
        return;
    c->latched = true;
    c->latch = current(c, steps);
}

static void latch_status(struct pit_counter *c, uint64_t steps)
{
    if (c->status_latched)
        return;
    c->status_latched = true;
    c->status = (uint8_t)((output(c, steps) ? STATUS_OUT : 0) | (c->loaded ? 0 : 0x40) |
                          c->access << 4 | c->mode << 1 | c->bcd);
}

static uint8_t read_counter(struct pit_counter *c, uint64_t steps)
{
    uint16_t value;
    bool     high = c->access == PIT_HIGH || (c->access == PIT_BOTH && c->read_high);

    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    value = c->latched ? c->latch : current(c, steps);
    if (c->access == PIT_BOTH)
        c->read_high = !c->read_high;
    if (c->access != PIT_BOTH || high)
        c->latched = false;
    return (uint8_t)(high ? value >> 8 : value);
}

static void write_counter(struct pit_counter *c, uint8_t value, uint64_t steps)
{
    switch (c->access) {
    case PIT_LOW:
        load(c, value, steps);
        break;
    case PIT_HIGH:
        load(c, (uint16_t)(value << 8), steps);
        break;
    default:
        if (!c->write_high)
            c->low = value;
        else
            load(c, (uint16_t)(value << 8 | c->low), steps);
        c->write_high = !c->write_high;
        break;
    }
}

/* ---- all of it ---- */

void pit_init(struct pit *pit, uint64_t now)
{
    uint64_t steps = steps_of(now);

    *pit = (struct pit){ .seen = steps };
    for (unsigned i = 0; i < PIT_COUNTERS; i++)
        pit->counter[i].access = PIT_BOTH;
    pit->counter[0].gate = pit->counter[1].gate = true;
    pit->counter[0].mode = 2;
    load(&pit->counter[0], 0, steps);
}

uint8_t pit_read(struct pit *pit, unsigned port, uint64_t now)
{
    return port < PIT_COUNTERS ? read_counter(&pit->counter[port], steps_of(now)) : 0xff;
}

static void write_control(struct pit *pit, uint8_t value, uint64_t steps)
{
    unsigned which = value >> 6;

    if (which != READ_BACK) {
        if ((value >> 4 & 3) == PIT_LATCH_COUNT)
            latch_count(&pit->counter[which], steps);
        else
            set_mode(&pit->counter[which], value, steps);
        return;
    }
    for (unsigned i = 0; i < PIT_COUNTERS; i++) {
        if (!(value >> (i + 1) & 1))
            continue;
        if (!(value & READ_BACK_COUNT))
            latch_count(&pit->counter[i], steps);
        if (!(value & READ_BACK_STATUS))
            latch_status(&pit->counter[i], steps);
    }
}

void pit_write(struct pit *pit, unsigned port, uint8_t value, uint64_t now)
{
    uint64_t steps = steps_of(now);

    if (port < PIT_COUNTERS)
        write_counter(&pit->counter[port], value, steps);
    else
        write_control(pit, value, steps);
}

uint8_t pit_read_speaker(const struct pit *pit, uint64_t now)
{
    return (uint8_t)(pit->speaker | (now / REFRESH_NS & 1 ? SPEAKER_TOGGLE : 0) |
                     (output(&pit->counter[2], steps_of(now)) ? SPEAKER_OUT : 0));
}

void pit_write_speaker(struct pit *pit, uint8_t value, uint64_t now)
{
    pit->speaker = value & SPEAKER_KEPT;
    set_gate(&pit->counter[2], value & SPEAKER_GATE, steps_of(now));
}

/* The first step after `steps` at which counter 0's output rises; UINT64_MAX: it does not. */
static uint64_t next_rise(const struct pit_counter *c, uint64_t steps)
{
    uint64_t at = steps - c->start;

    if (!running(c))
        return UINT64_MAX;
    if (repeats(c))
        return c->start + (at / c->count + 1) * c->count;
    return at < c->count ? c->start + c->count : UINT64_MAX;
}

bool pit_ticked(struct pit *pit, uint64_t now)
{
    const struct pit_counter *c = &pit->counter[0];
    uint64_t                  steps = steps_of(now);
    uint64_t                  from = pit->seen > c->start ? pit->seen : c->start;
    bool                      rose = next_rise(c, from) <= steps;

    pit->seen = steps;
    return rose;
}

uint64_t pit_next_tick(const struct pit *pit, uint64_t now)
{
    const struct pit_counter *c = &pit->counter[0];
    uint64_t                  steps = steps_of(now);
    uint64_t                  next = next_rise(c, steps > c->start ? steps : c->start);

    return next == UINT64_MAX ? UINT64_MAX : ns_of(next);
}
