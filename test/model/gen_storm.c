/*
 * Storms: the guest makes a few leaf tables of its own, or very many, writes entries of them
 * again and again as the core must let it, uses what they said and what they say, and flushes
 * some addresses or everything. Meanwhile happens what can happen to such a table: it becomes a
 * table of another level as well, loses its parent, its place in the p2m, or its shadow.
 */
#include "test/model/gen_parts.h"

#define FIRST 40 /* gfn of the first table, among the data */
#define INDEX 8  /* of the first table's entry in the table above */
#define INNER UINT64_C(0x67)

struct storm {
    struct gen         *g;
    const struct shape *s;
    struct gen_tables  *t;
};

static uint64_t span_of(const struct shape *s)
{
    return UINT64_C(4096) << s->index_bits;
}

static uint64_t va_of(const struct storm *m, unsigned table, unsigned index)
{
    return m->t->base + table * span_of(m->s) + index * UINT64_C(4096);
}

/* Links the tables below the root in use; a root of PAE must be loaded again. */
static void link_tables(struct storm *m)
{
    struct gen *g = m->g;
    uint64_t    cr3 = gen_naive(g)->regs.cr3, root = cr3 >> 12 & UINT64_C(0xffffffffff);
    uint64_t    table4 = 1 + gen_below(g, 4);

    m->t->table3 = 7 + gen_below(g, 4);
    m->t->table2 = 11 + gen_below(g, 6);
    m->t->base = UINT64_C(8) << 21 | UINT64_C(2) << 30;
    switch (m->s->flag) {
    case GEN_32:
        m->t->table2 = root;
        m->t->base = UINT64_C(8) << 22;
        break;
    case GEN_PAE:
        gen_poke(g, m->s, root, (unsigned)(cr3 >> 3 & 0x1fc) + 2, m->t->table2 << 12 | 1);
        gen_register(g, OP_CR3, cr3);
        break;
    case GEN_LA57:
        gen_poke(g, m->s, root, 0, table4 << 12 | INNER);
        root = table4; /* fall through */
        __attribute__((fallthrough));
    default:
        gen_poke(g, m->s, root, 0, m->t->table3 << 12 | INNER);
        gen_poke(g, m->s, m->t->table3, 2, m->t->table2 << 12 | INNER);
    }
    for (unsigned i = 0; i < m->t->count; i++)
        gen_poke(g, m->s, m->t->table2, INDEX + i, (FIRST + i) << 12 | INNER);
}

static uint64_t some_leaf(struct storm *m)
{
    static const unsigned missing[] = { 1, 2, 4, 0x20, 0x40, 0x60, 0x46 };
    uint64_t              e = gen_frame(m->g, 0) << 12 | INNER;

    if (gen_percent(m->g, 50))
        e &= ~(uint64_t)missing[gen_below(m->g, 7)];
    if (m->s->entry == 8 && gen_percent(m->g, 8))
        e |= UINT64_C(1) << 63;
    return gen_percent(m->g, 5) ? 0 : e;
}

static uint64_t gpa_of(const struct storm *m, unsigned table, unsigned index)
{
    return (uint64_t)(FIRST + table) << 12 | index * m->s->entry;
}

static void write_entry(struct storm *m, unsigned table, unsigned index, uint64_t value)
{
    if (index < GEN_ENTRIES)
        m->t->entry[table][index] = value;
    gen_write(m->g, m->s, gpa_of(m, table, index), m->s->entry, value);
}

/* One or two things change, as a guest does it, or all. */
static uint64_t other_leaf(struct storm *m, uint64_t e)
{
    static const uint64_t flips[] = { 1, 2, 4, 0x20, 0x40, 0x60, 2, 1, 0x42, 6 };

    if (e == 0 || gen_percent(m->g, 40))
        return some_leaf(m);
    return e ^ flips[gen_below(m->g, 10)];
}

static void touch(struct storm *m, unsigned table, unsigned index)
{
    static const uint8_t kinds[] = { OP_READ, OP_READ, OP_WRITE, OP_WRITE, OP_FETCH, OP_IMPLICIT };
    struct gen          *g = m->g;
    struct op            op = gen_op(g, kinds[gen_below(g, 6)]);

    if (m->t->both && gen_percent(g, 50))
        op.vcpu ^= 1;
    if (op.kind != OP_IMPLICIT) {
        op.acc = op.kind == OP_WRITE ? ACC_WRITE : op.kind == OP_FETCH ? ACC_FETCH : 0;
        op.acc |= (uint8_t)(gen_percent(g, 50) ? ACC_USER : 0);
        op.acc |= (uint8_t)(gen_percent(g, 70) ? ACC_AC : 0);
    }
    op.va = va_of(m, table, index) + gen_below(g, 512) * 8;
    op.value = gen_percent(g, 50) ? some_leaf(m) : gen_below(g, 65536);
    gen_push(g, op);
}

static void flush_page(struct storm *m, unsigned table, unsigned index)
{
    struct op op = gen_op(m->g, OP_INVLPG);

    if (m->t->both && gen_percent(m->g, 40))
        op.vcpu ^= 1;
    op.va = va_of(m, table, index);
    gen_push(m->g, op);
}

static void flush_all(struct storm *m)
{
    const struct mmu_registers *regs = &gen_naive(m->g)->regs;

    switch (gen_below(m->g, 4)) {
    case 0:
        gen_register(m->g, OP_CR4, regs->cr4 ^ 0x80);
        gen_register(m->g, OP_CR4, regs->cr4);
        break;
    case 1:
        gen_register(m->g, OP_CR0, regs->cr0 ^ 0x10000);
        gen_register(m->g, OP_CR0, regs->cr0);
        break;
    default:
        gen_register(m->g, OP_CR3, regs->cr3);
    }
}

/* Changed, used, changed back: the second change must not go unnoticed. */
static void there_and_back(struct storm *m, unsigned table, unsigned index)
{
    uint64_t old = m->t->entry[table][index];

    write_entry(m, table, index, other_leaf(m, old));
    touch(m, table, index);
    touch(m, table, index);
    write_entry(m, table, index, old);
    if (gen_percent(m->g, 50))
        touch(m, table, index);
    if (gen_percent(m->g, 50))
        flush_page(m, table, gen_percent(m->g, 70) ? index : gen_below(m->g, GEN_ENTRIES));
    else
        flush_all(m);
    touch(m, table, index);
}

/* What else can happen to a table while it is out of sync. */
static void accident(struct storm *m, unsigned table)
{
    struct gen *g = m->g;
    uint64_t    frame = FIRST + table;
    struct op   op = gen_op(g, OP_UNSHADOW);
    uint64_t    link = m->t->table2 << 12 | (INDEX + table) * m->s->entry;

    switch (gen_below(g, 9)) {
    case 0:
        op.va = frame;
        gen_push(g, op);
        break;
    case 1: /* another page is there, or a hole, then the first again */
        op.kind = OP_P2M;
        op.va = gen_percent(g, 60) ? frame : gen_frame(g, 0);
        op.acc = (uint8_t)(gen_percent(g, 50) ? MMU_RAM : MMU_HOLE);
        op.value = g->world->setup.gfns + gen_below(g, g->world->setup.spare);
        gen_push(g, op);
        touch(m, table, gen_below(g, GEN_ENTRIES));
        op.acc = MMU_RAM;
        op.value = op.va;
        gen_push(g, op);
        break;
    case 2: /* a table of the second level as well, entered through itself */
        gen_poke(g, m->s, m->t->table2, INDEX + table, m->t->table2 << 12 | INNER);
        touch(m, table, INDEX + gen_below(g, m->t->count));
        gen_poke(g, m->s, m->t->table2, INDEX + table, frame << 12 | INNER);
        break;
    case 3: /* the guest writes its parent */
        gen_write(g, m->s, link, m->s->entry, gen_percent(g, 50) ? 0 : 17 << 12 | INNER);
        touch(m, table, gen_below(g, GEN_ENTRIES));
        gen_write(g, m->s, link, m->s->entry, frame << 12 | INNER);
        break;
    case 4: /* the hypervisor writes it */
        gen_poke(g, m->s, frame, gen_below(g, GEN_ENTRIES), some_leaf(m));
        break;
    case 5: /* in use at two places */
        gen_poke(g, m->s, m->t->table2, INDEX + gen_below(g, m->t->count), frame << 12 | INNER);
        break;
    case 6: /* the table above is used at two places */
        if (m->s->levels < 4)
            break;
        gen_poke(g, m->s, m->t->table3, 3, m->t->table2 << 12 | INNER);
        m->t->base ^= UINT64_C(1) << 30;
        touch(m, table, gen_below(g, GEN_ENTRIES));
        m->t->base ^= gen_percent(g, 50) ? UINT64_C(1) << 30 : 0;
        break;
    case 7:
        if (gen_percent(g, 50)) {
            op.kind = OP_BLOW;
            gen_push(g, op);
        }
        touch(m, table, gen_below(g, GEN_ENTRIES));
        break;
    default: /* a table of the second level as well, by another table of the third */
        if (m->s->levels < 4)
            break;
        gen_poke(g, m->s, 7 + gen_below(g, 4), gen_below(g, 4), frame << 12 | INNER);
        touch(m, table, gen_below(g, GEN_ENTRIES));
    }
}

static void one_step(struct storm *m)
{
    struct gen *g = m->g;
    unsigned    table = gen_below(g, m->t->count), index = gen_below(g, GEN_ENTRIES);
    unsigned    dice = gen_below(g, 100);

    if (dice < 36)
        write_entry(m, table, index, other_leaf(m, m->t->entry[table][index]));
    else if (dice < 70)
        touch(m, table, index);
    else if (dice < 80)
        there_and_back(m, table, index);
    else if (dice < 88)
        flush_page(m, table, index);
    else if (dice < 91)
        flush_all(m);
    else if (dice < 98)
        accident(m, table);
    else /* half an entry */
        gen_write(g, m->s, gpa_of(m, table, index) + m->s->entry / 2, m->s->entry / 2,
                  gen_below(g, 2));
}

/* The other vCPU gets the same registers. */
static void join(struct storm *m)
{
    const struct mmu_registers *regs = &gen_naive(m->g)->regs;
    unsigned                    self = m->g->vcpu;

    m->g->vcpu = self ^ 1;
    gen_register(m->g, OP_CR0, regs->cr0 & UINT64_C(0x7fffffff));
    gen_register(m->g, OP_EFER, regs->efer & ~UINT64_C(0x400));
    gen_register(m->g, OP_CR4, regs->cr4);
    gen_register(m->g, OP_CR3, regs->cr3);
    gen_register(m->g, OP_CR0, regs->cr0);
    m->g->vcpu = self;
    m->t->both = true;
}

void gen_storm(struct gen *g, const struct shape *s)
{
    struct storm m = { .g = g, .s = s, .t = &g->tables };

    g->tables = (struct gen_tables){ .count = 1 + gen_below(g, 4), .flag = s->flag };
    if (gen_percent(g, 25)) {
        m.t->count = 20 + gen_below(g, GEN_TABLES - 20);
        m.t->wide = gen_percent(g, 25);
    }
    link_tables(&m);
    if (g->vcpus > 1 && gen_percent(g, 60))
        join(&m);
    for (unsigned i = 0; i < m.t->count; i++) {
        struct op op = gen_op(g, OP_UNSHADOW);

        op.va = FIRST + i;
        if (gen_percent(g, 80)) /* what it was before */
            gen_push(g, op);
        for (unsigned k = 1; k < GEN_ENTRIES; k++)
            gen_poke(g, s, FIRST + i, k, m.t->entry[i][k] = some_leaf(&m));
        write_entry(&m, i, 0, some_leaf(&m)); /* through the map, which is good afterwards */
    }
}

void gen_storm_breaks(struct gen *g, const struct shape *s)
{
    struct storm m = { .g = g, .s = s, .t = &g->tables };
    unsigned     steps = 10 + gen_below(g, 40);

    for (unsigned i = 0; i < m.t->count; i++)
        for (unsigned k = 0; k < 2; k++)
            touch(&m, i, gen_below(g, GEN_ENTRIES));
    for (unsigned i = 0; i < m.t->count; i++) {
        for (unsigned k = 0; k < (m.t->wide ? 60 : 3); k++)
            write_entry(&m, i, k, m.t->wide ? gen_frame(g, 0) << 12 | INNER : some_leaf(&m));
        if (gen_percent(g, 50))
            touch(&m, i, gen_below(g, GEN_ENTRIES));
    }
    if (m.t->count > 16 && gen_percent(g, 50))
        flush_all(&m);
    while (steps-- > 0 && g->count < GEN_PENDING / 2)
        one_step(&m);
    if (gen_percent(g, 60))
        flush_all(&m);
    for (unsigned i = 0; i < m.t->count; i++)
        touch(&m, i, gen_below(g, GEN_ENTRIES));
    g->tables.count = 0;
}
