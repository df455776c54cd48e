/*
 * The kind of paging changes while the guest runs: from shadow to nested paging and back.
 *
 * It is a new generation of our tables (blow.c) in which every vCPU begins with the root of the
 * other kind. So it takes as long as a blow, O(vCPUs), whatever was built before, and nothing that
 * was allowed is allowed any more: what the guest needs is built by faults under the new kind.
 *
 *   shadow ──► nested   The guest's tables are its own: no frame is protected, and there are no
 *                       guards. Shadows are left behind stale, those out of sync idle. Nothing
 *                       leads to them; their tables are written unseen. They go in the background
 *                       (paging_work), and whenever memory is short.
 *   nested ──► shadow   The guest loaded CR3 unseen: the edge has said what it is
 *                       (paging_note_regs), and the entries that a PAE guest's CR3 leads to are
 *                       latched now. One with reserved bits gives the fault that it gave before,
 *                       when it is used. The nested tree is left to the reaper. Shadows that are
 *                       still there from before are stale by two generations, and emptied before
 *                       they are used, as after any blow.
 *
 * A leaf of the tree that was left may say W of a frame that has shadows: it is stale (S1).
 */
#include "shadow.h"

struct verdict paging_set_kind(struct paging_locked p, enum paging_kind kind)
{
    struct paging_domain *d = p.domain;
    struct change         c = { .d = d };

    if (d->kind == kind)
        return verdict_of(&c, VERDICT_RETRY);
    if (!generation_begin(&c))
        return verdict_unready(&c);
    d->kind = kind;
    for (struct paging_vcpu *v = d->vcpus; v; v = v->next) {
        v->events++; /* what the last ones were says nothing any more */
        paging_guard_set(p, v, NULL);
        if (kind == PAGING_SHADOW && v->mode.format == PT_PAE)
            (void)root_latch(v, &v->regs, v->pdpte);
        root_begin(&c, v);
    }
    return verdict_of(&c, VERDICT_RETRY);
}
