/* Two sets of ranges that do not overlap: all RAM, and what of it is free. */
#include "x86/memmap.h"

#include "paging/frame.h"

#define RANGES_MAX 128

struct ranges {
    unsigned     count;
    struct range range[RANGES_MAX];
};

static struct ranges ram, unused;
static bool          overflowed;

static uint64_t round_down(uint64_t value)
{
    return value & ~PAGE_MASK;
}

static uint64_t round_up(uint64_t value)
{
    return (value > UINT64_MAX - PAGE_MASK ? UINT64_MAX : value + PAGE_MASK) & ~PAGE_MASK;
}

static void insert(struct ranges *set, uint64_t start, uint64_t end)
{
    if (start >= end)
        return;
    if (set->count == RANGES_MAX) {
        overflowed = true;
        return;
    }
    set->range[set->count++] = (struct range){ start, end };
}

static void subtract(struct ranges *set, uint64_t start, uint64_t end)
{
    unsigned count = start < end ? set->count : 0;

    for (unsigned i = 0; i < count;) {
        struct range r = set->range[i];

        if (end <= r.start || start >= r.end) {
            i++;
            continue;
        }
        /* What was not looked at yet moves here; what remains of the range goes to the end. */
        set->range[i] = set->range[--count];
        set->range[count] = set->range[--set->count];
        insert(set, r.start, start);
        insert(set, end, r.end);
    }
}

void memmap_add(uint64_t start, uint64_t end)
{
    start = round_up(start);
    end = round_down(end);
    /* Firmware may list a byte twice. */
    subtract(&ram, start, end);
    subtract(&unused, start, end);
    insert(&ram, start, end);
    insert(&unused, start > MEMMAP_LOW ? start : MEMMAP_LOW, end);
}

void memmap_remove(uint64_t start, uint64_t end)
{
    subtract(&ram, round_down(start), round_up(end));
    subtract(&unused, round_down(start), round_up(end));
}

void memmap_reserve(uint64_t start, uint64_t end)
{
    subtract(&unused, round_down(start), round_up(end));
}

uint64_t memmap_take(uint64_t bytes, uint64_t align, uint64_t below)
{
    uint64_t best = 0;

    bytes = round_up(bytes);
    for (unsigned i = 0; i < unused.count; i++) {
        struct range r = unused.range[i];
        uint64_t     end = r.end < below ? r.end : below;

        if (end < bytes || ((end - bytes) & ~(align - 1)) < r.start)
            continue;
        if (((end - bytes) & ~(align - 1)) > best)
            best = (end - bytes) & ~(align - 1);
    }
    if (best != 0)
        memmap_reserve(best, best + bytes);
    return best;
}

unsigned memmap_ram_count(void)
{
    return ram.count;
}

struct range memmap_ram(unsigned i)
{
    return ram.range[i];
}

unsigned memmap_free_count(void)
{
    return unused.count;
}

struct range memmap_free(unsigned i)
{
    return unused.range[i];
}

uint64_t memmap_end(void)
{
    uint64_t end = 0;

    for (unsigned i = 0; i < ram.count; i++)
        if (ram.range[i].end > end)
            end = ram.range[i].end;
    return end;
}

uint64_t memmap_bytes(void)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < ram.count; i++)
        bytes += ram.range[i].end - ram.range[i].start;
    return bytes;
}

bool memmap_complete(void)
{
    return !overflowed;
}
