/*
 * A vCPU's state in the ABI's records (xen/arch-x86/hvm/save.h), as far as no edge is needed for it. Pure. What a
 * record says is checked: false is a state that no processor of ours can have.
 */
#ifndef X86_CONTEXT_H
#define X86_CONTEXT_H

#include "hv/abi.h"
#include "x86/control.h"
#include "x86/lapic.h"

/*
 * The registers that decide how it is paged: what writing them one after another would lead to. EFER.LMA must be
 * what the others make it. APM vol. 2, 3.1 and 14.6; what VMRUN asks of CS beside them, 15.5.1. Bases are canonical.
 */
must_check bool context_regs(const struct control_policy *policy, const struct hvm_hw_cpu *cpu,
                             struct paging_regs *regs);

/* What stands for an event that is to be delivered: EVENTINJ's bits, APM vol. 2, 15.20. */
must_check bool context_event_ok(uint32_t event);

/* ---- the local APIC: APM vol. 2, chapter 16 ---- */

void context_lapic_save(const struct lapic *apic, struct hvm_hw_lapic *to);
/* Sets it anew, in the mode that is said. */
must_check bool context_lapic_load(struct lapic *apic, const struct hvm_hw_lapic *from);

/* Its page of registers, in the forms of the mode that it is in; `now` in nanoseconds. */
void context_lapic_save_regs(const struct lapic *apic, uint64_t now, struct hvm_hw_lapic_regs *to);
must_check bool context_lapic_load_regs(struct lapic *apic, uint64_t now,
                                        const struct hvm_hw_lapic_regs *from);

/* ---- memory types, of which a guest has PAT only: all its memory is write-back ---- */

void            context_mtrr_save(uint64_t pat, struct hvm_hw_mtrr *to);
must_check bool context_mtrr_ok(const struct hvm_hw_mtrr *from);

#endif
