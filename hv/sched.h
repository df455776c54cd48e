/* Who has the CPU: round robin over all runnable vCPUs, with a time slice. */
#ifndef HV_SCHED_H
#define HV_SCHED_H

#include "hv/domain.h"

#define SCHED_SLICE UINT64_C(10000000) /* ns */

/*
 * One turn of the main loop: timers that are due, a step of background work, then one vCPU
 * until it may not run any more, or idling. Clears PENDING_TIMER and PENDING_RESCHED; other
 * bits of cpu->pending are the caller's, and no vCPU runs while one of them is set.
 */
void sched_run(void);

/* A vCPU goes away: the scheduler forgets it. */
void sched_forget(const struct vcpu *v);

#endif
