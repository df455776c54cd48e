/*
 * The usual case of direct paging in one go: references to frames that nobody works on, and updates of
 * leaf tables.
 * What is done here is what the steps of the machine would do, in their order, each a swap of its
 * own; where one is in the way, what was taken is given back, and the machine begins from the start.
 */
#include "dirty.h"
#include "type_work.h"

bool quick_take(struct direct_machine *m, const struct entry_need *need, uint16_t owner)
{
    if (!m->quick || need->error != DIRECT_OK || frame_get(m, need->mfn, owner) != DIRECT_OK)
        return false;
    if (need->want == TYPE_NONE || type_quick_get(m, need->mfn, need->want))
        return true;
    (void)!frame_put(m, need->mfn); /* ours, taken above */
    return false;
}

/*
 * A writable reference is dropped: if the frame is another domain's, what was written into it by way of it is
 * marked for that. This domain's own are marked where they are written.
 */
static void note_foreign(const struct direct_machine *m, const struct direct_vcpu *v, mfn_t mfn)
{
    if (!frame_is_held(m, mfn, v->domain->id))
        dirty_note(m->phys, mfn);
}

bool quick_drop(struct direct_vcpu *v, const struct entry_need *need)
{
    struct direct_machine *m = v->domain->machine;

    if (need->want == TYPE_WRITABLE)
        note_foreign(m, v, need->mfn);
    if (!m->quick || (need->want != TYPE_NONE && !type_quick_put(m, need->mfn, need->want)))
        return false;
    if (!frame_put(m, need->mfn))
        work_broken(v, "a general reference is dropped that is not there");
    return true;
}

/* The same for what must be dropped: by the machine, if not here. */
static void drop(struct direct_vcpu *v, const struct entry_need *need, mfn_t table)
{
    if (!quick_drop(v, need))
        pending_push(v, need->mfn, need->want == TYPE_NONE ? PENDING_GENERAL : PENDING_FULL, table,
                     TYPE_L1);
}

/* The kind cannot change while its reference is held. A linear entry is counted in its own table too. */
static bool release(struct direct_vcpu *v, const struct direct_pending *what)
{
    struct entry_need need = { .mfn = what->mfn, .want = TYPE_NONE };

    if (what->mode == PENDING_CLEAN)
        return false;
    if (what->mode == PENDING_FULL)
        need.want = type_kind(v->domain->machine, what->mfn);
    return (need.want <= TYPE_L1 || need.want != what->level) && quick_drop(v, &need);
}

void quick_release(struct direct_vcpu *v)
{
    while (v->pendings > 0 && !v->broken && release(v, &v->pending[v->pendings - 1]))
        v->pendings--;
}

static bool has_shadows(const struct direct_machine *m, mfn_t table)
{
    return phys_frame(m->phys, table)->guest.shadows != 0;
}

/* The table is held. Anything else than the usual is left to the machine, refusals too. */
static enum quick entry(struct direct_vcpu *v, const struct direct_request *r, unsigned budget)
{
    struct direct_machine *m = v->domain->machine;
    struct entry_need      old_need,
        need = entry_need(m, r->mfn, TYPE_L1, r->index, (pte_t){ r->value });
    pte_t old = table_read(m, r->mfn, r->index), found = old;
    pte_t new = entry_adjusted(TYPE_L1, (pte_t){ r->value });
    bool fresh;

    if ((r->flags & DIRECT_PRESERVE) != 0 && pte_has(new, PTE_P))
        new.raw |= old.raw &(PTE_A | PTE_D);
    fresh = !entry_is_alike(old, new);
    if (need.error != DIRECT_OK || ((r->flags & DIRECT_EXPECT) != 0 && old.raw != r->expect) ||
        (fresh && !need.nothing && !quick_take(m, &need, r->from)))
        return QUICK_NOT;
    if (!__atomic_compare_exchange_n(&table_entry(m, r->mfn, r->index)->raw, &found.raw, new.raw,
                                     false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        if (fresh && !need.nothing)
            drop(v, &need, r->mfn);
        return QUICK_NOT;
    }
    if (has_shadows(m, r->mfn)) { /* since a moment ago: they follow before the old one goes */
        request_stored(v, r, budget, old, new);
        return QUICK_GOES_ON;
    }
    dirty_note(m->phys, r->mfn);
    old_need = entry_need(m, r->mfn, TYPE_L1, r->index, old);
    if (fresh && !old_need.nothing)
        drop(v, &old_need, r->mfn);
    return QUICK_DONE;
}

enum quick quick_update(struct direct_vcpu *v, const struct direct_request *r, unsigned budget)
{
    struct direct_machine  *m = v->domain->machine;
    const struct entry_need table = { .mfn = r->mfn, .want = TYPE_L1 };
    enum quick              quick;

    if (!m->quick || v->pendings > 0 || r->index >= DIRECT_ENTRIES ||
        !quick_take(m, &table, r->owner->id))
        return QUICK_NOT;
    v->budget = budget;
    quick = has_shadows(m, r->mfn) ? QUICK_NOT : entry(v, r, budget);
    if (quick == QUICK_GOES_ON)
        return quick;           /* the table is on the list of what is to be released */
    if (!quick_drop(v, &table)) /* it was unpinned meanwhile: this is its end */
        pending_push(v, r->mfn, PENDING_FULL, MFN_NONE, 0);
    return v->broken ? QUICK_GOES_ON : quick;
}
