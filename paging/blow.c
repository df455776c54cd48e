/*
 * Blowing: whatever our tables allow is taken back at once, in O(vCPUs).
 *
 * All vCPUs leave their roots for empty ones. So nothing leads to our tables any more, and they
 * may stay as they are: they are of an older generation than the domain, stale.
 *
 *   stale ── a fault or a root needs it ──► emptied (freshen) ──► of this generation
 *         └─ its table is written, or memory is short ──► dropped
 *
 * A stale table stays on the chain of its table, which stays protected, and its entries stay in
 * the reverse map, but it follows nothing. Tables of this generation point at such tables only
 * (S8): whoever links a table, or makes it a root, gets it by shadow_get, which freshens; what is
 * linked without being needed (sync.c) passes stale ones by. Direct tables are found from their
 * root only: it is replaced, and the old tree dies, as far as no stale table holds it.
 *
 * Tables out of sync are out of anybody's use as well, which is what idle means: their list
 * becomes part of the idle ones' as a whole.
 */
#include "shadow.h"

bool shadow_freshen(struct change *c, mfn_t table)
{
    struct frame *f = shadow_of(c->d, table);

    if (!is_stale(c->d, f))
        return true;
    for (unsigned i = 0; f->shadow.used > 0;) {
        if (must_stop(c))
            return false;
        i = entry_next(c->d, table, i);
        entry_set(c, table, i, PTE_EMPTY);
    }
    f->shadow.generation = c->d->generation;
    f->shadow.idle = is_unsynced(f);
    c->d->stats.freshened++;
    return true;
}

static void blow_direct(struct change *c)
{
    mfn_t old = c->d->direct;

    c->d->direct = direct_make_root(c->d);
    shadow_put(c, old);
}

/* An empty root for each vCPU and one for the direct tree. */
static unsigned pairs_needed(const struct paging_domain *d)
{
    unsigned pairs = 1;

    for (const struct paging_vcpu *v = d->vcpus; v; v = v->next)
        pairs++;
    return pairs;
}

bool generation_begin(struct change *c)
{
    struct paging_domain *d = c->d;

    if (!shadow_reserve(c, pairs_needed(d)))
        return false;
    unsync_blow(d);
    d->generation++;
    d->lowered++;
    c->flush = FLUSH_ALL;
    blow_direct(c);
    return true;
}

struct verdict paging_blow(struct paging_locked p)
{
    struct change c = { .d = p.domain };

    if (!generation_begin(&c))
        return verdict_unready(&c);
    for (struct paging_vcpu *v = p.domain->vcpus; v; v = v->next)
        root_begin(&c, v);
    return verdict_of(&c, VERDICT_RETRY);
}
