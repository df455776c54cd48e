/* Ways through our tables. Read way.h first. */
#include "way.h"

/* Entries that are not read on a shorter way are compared with themselves. */
static void keep(struct paging_vcpu *v, gva_t va, const struct paging_way *way)
{
    struct paging_way *to = way_slot(v, va);

    *to = *way;
    to->block = (va.raw >> WAY_SHIFT) + 1;
    if (way->level == 2)
        to->at[1] = &to->value[2];
}

void way_find(struct paging_vcpu *v, gva_t va, struct paging_way *way)
{
    const struct paging_domain *d = v->domain;
    const struct paging_root   *root = &v->root[v->current];
    unsigned                    format = root->format, level = v->mode.levels, n = 0;
    mfn_t                       table = root->table[0];
    uint64_t                    rights = PTE_W | PTE_U;
    pte_t                       e = PTE_EMPTY;

    way->value[2] = 0;
    for (; level > 1; level--, n++) {
        unsigned        index = (unsigned)(va.raw >> (PAGE_SHIFT + 9 * (level - 1))) & 511;
        const uint64_t *at = (const uint64_t *)phys_ptr(d->phys, table) + index;

        e.raw = *at;
        if ((e.raw & (PTE_P | PTE_PS)) != PTE_P ||
            shadow_of(d, mfn_of(pte_frame(e)))->shadow.format != format)
            break;
        if (n < 3)
            way->value[n] = e.raw;
        if (n > 0 && n < 3)
            way->at[n - 1] = at;
        rights = walk_rights(rights, e);
        table = mfn_of(pte_frame(e));
    }
    way->table = (uint32_t)table.raw;
    way->level = level;
    way->rights = rights;
    if (format == PT_64 && level <= 2 && pte_has(e, PTE_P))
        keep(v, va, way);
}
