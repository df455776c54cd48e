/*
 * The machine's memory: a buddy allocator over the frame table.
 *
 * Blocks are of 2^order frames and aligned to their size. What is allocated gets kind
 * FRAME_HV; whoever makes it something else sets the kind, and back before freeing.
 */
#ifndef HV_ALLOC_H
#define HV_ALLOC_H

#include "paging/frame.h"

#define ALLOC_ORDER_MAX 18

enum alloc_zone {
    ALLOC_ANY,    /* prefers what lies above 4 GiB */
    ALLOC_LOW_4G, /* below 4 GiB */
};

/* Gives [first, first + count) to the allocator, at boot. */
void alloc_add(struct phys *phys, mfn_t first, uint64_t count);

/* MFN_NONE if there is no such block. Contents are whatever they were. */
must_check mfn_t alloc_frames(unsigned order, enum alloc_zone zone);
void             free_frames(mfn_t first, unsigned order);

uint64_t alloc_free_count(void);  /* frames */
uint64_t alloc_total_count(void); /* that were given to it */

/* One zeroed block of whole frames that holds `bytes`, as memory; NULL if there is none. */
must_check void *alloc_bytes(size_t bytes);
void             free_bytes(void *p, size_t bytes);

/* Checks free lists against the frame table; the number of contradictions found. */
uint64_t alloc_audit(void);

#endif
