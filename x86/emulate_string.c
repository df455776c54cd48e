/* String instructions: APM vol. 3, 1.2.6 (repeat prefixes), and vol. 1, 3.3.8. See emulate.h. */
#include "x86/emulate_private.h"

/* One iteration's two pointers: source DS:rSI or override, destination ES:rDI. */
static bool source_span(struct emu *e, struct emu_span *span)
{
    span->bytes = e->insn->operand_bytes;
    return emu_span_at(e, e->insn->segment,
                       emu_get_register(e->cpu, REG_RSI, e->insn->address_bytes), EMU_READ, span);
}

static bool destination_span(struct emu *e, enum emu_access access, struct emu_span *span)
{
    span->bytes = e->insn->operand_bytes;
    return emu_span_at(e, SEG_ES, emu_get_register(e->cpu, REG_RDI, e->insn->address_bytes), access,
                       span);
}

static void advance(struct emu *e, unsigned reg)
{
    unsigned width = e->insn->address_bytes;
    uint64_t step = e->insn->operand_bytes;
    uint64_t pointer = emu_get_register(e->cpu, reg, width);

    emu_set_register(e->cpu, reg, width,
                     e->cpu->rflags & RFLAGS_DF ? pointer - step : pointer + step);
}

static void compare(struct emu *e, uint64_t first, uint64_t second)
{
    struct alu alu = {
        .kind = INSN_CMP, .bytes = e->insn->operand_bytes, .source = second, .flags = e->cpu->rflags
    };

    alu_compute(&alu, first);
    e->cpu->rflags = alu.flags;
}

static bool move(struct emu *e)
{
    struct emu_span from, to;
    uint64_t        value = 0;

    if (!source_span(e, &from) || !destination_span(e, EMU_WRITE, &to) ||
        !emu_read(e, from, &value, EMU_READ) || !emu_write(e, to, &value))
        return false;
    advance(e, REG_RSI);
    advance(e, REG_RDI);
    return true;
}

static bool store(struct emu *e)
{
    struct emu_span to;

    if (!destination_span(e, EMU_WRITE, &to) || !emu_write(e, to, &e->cpu->gpr[REG_RAX]))
        return false;
    advance(e, REG_RDI);
    return true;
}

static bool load(struct emu *e)
{
    struct emu_span from;
    uint64_t        value = 0;

    if (!source_span(e, &from) || !emu_read(e, from, &value, EMU_READ))
        return false;
    emu_set_register(e->cpu, REG_RAX, from.bytes, value);
    advance(e, REG_RSI);
    return true;
}

static bool compare_both(struct emu *e)
{
    struct emu_span from, to;
    uint64_t        first = 0, second = 0;

    if (!source_span(e, &from) || !destination_span(e, EMU_READ, &to) ||
        !emu_read(e, from, &first, EMU_READ) || !emu_read(e, to, &second, EMU_READ))
        return false;
    compare(e, first, second);
    advance(e, REG_RSI);
    advance(e, REG_RDI);
    return true;
}

static bool scan(struct emu *e)
{
    struct emu_span at;
    uint64_t        value = 0;

    if (!destination_span(e, EMU_READ, &at) || !emu_read(e, at, &value, EMU_READ))
        return false;
    compare(e, emu_get_register(e->cpu, REG_RAX, at.bytes), value);
    advance(e, REG_RDI);
    return true;
}

static bool iterate(struct emu *e)
{
    switch ((enum insn_kind)e->insn->kind) {
    case INSN_MOVS:
        return move(e);
    case INSN_STOS:
        return store(e);
    case INSN_LODS:
        return load(e);
    case INSN_CMPS:
        return compare_both(e);
    case INSN_SCAS:
        return scan(e);
    default:
        return emu_unknown(e);
    }
}

/* CMPS and SCAS also end on ZF; for the others both prefixes mean the same. */
static bool condition_ends(const struct emu *e)
{
    bool zero = (e->cpu->rflags & RFLAGS_ZF) != 0;

    if (e->insn->kind != INSN_CMPS && e->insn->kind != INSN_SCAS)
        return false;
    return zero != (e->insn->rep == INSN_REPE);
}

bool emu_string(struct emu *e, unsigned budget)
{
    unsigned width = e->insn->address_bytes;
    uint64_t count;

    if (e->insn->rep == INSN_REP_NONE)
        return iterate(e);
    count = emu_get_register(e->cpu, REG_RCX, width);
    if (count == 0)
        return true;
    for (unsigned i = 0; i < budget; i++) {
        if (!iterate(e))
            return false;
        emu_set_register(e->cpu, REG_RCX, width, --count);
        if (count == 0 || condition_ends(e))
            return true;
    }
    /* As after an interrupt between iterations: APM vol. 2, 13.1.3.1. */
    e->cpu->rflags |= RFLAGS_RF;
    e->result.outcome = EMU_PARTIAL;
    return false;
}
