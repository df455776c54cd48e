/*
 * What an entry of a guest's table may say under direct paging, and what references it needs. In a
 * header, so that a loop over the entries of one level is compiled for that level.
 */
#ifndef PAGING_DIRECT_ENTRY_H
#define PAGING_DIRECT_ENTRY_H

#include "types.h"

#define ENTRY_FREE (UINT64_C(0x7ff) << 52 | UINT64_C(7) << 9) /* software's, and protection keys */

/* All memory is write-back: neither PWT, PCD nor PAT. No large pages; G only where it is defined. */
#define ENTRY_TABLE_MAY (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D | PTE_NX | ENTRY_FREE | PTE_FRAME)
#define ENTRY_LEAF_MAY  (ENTRY_TABLE_MAY | PTE_G)
/* Neither W (its references differ) nor anything that chooses a frame, a size or a cache. */
#define ENTRY_ALIKE (PTE_U | PTE_A | PTE_D | PTE_G | PTE_NX | ENTRY_FREE)

struct entry_need {
    enum direct_error error;
    bool              nothing; /* no reference */
    bool              writable;
    mfn_t             mfn;
    uint8_t           want; /* enum type_kind, TYPE_NONE for a general reference only */
};

/* An entry of an L4 that is the hypervisor's. */
static inline bool entry_is_reserved(uint8_t level, unsigned index)
{
    return level == TYPE_L4 && index >= DIRECT_SLOT_FIRST &&
           index < DIRECT_SLOT_FIRST + DIRECT_SLOTS;
}

/* Some processors read what a not-present entry names, if it is in their cache. */
static inline bool entry_is_vulnerable(const struct direct_machine *m, pte_t e)
{
    return pte_frame(e) != 0 && pte_frame(e) < m->l1tf_limit;
}

/* What the entry `e` of a table of this level needs to be accepted. */
static inline struct entry_need entry_need(const struct direct_machine *m, mfn_t table,
                                           uint8_t level, unsigned index, pte_t e)
{
    struct entry_need need = { .mfn = mfn_of(pte_frame(e)), .writable = pte_has(e, PTE_W) };

    if (entry_is_reserved(level, index)) {
        need.nothing = true;
        return need;
    }
    if (!pte_has(e, PTE_P)) {
        need.nothing = true;
        need.error = entry_is_vulnerable(m, e) ? DIRECT_L1TF : DIRECT_OK;
        return need;
    }
    if ((e.raw & ~(level == TYPE_L1 ? ENTRY_LEAF_MAY : ENTRY_TABLE_MAY)) != 0 ||
        need.mfn.raw >= m->phys->frames) {
        need.error = DIRECT_INVALID;
        return need;
    }
    if (level > TYPE_L1 && mfn_eq(need.mfn, table)) {
        need.nothing = true;
        need.error = need.writable ? DIRECT_LINEAR : DIRECT_OK;
        return need;
    }
    if (level > TYPE_L1)
        need.want = (uint8_t)(level - 1);
    else
        need.want = need.writable ? TYPE_WRITABLE : TYPE_NONE;
    return need;
}

/* As the processor may see it: bits are added only. */
static inline pte_t entry_adjusted(uint8_t level, pte_t e)
{
    if (pte_has(e, PTE_P) && !pte_has(e, PTE_U))
        e.raw |= level == TYPE_L1 ? PTE_U | PTE_KERNEL : PTE_U;
    return e;
}

/* True if the new entry needs the same references as the old one, and nothing else to be checked. */
static inline bool entry_is_alike(pte_t old, pte_t new)
{
    return pte_has(old, PTE_P) && ((old.raw ^ new.raw) & ~ENTRY_ALIKE) == 0;
}

#endif
