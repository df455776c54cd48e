/* What an entry of a guest's table, and a segment descriptor, may say under direct paging. */
#include "types.h"

#define PTE_FREE (UINT64_C(0x7ff) << 52 | UINT64_C(7) << 9) /* software's, and protection keys */

/* All memory is write-back: neither PWT, PCD nor PAT. No large pages; G only where it is defined. */
#define PTE_TABLE_MAY (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D | PTE_NX | PTE_FREE | PTE_FRAME)
#define PTE_LEAF_MAY  (PTE_TABLE_MAY | PTE_G)
/* Neither W (its references differ) nor anything that chooses a frame, a size or a cache. */
#define PTE_ALIKE (PTE_U | PTE_A | PTE_D | PTE_G | PTE_NX | PTE_FREE)

bool entry_is_reserved(uint8_t level, unsigned index)
{
    return level == TYPE_L4 && index >= DIRECT_SLOT_FIRST &&
           index < DIRECT_SLOT_FIRST + DIRECT_SLOTS;
}

/* Some processors read what a not-present entry names, if it is in their cache. */
static bool is_vulnerable(const struct direct_machine *m, pte_t e)
{
    return pte_frame(e) != 0 && pte_frame(e) < m->l1tf_limit;
}

struct entry_need entry_need(const struct direct_machine *m, mfn_t table, uint8_t level,
                             unsigned index, pte_t e)
{
    struct entry_need need = { .mfn = mfn_of(pte_frame(e)), .writable = pte_has(e, PTE_W) };

    if (entry_is_reserved(level, index)) {
        need.nothing = true;
        return need;
    }
    if (!pte_has(e, PTE_P)) {
        need.nothing = true;
        need.error = is_vulnerable(m, e) ? DIRECT_L1TF : DIRECT_OK;
        return need;
    }
    if ((e.raw & ~(level == TYPE_L1 ? PTE_LEAF_MAY : PTE_TABLE_MAY)) != 0 ||
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

pte_t entry_adjusted(uint8_t level, pte_t e)
{
    if (pte_has(e, PTE_P) && !pte_has(e, PTE_U))
        e.raw |= level == TYPE_L1 ? PTE_U | PTE_KERNEL : PTE_U;
    return e;
}

bool entry_is_alike(pte_t old, pte_t new)
{
    return pte_has(old, PTE_P) && ((old.raw ^ new.raw) & ~PTE_ALIKE) == 0;
}

/* Bits of a descriptor: APM vol. 2, 4.8.1 to 4.8.3. */
#define DESCRIPTOR_CODE_DATA (UINT64_C(1) << 44) /* S: else a system descriptor */
#define DESCRIPTOR_DPL       (UINT64_C(3) << 45)
#define DESCRIPTOR_P         (UINT64_C(1) << 47)

bool descriptor_ok(uint64_t descriptor)
{
    /* Gates and task segments would lead into rings and tasks that are not the guest's. */
    return (descriptor & DESCRIPTOR_P) == 0 || (descriptor & DESCRIPTOR_CODE_DATA) != 0;
}

uint64_t descriptor_adjusted(uint64_t descriptor)
{
    if ((descriptor & DESCRIPTOR_P) != 0)
        descriptor |= DESCRIPTOR_DPL;
    return descriptor;
}
