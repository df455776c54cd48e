/*
 * The monitor's rights: what the guest may do with each of its frames, whatever its own tables say.
 *
 * A tree from guest frame to explicit rights, and a default for every frame that has none. A leaf of the
 * tree is one frame of the pool with four bits for each of 8192 guest frames; a block of so many that all
 * have the same rights needs no leaf. Without a monitor there is no tree, and nothing is looked up.
 */
#ifndef PAGING_ACCESS_H
#define PAGING_ACCESS_H

#include "pool.h"

/* What a frame can have: any set of the first three, which are bits, or rights that change when they are used. */
enum access_type {
    ACCESS_NONE = 0,
    ACCESS_READ = 1,
    ACCESS_WRITE = 2,
    ACCESS_FETCH = 4,
    ACCESS_ALL = 7,
    ACCESS_RX2RW = 8,    /* reads and fetches; the first write turns that into reads and writes */
    ACCESS_N2RWX = 9,    /* nothing; the first access is told, and turns that into everything   */
    ACCESS_DEFAULT = 10, /* none of its own: the domain's default holds */
};

#define ACCESS_LEAF_ORDER 13
#define ACCESS_LEAF_GFNS  (UINT64_C(1) << ACCESS_LEAF_ORDER)

struct access {
    struct pool *pool;
    mfn_t        root;     /* MFN_NONE while no frame has rights of its own */
    uint8_t      fallback; /* the default: enum access_type, ACCESS_DEFAULT excepted */
    bool active; /* some frame may have less than all rights: the tree and the default count */
};

/* No rights of their own for any frame, everything allowed. Takes no memory. */
void access_init(struct access *a, struct pool *pool);

/* The long way; see access_get. */
must_check enum access_type access_find(const struct access *a, gfn_t gfn);

/* What this frame has, by the default if it has nothing of its own. Never ACCESS_DEFAULT. */
must_check static inline enum access_type access_get(const struct access *a, gfn_t gfn)
{
    return a->active ? access_find(a, gfn) : ACCESS_ALL;
}

/* ACCESS_READ, _WRITE, _FETCH that are allowed now. */
static inline unsigned access_bits(enum access_type type)
{
    if (type == ACCESS_RX2RW)
        return ACCESS_READ | ACCESS_FETCH;
    return type == ACCESS_N2RWX ? 0 : (unsigned)type;
}

/*
 * True if every frame of the aligned block of 2^order (0, 9 or 18) around this one has the same rights. May
 * say false of a block of 2^18 although it is so.
 */
must_check bool access_is_uniform(const struct access *a, gfn_t gfn, unsigned order);

/*
 * Gives `count` frames from `first` on rights of their own, or takes these away (ACCESS_DEFAULT). Returns how
 * many were done: fewer when the budget, in steps of at most 8192 frames and about 500 instructions, is used
 * up, or (*full) when the pool has no frame left; each step is done as a whole or not at all.
 */
must_check uint64_t access_set(struct access *a, gfn_t first, uint64_t count, enum access_type type,
                               unsigned budget, bool *full);

/* A new default; what frames have of their own stays. */
void access_set_default(struct access *a, enum access_type type);

/*
 * Everything is allowed again, and the tree goes: at most `budget` of its frames a call, true when all are
 * back in the pool. The rights end with the first call.
 */
must_check bool access_reap(struct access *a, unsigned budget);

#endif
