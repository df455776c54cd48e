/* Checks of CR0, CR3, CR4 and EFER. APM vol. 2, 3.1.1 to 3.1.3, 3.1.7, 14.6.2. */
#include "x86/control.h"

#include "x86/hw/cpu.h"

#define CR0_DEFINED                                                                                \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD |     \
     CR0_PG)
#define LMSW_BITS (CR0_PE | CR0_MP | CR0_EM | CR0_TS)

bool control_write_cr0(struct paging_regs *regs, uint64_t value, bool long_code)
{
    bool was_paged = regs->cr0 & CR0_PG, paged = value & CR0_PG;

    if (value >> 32)
        return false;
    if (paged && !(value & CR0_PE))
        return false;
    if ((value & CR0_NW) && !(value & CR0_CD))
        return false;
    if (!was_paged && paged && (regs->efer & EFER_LME)) {
        if (!(regs->cr4 & CR4_PAE) || long_code)
            return false;
        regs->efer |= EFER_LMA;
    }
    if (was_paged && !paged && (regs->efer & EFER_LMA)) {
        if (long_code)
            return false; /* paging is left through compatibility mode only */
        regs->efer &= ~EFER_LMA;
    }
    regs->cr0 = (value & CR0_DEFINED) | CR0_ET;
    return true;
}

bool control_write_cr3(const struct control_policy *policy, struct paging_regs *regs,
                       uint64_t value)
{
    if (value >> policy->maxphys)
        return false;
    regs->cr3 = value;
    return true;
}

bool control_write_cr4(const struct control_policy *policy, struct paging_regs *regs,
                       uint64_t value)
{
    if (value & ~policy->cr4_valid)
        return false;
    /* The number of levels is fixed as long as long mode lasts. */
    if ((regs->efer & EFER_LMA) && (!(value & CR4_PAE) || ((value ^ regs->cr4) & CR4_LA57)))
        return false;
    regs->cr4 = value;
    return true;
}

bool control_write_efer(const struct control_policy *policy, struct paging_regs *regs,
                        uint64_t value)
{
    if (value & ~policy->efer_valid)
        return false;
    if ((regs->cr0 & CR0_PG) && ((value ^ regs->efer) & EFER_LME))
        return false;
    regs->efer = (value & ~EFER_LMA) | (regs->efer & EFER_LMA); /* LMA is the processor's */
    return true;
}

uint64_t control_lmsw(uint64_t cr0, uint16_t value)
{
    return (cr0 & ~(LMSW_BITS & ~CR0_PE)) | (value & LMSW_BITS);
}
