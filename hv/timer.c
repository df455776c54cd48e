/*
 * Timers: one list, sorted by time, run from the main loop.
 *
 * The machine has one alarm, set to the head of the list. There are a few timers per vCPU,
 * so that a walk of the list is short; a call of timers_run runs a bounded number of them.
 */
#include "hv/timer.h"

#include <stddef.h>

#include "hv/machine.h"

#define TIMERS_PER_RUN 64

static struct timer *first;

void timer_cancel(struct timer *timer)
{
    if (!timer->armed)
        return;
    for (struct timer **link = &first; *link != NULL; link = &(*link)->next) {
        if (*link == timer) {
            *link = timer->next;
            break;
        }
    }
    timer->armed = false;
    timer->next = NULL;
}

void timer_set(struct timer *timer, uint64_t when)
{
    struct timer **link = &first;

    timer_cancel(timer);
    while (*link != NULL && (*link)->when <= when)
        link = &(*link)->next;
    timer->when = when;
    timer->armed = true;
    timer->next = *link;
    *link = timer;
    if (first == timer)
        machine_alarm(when);
}

uint64_t timers_next(void)
{
    return first != NULL ? first->when : UINT64_MAX;
}

void timers_run(void)
{
    uint64_t now = machine_now();

    /* A timer that sets itself again for a time gone by must not keep us here for ever. */
    for (unsigned i = 0; i < TIMERS_PER_RUN && first != NULL && first->when <= now; i++) {
        struct timer *timer = first;

        first = timer->next;
        timer->armed = false;
        timer->next = NULL;
        timer->run(timer->arg);
    }
    machine_alarm(timers_next());
}
