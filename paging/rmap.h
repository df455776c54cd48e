/*
 * The reverse map: circular lists through the entries of our tables.
 *
 * An entry is named by a number: table pair times 512 plus index. Its links (next and
 * previous number) stand at the same index of the frame beside the table, so that putting
 * an entry on a list and taking it off are O(1) and need no memory. A list's head is the
 * number of its newest entry; the newest entry's previous one is the oldest. Numbers are
 * 32 bits wide: pool frames lie below 2^24.
 */
#ifndef PAGING_RMAP_H
#define PAGING_RMAP_H

#include "pte.h"

#define RMAP_FRAMES_MAX (UINT64_C(1) << 24)
/* Writable leaves per frame, and larger ones per size and block: protecting a frame is bounded. */
#define RMAP_WRITABLE_MAX 1024
#define RMAP_LARGE_MAX    128

static inline rmap_t rmap_of(mfn_t table, unsigned index)
{
    return (rmap_t)(table.raw >> 1 << 9 | index);
}

static inline mfn_t rmap_table(rmap_t e)
{
    return mfn_of((uint64_t)(e >> 9) << 1);
}

static inline unsigned rmap_index(rmap_t e)
{
    return e & 511;
}

rmap_t rmap_next(const struct phys *phys, rmap_t e); /* towards older ones; wraps around */
rmap_t rmap_prev(const struct phys *phys, rmap_t e);
void   rmap_add(const struct phys *phys, rmap_t *head, rmap_t e);
void   rmap_remove(const struct phys *phys, rmap_t *head, rmap_t e);
/* Puts all of `from` before `to`, which becomes the whole; `from` is empty then. */
void rmap_join(const struct phys *phys, rmap_t *to, rmap_t *from);

#endif
