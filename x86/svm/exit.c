/*
 * Why the guest was left, and who deals with it. A table from exit code to handler; the kind
 * is what the monitor counts. APM vol. 2, appendix C.
 */
#include "x86/svm/fetch.h"

#include "hv/print.h"
#include "x86/traps.h"

static void take_interrupt(struct machine_vcpu *m)
{
    (void)m;
    machine_take_interrupts();
}

/* The NMI itself was taken when STGI opened the way for it. */
static void nothing(struct machine_vcpu *m)
{
    (void)m;
}

/* An exception of the guest's own that we only looked at. */
static void reflect(struct machine_vcpu *m)
{
    uint8_t vector = (uint8_t)(m->vmcb->exitcode - SVM_EXIT_EXCEPTION);

    if (vector == VECTOR_AC)
        inject_error(m, vector, 0);
    else
        event_debug(m, XEN_DMOP_EVENT_hw_exc, 0);
}

static void machine_check(struct machine_vcpu *m)
{
    (void)m;
    panic("machine check while a guest ran");
}

/* What needs a feature that CPUID does not offer. */
static void undefined(struct machine_vcpu *m)
{
    inject_exception(m, VECTOR_UD);
}

/* There are no performance counters, so no number of one is valid. */
static void refused(struct machine_vcpu *m)
{
    inject_error(m, VECTOR_GP, 0);
}

/* A trap: RIP is past the instruction when it is delivered. */
static void icebp(struct machine_vcpu *m)
{
    unsigned length = insn_plain(m, INSN_ICEBP);

    if (!length)
        return;
    insn_retire(m, length);
    event_debug(m, XEN_DMOP_EVENT_pri_sw_exc, 0);
}

/* Memory of a guest is always coherent: there is nothing to write back or to forget. */
static void cache_control(struct machine_vcpu *m)
{
    unsigned length = insn_plain(m, m->vmcb->exitcode == SVM_EXIT_INVD ? INSN_INVD : INSN_WBINVD);

    if (length)
        insn_retire(m, length);
}

static void shutdown(struct machine_vcpu *m)
{
    domain_crash(m->vcpu->domain, "triple fault at rip 0x%lx", m->vmcb->rip);
}

const struct svm_exit_row svm_exit_rows[SVM_EXIT_LOW_END] = {
    [SVM_EXIT_CR_READ... SVM_EXIT_DR_READ - 1] = { virtual_cr, KIND_CR },
    [SVM_EXIT_DR_READ... SVM_EXIT_EXCEPTION - 1] = { virtual_dr, KIND_DR },
    [SVM_EXIT_EXCEPTION + VECTOR_DB] = { reflect, KIND_EXCEPTION },
    [SVM_EXIT_EXCEPTION + VECTOR_BP] = { event_software_interrupt, KIND_EXCEPTION },
    [SVM_EXIT_SWINT] = { event_software_interrupt, KIND_EXCEPTION },
    [SVM_EXIT_EXCEPTION + VECTOR_PF] = { memory_page_fault, KIND_PAGE_FAULT },
    [SVM_EXIT_EXCEPTION + VECTOR_AC] = { reflect, KIND_EXCEPTION },
    [SVM_EXIT_EXCEPTION + VECTOR_MC] = { machine_check, KIND_EXCEPTION },
    [SVM_EXIT_INTR] = { take_interrupt, KIND_INTERRUPT },
    [SVM_EXIT_NMI] = { nothing, KIND_NMI },
    [SVM_EXIT_INIT] = { nothing, KIND_OTHER },
    [SVM_EXIT_VINTR] = { inject_window, KIND_WINDOW },
    [SVM_EXIT_LTR] = { task_load_tr, KIND_TASK },
    [SVM_EXIT_RDPMC] = { refused, KIND_REFUSED },
    [SVM_EXIT_CPUID] = { virtual_cpuid, KIND_CPUID },
    [SVM_EXIT_INVD] = { cache_control, KIND_WBINVD },
    [SVM_EXIT_HLT] = { virtual_hlt, KIND_HLT },
    [SVM_EXIT_INVLPG] = { memory_invlpg, KIND_INVLPG },
    [SVM_EXIT_INVLPGA] = { undefined, KIND_REFUSED },
    [SVM_EXIT_IOIO] = { virtual_io, KIND_IO },
    [SVM_EXIT_MSR] = { virtual_msr, KIND_MSR },
    [SVM_EXIT_TASK_SWITCH] = { task_exit, KIND_TASK },
    [SVM_EXIT_SHUTDOWN] = { shutdown, KIND_SHUTDOWN },
    [SVM_EXIT_VMRUN] = { undefined, KIND_REFUSED },
    [SVM_EXIT_VMMCALL] = { virtual_hypercall, KIND_HYPERCALL },
    [SVM_EXIT_VMLOAD... SVM_EXIT_SKINIT] = { undefined, KIND_REFUSED },
    [SVM_EXIT_ICEBP] = { icebp, KIND_EXCEPTION },
    [SVM_EXIT_WBINVD] = { cache_control, KIND_WBINVD },
    [SVM_EXIT_MONITOR... SVM_EXIT_RDPRU] = { undefined, KIND_REFUSED },
};

static const char *const svm_kind_names[KINDS] = {
    [KIND_OTHER] = "other",
    [KIND_PAGE_FAULT] = "page fault",
    [KIND_NESTED_FAULT] = "nested fault",
    [KIND_EXCEPTION] = "exception",
    [KIND_INTERRUPT] = "interrupt",
    [KIND_NMI] = "nmi",
    [KIND_WINDOW] = "interrupt window",
    [KIND_CR] = "control register",
    [KIND_DR] = "debug register",
    [KIND_CPUID] = "cpuid",
    [KIND_MSR] = "msr",
    [KIND_IO] = "port",
    [KIND_HLT] = "hlt",
    [KIND_INVLPG] = "invlpg",
    [KIND_HYPERCALL] = "hypercall",
    [KIND_WBINVD] = "wbinvd",
    [KIND_TASK] = "task",
    [KIND_REFUSED] = "refused instruction",
    [KIND_SHUTDOWN] = "shutdown",
};

const char *svm_kind_name(enum svm_kind kind)
{
    return svm_kind_names[kind];
}

/* An invalid VMCB or a code that was never asked for: ours to explain, the domain's to bear. */
static __attribute__((noinline)) void unexpected(struct machine_vcpu *m)
{
    const struct vmcb *b = m->vmcb;

    domain_crash(m->vcpu->domain,
                 "%s 0x%lx: rip 0x%lx cr0 0x%lx cr3 0x%lx cr4 0x%lx efer 0x%lx info 0x%lx 0x%lx",
                 b->exitcode == SVM_EXIT_INVALID ? "invalid guest state" : "unexpected exit",
                 b->exitcode, b->rip, b->cr0, b->cr3, b->cr4, b->efer, b->exitinfo1, b->exitinfo2);
}

enum svm_kind svm_exit(struct machine_vcpu *m)
{
    uint64_t code = m->vmcb->exitcode;

    if (code < SVM_EXIT_LOW_END && svm_exit_rows[code].handle) {
        svm_exit_rows[code].handle(m);
        return svm_exit_rows[code].kind;
    }
    if (code == SVM_EXIT_NPF && m->nested) {
        memory_nested_fault(m);
        return KIND_NESTED_FAULT;
    }
    unexpected(m);
    return KIND_OTHER;
}
