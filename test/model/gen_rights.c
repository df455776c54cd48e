/* A monitor changes its rights: mostly of a few frames, now and then of many, or the default. */
#include "test/model/gen_parts.h"

static void some_rights(struct gen *g, struct op *op)
{
    uint64_t gfns = g->world->memory.gfns;

    op->va = gen_percent(g, 60) ? gen_frame(g, gen_below(g, 5)) : gen_below(g, (unsigned)gfns);
    op->value = 1 + gen_below(g, gen_percent(g, 90) ? 3 : (unsigned)gfns);
    op->acc = (uint8_t)gen_below(g, ACCESS_DEFAULT + 1);
    if (gen_percent(g, 50)) /* else a guest with fewer and fewer rights gets nowhere */
        op->acc = gen_percent(g, 50) ? ACCESS_DEFAULT : ACCESS_ALL;
    else if (gen_percent(g, 50))
        op->acc = gen_percent(g, 50) ? ACCESS_N2RWX : ACCESS_RX2RW;
    if (gen_percent(g, 15))
        op->length = 1;
    if (op->length == 1 && (op->acc == ACCESS_DEFAULT || gen_percent(g, 60)))
        op->acc = ACCESS_ALL;
}

/* Much of the time nobody watches shadow paging: some of its ways are taken only then. */
void gen_rights(struct gen *g, struct op *op)
{
    bool     shadow = g->world->domain.kind == PAGING_SHADOW;
    unsigned more = 0;

    if (!g->world->domain.access.active) {
        if (shadow && gen_percent(g, 70))
            return;
        more = 3 + gen_below(g, 4);
    } else if (gen_percent(g, shadow ? 30 : 10)) {
        op->length = 2; /* the end of it */
        gen_push(g, *op);
        return;
    }
    some_rights(g, op);
    gen_push(g, *op);
    while (more-- > 0) {
        *op = (struct op){ .kind = OP_RIGHTS, .vcpu = op->vcpu, .length = 8 };
        some_rights(g, op);
        gen_push(g, *op);
    }
}
