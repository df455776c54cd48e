/*
 * CR0, CR3, CR4 and EFER: the guest's values live in v->paging.regs, the real ones are made
 * from them here, and so are the intercepts of reads: a register is intercepted for reading
 * exactly while the two differ. APM vol. 2, 3.1, 15.5.1 (consistency checks), 15.19 (paged
 * real mode: CR0.PG without CR0.PE is good in a guest), 15.25.
 */
#include "x86/svm/fetch.h"

#include "hv/guest.h"
#include "hv/print.h"
#include "hv/vm_event.h"

static void load_shadow(struct vmcb *b, const struct paging_regs *r)
{
    b->cr0 = (r->cr0 | CR0_WP | CR0_PG) & ~(CR0_CD | CR0_NW);
    b->cr4 = r->cr4 | CR4_PAE;
    if (!(r->cr0 & CR0_PG))
        b->cr4 &= ~(CR4_SMEP | CR4_SMAP);
    b->efer = EFER_SVME | EFER_NXE | (r->efer & EFER_SCE);
    if (r->efer & EFER_LMA)
        b->efer |= EFER_LMA | EFER_LME;
}

/*
 * Caching disabled by the guest would be paid for by us, so CD and NW never get through. LME
 * means nothing to the processor before LMA, which only writes that are intercepted bring about;
 * and QEMU 7.2, at an exit from a guest with LME but neither CR0.PG nor CR4.PAE, leaves that
 * guest's CR0 to the hypervisor.
 */
static void load_nested(struct vmcb *b, const struct paging_regs *r)
{
    b->cr0 = r->cr0 & ~(CR0_CD | CR0_NW);
    b->cr3 = r->cr3;
    b->cr4 = r->cr4;
    b->efer = r->efer | EFER_SVME;
    if (!(r->efer & EFER_LMA))
        b->efer &= ~EFER_LME;
}

void regs_load(struct machine_vcpu *m)
{
    const struct paging_regs *r = &m->vcpu->paging.regs;
    struct vmcb              *b = m->vmcb;

    m->msrs.efer = r->efer;
    m->cpu.cr0 = r->cr0;
    m->cpu.cr4 = r->cr4;
    m->cpu.efer = r->efer;
    if (m->nested) {
        load_nested(b, r);
        m->fetch_rules = fetch_rules_of(r);
        b->g_pat = m->msrs.pat;
    } else {
        load_shadow(b, r);
    }
    task_set_guards(m);
    b->intercept_cr &= ~(SVM_CR_READ(0) | SVM_CR_READ(4));
    if (b->cr0 != r->cr0)
        b->intercept_cr |= SVM_CR_READ(0);
    if (b->cr4 != r->cr4)
        b->intercept_cr |= SVM_CR_READ(4);
}

void regs_sync(struct machine_vcpu *m)
{
    struct paging_vcpu *p = &m->vcpu->paging;
    struct paging_regs  r = p->regs;

    if (!regs_moved(m))
        return;
    r.cr3 = m->vmcb->cr3;
    r.cr0 |= m->vmcb->cr0 & CR0_TS;
    m->cpu.cr0 = r.cr0;
    paging_note_regs(domain_lock(m->vcpu->domain), p, &r);
}

/* When the core has something to do for it: true when they are in force. */
static __attribute__((noinline)) bool apply_slowly(struct machine_vcpu      *m,
                                                   const struct paging_regs *regs)
{
    struct domain *d = m->vcpu->domain;
    struct verdict verdict = paging_set_regs(domain_lock(d), &m->vcpu->paging, regs);

    verdict_flush(d, &verdict);
    switch (verdict.kind) {
    case VERDICT_RETRY:
        return !verdict.again; /* not retired: after the scheduler had its say, it is run again */
    case VERDICT_INJECT:
        vm_event_written(m->vcpu);
        inject_error(m, VECTOR_GP, 0);
        return false;
    case VERDICT_CRASH:
        domain_crash(d, "%s", verdict.why);
        return false;
    case VERDICT_EMULATE:
    case VERDICT_DEVICE:
    case VERDICT_ACCESS:
        break;
    }
    panic("bug: verdict %d for a write to a control register", verdict.kind);
}

/* Writes after which a processor has no old translations: APM vol. 2, 5.5.2. WP is asked at each access. */
static bool is_flushing(const struct paging_regs *old, const struct paging_regs *new)
{
    return ((old->cr0 ^ new->cr0) & CR0_PG) || old->cr4 != new->cr4 ||
           ((old->efer ^ new->efer) & EFER_NXE);
}

/*
 * Under nested paging the guest's own translations are in the TLB, and a write that is carried out
 * here flushes none of them: its vCPU goes on with other ASIDs. APM vol. 2, 15.16.
 */
static void flush_own(struct machine_vcpu *m)
{
    for (unsigned i = 0; i < PAGING_ROOTS; i++)
        m->asid[i].asid = 0;
    regs_root_lost(m);
}

/*
 * True when the registers are in force. What the VMCB has of them is made anew unless CR3 alone
 * was written, which is not in it under shadow paging.
 */
static inline bool apply(struct machine_vcpu *m, const struct paging_regs *regs, bool cr3_only)
{
    struct vcpu   *v = m->vcpu;
    struct domain *d = v->domain;
    bool           flush = m->nested && (cr3_only || is_flushing(&v->paging.regs, regs));

    if (!paging_set_regs_quickly(domain_lock(d), &v->paging, regs)) {
        if (!apply_slowly(m, regs))
            return false;
    } else if (regs_root_moved(m, v, &d->paging)) {
        regs_root(m); /* as would be done before the entry, at a higher price */
    }
    if (flush)
        flush_own(m);
    vm_event_written(v);
    if (m->nested || !cr3_only)
        regs_load(m);
    return true;
}

static bool checked(struct machine_vcpu *m, bool good, const struct paging_regs *regs)
{
    if (!good) {
        inject_error(m, VECTOR_GP, 0);
        return false;
    }
    return apply(m, regs, false);
}

/* True: a listener has something to say, and *result is what becomes of the write to what is `old` now. */
static inline bool is_gated(struct machine_vcpu *m, unsigned index, const uint64_t *old,
                            uint64_t value, bool *result)
{
    if (__builtin_expect(m->vcpu->domain->vm_event == NULL, 1))
        return false;
    switch (vm_event_write_cr(m->vcpu, index, *old, value)) {
    case VM_EVENT_GATE_ASKED:
        *result = false;
        return true;
    case VM_EVENT_GATE_SHUT:
        vm_event_written(m->vcpu);
        *result = true;
        return true;
    case VM_EVENT_GATE_OPEN:
    case VM_EVENT_GATE_NONE:
        break;
    }
    return false;
}

bool regs_write_cr0(struct machine_vcpu *m, uint64_t value)
{
    struct paging_regs r = m->vcpu->paging.regs;
    bool good = control_write_cr0(&r, value, m->vmcb->cs.attributes & SVM_SEG_L), done;

    if (good && is_gated(m, VM_EVENT_X86_CR0, &m->vcpu->paging.regs.cr0, r.cr0, &done))
        return done;
    return checked(m, good, &r);
}

bool regs_write_cr3(struct machine_vcpu *m, uint64_t value)
{
    struct paging_regs r = m->vcpu->paging.regs;
    bool               done;

    if (!control_write_cr3(&cpuid_machine_policy()->control, &r, value)) {
        inject_error(m, VECTOR_GP, 0);
        return false;
    }
    if (is_gated(m, VM_EVENT_X86_CR3, &m->vcpu->paging.regs.cr3, value, &done))
        return done;
    m->vcpu->paging.cr3_loaded = true;
    return apply(m, &r, true);
}

bool regs_write_cr4(struct machine_vcpu *m, uint64_t value)
{
    struct paging_regs r = m->vcpu->paging.regs;
    bool               good = control_write_cr4(&cpuid_machine_policy()->control, &r, value), done;

    if (good && is_gated(m, VM_EVENT_X86_CR4, &m->vcpu->paging.regs.cr4, value, &done))
        return done;
    return checked(m, good, &r);
}

bool regs_write_efer(struct machine_vcpu *m, uint64_t value)
{
    struct paging_regs r = m->vcpu->paging.regs;
    bool               good = control_write_efer(&cpuid_machine_policy()->control, &r, value);

    return checked(m, good, &r);
}

bool regs_enter_task(struct machine_vcpu *m, const uint32_t *cr3)
{
    struct paging_vcpu  *p = &m->vcpu->paging;
    struct domain       *d = m->vcpu->domain;
    struct paging_locked lock = domain_lock(d);
    struct paging_regs   r = p->regs;
    struct verdict       verdict;
    bool                 good = true;

    r.cr0 |= CR0_TS;
    if (cr3) {
        good = control_write_cr3(&cpuid_machine_policy()->control, &r, *cr3);
        p->cr3_loaded = good;
        if (m->nested)
            flush_own(m);
    }
    do {
        verdict = paging_set_regs(lock, p, &r);
        verdict_flush(d, &verdict);
        if (verdict.kind == VERDICT_INJECT) { /* entries with reserved bits: without CR3, then */
            good = p->cr3_loaded = false;
            r.cr3 = p->regs.cr3;
            verdict.again = true;
        }
    } while (verdict.again); /* each time less is left to be done; it cannot stop half-way */
    if (verdict.kind == VERDICT_CRASH)
        domain_crash(d, "%s", verdict.why);
    regs_load(m);
    return good;
}

/*
 * An ASID is kept as long as its root is the same and nothing was lowered since its
 * translations were last complete; else a fresh one is taken, which costs no flush.
 */
static void renew_asid(const struct machine_vcpu *m, struct svm_asid *a)
{
    svm_asid_take(m->processor, a);
    a->serial = m->hw.serial;
    a->lowered = m->hw.lowered;
}

void regs_root(struct machine_vcpu *m)
{
    const struct paging_vcpu *p = &m->vcpu->paging;
    const struct paging_hw    hw = paging_hw(p);
    struct svm_asid          *a = &m->asid[hw.slot];
    struct vmcb              *b = m->vmcb;

    m->hw = hw;
    if (__builtin_expect(!svm_asid_valid(m->processor, a) || a->serial != hw.serial ||
                             a->lowered < hw.lowered,
                         0))
        renew_asid(m, a);
    m->running = a;
    m->flush |= m->processor->flush_all;
    m->seen = (struct svm_seen){ p->clock, hw.lowered, p->domain->unsynced.head };
    b->asid = a->asid;
    if (m->nested) {
        b->ncr3 = hw.cr3;
        return;
    }
    BUG_ON(b->np_enable); /* tables of ours are never walked as nested ones */
    BUG_ON((hw.levels == 3) != !(b->efer & EFER_LMA));
    BUG_ON(hw.levels == 5 && !(b->cr4 & CR4_LA57));
    b->cr3 = hw.cr3;
    b->intercept_misc1 =
        (b->intercept_misc1 & ~SVM_INVLPG) | (hw.intercept_invlpg ? SVM_INVLPG : 0);
}

void regs_root_check(struct machine_vcpu *m)
{
    const struct paging_vcpu   *p = &m->vcpu->paging;
    const struct paging_domain *d = p->domain;
    const struct svm_asid      *a = m->running;

    /* While it runs, nobody else takes ASIDs on this processor: it is valid if it has one. */
    if (!a || a->asid == 0 || p->current != m->hw.slot ||
        p->root[p->current].serial != m->hw.serial || d->lowered > a->lowered ||
        m->hw.intercept_invlpg != (d->unsynced.head != 0))
        regs_root(m);
    else
        m->seen = (struct svm_seen){ p->clock, d->lowered, d->unsynced.head };
}

/*
 * Only the vCPU that is in the guest on this CPU can hold translations that its next entry
 * does not look at: all others compare the domain's counter when they enter (regs_root).
 * INVLPGA knows no guest-physical addresses, so under nested paging the ASID goes; and it is not
 * said to take addresses that are not canonical for us, such as five levels of a guest's have.
 */
void svm_flush(struct domain *d, const struct verdict *verdict)
{
    struct vcpu     *v = this_cpu()->current;
    struct svm_asid *a = v && v->domain == d && v->machine ? v->machine->running : NULL;

    if (verdict->flush == FLUSH_NONE || !a)
        return;
    if (verdict->flush == FLUSH_ALL || v->machine->nested || v->machine->hw.levels == 5) {
        a->asid = 0;
        regs_root_lost(v->machine);
    } else if (svm_asid_valid(v->machine->processor, a)) {
        __asm__ volatile("invlpga %0, %1" ::"a"(verdict->va.raw), "c"(a->asid) : "memory");
        a->lowered = d->paging.lowered;
        v->machine->seen.lowered = a->lowered;
    }
}
