/*
 * The audit: recomputes the invariants of doc/model.md from the tables themselves.
 *
 * Lists and entries are compared from both sides: every element of a list must be an entry
 * that belongs on it, and the lists together must be as long as there are entries. So each
 * entry is on its list exactly once.
 */
#include "shadow.h"

struct auditor {
    struct paging_domain *d;
    struct audit         *out;
    uint64_t              leaves, children; /* entries found in tables */
    uint64_t              listed_leaves, listed_children;
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

/* Length of a list whose elements must all satisfy the rest: point at `target`, and W as said. */
static uint64_t list_check(struct auditor *a, rmap_t head, mfn_t target, bool leaf, bool large,
                           bool writable)
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

        if (!pte_has(entry, PTE_P) || pte_frame(entry) != target.raw ||
            entry_is_leaf(level, entry) != leaf || (leaf && large != (level > 1)) ||
            (leaf && pte_has(entry, PTE_W) != writable))
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

static void audit_guest_frame(struct auditor *a, mfn_t mfn)
{
    const struct frame *f = phys_frame(a->d->phys, mfn);
    uint64_t            writable = list_check(a, f->guest.leaves[1], mfn, true, false, true);

    a->listed_leaves += writable + list_check(a, f->guest.leaves[0], mfn, true, false, false) +
                        list_check(a, f->guest.large[0], mfn, true, true, false) +
                        list_check(a, f->guest.large[1], mfn, true, true, true);
    if (writable != f->guest.writable || writable > RMAP_WRITABLE_MAX)
        violation(a, "S6: the count of writable leaves of a frame is wrong");
    if (f->guest.shadows != 0 && !f->guest.unsynced &&
        (f->guest.leaves[1] != 0 || f->guest.large[1] != 0))
        violation(a, "S1: a table with a shadow is mapped writable");
    if (f->guest.guarded && (f->guest.leaves[1] != 0 || f->guest.large[1] != 0))
        violation(a, "S9: a guarded frame is mapped writable");
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

/* Under WP=0 an entry may have W instead of U: see rules.c. */
static bool exceeds(const struct frame *f, pte_t ours, uint64_t rights, pte_t guest)
{
    if (!(f->shadow.view & PT_VIEW_WP) && pte_has(ours, PTE_W) && !pte_has(ours, PTE_U))
        rights |= f->shadow.level == 1 && !pte_has(guest, PTE_D) ? 0 : PTE_W;
    return !(rights & PTE_P) || (ours.raw & ~rights & (PTE_W | PTE_U)) != 0 ||
           (rights & ~ours.raw & PTE_NX) != 0;
}

/* No guest can get at it: its entries may be old. */
static bool out_of_reach(const struct auditor *a, const struct frame *f)
{
    return f->shadow.state == SHADOW_DEAD || is_stale(a->d, f);
}

static void audit_leaf(struct auditor *a, const struct frame *f, unsigned index, pte_t ours)
{
    mfn_t    mfn = mfn_of(pte_frame(ours));
    gfn_t    gfn = gfn_of(f->shadow.key + index);
    uint64_t rights = PTE_P | PTE_W | PTE_U;

    if (!is_guest(a, mfn)) {
        violation(a, "S3: a leaf maps a frame that is not the guest's");
        return;
    }
    if (out_of_reach(a, f))
        return;
    if (f->shadow.format != PT_DIRECT) {
        pte_t guest;

        rights = allowed(a, f, index, &guest);
        gfn = gfn_of(pte_frame(guest));
        if (exceeds(f, ours, rights, guest))
            violation(a, "S3: a leaf allows what the guest's entry forbids");
    }
    struct p2m_entry p = p2m_get(&a->d->p2m, gfn);

    if (!mfn_eq(p.mfn, mfn))
        violation(a, "S3: a leaf maps another frame than the p2m says");
    if (p.type == P2M_ROM && pte_has(ours, PTE_W))
        violation(a, "S3: a leaf makes read-only memory writable");
}

/* The table that the entry must point at if it points at all. */
static bool child_right(const struct auditor *a, const struct frame *f, unsigned index,
                        const struct frame *child)
{
    const struct pt_mode *mode = mode_of(a->d, f->shadow.format, f->shadow.view);
    unsigned              level = f->shadow.level;
    pte_t                 guest;

    if (child->shadow.level + 1u != level)
        return false;
    if (f->shadow.format == PT_DIRECT)
        return child->shadow.format == PT_DIRECT &&
               child->shadow.key == f->shadow.key + ((uint64_t)index << 9 * (level - 1));
    (void)allowed(a, f, index, &guest);
    if (mode->level[level].may_leaf && pte_has(guest, PTE_PS)) {
        uint64_t gfn = walk_large_gfn(mode, level, guest).raw;

        if (f->shadow.format == PT_32)
            gfn += (uint64_t)(index & 1) << 9;
        return child->shadow.format == PT_DIRECT && child->shadow.key == gfn;
    }
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
    if (f->shadow.format != PT_DIRECT && exceeds(f, ours, allowed(a, f, index, &guest), guest))
        violation(a, "S3: an entry allows what the guest's entry forbids");
}

static uint64_t references(struct auditor *a, mfn_t table)
{
    const struct frame *f = shadow_of(a->d, table);
    uint64_t            parents = list_check(a, f->shadow.parents, table, false, false, false);
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
            a->leaves++;
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

void paging_audit(struct paging_locked p, struct audit *audit)
{
    struct auditor a = { .d = p.domain, .out = audit };

    audit_list(&a, &p.domain->unsynced, false);
    audit_list(&a, &p.domain->idle, true);
    audit_roots(&a);
    for (uint64_t i = 0; i < p.domain->phys->frames; i++) {
        const struct frame *f = &p.domain->phys->frame[i];

        if (f->owner != p.domain->id)
            continue;
        if (f->kind == FRAME_GUEST || (f->kind >= FRAME_POOL && f->kind <= FRAME_SNAPSHOT))
            audit->frames++;
        if (f->kind == FRAME_GUEST)
            audit_guest_frame(&a, mfn_of(i));
        if (f->kind == FRAME_SHADOW)
            audit_table(&a, mfn_of(i));
    }
    if (a.leaves != a.listed_leaves)
        violation(&a, "S6: leaves and the reverse map differ in number");
    if (a.children != a.listed_children)
        violation(&a, "S5: inner entries and the lists of parents differ in number");
    if (a.leaves != p.domain->stats.leaves)
        violation(&a, "S6: the count of leaves is wrong");
}
