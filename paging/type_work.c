/*
 * The machine that takes and drops references to frames as pages of a type, and validates tables and
 * takes them down on the way: doc/direct.md, "The machine". One call of work_step is one phase.
 *
 * What a vCPU holds at any moment is in its stack, its job and its list of pending releases, and
 * nowhere else.
 */
#include "dirty.h"
#include "type_work.h"

void work_broken(struct direct_vcpu *v, const char *why)
{
    v->broken = why;
    v->phase = PHASE_END;
}

void work_ask(struct direct_vcpu *v, struct direct_ask ask, enum direct_phase after)
{
    v->ask = ask;
    v->phase = PHASE_ASK;
    v->after_ask = (uint8_t)after;
}

void pending_push(struct direct_vcpu *v, mfn_t mfn, enum pending_mode mode, mfn_t parent,
                  uint8_t level)
{
    if (v->pendings == DIRECT_PENDING_MAX)
        work_broken(v, "the list of things to release is full");
    else
        v->pending[v->pendings++] = (struct direct_pending){
            .mfn = mfn, .mode = (uint8_t)mode, .parent = parent, .level = level
        };
}

/*
 * The frame becomes the table on top; the job waits until it is done. Who keeps what was written keeps what
 * is a table with it: so that a frame becomes one, or is none any more, counts as a write to it.
 */
void work_push(struct direct_vcpu *v, struct type was, uint8_t kind, bool down)
{
    if (!down && type_is_table(kind))
        dirty_note(v->domain->machine->phys, v->job.mfn);
    if (v->depth == DIRECT_STACK_MAX) {
        work_broken(v, "tables are nested too deep");
        return;
    }
    v->job.typed = false; /* the stack's now */
    v->stack[v->depth++] = (struct type_level){
        .table = v->job.mfn,
        .kind = kind,
        .down = down,
        .extra = was.partial,
        .cursor = was.partial ? was.cursor : (down ? DIRECT_ENTRIES : 0),
        .half = was.half,
        .outer = v->job,
    };
    v->job = (struct type_job){ .job = JOB_NONE };
    v->phase = PHASE_VISIT;
}

/* ---- going through a table ---- */

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

/* Entries that are looked at together where all are zero; they count as one. */
#define EMPTY_FEW  8u
#define EMPTY_MANY 32u

static uint64_t any_of_few(const uint64_t *entry)
{
    uint64_t any = 0;

#pragma GCC unroll 8
    for (unsigned i = 0; i < EMPTY_FEW; i++)
        any |= __atomic_load_n(entry + i, __ATOMIC_RELAXED);
    return any;
}

static bool are_many_empty(const uint64_t *entry)
{
    return any_of_few(entry) == 0 && any_of_few(entry + EMPTY_FEW) == 0 &&
           any_of_few(entry + 2 * EMPTY_FEW) == 0 && any_of_few(entry + 3 * EMPTY_FEW) == 0;
}

/* How many entries from the cursor on are empty, as far as the budget goes; the next of them is. */
static unsigned empty_from(struct direct_vcpu *v, const struct type_level *t)
{
    const uint64_t *entry = &table_entry(v->domain->machine, t->table, 0)->raw;
    unsigned        at = t->cursor;

    do {
        count_entry(v);
        if (at % EMPTY_MANY == 0 && are_many_empty(entry + at))
            at += EMPTY_MANY;
        else
            at += at % EMPTY_FEW == 0 && any_of_few(entry + at) == 0 ? EMPTY_FEW : 1;
    } while (at < DIRECT_ENTRIES && v->budget > 0 &&
             __atomic_load_n(entry + at, __ATOMIC_RELAXED) == 0);
    return at - t->cursor;
}

/* The same of those below the cursor. */
static unsigned empty_before(struct direct_vcpu *v, const struct type_level *t)
{
    const uint64_t *entry = &table_entry(v->domain->machine, t->table, 0)->raw;
    unsigned        at = t->cursor;

    do {
        count_entry(v);
        if (at % EMPTY_MANY == 0 && are_many_empty(entry + at - EMPTY_MANY))
            at -= EMPTY_MANY;
        else
            at -= at % EMPTY_FEW == 0 && any_of_few(entry + at - EMPTY_FEW) == 0 ? EMPTY_FEW : 1;
    } while (at > 0 && v->budget > 0 && __atomic_load_n(entry + at - 1, __ATOMIC_RELAXED) == 0);
    return t->cursor - at;
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

void accept_entry(struct direct_vcpu *v, struct type_level *t)
{
    const struct direct_machine *m = v->domain->machine;
    pte_t                        e = table_read(m, t->table, t->cursor);
    uint64_t                     added = entry_adjusted(t->kind, e).raw & ~e.raw;

    /* Only bits are added, so that A and D set by a processor meanwhile are not lost. */
    if (added != 0 && !entry_is_reserved(t->kind, t->cursor)) {
        __atomic_fetch_or(&table_entry(m, t->table, t->cursor)->raw, added, __ATOMIC_SEQ_CST);
        dirty_note(m->phys, t->table);
    }
    t->cursor++;
}

enum direct_error entry_error(const struct direct_vcpu *v, const struct entry_need *need)
{
    struct direct_domain *d = v->request.owner;

    if (need->error != DIRECT_L1TF || !d->shadowed)
        return need->error;
    __atomic_store_n(&d->leaky, true, __ATOMIC_SEQ_CST);
    return DIRECT_OK;
}

/* Upwards: the next entry that needs a reference. */
static void visit_up(struct direct_vcpu *v, struct type_level *t)
{
    const struct direct_machine *m = v->domain->machine;

    while (t->cursor < DIRECT_ENTRIES && !must_stop(v)) {
        pte_t e = table_read(m, t->table, t->cursor);

        if (e.raw == 0 && !t->half) {
            t->cursor = (uint16_t)(t->cursor + empty_from(v, t));
            continue;
        }

        struct entry_need need = entry_need(m, t->table, t->kind, t->cursor, e);

        /* To come back to where it stood is no progress, or small budgets would get nowhere. */
        if (!t->half)
            count_entry(v);
        if (entry_error(v, &need) != DIRECT_OK) {
            v->error = need.error;
            t->down = true;
            return;
        }
        if (!need.nothing &&
            (t->half || !quick_take(v->domain->machine, &need, v->request.owner->id))) {
            get_entry(v, t, &need);
            return;
        }
        accept_entry(v, t);
    }
    if (t->cursor == DIRECT_ENTRIES)
        v->phase = PHASE_UP;
}

/* The guest finds its leaf entry as it wrote it. */
static pte_t take_back(struct direct_vcpu *v, mfn_t table, uint8_t level, unsigned index)
{
    const struct direct_machine *m = v->domain->machine;
    pte_t                        e = table_read(m, table, index);

    if (level == TYPE_L1 && pte_has(e, PTE_P | PTE_KERNEL)) {
        __atomic_fetch_and(&table_entry(m, table, index)->raw, ~(PTE_U | PTE_KERNEL),
                           __ATOMIC_SEQ_CST);
        dirty_note(m->phys, table);
    }
    return e;
}

/* Downwards: the next entry that has a reference. */
static void visit_down(struct direct_vcpu *v, struct type_level *t)
{
    const struct direct_machine *m = v->domain->machine;

    if (t->half) {
        t->half = false;
        work_put(v, (struct direct_pending){
                        .mfn = mfn_of(pte_frame(table_read(m, t->table, t->cursor))),
                        .mode = PENDING_CLEAN,
                        .parent = t->table,
                        .level = t->kind,
                    });
        return;
    }
    while (t->cursor > 0 && !must_stop(v)) {
        if (table_read(m, t->table, t->cursor - 1u).raw == 0) {
            t->cursor = (uint16_t)(t->cursor - empty_before(v, t));
            continue;
        }
        count_entry(v);

        unsigned          index = --t->cursor;
        pte_t             e = take_back(v, t->table, t->kind, index);
        struct entry_need need = entry_need(m, t->table, t->kind, index, e);

        if (need.nothing || quick_drop(v, &need))
            continue;
        work_put(v, (struct direct_pending){
                        .mfn = need.mfn,
                        .mode = need.want == TYPE_NONE ? PENDING_GENERAL : PENDING_FULL,
                        .parent = t->table,
                        .level = t->kind,
                    });
        return;
    }
    if (t->cursor == 0)
        v->phase = PHASE_DOWN_CLOCK;
}

static void visit(struct direct_vcpu *v)
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

/* ---- a table is done ---- */

static void write_slots(struct direct_machine *m, mfn_t table)
{
    for (unsigned i = 0; i < DIRECT_SLOTS; i++)
        __atomic_store_n(&table_entry(m, table, DIRECT_SLOT_FIRST + i)->raw, m->slots[i].raw,
                         __ATOMIC_SEQ_CST);
    dirty_note(m->phys, table);
}

/* The job that the table was worked on for goes on. */
static void pop(struct direct_vcpu *v)
{
    const struct type_level *t = work_top(v);
    bool                     down = t->down;

    v->job = t->outer;
    v->depth--;
    if (down) {
        v->phase = PHASE_PUT_FRAME;
    } else {
        v->job.typed = true;
        job_end(v, true);
    }
}

static void finish(struct direct_vcpu *v, struct type is)
{
    struct direct_machine *m = v->domain->machine;
    struct type_level     *t = work_top(v);
    struct type            was = type_read(m, t->table);

    if (!type_is_busy(was) || was.kind != t->kind) {
        work_broken(v, "somebody else has changed a busy table");
        return;
    }
    if (type_is_live(is))
        is.linear = was.linear;
    else if (was.linear != 0) {
        work_broken(v, "a table that is done has linear references");
        return;
    }
    if (t->down && type_is_table(t->kind))
        dirty_note(m->phys, t->table);
    if (!type_swap(m, t->table, was, is))
        work_broken(v, "somebody else has changed a busy table");
    else if (t->extra)
        v->phase = PHASE_EXTRA;
    else
        pop(v);
}

static void finish_up(struct direct_vcpu *v)
{
    uint8_t kind = work_top(v)->kind;

    if (kind == TYPE_L4)
        write_slots(v->domain->machine, work_top(v)->table);
    finish(v, (struct type){ .kind = kind, .count = 1, .validated = true });
}

static void put_extra(struct direct_vcpu *v)
{
    if (!frame_put(v->domain->machine, work_top(v)->table)) {
        work_broken(v, "a partial table had no reference of its own");
        return;
    }
    pop(v);
}

/* ---- parking ---- */

static void park_frame(struct direct_vcpu *v)
{
    struct type_level *t = work_top(v);

    if (!t->extra)
        direct_hold(v->domain->machine->phys, t->table);
    t->extra = true;
    v->phase = PHASE_PARK;
}

static void park(struct direct_vcpu *v)
{
    struct direct_machine *m = v->domain->machine;
    struct type_level     *t = work_top(v);
    struct type            was = type_read(m, t->table);
    struct type            is = { .kind = t->kind,
                                  .count = 1,
                                  .partial = true,
                                  .cursor = t->cursor,
                                  .half = t->half,
                                  .linear = was.linear };

    if (!type_is_busy(was) || !type_swap(m, t->table, was, is)) {
        work_broken(v, "somebody else has changed a busy table");
        return;
    }
    v->depth--;
    if (v->depth > 0) {
        /* The reference of the entry above is that entry's now. */
        work_top(v)->half = true;
        v->phase = PHASE_PARK_FRAME;
        return;
    }
    pending_push(v, t->table, v->error != DIRECT_OK || t->down ? PENDING_CLEAN : PENDING_GENERAL,
                 MFN_NONE, 0);
    if (!v->broken)
        v->phase = PHASE_PARKED;
}

/*
 * The teardown of its owner may have looked at the table before it was partial, and nobody would
 * ever take it down. As the one who parks looks after that, one of the two sees the other.
 */
static void parked(struct direct_vcpu *v)
{
    struct direct_pending *last = &v->pending[v->pendings - 1];

    if (last->mode == PENDING_GENERAL &&
        __atomic_load_n(&v->request.owner->dying, __ATOMIC_SEQ_CST))
        last->mode = PENDING_CLEAN;
    v->phase = PHASE_END;
}

void work_step(struct direct_vcpu *v)
{
    switch ((enum direct_phase)v->phase) {
    case PHASE_VISIT:
        visit(v);
        return;
    case PHASE_FRAME:
        job_take_frame(v);
        return;
    case PHASE_READ:
        job_read_type(v);
        return;
    case PHASE_COUNT:
        job_count_linear(v);
        return;
    case PHASE_SWAP:
        job_swap_type(v);
        return;
    case PHASE_TAKEN:
        job_taken(v);
        return;
    case PHASE_UNCOUNT:
        v->job.linear = false;
        v->phase = PHASE_PUT_FRAME;
        job_uncount_linear(v);
        return;
    case PHASE_PUT_READ:
        job_put_read(v);
        return;
    case PHASE_PUT_LINEAR:
        v->job.linear = true;
        v->phase = PHASE_PUT_READ;
        job_uncount_linear(v);
        return;
    case PHASE_PUT_CLOCK:
        v->clock = __atomic_load_n(&v->domain->machine->clock, __ATOMIC_SEQ_CST);
        v->phase = PHASE_PUT_SWAP;
        return;
    case PHASE_PUT_SWAP:
        job_put_swap(v);
        return;
    case PHASE_PUT_FRAME:
        job_put_frame(v);
        return;
    case PHASE_UP:
        finish_up(v);
        return;
    case PHASE_DOWN_CLOCK:
        v->clock = __atomic_load_n(&v->domain->machine->clock, __ATOMIC_SEQ_CST);
        v->phase = PHASE_DOWN;
        return;
    case PHASE_DOWN:
        finish(v, (struct type){ .kind = work_top(v)->kind, .stamp = v->clock });
        return;
    case PHASE_EXTRA:
        put_extra(v);
        return;
    case PHASE_PARK_FRAME:
        park_frame(v);
        return;
    case PHASE_PARK:
        park(v);
        return;
    case PHASE_PARKED:
        parked(v);
        return;
    case PHASE_START:
    case PHASE_NEXT:
    case PHASE_REQUEST:
    case PHASE_ASK:
    case PHASE_END:
        break;
    }
    work_broken(v, "a step of the wrong kind");
}
