/*
 * Guest frames have parts to play, so that tables are plausible in every mode:
 *
 *   1-4   fourth level (roots of four levels)     17-26 first level
 *   5-6   fifth level                             27-31 the map of all memory
 *   7-10  third level (PDPTs of PAE)              the rest: data
 *   11-16 second level (roots of two levels)
 *
 * But any frame is put anywhere now and then: tables are data, and shared between levels.
 * The map of all memory is where the guest writes its tables; what it needs is poked in
 * again when some operation has broken it.
 */
#include "test/model/gen_parts.h"

#define PAGING_ON UINT64_C(0x80000000)
#define CR0_BASE  UINT64_C(0x11)
#define CR0_WP    UINT64_C(0x10000)
#define CR4_PSE   UINT64_C(0x10)
#define CR4_PAE   UINT64_C(0x20)
#define CR4_LA57  UINT64_C(0x1000)
#define EFER_LME  UINT64_C(0x100)
#define EFER_LMA  UINT64_C(0x400)
#define EFER_NXE  UINT64_C(0x800)
#define BIT_NX    (UINT64_C(1) << 63)

enum { MAP_4 = 31, MAP_3 = 28, MAP_2 = 29, MAP_1 = 30, MAP_1_OF_2 = 27 };

static const struct shape shapes[] = {
    { GEN_64, 4, 9, 8, UINT64_C(0xfffff80000000000) },
    { GEN_LA57, 5, 9, 8, UINT64_C(0xfff0000000000000) },
    { GEN_PAE, 3, 9, 8, UINT64_C(0xe0000000) },
    { GEN_32, 2, 10, 4, UINT64_C(0xe0000000) },
};

static const struct {
    uint8_t first, count;
} parts[6] = {
    { 32, 40 }, { 17, 10 }, { 11, 6 }, { 7, 4 }, { 1, 4 }, { 5, 2 },
};

/* ---- choices ---- */

static uint64_t next(struct gen *g, unsigned bytes)
{
    uint64_t value = 0;

    if (g->bytes == NULL) {
        uint64_t z = g->seed += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        return z ^ z >> 31;
    }
    for (; bytes > 0 && g->left > 0; bytes--, g->left--)
        value = value << 8 | *g->bytes++;
    return value;
}

unsigned gen_below(struct gen *g, unsigned n)
{
    return (unsigned)(next(g, n > 256 ? 2 : 1) % n);
}

bool gen_percent(struct gen *g, unsigned p)
{
    return gen_below(g, 100) < p;
}

/* ---- what the guest looks like ---- */

const struct mmu *gen_naive(const struct gen *g)
{
    return &g->world->vcpu[g->vcpu].naive;
}

static const struct shape *shape_of(const struct gen *g)
{
    const struct mmu_registers *regs = &gen_naive(g)->regs;
    unsigned                    flag = GEN_32;

    if (!(regs->cr0 & PAGING_ON))
        return NULL;
    if (regs->efer & EFER_LMA)
        flag = regs->cr4 & CR4_LA57 ? GEN_LA57 : GEN_64;
    else if (regs->cr4 & CR4_PAE)
        flag = GEN_PAE;
    for (unsigned i = 0;; i++)
        if (shapes[i].flag == flag)
            return &shapes[i];
}

uint64_t gen_frame(struct gen *g, unsigned level)
{
    if (g->world->setup.large && (level > 0 || g->piece) && gen_percent(g, level > 0 ? 8 : 80))
        return WORLD_LARGE + 2 * level + gen_below(g, level > 0 ? 2 : 16); /* in a large page */
    return parts[level].first + gen_below(g, parts[level].count);
}

static unsigned index_at(const struct shape *s, uint64_t va, unsigned level)
{
    unsigned width = s->flag == GEN_PAE && level == 3 ? 2 : s->index_bits;

    return (unsigned)(va >> (12 + s->index_bits * (level - 1))) & ((1u << width) - 1);
}

static unsigned some_index(struct gen *g, const struct shape *s, unsigned level)
{
    unsigned last = s->flag == GEN_PAE && level == 3 ? 3 : (1u << s->index_bits) - 1;

    if (level == 3 && s->flag == GEN_PAE)
        return gen_below(g, 4);
    if (gen_percent(g, 10))
        return last;
    if (level == 1 && s->flag == GEN_32 && gen_percent(g, 20)) /* the second half of 4 MiB */
        return 512 + gen_below(g, 16);
    return gen_below(g, level == 1 ? 6 : 2);
}

static uint64_t some_va(struct gen *g, const struct shape *s)
{
    uint64_t va = 0;

    if (s == NULL) {
        if (gen_percent(g, 5))
            return next(g, 4) & 0xfffffff8; /* an operation stays within a page */
        if (g->world->setup.large && gen_percent(g, 30))
            return (WORLD_LARGE + gen_below(g, 512)) * UINT64_C(4096) + gen_below(g, 512) * 8;
        return gen_below(g, g->world->setup.gfns) * UINT64_C(4096) + gen_below(g, 512) * 8;
    }
    if (g->world->setup.large && gen_percent(g, 18))
        return s->map + (WORLD_LARGE + gen_below(g, 16)) * UINT64_C(4096) + gen_below(g, 512) * 8;
    if (gen_percent(g, 20))
        return s->map + gen_below(g, g->world->setup.gfns) * UINT64_C(4096) + gen_below(g, 512) * 8;
    for (unsigned level = s->levels; level >= 1; level--)
        va |= (uint64_t)some_index(g, s, level) << (12 + s->index_bits * (level - 1));
    if (s->levels >= 4) {
        unsigned top = 12 + 9 * s->levels;

        va = (uint64_t)((int64_t)(va << (64 - top)) >> (64 - top));
    }
    return va | (uint64_t)gen_below(g, 512) << 3;
}

/* ---- entries ---- */

static uint64_t some_target(struct gen *g, unsigned level)
{
    unsigned dice = gen_below(g, 100);

    if (dice < 5)
        return gen_below(g, 2) ? next(g, 4) & 0xffffffffff
                               : g->world->memory.gfns + gen_below(g, 4);
    if (dice < 12)
        return gen_below(g, g->world->setup.gfns);
    if (level > 1)
        return gen_frame(g, dice < 22 ? level : level - 1);
    if (dice < 30)
        return gen_frame(g, 1 + gen_below(g, 5));
    if (dice < 45 && g->world->setup.large)
        return WORLD_LARGE + gen_below(g, 512);
    return gen_frame(g, 0);
}

static uint64_t some_flags(struct gen *g)
{
    uint64_t flags = 0;

    flags |= gen_percent(g, 92) ? 1 : 0;
    flags |= gen_percent(g, 75) ? 2 : 0;
    flags |= gen_percent(g, 65) ? 4 : 0;
    flags |= gen_percent(g, 10) ? 0x18 : 0;
    flags |= gen_percent(g, 50) ? 0x20 : 0;
    flags |= gen_percent(g, 40) ? 0x40 : 0;
    flags |= gen_percent(g, 10) ? 0x100 : 0;
    flags |= gen_percent(g, 10) ? 0xe00 : 0;
    return flags;
}

static uint64_t some_large(struct gen *g, unsigned level, unsigned index_bits)
{
    uint64_t base = 0;

    if (level == 2 && index_bits == 9)
        base = (g->world->setup.large ? gen_below(g, 3) : gen_below(g, 2)) * UINT64_C(0x200000);
    else if (level == 2)
        base = gen_percent(g, 94) ? 0 : (uint64_t)gen_below(g, 256) << 13;
    else if (level == 3)
        base = gen_percent(g, 80) ? 0 : UINT64_C(0x40000000);
    if (gen_percent(g, 4))
        base |= UINT64_C(1) << (13 + gen_below(g, 17));
    return base | 0x80 | (gen_percent(g, 20) ? 0x1000 : 0);
}

static uint64_t some_entry(struct gen *g, const struct shape *s, unsigned level)
{
    uint64_t e = some_flags(g);

    if (level > 1 && gen_percent(g, level == 2 ? 12 : level == 3 ? 5 : 1))
        e |= some_large(g, level, s->index_bits);
    else
        e |= some_target(g, level) << 12 | (level == 1 && gen_percent(g, 10) ? 0x80 : 0);
    if (s->entry == 4)
        return e & 0xffffffff;
    if (s->flag == GEN_PAE && level == 3)
        return gen_percent(g, 98) ? (e & UINT64_C(0xfffffff018)) | 1 : e;
    if (gen_percent(g, gen_naive(g)->regs.efer & EFER_NXE ? 12 : 2))
        e |= BIT_NX;
    if (gen_percent(g, 2))
        e |= UINT64_C(1) << (40 + gen_below(g, 23));
    if (gen_percent(g, 5) && s->levels > 3)
        e |= (uint64_t)gen_below(g, 1024) << 52;
    return gen_percent(g, 1) ? next(g, 8) : e;
}

/* What a guest does to an entry it has: one or two bits change, or the page moves. */
static uint64_t changed_entry(struct gen *g, unsigned level, uint64_t e)
{
    static const uint64_t flips[] = {
        1, 2, 4, 0x20, 0x40, 0x60, 0x80, 0x42, 2, BIT_NX, 0x200, 1, 2
    };

    if (gen_percent(g, 25) && !(e & 0x80))
        return (e & ~UINT64_C(0xfffff000)) | (some_target(g, level) << 12 & 0xfffff000);
    return e ^ flips[gen_below(g, sizeof(flips) / sizeof(flips[0]))];
}

/* ---- operations ---- */

struct op gen_op(const struct gen *g, enum op_kind kind)
{
    return (struct op){ .kind = (uint8_t)kind, .vcpu = (uint8_t)g->vcpu, .length = 8 };
}

void gen_push(struct gen *g, struct op op)
{
    if (g->count < GEN_PENDING)
        g->pending[(g->first + g->count++) % GEN_PENDING] = op;
}

void gen_poke(struct gen *g, const struct shape *s, uint64_t frame, unsigned index, uint64_t value)
{
    struct op op = gen_op(g, OP_POKE);

    op.va = frame << 12 | index * s->entry;
    op.length = (uint8_t)s->entry;
    op.value = value;
    gen_push(g, op);
}

void gen_register(struct gen *g, enum op_kind kind, uint64_t value)
{
    struct op op = gen_op(g, kind);

    op.value = value;
    gen_push(g, op);
}

/* Puts in again what the map of all memory needs to show one guest frame. */
static void repair_map(struct gen *g, const struct shape *s, uint64_t gfn)
{
    uint64_t root = (gen_naive(g)->regs.cr3 >> 12) & UINT64_C(0xffffffffff),
             va = s->map + (gfn << 12);

    switch (s->flag) {
    case GEN_LA57:
        gen_poke(g, s, root, index_at(s, va, 5), MAP_4 << 12 | 0x63);
        gen_poke(g, s, MAP_4, index_at(s, va, 4), MAP_3 << 12 | 0x63);
        gen_poke(g, s, MAP_3, index_at(s, va, 3), MAP_2 << 12 | 0x63);
        break;
    case GEN_64:
        gen_poke(g, s, root, index_at(s, va, 4), MAP_3 << 12 | 0x63);
        gen_poke(g, s, MAP_3, index_at(s, va, 3), MAP_2 << 12 | 0x63);
        break;
    case GEN_PAE: /* latched: the root must be loaded again */
        for (unsigned i = 0; i < 4; i++)
            gen_poke(g, s, root, (unsigned)(gen_naive(g)->regs.cr3 >> 3 & 0x1fc) + i,
                     (i == 3 ? MAP_2 : gen_frame(g, 2)) << 12 | 1);
        gen_register(g, OP_CR3, gen_naive(g)->regs.cr3);
        break;
    default:
        gen_poke(g, s, root, index_at(s, va, 2), MAP_1_OF_2 << 12 | 0x63);
        gen_poke(g, s, MAP_1_OF_2, index_at(s, va, 1), gfn << 12 | 0x63);
        return;
    }
    if (gfn >= WORLD_LARGE && g->world->setup.large) {
        gen_poke(g, s, MAP_2, index_at(s, va, 2), WORLD_LARGE << 12 | 0xe3);
        return;
    }
    gen_poke(g, s, MAP_2, index_at(s, va, 2), MAP_1 << 12 | 0x63);
    gen_poke(g, s, MAP_1, index_at(s, va, 1), gfn << 12 | 0x63);
}

/* The guest writes guest-physical memory through its map, which is repaired if it must be. */
void gen_write(struct gen *g, const struct shape *s, uint64_t gpa, unsigned length, uint64_t value)
{
    struct op          op = gen_op(g, gen_percent(g, 20) ? OP_CMPXCHG : OP_WRITE);
    struct mmu_outcome o;

    op.acc = ACC_WRITE | ACC_AC;
    op.length = (uint8_t)length;
    op.value = value;
    op.va = (s == NULL ? 0 : s->map) + gpa;
    mmu_read_memory(&g->world->memory, gpa, &op.old, length);
    if (length < 8)
        op.old &= (UINT64_C(1) << length * 8) - 1;
    if (s != NULL) {
        o = mmu_peek(gen_naive(g), op.va, (struct mmu_access){ .write = true, .ac = true });
        if (!o.ok || o.gpa != gpa)
            repair_map(g, s, gpa >> 12);
    }
    gen_push(g, op);
}

static void make_table_write(struct gen *g, const struct shape *s)
{
    const struct shape *as = s != NULL ? s : &shapes[0];
    unsigned            level = 1 + gen_below(g, as->levels);
    uint64_t            table, gpa, value = 0;
    unsigned            index;

    if (gen_percent(g, 50)) /* leaf tables are what guests mostly write */
        level = 1;
    table = gen_frame(g, level);
    index = some_index(g, as, level);
    if (as->flag == GEN_PAE && level == 3)
        index += 4 * gen_below(g, 2);
    gpa = table << 12 | index * as->entry;
    mmu_read_memory(&g->world->memory, gpa, &value, as->entry);
    if (value == 0 || gen_percent(g, 40))
        value = gen_percent(g, 8) ? 0 : some_entry(g, as, level);
    else
        value = changed_entry(g, level, value);
    if (gen_percent(g, 6)) {
        unsigned length = 1u << gen_below(g, 3);

        gen_write(g, s, gpa + gen_below(g, as->entry / length) * length, length, value);
        return;
    }
    gen_write(g, s, gpa, as->entry, value);
}

/* A fork or a clean-up: a run of entries of one table is changed alike. */
static void make_table_run(struct gen *g, const struct shape *s)
{
    static const uint64_t clear[] = { 2, 0x20, 0x40, 0x63, ~UINT64_C(0) };
    const struct shape   *as = s != NULL ? s : &shapes[0];
    uint64_t              table = gen_frame(g, 1), bits = clear[gen_below(g, 5)];
    unsigned              first = gen_below(g, 4), count = 2 + gen_below(g, 5);

    for (unsigned i = first; i < first + count; i++) {
        uint64_t value = 0, gpa = table << 12 | i * as->entry;

        mmu_read_memory(&g->world->memory, gpa, &value, as->entry);
        gen_write(g, s, gpa, as->entry, value & ~bits);
    }
}

/*
 * The guest maps a page where it could not get: without that, a long run would see fewer and
 * fewer accesses succeed, since tables get worse by chance and never better.
 */
static void make_path(struct gen *g, const struct shape *s, uint64_t va)
{
    uint64_t cr3 = gen_naive(g)->regs.cr3, table = (cr3 >> 12) & UINT64_C(0xffffffffff);

    for (unsigned level = s->levels; level >= 1; level--) {
        bool     latched = s->flag == GEN_PAE && level == 3;
        unsigned index = index_at(s, va, level) + (latched ? (unsigned)(cr3 >> 3 & 0x1fc) : 0);
        uint64_t child = gen_frame(g, level - 1);

        if (table < g->world->memory.gfns && g->world->memory.behind[table] != MMU_RAM)
            gen_set_behind(g, table, MMU_RAM);
        gen_poke(g, s, table, index, child << 12 | (latched ? 1 : 0x67));
        table = child;
    }
    if (s->flag == GEN_PAE)
        gen_register(g, OP_CR3, cr3);
}

static void make_access(struct gen *g, const struct shape *s)
{
    static const uint8_t kinds[] = { OP_READ,  OP_READ,  OP_READ,  OP_WRITE,
                                     OP_WRITE, OP_WRITE, OP_FETCH, OP_CMPXCHG };
    struct op            op = gen_op(g, kinds[gen_below(g, sizeof(kinds))]);

    op.length = (uint8_t)(1u << gen_below(g, 4));
    for (unsigned tries = 0; tries < 5; tries++) {
        unsigned acc = op.kind == OP_WRITE || op.kind == OP_CMPXCHG ? ACC_WRITE : 0;

        if (op.kind == OP_FETCH)
            acc |= ACC_FETCH;
        acc |= gen_percent(g, 50) ? ACC_USER : 0;
        acc |= gen_percent(g, 50) ? ACC_AC : 0;
        op.acc = (uint8_t)acc;
        op.va = some_va(g, s);
        if (mmu_peek(gen_naive(g), op.va, world_naive_access(acc)).ok || gen_percent(g, 25))
            break;
    }
    if (s != NULL && gen_percent(g, 10) &&
        !mmu_peek(gen_naive(g), op.va, world_naive_access(op.acc)).ok)
        make_path(g, s, op.va);
    op.value = gen_percent(g, 30) && s != NULL ? some_entry(g, s, 1) : next(g, 8);
    op.old = gen_percent(g, 50) ? 0 : next(g, 8);
    gen_push(g, op);
}

static uint64_t some_root(struct gen *g, unsigned flag)
{
    unsigned level = flag == GEN_64 ? 4 : flag == GEN_LA57 ? 5 : flag == GEN_PAE ? 3 : 2;
    unsigned dice = gen_below(g, 100);
    uint64_t root;

    if (dice < 4)
        root = gen_below(g, g->world->setup.gfns);
    else if (dice < 6)
        root = g->world->memory.gfns + 3;
    else if (dice < 10)
        root = gen_frame(g, 1 + gen_below(g, 4));
    else
        root = gen_frame(g, level);
    if (flag == GEN_PAE)
        return root << 12 | (uint64_t)gen_below(g, 2) << 5;
    return root << 12 | (gen_percent(g, 10) ? 0x18 : 0);
}

/* Off and on again, perhaps in another mode. */
static void make_mode(struct gen *g, const struct shape *s)
{
    const struct mmu_registers *regs = &gen_naive(g)->regs;
    uint64_t cr0 = CR0_BASE | (regs->cr0 & CR0_WP), cr4 = regs->cr4 & ~(CR4_PAE | CR4_LA57);
    uint64_t efer = regs->efer & EFER_NXE;
    unsigned flag;

    if (s != NULL) {
        gen_register(g, OP_CR0, cr0);
        if ((g->modes & GEN_OFF) && gen_percent(g, 50))
            return;
    }
    do
        flag = 1u << gen_below(g, 5);
    while (!(flag & g->modes) && (g->bytes == NULL || g->left > 0));
    if (flag == GEN_OFF || !(flag & g->modes))
        return;
    if (flag != GEN_32)
        cr4 |= CR4_PAE;
    if (flag == GEN_LA57)
        cr4 |= CR4_LA57;
    if (flag == GEN_64 || flag == GEN_LA57)
        efer |= EFER_LME;
    gen_register(g, OP_EFER, efer);
    gen_register(g, OP_CR4, cr4);
    gen_register(g, OP_CR3, some_root(g, flag));
    gen_register(g, OP_CR0, cr0 | PAGING_ON);
}

static void make_toggle(struct gen *g, const struct shape *s)
{
    static const uint64_t       cr4_bits[] = { 0x10, 0x80, 0x100000, 0x200000, 0x300000 };
    const struct mmu_registers *regs = &gen_naive(g)->regs;

    switch (gen_below(g, 4)) {
    case 0:
        gen_register(g, OP_CR0, regs->cr0 ^ CR0_WP);
        break;
    case 1:
        if (gen_percent(g, 40)) /* mostly on */
            gen_register(g, OP_EFER, regs->efer ^ EFER_NXE);
        else
            gen_register(g, OP_EFER, regs->efer | EFER_NXE);
        break;
    case 2:
        gen_register(g, OP_CR4, regs->cr4 ^ cr4_bits[gen_below(g, 5)]);
        break;
    default:
        gen_register(g, OP_CR3,
                     s != NULL && gen_percent(g, 80) ? some_root(g, s->flag) : regs->cr3);
    }
}

/* A log is on for long, and looked at often. */
static uint64_t some_dirty(struct gen *g)
{
    if (!g->world->logging)
        return WORLD_DIRTY_ON;
    if (gen_percent(g, 25))
        return WORLD_DIRTY_OFF;
    return gen_percent(g, 30) ? WORLD_DIRTY_PEEK : WORLD_DIRTY_CLEAN;
}

static void make_other(struct gen *g, const struct shape *s)
{
    static const uint8_t kinds[] = { OP_INVLPG, OP_INVLPG, OP_INVLPG,   OP_UNSHADOW, OP_WORK,
                                     OP_WORK,   OP_POKE,   OP_REACH,    OP_REACH,    OP_VIEW,
                                     OP_P2M,    OP_POOL,   OP_IMPLICIT, OP_IMPLICIT, OP_GUARD,
                                     OP_GUARD,  OP_BLOW,   OP_P2M,      OP_BLOCK,    OP_KIND,
                                     OP_DIRTY,  OP_DIRTY,  OP_RIGHTS };
    struct op            op = gen_op(g, kinds[gen_below(g, sizeof(kinds))]);

    switch (op.kind) {
    case OP_UNSHADOW:
        op.va = gen_frame(g, 1 + gen_below(g, 5));
        break;
    case OP_WORK:
        op.value = 1 + gen_below(g, 600);
        break;
    case OP_POKE:
        op.length = (uint8_t)(1u << gen_below(g, 4));
        op.va = gen_below(g, g->world->setup.gfns) * UINT64_C(4096) + gen_below(g, 8) * 8;
        op.value = some_entry(g, s != NULL ? s : &shapes[0], 1);
        break;
    case OP_P2M:
        if (gen_percent(g, 40))
            gen_p2m(g);
        return;
    case OP_BLOCK:
        if (g->world->setup.pairs < 48) /* every vCPU may lose its root and need another */
            return;
        op.acc = gen_percent(g, 80) ? MMU_RAM : (uint8_t)gen_below(g, 4);
        break;
    case OP_DIRTY:
        op.value = some_dirty(g);
        op.va = gen_percent(g, 50) ? 0 : gen_below(g, (unsigned)g->world->memory.gfns);
        op.old = gen_percent(g, 50) ? 0 : gen_below(g, 200);
        break;
    case OP_POOL:
        if (gen_percent(g, 70)) /* a pool of another size is to be used for a while */
            return;
        op.value = g->world->setup.pairs;
        if (op.value > WORLD_POOL && gen_percent(g, 70))
            op.value = WORLD_POOL + gen_below(g, (unsigned)op.value - WORLD_POOL);
        break;
    case OP_IMPLICIT:
        op.va = some_va(g, s);
        break;
    case OP_BLOW: /* what is built afterwards is to be used for a while */
        if (gen_percent(g, 60))
            return;
        break;
    case OP_KIND: /* most of the time is spent under shadow paging */
        op.value = g->world->domain.kind == PAGING_SHADOW;
        if (gen_percent(g, op.value ? 70 : 20))
            return;
        break;
    case OP_RIGHTS:
        gen_rights(g, &op);
        return;
    case OP_GUARD:
        op.va = some_va(g, s);
        op.value = gen_percent(g, 50) ? 103 : some_va(g, s) - op.va;
        op.length = gen_percent(g, 30) ? 1 : 8;
        break;
    default:
        op.va = some_va(g, s);
        op.acc = (uint8_t)gen_below(g, 16);
        if (op.acc & ACC_FETCH)
            op.acc &= (uint8_t)~ACC_WRITE;
        op.value = gen_below(g, 2);
    }
    gen_push(g, op);
}

bool gen_next(struct gen *g, struct op *op)
{
    while (g->count == 0) {
        if (g->bytes != NULL && g->left == 0)
            return false;
        const struct shape *s = shape_of(g);

        if (g->tables.count != 0 && s != NULL && s->flag == g->tables.flag) {
            gen_storm_breaks(g, s);
            continue;
        }
        if (gen_percent(g, 5))
            g->vcpu = gen_below(g, g->vcpus);

        unsigned dice = gen_below(g, 1000);

        s = shape_of(g);
        if (dice < (s == NULL ? 80 : 8))
            make_mode(g, s);
        else if (dice < 120)
            make_toggle(g, s);
        else if (dice < 300)
            make_table_write(g, s);
        else if (dice < 320)
            make_table_run(g, s);
        else if (dice < 325 && s != NULL)
            gen_storm(g, s);
        else if (dice < 420)
            make_other(g, s);
        else
            make_access(g, s);
    }
    *op = g->pending[g->first];
    g->first = (g->first + 1) % GEN_PENDING;
    g->count--;
    return true;
}
