/*
 * The p2m: which machine frame is behind a guest frame, and what kind of thing it is.
 *
 * A radix tree of four levels of 512 entries in frames of the domain's pool. A leaf may
 * stand at level 1, 2 or 3 and then covers an aligned block (order 0, 9, 18).
 */
#ifndef PAGING_P2M_H
#define PAGING_P2M_H

#include "pool.h"
#include "pte.h"

enum p2m_type {
    P2M_HOLE,        /* nothing: reads as all ones, writes are lost */
    P2M_RAM,         /* memory */
    P2M_ROM,         /* memory that the guest may not change; writes are lost */
    P2M_DEVICE,      /* emulated by a device model */
    P2M_GRANT,       /* memory of another domain, or its own once more: as granted */
    P2M_GRANT_ROM,   /* the same, to read; writes are lost */
    P2M_FOREIGN,     /* memory of another domain, by a privilege over it */
    P2M_FOREIGN_ROM, /* the same, to read; writes are lost */
};

/* There is memory behind it. */
static inline bool p2m_is_memory(enum p2m_type type)
{
    return type != P2M_HOLE && type != P2M_DEVICE;
}

/* Memory, of which writes are lost. */
static inline bool p2m_is_rom(enum p2m_type type)
{
    return type == P2M_ROM || type == P2M_GRANT_ROM || type == P2M_FOREIGN_ROM;
}

static inline bool p2m_is_foreign(enum p2m_type type)
{
    return type == P2M_FOREIGN || type == P2M_FOREIGN_ROM;
}

/* Memory for which somebody keeps a record (struct borrow) as long as it stands here. */
static inline bool p2m_is_borrowed(enum p2m_type type)
{
    return type == P2M_GRANT || type == P2M_GRANT_ROM || p2m_is_foreign(type);
}

struct p2m_entry {
    mfn_t         mfn; /* of exactly the gfn asked for */
    enum p2m_type type;
    uint8_t       order; /* of a uniform block around it: 0, 9, 18 or 27 */
};

/* What was found last for a block of 512 guest frames: its entry of the tree, see p2m.c. */
struct p2m_cached {
    uint64_t block; /* number of the block plus 1, 0 if unused */
    uint64_t entry;
};
#define P2M_CACHED 256

struct p2m {
    struct pool       *pool;
    mfn_t              root;
    mfn_t              cache_frame;
    struct p2m_cached *cache;    /* [P2M_CACHED], by block number */
    uint64_t           pages;    /* guest frames that have memory behind them */
    uint64_t           end;      /* beyond all guest frames that ever had something behind them */
    bool               identity; /* gfn and mfn of what its owner has are the same: no tree */
};

#define P2M_BITS 40 /* guest-physical addresses have at most this many bits */

/* Two frames of the pool; false if it has not got them, and then none is taken. */
must_check bool p2m_init(struct p2m *p2m, struct pool *pool);

/* Layout of an entry of the tree: frame in bits 51:12, type in bits 7:4, and these. */
#define P2M_NODE      (UINT64_C(1) << 0)
#define P2M_LEAF      (UINT64_C(1) << 1)
#define P2M_TYPE_BITS 4

/* The long way: down the tree; what it finds goes into the cache. */
must_check struct p2m_entry p2m_find(const struct p2m *p2m, gfn_t gfn);

/* What was found is memory of the domain's, a block of it as a whole. */
static inline bool p2m_cached_is_ram(const struct p2m_cached *c)
{
    return (c->entry & PAGE_MASK) == (P2M_LEAF | (uint64_t)P2M_RAM << P2M_TYPE_BITS);
}

/* What is behind a guest frame. Memory in large blocks is nearly always found in the cache. */
must_check static inline struct p2m_entry p2m_get(const struct p2m *p2m, gfn_t gfn)
{
    const struct p2m_cached *c = &p2m->cache[gfn.raw >> 9 & (P2M_CACHED - 1)];

    if (c->block == (gfn.raw >> 9) + 1 && p2m_cached_is_ram(c))
        return (struct p2m_entry){
            .mfn = mfn_of((c->entry >> PAGE_SHIFT) + (gfn.raw & 511)),
            .type = P2M_RAM,
            .order = 9,
        };
    return p2m_find(p2m, gfn);
}

/*
 * Guest frames from this one on that have nothing behind them: as far as one node of the tree tells,
 * which is the end of the 2 MiB at least. 0: there is something.
 */
must_check uint64_t p2m_holes(const struct p2m *p2m, gfn_t gfn);

/*
 * Sets the aligned block of 2^order frames. Nodes for it are allocated: false if the pool
 * has none, and then nothing changed. What our tables still say about the block is the
 * caller's business (paging_p2m_set).
 */
must_check bool p2m_set(struct p2m *p2m, gfn_t gfn, struct p2m_entry entry);

/* Frees nodes, at most `budget`; true when all are gone. The tree must not be used between. */
must_check bool p2m_reap(struct p2m *p2m, unsigned budget);

#endif
