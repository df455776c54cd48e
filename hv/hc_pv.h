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

#endif
