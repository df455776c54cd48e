/*
 * Time for guests; see time.h.
 *
 * Areas in guest memory are written under a version number that is odd while they change,
 * which a reader compares before and after (xen.h, vcpu_time_info). They are written right
 * before the vCPU runs, and only when a flag says that they are old.
 */
#include "hv/time.h"

#include <string.h>

#include "hv/evtchn.h"
#include "hv/guest.h"
#include "hv/shared.h"

/* The guest extrapolates with the scale that machine_now() uses, so that it hardly drifts. */
#define TIME_REFRESH UINT64_C(1000000000) /* ns */

_Static_assert(sizeof(((struct vcpu_runstate_info *)NULL)->time) == 4 * 8, "vcpu.h");

/* ---- timers ---- */

static void singleshot_due(void *arg)
{
    evtchn_raise_virq(arg, VIRQ_TIMER);
}

static void periodic_due(void *arg)
{
    struct vcpu *v = arg;
    uint64_t     now = machine_now(), next = v->periodic.when + v->period;

    evtchn_raise_virq(v, VIRQ_TIMER);
    if (v->period != 0) /* ticks that were missed are not made up for */
        timer_set(&v->periodic, next > now ? next : now + v->period);
}

static void poll_due(void *arg)
{
    vcpu_kick(arg);
}

void time_vcpu_init(struct vcpu *v)
{
    v->singleshot = (struct timer){ .run = singleshot_due, .arg = v };
    v->periodic = (struct timer){ .run = periodic_due, .arg = v };
    v->poll_timer = (struct timer){ .run = poll_due, .arg = v };
    v->runstate.state = RUNSTATE_offline;
    v->runstate.state_entry_time = machine_now();
    v->stale = VCPU_STALE_TIME;
}

void time_vcpu_stop(struct vcpu *v)
{
    timer_cancel(&v->singleshot);
    timer_cancel(&v->periodic);
    timer_cancel(&v->poll_timer);
    v->period = 0;
}

/* ---- the clock ---- */

void time_wallclock_write(struct domain *d)
{
    uint64_t       seconds = machine_wallclock();
    const uint32_t body[3] = { (uint32_t)seconds, 0, (uint32_t)(seconds >> 32) };
    uint32_t       version = 1;
    unsigned       at = (unsigned)offsetof(struct shared_info, wc_version);

    _Static_assert(
        offsetof(struct shared_info, wc_sec_hi) - offsetof(struct shared_info, wc_version) == 12,
        "xen.h");
    shared_write(d, d->shared_mfn, at, &version, sizeof(version));
    shared_write(d, d->shared_mfn, at + 4, body, sizeof(body));
    version++;
    shared_write(d, d->shared_mfn, at, &version, sizeof(version));
}

struct vcpu_time_info time_info_of(const struct vcpu *v)
{
    struct vcpu_time_info info = { .version = v->time_version };

    info.tsc_timestamp = machine_ticks() + machine_vcpu_tsc_offset(v);
    info.system_time = machine_now();
    machine_tsc_scale(&info.tsc_to_system_mul, &info.tsc_shift);
    return info;
}

/* By the guest's own address: if it does not map it, it does not get it. */
static bool put(struct vcpu *v, gva_t va, const void *bytes, size_t len)
{
    return guest_write(v, va, bytes, len, ACC_AC).status == GUEST_OK;
}

static void write_time(struct vcpu *v)
{
    struct vcpu_time_info info;
    const uint32_t        odd = v->time_version + 1;
    unsigned at = (unsigned)(((uintptr_t)v->info & PAGE_MASK) + offsetof(struct vcpu_info, time));

    v->time_version += 2;
    v->time_written = machine_now();
    info = time_info_of(v);
    shared_write(v->domain, v->info_mfn, at, &odd, 4);
    shared_write(v->domain, v->info_mfn, at + 4, (const uint8_t *)&info + 4, sizeof(info) - 4);
    shared_write(v->domain, v->info_mfn, at, &info.version, 4);

    if (v->time_va.raw != 0 && put(v, v->time_va, &odd, 4) &&
        put(v, gva_of(v->time_va.raw + 4), (const uint8_t *)&info + 4, sizeof(info) - 4))
        (void)put(v, v->time_va, &info.version, 4);
}

/* ---- where the time went ---- */

struct vcpu_runstate_info time_runstate_of(const struct vcpu *v)
{
    struct vcpu_runstate_info info = v->runstate;

    info.time[info.state] += machine_now() - info.state_entry_time;
    return info;
}

static void write_runstate(struct vcpu *v)
{
    struct vcpu_runstate_info info = v->runstate;
    uint64_t                  updating = info.state_entry_time | XEN_RUNSTATE_UPDATE;
    gva_t                     entry_time, va = v->runstate_va;

    if (va.raw == 0)
        return;
    entry_time = gva_of(va.raw + offsetof(struct vcpu_runstate_info, state_entry_time));
    if ((v->domain->vm_assist >> VMASST_TYPE_runstate_update_flag & 1) == 0) {
        (void)put(v, va, &info, sizeof(info));
        return;
    }
    info.state_entry_time = updating;
    if (put(v, entry_time, &updating, 8) && put(v, va, &info, sizeof(info)))
        (void)put(v, entry_time, &v->runstate.state_entry_time, 8);
}

void time_runstate(struct vcpu *v, int state)
{
    uint64_t now = machine_now();

    if (v->runstate.state == state)
        return;
    v->runstate.time[v->runstate.state] += now - v->runstate.state_entry_time;
    v->runstate.state = state;
    v->runstate.state_entry_time = now;
    if (v->runstate_va.raw != 0)
        v->stale |= VCPU_STALE_RUNSTATE;
    if (state == RUNSTATE_running && now - v->time_written >= TIME_REFRESH)
        v->stale |= VCPU_STALE_TIME;
}

void time_areas_stale(struct vcpu *v, uint32_t what)
{
    v->stale |= what;
}

static __attribute__((noinline)) void write_areas(struct vcpu *v)
{
    uint32_t stale = v->stale;

    v->stale = 0;
    if ((stale & VCPU_STALE_TIME) != 0)
        write_time(v);
    if ((stale & VCPU_STALE_RUNSTATE) != 0)
        write_runstate(v);
}

void vcpu_before_entry(struct vcpu *v)
{
    if (__builtin_expect(v->stale != 0, 0))
        write_areas(v);
}
