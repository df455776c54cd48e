/* Registers, memory access, and the dispatch by kind of instruction. See emulate.h. */
#include "x86/emulate_private.h"

#include <stddef.h>

bool emu_raise(struct emu *e, uint8_t vector)
{
    e->result.outcome = EMU_EXCEPTION;
    e->result.vector = vector;
    /* APM vol. 2, table 8-1: of those raised here, #SS, #GP and #AC push one. */
    e->result.has_error = vector == VECTOR_SS || vector == VECTOR_GP || vector == VECTOR_AC;
    e->result.error_code = 0;
    return false;
}

bool emu_memory_says(struct emu *e, enum emu_status status)
{
    e->result.outcome = EMU_MEMORY;
    e->result.status = status;
    return false;
}

bool emu_unknown(struct emu *e)
{
    e->result.outcome = EMU_UNKNOWN;
    return false;
}

/* ---- registers ---- */

uint64_t emu_get_register(const struct emu_cpu *cpu, unsigned number, unsigned bytes)
{
    return cpu->gpr[number & 15] & emu_mask(bytes);
}

void emu_set_register(struct emu_cpu *cpu, unsigned number, unsigned bytes, uint64_t value)
{
    uint64_t *r = &cpu->gpr[number & 15];

    if (bytes >= 4) /* APM vol. 1, 3.1.2: 32-bit results are zero-extended */
        *r = value & emu_mask(bytes);
    else
        *r = (*r & ~emu_mask(bytes)) | (value & emu_mask(bytes));
}

static uint64_t get_high_byte(const struct emu_cpu *cpu, unsigned number)
{
    return cpu->gpr[number & 3] >> 8 & 0xff;
}

static void set_high_byte(struct emu_cpu *cpu, unsigned number, uint64_t value)
{
    uint64_t *r = &cpu->gpr[number & 3];

    *r = (*r & ~UINT64_C(0xff00)) | (value & 0xff) << 8;
}

/* ---- memory ---- */

static bool checked(struct emu *e, struct emu_address at, struct emu_span *span,
                    enum emu_access access)
{
    const struct emu_cpu *cpu = e->cpu;

    if (!at.ok)
        return emu_raise(e, at.vector);
    span->linear = at.linear;
    if (access == EMU_NONE)
        return true;
    /* Only a segment with a base of its own gets here; memory is not wrapped piecewise. */
    if (emu_cpu_mode(cpu) != INSN_MODE_64 && at.linear + span->bytes - 1 > UINT32_MAX)
        return emu_unknown(e);
    /* APM vol. 2, 8.2.18; all widths are powers of two. */
    if (cpu->cpl == 3 && (cpu->cr0 & CR0_AM) && (cpu->rflags & RFLAGS_AC) &&
        (at.linear & (span->bytes - 1)))
        return emu_raise(e, VECTOR_AC);
    return true;
}

bool emu_span_of(struct emu *e, unsigned operand, enum emu_access access, struct emu_span *span)
{
    span->bytes = e->insn->operand[operand].bytes;
    if (span->bytes == 0 || span->bytes > 16)
        return emu_unknown(e);
    return checked(e, insn_address(e->insn, e->cpu, operand, access), span, access);
}

bool emu_span_at(struct emu *e, unsigned segment, uint64_t offset, enum emu_access access,
                 struct emu_span *span)
{
    return checked(e, emu_linear(e->cpu, segment, offset, span->bytes, access), span, access);
}

bool emu_read(struct emu *e, struct emu_span span, void *to, enum emu_access access)
{
    enum emu_status status =
        e->memory->read(e->memory->context, span.linear, to, span.bytes, access);

    return status == EMU_OK || emu_memory_says(e, status);
}

bool emu_write(struct emu *e, struct emu_span span, const void *from)
{
    enum emu_status status = e->memory->write(e->memory->context, span.linear, from, span.bytes);

    return status == EMU_OK || emu_memory_says(e, status);
}

/* ---- operands ---- */

bool emu_is_memory(const struct emu *e, unsigned operand)
{
    return e->insn->operand[operand].type == OPERAND_MEMORY;
}

bool emu_misaligned16(const struct emu *e, unsigned operand)
{
    return insn_address(e->insn, e->cpu, operand, EMU_NONE).linear & 15;
}

bool emu_load(struct emu *e, unsigned operand, uint64_t *value)
{
    const struct insn_operand *op = &e->insn->operand[operand];
    struct emu_span            span;

    switch (op->type) {
    case OPERAND_REGISTER:
        *value = emu_get_register(e->cpu, op->number, op->bytes);
        return true;
    case OPERAND_HIGH_BYTE:
        *value = get_high_byte(e->cpu, op->number);
        return true;
    case OPERAND_SEGMENT:
        if (op->number >= SEGMENTS)
            return emu_unknown(e);
        *value = e->cpu->segment[op->number].selector;
        return true;
    case OPERAND_IMMEDIATE:
        *value = (uint64_t)op->value;
        return true;
    case OPERAND_MEMORY:
        *value = 0;
        if (op->bytes > sizeof(*value))
            return emu_unknown(e);
        return emu_span_of(e, operand, EMU_READ, &span) && emu_read(e, span, value, EMU_READ);
    default:
        return emu_unknown(e);
    }
}

bool emu_store(struct emu *e, unsigned operand, uint64_t value)
{
    const struct insn_operand *op = &e->insn->operand[operand];
    struct emu_span            span;

    switch (op->type) {
    case OPERAND_REGISTER:
        emu_set_register(e->cpu, op->number, op->bytes, value);
        return true;
    case OPERAND_HIGH_BYTE:
        set_high_byte(e->cpu, op->number, value);
        return true;
    case OPERAND_MEMORY:
        if (op->bytes > sizeof(value))
            return emu_unknown(e);
        return emu_span_of(e, operand, EMU_WRITE, &span) && emu_write(e, span, &value);
    default:
        return emu_unknown(e);
    }
}

/* ---- read, compute, write back ---- */

static void commit_flags(struct emu *e, const struct alu *alu)
{
    e->cpu->rflags = (e->cpu->rflags & ~RFLAGS_ARITHMETIC) | (alu->flags & RFLAGS_ARITHMETIC);
}

static bool modify_atomically(struct emu *e, struct emu_span span, struct alu *alu, uint64_t *old)
{
    uint64_t flags = alu->flags;

    for (unsigned i = 0; i < EMU_ATTEMPTS; i++) {
        enum emu_status status;
        bool            done = false;

        alu->flags = flags;
        alu_compute(alu, *old);
        status = e->memory->cmpxchg(e->memory->context, span.linear, old, &alu->result, span.bytes,
                                    &done);
        if (status != EMU_OK)
            return emu_memory_says(e, status);
        if (done)
            return true;
    }
    return emu_memory_says(e, EMU_RETRY);
}

bool emu_modify_span(struct emu *e, struct emu_span span, struct alu *alu, uint64_t *old)
{
    *old = 0;
    if (!emu_read(e, span, old, EMU_MODIFY))
        return false;
    if (e->insn->lock || alu->kind == INSN_XCHG) {
        if (!modify_atomically(e, span, alu, old))
            return false;
    } else {
        alu_compute(alu, *old);
        if (!emu_write(e, span, &alu->result))
            return false;
    }
    commit_flags(e, alu);
    return true;
}

bool emu_modify(struct emu *e, struct alu *alu, uint64_t *old)
{
    struct emu_span span;

    alu->bytes = e->insn->operand[0].bytes;
    if (alu->bytes > sizeof(*old))
        return emu_unknown(e);
    if (emu_is_memory(e, 0))
        return emu_span_of(e, 0, EMU_MODIFY, &span) && emu_modify_span(e, span, alu, old);
    if (!emu_load(e, 0, old))
        return false;
    alu_compute(alu, *old);
    if (!emu_store(e, 0, alu->result))
        return false;
    commit_flags(e, alu);
    return true;
}

/* ---- dispatch ---- */

static emu_handler *const handlers[INSN_KINDS] = {
    [INSN_MOV] = emu_mov,
    [INSN_MOVZX] = emu_movx,
    [INSN_MOVSX] = emu_movx,
    [INSN_MOVBE] = emu_movbe,
    [INSN_LEA] = emu_lea,
    [INSN_XLAT] = emu_xlat,
    [INSN_XCHG] = emu_xchg,
    [INSN_XADD] = emu_xadd,
    [INSN_CMPXCHG] = emu_cmpxchg,
    [INSN_CMPXCHG8B... INSN_CMPXCHG16B] = emu_cmpxchg_wide,
    [INSN_ADD... INSN_XOR] = emu_arithmetic,
    [INSN_CMP... INSN_TEST] = emu_compare,
    [INSN_INC... INSN_SAR] = emu_arithmetic,
    [INSN_SHLD... INSN_SHRD] = emu_double_shift,
    [INSN_BT... INSN_BTC] = emu_bit,
    [INSN_SETCC] = emu_setcc,
    [INSN_CMOVCC] = emu_cmovcc,
    [INSN_MUL... INSN_IMUL] = emu_multiply,
    [INSN_DIV... INSN_IDIV] = emu_divide,
    [INSN_PUSH] = emu_push,
    [INSN_PUSHF] = emu_pushf,
    [INSN_POP] = emu_pop,
    [INSN_CALL] = emu_call,
    [INSN_JMP] = emu_jmp,
    [INSN_RET] = emu_ret,
    [INSN_LEAVE] = emu_leave,
    [INSN_MOVXMM... INSN_MOVXMMA] = emu_xmm_full,
    [INSN_MOVSCALAR] = emu_xmm_scalar,
    [INSN_MOVLOW... INSN_MOVHIGH] = emu_xmm_half,
};

static uint64_t next_rip(const struct insn *insn, const struct emu_cpu *cpu)
{
    uint64_t next = cpu->rip + insn->length;

    return insn->mode == INSN_MODE_64 ? next : (uint32_t)next;
}

void emu_retire(const struct insn *insn, struct emu_cpu *cpu)
{
    cpu->rip = next_rip(insn, cpu);
    cpu->rflags &= ~RFLAGS_RF;
}

struct emu_result emulate(const struct insn *insn, struct emu_cpu *cpu,
                          const struct emu_memory *memory, unsigned budget)
{
    bool       single_step = (cpu->rflags & RFLAGS_TF) != 0;
    struct emu e = { .insn = insn, .cpu = cpu, .memory = memory };
    bool       done;

    e.next = next_rip(insn, cpu);
    if (insn->kind >= INSN_MOVS && insn->kind <= INSN_SCAS)
        /* The trap comes after each iteration: APM vol. 2, 13.1.4. */
        done = emu_string(&e, single_step || budget == 0 ? 1 : budget);
    else
        done = insn->kind < INSN_KINDS && handlers[insn->kind] ? handlers[insn->kind](&e)
                                                               : emu_unknown(&e);
    if (done) {
        e.result.outcome = EMU_DONE;
        cpu->rip = e.next;
        cpu->rflags &= ~RFLAGS_RF;
    }
    if (e.result.outcome == EMU_DONE || e.result.outcome == EMU_PARTIAL)
        e.result.single_step = single_step;
    return e.result;
}

/* ---- memory that does not change ---- */

static enum emu_status muted_read(void *context, uint64_t linear, void *to, unsigned length,
                                  enum emu_access access)
{
    const struct emu_memory *of = context;

    return of->read(of->context, linear, to, length, access);
}

static enum emu_status muted_write(void *context, uint64_t linear, const void *from,
                                   unsigned length)
{
    (void)context, (void)linear, (void)from, (void)length;
    return EMU_OK;
}

/* It compares with what is there, and finds it so. */
static enum emu_status muted_exchange(void *context, uint64_t linear, void *old,
                                      const void *desired, unsigned length, bool *done)
{
    uint8_t         found[16];
    enum emu_status status = muted_read(context, linear, found, length, EMU_READ);

    (void)desired;
    if (status != EMU_OK)
        return status;
    *done = __builtin_memcmp(old, found, length) == 0;
    __builtin_memcpy(old, found, length);
    return EMU_OK;
}

struct emu_memory emu_muted(struct emu_memory *memory)
{
    return (struct emu_memory){ memory, muted_read, muted_write, muted_exchange };
}
