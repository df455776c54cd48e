/*
 * Guards: frames that the edge wants to hear of whenever they are written.
 *
 * A vCPU has guards at linear addresses. What must hold while it runs: our tables do not let it
 * write there. Which frame that is changes with the guest's tables, its roots and the p2m, and one
 * table of ours may be reached at several addresses; so nothing is foreseen. Before each entry the
 * vCPU's tables are looked at, and a frame that is writable there is taken under guard: from then
 * on it is protected as a table is, at all addresses, until the guard finds itself at another one.
 */
#include "shadow.h"

static void set_guarded(const struct paging_domain *d, mfn_t mfn, bool guarded)
{
    struct frame *f = phys_frame(d->phys, mfn);
    uint16_t     *watched = &d->phys->watched[mfn.raw / level_frames(2)];

    *watched = (uint16_t)(*watched + guarded - f->guest.guarded);
    f->guest.guarded = guarded;
}

void guard_lift(const struct paging_domain *d, mfn_t mfn)
{
    if (!mfn_valid(mfn) || !is_own(d, phys_frame(d->phys, mfn)) ||
        !phys_frame(d->phys, mfn)->guest.guarded)
        return;
    for (struct paging_vcpu *v = d->vcpus; v; v = v->next)
        for (unsigned i = 0; i < PAGING_GUARDS; i++)
            if (mfn_eq(v->guard.mfn[i], mfn))
                v->guard.mfn[i] = MFN_NONE;
    set_guarded(d, mfn, false);
}

void paging_guard_lift(struct paging_locked p, mfn_t mfn)
{
    guard_lift(p.domain, mfn);
}

void paging_guard_set(struct paging_locked p, struct paging_vcpu *v, const gva_t *va)
{
    for (unsigned i = 0; i < PAGING_GUARDS; i++) {
        if (va)
            v->guard.va[i] = va[i];
        else
            guard_lift(p.domain, v->guard.mfn[i]);
    }
}

bool guard_is_at(const struct paging_domain *d, mfn_t mfn)
{
    for (const struct paging_vcpu *v = d->vcpus; v; v = v->next)
        for (unsigned i = 0; i < PAGING_GUARDS; i++)
            if (mfn_eq(v->guard.mfn[i], mfn))
                return true;
    return false;
}

/* A frame that is writable somewhere is under nobody's guard: so each has one guard at most. */
static void take(struct change *c, mfn_t *guard, mfn_t mfn)
{
    if (mfn_valid(*guard))
        set_guarded(c->d, *guard, false);
    *guard = mfn;
    set_guarded(c->d, mfn, true);
    shadow_protect(c, mfn);
}

/* The frame that a vCPU can write at an address by its tables; MFN_NONE if it cannot. */
static mfn_t find_writable(const struct paging_vcpu *v, gva_t va)
{
    const struct paging_root *r = &v->root[v->current];
    unsigned                  level = r->count == 1 ? (r->format == PT_LA57 ? 5 : 4) : 2;
    mfn_t                     table = r->table[r->count == 1 ? 0 : va.raw >> 30 & 3];

    if (!r->used || !mfn_valid(table))
        return MFN_NONE;
    for (;; level--) {
        unsigned index = (unsigned)(va.raw >> (PAGE_SHIFT + 9 * (level - 1))) & 511;
        pte_t    e = entry_get(v->domain, table, index);

        if (!pte_has(e, PTE_P))
            return MFN_NONE;
        if (entry_is_leaf(level, e))
            return pte_has(e, PTE_W)
                       ? mfn_of(pte_frame(e) + (va.raw >> PAGE_SHIFT & (level_frames(level) - 1)))
                       : MFN_NONE;
        table = mfn_of(pte_frame(e));
    }
}

struct verdict paging_guard(struct paging_locked p, struct paging_vcpu *v)
{
    struct change c = { .d = p.domain };

    for (unsigned i = 0; i < PAGING_GUARDS; i++) {
        mfn_t mfn = find_writable(v, v->guard.va[i]);

        if (mfn_valid(mfn) && is_own(p.domain, phys_frame(p.domain->phys, mfn)))
            take(&c, &v->guard.mfn[i], mfn);
    }
    return verdict_of(&c, VERDICT_RETRY);
}
