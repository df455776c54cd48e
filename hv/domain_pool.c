/*
 * Frames go from the allocator to a domain's pool and back. A frame that comes back was a table
 * of ours: it is flushed before it is freed.
 */
#include "hv/domain_pool.h"

#include "hv/alloc.h"
#include "hv/guest.h"
#include "hv/preempt.h"
#include "hv/print.h"

/* Entries of our tables have 32-bit numbers, 512 to a pair of frames: the pool ends at 64 GiB. */
#define POOL_FRAME_END (UINT64_C(1) << 24)
#define FRAMES_PER_MB  256

/* What a step may do: each is well below 100,000 instructions. */
#define PAIRS_GIVEN 64
#define PAIRS_TAKEN 16

static uint64_t even(uint64_t frames)
{
    return (frames + 1) & ~UINT64_C(1);
}

uint64_t domain_pool_minimum(const struct config *config)
{
    if (config->type == CONFIG_PV) /* it runs on its own tables */
        return 0;
    return even(pool_minimum((uint64_t)config->memory * FRAMES_PER_MB, config->vcpus));
}

uint64_t domain_pool_wanted(const struct config *config)
{
    return config->type == CONFIG_PV ? 0 : domain_pool_of_shadows(config);
}

uint64_t domain_pool_of_shadows(const struct config *config)
{
    if (config->shadow_memory != 0)
        return (uint64_t)config->shadow_memory * FRAMES_PER_MB;
    return even((uint64_t)config->memory * FRAMES_PER_MB / 32 + 1024 +
                UINT64_C(512) * config->vcpus);
}

static bool give_pair(struct domain *d)
{
    mfn_t pair = alloc_frames(1, ALLOC_ANY);

    if (mfn_valid(pair) && pair.raw + 1 >= POOL_FRAME_END) {
        free_frames(pair, 1);
        pair = alloc_frames(1, ALLOC_LOW_4G);
    }
    if (mfn_valid(pair))
        pool_add(&d->paging.pool, pair);
    return mfn_valid(pair);
}

static bool take_pair(struct domain *d)
{
    mfn_t pair = pool_remove(&d->paging.pool);

    if (!mfn_valid(pair))
        return false;
    for (uint64_t i = 0; i < 2; i++)
        *phys_frame(&machine_phys, mfn_of(pair.raw + i)) = (struct frame){ .kind = FRAME_HV };
    phys_frame(&machine_phys, pair)->order = 1;
    free_frames(pair, 1);
    return true;
}

enum domain_pool_result domain_pool_grow(struct domain *d, uint64_t frames)
{
    for (unsigned i = 0; i < PAIRS_GIVEN && d->paging.pool.total < frames; i++)
        if (!give_pair(d))
            return DOMAIN_POOL_NO_MEMORY;
    return d->paging.pool.total < frames ? DOMAIN_POOL_AGAIN : DOMAIN_POOL_DONE;
}

static enum domain_pool_result shrink(struct domain *d, uint64_t frames)
{
    uint64_t       left = (d->paging.pool.total - frames) / 2;
    unsigned       pairs = left < PAIRS_TAKEN ? (unsigned)left : PAIRS_TAKEN;
    bool           ready;
    struct verdict verdict = paging_pool_spare(domain_lock(d), pairs, &ready);

    verdict_flush(d, &verdict);
    if (!ready)
        return verdict.again ? DOMAIN_POOL_AGAIN : DOMAIN_POOL_IN_USE;
    for (unsigned i = 0; i < pairs; i++)
        BUG_ON(!take_pair(d)); /* so many are free */
    return d->paging.pool.total > frames ? DOMAIN_POOL_AGAIN : DOMAIN_POOL_DONE;
}

/* By what its file says, or what it has, where that is more; a PV domain's shadows need no p2m. */
uint64_t domain_pool_least(const struct domain *d, uint64_t more)
{
    uint64_t pages = (uint64_t)d->config.memory * FRAMES_PER_MB;

    if (d->config.type == CONFIG_PV)
        pages = 0;
    else if (pages < d->pages + more)
        pages = d->pages + more;
    return even(pool_minimum(pages, d->config.vcpus));
}

enum domain_pool_result domain_pool_set(struct domain *d, uint64_t frames)
{
    frames = even(frames);
    if (!d->paging_ready || frames < domain_pool_least(d, 0) ||
        frames > DOMAIN_POOL_MB_MAX * FRAMES_PER_MB)
        return DOMAIN_POOL_REFUSED;
    return d->paging.pool.total < frames ? domain_pool_grow(d, frames) : shrink(d, frames);
}

enum domain_pool_result domain_pool_resize(struct domain *d, uint64_t mb)
{
    enum domain_pool_result result;

    if (mb > DOMAIN_POOL_MB_MAX)
        return DOMAIN_POOL_REFUSED;
    do {
        result = domain_pool_set(d, mb * FRAMES_PER_MB);
        preemption_point(this_cpu(), "setting a pool's size");
    } while (result == DOMAIN_POOL_AGAIN);
    return result;
}

bool domain_pool_fill(struct domain *d, uint64_t frames)
{
    pool_init(&d->paging.pool, &machine_phys, d->id);
    while (d->paging.pool.total < frames)
        if (!give_pair(d))
            return false;
    return true;
}

bool domain_pool_drain(struct domain *d)
{
    for (unsigned i = 0; i < PAIRS_GIVEN; i++)
        if (!take_pair(d))
            return true;
    return false;
}
