/*
 * Preemption points: where whoever waits may run. What lies between two of them is one
 * stretch of the hypervisor's work; the longest is kept, with a word for what it was.
 */
#ifndef HV_PREEMPT_H
#define HV_PREEMPT_H

#include "hv/machine.h"

/* The longest stretch so far; `what` must live for ever. */
static inline void preemption_longest(struct cpu *cpu, uint64_t stretch, const char *what)
{
    cpu->stretch_max = stretch;
    cpu->stretch_what = what;
}

/* A stretch ends now and the next one begins. */
static inline void preemption_point(struct cpu *cpu, const char *what)
{
    uint64_t now = machine_ticks();
    uint64_t stretch = now - cpu->stretch_start;

    if (stretch > cpu->stretch_max)
        preemption_longest(cpu, stretch, what);
    cpu->stretch_start = now;
}

/* What went on until now counts as nobody's work: the operator stopped the world for it. */
static inline void preemption_ignore(struct cpu *cpu)
{
    cpu->stretch_start = machine_ticks();
}

#endif
