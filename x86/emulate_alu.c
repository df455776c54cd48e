/* Values and flags of arithmetic: APM vol. 3, chapter 3, and vol. 1, 3.1.4. No state. */
#include "x86/emulate_private.h"

static unsigned bits_of(const struct alu *alu)
{
    return 8 * alu->bytes;
}

static bool top_bit(const struct alu *alu, uint64_t value)
{
    return value >> (bits_of(alu) - 1) & 1;
}

static uint64_t bit_if(bool condition, uint64_t bit)
{
    return condition ? bit : 0;
}

/* Result, and the flags that depend on it alone. */
static void set_result(struct alu *alu, uint64_t value, uint64_t other_flags)
{
    value &= emu_mask(alu->bytes);
    alu->result = value;
    alu->flags = (alu->flags & ~RFLAGS_ARITHMETIC) | other_flags | bit_if(value == 0, RFLAGS_ZF) |
                 bit_if(top_bit(alu, value), RFLAGS_SF) |
                 bit_if(!__builtin_parityll(value & 0xff), RFLAGS_PF);
}

static void add(struct alu *alu, uint64_t a, uint64_t b, bool carry)
{
    uint64_t r = (a + b + carry) & emu_mask(alu->bytes);
    uint64_t carries = (a & b) | ((a | b) & ~r); /* out of each bit */

    set_result(alu, r,
               bit_if(top_bit(alu, carries), RFLAGS_CF) | bit_if(carries >> 3 & 1, RFLAGS_AF) |
                   bit_if(top_bit(alu, (a ^ r) & (b ^ r)), RFLAGS_OF));
}

static void subtract(struct alu *alu, uint64_t a, uint64_t b, bool borrow)
{
    uint64_t r = (a - b - borrow) & emu_mask(alu->bytes);
    uint64_t borrows = (~a & b) | ((~a | b) & r);

    set_result(alu, r,
               bit_if(top_bit(alu, borrows), RFLAGS_CF) | bit_if(borrows >> 3 & 1, RFLAGS_AF) |
                   bit_if(top_bit(alu, (a ^ b) & (a ^ r)), RFLAGS_OF));
}

/* INC and DEC leave CF alone. */
static void step(struct alu *alu, uint64_t old)
{
    uint64_t carry = alu->flags & RFLAGS_CF;

    if (alu->kind == INSN_INC)
        add(alu, old, 1, false);
    else
        subtract(alu, old, 1, false);
    alu->flags = (alu->flags & ~RFLAGS_CF) | carry;
}

static unsigned masked_count(const struct alu *alu, uint64_t count)
{
    return (unsigned)count & (alu->bytes == 8 ? 63 : 31);
}

static void shift(struct alu *alu, uint64_t old)
{
    unsigned bits = bits_of(alu), count = masked_count(alu, alu->source);
    uint64_t extended = emu_sign_extend(old, alu->bytes), r, carry, overflow;

    alu->result = old;
    if (count == 0)
        return;
    switch (alu->kind) {
    case INSN_SHL:
        r = old << count;
        carry = count <= bits ? old >> (bits - count) & 1 : 0;
        overflow = (r >> (bits - 1) & 1) ^ carry;
        break;
    case INSN_SHR:
        r = old >> count;
        carry = old >> (count - 1) & 1;
        overflow = top_bit(alu, old);
        break;
    default:
        r = (uint64_t)((int64_t)extended >> count);
        carry = (uint64_t)((int64_t)extended >> (count - 1)) & 1;
        overflow = 0;
    }
    set_result(alu, r, bit_if(carry, RFLAGS_CF) | bit_if(overflow, RFLAGS_OF));
}

static void rotate(struct alu *alu, uint64_t old)
{
    unsigned bits = bits_of(alu), count = masked_count(alu, alu->source);
    unsigned turn = count % bits;
    uint64_t r = old;
    bool     carry, overflow;

    alu->result = old;
    if (count == 0)
        return;
    if (alu->kind == INSN_ROL) {
        if (turn)
            r = (old << turn | old >> (bits - turn)) & emu_mask(alu->bytes);
        carry = r & 1;
        overflow = top_bit(alu, r) ^ carry;
    } else {
        if (turn)
            r = (old >> turn | old << (bits - turn)) & emu_mask(alu->bytes);
        carry = top_bit(alu, r);
        overflow = carry ^ top_bit(alu, r << 1);
    }
    alu->result = r;
    alu->flags = (alu->flags & ~(RFLAGS_CF | RFLAGS_OF)) | bit_if(carry, RFLAGS_CF) |
                 bit_if(overflow, RFLAGS_OF);
}

/* Bit by bit: at most 63 turns, and too rare to be clever about. */
static void rotate_through_carry(struct alu *alu, uint64_t old)
{
    unsigned bits = bits_of(alu), count = masked_count(alu, alu->source) % (bits + 1);
    bool     carry = (alu->flags & RFLAGS_CF) != 0, out, overflow;
    uint64_t r = old;

    alu->result = old;
    if (count == 0)
        return;
    for (unsigned i = 0; i < count; i++) {
        if (alu->kind == INSN_RCL) {
            out = top_bit(alu, r);
            r = (r << 1 | carry) & emu_mask(alu->bytes);
        } else {
            out = r & 1;
            r = r >> 1 | (uint64_t)carry << (bits - 1);
        }
        carry = out;
    }
    overflow =
        alu->kind == INSN_RCL ? top_bit(alu, r) ^ carry : top_bit(alu, r) ^ top_bit(alu, r << 1);
    alu->result = r;
    alu->flags = (alu->flags & ~(RFLAGS_CF | RFLAGS_OF)) | bit_if(carry, RFLAGS_CF) |
                 bit_if(overflow, RFLAGS_OF);
}

/* SHLD and SHRD; a count beyond the width (16-bit operands only) has no defined result. */
static void shift_double(struct alu *alu, uint64_t old)
{
    unsigned bits = bits_of(alu), count = masked_count(alu, alu->count);
    uint64_t source = alu->source & emu_mask(alu->bytes), r;
    bool     carry;

    alu->result = old;
    if (count == 0)
        return;
    if (count > bits)
        count -= bits;
    if (alu->kind == INSN_SHLD) {
        r = (count < bits ? old << count : 0) | source >> (bits - count);
        carry = old >> (bits - count) & 1;
    } else {
        r = (count < bits ? old >> count : 0) | source << (bits - count);
        carry = old >> (count - 1) & 1;
    }
    set_result(alu, r, bit_if(carry, RFLAGS_CF) | bit_if(top_bit(alu, r ^ old), RFLAGS_OF));
}

/* BT and its kin change CF; source is the number of the bit. */
static void bit(struct alu *alu, uint64_t old)
{
    uint64_t mask = UINT64_C(1) << (alu->source & (bits_of(alu) - 1));

    alu->flags = (alu->flags & ~RFLAGS_CF) | bit_if(old & mask, RFLAGS_CF);
    switch (alu->kind) {
    case INSN_BTS:
        alu->result = old | mask;
        break;
    case INSN_BTR:
        alu->result = old & ~mask;
        break;
    case INSN_BTC:
        alu->result = old ^ mask;
        break;
    default:
        alu->result = old;
    }
}

static void logic(struct alu *alu, uint64_t old)
{
    uint64_t r;

    switch (alu->kind) {
    case INSN_OR:
        r = old | alu->source;
        break;
    case INSN_XOR:
        r = old ^ alu->source;
        break;
    default:
        r = old & alu->source;
    }
    set_result(alu, r, 0);
}

/* The kinds that add, subtract or exchange. */
static void compute_sum(struct alu *alu, uint64_t old)
{
    uint64_t source = alu->source & emu_mask(alu->bytes);
    bool     carry = (alu->flags & RFLAGS_CF) != 0;

    switch (alu->kind) {
    case INSN_ADD:
    case INSN_XADD:
        add(alu, old, source, false);
        break;
    case INSN_ADC:
        add(alu, old, source, carry);
        break;
    case INSN_SUB:
    case INSN_CMP:
        subtract(alu, old, source, false);
        break;
    case INSN_SBB:
        subtract(alu, old, source, carry);
        break;
    case INSN_NEG:
        subtract(alu, 0, old, false);
        break;
    case INSN_CMPXCHG:
        subtract(alu, alu->count & emu_mask(alu->bytes), old, false);
        alu->result = alu->result == 0 ? source : old;
        break;
    case INSN_NOT:
        alu->result = ~old & emu_mask(alu->bytes);
        break;
    default: /* INSN_XCHG */
        alu->result = source;
    }
}

void alu_compute(struct alu *alu, uint64_t old)
{
    switch (alu->kind) {
    case INSN_OR:
    case INSN_AND:
    case INSN_XOR:
    case INSN_TEST:
        logic(alu, old);
        break;
    case INSN_INC:
    case INSN_DEC:
        step(alu, old);
        break;
    case INSN_SHL:
    case INSN_SHR:
    case INSN_SAR:
        shift(alu, old);
        break;
    case INSN_ROL:
    case INSN_ROR:
        rotate(alu, old);
        break;
    case INSN_RCL:
    case INSN_RCR:
        rotate_through_carry(alu, old);
        break;
    case INSN_SHLD:
    case INSN_SHRD:
        shift_double(alu, old);
        break;
    case INSN_BT:
    case INSN_BTS:
    case INSN_BTR:
    case INSN_BTC:
        bit(alu, old);
        break;
    default:
        compute_sum(alu, old);
    }
}

bool alu_condition(unsigned code, uint64_t flags)
{
    bool less = !(flags & RFLAGS_SF) != !(flags & RFLAGS_OF);
    bool holds;

    switch (code >> 1 & 7) {
    case 0:
        holds = flags & RFLAGS_OF;
        break;
    case 1:
        holds = flags & RFLAGS_CF;
        break;
    case 2:
        holds = flags & RFLAGS_ZF;
        break;
    case 3:
        holds = flags & (RFLAGS_CF | RFLAGS_ZF);
        break;
    case 4:
        holds = flags & RFLAGS_SF;
        break;
    case 5:
        holds = flags & RFLAGS_PF;
        break;
    case 6:
        holds = less;
        break;
    default:
        holds = less || (flags & RFLAGS_ZF);
    }
    return holds != (code & 1);
}
