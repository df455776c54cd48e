/*
 * What a listener (hv/vm_event.h) sees of a PV vCPU, and does to it. CR3 is the root in use, by the
 * machine's numbers as the guest's are; the kernel is said to run in ring 3, as it does.
 */
#include "hv/vm_event.h"
#include "x86/cpu.h"
#include "x86/pv/pv.h"

#define FLAGS_SETTABLE 0x254dd5ul /* of ring 3: no IF, IOPL, VM, VIF, VIP */

void pv_vcpu_event_regs(const struct vcpu *v, struct vm_event_regs_x86 *r)
{
    const struct pv_vcpu *pv = v->pv;
    const struct pv_regs *p = &pv->regs;

    *r = (struct vm_event_regs_x86){
        .rax = p->rax,
        .rcx = p->rcx,
        .rdx = p->rdx,
        .rbx = p->rbx,
        .rsp = p->rsp,
        .rbp = p->rbp,
        .rsi = p->rsi,
        .rdi = p->rdi,
        .r8 = p->r8,
        .r9 = p->r9,
        .r10 = p->r10,
        .r11 = p->r11,
        .r12 = p->r12,
        .r13 = p->r13,
        .r14 = p->r14,
        .r15 = p->r15,
        .rflags = p->rflags,
        .rip = p->rip,
        .dr6 = pv->dr[6],
        .dr7 = pv->dr[7],
        .cr2 = pv->fault_address,
        .cr3 = v->paging.regs.cr3,
        .cs_sel = (uint16_t)p->cs,
        .ss_sel = (uint16_t)p->ss,
    };
}

void pv_vcpu_event_set_regs(struct vcpu *v, const struct vm_event_regs_x86 *r)
{
    struct pv_regs *p = &v->pv->regs;

    p->rax = r->rax, p->rcx = r->rcx, p->rdx = r->rdx, p->rbx = r->rbx;
    p->rsp = r->rsp, p->rbp = r->rbp, p->rsi = r->rsi, p->rdi = r->rdi;
    p->r8 = r->r8, p->r9 = r->r9, p->r10 = r->r10, p->r11 = r->r11;
    p->r12 = r->r12, p->r13 = r->r13, p->r14 = r->r14, p->r15 = r->r15;
    p->rflags = (p->rflags & ~FLAGS_SETTABLE) | (r->rflags & FLAGS_SETTABLE);
    if (!pv_address_ok(r->rip, 1) || r->rip == p->rip)
        return; /* nothing else is loaded: IRET must not fail in ring 0 */
    p->rip = r->rip;
    vm_event_written(v); /* what was told of is not carried out */
}
