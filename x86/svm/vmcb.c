/*
 * Building a VMCB: which instructions and events end the guest's turn, and what the
 * processor holds when the guest starts. APM vol. 2, 15.5, 15.9 to 15.13, appendix B.
 */
#include "x86/svm/svm.h"

#include "hv/print.h"

#define DR6_RESET           0xffff0ff0u
#define DR7_RESET           0x400u
#define FCW_RESET           0x37fu /* as FNINIT leaves it */
#define MXCSR_RESET         0x1f80u
#define MXCSR_OFFSET        24
#define FLAT_LIMIT          0xffffffffu
#define SELECTOR_GUEST_CODE 0x08 /* any will do: the guest loads its own GDT */
#define SELECTOR_GUEST_DATA 0x10
#define SELECTOR_GUEST_TSS  0x18

/*
 * CR8 is intercepted always: a task priority that is the APIC's lives there. Writes to CR0
 * are intercepted whole and not selectively, since the selective form compares with the real
 * CR0, which is not the guest's; guests write CR0 seldom.
 */
static void build_intercepts(struct vmcb *b)
{
    b->intercept_cr = SVM_CR_WRITE(0) | SVM_CR_WRITE(4) | SVM_CR_READ(8) | SVM_CR_WRITE(8);
    b->intercept_dr = SVM_DR_ALL;
    /* #DB and #AC, since a guest can make their delivery endless inside the processor. */
    b->intercept_exceptions = 1u << VECTOR_DB | 1u << VECTOR_AC | 1u << VECTOR_MC;
    b->intercept_misc1 = SVM_INTR | SVM_NMI | SVM_INIT | SVM_RDPMC | SVM_CPUID | SVM_INVD |
                         SVM_HLT | SVM_INVLPGA | SVM_IOIO | SVM_MSR | SVM_TASK_SWITCH |
                         SVM_SHUTDOWN;
    if (!svm_task_switches_seen())
        b->intercept_misc1 |= SVM_LTR; /* see task.c */
    b->intercept_misc2 = SVM_VMRUN | SVM_VMMCALL | SVM_VMLOAD | SVM_VMSAVE | SVM_STGI | SVM_CLGI |
                         SVM_SKINIT | SVM_ICEBP | SVM_WBINVD | SVM_MONITOR | SVM_MWAIT |
                         SVM_MWAIT_COND | SVM_XSETBV | SVM_RDPRU;
}

/* The PVH entry: 32-bit protected mode, flat segments, paging off, interrupts off. */
static void build_state(struct vmcb *b, const struct machine_start *start)
{
    struct svm_segment data = { SELECTOR_GUEST_DATA, SVM_SEG_DATA_FLAT, FLAT_LIMIT, 0 };

    b->cs = (struct svm_segment){ SELECTOR_GUEST_CODE, SVM_SEG_CODE_FLAT, FLAT_LIMIT, 0 };
    b->es = b->ss = b->ds = b->fs = b->gs = data;
    b->gdtr.limit = 0xffff;
    b->idtr.limit = 0xffff;
    b->ldtr = (struct svm_segment){ 0, SVM_SEG_LDT, 0xffff, 0 };
    b->tr =
        (struct svm_segment){ SELECTOR_GUEST_TSS, task_tr_attributes(SVM_SEG_TSS_BUSY), 0x67, 0 };
    b->dr6 = DR6_RESET;
    b->dr7 = DR7_RESET;
    b->rflags = RFLAGS_ALWAYS;
    b->rip = start->rip;
    b->g_pat = PAT_RESET;
}

void vmcb_set_kind(struct machine_vcpu *m)
{
    const uint32_t cr3 = SVM_CR_READ(3) | SVM_CR_WRITE(3), page_fault = 1u << VECTOR_PF;
    struct vmcb   *b = m->vmcb;

    m->nested = m->vcpu->domain->paging.kind == PAGING_NESTED;
    BUG_ON(m->nested && !svm_has_nested_paging());
    if (m->nested) {
        b->intercept_cr &= ~cr3;
        b->intercept_exceptions &= ~page_fault;
        b->intercept_misc1 &= ~SVM_INVLPG;
    } else {
        b->intercept_cr |= cr3;
        b->intercept_exceptions |= page_fault;
        b->g_pat = PAT_RESET; /* our tables use its first entry only: all memory is write-back */
    }
    b->np_enable = m->nested ? SVM_NP_ENABLE : 0;
    svm_vcpu_watch(m->vcpu); /* and all of it is loaded anew */
}

void vmcb_build(struct machine_vcpu *m, const struct machine_start *start)
{
    struct vmcb *b = m->vmcb;
    uint16_t     fcw = FCW_RESET;
    uint32_t     mxcsr = MXCSR_RESET;

    build_intercepts(b);
    build_state(b, start);
    b->iopm = svm_iopm();
    b->msrpm = svm_msrpm();
    b->int_ctl = SVM_V_INTR_MASKING; /* IF and TPR of the guest never hold back our interrupts */
    vmcb_set_kind(m);
    m->cpu.gpr[REG_RAX] = start->rax;
    m->cpu.gpr[REG_RBX] = start->rbx;
    __builtin_memcpy(m->fpu, &fcw, sizeof(fcw));
    __builtin_memcpy(m->fpu + MXCSR_OFFSET, &mxcsr, sizeof(mxcsr));
}
