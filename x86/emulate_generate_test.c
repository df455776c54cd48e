/*
 * Random instructions for the emulator's differential test, with registers and memory that make
 * most of them succeed.
 *
 * An instruction is drawn from the table of opcodes, its ModRM and SIB bytes are random; then
 * the base register or the displacement is solved so that the operand lies where it is wanted.
 */
#include <stddef.h>
#include <string.h>

#include "x86/emulate_native_test.h"

/* ---- random numbers: xorshift64* ---- */

static uint64_t random_state = 1;

void random_start(uint64_t seed)
{
    random_state = seed * 2 + 1;
}

static uint64_t random_bits(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * UINT64_C(0x2545f4914f6cdd1d);
}

uint64_t random_below(uint64_t limit)
{
    return (random_bits() >> 20) % limit;
}

static bool one_in(uint64_t n)
{
    return random_below(n) == 0;
}

/* Values near which arithmetic changes its mind, and others. */
static uint64_t random_value(void)
{
    static const uint64_t edges[] = { 0,          1,          0x7f,      0x80,
                                      0xff,       0x7fff,     0x8000,    0x7fffffff,
                                      0x80000000, 0xffffffff, INT64_MAX, (uint64_t)INT64_MIN,
                                      UINT64_MAX };

    if (one_in(2))
        return random_bits();
    return edges[random_below(sizeof(edges) / sizeof(edges[0]))] + random_below(3) - 1;
}

/* ---- the table of opcodes ---- */

enum { MAP_ONE, MAP_0F, MAP_0F38 };
enum { IMM_NONE, IMM_8, IMM_16, IMM_Z, IMM_V, IMM_ADDRESS, IMM_TARGET8, IMM_TARGET32 };

enum {
    F_REG = 1,       /* ModRM with any register in reg; without it and digits: no ModRM */
    F_MEMORY = 2,    /* memory operand only */
    F_LOCK = 4,      /* LOCK half of the time */
    F_STRING = 8,    /* pointers in rSI, rDI, count in rCX, repeat prefixes */
    F_STACK = 16,    /* 66h only; rSP is in the sandbox anyway */
    F_BRANCH = 32,   /* the operand leads to the branch target; no 66h, vendors differ */
    F_BITS = 64,     /* the register in reg is a bit offset within the sandbox */
    F_DIVIDE = 128,  /* rDX small half of the time */
    F_MATCH = 256,   /* accumulator equals the memory operand half of the time */
    F_ALIGNED = 512, /* operand is 16 bytes aligned, mostly */
    F_SSE = 1024,    /* no 66h but as prefix of the opcode */
    F_NO66 = 2048,
};

struct form {
    uint8_t  prefix; /* mandatory one or 0 */
    uint8_t  map, first, count;
    uint8_t  digits; /* allowed values of ModRM.reg as a bit mask, if not F_REG */
    uint8_t  imm;
    uint16_t flags;
};

#define ALU(n)                                                                                     \
    { 0, MAP_ONE, 8 * (n), 2, 0, IMM_NONE, F_REG | F_LOCK },                                       \
        { 0, MAP_ONE, 8 * (n) + 2, 2, 0, IMM_NONE, F_REG },                                        \
        { 0, MAP_ONE, 8 * (n) + 4, 1, 0, IMM_8, 0 },                                               \
    {                                                                                              \
        0, MAP_ONE, 8 * (n) + 5, 1, 0, IMM_Z, 0                                                    \
    }

static const struct form forms[] = {
    ALU(0),
    ALU(1),
    ALU(2),
    ALU(3),
    ALU(4),
    ALU(5),
    ALU(6),
    ALU(7),
    { 0, MAP_ONE, 0x80, 1, 0xff, IMM_8, F_LOCK },
    { 0, MAP_ONE, 0x81, 1, 0xff, IMM_Z, F_LOCK },
    { 0, MAP_ONE, 0x83, 1, 0xff, IMM_8, F_LOCK },
    { 0, MAP_ONE, 0x84, 2, 0, IMM_NONE, F_REG }, /* TEST */
    { 0, MAP_ONE, 0xa8, 1, 0, IMM_8, 0 },
    { 0, MAP_ONE, 0xa9, 1, 0, IMM_Z, 0 },
    { 0, MAP_ONE, 0x86, 2, 0, IMM_NONE, F_REG | F_LOCK }, /* XCHG */
    { 0, MAP_ONE, 0x91, 7, 0, IMM_NONE, 0 },
    { 0, MAP_ONE, 0x88, 4, 0, IMM_NONE, F_REG }, /* MOV */
    { 0, MAP_ONE, 0x8c, 1, 0x3f, IMM_NONE, 0 },
    { 0, MAP_ONE, 0xa0, 4, 0, IMM_ADDRESS, 0 },
    { 0, MAP_ONE, 0xb0, 8, 0, IMM_8, 0 },
    { 0, MAP_ONE, 0xb8, 8, 0, IMM_V, 0 },
    { 0, MAP_ONE, 0xc6, 1, 0x01, IMM_8, 0 },
    { 0, MAP_ONE, 0xc7, 1, 0x01, IMM_Z, 0 },
    { 0, MAP_0F, 0xc3, 1, 0, IMM_NONE, F_REG | F_MEMORY | F_NO66 }, /* MOVNTI */
    { 0, MAP_0F38, 0xf0, 2, 0, IMM_NONE, F_REG | F_MEMORY },        /* MOVBE */
    { 0, MAP_0F, 0xb6, 2, 0, IMM_NONE, F_REG },                     /* MOVZX, MOVSX, MOVSXD */
    { 0, MAP_0F, 0xbe, 2, 0, IMM_NONE, F_REG },
    { 0, MAP_ONE, 0x63, 1, 0, IMM_NONE, F_REG | F_NO66 },
    { 0, MAP_ONE, 0x8d, 1, 0, IMM_NONE, F_REG | F_MEMORY },        /* LEA */
    { 0, MAP_ONE, 0xd7, 1, 0, IMM_NONE, F_STRING },                /* XLAT */
    { 0, MAP_0F, 0xc0, 2, 0, IMM_NONE, F_REG | F_LOCK },           /* XADD */
    { 0, MAP_0F, 0xb0, 2, 0, IMM_NONE, F_REG | F_LOCK | F_MATCH }, /* CMPXCHG */
    { 0, MAP_0F, 0xc7, 1, 0x02, IMM_NONE, F_MEMORY | F_LOCK | F_MATCH | F_ALIGNED | F_NO66 },
    { 0, MAP_ONE, 0xfe, 2, 0x03, IMM_NONE, F_LOCK }, /* INC, DEC */
    { 0, MAP_ONE, 0xf6, 1, 0x03, IMM_8, 0 },         /* TEST */
    { 0, MAP_ONE, 0xf7, 1, 0x03, IMM_Z, 0 },
    { 0, MAP_ONE, 0xf6, 2, 0x0c, IMM_NONE, F_LOCK },   /* NOT, NEG */
    { 0, MAP_ONE, 0xf6, 2, 0x30, IMM_NONE, 0 },        /* MUL, IMUL */
    { 0, MAP_ONE, 0xf6, 2, 0xc0, IMM_NONE, F_DIVIDE }, /* DIV, IDIV */
    { 0, MAP_ONE, 0x69, 1, 0, IMM_Z, F_REG },
    { 0, MAP_ONE, 0x6b, 1, 0, IMM_8, F_REG },
    { 0, MAP_0F, 0xaf, 1, 0, IMM_NONE, F_REG },
    { 0, MAP_ONE, 0xc0, 2, 0xff, IMM_8, 0 }, /* shifts and rotates */
    { 0, MAP_ONE, 0xd0, 4, 0xff, IMM_NONE, 0 },
    { 0, MAP_ONE, 0xd2, 2, 0xff, IMM_NONE, 0 },
    { 0, MAP_0F, 0xa4, 1, 0, IMM_8, F_REG }, /* SHLD, SHRD */
    { 0, MAP_0F, 0xa5, 1, 0, IMM_NONE, F_REG },
    { 0, MAP_0F, 0xac, 1, 0, IMM_8, F_REG },
    { 0, MAP_0F, 0xad, 1, 0, IMM_NONE, F_REG },
    { 0, MAP_0F, 0xa3, 1, 0, IMM_NONE, F_REG | F_BITS }, /* BT and its kin */
    { 0, MAP_0F, 0xab, 1, 0, IMM_NONE, F_REG | F_BITS | F_LOCK },
    { 0, MAP_0F, 0xb3, 1, 0, IMM_NONE, F_REG | F_BITS | F_LOCK },
    { 0, MAP_0F, 0xbb, 1, 0, IMM_NONE, F_REG | F_BITS | F_LOCK },
    { 0, MAP_0F, 0xba, 1, 0xf0, IMM_8, F_LOCK },
    { 0, MAP_0F, 0x40, 16, 0, IMM_NONE, F_REG }, /* CMOVcc, SETcc */
    { 0, MAP_0F, 0x90, 16, 0xff, IMM_NONE, 0 },
    { 0, MAP_ONE, 0x50, 16, 0, IMM_NONE, F_STACK }, /* PUSH, POP */
    { 0, MAP_ONE, 0xff, 1, 0x40, IMM_NONE, F_STACK },
    { 0, MAP_ONE, 0x8f, 1, 0x01, IMM_NONE, F_STACK },
    { 0, MAP_ONE, 0x68, 1, 0, IMM_Z, F_STACK },
    { 0, MAP_ONE, 0x6a, 1, 0, IMM_8, F_STACK },
    { 0, MAP_0F, 0xa0, 1, 0, IMM_NONE, F_STACK },
    { 0, MAP_0F, 0xa8, 1, 0, IMM_NONE, F_STACK },
    { 0, MAP_ONE, 0x9c, 1, 0, IMM_NONE, F_STACK },     /* PUSHF */
    { 0, MAP_ONE, 0xc9, 1, 0, IMM_NONE, F_STACK },     /* LEAVE */
    { 0, MAP_ONE, 0xff, 1, 0x14, IMM_NONE, F_BRANCH }, /* CALL, JMP */
    { 0, MAP_ONE, 0xe8, 2, 0, IMM_TARGET32, F_BRANCH },
    { 0, MAP_ONE, 0xc3, 1, 0, IMM_NONE, F_BRANCH }, /* RET */
    { 0, MAP_ONE, 0xc2, 1, 0, IMM_16, F_BRANCH },
    { 0, MAP_ONE, 0xa4, 4, 0, IMM_NONE, F_STRING }, /* MOVS, CMPS */
    { 0, MAP_ONE, 0xaa, 6, 0, IMM_NONE, F_STRING }, /* STOS, LODS, SCAS */
    { 0, MAP_0F, 0x10, 2, 0, IMM_NONE, F_REG | F_SSE },
    { 0x66, MAP_0F, 0x10, 2, 0, IMM_NONE, F_REG | F_SSE },
    { 0xf3, MAP_0F, 0x10, 2, 0, IMM_NONE, F_REG | F_SSE },
    { 0xf2, MAP_0F, 0x10, 2, 0, IMM_NONE, F_REG | F_SSE },
    { 0, MAP_0F, 0x12, 2, 0, IMM_NONE, F_REG | F_SSE | F_MEMORY },
    { 0x66, MAP_0F, 0x12, 2, 0, IMM_NONE, F_REG | F_SSE | F_MEMORY },
    { 0, MAP_0F, 0x16, 2, 0, IMM_NONE, F_REG | F_SSE | F_MEMORY },
    { 0x66, MAP_0F, 0x16, 2, 0, IMM_NONE, F_REG | F_SSE | F_MEMORY },
    { 0, MAP_0F, 0x28, 2, 0, IMM_NONE, F_REG | F_SSE | F_ALIGNED },
    { 0x66, MAP_0F, 0x28, 2, 0, IMM_NONE, F_REG | F_SSE | F_ALIGNED },
    { 0, MAP_0F, 0x2b, 1, 0, IMM_NONE, F_REG | F_SSE | F_MEMORY | F_ALIGNED },
    { 0x66, MAP_0F, 0x2b, 1, 0, IMM_NONE, F_REG | F_SSE | F_MEMORY | F_ALIGNED },
    { 0x66, MAP_0F, 0x6e, 1, 0, IMM_NONE, F_REG | F_SSE },
    { 0x66, MAP_0F, 0x7e, 1, 0, IMM_NONE, F_REG | F_SSE },
    { 0xf3, MAP_0F, 0x7e, 1, 0, IMM_NONE, F_REG | F_SSE },
    { 0x66, MAP_0F, 0xd6, 1, 0, IMM_NONE, F_REG | F_SSE },
    { 0x66, MAP_0F, 0x6f, 1, 0, IMM_NONE, F_REG | F_SSE | F_ALIGNED },
    { 0x66, MAP_0F, 0x7f, 1, 0, IMM_NONE, F_REG | F_SSE | F_ALIGNED },
    { 0xf3, MAP_0F, 0x6f, 1, 0, IMM_NONE, F_REG | F_SSE },
    { 0xf3, MAP_0F, 0x7f, 1, 0, IMM_NONE, F_REG | F_SSE },
    { 0x66, MAP_0F, 0xe7, 1, 0, IMM_NONE, F_REG | F_SSE | F_MEMORY | F_ALIGNED },
    { 0xf2, MAP_0F, 0xf0, 1, 0, IMM_NONE, F_REG | F_SSE | F_MEMORY },
    { 0x66, MAP_0F38, 0x2a, 1, 0, IMM_NONE, F_REG | F_SSE | F_MEMORY | F_ALIGNED },
};

/* ---- encoding ---- */

struct maker {
    struct generated  *g;
    struct native     *state;
    const struct form *form;
    uint8_t            rex; /* 0 for none */
    bool               width16, address32;
    uint64_t           segment_base;
    uint64_t           target;      /* where the memory operand shall be */
    unsigned           relative_at; /* position of a displacement counted from the end, or 0 */
    bool               memory;
    uint8_t            reg;
};

static void put(struct maker *m, uint64_t value, unsigned bytes)
{
    memcpy(m->g->bytes + m->g->length, &value, bytes);
    m->g->length += bytes;
}

static void put_prefixes(struct maker *m)
{
    static const uint8_t ignored[] = { 0x26, 0x2e, 0x36, 0x3e };
    uint16_t             flags = m->form->flags;

    if (one_in(8))
        put(m, ignored[random_below(4)], 1);
    if (one_in(6)) {
        put(m, 0x65, 1);
        m->segment_base = GS_BASE;
    }
    if (one_in(6)) {
        put(m, 0x67, 1);
        m->address32 = true;
    }
    if (!(flags & (F_SSE | F_BRANCH | F_NO66)) && one_in(3)) {
        put(m, 0x66, 1);
        m->width16 = true;
    }
    if (((flags & F_LOCK) && one_in(2)) || one_in(200))
        put(m, 0xf0, 1);
    if ((flags & F_STRING) && m->form->first != 0xd7 && !one_in(3))
        put(m, one_in(2) ? 0xf2 : 0xf3, 1);
    if (m->form->prefix)
        put(m, m->form->prefix, 1);
    if (!one_in(3)) {
        m->rex = (uint8_t)(0x40 | random_below(16));
        put(m, m->rex, 1);
    }
}

/* The displacement that is left once index and base have their values. */
static uint64_t solve(struct maker *m, int base, int index, unsigned scale, uint64_t disp)
{
    uint64_t *gpr = m->state->gpr, rest = m->target - m->segment_base - disp;
    uint64_t  high = m->address32 ? random_bits() << 32 : 0;

    if (index >= 0 && index == base) {
        gpr[base] = rest / (1 + scale);
        return 0;
    }
    if (index >= 0) {
        gpr[index] = random_below(64) | high;
        rest -= (gpr[index] - high) * scale;
    }
    if (base >= 0)
        gpr[base] = m->address32 ? (uint32_t)rest | high : rest;
    return rest;
}

static void put_memory(struct maker *m, unsigned mod, unsigned rm)
{
    unsigned scale = 1, disp_bytes = mod == 0 ? 0 : mod == 1 ? 1 : 4;
    int      base = (int)(rm | (m->rex & 1u) << 3), index = -1;
    uint64_t disp = 0;

    put(m, mod << 6 | (m->reg & 7u) << 3 | rm, 1);
    if (rm == 4) {
        uint64_t sib = random_below(256);

        put(m, sib, 1);
        base = (int)((sib & 7) | (m->rex & 1u) << 3);
        index = (int)((sib >> 3 & 7) | (m->rex & 2u) << 2);
        if (index == 4)
            index = -1;
        scale = 1u << (sib >> 6);
        if (mod == 0 && (sib & 7) == 5) {
            put(m, solve(m, -1, index, scale, 0), 4);
            return;
        }
    } else if (mod == 0 && rm == 5) {
        m->relative_at = m->g->length;
        put(m, 0, 4);
        return;
    }
    if (disp_bytes)
        disp = disp_bytes == 1 ? (uint64_t)(int8_t)random_bits() : (uint64_t)(int32_t)random_bits();
    put(m, disp, disp_bytes);
    solve(m, base, index, scale, disp);
}

static void put_modrm(struct maker *m)
{
    const struct form *f = m->form;
    unsigned           mod = (unsigned)random_below(one_in(4) ? 4 : 3), digit;

    if (!(f->flags & F_REG) && !f->digits)
        return;
    do
        digit = (unsigned)random_below(8);
    while (f->digits && !(f->digits >> digit & 1));
    m->reg = (uint8_t)(digit | (m->rex & 4u) << 1);
    m->memory = mod != 3 || (f->flags & F_MEMORY);
    if (m->memory)
        put_memory(m, mod == 3 ? 0 : mod, (unsigned)random_below(8));
    else
        /* A branch through RSP would take the stack to the code. */
        put(m, 0xc0 | digit << 3 | random_below(m->form->flags & F_BRANCH ? 4 : 8), 1);
}

static void put_immediate(struct maker *m)
{
    unsigned z = m->width16 && !(m->rex & 8) ? 2 : 4;

    switch (m->form->imm) {
    case IMM_8:
        put(m, one_in(2) ? random_below(70) : random_bits(), 1);
        break;
    case IMM_16:
        put(m, random_below(64), 2);
        break;
    case IMM_Z:
        put(m, random_value(), z);
        break;
    case IMM_V:
        put(m, random_value(), m->rex & 8 ? 8 : z);
        break;
    case IMM_ADDRESS:
        put(m, m->target - m->segment_base, m->address32 ? 4 : 8);
        break;
    case IMM_TARGET32:
        put(m, BRANCH_TARGET - (CODE + m->g->length + 4), 4);
        break;
    default:
        break;
    }
}

/* ---- registers and memory ---- */

static void choose_target(struct maker *m)
{
    static const uint64_t wild[] = { 0x7fffffffffff,     0x800000000000, 0xffff7ffffffffff8,
                                     0xfffffffffffffff8, UNMAPPED,       0 };

    m->target = SANDBOX + random_below(SANDBOX_BYTES - 64) + 16;
    if (one_in(20)) /* across an end of the sandbox, perhaps */
        m->target = (one_in(2) ? SANDBOX : SANDBOX + SANDBOX_BYTES) + random_below(16) - 8;
    if (one_in(30))
        m->target = wild[random_below(6)];
    if ((m->form->flags & F_ALIGNED) && !one_in(5))
        m->target &= ~UINT64_C(15);
}

static void random_registers(struct native *state)
{
    for (unsigned i = 0; i < 16; i++)
        state->gpr[i] = random_value();
    for (unsigned i = 0; i < 16; i++) {
        uint64_t value = random_bits();

        memcpy(state->xmm[i], &value, 8);
        memcpy(state->xmm[i] + 8, &state->gpr[i], 8);
    }
    state->gpr[4] = SANDBOX + 512 + random_below(SANDBOX_BYTES - 1024);
    if (one_in(20))
        state->gpr[4] = (one_in(2) ? SANDBOX : SANDBOX + SANDBOX_BYTES) + random_below(24) - 12;
    /* Arithmetic flags and DF are random; reserved bit 1 and IF are as they always are here. */
    state->rflags = 0x202 | (random_bits() & 0xcd5);
}

/* String instructions of the same values now and then, so that comparisons find something. */
static void random_memory(uint8_t *sandbox)
{
    static uint64_t position;
    uint64_t        word = one_in(3) ? 0 : random_value();

    /* A stretch is new each time; the rest is what earlier cases left. */
    position = (position + 392) % (SANDBOX_BYTES - 512);
    for (unsigned i = 0; i < 512; i += 8) {
        if (one_in(4))
            word = random_value();
        memcpy(sandbox + position + i, &word, 8);
    }
}

static void prepare_string(struct maker *m)
{
    uint64_t *gpr = m->state->gpr;
    uint64_t  high = m->address32 ? random_bits() << 32 : 0;

    gpr[6] = (m->target - m->segment_base) & (m->address32 ? UINT32_MAX : UINT64_MAX);
    gpr[6] |= high;
    gpr[7] = (SANDBOX + random_below(SANDBOX_BYTES)) | high;
    if (one_in(4))
        gpr[7] = (m->target + random_below(32) - 16) | high;
    gpr[1] = random_below(one_in(4) ? 200 : 12) | high;
    gpr[3] = gpr[6] - (m->form->first == 0xd7 ? 128 : 0);
}

static bool in_sandbox(uint64_t address, unsigned bytes)
{
    return address >= SANDBOX && address - SANDBOX <= SANDBOX_BYTES - bytes;
}

/* What must hold before the address is solved, which may undo it now and then. */
static void prepare_registers(struct maker *m, const uint8_t *sandbox)
{
    uint64_t *gpr = m->state->gpr;
    uint16_t  flags = m->form->flags;

    if (flags & F_STRING)
        prepare_string(m);
    else if (one_in(2))
        gpr[1] = random_below(70);
    if ((flags & F_DIVIDE) && one_in(2))
        gpr[2] = one_in(2) ? random_below(3) : (uint64_t)((int64_t)gpr[0] >> 63);
    if ((flags & F_MATCH) && one_in(2) && in_sandbox(m->target, 16)) {
        memcpy(&gpr[0], sandbox + (m->target - SANDBOX), 8);
        memcpy(&gpr[2], sandbox + (m->target - SANDBOX) + (m->rex & 8 ? 8 : 4), 8);
        if (!(m->rex & 8)) {
            gpr[0] = (uint32_t)gpr[0];
            gpr[2] = (uint32_t)gpr[2];
        }
    }
    if (m->form->first == 0xc9)
        gpr[5] = gpr[4];
}

static void prepare_branch(struct maker *m, uint8_t *sandbox)
{
    uint64_t to = BRANCH_TARGET;

    if (m->form->first == 0xff && m->memory && in_sandbox(m->target, 8))
        memcpy(sandbox + (m->target - SANDBOX), &to, 8);
    if (in_sandbox(m->state->gpr[4], 8) && m->form->first != 0xff)
        memcpy(sandbox + (m->state->gpr[4] - SANDBOX), &to, 8);
}

/* Register operands of branches, and bit offsets, after ModRM is known. */
static void prepare_operands(struct maker *m, uint8_t *sandbox)
{
    uint64_t *gpr = m->state->gpr;

    if ((m->form->flags & F_BRANCH) && m->form->first == 0xff && !m->memory)
        gpr[(m->g->bytes[m->g->length - 1] & 7) | (m->rex & 1) << 3] = BRANCH_TARGET;
    if ((m->form->flags & F_BRANCH))
        prepare_branch(m, sandbox);
}

void generate(struct generated *g, struct native *state, uint8_t *sandbox)
{
    const struct form *form = &forms[random_below(sizeof(forms) / sizeof(forms[0]))];
    struct maker       m = { .g = g, .state = state, .form = form };

    random_registers(state);
    random_memory(sandbox);
    choose_target(&m);
    put_prefixes(&m);
    prepare_registers(&m, sandbox);
    if (form->map != MAP_ONE)
        put(&m, 0x0f, 1);
    if (form->map == MAP_0F38)
        put(&m, 0x38, 1);
    put(&m, form->first + random_below(form->count), 1);
    if (form->flags & F_BITS) {
        /* Any register may turn out to be the bit offset; the address is solved afterwards. */
        for (unsigned i = 0; i < 16; i++)
            state->gpr[i] = i == 4 ? state->gpr[i] : random_below(8192) - 4096;
    }
    put_modrm(&m);
    prepare_operands(&m, sandbox);
    put_immediate(&m);
    if (m.relative_at) {
        uint64_t disp = m.target - m.segment_base - (CODE + g->length);

        memcpy(g->bytes + m.relative_at, &disp, 4);
    }
}
