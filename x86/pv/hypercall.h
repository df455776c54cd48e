/* A hypercall as the registers of a PV vCPU say it, for the loop and for the short way. */
#ifndef X86_PV_HYPERCALL_H
#define X86_PV_HYPERCALL_H

#include "hv/hc.h"
#include "x86/pv/pv.h"

#define SYSCALL_LENGTH 2

static inline struct hypercall pv_hypercall_begin(const struct pv_vcpu *pv)
{
    const struct pv_regs *r = &pv->regs;

    return (struct hypercall){ .nr = (uint32_t)r->rax,
                               .arg = { r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9 } };
}

/* It is done, or HC_AGAIN: then it is to be made again, and its arguments say what is left. */
static inline void pv_hypercall_end(struct pv_vcpu *pv, const struct hypercall *h, int64_t result)
{
    struct pv_regs *r = &pv->regs;

    if (__builtin_expect(result != HC_AGAIN, 1)) {
        if (h->nr != __HYPERVISOR_iret) /* which has loaded all registers */
            r->rax = (uint64_t)result;
        return;
    }
    pv->step.due = false;
    r->rip -= SYSCALL_LENGTH;
    r->rdi = h->arg[0];
    r->rsi = h->arg[1];
    r->rdx = h->arg[2];
    r->r10 = h->arg[3];
    r->r8 = h->arg[4];
    r->r9 = h->arg[5];
}

#endif
