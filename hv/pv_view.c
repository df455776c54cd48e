/* Looking at PV domains: the audit of all of them, and a walk through one's tables. */
#include <string.h>

#include "hv/alloc.h"
#include "hv/foreign.h"
#include "hv/grant.h"
#include "hv/print.h"
#include "hv/pv.h"

#define DOMAINS_MAX 64
#define WINDOW_MIN  4096u /* frames that are audited at a time, when memory is short */
#define LEVELS      4u

static void tally(const struct direct_window *w, mfn_t mfn)
{
    uint64_t i = mfn.raw - w->first.raw;

    if (!mfn_valid(mfn) || mfn.raw < w->first.raw || i >= w->frames)
        return;
    w->tally[i].refs++;
    w->tally[i].types++;
}

/* Frames of this domain that somebody uses by its grants. */
static void tally_grants(const struct direct_window *w, const struct domain *d)
{
    for (unsigned i = 0; d->grants != NULL && i < GRANTS_MAX; i++) {
        const struct grant_active *a = &d->grants->active[i];
        uint64_t                   at = a->mfn.raw - w->first.raw;

        if (a->readers + a->writers != 0 && a->mfn.raw >= w->first.raw && at < w->frames)
            w->tally[at].refs++;
    }
}

/* Frames that stand in the map of a domain, which is not theirs. */
static void tally_foreign(void *arg, mfn_t mfn, bool typed)
{
    const struct direct_window *w = arg;
    uint64_t                    at = mfn.raw - w->first.raw;

    if (mfn.raw < w->first.raw || at >= w->frames)
        return;
    w->tally[at].refs++;
    w->tally[at].types += typed;
}

/* What this domain holds by requests of ours: pages that we write, tables of descriptors. */
static void tally_domain(const struct direct_window *w, const struct domain *d)
{
    tally_grants(w, d);
    for (unsigned i = 0; i < d->pv->helds; i++)
        tally(w, d->pv->held[i]);
    for (unsigned n = 0; n < d->nr_vcpus; n++) {
        const struct pv_vcpu *v = d->vcpu[n]->pv;

        for (unsigned i = 0; v != NULL && i < PV_GDT_FRAMES; i++)
            tally(w, v->gdt[i]);
        for (unsigned i = 0; v != NULL && i < v->gdt_ready; i++)
            tally(w, v->gdt_next[i]);
        for (unsigned i = 0; v != NULL && i < PV_LDT_FRAMES; i++)
            tally(w, v->ldt_frame[i]);
    }
}

/* All that have frames; how many. */
static unsigned collect(struct direct_domain *list[DOMAINS_MAX])
{
    unsigned count = 0;

    for (struct domain *d = domains; d != NULL; d = d->next)
        if (d->pv != NULL && count < DOMAINS_MAX)
            list[count++] = &d->pv->direct;
    return count;
}

static struct direct_window make_window(void)
{
    struct direct_window w = { .first = mfn_of(0), .frames = machine_phys.frames };

    for (;;) {
        w.tally = alloc_bytes(w.frames * sizeof(*w.tally));
        if (w.tally != NULL || w.frames <= WINDOW_MIN)
            return w;
        w.frames /= 2;
    }
}

void pv_audit(struct audit *sum)
{
    struct direct_domain *list[DOMAINS_MAX];
    struct direct_audit   found = { 0 };
    unsigned              count = collect(list);
    struct direct_window  w;
    size_t                bytes;

    if (count == 0)
        return;
    w = make_window();
    bytes = w.frames * sizeof(*w.tally);
    if (w.tally == NULL) {
        found.violations = 1;
        format_string(found.first, sizeof(found.first), "no memory for the audit of page types");
    }
    for (; w.tally != NULL && w.first.raw < machine_phys.frames; w.first.raw += w.frames) {
        memset(w.tally, 0, bytes);
        for (const struct domain *d = domains; d != NULL; d = d->next) {
            foreign_each(d, tally_foreign, &w);
            if (d->pv != NULL)
                tally_domain(&w, d);
        }
        direct_audit(&pv_machine, list, count, &w, &found);
    }
    free_bytes(w.tally, bytes);
    if (found.violations > 0 && sum->violations == 0)
        format_string(sum->first, sizeof(sum->first), "page types: %s", found.first);
    sum->violations += found.violations;
    sum->frames += found.frames;
    sum->entries += found.entries;
}

void pv_view(const struct vcpu *v, gva_t va, struct paging_view *view)
{
    mfn_t root = v->pv->direct.root[!v->pv->kernel];

    *view = (struct paging_view){ 0 };
    if (!mfn_valid(root))
        return;
    for (unsigned level = LEVELS; level > 0; level--) {
        struct pv_place place;

        if (!pv_walk(root, va, level, &place))
            return;
        view->level[view->count++] = (struct paging_level_view){
            .level = (uint8_t)level,
            .gpa = (place.table.raw << PAGE_SHIFT) + place.index * sizeof(pte_t),
            .guest = place.entry.raw,
            .ma = ~UINT64_C(0),
        };
        if (level == 1 && pte_has(place.entry, PTE_P)) {
            view->mapped = true;
            view->gpa = pte_frame(place.entry) << PAGE_SHIFT | (va.raw & PAGE_MASK);
        }
    }
}
