/*
 * The control registers a guest sees: which values it may write, as the processor it is
 * offered would check them. Pure: registers in, registers or #GP out.
 */
#ifndef X86_CONTROL_H
#define X86_CONTROL_H

#include "paging/paging.h"

/* What the guest's processor has, from its CPUID. */
struct control_policy {
    uint64_t cr4_valid, efer_valid;
    uint8_t  maxphys;
};

/*
 * Each takes the registers as they are and the value written, and gives the registers as
 * they become; false is #GP(0), and nothing has changed. `long_code`: CS.L is set.
 * APM vol. 2, 3.1 and 14.6.
 */
must_check bool control_write_cr0(struct paging_regs *regs, uint64_t value, bool long_code);
must_check bool control_write_cr3(const struct control_policy *policy, struct paging_regs *regs,
                                  uint64_t value);
must_check bool control_write_cr4(const struct control_policy *policy, struct paging_regs *regs,
                                  uint64_t value);
must_check bool control_write_efer(const struct control_policy *policy, struct paging_regs *regs,
                                   uint64_t value);

/* LMSW: the low four bits, and PE cannot be cleared by it; APM vol. 3, LMSW. */
uint64_t control_lmsw(uint64_t cr0, uint16_t value);

#endif
