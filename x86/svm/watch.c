/*
 * What a listener (hv/vm_event.h) sees of a vCPU, and does to it between two of its instructions.
 * Values of a listener's are as little trusted as a guest's: what a program in the guest could not
 * bring about by itself is not taken.
 */
#include "x86/svm/svm.h"

/* CF, PF, AF, ZF, SF, TF, IF, DF, OF, IOPL, NT, RF, AC, VIF, VIP, ID: APM vol. 2, 3.1.6. */
#define FLAGS_SETTABLE 0x3d7fd5ul

/* Limit in 20 bits, then the attributes as SVM has them in 12. */
static struct vm_event_x86_selector_reg selector(const struct svm_segment *s)
{
    uint32_t limit = s->attributes & SVM_SEG_G ? s->limit >> PAGE_SHIFT : s->limit;
    uint32_t word = (limit & 0xfffff) | (uint32_t)s->attributes << 20;
    struct vm_event_x86_selector_reg r;

    _Static_assert(sizeof(r) == sizeof(word), "vm_event.h");
    __builtin_memcpy(&r, &word, sizeof(r));
    return r;
}

static void fill_segments(const struct vmcb *b, struct vm_event_regs_x86 *r)
{
    r->cs_base = (uint32_t)b->cs.base;
    r->ss_base = (uint32_t)b->ss.base;
    r->ds_base = (uint32_t)b->ds.base;
    r->es_base = (uint32_t)b->es.base;
    r->fs_base = b->fs.base;
    r->gs_base = b->gs.base;
    r->cs = selector(&b->cs);
    r->ss = selector(&b->ss);
    r->ds = selector(&b->ds);
    r->es = selector(&b->es);
    r->fs = selector(&b->fs);
    r->gs = selector(&b->gs);
    r->cs_sel = b->cs.selector;
    r->ss_sel = b->ss.selector;
    r->ds_sel = b->ds.selector;
    r->es_sel = b->es.selector;
    r->fs_sel = b->fs.selector;
    r->gs_sel = b->gs.selector;
    r->shadow_gs = b->kernel_gs_base;
    r->gdtr_base = b->gdtr.base;
    r->gdtr_limit = (uint16_t)b->gdtr.limit;
}

_Static_assert(offsetof(struct vm_event_regs_x86, r15) == 15 * 8, "vm_event.h");

/* Places of the numbers that encodings use, in the order of vm_event.h. */
static const uint8_t order[16] = {
    REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
    8,       9,       10,      11,      12,      13,      14,      15,
};

void svm_vcpu_event_regs(const struct vcpu *v, struct vm_event_regs_x86 *r)
{
    const struct machine_vcpu *m = v->machine;
    const struct vmcb         *b = m->vmcb;
    const struct paging_regs  *p = &v->paging.regs;
    uint64_t                  *gpr = &r->rax;

    svm_cpu_save_segments(v);
    for (unsigned i = 0; i < 16; i++)
        gpr[i] = m->cpu.gpr[order[i]];
    r->rip = b->rip;
    r->rflags = b->rflags;
    r->dr6 = b->dr6;
    r->dr7 = b->dr7;
    r->cr0 = p->cr0;
    r->cr2 = b->cr2;
    r->cr3 = p->cr3;
    r->cr4 = p->cr4;
    r->msr_efer = p->efer;
    r->msr_star = b->star;
    r->msr_lstar = b->lstar;
    r->sysenter_cs = b->sysenter_cs;
    r->sysenter_esp = b->sysenter_esp;
    r->sysenter_eip = b->sysenter_eip;
    fill_segments(b, r);
}

void svm_vcpu_event_set_regs(struct vcpu *v, const struct vm_event_regs_x86 *r)
{
    struct machine_vcpu *m = v->machine;
    struct vmcb         *b = m->vmcb;
    const uint64_t      *gpr = &r->rax;

    for (unsigned i = 0; i < 16; i++)
        m->cpu.gpr[order[i]] = gpr[i];
    b->rip = regs_is_64bit(m) ? r->rip : (uint32_t)r->rip;
    b->rflags = (b->rflags & ~FLAGS_SETTABLE) | (r->rflags & FLAGS_SETTABLE);
}

void svm_vcpu_excuse(struct vcpu *v, bool without_writing)
{
    struct machine_vcpu *m = v->machine;

    m->step.mute = without_writing && !(m->vmcb->eventinj & SVM_EVENT_VALID);
    v->paging.excused = true;
    m->step.open = m->step.first = !m->step.mute;
}

void svm_vcpu_single_step(struct vcpu *v, bool on)
{
    struct machine_vcpu *m = v->machine;

    m->step.each = on;
    m->step.open = on || v->paging.excused;
}
