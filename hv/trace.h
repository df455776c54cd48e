/*
 * The trace: what happened last, in a ring of records that is always overwritten.
 *
 * Recording is a handful of stores and a reading of the TSC, and is off until the monitor
 * turns it on. The three words of a record mean what the table in trace.c says for its kind.
 */
#ifndef HV_TRACE_H
#define HV_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "paging/frame.h"

struct vcpu;

enum trace_kind {
    TRACE_EXIT,      /* the guest was left: code, rip, info              */
    TRACE_FAULT,     /* a fault on memory goes to the core: va, acc, rip */
    TRACE_VERDICT,   /* what the core answered: kind, gpa, pfec          */
    TRACE_INJECT,    /* into the guest: vector, error code, cr2          */
    TRACE_HYPERCALL, /* number, first argument, result                   */
    TRACE_EVENT,     /* an event channel was raised: port                */
    TRACE_SWITCH,    /* another vCPU got the processor: ticks it waited  */
    TRACE_DOMAIN,    /* a domain changed its state: id, state            */
    TRACE_KINDS,
};

#define TRACE_RECORDS 2048 /* a power of two */

struct trace_record {
    uint64_t ticks; /* machine_ticks() */
    uint64_t a, b, c;
    uint16_t domain; /* TRACE_NOBODY: no vCPU */
    uint8_t  vcpu;
    uint8_t  kind; /* enum trace_kind */
};

#define TRACE_NOBODY 0xffff

extern bool trace_enabled;

/* The slow half of trace(). */
void trace_write(enum trace_kind kind, const struct vcpu *v, uint64_t a, uint64_t b, uint64_t c);

/* Records; `v` may be NULL. Any context that interrupts are off in. */
static inline void trace(enum trace_kind kind, const struct vcpu *v, uint64_t a, uint64_t b,
                         uint64_t c)
{
    if (__builtin_expect(trace_enabled, 0))
        trace_write(kind, v, a, b, c);
}

/* How many records there are to read, at most TRACE_RECORDS. */
unsigned trace_count(void);

/* The i-th record, 0 being the newest; i < trace_count(). */
must_check struct trace_record trace_newest(unsigned i);

/* For printing: the name of a kind, and of its i-th word (i < 3), NULL if that is not used. */
const char *trace_kind_name(enum trace_kind kind);
const char *trace_word_name(enum trace_kind kind, unsigned i);

#endif
