/* Moves, exchanges, the stack and near branches: APM vol. 3, chapter 3. See emulate.h. */
#include "x86/emulate_private.h"

bool emu_mov(struct emu *e)
{
    uint64_t value;

    /* Loading a segment register means reading a descriptor table. */
    if (e->insn->operand[0].type == OPERAND_SEGMENT)
        return emu_unknown(e);
    return emu_load(e, 1, &value) && emu_store(e, 0, value);
}

/* MOVZX, MOVSX, MOVSXD */
bool emu_movx(struct emu *e)
{
    uint64_t value;

    if (!emu_load(e, 1, &value))
        return false;
    if (e->insn->kind == INSN_MOVSX)
        value = emu_sign_extend(value, e->insn->operand[1].bytes);
    return emu_store(e, 0, value);
}

bool emu_movbe(struct emu *e)
{
    unsigned bytes = e->insn->operand[0].bytes;
    uint64_t value;

    if (bytes == 0 || bytes > 8)
        return emu_unknown(e);
    return emu_load(e, 1, &value) && emu_store(e, 0, __builtin_bswap64(value) >> (64 - 8 * bytes));
}

bool emu_lea(struct emu *e)
{
    if (!emu_is_memory(e, 1))
        return emu_unknown(e);
    return emu_store(e, 0, insn_offset(e->insn, e->cpu, 1));
}

bool emu_xlat(struct emu *e)
{
    unsigned width = e->insn->address_bytes;
    uint64_t offset = (e->cpu->gpr[REG_RBX] + (e->cpu->gpr[REG_RAX] & 0xff)) & emu_mask(width);
    struct emu_span span = { .bytes = 1 };
    uint8_t         value;

    if (!emu_span_at(e, e->insn->segment, offset, EMU_READ, &span) ||
        !emu_read(e, span, &value, EMU_READ))
        return false;
    emu_set_register(e->cpu, REG_RAX, 1, value);
    return true;
}

/* Operand 1 is always a register, operand 0 may be memory: Zydis puts them so. */
bool emu_xchg(struct emu *e)
{
    struct alu alu = { .kind = INSN_XCHG, .flags = e->cpu->rflags };
    uint64_t   old;

    if (emu_is_memory(e, 1))
        return emu_unknown(e);
    return emu_load(e, 1, &alu.source) && emu_modify(e, &alu, &old) && emu_store(e, 1, old);
}

bool emu_setcc(struct emu *e)
{
    return emu_store(e, 0, alu_condition(e->insn->opcode, e->cpu->rflags));
}

/* The source is read, and the upper half cleared, whether or not the condition holds. */
bool emu_cmovcc(struct emu *e)
{
    uint64_t value;

    if (!emu_load(e, 1, &value))
        return false;
    if (!alu_condition(e->insn->opcode, e->cpu->rflags))
        value = emu_get_register(e->cpu, e->insn->operand[0].number, 8);
    return emu_store(e, 0, value);
}

/* ---- the stack ---- */

static uint64_t stack_pointer(const struct emu_cpu *cpu)
{
    return emu_get_register(cpu, REG_RSP, emu_stack_bytes(cpu));
}

/* A 16-bit stack leaves the upper bits of rSP alone; a 32-bit one clears those above. */
static void set_stack_pointer(struct emu_cpu *cpu, uint64_t value)
{
    emu_set_register(cpu, REG_RSP, emu_stack_bytes(cpu), value);
}

static bool push(struct emu *e, uint64_t value, unsigned bytes)
{
    uint64_t        top = (stack_pointer(e->cpu) - bytes) & emu_mask(emu_stack_bytes(e->cpu));
    struct emu_span span = { .bytes = bytes };

    if (!emu_span_at(e, SEG_SS, top, EMU_WRITE, &span) || !emu_write(e, span, &value))
        return false;
    set_stack_pointer(e->cpu, top);
    return true;
}

/* Reads the top of the stack; rSP is left to the caller. */
static bool peek(struct emu *e, uint64_t at, uint64_t *value, unsigned bytes)
{
    struct emu_span span = { .bytes = bytes };

    *value = 0;
    return emu_span_at(e, SEG_SS, at & emu_mask(emu_stack_bytes(e->cpu)), EMU_READ, &span) &&
           emu_read(e, span, value, EMU_READ);
}

/* Widths of a push are those of operands: 2, 4 or 8. */
static bool odd_width(unsigned bytes)
{
    return bytes != 2 && bytes != 4 && bytes != 8;
}

bool emu_push(struct emu *e)
{
    unsigned bytes = e->insn->operand_bytes;
    uint64_t value;

    if (odd_width(bytes))
        return emu_unknown(e);
    return emu_load(e, 0, &value) && push(e, value, bytes);
}

bool emu_pushf(struct emu *e)
{
    unsigned bytes = e->insn->operand_bytes;

    /* In virtual-8086 mode IOPL and VME decide. */
    if (odd_width(bytes) || (e->cpu->rflags & RFLAGS_VM))
        return emu_unknown(e);
    return push(e, e->cpu->rflags & ~(RFLAGS_VM | RFLAGS_RF), bytes);
}

/* The address of a memory operand is formed with rSP already incremented: APM vol. 3, POP. */
bool emu_pop(struct emu *e)
{
    unsigned bytes = e->insn->operand_bytes;
    uint64_t rsp = e->cpu->gpr[REG_RSP], value;

    if (odd_width(bytes) || e->insn->operand[0].type == OPERAND_SEGMENT)
        return emu_unknown(e);
    if (!peek(e, rsp, &value, bytes))
        return false;
    set_stack_pointer(e->cpu, rsp + bytes);
    if (emu_store(e, 0, value))
        return true;
    e->cpu->gpr[REG_RSP] = rsp;
    return false;
}

bool emu_leave(struct emu *e)
{
    unsigned bytes = e->insn->operand_bytes;
    uint64_t frame = e->cpu->gpr[REG_RBP], value;

    if (odd_width(bytes))
        return emu_unknown(e);
    if (!peek(e, frame, &value, bytes))
        return false;
    set_stack_pointer(e->cpu, frame + bytes);
    emu_set_register(e->cpu, REG_RBP, bytes, value);
    return true;
}

/* ---- near branches ---- */

/* Checks the target and puts it into e->next: APM vol. 2, 4.7.2 and 5.3.1. */
static bool branch_target(struct emu *e, uint64_t target, uint64_t *next)
{
    const struct emu_segment *cs = &e->cpu->segment[SEG_CS];

    target &= emu_mask(e->insn->operand_bytes);
    if (emu_cpu_mode(e->cpu) != INSN_MODE_64) {
        if (target > cs->limit)
            return emu_raise(e, VECTOR_GP);
    } else if (!emu_linear(e->cpu, SEG_CS, target, 1, EMU_READ).ok) {
        return emu_raise(e, VECTOR_GP);
    }
    *next = target;
    return true;
}

/* Where operand 0 of CALL or JMP leads. */
static bool branch_operand(struct emu *e, uint64_t *target)
{
    const struct insn_operand *op = &e->insn->operand[0];

    if (op->type == OPERAND_RELATIVE) {
        *target = e->next + (uint64_t)op->value;
        return true;
    }
    return emu_load(e, 0, target);
}

bool emu_call(struct emu *e)
{
    unsigned bytes = e->insn->operand_bytes;
    uint64_t target = 0, next = 0;

    if (odd_width(bytes))
        return emu_unknown(e);
    if (!branch_operand(e, &target) || !branch_target(e, target, &next) || !push(e, e->next, bytes))
        return false;
    e->next = next;
    return true;
}

bool emu_jmp(struct emu *e)
{
    uint64_t target;

    return branch_operand(e, &target) && branch_target(e, target, &e->next);
}

bool emu_ret(struct emu *e)
{
    unsigned bytes = e->insn->operand_bytes;
    uint64_t rsp = e->cpu->gpr[REG_RSP], target, release = 0;

    if (odd_width(bytes))
        return emu_unknown(e);
    if (e->insn->operands == 1)
        release = (uint64_t)e->insn->operand[0].value & 0xffff;
    if (!peek(e, rsp, &target, bytes) || !branch_target(e, target, &e->next))
        return false;
    set_stack_pointer(e->cpu, rsp + bytes + release);
    return true;
}
