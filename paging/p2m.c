/*
 * A node's entry is empty (a hole), a leaf (type and frame) or the next node. A leaf above
 * level 1 covers its whole range; it is split into a node when part of it changes.
 */
#include "p2m.h"

#include "borrow.h"
#include "pte.h"

#define P2M_LEVELS 4
#define P2M_GFNS   (UINT64_C(1) << (P2M_BITS - PAGE_SHIFT))

static uint64_t leaf_of(mfn_t mfn, enum p2m_type type)
{
    if (type == P2M_HOLE)
        return 0;
    return (mfn_valid(mfn) ? mfn.raw << PAGE_SHIFT : 0) | P2M_LEAF |
           (uint64_t)type << P2M_TYPE_BITS;
}

static enum p2m_type leaf_type(uint64_t e)
{
    return e & P2M_LEAF ? (enum p2m_type)(e >> P2M_TYPE_BITS & 15) : P2M_HOLE;
}

static uint64_t *node_at(const struct p2m *p2m, uint64_t mfn)
{
    return phys_ptr(p2m->pool->phys, mfn_of(mfn));
}

static unsigned index_at(gfn_t gfn, unsigned level)
{
    return (unsigned)(gfn.raw >> 9 * (level - 1)) & 511;
}

static unsigned order_at(unsigned level)
{
    return 9 * (level - 1);
}

bool p2m_init(struct p2m *p2m, struct pool *pool)
{
    *p2m = (struct p2m){
        .pool = pool,
        .root = pool_single(pool, FRAME_P2M),
        .cache_frame = pool_single(pool, FRAME_P2M),
    };
    if (mfn_valid(p2m->root) && mfn_valid(p2m->cache_frame)) {
        p2m->cache = phys_ptr(pool->phys, p2m->cache_frame);
        return true;
    }
    if (mfn_valid(p2m->root))
        pool_put_single(pool, p2m->root);
    if (mfn_valid(p2m->cache_frame))
        pool_put_single(pool, p2m->cache_frame);
    p2m->root = MFN_NONE;
    return false;
}

static struct p2m_entry found(uint64_t e, uint64_t within, unsigned order)
{
    enum p2m_type type = leaf_type(e);
    bool          memory = p2m_is_memory(type);

    return (struct p2m_entry){
        .mfn = memory ? mfn_of(((e & PTE_FRAME) >> PAGE_SHIFT) + within) : MFN_NONE,
        .type = type,
        .order = (uint8_t)order,
    };
}

/* The part of a leaf at level 2 or above that is the block of 512 frames around gfn. */
static uint64_t block_of(uint64_t e, gfn_t gfn, unsigned level)
{
    enum p2m_type type = leaf_type(e);
    uint64_t      first = gfn.raw & ((UINT64_C(1) << order_at(level)) - 1) & ~UINT64_C(511);

    return p2m_is_memory(type) ? e + (first << PAGE_SHIFT) : e;
}

/* Direct paging: the guest knows its frames, and those it has borrowed, by the machine's numbers. */
static struct p2m_entry machine_frame(const struct pool *pool, gfn_t gfn)
{
    mfn_t               mfn = mfn_of(gfn.raw);
    const struct frame *f;

    if (mfn.raw >= pool->phys->frames)
        return (struct p2m_entry){ MFN_NONE, P2M_HOLE, 0 };
    f = phys_frame(pool->phys, mfn);
    if (f->kind == FRAME_GUEST && f->owner == pool->owner)
        return (struct p2m_entry){ mfn, P2M_RAM, 0 };
    if (f->kind == FRAME_GUEST && borrow_of(f, pool->owner) != NULL)
        return (struct p2m_entry){ mfn, P2M_GRANT, 0 };
    return (struct p2m_entry){ MFN_NONE, P2M_HOLE, 0 };
}

struct p2m_entry p2m_find(const struct p2m *p2m, gfn_t gfn)
{
    struct p2m_cached *c = &p2m->cache[gfn.raw >> 9 & (P2M_CACHED - 1)];
    uint64_t           node = p2m->root.raw;

    if (p2m->identity)
        return machine_frame(p2m->pool, gfn);
    if (gfn.raw >= P2M_GFNS)
        return (struct p2m_entry){ MFN_NONE, P2M_HOLE, 0 };
    for (unsigned level = P2M_LEVELS; level > 1; level--) {
        uint64_t e = node_at(p2m, node)[index_at(gfn, level)];

        if (!(e & P2M_NODE)) {
            *c = (struct p2m_cached){ (gfn.raw >> 9) + 1, block_of(e, gfn, level) };
            return found(e, gfn.raw & ((UINT64_C(1) << order_at(level)) - 1), order_at(level));
        }
        node = (e & PTE_FRAME) >> PAGE_SHIFT;
    }
    return found(node_at(p2m, node)[index_at(gfn, 1)], 0, 0);
}

uint64_t p2m_holes(const struct p2m *p2m, gfn_t gfn)
{
    uint64_t node = p2m->root.raw, count = 0;

    if (gfn.raw >= P2M_GFNS)
        return ~UINT64_C(0) - gfn.raw;
    for (unsigned level = P2M_LEVELS; level > 1; level--) {
        uint64_t e = node_at(p2m, node)[index_at(gfn, level)];
        uint64_t size = UINT64_C(1) << order_at(level);

        if (e == 0)
            return size - (gfn.raw & (size - 1));
        if (!(e & P2M_NODE))
            return 0;
        node = (e & PTE_FRAME) >> PAGE_SHIFT;
    }
    while (index_at(gfn, 1) + count < 512 && node_at(p2m, node)[index_at(gfn, 1) + count] == 0)
        count++;
    return count;
}

static void forget_cached(struct p2m *p2m, gfn_t gfn, unsigned order)
{
    if (order <= 9)
        p2m->cache[gfn.raw >> 9 & (P2M_CACHED - 1)].block = 0;
    else
        __builtin_memset(p2m->cache, 0, P2M_CACHED * sizeof(*p2m->cache));
}

static uint64_t leaf_part(uint64_t e, unsigned level, unsigned i)
{
    enum p2m_type type = leaf_type(e);

    if (!p2m_is_memory(type))
        return e;
    return e + ((uint64_t)i << (order_at(level - 1) + PAGE_SHIFT));
}

/* Makes the entry point at a node that says the same; false: no memory. */
static bool split(struct p2m *p2m, uint64_t *entry, unsigned level)
{
    mfn_t child = pool_single(p2m->pool, FRAME_P2M);

    if (!mfn_valid(child))
        return false;
    for (unsigned i = 0; i < 512; i++)
        node_at(p2m, child.raw)[i] = *entry == 0 ? 0 : leaf_part(*entry, level, i);
    *entry = child.raw << PAGE_SHIFT | P2M_NODE;
    return true;
}

static uint64_t pages_in(uint64_t e, unsigned level)
{
    return leaf_type(e) == P2M_RAM ? UINT64_C(1) << order_at(level) : 0;
}

/* Frees what hangs below an entry; at most 512 * 512 entries, for a block of 1 GiB. */
static void drop(struct p2m *p2m, uint64_t e, unsigned level)
{
    if (!(e & P2M_NODE)) {
        p2m->pages -= pages_in(e, level);
        return;
    }
    uint64_t node = (e & PTE_FRAME) >> PAGE_SHIFT;

    for (unsigned i = 0; i < 512; i++)
        drop(p2m, node_at(p2m, node)[i], level - 1);
    pool_put_single(p2m->pool, mfn_of(node));
}

bool p2m_set(struct p2m *p2m, gfn_t gfn, struct p2m_entry entry)
{
    unsigned target = entry.order / 9u + 1;
    uint64_t node = p2m->root.raw;

    if (gfn.raw >= P2M_GFNS || entry.order % 9 != 0 || target > 3 ||
        (gfn.raw & ((UINT64_C(1) << entry.order) - 1)) != 0)
        return false;
    for (unsigned level = P2M_LEVELS; level > target; level--) {
        uint64_t *e = &node_at(p2m, node)[index_at(gfn, level)];

        if (!(*e & P2M_NODE) && !split(p2m, e, level))
            return false;
        node = (*e & PTE_FRAME) >> PAGE_SHIFT;
    }
    forget_cached(p2m, gfn, entry.order);
    uint64_t *slot = &node_at(p2m, node)[index_at(gfn, target)];
    uint64_t new = leaf_of(entry.mfn, entry.type);

    drop(p2m, *slot, target);
    *slot = new;
    if (new != 0 && gfn.raw + (UINT64_C(1) << entry.order) > p2m->end)
        p2m->end = gfn.raw + (UINT64_C(1) << entry.order);
    p2m->pages += pages_in(new, target);
    return true;
}

/* Frees one node whose entries are all leaves, below `node`; false if `node` has no child. */
static bool reap_one(struct p2m *p2m, uint64_t node, unsigned level)
{
    for (unsigned i = 0; level > 1 && i < 512; i++) {
        uint64_t *e = &node_at(p2m, node)[i];

        if (!(*e & P2M_NODE))
            continue;
        uint64_t child = (*e & PTE_FRAME) >> PAGE_SHIFT;

        if (!reap_one(p2m, child, level - 1)) {
            pool_put_single(p2m->pool, mfn_of(child));
            *e = 0;
        }
        return true;
    }
    return false;
}

bool p2m_reap(struct p2m *p2m, unsigned budget)
{
    if (!mfn_valid(p2m->root))
        return true;
    for (; budget > 0; budget--) {
        if (!reap_one(p2m, p2m->root.raw, P2M_LEVELS)) {
            pool_put_single(p2m->pool, p2m->root);
            pool_put_single(p2m->pool, p2m->cache_frame);
            p2m->root = MFN_NONE;
            p2m->pages = 0;
            return true;
        }
    }
    return false;
}
