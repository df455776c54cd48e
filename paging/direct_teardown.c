/*
 * The end of a domain under direct paging. No vCPU of it runs. References form no cycle (linear
 * entries go one deep), so it is enough to let go of what stands for the domain itself: roots, what
 * calls have left to release, pins, partial tables, and the domain's having its frames.
 */
#include "type_work.h"

/* Something of a vCPU; false if there is nothing left. */
static bool take_from_vcpus(struct direct_vcpu *v)
{
    for (struct direct_vcpu *u = v->request.owner->vcpus; u; u = u->next) {
        if (u != v && u->pendings > 0) {
            v->pending[v->pendings++] = u->pending[--u->pendings];
            return true;
        }
        for (unsigned i = 0; i < 2; i++) {
            if (mfn_valid(u->root[i])) {
                pending_push(v, u->root[i], PENDING_FULL, MFN_NONE, 0);
                u->root[i] = MFN_NONE;
                return true;
            }
        }
    }
    return false;
}

static bool take_pin(struct direct_vcpu *v, mfn_t mfn, struct type old)
{
    struct type new = old;

    new.pinned = false;
    if (!old.pinned || !type_swap(v->domain->machine, mfn, old, new))
        return false;
    pending_push(v, mfn, PENDING_FULL, MFN_NONE, 0);
    return true;
}

/* Something of a frame; false if there is nothing left. */
static bool take_from_frame(struct direct_vcpu *v, mfn_t mfn)
{
    const struct direct_machine *m = v->domain->machine;
    uint16_t                     owner = v->request.owner->id;

    if (!frame_is_held(m, mfn, owner))
        return false;

    struct type type = type_read(m, mfn);

    if (take_pin(v, mfn, type))
        return true;
    if (type.count > 0 && type.partial && frame_get(m, mfn, owner) == DIRECT_OK) {
        pending_push(v, mfn, PENDING_CLEAN, MFN_NONE, 0);
        return true;
    }
    if (frame_take_allocated(m, mfn, owner)) {
        pending_push(v, mfn, PENDING_GENERAL, MFN_NONE, 0);
        return true;
    }
    return false;
}

void teardown_step(struct direct_vcpu *v)
{
    struct direct_domain *d = v->request.owner;

    if (!__atomic_load_n(&d->dying, __ATOMIC_SEQ_CST)) {
        request_decide(v, DIRECT_INVALID);
        return;
    }
    v->stage = STAGE_STORE;
    v->phase = PHASE_NEXT;
    if (take_from_vcpus(v))
        return;
    for (; d->scan < d->machine->phys->frames; d->scan++) {
        if (v->progress && v->budget == 0) {
            v->parking = true;
            return;
        }
        v->progress = true;
        v->budget -= v->budget > 0;
        if (take_from_frame(v, mfn_of(d->scan))) {
            d->found = true;
            return;
        }
    }
    d->scan = 0;
    if (!d->found)
        request_decide(v, DIRECT_OK);
    d->found = false;
}
