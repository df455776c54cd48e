/*
 * Bounces: the guest's kernel is made to run a handler, with a frame on its stack as Xen's ABI has
 * it (xen/arch-x86/xen-x86_64.h, callback.h). A frame is made here and copied out in one piece.
 */
#include "x86/pv/bounce.h"

#define FRAME_WORDS_MAX 12

/* What stands at the lowest addresses of a frame, below RIP. */
struct bounce {
    const struct pv_trap *trap;
    const char           *what; /* for the message when it cannot be done */
    unsigned              words;
    uint64_t              word[FRAME_WORDS_MAX];
};

/* Xen's order: RCX, R11, then what is special, then what IRETQ would pop. The rest stays as it is. */
static void begin(struct bounce *b, const struct pv_vcpu *pv, const struct pv_trap *trap,
                  const char *what)
{
    b->trap = trap;
    b->what = what;
    b->words = 2;
    b->word[0] = pv->regs.rcx;
    b->word[1] = pv->regs.r11;
}

static void finish(struct pv_vcpu *pv, struct bounce *b)
{
    const struct pv_regs *r = &pv->regs;
    uint8_t               mask = bounce_mask(pv);
    uint64_t              rsp = bounce_stack(pv, pv->kernel);
    uint64_t             *w = &b->word[b->words];

    w[0] = r->rip;
    w[1] = bounce_cs(r->cs, pv->kernel, mask);
    w[2] = bounce_rflags(r->rflags, mask);
    w[3] = r->rsp;
    w[4] = r->ss;
    b->words += 5;
    rsp -= b->words * sizeof(uint64_t);
    if (!pv->kernel)
        pv_edge_toggle(pv);
    if (b->trap->address == 0 || !pv_address_ok(b->trap->address, 1)) {
        domain_crash(pv->vcpu->domain, "%s at %lx, and its kernel has no handler for it", b->what,
                     r->rip);
        return;
    }
    if (!pv_edge_copy_out(pv->vcpu, rsp, b->word, b->words * sizeof(uint64_t))) {
        domain_crash(pv->vcpu->domain, "%s at %lx, and its kernel's stack %lx cannot be written",
                     b->what, r->rip, rsp);
        return;
    }
    bounce_enter(pv, b->trap, rsp);
}

/* Vectors for which the processor pushes an error code: APM vol. 2, 8.2. */
static bool has_error(uint8_t vector)
{
    return vector == VECTOR_DF || (vector >= VECTOR_TS && vector <= VECTOR_PF) ||
           vector == VECTOR_AC;
}

void pv_bounce_exception(struct pv_vcpu *pv, uint8_t vector, uint64_t error)
{
    struct bounce b;

    begin(&b, pv, &pv->trap[vector], "an exception");
    if (has_error(vector))
        b.word[b.words++] = error;
    finish(pv, &b);
}

void pv_bounce_interrupt(struct pv_vcpu *pv, uint8_t vector)
{
    struct bounce b;

    begin(&b, pv, &pv->trap[vector], "an INT instruction");
    finish(pv, &b);
}

void pv_bounce_page_fault(struct pv_vcpu *pv, uint64_t address, uint64_t error)
{
    __atomic_store_n(&pv->vcpu->info->arch.cr2, address, __ATOMIC_RELAXED);
    pv_bounce_exception(pv, VECTOR_PF, bounce_fault_error(pv, error));
}

void pv_bounce_syscall(struct pv_vcpu *pv, enum pv_callback which)
{
    struct bounce b;

    begin(&b, pv, &pv->callback[which], "a system call");
    finish(pv, &b);
}

void pv_bounce_event(struct pv_vcpu *pv)
{
    struct bounce b;

    begin(&b, pv, &pv->callback[PV_CALLBACK_EVENT], "an event");
    finish(pv, &b);
}

void pv_bounce_failsafe(struct pv_vcpu *pv)
{
    struct bounce b;
    uint16_t      selector[PV_SELECTORS];

    begin(&b, pv, &pv->callback[PV_CALLBACK_FAILSAFE], "a register that cannot be loaded");
    pv_cpu_selectors(selector);
    for (unsigned i = 0; i < PV_SELECTORS; i++)
        b.word[b.words++] = pv->selectors_refused ? pv->selector[i] : selector[i];
    pv->selectors_refused = false;
    pv_cpu_clear_selectors();
    finish(pv, &b);
}
