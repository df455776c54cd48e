/*
 * Time. The TSC counts, and its rate and that of the local APIC's timer are measured against
 * counter 2 of the 8254, whose rate is known. The TSC is taken to run at one rate and alike
 * on all CPUs (APM vol. 2, 13.2.4: TscInvariant), so that machine_now() never goes back.
 */
#include "x86/time.h"

#include <stdbool.h>
#include <stdint.h>

#include "hv/machine.h"
#include "hv/print.h"
#include "x86/apic.h"
#include "x86/cpu.h"

#define NS_PER_S  UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

#define ALARM_NS_MAX (10 * NS_PER_S)

/* 8254 data sheet: counter 2 in mode 0, low byte first; port 61h gates it. */
#define PIT_HZ            UINT64_C(1193182)
#define PIT_COUNTER2      0x42
#define PIT_CONTROL       0x43
#define PIT_START         0xb0 /* counter 2, both bytes, mode 0 */
#define PIT_LATCH         0x80 /* counter 2 */
#define PIT_GATE          0x61
#define PIT_GATE_ON       0x01
#define PIT_SPEAKER_ON    0x02
#define PIT_OUTPUT        0x20 /* goes up when the counter has come to 0 */
#define PIT_STEPS         0xffff
#define PIT_MEASURE_STEPS 47727 /* 40 ms */

#define SAMPLE_TRIES  16
#define MEASURE_TRIES 25

/* All counters at one moment. */
struct sample {
    uint64_t tsc;
    uint64_t width; /* ticks that taking it lasted */
    uint32_t apic;  /* counts down */
    uint32_t pit;   /* counts down */
};

static uint64_t tsc_start, tsc_per_ms, wallclock_start;
static uint64_t apic_per_s;
static uint32_t scale_mul;
static int8_t   scale_shift;

static struct sample sample_once(void)
{
    struct sample s;
    uint64_t      before = rdtsc();

    outb(PIT_CONTROL, PIT_LATCH);
    s.apic = apic_timer_left();
    s.width = rdtsc() - before;
    s.tsc = before + s.width / 2;
    s.pit = inb(PIT_COUNTER2);
    s.pit |= (uint32_t)inb(PIT_COUNTER2) << 8;
    return s;
}

/* The machine below us may stop at any moment: the narrowest of some samples is the best. */
static struct sample sample_best(void)
{
    struct sample best = sample_once();

    for (unsigned i = 1; i < SAMPLE_TRIES; i++) {
        struct sample s = sample_once();

        if (s.width < best.width)
            best = s;
    }
    return best;
}

/* False if the counter ran out in between: the machine below us stopped for too long. */
static bool measure_once(void)
{
    uint8_t       gate = inb(PIT_GATE) & (uint8_t) ~(PIT_GATE_ON | PIT_SPEAKER_ON);
    struct sample from, to;
    uint64_t      steps;

    outb(PIT_GATE, gate);
    outb(PIT_CONTROL, PIT_START);
    outb(PIT_COUNTER2, PIT_STEPS & 0xff);
    outb(PIT_COUNTER2, PIT_STEPS >> 8);
    outb(PIT_GATE, gate | PIT_GATE_ON);
    apic_timer_start(UINT32_MAX);
    from = sample_best();
    do
        to = sample_once();
    while (to.pit <= from.pit && from.pit - to.pit < PIT_MEASURE_STEPS);
    to = sample_best();
    apic_timer_start(0);
    if (inb(PIT_GATE) & PIT_OUTPUT)
        return false;

    steps = from.pit - to.pit;
    tsc_per_ms = (to.tsc - from.tsc) * PIT_HZ / (steps * 1000);
    apic_per_s = (from.apic - to.apic) * PIT_HZ / steps;
    return true;
}

static void measure(void)
{
    for (unsigned i = 0; i < MEASURE_TRIES; i++)
        if (measure_once())
            return;
    panic("the interval timer ran out %u times while clocks were measured", MEASURE_TRIES);
}

/* Finds the pair with the most significant bits in mul. */
static void make_scale(void)
{
    uint64_t rate = tsc_per_ms;

    /* mul = 2^32 * (ns per tick) / 2^shift has to be in [2^31, 2^32): rate in (10^6, 2 * 10^6]. */
    for (scale_shift = 0; rate > 2 * NS_PER_MS; rate /= 2)
        scale_shift--;
    for (rate = scale_shift < 0 ? rate : tsc_per_ms; rate <= NS_PER_MS; rate *= 2)
        scale_shift++;
    if (scale_shift < 0)
        scale_mul = (uint32_t)(((NS_PER_MS << 32) / tsc_per_ms) << -scale_shift);
    else
        scale_mul = (uint32_t)((NS_PER_MS << 32) / (tsc_per_ms << scale_shift));
}

static uint64_t ticks_to_ns(uint64_t ticks)
{
    ticks = scale_shift < 0 ? ticks >> -scale_shift : ticks << scale_shift;
    return (uint64_t)((unsigned __int128)ticks * scale_mul >> 32);
}

/* ---- the MC146818's clock: its data sheet, "address map" and "update cycle" ---- */

#define RTC_INDEX 0x70
#define RTC_DATA  0x71

enum {
    RTC_SECONDS = 0,
    RTC_MINUTES = 2,
    RTC_HOURS = 4,
    RTC_DAY = 7,
    RTC_MONTH = 8,
    RTC_YEAR = 9,
    RTC_A = 10,
    RTC_B = 11,
};

#define RTC_A_UPDATING 0x80
#define RTC_B_24_HOURS 0x02
#define RTC_B_BINARY   0x04
#define RTC_PM         0x80
#define RTC_TRIES      UINT32_C(1000000)

struct rtc {
    uint8_t seconds, minutes, hours, day, month, year;
};

static uint8_t rtc_register(uint8_t index)
{
    outb(RTC_INDEX, index);
    return inb(RTC_DATA);
}

static struct rtc rtc_read(void)
{
    /* An update lasts 2 ms; a clock that never ends one is broken, and the time then wrong. */
    for (uint32_t i = 0; i < RTC_TRIES && (rtc_register(RTC_A) & RTC_A_UPDATING); i++)
        cpu_relax();
    return (struct rtc){
        .seconds = rtc_register(RTC_SECONDS),
        .minutes = rtc_register(RTC_MINUTES),
        .hours = rtc_register(RTC_HOURS),
        .day = rtc_register(RTC_DAY),
        .month = rtc_register(RTC_MONTH),
        .year = rtc_register(RTC_YEAR),
    };
}

static bool rtc_same(const struct rtc *a, const struct rtc *b)
{
    return a->seconds == b->seconds && a->minutes == b->minutes && a->hours == b->hours &&
           a->day == b->day && a->month == b->month && a->year == b->year;
}

static uint32_t from_bcd(uint8_t value, uint8_t mode)
{
    return mode & RTC_B_BINARY ? value : (value >> 4) * 10u + (value & 15);
}

static uint32_t rtc_hours(uint8_t value, uint8_t mode)
{
    uint32_t hours = from_bcd(value & (uint8_t)~RTC_PM, mode);

    if (mode & RTC_B_24_HOURS)
        return hours;
    return hours % 12 + (value & RTC_PM ? 12 : 0);
}

/* Days from 1 January 1970 to a date of the Gregorian calendar; month and day count from 1. */
static uint64_t days_since_1970(uint32_t year, uint32_t month, uint32_t day)
{
    static const uint16_t before[12] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 };
    /* Leap days of the years before this one, or this one if February is over. */
    uint32_t leap = month > 2 ? year : year - 1;

    return (uint64_t)(year - 1970) * 365 + before[(month - 1) % 12] + (day - 1) +
           (leap / 4 - leap / 100 + leap / 400) - (1969 / 4 - 1969 / 100 + 1969 / 400);
}

static uint64_t rtc_seconds(void)
{
    struct rtc r = rtc_read(), again = rtc_read();
    uint8_t    mode = rtc_register(RTC_B);
    uint32_t   month, day;

    /* An update between two registers shows as two different times. */
    for (unsigned i = 0; i < SAMPLE_TRIES && !rtc_same(&r, &again); i++) {
        r = again;
        again = rtc_read();
    }
    month = from_bcd(r.month, mode);
    day = from_bcd(r.day, mode);
    if (month < 1 || month > 12 || day < 1 || day > 31) {
        print("umbra: the clock's date is invalid; 1970 it is\n");
        return 0;
    }
    /* The year has two digits; the century's register is not in the same place everywhere. */
    return days_since_1970(2000 + from_bcd(r.year, mode), month, day) * 86400 +
           rtc_hours(r.hours, mode) * 3600 + from_bcd(r.minutes, mode) * 60 +
           from_bcd(r.seconds, mode);
}

void time_init(void)
{
    measure();
    if (tsc_per_ms == 0 || apic_per_s == 0)
        panic("TSC or local APIC timer do not count");
    make_scale();
    wallclock_start = rtc_seconds();
    tsc_start = rdtsc();
}

uint64_t machine_ticks(void)
{
    return rdtsc();
}

uint64_t machine_ticks_per_ms(void)
{
    return tsc_per_ms;
}

uint64_t machine_now(void)
{
    return ticks_to_ns(rdtsc() - tsc_start);
}

uint64_t machine_wallclock(void)
{
    return wallclock_start;
}

void machine_tsc_scale(uint32_t *mul, int8_t *shift)
{
    *mul = scale_mul;
    *shift = scale_shift;
}

void machine_alarm(uint64_t when)
{
    uint64_t now = machine_now();
    uint64_t ns = when > now ? when - now : 0;
    uint64_t count;

    if (when == UINT64_MAX) {
        apic_timer_start(0);
        return;
    }
    /* A long wait ends early: whoever set the alarm then sets it again. */
    if (ns > ALARM_NS_MAX)
        ns = ALARM_NS_MAX;
    count = ns * apic_per_s / NS_PER_S + 1;
    apic_timer_start(count < UINT32_MAX ? (uint32_t)count : UINT32_MAX);
}

void machine_idle(void)
{
    /* STI takes effect after HLT has begun: an interrupt between the two is not lost. */
    if (__atomic_load_n(&this_cpu()->pending, __ATOMIC_RELAXED) == 0)
        __asm__ volatile("sti; hlt; cli" ::: "memory");
}
