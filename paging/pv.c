/*
 * A domain under direct paging that runs on shadows of its tables: doc/direct.md, "Shadow mode".
 *
 * The engine is that of any guest of four levels. What differs: a guest's frame is the machine's
 * (p2m.identity). That a table is never writable is the doing of its type, and so is that its frame
 * stays while it has shadows. Each root holds the hypervisor's entries (slots), since the processor
 * runs on it in ring 3 and comes back there. Entries are changed by requests only, each of which is
 * followed before it is answered; so no table is ever out of sync.
 */
#include "shadow.h"

bool paging_pv_init(struct paging_domain *d, const struct phys *phys, uint16_t id,
                    struct pt_features features, const pte_t *slots)
{
    const struct pool         pool = d->pool;
    const struct paging_stats stats = d->stats;

    *d = (struct paging_domain){ .pool = pool, .stats = stats };
    if (!paging_domain_init(d, phys, id, PAGING_SHADOW, features))
        return false;
    d->p2m.identity = true;
    d->slots = slots;
    return true;
}

struct verdict paging_pv_unshadow(struct paging_locked p, mfn_t mfn)
{
    struct change       c = { .d = p.domain, .flush = FLUSH_ALL };
    const struct frame *f = phys_frame(p.domain->phys, mfn);

    while (f->guest.shadows != 0)
        shadow_orphan(&c, mfn_of(f->guest.shadows));
    c.d->stats.unshadowed++;
    c.d->lowered++;
    return verdict_of(&c, VERDICT_RETRY);
}

void paging_pv_leave(struct paging_locked p)
{
    struct change c = { .d = p.domain };

    for (; p.domain->vcpus; p.domain->vcpus = p.domain->vcpus->next)
        root_release_all(&c, p.domain->vcpus);
    p.domain->generation++;
}

bool paging_pv_knows(const struct phys *phys, mfn_t mfn)
{
    const struct frame *f = phys_frame(phys, mfn);

    return (f->guest.mapped.leaves[0][0] | f->guest.mapped.leaves[0][1]) != 0;
}

struct verdict paging_pv_follow(struct paging_locked p, mfn_t mfn, unsigned index)
{
    struct change c = { .d = p.domain };

    sync_written(&c, mfn, index * sizeof(pte_t), sizeof(pte_t));
    return verdict_of(&c, VERDICT_RETRY);
}
