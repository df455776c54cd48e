/*
 * Any bytes, in any mode, with any registers: decoder and emulator neither crash nor read beyond
 * the bytes given, a step that fails leaves registers alone, and the cache tells the same as the
 * decoder. Input: 8 bytes of settings, 8 bytes that registers and memory are made of, then the
 * instruction.
 */
/* test: with x86/emulate.c x86/emulate_address.c x86/emulate_alu.c x86/emulate_arithmetic.c */
/* test: with x86/emulate_data.c x86/emulate_sse.c x86/emulate_string.c x86/decode.c */
#include <stdlib.h>
#include <string.h>

#include "x86/emulate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

struct fuzz {
    uint64_t salt;
    uint32_t outcomes; /* one bit for each access: does it fail? */
    unsigned accesses;
};

static uint64_t mix(uint64_t a, uint64_t b)
{
    a = (a ^ b) * UINT64_C(0x9e3779b97f4a7c15);
    return a ^ a >> 29;
}

static enum emu_status next_status(struct fuzz *f)
{
    unsigned n = f->accesses++;

    return f->outcomes >> (n & 31) & 1 ? (enum emu_status)(EMU_FAULT + n % 3) : EMU_OK;
}

static enum emu_status fuzz_read(void *context, uint64_t linear, void *to, unsigned length,
                                 enum emu_access access)
{
    struct fuzz *f = context;

    REQUIRE(length >= 1 && length <= 16 && (access == EMU_READ || access == EMU_MODIFY));
    for (unsigned i = 0; i < length; i++)
        ((uint8_t *)to)[i] = (uint8_t)mix(f->salt, linear + i);
    return next_status(f);
}

static enum emu_status fuzz_write(void *context, uint64_t linear, const void *from, unsigned length)
{
    volatile uint8_t sink;

    (void)linear;
    REQUIRE(length >= 1 && length <= 16);
    for (unsigned i = 0; i < length; i++)
        sink = ((const uint8_t *)from)[i];
    (void)sink;
    return next_status(context);
}

static enum emu_status fuzz_cmpxchg(void *context, uint64_t linear, void *old, const void *desired,
                                    unsigned length, bool *done)
{
    struct fuzz *f = context;

    (void)desired;
    *done = mix(f->salt, f->accesses) & 1;
    if (!*done)
        fuzz_read(context, linear, old, length, EMU_READ);
    return next_status(f);
}

static void fuzz_read_xmm(void *context, unsigned index, void *to)
{
    REQUIRE(index < 16);
    memset(to, (int)((struct fuzz *)context)->salt, 16);
}

static void fuzz_write_xmm(void *context, unsigned index, const void *from)
{
    uint8_t copy[16];

    (void)context;
    REQUIRE(index < 16);
    memcpy(copy, from, sizeof(copy));
}

static struct emu_cpu make_cpu(struct fuzz *f, struct emu_segment segment[SEGMENTS],
                               uint64_t settings, enum insn_mode mode)
{
    struct emu_cpu cpu = {
        .rip = mix(f->salt, 1),
        .rflags = (settings >> 8 & 0x3ffd5) | 2,
        .cr0 =
            0x80000010 | (settings >> 2 & 1) | (settings >> 3 & 1) << 18 | (settings >> 4 & 3) << 2,
        .cr4 = (settings >> 6 & 1) << 9 | (settings >> 7 & 1) << 12,
        .efer = mode == INSN_MODE_64 ? 0x500 : 0,
        .cpl = (uint8_t)(settings >> 26 & 3),
        .segment = segment,
        .xmm_context = f,
        .read_xmm = fuzz_read_xmm,
        .write_xmm = fuzz_write_xmm,
    };

    for (unsigned i = 0; i < 16; i++)
        cpu.gpr[i] = mix(f->salt, i + 16) >> (mix(f->salt, i + 32) & 63);
    for (unsigned i = 0; i < SEGMENTS; i++) {
        uint64_t random = mix(f->salt, i + 48);

        segment[i] = (struct emu_segment){ .selector = (uint16_t)random,
                                           .attributes = (uint16_t)(random >> 16 | 0x80),
                                           .limit = (uint32_t)(random >> 32),
                                           .base = i >= SEG_FS ? mix(random, 7) : 0 };
    }
    segment[SEG_CS].attributes = mode == INSN_MODE_64   ? 0xa9b
                                 : mode == INSN_MODE_32 ? 0xc9b
                                                        : 0x09b;
    return cpu;
}

static void run(const struct insn *insn, struct fuzz *f, uint64_t settings)
{
    static const enum emu_outcome last = EMU_UNKNOWN;
    struct emu_memory             memory = { f, fuzz_read, fuzz_write, fuzz_cmpxchg };
    struct emu_segment            segment[SEGMENTS];
    struct emu_cpu                cpu = make_cpu(f, segment, settings, (enum insn_mode)insn->mode);
    struct emu_cpu                before = cpu;
    struct emu_result             r = emulate(insn, &cpu, &memory, 3);
    bool                          string = insn->kind >= INSN_MOVS && insn->kind <= INSN_SCAS;

    REQUIRE(r.outcome <= last);
    REQUIRE(r.outcome != EMU_PARTIAL || string);
    if (r.outcome != EMU_DONE && !string)
        REQUIRE(memcmp(&cpu, &before, sizeof(cpu)) == 0);
    if (r.outcome != EMU_DONE)
        REQUIRE(cpu.rip == before.rip);
    REQUIRE(f->accesses <= 64);
    for (unsigned i = 0; i < insn->operands; i++) {
        if (insn->operand[i].type == OPERAND_MEMORY)
            (void)insn_address(insn, &cpu, i, EMU_WRITE);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct insn_cache cache;
    const struct insn       *cached;
    struct fuzz              f = { 0 };
    enum insn_status         status, again;
    enum insn_mode           mode;
    struct insn              insn;
    uint64_t                 settings;
    uint8_t                 *bytes;

    if (size < 17)
        return 0;
    memcpy(&settings, data, 8);
    memcpy(&f.salt, data + 8, 8);
    f.outcomes = (uint32_t)(settings >> 32);
    mode = (enum insn_mode)((settings & 3) % 3);
    size -= 16;
    bytes = malloc(size); /* of its own, so that a byte too far is seen */
    REQUIRE(bytes);
    memcpy(bytes, data + 16, size);
    status = insn_decode(&insn, mode, bytes, (unsigned)size);
    cached = insn_lookup(&cache, mode, bytes, (unsigned)size, &again);
    REQUIRE(status == again && (status == INSN_OK) == (cached != NULL));
    if (status == INSN_OK) {
        REQUIRE(insn.length >= 1 && insn.length <= size && insn.length <= INSN_BYTES_MAX);
        REQUIRE(memcmp(cached, &insn, sizeof(insn)) == 0);
        REQUIRE(insn.kind < INSN_KINDS && insn.operands <= INSN_OPERANDS);
        REQUIRE(insn_kind_name((enum insn_kind)insn.kind)[0] != '\0');
        run(&insn, &f, settings);
    } else {
        REQUIRE(status != INSN_MORE || size < INSN_BYTES_MAX);
    }
    free(bytes);
    return 0;
}
