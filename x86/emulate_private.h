/* What the files of the emulator share. See emulate.h. */
#ifndef X86_EMULATE_PRIVATE_H
#define X86_EMULATE_PRIVATE_H

#include "x86/emulate.h"
#include "x86/hw/cpu.h"

/* Attributes of a segment as the VMCB has them: APM vol. 2, 4.7 and 15.5.1. */
enum {
    SEGMENT_WRITABLE = 1 << 1,    /* of data segments; of code segments: readable */
    SEGMENT_EXPAND_DOWN = 1 << 2, /* of data segments */
    SEGMENT_CODE = 1 << 3,
    SEGMENT_PRESENT = 1 << 7,
    SEGMENT_LONG = 1 << 9,
    SEGMENT_BIG = 1 << 10,
};

#define RFLAGS_ARITHMETIC (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

/* Other processors may win a compare-and-swap this often before the guest tries anew. */
#define EMU_ATTEMPTS 16

/* One instruction being carried out. */
struct emu {
    const struct insn       *insn;
    struct emu_cpu          *cpu;
    const struct emu_memory *memory;
    struct emu_result        result;
    uint64_t                 next; /* RIP once it is done */
};

/*
 * How an instruction is carried out: true when it is done, after which emulate() retires it;
 * false with the result set and nothing changed.
 */
typedef bool emu_handler(struct emu *e);

emu_handler emu_mov, emu_movx, emu_movbe, emu_lea, emu_xlat, emu_xchg, emu_setcc, emu_cmovcc;
emu_handler emu_push, emu_pop, emu_pushf, emu_call, emu_jmp, emu_ret, emu_leave;
emu_handler emu_arithmetic, emu_compare, emu_double_shift, emu_bit, emu_xadd, emu_cmpxchg;
emu_handler emu_cmpxchg_wide, emu_multiply, emu_divide;
emu_handler emu_xmm_full, emu_xmm_scalar, emu_xmm_half;

/* Makes up to `budget` iterations; true when it is finished. */
bool emu_string(struct emu *e, unsigned budget);

/* ---- ways to end: all return false ---- */
bool emu_raise(struct emu *e, uint8_t vector); /* with error code 0 where it has one */
bool emu_memory_says(struct emu *e, enum emu_status status);
bool emu_unknown(struct emu *e);

/* ---- memory and operands ---- */

/* A piece of memory whose address has passed the checks. */
struct emu_span {
    uint64_t linear;
    unsigned bytes;
};

bool emu_span_of(struct emu *e, unsigned operand, enum emu_access access, struct emu_span *span);
bool emu_span_at(struct emu *e, unsigned segment, uint64_t offset, enum emu_access access,
                 struct emu_span *span); /* span->bytes is an input */
bool emu_read(struct emu *e, struct emu_span span, void *to, enum emu_access access);
bool emu_write(struct emu *e, struct emu_span span, const void *from);

/* Operands of at most 8 bytes: register, high byte, segment selector, immediate, memory. */
bool emu_load(struct emu *e, unsigned operand, uint64_t *value);
bool emu_store(struct emu *e, unsigned operand, uint64_t value);
bool emu_is_memory(const struct emu *e, unsigned operand);

/*
 * For instructions that want 16-byte alignment; asked before the other checks: a bad stack
 * address that is misaligned too raises #GP, not #SS.
 */
bool emu_misaligned16(const struct emu *e, unsigned operand);

/* Bytes of a push, pop or near branch, and of the stack pointer. */
unsigned emu_stack_bytes(const struct emu_cpu *cpu);

/* ---- arithmetic: values and flags, no state ---- */

/* What goes into an operation, and what comes out. */
struct alu {
    enum insn_kind kind;
    unsigned       bytes; /* 1, 2, 4, 8 */
    uint64_t       source;
    uint64_t       count;  /* SHLD, SHRD: bits to shift; CMPXCHG: the accumulator */
    uint64_t       flags;  /* RFLAGS before, then after */
    uint64_t       result; /* not written back by CMP and TEST */
};

/* Computes result and flags from the destination's old value: APM vol. 3, chapter 3. */
void alu_compute(struct alu *alu, uint64_t old);

/* True when the condition of Jcc, SETcc, CMOVcc (low four bits of the opcode) holds. */
bool alu_condition(unsigned code, uint64_t flags);

/*
 * Destination operand 0 becomes alu->result, by compare-and-swap when the instruction is locked
 * or is XCHG; flags are changed with it. *old gets what was there.
 */
bool emu_modify(struct emu *e, struct alu *alu, uint64_t *old);
bool emu_modify_span(struct emu *e, struct emu_span span, struct alu *alu, uint64_t *old);

static inline uint64_t emu_mask(unsigned bytes)
{
    return bytes >= 8 ? ~UINT64_C(0) : (UINT64_C(1) << 8 * bytes) - 1;
}

static inline uint64_t emu_sign_extend(uint64_t value, unsigned bytes)
{
    unsigned shift = bytes >= 8 ? 0 : 64 - 8 * bytes;

    return (uint64_t)((int64_t)(value << shift) >> shift);
}

#endif
