/*
 * Following the guest's tables: what one of its entries says is carried over into the entries
 * of ours that stand for it. A 32-bit table has twice as many entries as one of ours, and a
 * directory entry of it spans two of ours; formats with 64-bit entries correspond one to one.
 */
#include "leaf.h"

/* Which of our entries stand for guest entry `index`; none (count 0) if in another part. */
struct span {
    unsigned first, count;
};

static struct span span_of(const struct frame *f, unsigned index)
{
    if (f->shadow.format != PT_32)
        return (struct span){ index, 1 };
    if (f->shadow.level == 1)
        return (struct span){ index & 511, f->shadow.part == index >> 9 };
    return (struct span){ (index & 255) * 2, f->shadow.part == index >> 8 ? 2 : 0 };
}

static pte_t follow_large(struct change *c, mfn_t shadow, unsigned ours, pte_t e, uint64_t rights)
{
    const struct frame   *f = shadow_of(c->d, shadow);
    const struct pt_mode *mode = mode_of(c->d, f->shadow.format, f->shadow.view);
    unsigned              level = f->shadow.level;
    gfn_t                 gfn = walk_large_gfn(mode, level, e);

    if (f->shadow.format == PT_32)
        gfn.raw += (uint64_t)(ours & 1) << 9;
    pte_t leaf = rules_large(c->d, gfn, level, rights);
    mfn_t child = pte_has(leaf, PTE_P) ? MFN_NONE : direct_get(c, gfn, level - 1, false);

    if (pte_has(leaf, PTE_P))
        return leaf;
    return mfn_valid(child) ? pte_make(child, rights) : PTE_EMPTY;
}

static pte_t follow_table(struct change *c, mfn_t shadow, unsigned ours, pte_t e, uint64_t rights)
{
    const struct frame *f = shadow_of(c->d, shadow);
    struct p2m_entry    p = p2m_get(&c->d->p2m, gfn_of(pte_frame(e)));

    if (p.type != P2M_RAM)
        return PTE_EMPTY;
    struct role role = { f->shadow.format, (uint8_t)(f->shadow.level - 1), f->shadow.view, 0 };

    if (f->shadow.format == PT_32)
        role.part = ours & 1;
    mfn_t child = shadow_find(c->d, p.mfn, role);

    if (!mfn_valid(child) || is_stale(c->d, shadow_of(c->d, child)))
        return PTE_EMPTY;
    /* The fault that needs it synchronises it first, and asks for the monitor's rights on the way. */
    if (pte_frame(entry_get(c->d, shadow, ours)) != child.raw &&
        (c->d->access.active || unsync_below(c->d, child)))
        return PTE_EMPTY;
    return pte_make(child, rights);
}

void sync_entry(struct change *c, mfn_t shadow, unsigned index)
{
    const struct frame   *f = shadow_of(c->d, shadow);
    const struct pt_mode *mode = mode_of(c->d, f->shadow.format, f->shadow.view);
    unsigned              level = f->shadow.level;

    if (is_stale(c->d, f))
        return;
    if (level == 1 && f->shadow.format != PT_32) {
        struct leaf_table t = leaf_table_of(c->d, shadow);

        leaf_follow(c, &t, index);
        return;
    }
    struct span span = span_of(f, index);

    if (span.count == 0 || is_slot(c->d, f, index))
        return;
    pte_t    e = walk_read(c->d->phys, mode, mfn_of(f->shadow.key), index);
    uint64_t rights = rules_rights(mode, f->shadow.view, level, e, 0);

    unsync_note(c->d, shadow, index, e);
    for (unsigned i = 0; i < span.count; i++) {
        unsigned ours = span.first + i;
        pte_t new;

        if (rights == 0)
            new = PTE_EMPTY;
        else if (level == 1)
            new = rules_leaf(c->d, gfn_of(pte_frame(e)), rights);
        else if (mode->level[level].may_leaf && pte_has(e, PTE_PS))
            new = follow_large(c, shadow, ours, e, rights);
        else
            new = follow_table(c, shadow, ours, e, rights);
        entry_set(c, shadow, ours, new);
    }
}

pte_t sync_leaf(const struct paging_domain *d, mfn_t shadow, unsigned ours)
{
    const struct frame   *f = shadow_of(d, shadow);
    const struct pt_mode *mode = mode_of(d, f->shadow.format, f->shadow.view);
    uint64_t              rights = PTE_P | PTE_W | PTE_U | PTE_A | PTE_D;
    gfn_t                 gfn = gfn_of(f->shadow.key + ours);

    if (f->shadow.state != SHADOW_LIVE || is_stale(d, f) || is_unsynced(f))
        return PTE_EMPTY;
    if (f->shadow.format != PT_DIRECT) {
        unsigned index = f->shadow.format == PT_32 ? (unsigned)f->shadow.part << 9 | ours : ours;
        pte_t    e = walk_read(d->phys, mode, mfn_of(f->shadow.key), index);

        rights = rules_rights(mode, f->shadow.view, 1, e, 0);
        gfn = gfn_of(pte_frame(e));
    }
    return rights == 0 ? PTE_EMPTY : rules_leaf(d, gfn, rights);
}

/* Entries followed for one write; those beyond become empty, which is always right. */
#define WRITTEN_BUDGET 64

static void empty_entry(struct change *c, mfn_t shadow, unsigned index)
{
    struct span span = span_of(shadow_of(c->d, shadow), index);

    for (unsigned i = 0; i < span.count; i++)
        entry_set(c, shadow, span.first + i, PTE_EMPTY);
}

/*
 * A table above the leaves that has become empty is being taken apart: it is unlinked, so that it is
 * none any more, and the table above it may follow. Whoever needs it again makes it anew.
 */
static void retire(struct change *c, mfn_t table)
{
    struct paging_domain *d = c->d;

    for (unsigned level = shadow_of(d, table)->shadow.level; level > 1 && level < PT_LEVELS_MAX;
         level++) {
        const struct frame *f = shadow_of(d, table);
        rmap_t              up = f->shadow.parents;

        if (f->shadow.used != 0 || up == 0 || rmap_next(d->phys, up) != up)
            return;
        table = rmap_table(up);
        entry_set(c, table, rmap_index(up), PTE_EMPTY);
    }
}

void sync_written(struct change *c, mfn_t guest, unsigned offset, unsigned len)
{
    struct paging_domain *d = c->d;
    unsigned              budget = WRITTEN_BUDGET;

    for (uint32_t s = phys_frame(d->phys, guest)->guest.shadows, next; s != 0; s = next) {
        struct frame *f = &d->phys->frame[s];
        unsigned      bytes = f->shadow.format == PT_32 ? 4 : 8;

        f->shadow.refs++; /* stays on the chain until we have read its successor */
        for (unsigned i = offset / bytes; i <= (offset + len - 1) / bytes; i++) {
            if (budget > 0)
                sync_entry(c, mfn_of(s), i);
            else
                empty_entry(c, mfn_of(s), i);
            budget -= budget > 0;
        }
        if (f->shadow.used == 0 && f->shadow.state == SHADOW_LIVE)
            retire(c, mfn_of(s));
        next = f->shadow.next;
        shadow_put(c, mfn_of(s));
    }
}

/* A and D went into tables that may have shadows which read those bits as something else. */
void sync_marked(struct change *c, const struct walk *w, const struct pt_mode *mode,
                 unsigned changed)
{
    for (unsigned l = w->level; changed >> l != 0; l++) {
        const struct walk_step *s = &w->step[l];

        if ((changed >> l & 1) == 0)
            continue;
        uint32_t first = phys_frame(c->d->phys, s->table)->guest.shadows;

        if (first == 0)
            continue;
        const struct frame *f = &c->d->phys->frame[first];

        if (f->shadow.next != 0 || f->shadow.format != mode->format || f->shadow.level != l)
            sync_written(c, s->table, s->index * mode->entry_bytes, mode->entry_bytes);
    }
}
