/*
 * From the VMCB to an instruction and back. The processor tells neither bytes nor length
 * (decode assists and next-RIP are not relied on), so the bytes are fetched anew at each
 * exit that needs them, by the guest's own rights, and must be an instruction that causes
 * this exit: another vCPU may have changed them meanwhile. If they are not, nothing is
 * retired and the guest runs what is there now.
 */
#include "x86/svm/fetch.h"

#include "hv/guest.h"
#include "x86/ioport.h"
#include "x86/mmio.h"

#define STRING_BUDGET 64   /* iterations: each may write a table */
#define OVERWRITE_MIN 2048 /* bytes: half a table */

static unsigned user_access(const struct machine_vcpu *m)
{
    return m->vmcb->cpl == 3 ? ACC_USER : 0u;
}

/* ---- decoding ---- */

static enum insn_mode mode_of(const struct machine_vcpu *m)
{
    if (regs_is_64bit(m))
        return INSN_MODE_64;
    return m->vmcb->cs.attributes & SVM_SEG_DB ? INSN_MODE_32 : INSN_MODE_16;
}

static const struct insn *decode(struct machine_vcpu *m, uint8_t bytes[INSN_BYTES_MAX],
                                 unsigned have)
{
    struct insn_cache *cache = &m->processor->insns;
    enum insn_mode     mode = mode_of(m);
    const struct insn *insn = have == INSN_BYTES_MAX ? insn_cached(cache, mode, bytes) : NULL;
    enum insn_status   status;

    if (insn)
        return insn;
    insn = insn_lookup(cache, mode, bytes, have, &status);
    if (!insn && status == INSN_MORE && have && have < INSN_BYTES_MAX) {
        have += fetch_code(m, bytes + have, have, INSN_BYTES_MAX - have);
        insn = insn_lookup(cache, mode, bytes, have, &status);
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

void insn_init(struct machine_vcpu *m)
{
    struct emu_cpu *c = &m->cpu;

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

/* What changes from exit to exit; the control registers are kept by regs_load. */
static void load_cpu(struct machine_vcpu *m, const struct insn *insn)
{
    struct emu_cpu *c = &m->cpu;

    if (insn->own_base)
        svm_cpu_save_segments(m->vcpu);
    c->rip = m->vmcb->rip;
    c->rflags = m->vmcb->rflags;
    c->cpl = m->vmcb->cpl;
}

const struct insn *insn_at(struct machine_vcpu *m)
{
    uint8_t            bytes[INSN_BYTES_MAX];
    const struct insn *insn = decode(m, bytes, fetch(m, bytes));

    if (insn)
        load_cpu(m, insn);
    return insn;
}

/* The first four bytes, what is not there being 0. */
static uint32_t first_bytes(const uint8_t *bytes, unsigned have)
{
    uint32_t word = 0;

    if (have >= sizeof(word))
        __builtin_memcpy(&word, bytes, sizeof(word));
    else
        for (unsigned i = 0; i < have; i++)
            word |= (uint32_t)bytes[i] << 8 * i;
    return word;
}

unsigned insn_plain_slowly(struct machine_vcpu *m, enum insn_kind kind)
{
    uint8_t            bytes[INSN_BYTES_MAX];
    unsigned           have = fetch(m, bytes);
    unsigned           length = insn_plain_length(kind, first_bytes(bytes, have));
    const struct insn *insn;

    if (length)
        return length;
    insn = decode(m, bytes, have);
    return insn && insn->kind == kind ? insn->length : 0;
}

unsigned insn_length(struct machine_vcpu *m, uint8_t *bytes, unsigned have)
{
    enum insn_status   status;
    const struct insn *insn = insn_lookup(&m->processor->insns, mode_of(m), bytes, have, &status);

    return insn ? insn->length : 0;
}

/* ---- retiring ---- */

/* The trap after an instruction that began with TF set: APM vol. 2, 13.1.4. */
void insn_single_step(struct machine_vcpu *m)
{
    m->vmcb->dr6 |= DR6_BS;
    inject_exception(m, VECTOR_DB);
}

/* ---- emulation ---- */

/*
 * What the callbacks need, and what they leave for us. The page whose access ended in the verdict
 * has been translated for a write of this very kind, A and D set: it is not walked again for any
 * access of this instruction to it, as a processor would find it in its TLB.
 */
struct reach {
    struct machine_vcpu *m;
    uint64_t             page; /* linear address, or PAGE_NONE */
    mfn_t                mfn;  /* behind it */
    struct guest_result  fault;
    bool                 device;
};

#define PAGE_NONE (UINT64_C(1) << 63) /* no linear address that passes the emulator's checks */

static unsigned explicit_access(const struct machine_vcpu *m)
{
    return user_access(m) | (m->vmcb->rflags & RFLAGS_AC ? ACC_AC : 0u);
}

static void reach_init(struct reach *reach, struct machine_vcpu *m)
{
    reach->m = m;
    reach->page = PAGE_NONE;
    reach->mfn = MFN_NONE;
    reach->device = false;
}

/* Is it in the page that is translated already? Then *offset is where. */
static bool is_near(const struct reach *reach, uint64_t linear, unsigned length, unsigned *offset)
{
    uint64_t from = linear - reach->page;

    *offset = (unsigned)from;
    return from <= PAGE_SIZE - length;
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

static enum emu_status memory_read(void *context, uint64_t linear, void *to, unsigned length,
                                   enum emu_access access)
{
    struct reach       *reach = context;
    struct guest_result r;
    unsigned            acc, offset;

    if (is_near(reach, linear, length, &offset)) {
        const uint8_t *from = (const uint8_t *)phys_ptr(&machine_phys, reach->mfn) + offset;

        if (length == 8)
            __builtin_memcpy(to, from, 8);
        else
            __builtin_memcpy(to, from, length);
        return EMU_OK;
    }
    acc = explicit_access(reach->m) | (access == EMU_MODIFY ? ACC_WRITE : 0u);
    r = guest_read(reach->m->vcpu, gva_of(linear), to, length, acc);
    if (r.status == GUEST_DEVICE)
        mmio_read(reach->m->vcpu, r.gpa, (uint8_t *)to + r.done, length - (unsigned)r.done);
    return finish(reach, r);
}

static enum emu_status memory_write(void *context, uint64_t linear, const void *from,
                                    unsigned length)
{
    struct reach       *reach = context;
    struct guest_result r;
    unsigned            offset;

    if (is_near(reach, linear, length, &offset)) {
        struct domain *d = reach->m->vcpu->domain;
        struct verdict verdict = paging_write(domain_lock(d), reach->mfn, offset, from, length);

        verdict_flush(d, &verdict);
        return EMU_OK;
    }
    r = guest_write(reach->m->vcpu, gva_of(linear), from, length, explicit_access(reach->m));
    if (r.status == GUEST_DEVICE)
        mmio_write(reach->m->vcpu, r.gpa, (const uint8_t *)from + r.done,
                   length - (unsigned)r.done);
    return finish(reach, r);
}

static enum emu_status far_cmpxchg(struct reach *reach, uint64_t linear, void *old,
                                   const void *desired, unsigned length, bool *done)
{
    uint8_t             found[16];
    struct guest_result r = guest_cmpxchg(reach->m->vcpu, gva_of(linear), old, desired, length,
                                          explicit_access(reach->m), done);

    if (r.status == GUEST_DEVICE) {
        mmio_read(reach->m->vcpu, r.gpa, found, length);
        *done = __builtin_memcmp(old, found, length) == 0;
        if (*done)
            mmio_write(reach->m->vcpu, r.gpa, desired, length);
        __builtin_memcpy(old, found, length);
    }
    return finish(reach, r);
}

static enum emu_status memory_cmpxchg(void *context, uint64_t linear, void *old,
                                      const void *desired, unsigned length, bool *done)
{
    struct reach *reach = context;
    unsigned      offset;

    if (is_near(reach, linear, length, &offset)) {
        struct domain *d = reach->m->vcpu->domain;
        struct verdict verdict =
            paging_cmpxchg(domain_lock(d), reach->mfn, offset, old, desired, length, done);

        verdict_flush(d, &verdict);
        return EMU_OK;
    }
    return far_cmpxchg(reach, linear, old, desired, length, done);
}

static struct emu_memory memory_of(struct reach *reach)
{
    return (struct emu_memory){
        .context = reach, .read = memory_read, .write = memory_write, .cmpxchg = memory_cmpxchg
    };
}

/* Nobody knows this instruction: its table is forgotten, and the guest runs it itself. */
static void give_up(struct machine_vcpu *m, const struct fault *f, const struct verdict *verdict)
{
    struct domain       *d = m->vcpu->domain;
    struct paging_locked lock = domain_lock(d);
    struct paging_reach  reach = paging_reach_gpa(lock, verdict->gpa);
    struct verdict       done;

    if (task_write(m, f))
        return;
    if (verdict->kind == VERDICT_EMULATE && reach.kind == REACH_RAM) {
        done = paging_unshadow(lock, reach.mfn);
        verdict_flush(d, &done);
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
        if (r->single_step)
            insn_single_step(m);
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

/*
 * What kernels write their tables with is a MOV of a register or constant or an XCHG of a register, at
 * CPL 0, in 64-bit mode, where segments without a base check nothing, to a whole entry, which lies in
 * one page.
 */
static bool is_store(const struct insn *insn, const struct machine_vcpu *m)
{
    const struct insn_operand *to = &insn->operand[0], *from = &insn->operand[1];

    return to->type == OPERAND_MEMORY && to->bytes == 8 &&
           (from->type == OPERAND_REGISTER ||
            (from->type == OPERAND_IMMEDIATE && insn->kind == INSN_MOV)) &&
           (insn->kind == INSN_MOV || insn->kind == INSN_XCHG) && !insn->own_base &&
           m->vmcb->cpl == 0 && !(m->vmcb->rflags & (RFLAGS_TF | RFLAGS_RF));
}

bool insn_store(struct machine_vcpu *m, const struct fault *f, mfn_t mfn)
{
    struct domain             *d = m->vcpu->domain;
    const uint8_t             *code = fetch_cached(m);
    const struct insn         *insn;
    const struct insn_operand *from;
    uint8_t                    bytes[INSN_BYTES_MAX];
    struct paging_flush        flush;
    uint64_t                   value, *reg;
    unsigned                   length;
    bool                       swap;

    if (!code)
        return false;
    __builtin_memcpy(bytes, code, INSN_BYTES_MAX);
    insn = insn_cached(&m->processor->insns, INSN_MODE_64, bytes);
    if (!insn || !is_store(insn, m))
        return false;
    m->cpu.rip = m->vmcb->rip;
    if (insn_offset(insn, &m->cpu, 0) != f->va.raw || f->va.raw % 8 != 0)
        return false;
    from = &insn->operand[1];
    reg = from->type == OPERAND_REGISTER ? &m->cpu.gpr[from->number & 15] : NULL;
    swap = insn->kind == INSN_XCHG;
    length = insn->length;
    value = reg ? *reg : (uint64_t)from->value;
    flush = paging_write_entry(domain_lock(d), mfn, f->va.raw & PAGE_MASK, &value, swap);
    if (swap)
        *reg = value;
    if (flush.kind != FLUSH_NONE) {
        const struct verdict verdict = { VERDICT_RETRY, flush.kind, .va = flush.va };

        vcpu_flush(d, &verdict);
    }
    m->vmcb->rip += length;
    m->vmcb->interrupt_shadow = 0;
    return true;
}

/*
 * A page that is cleared or copied to as a whole is a table no more, or none yet: no iteration of
 * it has to be followed. True: the guest does it by itself.
 */
static bool overwrites(struct machine_vcpu *m, const struct insn *insn, mfn_t mfn)
{
    struct domain *d = m->vcpu->domain;
    struct verdict verdict;
    bool           forgotten;

    if ((insn->kind != INSN_STOS && insn->kind != INSN_MOVS) || insn->rep == INSN_REP_NONE)
        return false;
    if (emu_get_register(&m->cpu, REG_RCX, insn->address_bytes) <
        OVERWRITE_MIN / insn->operand_bytes)
        return false;
    verdict = paging_overwrite(domain_lock(d), mfn, &forgotten);
    verdict_flush(d, &verdict);
    return forgotten;
}

static void emulate_slowly(struct machine_vcpu *m, const struct insn *insn, struct reach *reach,
                           const struct fault *f, const struct verdict *verdict)
{
    struct emu_memory memory = memory_of(reach);
    struct emu_result r = emulate(insn, &m->cpu, &memory, STRING_BUDGET);

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
            inject_page_fault(m, reach->fault.va, reach->fault.pfec);
        return;
    case EMU_UNKNOWN:
        give_up(m, f, verdict);
        return;
    }
    __builtin_unreachable();
}

void insn_emulate(struct machine_vcpu *m, const struct fault *f, const struct verdict *verdict)
{
    struct reach       reach;
    uint8_t            bytes[INSN_BYTES_MAX];
    unsigned           have = fetch(m, bytes);
    const struct insn *insn;

    if (!have)
        return; /* the code went away: the fetch will fault in the guest */
    insn = decode(m, bytes, have);
    if (!insn) {
        give_up(m, f, verdict);
        return;
    }
    load_cpu(m, insn);
    reach_init(&reach, m);
    /* An implicit access, which is the supervisor's, says nothing about those of the operands. */
    if (verdict->kind == VERDICT_EMULATE && !m->nested && (f->acc & ACC_WRITE) &&
        (f->acc & (ACC_USER | ACC_AC)) == explicit_access(m)) {
        reach.page = f->va.raw & ~PAGE_MASK;
        reach.mfn = verdict->mfn;
        if (overwrites(m, insn, verdict->mfn))
            return;
    }
    emulate_slowly(m, insn, &reach, f, verdict);
}

/* ---- for a listener that wants nothing written ---- */

void insn_emulate_muted(struct machine_vcpu *m)
{
    const struct insn *insn = insn_at(m);
    struct reach       reach;
    struct emu_memory  seen, memory;
    struct emu_result  r;

    m->step.mute = false;
    reach_init(&reach, m);
    seen = memory_of(&reach);
    memory = emu_muted(&seen);
    if (insn) {
        r = emulate(insn, &m->cpu, &memory, 1);
        store_cpu(m, &r);
    }
    m->vcpu->paging.excused = false;
    if (!insn || r.outcome == EMU_UNKNOWN) /* it cannot be done, and must not be done otherwise */
        inject_exception(m, VECTOR_UD);
    else if (r.outcome == EMU_EXCEPTION)
        inject_result(m, &r);
    else if (r.outcome == EMU_MEMORY && r.status == EMU_FAULT)
        inject_page_fault(m, reach.fault.va, reach.fault.pfec);
}

/* ---- INS and OUTS ---- */

static bool string_io_once(struct machine_vcpu *m, const struct insn *insn, uint16_t port)
{
    bool               in = insn->kind == INSN_INS;
    unsigned           pointer = in ? REG_RDI : REG_RSI, bytes = insn->operand_bytes;
    uint64_t           offset = emu_get_register(&m->cpu, pointer, insn->address_bytes);
    struct emu_address at =
        emu_linear(&m->cpu, in ? SEG_ES : insn->segment, offset, bytes, in ? EMU_WRITE : EMU_READ);
    struct reach    reach;
    uint32_t        value = 0;
    enum emu_status status;

    reach_init(&reach, m);
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
