/*
 * The short way from an exit back to the guest: doc/pv.md. The usual bounce and the usual return from
 * one: the guest's frame is written or read word by word through the tables in CR3. What is not as
 * usual, a frame that is not there among it, is left as it was, for bounce.c and hc_iret. Other
 * hypercalls run as in the loop, which is asked only if something has come about by them.
 */
#include "hv/hc_pv.h"
#include "hv/preempt.h"
#include "x86/cpu.h"
#include "x86/pv/bounce.h"
#include "x86/pv/hypercall.h"
#include "x86/pv/word.h"

/* ---- bounce and return ---- */

/* What reaches from such an address for less than a frame might reach into the hypervisor's range. */
#define QUICK_REACH ((BOUNCE_WORDS + 2) * sizeof(uint64_t))

/*
 * True unless something of a frame at that address might be ours. What is not canonical is refused by
 * the processor.
 */
static inline bool is_guests(uint64_t va)
{
    return va - (PV_RESERVED_START - QUICK_REACH) >=
           PV_RESERVED_END - PV_RESERVED_START + QUICK_REACH;
}

static inline void load_root(const struct pv_vcpu *pv, bool kernel)
{
    write_cr3(pv->direct.root[!kernel].raw << PAGE_SHIFT);
}

/* The base of GS becomes another one, which is canonical; gives the one that it was. */
static inline uint64_t exchange_gs(const struct pv_vcpu *pv, uint64_t base)
{
    uint64_t old;

    if (pv->fsgsbase) { /* then it is so in CR4 */
        __asm__ volatile("rdgsbase %0" : "=r"(old));
        __asm__ volatile("wrgsbase %0" ::"r"(base));
    } else {
        old = rdmsr(MSR_GS_BASE);
        wrmsr(MSR_GS_BASE, base);
    }
    return old;
}

/*
 * To a handler, from the guest's kernel or from one of its programs, with or without events masked.
 * `error`: the word beside RIP, or NULL. False: nothing has changed, but words below the kernel's stack
 * pointer.
 */
static inline __attribute__((always_inline)) bool bounce(struct pv_vcpu       *pv,
                                                         const struct pv_trap *trap, bool kernel,
                                                         uint8_t mask, const uint64_t *error)
{
    const struct pv_regs *r = &pv->regs;
    uint64_t rsp = bounce_stack(pv, kernel) - (BOUNCE_WORDS + (error ? 1u : 0u)) * sizeof(uint64_t);
    uint64_t *frame = (uint64_t *)rsp; /* NOLINT: the guest's address */

    /* The handler was checked when it was set. */
    if (trap->address == 0 || !is_guests(rsp))
        return false;
    if (!kernel)
        load_root(pv, true);
    PV_STORE(frame++, r->rcx);
    PV_STORE(frame++, r->r11);
    if (error != NULL)
        PV_STORE(frame++, *error);
    PV_STORE(frame++, r->rip);
    PV_STORE(frame++, bounce_cs(r->cs, kernel, mask));
    PV_STORE(frame++, bounce_rflags(r->rflags, mask));
    PV_STORE(frame++, r->rsp);
    PV_STORE(frame, r->ss);
    if (!kernel) {
        pv->gs_user = exchange_gs(pv, pv->gs_kernel);
        pv->kernel = true;
    }
    bounce_enter(pv, trap, rsp);
    return true;
fault:
    if (!kernel)
        load_root(pv, false);
    return false;
}

/*
 * The iret hypercall of the guest's kernel, as hc_iret makes it. False: it is to be made by that, from
 * the start, which needs RSP for it and nothing else. Both ends of the frame are read first: then what
 * lies between is there, too.
 */
static inline bool quick_return(struct pv_vcpu *pv)
{
    struct pv_regs            *r = &pv->regs;
    const struct iret_context *c = (const struct iret_context *)r->rsp; /* NOLINT: the guest's */
    uint64_t                   cs = 0, flags = 0, rflags = 0, word = 0;

    if (!is_guests(r->rsp))
        return false;
    PV_LOAD(&c->cs, cs);
    if ((cs & 3) == 3 && !mfn_valid(pv->direct.root[1]))
        return false;
    PV_LOAD(&c->ss, word);
    r->ss = hc_selector(word);
    PV_LOAD(&c->rax, word);
    r->rax = word;
    r->cs = hc_selector(cs);
    PV_LOAD(&c->rip, word);
    r->rip = r->rcx = word;
    PV_LOAD(&c->rflags, rflags);
    r->rflags = r->r11 = hc_rflags(rflags);
    PV_LOAD(&c->flags, flags);
    if ((flags & VGCF_in_syscall) == 0) {
        PV_LOAD(&c->r11, word);
        r->r11 = word;
        PV_LOAD(&c->rcx, word);
        r->rcx = word;
    }
    PV_LOAD(&c->rsp, word);
    r->rsp = word;
    if ((cs & 3) == 3) { /* what was to be read by the kernel's root has been */
        load_root(pv, false);
        pv->gs_kernel = exchange_gs(pv, pv->gs_user);
        pv->kernel = false;
    }
    hc_return_mask(pv, rflags);
    return true;
fault:
    return false;
}

/* ---- what an exit ends in ---- */

/* A page fault that is not about an address of ours, ... */
static inline bool is_plain_fault(const struct pv_vcpu *pv)
{
    return pv->fault_address - PV_RESERVED_START >= PV_RESERVED_END - PV_RESERVED_START;
}

/* ... and one that may be a write to a table. */
static inline bool is_refused_write(const struct pv_vcpu *pv)
{
    return (pv->regs.error & (PFEC_P | PFEC_W)) == (PFEC_P | PFEC_W) && pv->kernel;
}

static inline enum pv_way quick_leave(struct pv_vcpu *pv)
{
    pv->regs.vector = PV_VECTOR_DONE;
    return PV_WAY_LOOP;
}

/* Neither is an event pending nor are events masked: so it is nearly always when a program runs. */
static bool is_quiet(const struct vcpu_info *info)
{
    const uint16_t *both = (const uint16_t *)&info->evtchn_upcall_pending; /* beside each other */

    _Static_assert(offsetof(struct vcpu_info, evtchn_upcall_pending) == 0 &&
                       offsetof(struct vcpu_info, evtchn_upcall_mask) == 1,
                   "xen.h");
    return __atomic_load_n(both, __ATOMIC_SEQ_CST) == 0;
}

/*
 * A bounce or the return from one, begun at that time, is done: on with the guest, unless the loop has to look at it.
 * What is as short as this is never the longest stretch. `quiet`: no event was pending before.
 */
static inline __attribute__((always_inline)) enum pv_way quick_end(struct cpu     *c,
                                                                   struct pv_vcpu *pv,
                                                                   enum pv_kind kind, bool quiet,
                                                                   uint64_t began)
{
    const struct vcpu_info *info = pv->vcpu->info;
    struct pv_stat         *stat = &pv->stat[kind];
    uint64_t                now = rdtsc();

    stat->count++;
    stat->ticks += now - began;
    if (__atomic_load_n(&c->pending, __ATOMIC_RELAXED) != 0 ||
        (!quiet && __atomic_load_n(&info->evtchn_upcall_pending, __ATOMIC_SEQ_CST) != 0 &&
         __atomic_load_n(&info->evtchn_upcall_mask, __ATOMIC_SEQ_CST) == 0)) {
        c->stretch_start = now;
        return quick_leave(pv);
    }
    c->entries++;
    return PV_WAY_KEPT;
}

/* Nothing that the loop asks before an entry has come about by a hypercall. */
static bool is_as_before(struct cpu *c, const struct vcpu *v)
{
    return vcpu_may_run_on(c, v) && !direct_unfinished(&v->pv->direct) && !v->stale &&
           !vcpu_has_event_upcall(v) && !pv_is_shadowed(v->domain) && !pv_step_wanted(v->pv) &&
           !v->pv->injected.due;
}

/* As the loop ends an exit; `what` it was. */
static inline void end_long(struct cpu *c, struct pv_stat *stat, const char *what)
{
    uint64_t now = rdtsc(), stretch = now - c->stretch_start;

    stat->count++;
    stat->ticks += stretch;
    if (stretch > c->stretch_max)
        preemption_longest(c, stretch, what);
    c->stretch_start = now;
}

/*
 * The same for what is only about the guest's own tables. A domain that is crashed by it, and a vCPU
 * that is stopped, say so in c->pending.
 */
static bool is_as_before_tables(struct cpu *c, const struct pv_vcpu *pv)
{
    return __atomic_load_n(&c->pending, __ATOMIC_RELAXED) == 0 && !direct_unfinished(&pv->direct) &&
           !pv_is_shadowed(pv->vcpu->domain) && !vcpu_has_event_upcall(pv->vcpu);
}

static inline __attribute__((always_inline)) enum pv_way end_tables(struct cpu     *c,
                                                                    struct pv_vcpu *pv)
{
    end_long(c, &pv->stat[PV_KIND_HYPERCALL], "hypercall");
    if (!is_as_before_tables(c, pv))
        return quick_leave(pv);
    c->entries++;
    return PV_WAY_KEPT;
}

enum pv_way pv_quick_hypercall(struct pv_vcpu *pv)
{
    struct cpu      *c = pv->cpu;
    struct hypercall h = pv_hypercall_begin(pv);

    c->stretch_start = rdtsc();
    pv_hypercall_end(pv, &h, hc_dispatch(pv->vcpu, &h));
    end_long(c, &pv->stat[PV_KIND_HYPERCALL], "hypercall");
    if (!is_as_before(c, pv->vcpu))
        return quick_leave(pv);
    c->entries++;
    return PV_WAY_ALL;
}

static __attribute__((noinline)) enum pv_way tables_hypercall(struct cpu *c, struct pv_vcpu *pv,
                                                              uint64_t began)
{
    struct hypercall h = pv_hypercall_begin(pv);

    c->stretch_start = began;
    pv_hypercall_end(pv, &h, hc_dispatch(pv->vcpu, &h));
    return end_tables(c, pv);
}

/* A call that is carried out, and has changed nothing but a word of its vCPU's. */
static inline __attribute__((always_inline)) enum pv_way end_plain(struct cpu     *c,
                                                                   struct pv_vcpu *pv,
                                                                   uint64_t        began)
{
    pv->vcpu->domain->hypercalls[(uint32_t)pv->regs.rax]++;
    pv->regs.rax = 0;
    return quick_end(c, pv, PV_KIND_HYPERCALL, false, began);
}

/* A list of one operation on the guest's own tables, and nobody wants to know how far it came. */
static inline bool is_one_operation(const struct pv_regs *r)
{
    return (uint32_t)r->rsi == 1 && r->rdx == 0 && (uint32_t)r->r10 == DOMID_SELF &&
           is_guests(r->rdi);
}

static __attribute__((noinline)) enum pv_way one_update(struct cpu *c, struct pv_vcpu *pv,
                                                        uint64_t began)
{
    const struct mmu_update *u = (const struct mmu_update *)pv->regs.rdi; /* NOLINT: the guest's */
    struct direct_store      store = { 0 };
    struct hypercall         h;
    int64_t                  result;

    PV_LOAD(&u->ptr, store.at);
    PV_LOAD(&u->val, store.value);
    c->stretch_start = began;
    pv->vcpu->domain->hypercalls[__HYPERVISOR_mmu_update]++;
    result = hc_mmu_update_own(pv->vcpu, &store);
    if (__builtin_expect(result == HC_AGAIN, 0)) {
        h = pv_hypercall_begin(pv); /* all of it is left */
        pv_hypercall_end(pv, &h, result);
    } else {
        pv->regs.rax = (uint64_t)result;
    }
    return end_tables(c, pv);
fault:
    return tables_hypercall(c, pv, began);
}

/* What only flushes; anything else is read again, by whom it belongs to. */
static __attribute__((noinline)) enum pv_way one_flush(struct cpu *c, struct pv_vcpu *pv,
                                                       uint64_t began)
{
    const struct mmuext_op *op = (const struct mmuext_op *)pv->regs.rdi; /* NOLINT: the guest's */
    uint32_t                cmd = 0;
    uint64_t                address = 0;

    PV_LOAD(&op->cmd, cmd);
    PV_LOAD(&op->arg1.linear_addr, address);
    if (hc_pv_flush(cmd, address))
        return end_plain(c, pv, began);
fault:
    return tables_hypercall(c, pv, began);
}

#define BIT(nr) (UINT64_C(1) << (nr))
#define OF_TABLES                                                                                  \
    (BIT(__HYPERVISOR_mmu_update) | BIT(__HYPERVISOR_mmuext_op) |                                  \
     BIT(__HYPERVISOR_update_va_mapping) | BIT(__HYPERVISOR_update_descriptor))

/* Those of which nobody needs the registers that C keeps; the others are for pv_quick_hypercall. */
static __attribute__((noinline)) enum pv_way other_hypercall(struct cpu *c, struct pv_vcpu *pv,
                                                             uint64_t began)
{
    const struct pv_regs *r = &pv->regs;
    uint32_t              nr = (uint32_t)r->rax;

    if (nr == __HYPERVISOR_mmu_update && is_one_operation(r))
        return one_update(c, pv, began);
    if (nr == __HYPERVISOR_mmuext_op && is_one_operation(r))
        return one_flush(c, pv, began);
    if (nr == __HYPERVISOR_stack_switch) {
        hc_pv_stack_switch(pv, r->rsi);
        return end_plain(c, pv, began);
    }
    /* A program's base is not loaded while the kernel runs, and no listener wants to be told. */
    if (nr == __HYPERVISOR_set_segment_base && r->rdi == SEGBASE_GS_USER &&
        pv_is_canonical(r->rsi)) {
        pv->gs_user = r->rsi;
        return end_plain(c, pv, began);
    }
    return nr < 64 && (OF_TABLES & BIT(nr)) != 0 ? tables_hypercall(c, pv, began) : PV_WAY_ALL;
}

enum pv_way pv_quick_system_call(struct pv_vcpu *pv)
{
    struct cpu *c = pv->cpu;
    uint64_t    began = rdtsc();

    if (pv->slow)
        return PV_WAY_LOOP;
    if (!pv->kernel)
        return is_quiet(pv->vcpu->info) &&
                       bounce(pv, &pv->callback[PV_CALLBACK_SYSCALL], false, 0, NULL)
                   ? quick_end(c, pv, PV_KIND_SYSCALL, true, began)
                   : PV_WAY_LOOP;
    if ((uint32_t)pv->regs.rax != __HYPERVISOR_iret)
        return other_hypercall(c, pv, began);
    if (!quick_return(pv))
        return PV_WAY_LOOP;
    pv->vcpu->domain->hypercalls[__HYPERVISOR_iret]++;
    return quick_end(c, pv, PV_KIND_HYPERCALL, false, began);
}

/* What the guest's kernel was refused was a write to a leaf table, which is carried out. */
static enum pv_way end_table_write(struct cpu *c, struct pv_vcpu *pv)
{
    end_long(c, &pv->stat[PV_KIND_TABLE_WRITE], "write to a table");
    if (!is_as_before_tables(c, pv))
        return quick_leave(pv);
    c->entries++;
    return PV_WAY_ALL;
}

static __attribute__((noinline)) enum pv_way quick_page_fault(struct cpu *c, struct pv_vcpu *pv)
{
    const struct pv_trap *trap = &pv->trap[VECTOR_PF];
    uint64_t              began = rdtsc(), error = bounce_fault_error(pv, pv->regs.error);
    uint8_t               mask = bounce_mask(pv);

    if (!is_plain_fault(pv))
        return PV_WAY_LOOP;
    if (is_refused_write(pv)) {
        c->stretch_start = began;
        if (pv_table_write(pv, pv->fault_address))
            return end_table_write(c, pv);
    }
    if (!(pv->kernel ? bounce(pv, trap, true, mask, &error)
                     : bounce(pv, trap, false, mask, &error)))
        return PV_WAY_LOOP;
    __atomic_store_n(&pv->vcpu->info->arch.cr2, pv->fault_address, __ATOMIC_RELAXED);
    return quick_end(c, pv, PV_KIND_PAGE_FAULT, false, began);
}

static __attribute__((noinline)) enum pv_way quick_privileged(struct cpu *c, struct pv_vcpu *pv)
{
    uint64_t        began = rdtsc();
    const uint16_t *rip = (const uint16_t *)pv->regs.rip; /* NOLINT: the guest's address */
    uint16_t        opcode = 0;

    if (pv->regs.error != 0 || !pv->kernel || !is_guests(pv->regs.rip))
        return PV_WAY_LOOP;
    PV_LOAD(rip, opcode);
    if (pv_carry_out_usual(pv, opcode))
        return quick_end(c, pv, PV_KIND_PRIVILEGED, false, began);
fault:
    return PV_WAY_LOOP;
}

enum pv_way pv_quick(struct pv_vcpu *pv)
{
    if (pv->regs.vector == VECTOR_PF) {
        pv->fault_address = read_cr2(); /* which a fault of ours would change */
        return pv->slow ? PV_WAY_LOOP : quick_page_fault(pv->cpu, pv);
    }
    if (pv->regs.vector == VECTOR_GP && !pv->slow)
        return quick_privileged(pv->cpu, pv);
    return PV_WAY_LOOP;
}
