/*
 * Zydis's word, made compact and cached. See decode.h.
 *
 * A decoded instruction depends on the mode and on its own bytes alone, so an entry of the cache
 * serves when the mode and the first `length` bytes agree; what follows them does not matter.
 */
#include "x86/decode.h"

#include <stddef.h>

#include <Zydis/Decoder.h>

/* Kinds by mnemonic, where the mnemonic alone decides. */
static const uint8_t kind_of_mnemonic[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#define K(mnemonic, kind) [ZYDIS_MNEMONIC_##mnemonic] = INSN_##kind
    K(MOV, MOV),
    K(MOVNTI, MOV),
    K(MOVZX, MOVZX),
    K(MOVSX, MOVSX),
    K(MOVSXD, MOVSX),
    K(MOVBE, MOVBE),
    K(LEA, LEA),
    K(XLAT, XLAT),
    K(XCHG, XCHG),
    K(XADD, XADD),
    K(CMPXCHG, CMPXCHG),
    K(CMPXCHG8B, CMPXCHG8B),
    K(CMPXCHG16B, CMPXCHG16B),
    K(ADD, ADD),
    K(OR, OR),
    K(ADC, ADC),
    K(SBB, SBB),
    K(AND, AND),
    K(SUB, SUB),
    K(XOR, XOR),
    K(CMP, CMP),
    K(TEST, TEST),
    K(INC, INC),
    K(DEC, DEC),
    K(NEG, NEG),
    K(NOT, NOT),
    K(ROL, ROL),
    K(ROR, ROR),
    K(RCL, RCL),
    K(RCR, RCR),
    K(SHL, SHL),
    K(SHR, SHR),
    K(SAR, SAR),
    K(SHLD, SHLD),
    K(SHRD, SHRD),
    K(BT, BT),
    K(BTS, BTS),
    K(BTR, BTR),
    K(BTC, BTC),
    K(MUL, MUL),
    K(IMUL, IMUL),
    K(DIV, DIV),
    K(IDIV, IDIV),
    K(PUSH, PUSH),
    K(POP, POP),
    K(CALL, CALL),
    K(JMP, JMP),
    K(RET, RET),
    K(LEAVE, LEAVE),
    K(MOVSB, MOVS),
    K(MOVSW, MOVS),
    K(MOVSD, MOVS),
    K(MOVSQ, MOVS),
    K(STOSB, STOS),
    K(STOSW, STOS),
    K(STOSD, STOS),
    K(STOSQ, STOS),
    K(LODSB, LODS),
    K(LODSW, LODS),
    K(LODSD, LODS),
    K(LODSQ, LODS),
    K(CMPSB, CMPS),
    K(CMPSW, CMPS),
    K(CMPSD, CMPS),
    K(CMPSQ, CMPS),
    K(SCASB, SCAS),
    K(SCASW, SCAS),
    K(SCASD, SCAS),
    K(SCASQ, SCAS),
    K(MOVUPS, MOVXMM),
    K(MOVUPD, MOVXMM),
    K(MOVDQU, MOVXMM),
    K(LDDQU, MOVXMM),
    K(MOVAPS, MOVXMMA),
    K(MOVAPD, MOVXMMA),
    K(MOVDQA, MOVXMMA),
    K(MOVNTPS, MOVXMMA),
    K(MOVNTPD, MOVXMMA),
    K(MOVNTDQ, MOVXMMA),
    K(MOVNTDQA, MOVXMMA),
    K(MOVD, MOVSCALAR),
    K(MOVQ, MOVSCALAR),
    K(MOVSS, MOVSCALAR),
    K(MOVLPS, MOVLOW),
    K(MOVLPD, MOVLOW),
    K(MOVHPS, MOVHIGH),
    K(MOVHPD, MOVHIGH),
    K(CPUID, CPUID),
    K(RDMSR, RDMSR),
    K(WRMSR, WRMSR),
    K(HLT, HLT),
    K(PAUSE, PAUSE),
    K(RDTSC, RDTSC),
    K(RDTSCP, RDTSCP),
    K(RDPMC, RDPMC),
    K(INVD, INVD),
    K(WBINVD, WBINVD),
    K(INVLPG, INVLPG),
    K(INVLPGA, INVLPGA),
    K(INVPCID, INVPCID),
    K(XSETBV, XSETBV),
    K(XGETBV, XGETBV),
    K(MONITOR, MONITOR),
    K(MWAIT, MWAIT),
    K(CLTS, CLTS),
    K(LMSW, LMSW),
    K(SMSW, SMSW),
    K(IN, IN),
    K(OUT, OUT),
    K(INSB, INS),
    K(INSW, INS),
    K(INSD, INS),
    K(OUTSB, OUTS),
    K(OUTSW, OUTS),
    K(OUTSD, OUTS),
    K(LGDT, LGDT),
    K(LIDT, LIDT),
    K(LLDT, LLDT),
    K(LTR, LTR),
    K(SGDT, SGDT),
    K(SIDT, SIDT),
    K(SLDT, SLDT),
    K(STR, STR),
    K(INT, INT),
    K(INT3, INT3),
    K(INTO, INTO),
    K(INT1, ICEBP),
    K(IRET, IRET),
    K(IRETD, IRET),
    K(IRETQ, IRET),
    K(PUSHF, PUSHF),
    K(PUSHFD, PUSHF),
    K(PUSHFQ, PUSHF),
    K(POPF, POPF),
    K(POPFD, POPF),
    K(POPFQ, POPF),
    K(CLI, CLI),
    K(STI, STI),
    K(RSM, RSM),
    K(SYSCALL, SYSCALL),
    K(SYSRET, SYSRET),
    K(SYSENTER, SYSENTER),
    K(SYSEXIT, SYSEXIT),
    K(UD0, UD),
    K(UD1, UD),
    K(UD2, UD),
    K(VMRUN, VMRUN),
    K(VMMCALL, VMMCALL),
    K(VMCALL, VMCALL),
    K(VMLOAD, VMLOAD),
    K(VMSAVE, VMSAVE),
    K(STGI, STGI),
    K(CLGI, CLGI),
    K(SKINIT, SKINIT),
#undef K
};

static uint8_t map_of(ZydisOpcodeMap map)
{
    switch (map) {
    case ZYDIS_OPCODE_MAP_DEFAULT:
        return INSN_MAP_ONE;
    case ZYDIS_OPCODE_MAP_0F:
        return INSN_MAP_0F;
    case ZYDIS_OPCODE_MAP_0F38:
        return INSN_MAP_0F38;
    case ZYDIS_OPCODE_MAP_0F3A:
        return INSN_MAP_0F3A;
    default:
        return INSN_MAP_OTHER;
    }
}

/* The kinds that the opcode tells apart: APM vol. 3, appendix A. */
static enum insn_kind kind_in_0f(uint8_t opcode, enum insn_kind kind)
{
    switch (opcode) {
    case 0x20:
        return INSN_MOV_FROM_CR;
    case 0x21:
        return INSN_MOV_FROM_DR;
    case 0x22:
        return INSN_MOV_TO_CR;
    case 0x23:
        return INSN_MOV_TO_DR;
    case 0x40 ... 0x4f:
        return INSN_CMOVCC;
    case 0x90 ... 0x9f:
        return INSN_SETCC;
    default:
        /* MOVSD and CMPSD are string and SSE instructions by the same name. */
        if (kind == INSN_MOVS)
            return INSN_MOVSCALAR;
        return kind == INSN_CMPS ? INSN_OTHER : kind;
    }
}

static enum insn_kind kind_of(const ZydisDecodedInstruction *zi)
{
    enum insn_kind kind = kind_of_mnemonic[zi->mnemonic];

    if (zi->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
        return INSN_OTHER;
    if (zi->opcode_map == ZYDIS_OPCODE_MAP_0F)
        return kind_in_0f(zi->opcode, kind);
    if (zi->meta.branch_type != ZYDIS_BRANCH_TYPE_FAR)
        return kind;
    switch (kind) {
    case INSN_JMP:
        return INSN_JMP_FAR;
    case INSN_CALL:
        return INSN_CALL_FAR;
    case INSN_RET:
        return INSN_RET_FAR;
    default:
        return kind;
    }
}

static uint8_t base_register(ZydisRegister r)
{
    switch (ZydisRegisterGetClass(r)) {
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
        return (uint8_t)ZydisRegisterGetId(r);
    case ZYDIS_REGCLASS_IP:
        return REG_RIP;
    default:
        return REG_NONE;
    }
}

static uint8_t segment_register(ZydisRegister r)
{
    return r >= ZYDIS_REGISTER_ES && r <= ZYDIS_REGISTER_GS ? (uint8_t)(r - ZYDIS_REGISTER_ES)
                                                            : SEG_DS;
}

static void fill_register(struct insn_operand *op, ZydisRegister r)
{
    unsigned number = (unsigned)(uint8_t)ZydisRegisterGetId(r);

    op->type = OPERAND_REGISTER;
    switch (ZydisRegisterGetClass(r)) {
    case ZYDIS_REGCLASS_GPR8:
        if (r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH) {
            op->type = OPERAND_HIGH_BYTE;
            number = (unsigned)(r - ZYDIS_REGISTER_AH);
        } else if (r > ZYDIS_REGISTER_BH) {
            /* SPL follows BH in the list, and is number 4. */
            number = (unsigned)(r - ZYDIS_REGISTER_SPL) + REG_RSP;
        } else {
            number = (unsigned)(r - ZYDIS_REGISTER_AL);
        }
        break;
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
        break;
    case ZYDIS_REGCLASS_SEGMENT:
        op->type = OPERAND_SEGMENT;
        break;
    case ZYDIS_REGCLASS_CONTROL:
        op->type = OPERAND_CONTROL;
        break;
    case ZYDIS_REGCLASS_DEBUG:
        op->type = OPERAND_DEBUG;
        break;
    case ZYDIS_REGCLASS_XMM:
        op->type = OPERAND_XMM;
        break;
    default:
        op->type = OPERAND_OTHER;
    }
    op->number = (uint8_t)number;
}

static void fill_memory(struct insn_operand *op, const ZydisDecodedOperand *zo)
{
    if (zo->mem.type != ZYDIS_MEMOP_TYPE_MEM && zo->mem.type != ZYDIS_MEMOP_TYPE_AGEN) {
        op->type = OPERAND_OTHER;
        return;
    }
    op->type = OPERAND_MEMORY;
    op->segment = segment_register(zo->mem.segment);
    op->base = base_register(zo->mem.base);
    op->index = base_register(zo->mem.index);
    op->scale = op->index == REG_NONE ? 0 : zo->mem.scale;
    op->value = zo->mem.disp.value;
    if (zo->mem.type == ZYDIS_MEMOP_TYPE_AGEN)
        op->bytes = 0;
}

static void fill_operand(struct insn_operand *op, const ZydisDecodedOperand *zo)
{
    unsigned bytes = zo->size / 8u;

    *op = (struct insn_operand){ .bytes = bytes > 255 ? 0 : (uint8_t)bytes,
                                 .base = REG_NONE,
                                 .index = REG_NONE };
    switch (zo->type) {
    case ZYDIS_OPERAND_TYPE_REGISTER:
        fill_register(op, zo->reg.value);
        break;
    case ZYDIS_OPERAND_TYPE_MEMORY:
        fill_memory(op, zo);
        break;
    case ZYDIS_OPERAND_TYPE_POINTER:
        op->type = OPERAND_FAR;
        op->value = (int64_t)((uint64_t)zo->ptr.segment << 32 | zo->ptr.offset);
        break;
    case ZYDIS_OPERAND_TYPE_IMMEDIATE:
        op->type = zo->imm.is_relative ? OPERAND_RELATIVE : OPERAND_IMMEDIATE;
        op->value = zo->imm.value.s;
        break;
    default:
        op->type = OPERAND_OTHER;
    }
}

/*
 * No base, but 32 bits of displacement, whatever REX.B says: APM vol. 3, table 1-16. Zydis 4.0
 * makes it R13D without displacement when the address size is 32 and REX.B is set.
 */
static bool sib_without_base(const ZydisDecodedInstruction *zi)
{
    return (zi->attributes & ZYDIS_ATTRIB_HAS_SIB) && zi->raw.modrm.mod == 0 &&
           zi->raw.sib.base == 5;
}

static void fill_operands(struct insn *out, const ZydisDecodedInstruction *zi,
                          const ZydisDecodedOperand *zo)
{
    unsigned visible = zi->operand_count_visible;

    out->operands = (uint8_t)(visible < INSN_OPERANDS ? visible : INSN_OPERANDS);
    for (unsigned i = 0; i < INSN_OPERANDS; i++) {
        if (i < out->operands)
            fill_operand(&out->operand[i], &zo[i]);
        else
            out->operand[i] =
                (struct insn_operand){ .type = OPERAND_NONE, .base = REG_NONE, .index = REG_NONE };
        if (out->operand[i].type == OPERAND_MEMORY && sib_without_base(zi)) {
            out->operand[i].base = REG_NONE;
            out->operand[i].value = zi->raw.disp.value;
        }
    }
    if (out->kind == INSN_INVLPG)
        out->operand[0].bytes = 0;

    /* The operand through rSI, or rBX of XLAT, obeys a segment override and is not shown. */
    out->segment = SEG_DS;
    for (unsigned i = visible; i < zi->operand_count; i++) {
        uint8_t base;

        if (zo[i].type != ZYDIS_OPERAND_TYPE_MEMORY)
            continue;
        base = base_register(zo[i].mem.base);
        if (base == REG_RSI || base == REG_RBX)
            out->segment = segment_register(zo[i].mem.segment);
    }
}

static void fill(struct insn *out, enum insn_mode mode, const ZydisDecodedInstruction *zi,
                 const ZydisDecodedOperand *zo)
{
    *out = (struct insn){
        .kind = (uint8_t)kind_of(zi),
        .length = zi->length,
        .mode = (uint8_t)mode,
        .map = map_of(zi->opcode_map),
        .opcode = zi->opcode,
        .operand_bytes = zi->operand_width / 8,
        .address_bytes = zi->address_width / 8,
        .lock = (zi->attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0,
    };
    if (zi->attributes & ZYDIS_ATTRIB_HAS_MODRM)
        out->modrm = (uint8_t)(zi->raw.modrm.mod << 6 | zi->raw.modrm.reg << 3 | zi->raw.modrm.rm);
    for (unsigned i = 0; i < zi->raw.prefix_count; i++) {
        if (zi->raw.prefixes[i].value == INSN_REPE || zi->raw.prefixes[i].value == INSN_REPNE)
            out->rep = zi->raw.prefixes[i].value;
    }
    fill_operands(out, zi, zo);
    out->own_base = out->segment == SEG_FS || out->segment == SEG_GS;
    for (unsigned i = 0; i < out->operands; i++)
        out->own_base |= out->operand[i].type == OPERAND_MEMORY &&
                         (out->operand[i].segment == SEG_FS || out->operand[i].segment == SEG_GS);
}

enum insn_status insn_decode(struct insn *out, enum insn_mode mode, const uint8_t *bytes,
                             unsigned length)
{
    static const struct {
        ZydisMachineMode machine;
        ZydisStackWidth  stack;
    } modes[] = {
        [INSN_MODE_16] = { ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16 },
        [INSN_MODE_32] = { ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32 },
        [INSN_MODE_64] = { ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64 },
    };
    ZydisDecodedOperand     operands[ZYDIS_MAX_OPERAND_COUNT];
    ZydisDecodedInstruction zi;
    ZydisDecoder            decoder;
    ZyanStatus              status;

    if (length == 0)
        return INSN_MORE;
    if (ZYAN_FAILED(ZydisDecoderInit(&decoder, modes[mode].machine, modes[mode].stack)))
        return INSN_INVALID;
    /* In 64-bit mode a near branch obeys 66h on AMD's processors: APM vol. 3, CALL (Near). */
    if (ZYAN_FAILED(ZydisDecoderEnableMode(&decoder, ZYDIS_DECODER_MODE_AMD_BRANCHES, ZYAN_TRUE)))
        return INSN_INVALID;
    status = ZydisDecoderDecodeFull(
        &decoder, bytes, length < INSN_BYTES_MAX ? length : INSN_BYTES_MAX, &zi, operands);
    if (status == ZYDIS_STATUS_NO_MORE_DATA)
        return length < INSN_BYTES_MAX ? INSN_MORE : INSN_TOO_LONG;
    if (status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
        return INSN_TOO_LONG;
    if (ZYAN_FAILED(status))
        return INSN_INVALID;
    fill(out, mode, &zi, operands);
    return INSN_OK;
}

static uint64_t load8(const uint8_t *p)
{
    uint64_t v;

    __builtin_memcpy(&v, p, sizeof(v));
    return v;
}

/* Bytes 0 to 7 and 7 to 14; what is not given reads as zero. */
static void make_key(uint64_t key[2], const uint8_t *bytes, unsigned length)
{
    uint8_t padded[INSN_BYTES_MAX] = { 0 };

    if (length < INSN_BYTES_MAX) {
        for (unsigned i = 0; i < length; i++)
            padded[i] = bytes[i];
        bytes = padded;
    }
    key[0] = load8(bytes);
    key[1] = load8(bytes + 7);
}

/* What of a key the first `length` bytes are, 1 to 15. */
static void make_mask(uint64_t mask[2], unsigned length)
{
    mask[0] = length < 8 ? (UINT64_C(1) << 8 * length) - 1 : UINT64_MAX;
    mask[1] = length < 8 ? 0 : UINT64_MAX;
    if (length >= 8 && length < INSN_BYTES_MAX)
        mask[1] = (UINT64_C(1) << 8 * (length - 7)) - 1;
}

_Static_assert((INSN_CACHE_ENTRIES & (INSN_CACHE_ENTRIES - 1)) == 0, "a mask makes the index");

const struct insn *insn_lookup(struct insn_cache *cache, enum insn_mode mode, const uint8_t *bytes,
                               unsigned length, enum insn_status *status)
{
    struct insn_cache_entry *entry;
    uint64_t                 key[2];

    make_key(key, bytes, length);
    entry = insn_cache_slot(cache, key[0], key[1], mode);
    if (entry->insn.length != 0 && entry->insn.length <= length && entry->insn.mode == mode &&
        (((key[0] ^ entry->key[0]) & entry->mask[0]) |
         ((key[1] ^ entry->key[1]) & entry->mask[1])) == 0) {
        cache->hits++;
        *status = INSN_OK;
        return &entry->insn;
    }
    cache->misses++;
    /* Where this fails, the entry stays what it was. */
    *status = insn_decode(&entry->insn, mode, bytes, length);
    if (*status != INSN_OK)
        return NULL;
    entry->key[0] = key[0];
    entry->key[1] = key[1];
    make_mask(entry->mask, entry->insn.length);
    return &entry->insn;
}

const char *insn_kind_name(enum insn_kind kind)
{
#define K(kind) [INSN_##kind] = #kind
    static const char names[INSN_KINDS][14] = {
        K(OTHER),       K(MOV),       K(MOVZX),       K(MOVSX),     K(MOVBE),     K(LEA),
        K(XLAT),        K(XCHG),      K(XADD),        K(CMPXCHG),   K(CMPXCHG8B), K(CMPXCHG16B),
        K(ADD),         K(OR),        K(ADC),         K(SBB),       K(AND),       K(SUB),
        K(XOR),         K(CMP),       K(TEST),        K(INC),       K(DEC),       K(NEG),
        K(NOT),         K(ROL),       K(ROR),         K(RCL),       K(RCR),       K(SHL),
        K(SHR),         K(SAR),       K(SHLD),        K(SHRD),      K(BT),        K(BTS),
        K(BTR),         K(BTC),       K(SETCC),       K(CMOVCC),    K(MUL),       K(IMUL),
        K(DIV),         K(IDIV),      K(PUSH),        K(POP),       K(CALL),      K(JMP),
        K(RET),         K(LEAVE),     K(MOVS),        K(STOS),      K(LODS),      K(CMPS),
        K(SCAS),        K(MOVXMM),    K(MOVXMMA),     K(MOVSCALAR), K(MOVLOW),    K(MOVHIGH),
        K(CPUID),       K(RDMSR),     K(WRMSR),       K(HLT),       K(PAUSE),     K(RDTSC),
        K(RDTSCP),      K(RDPMC),     K(INVD),        K(WBINVD),    K(INVLPG),    K(INVLPGA),
        K(INVPCID),     K(XSETBV),    K(XGETBV),      K(MONITOR),   K(MWAIT),     K(MOV_TO_CR),
        K(MOV_FROM_CR), K(MOV_TO_DR), K(MOV_FROM_DR), K(CLTS),      K(LMSW),      K(SMSW),
        K(IN),          K(OUT),       K(INS),         K(OUTS),      K(LGDT),      K(LIDT),
        K(LLDT),        K(LTR),       K(SGDT),        K(SIDT),      K(SLDT),      K(STR),
        K(INT),         K(INT3),      K(INTO),        K(ICEBP),     K(IRET),      K(PUSHF),
        K(POPF),        K(CLI),       K(STI),         K(JMP_FAR),   K(CALL_FAR),  K(RET_FAR),
        K(RSM),         K(SYSCALL),   K(SYSRET),      K(SYSENTER),  K(SYSEXIT),   K(UD),
        K(VMRUN),       K(VMMCALL),   K(VMCALL),      K(VMLOAD),    K(VMSAVE),    K(STGI),
        K(CLGI),        K(SKINIT),
    };
#undef K

    return (unsigned)kind < INSN_KINDS ? names[kind] : "?";
}
