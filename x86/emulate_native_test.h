/* What the differential test of the emulator shares with its generator of instructions. */
#ifndef X86_EMULATE_NATIVE_TEST_H
#define X86_EMULATE_NATIVE_TEST_H

#include <stdbool.h>
#include <stdint.h>

#define NATIVE_STATE  0x20000000ul
#define SANDBOX       0x21000000ul
#define SANDBOX_BYTES 8192ul
#define CODE          0x22000000ul
#define CODE_BYTES    4096ul
#define UNMAPPED      0x23000000ul /* nothing is there */
#define BRANCH_TARGET (CODE + 0x800)
#define GS_BASE       (SANDBOX - 0x12345)

#define NO_EXCEPTION (-1)

enum { EXIT_NEXT = 1, EXIT_BRANCH = 2 };

/* Registers before and after, where assembly reaches them by absolute address. */
struct native {
    uint64_t gpr[16];
    uint64_t rflags;   /* 0x80 */
    uint64_t exit_id;  /* 0x88 */
    uint64_t host_rsp; /* 0x90 */
    uint64_t entry;    /* 0x98 */
    uint64_t leave;    /* 0xa0 */
    uint64_t rip;
    int64_t  vector;
    uint64_t unused[9];
    uint8_t  xmm[16][16]; /* 0x100 */
};

struct generated {
    uint8_t  bytes[32]; /* INSN_BYTES_MAX may be read, whatever the length */
    unsigned length;
};

/* Maps memory at the addresses above and catches signals; false when the system refuses. */
bool native_prepare(void);

/*
 * Executes it on this processor. Registers are taken from and put into the state at
 * NATIVE_STATE; vector is the exception's, or NO_EXCEPTION.
 */
void native_execute(const struct generated *g);

/*
 * Makes an instruction, registers and memory for it: most of the memory operands lie in the
 * sandbox, most branches lead to BRANCH_TARGET.
 */
void generate(struct generated *g, struct native *state, uint8_t *sandbox);

void     random_start(uint64_t seed);
uint64_t random_below(uint64_t limit);

#endif
