/*
 * What one of our entries may say: never more than the guest's entry, the p2m and the
 * protection of tables allow. Everything that lowers rights is here.
 */
#include "dirty.h"
#include "shadow.h"

/*
 * With CR0.WP clear a supervisor may write where W is clear, but real WP is always set. Such
 * a write gets W without U, so that no user access can use it; the page then looks like a
 * supervisor's, from which SMEP would allow to fetch, hence NX. A user access turns it back.
 */
static uint64_t without_wp(uint8_t view, pte_t e, uint64_t rights, unsigned demand)
{
    bool supervisor_writes = (demand & ACC_WRITE) && !(demand & ACC_USER);

    if (!pte_has(e, PTE_U))
        return rights | PTE_W; /* nobody but the supervisor comes here */
    if (!supervisor_writes)
        return rights;
    rights = (rights | PTE_W) & ~PTE_U;
    return view & PT_VIEW_SMEP ? rights | PTE_NX : rights;
}

uint64_t rules_rights(const struct pt_mode *mode, uint8_t view, unsigned level, pte_t e,
                      unsigned demand)
{
    const struct pt_level *l = &mode->level[level];
    bool                   large = level > 1 && l->may_leaf && pte_has(e, PTE_PS);

    if (!pte_has(e, PTE_P | PTE_A) || (e.raw & l->rsvd[pte_has(e, PTE_PS)]) != 0)
        return 0;
    uint64_t rights = PTE_P | PTE_A | PTE_D | (e.raw & (PTE_W | PTE_U));

    if (mode->entry_bytes == 8)
        rights |= e.raw & PTE_NX;
    if (!(view & PT_VIEW_WP) && !pte_has(e, PTE_W))
        rights = without_wp(view, e, rights, demand);
    if ((level == 1 || large) && !pte_has(e, PTE_D))
        rights &= ~PTE_W; /* the first write must set D */
    return rights;
}

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

pte_t rules_leaf(const struct paging_domain *d, gfn_t gfn, uint64_t rights)
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
