/*
 * The usual bounce and the usual return from one, for x86/pv/vcpu.c: the guest's frame is written or
 * read word by word through the tables in CR3. What is not as usual, a frame that is not there among
 * it, is left as it was, for bounce.c and hc_iret. doc/pv.md, "The short way".
 */
#ifndef X86_PV_QUICK_H
#define X86_PV_QUICK_H

#include "hv/hc_pv.h"
#include "x86/cpu.h"
#include "x86/pv/bounce.h"
#include "x86/traps.h"

/* Stores a word at a guest's address; goes to the label `fault` if it cannot. */
#define QUICK_STORE(at, word)                                                                      \
    __asm__ goto("1: movq %0, %1\n\t" EX_TABLE("1b", "%l[fault]")::"r"(word), "m"(*(at))           \
                 : "memory"                                                                        \
                 : fault)

static inline void quick_load_root(const struct pv_vcpu *pv, bool kernel)
{
    write_cr3(pv->direct.root[!kernel].raw << PAGE_SHIFT);
}

/* The base of GS, and who runs; the root has been loaded. */
static inline void quick_to_kernel(struct pv_vcpu *pv)
{
    pv->gs_user = rdmsr(MSR_GS_BASE);
    wrmsr(MSR_GS_BASE, pv->gs_kernel);
    pv->kernel = true;
}

static inline void quick_to_program(struct pv_vcpu *pv)
{
    pv->gs_kernel = rdmsr(MSR_GS_BASE);
    wrmsr(MSR_GS_BASE, pv->gs_user);
    pv->kernel = false;
}

/*
 * To a handler, from the guest's kernel or from one of its programs, with or without events masked. `error`: the word beside RIP, or NULL. False: nothing has
 * changed, but words below the kernel's stack pointer.
 */
static inline __attribute__((always_inline)) bool quick_bounce(struct pv_vcpu       *pv,
                                                               const struct pv_trap *trap,
                                                               bool kernel, uint8_t mask,
                                                               const uint64_t *error)
{
    const struct pv_regs *r = &pv->regs;
    uint64_t rsp = bounce_stack(pv, kernel) - (BOUNCE_WORDS + (error ? 1u : 0u)) * sizeof(uint64_t);
    uint64_t *frame = (uint64_t *)rsp; /* NOLINT: the guest's address */

    /* The handler was checked when it was set. */
    if (trap->address == 0 || !pv_address_ok(rsp, (BOUNCE_WORDS + 1) * sizeof(uint64_t)))
        return false;
    if (!kernel)
        quick_load_root(pv, true);
    QUICK_STORE(frame++, r->rcx);
    QUICK_STORE(frame++, r->r11);
    if (error != NULL)
        QUICK_STORE(frame++, *error);
    QUICK_STORE(frame++, r->rip);
    QUICK_STORE(frame++, bounce_cs(r->cs, kernel, mask));
    QUICK_STORE(frame++, bounce_rflags(r->rflags, mask));
    QUICK_STORE(frame++, r->rsp);
    QUICK_STORE(frame, r->ss);
    if (!kernel)
        quick_to_kernel(pv);
    bounce_enter(pv, trap, rsp);
    return true;
fault:
    if (!kernel)
        quick_load_root(pv, false);
    return false;
}

/* Reads the guest's frame; false if it is not all there. */
static inline bool quick_frame(uint64_t va, struct iret_context *c)
{
    uint64_t rax, r11, rcx, flags, rip, cs, rflags, rsp, ss;
    uint32_t ok = 0;

#define WORD(n, name) #n ": movq 8*" #n "-8(%[va]), %[" name "]\n\t" EX_TABLE(#n "b", "10f")
    __asm__ volatile(
        WORD(1, "rax") WORD(2, "r11") WORD(3, "rcx") WORD(4, "flags") WORD(5, "rip") WORD(6, "cs")
            WORD(7, "rflags") WORD(8, "rsp") WORD(9, "ss") "movl $1, %[ok]\n\t"
                                                           "10:"
        : [ok] "+r"(ok), [rax] "=&r"(rax), [r11] "=&r"(r11), [rcx] "=&r"(rcx), [flags] "=&r"(flags),
          [rip] "=&r"(rip), [cs] "=&r"(cs), [rflags] "=&r"(rflags), [rsp] "=&r"(rsp), [ss] "=&r"(ss)
        : [va] "r"(va));
#undef WORD
    *c = (struct iret_context){ rax, r11, rcx, flags, rip, cs, rflags, rsp, ss };
    return ok;
}

/* The iret hypercall of the guest's kernel; false: nothing has changed. */
static inline bool quick_return(struct pv_vcpu *pv)
{
    struct iret_context c;

    if (!pv_address_ok(pv->regs.rsp, sizeof(c)) || !quick_frame(pv->regs.rsp, &c))
        return false;
    if ((c.cs & 3) == 3) {
        if (!mfn_valid(pv->direct.root[1]))
            return false;
        quick_load_root(pv, false);
        quick_to_program(pv);
    }
    hc_return(pv, &c);
    return true;
}

#endif
