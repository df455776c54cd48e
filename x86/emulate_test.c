/*
 * Tables of cases for the emulator: what cannot be run by the processor that the tests run on
 * (16- and 32-bit modes, segments, control registers), and the faults.
 */
/* test: with x86/emulate.c x86/emulate_address.c x86/emulate_alu.c x86/emulate_arithmetic.c */
/* test: with x86/emulate_data.c x86/emulate_sse.c x86/emulate_string.c x86/decode.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "x86/emulate.h"

#define TF 0x100u
#define DF 0x400u
#define RF 0x10000u
#define VM 0x20000u
#define AC 0x40000u

#define MEMORY_BYTES 0x20000u /* linear 0 to here is memory */

struct machine {
    struct emu_cpu     cpu;
    struct emu_segment segment[SEGMENTS];
    struct emu_memory  memory;
    uint8_t            ram[MEMORY_BYTES];
    uint8_t            xmm[16][16];
    enum emu_status    status; /* what every access says, if not EMU_OK */
    bool               lose;   /* every compare-and-swap is lost */
};

static bool inside(uint64_t linear, unsigned length)
{
    return linear < MEMORY_BYTES && length <= MEMORY_BYTES - linear;
}

static enum emu_status ram_read(void *context, uint64_t linear, void *to, unsigned length,
                                enum emu_access access)
{
    struct machine *m = context;

    (void)access;
    if (m->status != EMU_OK || !inside(linear, length))
        return m->status != EMU_OK ? m->status : EMU_FAULT;
    memcpy(to, m->ram + linear, length);
    return EMU_OK;
}

static enum emu_status ram_write(void *context, uint64_t linear, const void *from, unsigned length)
{
    struct machine *m = context;

    if (m->status != EMU_OK || !inside(linear, length))
        return m->status != EMU_OK ? m->status : EMU_FAULT;
    memcpy(m->ram + linear, from, length);
    return EMU_OK;
}

static enum emu_status ram_cmpxchg(void *context, uint64_t linear, void *old, const void *desired,
                                   unsigned length, bool *done)
{
    struct machine *m = context;

    *done = !m->lose && memcmp(m->ram + linear, old, length) == 0;
    memcpy(*done ? m->ram + linear : old, *done ? desired : (void *)(m->ram + linear), length);
    return EMU_OK;
}

static void xmm_read(void *context, unsigned index, void *to)
{
    memcpy(to, ((struct machine *)context)->xmm[index], 16);
}

static void xmm_write(void *context, unsigned index, const void *from)
{
    memcpy(((struct machine *)context)->xmm[index], from, 16);
}

/* Flat segments in protected or long mode, CPL 0; in 16-bit mode: real mode, bases 0. */
static struct machine *machine_new(enum insn_mode mode)
{
    static struct machine m;
    static const uint16_t code[] = { 0x009b, 0x0c9b, 0x0a9b };

    memset(&m, 0, sizeof(m));
    for (unsigned i = 0; i < SEGMENTS; i++)
        m.segment[i] = (struct emu_segment){ .selector = (uint16_t)(8 * i),
                                             .attributes = mode == INSN_MODE_16 ? 0x093 : 0xc93,
                                             .limit = mode == INSN_MODE_16 ? 0xffff : 0xffffffff };
    m.segment[SEG_CS].attributes = code[mode];
    m.cpu = (struct emu_cpu){ .rip = 0x1000,
                              .rflags = 2,
                              .cr0 = mode == INSN_MODE_16 ? 0x10 : 0x80000011,
                              .cr4 = 0x620,
                              .efer = mode == INSN_MODE_64 ? 0x500 : 0,
                              .segment = m.segment,
                              .xmm_context = &m,
                              .read_xmm = xmm_read,
                              .write_xmm = xmm_write };
    m.cpu.gpr[REG_RSP] = 0x8000;
    m.memory = (struct emu_memory){ &m, ram_read, ram_write, ram_cmpxchg };
    return &m;
}

static struct emu_result run_budget(struct machine *m, const char *bytes, unsigned length,
                                    unsigned budget)
{
    struct insn insn;

    assert_int_equal(insn_decode(&insn, emu_cpu_mode(&m->cpu), (const uint8_t *)bytes, length),
                     INSN_OK);
    assert_int_equal(insn.length, length);
    return emulate(&insn, &m->cpu, &m->memory, budget);
}

#define RUN(m, bytes)                run_budget(m, bytes, sizeof(bytes) - 1, 100)
#define RUN_BUDGET(m, bytes, budget) run_budget(m, bytes, sizeof(bytes) - 1, budget)

static void assert_done(struct emu_result r)
{
    assert_int_equal(r.outcome, EMU_DONE);
}

static void assert_raises(struct emu_result r, unsigned vector)
{
    assert_int_equal(r.outcome, EMU_EXCEPTION);
    assert_int_equal(r.vector, vector);
    assert_int_equal(r.has_error, vector >= 10);
    assert_int_equal(r.error_code, 0);
}

static uint64_t word(const struct machine *m, uint64_t at, unsigned bytes)
{
    uint64_t value = 0;

    memcpy(&value, m->ram + at, bytes);
    return value;
}

static void set_word(struct machine *m, uint64_t at, uint64_t value)
{
    memcpy(m->ram + at, &value, 8);
}

/* ---- addresses ---- */

static void decode(struct insn *insn, enum insn_mode mode, const char *bytes)
{
    assert_int_equal(insn_decode(insn, mode, (const uint8_t *)bytes, INSN_BYTES_MAX), INSN_OK);
}

static struct emu_address address_of(struct machine *m, const char *bytes, unsigned operand,
                                     enum emu_access access)
{
    uint8_t     padded[15] = { 0 };
    struct insn insn;

    memcpy(padded, bytes, strnlen(bytes, 15));
    decode(&insn, emu_cpu_mode(&m->cpu), (const char *)padded);
    return insn_address(&insn, &m->cpu, operand, access);
}

static void addresses_wrap_at_the_size_of_the_address(void **unused)
{
    struct machine *m = machine_new(INSN_MODE_16);

    (void)unused;
    m->cpu.gpr[REG_RBX] = 0xdead8000;
    m->cpu.gpr[REG_RSI] = 0xbeef9001;
    m->cpu.gpr[REG_RBP] = 0x10;
    m->segment[SEG_DS].base = 0x20000;
    m->segment[SEG_SS].base = 0x30000;
    assert_int_equal(address_of(m, "\x88\x00", 0, EMU_WRITE).linear, 0x21001); /* [bx+si] */
    assert_int_equal(address_of(m, "\x88\x46\xf0", 0, EMU_WRITE).linear, 0x30000);
    assert_int_equal(address_of(m, "\x88\x46\xe0", 0, EMU_WRITE).linear, 0x3fff0);
    assert_int_equal(address_of(m, "\x3e\x88\x46\xf0", 0, EMU_WRITE).linear, 0x20000);

    m = machine_new(INSN_MODE_32);
    m->cpu.gpr[REG_RBX] = 0xffff8000;
    m->cpu.gpr[REG_RSI] = 0x9001;
    assert_int_equal(address_of(m, "\x88\x04\x33", 0, EMU_WRITE).linear, 0x1001);
    m->segment[SEG_DS].base = 0xfffff000;
    assert_int_equal(address_of(m, "\x88\x04\x33", 0, EMU_WRITE).linear, 0x1);
    m->segment[SEG_DS].base = 0xffffffff;
    assert_int_equal(address_of(m, "\x67\x88\x02", 0, EMU_WRITE).linear, 0x9001); /* [bp+si] */
    assert_int_equal(address_of(m, "\x67\x88\x07", 0, EMU_WRITE).linear, 0x7fff); /* [bx] */

    m = machine_new(INSN_MODE_64);
    m->segment[SEG_FS].base = UINT64_C(0xffff800000000000);
    m->segment[SEG_DS].base = 0x1234; /* ignored */
    m->cpu.gpr[REG_RAX] = UINT64_C(0x1122334455667788);
    assert_true(address_of(m, "\x67\x88\x08", 0, EMU_WRITE).linear == 0x55667788);
    assert_true(address_of(m, "\x64\x67\x88\x08", 0, EMU_WRITE).linear ==
                UINT64_C(0xffff800055667788));
    assert_true(address_of(m, "\x88\x0d\x10", 0, EMU_WRITE).linear == 0x1016); /* [rip+10h] */
}

static void long_mode_wants_canonical_addresses(void **unused)
{
    struct machine *m = machine_new(INSN_MODE_64);

    (void)unused;
    m->cpu.gpr[REG_RAX] = UINT64_C(0x00007ffffffffffd);
    assert_int_equal(address_of(m, "\x89\x08", 0, EMU_WRITE).vector, 13);
    m->cpu.gpr[REG_RAX]--;
    assert_true(address_of(m, "\x89\x08", 0, EMU_WRITE).ok);
    m->cpu.gpr[REG_RAX] = UINT64_C(0x0080000000000000);
    assert_false(address_of(m, "\x89\x08", 0, EMU_WRITE).ok);
    assert_true(address_of(m, "\x0f\x01\x38", 0, EMU_NONE).ok); /* INVLPG asks nothing */
    m->cpu.gpr[REG_RAX] = UINT64_C(0x0080000000000000);
    m->cpu.cr4 |= 1u << 12; /* LA57 */
    assert_true(address_of(m, "\x89\x08", 0, EMU_WRITE).ok);
    m->cpu.cr4 = 0x620;
    m->cpu.gpr[REG_RSP] = m->cpu.gpr[REG_RBP] = UINT64_C(0x0080000000000000);
    assert_raises(RUN(m, "\x89\x4d\x00"), 12); /* through RBP: the stack segment */
    assert_raises(RUN(m, "\x50"), 12);
    assert_raises(RUN(m, "\xff\xe5"), 13); /* jmp rbp */
    assert_int_equal(m->cpu.rip, 0x1000);
}

static void segments_limit_what_protected_mode_reaches(void **unused)
{
    static const struct {
        uint16_t attributes;
        uint32_t limit, offset;
        uint8_t  access;
        bool     ok;
    } cases[] = {
        { 0xc93, 0xfff, 0xffc, EMU_WRITE, true },
        { 0xc93, 0xfff, 0xffd, EMU_READ, false },
        { 0xc91, 0xfff, 0, EMU_READ, true },
        { 0xc91, 0xfff, 0, EMU_WRITE, false },
        { 0xc91, 0xfff, 0, EMU_MODIFY, false },
        { 0xc9b, 0xfff, 0, EMU_READ, true },
        { 0xc9b, 0xfff, 0, EMU_WRITE, false },
        { 0xc99, 0xfff, 0, EMU_READ, false },
        { 0xc13, 0xfff, 0, EMU_READ, false },
        { 0, 0, 0, EMU_NONE, true },
        { 0xc97, 0xfff, 0xfff, EMU_READ, false },
        { 0xc97, 0xfff, 0x1000, EMU_WRITE, true },
        { 0xc97, 0xfff, 0xfffffffc, EMU_WRITE, true },
        { 0xc97, 0xfff, 0xfffffffd, EMU_WRITE, false },
        { 0x097, 0xfff, 0xfffc, EMU_WRITE, true },
        { 0x097, 0xfff, 0xfffd, EMU_WRITE, false },
        { 0xc93, 0xffffffff, 0xfffffffd, EMU_WRITE, false },
    };
    struct machine *m = machine_new(INSN_MODE_32);

    (void)unused;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        static const uint8_t segments[] = { SEG_DS, SEG_SS };

        for (unsigned s = 0; s < 2; s++) {
            struct emu_address at;

            m->segment[segments[s]].attributes = cases[i].attributes;
            m->segment[segments[s]].limit = cases[i].limit;
            at = emu_linear(&m->cpu, segments[s], cases[i].offset, 4,
                            (enum emu_access)cases[i].access);
            assert_int_equal(at.ok, cases[i].ok);
            if (!at.ok)
                assert_int_equal(at.vector, segments[s] == SEG_SS ? 12 : 13);
        }
    }
}

static void real_mode_checks_the_limit_alone(void **unused)
{
    struct machine *m = machine_new(INSN_MODE_16);

    (void)unused;
    m->segment[SEG_DS].attributes = 0;
    assert_true(emu_linear(&m->cpu, SEG_DS, 0xfffe, 2, EMU_WRITE).ok);
    assert_false(emu_linear(&m->cpu, SEG_DS, 0xffff, 2, EMU_WRITE).ok);
    m->segment[SEG_CS].base = 0x100; /* writing through CS is fine here */
    assert_true(emu_linear(&m->cpu, SEG_CS, 0, 2, EMU_WRITE).ok);
}

/* ---- execution ---- */

static void sixteen_and_thirty_two_bit_code_runs(void **unused)
{
    struct machine *m = machine_new(INSN_MODE_16);

    (void)unused;
    /* A 16-bit stack leaves the upper half of ESP alone and wraps at 64 KiB. */
    m->cpu.gpr[REG_RSP] = 0x55550000;
    m->cpu.gpr[REG_RAX] = 0x1234;
    assert_done(RUN(m, "\x50"));
    assert_int_equal(m->cpu.gpr[REG_RSP], 0x5555fffe);
    assert_int_equal(word(m, 0xfffe, 2), 0x1234);
    assert_raises(RUN(m, "\x66\x58"), 12); /* pop eax across the end */
}

static void pushes_and_pops_follow_the_stack_segment(void **unused)
{
    struct machine *m = machine_new(INSN_MODE_32);

    (void)unused;
    m->cpu.rflags |= RF | 0x200;
    assert_done(RUN(m, "\x9c"));
    assert_int_equal(word(m, 0x7ffc, 4), 0x202); /* without RF */
    assert_int_equal(m->cpu.gpr[REG_RSP], 0x7ffc);
    assert_done(RUN(m, "\x1e")); /* push ds */
    assert_int_equal(word(m, 0x7ff8, 4), 8 * SEG_DS);
    m->segment[SEG_SS].attributes = 0x093; /* 16-bit stack, 32-bit code */
    m->cpu.gpr[REG_RSP] = 0xabcd0002;
    assert_done(RUN(m, "\x66\x6a\xff"));
    assert_int_equal(m->cpu.gpr[REG_RSP], 0xabcd0000);
    assert_int_equal(word(m, 0, 4), 0xffff);
    m->cpu.rflags |= VM;
    assert_int_equal(RUN(m, "\x9c").outcome, EMU_UNKNOWN);
    assert_int_equal(RUN(machine_new(INSN_MODE_32), "\x1f").outcome, EMU_UNKNOWN); /* pop ds */
}

static void near_branches_obey_limit_and_width(void **unused)
{
    struct machine *m = machine_new(INSN_MODE_32);

    (void)unused;
    m->segment[SEG_CS].limit = 0x1fff;
    m->cpu.gpr[REG_RAX] = 0x2000;
    assert_raises(RUN(m, "\xff\xe0"), 13);
    assert_raises(RUN(m, "\xff\xd0"), 13);
    assert_int_equal(m->cpu.gpr[REG_RSP], 0x8000);
    m->cpu.gpr[REG_RAX] = 0x1800;
    assert_done(RUN(m, "\xff\xd0"));
    assert_int_equal(m->cpu.rip, 0x1800);
    assert_int_equal(word(m, 0x7ffc, 4), 0x1002);
    assert_done(RUN(m, "\xc2\x08\x00"));
    assert_int_equal(m->cpu.rip, 0x1002);
    assert_int_equal(m->cpu.gpr[REG_RSP], 0x8008);

    /* 66h makes a near branch a 16-bit one in 64-bit mode too. */
    m = machine_new(INSN_MODE_64);
    m->cpu.rip = 0x401000;
    assert_done(RUN(m, "\x66\xe8\x00\x00"));
    assert_int_equal(m->cpu.rip, 0x1004);
    assert_int_equal(m->cpu.gpr[REG_RSP], 0x7ffe);
}

static void a_repeated_instruction_stops_at_its_budget_and_goes_on(void **unused)
{
    struct machine   *m = machine_new(INSN_MODE_64);
    struct emu_result r;

    (void)unused;
    m->cpu.gpr[REG_RCX] = 10;
    m->cpu.gpr[REG_RDI] = 0x3000;
    m->cpu.gpr[REG_RAX] = 0x5a;
    for (unsigned left = 6; left; left = left == 6 ? 2 : 0) {
        r = RUN_BUDGET(m, "\xf3\x48\xab", 4);
        assert_int_equal(r.outcome, EMU_PARTIAL);
        assert_int_equal(m->cpu.gpr[REG_RCX], left);
        assert_int_equal(m->cpu.rip, 0x1000);
        assert_true(m->cpu.rflags & RF);
    }
    assert_done(RUN_BUDGET(m, "\xf3\x48\xab", 4));
    assert_int_equal(m->cpu.gpr[REG_RCX], 0);
    assert_int_equal(m->cpu.gpr[REG_RDI], 0x3050);
    assert_int_equal(m->cpu.rip, 0x1003);
    assert_false(m->cpu.rflags & RF);
    assert_int_equal(word(m, 0x3048, 8), 0x5a);
    assert_int_equal(word(m, 0x3050, 8), 0);

    /* A fault keeps what was done before it. */
    m->cpu.gpr[REG_RCX] = 10;
    m->cpu.gpr[REG_RDI] = MEMORY_BYTES - 20;
    r = RUN(m, "\xf3\x48\xab");
    assert_int_equal(r.outcome, EMU_MEMORY);
    assert_int_equal(r.status, EMU_FAULT);
    assert_int_equal(m->cpu.gpr[REG_RCX], 8);
    assert_int_equal(m->cpu.gpr[REG_RDI], MEMORY_BYTES - 4);
}

static void sixteen_bit_strings_wrap_and_run_backwards(void **unused)
{
    struct machine *m = machine_new(INSN_MODE_16);

    (void)unused;
    m->cpu.rflags |= DF;
    m->cpu.gpr[REG_RSI] = 0x77770000;
    m->cpu.gpr[REG_RDI] = 0x66660100;
    m->cpu.gpr[REG_RCX] = 0x55550002;
    m->ram[0] = 1;
    m->ram[0xffff] = 2;
    assert_done(RUN(m, "\xf3\xa4"));
    assert_int_equal(m->ram[0x100], 1);
    assert_int_equal(m->ram[0xff], 2);
    assert_int_equal(m->cpu.gpr[REG_RSI], 0x7777fffe);
    assert_int_equal(m->cpu.gpr[REG_RCX], 0x55550000);
}

static void the_trap_flag_makes_a_trap_due_after_each_step(void **unused)
{
    struct machine   *m = machine_new(INSN_MODE_64);
    struct emu_result r;

    (void)unused;
    m->cpu.rflags |= TF | RF;
    r = RUN(m, "\x89\x04\x24");
    assert_done(r);
    assert_true(r.single_step);
    assert_false(m->cpu.rflags & RF);
    m->cpu.gpr[REG_RCX] = 2;
    r = RUN(m, "\xf3\xac");
    assert_int_equal(r.outcome, EMU_PARTIAL);
    assert_true(r.single_step);
    assert_int_equal(m->cpu.gpr[REG_RCX], 1);
    r = RUN(m, "\xf3\xac");
    assert_done(r);
    assert_true(r.single_step);
    m->cpu.gpr[REG_RSI] = MEMORY_BYTES;
    r = RUN(m, "\xac");
    assert_int_equal(r.outcome, EMU_MEMORY);
    assert_false(r.single_step);
}

static void sse_moves_ask_the_control_registers(void **unused)
{
    struct machine *m = machine_new(INSN_MODE_64);

    (void)unused;
    memset(m->xmm[3], 0x77, 16);
    m->cpu.gpr[REG_RAX] = 0x3000;
    assert_done(RUN(m, "\x0f\x11\x18"));
    assert_int_equal(m->ram[0x300f], 0x77);
    m->cpu.cr0 |= 8; /* TS */
    assert_int_equal(RUN(m, "\x0f\x11\x18").vector, 7);
    m->cpu.cr0 |= 4; /* EM */
    assert_int_equal(RUN(m, "\x0f\x11\x18").vector, 6);
    m->cpu.cr0 &= ~12ul;
    m->cpu.cr4 = 0x20;
    assert_int_equal(RUN(m, "\x0f\x11\x18").vector, 6);
    assert_done(RUN(m, "\x0f\xc3\x18")); /* MOVNTI is of the general registers */
}

static void misaligned_accesses_trap_where_they_must(void **unused)
{
    struct machine *m = machine_new(INSN_MODE_64);

    (void)unused;
    m->cpu.gpr[REG_RAX] = 0x3008;
    assert_raises(RUN(m, "\x0f\x29\x18"), 13);     /* MOVAPS */
    assert_raises(RUN(m, "\x48\x0f\xc7\x08"), 13); /* CMPXCHG16B */
    m->cpu.gpr[REG_RAX] = 0x3004;
    m->cpu.cr0 |= 1u << 18;
    m->cpu.rflags |= AC;
    assert_done(RUN(m, "\x48\x89\x08")); /* not at CPL 0 */
    m->cpu.cpl = 3;
    assert_raises(RUN(m, "\x48\x89\x08"), 17);
    assert_done(RUN(m, "\x89\x08"));
}

static void what_memory_says_is_passed_on(void **unused)
{
    static const enum emu_status statuses[] = { EMU_FAULT, EMU_DEVICE, EMU_RETRY };
    struct machine              *m = machine_new(INSN_MODE_64);
    struct emu_result            r;

    (void)unused;
    for (unsigned i = 0; i < 3; i++) {
        m->status = statuses[i];
        r = RUN(m, "\x89\x04\x24");
        assert_int_equal(r.outcome, EMU_MEMORY);
        assert_int_equal(r.status, statuses[i]);
        assert_int_equal(m->cpu.rip, 0x1000);
    }
}

static void a_swap_that_is_always_lost_is_given_back_to_the_guest(void **unused)
{
    static const char *const locked[] = { "\xf0\x83\x00\x01", "\xf0\x48\x0f\xc7\x08" };
    struct machine          *m = machine_new(INSN_MODE_64);

    (void)unused;
    m->cpu.gpr[REG_RAX] = 0x3000;
    m->lose = true;
    for (unsigned i = 0; i < 2; i++) {
        struct emu_result r = run_budget(m, locked[i], i ? 5 : 4, 1);

        assert_int_equal(r.outcome, EMU_MEMORY);
        assert_int_equal(r.status, EMU_RETRY);
        assert_int_equal(word(m, 0x3000, 8), 0);
        assert_int_equal(m->cpu.rflags, 2);
    }
}

static void division_that_does_not_fit_is_an_error(void **unused)
{
    struct machine *m = machine_new(INSN_MODE_64);

    (void)unused;
    m->cpu.gpr[REG_RSI] = 0x3000;
    assert_raises(RUN(m, "\xf7\x36"), 0);
    set_word(m, 0x3000, UINT64_MAX);
    m->cpu.gpr[REG_RAX] = (uint64_t)INT64_MIN;
    m->cpu.gpr[REG_RDX] = UINT64_MAX;
    assert_raises(RUN(m, "\x48\xf7\x3e"), 0); /* INT64_MIN / -1 */
    m->cpu.gpr[REG_RAX]++;
    assert_done(RUN(m, "\x48\xf7\x3e"));
    assert_true(m->cpu.gpr[REG_RAX] == INT64_MAX);
}

static void what_is_not_known_changes_nothing(void **unused)
{
    struct machine *m = machine_new(INSN_MODE_64);
    struct emu_cpu  before = m->cpu;

    (void)unused;
    assert_int_equal(RUN(m, "\x0f\xae\x04\x24").outcome, EMU_UNKNOWN); /* FXSAVE */
    assert_int_equal(RUN(m, "\x0f\xa2").outcome, EMU_UNKNOWN);
    assert_int_equal(RUN(m, "\x8e\xd8").outcome, EMU_UNKNOWN);     /* mov ds, eax */
    assert_int_equal(RUN(m, "\xdd\x00").outcome, EMU_UNKNOWN);     /* x87 */
    assert_int_equal(RUN(m, "\x0f\x6f\x00").outcome, EMU_UNKNOWN); /* MMX */
    assert_memory_equal(&m->cpu, &before, sizeof(before));
}

/* A listener wants nothing written: registers and flags are as if it were, memory is as it was. */
static void muted_memory_stays_as_it_is(void **state)
{
    struct machine   *m = machine_new(INSN_MODE_64);
    struct emu_memory seen = m->memory;

    (void)state;
    m->memory = emu_muted(&seen);
    m->cpu.gpr[REG_RBX] = 0x2000;
    m->ram[0x2000] = 5;
    m->cpu.gpr[REG_RCX] = 7;
    assert_int_equal(RUN(m, "\x88\x0b").outcome, EMU_DONE);     /* MOV [RBX], CL */
    assert_int_equal(RUN(m, "\xf0\x00\x0b").outcome, EMU_DONE); /* LOCK ADD [RBX], CL */
    assert_int_equal(RUN(m, "\x86\x0b").outcome, EMU_DONE);     /* XCHG [RBX], CL */
    assert_int_equal(m->cpu.gpr[REG_RCX], 5);
    m->cpu.gpr[REG_RAX] = 6;
    assert_int_equal(RUN(m, "\x0f\xb0\x0b").outcome, EMU_DONE); /* CMPXCHG [RBX], CL, in vain */
    assert_int_equal(m->cpu.gpr[REG_RAX], 5);
    assert_false(m->cpu.rflags & 0x40);
    assert_int_equal(RUN(m, "\x0f\xb0\x0b").outcome, EMU_DONE); /* equal: ZF, and nothing written */
    assert_true(m->cpu.rflags & 0x40);
    assert_int_equal(m->ram[0x2000], 5);
    m->status = EMU_FAULT;
    assert_int_equal(RUN(m, "\x86\x0b").outcome, EMU_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_wrap_at_the_size_of_the_address),
        cmocka_unit_test(long_mode_wants_canonical_addresses),
        cmocka_unit_test(segments_limit_what_protected_mode_reaches),
        cmocka_unit_test(real_mode_checks_the_limit_alone),
        cmocka_unit_test(sixteen_and_thirty_two_bit_code_runs),
        cmocka_unit_test(pushes_and_pops_follow_the_stack_segment),
        cmocka_unit_test(near_branches_obey_limit_and_width),
        cmocka_unit_test(a_repeated_instruction_stops_at_its_budget_and_goes_on),
        cmocka_unit_test(sixteen_bit_strings_wrap_and_run_backwards),
        cmocka_unit_test(the_trap_flag_makes_a_trap_due_after_each_step),
        cmocka_unit_test(sse_moves_ask_the_control_registers),
        cmocka_unit_test(misaligned_accesses_trap_where_they_must),
        cmocka_unit_test(what_memory_says_is_passed_on),
        cmocka_unit_test(a_swap_that_is_always_lost_is_given_back_to_the_guest),
        cmocka_unit_test(division_that_does_not_fit_is_an_error),
        cmocka_unit_test(what_is_not_known_changes_nothing),
        cmocka_unit_test(muted_memory_stays_as_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
