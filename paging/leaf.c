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

/* The frame is another domain's, or it would have more writable leaves than it may. */
static inline bool is_rare(const struct paging_domain *d, const struct frame *target, pte_t new)
{
    return !is_own(d, target) ||
           (pte_has(new, PTE_W) && target->guest.mapped.writable[0] >= RMAP_WRITABLE_MAX);
}

/* The list that it is on is another one when W changes: of a frame of the domain's, which stays. */
static inline void leaf_relink(struct paging_domain *d, struct mapped *m, pte_t *slot,
                               rmap_t number, bool writable)
{
    m->writable[0] = (uint16_t)(writable ? m->writable[0] + 1 : m->writable[0] - 1);
    rmap_remove_at(d->phys, &m->leaves[0][!writable], number, rmap_link_beside(slot));
    rmap_add_at(d->phys, &m->leaves[0][writable], number, rmap_link_beside(slot));
}

/* An empty entry becomes a leaf. */
static inline void fill(struct paging_domain *d, struct frame *f, struct frame *target, pte_t *slot,
                        rmap_t number, pte_t new)
{
    f->shadow.used++;
    leaf_link(d, &target->guest.mapped, slot, number, new);
    store(slot, new);
}

/* A leaf becomes empty; what it allowed is noted. */
static inline void clear(struct paging_domain *d, struct frame *f, struct frame *target,
                         pte_t *slot, rmap_t number, pte_t old)
{
    f->shadow.used--;
    leaf_unlink(d, &target->guest.mapped, slot, number, old);
    store(slot, PTE_EMPTY);
}

/* A leaf becomes another one. */
static inline void alter(struct change *c, struct frame *f, pte_t *slot, rmap_t number, pte_t new)
{
    struct paging_domain *d = c->d;
    pte_t                 old = *slot;
    struct frame         *target = frame_at(d, new);

    if (rights_lost(old, new) && f->shadow.state == SHADOW_LIVE)
        lower(c, f, number);
    if (pte_frame(old) != pte_frame(new) || is_rare(d, target, new)) {
        set_rare(c, f, slot, number, new);
        return;
    }
    if (((old.raw ^ new.raw) & PTE_W) != 0)
        leaf_relink(d, &target->guest.mapped, slot, number, pte_has(new, PTE_W));
    store(slot, new);
}

void leaf_set(struct change *c, struct frame *f, pte_t *slot, rmap_t number, pte_t new)
{
    struct paging_domain *d = c->d;
    pte_t                 old = *slot;
    struct frame         *target = frame_at(d, pte_eq(old, PTE_EMPTY) ? new : old);

    c->work++;
    if (!pte_eq(old, PTE_EMPTY) && !pte_eq(new, PTE_EMPTY)) {
        alter(c, f, slot, number, new);
        return;
    }
    if (!pte_eq(old, PTE_EMPTY) && f->shadow.state == SHADOW_LIVE)
        lower(c, f, number);
    if (is_rare(d, target, new))
        set_rare(c, f, slot, number, new);
    else if (pte_eq(old, PTE_EMPTY))
        fill(d, f, target, slot, number, new);
    else
        clear(d, f, target, slot, number, old);
}

pte_t leaf_wanted(const struct paging_domain *d, const struct leaf_table *t, pte_t e)
{
    uint64_t rights = rules_rights(t->mode, t->f->shadow.view, 1, e, 0);

    return rights == 0 ? PTE_EMPTY : rules_leaf(d, gfn_of(pte_frame(e)), rights);
}

static void say(struct change *c, const struct leaf_table *t, size_t index, pte_t new)
{
    if (!pte_eq(t->ours[index], new))
        leaf_set(c, t->f, &t->ours[index], t->first + (rmap_t)index, new);
}

/* W goes or comes, and nothing else changes. */
static inline void toggle(struct change *c, const struct leaf_table *t, struct frame *target,
                          pte_t *slot, rmap_t number, pte_t new)
{
    if (pte_has(new, PTE_W)) {
        leaf_relink(c->d, &target->guest.mapped, slot, number, true);
    } else {
        lower(c, t->f, number);
        leaf_relink(c->d, &target->guest.mapped, slot, number, false);
    }
    store(slot, new);
}

/* An entry of a table in use follows the guest's `e`, where rules_are_usual. False: the usual way. */
static inline bool follow_usual(struct change *c, const struct leaf_table *t, size_t index,
                                uint64_t rsvd, pte_t e)
{
    struct paging_domain *d = c->d;
    struct frame         *target = NULL;
    rmap_t                number = t->first + (rmap_t)index;
    pte_t                *slot = &t->ours[index], old = *slot, new;

    if (!rules_usual_leaf(d, rsvd, e, &new, &target))
        return false;
    if (pte_eq(old, new))
        return true;
    if (pte_eq(new, PTE_EMPTY)) {
        target = frame_at(d, old);
        if (!is_own(d, target))
            return false;
        lower(c, t->f, number);
        clear(d, t->f, target, slot, number, old);
        return true;
    }
    if (pte_has(new, PTE_W) && target->guest.mapped.writable[0] >= RMAP_WRITABLE_MAX)
        return false;
    if (pte_eq(old, PTE_EMPTY))
        fill(d, t->f, target, slot, number, new);
    else if ((old.raw ^ new.raw) == PTE_W)
        toggle(c, t, target, slot, number, new);
    else
        return false;
    return true;
}

size_t leaf_carry_over(struct change *c, const struct leaf_table *t, size_t first, size_t end,
                       unsigned *changed)
{
    bool     usual = rules_are_usual(c->d, t->mode, t->f->shadow.view);
    uint64_t rsvd = t->mode->level[1].rsvd[0];
    unsigned left = c->work < CHANGE_BUDGET ? CHANGE_BUDGET - c->work : 0, done = 0;
    size_t   i;

    for (i = first; i < end; i++) {
        pte_t e = { __atomic_load_n(&t->theirs[i].raw, __ATOMIC_RELAXED) };

        if (pte_eq(e, t->copy[i]))
            continue;
        if (done == left)
            break;
        done++;
        t->copy[i] = e;
        if (!usual || !follow_usual(c, t, i, rsvd, e))
            say(c, t, i, leaf_wanted(c->d, t, e));
    }
    c->work += done; /* even for what our entries say already */
    *changed += done;
    return i;
}
