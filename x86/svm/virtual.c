/*
 * Instructions that reach the processor we made for the guest: CPUID, MSRs, ports, control
 * registers, HLT, hypercalls. Each checks what it needs, does it, and retires.
 */
#include "x86/svm/fetch.h"

#include "hv/guest.h"
#include "hv/hypercall.h"
#include "hv/vm_event.h"
#include "x86/ioport.h"
#include "x86/platform.h"

#define HYPERCALL_SLOT  32 /* bytes of a stub in the hypercall page */
#define HYPERCALL_SLOTS (PAGE_SIZE / HYPERCALL_SLOT)

static uint64_t edx_eax(const struct machine_vcpu *m)
{
    return m->cpu.gpr[REG_RDX] << 32 | (uint32_t)m->cpu.gpr[REG_RAX];
}

void virtual_cpuid(struct machine_vcpu *m)
{
    unsigned          length = insn_plain(m, INSN_CPUID);
    uint64_t         *gpr = m->cpu.gpr;
    struct cpuid_vcpu who = {
        .vcpu = m->vcpu->id,
        .domain = m->vcpu->domain->id,
        .tsc_khz = (uint32_t)machine_ticks_per_ms(),
        .tsc_offset = m->msrs.tsc_offset,
    };
    struct cpuid c;
    uint32_t     leaf, subleaf;

    if (!length)
        return;
    leaf = (uint32_t)gpr[REG_RAX];
    subleaf = (uint32_t)gpr[REG_RCX];
    c = cpuid_guest(cpuid_machine_policy(), &who, leaf, subleaf);
    gpr[REG_RAX] = c.eax;
    gpr[REG_RBX] = c.ebx;
    gpr[REG_RCX] = c.ecx;
    gpr[REG_RDX] = c.edx;
    if (__builtin_expect(vm_event_is_on(m->vcpu->domain), 0) &&
        vm_event_cpuid(m->vcpu, length, leaf, subleaf))
        return;
    insn_retire(m, length);
}

/* ---- MSRs ---- */

/*
 * Stubs of `mov $number, %eax; vmmcall; ret`, one for each hypercall. That for iret is of no
 * use to a guest of this kind and is an undefined instruction.
 */
static void write_hypercall_page(struct machine_vcpu *m, uint64_t gpa, unsigned length)
{
    static const uint8_t call[] = { 0x0f, 0x01, 0xd9, 0xc3 }; /* vmmcall; ret */
    static const uint8_t undefined[] = { 0x0f, 0x0b };
    struct domain       *d = m->vcpu->domain;
    bool                 good = true;

    for (uint32_t nr = 0; nr < HYPERCALL_SLOTS && good; nr++) {
        uint8_t stub[HYPERCALL_SLOT] = { 0xb8 }; /* mov $imm32, %eax */

        __builtin_memcpy(stub + 1, &nr, sizeof(nr));
        __builtin_memcpy(stub + 5, call, sizeof(call));
        if (nr == __HYPERVISOR_iret)
            __builtin_memcpy(stub, undefined, sizeof(undefined));
        good = guest_phys_write(d, gpa + nr * HYPERCALL_SLOT, stub, sizeof(stub));
    }
    if (!good)
        inject_error(m, VECTOR_GP, 0);
    else
        insn_retire(m, length);
}

/* Interrupts from one vCPU to others. INIT and SIPI are accepted and start nobody. */
static void send_ipi(struct machine_vcpu *m, uint64_t icr)
{
    struct domain *d = m->vcpu->domain;
    uint64_t       mode = icr & LAPIC_ICR_MODE;

    if (mode != LAPIC_ICR_FIXED && mode != LAPIC_ICR_LOWEST)
        return;
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        struct machine_vcpu *to = d->vcpu[i] ? d->vcpu[i]->machine : NULL;

        if (!to || !lapic_addresses(&to->msrs.lapic, m->msrs.lapic.id, icr))
            continue;
        lapic_raise(&to->msrs.lapic, (uint8_t)(icr & LAPIC_ICR_VECTOR));
        vcpu_kick(d->vcpu[i]);
        if (mode == LAPIC_ICR_LOWEST)
            return;
    }
}

static void set_apic_timer(struct machine_vcpu *m)
{
    if (m->msrs.lapic.due == UINT64_MAX)
        timer_cancel(&m->apic_timer);
    else
        timer_set(&m->apic_timer, m->msrs.lapic.due);
}

void virtual_apic_timer(void *machine_vcpu)
{
    struct machine_vcpu *m = machine_vcpu;

    lapic_timer_expired(&m->msrs.lapic, machine_now());
    set_apic_timer(m);
    if (inject_has_interrupt(m))
        vcpu_kick(m->vcpu);
}

struct lapic *vcpu_lapic(const struct vcpu *v)
{
    return v->machine ? &v->machine->msrs.lapic : NULL;
}

void vcpu_apic_effect(struct vcpu *v, const struct lapic_effect *effect)
{
    if (effect->timer)
        set_apic_timer(v->machine);
    if (effect->send)
        send_ipi(v->machine, effect->icr);
    if (effect->eoi)
        platform_eoi(v->domain, effect->vector);
}

static struct msr_time now(void)
{
    return (struct msr_time){ .ticks = machine_ticks(), .now = machine_now() };
}

/* What a listener says of it, who is told even if it is #GP then. */
static enum vm_event_gate msr_gate(struct machine_vcpu *m)
{
    uint32_t msr = (uint32_t)m->cpu.gpr[REG_RCX];
    uint64_t old = 0;

    if (m->vcpu->domain->vm_event == NULL)
        return VM_EVENT_GATE_OPEN;
    (void)!msr_read(&m->msrs, msr, now(), &old);
    return vm_event_write_msr(m->vcpu, msr, old, edx_eax(m));
}

static void write_msr(struct machine_vcpu *m, unsigned length)
{
    enum vm_event_gate gate = msr_gate(m);
    struct msr_effect  effect = { .kind = MSR_EFFECT_NONE };
    bool               good = true;

    if (gate == VM_EVENT_GATE_ASKED)
        return;
    if (gate == VM_EVENT_GATE_OPEN)
        good = msr_write(&m->msrs, (uint32_t)m->cpu.gpr[REG_RCX], edx_eax(m), now(), &effect);
    if (!good || effect.kind != MSR_EFFECT_EFER)
        vm_event_written(m->vcpu);
    if (!good) {
        inject_error(m, VECTOR_GP, 0);
        return;
    }
    switch (effect.kind) {
    case MSR_EFFECT_NONE:
        break;
    case MSR_EFFECT_EFER:
        if (!regs_write_efer(m, effect.value))
            return;
        break;
    case MSR_EFFECT_PAT: /* under shadow the real one stays: our tables use its first entry only */
        if (m->nested)
            m->vmcb->g_pat = m->msrs.pat;
        break;
    case MSR_EFFECT_TSC:
        m->vmcb->tsc_offset = m->msrs.tsc_offset;
        break;
    case MSR_EFFECT_APIC:
        vcpu_apic_effect(m->vcpu, &effect.apic);
        break;
    case MSR_EFFECT_HYPERCALLS:
        write_hypercall_page(m, effect.value, length);
        return;
    }
    insn_retire(m, length);
}

void virtual_msr(struct machine_vcpu *m)
{
    bool     write = m->vmcb->exitinfo1;
    unsigned length = insn_plain(m, write ? INSN_WRMSR : INSN_RDMSR);
    uint64_t value;

    if (!length)
        return;
    if (write) {
        write_msr(m, length);
        return;
    }
    if (!msr_read(&m->msrs, (uint32_t)m->cpu.gpr[REG_RCX], now(), &value)) {
        inject_error(m, VECTOR_GP, 0);
        return;
    }
    m->cpu.gpr[REG_RAX] = (uint32_t)value;
    m->cpu.gpr[REG_RDX] = value >> 32;
    insn_retire(m, length);
}

/* ---- ports ---- */

/* All there is to know is in EXITINFO1, and the next RIP in EXITINFO2: APM vol. 2, 15.10.2. */
void virtual_io(struct machine_vcpu *m)
{
    uint64_t info = m->vmcb->exitinfo1;
    uint16_t port = (uint16_t)(info >> SVM_IO_PORT_SHIFT);
    unsigned bytes = info >> SVM_IO_SIZE_SHIFT & SVM_IO_SIZE;
    uint32_t value;

    if (info & SVM_IO_STRING) {
        insn_string_io(m, port, bytes);
        return;
    }
    if (info & SVM_IO_IN) {
        value = ioport_read(m->vcpu, port, bytes);
        emu_set_register(&m->cpu, REG_RAX, bytes, value);
    } else {
        ioport_write(m->vcpu, port, bytes, (uint32_t)emu_get_register(&m->cpu, REG_RAX, bytes));
    }
    insn_retire_to(m, m->vmcb->exitinfo2);
}

/* ---- HLT ---- */

static bool stopped_for_ever(const struct vcpu *v)
{
    return v->state == VCPU_DOWN || (v->machine->halted && !(v->machine->vmcb->rflags & RFLAGS_IF));
}

/*
 * Every vCPU has halted with interrupts off, which is how a kernel of this kind powers off.
 * Before it has set its event callback it can only be one that came to grief while booting.
 */
static void check_power_off(struct machine_vcpu *m)
{
    struct domain *d = m->vcpu->domain;

    for (unsigned i = 0; i < d->nr_vcpus; i++)
        if (d->vcpu[i] && !stopped_for_ever(d->vcpu[i]))
            return;
    if (d->callback_vector)
        domain_stop(d, SHUTDOWN_poweroff);
    else if (d->platform)
        domain_crash(d, "halted for ever, with interrupts off, at rip 0x%lx", m->vmcb->rip);
    else
        domain_crash(d, "halted while booting at rip 0x%lx", m->vmcb->rip);
}

void virtual_hlt(struct machine_vcpu *m)
{
    unsigned length = insn_plain(m, INSN_HLT);

    if (!length)
        return;
    insn_retire(m, length);
    m->halted = true; /* the run loop blocks the vCPU, unless an interrupt is there already */
    if (!(m->vmcb->rflags & RFLAGS_IF))
        check_power_off(m);
}

/* ---- hypercalls ---- */

void virtual_hypercall(struct machine_vcpu *m)
{
    uint64_t        *gpr = m->cpu.gpr;
    unsigned         length = insn_plain(m, INSN_VMMCALL);
    struct hypercall h;

    if (!length)
        return;
    if (m->vmcb->cpl || !regs_is_64bit(m)) {
        emu_set_register(&m->cpu, REG_RAX, regs_is_64bit(m) ? 8 : 4,
                         (uint64_t)(m->vmcb->cpl ? -XEN_EPERM : -XEN_ENOSYS));
        insn_retire(m, length);
        return;
    }
    h = (struct hypercall){
        .nr = gpr[REG_RAX],
        .arg = { gpr[REG_RDI], gpr[REG_RSI], gpr[REG_RDX], gpr[10], gpr[8], gpr[9] },
    };
    if (hypercall_run(m->vcpu, &h) == HYPERCALL_DONE) {
        gpr[REG_RAX] = (uint64_t)h.result;
        insn_retire(m, length);
        return;
    }
    gpr[REG_RDI] = h.arg[0];
    gpr[REG_RSI] = h.arg[1];
    gpr[REG_RDX] = h.arg[2];
    gpr[10] = h.arg[3];
    gpr[8] = h.arg[4];
    gpr[9] = h.arg[5];
}

/* ---- control registers ---- */

static bool write_cr(struct machine_vcpu *m, unsigned number, uint64_t value)
{
    switch (number) {
    case 0:
        return regs_write_cr0(m, value);
    case 3:
        return regs_write_cr3(m, value);
    case 4:
        return regs_write_cr4(m, value);
    case 8:
        if (value < 16) {
            lapic_set_cr8(&m->msrs.lapic, value);
            return true;
        }
        break;
    }
    inject_error(m, VECTOR_GP, 0);
    return false;
}

static uint64_t read_cr(const struct machine_vcpu *m, unsigned number)
{
    const struct paging_regs *r = &m->vcpu->paging.regs;

    switch (number) {
    case 0:
        return r->cr0;
    case 3:
        return r->cr3;
    case 4:
        return r->cr4;
    default:
        return lapic_cr8(&m->msrs.lapic);
    }
}

/* Does the decoded control register cause the exit for CR`number`? LOCK turns CR0 into CR8. */
static bool names_cr(const struct insn *insn, unsigned operand, unsigned number)
{
    unsigned named = insn->operand[operand].number;

    if (insn->operand[operand].type != OPERAND_CONTROL)
        return false;
    return named == number || (insn->lock && named == 0 && number == 8);
}

/* The 16-bit operand of LMSW or SMSW in memory; false: an exception was injected. */
static bool msw_memory(struct machine_vcpu *m, const struct insn *insn, uint16_t *word, bool write)
{
    unsigned acc = (m->vmcb->cpl == 3 ? ACC_USER : 0u) | (m->cpu.rflags & RFLAGS_AC ? ACC_AC : 0u);
    struct emu_address  at = insn_address(insn, &m->cpu, 0, write ? EMU_WRITE : EMU_READ);
    struct guest_result r;

    if (!at.ok) {
        inject_error(m, at.vector, 0);
        return false;
    }
    if (write)
        r = guest_write(m->vcpu, gva_of(at.linear), word, sizeof(*word), acc);
    else
        r = guest_read(m->vcpu, gva_of(at.linear), word, sizeof(*word), acc);
    if (r.status == GUEST_FAULT)
        inject_page_fault(m, r.va, r.pfec);
    return r.status != GUEST_FAULT;
}

static bool do_smsw(struct machine_vcpu *m, const struct insn *insn)
{
    const struct insn_operand *to = &insn->operand[0];
    uint64_t                   cr0 = m->vcpu->paging.regs.cr0;
    uint16_t                   word = (uint16_t)cr0;

    if (to->type == OPERAND_MEMORY)
        return msw_memory(m, insn, &word, true);
    emu_set_register(&m->cpu, to->number, to->bytes, cr0);
    return true;
}

static bool do_lmsw(struct machine_vcpu *m, const struct insn *insn)
{
    const struct insn_operand *from = &insn->operand[0];
    uint16_t                   word = 0xffff;

    if (from->type == OPERAND_REGISTER)
        word = (uint16_t)emu_get_register(&m->cpu, from->number, 2);
    else if (!msw_memory(m, insn, &word, false))
        return false;
    return regs_write_cr0(m, control_lmsw(m->vcpu->paging.regs.cr0, word));
}

/* Carries the instruction out if it is one that causes this exit; true: retire it. */
static bool do_cr(struct machine_vcpu *m, const struct insn *insn, unsigned number, bool write)
{
    unsigned width = insn->mode == INSN_MODE_64 ? 8 : 4;

    if (insn->kind == INSN_SMSW)
        return !write && number == 0 && do_smsw(m, insn);
    if (m->vmcb->cpl)
        return false;
    switch (insn->kind) {
    case INSN_MOV_TO_CR:
        return write && names_cr(insn, 0, number) &&
               write_cr(m, number, emu_get_register(&m->cpu, insn->operand[1].number, width));
    case INSN_MOV_FROM_CR:
        if (write || !names_cr(insn, 1, number))
            return false;
        emu_set_register(&m->cpu, insn->operand[0].number, width, read_cr(m, number));
        return true;
    case INSN_CLTS:
        return write && number == 0 && regs_write_cr0(m, m->vcpu->paging.regs.cr0 & ~CR0_TS);
    case INSN_LMSW:
        return write && number == 0 && do_lmsw(m, insn);
    default:
        return false;
    }
}

/* MOV in its plain form, which is what guests have; false: it is something else. */
static bool do_plain_cr(struct machine_vcpu *m, unsigned number, bool write)
{
    struct insn_cr cr;
    uint64_t       mask = regs_is_64bit(m) ? UINT64_MAX : UINT32_MAX;

    if (!insn_plain_cr(m, &cr) || cr.number != number || cr.write != write || m->vmcb->cpl)
        return false;
    if (!write)
        m->cpu.gpr[cr.gpr] = read_cr(m, number) & mask;
    else if (!write_cr(m, number, m->cpu.gpr[cr.gpr] & mask))
        return true;
    insn_retire(m, cr.length);
    return true;
}

void virtual_cr(struct machine_vcpu *m)
{
    unsigned           code = (unsigned)m->vmcb->exitcode;
    bool               write = code >= SVM_EXIT_CR_WRITE;
    const struct insn *insn;
    unsigned           length;

    if (do_plain_cr(m, code & 15, write))
        return;
    insn = insn_at(m);
    if (!insn)
        return;
    length = insn->length; /* the cache may forget it while guest memory is reached */
    if (do_cr(m, insn, code & 15, write))
        insn_retire(m, length);
}
