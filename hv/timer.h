/* Timers: something to be done at a time. Run from the main loop, never from an interrupt. */
#ifndef HV_TIMER_H
#define HV_TIMER_H

#include <stdbool.h>
#include <stdint.h>

struct timer {
    uint64_t when; /* machine_now() at which it is due */
    void (*run)(void *arg);
    void         *arg;
    struct timer *next; /* sorted list */
    bool          armed;
};

void     timer_set(struct timer *timer, uint64_t when); /* arms or moves it */
void     timer_cancel(struct timer *timer);
void     timers_run(void);  /* runs those that are due, then sets the machine's alarm */
uint64_t timers_next(void); /* UINT64_MAX: none */

#endif
