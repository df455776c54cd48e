/*
 * Scheduling: round robin over the vCPUs of all domains.
 *
 * A vCPU keeps the CPU for a time slice, unless it blocks. Who wakes up runs next, if its
 * turn in the ring comes before the current one's: no one can be passed over, since the
 * search always begins after the one that ran last.
 */
#include "hv/sched.h"

#include "hv/build.h"
#include "hv/preempt.h"
#include "hv/time.h"
#include "hv/trace.h"

static struct vcpu *last;  /* ran last, or NULL */
static struct timer slice; /* when its time is over */

static void slice_over(void *arg)
{
    (void)arg; /* the alarm alone has brought the CPU back to the main loop */
}

void sched_forget(const struct vcpu *v)
{
    if (last == v)
        last = NULL;
    if (this_cpu()->current == v)
        this_cpu()->current = NULL;
}

static bool ready(const struct vcpu *v)
{
    return v->state == VCPU_RUNNABLE && v->domain->state == DOMAIN_RUNNING &&
           v->domain->paused == 0;
}

/* The vCPU after this one in the ring of all; the first one after NULL. */
static struct vcpu *after(const struct vcpu *v)
{
    struct domain *d = v != NULL ? v->domain : NULL;

    if (v != NULL && v->id + 1 < d->nr_vcpus)
        return d->vcpu[v->id + 1];
    for (d = d != NULL ? d->next : domains; d != NULL; d = d->next)
        if (d->nr_vcpus != 0)
            return d->vcpu[0];
    return NULL;
}

/* The first ready vCPU after the last one, itself at the very end; NULL if there is none. */
static struct vcpu *next_ready(void)
{
    bool         wrapped = false;
    struct vcpu *v = last;

    for (;;) {
        v = after(v);
        if (v == NULL) {
            if (wrapped || last == NULL)
                return NULL;
            wrapped = true;
            continue;
        }
        if (ready(v))
            return v;
        if (v == last)
            return NULL;
    }
}

/* Who runs now. `woken`: somebody may have become ready, so that the slice does not count. */
static struct vcpu *choose(bool woken)
{
    if (last != NULL && ready(last) && !woken && machine_now() < last->slice_end)
        return last;
    return next_ready();
}

static void run(struct vcpu *v, bool others)
{
    uint64_t start = machine_now();

    if (v != last) {
        if (last != NULL && last->runstate.state == RUNSTATE_running)
            time_runstate(last, RUNSTATE_runnable);
        trace(TRACE_SWITCH, v, start - v->runstate.state_entry_time, 0, 0);
    }
    if (v != last || start >= v->slice_end)
        v->slice_end = start + SCHED_SLICE;
    last = v;
    time_runstate(v, RUNSTATE_running);
    /* Alone, a vCPU needs no clock of ours. */
    if (others)
        timer_set(&slice, v->slice_end);
    else
        timer_cancel(&slice);
    this_cpu()->current = v;
    machine_vcpu_run(v);
    v->ran += machine_now() - start;
}

/* Is there anybody that waits for the CPU while this one has it? */
static bool others_wait(const struct vcpu *v)
{
    for (const struct domain *d = domains; d != NULL; d = d->next)
        for (unsigned i = 0; i < d->nr_vcpus; i++)
            if (d->vcpu[i] != v && ready(d->vcpu[i]))
                return true;
    return false;
}

void sched_run(void)
{
    struct cpu  *cpu = this_cpu();
    uint32_t     pending;
    struct vcpu *v;
    bool         idle_work;

    slice.run = slice_over;
    preemption_point(cpu, "domains that ended");
    pending = __atomic_fetch_and(&cpu->pending, ~(uint32_t)(PENDING_TIMER | PENDING_RESCHED),
                                 __ATOMIC_SEQ_CST);
    timers_run();
    preemption_point(cpu, "timers");
    idle_work = domains_work_step();
    /* What timers and background work have woken counts as woken now. */
    pending |= __atomic_fetch_and(&cpu->pending, ~(uint32_t)PENDING_RESCHED, __ATOMIC_SEQ_CST);

    v = choose((pending & PENDING_RESCHED) != 0);
    if (v != NULL) {
        run(v, !idle_work || others_wait(v));
        return;
    }
    if (last != NULL && last->runstate.state == RUNSTATE_running)
        time_runstate(last, RUNSTATE_runnable);
    if (!idle_work)
        return;
    preemption_point(cpu, "scheduling");
    machine_idle();
    preemption_ignore(cpu); /* to wait is no work */
}
