/*
 * Execution of one decoded instruction for a guest.
 *
 * emulate() changes the registers in struct emu_cpu and reaches memory by callbacks. A step is
 * all or nothing: a step makes at most one write to memory, and registers change only after it
 * succeeded. An iteration of a repeated string instruction is such a step. No privileged
 * instruction is executed here, and none is carried out for the guest.
 *
 * Manuals: APM vol. 3 (the instructions), vol. 2, 4.7 to 4.12 (segment checks), 5.3.1 (canonical
 * addresses), 8.2 (exceptions), 13.1.4 (single step), vol. 1, 3.1.4 (flags).
 */
#ifndef X86_EMULATE_H
#define X86_EMULATE_H

#include "x86/decode.h"

/* A segment register as the VMCB has it (APM vol. 2, table B-2), so that its own can be used. */
struct emu_segment {
    uint16_t selector;
    uint16_t attributes; /* type 3:0, S 4, DPL 6:5, P 7, AVL 8, L 9, D/B 10, G 11 */
    uint32_t limit;      /* in bytes */
    uint64_t base;
};

enum emu_access {
    EMU_READ,
    EMU_WRITE,
    EMU_MODIFY, /* a read that a write to the same place follows: faults as a write does */
    EMU_NONE,   /* no access is made: INVLPG, LEA; no check is made either */
};

/* What a callback says. */
enum emu_status {
    EMU_OK,
    EMU_FAULT,  /* the guest's own page fault; the callback keeps the details */
    EMU_DEVICE, /* not memory, and the callback does not carry it out itself */
    EMU_RETRY,  /* run the guest's instruction again: nothing is wrong */
};

/*
 * The guest's memory by linear address, at the guest's CPL, explicit accesses. `length` is 1 to
 * 16 and may cross a page: a write must check both pages before it changes either. A write or
 * exchange within an aligned 8 bytes should be one store.
 */
struct emu_memory {
    void *context;
    enum emu_status (*read)(void *context, uint64_t linear, void *to, unsigned length,
                            enum emu_access access); /* EMU_READ or EMU_MODIFY */
    enum emu_status (*write)(void *context, uint64_t linear, const void *from, unsigned length);
    /*
     * Atomic: if memory equals `old`, writes `desired`; else puts what is there into `old` and
     * sets *done to false.
     */
    enum emu_status (*cmpxchg)(void *context, uint64_t linear, void *old, const void *desired,
                               unsigned length, bool *done);
};

/* The same memory, in which nothing is ever changed: stores and exchanges succeed, as far as the instruction sees. */
struct emu_memory emu_muted(struct emu_memory *memory);

struct emu_cpu {
    uint64_t                  gpr[16]; /* RAX RCX RDX RBX RSP RBP RSI RDI R8 to R15 */
    uint64_t                  rip, rflags;
    uint64_t                  cr0, cr4, efer;
    uint8_t                   cpl;
    const struct emu_segment *segment; /* six of them: SEG_*; in the VMCB they lie in a row */

    /* Guest SSE registers, 16 bytes each; called for SSE instructions only. */
    void *xmm_context;
    void (*read_xmm)(void *context, unsigned index, void *to);
    void (*write_xmm)(void *context, unsigned index, const void *from);
};

enum emu_outcome {
    EMU_DONE,      /* retired: RIP points to the next instruction; end the interrupt shadow */
    EMU_PARTIAL,   /* a repeated one made progress and has more to do; RIP stays */
    EMU_EXCEPTION, /* inject vector, error_code if has_error */
    EMU_MEMORY,    /* a callback said `status`; nothing of this step has happened */
    EMU_UNKNOWN,   /* not emulated here: nothing has happened */
};

struct emu_result {
    enum emu_outcome outcome;
    enum emu_status  status;    /* EMU_MEMORY */
    uint8_t          vector;    /* EMU_EXCEPTION */
    bool             has_error; /* EMU_EXCEPTION */
    uint32_t         error_code;
    bool             single_step; /* DONE, PARTIAL: TF was set: set DR6.BS and inject #DB */
};

/*
 * Executes `insn`, which was decoded in emu_cpu_mode(cpu); at most `budget` iterations (0 counts
 * as 1) of a repeated one. The iterations already made stay made whatever the outcome.
 */
struct emu_result emulate(const struct insn *insn, struct emu_cpu *cpu,
                          const struct emu_memory *memory, unsigned budget);

/* The mode to decode in: APM vol. 2, 4.8.1. */
enum insn_mode emu_cpu_mode(const struct emu_cpu *cpu);

/* A linear address, or the exception (always with error code 0) that forming it raises. */
struct emu_address {
    bool     ok;
    uint8_t  vector;
    uint64_t linear;
};

/* Base plus offset with the checks of limit, type, and canonical form for `bytes` bytes. */
struct emu_address emu_linear(const struct emu_cpu *cpu, unsigned segment, uint64_t offset,
                              unsigned bytes, enum emu_access access);

/* The offset of a memory operand within its segment, truncated to the address size. */
uint64_t insn_offset(const struct insn *insn, const struct emu_cpu *cpu, unsigned operand);

/* Both together for the insn's operand, which is of type OPERAND_MEMORY. */
struct emu_address insn_address(const struct insn *insn, const struct emu_cpu *cpu,
                                unsigned operand, enum emu_access access);

/* A general register's low 1, 2, 4 or 8 bytes; a write of 4 clears the upper half. */
uint64_t emu_get_register(const struct emu_cpu *cpu, unsigned number, unsigned bytes);
void     emu_set_register(struct emu_cpu *cpu, unsigned number, unsigned bytes, uint64_t value);

/* RIP moves past the instruction, RF ends: for instructions that the caller carried out. */
void emu_retire(const struct insn *insn, struct emu_cpu *cpu);

#endif
