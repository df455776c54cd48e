/*
 * The 8254 timer of a PC (Intel's data sheet 231164) with port 61h. A pure machine: time is
 * an argument, in nanoseconds, and its counters are computed from it when somebody asks.
 *
 * Counters are 0, which interrupts, 1 (memory refresh, which nobody hears) and 2, whose gate
 * and output are at port 61h. Modes 2 and 3 repeat; modes 0, 1, 4 and 5 count down once, the
 * odd ones when the gate rises. A new count begins at once in all modes; by the data sheet
 * modes 2 and 3 end the period that runs first.
 */
#ifndef X86_DEV_PIT_H
#define X86_DEV_PIT_H

#include <stdbool.h>
#include <stdint.h>

#include "paging/frame.h"

#define PIT_HZ       UINT64_C(1193182)
#define PIT_COUNTERS 3

enum pit_access { PIT_LATCH_COUNT, PIT_LOW, PIT_HIGH, PIT_BOTH };

struct pit_counter {
    uint8_t  mode, access;
    bool     bcd, gate;
    bool     loaded;                /* a count was written since the mode was set */
    bool     triggered;             /* modes 1 and 5: the gate has risen */
    uint32_t count;                 /* 1 to 10000h, what is counted down from */
    uint64_t start;                 /* in steps of PIT_HZ since time 0 */
    uint64_t held;                  /* steps counted before the gate went down */
    bool     write_high, read_high; /* PIT_BOTH: which byte comes next */
    uint8_t  low;                   /* written, and waiting for the high byte */
    bool     latched, status_latched;
    uint16_t latch;
    uint8_t  status;
};

struct pit {
    struct pit_counter counter[PIT_COUNTERS];
    uint64_t           seen;    /* steps of counter 0's time at the last pit_ticked */
    uint8_t            speaker; /* bits of port 61h that are kept */
};

/* As a PC's firmware leaves it: counter 0 repeats as slowly as it can. */
void pit_init(struct pit *pit, uint64_t now);

/* Ports 40h to 43h as 0 to 3, and port 61h. */
uint8_t pit_read(struct pit *pit, unsigned port, uint64_t now);
void    pit_write(struct pit *pit, unsigned port, uint8_t value, uint64_t now);
uint8_t pit_read_speaker(const struct pit *pit, uint64_t now);
void    pit_write_speaker(struct pit *pit, uint8_t value, uint64_t now);

/* Has the output of counter 0 risen since this was asked last? */
must_check bool pit_ticked(struct pit *pit, uint64_t now);
/* When it rises next, in nanoseconds; UINT64_MAX: never. */
uint64_t pit_next_tick(const struct pit *pit, uint64_t now);

#endif
