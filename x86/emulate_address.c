/* Effective and linear addresses, with the checks that segments and long mode ask for. */
#include "x86/emulate_private.h"

enum insn_mode emu_cpu_mode(const struct emu_cpu *cpu)
{
    uint16_t attributes = cpu->segment[SEG_CS].attributes;

    if ((cpu->efer & EFER_LMA) && (attributes & SEGMENT_LONG))
        return INSN_MODE_64;
    return attributes & SEGMENT_BIG ? INSN_MODE_32 : INSN_MODE_16;
}

unsigned emu_stack_bytes(const struct emu_cpu *cpu)
{
    if (emu_cpu_mode(cpu) == INSN_MODE_64)
        return 8;
    return cpu->segment[SEG_SS].attributes & SEGMENT_BIG ? 4 : 2;
}

uint64_t insn_offset(const struct insn *insn, const struct emu_cpu *cpu, unsigned operand)
{
    const struct insn_operand *op = &insn->operand[operand];
    uint64_t                   offset = (uint64_t)op->value;

    if (op->base == REG_RIP)
        offset += cpu->rip + insn->length;
    else if (op->base != REG_NONE)
        offset += cpu->gpr[op->base & 15];
    if (op->index != REG_NONE)
        offset += cpu->gpr[op->index & 15] * op->scale;
    return offset & emu_mask(insn->address_bytes);
}

static struct emu_address refuse(unsigned segment)
{
    return (struct emu_address){ .vector = segment == SEG_SS ? VECTOR_SS : VECTOR_GP };
}

/* APM vol. 2, 1.1.3 and 5.3.1. */
static bool canonical(const struct emu_cpu *cpu, uint64_t linear)
{
    unsigned unused = cpu->cr4 & CR4_LA57 ? 7 : 16;

    return (uint64_t)((int64_t)(linear << unused) >> unused) == linear;
}

/* APM vol. 2, 4.12: what the type and the limit of a segment allow. */
static bool segment_allows(const struct emu_cpu *cpu, const struct emu_segment *s, uint64_t first,
                           uint64_t last, enum emu_access access)
{
    uint16_t a = s->attributes;
    bool     protected_mode = (cpu->cr0 & CR0_PE) && !(cpu->rflags & RFLAGS_VM);

    if (protected_mode) {
        bool write = access != EMU_READ;

        /* A null selector leaves a segment that is not present. */
        if (!(a & SEGMENT_PRESENT))
            return false;
        if (write && ((a & SEGMENT_CODE) || !(a & SEGMENT_WRITABLE)))
            return false;
        if (!write && (a & SEGMENT_CODE) && !(a & SEGMENT_WRITABLE))
            return false;
        if (!(a & SEGMENT_CODE) && (a & SEGMENT_EXPAND_DOWN))
            return first > s->limit && last <= (a & SEGMENT_BIG ? UINT32_MAX : UINT16_MAX);
    }
    return last <= s->limit;
}

struct emu_address emu_linear(const struct emu_cpu *cpu, unsigned segment, uint64_t offset,
                              unsigned bytes, enum emu_access access)
{
    const struct emu_segment *s = &cpu->segment[segment];
    uint64_t                  size = bytes ? bytes : 1;
    uint64_t                  linear = offset;

    if (emu_cpu_mode(cpu) == INSN_MODE_64) {
        if (segment == SEG_FS || segment == SEG_GS)
            linear += s->base;
        if (access != EMU_NONE && !(canonical(cpu, linear) && canonical(cpu, linear + size - 1)))
            return refuse(segment);
        return (struct emu_address){ .ok = true, .linear = linear };
    }
    offset = (uint32_t)offset;
    if (access != EMU_NONE && !segment_allows(cpu, s, offset, offset + size - 1, access))
        return refuse(segment);
    return (struct emu_address){ .ok = true, .linear = (uint32_t)(s->base + offset) };
}

struct emu_address insn_address(const struct insn *insn, const struct emu_cpu *cpu,
                                unsigned operand, enum emu_access access)
{
    const struct insn_operand *op = &insn->operand[operand];

    return emu_linear(cpu, op->segment, insn_offset(insn, cpu, operand), op->bytes, access);
}
