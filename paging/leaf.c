/*
 * Setting and following one entry of a leaf table. Read leaf.h first. The common cases have a short
 * way here; what is rare leaves it before anything has changed.
 */
#include "leaf.h"

static inline void leaf_unlink(struct paging_domain *d, struct mapped *m, pte_t *slot,
                               rmap_t number, pte_t old)
{
    bool writable = pte_has(old, PTE_W);

    d->stats.leaves[0]--;
    m->writable[0] = (uint16_t)(m->writable[0] - writable);
    rmap_remove_at(d->phys, &m->leaves[0][writable], number, rmap_link_beside(slot));
}

static inline void leaf_link(struct paging_domain *d, struct mapped *m, pte_t *slot, rmap_t number,
                             pte_t new)
{
    bool writable = pte_has(new, PTE_W);

    d->stats.leaves[0]++;
    m->writable[0] = (uint16_t)(m->writable[0] + writable);
    rmap_add_at(d->phys, &m->leaves[0][writable], number, rmap_link_beside(slot));
}

static inline void store(pte_t *slot, pte_t new)
{
    __atomic_store_n(&slot->raw, new.raw, __ATOMIC_RELAXED);
}

/* The record of the frame that an entry maps. */
static inline struct frame *frame_at(const struct paging_domain *d, pte_t e)
{
    return phys_frame(d->phys, mfn_of(pte_frame(e)));
}

static __attribute__((noinline)) void set_rare(struct change *c, struct frame *f, pte_t *slot,
                                               rmap_t number, pte_t new)
{
    struct paging_domain *d = c->d;
    pte_t                 old = *slot;
    bool                  was = pte_has(old, PTE_P), is = pte_has(new, PTE_P);

    if (was)
        leaf_unlink(d, mapped_of(d, frame_at(d, old)), slot, number, old);
    store(slot, new);
    if (is) {
        struct mapped *m = mapped_of(d, frame_at(d, new));

        if (pte_has(new, PTE_W) && m->writable[0] >= RMAP_WRITABLE_MAX)
            evict_writable(c, 1, m);
        leaf_link(d, m, slot, number, new);
    }
    f->shadow.used = (uint16_t)(f->shadow.used + is - was);
}

/*
 * The target is another domain's or another one than before, or it has as many writable leaves as it
 * may.
 */
static inline bool is_rare(const struct paging_domain *d, const struct frame *target, pte_t old,
                           pte_t new)
{
    if (!is_own(d, target) ||
        (pte_has(new, PTE_P | PTE_W) && target->guest.mapped.writable[0] >= RMAP_WRITABLE_MAX))
        return true;
    return pte_has(old, PTE_P) && pte_has(new, PTE_P) && pte_frame(old) != pte_frame(new);
}

void leaf_set(struct change *c, struct frame *f, pte_t *slot, rmap_t number, pte_t new)
{
    struct paging_domain *d = c->d;
    pte_t                 old = *slot;
    struct frame         *target = frame_at(d, pte_has(new, PTE_P) ? new : old);
    struct mapped        *m = &target->guest.mapped;

    c->work++;
    if (rights_lost(old, new) && f->shadow.state == SHADOW_LIVE)
        lower(c, f, number);
    if (is_rare(d, target, old, new)) {
        set_rare(c, f, slot, number, new);
        return;
    }
    if (pte_eq(old, PTE_EMPTY)) {
        f->shadow.used++;
        leaf_link(d, m, slot, number, new);
    } else if (pte_eq(new, PTE_EMPTY)) {
        f->shadow.used--;
        leaf_unlink(d, m, slot, number, old);
    } else if (((old.raw ^ new.raw) & PTE_W) != 0) {
        leaf_unlink(d, m, slot, number, old);
        leaf_link(d, m, slot, number, new);
    } /* while the frame and W stay, so does the list that it is on */
    store(slot, new);
}

pte_t leaf_wanted(const struct paging_domain *d, const struct leaf_table *t, pte_t e)
{
    uint64_t rights = rules_rights(t->mode, t->f->shadow.view, 1, e, 0);

    return rights == 0 ? PTE_EMPTY : rules_leaf(d, gfn_of(pte_frame(e)), rights);
}
