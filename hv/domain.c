/*
 * Domains: the list of all, how they stop, and the states of their vCPUs.
 *
 * Building is in build.c, taking away in destroy.c. A domain that stopped keeps all it has
 * until somebody asks for its destruction.
 */
#include "hv/domain.h"

#include "hv/console.h"
#include "hv/control.h"
#include "hv/evtchn.h"
#include "hv/print.h"
#include "hv/shared.h"
#include "hv/time.h"
#include "hv/trace.h"

struct domain *domains;

void domain_reschedule(void)
{
    __atomic_fetch_or(&this_cpu()->pending, PENDING_RESCHED, __ATOMIC_SEQ_CST);
}

/* ---- finding ---- */

struct domain *domain_by_id(uint16_t id)
{
    for (struct domain *d = domains; d != NULL; d = d->next)
        if (d->id == id)
            return d;
    return NULL;
}

static bool same_text(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

/* The number that a text is, -1 if it is none or too large for an id. */
static long number_of(const char *text)
{
    long n = 0;

    if (*text == '\0')
        return -1;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || n > UINT16_MAX)
            return -1;
        n = n * 10 + (*text - '0');
    }
    return n <= UINT16_MAX ? n : -1;
}

struct domain *domain_by_name(const char *name_or_id)
{
    long id = number_of(name_or_id);

    for (struct domain *d = domains; d != NULL; d = d->next)
        if (same_text(d->name, name_or_id))
            return d;
    return id >= 0 ? domain_by_id((uint16_t)id) : NULL;
}

/* ---- stopping ---- */

static bool has_ended(const struct domain *d)
{
    return d->state == DOMAIN_STOPPED || d->state == DOMAIN_CRASHED || d->state == DOMAIN_DYING;
}

/* Timers of one that may go on stay: what is due meanwhile, it finds pending. */
static void ended(struct domain *d, enum domain_state state)
{
    d->state = state;
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        if (!domain_is_suspended(d))
            time_vcpu_stop(d->vcpu[i]);
        time_runstate(d->vcpu[i], RUNSTATE_offline);
    }
    console_flush(d);
    control_raise(VIRQ_DOM_EXC);
    trace(TRACE_DOMAIN, NULL, d->id, (uint64_t)state, 0);
    domain_reschedule();
}

void domain_crash(struct domain *d, const char *fmt, ...)
{
    va_list args;

    if (has_ended(d) && !domain_is_suspended(d))
        return;
    va_start(args, fmt);
    (void)format_string_va(d->why, sizeof(d->why), fmt, args);
    va_end(args);
    d->stop = SHUTDOWN_crash;
    ended(d, DOMAIN_CRASHED);
    print("umbra: %s crashed: %s\n", d->name, d->why);
}

void domain_stop(struct domain *d, unsigned reason)
{
    if (has_ended(d))
        return;
    if (reason == SHUTDOWN_crash || reason == SHUTDOWN_watchdog) {
        domain_crash(d, "%s",
                     reason == SHUTDOWN_crash ? "its kernel says that it crashed"
                                              : "its watchdog ran out");
        return;
    }
    d->stop = reason;
    ended(d, DOMAIN_STOPPED);
    if (reason == SHUTDOWN_poweroff)
        print("umbra: %s powered off\n", d->name);
    else if (reason == SHUTDOWN_reboot)
        print("umbra: %s rebooted\n", d->name);
    else if (reason == SHUTDOWN_suspend)
        print("umbra: %s is suspended\n", d->name);
    else
        print("umbra: %s stopped with reason %u\n", d->name, reason);
}

static int runstate_of(const struct vcpu *v)
{
    switch (v->state) {
    case VCPU_RUNNABLE:
        return RUNSTATE_runnable;
    case VCPU_DOWN:
        return RUNSTATE_offline;
    case VCPU_BLOCKED:
    case VCPU_WATCHED:
        break;
    }
    return RUNSTATE_blocked;
}

bool domain_resume(struct domain *d)
{
    if (!domain_is_suspended(d))
        return false;
    d->state = DOMAIN_RUNNING;
    d->stop = 0;
    for (unsigned i = 0; i < d->nr_vcpus; i++)
        time_runstate(d->vcpu[i], runstate_of(d->vcpu[i]));
    print("umbra: %s goes on\n", d->name);
    domain_reschedule();
    return true;
}

void domain_exit(struct domain *d, uint32_t status)
{
    if (has_ended(d))
        return;
    d->stop = SHUTDOWN_poweroff;
    d->exit_status = status;
    ended(d, DOMAIN_STOPPED);
    print("umbra: %s exited with status %u\n", d->name, status);
}

bool domain_failed(const struct domain *d)
{
    return d->why[0] != '\0' || (d->exit_status != 0 && d->exit_status != d->config.exit_ok);
}

void domain_pause(struct domain *d)
{
    d->paused++;
    domain_reschedule();
}

void domain_unpause(struct domain *d)
{
    if (d->paused == 0)
        return;
    d->paused--;
    if (d->paused == 0 && d->state == DOMAIN_BUILDING)
        d->state = DOMAIN_RUNNING;
    domain_reschedule();
}

/* ---- vCPUs ---- */

bool vcpu_may_run(const struct vcpu *v)
{
    return vcpu_may_run_on(this_cpu(), v);
}

void vcpu_block(struct vcpu *v)
{
    uint8_t vector;

    if (v->state != VCPU_RUNNABLE || vcpu_upcall(v, &vector) || machine_vcpu_has_interrupt(v))
        return;
    v->state = VCPU_BLOCKED;
    time_runstate(v, RUNSTATE_blocked);
}

void vcpu_kick(struct vcpu *v)
{
    if (v->state != VCPU_BLOCKED)
        return;
    v->state = VCPU_RUNNABLE;
    v->poll = false;
    timer_cancel(&v->poll_timer);
    time_runstate(v, RUNSTATE_runnable);
    domain_reschedule();
}

bool vcpu_upcall(const struct vcpu *v, uint8_t *vector)
{
    if (!vcpu_has_upcall(v))
        return false;
    *vector = v->domain->callback_vector;
    return true;
}

void domain_debug_char(struct domain *d, char c)
{
    console_guest_output(d, &c, 1);
}
