/* Steps of a story told to a world: each fails the test at once if the two worlds differ. */
#ifndef TEST_MODEL_STORY_H
#define TEST_MODEL_STORY_H

#include "test/model/world.h"

static inline void step(struct world *w, struct op op)
{
    if (!world_do(w, &op))
        fail_msg("%s", w->failure);
}

/* A word of 8 bytes in the guest's memory, written by somebody else. */
static inline void poke(struct world *w, uint64_t gfn, unsigned index, uint64_t value)
{
    step(w,
         (struct op){ .kind = OP_POKE, .length = 8, .va = gfn << 12 | index * 8, .value = value });
}

/* A register, or what else has just a value. */
static inline void set(struct world *w, enum op_kind kind, uint64_t value)
{
    step(w, (struct op){ .kind = (uint8_t)kind, .length = 8, .value = value });
}

static inline void touch(struct world *w, uint64_t va, unsigned acc)
{
    step(w, (struct op){ .kind = acc & ACC_WRITE   ? OP_WRITE
                                 : acc & ACC_FETCH ? OP_FETCH
                                                   : OP_READ,
                         .acc = (uint8_t)acc,
                         .length = 8,
                         .va = va,
                         .value = 0x1234 });
}

static inline void store(struct world *w, uint64_t va, uint64_t value)
{
    step(w,
         (struct op){ .kind = OP_WRITE, .acc = ACC_WRITE, .length = 8, .va = va, .value = value });
}

#endif
