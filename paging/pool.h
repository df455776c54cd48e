/*
 * The memory of a domain's own tables: shadows, nested tables, p2m, snapshots.
 *
 * A table of ours takes a pair of frames: the table at the even one, the links of the
 * reverse map at the odd one beside it. What needs one frame only (p2m nodes, snapshots)
 * takes half a pair; a pair whose halves are both free is whole again.
 */
#ifndef PAGING_POOL_H
#define PAGING_POOL_H

#include "frame.h"

struct pool {
    const struct phys *phys;
    uint16_t           owner;
    uint32_t           pairs, singles; /* first of each free list, 0 for none */
    uint32_t           total;          /* frames given to the pool            */
    uint32_t           free_pairs, free_singles;
    uint32_t           low; /* fewest free frames since its size was set */
};

/*
 * Frames below which a pool must not be set: what one instruction can need with the delivery of
 * an event, for each vCPU, and a p2m in which every 2 MiB of the `pages` of 4 KiB is broken up.
 * doc/shadow.md has the formula.
 */
#define POOL_MINIMUM_VCPU 128
#define POOL_MINIMUM_REST 64

static inline uint64_t pool_minimum(uint64_t pages, unsigned vcpus)
{
    return POOL_MINIMUM_VCPU * (uint64_t)vcpus + pages / 512 + POOL_MINIMUM_REST;
}

/* The same in MiB, for `memory` MiB: what a domain's file or an operator has to say at least. */
static inline uint32_t pool_minimum_mb(uint32_t memory, unsigned vcpus)
{
    return (uint32_t)((pool_minimum((uint64_t)memory * 256, vcpus) + 255) / 256);
}

void pool_init(struct pool *pool, const struct phys *phys, uint16_t owner);

/* Gives the pool a pair of frames; `even` is the even one, kind FRAME_HV or FRAME_FREE before. */
void pool_add(struct pool *pool, mfn_t even);

/*
 * Takes a free pair out of the pool for good; MFN_NONE if there is none. It may have been a table:
 * all that was lowered must have been flushed before others get it (paging_pool_spare).
 */
must_check mfn_t pool_remove(struct pool *pool);

/*
 * Allocates; contents are zero, but for a snapshot, which is written at once. Whoever calls has
 * reserved: MFN_NONE means a bug or reserve first.
 */
must_check mfn_t pool_pair(struct pool *pool);
must_check mfn_t pool_single(struct pool *pool, enum frame_kind kind);

void pool_put_pair(struct pool *pool, mfn_t even);
/* The same for a table whose entries are all empty: it is not cleared when it is allocated again. */
void pool_put_empty_pair(struct pool *pool, mfn_t even);
void pool_put_single(struct pool *pool, mfn_t mfn);

static inline uint32_t pool_free_frames(const struct pool *pool)
{
    return 2 * pool->free_pairs + pool->free_singles;
}

#endif
