/*
 * Privileged instructions of a PV guest's kernel that the ABI promises to carry out, and CPUID by
 * the forced prefix. Each raises #GP or #UD in ring 3 first; what is not known here is the guest's
 * own exception.
 */
#include "x86/pv/pv.h"

#include "hv/vm_event.h"
#include "x86/cpu.h"
#include "x86/cpuid.h"
#include "x86/decode.h"
#include "x86/hw/cpuid.h"
#include "x86/ioport.h"

#define ERROR_IDT  UINT64_C(2) /* of #GP: a gate refused INT n. The number is not to be trusted */
#define OPCODE_INT 0xcd
/* Two bytes that are the whole instruction, the first one lowest. */
#define OPCODE_WRMSR 0x300f
#define OPCODE_RDMSR 0x320f
#define OPCODE_CLTS  0x060f
#define CR0_GUEST    (CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG)
#define CR4_GUEST    (CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT)
#define EFER_GUEST   (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)

/* Which word of struct pv_regs an encoding's number means: APM vol. 3, 1.2.7. */
#define WORD(name) (offsetof(struct pv_regs, name) / sizeof(uint64_t))
static const uint8_t word_of[16] = { WORD(rax), WORD(rcx), WORD(rdx), WORD(rbx),
                                     WORD(rsp), WORD(rbp), WORD(rsi), WORD(rdi),
                                     WORD(r8),  WORD(r9),  WORD(r10), WORD(r11),
                                     WORD(r12), WORD(r13), WORD(r14), WORD(r15) };
#undef WORD

uint64_t *pv_register(struct pv_regs *r, unsigned number)
{
    return (uint64_t *)r + word_of[number & 15];
}

void pv_registers_get(const struct pv_regs *r, uint64_t gpr[16])
{
#pragma GCC unroll 16
    for (unsigned i = 0; i < 16; i++)
        gpr[i] = ((const uint64_t *)r)[word_of[i]];
}

void pv_registers_set(struct pv_regs *r, const uint64_t gpr[16])
{
#pragma GCC unroll 16
    for (unsigned i = 0; i < 16; i++)
        ((uint64_t *)r)[word_of[i]] = gpr[i];
}

unsigned pv_fetch(struct pv_vcpu *pv, uint8_t bytes[15])
{
    uint64_t rip = pv->regs.rip, rest = PAGE_SIZE - (rip & PAGE_MASK);

    if (pv_is_shadowed(pv->vcpu->domain))
        return pv_peek(pv, gva_of(rip), bytes);
    if (pv_edge_copy_in(pv->vcpu, bytes, rip, INSN_BYTES_MAX))
        return INSN_BYTES_MAX;
    if (rest < INSN_BYTES_MAX && pv_edge_copy_in(pv->vcpu, bytes, rip, rest))
        return (unsigned)rest;
    return 0;
}

const struct insn *pv_instruction(const uint8_t *bytes, unsigned length)
{
    static struct insn_cache cache; /* one processor runs the hypervisor */
    enum insn_status         status;
    const struct insn       *insn =
        length == INSN_BYTES_MAX ? insn_cached(&cache, INSN_MODE_64, bytes) : NULL;

    if (insn)
        return insn;
    return insn_lookup(&cache, INSN_MODE_64, bytes, length, &status);
}

/* ---- CPUID ---- */

/*
 * What needs registers that the guest does not have, or pages that direct paging refuses. Memory
 * is write-back always, so PAT is of no use either.
 */
static void hide(struct cpuid *c, uint32_t leaf)
{
    const uint32_t both = F1D_VME | F1D_PSE | F1D_APIC | F1D_PGE | F1D_PAT | F1D_PSE36;

    if (leaf == LEAF_FEATURES) {
        c->ecx &= ~F1C_X2APIC;
        c->edx &= ~(both | F1D_SEP);
    } else if (leaf == LEAF_STRUCTURED) {
        c->ebx &= ~(F7B_SMEP | F7B_SMAP);
    } else if (leaf == LEAF_EXT_FEATURES) {
        c->edx &= ~(both | FED_GB1);
    }
}

void pv_cpuid(struct pv_vcpu *pv)
{
    struct pv_regs         *r = &pv->regs;
    uint32_t                leaf = (uint32_t)r->rax;
    const struct cpuid_vcpu who = {
        .vcpu = pv->vcpu->id,
        .domain = pv->vcpu->domain->id,
        .tsc_khz = (uint32_t)machine_ticks_per_ms(),
    };
    struct cpuid c = cpuid_guest(cpuid_machine_policy(), &who, leaf, (uint32_t)r->rcx);

    hide(&c, leaf);
    if (leaf == LEAF_HYPERVISOR + 2)
        c.ebx = 0; /* the hypercall page comes by a note, not by an MSR */
    if (leaf == LEAF_HYPERVISOR + 4)
        c = (struct cpuid){ 0 };
    r->rax = c.eax;
    r->rbx = c.ebx;
    r->rcx = c.ecx;
    r->rdx = c.edx;
}

void pv_undefined(struct pv_vcpu *pv)
{
    static const uint8_t forced[] = { 0x0f, 0x0b, 'x', 'e', 'n', 0x0f, 0xa2 }; /* ud2, cpuid */
    uint8_t              bytes[INSN_BYTES_MAX];

    if (pv_fetch(pv, bytes) >= sizeof(forced) &&
        __builtin_memcmp(bytes, forced, sizeof(forced)) == 0) {
        uint32_t leaf = (uint32_t)pv->regs.rax, subleaf = (uint32_t)pv->regs.rcx;

        pv_cpuid(pv);
        if (!vm_event_cpuid(pv->vcpu, sizeof(forced), leaf, subleaf))
            pv->regs.rip += sizeof(forced);
        return;
    }
    pv_bounce_exception(pv, VECTOR_UD, 0);
}

/* ---- MSRs ---- */

bool pv_read_msr(struct pv_vcpu *pv, uint32_t msr, uint64_t *value)
{
    switch (msr) {
    case MSR_FS_BASE:
        *value = pv_edge_get_base(pv, PV_BASE_FS);
        return true;
    case MSR_GS_BASE:
        *value = pv_edge_get_base(pv, PV_BASE_GS_KERNEL);
        return true;
    case MSR_KERNEL_GS_BASE:
        *value = pv_edge_get_base(pv, PV_BASE_GS_USER);
        return true;
    case MSR_EFER:
        *value = EFER_GUEST;
        return true;
    case MSR_TSC:
        *value = machine_ticks();
        return true;
    case MSR_PAT:
        *value = PAT_RESET;
        return true;
    case MSR_BIOS_SIGN_ID:
        *value = 0;
        return true;
    default:
        return false;
    }
}

bool pv_write_msr(struct pv_vcpu *pv, uint32_t msr, uint64_t value)
{
    switch (msr) {
    case MSR_FS_BASE:
    case MSR_GS_BASE:
    case MSR_KERNEL_GS_BASE:
        if (!pv_is_canonical(value))
            return false;
        pv_edge_set_base(pv,
                         msr == MSR_FS_BASE   ? PV_BASE_FS
                         : msr == MSR_GS_BASE ? PV_BASE_GS_KERNEL
                                              : PV_BASE_GS_USER,
                         value);
        return true;
    case MSR_EFER:
        return (value & ~(uint64_t)EFER_LMA) == (EFER_GUEST & ~(uint64_t)EFER_LMA);
    case MSR_BIOS_SIGN_ID:
        return true;
    default:
        return false;
    }
}

static bool msr(struct pv_vcpu *pv, bool write)
{
    struct pv_regs *r = &pv->regs;
    uint64_t        value;

    if (write)
        return pv_event_write_msr(pv, (uint32_t)r->rcx, r->rdx << 32 | (uint32_t)r->rax);
    if (!pv_read_msr(pv, (uint32_t)r->rcx, &value))
        return false;
    r->rax = (uint32_t)value;
    r->rdx = value >> 32;
    return true;
}

/* ---- control and debug registers ---- */

bool pv_edge_get_control(struct pv_vcpu *pv, unsigned number, uint64_t *value)
{
    switch (number) {
    case 0:
        *value = CR0_GUEST | (pv->ts ? CR0_TS : 0);
        return true;
    case 2:
        *value = __atomic_load_n(&pv->vcpu->info->arch.cr2, __ATOMIC_RELAXED);
        return true;
    case 3:
        *value = pv->direct.root[0].raw << PAGE_SHIFT;
        return true;
    case 4:
        *value = CR4_GUEST | (pv->fsgsbase ? CR4_FSGSBASE : 0);
        return true;
    default:
        return false;
    }
}

/* Only TS may change, and FSGSBASE: all else that is written to CR4 is of no effect. */
bool pv_edge_set_control(struct pv_vcpu *pv, unsigned number, uint64_t value)
{
    switch (number) {
    case 0:
        if (((value ^ CR0_GUEST) & ~(uint64_t)CR0_TS) != 0)
            return false;
        pv_edge_set_ts(pv, value & CR0_TS);
        return true;
    case 2:
        __atomic_store_n(&pv->vcpu->info->arch.cr2, value, __ATOMIC_RELAXED);
        return true;
    case 4:
        if ((value & CR4_FSGSBASE & ~cpuid_machine_policy()->control.cr4_valid) != 0)
            return false;
        pv_cpu_set_fsgsbase(pv, value & CR4_FSGSBASE);
        return true;
    default:
        return false;
    }
}

/* ---- ports ---- */

/* There is no device: all ones, and the domain's debug console. */
static bool port_io(struct pv_vcpu *pv, const struct insn *insn)
{
    struct pv_regs            *r = &pv->regs;
    bool                       in = insn->kind == INSN_IN;
    const struct insn_operand *where = &insn->operand[in ? 1 : 0];
    uint16_t port = where->type == OPERAND_IMMEDIATE ? (uint8_t)where->value : (uint16_t)r->rdx;
    unsigned bytes = insn->operand_bytes;
    uint64_t mask = bytes == 4 ? ~UINT64_C(0) : (UINT64_C(1) << 8 * bytes) - 1;
    uint32_t value;

    if (!in) {
        ioport_write(pv->vcpu, port, bytes, (uint32_t)r->rax);
        return true;
    }
    value = ioport_read(pv->vcpu, port, bytes);
    r->rax = (r->rax & ~mask) | value;
    return true;
}

/* ---- all of them ---- */

static bool halt(struct pv_vcpu *pv)
{
    __atomic_store_n(&pv->vcpu->info->evtchn_upcall_mask, 0, __ATOMIC_RELAXED);
    vcpu_block(pv->vcpu);
    return true;
}

/* False: it is the guest's #GP. */
static bool carry_out(struct pv_vcpu *pv, const struct insn *insn)
{
    const struct insn_operand *to = &insn->operand[0], *from = &insn->operand[1];
    uint64_t                   value;

    switch ((enum insn_kind)insn->kind) {
    case INSN_RDMSR:
    case INSN_WRMSR:
        return msr(pv, insn->kind == INSN_WRMSR);
    case INSN_MOV_FROM_CR:
        if (!pv_edge_get_control(pv, from->number, &value))
            return false;
        *pv_register(&pv->regs, to->number) = value;
        return true;
    case INSN_MOV_TO_CR:
        return pv_event_write_control(pv, to->number, *pv_register(&pv->regs, from->number));
    case INSN_CLTS:
        (void)!pv_edge_write_ts(pv, false);
        return true;
    case INSN_IN:
    case INSN_OUT:
        return port_io(pv, insn);
    case INSN_HLT:
        return halt(pv);
    case INSN_INVD:
    case INSN_WBINVD:
        return true; /* no device looks past the caches */
    case INSN_CLI:
    case INSN_STI:
        /* Taken in silence, as the ABI has it: code that was written for the bare processor and
           not adapted wants no interrupts of devices, and there are none. */
        return true;
    default:
        return false;
    }
}

/* Nobody listens, so that it is never to be carried out again. */
bool pv_carry_out_usual(struct pv_vcpu *pv, uint16_t opcode)
{
    if (opcode == OPCODE_RDMSR || opcode == OPCODE_WRMSR) {
        if (!msr(pv, opcode == OPCODE_WRMSR))
            return false;
    } else if (opcode == OPCODE_CLTS) {
        pv_edge_set_ts(pv, false);
    } else {
        return false;
    }
    pv->regs.rip += sizeof(opcode);
    return true;
}

void pv_general_protection(struct pv_vcpu *pv)
{
    uint64_t           error = pv->regs.error;
    uint8_t            bytes[INSN_BYTES_MAX];
    const struct insn *insn;
    unsigned           length = pv_fetch(pv, bytes);

    if ((error & ERROR_IDT) && length >= 2 && bytes[0] == OPCODE_INT &&
        (pv->kernel || pv->trap[bytes[1]].dpl == 3)) {
        pv->regs.rip += 2;
        pv_bounce_interrupt(pv, bytes[1]);
        return;
    }
    insn = error == 0 && pv->kernel ? pv_instruction(bytes, length) : NULL;
    if (insn && carry_out(pv, insn)) {
        if (pv->vcpu->watch.gate != VM_EVENT_GATE_ASKED) /* else it comes again */
            pv->regs.rip += insn->length;
        return;
    }
    /* Not every processor has the right number there. */
    if ((error & ERROR_IDT) && length >= 2 && bytes[0] == OPCODE_INT)
        error = (uint64_t)bytes[1] << 3 | ERROR_IDT;
    pv_bounce_exception(pv, VECTOR_GP, error);
}
