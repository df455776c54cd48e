/*
 * Pages that the hypervisor and a guest share by contract: shared_info, vcpu_info, areas of
 * time. They are reached through the direct map, since they stay while the domain lives.
 *
 * Nothing keeps a guest from using such a page as one of its tables too. It only confuses
 * itself by that: every change made here is followed in the shadows of the page.
 */
#ifndef HV_SHARED_H
#define HV_SHARED_H

#include "hv/domain.h"

/* Atomically sets a bit of the word at `offset` (8-aligned) of the frame; returns what it was. */
bool shared_bit_set(struct domain *d, mfn_t mfn, unsigned offset, unsigned bit);
bool shared_bit_clear(struct domain *d, mfn_t mfn, unsigned offset, unsigned bit);

/* One reading of the word. */
uint64_t shared_word(mfn_t mfn, unsigned offset);

/* Writes within one page. Aligned words of 1, 2, 4 or 8 bytes are single accesses. */
void shared_write(struct domain *d, mfn_t mfn, unsigned offset, const void *bytes, unsigned len);

/*
 * Carries out what the core asks for after it changed guest memory or the p2m: flushes, and
 * crashes the domain if it cannot go on.
 */
void shared_apply(struct domain *d, const struct verdict *verdict);

#endif
