/* Instructions that compute: operands fetched, alu_compute, results stored. See emulate.h. */
#include "x86/emulate_private.h"

static struct alu alu_of(const struct emu *e)
{
    return (struct alu){ .kind = (enum insn_kind)e->insn->kind,
                         .bytes = e->insn->operand[0].bytes,
                         .flags = e->cpu->rflags };
}

static void take_flags(struct emu *e, const struct alu *alu)
{
    e->cpu->rflags = (e->cpu->rflags & ~RFLAGS_ARITHMETIC) | (alu->flags & RFLAGS_ARITHMETIC);
}

/* ADD to XOR, INC to NOT, shifts and rotates: operand 0 changes, operand 1 may exist. */
bool emu_arithmetic(struct emu *e)
{
    struct alu alu = alu_of(e);
    uint64_t   old;

    if (e->insn->operands > 1 && !emu_load(e, 1, &alu.source))
        return false;
    return emu_modify(e, &alu, &old);
}

bool emu_compare(struct emu *e)
{
    struct alu alu = alu_of(e);
    uint64_t   first;

    if (!emu_load(e, 0, &first) || !emu_load(e, 1, &alu.source))
        return false;
    alu_compute(&alu, first);
    take_flags(e, &alu);
    return true;
}

bool emu_double_shift(struct emu *e)
{
    struct alu alu = alu_of(e);
    uint64_t   old;

    return emu_load(e, 1, &alu.source) && emu_load(e, 2, &alu.count) && emu_modify(e, &alu, &old);
}

/* A register as the bit's number reaches beyond a memory operand: APM vol. 3, BT. */
static bool bit_span(struct emu *e, uint64_t number, enum emu_access access, struct emu_span *span)
{
    const struct insn_operand *op = &e->insn->operand[0];
    uint64_t                   offset = insn_offset(e->insn, e->cpu, 0);

    if (e->insn->operand[1].type == OPERAND_REGISTER) {
        int64_t bits = (int64_t)emu_sign_extend(number, op->bytes);

        offset += (uint64_t)((bits >> 3) & -(int64_t)op->bytes);
    }
    span->bytes = op->bytes;
    return emu_span_at(e, op->segment, offset & emu_mask(e->insn->address_bytes), access, span);
}

bool emu_bit(struct emu *e)
{
    struct alu      alu = alu_of(e);
    struct emu_span span;
    uint64_t        old = 0;

    if (alu.bytes > sizeof(old))
        return emu_unknown(e);
    if (!emu_load(e, 1, &alu.source))
        return false;
    if (alu.kind != INSN_BT)
        return emu_is_memory(e, 0) ? bit_span(e, alu.source, EMU_MODIFY, &span) &&
                                         emu_modify_span(e, span, &alu, &old)
                                   : emu_modify(e, &alu, &old);
    if (emu_is_memory(e, 0)) {
        if (!bit_span(e, alu.source, EMU_READ, &span) || !emu_read(e, span, &old, EMU_READ))
            return false;
    } else if (!emu_load(e, 0, &old)) {
        return false;
    }
    alu_compute(&alu, old);
    take_flags(e, &alu);
    return true;
}

bool emu_xadd(struct emu *e)
{
    struct alu alu = alu_of(e);
    uint64_t   old;

    if (!emu_load(e, 1, &alu.source))
        return false;
    if (emu_is_memory(e, 0))
        return emu_modify(e, &alu, &old) && emu_store(e, 1, old);
    /* With the same register twice the sum stays: it is written last. */
    if (!emu_load(e, 0, &old) || !emu_store(e, 1, old))
        return false;
    alu_compute(&alu, old);
    take_flags(e, &alu);
    return emu_store(e, 0, alu.result);
}

bool emu_cmpxchg(struct emu *e)
{
    unsigned   bytes = e->insn->operand[0].bytes;
    struct alu alu = alu_of(e);
    uint64_t   old;

    alu.count = emu_get_register(e->cpu, REG_RAX, bytes);
    if (!emu_load(e, 1, &alu.source))
        return false;
    if (emu_is_memory(e, 0)) {
        if (!emu_modify(e, &alu, &old))
            return false;
    } else {
        if (!emu_load(e, 0, &old))
            return false;
        alu_compute(&alu, old);
        take_flags(e, &alu);
        if ((alu.flags & RFLAGS_ZF) && !emu_store(e, 0, alu.result))
            return false;
    }
    if (!(alu.flags & RFLAGS_ZF))
        emu_set_register(e->cpu, REG_RAX, bytes, old);
    return true;
}

/* One attempt of CMPXCHG8B or CMPXCHG16B; *again when a locked one must be repeated. */
static bool try_wide(struct emu *e, struct emu_span span, uint64_t value[2], bool *equal,
                     bool *again)
{
    unsigned        half = span.bytes / 2;
    uint64_t        expected[2], desired[2];
    enum emu_status status;
    bool            done = false;

    expected[0] = emu_get_register(e->cpu, REG_RAX, half);
    expected[1] = emu_get_register(e->cpu, REG_RDX, half);
    desired[0] = emu_get_register(e->cpu, REG_RBX, half);
    desired[1] = emu_get_register(e->cpu, REG_RCX, half);
    if (half == 4) {
        expected[0] |= expected[1] << 32;
        desired[0] |= desired[1] << 32;
        expected[1] = desired[1] = 0;
    }
    *again = false;
    *equal = value[0] == expected[0] && value[1] == expected[1];
    if (!*equal) /* the processor writes in any case: APM vol. 3, CMPXCHG8B */
        desired[0] = value[0], desired[1] = value[1];
    if (!e->insn->lock)
        return emu_write(e, span, desired);
    status = e->memory->cmpxchg(e->memory->context, span.linear, value, desired, span.bytes, &done);
    *again = !done;
    return status == EMU_OK || emu_memory_says(e, status);
}

bool emu_cmpxchg_wide(struct emu *e)
{
    uint64_t        value[2] = { 0, 0 };
    bool            equal = false, again = true;
    struct emu_span span;
    unsigned        half;

    if (!emu_is_memory(e, 0))
        return emu_unknown(e);
    if (e->insn->kind == INSN_CMPXCHG16B && emu_misaligned16(e, 0))
        return emu_raise(e, VECTOR_GP);
    if (!emu_span_of(e, 0, EMU_MODIFY, &span) || !emu_read(e, span, value, EMU_MODIFY))
        return false;
    for (unsigned i = 0; again; i++) {
        if (i == EMU_ATTEMPTS)
            return emu_memory_says(e, EMU_RETRY);
        if (!try_wide(e, span, value, &equal, &again))
            return false;
    }
    half = span.bytes / 2;
    e->cpu->rflags = equal ? e->cpu->rflags | RFLAGS_ZF : e->cpu->rflags & ~RFLAGS_ZF;
    if (!equal) {
        emu_set_register(e->cpu, REG_RAX, half, value[0]);
        emu_set_register(e->cpu, REG_RDX, half, half == 4 ? value[0] >> 32 : value[1]);
    }
    return true;
}

/* CF and OF say that the upper half is significant; the other flags are undefined. */
static void multiply_flags(struct emu *e, bool significant)
{
    uint64_t both = RFLAGS_CF | RFLAGS_OF;

    e->cpu->rflags = significant ? e->cpu->rflags | both : e->cpu->rflags & ~both;
}

static __int128 wide_of(uint64_t value, unsigned bytes)
{
    return (int64_t)emu_sign_extend(value, bytes);
}

/* The double-width accumulator: AX for bytes, else rDX:rAX. */
static void set_accumulator(struct emu_cpu *cpu, unsigned bytes, uint64_t low, uint64_t high)
{
    if (bytes == 1) {
        emu_set_register(cpu, REG_RAX, 2, (low & 0xff) | high << 8);
        return;
    }
    emu_set_register(cpu, REG_RAX, bytes, low);
    emu_set_register(cpu, REG_RDX, bytes, high);
}

bool emu_multiply(struct emu *e)
{
    bool     is_signed = e->insn->kind == INSN_IMUL, one_operand = e->insn->operands == 1;
    unsigned bytes = e->insn->operand[0].bytes;
    /* IMUL with three operands: destination, source, immediate */
    unsigned source = e->insn->operands == 3 ? 1 : 0;
    uint64_t a, b;
    __int128 product;

    if (bytes > 8)
        return emu_unknown(e);
    if (!emu_load(e, source, &a))
        return false;
    if (one_operand)
        b = emu_get_register(e->cpu, REG_RAX, bytes);
    else if (!emu_load(e, source + 1, &b))
        return false;

    if (is_signed)
        product = wide_of(a, bytes) * wide_of(b, bytes);
    else
        product = (__int128)((unsigned __int128)a * b);
    if (one_operand)
        set_accumulator(e->cpu, bytes, (uint64_t)product,
                        (uint64_t)((unsigned __int128)product >> 8 * bytes));
    else
        emu_set_register(e->cpu, e->insn->operand[0].number, bytes, (uint64_t)product);
    multiply_flags(e, is_signed ? product != wide_of((uint64_t)product, bytes)
                                : (unsigned __int128)product >> 8 * bytes != 0);
    return true;
}

/* 128 by 64 bits, with high < divisor: no compiler library is linked that could divide so. */
static uint64_t divide_wide(uint64_t high, uint64_t low, uint64_t divisor, uint64_t *remainder)
{
    uint64_t quotient;

    __asm__("divq %4"
            : "=a"(quotient), "=d"(*remainder)
            : "0"(low), "1"(high), "rm"(divisor)
            : "cc");
    return quotient;
}

static unsigned __int128 dividend_of(const struct emu_cpu *cpu, unsigned bytes)
{
    uint64_t low = emu_get_register(cpu, REG_RAX, bytes);
    uint64_t high =
        bytes == 1 ? cpu->gpr[REG_RAX] >> 8 & 0xff : emu_get_register(cpu, REG_RDX, bytes);

    return (unsigned __int128)high << 8 * bytes | low;
}

/* Signed division is unsigned division of the magnitudes, signs put back. */
bool emu_divide(struct emu *e)
{
    bool              is_signed = e->insn->kind == INSN_IDIV, negative = false, opposite = false;
    unsigned          bytes = e->insn->operand[0].bytes, bits = 8 * bytes;
    uint64_t          divisor, quotient, remainder, most;
    unsigned __int128 dividend;

    if (bytes > 8)
        return emu_unknown(e);
    if (!emu_load(e, 0, &divisor))
        return false;
    dividend = dividend_of(e->cpu, bytes);
    if (is_signed) {
        bool divisor_negative = divisor >> (bits - 1) & 1;

        negative = (uint64_t)(dividend >> (2 * bits - 1)) & 1;
        opposite = negative != divisor_negative;
        if (negative)
            dividend = -dividend;
        if (bytes < 8)
            dividend &= ((unsigned __int128)1 << 2 * bits) - 1;
        if (divisor_negative)
            divisor = -divisor & emu_mask(bytes);
    }
    if ((uint64_t)(dividend >> 64) >= divisor)
        return emu_raise(e, VECTOR_DE);
    quotient = divide_wide((uint64_t)(dividend >> 64), (uint64_t)dividend, divisor, &remainder);
    most = is_signed ? (emu_mask(bytes) >> 1) + opposite : emu_mask(bytes);
    if (quotient > most)
        return emu_raise(e, VECTOR_DE);
    set_accumulator(e->cpu, bytes, opposite ? -quotient : quotient,
                    (negative ? -remainder : remainder) & emu_mask(bytes));
    return true;
}
