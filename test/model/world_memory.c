/* Two worlds: what the hypervisor does to the guest's memory by frame, and tables that are forgotten. See world.h. */
#include "test/model/world.h"

#include <inttypes.h>

static bool is_memory(const struct world *w, uint64_t gpa)
{
    return mmu_behind(&w->memory, gpa) == MMU_RAM;
}

bool world_poke(struct world *w, struct world_vcpu *v, const struct op *op)
{
    if (!is_memory(w, op->va) || (op->va & 4095) + op->length > 4096)
        return true;
    struct paging_reach r = paging_reach_gpa((struct paging_locked){ &w->domain }, op->va);
    uint64_t            mfn = w->mfn_of_page[w->memory.page_of[op->va >> 12]];

    if (r.kind != REACH_RAM || r.mfn.raw != mfn || r.gpa != op->va)
        return world_fail(w, "paging_reach_gpa(%#" PRIx64 "): kind %d mfn %#" PRIx64, op->va,
                          (int)r.kind, r.mfn.raw);
    mmu_write_memory(&w->memory, op->va, &op->value, op->length);
    struct verdict d = paging_write((struct paging_locked){ &w->domain }, r.mfn,
                                    (unsigned)(op->va & 4095), &op->value, op->length);

    if (d.kind != VERDICT_RETRY)
        return world_fail(w, "paging_write: verdict %d (%s)", (int)d.kind, d.why ? d.why : "");
    return world_flush(w, v, d);
}

/* The root that some vCPU runs on cannot be forgotten. */
static bool runs_on(const struct world *w, mfn_t mfn)
{
    for (unsigned i = 0; i < w->vcpus; i++) {
        const struct paging_vcpu *v = &w->vcpu[i].core;

        for (unsigned t = 0; t < 4; t++)
            if (mfn_eq(v->root[v->current].guest[t], mfn))
                return true;
    }
    return false;
}

/* As a guest begins to write over the whole frame. */
static bool overwrite(struct world *w, struct world_vcpu *v, mfn_t mfn)
{
    const struct frame *f = &w->phys.frame[mfn.raw];
    bool           may = f->guest.shadows != 0 && !runs_on(w, mfn) && !f->guest.guarded, forgotten;
    struct verdict d = paging_overwrite((struct paging_locked){ &w->domain }, mfn, &forgotten);

    if (forgotten != may || d.kind != VERDICT_RETRY)
        return world_fail(w, "paging_overwrite: verdict %d, forgotten %d, should be %d",
                          (int)d.kind, forgotten, may);
    return world_flush(w, v, d);
}

/* Frames with an odd number are overwritten instead. */
bool world_unshadow(struct world *w, struct world_vcpu *v, const struct op *op)
{
    if (!is_memory(w, op->va << 12))
        return true;
    mfn_t mfn = mfn_of(w->mfn_of_page[w->memory.page_of[op->va]]);

    if (op->va & 1)
        return overwrite(w, v, mfn);

    struct verdict d = paging_unshadow((struct paging_locked){ &w->domain }, mfn);

    if (runs_on(w, mfn) || w->phys.frame[mfn.raw].guest.guarded)
        return d.kind == VERDICT_CRASH ||
               world_fail(w, "paging_unshadow drops a root in use, or what is under guard");
    if (d.kind != VERDICT_RETRY)
        return world_fail(w, "paging_unshadow: verdict %d (%s)", (int)d.kind, d.why ? d.why : "");
    return world_flush(w, v, d);
}
