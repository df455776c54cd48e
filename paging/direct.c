/*
 * Operations of direct paging, stage by stage. Each reference that a request holds is on its vCPU's
 * list of things to release from the step that takes it, so that an error and a pause need no code
 * of their own.
 */
#include "dirty.h"
#include "type_work.h"

void direct_domain_init(struct direct_domain *d, struct direct_machine *m, uint16_t id)
{
    *d = (struct direct_domain){ .machine = m, .id = id };
}

void direct_vcpu_init(struct direct_vcpu *v, struct direct_domain *d)
{
    *v = (struct direct_vcpu){ .domain = d, .next = d->vcpus, .root = { MFN_NONE, MFN_NONE } };
    d->vcpus = v;
}

/* The answer is known; what is held is released before it is given. */
void request_decide(struct direct_vcpu *v, enum direct_error error)
{
    v->decided = true;
    v->result = error;
    v->error = DIRECT_OK;
    v->phase = PHASE_NEXT;
}

/* Come again: others are in the way. */
static void give_way(struct direct_vcpu *v)
{
    v->parking = true;
    v->phase = PHASE_END;
}

static void get(struct direct_vcpu *v, mfn_t mfn, uint8_t want)
{
    work_get(v, (struct type_job){
                    .mfn = mfn,
                    .want = want,
                    .owner = v->request.owner->id,
                });
}

void request_taken(struct direct_vcpu *v, bool was_taken)
{
    bool update = v->request.op == DIRECT_UPDATE || v->request.op == DIRECT_DESCRIPTOR;

    if (!was_taken) {
        if (v->parking)
            v->phase = PHASE_END;
        else
            request_decide(v, v->error);
        return;
    }
    v->phase = PHASE_REQUEST;
    v->stage = update && v->stage == STAGE_BEGIN ? STAGE_LOOK : STAGE_STORE;
    pending_push(v, v->job.mfn, v->job.typed ? PENDING_FULL : PENDING_GENERAL, v->job.parent,
                 v->job.level);
}

/* ---- entries ---- */

static void update_begin(struct direct_vcpu *v)
{
    const struct direct_request *r = &v->request;

    if (r->index >= DIRECT_ENTRIES || (r->op == DIRECT_DESCRIPTOR && !descriptor_ok(r->value)))
        request_decide(v, DIRECT_INVALID);
    else
        get(v, r->mfn, TYPE_NONE);
}

/* What the frame is now decides what a write to it means. */
static void update_look(struct direct_vcpu *v)
{
    const struct direct_request *r = &v->request;
    struct type                  seen = v->seen = type_read(v->domain->machine, r->mfn);
    bool                         table = seen.count > 0 && type_is_table(seen.kind);
    bool                         segments = seen.count > 0 && seen.kind == TYPE_SEGMENTS;

    if (type_is_busy(seen)) {
        give_way(v);
    } else if ((r->flags & DIRECT_LEAF) != 0 && !(table && seen.kind == TYPE_L1)) {
        request_decide(v, DIRECT_TYPED);
    } else if (table || segments) {
        if (!seen.validated)
            request_decide(v, DIRECT_UNFINISHED);
        else if (segments != (r->op == DIRECT_DESCRIPTOR))
            request_decide(v, DIRECT_TYPED);
        else if (entry_is_reserved(seen.kind, r->index))
            request_decide(v, DIRECT_INVALID);
        else if (seen.count == TYPE_COUNT_MAX)
            request_decide(v, DIRECT_OVERFLOW);
        else
            v->stage = STAGE_HOLD;
    } else {
        v->level = 0;
        v->pendings--; /* the job's now */
        work_get(v, (struct type_job){ .mfn = r->mfn, .want = TYPE_WRITABLE, .general = true });
    }
}

/* One more type reference, of a table that is live; its release is like any other. */
static void update_hold(struct direct_vcpu *v)
{
    struct type held = v->seen;

    held.count++;
    if (!type_swap(v->domain->machine, v->request.mfn, v->seen, held)) {
        v->stage = STAGE_LOOK;
        return;
    }
    v->level = held.kind;
    v->pending[v->pendings - 1].mode = PENDING_FULL;
    v->stage = v->request.op == DIRECT_UPDATE ? STAGE_ENTRY : STAGE_STORE;
}

static void update_entry(struct direct_vcpu *v)
{
    const struct direct_machine *m = v->domain->machine;
    const struct direct_request *r = &v->request;
    struct entry_need need = entry_need(m, r->mfn, v->level, r->index, (pte_t){ r->value });

    v->old = table_read(m, r->mfn, r->index);
    v->new = entry_adjusted(v->level, (pte_t){ r->value });
    if ((r->flags & DIRECT_PRESERVE) != 0 && pte_has(v->new, PTE_P))
        v->new.raw |= v->old.raw &(PTE_A | PTE_D);
    v->fresh = !entry_is_alike(v->old, v->new);
    v->stage = STAGE_STORE;
    if (entry_error(v, &need) != DIRECT_OK) {
        request_decide(v, need.error);
    } else if ((r->flags & DIRECT_EXPECT) != 0 && v->old.raw != r->expect) {
        request_decide(v, DIRECT_CHANGED);
    } else if (need.nothing) {
        return;
    } else if (v->fresh) {
        v->stage = STAGE_ENTRY;
        work_get(v, (struct type_job){
                        .mfn = need.mfn,
                        .want = need.want,
                        .parent = r->mfn,
                        .level = v->level,
                        .owner = v->level == TYPE_L1 ? r->from : r->owner->id,
                        .writable = need.writable,
                    });
    }
}

/* The entry has the new references; the old ones are to be released. */
static void update_stored(struct direct_vcpu *v)
{
    const struct direct_machine *m = v->domain->machine;
    const struct direct_request *r = &v->request;
    struct entry_need            old = entry_need(m, r->mfn, v->level, r->index, v->old);
    struct entry_need new = entry_need(m, r->mfn, v->level, r->index, v->new);

    dirty_note(m->phys, r->mfn);
    if (v->fresh && !new.nothing)
        v->pendings--;
    if (v->fresh && !old.nothing)
        pending_push(v, old.mfn, old.want == TYPE_NONE ? PENDING_GENERAL : PENDING_FULL, r->mfn,
                     v->level);
    v->flush_all = v->level > TYPE_L1 && pte_has(v->old, PTE_P);
    if (v->broken)
        return;
    request_decide(v, DIRECT_OK);
    if (phys_frame(m->phys, r->mfn)->guest.shadows != 0)
        work_ask(v,
                 (struct direct_ask){ .kind = DIRECT_ASK_FOLLOW, .mfn = r->mfn, .index = r->index },
                 PHASE_NEXT);
}

void request_stored(struct direct_vcpu *v, const struct direct_request *request, unsigned budget,
                    uint8_t level, pte_t old, pte_t new)
{
    struct entry_need need =
        entry_need(v->domain->machine, request->mfn, level, request->index, new);

    direct_begin(v, request, budget);
    v->level = level;
    v->old = old;
    v->new = new;
    v->fresh = !entry_is_alike(old, new);
    v->stage = STAGE_STORE;
    pending_push(v, request->mfn, PENDING_FULL, MFN_NONE, 0);
    if (v->fresh && !need.nothing) /* the entry's at once */
        pending_push(v, need.mfn, PENDING_GENERAL, request->mfn, level);
    update_stored(v);
}

static void update_store(struct direct_vcpu *v)
{
    const struct direct_request *r = &v->request;
    uint64_t                    *entry = &table_entry(v->domain->machine, r->mfn, r->index)->raw;
    pte_t                        found = v->old;

    if (v->level == 0 || v->level == TYPE_SEGMENTS) {
        __atomic_store_n(entry, v->level == 0 ? r->value : descriptor_adjusted(r->value),
                         __ATOMIC_SEQ_CST);
        dirty_note(v->domain->machine->phys, r->mfn);
        request_decide(v, DIRECT_OK);
        return;
    }
    if (__atomic_compare_exchange_n(entry, &found.raw, v->new.raw, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST)) {
        update_stored(v);
        return;
    }
    /* A processor may have set A or D, which changes no reference. */
    if ((r->flags & DIRECT_EXPECT) != 0 || ((found.raw ^ v->old.raw) & ~(PTE_A | PTE_D)) != 0) {
        give_way(v);
        return;
    }
    v->old = found;
    if ((r->flags & DIRECT_PRESERVE) != 0 && pte_has(v->new, PTE_P))
        v->new.raw |= found.raw &(PTE_A | PTE_D);
}

static void update(struct direct_vcpu *v)
{
    switch ((enum direct_stage)v->stage) {
    case STAGE_BEGIN:
        update_begin(v);
        return;
    case STAGE_LOOK:
        update_look(v);
        return;
    case STAGE_HOLD:
        update_hold(v);
        return;
    case STAGE_ENTRY:
        update_entry(v);
        return;
    case STAGE_STORE:
    case STAGE_CHECK:
        update_store(v);
        return;
    }
}

/* ---- roots ---- */

static void root(struct direct_vcpu *v)
{
    const struct direct_request *r = &v->request;
    mfn_t                       *slot = &v->root[r->user], old = *slot;
    struct direct_ask            load = { .kind = DIRECT_ASK_LOAD, .mfn = r->mfn };

    if (v->stage == STAGE_BEGIN && !mfn_eq(r->mfn, old) && mfn_valid(r->mfn)) {
        get(v, r->mfn, TYPE_L4);
        return;
    }
    if (!r->user && !mfn_valid(r->mfn)) {
        request_decide(v, DIRECT_INVALID);
        return;
    }
    if (v->stage == STAGE_STORE)
        v->pendings--; /* the slot's now */
    *slot = r->mfn;
    request_decide(v, DIRECT_OK);
    if (mfn_valid(old) && !mfn_eq(old, r->mfn))
        pending_push(v, old, PENDING_FULL, MFN_NONE, 0);
    /* The old one is released after the processor has left it. */
    if (!v->broken)
        work_ask(v, load, PHASE_NEXT);
}

/* ---- pins ---- */

/* Sets or clears the flag, which counts as a write; false if it is so already, or the table is not live. */
static bool pin_set(const struct direct_machine *m, mfn_t mfn, bool pinned)
{
    struct type old, new;

    do {
        new = old = type_read(m, mfn);
        new.pinned = pinned;
        if (!type_is_live(old) || old.pinned == pinned)
            return false;
    } while (!type_swap(m, mfn, old, new));
    dirty_note(m->phys, mfn);
    return true;
}

static void pin(struct direct_vcpu *v)
{
    const struct direct_machine *m = v->domain->machine;
    const struct direct_request *r = &v->request;

    switch ((enum direct_stage)v->stage) {
    case STAGE_BEGIN:
        if (!type_is_table(r->kind) || __atomic_load_n(&r->owner->dying, __ATOMIC_SEQ_CST))
            request_decide(v, DIRECT_INVALID);
        else
            get(v, r->mfn, r->kind);
        return;
    case STAGE_CHECK:
        /* The teardown may have looked here before there was a pin. */
        if (!__atomic_load_n(&r->owner->dying, __ATOMIC_SEQ_CST)) {
            request_decide(v, DIRECT_OK);
            return;
        }
        if (pin_set(m, r->mfn, false))
            pending_push(v, r->mfn, PENDING_FULL, MFN_NONE, 0);
        request_decide(v, DIRECT_INVALID);
        return;
    case STAGE_LOOK:
    case STAGE_HOLD:
    case STAGE_ENTRY:
    case STAGE_STORE:
        break;
    }
    if (pin_set(m, r->mfn, true)) {
        v->pendings--; /* the flag's now */
        v->stage = STAGE_CHECK;
    } else {
        request_decide(v, DIRECT_INVALID);
    }
}

static void unpin(struct direct_vcpu *v)
{
    const struct direct_request *r = &v->request;

    if (v->stage == STAGE_BEGIN) {
        get(v, r->mfn, TYPE_NONE);
        return;
    }
    if (pin_set(v->domain->machine, r->mfn, false)) {
        pending_push(v, r->mfn, PENDING_FULL, MFN_NONE, 0);
        request_decide(v, DIRECT_OK);
    } else {
        request_decide(v, DIRECT_INVALID);
    }
}

/* ---- references for others ---- */

static void give(struct direct_vcpu *v)
{
    if (v->stage == STAGE_BEGIN) {
        get(v, v->request.mfn, v->request.kind);
        return;
    }
    v->pendings--; /* the caller's now */
    request_decide(v, DIRECT_OK);
}

static void give_back(struct direct_vcpu *v)
{
    pending_push(v, v->request.mfn, v->request.kind == TYPE_NONE ? PENDING_GENERAL : PENDING_FULL,
                 MFN_NONE, 0);
    request_decide(v, DIRECT_OK);
}

/* ---- a call ---- */

void request_step(struct direct_vcpu *v)
{
    switch (v->request.op) {
    case DIRECT_UPDATE:
    case DIRECT_DESCRIPTOR:
        update(v);
        return;
    case DIRECT_ROOT:
        root(v);
        return;
    case DIRECT_PIN:
        pin(v);
        return;
    case DIRECT_UNPIN:
        unpin(v);
        return;
    case DIRECT_GET:
        give(v);
        return;
    case DIRECT_PUT:
        give_back(v);
        return;
    case DIRECT_TEARDOWN:
        teardown_step(v);
        return;
    case DIRECT_DRAIN:
        request_decide(v, DIRECT_OK);
        return;
    }
}

/* Releases what is on the list, then answers or goes on with the request. */
static void next(struct direct_vcpu *v)
{
    quick_release(v);
    if (v->pendings > 0) {
        if (v->parking || (v->progress && v->budget == 0))
            give_way(v);
        else
            work_put(v, v->pending[--v->pendings]);
        return;
    }
    if (v->decided || v->parking) {
        v->phase = PHASE_END;
        return;
    }
    /* A call gets somewhere with its request even if it has spent its budget on releases. */
    if (v->stage == STAGE_BEGIN)
        v->progress = false;
    v->phase = PHASE_REQUEST;
}

bool direct_step(struct direct_vcpu *v)
{
    if (v->phase == PHASE_NEXT)
        next(v);
    else if (v->phase == PHASE_REQUEST)
        request_step(v);
    else
        work_step(v);
    if (v->broken)
        v->phase = PHASE_END;
    return v->phase != PHASE_END && v->phase != PHASE_ASK;
}

void direct_begin(struct direct_vcpu *v, const struct direct_request *request, unsigned budget)
{
    if (v->running) {
        if (!v->goes_on)
            v->phase = v->after_ask;
        v->goes_on = false;
        return;
    }
    v->running = true;
    v->parking = false;
    v->progress = false;
    v->decided = false;
    v->flush_all = false;
    v->error = DIRECT_OK;
    v->budget = budget;
    v->stage = STAGE_BEGIN;
    v->level = 0;
    v->phase = PHASE_NEXT;
    v->request = *request;
}

struct direct_verdict direct_end(struct direct_vcpu *v)
{
    struct direct_verdict verdict = { .status = DIRECT_AGAIN };

    if (v->broken) {
        verdict.status = DIRECT_BROKEN;
        verdict.why = v->broken;
        return verdict;
    }
    if (v->phase == PHASE_ASK) {
        verdict.status = DIRECT_ASK;
        verdict.ask = v->ask;
        return verdict;
    }
    v->running = false;
    /* A table that is refused, and whose undoing was parked. */
    if (v->error != DIRECT_OK && !v->decided)
        request_decide(v, v->error);
    if (!v->decided)
        return verdict;
    verdict.status = v->result == DIRECT_OK ? DIRECT_DONE : DIRECT_REFUSED;
    verdict.error = v->result;
    verdict.flush_all = v->flush_all;
    verdict.unfinished = v->pendings > 0;
    return verdict;
}

bool direct_at_once(struct direct_vcpu *v, const struct direct_request *request, unsigned budget)
{
    enum quick quick = QUICK_NOT;

    if (!v->running && request->op == DIRECT_UPDATE)
        quick = quick_update(v, request, budget);
    if (quick == QUICK_GOES_ON)
        v->goes_on = true;
    return quick == QUICK_DONE;
}

struct direct_verdict direct_do_steps(struct direct_vcpu *v, const struct direct_request *request,
                                      unsigned budget)
{
    direct_begin(v, request, budget);
    while (v->phase != PHASE_ASK && direct_step(v))
        continue;
    return direct_end(v);
}

struct direct_verdict direct_do(struct direct_vcpu *v, const struct direct_request *request,
                                unsigned budget)
{
    if (direct_at_once(v, request, budget))
        return (struct direct_verdict){ .status = DIRECT_DONE, .unfinished = v->pendings > 0 };
    return direct_do_steps(v, request, budget);
}
