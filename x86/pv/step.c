/*
 * One instruction of a PV guest, and nothing after it: since frames are open to it
 * (paging_domain.open), since a listener has excused it, or since each is to be told.
 *
 *   ready ──► TF, IRETQ ──► the instruction ──► ring 0 ──► flags mended ──► a fault of ours? ── again
 *     ▲                                                                 │ no
 *     └───────────────────── told ◄──── frames closed, what came is dealt with
 *
 * The whole domain waits: from the first open frame to the last closed one the run loop is not left
 * but by closing, and no event is bounced. One processor runs the hypervisor.
 *
 * TF stops whatever is executed (APM vol. 2, 13.1.4), and whatever else leads out of ring 3 is the
 * end of the step as well: SYSCALL, SYSENTER, INT, a fault. No instruction of ring 3 gets away from
 * it. The guest neither sees our flag nor loses its own, for each way out leaves the flags in one
 * place, and there they are mended before anything else looks at them:
 *
 *   all that leave ring 3   RFLAGS as pushed by the processor: the guest's own TF
 *   SYSCALL                 R11 as well, from which RFLAGS come then
 *   POPF, IRET              executed: the guest's TF is what was loaded
 *   PUSHF                   executed: the image on the stack has the guest's own TF
 *
 * A trap that is the guest's own (its TF, its breakpoint) is its #DB, with BS in DR6 if its own TF
 * was set before the instruction. DR6 of the processor is free of causes at each entry.
 *
 * After MOV SS the trap may come one instruction late (8.6.1 there), to which the frames are open
 * too: then that one's class counts, and where RIP is says whether it was executed.
 */
#include "hv/access.h"
#include "hv/guest.h"
#include "x86/cpu.h"
#include "x86/pv/pv.h"
#include "x86/traps.h"

#define DESCRIPTOR_LONG (1ul << 53) /* APM vol. 2, 4.8.1 */
#define DESCRIPTOR_BIG  (1ul << 54)
#define TF_BYTE         1 /* of the flags */

/* ---- where it is ---- */

bool pv_step_is_64bit(const struct pv_vcpu *pv)
{
    return pv_cpu_descriptor((uint16_t)pv->regs.cs) & DESCRIPTOR_LONG;
}

/* The address of an offset in a segment: APM vol. 2, 4.8. Only outside of 64-bit code it has a base. */
static gva_t linear(const struct pv_vcpu *pv, uint64_t selector, uint64_t offset)
{
    uint64_t d;

    if (pv_step_is_64bit(pv))
        return gva_of(offset);
    d = pv_cpu_descriptor((uint16_t)selector);
    return gva_of((uint32_t)((d >> 16 & 0xffffff) + (d >> 32 & 0xff000000) + offset));
}

gva_t pv_step_rip(const struct pv_vcpu *pv)
{
    return linear(pv, pv->regs.cs, pv->regs.rip);
}

static unsigned length_of(const uint8_t *bytes, unsigned have, bool wide)
{
    struct insn insn;

    return insn_decode(&insn, wide ? INSN_MODE_64 : INSN_MODE_32, bytes, have) == INSN_OK
               ? insn.length
               : 0;
}

/* Of the instruction that may be executed together with the one before it decides what comes of TF. */
static void classify(struct pv_vcpu *pv)
{
    struct pv_step *s = &pv->step;
    bool            wide = pv_step_is_64bit(pv);
    uint8_t         bytes[INSN_BYTES_MAX];
    unsigned        have, length;

    s->at = pv->regs.rip;
    have = pv_peek(pv, linear(pv, pv->regs.cs, s->at), bytes);
    s->class = (uint8_t)step_class_of(bytes, have, wide);
    s->held = s->class == STEP_HOLDS;
    if (!s->held)
        return;
    length = length_of(bytes, have, wide);
    s->at += length;
    have = length != 0 ? pv_peek(pv, linear(pv, pv->regs.cs, s->at), bytes) : 0;
    s->class = (uint8_t)step_class_of(bytes, have, wide);
}

/* ---- before ---- */

static void arm(struct pv_vcpu *pv)
{
    struct pv_step *s = &pv->step;

    classify(pv);
    s->armed = true;
    s->trap = pv->regs.rflags & RFLAGS_TF;
    pv->regs.rflags |= RFLAGS_TF;
}

bool pv_step_ready(struct pv_vcpu *pv)
{
    struct pv_step *s = &pv->step;

    if (!pv_is_shadowed(pv->vcpu->domain)) { /* nobody listens any more, and nothing is forbidden */
        *s = (struct pv_step){ .open = false };
        pv->vcpu->paging.excused = false;
        return true;
    }
    if (s->due) {
        s->due = false;
        access_stepped(pv->vcpu, pv_step_rip(pv));
        return false;
    }
    if (s->mute) {
        s->mute = false;
        pv_emulate_muted(pv);
        pv_step_over(pv);
        return false;
    }
    arm(pv);
    return true;
}

/* ---- after ---- */

/* The byte of the pushed flags that has TF is in memory that the processor has just written. */
static void mend_pushed(struct pv_vcpu *pv)
{
    struct vcpu        *v = pv->vcpu;
    uint64_t            ss = pv_cpu_descriptor((uint16_t)pv->regs.ss);
    bool                narrow = !pv_step_is_64bit(pv) && !(ss & DESCRIPTOR_BIG);
    uint64_t            rsp = narrow ? (uint16_t)pv->regs.rsp : pv->regs.rsp;
    gva_t               va = linear(pv, pv->regs.ss, rsp + TF_BYTE);
    struct paging_reach r;
    struct verdict      verdict;
    unsigned            offset = (unsigned)(va.raw & PAGE_MASK);
    uint8_t             flags;

    if (pv->step.trap || !pv_address_ok(va.raw, 1))
        return;
    r = access_reach(v, va, ACC_USER | ACC_WRITE | ACC_OURS);
    if (r.kind != REACH_RAM)
        return;
    flags = ((const uint8_t *)phys_ptr(&machine_phys, r.mfn))[offset];
    flags &= (uint8_t) ~(RFLAGS_TF >> 8 * TF_BYTE);
    verdict = paging_write(domain_lock(v->domain), r.mfn, offset, &flags, 1);
    verdict_flush(v->domain, &verdict);
}

bool pv_step_disarm(struct pv_vcpu *pv, uint64_t *dr6)
{
    struct pv_step *s = &pv->step;
    struct pv_regs *r = &pv->regs;
    bool            trapped = r->vector == VECTOR_DB && (*dr6 & DR6_BS);
    bool            done = trapped && !(s->held && r->rip == s->at);
    uint64_t        own = s->trap ? RFLAGS_TF : 0;

    s->armed = false;
    if (done && s->class == STEP_PUSHF)
        mend_pushed(pv);
    if (!done || s->class != STEP_LOADS_FLAGS)
        r->rflags = (r->rflags & ~RFLAGS_TF) | own;
    if (r->vector == PV_VECTOR_SYSCALL || r->vector == PV_VECTOR_SYSCALL32)
        r->r11 = (r->r11 & ~RFLAGS_TF) | own;
    if (!trapped)
        return true;
    if (own == 0)
        *dr6 &= ~DR6_BS;
    return step_causes(*dr6, pv->dr[7]) != 0;
}

void pv_step_close(struct pv_vcpu *pv)
{
    struct pv_step *s = &pv->step;

    access_close(pv->vcpu, pv->regs.rip);
    s->first = pv->vcpu->paging.excused;
    s->open = s->first || s->each;
}

void pv_step_over(struct pv_vcpu *pv)
{
    if (!pv->step.open)
        return;
    pv->vcpu->paging.excused = false;
    pv_step_close(pv);
    pv->step.due = pv->step.each;
}

void pv_step_open(struct pv_vcpu *pv)
{
    pv->step.open = pv->step.first = true;
}

/* ---- what a listener asks for ---- */

void pv_vcpu_excuse(struct vcpu *v, bool without_writing)
{
    struct pv_step *s = &v->pv->step;

    v->paging.excused = true;
    s->mute = without_writing;
    s->open = s->first = true;
}

void pv_vcpu_single_step(struct vcpu *v, bool on)
{
    struct pv_step *s = &v->pv->step;

    s->each = on;
    s->due &= on;
    s->open = on || v->paging.excused;
}
