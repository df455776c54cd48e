/*
 * What a listener (hv/vm_event.h) wants to be told of besides accesses: which intercepts that takes, breakpoints
 * and debug exceptions on the way to the guest, writes to registers that wait for an answer, and events that the
 * listener injects. Without a listener nothing is intercepted for it.
 */
#include "x86/svm/fetch.h"

#include "hv/guest.h"
#include "hv/vm_event.h"
#include "x86/traps.h"

#define INSN_LENGTH_MAX 15
#define EXCEPTIONS      32
#define NO_ERROR        UINT32_MAX
#define SETTLE_TRIES    16

/* While all exceptions are intercepted (task.c) the mask waits elsewhere. */
void svm_vcpu_watch(struct vcpu *v)
{
    struct machine_vcpu *m = v->machine;
    struct vmcb         *b = m->vmcb;
    uint32_t            *mask =
        b->intercept_exceptions == UINT32_MAX ? &m->exceptions : &b->intercept_exceptions;

    *mask &= ~(1u << VECTOR_BP);
    b->intercept_misc1 &= ~SVM_SWINT;
    if (vm_event_wants(v->domain, VM_EVENT_BIT(SOFTWARE_BREAKPOINT))) {
        *mask |= 1u << VECTOR_BP;
        b->intercept_misc1 |= SVM_SWINT;
    }
    if (m->nested) {
        b->intercept_cr &= ~SVM_CR_WRITE(3);
        if (vm_event_wants_cr(v->domain, VM_EVENT_X86_CR3))
            b->intercept_cr |= SVM_CR_WRITE(3);
    }
    b->clean = 0;
}

/* ---- a write that was told ---- */

/*
 * Its exit once more: it is made now, or skipped. What cannot be finished at once is tried again after others
 * had their turn; and if the instruction is another one by now, it begins anew.
 */
void event_settle(struct machine_vcpu *m)
{
    struct vcpu *v = m->vcpu;

    regs_root(m); /* code is fetched by it */
    for (unsigned i = 0; i < SETTLE_TRIES && v->watch.gate != VM_EVENT_GATE_NONE; i++) {
        if (!vcpu_may_run(v))
            return;
        (void)svm_exit(m);
        if (m->vmcb->eventinj & SVM_EVENT_VALID)
            break;
    }
    vm_event_written(v);
}

/* ---- exceptions ---- */

static uint64_t gfn_at_rip(struct machine_vcpu *m)
{
    const struct vmcb *b = m->vmcb;
    struct paging_view view;
    gva_t              va = gva_of(regs_is_64bit(m) ? b->rip : (uint32_t)(b->cs.base + b->rip));

    paging_view(domain_lock(m->vcpu->domain), &m->vcpu->paging, va, &view);
    return view.mapped ? view.gpa >> PAGE_SHIFT : 0;
}

/*
 * INT, INT3, INTO, before they are executed: RIP stands there. INT3 comes as #BP by the manual (APM vol. 2, 15.12.4),
 * and as a software interrupt from QEMU 7.2.
 */
void event_software_interrupt(struct machine_vcpu *m)
{
    const struct insn *insn = insn_at(m);
    unsigned           length = insn != NULL ? insn->length : 0;

    switch (insn != NULL ? insn->kind : INSN_OTHER) {
    case INSN_INT:
        inject_software(m, (uint8_t)insn->operand[0].value, length);
        return;
    case INSN_INTO:
        inject_software(m, VECTOR_OF, length);
        return;
    case INSN_INT3:
        if (!vm_event_wants(m->vcpu->domain, VM_EVENT_BIT(SOFTWARE_BREAKPOINT)) ||
            !vm_event_breakpoint(m->vcpu, gfn_at_rip(m), length))
            inject_software(m, VECTOR_BP, length);
        return;
    default:
        return; /* another instruction by now */
    }
}

void event_debug(struct machine_vcpu *m, uint8_t type, unsigned length)
{
    const struct vm_event_debug what = { .pending_dbg = m->vmcb->dr6 & DR6_CAUSES,
                                         .insn_length = length,
                                         .type = type };

    if (!vm_event_wants(m->vcpu->domain, VM_EVENT_BIT(DEBUG_EXCEPTION)) ||
        !vm_event_debug(m->vcpu, gfn_at_rip(m), &what))
        inject_exception(m, VECTOR_DB);
}

/* ---- injected ---- */

bool svm_vcpu_inject(struct vcpu *v, const struct machine_event *event)
{
    struct machine_vcpu *m = v->machine;

    if (m == NULL || (m->vmcb->eventinj & SVM_EVENT_VALID))
        return false;
    switch (event->type) {
    case XEN_DMOP_EVENT_sw_int:
    case XEN_DMOP_EVENT_sw_exc:
        if (event->length > INSN_LENGTH_MAX)
            return false;
        inject_software(m, event->vector, event->length);
        return true;
    case XEN_DMOP_EVENT_hw_exc:
    case XEN_DMOP_EVENT_pri_sw_exc:
        if (event->vector >= EXCEPTIONS || event->vector == VECTOR_NMI ||
            event->length > INSN_LENGTH_MAX)
            return false;
        if (event->type == XEN_DMOP_EVENT_pri_sw_exc)
            m->vmcb->rip += event->length;
        if (event->vector == VECTOR_PF)
            m->vmcb->cr2 = event->cr2;
        if (event->error == NO_ERROR)
            inject_exception(m, event->vector);
        else
            inject_error(m, event->vector, event->error);
        return true;
    default:
        return false; /* interrupts come by event channels */
    }
}
