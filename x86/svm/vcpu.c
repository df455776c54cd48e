/*
 * A vCPU from creation to destruction, and the loop that runs it: for domains that this edge runs.
 *
 * Ticks are counted from one VMRUN to the next: what lies between an exit and the entry that
 * follows belongs to the kind of that exit.
 */
#include "x86/svm/svm.h"

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
    insn_init(m);
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
    vmcb_set_kind(m);
    for (unsigned i = 0; i < PAGING_ROOTS; i++)
        m->asid[i].asid = 0;
    m->running = NULL;
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

static void enter(struct machine_vcpu *m)
{
    struct svm_cpu *c = m->processor;
    struct vmcb    *b = m->vmcb;

    b->tlb_control = SVM_TLB_KEEP;
    if (c->flush_all) {
        b->tlb_control = SVM_TLB_FLUSH_ALL;
        c->flush_all = false;
        c->tlb_flushes++;
    }
    b->rax = m->cpu.gpr[REG_RAX];
    b->rsp = m->cpu.gpr[REG_RSP];
    svm_enter(m->cpu.gpr, m->vmcb_pa);
    m->cpu.gpr[REG_RAX] = b->rax;
    m->cpu.gpr[REG_RSP] = b->rsp;
}

/* What is done before the first entry of a turn. */
static struct svm_stat no_exit;

/* The work for an exit ends now. */
static void end_exit(struct cpu *cpu, struct svm_stat *stat, const struct machine_vcpu *m)
{
    uint64_t now = rdtsc(), stretch = now - cpu->stretch_start;

    stat->ticks += stretch;
    if (stretch > cpu->stretch_max)
        preemption_longest(cpu, stretch,
                           stat != &no_exit ? svm_kind_name((enum svm_kind)(stat - m->stat))
                                            : "a first entry");
    cpu->stretch_start = now;
}

/* Nothing is to be injected now, and no window has to be opened or closed. */
static bool quiet(const struct machine_vcpu *m)
{
    return !m->window_open && !lapic_requested(&m->msrs.lapic) &&
           !vcpu_has_vector_upcall(m->vcpu) && !platform_interrupt(m->vcpu);
}

void svm_vcpu_run(struct vcpu *v)
{
    struct machine_vcpu *m = v->machine;
    struct cpu          *cpu = this_cpu();
    struct svm_stat     *stat = &no_exit; /* of the exit whose work goes on */

    cpu->current = v;
    m->running = NULL; /* others of the domain may have lowered something meanwhile */
    svm_cpu_load(v);
    if (m->step.mute) {
        regs_root(m); /* code is fetched by it */
        insn_emulate_muted(m);
    }
    if (v->watch.gate != VM_EVENT_GATE_NONE)
        event_settle(m);
    while (vcpu_may_run_on(cpu, v) && (!m->halted || awake(m))) {
        if (v->stale && !m->step.first)
            vcpu_before_entry(v);
        if (!quiet(m))
            inject_prepare(m);
        if (m->guards)
            task_before_entry(m);
        if (!regs_root_holds(m))
            regs_root(m);
        if (m->step.open)
            step_before_entry(m);
        end_exit(cpu, stat, m);
        cpu->entries++;
        enter(m);
        cpu->stretch_start = rdtsc();
        m->vmcb->eventinj = 0;
        m->delivering = m->vmcb->exitintinfo & SVM_EVENT_VALID;
        if (m->delivering) {
            task_interrupted(m);
            inject_interrupted(m);
        } else {
            m->lifted_length = 0; /* that event is in */
        }
        if (m->nested)
            regs_sync(m);
        else if (m->vmcb->cr3 != m->hw.cr3)
            panic("a guest has loaded the real CR3: 0x%lx, not 0x%lx", m->vmcb->cr3, m->hw.cr3);
        stat = &m->stat[m->step.armed ? step_exit(m) : svm_exit(m)];
        stat->count++;
    }
    if (m->step.open)
        step_close(m); /* others of the domain may run now */
    end_exit(cpu, stat, m);
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
