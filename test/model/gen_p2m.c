/* What is behind guest frames, changed at random. */
#include "test/model/gen_parts.h"

/* What is behind a guest frame changes; memory is some that is behind no other. */
void gen_set_behind(struct gen *g, uint64_t gfn, uint8_t kind)
{
    const struct mmu_memory *m = &g->world->memory;
    struct op                op = gen_op(g, OP_P2M);
    unsigned                 small = g->world->setup.gfns + g->world->setup.spare;
    bool                     taken[512] = { false };

    op.va = gfn;
    op.acc = kind;
    for (uint64_t other = 0; other < m->gfns; other++)
        if (other != gfn && (m->behind[other] == MMU_RAM || m->behind[other] == MMU_ROM) &&
            m->page_of[other] < small)
            taken[m->page_of[other]] = true;
    op.value = gen_below(g, small);
    for (unsigned i = 0; i < small && taken[op.value]; i++)
        op.value = (op.value + 1) % small;
    gen_push(g, op);
}

/* The first frame from a random one on that is no memory now; the random one if all are. */
static uint64_t some_hole(struct gen *g)
{
    const struct mmu_memory *m = &g->world->memory;
    uint64_t                 small = g->world->setup.gfns, first = gen_below(g, (unsigned)small);

    for (uint64_t i = 0; i < small; i++)
        if (m->behind[(first + i) % small] != MMU_RAM)
            return (first + i) % small;
    return first;
}

/* A page goes where there is nothing. */
static void move(struct gen *g)
{
    struct op op = gen_op(g, OP_MOVE);

    op.va = gen_below(g, g->world->setup.gfns);
    op.value = some_hole(g);
    gen_push(g, op);
}

void gen_p2m(struct gen *g)
{
    uint64_t gfn = gen_below(g, 100) < 80 ? 32 + gen_below(g, g->world->setup.gfns - 32)
                                          : gen_below(g, (unsigned)g->world->memory.gfns);
    uint8_t  kind = MMU_RAM;

    if (g->piece && gfn >= WORLD_LARGE && gen_percent(g, 95))
        return;
    if (gen_percent(g, 25)) {
        move(g);
        return;
    }
    if (gen_percent(g, 15)) /* else a long run would come to a third that is none */
        gfn = some_hole(g);
    else if (gen_percent(g, 35))
        kind = gen_percent(g, 50) ? MMU_HOLE : gen_percent(g, 50) ? MMU_ROM : MMU_DEVICE;
    gen_set_behind(g, gfn, kind);
}
