/* One loop for all modes: what differs between them is numbers (mode.h). */
#include "walk.h"

#include "dirty.h"

gfn_t walk_large_gfn(const struct pt_mode *mode, unsigned level, pte_t e)
{
    uint64_t span = (UINT64_C(1) << (mode->level[level].shift - PAGE_SHIFT)) - 1;
    uint64_t frame = pte_frame(e) & ~span;

    if (mode->format == PT_32) /* address bits 39:32 are in bits 20:13 */
        frame |= (e.raw >> 13 & 0xff) << (32 - PAGE_SHIFT);
    return gfn_of(frame);
}

static mfn_t table_at(const struct paging_domain *d, uint64_t gfn)
{
    struct p2m_entry e = p2m_get(&d->p2m, gfn_of(gfn));

    return e.type == P2M_RAM ? e.mfn : MFN_NONE;
}

/* With paging off every address is one of guest-physical memory. */
static void walk_direct(gva_t va, struct walk *w)
{
    w->status = WALK_OK;
    w->level = WALK_DIRECT;
    w->rights = PTE_W | PTE_U;
    w->gfn = gfn_of((uint32_t)va.raw >> PAGE_SHIFT);
}

/* The latched entries of PAE have no rights of their own. False: the walk ends there. */
static bool walk_latched(const struct paging_vcpu *v, gva_t va, struct walk *w)
{
    struct walk_step *s = &w->step[3];

    w->level = 3;
    s->table = MFN_NONE;
    s->index = (uint32_t)(va.raw >> v->mode.level[3].shift) & 3;
    s->entry.raw = v->pdpte[s->index];
    if (!pte_has(s->entry, PTE_P)) {
        w->status = WALK_NOT_PRESENT;
        return false;
    }
    if (walk_latched_is_reserved(&v->mode, s->entry.raw)) { /* under nested paging it was loaded */
        w->status = WALK_RESERVED;
        return false;
    }
    w->top = 2;
    w->step[2].table = table_at(v->domain, pte_frame(s->entry));
    return true;
}

static inline pte_t read_entry(const struct paging_vcpu *v, mfn_t table, unsigned index)
{
    if (mfn_valid(table))
        return walk_read(v->domain->phys, &v->mode, table, index);
    return (pte_t){ v->mode.entry_bytes == 4 ? UINT32_MAX : UINT64_MAX };
}

void walk_guest(const struct paging_vcpu *v, gva_t va, unsigned acc, struct walk *w)
{
    w->top = v->mode.levels;
    w->rights = PTE_W | PTE_U;
    if (v->mode.format == PT_DIRECT) {
        walk_direct(va, w);
        return;
    }
    if (v->mode.format != PT_PAE)
        w->step[w->top].table = table_at(v->domain, (v->regs.cr3 & PTE_FRAME) >> PAGE_SHIFT);
    else if (!walk_latched(v, va, w))
        return;
    walk_on(v, va, acc, w);
}

/* The walk has ended at the entry of a page. */
static void reach_page(const struct paging_vcpu *v, gva_t va, unsigned acc, struct walk *w, pte_t e)
{
    const struct pt_mode *mode = &v->mode;
    uint64_t              frame = pte_frame(e);

    if (w->level > 1) {
        uint64_t span = (UINT64_C(1) << (mode->level[w->level].shift - PAGE_SHIFT)) - 1;

        frame = walk_large_gfn(mode, w->level, e).raw | (va.raw >> PAGE_SHIFT & span);
    }
    w->gfn = gfn_of(frame);
    w->status = walk_denied(mode->view, w->rights, acc) ? WALK_DENIED : WALK_OK;
}

void walk_on(const struct paging_vcpu *v, gva_t va, unsigned acc, struct walk *w)
{
    const struct pt_level *level = &v->mode.level[w->top];
    struct walk_step      *s = &w->step[w->top];

    for (uint8_t l = w->top;; l--, level--, s--) {
        w->level = l;
        s->index = (uint32_t)(va.raw >> level->shift) & ((1u << level->bits) - 1);
        pte_t e = s->entry = read_entry(v, s->table, s->index);

        if (!pte_has(e, PTE_P)) {
            w->status = WALK_NOT_PRESENT;
            return;
        }
        if (e.raw & level->rsvd[pte_has(e, PTE_PS)]) {
            w->status = WALK_RESERVED;
            return;
        }
        w->rights = walk_rights(w->rights, e);
        if (l == 1 || (level->may_leaf && pte_has(e, PTE_PS))) {
            reach_page(v, va, acc, w, e);
            return;
        }
        s[-1].table = table_at(v->domain, pte_frame(e));
    }
}

static bool mark_entry(const struct paging_vcpu *v, struct walk_step *s, uint64_t flags)
{
    uint8_t *p = phys_ptr(v->domain->phys, s->table);
    uint64_t new = s->entry.raw | flags;

    if (v->mode.entry_bytes == 4) {
        uint32_t old32 = (uint32_t)s->entry.raw;

        if (!__atomic_compare_exchange_n((uint32_t *)(void *)p + s->index, &old32, (uint32_t) new,
                                         false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            return false;
    } else {
        uint64_t old = s->entry.raw;

        if (!__atomic_compare_exchange_n((uint64_t *)(void *)p + s->index, &old, new, false,
                                         __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            return false;
    }
    s->entry.raw = new;
    return true;
}

uint64_t walk_missing(const struct walk *w, unsigned level, unsigned acc)
{
    const struct walk_step *s = &w->step[level];
    uint64_t                flags = PTE_A | (level == w->level && (acc & ACC_WRITE) ? PTE_D : 0);

    return mfn_valid(s->table) ? flags & ~s->entry.raw : 0;
}

bool walk_mark(const struct paging_vcpu *v, struct walk *w, unsigned acc, unsigned *changed)
{
    *changed = 0;
    for (unsigned l = w->top; l >= w->level && l > 0; l--) {
        uint64_t flags = walk_missing(w, l, acc);

        if (flags == 0)
            continue;
        if (!mark_entry(v, &w->step[l], flags))
            return false;
        dirty_mark(v->domain, w->step[l].table);
        *changed |= 1u << l;
    }
    return true;
}
