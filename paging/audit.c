/*
 * The audit: recomputes the invariants of doc/model.md from the tables themselves.
 *
 * Lists and entries are compared from both sides: every element of a list must be an entry
 * that belongs on it, and the lists together must be as long as there are entries. So each
 * entry is on its list exactly once.
 */
#include "rules.h"
#include "way.h"

struct auditor {
    struct paging_domain *d;
    struct audit         *out;
    uint64_t              leaves[LEAF_SIZES], children; /* entries found in tables */
    uint64_t              listed_leaves[LEAF_SIZES], listed_children;
    uint64_t              blocked;
};

static void violation(struct auditor *a, const char *what)
{
    unsigned i = 0;

    if (a->out->violations++ > 0)
        return;
    for (; what[i] != 0 && i + 1 < sizeof(a->out->first); i++)
        a->out->first[i] = what[i];
    a->out->first[i] = 0;
}

static bool is_guest(const struct auditor *a, mfn_t mfn)
{
    return mfn.raw < a->d->phys->frames && phys_frame(a->d->phys, mfn)->kind == FRAME_GUEST;
}

static bool is_table(const struct auditor *a, mfn_t mfn)
{
    const struct frame *f;

    if (mfn.raw >= a->d->phys->frames)
        return false;
    f = phys_frame(a->d->phys, mfn);
    return f->kind == FRAME_SHADOW && f->owner == a->d->id;
}

/* ---- lists ---- */

/* What must be true of all elements of a list. */
struct belongs {
    mfn_t    target;
    unsigned level; /* of the leaves; 0: they are no leaves */
    bool     writable;
};

static bool belongs_there(const struct belongs *b, unsigned level, pte_t e)
{
    if (!pte_has(e, PTE_P) || pte_frame(e) != b->target.raw)
        return false;
    if (b->level == 0)
        return !entry_is_leaf(level, e);
    return entry_is_leaf(level, e) && level == b->level && pte_has(e, PTE_W) == b->writable;
}

/* Length of a list. */
static uint64_t list_check(struct auditor *a, rmap_t head, struct belongs b)
{
    const struct phys *phys = a->d->phys;
    uint64_t           n = 0;

    for (rmap_t e = head; head != 0;) {
        mfn_t table = rmap_table(e);

        if (!is_table(a, table)) {
            violation(a, "S6: the reverse map lists something that is not a table");
            return n;
        }
        unsigned level = shadow_of(a->d, table)->shadow.level;
        pte_t    entry = entry_get(a->d, table, rmap_index(e));

        if (!belongs_there(&b, level, entry))
            violation(a, "S6: the reverse map lists an entry that does not belong there");
        if (rmap_prev(phys, rmap_next(phys, e)) != e)
            violation(a, "S6: the links of the reverse map contradict each other");
        n++;
        e = rmap_next(phys, e);
        if (e == head)
            break;
        if (n > (uint64_t)a->d->pool.total * 512) {
            violation(a, "S6: a list of the reverse map has no end");
            return n;
        }
    }
    return n;
}

/* The leaves of one size whose block begins at this frame. */
static void audit_leaf_lists(struct auditor *a, const struct mapped *m, mfn_t mfn, unsigned level)
{
    const rmap_t *list = m->leaves[level - 1];
    uint64_t      read_only = list_check(a, list[0], (struct belongs){ mfn, level, false });
    uint64_t      writable = list_check(a, list[1], (struct belongs){ mfn, level, true });

    a->listed_leaves[level - 1] += read_only + writable;
    if (writable != m->writable[level - 1] ||
        writable > (level == 1 ? RMAP_WRITABLE_MAX : RMAP_LARGE_MAX))
        violation(a, "S6: the count of writable leaves of a frame is wrong");
}

/* Some table of this generation maps the frame writable, in a leaf of 4 KiB. */
static bool is_writable(const struct auditor *a, const struct frame *f)
{
    rmap_t first = f->guest.mapped.leaves[0][1], e = first;

    for (unsigned n = 0; first != 0 && n < f->guest.mapped.writable[0]; n++) {
        if (!is_stale(a->d, shadow_of(a->d, rmap_table(e))))
            return true;
        e = rmap_next(a->d->phys, e);
    }
    return false;
}

static void audit_guest_frame(struct auditor *a, mfn_t mfn)
{
    const struct frame *f = phys_frame(a->d->phys, mfn);

    for (unsigned level = 1; level <= LEAF_SIZES; level++)
        audit_leaf_lists(a, &f->guest.mapped, mfn, level);
    a->blocked += f->guest.mapped.blocked;
    if (frame_is_protected(a->d, f) && is_writable(a, f))
        violation(a, f->guest.guarded ? "S9: a guarded frame is mapped writable"
                                      : "S1: a table with a shadow is mapped writable");
    if (f->guest.guarded != guard_is_at(a->d, mfn))
        violation(a, "S9: a frame is under guard for nobody, or a guard is where none is");
    for (uint32_t s = f->guest.shadows; s != 0; s = a->d->phys->frame[s].shadow.next) {
        const struct frame *t = &a->d->phys->frame[s];

        if (!is_table(a, mfn_of(s)) || t->shadow.key != mfn.raw || t->shadow.state != SHADOW_LIVE) {
            violation(a, "S7: the chain of a table's shadows has a stranger");
            return;
        }
        struct role role = { t->shadow.format, t->shadow.level, t->shadow.view, t->shadow.part };

        if (f->guest.unsynced != is_unsynced(t) || (is_unsynced(t) && t->shadow.level != 1))
            violation(a,
                      "S2: a table is out of sync for some of its shadows, or is not a leaf table");
        if (!mfn_eq(shadow_find(a->d, mfn, role), mfn_of(s)))
            violation(a, "S7: two shadows of one table in the same role");
    }
}

/* ---- entries ---- */

/* What the guest's entry behind entry `index` of this shadow allows at most. */
static uint64_t allowed(const struct auditor *a, const struct frame *f, unsigned index,
                        pte_t *guest)
{
    const struct pt_mode *mode = mode_of(a->d, f->shadow.format, f->shadow.view);
    unsigned              theirs = index;

    if (f->shadow.format == PT_32)
        theirs = f->shadow.level == 1 ? (unsigned)f->shadow.part * 512 + index
                                      : (unsigned)f->shadow.part * 256 + index / 2;
    *guest = walk_read(a->d->phys, mode,
                       mfn_of(is_unsynced(f) ? f->shadow.snapshot : f->shadow.key), theirs);
    return rules_rights(mode, f->shadow.view, f->shadow.level, *guest, 0);
}

/* The guest's entry for this level is a page. */
static bool is_page(const struct auditor *a, const struct frame *f, pte_t guest)
{
    const struct pt_mode *mode = mode_of(a->d, f->shadow.format, f->shadow.view);
    unsigned              level = f->shadow.level;

    return level == 1 || (mode->level[level].may_leaf && pte_has(guest, PTE_PS));
}

/* The guest frame that entry `index` of a shadow maps first: of a page of 4 MiB one of its halves. */
static gfn_t page_gfn(const struct auditor *a, const struct frame *f, unsigned index, pte_t guest)
{
    const struct pt_mode *mode = mode_of(a->d, f->shadow.format, f->shadow.view);
    gfn_t                 gfn = gfn_of(pte_frame(guest));

    if (f->shadow.level == 1)
        return gfn;
    gfn = walk_large_gfn(mode, f->shadow.level, guest);
    return gfn_of(gfn.raw + (f->shadow.format == PT_32 ? (index & 1) * level_frames(2) : 0));
}

/* Under WP=0 an entry may have W instead of U: see rules.c. */
static bool exceeds(const struct auditor *a, const struct frame *f, pte_t ours, uint64_t rights,
                    pte_t guest)
{
    if (!(f->shadow.view & PT_VIEW_WP) && pte_has(ours, PTE_W) && !pte_has(ours, PTE_U))
        rights |= is_page(a, f, guest) && !pte_has(guest, PTE_D) ? 0 : PTE_W;
    return !(rights & PTE_P) || (ours.raw & ~rights & (PTE_W | PTE_U)) != 0 ||
           (rights & ~ours.raw & PTE_NX) != 0;
}

/* No guest can get at it: its entries may be old. */
static bool out_of_reach(const struct auditor *a, const struct frame *f)
{
    return f->shadow.state == SHADOW_DEAD || is_stale(a->d, f);
}

/* A frame of another domain, which this one may have borrowed: one record has all the leaves. */
static void audit_others_frame(struct auditor *a, mfn_t mfn)
{
    const struct frame  *f = phys_frame(a->d->phys, mfn);
    const struct borrow *found = NULL;

    for (const struct borrow *b = f->guest.borrows; b; b = b->next) {
        if (!mfn_eq(b->mfn, mfn) || (found && b->domain == a->d->id))
            violation(a, "B1: the chain of a borrowed frame has a stranger, or a domain twice");
        if (b->domain == a->d->id)
            found = b;
    }
    if (!found)
        return;
    for (unsigned level = 1; level <= LEAF_SIZES; level++)
        audit_leaf_lists(a, &found->mapped, mfn, level);
    a->blocked += found->mapped.blocked;
    for (const struct borrow *b = found->more; b; b = b->more)
        if (!mfn_eq(b->mfn, mfn) || b->domain != a->d->id || b->mapped.blocked ||
            (b->mapped.leaves[0][0] | b->mapped.leaves[0][1]) != 0)
            violation(a, "B1: leaves of a borrowed frame are where nobody looks for them");
}

/* A large leaf: one piece of memory, all of it the guest's, and nothing in it protected. */
static void audit_large(struct auditor *a, unsigned level, gfn_t gfn, pte_t ours)
{
    const struct phys *phys = a->d->phys;
    uint64_t           first = pte_frame(ours), frames = level_frames(level);

    if (level > (a->d->features.gb1 ? 3 : 2))
        violation(a, "S3: a leaf is larger than the processor has them");
    if (((gfn.raw | first) & (frames - 1)) != 0 || first + frames > phys->frames) {
        violation(a, "S3: a large leaf is not aligned");
        return;
    }
    if (p2m_find(&a->d->p2m, gfn).order < level_order(level))
        violation(a, "S3: a large leaf maps what is not one block of the p2m");
    for (uint64_t i = first; i < first + frames; i++) {
        const struct frame *f = &phys->frame[i];

        if (!is_guest(a, mfn_of(i)) || f->owner != a->d->id)
            violation(a, "S3: a large leaf maps a frame that is not the guest's");
        else if (f->guest.mapped.blocked)
            violation(a, "S3: a large leaf maps a frame that is being unmapped");
        else if (a->d->kind == PAGING_NESTED || !pte_has(ours, PTE_W))
            continue;
        else if (f->guest.shadows != 0)
            violation(a, "S1: a large leaf makes a table with a shadow writable");
        else if (f->guest.guarded)
            violation(a, "S9: a large leaf makes a guarded frame writable");
    }
}

/* The monitor's rights, and what is open beyond them. */
static void audit_rights(struct auditor *a, unsigned level, gfn_t gfn, pte_t ours)
{
    unsigned bits = access_bits(access_get(&a->d->access, gfn)) | permit_opened(a->d, gfn);
    unsigned allows = ACCESS_READ | (pte_has(ours, PTE_W) ? ACCESS_WRITE : 0u) |
                      (pte_has(ours, PTE_NX) ? 0u : ACCESS_FETCH);

    if (allows & ~bits)
        violation(a, "A1: a leaf allows what the monitor forbids");
    if (level > 1 && !access_is_uniform(&a->d->access, gfn, level_order(level)))
        violation(a, "A1: a large leaf maps frames with different rights");
}

static void audit_leaf(struct auditor *a, const struct frame *f, unsigned index, pte_t ours)
{
    mfn_t    mfn = mfn_of(pte_frame(ours));
    unsigned level = f->shadow.level;
    gfn_t    gfn = gfn_of(f->shadow.key + ((uint64_t)index << level_order(level)));
    uint64_t rights = PTE_P | PTE_W | PTE_U;

    if (!is_guest(a, mfn) || !mapped_of(a->d, phys_frame(a->d->phys, mfn))) {
        violation(a, "S3: a leaf maps a frame that is neither the guest's nor borrowed");
        return;
    }
    if (out_of_reach(a, f))
        return;
    if (f->shadow.format != PT_DIRECT) {
        pte_t guest;

        rights = allowed(a, f, index, &guest);
        gfn = page_gfn(a, f, index, guest);
        if (!is_page(a, f, guest))
            violation(a, "S3: a leaf stands for a table of the guest's");
        if (exceeds(a, f, ours, rights, guest))
            violation(a, "S3: a leaf allows what the guest's entry forbids");
    }
    struct p2m_entry p = p2m_get(&a->d->p2m, gfn);

    if (!mfn_eq(p.mfn, mfn))
        violation(a, "S3: a leaf maps another frame than the p2m says");
    if (p2m_is_rom(p.type) && pte_has(ours, PTE_W))
        violation(a, "S3: a leaf makes read-only memory writable");
    if (pte_has(ours, PTE_W) && (level > 1 ? a->d->dirty.on : dirty_must_see(a->d, mfn)))
        violation(a, "D1: log-dirty would miss the next write to a frame");
    if (a->d->access.active)
        audit_rights(a, level, gfn, ours);
    if (level > 1)
        audit_large(a, level, gfn, ours);
}

#define LINK_RIGHTS (PTE_W | PTE_U | PTE_NX)

/* The table that the entry must point at if it points at all. */
static bool child_right(const struct auditor *a, const struct frame *f, unsigned index,
                        const struct frame *child)
{
    unsigned level = f->shadow.level;
    pte_t    guest;

    if (child->shadow.level + 1u != level)
        return false;
    if (f->shadow.format == PT_DIRECT)
        return child->shadow.format == PT_DIRECT &&
               child->shadow.key == f->shadow.key + ((uint64_t)index << 9 * (level - 1));
    (void)allowed(a, f, index, &guest);
    if (is_page(a, f, guest))
        return child->shadow.format == PT_DIRECT &&
               child->shadow.key == page_gfn(a, f, index, guest).raw;
    struct p2m_entry p = p2m_get(&a->d->p2m, gfn_of(pte_frame(guest)));

    return child->shadow.format == f->shadow.format && child->shadow.view == f->shadow.view &&
           child->shadow.key == p.mfn.raw &&
           child->shadow.part == (f->shadow.format == PT_32 ? index & 1 : 0);
}

static void audit_child(struct auditor *a, const struct frame *f, unsigned index, pte_t ours)
{
    mfn_t table = mfn_of(pte_frame(ours));
    pte_t guest;

    if (!is_table(a, table) || shadow_of(a->d, table)->shadow.state != SHADOW_LIVE) {
        violation(a, "S5: an entry points at something that is not a live table");
        return;
    }
    if (out_of_reach(a, f))
        return;
    if (is_stale(a->d, shadow_of(a->d, table)))
        violation(a, "S8: an entry points at a table of an older generation");
    if (!child_right(a, f, index, shadow_of(a->d, table)))
        violation(a, "S3: an entry points at the wrong table");
    if (f->shadow.format != PT_DIRECT && exceeds(a, f, ours, allowed(a, f, index, &guest), guest))
        violation(a, "S3: an entry allows what the guest's entry forbids");
    if (shadow_of(a->d, table)->shadow.format != PT_DIRECT && (f->shadow.view & PT_VIEW_WP) &&
        !a->d->slots && ((ours.raw ^ allowed(a, f, index, &guest)) & LINK_RIGHTS) != 0)
        violation(a, "S10: a link forbids what the guest's entry allows");
}

static uint64_t references(struct auditor *a, mfn_t table)
{
    const struct frame *f = shadow_of(a->d, table);
    uint64_t parents = list_check(a, f->shadow.parents, (struct belongs){ .target = table });
    uint64_t n = parents + f->shadow.pinned + mfn_eq(table, a->d->direct) + is_unsynced(f);

    a->listed_children += parents;
    for (const struct paging_vcpu *v = a->d->vcpus; v; v = v->next)
        for (unsigned i = 0; i < PAGING_ROOTS; i++)
            for (unsigned t = 0; v->root[i].used && t < v->root[i].count; t++)
                n += mfn_eq(v->root[i].table[t], table);
    return n;
}

static void audit_table(struct auditor *a, mfn_t table)
{
    const struct frame *f = shadow_of(a->d, table);
    unsigned            used = 0;

    a->out->shadows++;
    for (unsigned i = 0; i < 512; i++) {
        pte_t e = entry_get(a->d, table, i);

        if (is_slot(a->d, f, i)) {
            if (((e.raw ^ a->d->slots[i - DIRECT_SLOT_FIRST].raw) & ~(PTE_A | PTE_D)) != 0)
                violation(a, "P3: the hypervisor's entries of a root of ours are not its own");
            continue;
        }
        if (!pte_has(e, PTE_P)) {
            if (e.raw != 0)
                violation(a, "S4: an absent entry is not empty");
            continue;
        }
        used++;
        a->out->entries++;
        if (pte_has(e, PTE_G))
            violation(a, "T1: an entry is global");
        if (entry_is_leaf(f->shadow.level, e)) {
            a->leaves[f->shadow.level - 1]++;
            audit_leaf(a, f, i, e);
        } else {
            a->children++;
            audit_child(a, f, i, e);
        }
    }
    if (used != f->shadow.used)
        violation(a, "S5: the count of used entries of a table is wrong");
    if (references(a, table) != f->shadow.refs)
        violation(a, "S5: the reference count of a table is wrong");
    if (f->shadow.state == SHADOW_LIVE && f->shadow.format != PT_DIRECT &&
        f->shadow.key != SHADOW_KEY_NONE) {
        struct role role = { f->shadow.format, f->shadow.level, f->shadow.view, f->shadow.part };

        if (!is_guest(a, mfn_of(f->shadow.key)) ||
            !mfn_eq(shadow_find(a->d, mfn_of(f->shadow.key), role), table))
            violation(a, "S7: a live shadow is not on the chain of its table");
    }
}

static void audit_empty(struct auditor *a, mfn_t mfn)
{
    const pte_t *entries = phys_ptr(a->d->phys, mfn);

    for (unsigned i = 0; i < 512; i++)
        if (!pte_eq(entries[i], PTE_EMPTY))
            violation(a, "S5: a free table that need not be cleared has entries");
}

static void audit_list(struct auditor *a, const struct shadow_list *list, bool idle)
{
    uint32_t count = 0, last = 0;

    for (uint32_t s = list->head; s != 0 && count <= list->count;
         s = a->d->phys->frame[s].shadow.list_next) {
        const struct frame *f = &a->d->phys->frame[s];

        last = s;
        count++;
        if (!is_table(a, mfn_of(s)) || !is_unsynced(f) ||
            idle != (f->shadow.idle || is_stale(a->d, f))) {
            violation(a, "S2: a list of tables out of sync has a stranger");
            return;
        }
    }
    if (count != list->count || last != list->tail)
        violation(a, "S2: a list of tables out of sync has another length or end");
}

static void audit_roots(struct auditor *a)
{
    if (!mfn_valid(a->d->direct) || is_stale(a->d, shadow_of(a->d, a->d->direct)))
        violation(a, "S8: the direct tree is of an older generation");
    for (const struct paging_vcpu *v = a->d->vcpus; v; v = v->next)
        for (unsigned i = 0; i < PAGING_ROOTS; i++)
            for (unsigned t = 0; v->root[i].used && t < v->root[i].count; t++)
                if (mfn_valid(v->root[i].table[t]) &&
                    is_stale(a->d, shadow_of(a->d, v->root[i].table[t])))
                    violation(a, "S8: a root is of an older generation");
}

/* Ways that are kept lead where our links do. */
static void audit_ways(struct auditor *a, const struct paging_vcpu *v)
{
    for (unsigned i = 0; i < PAGING_WAYS && way_tells_all(v); i++) {
        gva_t                    va = gva_of((v->way[i].block - 1) << WAY_SHIFT);
        const struct paging_way *way = v->way[i].block != 0 ? way_kept(v, va) : NULL;
        mfn_t                    table = v->root[v->current].table[0];
        uint64_t                 rights = PTE_W | PTE_U;

        for (unsigned l = 4; way && l > way->level; l--) {
            unsigned index = (unsigned)(va.raw >> (PAGE_SHIFT + 9 * (l - 1))) & 511;
            pte_t    e = entry_get(a->d, table, index);

            rights = walk_rights(rights, e);
            table = mfn_of(pte_frame(e));
        }
        if (way && (way->table != table.raw || way->rights != rights ||
                    shadow_of(a->d, table)->shadow.level != way->level))
            violation(a, "S10: a way that is kept leads elsewhere");
    }
}

/* Of every domain's, since a block may hold frames of several. */
static void audit_block_count(struct auditor *a, uint64_t block)
{
    const struct phys *phys = a->d->phys;
    unsigned           n = 0;

    for (uint64_t i = block * 512; i < block * 512 + 512 && i < phys->frames; i++)
        if (phys->frame[i].kind == FRAME_GUEST)
            n += (phys->frame[i].guest.shadows != 0 ? 1u : 0u) + phys->frame[i].guest.guarded;
    if (n != phys->watched[block])
        violation(a, "S1: the count of tables and guards in a block of 2 MiB is wrong");
}

static void audit_sums(struct auditor *a)
{
    for (unsigned i = 0; i < LEAF_SIZES; i++) {
        if (a->leaves[i] != a->listed_leaves[i])
            violation(a, "S6: leaves and the reverse map differ in number");
        if (a->leaves[i] != a->d->stats.leaves[i])
            violation(a, "S6: the count of leaves is wrong");
    }
    if (a->children != a->listed_children)
        violation(a, "S5: inner entries and the lists of parents differ in number");
    if (a->blocked != a->d->blocked)
        violation(a, "S3: the count of frames that are being unmapped is wrong");
}

void paging_audit(struct paging_locked p, struct audit *audit)
{
    struct auditor a = { .d = p.domain, .out = audit };

    audit_list(&a, &p.domain->unsynced, false);
    audit_list(&a, &p.domain->idle, true);
    audit_roots(&a);
    for (const struct paging_vcpu *v = p.domain->vcpus; v; v = v->next)
        audit_ways(&a, v);
    for (uint64_t i = 0; i < p.domain->phys->frames; i++) {
        const struct frame *f = &p.domain->phys->frame[i];

        if (f->kind == FRAME_GUEST && f->refs != 0 && f->owner != p.domain->id)
            audit_others_frame(&a, mfn_of(i));
        if (f->owner != p.domain->id)
            continue;
        if (f->kind == FRAME_GUEST || (f->kind >= FRAME_POOL && f->kind <= FRAME_SNAPSHOT))
            audit->frames++;
        if (f->kind == FRAME_GUEST)
            audit_guest_frame(&a, mfn_of(i));
        if (f->kind == FRAME_SHADOW)
            audit_table(&a, mfn_of(i));
        if (f->kind == FRAME_POOL && f->free.zero)
            audit_empty(&a, mfn_of(i));
    }
    for (uint64_t i = 0; i < phys_blocks(p.domain->phys->frames); i++)
        audit_block_count(&a, i);
    audit_sums(&a);
}
