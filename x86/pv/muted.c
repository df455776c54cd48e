/*
 * EMULATE_NOWRITE for a PV guest: the instruction at RIP is carried out here, and writes nothing to
 * memory. One that the emulator does not know, or of 32-bit code, is #UD.
 */
#include "hv/access.h"
#include "hv/guest.h"
#include "x86/cpu.h"
#include "x86/emulate.h"
#include "x86/pv/pv.h"
#include "x86/step.h"
#include "x86/traps.h"

#define XMM_BYTES 16

struct muted {
    struct pv_vcpu *pv;
    uint64_t        address, error; /* of a fault */
};

/* What lies within one page. */
static enum emu_status read_piece(struct muted *m, uint64_t linear, void *to, unsigned length,
                                  enum emu_access access)
{
    unsigned            acc = ACC_USER | (access == EMU_MODIFY ? ACC_WRITE : 0u);
    struct paging_reach r;

    m->address = linear;
    m->error = acc & ACC_WRITE ? PFEC_W | PFEC_U : PFEC_U;
    if (!pv_address_ok(linear, 1))
        return EMU_FAULT;
    r = access_reach(m->pv->vcpu, gva_of(linear), acc);
    if (r.kind == REACH_FAULT)
        m->error = r.pfec;
    if (r.kind != REACH_RAM)
        return EMU_FAULT;
    __builtin_memcpy(to, (const uint8_t *)phys_ptr(&machine_phys, r.mfn) + (linear & PAGE_MASK),
                     length);
    return EMU_OK;
}

static enum emu_status read_memory(void *context, uint64_t linear, void *to, unsigned length,
                                   enum emu_access access)
{
    uint64_t        rest = PAGE_SIZE - (linear & PAGE_MASK);
    unsigned        first = length < rest ? length : (unsigned)rest;
    enum emu_status status = read_piece(context, linear, to, first, access);

    if (status != EMU_OK || first == length)
        return status;
    return read_piece(context, linear + first, (uint8_t *)to + first, length - first, access);
}

static void read_xmm(void *context, unsigned index, void *to)
{
    struct pv_vcpu *pv = context;

    pv_cpu_save_fpu(pv);
    __builtin_memcpy(to, pv->fpu + FXSAVE_XMM + XMM_BYTES * index, XMM_BYTES);
}

static void write_xmm(void *context, unsigned index, const void *from)
{
    struct pv_vcpu *pv = context;

    pv_cpu_save_fpu(pv);
    __builtin_memcpy(pv->fpu + FXSAVE_XMM + XMM_BYTES * index, from, XMM_BYTES);
    pv_cpu_load_fpu(pv);
}

/* It is over, and its own trap is due, if it was; or it was not executed. */
static void finish(struct muted *m, const struct emu_result *r)
{
    struct pv_vcpu *pv = m->pv;

    if (r->outcome == EMU_EXCEPTION) {
        if (r->vector == VECTOR_NM)
            pv_edge_set_ts(pv, false);
        pv_bounce_exception(pv, r->vector, r->error_code);
    } else if (r->outcome == EMU_MEMORY) {
        pv->fault_address = m->address;
        pv_bounce_page_fault(pv, m->address, m->error);
    } else if (r->outcome == EMU_UNKNOWN) { /* and must not be done otherwise */
        pv_bounce_exception(pv, VECTOR_UD, 0);
    } else if (r->single_step) {
        pv->dr[6] |= DR6_BS;
        pv_bounce_exception(pv, VECTOR_DB, 0);
    }
}

void pv_emulate_muted(struct pv_vcpu *pv)
{
    struct pv_regs         *r = &pv->regs;
    struct muted            m = { .pv = pv };
    struct emu_segment      segment[SEGMENTS];
    struct emu_memory       seen = { .context = &m, .read = read_memory };
    const struct emu_memory memory = emu_muted(&seen);
    struct emu_cpu          cpu = {
                 .rip = r->rip,
                 .rflags = r->rflags,
                 .cr0 = CR0_PE | CR0_PG | CR0_WP,
                 .cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT,
                 .efer = EFER_LME | EFER_LMA,
                 .cpl = 3,
                 .segment = segment,
                 .xmm_context = pv,
                 .read_xmm = read_xmm,
                 .write_xmm = write_xmm,
    };
    uint8_t            bytes[INSN_BYTES_MAX];
    struct emu_result  result = { .outcome = EMU_UNKNOWN };
    const struct insn *insn = NULL;

    if (pv->ts)
        cpu.cr0 |= CR0_TS;
    pv_emulator_segments(pv, segment);
    pv_registers_get(r, cpu.gpr);
    if (pv_step_is_64bit(pv))
        insn = pv_instruction(bytes, pv_peek(pv, gva_of(r->rip), bytes));
    if (insn)
        result = emulate(insn, &cpu, &memory, 1);
    if (result.outcome == EMU_DONE || result.outcome == EMU_PARTIAL) {
        pv_registers_set(r, cpu.gpr);
        r->rip = cpu.rip;
        r->rflags = cpu.rflags;
    }
    pv->vcpu->paging.excused = false;
    finish(&m, &result);
}
