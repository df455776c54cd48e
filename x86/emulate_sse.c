/*
 * Loads and stores of SSE registers: APM vol. 4, chapter 2. Between registers nothing is carried
 * out, since no such instruction touches memory. See emulate.h.
 */
#include "x86/emulate_private.h"

#define XMM_BYTES 16

/* APM vol. 4, 1.2.4, and vol. 2, 8.2.8: which exception stands before any access. */
static bool sse_usable(struct emu *e)
{
    if ((e->cpu->cr0 & CR0_EM) || !(e->cpu->cr4 & CR4_OSFXSR))
        return emu_raise(e, VECTOR_UD);
    if (e->cpu->cr0 & CR0_TS)
        return emu_raise(e, VECTOR_NM);
    return true;
}

static bool is_xmm(const struct emu *e, unsigned operand)
{
    return e->insn->operand[operand].type == OPERAND_XMM && e->cpu->read_xmm && e->cpu->write_xmm;
}

static void get_xmm(const struct emu *e, unsigned operand, uint8_t *value)
{
    e->cpu->read_xmm(e->cpu->xmm_context, e->insn->operand[operand].number & 15u, value);
}

static void set_xmm(const struct emu *e, unsigned operand, const uint8_t *value)
{
    e->cpu->write_xmm(e->cpu->xmm_context, e->insn->operand[operand].number & 15u, value);
}

/* The number of the memory operand when the other is an XMM register; else 2. */
static unsigned memory_operand(const struct emu *e)
{
    if (emu_is_memory(e, 0) && is_xmm(e, 1))
        return 0;
    return emu_is_memory(e, 1) && is_xmm(e, 0) ? 1 : 2;
}

/* Moves between memory and the `bytes` bytes from `from` on in an XMM register. */
static bool transfer(struct emu *e, unsigned memory, unsigned from, bool clear)
{
    uint8_t         value[XMM_BYTES] = { 0 };
    bool            aligned = e->insn->kind == INSN_MOVXMMA;
    struct emu_span span;

    if (!sse_usable(e))
        return false;
    if (aligned && emu_misaligned16(e, memory))
        return emu_raise(e, VECTOR_GP);
    if (!emu_span_of(e, memory, memory == 0 ? EMU_WRITE : EMU_READ, &span))
        return false;
    if (from + span.bytes > XMM_BYTES)
        return emu_unknown(e);
    if (memory == 0) {
        get_xmm(e, 1, value);
        return emu_write(e, span, value + from);
    }
    if (!clear)
        get_xmm(e, 0, value);
    if (!emu_read(e, span, value + from, EMU_READ))
        return false;
    set_xmm(e, 0, value);
    return true;
}

/* MOVUPS, MOVAPS and their kin */
bool emu_xmm_full(struct emu *e)
{
    unsigned memory = memory_operand(e);

    return memory == 2 ? emu_unknown(e) : transfer(e, memory, 0, true);
}

/* MOVLPS, MOVHPS and their kin: the other half stays. */
bool emu_xmm_half(struct emu *e)
{
    unsigned memory = memory_operand(e);

    return memory == 2 ? emu_unknown(e)
                       : transfer(e, memory, e->insn->kind == INSN_MOVHIGH ? 8 : 0, false);
}

/* MOVD, MOVQ, MOVSS, MOVSD, with MOVD and MOVQ from and to general registers too. */
bool emu_xmm_scalar(struct emu *e)
{
    unsigned memory = memory_operand(e);
    uint8_t  value[XMM_BYTES] = { 0 };
    uint64_t general = 0;

    if (memory != 2)
        return transfer(e, memory, 0, true);
    if (is_xmm(e, 0) && e->insn->operand[1].type == OPERAND_REGISTER) {
        if (!sse_usable(e) || !emu_load(e, 1, &general))
            return false;
        __builtin_memcpy(value, &general, sizeof(general));
        set_xmm(e, 0, value);
        return true;
    }
    if (is_xmm(e, 1) && e->insn->operand[0].type == OPERAND_REGISTER) {
        if (!sse_usable(e))
            return false;
        get_xmm(e, 1, value);
        __builtin_memcpy(&general, value, sizeof(general));
        return emu_store(e, 0, general);
    }
    return emu_unknown(e);
}
