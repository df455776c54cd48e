/*
 * Task switches of guests: APM vol. 2, 12.4 and 15.14.1.
 *
 * The switch itself is made in x86/task_switch.c. A processor that intercepts it says what is to be
 * done. QEMU's emulation does not: it makes the switch itself, and loads the real CR3 from the
 * guest's TSS, by which a shadowed guest would leave its tables, whether its paging is on or not.
 * But before it changes anything it reads the first and the last byte of the outgoing TSS and
 * writes them back. So while a shadowed vCPU is in protected mode outside of long mode, there are
 * guards (paging/guard.c) at these two bytes, from the first entry on, and LTR, which moves them,
 * is intercepted. (It is in any mode: that emulation lets TR be null, and stops the machine if it is
 * when an interrupt raises the privilege. So it does when TR's type says busy, as it should.) Then each switch becomes a page fault at exactly one of them, and the event that
 * is being delivered, or the instruction, tells what it is.
 *
 * Whatever else writes to a page under guard is emulated. What the emulator does not do:
 * - a load of a segment register marks a descriptor accessed, and PUSHA: done here;
 * - an event pushes its frame onto a stack in such a page: the guard is lifted for this entry, in
 *   which the event is injected and an interrupt of ours waits: the processor delivers the one and
 *   is back by the other before the guest executes anything.
 */
#include "hv/guest.h"
#include "hv/print.h"
#include "x86/apic.h"
#include "x86/svm/svm.h"
#include "x86/task_switch.h"
#include "x86/traps.h"

#define OPCODE_PUSHA 0x60
#define TSS_BUSY     0x02u
#define TSS_32       0x08u               /* in the attributes of TR */
#define INFO_IRET    (UINT64_C(1) << 36) /* EXITINFO2 of a task switch, APM vol. 2, 15.14.1 */
#define INFO_JMP     (UINT64_C(1) << 38)
#define INFO_ERROR   (UINT64_C(1) << 44)
#define INFO_RESUME  (UINT64_C(1) << 48)

_Static_assert(offsetof(struct vmcb, gdtr) ==
                       offsetof(struct vmcb, es) + TASK_GDTR * sizeof(struct svm_segment) &&
                   offsetof(struct vmcb, ldtr) ==
                       offsetof(struct vmcb, es) + TASK_LDTR * sizeof(struct svm_segment) &&
                   offsetof(struct vmcb, idtr) ==
                       offsetof(struct vmcb, es) + TASK_IDTR * sizeof(struct svm_segment) &&
                   offsetof(struct vmcb, tr) ==
                       offsetof(struct vmcb, es) + TASK_TR * sizeof(struct svm_segment),
               "task_switch.c works on the segments in the VMCB");

/* ---- what task_switch.c needs ---- */

struct reach {
    struct machine_vcpu *m;
    struct guest_result  fault;
};

/* Where no memory is, all ones are read and writes are lost. */
static bool finish(struct reach *reach, struct guest_result r)
{
    if (r.status == GUEST_FAULT)
        reach->fault = r;
    return r.status != GUEST_FAULT;
}

static bool memory_read(void *context, uint64_t linear, void *to, unsigned length,
                        enum emu_access access)
{
    struct reach       *reach = context;
    struct guest_result r = guest_read(reach->m->vcpu, gva_of(linear), to, length,
                                       access == EMU_MODIFY ? ACC_WRITE : 0);

    if (r.status == GUEST_DEVICE)
        __builtin_memset((uint8_t *)to + r.done, 0xff, length - r.done);
    return finish(reach, r);
}

static bool memory_write(void *context, uint64_t linear, const void *from, unsigned length)
{
    struct reach *reach = context;

    return finish(reach, guest_write(reach->m->vcpu, gva_of(linear), from, length, 0));
}

static bool enter_task(void *context, const uint32_t *cr3)
{
    return regs_enter_task(((struct reach *)context)->m, cr3);
}

static struct task_memory memory_of(struct reach *reach)
{
    return (struct task_memory){
        .context = reach, .read = memory_read, .write = memory_write, .enter = enter_task
    };
}

static struct task_cpu cpu_of(struct machine_vcpu *m)
{
    struct vmcb    *b = m->vmcb;
    struct task_cpu cpu;

    svm_cpu_save_segments(m->vcpu);
    cpu = (struct task_cpu){
        .gpr = m->cpu.gpr,
        .rip = b->rip,
        .rflags = b->rflags,
        .dr7 = b->dr7,
        .cr0 = m->vcpu->paging.regs.cr0,
        .cpl = b->cpl,
    };
    __builtin_memcpy(cpu.segment, &b->es, sizeof(cpu.segment));
    return cpu;
}

uint16_t task_tr_attributes(uint16_t attributes)
{
    return svm_task_switches_seen() ? attributes : (uint16_t)(attributes & ~TSS_BUSY);
}

static void store_cpu(struct machine_vcpu *m, const struct task_cpu *cpu)
{
    struct vmcb *b = m->vmcb;

    b->rip = cpu->rip;
    b->rflags = cpu->rflags;
    b->dr7 = cpu->dr7;
    b->cpl = cpu->cpl;
    __builtin_memcpy(&b->es, cpu->segment, sizeof(cpu->segment));
    b->tr.attributes = task_tr_attributes(b->tr.attributes);
    b->interrupt_shadow = 0;
    svm_cpu_load_segments(m->vcpu);
    task_set_guards(m);
}

static void inject_failure(struct machine_vcpu *m, const struct task_result *r,
                           const struct reach *reach)
{
    if (r->outcome == TASK_EXCEPTION)
        inject_error(m, r->vector, r->error);
    else
        inject_page_fault(m, reach->fault.va, reach->fault.pfec);
}

static void make_switch(struct machine_vcpu *m, const struct task_request *request)
{
    struct reach       reach = { .m = m };
    struct task_memory memory = memory_of(&reach);
    struct task_cpu    cpu = cpu_of(m);
    struct task_result r = task_switch(&cpu, &memory, request);

    if (r.in_new_task) {
        m->vmcb->eventinj = 0; /* the event that brought us here has been delivered */
        store_cpu(m, &cpu);
    }
    if (r.outcome != TASK_DONE) {
        inject_failure(m, &r, &reach);
    } else if (r.trap) {
        m->vmcb->dr6 |= DR6_BT;
        inject_exception(m, VECTOR_DB);
    }
}

/* ---- what kind of switch ---- */

static bool is_software(uint64_t info)
{
    uint64_t type = info & SVM_EVENT_TYPE;
    uint8_t  vector = (uint8_t)info;

    return type == SVM_EVENT_SOFT ||
           (type == SVM_EVENT_EXCEPTION && (vector == VECTOR_BP || vector == VECTOR_OF));
}

/* Events that save RF: APM vol. 2, 3.1.6. */
static bool is_fault(uint64_t info)
{
    uint8_t vector = (uint8_t)info;

    return (info & SVM_EVENT_TYPE) == SVM_EVENT_EXCEPTION && vector < 32 && vector != VECTOR_DB &&
           !is_software(info);
}

/* Length of the instruction at RIP if it is one that can lead to a task like this; 0: it is not. */
static unsigned length_of(struct machine_vcpu *m, enum task_source source)
{
    const struct insn *insn = insn_at(m);

    switch (insn ? insn->kind : INSN_OTHER) {
    case INSN_JMP_FAR:
        return source == TASK_JMP ? insn->length : 0;
    case INSN_CALL_FAR:
        return source == TASK_CALL ? insn->length : 0;
    case INSN_IRET:
        return source == TASK_IRET ? insn->length : 0;
    case INSN_INT:
    case INSN_INT3:
    case INSN_INTO:
        return source == TASK_EVENT ? insn->length : 0;
    default:
        return 0;
    }
}

/* The outgoing task goes on behind the instruction, or, after an event, at it. */
static void switch_from(struct machine_vcpu *m, struct task_request *request)
{
    bool     event = request->source == TASK_EVENT;
    bool     software = event && is_software(m->vmcb->exitintinfo);
    unsigned length = 0;

    request->external = event && !software;
    if (!event || software) {
        length = length_of(m, request->source);
        if (!length)
            return; /* another instruction by now: the guest runs it */
    }
    request->next_eip = (uint32_t)(m->vmcb->rip + length);
    make_switch(m, request);
}

void task_exit(struct machine_vcpu *m)
{
    uint64_t            info = m->vmcb->exitinfo2;
    struct task_request request = {
        .source = info & INFO_IRET  ? TASK_IRET
                  : info & INFO_JMP ? TASK_JMP
                  : m->delivering   ? TASK_EVENT
                                    : TASK_CALL,
        .selector = (uint16_t)m->vmcb->exitinfo1,
        .resume = info & INFO_RESUME,
        .has_error = info & INFO_ERROR,
        .error = (uint32_t)info,
    };

    switch_from(m, &request);
}

/* ---- guards ---- */

/*
 * While the guard is lifted no other event may be delivered: one that comes of the delivery itself,
 * which has got as far as its pushes before, would be a surprise, and ends in svm_exit.
 */
static void intercept_exceptions(struct machine_vcpu *m, bool all)
{
    uint32_t *intercepts = &m->vmcb->intercept_exceptions;

    if (all && *intercepts != UINT32_MAX) {
        m->exceptions = *intercepts;
        *intercepts = UINT32_MAX;
    } else if (!all && *intercepts == UINT32_MAX) {
        *intercepts = m->exceptions;
    }
}

static __attribute__((noinline)) void change_guards(struct machine_vcpu *m, bool wanted)
{
    struct paging_locked lock = domain_lock(m->vcpu->domain);
    struct vmcb         *b = m->vmcb;

    m->guards = wanted;
    if (wanted) {
        gva_t va[PAGING_GUARDS];

        svm_cpu_save_segments(m->vcpu);
        va[0] = gva_of((uint32_t)b->tr.base);
        va[1] = gva_of((uint32_t)(b->tr.base +
                                  (b->tr.attributes & TSS_32 ? TASK_BYTES - 1 : TASK16_BYTES - 1)));
        paging_guard_set(lock, &m->vcpu->paging, va);
    } else {
        task_end_lift(m);
        paging_guard_set(lock, &m->vcpu->paging, NULL);
    }
}

void task_set_guards_32(struct machine_vcpu *m)
{
    const struct paging_regs *r = &m->vcpu->paging.regs;
    bool                      wanted =
        !(r->efer & EFER_LMA) && (r->cr0 & CR0_PE) && !m->nested && !svm_task_switches_seen();

    if (wanted || m->guards)
        change_guards(m, wanted);
}

void task_end_lift(struct machine_vcpu *m)
{
    m->lifted = false;
    intercept_exceptions(m, false);
}

/* The event is injected again; INT instructions are not executed again, but injected too. */
static void keep_event(struct machine_vcpu *m)
{
    uint64_t info = m->vmcb->exitintinfo;

    m->lifted_length = is_software(info) ? (uint8_t)length_of(m, TASK_EVENT) : 0;
    if (!m->lifted_length)
        return;
    m->vmcb->eventinj = info;
    m->vmcb->rip += m->lifted_length;
}

void task_interrupted(struct machine_vcpu *m)
{
    m->vmcb->rip -= m->lifted_length;
    m->lifted_length = 0;
}

void task_deliver_again(struct machine_vcpu *m)
{
    if (m->delivering)
        keep_event(m);
}

bool task_lift(struct machine_vcpu *m, const struct fault *f, mfn_t mfn)
{
    struct paging_locked lock = domain_lock(m->vcpu->domain);
    struct verdict       verdict;

    if (!m->guards || !phys_frame(&machine_phys, mfn)->guest.guarded)
        return false;
    paging_guard_lift(lock, mfn);
    verdict = paging_fault(lock, &m->vcpu->paging, f); /* makes it writable */
    verdict_flush(m->vcpu->domain, &verdict);
    if (verdict.kind == VERDICT_CRASH)
        domain_crash(m->vcpu->domain, "%s", verdict.why);
    m->lifted = true;
    keep_event(m);
    return true;
}

/* Only the delivery of an event that is no task switch may happen without guards. */
static bool stays_lifted(struct machine_vcpu *m)
{
    uint64_t           event = m->vmcb->eventinj;
    struct reach       reach = { .m = m };
    struct task_memory memory = memory_of(&reach);
    struct task_cpu    cpu;
    uint16_t           tss;

    if (!m->lifted || !m->delivering || !(event & SVM_EVENT_VALID))
        return false;
    cpu = cpu_of(m);
    return task_find_event(&cpu, &memory, (uint8_t)event, is_software(event), &tss) == TASK_NONE;
}

void task_before_entry(struct machine_vcpu *m)
{
    struct domain *d = m->vcpu->domain;
    struct verdict verdict;

    m->lifted = stays_lifted(m);
    intercept_exceptions(m, m->lifted);
    if (m->lifted) {
        apic_interrupt_self(VECTOR_SELF);
        return;
    }
    verdict = paging_guard(domain_lock(d), &m->vcpu->paging);
    verdict_flush(d, &verdict);
}

/* ---- writes to a guarded page ---- */

/* The selector of a far JMP or CALL; false: a page fault of its operand was injected. */
static bool far_selector(struct machine_vcpu *m, const struct insn *insn, uint16_t *selector)
{
    const struct insn_operand *op = &insn->operand[0];
    unsigned                   bytes = insn->operand_bytes;
    uint8_t                    pointer[6];
    struct emu_address         at;
    struct guest_result        r;

    if (op->type != OPERAND_MEMORY) {
        *selector = (uint16_t)(op->value >> 32);
        return true;
    }
    *selector = 0;
    at = insn_address(insn, &m->cpu, 0, EMU_READ);
    if (!at.ok || bytes + 2 > sizeof(pointer))
        return true; /* then it is no switch that was under way */
    r = guest_read(m->vcpu, gva_of(at.linear), pointer, bytes + 2,
                   m->vmcb->cpl == 3 ? ACC_USER : 0u);
    if (r.status == GUEST_FAULT)
        inject_page_fault(m, r.va, r.pfec);
    if (r.status == GUEST_OK)
        __builtin_memcpy(selector, pointer + bytes, sizeof(*selector));
    return r.status != GUEST_FAULT;
}

/* What the instruction at RIP, or the event that is being delivered, leads to. */
static enum task_found find(struct machine_vcpu *m, struct reach *reach,
                            struct task_request *request)
{
    struct task_memory memory = memory_of(reach);
    uint64_t           event = m->vmcb->exitintinfo;
    const struct insn *insn;
    struct task_cpu    cpu;
    uint16_t           selector;

    if (m->delivering) {
        cpu = cpu_of(m);
        *request = (struct task_request){ .source = TASK_EVENT,
                                          .resume = is_fault(event),
                                          .has_error = event & SVM_EVENT_ERROR,
                                          .error = (uint32_t)(event >> SVM_EVENT_ERROR_SHIFT) };
        return task_find_event(&cpu, &memory, (uint8_t)event, is_software(event),
                               &request->selector);
    }
    insn = insn_at(m);
    cpu = cpu_of(m);
    switch (insn ? insn->kind : INSN_OTHER) {
    case INSN_JMP_FAR:
    case INSN_CALL_FAR:
        *request =
            (struct task_request){ .source = insn->kind == INSN_JMP_FAR ? TASK_JMP : TASK_CALL };
        if (!far_selector(m, insn, &selector)) {
            reach->fault.status = GUEST_OK; /* injected already */
            return TASK_FOUND_FAULT;
        }
        return task_find_branch(&cpu, &memory, selector, &request->selector);
    case INSN_IRET:
        *request = (struct task_request){ .source = TASK_IRET };
        return task_find_return(&cpu, &memory, &request->selector);
    default:
        return TASK_NONE;
    }
}

bool task_fault(struct machine_vcpu *m, const struct fault *f)
{
    const struct paging_vcpu *p = &m->vcpu->paging;
    struct reach              reach = { .m = m };
    struct task_request       request;

    if (!(f->acc & ACC_WRITE) || (f->acc & ACC_USER) ||
        (f->va.raw != p->guard.va[0].raw && f->va.raw != p->guard.va[1].raw))
        return false;
    switch (find(m, &reach, &request)) {
    case TASK_NONE:
        return false;
    case TASK_FOUND_FAULT:
        if (reach.fault.status == GUEST_FAULT)
            inject_page_fault(m, reach.fault.va, reach.fault.pfec);
        return true;
    case TASK_FOUND:
        switch_from(m, &request);
        return true;
    }
    __builtin_unreachable();
}

/* PUSHA, as handlers of interrupts begin: APM vol. 3. */
static void push_all(struct machine_vcpu *m, const struct insn *insn)
{
    unsigned            bytes = insn->operand_bytes, length = insn->length;
    unsigned            width = m->vmcb->ss.attributes & SVM_SEG_DB ? 4 : 2;
    uint64_t            top = m->cpu.gpr[REG_RSP] - 8 * bytes;
    struct emu_address  at = emu_linear(&m->cpu, SEG_SS, width == 4 ? (uint32_t)top : (uint16_t)top,
                                        8 * bytes, EMU_WRITE);
    uint8_t             frame[8 * 4];
    struct guest_result r;

    if (!at.ok) {
        inject_error(m, at.vector, 0);
        return;
    }
    for (unsigned i = 0; i < 8; i++)
        __builtin_memcpy(frame + i * bytes, &m->cpu.gpr[REG_RDI - i], bytes);
    r = guest_write(m->vcpu, gva_of(at.linear), frame, 8 * bytes,
                    m->vmcb->cpl == 3 ? ACC_USER : 0u);
    if (r.status == GUEST_FAULT) {
        inject_page_fault(m, r.va, r.pfec);
        return;
    }
    emu_set_register(&m->cpu, REG_RSP, width, top);
    insn_retire(m, length);
}

bool task_write(struct machine_vcpu *m, const struct fault *f)
{
    struct reach       reach = { .m = m };
    struct task_memory memory = memory_of(&reach);
    const struct insn *insn;
    struct task_cpu    cpu;

    if (!m->guards)
        return false;
    insn = insn_at(m);
    if (insn && insn->map == INSN_MAP_ONE && insn->opcode == OPCODE_PUSHA &&
        insn->operand_bytes <= 4) {
        push_all(m, insn);
        return true;
    }
    cpu = cpu_of(m);
    return !(f->acc & ACC_USER) && task_mark_accessed(&cpu, &memory, (uint32_t)f->va.raw);
}

/* ---- LTR ---- */

static bool operand_selector(struct machine_vcpu *m, const struct insn *insn, uint16_t *selector)
{
    const struct insn_operand *from = &insn->operand[0];
    struct emu_address         at;
    struct guest_result        r;

    if (from->type == OPERAND_REGISTER) {
        *selector = (uint16_t)emu_get_register(&m->cpu, from->number, 2);
        return true;
    }
    at = insn_address(insn, &m->cpu, 0, EMU_READ);
    if (!at.ok) {
        inject_error(m, at.vector, 0);
        return false;
    }
    *selector = 0xffff; /* where no memory is */
    r = guest_read(m->vcpu, gva_of(at.linear), selector, sizeof(*selector),
                   m->vmcb->rflags & RFLAGS_AC ? ACC_AC : 0u);
    if (r.status == GUEST_FAULT)
        inject_page_fault(m, r.va, r.pfec);
    return r.status != GUEST_FAULT;
}

void task_load_tr(struct machine_vcpu *m)
{
    struct reach       reach = { .m = m };
    struct task_memory memory = memory_of(&reach);
    const struct insn *insn = insn_at(m);
    struct task_cpu    cpu;
    struct task_result r;
    unsigned           length;
    uint16_t           selector;

    if (!insn || insn->kind != INSN_LTR || m->vmcb->cpl)
        return;
    length = insn->length; /* the cache may forget it while guest memory is reached */
    if (!operand_selector(m, insn, &selector))
        return;
    cpu = cpu_of(m);
    r = task_load_register(&cpu, &memory, selector, m->vcpu->paging.regs.efer & EFER_LMA);
    if (r.outcome != TASK_DONE) {
        inject_failure(m, &r, &reach);
        return;
    }
    store_cpu(m, &cpu);
    insn_retire(m, length);
}
