/* What the stories of test/direct have in common: a world of ten frames, and requests of its first vCPU. */
#ifndef TEST_DIRECT_STORY_H
#define TEST_DIRECT_STORY_H

#include "world.h"

static struct world w;

static inline int sound(void **state)
{
    bool good = world_sound(&w);

    (void)state;
    if (!good)
        print_error("%s\n", w.why);
    world_free(&w);
    return good ? 0 : -1;
}

static inline enum direct_status on(enum direct_op op, unsigned frame, uint8_t kind)
{
    struct direct_request r = world_request(&w, op, frame);

    r.kind = kind;
    return world_do(&w, 0, &r, 1000).status;
}

static inline struct type type_of(unsigned frame)
{
    return type_read(&w.machine, mfn_of(frame));
}

#endif
