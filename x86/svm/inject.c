/*
 * Events into the guest. APM vol. 2, 8.2 (exceptions), 8.5 (priorities), 15.20 (injection),
 * 15.21 (interrupts).
 *
 * EVENTINJ is the only queue. After an exit it holds the event whose delivery was
 * interrupted, if any; an exception on top of that combines as the processor would combine
 * them. Software interrupts are not kept: RIP still points at the instruction, which is
 * executed again. An interrupt is injected when the guest takes interrupts, else a virtual
 * interrupt that is intercepted tells when it does.
 *
 * The upcall is level triggered, but after one injection the next entry is not made to exit
 * as soon as the guest takes interrupts again: its handler clears the level first. A guest
 * that leaves it set gets the next one at its next exit.
 *
 * Interrupt shadow: a processor that does not load it at VMRUN lets the window open too
 * early. That shows as a window exit at the very RIP where the shadow was: then the guest
 * runs without a window until its next exit.
 */
#include "x86/svm/svm.h"

#include "x86/platform.h"

#define SHUTDOWN_TEXT "triple fault at rip 0x%lx"
#define WINDOW        (SVM_V_IRQ | SVM_V_IGN_TPR)

static uint64_t event_of(uint8_t vector, uint64_t type)
{
    return vector | type | SVM_EVENT_VALID;
}

void inject_interrupted(struct machine_vcpu *m)
{
    struct vmcb *b = m->vmcb;
    uint64_t     info = b->exitintinfo;
    uint64_t     type = info & SVM_EVENT_TYPE;
    uint8_t      vector = (uint8_t)info;
    bool         soft;

    b->eventinj = 0;
    m->delivering = info & SVM_EVENT_VALID;
    if (!m->delivering)
        return;
    soft = type == SVM_EVENT_SOFT ||
           (type == SVM_EVENT_EXCEPTION && (vector == VECTOR_BP || vector == VECTOR_OF));
    if (soft)
        return;
    /* A virtual interrupt that the processor delivered may be reported as an exception. */
    if (type == SVM_EVENT_EXCEPTION && vector >= 32)
        info &= ~SVM_EVENT_TYPE;
    b->eventinj = info;
}

/* Does an exception of this vector take part in making a double fault? APM vol. 2, 8.2.9. */
static bool contributory(uint8_t vector)
{
    return vector == VECTOR_DE || (vector >= VECTOR_TS && vector <= VECTOR_GP);
}

static void inject(struct machine_vcpu *m, uint64_t event)
{
    uint64_t first = m->vmcb->eventinj;
    uint8_t  old = (uint8_t)first, new = (uint8_t)event;

    if ((first & SVM_EVENT_VALID) && (first & SVM_EVENT_TYPE) == SVM_EVENT_EXCEPTION) {
        bool serious = contributory(new) || new == VECTOR_PF;

        if (old == VECTOR_DF && serious) {
            domain_crash(m->vcpu->domain, SHUTDOWN_TEXT, m->vmcb->rip);
            return;
        }
        if ((contributory(old) && contributory(new)) || (old == VECTOR_PF && serious))
            event = event_of(VECTOR_DF, SVM_EVENT_EXCEPTION) | SVM_EVENT_ERROR;
    }
    m->vmcb->eventinj = event;
}

void inject_exception(struct machine_vcpu *m, uint8_t vector)
{
    inject(m, event_of(vector, SVM_EVENT_EXCEPTION));
}

void inject_error(struct machine_vcpu *m, uint8_t vector, uint32_t error)
{
    /* In real mode exceptions push no error code, and asking for one is an invalid VMCB. */
    if (!(m->vmcb->cr0 & CR0_PE))
        inject_exception(m, vector);
    else
        inject(m, event_of(vector, SVM_EVENT_EXCEPTION) | SVM_EVENT_ERROR |
                      (uint64_t)error << SVM_EVENT_ERROR_SHIFT);
}

void inject_software(struct machine_vcpu *m, uint8_t vector, unsigned length)
{
    m->lifted_length = (uint8_t)length; /* of an instruction: at most 15 */
    m->vmcb->rip += length;
    m->vmcb->eventinj = vector | SVM_EVENT_SOFT | SVM_EVENT_VALID;
}

void inject_page_fault(struct machine_vcpu *m, gva_t va, uint32_t pfec)
{
    m->vmcb->cr2 = va.raw;
    inject_error(m, VECTOR_PF, pfec);
}

bool inject_has_interrupt(const struct machine_vcpu *m)
{
    uint8_t vector;

    return vcpu_upcall(m->vcpu, &vector) || platform_interrupt(m->vcpu) ||
           lapic_pending(&m->msrs.lapic, &vector);
}

/* Takes the interrupt of highest priority: the 8259s' line passes the local APIC by. */
static uint8_t take(struct machine_vcpu *m)
{
    uint8_t vector = 0;

    if (platform_interrupt(m->vcpu))
        return platform_acknowledge(m->vcpu);
    if (lapic_pending(&m->msrs.lapic, &vector))
        lapic_accept(&m->msrs.lapic, vector);
    return vector;
}

static void set_window(struct machine_vcpu *m, bool open)
{
    struct vmcb *b = m->vmcb;

    m->window_open = open;
    if (open) {
        b->int_ctl = SVM_V_INTR_MASKING | WINDOW | 0xfull << SVM_V_PRIO_SHIFT;
        b->intercept_misc1 |= SVM_VINTR;
    } else {
        b->int_ctl = SVM_V_INTR_MASKING;
        b->intercept_misc1 &= ~SVM_VINTR;
    }
}

void inject_prepare(struct machine_vcpu *m)
{
    struct vmcb *b = m->vmcb;
    uint8_t      vector;
    bool         upcall = vcpu_upcall(m->vcpu, &vector);
    uint8_t      local;
    bool wanted = upcall || platform_interrupt(m->vcpu) || lapic_pending(&m->msrs.lapic, &local);
    bool shadow = b->interrupt_shadow & SVM_INTERRUPT_SHADOW;

    if (m->step.first) { /* nothing else before what frames are open for */
        set_window(m, false);
        return;
    }
    if (wanted && !shadow && (b->rflags & RFLAGS_IF) && !(b->eventinj & SVM_EVENT_VALID)) {
        b->eventinj = event_of(upcall ? vector : take(m), SVM_EVENT_INTR);
        wanted = platform_interrupt(m->vcpu) || lapic_pending(&m->msrs.lapic, &local);
    }
    m->shadow_held = wanted && shadow;
    m->shadow_rip = b->rip;
    set_window(m, wanted && !m->window_refused);
    m->window_refused = false;
}

void inject_window(struct machine_vcpu *m)
{
    if (m->shadow_held && m->vmcb->rip == m->shadow_rip) {
        m->vmcb->interrupt_shadow = SVM_INTERRUPT_SHADOW;
        m->window_refused = true;
    }
}
