/*
 * From the VMCB to an instruction and back. The processor tells neither bytes nor length
 * (decode assists and next-RIP are not relied on), so the bytes are fetched anew at each
 * exit that needs them, by the guest's own rights, and must be an instruction that causes
 * this exit: another vCPU may have changed them meanwhile. If they are not, nothing is
 * retired and the guest runs what is there now.
 */
#include "x86/svm/svm.h"

#include "hv/guest.h"
#include "x86/ioport.h"

#define STRING_BUDGET 256 /* iterations of one REP between two entries */
#define FXSAVE_XMM    160 /* offset of XMM0: APM vol. 2, 11.4.4 */
#define DR6_BS        (1u << 14)

/* ---- fetching ---- */

static gva_t code_address(const struct machine_vcpu *m, unsigned offset)
{
    uint64_t rip = m->vmcb->rip + offset;

    return gva_of(regs_is_64bit(m) ? rip : (uint32_t)(m->vmcb->cs.base + rip));
}

static unsigned user_access(const struct machine_vcpu *m)
{
    return m->vmcb->cpl == 3 ? ACC_USER : 0u;
}

/* At most `want` bytes from RIP + offset, within one page. */
static unsigned fetch_page(struct machine_vcpu *m, uint8_t *to, unsigned offset, unsigned want)
{
    struct vcpu        *v = m->vcpu;
    gva_t               va = code_address(m, offset);
    unsigned            at = (unsigned)(va.raw & PAGE_MASK);
    struct paging_reach r =
        paging_reach(domain_lock(v->domain), &v->paging, va, ACC_FETCH | user_access(m));

    if (r.kind == REACH_FAULT)
        return 0;
    vcpu_flush(v->domain, &r.flush);
    if (r.kind != REACH_RAM)
        return 0;
    if (want > PAGE_SIZE - at)
        want = (unsigned)PAGE_SIZE - at;
    __builtin_memcpy(to, (const uint8_t *)phys_ptr(&machine_phys, r.mfn) + at, want);
    return want;
}

unsigned insn_fetch(struct machine_vcpu *m, uint8_t bytes[INSN_BYTES_MAX])
{
    return fetch_page(m, bytes, 0, INSN_BYTES_MAX);
}

static enum insn_mode mode_of(const struct machine_vcpu *m)
{
    if (regs_is_64bit(m))
        return INSN_MODE_64;
    return m->vmcb->cs.attributes & SVM_SEG_DB ? INSN_MODE_32 : INSN_MODE_16;
}

static const struct insn *decode(struct machine_vcpu *m, uint8_t bytes[INSN_BYTES_MAX],
                                 unsigned have)
{
    struct insn_cache *cache = &svm_this_cpu()->insns;
    enum insn_status   status;
    const struct insn *insn = insn_lookup(cache, mode_of(m), bytes, have, &status);

    if (!insn && status == INSN_MORE && have && have < INSN_BYTES_MAX) {
        have += fetch_page(m, bytes + have, have, INSN_BYTES_MAX - have);
        insn = insn_lookup(cache, mode_of(m), bytes, have, &status);
    }
    return insn;
}

/* ---- the guest's registers for the emulator ---- */

static void read_xmm(void *context, unsigned index, void *to)
{
    struct machine_vcpu *m = context;

    svm_cpu_save_fpu(m->vcpu);
    __builtin_memcpy(to, m->fpu + FXSAVE_XMM + 16 * index, 16);
}

static void write_xmm(void *context, unsigned index, const void *from)
{
    struct machine_vcpu *m = context;

    svm_cpu_save_fpu(m->vcpu);
    __builtin_memcpy(m->fpu + FXSAVE_XMM + 16 * index, from, 16);
    svm_cpu_load_fpu(m->vcpu);
}

static bool uses_fs_or_gs(const struct insn *insn)
{
    if (insn->segment == SEG_FS || insn->segment == SEG_GS)
        return true;
    for (unsigned i = 0; i < insn->operands && i < INSN_OPERANDS; i++)
        if (insn->operand[i].type == OPERAND_MEMORY &&
            (insn->operand[i].segment == SEG_FS || insn->operand[i].segment == SEG_GS))
            return true;
    return false;
}

static void load_cpu(struct machine_vcpu *m, const struct insn *insn)
{
    const struct paging_regs *r = &m->vcpu->paging.regs;
    struct emu_cpu           *c = &m->cpu;

    if (uses_fs_or_gs(insn))
        svm_cpu_save_segments(m->vcpu);
    c->rip = m->vmcb->rip;
    c->rflags = m->vmcb->rflags;
    c->cr0 = r->cr0;
    c->cr4 = r->cr4;
    c->efer = r->efer;
    c->cpl = m->vmcb->cpl;
    /* ES CS SS DS FS GS lie in this order in the VMCB, in the emulator's own form. */
    c->segment = (const struct emu_segment *)&m->vmcb->es;
    c->xmm_context = m;
    c->read_xmm = read_xmm;
    c->write_xmm = write_xmm;
}
_Static_assert(sizeof(struct emu_segment) == sizeof(struct svm_segment) &&
                   offsetof(struct emu_segment, base) == offsetof(struct svm_segment, base) &&
                   offsetof(struct emu_segment, limit) == offsetof(struct svm_segment, limit) &&
                   offsetof(struct vmcb, gs) ==
                       offsetof(struct vmcb, es) + SEG_GS * sizeof(struct svm_segment),
               "the emulator reads the segments in the VMCB");

const struct insn *insn_at(struct machine_vcpu *m)
{
    uint8_t            bytes[INSN_BYTES_MAX];
    const struct insn *insn = decode(m, bytes, insn_fetch(m, bytes));

    if (insn)
        load_cpu(m, insn);
    return insn;
}

/* The form without prefixes, which is nearly always the one. */
static unsigned plain_length(enum insn_kind kind, const uint8_t *b, unsigned have)
{
    bool escape = have >= 2 && b[0] == 0x0f;

    switch (kind) {
    case INSN_CPUID:
        return escape && b[1] == 0xa2 ? 2 : 0;
    case INSN_RDMSR:
        return escape && b[1] == 0x32 ? 2 : 0;
    case INSN_WRMSR:
        return escape && b[1] == 0x30 ? 2 : 0;
    case INSN_HLT:
        return have >= 1 && b[0] == 0xf4 ? 1 : 0;
    case INSN_VMMCALL:
        return escape && have >= 3 && b[1] == 0x01 && b[2] == 0xd9 ? 3 : 0;
    default:
        return 0;
    }
}

unsigned insn_plain(struct machine_vcpu *m, enum insn_kind kind)
{
    uint8_t            bytes[INSN_BYTES_MAX];
    unsigned           have = insn_fetch(m, bytes);
    unsigned           length = plain_length(kind, bytes, have);
    const struct insn *insn;

    if (length)
        return length;
    insn = decode(m, bytes, have);
    return insn && insn->kind == kind ? insn->length : 0;
}

/* ---- retiring ---- */

void insn_retire_to(struct machine_vcpu *m, uint64_t rip)
{
    struct vmcb *b = m->vmcb;

    b->rip = regs_is_64bit(m) ? rip : (uint32_t)rip;
    b->interrupt_shadow = 0;
    b->rflags &= ~RFLAGS_RF;
    if (b->rflags & RFLAGS_TF) {
        b->dr6 |= DR6_BS;
        inject_exception(m, VECTOR_DB);
    }
}

void insn_retire(struct machine_vcpu *m, unsigned length)
{
    insn_retire_to(m, m->vmcb->rip + length);
}

/* ---- emulation ---- */

/* What the callbacks need, and what they leave for us. */
struct reach {
    struct machine_vcpu *m;
    struct guest_result  fault;
    bool                 device;
};

static unsigned explicit_access(const struct machine_vcpu *m)
{
    return user_access(m) | (m->vmcb->rflags & RFLAGS_AC ? ACC_AC : 0u);
}

static enum emu_status finish(struct reach *reach, struct guest_result r)
{
    if (r.status == GUEST_FAULT) {
        reach->fault = r;
        return EMU_FAULT;
    }
    if (r.status == GUEST_DEVICE)
        reach->device = true;
    return EMU_OK;
}

/* Where nothing is, all ones are read. */
static enum emu_status memory_read(void *context, uint64_t linear, void *to, unsigned length,
                                   enum emu_access access)
{
    struct reach       *reach = context;
    unsigned            acc = explicit_access(reach->m) | (access == EMU_MODIFY ? ACC_WRITE : 0u);
    struct guest_result r;

    __builtin_memset(to, 0xff, length);
    r = guest_read(reach->m->vcpu, gva_of(linear), to, length, acc);
    return finish(reach, r);
}

static enum emu_status memory_write(void *context, uint64_t linear, const void *from,
                                    unsigned length)
{
    struct reach *reach = context;

    return finish(reach, guest_write(reach->m->vcpu, gva_of(linear), from, length,
                                     explicit_access(reach->m)));
}

static enum emu_status memory_cmpxchg(void *context, uint64_t linear, void *old,
                                      const void *desired, unsigned length, bool *done)
{
    struct reach       *reach = context;
    uint8_t             ones[16];
    struct guest_result r = guest_cmpxchg(reach->m->vcpu, gva_of(linear), old, desired, length,
                                          explicit_access(reach->m), done);

    if (r.status == GUEST_DEVICE) {
        __builtin_memset(ones, 0xff, sizeof(ones));
        *done = __builtin_memcmp(old, ones, length) == 0;
        __builtin_memset(old, 0xff, length);
    }
    return finish(reach, r);
}

static struct emu_memory memory_of(struct reach *reach)
{
    return (struct emu_memory){
        .context = reach, .read = memory_read, .write = memory_write, .cmpxchg = memory_cmpxchg
    };
}

/* Nobody knows this instruction: its table is forgotten, and the guest runs it itself. */
static void give_up(struct machine_vcpu *m, const struct verdict *verdict)
{
    struct domain       *d = m->vcpu->domain;
    struct paging_locked lock = domain_lock(d);
    struct paging_reach  reach = paging_reach_gpa(lock, verdict->gpa);
    struct verdict       done;

    if (verdict->kind == VERDICT_EMULATE && reach.kind == REACH_RAM) {
        done = paging_unshadow(lock, reach.mfn);
        vcpu_flush(d, &done);
        if (done.kind == VERDICT_CRASH)
            domain_crash(d, "%s", done.why);
        return;
    }
    domain_crash(d,
                 "the instruction at rip 0x%lx, which reaches for 0x%lx where no memory is, "
                 "is not known to the emulator",
                 m->vmcb->rip, verdict->gpa);
}

static void store_cpu(struct machine_vcpu *m, const struct emu_result *r)
{
    m->vmcb->rflags = m->cpu.rflags;
    if (r->outcome == EMU_DONE || r->outcome == EMU_PARTIAL) {
        m->vmcb->rip = m->cpu.rip;
        m->vmcb->interrupt_shadow = 0;
        if (r->single_step) {
            m->vmcb->dr6 |= DR6_BS;
            inject_exception(m, VECTOR_DB);
        }
    }
}

/* A #GP and its like from the emulator. */
static void inject_result(struct machine_vcpu *m, const struct emu_result *r)
{
    if (r->has_error)
        inject_error(m, r->vector, r->error_code);
    else
        inject_exception(m, r->vector);
}

void insn_emulate(struct machine_vcpu *m, const struct verdict *verdict)
{
    struct reach       reach = { .m = m };
    struct emu_memory  memory = memory_of(&reach);
    uint8_t            bytes[INSN_BYTES_MAX];
    unsigned           have = insn_fetch(m, bytes);
    const struct insn *insn;
    struct emu_result  r;

    if (!have)
        return; /* the code went away: the fetch will fault in the guest */
    insn = decode(m, bytes, have);
    if (!insn) {
        give_up(m, verdict);
        return;
    }
    load_cpu(m, insn);
    r = emulate(insn, &m->cpu, &memory, STRING_BUDGET);
    store_cpu(m, &r);
    switch (r.outcome) {
    case EMU_DONE:
    case EMU_PARTIAL:
        return;
    case EMU_EXCEPTION:
        inject_result(m, &r);
        return;
    case EMU_MEMORY:
        if (r.status == EMU_FAULT)
            inject_page_fault(m, reach.fault.va, reach.fault.pfec);
        return;
    case EMU_UNKNOWN:
        give_up(m, verdict);
        return;
    }
    __builtin_unreachable();
}

/* ---- INS and OUTS ---- */

static bool string_io_once(struct machine_vcpu *m, const struct insn *insn, uint16_t port)
{
    bool               in = insn->kind == INSN_INS;
    unsigned           pointer = in ? REG_RDI : REG_RSI, bytes = insn->operand_bytes;
    uint64_t           offset = emu_get_register(&m->cpu, pointer, insn->address_bytes);
    struct emu_address at =
        emu_linear(&m->cpu, in ? SEG_ES : insn->segment, offset, bytes, in ? EMU_WRITE : EMU_READ);
    struct reach    reach = { .m = m };
    uint32_t        value = 0;
    enum emu_status status;

    if (!at.ok) {
        inject_error(m, at.vector, 0);
        return false;
    }
    if (in) {
        value = ioport_read(m->vcpu, port, bytes);
        status = memory_write(&reach, at.linear, &value, bytes);
    } else {
        status = memory_read(&reach, at.linear, &value, bytes, EMU_READ);
    }
    if (status != EMU_OK) {
        inject_page_fault(m, reach.fault.va, reach.fault.pfec);
        return false;
    }
    if (!in)
        ioport_write(m->vcpu, port, bytes, value);
    offset += m->vmcb->rflags & RFLAGS_DF ? -(uint64_t)bytes : bytes;
    emu_set_register(&m->cpu, pointer, insn->address_bytes, offset);
    return true;
}

void insn_string_io(struct machine_vcpu *m, uint16_t port, unsigned bytes)
{
    const struct insn *insn = insn_at(m);
    uint64_t           left = 1;
    bool               rep;

    if (!insn || (insn->kind != INSN_INS && insn->kind != INSN_OUTS) ||
        insn->operand_bytes != bytes)
        return;
    rep = insn->rep != INSN_REP_NONE;
    if (rep)
        left = emu_get_register(&m->cpu, REG_RCX, insn->address_bytes);
    for (unsigned budget = STRING_BUDGET; left && budget; budget--) {
        if (!string_io_once(m, insn, port))
            return;
        left--;
        if (rep)
            emu_set_register(&m->cpu, REG_RCX, insn->address_bytes, left);
    }
    if (!left)
        insn_retire(m, insn->length);
}
