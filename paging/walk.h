/* Walking a guest's page tables the way its processor would. */
#ifndef PAGING_WALK_H
#define PAGING_WALK_H

#include "paging.h"

enum walk_status {
    WALK_OK,
    WALK_NOT_PRESENT,
    WALK_RESERVED,
    WALK_DENIED,
};

#define WALK_DIRECT (PT_LEVELS_MAX + 1) /* the level of a walk through no table of the guest's */

struct walk {
    enum walk_status status;
    uint8_t          top;    /* at which it began: higher steps were not looked at     */
    uint8_t          level;  /* at which the walk ended; a leaf above 1 is a large page */
    uint64_t         rights; /* accumulated PTE_W, PTE_U, PTE_NX                       */
    gfn_t            gfn;    /* valid when the walk reached a leaf                     */
    struct walk_step {
        mfn_t    table; /* MFN_NONE: not memory, or latched registers */
        uint32_t index;
        pte_t    entry;
    } step[PT_LEVELS_MAX + 1];
};

/*
 * Reads the tables and writes nothing. A table that is not in memory reads as all ones,
 * as a bus without a device does.
 */
void walk_guest(const struct paging_vcpu *v, gva_t va, unsigned acc, struct walk *w);

/*
 * The same from w->top on, where w->step[w->top].table is the table and w->rights what the entries
 * that led there have accumulated. Not with paging off.
 */
void walk_on(const struct paging_vcpu *v, gva_t va, unsigned acc, struct walk *w);

/*
 * Sets A at each level, and D at the leaf for a write, as the processor does at the end of
 * a walk that succeeded (APM vol. 2, 5.4.2), top down, by compare and exchange. False if an
 * entry has changed meanwhile: walk again. `changed` has bit l set where level l was written.
 */
must_check bool walk_mark(const struct paging_vcpu *v, struct walk *w, unsigned acc,
                          unsigned *changed);

/* A and D that the processor would set at this level, if the walk succeeds. */
uint64_t walk_missing(const struct walk *w, unsigned level, unsigned acc);

/* Error code of the #PF that a walk ends in: APM vol. 2, 8.4.2. */
static inline uint32_t walk_error(const struct paging_vcpu *v, enum walk_status status,
                                  unsigned acc)
{
    bool wide = v->mode.entry_bytes == 8;
    bool says_fetch = (wide && (v->mode.view & PT_VIEW_NX)) || (v->mode.view & PT_VIEW_SMEP);

    return (status == WALK_NOT_PRESENT ? 0u : PFEC_P) | (acc & ACC_WRITE ? PFEC_W : 0u) |
           (acc & ACC_USER ? PFEC_U : 0u) | (status == WALK_RESERVED ? PFEC_RSVD : 0u) |
           ((acc & ACC_FETCH) && says_fetch ? PFEC_FETCH : 0u);
}

static inline uint32_t walk_pfec(const struct paging_vcpu *v, const struct walk *w, unsigned acc)
{
    return walk_error(v, w->status, acc);
}

/* Do a mode's rules and the rights of all levels forbid this access? APM vol. 2, 5.6. */
static inline bool walk_denied(uint8_t view, uint64_t rights, unsigned acc)
{
    bool user_page = rights & PTE_U;

    if ((acc & ACC_FETCH) && (rights & PTE_NX))
        return true;
    if (acc & ACC_USER)
        return !user_page || ((acc & ACC_WRITE) && !(rights & PTE_W));
    if (user_page && (acc & ACC_FETCH) && (view & PT_VIEW_SMEP))
        return true;
    if (user_page && !(acc & ACC_FETCH) && (view & PT_VIEW_SMAP) && !(acc & ACC_AC))
        return true;
    return (acc & ACC_WRITE) && !(rights & PTE_W) && (view & PT_VIEW_WP);
}

/* The rights that are left below an entry: each level must grant W and U, any level denies NX. */
static inline uint64_t walk_rights(uint64_t rights, pte_t e)
{
    return (rights & (e.raw | PTE_NX)) | (e.raw & PTE_NX);
}

/* Entry `index` of a guest table at this frame, read once. */
static inline pte_t walk_read(const struct phys *phys, const struct pt_mode *mode, mfn_t table,
                              unsigned index)
{
    const void *p = phys_ptr(phys, table);

    if (mode->entry_bytes == 4)
        return (pte_t){ __atomic_load_n((const uint32_t *)p + index, __ATOMIC_RELAXED) };
    return (pte_t){ __atomic_load_n((const uint64_t *)p + index, __ATOMIC_RELAXED) };
}

/*
 * True if a root entry of PAE has reserved bits, with which it is not to be loaded: APM vol. 2,
 * 5.2.3. A may be set there by processors that treat it as an entry like others.
 */
static inline bool walk_latched_is_reserved(const struct pt_mode *mode, uint64_t pdpte)
{
    return (pdpte & PTE_P) && (pdpte & mode->level[3].rsvd[0] & ~PTE_A) != 0;
}

/* The guest frame that a large entry at `level` maps first. */
gfn_t walk_large_gfn(const struct pt_mode *mode, unsigned level, pte_t e);

#endif
