/*
 * The buddy allocator. A free block of order n begins at a multiple of 2^n; its first frame's
 * record holds the order and the links of the list of its zone and order. Every frame of a
 * free block has kind FRAME_FREE, and no other frame has, so that the record of a block's
 * buddy tells at once whether the two can be merged.
 *
 * Giving out and taking back touches the record of each frame of the block: the work is
 * bounded by 2^order, and whoever may not take long asks for small blocks.
 */
#include "hv/alloc.h"

#include <string.h>

#include "hv/print.h"

#define ORDERS     (ALLOC_ORDER_MAX + 1)
#define LOW_FRAMES (UINT64_C(1) << (32 - PAGE_SHIFT)) /* below 4 GiB */

/* No block lies in both: 4 GiB is a multiple of the largest block. */
enum zone { ZONE_LOW, ZONE_HIGH, ZONES };
_Static_assert(LOW_FRAMES % (UINT64_C(1) << ALLOC_ORDER_MAX) == 0, "a block in two zones");

static const struct phys *memory;
static uint32_t           heads[ZONES][ORDERS]; /* frame number of the first block, 0: none */
static uint64_t           free_count, total_count;

static enum zone zone_of(uint64_t frame)
{
    return frame < LOW_FRAMES ? ZONE_LOW : ZONE_HIGH;
}

static struct frame *record(uint64_t frame)
{
    return phys_frame(memory, mfn_of(frame));
}

static void list_insert(uint64_t frame, unsigned order)
{
    uint32_t     *head = &heads[zone_of(frame)][order];
    struct frame *f = record(frame);

    f->order = (uint8_t)order;
    f->free.prev = 0;
    f->free.next = *head;
    if (*head != 0)
        record(*head)->free.prev = (uint32_t)frame;
    *head = (uint32_t)frame;
}

static void list_remove(uint64_t frame)
{
    struct frame *f = record(frame);

    if (f->free.prev != 0)
        record(f->free.prev)->free.next = f->free.next;
    else
        heads[zone_of(frame)][f->order] = f->free.next;
    if (f->free.next != 0)
        record(f->free.next)->free.prev = f->free.prev;
}

static void set_kinds(uint64_t first, unsigned order, enum frame_kind kind)
{
    for (uint64_t i = 0; i < UINT64_C(1) << order; i++)
        *record(first + i) = (struct frame){ .kind = (uint8_t)kind };
}

/* True if a free block of this order begins at a frame: then it is on its list. */
static bool is_free_block(uint64_t frame, unsigned order)
{
    return frame + (UINT64_C(1) << order) <= memory->frames && record(frame)->kind == FRAME_FREE &&
           record(frame)->order == order;
}

/* Puts a block, whose records say FRAME_FREE already, on its list, merged with its buddies. */
static void give(uint64_t frame, unsigned order)
{
    free_count += UINT64_C(1) << order;
    for (; order < ALLOC_ORDER_MAX; order++) {
        uint64_t buddy = frame ^ UINT64_C(1) << order;

        if (!is_free_block(buddy, order))
            break;
        list_remove(buddy);
        /* The number in the middle of the merged block is no block's any more. */
        record(frame | buddy)->order = 0;
        frame &= buddy;
    }
    list_insert(frame, order);
}

/* The largest order at which a block may begin at `frame` and hold no more than `count`. */
static unsigned order_for(uint64_t frame, uint64_t count)
{
    unsigned order = 0;

    while (order < ALLOC_ORDER_MAX && (frame >> order & 1) == 0 && UINT64_C(2) << order <= count)
        order++;
    return order;
}

static void give_range(uint64_t frame, uint64_t count)
{
    while (count > 0) {
        unsigned order = order_for(frame, count);

        set_kinds(frame, order, FRAME_FREE);
        give(frame, order);
        frame += UINT64_C(1) << order;
        count -= UINT64_C(1) << order;
    }
}

void alloc_add(struct phys *phys, mfn_t first, uint64_t count)
{
    BUG_ON(memory != NULL && memory != phys);
    BUG_ON(first.raw > phys->frames || count > phys->frames - first.raw);
    BUG_ON(phys->frames > UINT32_MAX);
    memory = phys;
    /* Number 0 ends a list. */
    if (first.raw == 0 && count > 0) {
        first.raw++;
        count--;
    }
    total_count += count;
    give_range(first.raw, count);
}

/* A block of at least this order off its list; 0: the zone has none. */
static uint64_t take_block(enum zone zone, unsigned order, unsigned *found)
{
    for (unsigned o = order; o < ORDERS; o++) {
        uint64_t frame = heads[zone][o];

        if (frame == 0)
            continue;
        list_remove(frame);
        *found = o;
        return frame;
    }
    return 0;
}

mfn_t alloc_frames(unsigned order, enum alloc_zone zone)
{
    uint64_t frame = 0;
    unsigned found = 0;

    if (order > ALLOC_ORDER_MAX)
        return MFN_NONE;
    if (zone == ALLOC_ANY)
        frame = take_block(ZONE_HIGH, order, &found);
    if (frame == 0)
        frame = take_block(ZONE_LOW, order, &found);
    if (frame == 0)
        return MFN_NONE;
    /* The upper halves go back; their records say FRAME_FREE still. */
    while (found > order) {
        found--;
        list_insert(frame + (UINT64_C(1) << found), found);
    }
    free_count -= UINT64_C(1) << order;
    set_kinds(frame, order, FRAME_HV);
    record(frame)->order = (uint8_t)order;
    return mfn_of(frame);
}

/* Catches what is freed twice, or while it still is something. */
static void check_ours(uint64_t first, uint64_t count)
{
    BUG_ON(memory == NULL || first == 0);
    BUG_ON(first > memory->frames || count > memory->frames - first);
    for (uint64_t i = 0; i < count; i++)
        BUG_ON(record(first + i)->kind != FRAME_HV);
}

void free_frames(mfn_t first, unsigned order)
{
    BUG_ON(order > ALLOC_ORDER_MAX || (first.raw & ((UINT64_C(1) << order) - 1)) != 0);
    check_ours(first.raw, UINT64_C(1) << order);
    set_kinds(first.raw, order, FRAME_FREE);
    give(first.raw, order);
}

uint64_t alloc_total_count(void)
{
    return total_count;
}

uint64_t alloc_free_count(void)
{
    return free_count;
}

static uint64_t frames_for(size_t bytes)
{
    return bytes / PAGE_SIZE + (bytes % PAGE_SIZE != 0);
}

void *alloc_bytes(size_t bytes)
{
    uint64_t count = frames_for(bytes);
    unsigned order = 0;
    mfn_t    mfn;
    void    *p;

    while (order <= ALLOC_ORDER_MAX && UINT64_C(1) << order < count)
        order++;
    mfn = count > 0 ? alloc_frames(order, ALLOC_ANY) : MFN_NONE;
    if (!mfn_valid(mfn))
        return NULL;
    /* What the block has more than is needed goes back at once. */
    give_range(mfn.raw + count, (UINT64_C(1) << order) - count);
    p = phys_ptr(memory, mfn);
    memset(p, 0, count << PAGE_SHIFT);
    return p;
}

void free_bytes(void *p, size_t bytes)
{
    uint64_t first, count = frames_for(bytes);

    if (p == NULL)
        return;
    first = (uint64_t)((uint8_t *)p - memory->base) >> PAGE_SHIFT;
    check_ours(first, count);
    give_range(first, count);
}

/* Contradictions about one block that is on a list; `prev` is the block before it. */
static uint64_t audit_block(uint64_t frame, uint64_t prev, enum zone zone, unsigned order)
{
    struct frame *f = record(frame);
    uint64_t      size = UINT64_C(1) << order;
    uint64_t      wrong = 0;

    wrong += f->order != order;
    wrong += f->free.prev != prev;
    wrong += zone_of(frame) != zone;
    wrong += (frame & (size - 1)) != 0;
    if (size > memory->frames - frame)
        return wrong + 1;
    for (uint64_t i = 0; i < size; i++)
        wrong += record(frame + i)->kind != FRAME_FREE;
    /* Two buddies that are free have been merged. */
    if (order < ALLOC_ORDER_MAX)
        wrong += is_free_block(frame ^ size, order);
    return wrong;
}

uint64_t alloc_audit(void)
{
    uint64_t wrong = 0, listed = 0, free = 0;

    if (memory == NULL)
        return 0;
    for (enum zone zone = 0; zone < ZONES; zone++)
        for (unsigned order = 0; order < ORDERS; order++) {
            uint64_t prev = 0;

            for (uint64_t at = heads[zone][order]; at != 0; at = record(at)->free.next) {
                /* A list that leads out of memory or in a ring is not followed on. */
                if (at >= memory->frames || listed > memory->frames)
                    return wrong + 1;
                wrong += audit_block(at, prev, zone, order);
                listed += UINT64_C(1) << order;
                prev = at;
            }
        }
    for (uint64_t at = 0; at < memory->frames; at++)
        free += record(at)->kind == FRAME_FREE;
    return wrong + (listed != free) + (listed != free_count);
}
