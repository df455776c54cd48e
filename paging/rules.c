/* What large leaves may say, and what the monitor's rights leave of any. Read rules.h first. */
#include "rules.h"

/* What the monitor lets the hardware allow: PTE_P is 0 if nothing. */
static uint64_t permitted(const struct paging_domain *d, gfn_t gfn, uint64_t rights)
{
    unsigned bits;

    if (!d->access.active)
        return rights;
    bits = access_bits(access_find(&d->access, gfn)) | permit_opened(d, gfn);
    if (!(bits & ACCESS_READ))
        return 0;
    if (!(bits & ACCESS_WRITE))
        rights &= ~PTE_W;
    return bits & ACCESS_FETCH ? rights : rights | PTE_NX;
}

pte_t rules_leaf_rare(const struct paging_domain *d, gfn_t gfn, uint64_t rights)
{
    struct p2m_entry p = p2m_get(&d->p2m, gfn);

    rights = permitted(d, gfn, rights);
    if (!(rights & PTE_P) || !p2m_is_memory(p.type))
        return PTE_EMPTY;
    struct frame        *f = phys_frame(d->phys, p.mfn);
    const struct mapped *mapped = mapped_of(d, f);

    if (!mapped || mapped->blocked)
        return PTE_EMPTY;
    if (p2m_is_rom(p.type) || frame_is_protected(d, f) || dirty_must_see(d, p.mfn))
        rights &= ~PTE_W;
    return pte_make(p.mfn, rights);
}

/*
 * Some frame of the block is guarded or a table: in sync or not, for a table that is out of sync
 * will be protected again soon.
 */
static bool is_watched(const struct paging_domain *d, mfn_t first, unsigned level)
{
    if (d->kind == PAGING_NESTED)
        return false;
    for (uint64_t i = first.raw; i < first.raw + level_frames(level); i += level_frames(2))
        if (d->phys->watched[i / level_frames(2)] != 0)
            return true;
    return false;
}

pte_t rules_large(const struct paging_domain *d, gfn_t gfn, unsigned level, uint64_t rights)
{
    uint64_t         within = gfn.raw & (level_frames(level) - 1);
    struct p2m_entry p;

    rights = permitted(d, gfn, rights);
    if (!(rights & PTE_P) || d->blocked != 0 || d->open.count != 0 ||
        level > (d->features.gb1 ? 3 : 2))
        return PTE_EMPTY;
    p = level == 2 ? p2m_get(&d->p2m, gfn) : p2m_find(&d->p2m, gfn);
    if ((p.type != P2M_RAM && p.type != P2M_ROM) || p.order < level_order(level))
        return PTE_EMPTY;
    if (!access_is_uniform(&d->access, gfn, level_order(level)))
        return PTE_EMPTY;
    mfn_t first = mfn_of(p.mfn.raw - within);

    if (p.type == P2M_ROM)
        rights &= ~PTE_W;
    if ((first.raw & (level_frames(level) - 1)) != 0 ||
        ((rights & PTE_W) && (d->dirty.on || is_watched(d, first, level))))
        return PTE_EMPTY;
    return pte_make(first, rights | PTE_PS);
}
