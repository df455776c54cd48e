/*
 * A page fault under shadow or nested paging.
 *
 *   walk the guest's tables, from where ours end ── its own fault ──► inject
 *        │ reached a frame
 *   ask the p2m ── not memory ──► device
 *        │ memory
 *   set A and D in the guest's tables ── changed meanwhile ──► retry
 *        │
 *   build what is missing of ours, from the root down to the leaf
 *        │
 *   a write to a table? ──► emulate, else ──► retry
 */
#include "rules.h"
#include "way.h"

/* How far our tables lead to an address, and what the way there allows: known_way. */
struct way {
    mfn_t    table; /* of ours: the lowest one; MFN_NONE: nothing is known */
    unsigned level;
    uint64_t lowered; /* the domain's counter then: while it is the same, the way is */
};

/* Where the path of one access stands. */
struct path {
    struct change        *c;
    const struct walk    *walk;
    const struct pt_mode *mode;
    uint8_t               view; /* key view of the tables */
    gva_t                 va;
    unsigned              demand;
    bool                  changed;
};

static void path_set(struct path *p, mfn_t table, unsigned index, pte_t new)
{
    if (pte_eq(entry_get(p->c->d, table, index), new))
        return;
    entry_set(p->c, table, index, new);
    p->changed = true;
}

/* The role of the shadow below `level` on this path. */
static struct role child_role(const struct path *p, unsigned level)
{
    struct role role = { p->mode->format, (uint8_t)(level - 1), p->view, 0 };

    if (p->mode->format == PT_32)
        role.part = p->va.raw >> 21 & 1;
    return role;
}

/*
 * Tables of a PV domain change under no lock of ours: another vCPU's update may be stored, and its
 * shadows be about to follow.
 */
static bool leads_there(const struct path *p, unsigned level, pte_t ours)
{
    return !p->c->d->slots || shadow_of(p->c->d, mfn_of(pte_frame(ours)))->shadow.key ==
                                  p->walk->step[level - 1].table.raw;
}

/*
 * What is linked is right, since our entries follow the guest's; only without WP, what a
 * user access needs and what a supervisor write needs differ. The guest's large page is
 * looked at again: the access may have set its D.
 */
static bool may_trust(const struct path *p, unsigned level, pte_t ours)
{
    return pte_has(ours, PTE_P) && !entry_is_leaf(level, ours) && level != p->walk->level &&
           ((p->view & PT_VIEW_WP) || p->mode->format == PT_DIRECT) && leads_there(p, level, ours);
}

/*
 * Links a table of ours. What is out of sync in it or below it and was not linked here is
 * synchronised first: no TLB can hold what it said before under the addresses that it gets now.
 */
static bool link_table(struct path *p, mfn_t table, unsigned index, mfn_t child, uint64_t rights)
{
    const struct frame *f = shadow_of(p->c->d, child);
    bool                elsewhere = pte_frame(entry_get(p->c->d, table, index)) != child.raw;
    bool                ready = true;

    shadow_ref(p->c->d, child); /* the list of what is out of sync may hold the last reference */
    if (elsewhere && is_unsynced(f))
        ready = resync(p->c, mfn_of(f->shadow.key));
    else if (elsewhere && unsync_below(p->c->d, child))
        ready = unsync_idle_all(p->c);
    if (ready)
        path_set(p, table, index, pte_make(child, rights));
    shadow_put(p->c, child);
    return ready;
}

/* One step down; MFN_NONE when there is no table, or it must stop. */
static mfn_t descend(struct path *p, mfn_t table, unsigned level)
{
    unsigned index = (unsigned)(p->va.raw >> (PAGE_SHIFT + 9 * (level - 1))) & 511;
    pte_t    ours = entry_get(p->c->d, table, index);
    uint64_t rights = PTE_P | PTE_W | PTE_U | PTE_A | PTE_D;
    mfn_t    guest = level > p->walk->level ? p->walk->step[level - 1].table : MFN_NONE;
    mfn_t    child;

    if (may_trust(p, level, ours))
        return mfn_of(pte_frame(ours));
    if (level <= p->walk->level)
        child = direct_get(p->c, p->walk->gfn, level - 1, true);
    else
        child = mfn_valid(guest) ? shadow_get(p->c, guest, child_role(p, level)) : MFN_NONE;
    if (level >= p->walk->level)
        rights = rules_rights(p->mode, p->view, level, p->walk->step[level].entry, p->demand);
    if (!mfn_valid(child) || rights == 0)
        return MFN_NONE;
    return link_table(p, table, index, child, rights) ? child : MFN_NONE;
}

/* What the guest's large page, or the domain's memory as it is, is mapped with at this level. */
static uint64_t large_rights(const struct path *p, unsigned level)
{
    if (level < p->walk->level)
        return PTE_P | PTE_W | PTE_U | PTE_A | PTE_D;
    return rules_rights(p->mode, p->view, level, p->walk->step[level].entry, p->demand);
}

/* One leaf for all of the block, where it may be; the table that was there goes. */
static bool fill_large(struct path *p, mfn_t table, unsigned level)
{
    unsigned index = (unsigned)(p->va.raw >> (PAGE_SHIFT + 9 * (level - 1))) & 511;
    pte_t    leaf;

    if (level > LEAF_SIZES || level > p->walk->level)
        return false;
    leaf = rules_large(p->c->d, p->walk->gfn, level, large_rights(p, level));
    if (!pte_has(leaf, PTE_P))
        return false;
    path_set(p, table, index, leaf);
    return true;
}

/*
 * Leaves of a direct table that are filled together, an aligned group: what was one large leaf
 * before comes back in a few faults. Prefetching guest entries does not pay: see doc/shadow.md.
 */
#define DIRECT_AT_ONCE 32

static void fill_neighbours(const struct path *p, mfn_t table, unsigned index)
{
    const uint64_t all = PTE_P | PTE_W | PTE_U | PTE_A | PTE_D;
    unsigned       first = index & ~(DIRECT_AT_ONCE - 1u);
    uint64_t       block = p->walk->gfn.raw - index;

    for (unsigned i = first; i < first + DIRECT_AT_ONCE; i++)
        if (!pte_has(entry_get(p->c->d, table, i), PTE_P))
            entry_set(p->c, table, i, rules_leaf(p->c->d, gfn_of(block + i), all));
}

static bool fill(struct path *p, mfn_t table, unsigned level)
{
    for (; level > 1; level--) {
        if (fill_large(p, table, level))
            return true;
        table = descend(p, table, level);
        if (!mfn_valid(table))
            return false;
    }
    uint64_t rights = PTE_P | PTE_W | PTE_U | PTE_A | PTE_D;

    if (p->walk->level == 1) {
        const struct walk_step *s = &p->walk->step[1];

        rights = rules_rights(p->mode, p->view, 1, s->entry, p->demand);
        unsync_note(p->c->d, table, s->index, s->entry);
    }
    unsigned index = (unsigned)(p->va.raw >> PAGE_SHIFT) & 511;
    bool     was = pte_has(entry_get(p->c->d, table, index), PTE_P);

    path_set(p, table, index, rules_leaf(p->c->d, p->walk->gfn, rights));
    if (!was && p->walk->level > 1)
        fill_neighbours(p, table, index);
    else if (p->walk->level == 1 && is_unsynced(shadow_of(p->c->d, table)))
        unsync_catch_up(p->c, table, p->walk->step[1].index);
    return true;
}

/*
 * With WP clear and SMAP on, an entry that a supervisor writes through (W without U) would
 * lose SMAP's protection for all that is below it: such writes are executed for the guest.
 */
static bool needs_emulation(const struct paging_vcpu *v, const struct walk *w, unsigned acc)
{
    if ((v->mode.view & (PT_VIEW_WP | PT_VIEW_SMAP)) != PT_VIEW_SMAP || !(acc & ACC_WRITE) ||
        (acc & ACC_USER))
        return false;
    for (unsigned l = v->mode.levels; l >= w->level && l > 0; l--)
        if ((w->step[l].entry.raw & (PTE_U | PTE_W)) == PTE_U)
            return true;
    return false;
}

/* About the address of the fault. Another one that is to be flushed is flushed with all. */
static struct verdict verdict_at(const struct change *c, enum verdict_kind kind, gva_t va)
{
    struct verdict verdict = verdict_of(c, kind);

    if (verdict.flush == FLUSH_PAGE)
        verdict.flush = FLUSH_ALL;
    verdict.va = va;
    return verdict;
}

static struct verdict crash(const struct change *c, const char *why)
{
    struct verdict verdict = verdict_of(c, VERDICT_CRASH);

    verdict.why = why;
    return verdict;
}

/*
 * Our tables already said what they should, and yet there was a fault: the TLB knew less
 * than they do, or, under SMAP, the access was an implicit one (to GDT, LDT, IDT or TSS) for
 * which AC does not count. A flush tells: if the same fault comes again at once, it is the
 * guest's own.
 */
static struct verdict unchanged(struct change *c, struct paging_vcpu *v, const struct fault *f,
                                const struct walk *w)
{
    bool explicit_counts = (v->mode.view & PT_VIEW_SMAP) && (f->acc & ACC_AC) &&
                           !(f->acc & ACC_USER) && (w->rights & PTE_U);
    struct verdict verdict = verdict_of(c, VERDICT_RETRY);

    c->d->stats.spurious++;
    if (explicit_counts && v->suspect.event + 1 == v->events && v->suspect.va.raw == f->va.raw &&
        v->suspect.acc == f->acc) {
        verdict = verdict_at(c, VERDICT_INJECT, f->va);
        verdict.pfec = walk_pfec(v, w, f->acc) | PFEC_P;
        return verdict;
    }
    v->suspect.event = v->events;
    v->suspect.va = f->va;
    v->suspect.acc = f->acc;
    if (verdict.flush == FLUSH_NONE) {
        verdict.flush = FLUSH_PAGE;
        verdict.va = f->va;
    }
    return verdict;
}

static bool is_protected_table(const struct paging_domain *d, mfn_t mfn)
{
    const struct frame *f = phys_frame(d->phys, mfn);

    return d->kind == PAGING_SHADOW && is_synced_table(d, f);
}

static bool is_protected(const struct paging_domain *d, mfn_t mfn)
{
    return frame_is_protected(d, phys_frame(d->phys, mfn));
}

/* The table that this access writes is to go out of sync. */
static bool lets_go(const struct paging_vcpu *v, const struct fault *f, mfn_t mfn)
{
    return unsync_wanted(v, mfn, (unsigned)(f->va.raw & PAGE_MASK));
}

/* A write to a table: executed for the guest, and remembered. */
static struct verdict emulate(const struct change *c, struct paging_vcpu *v, const struct fault *f,
                              const struct walk *w, mfn_t mfn)
{
    unsync_note_write(v, f->va, mfn);
    return (struct verdict){
        .kind = VERDICT_EMULATE,
        .flush = c->flush,
        .va = c->va,
        .gpa = w->gfn.raw << PAGE_SHIFT | (f->va.raw & PAGE_MASK),
        .mfn = mfn,
        .again = c->again,
    };
}

/* Memory was made free, or a table was linked otherwise: the walk knows nothing of what is above it. */
static bool is_lost(const struct paging_domain *d, const struct way *way)
{
    return mfn_valid(way->table) && way->lowered != d->lowered;
}

/* From the last table that links lead to, if that is known, or from the root. */
static bool fill_from(struct path *p, const struct paging_root *root, const struct way *way)
{
    unsigned levels = root->format == PT_LA57 ? 5 : 4;
    mfn_t    top;

    if (mfn_valid(way->table))
        return fill(p, way->table, way->level);
    top = root->table[root->count == 1 ? 0 : p->va.raw >> 30 & 3];
    return mfn_valid(top) && fill(p, top, root->count == 1 ? levels : 2);
}

/* The walk has succeeded and A and D are set: our tables follow. */
static struct verdict resolve(struct change *c, struct paging_vcpu *v, const struct fault *f,
                              const struct walk *w, const struct p2m_entry *p,
                              const struct way *way)
{
    bool writes = f->acc & ACC_WRITE;
    bool by_us = c->d->kind == PAGING_SHADOW && needs_emulation(v, w, f->acc);

    /* The processor has found our entry, which forbids the write, as it should. */
    if (f->present && writes && !by_us && is_protected_table(c->d, p->mfn) &&
        !lets_go(v, f, p->mfn))
        return emulate(c, v, f, w, p->mfn);
    const struct paging_root *root = &v->root[v->current];
    struct path               path = {
                      .c = c,
                      .walk = w,
                      .mode = mode_of(c->d, root->format, root->view),
                      .view = root->view,
                      .va = f->va,
                      .demand = f->acc,
    };

    if (by_us)
        path.demand &= ~(unsigned)ACC_WRITE;
    if (!shadow_reserve(c, FAULT_PAIRS))
        return verdict_unready(c);
    if (writes && !by_us && is_protected_table(c->d, p->mfn) && lets_go(v, f, p->mfn))
        unsync(c, p->mfn);
    if (writes && dirty_must_see(c->d, p->mfn)) {
        c->d->dirty.faults++;
        dirty_mark(c->d, p->mfn);
    }
    if (is_lost(c->d, way))
        return verdict_of(c, VERDICT_RETRY); /* it comes again, and finds what was done */
    if (!fill_from(&path, root, way)) {
        if (c->again)
            return verdict_of(c, VERDICT_RETRY);
        return crash(c, "its page tables lie outside its memory");
    }
    if (by_us || (writes && is_protected(c->d, p->mfn)))
        return emulate(c, v, f, w, p->mfn);
    if (!path.changed)
        return unchanged(c, v, f, w);
    c->d->stats.fixed++;
    return verdict_of(c, VERDICT_RETRY);
}

static struct verdict device(const struct change *c, const struct walk *w, const struct fault *f)
{
    struct verdict verdict = verdict_at(c, VERDICT_DEVICE, f->va);

    c->d->stats.devices++;
    verdict.gpa = w->gfn.raw << PAGE_SHIFT | (f->va.raw & PAGE_MASK);
    return verdict;
}

static struct verdict reflect(const struct change *c, const struct paging_vcpu *v,
                              const struct walk *w, const struct fault *f)
{
    struct verdict verdict = verdict_at(c, VERDICT_INJECT, f->va);

    c->d->stats.reflected++;
    verdict.pfec = walk_pfec(v, w, f->acc);
    return verdict;
}

static void walk_nested(gva_t gpa, struct walk *w)
{
    w->status = WALK_OK;
    w->level = WALK_DIRECT;
    w->rights = PTE_W | PTE_U;
    w->gfn = gfn_of(gpa.raw >> PAGE_SHIFT);
}

/* From the last table that links of ours lead to, which is kept if it is one of the lower two levels. */
static void known_way(struct paging_vcpu *v, gva_t va, struct walk *w, struct way *way)
{
    const struct paging_domain *d = v->domain;
    const struct paging_way    *kept = way_kept(v, va);
    struct paging_way           found;

    if (!kept) {
        way_find(v, va, &found);
        kept = &found;
    }
    *way = (struct way){ mfn_of(kept->table), kept->level, d->lowered };
    w->top = (uint8_t)kept->level;
    w->rights = kept->rights;
    w->step[kept->level].table = mfn_of(shadow_of(d, way->table)->shadow.key);
}

static void walk_shadowed(struct paging_vcpu *v, const struct fault *f, struct walk *w,
                          struct way *way)
{
    if (!way_tells_all(v)) {
        walk_guest(v, f->va, f->acc, w);
        return;
    }
    known_way(v, f->va, w, way);
    walk_on(v, f->va, f->acc, w);
    if (w->level < way->level)
        way_forget(v, f->va);
}

struct verdict paging_fault(struct paging_locked p, struct paging_vcpu *v, const struct fault *f)
{
    struct paging_domain *d = p.domain;
    struct change         c = { .d = d };
    struct walk           w; /* large: filled in, not cleared */
    struct way            way = { .table = MFN_NONE };
    struct verdict        verdict;
    unsigned              marks = 0;

    d->stats.faults++;
    v->events++;
    if (v->root[v->current].empty)
        return root_restore(&c, v);
    if (d->kind == PAGING_NESTED)
        walk_nested(f->va, &w);
    else
        walk_shadowed(v, f, &w, &way);
    d->stats.walks += d->kind == PAGING_SHADOW;
    if (d->access.active && !permit(&c, v, f, &w, &verdict))
        return verdict;
    if (w.status != WALK_OK)
        return reflect(&c, v, &w, f);
    struct p2m_entry e = p2m_get(&d->p2m, w.gfn);

    if (!p2m_is_memory(e.type) || (p2m_is_rom(e.type) && (f->acc & ACC_WRITE)))
        return device(&c, &w, f);
    if (d->kind == PAGING_SHADOW) {
        if (!walk_mark(v, &w, f->acc, &marks))
            return verdict_of(&c, VERDICT_RETRY);
        if (marks != 0)
            sync_marked(&c, &w, &v->mode, marks);
    }
    if (d->access.active && !permit_open(&c, v, f, w.gfn, e.mfn, &verdict))
        return verdict;
    if (d->open.count == 0)
        return resolve(&c, v, f, &w, &e, &way);
    verdict = resolve(&c, v, f, &w, &e, &way);
    verdict.step = d->open.by == v;
    return verdict;
}

/*
 * All tables are synchronised, not just the one that our tables lead to now: the guest may
 * have led the address elsewhere since, and may lead it back without another flush. A run
 * of INVLPGs costs one exit all the same, since none is intercepted when the list is empty.
 */
struct verdict paging_invlpg(struct paging_locked p, struct paging_vcpu *v, gva_t va)
{
    struct change  c = { .d = p.domain };
    struct verdict verdict;

    v->events++;
    (void)!resync_all(&c);
    verdict = verdict_of(&c, VERDICT_RETRY);
    if (verdict.flush == FLUSH_NONE) {
        verdict.flush = FLUSH_PAGE;
        verdict.va = va;
    } else if (verdict.va.raw >> PAGE_SHIFT != va.raw >> PAGE_SHIFT) {
        verdict.flush = FLUSH_ALL;
    }
    return verdict;
}
