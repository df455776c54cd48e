/*
 * What the monitor permits: its rights (access.h), asked for an access of the guest, and changed.
 *
 *   the tables that the walk has read: READ   ──┐
 *   those that get A or D: WRITE                ├─ missing ──► VERDICT_ACCESS, nothing has happened
 *   the frame itself: READ, WRITE or FETCH    ──┘
 *
 * Our entries say what the hardware can (rules.c). A frame that may not be read cannot be mapped at
 * all; and nested tables cannot tell a processor that walks the guest's tables from one that writes
 * them. There the frame is opened for one instruction, and closed when it is done: how the frame was
 * before says whether the walk has written.
 */
#include "shadow.h"

static unsigned needed(unsigned acc)
{
    if (acc & ACC_FETCH)
        return ACCESS_FETCH;
    return acc & ACC_WRITE ? ACCESS_WRITE : ACCESS_READ;
}

/* Gives one frame rights of its own. False: it must stop, or there is no memory. */
static bool set_one(struct change *c, gfn_t gfn, enum access_type type)
{
    struct p2m_entry e = p2m_get(&c->d->p2m, gfn);
    bool             full;

    if (mfn_valid(e.mfn) && !shadow_unmap(c, e.mfn))
        return false;
    return shadow_reserve(c, ACCESS_PAIRS) &&
           access_set(&c->d->access, gfn, 1, type, 1, &full) == 1;
}

/* Does the access need rights that the frame has not, nor gets by it? Then *refusal says what is to be done. */
static bool is_refused(struct change *c, gfn_t gfn, unsigned offset, unsigned need, bool walk,
                       struct verdict *refusal)
{
    enum access_type type = access_get(&c->d->access, gfn);
    unsigned         missing = need & ~access_bits(type);

    if (missing == 0)
        return false;
    if (type == ACCESS_RX2RW && missing == ACCESS_WRITE)
        return false;
    if (type == ACCESS_N2RWX && !set_one(c, gfn, ACCESS_ALL)) {
        *refusal = verdict_unready(c);
        return true;
    }
    *refusal = verdict_of(c, VERDICT_ACCESS);
    refusal->gpa = gfn.raw << PAGE_SHIFT | offset;
    refusal->refused = (uint8_t)missing;
    refusal->in_walk = walk;
    refusal->promoted = type == ACCESS_N2RWX;
    return true;
}

/* The guest frame of the table that a walk has read at this level; GFN_NONE for latched entries. */
static gfn_t table_gfn(const struct paging_vcpu *v, const struct walk *w, unsigned level)
{
    if (!mfn_valid(w->step[level].table))
        return GFN_NONE;
    if (level == v->mode.levels)
        return gfn_of((v->regs.cr3 & PTE_FRAME) >> PAGE_SHIFT);
    return gfn_of(pte_frame(w->step[level + 1].entry));
}

/* The same for all tables of the walk, from the root down; `marks`: that get A or D, not that are read. */
static bool are_tables_refused(struct change *c, const struct paging_vcpu *v, const struct walk *w,
                               unsigned acc, bool marks, struct verdict *refusal)
{
    for (unsigned l = v->mode.levels; l >= w->level && l > 0; l--) {
        gfn_t    gfn = table_gfn(v, w, l);
        unsigned offset = w->step[l].index * v->mode.entry_bytes;

        if (gfn_eq(gfn, GFN_NONE) || (marks && walk_missing(w, l, acc) == 0))
            continue;
        if (is_refused(c, gfn, offset, marks ? ACCESS_WRITE : ACCESS_READ, true, refusal))
            return true;
    }
    return false;
}

/* The access writes there and nothing refuses it: what the frame's rights become by that. False: not now. */
static bool note_write(struct change *c, gfn_t gfn, struct verdict *verdict)
{
    if (access_get(&c->d->access, gfn) != ACCESS_RX2RW ||
        set_one(c, gfn, ACCESS_READ | ACCESS_WRITE))
        return true;
    *verdict = verdict_unready(c);
    return false;
}

/* The same for the tables that get A or D. */
static bool note_marks(struct change *c, const struct paging_vcpu *v, const struct walk *w,
                       unsigned acc, struct verdict *verdict)
{
    for (unsigned l = v->mode.levels; l >= w->level && l > 0; l--) {
        gfn_t gfn = table_gfn(v, w, l);

        if (!gfn_eq(gfn, GFN_NONE) && walk_missing(w, l, acc) != 0 && !note_write(c, gfn, verdict))
            return false;
    }
    return true;
}

/* ---- opened for one instruction ---- */

unsigned permit_opened(const struct paging_domain *d, gfn_t gfn)
{
    for (unsigned i = 0; i < d->open.count; i++)
        if (gfn_eq(d->open.frame[i].gfn, gfn))
            return d->open.frame[i].bits;
    return 0;
}

static struct paging_open *open_of(struct paging_domain *d, gfn_t gfn)
{
    for (unsigned i = 0; i < d->open.count; i++)
        if (gfn_eq(d->open.frame[i].gfn, gfn))
            return &d->open.frame[i];
    if (d->open.count == PAGING_OPEN)
        return NULL;
    d->open.frame[d->open.count] = (struct paging_open){ .gfn = gfn };
    return &d->open.frame[d->open.count++];
}

/* How the frame is before a processor that walks it may write it. */
static void copy_frame(struct paging_domain *d, struct paging_open *o, mfn_t mfn)
{
    mfn_t copy = pool_single(&d->pool, FRAME_SNAPSHOT);

    o->copy = (uint32_t)copy.raw;
    __builtin_memcpy(phys_ptr(d->phys, copy), phys_ptr(d->phys, mfn), PAGE_SIZE);
}

bool permit_open(struct change *c, const struct paging_vcpu *v, const struct fault *f, gfn_t gfn,
                 mfn_t mfn, struct verdict *verdict)
{
    struct paging_domain *d = c->d;
    unsigned              bits = access_bits(access_get(&d->access, gfn));
    unsigned              wanted = ACCESS_READ | (f->acc & ACC_WALK ? ACCESS_WRITE : 0);
    struct paging_open   *o;

    if (v->excused)
        wanted |= needed(f->acc);

    if ((wanted & ~bits) == 0)
        return true;
    *verdict = verdict_of(c, VERDICT_RETRY);
    if (d->open.count != 0 && d->open.by != v) { /* another one's instruction comes first */
        verdict->again = true;
        return false;
    }
    if (!shadow_reserve(c, 1)) {
        *verdict = verdict_unready(c);
        return false;
    }
    d->open.by = v;
    o = open_of(d, gfn);
    if (!o) {
        verdict->kind = VERDICT_CRASH;
        verdict->why = "one instruction needs more frames than can be opened to it at a time";
        return false;
    }
    o->bits |= (uint8_t)(wanted & ~bits);
    if ((o->bits & ACCESS_WRITE) && o->copy == 0 && !v->excused) {
        o->offset = (uint16_t)(f->va.raw & PAGE_MASK);
        copy_frame(d, o, mfn);
    }
    return true;
}

static void close_last(struct paging_domain *d)
{
    uint32_t copy = d->open.frame[--d->open.count].copy;

    if (copy != 0)
        pool_put_single(&d->pool, mfn_of(copy));
}

/* Has the walk written to the frame? */
static bool is_changed(const struct paging_domain *d, const struct paging_open *o, mfn_t mfn)
{
    const uint64_t *then, *now;

    if (o->copy == 0 || !mfn_valid(mfn))
        return false;
    then = phys_ptr(d->phys, mfn_of(o->copy));
    now = phys_ptr(d->phys, mfn);
    for (unsigned i = 0; i < PAGE_SIZE / sizeof(*now); i++)
        if (then[i] != __atomic_load_n(&now[i], __ATOMIC_RELAXED))
            return true;
    return false;
}

struct verdict paging_step_done(struct paging_locked p, const struct paging_vcpu *v)
{
    struct paging_domain *d = p.domain;
    struct change         c = { .d = d };
    struct verdict        verdict;

    if (d->open.count == 0 || d->open.by != v)
        return verdict_of(&c, VERDICT_RETRY);
    const struct paging_open *o = &d->open.frame[d->open.count - 1];
    mfn_t                     mfn = p2m_get(&d->p2m, o->gfn).mfn;
    bool                      changed = is_changed(d, o, mfn);

    if (changed && access_get(&d->access, o->gfn) == ACCESS_RX2RW) {
        if (!set_one(&c, o->gfn, ACCESS_READ | ACCESS_WRITE))
            return verdict_unready(&c);
        changed = false;
    }
    if (mfn_valid(mfn) && !shadow_unmap(&c, mfn))
        return verdict_of(&c, VERDICT_RETRY);
    verdict = verdict_of(&c, changed ? VERDICT_ACCESS : VERDICT_RETRY);
    verdict.gpa = o->gfn.raw << PAGE_SHIFT | o->offset;
    verdict.refused = changed ? ACCESS_WRITE : o->bits;
    verdict.in_walk = verdict.promoted = changed;
    close_last(d);
    verdict.again = d->open.count != 0;
    return verdict;
}

void permit_close_all(struct paging_domain *d)
{
    while (d->open.count > 0)
        close_last(d);
}

/* ---- what an access needs ---- */

bool permit(struct change *c, const struct paging_vcpu *v, const struct fault *f,
            const struct walk *w, struct verdict *verdict)
{
    unsigned         offset = (unsigned)(f->va.raw & PAGE_MASK);
    bool             walk = f->acc & ACC_WALK;
    struct p2m_entry e;

    if (v->excused)
        return true;
    if (are_tables_refused(c, v, w, f->acc, false, verdict))
        return false;
    if (w->status != WALK_OK)
        return true;
    if (are_tables_refused(c, v, w, f->acc, true, verdict))
        return false;
    e = p2m_get(&c->d->p2m, w->gfn);
    if (p2m_is_memory(e.type) &&
        is_refused(c, w->gfn, offset, walk ? ACCESS_READ : needed(f->acc), walk, verdict))
        return false;
    return note_marks(c, v, w, f->acc, verdict) &&
           (!p2m_is_memory(e.type) || walk || needed(f->acc) != ACCESS_WRITE ||
            note_write(c, w->gfn, verdict));
}

/* ---- the monitor changes them ---- */

#define ONE_BY_ONE 64  /* frames; for more it is cheaper to take everything back at once */
#define STEPS      128 /* of the tree in one call: 4 GiB */

enum access_type paging_access_get(struct paging_locked p, gfn_t gfn)
{
    return access_get(&p.domain->access, gfn);
}

struct verdict paging_access_default(struct paging_locked p, enum access_type type)
{
    struct access *a = &p.domain->access;
    struct verdict verdict = { .kind = VERDICT_RETRY };

    if (access_bits((enum access_type)a->fallback) & ~access_bits(type)) {
        verdict = paging_blow(p);
        if (verdict.kind != VERDICT_RETRY || verdict.again)
            return verdict;
    }
    access_set_default(a, type);
    return verdict;
}

struct verdict paging_access_set(struct paging_locked p, gfn_t first, uint64_t count,
                                 enum access_type type, uint64_t *done)
{
    struct paging_domain *d = p.domain;
    struct change         c = { .d = d };
    struct verdict        verdict;
    bool                  full = false;

    for (*done = 0; *done < count && count <= ONE_BY_ONE; ++*done)
        if (!set_one(&c, gfn_of(first.raw + *done), type))
            return verdict_unready(&c);
    if (count <= ONE_BY_ONE)
        return verdict_of(&c, VERDICT_RETRY);
    verdict = paging_blow(p);
    if (verdict.kind != VERDICT_RETRY || verdict.again)
        return verdict;
    *done = access_set(&d->access, first, count, type, STEPS, &full);
    c.flush = verdict.flush;
    if (full && !shadow_reserve(&c, ACCESS_PAIRS))
        return verdict_unready(&c);
    verdict.again = *done < count;
    return verdict;
}
