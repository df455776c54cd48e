/*
 * The p2m: which machine frame is behind a guest frame, and what kind of thing it is.
 *
 * A radix tree of four levels of 512 entries in frames of the domain's pool. A leaf may
 * stand at level 1, 2 or 3 and then covers an aligned block (order 0, 9, 18).
 */
#ifndef PAGING_P2M_H
#define PAGING_P2M_H

#include "pool.h"

enum p2m_type {
    P2M_HOLE,   /* nothing: reads as all ones, writes are lost */
    P2M_RAM,    /* memory */
    P2M_ROM,    /* memory that the guest may not change; writes are lost */
    P2M_DEVICE, /* emulated by a device model */
};

struct p2m_entry {
    mfn_t         mfn; /* of exactly the gfn asked for */
    enum p2m_type type;
    uint8_t       order; /* of the largest uniform block around it */
};

struct p2m {
    struct pool *pool;
    mfn_t        root;
    uint64_t     pages; /* guest frames that have memory behind them */
};

#define P2M_BITS 40 /* guest-physical addresses have at most this many bits */

must_check bool p2m_init(struct p2m *p2m, struct pool *pool);

must_check struct p2m_entry p2m_get(const struct p2m *p2m, gfn_t gfn);

/*
 * Sets the aligned block of 2^order frames. Nodes for it are allocated: false if the pool
 * has none, and then nothing changed. What our tables still say about the block is the
 * caller's business (paging_p2m_set).
 */
must_check bool p2m_set(struct p2m *p2m, gfn_t gfn, struct p2m_entry entry);

/* Frees nodes, at most `budget`; true when all are gone. The tree must not be used between. */
must_check bool p2m_reap(struct p2m *p2m, unsigned budget);

#endif
