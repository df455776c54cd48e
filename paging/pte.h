/* One page-table entry of the 64-bit formats. 32-bit entries are widened when they are read. */
#ifndef PAGING_PTE_H
#define PAGING_PTE_H

#include "frame.h"

typedef struct {
    uint64_t raw;
} pte_t;

/* APM vol. 2, 5.3 and 5.4: fields of translation-table entries. */
#define PTE_P     (UINT64_C(1) << 0)
#define PTE_W     (UINT64_C(1) << 1)
#define PTE_U     (UINT64_C(1) << 2)
#define PTE_A     (UINT64_C(1) << 5)
#define PTE_D     (UINT64_C(1) << 6)
#define PTE_PS    (UINT64_C(1) << 7) /* above level 1; at level 1 it is PAT */
#define PTE_G     (UINT64_C(1) << 8)
#define PTE_NX    (UINT64_C(1) << 63)
#define PTE_FRAME UINT64_C(0x000ffffffffff000)

#define PTE_EMPTY ((pte_t){ 0 })

static inline pte_t pte_make(mfn_t frame, uint64_t flags)
{
    return (pte_t){ frame.raw << PAGE_SHIFT | flags };
}

static inline bool pte_has(pte_t e, uint64_t flags)
{
    return (e.raw & flags) == flags;
}

static inline uint64_t pte_frame(pte_t e)
{
    return (e.raw & PTE_FRAME) >> PAGE_SHIFT;
}

static inline bool pte_eq(pte_t a, pte_t b)
{
    return a.raw == b.raw;
}

#endif
