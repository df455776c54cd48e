/*
 * Log-dirty: which frames of a domain were written since somebody last asked.
 *
 * There is one bit for each frame of the machine, by machine frame number, made at boot. So marking
 * a frame needs no memory, cannot fail, and is the same for whoever writes: a guest under any kind of
 * paging, the hypervisor, a device. The numbers of guest frames come in when the bits are asked for
 * (dirty.c). A bit says something only while the frame's owner logs.
 *
 * While a domain logs, this holds (D1, doc/model.md): a frame of its memory that any of our tables
 * makes writable has its bit set. So the first write after the bit was taken is seen.
 */
#ifndef PAGING_DIRTY_H
#define PAGING_DIRTY_H

#include "paging.h"

static inline bool dirty_bit(const struct phys *phys, mfn_t mfn)
{
    return __atomic_load_n(&phys->dirty[mfn.raw / 64], __ATOMIC_RELAXED) >> mfn.raw % 64 & 1;
}

/* The domain logs writes to this frame; memory of others that it can reach is theirs to log. */
static inline bool dirty_is_logged(const struct paging_domain *d, mfn_t mfn)
{
    return d->dirty.on && phys_frame(d->phys, mfn)->owner == d->id;
}

/* The next write to it must be seen: it is logged, and not marked. */
static inline bool dirty_must_see(const struct paging_domain *d, mfn_t mfn)
{
    return dirty_is_logged(d, mfn) && !dirty_bit(d->phys, mfn);
}

/* Neighbours in a word may be of other domains. */
static inline void dirty_set(const struct phys *phys, mfn_t mfn, bool to)
{
    uint64_t bit = UINT64_C(1) << mfn.raw % 64;

    if (to)
        __atomic_fetch_or(&phys->dirty[mfn.raw / 64], bit, __ATOMIC_RELAXED);
    else
        __atomic_fetch_and(&phys->dirty[mfn.raw / 64], ~bit, __ATOMIC_RELAXED);
}

/* For who does not know whether its owner logs: page types, by any vCPU at any time. */
static inline void dirty_note(const struct phys *phys, mfn_t mfn)
{
    if (!dirty_bit(phys, mfn))
        dirty_set(phys, mfn, true);
}

static inline void dirty_mark(const struct paging_domain *d, mfn_t mfn)
{
    if (dirty_must_see(d, mfn))
        dirty_set(d->phys, mfn, true);
}

#endif
