/*
 * The PV edge's own view; doc/pv.md says what the processor holds when. hv/pv.h has the struct
 * pv_vcpu that both sides share.
 */
#ifndef X86_PV_PV_H
#define X86_PV_PV_H

#include "hv/pv.h"
#include "x86/emulate.h"
#include "x86/step.h"

/* Vectors that are no exception: entry.S. */
enum {
    PV_VECTOR_SYSCALL = 256,
    PV_VECTOR_SYSCALL32 = 257,
    PV_VECTOR_REFUSED = 258,
    PV_VECTOR_SYSENTER = 259,
    PV_VECTOR_DONE = 260, /* no exit: pv_quick has carried it out */
    PV_VECTOR_LOST =
        261, /* a second #DB has overwritten where the first one came from: x86/entry.S */
};

/* ---- entry.S ---- */

/* Runs the guest in ring 3 until something ends its turn: pv->regs.vector says what. */
void pv_enter(struct pv_vcpu *pv);

/* ---- cpu.c: whose registers are in the processor ---- */

/* Once on each processor. */
void pv_cpu_init(void);
/* Makes v the vCPU that is loaded, or takes whichever it is out. */
void pv_cpu_load(struct pv_vcpu *pv);
void pv_cpu_unload(void);
/* Begins and ends the time in which its root is loaded. */
void pv_cpu_begin(struct pv_vcpu *pv);
void pv_cpu_end(void);
/* CR4.FSGSBASE: whether the guest has RDFSBASE and the like. Its policy says whether they are there. */
void pv_cpu_set_fsgsbase(struct pv_vcpu *pv, bool on);
/* The selectors that are in DS, ES, FS and GS now. */
void pv_cpu_selectors(uint16_t selector[PV_SELECTORS]);
void pv_cpu_clear_selectors(void);
/* The processor wants a descriptor of an LDT that is not mapped yet: maps it, if it is one. */
must_check bool pv_cpu_ldt_fault(uint64_t address);
/* A descriptor of the tables that are loaded; 0: there is none. */
must_check uint64_t pv_cpu_descriptor(uint16_t selector);
/* Between the processor and pv->fpu, while the vCPU is loaded. */
void pv_cpu_save_fpu(struct pv_vcpu *pv);
void pv_cpu_load_fpu(const struct pv_vcpu *pv);
/* If the address is in the LDT's window: which byte of the LDT it is. */
bool pv_cpu_ldt_offset(uint64_t address, uint64_t *offset);

/* ---- bounce.c: the guest's kernel is to run a handler of its own ---- */

void pv_bounce_exception(struct pv_vcpu *pv, uint8_t vector, uint64_t error);
void pv_bounce_interrupt(struct pv_vcpu *pv, uint8_t vector); /* INT n */
void pv_bounce_page_fault(struct pv_vcpu *pv, uint64_t address, uint64_t error);
void pv_bounce_syscall(struct pv_vcpu *pv, enum pv_callback which);
void pv_bounce_event(struct pv_vcpu *pv);
void pv_bounce_failsafe(struct pv_vcpu *pv);

/* ---- emulate.c: instructions that the ABI wants carried out ---- */

/*
 * What is usual, by its first two bytes, which the guest's kernel was refused, and no listener wants to be told of:
 * true if that is the whole instruction, and has been carried out. False: nothing has changed.
 */
must_check bool pv_carry_out_usual(struct pv_vcpu *pv, uint16_t opcode);
/* #GP in the guest. */
void pv_general_protection(struct pv_vcpu *pv);
/* #UD in the guest. */
void pv_undefined(struct pv_vcpu *pv);
/* A general register by the number that encodings use. */
uint64_t *pv_register(struct pv_regs *regs, unsigned number);
/* All sixteen of them, in the order of these numbers. */
void pv_registers_get(const struct pv_regs *regs, uint64_t gpr[16]);
void pv_registers_set(struct pv_regs *regs, const uint64_t gpr[16]);
/* An MSR as its kernel reads and writes it; false: there is none, or it may not be so. */
must_check bool pv_read_msr(struct pv_vcpu *pv, uint32_t msr, uint64_t *value);
must_check bool pv_write_msr(struct pv_vcpu *pv, uint32_t msr, uint64_t value);
/* The CPUID that the guest sees by the forced prefix. */
void pv_cpuid(struct pv_vcpu *pv);
/* Bytes at the guest's RIP: how many could be read, at most 15. */
unsigned pv_fetch(struct pv_vcpu *pv, uint8_t bytes[15]);

/* The instruction that these bytes begin with, in 64-bit code; NULL: none. Until the next call. */
const struct insn *pv_instruction(const uint8_t *bytes, unsigned length);

/* ---- tables.c: writes to leaf tables ---- */

/* The guest's write to `address` was refused: true if it was one update of a table, done or to be tried again. */
must_check bool pv_table_write(struct pv_vcpu *pv, uint64_t address);

/* Flat segments of ring 3; FS and GS with their bases. */
void pv_emulator_segments(struct pv_vcpu *pv, struct emu_segment segment[SEGMENTS]);

/* ---- step.c: one instruction, and nothing after it; of a domain that is shadowed ---- */

/* Something is to be done about it before the next entry. */
static inline bool pv_step_wanted(const struct pv_vcpu *pv)
{
    return pv->step.open | pv->step.due;
}
/* The last thing before such an entry: true, it can be made. False: something else was done instead. */
must_check bool pv_step_ready(struct pv_vcpu *pv);
/*
 * First thing after an entry that was armed: registers as they were without us. `dr6` is that of a
 * debug exception: what of it is the guest's own. False: nothing is.
 */
must_check bool pv_step_disarm(struct pv_vcpu *pv, uint64_t *dr6);
/* Frames are open for the next instruction: the verdict has said so. */
void pv_step_open(struct pv_vcpu *pv);
/* They are closed, whether it was executed or not. */
void pv_step_close(struct pv_vcpu *pv);
/* The same if it was, or something else has come of it. Nothing, unless one is stepped. */
void pv_step_over(struct pv_vcpu *pv);
/* The guest runs 64-bit code. */
must_check bool pv_step_is_64bit(const struct pv_vcpu *pv);
void            pv_vcpu_excuse(struct vcpu *v, bool without_writing);
void            pv_vcpu_single_step(struct vcpu *v, bool on);

/* Where RIP points. */
must_check gva_t pv_step_rip(const struct pv_vcpu *pv);

/* ---- event.c: what a listener is asked about, and what it injects ---- */

/* INT3 has been executed; a debug exception with this DR6. True: the listener is asked, and nothing is bounced. */
must_check bool pv_event_breakpoint(struct pv_vcpu *pv);
must_check bool pv_event_debug(struct pv_vcpu *pv, uint64_t dr6);
/*
 * The guest's kernel writes a control register or an MSR. False: it may not. True: it is written, or is not to be, or
 * (VM_EVENT_GATE_ASKED) the instruction is to be carried out again.
 */
must_check bool pv_event_write_control(struct pv_vcpu *pv, unsigned number, uint64_t value);
must_check bool pv_event_write_msr(struct pv_vcpu *pv, uint32_t msr, uint64_t value);
/* Bounces what was injected. */
void            pv_event_deliver(struct pv_vcpu *pv);
must_check bool pv_vcpu_inject(struct vcpu *v, const struct machine_event *event);

/* ---- muted.c ---- */

/* Carries out the instruction at RIP, without what it writes to memory. */
void pv_emulate_muted(struct pv_vcpu *pv);

/* ---- shadow.c: of a domain that is shadowed ---- */

/* The core has the root that the vCPU needs now; false: it must let others run and come again. */
must_check bool pv_shadow_ready(struct pv_vcpu *pv);
/* pv_enter, on a root of ours. */
void pv_shadow_enter(struct pv_vcpu *pv);
/* A page fault in the guest: true if it was ours. Else it is the guest's, with this error code. */
must_check bool pv_shadow_fault(struct pv_vcpu *pv, uint64_t address, uint64_t *error);
/*
 * Bytes at a linear address as the root in use has them, whatever rights their frames have: how many
 * could be read, at most 15.
 */
must_check unsigned pv_peek(struct pv_vcpu *pv, gva_t va, uint8_t bytes[INSN_BYTES_MAX]);
/* Copies what its kernel has at these addresses, none of them ours, to `to`; or, if NULL, there from `from`. */
must_check bool pv_shadow_copy(struct vcpu *v, void *to, const void *from, uint64_t va, size_t len);

/* ---- watch.c: what hv/machine.h says of each ---- */
void pv_vcpu_event_regs(const struct vcpu *v, struct vm_event_regs_x86 *regs);
void pv_vcpu_event_set_regs(struct vcpu *v, const struct vm_event_regs_x86 *regs);

/* ---- quick.c ---- */
/* How the guest goes on: entry.S. */
enum pv_way {
    PV_WAY_LOOP, /* pv_enter returns; the vector is PV_VECTOR_DONE if the exit has been carried out */
    PV_WAY_KEPT, /* at once, and RBX, RBP, R12 to R15 are what they were                            */
    PV_WAY_ALL, /* at once, with all registers from memory                                         */
};
/*
 * What entry.S asks at SYSCALL from 64-bit code, with all registers in memory but those that C keeps.
 * PV_WAY_ALL: they are to be put there, and then the next one is asked.
 */
enum pv_way pv_quick_system_call(struct pv_vcpu *pv);
/* Any hypercall. */
enum pv_way pv_quick_hypercall(struct pv_vcpu *pv);
/* At other exits. All registers are in memory. */
enum pv_way pv_quick(struct pv_vcpu *pv);

/* ---- vcpu.c ---- */
must_check bool pv_vcpu_start(struct vcpu *v, const struct machine_start *start);
void            pv_vcpu_stop(struct vcpu *v);
void            pv_vcpu_run(struct vcpu *v);
void            pv_vcpu_show(const struct vcpu *v);
bool            pv_vcpu_exit_stat(const struct vcpu *v, unsigned i, struct machine_exit_stat *stat);

#endif
