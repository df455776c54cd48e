/* Two worlds: what an operator does to our tables, the pool's size and blowing them all. See world.h. */
#include "test/model/world.h"

#include <inttypes.h>
#include <string.h>

/* Whoever gets these frames next fills them with what is none of our tables. */
static void take_pairs(struct world *w, unsigned pairs)
{
    for (unsigned i = 0; i < pairs; i++) {
        mfn_t pair = pool_remove(&w->domain.pool);

        if (!mfn_valid(pair)) {
            world_fail(w, "paging_pool_spare: ready, but %u of %u pairs are free", i, pairs);
            return;
        }
        memset(w->phys.base + pair.raw * 4096, 0x55, 2 * 4096);
        w->spare_pair[w->spare_pairs++] = (uint32_t)pair.raw;
        w->counts.pairs_taken++;
    }
}

/* Until it is done; what happens between two calls is for other operations to show. */
bool world_resize_pool(struct world *w, struct world_vcpu *v, uint64_t pairs)
{
    struct pool *pool = &w->domain.pool;

    if (pairs < WORLD_POOL || pairs > w->setup.pairs)
        return true;
    while (pool->total < 2 * pairs)
        pool_add(pool, mfn_of(w->spare_pair[--w->spare_pairs]));
    for (unsigned calls = 0; pool->total > 2 * pairs; calls++) {
        unsigned       left = pool->total / 2 - (unsigned)pairs, some = left < 16 ? left : 16;
        bool           ready;
        struct verdict d = paging_pool_spare((struct paging_locked){ &w->domain }, some, &ready);

        if (d.kind != VERDICT_RETRY || (!ready && !d.again))
            return world_fail(w, "paging_pool_spare: verdict %d, %u pairs cannot be had of %u",
                              (int)d.kind, some, pool->total / 2);
        if (!world_flush(w, v, d) || calls > 10 * WORLD_AGAIN)
            return world_fail(w, "paging_pool_spare does not come to an end");
        w->counts.again += d.again;
        if (ready)
            take_pairs(w, some);
    }
    return true;
}

bool world_nothing_reachable(struct world *w, struct world_vcpu *v)
{
    for (unsigned i = 0; i < w->vcpus; i++) {
        const struct world_vcpu    *other = &w->vcpu[i];
        struct hardware_translation t;

        for (unsigned k = 0; k < WORLD_SEEN && k < other->seen_count; k++)
            if (hardware_look(&other->hardware, paging_hw(&other->core), other->seen[k], &t))
                return world_fail(w, "our tables map %#" PRIx64 " although they begin anew",
                                  other->seen[k]);
        if (other != v && !w->setup.smp)
            continue; /* it has left the processor, and looks at its roots before it comes back */
        world_enter(w, &w->vcpu[i]);
        for (unsigned k = 0; k < WORLD_SEEN && k < other->seen_count; k++)
            if (hardware_cached(&other->hardware, other->seen[k]) != NULL)
                return world_fail(w, "the TLB holds %#" PRIx64 " although our tables begin anew",
                                  other->seen[k]);
    }
    return true;
}

bool world_blow(struct world *w, struct world_vcpu *v)
{
    for (unsigned calls = 0; calls < WORLD_AGAIN; calls++) {
        struct verdict d = paging_blow((struct paging_locked){ &w->domain });

        if (d.kind != VERDICT_RETRY)
            return world_fail(w, "paging_blow: verdict %d (%s)", (int)d.kind, d.why ? d.why : "");
        if (!world_flush(w, v, d))
            return false;
        if (!d.again)
            return world_nothing_reachable(w, v);
        w->counts.again++;
    }
    return world_fail(w, "paging_blow does not come to an end");
}
