/*
 * A vCPU's state as the ABI's records have it, from the VMCB and back: what hv/machine.h says of each. Whoever
 * writes a record is as little trusted as a guest; what the processor would refuse at VMRUN all the same ends that
 * domain only (exit.c).
 */
#include "x86/context.h"

#include "hv/guest.h"
#include "x86/hw/msr.h"
#include "x86/platform.h"
#include "x86/svm/svm.h"

/* CF, PF, AF, ZF, SF, TF, IF, DF, OF, IOPL, NT, RF, VM, AC, VIF, VIP, ID: APM vol. 2, 3.1.6. */
#define FLAGS_SETTABLE 0x3f7fd5ul
#define DR6_ONES       0xffff0ff0ul /* APM vol. 2, 13.1.1.3 and 13.1.1.4 */
#define DR6_VALID      0xe00ful
#define DR7_ONES       0x400ul
#define DR7_ZEROS      0xd800ul
#define MXCSR_OFFSET   24
#define MXCSR_KNOWN    UINT32_C(0xffff)

/* Places of the numbers that encodings use, in the order of the record. */
static const uint8_t order[16] = {
    REG_RAX, REG_RBX, REG_RCX, REG_RDX, REG_RBP, REG_RSI, REG_RDI, REG_RSP,
    8,       9,       10,      11,      12,      13,      14,      15,
};
_Static_assert(offsetof(struct hvm_hw_cpu, r15) - offsetof(struct hvm_hw_cpu, rax) == 15 * 8,
               "arch-x86/hvm/save.h");

static struct msr_time now(void)
{
    return (struct msr_time){ .ticks = machine_ticks(), .now = machine_now() };
}

/* ---- general registers and segments ---- */

#define EACH_SEGMENT(what) what(cs) what(ds) what(es) what(fs) what(gs) what(ss) what(tr) what(ldtr)

static void save_segments(const struct vmcb *b, struct hvm_hw_cpu *c)
{
#define SAVE(s)                                                                                    \
    c->s##_sel = b->s.selector;                                                                    \
    c->s##_limit = b->s.limit;                                                                     \
    c->s##_base = b->s.base;                                                                       \
    c->s##_arbytes = b->s.attributes;
    EACH_SEGMENT(SAVE)
#undef SAVE
    c->gdtr_limit = b->gdtr.limit;
    c->gdtr_base = b->gdtr.base;
    c->idtr_limit = b->idtr.limit;
    c->idtr_base = b->idtr.base;
}

static void load_segments(struct vmcb *b, const struct hvm_hw_cpu *c)
{
#define LOAD(s)                                                                                    \
    b->s.selector = (uint16_t)c->s##_sel;                                                          \
    b->s.limit = c->s##_limit;                                                                     \
    b->s.base = c->s##_base;                                                                       \
    b->s.attributes = (uint16_t)c->s##_arbytes;
    EACH_SEGMENT(LOAD)
#undef LOAD
    b->tr.attributes = task_tr_attributes(b->tr.attributes);
    b->gdtr.limit = (uint16_t)c->gdtr_limit;
    b->gdtr.base = c->gdtr_base;
    b->idtr.limit = (uint16_t)c->idtr_limit;
    b->idtr.base = c->idtr_base;
    b->cpl = b->ss.attributes >> SVM_SEG_DPL_SHIFT & 3;
}

/* ---- out ---- */

void svm_vcpu_save(struct vcpu *v, struct hvm_hw_cpu *c)
{
    struct machine_vcpu      *m = v->machine;
    struct vmcb              *b = m->vmcb;
    const struct paging_regs *p = &v->paging.regs;
    uint64_t                  gpr[16];

    svm_cpu_unload(v);
    if (m->nested)
        regs_sync(m);
    *c = (struct hvm_hw_cpu){
        .rip = b->rip,
        .rflags = b->rflags,
        .cr0 = p->cr0,
        .cr2 = b->cr2,
        .cr3 = p->cr3,
        .cr4 = p->cr4,
        .dr6 = b->dr6,
        .dr7 = b->dr7,
        .sysenter_cs = b->sysenter_cs,
        .sysenter_esp = b->sysenter_esp,
        .sysenter_eip = b->sysenter_eip,
        .shadow_gs = b->kernel_gs_base,
        .msr_lstar = b->lstar,
        .msr_star = b->star,
        .msr_cstar = b->cstar,
        .msr_syscall_mask = b->sfmask,
        .msr_efer = p->efer,
        .tsc = machine_ticks() + m->msrs.tsc_offset,
        .flags = XEN_X86_FPU_INITIALISED,
    };
    __builtin_memcpy(c->fpu_regs, m->fpu, sizeof(c->fpu_regs));
    c->dr0 = m->dr[0], c->dr1 = m->dr[1], c->dr2 = m->dr[2], c->dr3 = m->dr[3];
    for (unsigned i = 0; i < 16; i++)
        gpr[i] = m->cpu.gpr[order[i]];
    __builtin_memcpy((uint8_t *)c + offsetof(struct hvm_hw_cpu, rax), gpr, sizeof(gpr));
    if ((b->eventinj & SVM_EVENT_VALID) != 0) {
        c->pending_event = (uint32_t)b->eventinj;
        c->error_code = (uint32_t)(b->eventinj >> SVM_EVENT_ERROR_SHIFT);
    }
    save_segments(b, c);
}

/* ---- in ---- */

/* The frames of the guest's tables may be read for it. */
static bool set_regs(struct machine_vcpu *m, const struct paging_regs *regs)
{
    struct paging_vcpu *p = &m->vcpu->paging;
    struct domain      *d = m->vcpu->domain;
    struct verdict      verdict;

    p->cr3_loaded = true;
    do {
        verdict = paging_set_regs(domain_lock(d), p, regs);
        verdict_flush(d, &verdict);
    } while (verdict.kind == VERDICT_RETRY &&
             verdict.again); /* each time less is left to be done */
    if (verdict.kind != VERDICT_RETRY) {
        p->cr3_loaded = false;
        return false;
    }
    regs_load(m);
    return true;
}

static void load_fpu(struct machine_vcpu *m, const struct hvm_hw_cpu *c)
{
    uint32_t mxcsr;

    if ((c->flags & XEN_X86_FPU_INITIALISED) == 0)
        return;
    __builtin_memcpy(m->fpu, c->fpu_regs, sizeof(m->fpu));
    __builtin_memcpy(&mxcsr, m->fpu + MXCSR_OFFSET, sizeof(mxcsr));
    mxcsr &= MXCSR_KNOWN; /* loading others would be our fault */
    __builtin_memcpy(m->fpu + MXCSR_OFFSET, &mxcsr, sizeof(mxcsr));
}

bool svm_vcpu_load(struct vcpu *v, const struct hvm_hw_cpu *c)
{
    struct machine_vcpu *m = v->machine;
    struct vmcb         *b = m->vmcb;
    struct paging_regs   regs;
    uint64_t             gpr[16];

    if (!context_regs(&cpuid_machine_policy()->control, c, &regs) ||
        !context_event_ok(c->pending_event) || c->msr_tsc_aux != 0 || c->dr6 >> 32 || c->dr7 >> 32)
        return false;
    svm_cpu_unload(v);
    if (!set_regs(m, &regs))
        return false;
    __builtin_memcpy(gpr, (const uint8_t *)c + offsetof(struct hvm_hw_cpu, rax), sizeof(gpr));
    for (unsigned i = 0; i < 16; i++)
        m->cpu.gpr[order[i]] = gpr[i];
    load_fpu(m, c);
    load_segments(b, c);
    m->dr[0] = c->dr0, m->dr[1] = c->dr1, m->dr[2] = c->dr2, m->dr[3] = c->dr3;
    b->interrupt_shadow = 0;
    b->rip = c->rip;
    b->rflags = (c->rflags & FLAGS_SETTABLE) | RFLAGS_ALWAYS;
    b->cr2 = c->cr2;
    b->dr6 = (c->dr6 & DR6_VALID) | DR6_ONES;
    b->dr7 = (c->dr7 & ~DR7_ZEROS) | DR7_ONES;
    b->sysenter_cs = c->sysenter_cs;
    b->sysenter_esp = c->sysenter_esp;
    b->sysenter_eip = c->sysenter_eip;
    b->kernel_gs_base = c->shadow_gs;
    b->lstar = c->msr_lstar;
    b->star = c->msr_star;
    b->cstar = c->msr_cstar;
    b->sfmask = c->msr_syscall_mask;
    b->eventinj = (uint64_t)c->error_code << SVM_EVENT_ERROR_SHIFT | c->pending_event;
    m->msrs.tsc_offset = c->tsc - machine_ticks();
    b->tsc_offset = m->msrs.tsc_offset;
    task_set_guards(m); /* TR is another */
    return true;
}

/* ---- the local APIC and PAT ---- */

void svm_vcpu_save_lapic(const struct vcpu *v, struct hvm_hw_lapic *to)
{
    context_lapic_save(&v->machine->msrs.lapic, to);
}

void svm_vcpu_save_lapic_regs(const struct vcpu *v, struct hvm_hw_lapic_regs *to)
{
    context_lapic_save_regs(&v->machine->msrs.lapic, machine_now(), to);
}

static bool loaded_lapic(struct vcpu *v, bool good)
{
    const struct lapic_effect effect = { .timer = true };

    if (good)
        vcpu_apic_effect(v, &effect);
    return good;
}

bool svm_vcpu_load_lapic(struct vcpu *v, const struct hvm_hw_lapic *from)
{
    return loaded_lapic(v, context_lapic_load(&v->machine->msrs.lapic, from));
}

bool svm_vcpu_load_lapic_regs(struct vcpu *v, const struct hvm_hw_lapic_regs *from)
{
    return loaded_lapic(v, context_lapic_load_regs(&v->machine->msrs.lapic, machine_now(), from));
}

void svm_vcpu_save_mtrr(const struct vcpu *v, struct hvm_hw_mtrr *to)
{
    context_mtrr_save(v->machine->msrs.pat, to);
}

bool svm_vcpu_load_mtrr(struct vcpu *v, const struct hvm_hw_mtrr *from)
{
    struct machine_vcpu *m = v->machine;
    struct msr_effect    effect;

    if (!context_mtrr_ok(from) || !msr_write(&m->msrs, MSR_PAT, from->msr_pat_cr, now(), &effect))
        return false;
    if (m->nested)
        m->vmcb->g_pat = m->msrs.pat;
    return true;
}
