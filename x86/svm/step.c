/*
 * One instruction for which frames are open (paging_domain.open), and nothing after it.
 *
 *   fault ── verdict.step ──► open ──► arm ──► VMRUN ──► disarm ──► another fault? ── step again
 *                              ▲                             │ no
 *                              └──── all that entry ────     ▼
 *                                                    frames closed, told; then the exit itself
 *
 * The whole domain waits: from the first open frame to the last closed one the run loop is not left
 * but by closing, nothing else is delivered, and no other vCPU enters. One processor runs the
 * hypervisor; with more, the domain's others must be kicked out before the first frame is opened.
 *
 * What is executed is stopped in one of two ways:
 *
 *   an instruction     by TF: APM vol. 2, 13.1.4. The guest must neither see that bit nor lose it, and
 *                      no instruction may get away from it, so that all exceptions and INTn are
 *                      intercepted, and SYSCALL and SYSRET, which load flags before the trap is due,
 *                      are undefined unless they are what stands at RIP.
 *   an event           that was being delivered: it is injected while an interrupt of ours waits, which
 *                      is taken before the handler's first instruction (as task.c does).
 *
 * What each instruction does with TF, by its class:
 *
 *   PUSHF              the image on the stack gets the guest's own TF
 *   POPF, IRET         the guest's TF is what was loaded
 *   SYSCALL            SFMASK spares TF, so that the trap comes before the kernel's first instruction;
 *                      R11 gets the guest's own TF, and SFMASK is applied by hand
 *   SYSRET             R11 is given TF, so that the trap comes after it
 *   MOV DR             DR6 is the guest's own meanwhile; it is free of causes for all others, so that
 *                      those of the trap are told from what the guest has left in it
 *   INT, INT3, INTO    intercepted; they are injected, the frames closed
 *   all others         the guest's TF is as it was
 *
 * MOV SS and POP SS hold the trap back for one more instruction, to which the frames are open too. QEMU
 * does not hold it back: RIP tells.
 */
#include "hv/access.h"
#include "hv/guest.h"
#include "x86/apic.h"
#include "x86/cpu.h"
#include "x86/svm/svm.h"
#include "x86/traps.h"

#define GPR_R11 11

/* Exceptions with an error code: APM vol. 2, 8.2. */
#define WITH_ERROR                                                                                 \
    (1u << 8 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 17 | 1u << 21)

/* ---- what stands at RIP ---- */

static gva_t linear(const struct machine_vcpu *m, uint64_t base, uint64_t offset)
{
    return gva_of(regs_is_64bit(m) ? offset : (uint32_t)(base + offset));
}

static unsigned code_at(struct machine_vcpu *m, uint64_t rip, uint8_t bytes[INSN_BYTES_MAX])
{
    return step_peek(m->vcpu, linear(m, m->vmcb->cs.base, rip), bytes, INSN_BYTES_MAX);
}

/* The instruction that may be executed together with the one before it decides what comes of TF. */
static enum step_class class_at_rip(struct machine_vcpu *m)
{
    struct svm_step *s = &m->step;
    uint8_t          bytes[INSN_BYTES_MAX];
    unsigned         have = code_at(m, m->vmcb->rip, bytes), length;
    bool             is_64bit = regs_is_64bit(m);
    enum step_class class = step_class_of(bytes, have, is_64bit);

    s->held = class == STEP_HOLDS;
    if (!s->held)
        return class;
    length = insn_length(m, bytes, have);
    s->at = m->vmcb->rip + length;
    have = length != 0 ? code_at(m, s->at, bytes) : 0;
    class = step_class_of(bytes, have, is_64bit);
    return class == STEP_HOLDS ? STEP_PLAIN : class;
}

/* The trap has come behind a MOV SS already, as on QEMU. */
static bool is_before_held(const struct machine_vcpu *m)
{
    return m->step.held && m->vmcb->rip == m->step.at;
}

/*
 * BS of DR6 after a MOV DR: what is written to DR6 (or DR4, its other name) has it from a register;
 * the other forms leave it as it was.
 */
static uint64_t bs_after_mov(struct machine_vcpu *m)
{
    uint8_t  bytes[INSN_BYTES_MAX];
    unsigned have = code_at(m, m->vmcb->rip, bytes),
             i = step_prefixes(bytes, have, regs_is_64bit(m));

    if (i + 2 >= have || bytes[i + 1] != 0x23 || (bytes[i + 2] >> 3 & 5) != 4)
        return m->vmcb->dr6 & DR6_BS;
    bool high = i != 0 && (bytes[i - 1] & 0xf1) == 0x41; /* REX.B */

    return m->cpu.gpr[(bytes[i + 2] & 7) + (high && regs_is_64bit(m) ? 8 : 0)] & DR6_BS;
}

/* ---- before ---- */

static void arm_flags(struct machine_vcpu *m)
{
    struct svm_step *s = &m->step;
    struct vmcb     *b = m->vmcb;

    s->class = class_at_rip(m);
    s->trap = b->rflags & RFLAGS_TF;
    s->dr6 = b->dr6;
    b->rflags |= RFLAGS_TF;
    if (s->class == STEP_MOV_DR)
        s->dr6 = bs_after_mov(m);
    else
        b->dr6 &= ~DR6_CAUSES;
    if (s->class == STEP_SYSCALL) {
        s->sfmask = rdmsr(MSR_SFMASK);
        wrmsr(MSR_SFMASK, s->sfmask & ~RFLAGS_TF);
    } else if (s->class == STEP_SYSRET) {
        s->r11 = m->cpu.gpr[GPR_R11];
        m->cpu.gpr[GPR_R11] |= RFLAGS_TF;
    } else {
        b->efer &= ~EFER_SCE;
    }
}

void step_before_entry(struct machine_vcpu *m)
{
    struct svm_step *s = &m->step;
    struct vmcb     *b = m->vmcb;

    s->armed = true;
    s->delivers = b->eventinj & SVM_EVENT_VALID;
    s->rip = b->rip;
    s->efer = b->efer;
    s->exceptions = b->intercept_exceptions;
    b->intercept_exceptions = UINT32_MAX;
    s->misc1 = b->intercept_misc1;
    b->intercept_misc1 |= SVM_SWINT;
    if (s->delivers)
        apic_interrupt_self(VECTOR_SELF);
    else
        arm_flags(m);
}

/* ---- after ---- */

/* The byte of the pushed flags that has TF is in memory that the processor has just written. */
static void mend_pushed(struct machine_vcpu *m)
{
    struct vmcb *b = m->vmcb;
    bool         wide = regs_is_64bit(m) || (b->ss.attributes & SVM_SEG_DB);
    uint64_t     at = wide ? m->cpu.gpr[REG_RSP] : (uint16_t)m->cpu.gpr[REG_RSP];
    gva_t        va = linear(m, b->ss.base, at + 1);
    unsigned acc = ACC_OURS | (b->cpl == 3 ? ACC_USER : 0u) | (b->rflags & RFLAGS_AC ? ACC_AC : 0u);
    uint8_t  flags;

    if (m->step.trap || guest_read(m->vcpu, va, &flags, 1, acc).status != GUEST_OK)
        return;
    flags &= (uint8_t) ~(RFLAGS_TF >> 8);
    (void)!guest_write(m->vcpu, va, &flags, 1, acc).status;
}

/* The flags as they were without us. Returns the TF by which the guest's own trap is due. */
static bool mend_flags(struct machine_vcpu *m, bool done)
{
    struct svm_step *s = &m->step;
    struct vmcb     *b = m->vmcb;
    uint64_t         own = s->trap ? RFLAGS_TF : 0, due = own;

    if (s->class == STEP_SYSCALL) {
        wrmsr(MSR_SFMASK, s->sfmask);
        if (done && (s->efer & EFER_LMA)) {
            m->cpu.gpr[GPR_R11] = (m->cpu.gpr[GPR_R11] & ~RFLAGS_TF) | own;
            own &= ~s->sfmask;
        }
        due = own;
    } else if (s->class == STEP_SYSRET) {
        m->cpu.gpr[GPR_R11] = s->r11;
        if (done && (s->efer & EFER_LMA))
            own = s->r11 & RFLAGS_TF;
        due = own;
    } else if (s->class == STEP_LOADS_FLAGS && done) {
        own = b->rflags & RFLAGS_TF;
    } else if (s->class == STEP_PUSHF && done) {
        mend_pushed(m);
    }
    b->rflags = (b->rflags & ~RFLAGS_TF) | own;
    return due != 0;
}

/*
 * The same of DR6 after a debug exception. Returns the causes that are the guest's own.
 */
static uint64_t mend_dr6(struct machine_vcpu *m)
{
    struct svm_step *s = &m->step;
    struct vmcb     *b = m->vmcb;
    bool             moved = s->class == STEP_MOV_DR;
    bool             done = moved ? b->rip != s->rip : b->dr6 & (DR6_BS | DR6_BT);
    uint64_t         hit = step_causes(b->dr6, b->dr7);

    if (is_before_held(m)) {
        done = false;
        b->dr6 = moved ? b->dr6 & ~DR6_BS : s->dr6;
    } else if (moved && done) {
        hit = DR6_BS;
        b->dr6 = (b->dr6 & ~DR6_BS) | s->dr6;
    } else if (!moved) {
        b->dr6 = s->dr6;
    }
    if (!mend_flags(m, done))
        hit &= ~DR6_BS;
    b->dr6 |= hit;
    return hit;
}

/* Everything as it was; the causes of a debug exception that is the guest's own, if it was one. */
static uint64_t disarm(struct machine_vcpu *m)
{
    struct svm_step *s = &m->step;
    struct vmcb     *b = m->vmcb;

    s->armed = false;
    b->efer = s->efer;
    b->intercept_exceptions = s->exceptions;
    b->intercept_misc1 = s->misc1;
    if (s->delivers)
        return 0;
    if (b->exitcode == SVM_EXIT_EXCEPTION + VECTOR_DB)
        return mend_dr6(m);
    (void)mend_flags(m, false);
    if (s->class != STEP_MOV_DR)
        b->dr6 = s->dr6;
    return 0;
}

void step_close(struct machine_vcpu *m)
{
    struct vcpu *v = m->vcpu;

    access_close(v, m->step.rip);
    m->step.first = v->paging.excused;
    m->step.open = v->paging.excused || m->step.each;
}

void step_open(struct machine_vcpu *m)
{
    m->step.open = m->step.first = true;
    task_deliver_again(m);
}

/* An exception of the guest's own, which was intercepted only because of the step. */
static void reflect(struct machine_vcpu *m, uint8_t vector)
{
    uint64_t info = m->vmcb->exitinfo1;

    if (vector == VECTOR_UD && !(m->vmcb->eventinj & SVM_EVENT_VALID) &&
        class_at_rip(m) != m->step.class)
        return; /* not what was looked at before, perhaps a SYSCALL */
    if (vector == VECTOR_PF)
        inject_page_fault(m, gva_of(m->vmcb->exitinfo2), (uint32_t)info);
    else if (WITH_ERROR >> vector & 1)
        inject_error(m, vector, (uint32_t)info);
    else
        inject_exception(m, vector);
}

/* Is it a fault on our tables, at which the step may go on? */
static bool is_fault_on_ours(const struct machine_vcpu *m)
{
    return m->nested ? m->vmcb->exitcode == SVM_EXIT_NPF
                     : m->vmcb->exitcode == SVM_EXIT_EXCEPTION + VECTOR_PF;
}

/* The processor was taken away from it before it was executed: it is as it was. */
static bool is_for_others(const struct machine_vcpu *m)
{
    uint64_t code = m->vmcb->exitcode;

    return !m->step.delivers && code >= SVM_EXIT_INTR && code <= SVM_EXIT_VINTR;
}

enum svm_kind step_exit(struct machine_vcpu *m)
{
    uint64_t hit = disarm(m), code = m->vmcb->exitcode;
    uint8_t  vector = (uint8_t)(code - SVM_EXIT_EXCEPTION);

    if (is_fault_on_ours(m))
        return svm_exit(m);
    if (!is_for_others(m))
        m->vcpu->paging.excused = false;
    step_close(m);
    if (code == SVM_EXIT_EXCEPTION + VECTOR_DB && !m->step.delivers) {
        if (hit != 0)
            event_debug(m, XEN_DMOP_EVENT_hw_exc, 0);
        if (m->step.each)
            access_stepped(m->vcpu, linear(m, m->vmcb->cs.base, m->vmcb->rip));
    } else if (code == SVM_EXIT_SWINT || code == SVM_EXIT_EXCEPTION + VECTOR_BP ||
               code == SVM_EXIT_EXCEPTION + VECTOR_OF) {
        event_software_interrupt(m);
    } else if (code >= SVM_EXIT_EXCEPTION && code < SVM_EXIT_EXCEPTION + 32 &&
               vector != VECTOR_MC) {
        reflect(m, vector);
    } else {
        return svm_exit(m);
    }
    return KIND_EXCEPTION;
}
