/*
 * What one of our entries may say: never more than the guest's entry, the p2m and the
 * protection of tables allow. Everything that lowers rights is here and in rules.c. Every
 * changed entry of a guest's table passes through it: so it is inline.
 */
#ifndef PAGING_RULES_H
#define PAGING_RULES_H

#include "dirty.h"
#include "shadow.h"

/*
 * With CR0.WP clear a supervisor may write where W is clear, but real WP is always set. Such
 * a write gets W without U, so that no user access can use it; the page then looks like a
 * supervisor's, from which SMEP would allow to fetch, hence NX. A user access turns it back.
 */
static inline uint64_t rules_without_wp(uint8_t view, pte_t e, uint64_t rights, unsigned demand)
{
    bool supervisor_writes = (demand & ACC_WRITE) && !(demand & ACC_USER);

    if (!pte_has(e, PTE_U))
        return rights | PTE_W; /* nobody but the supervisor comes here */
    if (!supervisor_writes)
        return rights;
    rights = (rights | PTE_W) & ~PTE_U;
    return view & PT_VIEW_SMEP ? rights | PTE_NX : rights;
}

/*
 * Rights (and P, A, D) for an entry of ours that stands for the guest's entry `e`, 0 if it
 * must be absent. `demand`: ACC_* of the access that needs it; 0 for one nobody asked for.
 */
static inline uint64_t rules_rights(const struct pt_mode *mode, uint8_t view, unsigned level,
                                    pte_t e, unsigned demand)
{
    const struct pt_level *l = &mode->level[level];
    bool                   large = level > 1 && l->may_leaf && pte_has(e, PTE_PS);

    if (!pte_has(e, PTE_P | PTE_A) || (e.raw & l->rsvd[pte_has(e, PTE_PS)]) != 0)
        return 0;
    uint64_t rights = PTE_P | PTE_A | PTE_D | (e.raw & (PTE_W | PTE_U));

    if (mode->entry_bytes == 8)
        rights |= e.raw & PTE_NX;
    if (!(view & PT_VIEW_WP) && !pte_has(e, PTE_W))
        rights = rules_without_wp(view, e, rights, demand);
    if ((level == 1 || large) && !pte_has(e, PTE_D))
        rights &= ~PTE_W; /* the first write must set D */
    return rights;
}

/* What follows, where the p2m must be searched, the monitor has rights, or writes are logged. */
pte_t rules_leaf_rare(const struct paging_domain *d, gfn_t gfn, uint64_t rights);

/* A 4 KiB leaf for a guest frame with at most these rights: p2m and table protection. */
static inline pte_t rules_leaf(const struct paging_domain *d, gfn_t gfn, uint64_t rights)
{
    const struct p2m_cached *c = &d->p2m.cache[gfn.raw >> 9 & (P2M_CACHED - 1)];
    const struct frame      *f;
    mfn_t                    mfn;

    if (c->block != (gfn.raw >> 9) + 1 || !p2m_cached_is_ram(c) || d->access.active || d->dirty.on)
        return rules_leaf_rare(d, gfn, rights);
    mfn = mfn_of((c->entry >> PAGE_SHIFT) + (gfn.raw & 511));
    f = phys_frame(d->phys, mfn);
    if (!is_own(d, f) || f->guest.mapped.blocked)
        return rules_leaf_rare(d, gfn, rights);
    if (frame_is_protected(d, f))
        rights &= ~PTE_W;
    return pte_make(mfn, rights);
}

/*
 * Both of the above at once for the leaves of one table, where neither the monitor, the log of what is
 * written nor CR0.WP = 0 has a say, and entries are as wide as ours: asked once for all of them.
 */
static inline bool rules_are_usual(const struct paging_domain *d, const struct pt_mode *mode,
                                   uint8_t view)
{
    return d->kind == PAGING_SHADOW && !d->access.active && !d->dirty.on &&
           mode->entry_bytes == 8 && (view & PT_VIEW_WP) &&
           mode->level[1].rsvd[0] == mode->level[1].rsvd[1];
}

/*
 * What a leaf for the guest's entry is to say then, and the record of the frame that it maps unless it
 * is empty. `rsvd`: the reserved bits of a leaf. False: the p2m must be asked (rules_leaf_rare).
 */
static inline bool rules_usual_leaf(const struct paging_domain *d, uint64_t rsvd, pte_t e,
                                    pte_t *leaf, struct frame **target)
{
    uint64_t                 gfn = pte_frame(e), rights = e.raw & (PTE_W | PTE_U | PTE_NX);
    const struct p2m_cached *c = &d->p2m.cache[gfn >> 9 & (P2M_CACHED - 1)];
    mfn_t                    mfn;

    *leaf = PTE_EMPTY;
    if ((e.raw & rsvd) != 0 || !pte_has(e, PTE_P | PTE_A))
        return true;
    if (c->block != (gfn >> 9) + 1 || !p2m_cached_is_ram(c))
        return false;
    mfn = mfn_of((c->entry >> PAGE_SHIFT) + (gfn & 511));
    *target = phys_frame(d->phys, mfn);
    if (!is_own(d, *target) || (*target)->guest.mapped.blocked)
        return false;
    if (!pte_has(e, PTE_D) || own_is_protected(*target)) /* the first write must set D */
        rights &= ~PTE_W;
    *leaf = pte_make(mfn, rights | PTE_P | PTE_A | PTE_D);
    return true;
}

/*
 * A leaf of `level` 2 or 3 for the aligned block around a guest frame, with exactly these
 * rights (but for W in read-only memory); PTE_EMPTY if there may be none: then it takes a table.
 */
pte_t rules_large(const struct paging_domain *d, gfn_t gfn, unsigned level, uint64_t rights);

#endif
