/* See access.h. */
#include "hv/access.h"

#include "hv/guest.h"
#include "hv/monitor_parse.h"
#include "hv/preempt.h"
#include "hv/print.h"
#include "hv/pv.h"
#include "hv/vm_event.h"

static const char *const names[] = {
    [ACCESS_NONE] = "n",
    [ACCESS_READ] = "r",
    [ACCESS_WRITE] = "w",
    [ACCESS_READ | ACCESS_WRITE] = "rw",
    [ACCESS_FETCH] = "x",
    [ACCESS_READ | ACCESS_FETCH] = "rx",
    [ACCESS_WRITE | ACCESS_FETCH] = "wx",
    [ACCESS_ALL] = "rwx",
    [ACCESS_RX2RW] = "rx2rw",
    [ACCESS_N2RWX] = "n2rwx",
    [ACCESS_DEFAULT] = "default",
};

const char *access_name(enum access_type type)
{
    return names[type];
}

bool access_by_name(const char *name, enum access_type *type)
{
    for (unsigned i = 0; i <= ACCESS_DEFAULT; i++)
        if (monitor_same(name, names[i])) {
            *type = (enum access_type)i;
            return true;
        }
    return false;
}

const char *access_refused(const struct domain *d)
{
    if (d->state == DOMAIN_DYING || (d->state == DOMAIN_BUILDING && !vm_event_is_on(d)))
        return "it is not there any more, or not yet";
    if (d->pv != NULL && !pv_is_shadowed(d))
        return "it runs on its own tables: give it shadow paging first";
    return NULL;
}

/* ---- what is forbidden ---- */

/* Rights that nobody listens to, nor has asked to be obeyed: those of a listener that has gone. */
static bool is_left_over(const struct domain *d)
{
    return !vm_event_is_on(d) && !d->access_by_operator && !d->access_required;
}

static bool relax(struct domain *d, gfn_t gfn)
{
    struct verdict verdict;
    uint64_t       done;

    do {
        verdict = paging_access_set(domain_lock(d), gfn, 1, ACCESS_ALL, &done);
        verdict_flush(d, &verdict);
    } while (verdict.kind == VERDICT_RETRY && verdict.again);
    if (verdict.kind == VERDICT_CRASH)
        domain_crash(d, "%s", verdict.why);
    return verdict.kind == VERDICT_RETRY;
}

static const char *what(const struct verdict *refusal)
{
    if (refusal->refused & ACCESS_WRITE)
        return refusal->in_walk ? "A or D set" : "write";
    if (refusal->refused & ACCESS_FETCH)
        return "fetch";
    return refusal->in_walk ? "walk" : "read";
}

/*
 * The operator is told of it once: then its page has all rights. Or each time: then the instruction
 * is excused.
 */
static void print_access(struct vcpu *v, const struct verdict *refusal, gva_t va, uint64_t rip)
{
    struct domain   *d = v->domain;
    gfn_t            gfn = gfn_of(refusal->gpa >> PAGE_SHIFT);
    enum access_type was = paging_access_get(domain_lock(d), gfn);

    if (d->access_told < ACCESS_TOLD_LINES) {
        print("access: %s vcpu %u: %s at 0x%lx", d->name, v->id, what(refusal), refusal->gpa);
        if (d->paging.kind == PAGING_SHADOW)
            print(" (linear 0x%lx)", va.raw);
        if (rip != 0)
            print(", rip 0x%lx", rip);
        else
            print(", for a hypercall or an instruction carried out");
        print("; %s\n", was == ACCESS_ALL ? "is rwx now" : access_name(was));
    }
    if (!(refusal->refused & ~access_bits(was)))
        return;
    if (!d->access_every)
        (void)relax(d, gfn);
    else if (rip != 0 && !refusal->promoted)
        machine_vcpu_excuse(v, false);
}

_Static_assert(ACCESS_READ == MEM_ACCESS_R && ACCESS_WRITE == MEM_ACCESS_W &&
                   ACCESS_FETCH == MEM_ACCESS_X,
               "vm_event.h");

/* A listener hears of it each time, and says what is to become of it. */
static void ask_listener(struct vcpu *v, const struct verdict *refusal, gva_t va, bool sync)
{
    struct vm_event_note note = { .reason = VM_EVENT_REASON_MEM_ACCESS, .vcpu = (uint8_t)v->id };
    bool                 linear = v->domain->paging.kind == PAGING_SHADOW;

    note.sync = sync;
    note.what.mem_access = (struct vm_event_mem_access){
        .gfn = refusal->gpa >> PAGE_SHIFT,
        .offset = refusal->gpa & PAGE_MASK,
        .gla = linear ? va.raw : 0,
        .flags = refusal->refused | (linear ? MEM_ACCESS_GLA_VALID : 0u) |
                 (refusal->in_walk ? MEM_ACCESS_FAULT_IN_GPT : MEM_ACCESS_FAULT_WITH_GLA),
    };
    vm_event_raise(v, &note);
}

void access_tell(struct vcpu *v, const struct verdict *refusal, gva_t va, uint64_t rip)
{
    struct domain *d = v->domain;

    d->access_told++;
    if (vm_event_is_on(d))
        ask_listener(v, refusal, va, true);
    else if (d->access_by_operator)
        print_access(v, refusal, va, rip);
    else if (d->access_required)
        domain_crash(d, "access to 0x%lx is forbidden, and the listener that it needs is not there",
                     refusal->gpa);
    else
        (void)relax(d, gfn_of(refusal->gpa >> PAGE_SHIFT));
}

void access_close(struct vcpu *v, uint64_t rip)
{
    struct verdict verdict;

    do { /* each time one frame less is open, or more memory is free */
        verdict = paging_step_done(domain_lock(v->domain), &v->paging);
        verdict_flush(v->domain, &verdict);
        if (verdict.kind == VERDICT_ACCESS)
            access_tell(v, &verdict, gva_of(verdict.gpa), rip);
        else if (verdict.kind == VERDICT_CRASH)
            domain_crash(v->domain, "%s", verdict.why);
        else if (verdict.refused != 0 && is_left_over(v->domain)) /* the next walk is not stepped */
            (void)relax(v->domain, gfn_of(verdict.gpa >> PAGE_SHIFT));
    } while (verdict.again && verdict.kind != VERDICT_CRASH);
}

/* A walk has five tables and a frame at the end of it, each of which is told once. */
#define TOLD_AT_ONCE 16

static bool is_told_each_time(const struct domain *d)
{
    return vm_event_is_on(d) || (d->access_by_operator && d->access_every);
}

struct paging_reach access_reach(struct vcpu *v, gva_t va, unsigned acc)
{
    struct paging_reach r;

    for (unsigned i = 0; i < TOLD_AT_ONCE; i++) {
        r = paging_reach(domain_lock(v->domain), &v->paging, va, acc);
        if (r.kind != REACH_ACCESS)
            return r;
        verdict_flush(v->domain, &r.flush);
        if (r.flush.kind == VERDICT_ACCESS && vm_event_is_on(v->domain))
            ask_listener(v, &r.flush, va, false); /* hears of it, and need not answer */
        else if (r.flush.kind == VERDICT_ACCESS)
            access_tell(v, &r.flush, va, 0);
        else if (r.flush.kind == VERDICT_CRASH)
            domain_crash(v->domain, "%s", r.flush.why);
        if (r.flush.kind == VERDICT_ACCESS && !r.flush.promoted && is_told_each_time(v->domain))
            break; /* it is refused as before, and this was told */
    }
    return paging_reach(domain_lock(v->domain), &v->paging, va, acc | ACC_OURS);
}

/* ---- what is set ---- */

/* True when it is to be called again. */
static bool goes_on(struct domain *d, const struct verdict *verdict)
{
    verdict_flush(d, verdict);
    if (verdict->kind == VERDICT_CRASH)
        domain_crash(d, "%s", verdict->why);
    preemption_point(this_cpu(), "setting rights");
    return verdict->kind == VERDICT_RETRY && verdict->again;
}

uint64_t access_frames(const struct domain *d)
{
    return d->pv != NULL ? machine_phys.frames : d->paging.p2m.end;
}

bool access_change(struct domain *d, gfn_t first, uint64_t count, enum access_type type)
{
    struct verdict verdict;
    uint64_t       done;

    d->access_told = 0;
    do {
        verdict = paging_access_set(domain_lock(d), first, count, type, &done);
        first.raw += done;
        count -= done;
    } while (goes_on(d, &verdict));
    return verdict.kind == VERDICT_RETRY;
}

bool access_change_default(struct domain *d, enum access_type type)
{
    struct verdict verdict;

    d->access_told = 0;
    do
        verdict = paging_access_default(domain_lock(d), type);
    while (goes_on(d, &verdict));
    return verdict.kind == VERDICT_RETRY;
}

void access_stepped(struct vcpu *v, gva_t rip)
{
    struct paging_view view;

    paging_view(domain_lock(v->domain), &v->paging, rip, &view);
    vm_event_stepped(v, view.mapped ? view.gpa >> PAGE_SHIFT : 0);
}

void access_end(struct domain *d)
{
    while (!access_reap(&d->paging.access, 16))
        preemption_point(this_cpu(), "setting rights");
}
