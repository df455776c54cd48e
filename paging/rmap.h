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

struct rmap_link {
    rmap_t next, prev;
};
_Static_assert(512 * sizeof(struct rmap_link) == PAGE_SIZE, "the links of a table fill a frame");

/* In the frame beside the table: two frames for each 512 numbers, of 8 bytes each. */
static inline struct rmap_link *rmap_link_of(const struct phys *phys, rmap_t e)
{
    uint64_t twice = (uint64_t)e + (e & ~UINT32_C(511));

    return (struct rmap_link *)(void *)(phys->base + PAGE_SIZE) + twice;
}

/* Towards older ones; wraps around. */
static inline rmap_t rmap_next(const struct phys *phys, rmap_t e)
{
    return rmap_link_of(phys, e)->next;
}

static inline rmap_t rmap_prev(const struct phys *phys, rmap_t e)
{
    return rmap_link_of(phys, e)->prev;
}

/* The link of an entry, from where the entry is. */
static inline struct rmap_link *rmap_link_beside(pte_t *entry)
{
    return (struct rmap_link *)(void *)(entry + 512);
}

/* `l` is the link of the entry. */
static inline void rmap_add_at(const struct phys *phys, rmap_t *head, rmap_t e, struct rmap_link *l)
{
    if (*head == 0) {
        *l = (struct rmap_link){ e, e };
    } else {
        struct rmap_link *newest = rmap_link_of(phys, *head);
        rmap_t            oldest = newest->prev;

        *l = (struct rmap_link){ .next = *head, .prev = oldest };
        newest->prev = e;
        rmap_link_of(phys, oldest)->next = e;
    }
    *head = e;
}

static inline void rmap_remove_at(const struct phys *phys, rmap_t *head, rmap_t e,
                                  const struct rmap_link *l)
{
    if (l->next == e) {
        *head = 0;
        return;
    }
    rmap_link_of(phys, l->next)->prev = l->prev;
    rmap_link_of(phys, l->prev)->next = l->next;
    if (*head == e)
        *head = l->next;
}

static inline void rmap_add(const struct phys *phys, rmap_t *head, rmap_t e)
{
    rmap_add_at(phys, head, e, rmap_link_of(phys, e));
}

static inline void rmap_remove(const struct phys *phys, rmap_t *head, rmap_t e)
{
    rmap_remove_at(phys, head, e, rmap_link_of(phys, e));
}

/* Puts all of `from` before `to`, which becomes the whole; `from` is empty then. */
void rmap_join(const struct phys *phys, rmap_t *to, rmap_t *from);

#endif
