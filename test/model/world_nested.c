/*
 * Two worlds while paging is nested: the processor walks the guest's tables by itself, and what it
 * reads and writes of guest-physical memory goes through our tables. See world.h.
 *
 * That processor is the naive one once more, on the machine's memory, which it reaches through
 * the naive hardware: each access of a walk is one of a user's writes to our tables, as APM
 * vol. 2, 15.25.6 has it. It keeps no translations of linear addresses, as a processor may.
 */
#include "test/model/world.h"

#include <inttypes.h>

/* Guest-physical memory as the processor meets it. */
struct reached {
    struct world      *w;
    struct world_vcpu *v;
    bool               faulted, present;
    uint64_t           gpa; /* of the nested fault...                      */
    unsigned           acc; /* ...and what it was                          */
};

/* Where a byte is by our tables; NULL after a nested fault, for all there is behind it. */
static uint8_t *through_ours(void *context, uint64_t gpa, unsigned acc)
{
    struct reached         *r = context;
    struct hardware_outcome o;

    if (r->faulted)
        return NULL;
    o = hardware_access(&r->v->hardware, gpa, (acc & ~(unsigned)ACC_WALK) | ACC_USER);
    if (o.kind == HARDWARE_OK)
        return r->w->phys.base + o.mfn * 4096 + (gpa & 4095);
    if (o.kind == HARDWARE_BROKEN)
        world_fail(r->w, "hardware: %s", r->v->hardware.broken);
    r->faulted = true;
    r->present = o.present;
    r->gpa = gpa;
    r->acc = acc;
    return NULL;
}

/* It counts as a write, whatever it is: log-dirty may tell of it. */
static uint8_t *reach_table(void *context, uint64_t gpa)
{
    const struct reached *r = context;

    if (mmu_behind(&r->w->memory, gpa) == MMU_RAM)
        r->w->walked[r->w->memory.page_of[gpa >> 12]] = true;
    return through_ours(context, gpa, ACC_WRITE | ACC_WALK);
}

/* The verdict on a nested fault. *again: the instruction is run again. */
static bool nested_fault(struct world *w, struct world_vcpu *v, const struct op *op,
                         const struct reached *r, struct world_ending *e, bool *again)
{
    struct fault   f = { gva_of(r->gpa), r->acc, r->present };
    struct verdict d = paging_fault((struct paging_locked){ &w->domain }, &v->core, &f);

    *again = d.kind == VERDICT_RETRY || d.promoted;
    v->stepping |= d.step;
    w->counts.stepped += d.step;
    if (!world_flush(w, v, d))
        return false;
    w->counts.again += d.again;
    w->counts.nested_faults++;
    if (d.kind == VERDICT_ACCESS) {
        *e = (struct world_ending){ .end = WORLD_ACCESS, .marked = !d.in_walk };
        return world_refused(w, v, op, &d);
    }
    if (*again)
        return true;
    if (d.kind != VERDICT_DEVICE || d.gpa != r->gpa)
        return world_fail(w, "nested fault at %#" PRIx64 ": verdict %d for %#" PRIx64 " (%s)",
                          r->gpa, (int)d.kind, d.gpa, d.why ? d.why : "");
    w->counts.devices++;
    return world_emulate(w, v, op, VERDICT_DEVICE, e);
}

/* One try: true if it came to an end, or to a nested fault, and nothing is wrong. */
static bool try_access(struct world *w, struct world_vcpu *v, const struct op *op,
                       struct reached *r, struct world_ending *e)
{
    struct mmu_memory  memory = { .at = reach_table, .context = r };
    struct mmu         processor = v->naive;
    struct mmu_outcome o;
    const uint8_t     *byte;

    processor.memory = &memory;
    o = mmu_access(&processor, op->va, world_naive_access(op->acc));
    if (r->faulted)
        return true;
    *e = (struct world_ending){ .end = WORLD_FAULT, .error = o.error };
    if (!o.ok)
        return true;
    byte = through_ours(r, o.gpa, op->acc & (ACC_WRITE | ACC_FETCH));
    if (r->faulted)
        return true;
    *e = (struct world_ending){ .end = WORLD_MEMORY,
                                .at = (uint64_t)(byte - w->phys.base),
                                .is_machine = true };
    return !(op->acc & ACC_WRITE) || world_write_directly(w, v, op, e);
}

bool world_nested_access(struct world *w, struct world_vcpu *v, const struct op *op,
                         struct world_ending *e)
{
    for (unsigned i = 0; i < WORLD_AGAIN; i++) {
        struct reached r = { .w = w, .v = v };
        bool           again = false;

        world_enter(w, v);
        if (!try_access(w, v, op, &r, e) || w->failure[0] != '\0')
            return false;
        if (r.faulted && !nested_fault(w, v, op, &r, e, &again))
            return false;
        e->faults = i + 1;
        w->counts.nested += !r.faulted;
        if (!again)
            return true;
    }
    return world_fail(w, "%u nested faults for one access", WORLD_AGAIN);
}

/* ---- H1 and T1 ---- */

static bool check_nested(struct world *w, const char *where, const struct hardware_translation *t)
{
    uint64_t        gpa = t->page << 12;
    enum mmu_behind behind = mmu_behind(&w->memory, gpa);

    if (t->writable && behind == MMU_RAM && !world_dirty_told(w, t->page))
        return world_fail(w, "D1: %s allows writes at gpa %#" PRIx64 " that log-dirty would miss",
                          where, gpa);
    if (~world_rights(w, t->page) &
        (ACCESS_READ | (t->writable ? ACCESS_WRITE : 0u) | (t->no_execute ? 0u : ACCESS_FETCH)))
        return world_fail(w, "%s allows more at gpa %#" PRIx64 " than the monitor", where, gpa);
    if ((behind == MMU_RAM || (behind == MMU_ROM && !t->writable)) &&
        t->mfn == w->mfn_of_page[w->memory.page_of[t->page]])
        return true;
    return world_fail(w, "%s maps gpa %#" PRIx64 " to mfn %#" PRIx64 "%s, behind it is %d", where,
                      gpa, t->mfn, t->writable ? ", writable" : "", (int)behind);
}

bool world_check_nested(struct world *w, const struct world_vcpu *v)
{
    const struct hardware      *h = &v->hardware;
    struct hardware_translation t;

    w->counts.tlb_checks++;
    for (unsigned i = 0; i < HARDWARE_TLB; i++)
        if (h->asid[h->slot].tlb[i].used &&
            !check_nested(w, "T1: the TLB", &h->asid[h->slot].tlb[i]))
            return false;
    for (uint64_t gfn = 0; gfn < w->memory.gfns; gfn++)
        if (hardware_look(h, paging_hw(&v->core), gfn << 12, &t) &&
            !check_nested(w, "H1: our table", &t))
            return false;
    return true;
}

/* ---- the change ---- */

/* All vCPUs have left the guest, and each has new translations from now on. */
static bool changed(struct world *w, struct world_vcpu *v)
{
    if (!world_nothing_reachable(w, v))
        return false;
    for (unsigned i = 0; i < w->vcpus; i++) {
        w->vcpu[i].guarded = false;
        if (w->domain.kind == PAGING_SHADOW)
            mmu_latch(&w->vcpu[i].naive);
        if (!world_flushed_all(w, &w->vcpu[i]))
            return false;
    }
    return true;
}

bool world_set_kind(struct world *w, struct world_vcpu *v, enum paging_kind kind)
{
    for (unsigned calls = 0; calls < WORLD_AGAIN; calls++) {
        bool           other = w->domain.kind != kind;
        struct verdict d = paging_set_kind((struct paging_locked){ &w->domain }, kind);

        if (d.kind != VERDICT_RETRY)
            return world_fail(w, "paging_set_kind: verdict %d (%s)", (int)d.kind,
                              d.why ? d.why : "");
        if (!world_flush(w, v, d))
            return false;
        if (!d.again) {
            w->counts.kinds += other;
            return !other || changed(w, v);
        }
        w->counts.again++;
    }
    return world_fail(w, "paging_set_kind does not come to an end");
}
