/* What the frames of the machine are used for: see census.h. */
#include "hv/census.h"

#include "hv/alloc.h"
#include "hv/print.h"

static const char *const uses[FRAME_KINDS] = {
    [FRAME_ABSENT] = "no memory of ours",
    [FRAME_FREE] = "free",
    [FRAME_HV] = "the hypervisor's",
    [FRAME_GUEST] = "memory of guests",
    [FRAME_POOL] = "free in pools",
    [FRAME_SHADOW] = "tables of ours",
    [FRAME_LINKS] = "links of the reverse map",
    [FRAME_P2M] = "maps of guests' memory",
    [FRAME_SNAPSHOT] = "copies of tables out of sync",
};

struct census census_take(void)
{
    struct census census = { .allocator = alloc_free_count() };

    for (uint64_t i = 0; i < machine_phys.frames; i++) {
        const struct frame *frame = &machine_phys.frame[i];

        BUG_ON(frame->kind >= FRAME_KINDS);
        census.frames[frame->kind]++;
        census.entries += frame->kind == FRAME_SHADOW ? frame->shadow.used : 0;
    }
    return census;
}

static uint64_t differ(const char *use, uint64_t before, uint64_t after)
{
    if (before == after)
        return 0;
    print("umbra: %lu frames are %s, and %lu were before there was a domain\n", after, use, before);
    return before > after ? before - after : after - before;
}

uint64_t census_compare(const struct census *before, const struct census *after)
{
    uint64_t sum = differ("free in the allocator", before->allocator, after->allocator);

    for (unsigned kind = 0; kind < FRAME_KINDS; kind++)
        sum += differ(uses[kind], before->frames[kind], after->frames[kind]);
    return sum;
}

void census_show(const struct census *census)
{
    for (unsigned kind = 0; kind < FRAME_KINDS; kind++)
        print("%-30s %12lu\n", uses[kind], census->frames[kind]);
    print("%-30s %12lu\n", "free in the allocator", census->allocator);
}
