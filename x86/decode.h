/*
 * Instructions decoded into a compact form of our own, made from Zydis, and a cache of them.
 *
 * The cache is keyed by the mode and by the bytes themselves: the caller fetches the bytes anew
 * each time, so that a stale entry cannot exist and nothing ever has to be invalidated.
 *
 * The decoder says what the bytes are, not whether the guest may run them: the caller checks
 * that the kind is one which causes the exit at hand, and CPL and operands as the processor does.
 * Pure functions, no state but the cache passed in; freestanding and hosted.
 */
#ifndef X86_DECODE_H
#define X86_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INSN_BYTES_MAX 15
#define INSN_OPERANDS  3

/* The default operand and address size of the code segment: APM vol. 1, 2.1 and 2.2.4. */
enum insn_mode { INSN_MODE_16, INSN_MODE_32, INSN_MODE_64 };

enum insn_status {
    INSN_OK,
    INSN_MORE,     /* the instruction goes on beyond the bytes given; never with 15 bytes */
    INSN_INVALID,  /* #UD on a processor */
    INSN_TOO_LONG, /* more than 15 bytes: #GP(0) */
};

enum insn_kind {
    INSN_OTHER, /* valid, but nothing that this hypervisor cares about */

    /* emulate() carries these out, unless an operand is of a type it does not know */
    INSN_MOV,
    INSN_MOVZX,
    INSN_MOVSX,
    INSN_MOVBE,
    INSN_LEA,
    INSN_XLAT,
    INSN_XCHG,
    INSN_XADD,
    INSN_CMPXCHG,
    INSN_CMPXCHG8B,
    INSN_CMPXCHG16B,
    INSN_ADD,
    INSN_OR,
    INSN_ADC,
    INSN_SBB,
    INSN_AND,
    INSN_SUB,
    INSN_XOR,
    INSN_CMP,
    INSN_TEST,
    INSN_INC,
    INSN_DEC,
    INSN_NEG,
    INSN_NOT,
    INSN_ROL,
    INSN_ROR,
    INSN_RCL,
    INSN_RCR,
    INSN_SHL,
    INSN_SHR,
    INSN_SAR,
    INSN_SHLD,
    INSN_SHRD,
    INSN_BT,
    INSN_BTS,
    INSN_BTR,
    INSN_BTC,
    INSN_SETCC,
    INSN_CMOVCC,
    INSN_MUL,
    INSN_IMUL,
    INSN_DIV,
    INSN_IDIV,
    INSN_PUSH,
    INSN_POP,
    INSN_CALL,
    INSN_JMP,
    INSN_RET,
    INSN_LEAVE,
    INSN_MOVS,
    INSN_STOS,
    INSN_LODS,
    INSN_CMPS,
    INSN_SCAS,
    INSN_MOVXMM,    /* unaligned 16 bytes: MOVUPS MOVUPD MOVDQU LDDQU      */
    INSN_MOVXMMA,   /* aligned: MOVAPS MOVAPD MOVDQA MOVNTPS MOVNTPD MOVNTDQ MOVNTDQA */
    INSN_MOVSCALAR, /* low 4 or 8 bytes, load clears the rest: MOVD MOVQ MOVSS MOVSD  */
    INSN_MOVLOW,    /* low half, other half kept: MOVLPS MOVLPD            */
    INSN_MOVHIGH,   /* high half: MOVHPS MOVHPD                            */

    /* those that cause exits of their own; emulate() says EMU_UNKNOWN */
    INSN_CPUID,
    INSN_RDMSR,
    INSN_WRMSR,
    INSN_HLT,
    INSN_PAUSE,
    INSN_RDTSC,
    INSN_RDTSCP,
    INSN_RDPMC,
    INSN_INVD,
    INSN_WBINVD,
    INSN_INVLPG,
    INSN_INVLPGA,
    INSN_INVPCID,
    INSN_XSETBV,
    INSN_XGETBV,
    INSN_MONITOR,
    INSN_MWAIT,
    INSN_MOV_TO_CR,
    INSN_MOV_FROM_CR,
    INSN_MOV_TO_DR,
    INSN_MOV_FROM_DR,
    INSN_CLTS,
    INSN_LMSW,
    INSN_SMSW,
    INSN_IN,
    INSN_OUT,
    INSN_INS,
    INSN_OUTS,
    INSN_LGDT,
    INSN_LIDT,
    INSN_LLDT,
    INSN_LTR,
    INSN_SGDT,
    INSN_SIDT,
    INSN_SLDT,
    INSN_STR,
    INSN_INT,
    INSN_INT3,
    INSN_INTO,
    INSN_ICEBP,
    INSN_IRET,
    INSN_PUSHF,
    INSN_POPF,
    INSN_CLI,
    INSN_STI,
    INSN_JMP_FAR,
    INSN_CALL_FAR,
    INSN_RET_FAR,
    INSN_RSM,
    INSN_SYSCALL,
    INSN_SYSRET,
    INSN_SYSENTER,
    INSN_SYSEXIT,
    INSN_UD,
    INSN_VMRUN,
    INSN_VMMCALL,
    INSN_VMCALL,
    INSN_VMLOAD,
    INSN_VMSAVE,
    INSN_STGI,
    INSN_CLGI,
    INSN_SKINIT,
    INSN_KINDS,
};

/* Registers by the numbers that the encoding uses. */
enum {
    REG_RAX,
    REG_RCX,
    REG_RDX,
    REG_RBX,
    REG_RSP,
    REG_RBP,
    REG_RSI,
    REG_RDI,
    REG_RIP = 16, /* as a base only */
    REG_NONE = 255,
};
enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEGMENTS };

enum insn_operand_type {
    OPERAND_NONE,
    OPERAND_REGISTER,  /* number: general register; its low bytes          */
    OPERAND_HIGH_BYTE, /* number 0 to 3: AH CH DH BH                       */
    OPERAND_SEGMENT,   /* number: SEG_*                                    */
    OPERAND_CONTROL,   /* number: CR                                       */
    OPERAND_DEBUG,     /* number: DR                                       */
    OPERAND_XMM,       /* number: XMM0 to XMM15                            */
    OPERAND_MEMORY,    /* segment, base, index, scale, value: displacement */
    OPERAND_IMMEDIATE, /* value, sign-extended where the instruction does  */
    OPERAND_RELATIVE,  /* value: counted from the next instruction         */
    OPERAND_FAR,       /* value: selector << 32 | offset                   */
    OPERAND_OTHER,     /* MMX, x87, YMM and the like                       */
};

struct insn_operand {
    uint8_t type;
    uint8_t bytes;   /* width; 0 for LEA, INVLPG and the like */
    uint8_t number;  /* register number */
    uint8_t segment; /* of memory: override or default; of a jump through memory too */
    uint8_t base;    /* register, REG_RIP or REG_NONE */
    uint8_t index;   /* register or REG_NONE */
    uint8_t scale;   /* 1, 2, 4, 8 */
    uint8_t unused;
    int64_t value;
};

enum { INSN_MAP_ONE, INSN_MAP_0F, INSN_MAP_0F38, INSN_MAP_0F3A, INSN_MAP_OTHER };

/* Which of the repeat prefixes came last; looked at by string instructions only. */
enum { INSN_REP_NONE, INSN_REPE = 0xf3, INSN_REPNE = 0xf2 };

struct insn {
    uint8_t kind; /* enum insn_kind */
    uint8_t length;
    uint8_t mode;          /* enum insn_mode */
    uint8_t map;           /* INSN_MAP_* */
    uint8_t opcode;        /* last byte of the opcode */
    uint8_t modrm;         /* 0 without one */
    uint8_t operand_bytes; /* 1, 2, 4, 8; of a string instruction or I/O: of one element */
    uint8_t address_bytes; /* 2, 4, 8 */
    uint8_t rep;           /* INSN_REP_* */
    bool    lock;
    uint8_t segment;  /* of the rSI operand of a string instruction, OUTS and XLAT */
    bool    own_base; /* an operand lies in FS or GS, whose base counts in 64-bit mode too */
    uint8_t operands;
    /* The explicit ones, and those that the mnemonic shows: AL in `in al, dx`. */
    struct insn_operand operand[INSN_OPERANDS];
};

/* Decodes the instruction at `bytes`, reading at most `length` of them. */
enum insn_status insn_decode(struct insn *out, enum insn_mode mode, const uint8_t *bytes,
                             unsigned length);

#define INSN_CACHE_ENTRIES 512 /* a power of two */

struct insn_cache_entry {
    uint64_t    key[2];  /* bytes 0 to 7 and 7 to 14 */
    uint64_t    mask[2]; /* those of them that are the instruction's */
    struct insn insn;    /* length 0: empty */
};

/* All zero to begin with. One per CPU or per vCPU: there is no lock. */
struct insn_cache {
    struct insn_cache_entry entry[INSN_CACHE_ENTRIES];
    uint64_t                hits, misses;
};

/* Where these bytes belong. The multiplier, 2^64 over the golden ratio, scatters neighbours. */
static inline struct insn_cache_entry *insn_cache_slot(struct insn_cache *cache, uint64_t low,
                                                       uint64_t high, enum insn_mode mode)
{
    uint64_t hash =
        (low ^ (high << 17 | high >> 47) ^ (uint64_t)mode) * UINT64_C(0x9e3779b97f4a7c15);

    return &cache->entry[hash >> 32 & (INSN_CACHE_ENTRIES - 1)];
}

/* The instruction if the cache has it: the quick half of insn_lookup for 15 bytes. */
static inline const struct insn *insn_cached(struct insn_cache *cache, enum insn_mode mode,
                                             const uint8_t bytes[INSN_BYTES_MAX])
{
    const struct insn_cache_entry *entry;
    uint64_t                       low, high;

    __builtin_memcpy(&low, bytes, sizeof(low));
    __builtin_memcpy(&high, bytes + 7, sizeof(high));
    entry = insn_cache_slot(cache, low, high, mode);
    if (entry->insn.length == 0 || entry->insn.mode != mode ||
        (((low ^ entry->key[0]) & entry->mask[0]) | ((high ^ entry->key[1]) & entry->mask[1])) != 0)
        return NULL;
    cache->hits++;
    return &entry->insn;
}

/*
 * The same through the cache: NULL unless *status is INSN_OK. What is returned stays valid until
 * the next lookup in that cache. Give 15 bytes where they can be had: that is the fast path.
 */
const struct insn *insn_lookup(struct insn_cache *cache, enum insn_mode mode, const uint8_t *bytes,
                               unsigned length, enum insn_status *status);

/* The kind in words, for messages and traces. */
const char *insn_kind_name(enum insn_kind kind);

#endif
