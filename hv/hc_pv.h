/* What hypercalls of PV guests about the processor share with those who set a vCPU's registers for it. */
#ifndef HV_HC_PV_H
#define HV_HC_PV_H

#include "hv/hc.h"
#include "hv/pv.h"

#define HC_GDT_ENTRIES_MAX (PV_GDT_FRAMES * 512u)

/* The frames, as many as that many descriptors need, become the GDT. 0, HC_AGAIN, or -EINVAL. */
must_check int64_t hc_pv_set_gdt(struct pv_vcpu *pv, const mfn_t *wanted, unsigned entries);

/* Where bounces from programs begin: any address. */
static inline void hc_pv_stack_switch(struct pv_vcpu *pv, uint64_t address)
{
    pv->kernel_sp = address;
}

/* Whether a guest may have this value in DR0 to DR3, DR6 or DR7: 0, or -EPERM. */
must_check int64_t hc_pv_debug_error(unsigned number, uint64_t value);

/*
 * One mmu_update of a PV vCPU's, for its own tables and frames: 0, HC_AGAIN or an error. The address has its command
 * in the low bits, as in struct mmu_update.
 */
must_check int64_t hc_mmu_update_own(struct vcpu *v, const struct direct_store *u);

/* If this command of mmuext_op flushes TLBs, all or an address, that is done. */
must_check bool hc_pv_flush(uint32_t cmd, uint64_t address);

/* Bits of vm_assist that a guest of this kind may turn on. */
must_check uint32_t hc_vm_assists(const struct vcpu *v);

#define HC_RFLAGS_IF      UINT64_C(0x200)
#define HC_RFLAGS_ALWAYS  UINT64_C(2)
#define HC_RFLAGS_OF_USER UINT64_C(0x254dd5) /* what ring 3 may set: no IOPL, VM, VIF, VIP */

/* What is loaded where the frame of an iret hypercall has this: RPL 3, IF set. */
static inline uint64_t hc_selector(uint64_t word)
{
    return (uint16_t)(word | 3);
}

static inline uint64_t hc_rflags(uint64_t word)
{
    return (word & HC_RFLAGS_OF_USER) | HC_RFLAGS_IF | HC_RFLAGS_ALWAYS;
}

/* The mask of events, from the same word of RFLAGS. */
static inline void hc_return_mask(const struct pv_vcpu *pv, uint64_t rflags)
{
    __atomic_store_n(&pv->vcpu->info->evtchn_upcall_mask, (rflags & HC_RFLAGS_IF) == 0,
                     __ATOMIC_SEQ_CST);
}

#endif
