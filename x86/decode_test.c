/* Tables of cases for the decoder: privileged instructions, lengths, and the cache. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "x86/decode.h"

/* One instruction each. */
#define CASE(mode, bytes, kind)                                                                    \
    {                                                                                              \
        mode, sizeof(bytes) - 1, kind, bytes                                                       \
    }
static const struct {
    uint8_t mode, length, kind;
    char    bytes[16];
} cases[] = {
    CASE(INSN_MODE_64, "\x0f\xa2", INSN_CPUID),
    CASE(INSN_MODE_64, "\x0f\x32", INSN_RDMSR),
    CASE(INSN_MODE_64, "\x0f\x30", INSN_WRMSR),
    CASE(INSN_MODE_64, "\xf4", INSN_HLT),
    CASE(INSN_MODE_64, "\xf3\x90", INSN_PAUSE),
    CASE(INSN_MODE_64, "\x90", INSN_OTHER),
    CASE(INSN_MODE_64, "\x0f\x31", INSN_RDTSC),
    CASE(INSN_MODE_64, "\x0f\x01\xf9", INSN_RDTSCP),
    CASE(INSN_MODE_64, "\x0f\x33", INSN_RDPMC),
    CASE(INSN_MODE_64, "\x0f\x08", INSN_INVD),
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
    CASE(INSN_MODE_64, "\xe4\x71", INSN_IN),
    CASE(INSN_MODE_64, "\xef", INSN_OUT),
    CASE(INSN_MODE_64, "\xf3\x6c", INSN_INS),
    CASE(INSN_MODE_64, "\x66\x6f", INSN_OUTS),
    CASE(INSN_MODE_64, "\x0f\x01\x10", INSN_LGDT),
    CASE(INSN_MODE_64, "\x0f\x01\x18", INSN_LIDT),
    CASE(INSN_MODE_64, "\x0f\x00\xd0", INSN_LLDT),
    CASE(INSN_MODE_64, "\x0f\x00\xd8", INSN_LTR),
    CASE(INSN_MODE_64, "\x0f\x01\x00", INSN_SGDT),
    CASE(INSN_MODE_64, "\x0f\x01\x08", INSN_SIDT),
    CASE(INSN_MODE_64, "\x0f\x00\xc0", INSN_SLDT),
    CASE(INSN_MODE_64, "\x0f\x00\xc8", INSN_STR),
    CASE(INSN_MODE_64, "\xcd\x80", INSN_INT),
    CASE(INSN_MODE_64, "\xcc", INSN_INT3),
    CASE(INSN_MODE_32, "\xce", INSN_INTO),
    CASE(INSN_MODE_64, "\xf1", INSN_ICEBP),
    CASE(INSN_MODE_64, "\x48\xcf", INSN_IRET),
    CASE(INSN_MODE_16, "\xcf", INSN_IRET),
    CASE(INSN_MODE_64, "\x9c", INSN_PUSHF),
    CASE(INSN_MODE_64, "\x9d", INSN_POPF),
    CASE(INSN_MODE_64, "\xfa", INSN_CLI),
    CASE(INSN_MODE_64, "\xfb", INSN_STI),
    CASE(INSN_MODE_32, "\xea\1\2\3\4\5\6", INSN_JMP_FAR),
    CASE(INSN_MODE_64, "\xff\x28", INSN_JMP_FAR),
    CASE(INSN_MODE_64, "\xff\x20", INSN_JMP),
    CASE(INSN_MODE_16, "\x9a\1\2\3\4", INSN_CALL_FAR),
    CASE(INSN_MODE_64, "\xff\x18", INSN_CALL_FAR),
    CASE(INSN_MODE_64, "\xcb", INSN_RET_FAR),
    CASE(INSN_MODE_64, "\x0f\xaa", INSN_RSM),
    CASE(INSN_MODE_64, "\x0f\x05", INSN_SYSCALL),
    CASE(INSN_MODE_64, "\x0f\x07", INSN_SYSRET),
    CASE(INSN_MODE_32, "\x0f\x34", INSN_SYSENTER),
    CASE(INSN_MODE_32, "\x0f\x35", INSN_SYSEXIT),
    CASE(INSN_MODE_64, "\x0f\x0b", INSN_UD),
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

static void instructions_that_cause_exits_are_told_apart(void **unused)
{
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
    struct insn          insn;

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
    uint8_t            bytes[15] = { 0x48, 0x89, 0x03, 0xcc }; /* mov [rbx], rax */
    enum insn_status   status;
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

    /* Bytes that are missing are not the zeros that an instruction seen before ended in. */
    memset(bytes, 0, sizeof(bytes));
    bytes[0] = 0x89;
    bytes[1] = 0x80; /* mov [rax+0], eax */
    assert_non_null(insn_lookup(cache, INSN_MODE_64, bytes, 15, &status));
    assert_null(insn_lookup(cache, INSN_MODE_64, bytes, 3, &status));
    assert_int_equal(status, INSN_MORE);
    free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instructions_that_cause_exits_are_told_apart),
        cmocka_unit_test(operands_of_privileged_instructions_are_found),
        cmocka_unit_test(an_instruction_cut_short_asks_for_more_and_one_too_long_is_refused),
        cmocka_unit_test(the_cache_sees_changed_bytes_modes_and_lengths),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
