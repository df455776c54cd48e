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
#include "x86/step.h"

#define SVM_CPUS_MAX 8

/* A walk through our tables to a page of code, with all that it depended on; see fetch.h. */
struct svm_code {
    uint64_t        tag;                  /* linear address of the page and SVM_CODE_* */
    const uint64_t *entry[PT_LEVELS_MAX]; /* of ours, or of what is in `value` */
    uint64_t value[PT_LEVELS_MAX]; /* the first is the root's, and looked for in the one in use */
    const uint8_t *page;
} __attribute__((aligned(128))); /* found by a shift */
#define SVM_CODE_PAGES 32        /* a power of two */

/* A walk through the guest's own tables to a page of code, with all that it depended on; see fetch.h. */
struct svm_walked {
    uint64_t        tag; /* the same, without levels */
    uint64_t        cr3, rules;
    uint64_t        lowered; /* the domain's counter: none of the frames has left the p2m */
    const uint64_t *entry[PT_LEVELS_MAX]; /* of guest's tables, or of what is in `value` */
    uint64_t        value[PT_LEVELS_MAX];
    const uint8_t  *page;
} __attribute__((aligned(128))); /* found by a shift */
#define SVM_WALKED 4             /* a power of two */

/* What a root of a vCPU was last installed with, on one CPU. */
struct svm_asid {
    uint32_t asid; /* 0: none */
    uint32_t cpu;
    uint64_t generation; /* of the CPU's pool */
    uint64_t serial;     /* of the root     */
    uint64_t lowered;    /* the domain's counter when nothing stale was left in it */
};

/* While these are the same, paging_hw says what it said: regs_root_holds. */
struct svm_seen {
    uint64_t roots;    /* of the vCPU; SVM_SEEN_NOTHING: look again */
    uint64_t lowered;  /* of the domain */
    uint32_t unsynced; /* the first table out of sync */
};
#define SVM_SEEN_NOTHING UINT64_MAX

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
    KIND_TASK,
    KIND_REFUSED,
    KIND_SHUTDOWN,
    KINDS,
};

struct svm_stat {
    uint64_t count, ticks;
};

/* One instruction, or the delivery of an event, that frames are open for; see step.c. */
struct svm_step {
    union {
        struct {
            bool open;  /* the next entry ends after one instruction:           */
            bool first; /* nothing else may be delivered before it,             */
            bool each;  /* or all entries do so, since a listener wants to know */
            bool armed; /* this entry does                                      */
        };
        uint32_t any;
    };
    bool delivers; /* an event, and no instruction                         */
    bool mute;     /* it is to be carried out here, without its writes     */
    bool trap;     /* the guest's own TF                                   */
    bool held;     /* the class is that of what stands behind a MOV SS,    */
    enum step_class class;
    uint64_t at;                          /* here */
    uint32_t exceptions, misc1;           /* that are intercepted else */
    uint64_t rip, efer, dr6, sfmask, r11; /* as they were */
};

struct machine_vcpu {
    struct emu_cpu cpu;
    struct vmcb   *vmcb;
    uint64_t       vmcb_pa;
    struct vcpu   *vcpu;
    union {
        struct {
            bool    halted;        /* HLT executed, and no interrupt since   */
            bool    delivering;    /* the exit interrupted delivery of an event */
            bool    window_open;   /* see inject.c                           */
            bool    guards;        /* see task.c: there are guards at its TSS */
            uint8_t lifted_length; /* of an INT instruction that is injected */
            bool    platform;      /* the board's devices interrupt it        */
            bool    flush;         /* TLB_CONTROL may have to be changed      */
        };
        uint64_t
            special; /* any of them: what comes before an entry and after an exit takes longer */
    };
    bool              nested;
    bool              dr_live;        /* DR0 to DR3 are in the processor        */
    bool              window_refused; /* see inject.c                           */
    bool              shadow_held;
    bool              lifted;     /* guards are not while an event is being delivered */
    uint32_t          exceptions; /* that are intercepted else */
    uint64_t          shadow_rip;
    struct svm_step   step;
    struct svm_cpu   *processor; /* that it was loaded on last */
    struct paging_hw  hw;        /* what runs in `running`, as the core said last */
    struct guest_msrs msrs;
    struct timer      apic_timer;
    uint64_t          dr[4];
    struct svm_asid   asid[PAGING_ROOTS];
    struct svm_code   code[SVM_CODE_PAGES]; /* shadow paging */
    struct svm_walked walked[SVM_WALKED];   /* nested paging */
    uint64_t          fetch_rules;          /* fetch_rules_of the registers, under nested paging */
    struct svm_asid  *running;              /* in the VMCB; NULL: take one at the next entry */
    struct svm_seen   seen;                 /* when it was the right one */
    struct svm_stat   stat[KINDS];
    uint8_t           fpu[512] __attribute__((aligned(16)));
};

/* What a processor has of its own. */
struct svm_cpu {
    uint32_t          id;
    struct vcpu      *loaded; /* whose FS, GS, TR, ..., FPU and debug registers are in it */
    uint32_t          asid_next, asid_end;
    uint64_t          asid_generation;
    bool              flush_all; /* the pool has wrapped: TLB_CONTROL at the next entry */
    uint64_t          tlb_flushes;
    struct insn_cache insns;
};

/* ---- svm.c: the processor ---- */
/* Makes the processor ready; false, after printing why, if it cannot run guests so. */
must_check bool svm_enable(void);
/* Takes out whichever vCPU is loaded. */
void            svm_cpu_release(void);
struct svm_cpu *svm_this_cpu(void);
/* Physical addresses of the permission maps; the same for all. */
uint64_t svm_iopm(void);
uint64_t svm_msrpm(void);
bool     svm_has_nested_paging(void);
/* The processor's intercept of task switches works; else pages of TSSs are guarded: task.c. */
bool svm_task_switches_seen(void);
/* Takes an ASID that nothing is cached for. */
void               svm_asid_take(struct svm_cpu *c, struct svm_asid *asid);
static inline bool svm_asid_valid(const struct svm_cpu *c, const struct svm_asid *asid)
{
    return asid->asid && asid->cpu == c->id && asid->generation == c->asid_generation;
}
void svm_cpu_load(struct vcpu *v);   /* makes v the vCPU whose state is in the processor */
void svm_cpu_unload(struct vcpu *v); /* takes it out again, if it is the one */
/* Copies FS, GS, TR, LDTR and the like into the VMCB, if they are in the processor. */
void svm_cpu_save_segments(const struct vcpu *v);
void svm_cpu_load_segments(const struct vcpu *v); /* and back, if they are to be there */
void svm_cpu_save_fpu(const struct vcpu *v);      /* into m->fpu */
void svm_cpu_load_fpu(const struct vcpu *v);      /* and back */

/* ---- vcpu.c: what hv/machine.h says of each ---- */
must_check bool svm_vcpu_create(struct vcpu *v, const struct machine_start *start);
void            svm_vcpu_destroy(struct vcpu *v);
void            svm_vcpu_set_kind(struct vcpu *v);
void            svm_vcpu_run(struct vcpu *v);
bool            svm_vcpu_uses_nested(const struct vcpu *v);
bool            svm_vcpu_has_interrupt(const struct vcpu *v);
uint64_t        svm_vcpu_tsc_offset(const struct vcpu *v);
bool            svm_vcpu_is_64bit(const struct vcpu *v);
bool svm_vcpu_exit_stat(const struct vcpu *v, unsigned i, struct machine_exit_stat *stat);
void svm_vcpu_show(const struct vcpu *v);

/* ---- vmcb.c ---- */
void vmcb_build(struct machine_vcpu *m, const struct machine_start *start);
/* Which paging the processor does, and what is intercepted for it, by the kind of the domain's. */
void vmcb_set_kind(struct machine_vcpu *m);

/* ---- event.c ---- */
void svm_vcpu_watch(struct vcpu *v);
bool svm_vcpu_inject(struct vcpu *v, const struct machine_event *event);
/* Deals again with the exit of a write that a listener was told of. */
void event_settle(struct machine_vcpu *m);
/* INT, INT3, INTO at RIP; a debug exception (XEN_DMOP_EVENT_*): for the guest, unless a listener is asked about it. */
void event_software_interrupt(struct machine_vcpu *m);
void event_debug(struct machine_vcpu *m, uint8_t type, unsigned length);

/* ---- regs.c ---- */
/* The real registers and the intercepts that follow from the guest's. */
void regs_load(struct machine_vcpu *m);
/* Under nested paging the guest loads CR3 itself, and a task switch that the processor makes sets TS: is it so? */
static inline bool regs_moved(const struct machine_vcpu *m)
{
    const struct paging_regs *r = &m->vcpu->paging.regs;

    return m->vmcb->cr3 != r->cr3 || (m->vmcb->cr0 & ~r->cr0 & CR0_TS);
}
/* Tells the core. */
void regs_sync(struct machine_vcpu *m);
/* True when the code that runs is 64-bit code. */
static inline bool regs_is_64bit(const struct machine_vcpu *m)
{
    return (m->vmcb->efer & EFER_LMA) && (m->vmcb->cs.attributes & SVM_SEG_L);
}
/*
 * The root is installed as paging_hw would say it now: what that is made from is what it was then. 0, or
 * some other word; asked before each entry, so that regs_root_check is called only after a change.
 */
static inline uint64_t regs_root_moved(const struct machine_vcpu *m, const struct vcpu *v,
                                       const struct paging_domain *d)
{
    return (v->paging.clock ^ m->seen.roots) | (d->lowered ^ m->seen.lowered) |
           (d->unsynced.head ^ m->seen.unsynced);
}
/* What is installed is good no more. */
static inline void regs_root_lost(struct machine_vcpu *m)
{
    m->seen.roots = SVM_SEEN_NOTHING;
}
/* Each carries a write out, or injects the exception; true if the instruction is to be retired. */
must_check bool regs_write_cr0(struct machine_vcpu *m, uint64_t value);
must_check bool regs_write_cr3(struct machine_vcpu *m, uint64_t value);
must_check bool regs_write_cr4(struct machine_vcpu *m, uint64_t value);
must_check bool regs_write_efer(struct machine_vcpu *m, uint64_t value);
/* A task switch: CR0.TS is set, and CR3 is loaded unless NULL; false: it is no good, and stays. */
must_check bool regs_enter_task(struct machine_vcpu *m, const uint32_t *cr3);
void            regs_root(struct machine_vcpu *m); /* CR3 or nCR3, and the ASID */
void regs_root_check(struct machine_vcpu *m);      /* the same, if they are not right already */

/* What a verdict asks of the TLBs: hv/guest.h. */
void svm_flush(struct domain *d, const struct verdict *verdict);

/* ---- inject.c ---- */
/* First thing after an exit. With nothing interrupted the caller may do its work itself. */
void inject_interrupted(struct machine_vcpu *m);
/* INT of so many bytes, at which RIP stands. */
void            inject_software(struct machine_vcpu *m, uint8_t vector, unsigned length);
void            inject_exception(struct machine_vcpu *m, uint8_t vector);
void            inject_error(struct machine_vcpu *m, uint8_t vector, uint32_t error);
void            inject_page_fault(struct machine_vcpu *m, gva_t va, uint32_t pfec);
void            inject_prepare(struct machine_vcpu *m); /* last thing before an entry */
void            inject_window(struct machine_vcpu *m);  /* VINTR exit */
must_check bool inject_has_interrupt(const struct machine_vcpu *m);

/* ---- insn.c ---- */
void                insn_init(struct machine_vcpu *m); /* the parts of m->cpu that never change */
must_check unsigned insn_plain_slowly(struct machine_vcpu *m, enum insn_kind kind);
/* The instruction at RIP, NULL if it cannot be had: run again. Fills cpu for the operands. */
const struct insn *insn_at(struct machine_vcpu *m);
void               insn_single_step(struct machine_vcpu *m);
/* Length of the instruction in these bytes; 0: there is none as a whole. */
must_check unsigned insn_length(struct machine_vcpu *m, uint8_t *bytes, unsigned have);

/* The instruction has been carried out, and the guest goes on elsewhere. */
static inline void insn_retire_to(struct machine_vcpu *m, uint64_t rip)
{
    struct vmcb *b = m->vmcb;

    b->rip = regs_is_64bit(m) ? rip : (uint32_t)rip;
    b->interrupt_shadow = 0;
    if (__builtin_expect(b->rflags & (RFLAGS_RF | RFLAGS_TF), 0)) {
        b->rflags &= ~RFLAGS_RF;
        if (b->rflags & RFLAGS_TF)
            insn_single_step(m);
    }
}

/* The same, and it goes on with what follows. */
static inline void insn_retire(struct machine_vcpu *m, unsigned length)
{
    insn_retire_to(m, m->vmcb->rip + length);
}

/* Executes the instruction at RIP, which made the access `f` that ended in this verdict. */
void insn_emulate(struct machine_vcpu *m, const struct fault *f, const struct verdict *verdict);
/*
 * The same for a write to the table in `mfn`, if it is one that kernels write theirs with: see insn.c.
 * False: insn_emulate does it, or finds what is wrong with it.
 */
must_check bool insn_store(struct machine_vcpu *m, const struct fault *f, mfn_t mfn);
/* The same for the one at RIP, whatever it is, but nothing is written. */
void insn_emulate_muted(struct machine_vcpu *m);
void insn_string_io(struct machine_vcpu *m, uint16_t port, unsigned bytes);

/* ---- memory.c ---- */
void memory_page_fault(struct machine_vcpu *m);
void memory_nested_fault(struct machine_vcpu *m);
void memory_invlpg(struct machine_vcpu *m);

/* ---- task.c ---- */
void task_exit(struct machine_vcpu *m);    /* TASK_SWITCH */
void task_load_tr(struct machine_vcpu *m); /* LTR */
/* Attributes of TR as this processor wants them in the VMCB. */
uint16_t task_tr_attributes(uint16_t attributes);
/* CR0, EFER or TR have changed: are there guards, and where? */
void               task_set_guards_32(struct machine_vcpu *m);
static inline void task_set_guards(struct machine_vcpu *m)
{
    if (!(m->vcpu->paging.regs.efer & EFER_LMA) ||
        m->guards) /* there are no such tasks in long mode */
        task_set_guards_32(m);
}
void task_before_entry(struct machine_vcpu *m); /* while there are guards */
/* A guard that is lifted is so no more: where it was, it will be found again. */
void task_end_lift(struct machine_vcpu *m);
/* First thing after an exit while an event was being delivered, before inject_interrupted. */
void task_interrupted(struct machine_vcpu *m);
/* The fault on the way has been mended while the guard is lifted: deliver what was on its way. */
void task_deliver_again(struct machine_vcpu *m);
/* A write fault that is to be emulated, while there are guards: true if it was a task switch. */
must_check bool task_fault(struct machine_vcpu *m, const struct fault *f);
/* The same that the emulator does not know: true if it was done here. */
must_check bool task_write(struct machine_vcpu *m, const struct fault *f);
/* The same, of an event's delivery: true if the frame was guarded and is not now. */
must_check bool task_lift(struct machine_vcpu *m, const struct fault *f, mfn_t mfn);

/* ---- watch.c: what hv/machine.h says of each ---- */
void svm_vcpu_event_regs(const struct vcpu *v, struct vm_event_regs_x86 *regs);
void svm_vcpu_event_set_regs(struct vcpu *v, const struct vm_event_regs_x86 *regs);
void svm_vcpu_excuse(struct vcpu *v, bool without_writing);
void svm_vcpu_single_step(struct vcpu *v, bool on);

/* ---- context.c: the same ---- */
void            svm_vcpu_save(struct vcpu *v, struct hvm_hw_cpu *c);
void            svm_vcpu_save_lapic(const struct vcpu *v, struct hvm_hw_lapic *to);
void            svm_vcpu_save_lapic_regs(const struct vcpu *v, struct hvm_hw_lapic_regs *to);
void            svm_vcpu_save_mtrr(const struct vcpu *v, struct hvm_hw_mtrr *to);
must_check bool svm_vcpu_load(struct vcpu *v, const struct hvm_hw_cpu *c);
must_check bool svm_vcpu_load_lapic(struct vcpu *v, const struct hvm_hw_lapic *from);
must_check bool svm_vcpu_load_lapic_regs(struct vcpu *v, const struct hvm_hw_lapic_regs *from);
must_check bool svm_vcpu_load_mtrr(struct vcpu *v, const struct hvm_hw_mtrr *from);

/* ---- step.c ---- */
/* Frames are open for what is executed next: the verdict has said so. */
void step_open(struct machine_vcpu *m);
/* They are closed, whether it was executed or not. */
void step_close(struct machine_vcpu *m);
/* Last thing before an entry while frames are open. */
void step_before_entry(struct machine_vcpu *m);
/* Deals with the exit from an entry that was armed. */
enum svm_kind step_exit(struct machine_vcpu *m);

/* ---- exit.c ---- */
/* Who deals with an exit, by its code. */
struct svm_exit_row {
    void (*handle)(struct machine_vcpu *m); /* NULL: it is not expected */
    enum svm_kind kind;
};
extern const struct svm_exit_row svm_exit_rows[SVM_EXIT_LOW_END];
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
