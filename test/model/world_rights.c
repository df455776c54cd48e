/*
 * Two worlds and the monitor's rights, which only the core's side enforces: this side says of each
 * access whether it should have. A walk of the guest's tables needs rights as well, but a processor
 * that has a translation does not walk: so a walk that is refused must be refused rightly, and what
 * a walk certainly did must have been permitted.
 */
#include "test/model/world.h"

#include <inttypes.h>
#include <string.h>

static enum access_type type_of(const struct world *w, uint64_t gfn)
{
    uint8_t own = gfn < w->memory.gfns ? w->rights[gfn] : ACCESS_DEFAULT;

    return (enum access_type)(own == ACCESS_DEFAULT ? w->rights_default : own);
}

unsigned world_rights(const struct world *w, uint64_t gfn)
{
    switch (type_of(w, gfn)) {
    case ACCESS_RX2RW:
        return ACCESS_READ | ACCESS_FETCH;
    case ACCESS_N2RWX:
        return 0;
    default:
        return type_of(w, gfn);
    }
}

static bool set_default(struct world *w, struct world_vcpu *v, enum access_type type)
{
    for (unsigned calls = 0; calls < WORLD_AGAIN; calls++) {
        struct verdict d = paging_access_default((struct paging_locked){ &w->domain }, type);

        if (d.kind != VERDICT_RETRY)
            return world_fail(w, "paging_access_default: verdict %d (%s)", (int)d.kind,
                              d.why ? d.why : "");
        if (!world_flush(w, v, d))
            return false;
        if (!d.again) {
            w->rights_default = (uint8_t)type;
            return true;
        }
    }
    return world_fail(w, "paging_access_default does not come to an end");
}

/* Nobody watches any more. */
static bool end_rights(struct world *w)
{
    while (!access_reap(&w->domain.access, 1))
        continue;
    w->rights_default = ACCESS_ALL;
    memset(w->rights, ACCESS_DEFAULT, w->memory.gfns);
    return true;
}

bool world_set_rights(struct world *w, struct world_vcpu *v, const struct op *op)
{
    enum access_type type = (enum access_type)(op->acc % (ACCESS_DEFAULT + 1));
    uint64_t         count = op->value, done;

    if (op->length == 2)
        return end_rights(w);
    if (op->length == 1)
        return type == ACCESS_DEFAULT || set_default(w, v, type);
    for (uint64_t first = op->va, calls = 0; calls < WORLD_AGAIN; calls++) {
        struct verdict d = paging_access_set((struct paging_locked){ &w->domain }, gfn_of(first),
                                             count, type, &done);

        if (d.kind != VERDICT_RETRY || done > count)
            return world_fail(w, "paging_access_set: verdict %d (%s)", (int)d.kind,
                              d.why ? d.why : "");
        for (uint64_t gfn = first; gfn < first + done && gfn < w->memory.gfns; gfn++)
            w->rights[gfn] = (uint8_t)type;
        if (!world_flush(w, v, d))
            return false;
        if (!d.again)
            return done == count ||
                   world_fail(w, "paging_access_set: %" PRIu64 " are left", count - done);
        first += done;
        count -= done;
    }
    return world_fail(w, "paging_access_set does not come to an end");
}

static unsigned needed(unsigned acc)
{
    if (acc & ACC_FETCH)
        return ACCESS_FETCH;
    return acc & ACC_WRITE ? ACCESS_WRITE : ACCESS_READ;
}

/* As the edge sees it. */
static struct mmu_access access_of(const struct world *w, const struct op *op)
{
    return op->kind == OP_IMPLICIT && w->domain.kind == PAGING_SHADOW
               ? (struct mmu_access){ .ac = true }
               : world_naive_access(op->acc);
}

/* Is gpa where an entry lies by which this address is translated? */
static bool is_on_path(const struct world *w, const struct world_vcpu *v, const struct op *op,
                       uint64_t gpa)
{
    struct mmu_step step[5];
    unsigned        n = mmu_steps(&v->naive, op->va, access_of(w, op), step);

    for (unsigned i = 0; i < n; i++)
        if (step[i].gpa == gpa)
            return true;
    return false;
}

bool world_refused(struct world *w, const struct world_vcpu *v, const struct op *op,
                   const struct verdict *d)
{
    uint64_t           gfn = d->gpa >> 12;
    unsigned           missing = d->refused;
    struct mmu_outcome o = mmu_peek(&v->naive, op->va, access_of(w, op));

    if (missing == 0 || (missing & world_rights(w, gfn)) != 0)
        return world_fail(w, "access %#x is refused at gpa %#" PRIx64 ", which has rights %d",
                          missing, d->gpa, (int)type_of(w, gfn));
    if (d->promoted != (type_of(w, gfn) == ACCESS_N2RWX))
        return world_fail(w, "promoted %d, but gpa %#" PRIx64 " has rights %d", d->promoted, d->gpa,
                          (int)type_of(w, gfn));
    if (d->in_walk) {
        w->counts.refused_walks++;
        if (!is_on_path(w, v, op, d->gpa))
            return world_fail(w, "refused at gpa %#" PRIx64 ", where no table of the walk is",
                              d->gpa);
    } else if (!o.ok || o.gpa != d->gpa || missing != needed(op->acc)) {
        return world_fail(w,
                          "access %#x is refused at gpa %#" PRIx64 ", should be %#x at %#" PRIx64,
                          missing, d->gpa, needed(op->acc), o.gpa);
    }
    if (d->promoted) {
        w->counts.promoted++;
        w->rights[gfn] = ACCESS_ALL;
    } else {
        w->counts.refused++;
    }
    return true;
}

static bool was_told(const struct world_vcpu *v, uint64_t gfn)
{
    for (unsigned i = 0; i < v->told_count; i++)
        if (v->told[i] == gfn)
            return true;
    return false;
}

/*
 * A frame that is open to a walk under nested paging is open to the instruction's own write as well,
 * which looks like the walk's, or like nothing if it writes what is there already.
 */
static bool changes_nothing(const struct world *w, const struct world_vcpu *v, const struct op *op,
                            uint64_t gpa)
{
    struct mmu_step step[5];
    unsigned        n = mmu_steps(&v->naive, op->va, access_of(w, op), step);
    uint64_t        found = 0, value;

    mmu_read_memory(&w->memory, gpa, &found, op->length);
    value = world_new_value(op, found);
    for (unsigned i = 0; v->stepped && i < n; i++)
        if (step[i].gpa >> 12 == gpa >> 12)
            return memcmp(&value, &found, op->length) == 0;
    return false;
}

/*
 * A write certainly happened there. What a walk under nested paging writes is told afterwards.
 */
static bool written(struct world *w, const struct world_vcpu *v, uint64_t gpa, const char *what)
{
    uint64_t gfn = gpa >> 12;

    if (type_of(w, gfn) == ACCESS_RX2RW)
        w->rights[gfn] = ACCESS_READ | ACCESS_WRITE;
    if (!(world_rights(w, gfn) & ACCESS_WRITE) && !was_told(v, gfn))
        return world_fail(w, "%s went unseen to gpa %#" PRIx64 " with rights %d", what, gpa,
                          (int)type_of(w, gfn));
    return true;
}

bool world_permitted(struct world *w, const struct world_vcpu *v, const struct op *op, bool walked,
                     const uint64_t *gpa)
{
    struct mmu_step step[5];
    unsigned        n = mmu_steps(&v->naive, op->va, access_of(w, op), step);
    bool            marks = mmu_peek(&v->naive, op->va, access_of(w, op)).ok;

    for (unsigned i = 0; walked && i < n; i++) {
        if (mmu_behind(&w->memory, step[i].gpa) != MMU_RAM)
            continue;
        if (!(world_rights(w, step[i].gpa >> 12) & ACCESS_READ))
            return world_fail(w, "a walk went unseen through gpa %#" PRIx64, step[i].gpa);
        if (marks && step[i].marks && !written(w, v, step[i].gpa, "A or D"))
            return false;
    }
    if (!gpa ||
        (mmu_behind(&w->memory, *gpa) != MMU_RAM && mmu_behind(&w->memory, *gpa) != MMU_ROM))
        return true;
    if (op->acc & ACC_WRITE)
        return changes_nothing(w, v, op, *gpa) || written(w, v, *gpa, "a write");
    if (needed(op->acc) & ~world_rights(w, *gpa >> 12))
        return world_fail(w, "access %#x went unseen to gpa %#" PRIx64 " with rights %d",
                          needed(op->acc), *gpa, (int)type_of(w, *gpa >> 12));
    return true;
}

/* The walk of this instruction has written where it had no right to. */
static bool told(struct world *w, struct world_vcpu *v, const struct verdict *d)
{
    uint64_t gfn = d->gpa >> 12;

    if (w->domain.kind != PAGING_NESTED || !d->in_walk || !d->promoted ||
        d->refused != ACCESS_WRITE || (world_rights(w, gfn) & ACCESS_WRITE))
        return world_fail(w, "a walk is said to have written to gpa %#" PRIx64 ", rights %d",
                          d->gpa, (int)type_of(w, gfn));
    w->counts.told++;
    v->told[v->told_count++] = gfn;
    return true;
}

bool world_step_done(struct world *w, struct world_vcpu *v)
{
    for (unsigned calls = 0; calls < WORLD_AGAIN; calls++) {
        struct verdict d = paging_step_done((struct paging_locked){ &w->domain }, &v->core);

        if (d.kind == VERDICT_ACCESS && !told(w, v, &d))
            return false;
        if (d.kind != VERDICT_RETRY && d.kind != VERDICT_ACCESS)
            return world_fail(w, "paging_step_done: verdict %d (%s)", (int)d.kind,
                              d.why ? d.why : "");
        if (!world_flush(w, v, d))
            return false;
        if (!d.again) {
            v->stepping = false;
            v->stepped = true;
            return true;
        }
    }
    return world_fail(w, "paging_step_done does not come to an end");
}
