/* Walking an address through the guest's tables and ours, side by side, without a change. */
#include "shadow.h"

static void view_guest(const struct paging_vcpu *v, const struct walk *w, struct paging_view *view)
{
    uint64_t table = v->regs.cr3 & PTE_FRAME;

    for (unsigned l = v->mode.levels; l >= w->level && l > 0; l--) {
        struct paging_level_view *out = &view->level[PT_LEVELS_MAX - l];
        const struct walk_step   *s = &w->step[l];

        out->gpa = table + (uint64_t)s->index * v->mode.entry_bytes;
        out->guest = s->entry.raw;
        table = s->entry.raw & PTE_FRAME;
    }
    view->mapped = w->status == WALK_OK || w->status == WALK_DENIED;
    view->gpa = w->gfn.raw << PAGE_SHIFT;
}

static void view_ours(const struct paging_vcpu *v, gva_t va, struct paging_view *view)
{
    const struct paging_domain *d = v->domain;
    const struct paging_root   *r = &v->root[v->current];
    unsigned                    level = r->count == 1 ? (r->format == PT_LA57 ? 5 : 4) : 2;
    mfn_t                       table = r->table[r->count == 1 ? 0 : va.raw >> 30 & 3];

    for (; r->used && mfn_valid(table) && level > 0; level--) {
        unsigned index = (unsigned)(va.raw >> (PAGE_SHIFT + 9 * (level - 1))) & 511;
        pte_t    e = entry_get(d, table, index);
        struct paging_level_view *out = &view->level[PT_LEVELS_MAX - level];

        out->ma = (table.raw << PAGE_SHIFT) + index * 8u;
        out->ours = e.raw;
        if (!pte_has(e, PTE_P) || entry_is_leaf(level, e))
            break;
        table = mfn_of(pte_frame(e));
    }
}

void paging_view(struct paging_locked p, const struct paging_vcpu *v, gva_t va,
                 struct paging_view *view)
{
    struct walk w = { .status = WALK_OK };

    walk_guest(v, va, 0, &w);
    *view = (struct paging_view){ .count = PT_LEVELS_MAX };
    for (unsigned i = 0; i < PT_LEVELS_MAX; i++)
        view->level[i] = (struct paging_level_view){
            .level = (uint8_t)(PT_LEVELS_MAX - i),
            .gpa = ~UINT64_C(0),
            .ma = ~UINT64_C(0),
        };
    view_guest(v, &w, view);
    view->gpa |= va.raw & PAGE_MASK;
    view_ours(v, p.domain->kind == PAGING_NESTED ? gva_of(view->gpa) : va, view);
}
