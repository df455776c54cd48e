/* The clock of pv-fuzz.c. Part of that file. */
#ifndef TEST_GUESTS_PV_FUZZ_CLOCK_H
#define TEST_GUESTS_PV_FUZZ_CLOCK_H

/*
 * The clock as the ABI has it, read once: the page that has it may become a page of the pool, or be cleared, and
 * whoever has set it wrong sleeps for centuries.
 */
static struct {
    uint64_t tsc, time;
    uint32_t mul;
    int8_t   shift;
} started;

static uint64_t tsc(void)
{
    uint32_t low, high;

    __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

/* What was read counts if the version is even, and the same afterwards. */
static void start_clock(void)
{
    volatile struct vcpu_time_info *t = &pv_shared.vcpu_info[0].time;
    uint32_t                        version;

    do {
        version = t->version;
        started.tsc = t->tsc_timestamp;
        started.time = t->system_time;
        started.mul = t->tsc_to_system_mul;
        started.shift = t->tsc_shift;
    } while (version % 2 != 0 || version != t->version);
}

static uint64_t now(void)
{
    uint64_t delta = tsc() - started.tsc;

    delta = started.shift < 0 ? delta >> -started.shift : delta << started.shift;
    return started.time + (uint64_t)((unsigned __int128)delta * started.mul >> 32);
}

#endif
