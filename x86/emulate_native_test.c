/*
 * The emulator against the processor that this test runs on.
 *
 * Random instances of every instruction that emulate() knows are executed twice: by the processor,
 * in a page of code of this process, and by emulate() on a copy of registers and memory. What
 * they leave behind must be the same: general and SSE registers, the flags that the manual
 * defines, memory, RIP, and the exception, page faults included. SEED=n repeats a run, CASES=n
 * changes its length.
 *
 * Registers and code stand at fixed low addresses, so that the code around an instruction needs
 * no register: everything can belong to the instruction. Memory operands lie in a sandbox of
 * two pages with nothing around it; accesses that miss it fault in both worlds.
 */
/* test: with x86/emulate_processor_test.c x86/emulate_generate_test.c */
/* test: with x86/emulate.c x86/emulate_address.c x86/emulate_alu.c x86/emulate_arithmetic.c */
/* test: with x86/emulate_data.c x86/emulate_sse.c x86/emulate_string.c x86/decode.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "x86/emulate.h"
#include "x86/emulate_native_test.h"

static struct native *const native = (struct native *)NATIVE_STATE;
static uint8_t *const       sandbox = (uint8_t *)SANDBOX;

/* ---- the copy that emulate() works on ---- */

struct world {
    uint8_t  memory[SANDBOX_BYTES];
    uint8_t  xmm[16][16];
    unsigned accesses, fail_at; /* the access with this number fails */
    unsigned lose;              /* so many compare-and-swaps are lost to somebody else */
    uint64_t last;              /* address of the last access */
};

static uint8_t *world_at(struct world *w, uint64_t linear, unsigned length)
{
    w->last = linear;
    if (w->accesses++ == w->fail_at)
        return NULL;
    return linear >= SANDBOX && linear - SANDBOX <= SANDBOX_BYTES - length
               ? w->memory + (linear - SANDBOX)
               : NULL;
}

static enum emu_status world_read(void *context, uint64_t linear, void *to, unsigned length,
                                  enum emu_access access)
{
    uint8_t *p = world_at(context, linear, length);

    assert_true(access == EMU_READ || access == EMU_MODIFY);
    if (!p)
        return EMU_FAULT;
    memcpy(to, p, length);
    return EMU_OK;
}

static enum emu_status world_write(void *context, uint64_t linear, const void *from,
                                   unsigned length)
{
    uint8_t *p = world_at(context, linear, length);

    if (!p)
        return EMU_FAULT;
    memcpy(p, from, length);
    return EMU_OK;
}

static enum emu_status world_cmpxchg(void *context, uint64_t linear, void *old, const void *desired,
                                     unsigned length, bool *done)
{
    struct world *w = context;
    uint8_t      *p = world_at(w, linear, length);

    if (!p)
        return EMU_FAULT;
    *done = memcmp(p, old, length) == 0 && w->lose == 0;
    if (w->lose > 0)
        w->lose--;
    memcpy(*done ? p : old, *done ? desired : (const void *)p, length);
    return EMU_OK;
}

static void world_read_xmm(void *context, unsigned index, void *to)
{
    memcpy(to, ((struct world *)context)->xmm[index], 16);
}

static void world_write_xmm(void *context, unsigned index, const void *from)
{
    memcpy(((struct world *)context)->xmm[index], from, 16);
}

static struct emu_segment      segments[SEGMENTS];
static struct world            world;
static const struct emu_memory world_memory = { &world, world_read, world_write, world_cmpxchg };

static void make_segments(void)
{
    uint16_t selector;

    for (unsigned i = 0; i < SEGMENTS; i++)
        segments[i] = (struct emu_segment){ .attributes = 0xcf3, .limit = UINT32_MAX };
    segments[SEG_CS].attributes = 0xafb;
    segments[SEG_GS].base = GS_BASE;
#define SELECTOR(name, index)                                                                      \
    __asm__ volatile("mov %%" name ", %0" : "=r"(selector));                                       \
    segments[index].selector = selector
    SELECTOR("es", SEG_ES);
    SELECTOR("cs", SEG_CS);
    SELECTOR("ss", SEG_SS);
    SELECTOR("ds", SEG_DS);
    SELECTOR("fs", SEG_FS);
    SELECTOR("gs", SEG_GS);
#undef SELECTOR
}

static struct emu_cpu make_cpu(void)
{
    struct emu_cpu cpu = {
        .rip = CODE,
        .rflags = native->rflags,
        .cr0 = 0x80050033,
        .cr4 = 0x6a0,
        .efer = 0xd01,
        .cpl = 3,
        .segment = segments,
        .xmm_context = &world,
        .read_xmm = world_read_xmm,
        .write_xmm = world_write_xmm,
    };

    memcpy(cpu.gpr, native->gpr, sizeof(cpu.gpr));
    memcpy(world.xmm, native->xmm, sizeof(world.xmm));
    memcpy(world.memory, sandbox, SANDBOX_BYTES);
    world.accesses = 0;
    world.fail_at = ~0u;
    world.lose = 0;
    return cpu;
}

/* ---- comparison ---- */

static uint64_t cases_done[INSN_KINDS], seed, case_number;

static void fail_case(const struct generated *g, const struct insn *insn, const char *format, ...)
{
    char    bytes[64] = "", what[160];
    va_list args;

    for (unsigned i = 0; i < g->length; i++)
        snprintf(bytes + 3 * i, sizeof(bytes) - 3 * i, "%02x ", g->bytes[i]);
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    fail_msg("SEED=%lu case %lu: %s [%s]: %s", seed, case_number,
             insn ? insn_kind_name(insn->kind) : "?", bytes, what);
}

/* Flags that the manual leaves undefined after this instruction: APM vol. 3, chapter 3. */
static uint64_t undefined_flags(const struct insn *insn, const struct emu_cpu *before)
{
    uint64_t all = 0x8d5, count = before->gpr[REG_RCX];
    unsigned bits = 8u * insn->operand[0].bytes;

    if (insn->operands > 1 && insn->operand[insn->operands - 1].type == OPERAND_IMMEDIATE)
        count = (uint64_t)insn->operand[insn->operands - 1].value;
    count &= bits == 64 ? 63 : 31;
    switch ((enum insn_kind)insn->kind) {
    case INSN_AND:
    case INSN_OR:
    case INSN_XOR:
    case INSN_TEST:
        return 0x10;
    case INSN_MUL:
    case INSN_IMUL:
        return 0xd4;
    case INSN_DIV:
    case INSN_IDIV:
        return all;
    case INSN_BT:
    case INSN_BTS:
    case INSN_BTR:
    case INSN_BTC:
        return 0x894;
    case INSN_ROL:
    case INSN_ROR:
    case INSN_RCL:
    case INSN_RCR:
        return count == 1 ? 0 : 0x800;
    case INSN_SHL:
    case INSN_SHR:
    case INSN_SAR:
    case INSN_SHLD:
    case INSN_SHRD:
        return count == 0 ? 0
                          : 0x10 | (count == 1 ? 0 : 0x800) |
                                (insn->kind != INSN_SAR && count >= bits ? 1 : 0);
    default:
        return 0;
    }
}

/* A double shift by more than the width leaves anything behind. */
static bool result_undefined(const struct insn *insn, const struct emu_cpu *before)
{
    uint64_t count = insn->operand[2].type == OPERAND_IMMEDIATE ? (uint64_t)insn->operand[2].value
                                                                : before->gpr[REG_RCX];

    return (insn->kind == INSN_SHLD || insn->kind == INSN_SHRD) && insn->operand[0].bytes == 2 &&
           (count & 31) > 16;
}

/* Whether no iteration at all clears the upper halves of ECX, ESI, EDI differs by processor. */
static void forgive_upper_halves(const struct emu_cpu *before, const struct emu_cpu *cpu)
{
    static const uint8_t pointers[] = { REG_RCX, REG_RSI, REG_RDI };

    for (unsigned i = 0; i < sizeof(pointers); i++) {
        unsigned r = pointers[i];

        if (cpu->gpr[r] == before->gpr[r])
            native->gpr[r] |= before->gpr[r] & ~UINT64_C(0xffffffff);
    }
}

/*
 * Some processors write the return address before they find the target not canonical, and the
 * first half of a MOVBE before they find the second page not present.
 */
static bool may_write_before_fault(const struct insn *insn)
{
    return (insn->kind == INSN_CALL && native->vector == 13) ||
           (insn->kind == INSN_MOVBE && native->vector == 14);
}

static void compare_worlds(const struct generated *g, const struct insn *insn,
                           const struct emu_cpu *before, const struct emu_cpu *cpu)
{
    uint64_t differ = (cpu->rflags ^ native->rflags) & 0xcd5;

    if (native->vector == NO_EXCEPTION)
        differ &= ~undefined_flags(insn, before);
    else if (insn->rep)
        differ = 0; /* after a fault in between, some show those of before the first iteration */
    if (insn->rep && insn->address_bytes == 4)
        forgive_upper_halves(before, cpu);
    for (unsigned i = 0; i < 16; i++) {
        if (cpu->gpr[i] != native->gpr[i])
            fail_case(g, insn, "register %u is %lx, processor has %lx", i, cpu->gpr[i],
                      native->gpr[i]);
    }
    if (differ)
        fail_case(g, insn, "flags %lx, processor has %lx", cpu->rflags, native->rflags);
    if (cpu->rip != native->rip)
        fail_case(g, insn, "rip %lx, processor has %lx", cpu->rip, native->rip);
    if (memcmp(world.memory, sandbox, SANDBOX_BYTES) != 0 && !may_write_before_fault(insn))
        fail_case(g, insn, "memory differs");
    if (memcmp(world.xmm, native->xmm, sizeof(world.xmm)) != 0)
        fail_case(g, insn, "SSE registers differ");
}

/* With each access failing in turn nothing may change: a step is all or nothing. */
static void check_failures(const struct generated *g, const struct insn *insn)
{
    for (unsigned n = 0; n < 8; n++) {
        struct emu_cpu    before = make_cpu(), cpu = before;
        struct emu_result r;

        world.fail_at = n;
        r = emulate(insn, &cpu, &world_memory, 1);
        if (r.outcome != EMU_MEMORY)
            return;
        if (memcmp(&cpu, &before, sizeof(cpu)) != 0 ||
            memcmp(world.memory, sandbox, SANDBOX_BYTES) != 0 ||
            memcmp(world.xmm, native->xmm, sizeof(world.xmm)) != 0)
            fail_case(g, insn, "failure of access %u left a trace", n);
        if (world.accesses <= n)
            return; /* a fault of its own came first */
    }
    fail_case(g, insn, "more than 8 accesses");
}

static void check_decoding(const struct generated *g, const struct insn *insn)
{
    static struct insn_cache cache;
    enum insn_status         status;
    struct insn              truncated;
    const struct insn       *cached;

    for (unsigned n = 0; n < g->length; n++) {
        if (insn_decode(&truncated, INSN_MODE_64, g->bytes, n) != INSN_MORE)
            fail_case(g, insn, "%u bytes are enough", n);
    }
    for (unsigned i = 0; i < 2; i++) {
        cached =
            insn_lookup(&cache, INSN_MODE_64, g->bytes, i ? INSN_BYTES_MAX : g->length, &status);
        if (!cached || memcmp(cached, insn, sizeof(*insn)) != 0)
            fail_case(g, insn, "the cache has something else");
    }
}

/* Emulates in steps as a caller would, who lets other work go first when the budget is used. */
static struct emu_result emulate_all(const struct insn *insn, struct emu_cpu *cpu)
{
    struct emu_result r;

    do
        r = emulate(insn, cpu, &world_memory, (unsigned)random_below(5));
    while (r.outcome == EMU_PARTIAL);
    return r;
}

/*
 * Which of two bad pointers is found first is the processor's choice: source or destination,
 * target or stack; so are the halves of MOVBE, which some split without regard to the segment.
 */
static bool either_fault(const struct insn *insn)
{
    bool two = insn->kind == INSN_MOVS || insn->kind == INSN_CMPS || insn->kind == INSN_CALL;

    return (two && (native->vector == 13 || native->vector == 14)) ||
           (insn->kind == INSN_MOVBE && native->vector >= 12 && native->vector <= 14);
}

/*
 * The base of XLAT's table or of a bit string: some processors raise #GP if it is not canonical,
 * even if the address is when the index has been added.
 */
static bool has_base(const struct insn *insn)
{
    return insn->kind == INSN_XLAT || (insn->kind >= INSN_BT && insn->kind <= INSN_BTC &&
                                       insn->operand[1].type == OPERAND_REGISTER);
}

/* What lies elsewhere, of this program or its sanitizer, the processor must not be let at. */
static bool leads_astray(const struct generated *g, const struct emu_cpu *cpu, struct emu_result r)
{
    if (r.outcome == EMU_DONE)
        return cpu->rip != CODE + g->length && cpu->rip != BRANCH_TARGET;
    return r.outcome == EMU_MEMORY && world.last < UINT64_C(0x800000000000) &&
           world.last / 4096 != UNMAPPED / 4096 && world.last >= 4096 &&
           (world.last < SANDBOX - 4096 || world.last >= SANDBOX + SANDBOX_BYTES + 4096);
}

static void compare_outcome(const struct generated *g, const struct insn *insn, struct emu_result r)
{
    switch (r.outcome) {
    case EMU_DONE:
        if (native->vector != NO_EXCEPTION)
            fail_case(g, insn, "done, the processor raises %ld", native->vector);
        cases_done[insn->kind]++;
        return;
    case EMU_EXCEPTION:
        if (native->vector != r.vector && !either_fault(insn))
            fail_case(g, insn, "raises %u, the processor %ld", r.vector, native->vector);
        return;
    case EMU_MEMORY:
        if (native->vector != 14 && !either_fault(insn) &&
            !(has_base(insn) && native->vector == 13))
            fail_case(g, insn, "page fault, the processor raises %ld", native->vector);
        return;
    default:
        fail_case(g, insn, "unexpected outcome %d", (int)r.outcome);
    }
}

static void run_case(void)
{
    struct emu_cpu    before, cpu;
    struct generated  g = { 0 };
    struct emu_result r;
    struct insn       insn;
    enum insn_status  status;

    generate(&g, native, sandbox);
    status = insn_decode(&insn, INSN_MODE_64, g.bytes, INSN_BYTES_MAX);
    if (status != INSN_OK) {
        native_execute(&g);
        if (native->vector != (status == INSN_TOO_LONG ? 13 : 6))
            fail_case(&g, NULL, "invalid, the processor says %ld", native->vector);
        return;
    }
    if (insn.length != g.length)
        fail_case(&g, &insn, "length %u", insn.length);
    check_decoding(&g, &insn);
    if (insn.rep == INSN_REP_NONE || insn.kind < INSN_MOVS || insn.kind > INSN_SCAS)
        check_failures(&g, &insn);
    before = cpu = make_cpu();
    world.lose = (unsigned)random_below(3);
    r = emulate_all(&insn, &cpu);
    if (r.outcome == EMU_UNKNOWN)
        return; /* register forms of SSE moves, NOP: counted by not being counted */
    if (leads_astray(&g, &cpu, r))
        return;
    native_execute(&g);
    if (result_undefined(&insn, &before))
        return;
    compare_outcome(&g, &insn, r);
    compare_worlds(&g, &insn, &before, &cpu);
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 0) : otherwise;
}

static void the_processor_and_the_emulator_agree_on_random_instructions(void **unused)
{
    uint64_t cases = number_from("CASES", 400000);

    (void)unused;
    seed = number_from("SEED", (uint64_t)getpid() * 2654435761u);
    printf("SEED=%lu CASES=%lu\n", seed, cases);
    random_start(seed);
    make_segments();
    assert_true(native_prepare());
    for (case_number = 0; case_number < cases; case_number++)
        run_case();

    /* A generator that makes garbage only would pass for ever. */
    for (unsigned kind = INSN_MOV; kind <= INSN_MOVHIGH; kind++) {
        if (cases_done[kind] < cases / 4000)
            fail_msg("SEED=%lu: only %lu successful cases of %s", seed, cases_done[kind],
                     insn_kind_name(kind));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_processor_and_the_emulator_agree_on_random_instructions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
