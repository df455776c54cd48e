/*
 * The loop that runs a PV vCPU, and what ends its turn. Ticks between an exit and the next entry
 * belong to the kind of that exit.
 */
#include "hv/preempt.h"
#include "hv/print.h"
#include "hv/trace.h"
#include "hv/vm_event.h"
#include "x86/cpu.h"
#include "x86/layout.h"
#include "x86/pv/hypercall.h"
#include "x86/traps.h"

#define FCW_RESET    0x37fu /* as FNINIT leaves it */
#define MXCSR_RESET  0x1f80u
#define MXCSR_OFFSET 24

static const char *const pv_kind_names[PV_KINDS] = {
    [PV_KIND_INTERRUPT] = "interrupt",
    [PV_KIND_HYPERCALL] = "hypercall",
    [PV_KIND_SYSCALL] = "system call",
    [PV_KIND_PAGE_FAULT] = "page fault",
    [PV_KIND_SHADOW_FAULT] = "page fault of ours",
    [PV_KIND_TABLE_WRITE] = "write to a table",
    [PV_KIND_PRIVILEGED] = "privileged instruction",
    [PV_KIND_EXCEPTION] = "exception",
    [PV_KIND_REFUSED] = "refused entry",
};

bool pv_vcpu_start(struct vcpu *v, const struct machine_start *start)
{
    struct pv_vcpu *pv = v->pv;
    uint16_t        fcw = FCW_RESET;
    uint32_t        mxcsr = MXCSR_RESET;

    pv->kernel = true;
    pv->regs.rip = start->rip;
    pv->regs.rsi = start->rsi;
    pv->regs.rsp = start->rsp;
    pv->regs.cs = SELECTOR_USER_CS64;
    pv->regs.ss = SELECTOR_USER_SS;
    pv->regs.rflags = RFLAGS_ALWAYS | RFLAGS_IF;
    __builtin_memcpy(pv->fpu, &fcw, sizeof(fcw));
    __builtin_memcpy(pv->fpu + MXCSR_OFFSET, &mxcsr, sizeof(mxcsr));
    return true;
}

/* ---- exits ---- */

/* False: it goes on, and its arguments say where. */
static bool hypercall(struct pv_vcpu *pv)
{
    struct hypercall h = pv_hypercall_begin(pv);
    bool             done = hypercall_run(pv->vcpu, &h) == HYPERCALL_DONE;

    pv_hypercall_end(pv, &h, done ? h.result : HC_AGAIN);
    return done;
}

static enum pv_kind page_fault(struct pv_vcpu *pv)
{
    uint64_t address = pv->fault_address, error = pv->regs.error, offset;
    bool     in_ldt = pv_cpu_ldt_offset(address, &offset);

    if (in_ldt) {
        if (pv_cpu_ldt_fault(address))
            return PV_KIND_PAGE_FAULT;
        address = pv->ldt.raw + offset;
    } else if (pv_is_shadowed(pv->vcpu->domain) && pv_shadow_fault(pv, address, &error)) {
        return PV_KIND_SHADOW_FAULT;
    }
    pv_step_over(pv);
    if (!in_ldt && (error & (PFEC_P | PFEC_W)) == (PFEC_P | PFEC_W) && pv_table_write(pv, address))
        return PV_KIND_TABLE_WRITE;
    pv_bounce_page_fault(pv, address, error);
    return PV_KIND_PAGE_FAULT;
}

static uint64_t take_dr6(void)
{
    uint64_t dr6;

    __asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
    __asm__ volatile("mov %0, %%dr6" ::"r"(UINT64_C(0xffff0ff0)));
    return dr6;
}

/*
 * MOV SS or QEMU may bring two at once, the second in the hypervisor: what is left of the frame is
 * ours. The guest has asked for both.
 */
static enum pv_kind lost(struct pv_vcpu *pv)
{
    struct pv_regs *r = &pv->regs;

    r->rip = r->rsp = 0;
    r->rflags = RFLAGS_ALWAYS | RFLAGS_IF;
    r->cs = SELECTOR_USER_CS64;
    r->ss = SELECTOR_USER_SS;
    domain_crash(pv->vcpu->domain, "a debug exception came inside of another, whose place is lost");
    return PV_KIND_EXCEPTION;
}

static enum pv_kind exception(struct pv_vcpu *pv, uint8_t vector)
{
    switch (vector) {
    case VECTOR_PF:
        return page_fault(pv);
    case VECTOR_GP:
        pv_general_protection(pv);
        return PV_KIND_PRIVILEGED;
    case VECTOR_UD:
        pv_undefined(pv);
        return PV_KIND_PRIVILEGED;
    case VECTOR_BP:
        if (pv_event_breakpoint(pv))
            return PV_KIND_EXCEPTION;
        break;
    case VECTOR_NM:
        pv_edge_set_ts(pv, false);
        break;
    default:
        break;
    }
    pv_bounce_exception(pv, vector, pv->regs.error);
    return PV_KIND_EXCEPTION;
}

/* Perhaps it is just the end of a step. */
static enum pv_kind debug(struct pv_vcpu *pv)
{
    uint64_t dr6 = take_dr6();
    bool     own = !pv->step.armed || pv_step_disarm(pv, &dr6);

    pv_step_over(pv);
    if (own) {
        pv->dr[6] = dr6;
        if (!pv_event_debug(pv, dr6))
            pv_bounce_exception(pv, VECTOR_DB, 0);
    }
    return PV_KIND_EXCEPTION;
}

static enum pv_kind leave(struct pv_vcpu *pv)
{
    uint64_t vector = pv->regs.vector, none = 0;

    if (vector == VECTOR_DB)
        return debug(pv);
    if (pv->step.armed)
        (void)!pv_step_disarm(pv, &none);
    if (vector >= VECTOR_PIC && vector < PV_VECTOR_SYSCALL) { /* nothing was executed */
        trap_interrupt(vector);
        return PV_KIND_INTERRUPT;
    }
    if (vector != VECTOR_PF) /* which may be ours */
        pv_step_over(pv);
    if (vector == PV_VECTOR_LOST)
        return lost(pv);
    if (vector == PV_VECTOR_SYSCALL && pv->kernel) {
        (void)!hypercall(pv);
        return PV_KIND_HYPERCALL;
    }
    if (vector == PV_VECTOR_SYSCALL || vector == PV_VECTOR_SYSCALL32) {
        pv_bounce_syscall(pv, vector == PV_VECTOR_SYSCALL ? PV_CALLBACK_SYSCALL
                                                          : PV_CALLBACK_SYSCALL32);
        return PV_KIND_SYSCALL;
    }
    if (vector == PV_VECTOR_SYSENTER) {
        pv_bounce_syscall(pv, PV_CALLBACK_SYSENTER);
        return PV_KIND_SYSCALL;
    }
    if (vector == PV_VECTOR_REFUSED) {
        pv_bounce_failsafe(pv);
        return PV_KIND_REFUSED;
    }
    return exception(pv, (uint8_t)vector);
}

/*
 * The exit once more, of which a listener was told before anything came of it: it is finished now. What goes on later
 * is there again.
 */
static void settle(struct pv_vcpu *pv)
{
    pv->step.mute = false;
    pv_step_over(pv);
    if (pv->regs.vector == PV_VECTOR_SYSCALL) {
        pv->regs.rip += SYSCALL_LENGTH;
        if (!hypercall(pv))
            return;
    } else {
        pv_general_protection(pv);
    }
    vm_event_written(pv->vcpu);
}

/* ---- the loop ---- */

/* What is done before the first entry of a turn. */
static struct pv_stat no_exit;

static inline void end_exit(struct cpu *c, struct pv_vcpu *pv, struct pv_stat *stat)
{
    uint64_t now = rdtsc(), stretch = now - c->stretch_start;

    stat->ticks += stretch;
    if (stretch > c->stretch_max)
        preemption_longest(c, stretch,
                           stat != &no_exit ? pv_kind_names[stat - pv->stat] : "a first entry");
    c->stretch_start = now;
}

/* What the guest is to see before it goes on. */
static void before_entry(struct vcpu *v)
{
    bool first = v->pv->step.first; /* nothing comes before it */

    if (v->stale && !first)
        vcpu_before_entry(v);
    if (v->pv->injected.due)
        pv_event_deliver(v->pv);
    if (v->pv->selectors_refused)
        pv_bounce_failsafe(v->pv);
    if (!first && v->pv->callback[PV_CALLBACK_EVENT].address != 0 && vcpu_has_event_upcall(v))
        pv_bounce_event(v->pv);
}

static void enter(struct pv_vcpu *pv)
{
    bool shadowed = pv_is_shadowed(pv->vcpu->domain);

    pv->slow = shadowed || trace_enabled || vm_event_is_on(pv->vcpu->domain) ||
               pv_step_wanted(pv) || pv->step.armed;
    if (shadowed)
        pv_shadow_enter(pv);
    else
        pv_enter(pv);
}

/* The exit whose work goes on from here. */
static struct pv_stat *end_turn(struct cpu *c, struct pv_vcpu *pv)
{
    struct pv_stat *stat;

    if (pv->regs.vector == PV_VECTOR_DONE)
        return &no_exit;
    c->stretch_start = rdtsc();
    stat = &pv->stat[leave(pv)];
    stat->count++;
    return stat;
}

void pv_vcpu_run(struct vcpu *v)
{
    struct pv_vcpu *pv = v->pv;
    struct cpu     *c = this_cpu();
    struct pv_stat *stat = &no_exit; /* of the exit whose work goes on */

    c->current = v;
    pv->cpu = c;
    pv_cpu_load(pv);
    pv_cpu_begin(pv);
    while (vcpu_may_run_on(c, v)) {
        if (direct_unfinished(&pv->direct) && !pv_drain(&pv->direct)) {
            end_exit(c, pv, stat);
            continue;
        }
        if (v->watch.gate != VM_EVENT_GATE_NONE) {
            settle(pv);
            end_exit(c, pv, stat);
            continue;
        }
        before_entry(v);
        if (v->domain->state != DOMAIN_RUNNING)
            break;
        if (pv_is_shadowed(v->domain) && !pv_shadow_ready(pv)) {
            end_exit(c, pv, stat);
            continue;
        }
        if (pv_step_wanted(pv) && !pv_step_ready(pv)) {
            end_exit(c, pv, stat);
            continue;
        }
        end_exit(c, pv, stat);
        c->entries++;
        enter(pv);
        stat = end_turn(c, pv);
    }
    if (pv->step.open)
        pv_step_close(pv); /* others of the domain may run now */
    end_exit(c, pv, stat);
    pv_cpu_end();
}

void pv_vcpu_stop(struct vcpu *v)
{
    (void)v; /* whichever is loaded */
    pv_cpu_unload();
}

/* ---- looking at it ---- */

bool pv_vcpu_exit_stat(const struct vcpu *v, unsigned i, struct machine_exit_stat *stat)
{
    if (i >= PV_KINDS)
        return false;
    *stat = (struct machine_exit_stat){
        .name = pv_kind_names[i],
        .count = v->pv->stat[i].count,
        .ticks = v->pv->stat[i].ticks,
    };
    return true;
}

void pv_vcpu_show(const struct vcpu *v)
{
    const struct pv_vcpu *pv = v->pv;
    const struct pv_regs *r = &pv->regs;

    print("  rax %016lx  rcx %016lx  rdx %016lx  rbx %016lx\n", r->rax, r->rcx, r->rdx, r->rbx);
    print("  rsp %016lx  rbp %016lx  rsi %016lx  rdi %016lx\n", r->rsp, r->rbp, r->rsi, r->rdi);
    print("  r8  %016lx  r9  %016lx  r10 %016lx  r11 %016lx\n", r->r8, r->r9, r->r10, r->r11);
    print("  r12 %016lx  r13 %016lx  r14 %016lx  r15 %016lx\n", r->r12, r->r13, r->r14, r->r15);
    print("  rip %016lx  rflags %lx  cs %lx  ss %lx  %s\n", r->rip, r->rflags, r->cs, r->ss,
          pv->kernel ? "kernel" : "user");
    print("  roots: kernel %lx  user %lx  last exit %lu  error %lx  cr2 %lx  kernel stack %lx\n",
          pv->direct.root[0].raw, pv->direct.root[1].raw, r->vector, r->error, pv->fault_address,
          pv->kernel_sp);
}
