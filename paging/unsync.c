/*
 * Tables out of sync.
 *
 * A leaf table that the guest writes again and again is made writable for it: its shadow then
 * says what the table said before, which is what a TLB may do until the guest flushes. A copy
 * of the table (snapshot) is kept; when the guest flushes an address that goes through the
 * table, or everything, the table is protected again, compared with the copy, and what has
 * changed is carried over (resync).
 *
 *   in sync ── written often ──► out of sync ── flush ──► in sync
 *                                     │ a full flush with many of them
 *                                     ▼
 *                                   idle: unlinked from its parents, so that nobody can use it;
 *                                   the fault that needs it synchronises it first
 *
 * With the generation of our tables (blow.c) all become idle; each knows by its own generation.
 *
 * A table out of sync has one shadow (the two halves of a 32-bit table count as one), at level
 * 1. Its list holds a reference on the shadow.
 */
#include "leaf.h"
#include "words.h"

/* Tables that a full flush compares; what is beyond is unlinked, which is cheaper. */
#define RESYNC_AT_ONCE 16

/* All its shadows are leaf tables in one role; there are two for a 32-bit table. */
static bool may_go(const struct paging_domain *d, const struct frame *guest)
{
    const struct frame *a = &d->phys->frame[guest->guest.shadows];

    if (guest->guest.shadows == 0 || guest->guest.unsynced || a->shadow.level != 1 ||
        is_stale(d, a))
        return false;
    if (a->shadow.next == 0)
        return true;
    const struct frame *b = &d->phys->frame[a->shadow.next];

    return a->shadow.format == PT_32 && b->shadow.format == PT_32 && b->shadow.level == 1 &&
           a->shadow.view == b->shadow.view && b->shadow.next == 0 && !is_stale(d, b);
}

/*
 * It pays when the vCPU's last event was a write to another entry of the same table, or if
 * more than one entry had changed when the table was last synchronised. A copy-on-write is
 * not such a case: it clears and sets one entry.
 */
bool unsync_wanted(const struct paging_vcpu *v, mfn_t guest, unsigned offset)
{
    const struct paging_domain *d = v->domain;
    const struct frame         *f = phys_frame(d->phys, guest);

    if (!may_go(d, f))
        return false;
    return d->phys->frame[f->guest.shadows].shadow.busy ||
           (v->last_write.event + 1 == v->events && mfn_eq(v->last_write.mfn, guest) &&
            v->last_write.offset / v->mode.entry_bytes != offset / v->mode.entry_bytes);
}

static void snapshot(struct paging_domain *d, mfn_t guest, mfn_t shadow, mfn_t copy)
{
    struct frame *f = shadow_of(d, shadow);

    /* Protected until now, so nobody writes it meanwhile. */
    __builtin_memcpy(phys_ptr(d->phys, copy), phys_ptr(d->phys, guest), PAGE_SIZE);
    f->shadow.snapshot = (uint32_t)copy.raw;
    f->shadow.refs++;
    list_push(d->phys, &d->unsynced, shadow);
    d->stats.unsynced++;
}

void unsync(struct change *c, mfn_t guest)
{
    struct paging_domain *d = c->d;
    struct frame         *f = phys_frame(d->phys, guest);

    if (pool_free_frames(&d->pool) < 2) {
        (void)!shadow_drop(c, guest); /* what is left of them follows each write, as before */
        return;
    }
    for (uint32_t s = f->guest.shadows; s != 0; s = d->phys->frame[s].shadow.next)
        snapshot(d, guest, mfn_of(s), pool_single(&d->pool, FRAME_SNAPSHOT));
    f->guest.unsynced = 1;
}

void unsync_note(const struct paging_domain *d, mfn_t shadow, unsigned index, pte_t e)
{
    const struct frame *f = shadow_of(d, shadow);
    void               *copy;

    if (!is_unsynced(f))
        return;
    copy = phys_ptr(d->phys, mfn_of(f->shadow.snapshot));
    if (f->shadow.format == PT_32)
        ((uint32_t *)copy)[index] = (uint32_t)e.raw;
    else
        ((uint64_t *)copy)[index] = e.raw;
}

/* The reference of the list goes as well. */
void unsync_forget(struct change *c, mfn_t shadow)
{
    struct paging_domain *d = c->d;
    struct frame         *f = shadow_of(d, shadow);

    list_remove(d->phys, f->shadow.idle || is_stale(d, f) ? &d->idle : &d->unsynced, shadow);
    pool_put_single(&d->pool, mfn_of(f->shadow.snapshot));
    f->shadow.snapshot = 0;
    f->shadow.idle = 0;
    shadow_put(c, shadow);
}

#define COMPARE_WORK 4 /* looking at all words takes as long as changing so many entries */

/* The guest's memory may change at any moment: each word is read once, and whole. */
static inline uint64_t word_of(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* A shadow that is compared with its copy. */
struct comparison {
    struct leaf_table t;
    const uint64_t   *now, *then; /* a word is one wide entry, or two narrow ones */
    unsigned          from, words;
};

static struct comparison comparison_of(const struct paging_domain *d, mfn_t shadow)
{
    const struct frame *f = shadow_of(d, shadow);
    bool                narrow = f->shadow.format == PT_32;

    return (struct comparison){
        .t = leaf_table_of(d, shadow),
        .now = phys_ptr(d->phys, mfn_of(f->shadow.key)),
        .then = phys_ptr(d->phys, mfn_of(f->shadow.snapshot)),
        .from = narrow ? f->shadow.part * 256u : 0,
        .words = narrow ? 256 : 512,
    };
}

/* A group of words of a table with narrow entries. */
static bool carry_over_narrow(struct change *c, const struct comparison *p, unsigned first,
                              unsigned *changed)
{
    for (unsigned k = first; k < first + WORDS_AT_ONCE; k++) {
        unsigned before = c->work;

        if (word_of(p->now + k) == p->then[k])
            continue;
        if (must_stop(c))
            return false;
        sync_entry(c, rmap_table(p->t.first), 2 * k);
        sync_entry(c, rmap_table(p->t.first), 2 * k + 1);
        c->work += c->work == before; /* even if our entries say the same */
        ++*changed;
    }
    return true;
}

/* Follows what differs from the copy in a group of words, which then says the same; false: it must stop. */
static bool carry_over(struct change *c, const struct comparison *p, unsigned first,
                       unsigned *changed)
{
    unsigned end = first + WORDS_AT_ONCE;

    if (p->t.f->shadow.format == PT_32)
        return carry_over_narrow(c, p, first, changed);
    return leaf_carry_over(c, &p->t, first, end, changed) == end || !must_stop(c);
}

/* Carries over the entries of one shadow that differ from the copy; false: not all of them yet. */
static bool compare(struct change *c, mfn_t shadow, unsigned *changed)
{
    const struct comparison p = comparison_of(c->d, shadow);
    unsigned                end = p.from + p.words;

    c->work += COMPARE_WORK;
    for (unsigned i = p.from; (i = words_differ(p.now, p.then, i, end)) < end; i += WORDS_AT_ONCE)
        if (!carry_over(c, &p, i, changed))
            return false;
    return true;
}

/*
 * A guest's kernel maps the pages around one that is touched with it, and most of those entries are
 * used soon. What is followed now need not be when the table is synchronised.
 */
void unsync_catch_up(struct change *c, mfn_t shadow, unsigned index)
{
    const struct comparison p = comparison_of(c->d, shadow);
    unsigned                word = p.t.f->shadow.format == PT_32 ? index / 2 : index;
    unsigned                changed = 0;

    (void)!carry_over(c, &p, word & ~(WORDS_AT_ONCE - 1u), &changed);
}

static bool compare_all(struct change *c, const struct frame *guest)
{
    struct paging_domain *d = c->d;
    bool                  done = true;

    for (uint32_t s = guest->guest.shadows; done && s != 0; s = d->phys->frame[s].shadow.next) {
        unsigned changed = 0;

        if (!is_unsynced(&d->phys->frame[s]) || is_stale(d, &d->phys->frame[s]))
            continue;
        done = compare(c, mfn_of(s), &changed);
        d->phys->frame[s].shadow.busy = changed > 1;
        d->stats.changed += changed;
    }
    return done;
}

/*
 * Nothing writes the table any more once its protection is flushed; nobody runs until it is.
 * When it must stop in the middle, the table stays out of sync: the rest differs from the copy
 * as before.
 */
bool resync(struct change *c, mfn_t guest)
{
    struct paging_domain *d = c->d;
    struct frame         *f = phys_frame(d->phys, guest);

    if (must_stop(c))
        return false;
    shadow_protect(c, guest);
    f->guest.unsynced = 0; /* no entry that is carried over may be writable */
    if (!compare_all(c, f)) {
        f->guest.unsynced = 1;
        return false;
    }
    for (uint32_t s = f->guest.shadows, next; s != 0; s = next) {
        struct frame *shadow = &d->phys->frame[s];

        shadow->shadow.refs++; /* stays on the chain until we have read its successor */
        if (is_unsynced(shadow))
            unsync_forget(c, mfn_of(s));
        next = shadow->shadow.next;
        shadow_put(c, mfn_of(s));
    }
    d->stats.synced++;
    return true;
}

/* Nobody can use what no entry points at: it may stay as it is. */
static bool make_idle(struct change *c, mfn_t shadow)
{
    struct paging_domain *d = c->d;

    if (!shadow_unlink(c, shadow))
        return false;
    list_remove(d->phys, &d->unsynced, shadow);
    shadow_of(d, shadow)->shadow.idle = 1;
    list_push(d->phys, &d->idle, shadow);
    return true;
}

void unsync_blow(struct paging_domain *d)
{
    struct shadow_list *list = &d->unsynced;

    if (list->head == 0)
        return;
    d->phys->frame[list->tail].shadow.list_next = d->idle.head;
    if (d->idle.head != 0)
        d->phys->frame[d->idle.head].shadow.list_prev = list->tail;
    else
        d->idle.tail = list->tail;
    d->idle.head = list->head;
    d->idle.count += list->count;
    *list = (struct shadow_list){ 0 };
}

bool unsync_idle_all(struct change *c)
{
    while (c->d->unsynced.head != 0)
        if (!make_idle(c, mfn_of(c->d->unsynced.head)))
            return false;
    return true;
}

bool resync_all(struct change *c)
{
    struct paging_domain *d = c->d;

    for (unsigned n = 0; d->unsynced.head != 0; n++) {
        mfn_t shadow = mfn_of(d->unsynced.head);

        if (n == RESYNC_AT_ONCE)
            return unsync_idle_all(c);
        if (!resync(c, mfn_of(shadow_of(d, shadow)->shadow.key)))
            return false;
    }
    return true;
}
