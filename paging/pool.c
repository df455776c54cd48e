/*
 * The pool. A pair is on the list of pairs by its even frame, with order 1; a single half is
 * on the list of singles, with order 0. A half that comes back looks at the other one.
 */
#include "pool.h"

static void list_push(struct pool *pool, uint32_t *head, uint64_t mfn)
{
    struct frame *f = &pool->phys->frame[mfn];

    f->free.next = *head;
    f->free.prev = 0;
    if (*head != 0)
        pool->phys->frame[*head].free.prev = (uint32_t)mfn;
    *head = (uint32_t)mfn;
}

static void list_remove(struct pool *pool, uint32_t *head, uint64_t mfn)
{
    const struct frame *f = &pool->phys->frame[mfn];

    if (f->free.prev != 0)
        pool->phys->frame[f->free.prev].free.next = f->free.next;
    else
        *head = f->free.next;
    if (f->free.next != 0)
        pool->phys->frame[f->free.next].free.prev = f->free.prev;
}

static void frame_set(struct pool *pool, uint64_t mfn, enum frame_kind kind, uint8_t order)
{
    pool->phys->frame[mfn] = (struct frame){
        .kind = (uint8_t)kind,
        .order = order,
        .owner = pool->owner,
    };
}

static void clear(struct pool *pool, uint64_t mfn, size_t frames)
{
    __builtin_memset(phys_ptr(pool->phys, mfn_of(mfn)), 0, frames << PAGE_SHIFT);
}

static void note_low(struct pool *pool)
{
    if (pool_free_frames(pool) < pool->low)
        pool->low = pool_free_frames(pool);
}

void pool_init(struct pool *pool, const struct phys *phys, uint16_t owner)
{
    *pool = (struct pool){ .phys = phys, .owner = owner };
}

void pool_add(struct pool *pool, mfn_t even)
{
    pool->total += 2;
    pool_put_pair(pool, even);
    pool->low = pool_free_frames(pool);
}

mfn_t pool_remove(struct pool *pool)
{
    uint32_t mfn = pool->pairs;

    if (mfn == 0)
        return MFN_NONE;
    list_remove(pool, &pool->pairs, mfn);
    pool->free_pairs--;
    pool->total -= 2;
    frame_set(pool, mfn, FRAME_HV, 1);
    frame_set(pool, mfn + 1u, FRAME_HV, 0);
    pool->low = pool_free_frames(pool);
    return mfn_of(mfn);
}

mfn_t pool_pair(struct pool *pool)
{
    uint32_t mfn = pool->pairs;

    if (mfn == 0)
        return MFN_NONE;
    if (!pool->phys->frame[mfn].free.zero)
        clear(pool, mfn, 1); /* a link is written before it is read */
    list_remove(pool, &pool->pairs, mfn);
    pool->free_pairs--;
    frame_set(pool, mfn, FRAME_SHADOW, 0);
    frame_set(pool, mfn + 1u, FRAME_LINKS, 0);
    note_low(pool);
    return mfn_of(mfn);
}

/* Breaks a pair up into two singles. */
static bool split_pair(struct pool *pool)
{
    uint32_t mfn = pool->pairs;

    if (mfn == 0)
        return false;
    list_remove(pool, &pool->pairs, mfn);
    pool->free_pairs--;
    for (uint32_t half = 0; half < 2; half++) {
        frame_set(pool, mfn + half, FRAME_POOL, 0);
        list_push(pool, &pool->singles, mfn + half);
    }
    pool->free_singles += 2;
    return true;
}

mfn_t pool_single(struct pool *pool, enum frame_kind kind)
{
    if (pool->singles == 0 && !split_pair(pool))
        return MFN_NONE;

    uint32_t mfn = pool->singles;

    list_remove(pool, &pool->singles, mfn);
    pool->free_singles--;
    frame_set(pool, mfn, kind, 0);
    if (kind != FRAME_SNAPSHOT)
        clear(pool, mfn, 1);
    note_low(pool);
    return mfn_of(mfn);
}

void pool_put_pair(struct pool *pool, mfn_t even)
{
    frame_set(pool, even.raw, FRAME_POOL, 1);
    frame_set(pool, even.raw + 1, FRAME_POOL, 1);
    list_push(pool, &pool->pairs, even.raw);
    pool->free_pairs++;
}

void pool_put_empty_pair(struct pool *pool, mfn_t even)
{
    pool_put_pair(pool, even);
    pool->phys->frame[even.raw].free.zero = true;
}

void pool_put_single(struct pool *pool, mfn_t mfn)
{
    uint64_t            other = mfn.raw ^ 1;
    const struct frame *f = &pool->phys->frame[other];

    if (f->kind == FRAME_POOL && f->order == 0 && f->owner == pool->owner) {
        list_remove(pool, &pool->singles, other);
        pool->free_singles--;
        pool_put_pair(pool, mfn_of(mfn.raw & ~UINT64_C(1)));
        return;
    }
    frame_set(pool, mfn.raw, FRAME_POOL, 0);
    list_push(pool, &pool->singles, mfn.raw);
    pool->free_singles++;
}
