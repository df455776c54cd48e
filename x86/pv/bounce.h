/* What a bounce leaves on the guest's stack and in its registers; bounce.c says how it gets there. */
#ifndef X86_PV_BOUNCE_H
#define X86_PV_BOUNCE_H

#include "x86/cpu.h"
#include "x86/layout.h"
#include "x86/pv/pv.h"

#define BOUNCE_WORDS     7u /* RCX, R11, RIP, CS, RFLAGS, RSP, SS */
#define BOUNCE_CLEARED   (RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM | RFLAGS_AC)
#define BOUNCE_PFEC_USER UINT64_C(4)
#define BOUNCE_SHIFT     32 /* of the slot of CS: the mask of events before the bounce */

static inline uint8_t bounce_mask(const struct pv_vcpu *pv)
{
    return __atomic_load_n(&pv->vcpu->info->evtchn_upcall_mask, __ATOMIC_RELAXED) != 0;
}

/* Where the frame ends. */
static inline uint64_t bounce_stack(const struct pv_vcpu *pv, bool kernel)
{
    return (kernel ? pv->regs.rsp : pv->kernel_sp) & ~UINT64_C(15);
}

static inline uint64_t bounce_cs(uint64_t cs, bool kernel, uint8_t mask)
{
    return (cs & (kernel ? 0xfffcu : 0xffffu)) | (uint64_t)mask << BOUNCE_SHIFT;
}

static inline uint64_t bounce_rflags(uint64_t rflags, uint8_t mask)
{
    return (rflags & ~RFLAGS_IF) | (mask ? 0 : RFLAGS_IF);
}

/* Of a page fault: what the processor calls a user is the guest's kernel, too. */
static inline uint64_t bounce_fault_error(const struct pv_vcpu *pv, uint64_t error)
{
    return pv->kernel ? error & ~BOUNCE_PFEC_USER : error | BOUNCE_PFEC_USER;
}

/* The registers with which the handler begins, its frame being at rsp. */
static inline __attribute__((always_inline)) void bounce_enter(struct pv_vcpu       *pv,
                                                               const struct pv_trap *trap,
                                                               uint64_t              rsp)
{
    struct pv_regs *r = &pv->regs;

    if (trap->masks)
        __atomic_store_n(&pv->vcpu->info->evtchn_upcall_mask, 1, __ATOMIC_RELAXED);
    r->rip = trap->address;
    r->cs = SELECTOR_USER_CS64;
    r->rflags = (r->rflags & ~BOUNCE_CLEARED) | RFLAGS_IF;
    r->rsp = rsp;
    r->ss = SELECTOR_USER_SS;
}

#endif
