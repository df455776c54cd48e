/*
 * Faults on memory, from the exit to the verdict and what it asks for. Nothing is decided
 * here. APM vol. 2, 15.12.15 (#PF exits), 15.25.6 (nested faults).
 */
#include "x86/svm/svm.h"

#include "hv/access.h"
#include "hv/guest.h"

/* Pure: bits in, meaning out. P is not looked at together with RSVD: not all processors agree. */
static struct fault page_fault_of(const struct vmcb *b)
{
    uint64_t pfec = b->exitinfo1;
    bool     user = pfec & PFEC_U;

    return (struct fault){
        .va = gva_of(b->exitinfo2),
        .present = pfec & PFEC_P,
        .acc = (pfec & PFEC_W ? ACC_WRITE : 0u) | (user ? ACC_USER : 0u) |
               (pfec & PFEC_FETCH ? ACC_FETCH : 0u) |
               /* At CPL 3 a supervisor access is an implicit one, which AC does not concern. */
               ((b->rflags & RFLAGS_AC) && (user || b->cpl < 3) ? ACC_AC : 0u),
    };
}

static struct fault nested_fault_of(const struct vmcb *b)
{
    uint64_t bits = b->exitinfo1;

    return (struct fault){
        .va = gva_of(b->exitinfo2),
        .present = bits & SVM_NPF_PRESENT,
        .acc = (bits & SVM_NPF_WRITE ? ACC_WRITE : 0u) | (bits & SVM_NPF_FETCH ? ACC_FETCH : 0u) |
               (bits & SVM_NPF_WALK ? ACC_WALK : 0u),
    };
}

/*
 * An event was being delivered, so no instruction made this access: if it hit a table, that
 * one is left alone from now on and the event is delivered again.
 */
static void interrupted_delivery(struct machine_vcpu *m, const struct fault *f,
                                 const struct verdict *verdict)
{
    struct domain       *d = m->vcpu->domain;
    struct paging_locked lock = domain_lock(d);
    struct paging_reach  reach = paging_reach_gpa(lock, verdict->gpa);
    struct verdict       done;

    if (verdict->kind == VERDICT_DEVICE || reach.kind != REACH_RAM) {
        domain_crash(d, "event 0x%x delivered at rip 0x%lx through 0x%lx, where no memory is",
                     (unsigned)(m->vmcb->exitintinfo & SVM_EVENT_VECTOR), m->vmcb->rip,
                     verdict->gpa);
        return;
    }
    if (task_lift(m, f, reach.mfn))
        return;
    done = paging_unshadow(lock, reach.mfn);
    verdict_flush(d, &done);
    if (done.kind == VERDICT_CRASH)
        domain_crash(d, "%s", done.why);
}

static void fault(struct machine_vcpu *m, const struct fault *f)
{
    struct domain *d = m->vcpu->domain;
    struct verdict verdict = paging_fault(domain_lock(d), &m->vcpu->paging, f);

    verdict_flush(d, &verdict);
    if (m->step.open && !(verdict.kind == VERDICT_RETRY && verdict.step))
        step_close(m); /* what is carried out here finds them closed */
    switch (verdict.kind) {
    case VERDICT_RETRY:
        if (verdict.step)
            step_open(m);
        else if (m->lifted)
            task_deliver_again(m);
        return;
    case VERDICT_INJECT:
        m->vcpu->paging.excused = false;
        inject_page_fault(m, verdict.va, verdict.pfec);
        return;
    case VERDICT_EMULATE:
    case VERDICT_DEVICE:
        if (m->guards && task_fault(m, f))
            return;
        if (m->delivering)
            interrupted_delivery(m, f, &verdict);
        else if (verdict.kind != VERDICT_EMULATE || m->nested || !insn_store(m, f, verdict.mfn))
            insn_emulate(m, f, &verdict);
        m->vcpu->paging.excused = false;
        return;
    case VERDICT_ACCESS: /* the instruction is made again */
        access_tell(m->vcpu, &verdict, f->va, m->vmcb->rip);
        return;
    case VERDICT_CRASH:
        domain_crash(d, "%s", verdict.why);
        return;
    }
    __builtin_unreachable();
}

/* What can be done at once. False: nothing has been done. */
static bool fault_quickly(struct machine_vcpu *m, const struct fault *f)
{
    struct vcpu              *v = m->vcpu;
    struct paging_quick_fault q;

    switch (paging_fault_quickly(domain_lock(v->domain), &v->paging, f, &q)) {
    case PAGING_QUICK_NOT:
        return false;
    case PAGING_QUICK_INJECT:
        inject_page_fault(m, f->va, q.pfec);
        break;
    case PAGING_QUICK_WRITE:
        if (!insn_store(m, f, q.mfn)) {
            const struct verdict verdict = { VERDICT_EMULATE, .gpa = q.gpa, .mfn = q.mfn };

            insn_emulate(m, f, &verdict);
        }
    }
    v->paging.excused = false;
    return true;
}

void memory_page_fault(struct machine_vcpu *m)
{
    struct fault f = page_fault_of(m->vmcb);

    if (__builtin_expect(m->delivering | m->guards | (m->step.any != 0), 0) ||
        !fault_quickly(m, &f))
        fault(m, &f);
}

void memory_nested_fault(struct machine_vcpu *m)
{
    struct fault f = nested_fault_of(m->vmcb);

    fault(m, &f);
}

void memory_invlpg(struct machine_vcpu *m)
{
    struct domain     *d = m->vcpu->domain;
    const struct insn *insn = insn_at(m);
    struct emu_address at;
    struct verdict     verdict;

    if (!insn || insn->kind != INSN_INVLPG || m->vmcb->cpl)
        return;
    at = insn_address(insn, &m->cpu, 0, EMU_NONE);
    if (!at.ok) { /* a non-canonical address is no fault of INVLPG: nothing is cached for it */
        insn_retire(m, insn->length);
        return;
    }
    verdict = paging_invlpg(domain_lock(d), &m->vcpu->paging, gva_of(at.linear));
    verdict_flush(d, &verdict);
    if (verdict.kind == VERDICT_CRASH)
        domain_crash(d, "%s", verdict.why);
    else if (!verdict.again)
        insn_retire(m, insn->length);
}
