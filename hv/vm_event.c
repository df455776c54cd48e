/* See vm_event.h. */
#include "hv/vm_event.h"

#include "hv/alloc.h"
#include "hv/evtchn.h"
#include "hv/guest.h"
#include "hv/time.h"

/* ---- vCPUs that wait ---- */

static void hold(struct vcpu *v)
{
    if (v->state != VCPU_RUNNABLE)
        return;
    v->state = VCPU_WATCHED;
    time_runstate(v, RUNSTATE_blocked);
}

static void release(struct vcpu *v)
{
    if (v->watch.notes != 0 || v->watch.asked || v->state != VCPU_WATCHED)
        return;
    v->state = VCPU_RUNNABLE;
    time_runstate(v, RUNSTATE_runnable);
    domain_reschedule();
}

/* ---- into the ring ---- */

static void post(struct domain *d, const struct vm_event_note *note)
{
    struct vcpu       *v = d->vcpu[note->vcpu];
    vm_event_request_t request = {
        .version = VM_EVENT_INTERFACE_VERSION,
        .flags = note->sync ? VM_EVENT_FLAG_VCPU_PAUSED : 0,
        .reason = note->reason,
        .vcpu_id = note->vcpu,
    };

    _Static_assert(sizeof(request.u) == sizeof(note->what), "vm_event.h");
    __builtin_memcpy(&request.u, &note->what, sizeof(note->what));
    machine_vcpu_event_regs(v, &request.data.regs.x86);
    (void)!vm_event_ring_put(&d->vm_event->ring, &request);
    d->vm_event->asked++;
    v->watch.asked |= note->sync;
    v->watch.notes--;
    release(v);
}

#define AGAIN_AFTER UINT64_C(50000000) /* ns */

/*
 * Stock listeners initialise the ring after they have enabled it. Where rights of one before are still there, the
 * first requests are older than that, and would never be found.
 */
static void look_again(void *arg)
{
    struct domain   *d = arg;
    struct vm_event *e = d->vm_event;

    vm_event_disable_dead(d);
    if (d->vm_event == NULL || e->answered != 0 || e->refused != 0)
        return;
    if (vm_event_ring_put_again(&e->ring))
        evtchn_notify_far(d, e->port);
    timer_set(&e->again, machine_now() + AGAIN_AFTER);
}

static void drain(struct domain *d)
{
    struct vm_event *e = d->vm_event;
    bool             any = false;

    while (e->count != 0 && vm_event_ring_free(&e->ring) != 0) {
        post(d, &e->backlog[e->first]);
        e->first = (e->first + 1) % (DOMAIN_VCPUS_MAX * VM_EVENT_NOTES);
        e->count--;
        any = true;
    }
    if (!any)
        return;
    evtchn_notify_far(d, e->port);
    if (e->answered == 0 && !e->again.armed)
        timer_set(&e->again, machine_now() + AGAIN_AFTER);
}

void vm_event_raise(struct vcpu *v, const struct vm_event_note *note)
{
    struct domain   *d = v->domain;
    struct vm_event *e = d->vm_event;

    if (v->watch.notes == VM_EVENT_NOTES) {
        e->untold++;
        return;
    }
    e->backlog[(e->first + e->count++) % (DOMAIN_VCPUS_MAX * VM_EVENT_NOTES)] = *note;
    v->watch.notes++;
    hold(v);
    drain(d);
}

/* ---- other events ---- */

bool vm_event_wants(const struct domain *d, uint32_t bit)
{
    return d->vm_event != NULL && (d->vm_event->events & bit) != 0;
}

void vm_event_step(struct vcpu *v, bool on)
{
    if (v->watch.stepped == on)
        return;
    v->watch.stepped = on;
    machine_vcpu_single_step(v, on);
}

void vm_event_stepped(struct vcpu *v, uint64_t gfn)
{
    struct vm_event_note note = { .reason = VM_EVENT_REASON_SINGLESTEP, .vcpu = (uint8_t)v->id };

    if (!vm_event_wants(v->domain, VM_EVENT_BIT(SINGLESTEP)))
        return;
    note.sync = true;
    note.what.singlestep.gfn = gfn;
    vm_event_raise(v, &note);
}

void vm_event_guest_request(struct vcpu *v)
{
    struct vm_event_note note = { .reason = VM_EVENT_REASON_GUEST_REQUEST, .vcpu = (uint8_t)v->id };

    if (!vm_event_wants(v->domain, VM_EVENT_BIT(GUEST_REQUEST)))
        return;
    note.sync = v->domain->vm_event->request_sync;
    vm_event_raise(v, &note);
}

bool vm_event_cpuid(struct vcpu *v, unsigned length, uint32_t leaf, uint32_t subleaf)
{
    struct vm_event_note note = { .reason = VM_EVENT_REASON_CPUID, .vcpu = (uint8_t)v->id };

    if (!vm_event_wants(v->domain, VM_EVENT_BIT(CPUID)))
        return false;
    note.sync = true;
    note.what.cpuid =
        (struct vm_event_cpuid){ .insn_length = length, .leaf = leaf, .subleaf = subleaf };
    vm_event_raise(v, &note);
    return true;
}

/* ---- out of it ---- */

/* The frame that the request was about, whatever the response says of it, has no say: it is data. */
static void carry_out(struct vcpu *v, const vm_event_response_t *r)
{
    if (v->watch.gate == VM_EVENT_GATE_ASKED && (r->flags & VM_EVENT_FLAG_VCPU_PAUSED))
        v->watch.gate = r->flags & VM_EVENT_FLAG_DENY ? VM_EVENT_GATE_SHUT : VM_EVENT_GATE_OPEN;
    if (r->flags & VM_EVENT_FLAG_SET_REGISTERS)
        machine_vcpu_event_set_regs(v, &r->data.regs.x86);
    if (r->flags & (VM_EVENT_FLAG_EMULATE | VM_EVENT_FLAG_EMULATE_NOWRITE))
        machine_vcpu_excuse(v, r->flags & VM_EVENT_FLAG_EMULATE_NOWRITE);
    if (r->flags & VM_EVENT_FLAG_TOGGLE_SINGLESTEP)
        vm_event_step(v, !v->watch.stepped);
}

static void answer(struct domain *d, const vm_event_response_t *r)
{
    struct vm_event *e = d->vm_event;
    struct vcpu     *v = r->vcpu_id < d->nr_vcpus ? d->vcpu[r->vcpu_id] : NULL;

    if (r->version != VM_EVENT_INTERFACE_VERSION || v == NULL || !v->watch.asked) {
        e->refused++;
        return;
    }
    carry_out(v, r);
    e->answered++;
    if (!(r->flags & VM_EVENT_FLAG_VCPU_PAUSED))
        return;
    v->watch.asked = false;
    release(v);
}

void vm_event_answered(struct domain *d)
{
    vm_event_response_t response; /* our copy */

    if (d->vm_event == NULL)
        return;
    for (unsigned i = 0; i < VM_EVENT_SLOTS; i++)
        if (vm_event_ring_take(&d->vm_event->ring, &response))
            answer(d, &response);
    drain(d);
}

/* ---- the listener comes and goes ---- */

enum vm_event_result vm_event_enable(struct domain *d, uint16_t listener, unsigned *port)
{
    mfn_t            frame = vm_event_page(d);
    struct vm_event *e;
    struct verdict   verdict;

    if (d->vm_event != NULL)
        return VM_EVENT_BUSY;
    if (!mfn_valid(frame))
        return VM_EVENT_NO_PAGE;
    e = alloc_bytes(sizeof(*e));
    if (e == NULL)
        return VM_EVENT_NO_MEMORY;
    if (evtchn_alloc_ours(d, listener, &e->port) != EVTCHN_OK) {
        free_bytes(e, sizeof(*e));
        return VM_EVENT_NO_MEMORY;
    }
    if (d->pv == NULL) {
        verdict = paging_unshadow(domain_lock(d), frame); /* whatever the guest has made of it */
        verdict_flush(d, &verdict);
    }
    e->frame = frame;
    e->listener = listener;
    e->again = (struct timer){ .run = look_again, .arg = d };
    vm_event_ring_init(&e->ring, phys_ptr(&machine_phys, e->frame));
    d->vm_event = e;
    *port = e->port;
    return VM_EVENT_OK;
}

void vm_event_disable_dead(struct domain *d)
{
    const struct vm_event *e = d->vm_event;

    if (e != NULL && !evtchn_is_bound(d, e->port) && !vm_event_is_mapped(d, e->frame))
        vm_event_disable(d);
}

void vm_event_disable(struct domain *d)
{
    struct vm_event *e = d->vm_event;

    if (e == NULL)
        return;
    d->vm_event = NULL;
    timer_cancel(&e->again);
    evtchn_close_ours(d, e->port);
    vm_event_give_back(d, e->frame);
    free_bytes(e, sizeof(*e));
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        struct vcpu *v = d->vcpu[i];

        if (v->watch.stepped && d->state != DOMAIN_DYING)
            machine_vcpu_single_step(v, false);
        v->watch = (struct vcpu_watch){ .notes = 0 };
        if (d->state != DOMAIN_DYING && vcpu_has_edge(v))
            machine_vcpu_watch(v);
        release(v);
    }
}
