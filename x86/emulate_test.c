/*
 * Tables of cases for the decoder and the emulator: what cannot be run by the processor that the
 * tests run on (privileged instructions, 16- and 32-bit modes, segments), and the faults.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "x86/emulate.h"

#define CF 1u
#define ZF 0x40u
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

static enum emu_status ram_write(void *context, uint64_t linear, const void *from,
                                 unsigned length)
{
    struct machine *m = context;

    if (m->status != EMU_OK || !inside(linear, length))
        return m->status != EMU_OK ? m->status : EMU_FAULT;
    memcpy(m->ram + linear, from, length);
    return EMU_OK;
}

static enum emu_status ram_cmpxchg(void *context, uint64_t linear, void *old,
                                   const void *desired, unsigned length, bool *done)
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
        m.segment[i] = (struct emu_segment){
            .selector = (uint16_t)(8 * i), .attributes = mode == INSN_MODE_16 ? 0x093 : 0xc93,
            .limit = mode == INSN_MODE_16 ? 0xffff : 0xffffffff };
    m.segment[SEG_CS].attributes = code[mode];
    m.cpu = (struct emu_cpu){
        .rip = 0x1000, .rflags = 2, .cr0 = mode == INSN_MODE_16 ? 0x10 : 0x80000011,
        .cr4 = 0x620, .efer = mode == INSN_MODE_64 ? 0x500 : 0, .segment = m.segment,
        .xmm_context = &m, .read_xmm = xmm_read, .write_xmm = xmm_write };
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

#define RUN(m, bytes) run_budget(m, bytes, sizeof(bytes) - 1, 100)
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

/* ---- decoding ---- */

static void instructions_that_cause_exits_are_told_apart(void **unused)
{
#define CASE(mode, bytes, kind) { mode, sizeof(bytes) - 1, kind, bytes }
    static const struct {
        uint8_t mode, length, kind;
        char    bytes[16];
    } cases[] = {
        CASE(INSN_MODE_64, "\x0f\xa2", INSN_CPUID), CASE(INSN_MODE_64, "\x0f\x32", INSN_RDMSR),
        CASE(INSN_MODE_64, "\x0f\x30", INSN_WRMSR), CASE(INSN_MODE_64, "\xf4", INSN_HLT),
        CASE(INSN_MODE_64, "\xf3\x90", INSN_PAUSE), CASE(INSN_MODE_64, "\x90", INSN_OTHER),
        CASE(INSN_MODE_64, "\x0f\x31", INSN_RDTSC),
        CASE(INSN_MODE_64, "\x0f\x01\xf9", INSN_RDTSCP),
        CASE(INSN_MODE_64, "\x0f\x33", INSN_RDPMC), CASE(INSN_MODE_64, "\x0f\x08", INSN_INVD),
        CASE(INSN_MODE_64, "\x0f\x09", INSN_WBINVD),
        CASE(INSN_MODE_64, "\x0f\x01\x38", INSN_INVLPG),
        CASE(INSN_MODE_64, "\x0f\x01\xdf", INSN_INVLPGA),
        CASE(INSN_MODE_64, "\x66\x0f\x38\x82\x00", INSN_INVPCID),
        CASE(INSN_MODE_64, "\x0f\x01\xd1", INSN_XSETBV),
        CASE(INSN_MODE_64, "\x0f\x01\xd0", INSN_XGETBV),
        CASE(INSN_MODE_64, "\x0f\x01\xc8", INSN_MONITOR),
        CASE(INSN_MODE_64, "\x0f\x01\xc9", INSN_MWAIT),
        CASE(INSN_MODE_64, "\x0f\x22\xd8", INSN_MOV_TO_CR),
        CASE(INSN_MODE_64, "\x0f\x20\xe1", INSN_MOV_FROM_CR),
        CASE(INSN_MODE_64, "\x0f\x23\xf8", INSN_MOV_TO_DR),
        CASE(INSN_MODE_64, "\x0f\x21\xf8", INSN_MOV_FROM_DR),
        CASE(INSN_MODE_64, "\x0f\x06", INSN_CLTS),
        CASE(INSN_MODE_64, "\x0f\x01\xf0", INSN_LMSW),
        CASE(INSN_MODE_64, "\x0f\x01\xe0", INSN_SMSW),
        CASE(INSN_MODE_64, "\xe4\x71", INSN_IN), CASE(INSN_MODE_64, "\xef", INSN_OUT),
        CASE(INSN_MODE_64, "\xf3\x6c", INSN_INS), CASE(INSN_MODE_64, "\x66\x6f", INSN_OUTS),
        CASE(INSN_MODE_64, "\x0f\x01\x10", INSN_LGDT),
        CASE(INSN_MODE_64, "\x0f\x01\x18", INSN_LIDT),
        CASE(INSN_MODE_64, "\x0f\x00\xd0", INSN_LLDT),
        CASE(INSN_MODE_64, "\x0f\x00\xd8", INSN_LTR),
        CASE(INSN_MODE_64, "\x0f\x01\x00", INSN_SGDT),
        CASE(INSN_MODE_64, "\x0f\x01\x08", INSN_SIDT),
        CASE(INSN_MODE_64, "\x0f\x00\xc0", INSN_SLDT),
        CASE(INSN_MODE_64, "\x0f\x00\xc8", INSN_STR),
        CASE(INSN_MODE_64, "\xcd\x80", INSN_INT), CASE(INSN_MODE_64, "\xcc", INSN_INT3),
        CASE(INSN_MODE_32, "\xce", INSN_INTO), CASE(INSN_MODE_64, "\xf1", INSN_ICEBP),
        CASE(INSN_MODE_64, "\x48\xcf", INSN_IRET), CASE(INSN_MODE_16, "\xcf", INSN_IRET),
        CASE(INSN_MODE_64, "\x9c", INSN_PUSHF), CASE(INSN_MODE_64, "\x9d", INSN_POPF),
        CASE(INSN_MODE_64, "\xfa", INSN_CLI), CASE(INSN_MODE_64, "\xfb", INSN_STI),
        CASE(INSN_MODE_32, "\xea\1\2\3\4\5\6", INSN_JMP_FAR),
        CASE(INSN_MODE_64, "\xff\x28", INSN_JMP_FAR),
        CASE(INSN_MODE_64, "\xff\x20", INSN_JMP),
        CASE(INSN_MODE_16, "\x9a\1\2\3\4", INSN_CALL_FAR),
        CASE(INSN_MODE_64, "\xff\x18", INSN_CALL_FAR),
        CASE(INSN_MODE_64, "\xcb", INSN_RET_FAR), CASE(INSN_MODE_64, "\x0f\xaa", INSN_RSM),
        CASE(INSN_MODE_64, "\x0f\x05", INSN_SYSCALL),
        CASE(INSN_MODE_64, "\x0f\x07", INSN_SYSRET),
        CASE(INSN_MODE_32, "\x0f\x34", INSN_SYSENTER),
        CASE(INSN_MODE_32, "\x0f\x35", INSN_SYSEXIT), CASE(INSN_MODE_64, "\x0f\x0b", INSN_UD),
        CASE(INSN_MODE_64, "\x0f\x01\xd8", INSN_VMRUN),
        CASE(INSN_MODE_64, "\x0f\x01\xd9", INSN_VMMCALL),
        CASE(INSN_MODE_64, "\x0f\x01\xc1", INSN_VMCALL),
        CASE(INSN_MODE_64, "\x0f\x01\xda", INSN_VMLOAD),
        CASE(INSN_MODE_64, "\x0f\x01\xdb", INSN_VMSAVE),
        CASE(INSN_MODE_64, "\x0f\x01\xdc", INSN_STGI),
        CASE(INSN_MODE_64, "\x0f\x01\xdd", INSN_CLGI),
        CASE(INSN_MODE_64, "\x0f\x01\xde", INSN_SKINIT),
        CASE(INSN_MODE_64, "\xf2\x0f\x10\x00", INSN_MOVSCALAR),
        CASE(INSN_MODE_64, "\xf2\x0f\xc2\x00\x01", INSN_OTHER), /* CMPSD of SSE */
        CASE(INSN_MODE_64, "\xc5\xfa\x6f\x00", INSN_OTHER),     /* VMOVDQU */
    };
#undef CASE
    struct insn insn;

    (void)unused;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(insn_decode(&insn, (enum insn_mode)cases[i].mode,
                                     (const uint8_t *)cases[i].bytes, cases[i].length),
                         INSN_OK);
        assert_string_equal(insn_kind_name((enum insn_kind)insn.kind),
                            insn_kind_name((enum insn_kind)cases[i].kind));
        assert_int_equal(insn.length, cases[i].length);
    }
}

static void decode(struct insn *insn, enum insn_mode mode, const char *bytes)
{
    assert_int_equal(insn_decode(insn, mode, (const uint8_t *)bytes, INSN_BYTES_MAX), INSN_OK);
}

static void operands_of_privileged_instructions_are_found(void **unused)
{
    struct insn insn;

    (void)unused;
    decode(&insn, INSN_MODE_64, "\x41\x0f\x22\xdd\0\0\0\0\0\0\0\0\0\0\0"); /* mov cr3, r13 */
    assert_int_equal(insn.operand[0].type, OPERAND_CONTROL);
    assert_int_equal(insn.operand[0].number, 3);
    assert_int_equal(insn.operand[1].type, OPERAND_REGISTER);
    assert_int_equal(insn.operand[1].number, 13);
    decode(&insn, INSN_MODE_64, "\x44\x0f\x20\xc1\0\0\0\0\0\0\0\0\0\0\0"); /* mov rcx, cr8 */
    assert_int_equal(insn.operand[0].number, REG_RCX);
    assert_int_equal(insn.operand[1].number, 8);
    decode(&insn, INSN_MODE_64, "\x0f\x23\xf8\0\0\0\0\0\0\0\0\0\0\0\0"); /* mov dr7, rax */
    assert_int_equal(insn.operand[0].type, OPERAND_DEBUG);
    assert_int_equal(insn.operand[0].number, 7);
    decode(&insn, INSN_MODE_32, "\xe6\x80\0\0\0\0\0\0\0\0\0\0\0\0\0"); /* out 0x80, al */
    assert_int_equal(insn.operand[0].type, OPERAND_IMMEDIATE);
    assert_int_equal(insn.operand[0].value, 0x80);
    assert_int_equal(insn.operand[1].bytes, 1);
    decode(&insn, INSN_MODE_64, "\x66\xed\0\0\0\0\0\0\0\0\0\0\0\0\0"); /* in ax, dx */
    assert_int_equal(insn.operand[0].bytes, 2);
    assert_int_equal(insn.operand[1].number, REG_RDX);
    decode(&insn, INSN_MODE_64, "\xf3\x65\x6f\0\0\0\0\0\0\0\0\0\0\0\0"); /* rep outsd gs: */
    assert_int_equal(insn.operand_bytes, 4);
    assert_int_equal(insn.segment, SEG_GS);
    assert_int_equal(insn.rep, INSN_REPE);
    decode(&insn, INSN_MODE_32, "\xea\x78\x56\x34\x12\x10\x20\0\0\0\0\0\0\0\0");
    assert_int_equal(insn.operand[0].type, OPERAND_FAR);
    assert_true(insn.operand[0].value == 0x201012345678);
}

static void an_instruction_cut_short_asks_for_more_and_one_too_long_is_refused(void **unused)
{
    static const uint8_t prefixes[16] = { 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
                                          0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90 };
    static const uint8_t invalid[] = { 0xf0, 0x89, 0xc0 }; /* LOCK on a register */
    static const uint8_t gone[] = { 0x06 };                /* PUSH ES in 64-bit mode */
    struct insn insn;

    (void)unused;
    assert_int_equal(insn_decode(&insn, INSN_MODE_64, prefixes, 0), INSN_MORE);
    assert_int_equal(insn_decode(&insn, INSN_MODE_64, prefixes, 14), INSN_MORE);
    assert_int_equal(insn_decode(&insn, INSN_MODE_64, prefixes, 15), INSN_TOO_LONG);
    assert_int_equal(insn_decode(&insn, INSN_MODE_64, prefixes, 16), INSN_TOO_LONG);
    assert_int_equal(insn_decode(&insn, INSN_MODE_64, prefixes + 1, 15), INSN_OK);
    assert_int_equal(insn_decode(&insn, INSN_MODE_64, invalid, 3), INSN_INVALID);
    assert_int_equal(insn_decode(&insn, INSN_MODE_64, gone, 1), INSN_INVALID);
    assert_int_equal(insn_decode(&insn, INSN_MODE_32, gone, 1), INSN_OK);
}

static void the_cache_sees_changed_bytes_modes_and_lengths(void **unused)
{
    struct insn_cache *cache = calloc(1, sizeof(*cache));
    uint8_t bytes[15] = { 0x48, 0x89, 0x03, 0xcc }; /* mov [rbx], rax */
    enum insn_status status;
    const struct insn *insn;

    (void)unused;
    assert_non_null(cache);
    assert_non_null(insn_lookup(cache, INSN_MODE_64, bytes, 15, &status));
    insn = insn_lookup(cache, INSN_MODE_64, bytes, 15, &status);
    assert_int_equal(cache->hits, 1);
    assert_int_equal(insn->operand_bytes, 8);
    insn = insn_lookup(cache, INSN_MODE_32, bytes, 15, &status); /* dec eax */
    assert_int_equal(insn->kind, INSN_DEC);
    bytes[2] = 0x01;
    insn = insn_lookup(cache, INSN_MODE_64, bytes, 15, &status);
    assert_int_equal(insn->operand[0].base, REG_RCX);
    assert_null(insn_lookup(cache, INSN_MODE_64, bytes, 2, &status));
    assert_int_equal(status, INSN_MORE);
    assert_non_null(insn_lookup(cache, INSN_MODE_64, bytes, 3, &status));
    assert_non_null(insn_lookup(cache, INSN_MODE_64, bytes, 3, &status));
    assert_int_equal(cache->hits, 2);
    free(cache);
}

/* ---- addresses ---- */

static struct emu_address address_of(struct machine *m, const char *bytes, unsigned operand,
                                     enum emu_access access)
{
    uint8_t padded[15] = { 0 };
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
    assert_int_equal(address_of(m, "\x67\x88\x02", 0, EMU_WRITE).linear, 0x8001); /* [bp+si] */

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
        { 0xc93, 0xfff, 0xffc, EMU_WRITE, true },  { 0xc93, 0xfff, 0xffd, EMU_READ, false },
        { 0xc91, 0xfff, 0, EMU_READ, true },       { 0xc91, 0xfff, 0, EMU_WRITE, false },
        { 0xc91, 0xfff, 0, EMU_MODIFY, false },    { 0xc9b, 0xfff, 0, EMU_READ, true },
        { 0xc9b, 0xfff, 0, EMU_WRITE, false },     { 0xc99, 0xfff, 0, EMU_READ, false },
        { 0xc13, 0xfff, 0, EMU_READ, false },      { 0, 0, 0, EMU_NONE, true },
        { 0xc97, 0xfff, 0xfff, EMU_READ, false },  { 0xc97, 0xfff, 0x1000, EMU_WRITE, true },
        { 0xc97, 0xfff, 0xfffffffc, EMU_WRITE, true },
        { 0xc97, 0xfff, 0xfffffffd, EMU_WRITE, false },
        { 0x097, 0xfff, 0xfffc, EMU_WRITE, true }, { 0x097, 0xfff, 0xfffd, EMU_WRITE, false },
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
    assert_done(RUN(m, "\x66\x58")); /* pop eax across the end: the limit is in the way */
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
    struct machine *m = machine_new(INSN_MODE_64);
    struct emu_result r;

    (void)unused;
    m->cpu.gpr[REG_RCX] = 10;
    m->cpu.gpr[REG_RDI] = 0x3000;
    m->cpu.gpr[REG_RAX] = 0x5a;
    for (unsigned left = 6; left != UINT32_MAX - 1; left -= 4) {
        r = RUN_BUDGET(m, "\xf3\x48\xab", 4);
        assert_int_equal(m->cpu.gpr[REG_RCX], left > 10 ? 0 : left);
        if (r.outcome == EMU_DONE)
            break;
        assert_int_equal(r.outcome, EMU_PARTIAL);
        assert_int_equal(m->cpu.rip, 0x1000);
        assert_true(m->cpu.rflags & RF);
    }
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
    struct machine *m = machine_new(INSN_MODE_64);
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
    struct machine *m = machine_new(INSN_MODE_64);
    struct emu_result r;

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
    struct machine *m = machine_new(INSN_MODE_64);

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
    struct emu_cpu before = m->cpu;

    (void)unused;
    assert_int_equal(RUN(m, "\x0f\xae\x04\x24").outcome, EMU_UNKNOWN); /* FXSAVE */
    assert_int_equal(RUN(m, "\x0f\xa2").outcome, EMU_UNKNOWN);
    assert_int_equal(RUN(m, "\x8e\xd8").outcome, EMU_UNKNOWN); /* mov ds, eax */
    assert_int_equal(RUN(m, "\xdd\x00").outcome, EMU_UNKNOWN); /* x87 */
    assert_int_equal(RUN(m, "\x0f\x6f\x00").outcome, EMU_UNKNOWN); /* MMX */
    assert_memory_equal(&m->cpu, &before, sizeof(before));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instructions_that_cause_exits_are_told_apart),
        cmocka_unit_test(operands_of_privileged_instructions_are_found),
        cmocka_unit_test(an_instruction_cut_short_asks_for_more_and_one_too_long_is_refused),
        cmocka_unit_test(the_cache_sees_changed_bytes_modes_and_lengths),
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
