/*
 * Leaves of 4 KiB, which nearly all entries are that ever change: setting one, and following the
 * guest's entry of a format that is as wide as ours. Inline, since a flush by the guest may bring
 * hundreds at once; larger leaves and tables go by entry_set.
 */
#ifndef PAGING_LEAF_H
#define PAGING_LEAF_H

#include "rules.h"

/* Room for one more writable leaf: the oldest loses its W. (shadow.c) */
void evict_writable(struct change *c, unsigned level, const struct mapped *m);

/* Notes what must be flushed for an entry that has lost rights. (shadow.c) */
void lower_at(struct change *c, rmap_t number);

/* What a stale table allowed was flushed when its generation ended. */
static inline void lower(struct change *c, const struct frame *f, rmap_t number)
{
    if (is_stale(c->d, f))
        return;
    c->d->lowered++;
    if (c->flush != FLUSH_ALL)
        lower_at(c, number);
}

/* A page that becomes a user's is lost to the supervisor under SMEP and SMAP. */
static inline bool rights_lost(pte_t old, pte_t new)
{
    uint64_t matters = PTE_FRAME | PTE_PS | PTE_U | (old.raw & (PTE_P | PTE_W)) | (new.raw &PTE_NX);

    return pte_has(old, PTE_P) && ((old.raw ^ new.raw) & matters) != 0;
}

/*
 * What entry_set does in a leaf table, whose record is `f`: the entry `number`, which is in `slot`, and
 * is another one. (leaf.c)
 */
void leaf_set(struct change *c, struct frame *f, pte_t *slot, rmap_t number, pte_t new);

/* A leaf table of ours and the guest's, of a format with entries as wide as ours: looked up once. */
struct leaf_table {
    struct frame         *f;
    rmap_t                first; /* number of our first entry */
    const struct pt_mode *mode;
    pte_t                *ours;
    const pte_t          *theirs;
    pte_t                *copy; /* of theirs while the table is out of sync, else NULL */
};

static inline struct leaf_table leaf_table_of(const struct paging_domain *d, mfn_t shadow)
{
    struct frame *f = shadow_of(d, shadow);

    return (struct leaf_table){
        .f = f,
        .first = rmap_of(shadow, 0),
        .mode = mode_of(d, f->shadow.format, f->shadow.view),
        .ours = phys_ptr(d->phys, shadow),
        .theirs = phys_ptr(d->phys, mfn_of(f->shadow.key)),
        .copy = is_unsynced(f) ? phys_ptr(d->phys, mfn_of(f->shadow.snapshot)) : NULL,
    };
}

/* What our entry for the guest's `e` is to say. (leaf.c) */
must_check pte_t leaf_wanted(const struct paging_domain *d, const struct leaf_table *t, pte_t e);

/* Our entry follows the guest's, which is read once; the copy says the same then. */
static inline void leaf_follow(struct change *c, const struct leaf_table *t, unsigned index)
{
    pte_t e = { __atomic_load_n(&t->theirs[index].raw, __ATOMIC_RELAXED) };
    pte_t new = leaf_wanted(c->d, t, e);

    if (t->copy)
        t->copy[index] = e;
    if (!pte_eq(t->ours[index], new))
        leaf_set(c, t->f, &t->ours[index], t->first + index, new);
}

/*
 * The same for each entry from `first` on and before `end` that differs from the copy of a table out of
 * sync; adds to `changed` how many did. What it returns is `end`, or the first that was not looked at
 * because the operation has used up its budget. (leaf.c)
 */
must_check size_t leaf_carry_over(struct change *c, const struct leaf_table *t, size_t first,
                                  size_t end, unsigned *changed);

#endif
