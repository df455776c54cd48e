/*
 * The SVM edge's own view: one machine_vcpu per vCPU, one svm_cpu per processor.
 *
 * Rules of the edge, each kept in one place:
 * - General registers are in cpu.gpr from exit to entry, RAX and RSP too (vcpu.c copies
 *   them); RIP, RFLAGS and the rest are in the VMCB.
 * - The guest's CR0, CR3, CR4 and EFER are v->paging.regs; the VMCB has the real ones, made
 *   from them in regs.c.
 * - An instruction counts as executed when insn_retire has been called, else it runs again.
 * - EVENTINJ is rebuilt at every exit: first what was interrupted, then what is new.
 * - FS, GS, TR, LDTR, KernelGSBase, STAR and SYSENTER stay in the processor while the vCPU is
 *   the one loaded; memory of the VMCB has them only after svm_cpu_unload.
 */
#ifndef X86_SVM_SVM_H
#define X86_SVM_SVM_H

#include "hv/domain.h"
#include "x86/cpuid.h"
#include "x86/emulate.h"
#include "x86/hw/svm.h"
#include "x86/msr.h"

#define SVM_CPUS_MAX 8

/* What a root of a vCPU was last installed with, on one CPU. */
struct svm_asid {
    uint32_t asid; /* 0: none */
    uint32_t cpu;
    uint64_t generation; /* of the CPU's pool */
    uint64_t serial;     /* of the root     */
    uint64_t lowered;    /* the domain's counter when nothing stale was left in it */
};

/* Kinds of exit that are counted. */
enum svm_kind {
    KIND_OTHER,
    KIND_PAGE_FAULT,
    KIND_NESTED_FAULT,
    KIND_EXCEPTION,
    KIND_INTERRUPT,
    KIND_NMI,
    KIND_WINDOW,
    KIND_CR,
    KIND_DR,
    KIND_CPUID,
    KIND_MSR,
    KIND_IO,
    KIND_HLT,
    KIND_INVLPG,
    KIND_HYPERCALL,
    KIND_WBINVD,
    KIND_REFUSED,
    KIND_SHUTDOWN,
    KINDS,
};

struct svm_stat {
    uint64_t count, ticks;
};

struct machine_vcpu {
    struct emu_cpu    cpu; /* gpr[] is first: enter.S */
    struct vmcb      *vmcb;
    uint64_t          vmcb_pa;
    struct vcpu      *vcpu;
    bool              nested;
    bool              halted;         /* HLT executed, and no interrupt since   */
    bool              delivering;     /* the exit interrupted delivery of an event */
    bool              dr_live;        /* DR0 to DR3 are in the processor        */
    bool              window_refused; /* see inject.c                           */
    bool              shadow_held;
    uint64_t          shadow_rip;
    struct guest_msrs msrs;
    struct timer      apic_timer;
    uint64_t          dr[4];
    struct svm_asid   asid[PAGING_ROOTS];
    struct svm_asid  *running; /* in the VMCB; NULL: take one at the next entry */
    struct svm_stat   stat[KINDS];
    uint8_t           fpu[512] __attribute__((aligned(16)));
};
_Static_assert(offsetof(struct machine_vcpu, cpu.gpr) == 0, "enter.S");

/* What a processor has of its own. */
struct svm_cpu {
    struct vcpu      *loaded; /* whose FS, GS, TR, ..., FPU and debug registers are in it */
    uint32_t          asid_next, asid_end;
    uint64_t          asid_generation;
    bool              flush_all; /* the pool has wrapped: TLB_CONTROL at the next entry */
    uint64_t          tlb_flushes;
    struct insn_cache insns;
};

/* ---- svm.c: the processor ---- */
struct svm_cpu *svm_this_cpu(void);
/* Physical addresses of the permission maps; the same for all. */
uint64_t svm_iopm(void);
uint64_t svm_msrpm(void);
bool     svm_has_nested_paging(void);
/* Takes an ASID that nothing is cached for. */
void svm_asid_take(struct svm_asid *asid);
bool svm_asid_valid(const struct svm_asid *asid);
void svm_cpu_load(struct vcpu *v);   /* makes v the vCPU whose state is in the processor */
void svm_cpu_unload(struct vcpu *v); /* takes it out again, if it is the one */
/* Copies FS, GS, TR, LDTR and the like into the VMCB, if they are in the processor. */
void svm_cpu_save_segments(const struct vcpu *v);
void svm_cpu_save_fpu(const struct vcpu *v); /* into m->fpu */
void svm_cpu_load_fpu(const struct vcpu *v); /* and back */

/* ---- enter.S ---- */
/* Runs the guest until #VMEXIT; host interrupts are off before and after. APM vol. 2, 15.5. */
void svm_enter(uint64_t gpr[16], uint64_t vmcb_pa);

/* ---- vmcb.c ---- */
void vmcb_build(struct machine_vcpu *m, const struct machine_start *start);

/* ---- regs.c ---- */
/* The real registers and the intercepts that follow from the guest's. */
void regs_load(struct machine_vcpu *m);
/* Under nested paging the guest loads CR3 itself: tells the core. */
void regs_sync(struct machine_vcpu *m);
bool regs_is_64bit(const struct machine_vcpu *m); /* the code that runs is 64-bit code */
/* Each carries a write out, or injects the exception; true if the instruction is to be retired. */
must_check bool regs_write_cr0(struct machine_vcpu *m, uint64_t value);
must_check bool regs_write_cr3(struct machine_vcpu *m, uint64_t value);
must_check bool regs_write_cr4(struct machine_vcpu *m, uint64_t value);
must_check bool regs_write_efer(struct machine_vcpu *m, uint64_t value);
void regs_root(struct machine_vcpu *m); /* before each entry: CR3 or nCR3, and the ASID */

/* ---- inject.c ---- */
void            inject_interrupted(struct machine_vcpu *m); /* first thing after an exit */
void            inject_exception(struct machine_vcpu *m, uint8_t vector);
void            inject_error(struct machine_vcpu *m, uint8_t vector, uint32_t error);
void            inject_page_fault(struct machine_vcpu *m, gva_t va, uint32_t pfec);
void            inject_prepare(struct machine_vcpu *m); /* last thing before an entry */
void            inject_window(struct machine_vcpu *m);  /* VINTR exit */
must_check bool inject_has_interrupt(const struct machine_vcpu *m);

/* ---- insn.c ---- */
/* The bytes at RIP, as many as its page has, at most 15; 0 if they cannot be fetched. */
unsigned insn_fetch(struct machine_vcpu *m, uint8_t bytes[INSN_BYTES_MAX]);
/*
 * Length of the instruction at RIP if it is of this kind, else 0: the guest changed it
 * meanwhile, and it must run again. For those that have no operands.
 */
must_check unsigned insn_plain(struct machine_vcpu *m, enum insn_kind kind);
/* The instruction at RIP, NULL if it cannot be had: run again. Fills cpu for the operands. */
const struct insn *insn_at(struct machine_vcpu *m);
void               insn_retire(struct machine_vcpu *m, unsigned length);
void               insn_retire_to(struct machine_vcpu *m, uint64_t rip);
/* Executes the instruction at RIP, which made the access that ended in this verdict. */
void insn_emulate(struct machine_vcpu *m, const struct verdict *verdict);
void insn_string_io(struct machine_vcpu *m, uint16_t port, unsigned bytes);

/* ---- memory.c ---- */
void memory_page_fault(struct machine_vcpu *m);
void memory_nested_fault(struct machine_vcpu *m);
void memory_invlpg(struct machine_vcpu *m);

/* ---- exit.c ---- */
enum svm_kind svm_exit(struct machine_vcpu *m); /* deals with the exit in the VMCB */
const char   *svm_kind_name(enum svm_kind kind);

/* ---- virtual.c: instructions that reach what we made of the guest's processor ---- */
void virtual_cpuid(struct machine_vcpu *m);
void virtual_msr(struct machine_vcpu *m);
void virtual_io(struct machine_vcpu *m);
void virtual_hlt(struct machine_vcpu *m);
void virtual_hypercall(struct machine_vcpu *m);
void virtual_cr(struct machine_vcpu *m);
void virtual_dr(struct machine_vcpu *m);
void virtual_apic_timer(void *machine_vcpu);

#endif
