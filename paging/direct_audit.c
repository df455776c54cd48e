/*
 * The audit of direct paging: recomputes P1 to P5 of doc/direct.md from the tables, and from what
 * each vCPU holds at this step. It may run between any two steps.
 */
#include "direct.h"
#include "direct_entry.h"

struct auditor {
    const struct direct_machine *m;
    struct direct_domain *const *domains;
    unsigned                     count;
    const struct direct_window  *window;
    struct direct_audit         *out;
};

/* What is counted for a frame; NULL if it is not in the window. */
static struct direct_tally *tally_of(const struct auditor *a, mfn_t mfn)
{
    uint64_t i = mfn.raw - a->window->first.raw;

    return mfn.raw >= a->window->first.raw && i < a->window->frames ? &a->window->tally[i] : NULL;
}

static void violation(struct auditor *a, mfn_t mfn, const char *what)
{
    unsigned i = 0, digits = 1;

    if (!tally_of(a, mfn) || a->out->violations++ > 0)
        return;
    for (; what[i] != 0 && i + 24 < sizeof(a->out->first); i++)
        a->out->first[i] = what[i];
    a->out->first[i++] = ' ';
    for (uint64_t n = mfn.raw; n > 9; n /= 10)
        digits++;
    for (unsigned d = digits; d-- > 0; mfn.raw /= 10)
        a->out->first[i + d] = (char)('0' + mfn.raw % 10);
    a->out->first[i + digits] = 0;
}

static void held(struct auditor *a, mfn_t mfn, unsigned refs, unsigned types)
{
    struct direct_tally *t = tally_of(a, mfn);

    if (t) {
        t->refs += refs;
        t->types += types;
    }
}

/* The parent has so many linear entries more. */
static void linear_from(struct auditor *a, mfn_t parent, int count)
{
    struct direct_tally *t = tally_of(a, parent);

    if (t)
        t->linear += count;
}

/* So many linear entries more lead to it. */
static void linear_to(struct auditor *a, mfn_t mfn, int count)
{
    linear_from(a, mfn, -count);
}

/* A linear entry: its type reference leads to a table of the level of its own. */
static bool is_linear(const struct auditor *a, mfn_t mfn, uint8_t level)
{
    return level > TYPE_L1 && mfn.raw < a->m->phys->frames && type_read(a->m, mfn).kind == level;
}

/* The table is walked by no processor: shadows of it are. */
static bool is_shadowed(const struct auditor *a, mfn_t table)
{
    for (unsigned i = 0; i < a->count; i++)
        if (a->domains[i]->id == phys_frame(a->m->phys, table)->owner)
            return a->domains[i]->shadowed;
    return false;
}

/* What one entry owns. */
static void tally_entry(struct auditor *a, mfn_t table, uint8_t level, unsigned index)
{
    pte_t             e = table_read(a->m, table, index);
    struct entry_need need = entry_need(a->m, table, level, index, e);

    a->out->entries += tally_of(a, table) != NULL;
    if (need.error == DIRECT_L1TF && is_shadowed(a, table))
        need.error = DIRECT_OK;
    if (need.error != DIRECT_OK)
        violation(a, table, "P3: an entry that may not be, in table");
    if (need.error != DIRECT_OK || need.nothing)
        return;
    held(a, need.mfn, 1, need.want != TYPE_NONE);
    if (need.want == TYPE_NONE)
        return;
    if (is_linear(a, need.mfn, level)) {
        linear_from(a, table, 1);
        linear_to(a, need.mfn, 1);
        if (need.writable)
            violation(a, table, "P3: a linear entry is writable, in table");
        if (type_read(a->m, need.mfn).linear > 0)
            violation(a, table, "P3: linear entries of two steps, from table");
    } else if (type_read(a->m, need.mfn).kind != need.want) {
        violation(a, table, "P3: an entry leads to a frame of another type, in table");
    }
    if (level > TYPE_L1 &&
        phys_frame(a->m->phys, need.mfn)->owner != phys_frame(a->m->phys, table)->owner)
        violation(a, table, "P3: a table of somebody else is below table");
    if (level > TYPE_L1 && !type_is_live(type_read(a->m, need.mfn)))
        violation(a, table, "P3: an entry leads to a table that is not validated, in table");
}

static void tally_table(struct auditor *a, mfn_t table, uint8_t kind, unsigned cursor, bool half)
{
    a->out->tables += tally_of(a, table) != NULL;
    if (!type_is_table(kind))
        return;
    for (unsigned i = 0; i < cursor && i < DIRECT_ENTRIES; i++)
        if (table_read(a->m, table, i).raw != 0)
            tally_entry(a, table, kind, i);
    if (half)
        held(a, mfn_of(pte_frame(table_read(a->m, table, cursor))), 1, 0);
}

/* ---- what a vCPU holds ---- */

static void tally_pending(struct auditor *a, const struct direct_pending *p)
{
    held(a, p->mfn, 1, p->mode == PENDING_FULL);
    if (p->mode == PENDING_FULL && is_linear(a, p->mfn, p->level)) {
        linear_from(a, p->parent, 1);
        linear_to(a, p->mfn, 1);
    }
}

static void tally_job(struct auditor *a, const struct type_job *j)
{
    if (j->job == JOB_NONE || j->mfn.raw >= a->m->phys->frames)
        return;
    held(a, j->mfn, j->general, j->typed);

    bool linear = is_linear(a, j->mfn, j->level);

    if (j->job == JOB_GET ? j->linear : (linear && j->typed && !j->linear))
        linear_from(a, j->parent, 1);
    if (linear && j->typed && (j->job == JOB_PUT || j->linear))
        linear_to(a, j->mfn, 1);
}

/* Done and given up: only the partial flag's reference is left of it. */
static bool is_given_up(const struct direct_vcpu *v, unsigned depth)
{
    return v->phase == PHASE_EXTRA && depth + 1 == v->depth && v->stack[depth].down;
}

static void tally_vcpu(struct auditor *a, const struct direct_vcpu *v)
{
    for (unsigned i = 0; i < 2; i++)
        if (mfn_valid(v->root[i]))
            held(a, v->root[i], 1, 1);
    for (unsigned i = 0; i < v->pendings; i++)
        tally_pending(a, &v->pending[i]);
    tally_job(a, &v->job);
    for (unsigned i = 0; i < v->depth; i++) {
        const struct type_level *t = &v->stack[i];

        tally_job(a, &t->outer);
        held(a, t->table, t->extra, !is_given_up(v, i));
        if (!is_given_up(v, i))
            tally_table(a, t->table, t->kind, t->cursor, t->half);
    }
}

/* On some stack. */
static bool is_worked_on(const struct auditor *a, mfn_t table)
{
    for (unsigned i = 0; i < a->count; i++) {
        for (const struct direct_vcpu *v = a->domains[i]->vcpus; v; v = v->next) {
            for (unsigned d = 0; d < v->depth; d++)
                if (mfn_eq(v->stack[d].table, table) && !is_given_up(v, d))
                    return true;
        }
    }
    return false;
}

/* A writable frame whose flush is awaited. */
static bool is_awaited(const struct auditor *a, mfn_t mfn)
{
    for (unsigned i = 0; i < a->count; i++)
        for (const struct direct_vcpu *v = a->domains[i]->vcpus; v; v = v->next)
            if (v->job.job == JOB_GET && v->job.typed && mfn_eq(v->job.mfn, mfn))
                return true;
    return false;
}

/* ---- frames ---- */

static void tally_frame(struct auditor *a, mfn_t mfn)
{
    struct type t = type_read(a->m, mfn);
    bool        worked_on = is_worked_on(a, mfn);

    if (t.pinned || t.partial)
        held(a, mfn, (unsigned)t.pinned + t.partial, (unsigned)t.pinned + t.partial);
    if (t.pinned && !type_is_live(t))
        violation(a, mfn, "P1: pinned, and not live: frame");
    if (t.partial && (t.validated || t.count != 1))
        violation(a, mfn, "P4: partial, and more than that: frame");
    if (type_is_busy(t) && (t.count != 1 || !(worked_on || is_awaited(a, mfn))))
        violation(a, mfn, "P4: busy, and nobody works on frame");
    /* Frames of domains with paging of another kind have shadows, and no types. */
    if ((phys_frame(a->m->phys, mfn)->refs & REFS_DIRECT) != 0 &&
        phys_frame(a->m->phys, mfn)->guest.shadows != 0 && !type_is_live(t) && !worked_on)
        violation(a, mfn, "P5: shadows of a table that is not live: frame");
    if (!worked_on && type_is_live(t) && t.kind != TYPE_WRITABLE)
        tally_table(a, mfn, t.kind, DIRECT_ENTRIES, false);
    else if (!worked_on && t.partial)
        tally_table(a, mfn, t.kind, t.cursor, t.half);
}

/* The hypervisor's entries of a table that processors may walk. */
static void check_slots(struct auditor *a, mfn_t mfn)
{
    for (unsigned i = 0; i < DIRECT_SLOTS; i++)
        if (((table_read(a->m, mfn, DIRECT_SLOT_FIRST + i).raw ^ a->m->slots[i].raw) &
             ~(PTE_A | PTE_D)) != 0)
            violation(a, mfn, "P3: the hypervisor's entries are not what they should be, in table");
}

static void compare(struct auditor *a, mfn_t mfn)
{
    const struct frame        *f = phys_frame(a->m->phys, mfn);
    const struct direct_tally *n = tally_of(a, mfn);
    struct type                t;

    /* Frames of guests with paging of another kind have counts of their own, of which these are a part. */
    if (f->kind == FRAME_GUEST && (f->refs & REFS_LENT) != 0) {
        if ((f->refs & REFS_COUNT) < n->refs)
            violation(a, mfn, "P1: more references than the general count says: frame");
        if (type_read(a->m, mfn).count != n->types)
            violation(a, mfn, "P1: the type count is not what a scan counts: frame");
        return;
    }
    if (f->kind != FRAME_GUEST || (f->refs & REFS_DIRECT) == 0) {
        if (n->refs != 0 || n->types != 0)
            violation(a, mfn, "P1: references to what is nobody's under direct paging: frame");
        if (f->kind == FRAME_GUEST && type_read(a->m, mfn).count != 0)
            violation(a, mfn, "P1: typed, and nobody holds frame");
        return;
    }
    t = type_read(a->m, mfn);
    if ((f->refs & REFS_COUNT) != n->refs)
        violation(a, mfn, "P1: the general count is not what a scan counts: frame");
    if (t.count != n->types)
        violation(a, mfn, "P1: the type count is not what a scan counts: frame");
    if (t.count > 0 && t.kind != TYPE_WRITABLE && t.linear != n->linear)
        violation(a, mfn, "P1: the linear count is not what a scan counts: frame");
    if (t.kind == TYPE_L4 && type_is_live(t))
        check_slots(a, mfn);
}

void direct_audit(const struct direct_machine *m, struct direct_domain *const *domains,
                  unsigned count, const struct direct_window *window, struct direct_audit *audit)
{
    struct auditor a = {
        .m = m, .domains = domains, .count = count, .window = window, .out = audit
    };
    uint64_t end = window->first.raw + window->frames;

    for (uint64_t i = 0; i < m->phys->frames; i++) {
        if (phys_frame(m->phys, mfn_of(i))->kind == FRAME_GUEST) {
            audit->frames += tally_of(&a, mfn_of(i)) != NULL;
            tally_frame(&a, mfn_of(i));
        }
    }
    for (unsigned i = 0; i < count; i++)
        for (const struct direct_vcpu *v = domains[i]->vcpus; v; v = v->next)
            tally_vcpu(&a, v);
    for (uint64_t i = window->first.raw; i < end && i < m->phys->frames; i++)
        compare(&a, mfn_of(i));
}
