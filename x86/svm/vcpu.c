/*
 * A vCPU from creation to destruction, and the loop that runs it: for domains that this edge runs.
 *
 * Ticks are counted from one VMRUN to the next: what lies between an exit and the entry that
 * follows belongs to the kind of that exit.
 */
#include "x86/svm/enter.h"
#include "x86/svm/fetch.h"

#include "hv/alloc.h"
#include "hv/preempt.h"
#include "hv/print.h"
#include "hv/vm_event.h"
#include "x86/platform.h"
#include "x86/traps.h"

bool svm_vcpu_uses_nested(const struct vcpu *v)
{
    return v->machine->vmcb->np_enable & SVM_NP_ENABLE;
}

/* The registers of a processor that has just entered protected mode; paging is off. */
static bool first_regs(struct machine_vcpu *m)
{
    struct paging_regs r = { .cr0 = CR0_PE | CR0_ET };
    struct domain     *d = m->vcpu->domain;
    struct verdict     verdict = paging_set_regs(domain_lock(d), &m->vcpu->paging, &r);

    if (verdict.kind != VERDICT_RETRY)
        return false;
    regs_load(m);
    return true;
}

bool svm_vcpu_create(struct vcpu *v, const struct machine_start *start)
{
    struct machine_vcpu *m = alloc_bytes(sizeof(*m));
    mfn_t                frame = alloc_frames(0, ALLOC_ANY);

    if (!m || !mfn_valid(frame)) {
        if (m)
            free_bytes(m, sizeof(*m));
        if (mfn_valid(frame))
            free_frames(frame, 0);
        return false;
    }
    m->vmcb = phys_ptr(&machine_phys, frame);
    __builtin_memset(m->vmcb, 0, sizeof(*m->vmcb));
    m->vmcb_pa = frame.raw << PAGE_SHIFT;
    m->vcpu = v;
    m->platform = v->domain->platform != NULL;
    insn_init(m);
    fetch_init(m);
    m->apic_timer = (struct timer){ .run = virtual_apic_timer, .arg = m };
    msr_init(&m->msrs, cpuid_apic_id(v->id), v->id == 0);
    if (v->domain->platform && v->id == 0)
        lapic_virtual_wire(&m->msrs.lapic);
    v->machine = m;
    vmcb_build(m, start);
    if (!first_regs(m)) {
        svm_vcpu_destroy(v);
        return false;
    }
    return true;
}

/*
 * What is in EVENTINJ stays there, RIP is where it was: the guest goes on under the other kind.
 * All ASIDs are new ones, since a translation of the one kind means nothing to the other; guards
 * are set and lifted by regs_load, which must find the intercepts as they were.
 */
void svm_vcpu_set_kind(struct vcpu *v)
{
    struct machine_vcpu *m = v->machine;

    task_end_lift(m);
    fetch_init(m); /* under nested paging it stays so */
    vmcb_set_kind(m);
    for (unsigned i = 0; i < PAGING_ROOTS; i++)
        m->asid[i].asid = 0;
    m->running = NULL;
    regs_root_lost(m);
    regs_load(m);
}

void svm_vcpu_destroy(struct vcpu *v)
{
    struct machine_vcpu *m = v->machine;

    if (!m)
        return;
    svm_cpu_unload(v);
    timer_cancel(&m->apic_timer);
    free_frames(mfn_of(m->vmcb_pa >> PAGE_SHIFT), 0);
    free_bytes(m, sizeof(*m));
    v->machine = NULL;
}

/* ---- the loop ---- */

/* For a vCPU that has executed HLT: false while that holds it back. */
static bool awake(struct machine_vcpu *m)
{
    if ((m->vmcb->rflags & RFLAGS_IF) && inject_has_interrupt(m)) {
        m->halted = false;
        return true;
    }
    vcpu_block(m->vcpu);
    /* It stays runnable if an event is there that it does not take; others must get in. */
    machine_take_interrupts();
    return false;
}

/* A flush of the whole TLB is asked for once. */
static void ask_for_flush(struct machine_vcpu *m)
{
    struct svm_cpu *c = m->processor;

    m->flush = c->flush_all;
    m->vmcb->tlb_control = c->flush_all ? SVM_TLB_FLUSH_ALL : SVM_TLB_KEEP;
    c->tlb_flushes += c->flush_all;
    c->flush_all = false;
}

/* What is done before the first entry of a turn. */
static struct svm_stat no_exit;

/* The work for an exit ends now, in ticks. */
static inline uint64_t end_exit(const struct machine_vcpu *m, struct cpu *cpu,
                                struct svm_stat *stat)
{
    uint64_t now = rdtsc(), stretch = now - cpu->stretch_start;

    stat->ticks += stretch;
    if (__builtin_expect(stretch > cpu->stretch_max, 0))
        preemption_longest(cpu, stretch,
                           stat != &no_exit ? svm_kind_name((enum svm_kind)(stat - m->stat))
                                            : "a first entry");
    return now;
}

/* Nothing is to be injected now, and no window has to be opened or closed. */
static bool quiet(const struct machine_vcpu *m)
{
    return !m->window_open && !lapic_requested(&m->msrs.lapic) &&
           !vcpu_has_vector_upcall(m->vcpu) && !platform_interrupt(m->vcpu);
}

/*
 * 0: the guest can be entered again at once. Each part of the sum is what some test of prepare asks, or something that
 * comes before it: what it misses here is not done.
 */
static inline uint64_t needs_preparation(const struct cpu *cpu, const struct machine_vcpu *m,
                                         const struct vcpu *v)
{
    const struct domain *d = v->domain;

    return m->special | m->step.any | (v->state ^ VCPU_RUNNABLE) | (d->state ^ DOMAIN_RUNNING) |
           d->paused | __atomic_load_n(&cpu->pending, __ATOMIC_RELAXED) | v->stale |
           lapic_requests(&m->msrs.lapic) |
           __atomic_load_n(&v->info->evtchn_upcall_pending, __ATOMIC_RELAXED) |
           regs_root_moved(m, v, &d->paging);
}

/* All that can be necessary before an entry. False: the vCPU may not run now. */
static __attribute__((noinline)) bool prepare(struct machine_vcpu *m, const struct cpu *cpu)
{
    struct vcpu *v = m->vcpu;

    do {
        if (!vcpu_may_run_on(cpu, v))
            return false;
    } while (m->halted && !awake(m));
    if (v->stale && !m->step.first)
        vcpu_before_entry(v);
    if (!quiet(m))
        inject_prepare(m);
    if (m->guards)
        task_before_entry(m);
    regs_root_check(m);
    if (m->step.open)
        step_before_entry(m);
    if (m->flush)
        ask_for_flush(m);
    return true;
}

/* What the guest does to the registers by itself. */
static inline void look_at_regs(struct machine_vcpu *m)
{
    if (m->nested) {
        if (regs_moved(m))
            regs_sync(m);
    } else if (m->vmcb->cr3 != m->hw.cr3)
        panic("a guest has loaded the real CR3: 0x%lx, not 0x%lx", m->vmcb->cr3, m->hw.cr3);
}

/* An exit with something about it that few have. */
static __attribute__((noinline)) enum svm_kind special_exit(struct machine_vcpu *m)
{
    m->delivering = m->vmcb->exitintinfo & SVM_EVENT_VALID;
    if (m->delivering) {
        task_interrupted(m);
        inject_interrupted(m);
    } else {
        m->lifted_length = 0; /* that event is in */
    }
    look_at_regs(m);
    return m->step.armed ? step_exit(m) : svm_exit(m);
}

static inline enum svm_kind plain_exit(struct machine_vcpu *m)
{
    uint64_t                   code = m->vmcb->exitcode;
    const struct svm_exit_row *row;

    look_at_regs(m);
    if (__builtin_expect(code >= SVM_EXIT_LOW_END, 0))
        return svm_exit(m);
    row = &svm_exit_rows[code];
    if (__builtin_expect(!row->handle, 0))
        return svm_exit(m);
    row->handle(m);
    return row->kind;
}

/* One entry, and what its exit asks for. */
static inline struct svm_stat *enter(struct machine_vcpu *m, struct cpu *cpu)
{
    struct vmcb     *b = m->vmcb;
    struct svm_stat *stat;

    b->rax = m->cpu.gpr[REG_RAX];
    b->rsp = m->cpu.gpr[REG_RSP];
    svm_enter(m->cpu.gpr, m->vmcb_pa);
    cpu->stretch_start = rdtsc();
    cpu->entries++;
    m->cpu.gpr[REG_RAX] = b->rax;
    m->cpu.gpr[REG_RSP] = b->rsp;
    b->eventinj = 0;
    if (__builtin_expect(((b->exitintinfo & SVM_EVENT_VALID) | m->special | m->step.any) != 0, 0))
        stat = &m->stat[special_exit(m)];
    else
        stat = &m->stat[plain_exit(m)];
    stat->count++;
    return stat;
}

void svm_vcpu_run(struct vcpu *v)
{
    struct machine_vcpu *m = v->machine;
    struct cpu          *cpu = this_cpu();
    struct svm_stat     *stat = &no_exit; /* of the exit whose work goes on */

    cpu->current = v;
    m->running = NULL; /* others of the domain may have lowered something meanwhile */
    regs_root_lost(m);
    svm_cpu_load(v);
    if (m->step.mute) {
        regs_root(m); /* code is fetched by it */
        insn_emulate_muted(m);
    }
    if (v->watch.gate != VM_EVENT_GATE_NONE)
        event_settle(m);
    while (__builtin_expect(!needs_preparation(cpu, m, v), 1) || prepare(m, cpu)) {
        (void)end_exit(m, cpu, stat);
        stat = enter(m, cpu);
    }
    if (m->step.open)
        step_close(m); /* others of the domain may run now */
    cpu->stretch_start = end_exit(m, cpu, stat);
    m->running = NULL;
}

/* ---- looking at it ---- */

bool svm_vcpu_has_interrupt(const struct vcpu *v)
{
    uint8_t vector;

    return v->machine && (lapic_pending(&v->machine->msrs.lapic, &vector) || platform_interrupt(v));
}

uint64_t svm_vcpu_tsc_offset(const struct vcpu *v)
{
    return v->machine->msrs.tsc_offset;
}

bool svm_vcpu_is_64bit(const struct vcpu *v)
{
    return regs_is_64bit(v->machine);
}

bool svm_vcpu_exit_stat(const struct vcpu *v, unsigned i, struct machine_exit_stat *stat)
{
    if (i >= KINDS || !v->machine)
        return false;
    *stat = (struct machine_exit_stat){
        .name = svm_kind_name(i),
        .count = v->machine->stat[i].count,
        .ticks = v->machine->stat[i].ticks,
    };
    return true;
}

static void show_segment(const char *name, const struct svm_segment *s)
{
    print("  %-4s %04x base %016lx limit %08x attributes %03x\n", name, s->selector, s->base,
          s->limit, s->attributes);
}

static void show_segments(const struct vmcb *b)
{
    show_segment("cs", &b->cs);
    show_segment("ss", &b->ss);
    show_segment("ds", &b->ds);
    show_segment("es", &b->es);
    show_segment("fs", &b->fs);
    show_segment("gs", &b->gs);
    show_segment("ldtr", &b->ldtr);
    show_segment("tr", &b->tr);
    show_segment("gdtr", &b->gdtr);
    show_segment("idtr", &b->idtr);
}

static const char *const register_names[16] = {
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15",
};

void svm_vcpu_show(const struct vcpu *v)
{
    const struct machine_vcpu *m = v->machine;
    const struct vmcb         *b = m->vmcb;
    const struct paging_regs  *r = &v->paging.regs;

    svm_cpu_save_segments(v);
    for (unsigned i = 0; i < 16; i++)
        print("  %-3s %016lx%s", register_names[i], m->cpu.gpr[i], i % 4 == 3 ? "\n" : "");
    print("  rip %016lx  rflags %lx  cpl %u  %s%s\n", b->rip, b->rflags, b->cpl,
          regs_is_64bit(m) ? "64-bit" : "not 64-bit", m->halted ? "  halted" : "");
    print("  guest: cr0 %lx  cr2 %lx  cr3 %lx  cr4 %lx  efer %lx  cr8 %lx\n", r->cr0, b->cr2,
          r->cr3, r->cr4, r->efer, lapic_cr8(&m->msrs.lapic));
    print("  real:  cr0 %lx  cr3 %lx  cr4 %lx  efer %lx  asid %u  np_enable %lu  ncr3 %lx\n",
          b->cr0, b->cr3, b->cr4, b->efer, b->asid, b->np_enable, b->ncr3);
    show_segments(b);
    print("  last exit 0x%lx  info 0x%lx 0x%lx  interrupted 0x%lx  to inject 0x%lx\n", b->exitcode,
          b->exitinfo1, b->exitinfo2, b->exitintinfo, b->eventinj);
}
