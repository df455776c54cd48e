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

/* Paging with four levels, from this root on. */
static inline void long_mode(struct world *w, uint64_t root)
{
    set(w, OP_EFER, 0x900);
    set(w, OP_CR4, 0x20);
    set(w, OP_CR3, root << 12);
    set(w, OP_CR0, 0x80010011);
}

static inline void end(struct world *w)
{
    if (!world_check(w) || !world_finish(w))
        fail_msg("%s", w->failure);
    world_free(w);
}

#define STORY_FLAGS  7 /* present, writable, user */
#define STORY_TABLE  4 /* gfn of a table of the second level, below table 3 */
#define STORY_LEAVES 8 /* gfn of the first leaf table */

/* Leaf tables below STORY_TABLE; each maps page i of its 2 MiB to guest frame i. */
static inline void leaf_tables(struct world *w, unsigned tables)
{
    poke(w, 3, 0, STORY_TABLE << 12 | STORY_FLAGS);
    for (unsigned t = 0; t < tables; t++) {
        poke(w, STORY_TABLE, t, (uint64_t)(STORY_LEAVES + t) << 12 | STORY_FLAGS);
        for (unsigned i = 0; i < w->setup.gfns; i++)
            poke(w, STORY_LEAVES + t, i, (uint64_t)i << 12 | STORY_FLAGS);
    }
}

static inline uint64_t leaf_address(unsigned table, unsigned index)
{
    return (uint64_t)table << 21 | index << 12;
}

/* Tables 3 and 4 below this root, and table 5, which maps virtual page i to guest frame i. */
static inline void identity_tables(struct world *w, uint64_t root, unsigned gfns)
{
    poke(w, root, 0, 3 << 12 | STORY_FLAGS);
    poke(w, 3, 0, 4 << 12 | STORY_FLAGS);
    poke(w, 4, 0, 5 << 12 | STORY_FLAGS);
    for (unsigned i = 0; i < gfns; i++)
        poke(w, 5, i, (uint64_t)i << 12 | STORY_FLAGS);
}

#endif
