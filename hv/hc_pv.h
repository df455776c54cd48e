/* What hypercalls of PV guests about the processor share with those who set a vCPU's registers for it. */
#ifndef HV_HC_PV_H
#define HV_HC_PV_H

#include "hv/hc.h"
#include "hv/pv.h"

#define HC_GDT_ENTRIES_MAX (PV_GDT_FRAMES * 512u)

/* The frames, as many as that many descriptors need, become the GDT. 0, HC_AGAIN, or -EINVAL. */
must_check int64_t hc_pv_set_gdt(struct pv_vcpu *pv, const mfn_t *wanted, unsigned entries);

/* Whether a guest may have this value in DR0 to DR3, DR6 or DR7: 0, or -EPERM. */
must_check int64_t hc_pv_debug_error(unsigned number, uint64_t value);

/* Bits of vm_assist that a guest of this kind may turn on. */
must_check uint32_t hc_vm_assists(const struct vcpu *v);

#define HC_RFLAGS_IF      UINT64_C(0x200)
#define HC_RFLAGS_ALWAYS  UINT64_C(2)
#define HC_RFLAGS_OF_USER UINT64_C(0x254dd5) /* what ring 3 may set: no IOPL, VM, VIF, VIP */

/* The vCPU's registers, and its mask of events, become what the frame of an iret hypercall says: RPL 3, IF set. */
static inline void hc_return(struct pv_vcpu *pv, const struct iret_context *c)
{
    struct pv_regs *r = &pv->regs;

    r->rip = c->rip;
    r->cs = (uint16_t)(c->cs | 3);
    r->rflags = (c->rflags & HC_RFLAGS_OF_USER) | HC_RFLAGS_IF | HC_RFLAGS_ALWAYS;
    r->rsp = c->rsp;
    r->ss = (uint16_t)(c->ss | 3);
    if ((c->flags & VGCF_in_syscall) == 0) {
        r->r11 = c->r11;
        r->rcx = c->rcx;
    } else { /* as SYSRET leaves them */
        r->r11 = r->rflags;
        r->rcx = r->rip;
    }
    __atomic_store_n(&pv->vcpu->info->evtchn_upcall_mask, (c->rflags & HC_RFLAGS_IF) == 0,
                     __ATOMIC_SEQ_CST);
    r->rax = c->rax; /* any value: it is no result */
}

#endif
