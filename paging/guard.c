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

void guard_lift(const struct paging_domain *d, mfn_t mfn)
{
    if (!mfn_valid(mfn) || !phys_frame(d->phys, mfn)->guest.guarded)
        return;
    for (struct paging_vcpu *v = d->vcpus; v; v = v->next)
        for (unsigned i = 0; i < PAGING_GUARDS; i++)
            if (mfn_eq(v->guard.mfn[i], mfn))
                v->guard.mfn[i] = MFN_NONE;
    phys_frame(d->phys, mfn)->guest.guarded = 0;
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
        phys_frame(c->d->phys, *guard)->guest.guarded = 0;
    *guard = mfn;
    phys_frame(c->d->phys, mfn)->guest.guarded = 1;
    shadow_protect(c, mfn);
}

/* The leaf that a vCPU's tables have for an address, if there is a writable one. */
static bool find_writable(const struct paging_vcpu *v, gva_t va, mfn_t *table, unsigned *index)
{
    const struct paging_root *r = &v->root[v->current];
    unsigned                  level = r->count == 1 ? (r->format == PT_LA57 ? 5 : 4) : 2;

    *table = r->table[r->count == 1 ? 0 : va.raw >> 30 & 3];
    if (!r->used || !mfn_valid(*table))
        return false;
    for (;; level--) {
        pte_t e;

        *index = (unsigned)(va.raw >> (PAGE_SHIFT + 9 * (level - 1))) & 511;
        e = entry_get(v->domain, *table, *index);
        if (!pte_has(e, PTE_P))
            return false;
        if (entry_is_leaf(level, e))
            return pte_has(e, PTE_W);
        *table = mfn_of(pte_frame(e));
    }
}

struct verdict paging_guard(struct paging_locked p, struct paging_vcpu *v)
{
    struct change c = { .d = p.domain };

    for (unsigned i = 0; i < PAGING_GUARDS; i++) {
        mfn_t    table;
        unsigned index;

        if (!find_writable(v, v->guard.va[i], &table, &index))
            continue;
        if (shadow_of(c.d, table)->shadow.level == 1)
            take(&c, &v->guard.mfn[i], mfn_of(pte_frame(entry_get(c.d, table, index))));
        else
            entry_set(&c, table, index, PTE_EMPTY); /* none is made today */
    }
    return verdict_of(&c, VERDICT_RETRY);
}
