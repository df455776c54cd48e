/*
 * Taking and dropping a reference: the job of doc/direct.md, "The machine". One function is one phase.
 *
 * What follows from a swap is decided by the word that was swapped out, never by one that was read
 * before.
 */
#include "type_work.h"

/* What the entries and roots of most requests need: both references, of a frame that nobody works on. */
static bool get_at_once(struct direct_vcpu *v)
{
    const struct entry_need need = { .mfn = v->job.mfn, .want = v->job.want };

    if (v->job.general || !quick_take(v->domain->machine, &need, v->job.owner))
        return false;
    v->job.general = true;
    v->job.typed = need.want != TYPE_NONE;
    return true;
}

void work_get(struct direct_vcpu *v, struct type_job job)
{
    v->job = job;
    v->job.job = JOB_GET;
    if (get_at_once(v))
        job_end(v, true);
    else
        v->phase = job.general ? PHASE_READ : PHASE_FRAME;
}

void work_put(struct direct_vcpu *v, struct direct_pending what)
{
    v->job = (struct type_job){
        .job = JOB_PUT,
        .mode = what.mode,
        .mfn = what.mfn,
        .parent = what.parent,
        .level = what.level,
        .general = true,
        .typed = what.mode == PENDING_FULL,
    };
    v->phase = what.mode == PENDING_GENERAL ? PHASE_PUT_FRAME : PHASE_PUT_READ;
}

/* The job has come to its end. */
void job_end(struct direct_vcpu *v, bool taken)
{
    bool get = v->job.job == JOB_GET;

    if (v->depth == 0) {
        v->phase = PHASE_NEXT;
        if (get)
            request_taken(v, taken);
        v->job = (struct type_job){ .job = JOB_NONE };
        return;
    }
    struct type_level *t = work_top(v);

    v->job = (struct type_job){ .job = JOB_NONE };
    v->phase = v->parking ? PHASE_PARK_FRAME : PHASE_VISIT;
    if (!get || v->parking)
        return;
    if (!taken) {
        t->down = true;
        return;
    }
    accept_entry(v, t);
}

/* The job cannot have it. What it has so far is given back. */
static void job_refuse(struct direct_vcpu *v, enum direct_error error)
{
    v->error = error;
    if (v->job.linear)
        v->phase = PHASE_UNCOUNT;
    else if (v->job.general)
        v->phase = PHASE_PUT_FRAME;
    else
        job_end(v, false);
}

/* Somebody else works on the table it needs: give way. */
static void job_give_way(struct direct_vcpu *v)
{
    v->parking = true;
    job_refuse(v, v->error);
}

/* ---- taking a reference ---- */

void job_take_frame(struct direct_vcpu *v)
{
    enum direct_error error = frame_get(v->domain->machine, v->job.mfn, v->job.owner);

    if (error != DIRECT_OK) {
        job_refuse(v, error);
        return;
    }
    v->job.general = true;
    if (v->job.want == TYPE_NONE)
        job_end(v, true);
    else
        v->phase = PHASE_READ;
}

/* True if it could be a linear entry: it leads to a table of the level of its own table. */
static bool is_linear(const struct direct_vcpu *v, struct type seen)
{
    return type_is_table(v->job.level) && v->job.level > TYPE_L1 && seen.kind == v->job.level;
}

static void read_linear(struct direct_vcpu *v)
{
    if (type_is_busy(v->seen))
        job_give_way(v);
    else if (v->job.writable || !v->seen.validated || v->seen.linear > 0)
        job_refuse(v, DIRECT_LINEAR);
    else if (v->seen.linear == -TYPE_LINEAR_MAX || v->seen.count == TYPE_COUNT_MAX)
        job_refuse(v, DIRECT_OVERFLOW);
    else
        v->phase = v->job.linear ? PHASE_SWAP : PHASE_COUNT;
}

void job_read_type(struct direct_vcpu *v)
{
    struct type seen = v->seen = type_read(v->domain->machine, v->job.mfn);

    if (seen.count > 0 && is_linear(v, seen))
        read_linear(v);
    else if (v->job.linear || (seen.count > 0 && seen.kind != v->job.want))
        job_refuse(v, DIRECT_TYPED);
    else if (type_is_busy(seen))
        job_give_way(v);
    else if (seen.count == TYPE_COUNT_MAX)
        job_refuse(v, DIRECT_OVERFLOW);
    else
        v->phase = PHASE_SWAP;
}

/* The pointing table may have no linear entries if it is pointed at so itself. */
void job_count_linear(struct direct_vcpu *v)
{
    const struct direct_machine *m = v->domain->machine;
    struct type                  old, new;

    do {
        new = old = type_read(m, v->job.parent);
        new.linear++;
        if (old.linear < 0) {
            job_refuse(v, DIRECT_LINEAR);
            return;
        }
    } while (!type_swap(m, v->job.parent, old, new));
    v->job.linear = true;
    v->phase = PHASE_READ;
}

void job_uncount_linear(struct direct_vcpu *v)
{
    const struct direct_machine *m = v->domain->machine;
    struct type                  old, new;

    do {
        new = old = type_read(m, v->job.parent);
        new.linear--;
        if (old.linear <= 0) {
            work_broken(v, "a linear entry is not counted");
            return;
        }
    } while (!type_swap(m, v->job.parent, old, new));
}

/* What follows from the swap is decided by what was swapped out. */
static void taken(struct direct_vcpu *v, struct type was, struct type is)
{
    uint64_t stale;

    v->job.typed = true;
    if (type_is_live(is)) {
        job_end(v, true);
        return;
    }
    if (is.kind == TYPE_WRITABLE)
        v->phase = PHASE_TAKEN;
    else
        work_push(v, was, is.kind, false);
    if (v->broken || was.count > 0 || was.kind == TYPE_NONE || was.kind == is.kind)
        return;
    /* Before anybody looks at the content, no TLB may write it, nor walk it as another table. */
    stale = clock_stale(v->domain->machine, type_stamp(was));
    if (stale != 0)
        work_ask(v, (struct direct_ask){ .kind = DIRECT_ASK_FLUSH, .cpus = stale },
                 (enum direct_phase)v->phase);
}

/* The word that a reference more makes of a word. */
static struct type with_one_more(const struct type_job *job, struct type was)
{
    struct type is = was;

    if (was.count == 0) {
        is = (struct type){ .kind = job->want & TYPE_KIND_MASK, .count = 1 };
        /* What was no table needs no flush to be written. */
        if (is.kind == TYPE_WRITABLE)
            is.validated = was.kind == TYPE_WRITABLE || was.kind == TYPE_NONE;
    } else if (was.partial) {
        is = (struct type){ .kind = was.kind, .count = 1, .linear = was.linear };
    } else {
        is.count++;
        is.linear = (int16_t)(was.linear - job->linear);
    }
    return is;
}

void job_swap_type(struct direct_vcpu *v)
{
    struct type was = v->seen, is = with_one_more(&v->job, was);

    if (type_swap(v->domain->machine, v->job.mfn, was, is))
        taken(v, was, is);
    else
        v->phase = PHASE_READ;
}

/* A writable frame that was a table, after the flush: only now others may take it too. */
void job_taken(struct direct_vcpu *v)
{
    struct type was = type_read(v->domain->machine, v->job.mfn), is = was;

    is.validated = true;
    if (!type_is_busy(was) || !type_swap(v->domain->machine, v->job.mfn, was, is))
        work_broken(v, "somebody else has changed a busy frame");
    else
        job_end(v, true);
}

/* ---- dropping a reference ---- */

void job_put_read(struct direct_vcpu *v)
{
    struct type seen = v->seen = type_read(v->domain->machine, v->job.mfn);

    if (v->job.mode == PENDING_CLEAN) {
        v->phase = seen.count > 0 && seen.partial ? PHASE_PUT_SWAP : PHASE_PUT_FRAME;
        return;
    }
    if (!type_is_live(seen))
        work_broken(v, "a type reference is dropped that is not there");
    else if (is_linear(v, seen) && !v->job.linear)
        v->phase = PHASE_PUT_LINEAR;
    else if (seen.kind == TYPE_WRITABLE)
        v->phase = PHASE_PUT_CLOCK;
    else
        v->phase = PHASE_PUT_SWAP;
}

/* A table that is no longer live gets no shadow; those it has must go before its references do. */
static void down_begins(struct direct_vcpu *v, struct type was)
{
    mfn_t table = v->job.mfn;

    work_push(v, was, was.kind, true);
    if (!v->broken && phys_frame(v->domain->machine->phys, table)->guest.shadows != 0)
        work_ask(v, (struct direct_ask){ .kind = DIRECT_ASK_UNSHADOW, .mfn = table }, PHASE_VISIT);
}

void job_put_swap(struct direct_vcpu *v)
{
    struct type was = v->seen, is = was;
    bool        down = was.kind != TYPE_WRITABLE && was.count == 1;

    if (down) {
        is = (struct type){ .kind = was.kind, .count = 1, .linear = was.linear };
    } else {
        is.count--;
    }
    if (v->job.linear)
        is.linear++;
    if (was.kind == TYPE_WRITABLE)
        is = type_stamped(is, v->clock);
    if (!type_swap(v->domain->machine, v->job.mfn, was, is)) {
        v->phase = PHASE_PUT_READ;
        return;
    }
    if (down) {
        down_begins(v, was);
    } else {
        v->job.typed = false;
        v->phase = PHASE_PUT_FRAME;
    }
}

void job_put_frame(struct direct_vcpu *v)
{
    if (!frame_put(v->domain->machine, v->job.mfn)) {
        work_broken(v, "a general reference is dropped that is not there");
        return;
    }
    v->job.general = false;
    job_end(v, false);
}
