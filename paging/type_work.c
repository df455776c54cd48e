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
        .half = was.partial && was.half,
        .outer = v->job,
    };
    v->job = (struct type_job){ .job = JOB_NONE };
    v->phase = PHASE_VISIT;
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
    finish(v, (struct type){ .kind = kind & TYPE_KIND_MASK, .count = 1, .validated = true });
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
    struct type            is = { .kind = t->kind & TYPE_KIND_MASK,
                                  .count = 1,
                                  .partial = true,
                                  .cursor = t->cursor & TYPE_CURSOR_MASK,
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
        work_visit(v);
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
        finish(v,
               type_stamped((struct type){ .kind = work_top(v)->kind & TYPE_KIND_MASK }, v->clock));
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
