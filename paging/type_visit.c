/*
 * Going through the entries of a table that is validated or taken down, and of a page of segment
 * descriptors: doc/direct.md, "The machine".
 *
 * The table is busy: but for A and D, which processors set, nobody else changes its entries. Leaf
 * tables have a loop of their own, since nearly all entries are theirs.
 */
#include "direct_wide.h"
#include "type_words.h"
#include "type_work.h"

static bool must_stop(const struct direct_vcpu *v)
{
    return v->progress && v->budget == 0;
}

static void count_entry(struct direct_vcpu *v)
{
    v->progress = true;
    if (v->budget > 0)
        v->budget--;
}

/* Entries from an aligned one that are looked at together: where all are empty, they count as one. */
#define EMPTY_MANY 32u
#define EMPTY_FEW  8u

struct few {
    uint64_t entry[EMPTY_FEW];
};

/* What any of a few entries has. One instruction each, since there are so many of them. */
static inline uint64_t any_of_few(const uint64_t *entry)
{
    uint64_t any;

    __asm__("mov (%1), %0\n\t"
            "or 8(%1), %0\n\t"
            "or 16(%1), %0\n\t"
            "or 24(%1), %0\n\t"
            "or 32(%1), %0\n\t"
            "or 40(%1), %0\n\t"
            "or 48(%1), %0\n\t"
            "or 56(%1), %0"
            : "=&r"(any)
            : "r"(entry), "m"(*(const struct few *)(const void *)entry));
    return any;
}

static inline bool is_empty(const uint64_t *entry)
{
    return __atomic_load_n(entry, __ATOMIC_RELAXED) == 0;
}

static inline bool are_many_empty(const uint64_t *entry)
{
    return (any_of_few(entry) | any_of_few(entry + EMPTY_FEW) | any_of_few(entry + 2 * EMPTY_FEW) |
            any_of_few(entry + 3 * EMPTY_FEW)) == 0;
}

_Static_assert(EMPTY_MANY == WIDE_ENTRIES, "counted alike");

/*
 * Of at most so many groups from this one on, upwards or downwards, how many are empty one behind the other. Each
 * costs one of the budget.
 */
static unsigned skip_many(struct direct_vcpu *v, const uint64_t *entry, unsigned groups,
                          bool is_down)
{
    unsigned most = groups < v->budget ? groups : v->budget, empty = 0;

    if (v->domain->machine->wide) {
        empty = wide_empty(entry, most, is_down);
    } else {
        while (empty < most &&
               are_many_empty(is_down ? entry - empty * EMPTY_MANY : entry + empty * EMPTY_MANY))
            empty++;
    }
    v->budget -= empty;
    return empty;
}

/* The first that is not empty from `at` on, as far as the budget goes. */
static inline unsigned skip_up(struct direct_vcpu *v, const uint64_t *entry, unsigned at)
{
    unsigned end = (at | (EMPTY_MANY - 1)) + 1;

    while (at % EMPTY_FEW != 0 && is_empty(entry + at))
        at++;
    if (at % EMPTY_FEW != 0)
        return at;
    while (at < end && any_of_few(entry + at) == 0)
        at += EMPTY_FEW;
    if (at == end)
        return at +
               EMPTY_MANY * skip_many(v, entry + at, (DIRECT_ENTRIES - at) / EMPTY_MANY, false);
    while (at < end && is_empty(entry + at))
        at++;
    return at;
}

/* The same downwards: the first below which something is. */
static inline unsigned skip_down(struct direct_vcpu *v, const uint64_t *entry, unsigned at)
{
    unsigned end = (at - 1) & ~(EMPTY_MANY - 1);

    while (at % EMPTY_FEW != 0 && is_empty(entry + at - 1))
        at--;
    if (at % EMPTY_FEW != 0)
        return at;
    while (at > end && any_of_few(entry + at - EMPTY_FEW) == 0)
        at -= EMPTY_FEW;
    if (at == end && at != 0)
        return at - EMPTY_MANY * skip_many(v, entry + at - EMPTY_MANY, at / EMPTY_MANY, true);
    while (at > end && is_empty(entry + at - 1))
        at--;
    return at;
}

static void store_descriptor(const struct direct_machine *m, mfn_t table, unsigned index,
                             uint64_t descriptor)
{
    uint64_t *at = &table_entry(m, table, index)->raw;

    if (__atomic_exchange_n(at, descriptor, __ATOMIC_SEQ_CST) != descriptor)
        dirty_note(m->phys, table);
}

static void visit_segments(struct direct_vcpu *v, struct type_level *t)
{
    const struct direct_machine *m = v->domain->machine;

    while (t->cursor < 2 * DIRECT_ENTRIES && !must_stop(v)) {
        unsigned index = t->cursor % DIRECT_ENTRIES;
        uint64_t descriptor = table_read(m, t->table, index).raw;

        count_entry(v);
        if (!descriptor_ok(descriptor)) {
            v->error = DIRECT_INVALID;
            t->down = true;
            return;
        }
        /* Only the second pass changes anything: nothing is refused any more. */
        if (t->cursor >= DIRECT_ENTRIES)
            store_descriptor(m, t->table, index, descriptor_adjusted(descriptor));
        t->cursor++;
    }
    if (t->cursor == 2 * DIRECT_ENTRIES)
        v->phase = PHASE_UP;
}

static void get_entry(struct direct_vcpu *v, struct type_level *t, const struct entry_need *need)
{
    struct type_job job = {
        .want = need->want,
        .level = t->kind,
        .mfn = need->mfn,
        .parent = t->table,
        .owner = v->request.owner->id,
        .writable = need->writable,
        .general = t->half,
    };

    t->half = false;
    work_get(v, job);
}

static void put_entry(struct direct_vcpu *v, const struct type_level *t, mfn_t mfn,
                      enum pending_mode mode)
{
    work_put(v, (struct direct_pending){
                    .mfn = mfn, .mode = (uint8_t)mode, .parent = t->table, .level = t->kind });
}

enum direct_error entry_error(const struct direct_vcpu *v, const struct entry_need *need)
{
    struct direct_domain *d = v->request.owner;

    if (need->error != DIRECT_L1TF || !d->shadowed)
        return need->error;
    __atomic_store_n(&d->leaky, true, __ATOMIC_SEQ_CST);
    return DIRECT_OK;
}

/* An entry has its references: it is stored as adjusted. */
static inline void adjust(const struct direct_machine *m, mfn_t table, uint8_t kind, unsigned index,
                          pte_t e)
{
    uint64_t added = entry_adjusted(kind, e).raw & ~e.raw;

    /* Only bits are added, so that A and D set by a processor meanwhile are not lost. */
    if (added != 0 && !entry_is_reserved(kind, index)) {
        __atomic_fetch_or(&table_entry(m, table, index)->raw, added, __ATOMIC_SEQ_CST);
        dirty_note(m->phys, table);
    }
}

void accept_entry(struct direct_vcpu *v, struct type_level *t)
{
    const struct direct_machine *m = v->domain->machine;

    adjust(m, t->table, t->kind, t->cursor, table_read(m, t->table, t->cursor));
    t->cursor++;
}

/* The guest finds its leaf entry as it wrote it. */
static inline void take_back(const struct direct_machine *m, mfn_t table, uint8_t kind,
                             unsigned index, pte_t e)
{
    if (kind == TYPE_L1 && pte_has(e, PTE_P | PTE_KERNEL)) {
        __atomic_fetch_and(&table_entry(m, table, index)->raw, ~(PTE_U | PTE_KERNEL),
                           __ATOMIC_SEQ_CST);
        dirty_note(m->phys, table);
    }
}

/* Upwards: entries from the cursor on, until one takes more than a swap. `kind` is the table's. */
static inline __attribute__((always_inline)) void up(struct direct_vcpu *v, struct type_level *t,
                                                     uint8_t kind)
{
    const struct direct_machine *m = v->domain->machine;
    const uint64_t              *entry = &table_entry(m, t->table, 0)->raw;
    uint16_t                     owner = v->request.owner->id;
    unsigned                     at = t->cursor;

    while (at < DIRECT_ENTRIES && !must_stop(v)) {
        pte_t             e = { __atomic_load_n(entry + at, __ATOMIC_SEQ_CST) };
        struct entry_need need = entry_need(m, t->table, kind, at, e);

        /* To come back to where it stood is no progress, or small budgets would get nowhere. */
        if (!t->half)
            count_entry(v);
        if (e.raw == 0 && !t->half) {
            at = skip_up(v, entry, at);
            continue;
        }
        if (entry_error(v, &need) != DIRECT_OK) {
            v->error = need.error;
            t->down = true;
            break;
        }
        if (!need.nothing && (t->half || !m->quick || !need_get(m, &need, owner))) {
            t->cursor = (uint16_t)at;
            get_entry(v, t, &need);
            return;
        }
        adjust(m, t->table, kind, at, e);
        at++;
    }
    t->cursor = (uint16_t)at;
    if (at == DIRECT_ENTRIES && !t->down)
        v->phase = PHASE_UP;
}

/* Downwards: the same. */
static inline __attribute__((always_inline)) void down(struct direct_vcpu *v, struct type_level *t,
                                                       uint8_t kind)
{
    struct direct_machine *m = v->domain->machine;
    const uint64_t        *entry = &table_entry(m, t->table, 0)->raw;
    unsigned               at = t->cursor;

    while (at > 0 && !must_stop(v)) {
        pte_t e = { __atomic_load_n(entry + at - 1, __ATOMIC_SEQ_CST) };

        count_entry(v);
        if (e.raw == 0) {
            at = skip_down(v, entry, at);
            continue;
        }
        at--;
        take_back(m, t->table, kind, at, e);

        struct entry_need need = entry_need(m, t->table, kind, at, e);

        if (need.nothing)
            continue;
        need_note_foreign(m, &need, v->domain->id);
        if (m->quick && need_put(m, &need))
            continue;
        t->cursor = (uint16_t)at;
        put_entry(v, t, need.mfn, need.want == TYPE_NONE ? PENDING_GENERAL : PENDING_FULL);
        return;
    }
    t->cursor = (uint16_t)at;
    if (at == 0)
        v->phase = PHASE_DOWN_CLOCK;
}

static void visit_up(struct direct_vcpu *v, struct type_level *t)
{
    if (t->kind == TYPE_L1)
        up(v, t, TYPE_L1);
    else
        up(v, t, t->kind);
}

static void visit_down(struct direct_vcpu *v, struct type_level *t)
{
    if (t->half) {
        t->half = false;
        put_entry(v, t, mfn_of(pte_frame(table_read(v->domain->machine, t->table, t->cursor))),
                  PENDING_CLEAN);
    } else if (t->kind == TYPE_L1) {
        down(v, t, TYPE_L1);
    } else {
        down(v, t, t->kind);
    }
}

void work_visit(struct direct_vcpu *v)
{
    struct type_level *t = work_top(v);

    if (v->parking || must_stop(v)) {
        v->parking = true;
        v->phase = PHASE_PARK_FRAME;
    } else if (t->kind == TYPE_SEGMENTS) {
        if (t->down)
            v->phase = PHASE_DOWN_CLOCK;
        else
            visit_segments(v, t);
    } else if (t->down) {
        visit_down(v, t);
    } else {
        visit_up(v, t);
    }
}
