/*
 * How far links of ours lead to an address, what that spares a walk, and what was found for it before.
 * Internal to the core.
 *
 * A link of ours that leads to the shadow of a guest's table has the rights of the guest's entry,
 * which is present and has A, and follows each write to it: only leaf tables go out of sync. So a
 * walk ends the same if it begins at the last table that links lead to, as that of a processor does
 * that caches upper entries. What is linked at a large page of the guest's is not looked through.
 *
 * And what our links say is a function of the entries that are read on the way: those are kept, and
 * compared. A table that is linked is nobody else's; one that was freed, made again and linked at the
 * same place may stand for another of the guest's, so what it stands for is asked again.
 */
#ifndef PAGING_WAY_H
#define PAGING_WAY_H

#include "shadow.h"

#define WAY_SHIFT 21 /* of the addresses that have one in common */
#define WAY_TOP   39 /* of the root's entries: ways are kept under four levels only */

/*
 * Do links of the root in use say all that the guest's entries say? A PV domain's follow later, without
 * CR0.WP they have rights of their own, and the monitor's rights concern each table on the way.
 */
static inline bool way_tells_all(const struct paging_vcpu *v)
{
    const struct paging_root *root = &v->root[v->current];

    return root->count == 1 && (v->mode.view & PT_VIEW_WP) && !v->domain->slots &&
           !v->domain->access.active && mfn_valid(root->guest[0]);
}

static inline const uint64_t *way_top(const struct paging_vcpu *v, gva_t va)
{
    const uint64_t *table = phys_ptr(v->domain->phys, v->root[v->current].table[0]);

    return &table[va.raw >> WAY_TOP & 511];
}

static inline struct paging_way *way_slot(struct paging_vcpu *v, gva_t va)
{
    return &v->way[va.raw >> WAY_SHIFT & (PAGING_WAYS - 1)];
}

/*
 * The way to this address if it is kept and still leads there, else NULL. What way_tells_all asks but
 * WP and the monitor's rights need not be asked before: a PV domain keeps none, and nothing is linked
 * in a root that stands for no table.
 */
static inline const struct paging_way *way_kept(const struct paging_vcpu *v, gva_t va)
{
    const struct paging_way *way = &v->way[va.raw >> WAY_SHIFT & (PAGING_WAYS - 1)];

    if (way->block != (va.raw >> WAY_SHIFT) + 1 || v->root[v->current].format != PT_64 ||
        ((*way_top(v, va) ^ way->value[0]) | (*way->at[0] ^ way->value[1]) |
         (*way->at[1] ^ way->value[2])) != 0 ||
        shadow_of(v->domain, mfn_of(way->table))->shadow.format != PT_64)
        return NULL;
    return way;
}

/*
 * Finds the way, whose last table may be the root, and keeps it if it is worth that: if it ends at a leaf
 * table, or at what stands for a large page.
 */
void way_find(struct paging_vcpu *v, gva_t va, struct paging_way *way);

/* The guest has a leaf table below a way of two levels: soon there will be a longer one. */
static inline void way_forget(struct paging_vcpu *v, gva_t va)
{
    way_slot(v, va)->block = 0;
}

#endif
