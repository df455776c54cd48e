/*
 * Writes to registers, breakpoints and debug exceptions, as a listener is told of them; see vm_event.h.
 *
 *     about to be written ──► told ──► ASKED ──► the answer ──► OPEN ──► written ──► NONE
 *                              │ not waited for                ├─► SHUT ──► skipped ──► NONE
 *                              └──► OPEN
 *
 * While the gate is not NONE the vCPU does nothing else: so a write that cannot be finished at once is
 * told once.
 */
#include "hv/hc.h"
#include "hv/vm_event.h"

static bool is_told(const struct vm_event_register *r, uint64_t old, uint64_t value)
{
    if (!r->on || (r->on_change && old == value))
        return false;
    return old == value || ((old ^ value) & ~r->ignored) != 0;
}

/* The vCPU leaves what it is at, to stand still or to go on with just this. */
static enum vm_event_gate tell(struct vcpu *v, const struct vm_event_register *r,
                               struct vm_event_note *note)
{
    note->vcpu = (uint8_t)v->id;
    note->sync = r->sync;
    v->watch.gate = r->sync ? VM_EVENT_GATE_ASKED : VM_EVENT_GATE_OPEN;
    vm_event_raise(v, note);
    domain_reschedule();
    return (enum vm_event_gate)v->watch.gate;
}

enum vm_event_gate vm_event_write_cr(struct vcpu *v, unsigned index, uint64_t old, uint64_t value)
{
    struct vm_event_note note = { .reason = VM_EVENT_REASON_WRITE_CTRLREG };

    if (v->watch.gate != VM_EVENT_GATE_NONE)
        return (enum vm_event_gate)v->watch.gate;
    if (v->domain->vm_event == NULL || !is_told(&v->domain->vm_event->cr[index], old, value))
        return VM_EVENT_GATE_OPEN;
    note.what.write_ctrlreg =
        (struct vm_event_write_ctrlreg){ .index = index, .new_value = value, .old_value = old };
    return tell(v, &v->domain->vm_event->cr[index], &note);
}

static struct vm_event_register *msr_of(struct vm_event *e, uint32_t msr)
{
    for (unsigned i = 0; i < VM_EVENT_MSRS; i++)
        if (e->msr[i].on && e->msr[i].msr == msr)
            return &e->msr[i];
    return NULL;
}

enum vm_event_gate vm_event_write_msr(struct vcpu *v, uint32_t msr, uint64_t old, uint64_t value)
{
    struct vm_event_note            note = { .reason = VM_EVENT_REASON_MOV_TO_MSR };
    const struct vm_event_register *r;

    if (v->watch.gate != VM_EVENT_GATE_NONE)
        return (enum vm_event_gate)v->watch.gate;
    if (!vm_event_wants(v->domain, VM_EVENT_BIT(MOV_TO_MSR)))
        return VM_EVENT_GATE_OPEN;
    r = msr_of(v->domain->vm_event, msr);
    if (r == NULL || !is_told(r, old, value))
        return VM_EVENT_GATE_OPEN;
    note.what.mov_to_msr =
        (struct vm_event_mov_to_msr){ .msr = msr, .new_value = value, .old_value = old };
    return tell(v, r, &note);
}

bool vm_event_wants_cr(const struct domain *d, unsigned index)
{
    return d->vm_event != NULL && d->vm_event->cr[index].on;
}

/* ---- exceptions ---- */

bool vm_event_breakpoint(struct vcpu *v, uint64_t gfn, unsigned length)
{
    struct vm_event_note note = { .reason = VM_EVENT_REASON_SOFTWARE_BREAKPOINT,
                                  .vcpu = (uint8_t)v->id,
                                  .sync = true };

    if (!vm_event_wants(v->domain, VM_EVENT_BIT(SOFTWARE_BREAKPOINT)))
        return false;
    note.what.debug =
        (struct vm_event_debug){ .gfn = gfn, .insn_length = length, .type = XEN_DMOP_EVENT_sw_exc };
    vm_event_raise(v, &note);
    return true;
}

bool vm_event_debug(struct vcpu *v, uint64_t gfn, const struct vm_event_debug *what)
{
    struct vm_event_note note = { .reason = VM_EVENT_REASON_DEBUG_EXCEPTION,
                                  .vcpu = (uint8_t)v->id };

    if (!vm_event_wants(v->domain, VM_EVENT_BIT(DEBUG_EXCEPTION)))
        return false;
    note.sync = v->domain->vm_event->debug_sync;
    note.what.debug = *what;
    note.what.debug.gfn = gfn;
    vm_event_raise(v, &note);
    return note.sync;
}

/* ---- which ---- */

static void note_any(struct vm_event *e, uint32_t bit, const struct vm_event_register *r,
                     unsigned count)
{
    e->events &= ~bit;
    for (unsigned i = 0; i < count; i++)
        if (r[i].on)
            e->events |= bit;
}

int64_t vm_event_watch_cr(struct domain *d, unsigned index, const struct vm_event_register *how)
{
    struct vm_event *e = d->vm_event;

    if (e->cr[index].on == how->on)
        return -XEN_EEXIST;
    e->cr[index] = *how;
    note_any(e, VM_EVENT_BIT(WRITE_CTRLREG), e->cr, VM_EVENT_CRS);
    return 0;
}

int64_t vm_event_watch_msr(struct domain *d, const struct vm_event_register *how)
{
    struct vm_event          *e = d->vm_event;
    struct vm_event_register *r = msr_of(e, how->msr);

    if ((r != NULL) == how->on)
        return -XEN_EEXIST;
    for (unsigned i = 0; r == NULL && i < VM_EVENT_MSRS; i++)
        if (!e->msr[i].on)
            r = &e->msr[i];
    if (r == NULL)
        return -XEN_ENOSPC;
    *r = *how;
    note_any(e, VM_EVENT_BIT(MOV_TO_MSR), e->msr, VM_EVENT_MSRS);
    return 0;
}
