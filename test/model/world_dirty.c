/*
 * Two worlds: log-dirty. The naive one knows which pages were written since somebody last asked;
 * the core must say the same, no page more and none less. See world.h.
 */
#include "test/model/world.h"

#include <inttypes.h>
#include <string.h>

void world_dirty_note(struct world *w)
{
    for (uint32_t page = 0; page < w->memory.pages; page++)
        w->dirty[page] = w->dirty[page] || w->memory.touched[page];
}

void world_dirty_entered(struct world *w, uint64_t gfn)
{
    if (w->memory.behind[gfn] == MMU_RAM || w->memory.behind[gfn] == MMU_ROM)
        w->dirty[w->memory.page_of[gfn]] = true;
}

static bool turn(struct world *w, struct world_vcpu *v, bool on)
{
    for (unsigned calls = 0; calls < WORLD_AGAIN; calls++) {
        struct paging_locked p = { &w->domain };
        struct verdict       d = on ? paging_dirty_on(p) : paging_dirty_off(p);

        if (d.kind != VERDICT_RETRY)
            return world_fail(w, "log-dirty %s: verdict %d (%s)", on ? "on" : "off", (int)d.kind,
                              d.why ? d.why : "");
        if (!world_flush(w, v, d))
            return false;
        if (!d.again) {
            if (on && !w->logging) {
                memset(w->dirty, 0, w->memory.pages * sizeof(*w->dirty));
                memset(w->walked, 0, w->memory.pages * sizeof(*w->walked));
            }
            w->logging = on;
            return true;
        }
        w->counts.again++;
    }
    return world_fail(w, "log-dirty %s does not come to an end", on ? "on" : "off");
}

bool world_dirty_told(const struct world *w, uint64_t gfn)
{
    uint32_t page = w->memory.page_of[gfn];

    return !w->logging || w->dirty[page] || w->walked[page];
}

static bool compare(struct world *w, const struct dirty_fetch *f)
{
    const struct mmu_memory *m = &w->memory;
    uint64_t                 found = 0;

    for (uint64_t gfn = f->first.raw; gfn < f->end.raw; gfn++) {
        uint64_t at = gfn - f->first.raw;
        bool     ours = f->bitmap[at / 64] >> at % 64 & 1, naive = false, may = false;

        if (gfn < m->gfns && (m->behind[gfn] == MMU_RAM || m->behind[gfn] == MMU_ROM)) {
            uint32_t page = m->page_of[gfn];

            naive = w->dirty[page];
            may = naive || w->walked[page];
            if (f->clean)
                w->dirty[page] = w->walked[page] = false;
        }
        if (naive ? !ours : ours && !may)
            return world_fail(w, "gfn %#" PRIx64 " was %swritten, and log-dirty says it was%s", gfn,
                              naive ? "" : "not ", ours ? "" : " not");
        found += ours;
    }
    w->counts.logged += found;
    return found == f->found ||
           world_fail(w, "log-dirty: %" PRIu64 " bits, said to be %" PRIu64, found, f->found);
}

/* No vCPU may write what was cleaned without being seen. */
static bool check_unseen(struct world *w)
{
    for (unsigned i = 0; i < w->vcpus; i++)
        if (!world_check_translations(w, &w->vcpu[i]))
            return false;
    return true;
}

static bool fetch(struct world *w, struct world_vcpu *v, const struct op *op, bool clean)
{
    uint64_t           bitmap[64] = { 0 }, first = op->va % (w->memory.gfns + 1);
    uint64_t           most = w->memory.gfns + 8 - first;
    uint64_t           count = op->old == 0 || op->old > most ? most : op->old;
    struct dirty_fetch f = { .next = gfn_of(first),
                             .end = gfn_of(first + count),
                             .clean = clean,
                             .first = gfn_of(first),
                             .bitmap = bitmap };

    for (unsigned calls = 0; calls < WORLD_AGAIN; calls++) {
        struct verdict d = paging_dirty_fetch((struct paging_locked){ &w->domain }, &f);

        if (d.kind != VERDICT_RETRY)
            return world_fail(w, "paging_dirty_fetch: verdict %d", (int)d.kind);
        if (!world_flush(w, v, d))
            return false;
        if (!d.again)
            return compare(w, &f) && (!clean || check_unseen(w));
        w->counts.again++;
    }
    return world_fail(w, "paging_dirty_fetch does not come to an end");
}

bool world_dirty(struct world *w, struct world_vcpu *v, const struct op *op)
{
    switch (op->value % WORLD_DIRTY_KINDS) {
    case WORLD_DIRTY_ON:
        return turn(w, v, true);
    case WORLD_DIRTY_OFF:
        return turn(w, v, false);
    default:
        return !w->logging || fetch(w, v, op, op->value % WORLD_DIRTY_KINDS == WORLD_DIRTY_CLEAN);
    }
}
