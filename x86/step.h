/*
 * What both edges need to know of one instruction that is executed under a TF of ours: what it does
 * with that flag. Its bytes are seen without a change of the guest's tables.
 */
#ifndef X86_STEP_H
#define X86_STEP_H

#include "hv/domain.h"

#define DR6_BREAKPOINTS 0xful /* APM vol. 2, 13.1.1.4 */
#define DR6_BD          (1ul << 13)
#define DR6_BS          (1ul << 14)
#define DR6_BT          (1ul << 15)
#define DR6_CAUSES      (DR6_BREAKPOINTS | DR6_BD | DR6_BS | DR6_BT)

enum step_class {
    STEP_PLAIN,
    STEP_PUSHF,
    STEP_LOADS_FLAGS,
    STEP_SYSCALL,
    STEP_SYSRET,
    STEP_MOV_DR,
    STEP_HOLDS, /* the trap back for one instruction more: MOV SS, POP SS */
};

/* What stands in these bytes. */
must_check enum step_class step_class_of(const uint8_t *bytes, unsigned count, bool is_64bit);

/* How many of these bytes are prefixes. */
must_check unsigned step_prefixes(const uint8_t *bytes, unsigned count, bool is_64bit);

/*
 * As many of `want` bytes at a linear address as are in memory of the guest: by its tables as they
 * are, whatever rights its frames have. The processor must be about to translate it by them.
 */
must_check unsigned step_peek(struct vcpu *v, gva_t va, uint8_t *to, unsigned want);

/*
 * The causes that a debug exception's DR6 names: an address may be said to have matched although
 * its breakpoint is off (APM vol. 2, 13.1.1.4).
 */
must_check uint64_t step_causes(uint64_t dr6, uint64_t dr7);

#endif
