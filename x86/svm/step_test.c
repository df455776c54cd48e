/* test: with x86/svm/step.c x86/svm/event.c x86/step.c */
/* One instruction with frames open: what is armed, what the guest sees of it, what comes in which order. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "hv/access.h"
#include "hv/guest.h"
#include "hv/vm_event.h"
#include "x86/apic.h"
#include "x86/svm/svm.h"

#define DB    (SVM_EXIT_EXCEPTION + VECTOR_DB)
#define BS    (1ul << 14)
#define RESET 0xffff0ff0ul
#define CODE  0x1000
#define STACK 0x2008

static struct domain       domain;
static struct vmcb         vmcb;
static struct vcpu         vcpu;
static struct machine_vcpu machine;
static uint8_t             memory[4 * PAGE_SIZE];
static char                order[200]; /* what was asked of others */
static struct insn         insn;

struct phys machine_phys = { .base = memory };

static void note(const char *what, uint64_t value)
{
    snprintf(order + strlen(order), sizeof(order) - strlen(order), "%s %lx;", what,
             (unsigned long)value);
}

void paging_view(struct paging_locked p, const struct paging_vcpu *v, gva_t va,
                 struct paging_view *view)
{
    (void)p, (void)v;
    *view = (struct paging_view){ .mapped = va.raw < sizeof(memory), .gpa = va.raw };
}

struct paging_reach paging_reach_gpa(struct paging_locked p, uint64_t gpa)
{
    (void)p;
    return (struct paging_reach){ .kind = REACH_RAM, .gpa = gpa, .mfn = mfn_of(gpa >> PAGE_SHIFT) };
}

void access_close(struct vcpu *v, uint64_t rip)
{
    (void)v, (void)rip;
    note("close", 0);
}

static bool wanted; /* a listener wants to hear of exceptions */

bool vm_event_wants(const struct domain *d, uint32_t bit)
{
    (void)d, (void)bit;
    return wanted;
}

bool vm_event_wants_cr(const struct domain *d, unsigned index)
{
    (void)d, (void)index;
    return false;
}

bool vm_event_breakpoint(struct vcpu *v, uint64_t gfn, unsigned length)
{
    (void)v, (void)gfn;
    note("told INT3 of", length);
    return true;
}

bool vm_event_debug(struct vcpu *v, uint64_t gfn, const struct vm_event_debug *what)
{
    (void)v, (void)gfn;
    note("told #DB of", what->pending_dbg);
    return true;
}

bool vcpu_may_run(const struct vcpu *v)
{
    (void)v;
    return true;
}

void regs_root(struct machine_vcpu *m)
{
    (void)m;
}

void inject_software(struct machine_vcpu *m, uint8_t vector, unsigned length)
{
    m->lifted_length = (uint8_t)length;
    m->vmcb->rip += length;
    m->vmcb->eventinj = vector | SVM_EVENT_SOFT | SVM_EVENT_VALID;
}

struct guest_result guest_read(struct vcpu *v, gva_t va, void *to, size_t len, unsigned acc)
{
    (void)v;
    assert_true(acc & ACC_OURS);
    memcpy(to, memory + va.raw, len);
    return (struct guest_result){ .status = GUEST_OK };
}

struct guest_result guest_write(struct vcpu *v, gva_t va, const void *from, size_t len,
                                unsigned acc)
{
    (void)v;
    assert_true(acc & ACC_OURS);
    memcpy(memory + va.raw, from, len);
    return (struct guest_result){ .status = GUEST_OK };
}

void access_stepped(struct vcpu *v, gva_t rip)
{
    (void)v;
    note("stepped to", rip.raw);
}

void vcpu_flush(struct domain *d, const struct verdict *verdict)
{
    (void)d, (void)verdict;
}

void domain_crash(struct domain *d, const char *fmt, ...)
{
    (void)d, (void)fmt;
    note("crash", 0);
}

void apic_interrupt_self(uint8_t vector)
{
    note("self", vector);
}

const struct insn *insn_at(struct machine_vcpu *m)
{
    (void)m;
    return &insn;
}

unsigned insn_length(struct machine_vcpu *m, uint8_t *bytes, unsigned have)
{
    (void)m, (void)bytes, (void)have;
    return 2;
}

void inject_exception(struct machine_vcpu *m, uint8_t vector)
{
    (void)m;
    note("exception", vector);
}

void inject_error(struct machine_vcpu *m, uint8_t vector, uint32_t error)
{
    (void)m;
    note("error of", vector);
    note("is", error);
}

void inject_page_fault(struct machine_vcpu *m, gva_t va, uint32_t pfec)
{
    (void)m;
    note("#PF at", va.raw);
    note("is", pfec);
}

void task_deliver_again(struct machine_vcpu *m)
{
    (void)m;
    note("again", 0);
}

enum svm_kind svm_exit(struct machine_vcpu *m)
{
    note("exit", m->vmcb->exitcode);
    return KIND_OTHER;
}

/* 64-bit code of these bytes at RIP, and flags of the guest's own. */
static struct machine_vcpu *fresh(const char *code, size_t length, uint64_t flags)
{
    vmcb = (struct vmcb){ .efer = EFER_LMA | EFER_SCE, .rip = CODE, .rflags = flags, .dr6 = RESET };
    vmcb.cs.attributes = SVM_SEG_L;
    vmcb.intercept_exceptions = 1u << VECTOR_DB;
    machine = (struct machine_vcpu){ .vmcb = &vmcb, .vcpu = &vcpu, .nested = true };
    machine.cpu.gpr[REG_RSP] = STACK;
    vcpu.domain = &domain;
    memset(memory, 0x90, sizeof(memory));
    memcpy(memory + CODE, code, length);
    order[0] = '\0';
    step_open(&machine);
    assert_string_equal(order, "again 0;");
    order[0] = '\0';
    return &machine;
}

/* The processor has executed it. */
static enum svm_kind ends(struct machine_vcpu *m, uint64_t code, uint64_t dr6)
{
    m->vmcb->exitcode = code;
    m->vmcb->dr6 |= dr6;
    return step_exit(m);
}

static void classes_are_told_by_the_bytes(void **state)
{
    static const struct {
        const char *bytes;
        unsigned    count;
        bool        is_64bit;
        enum step_class class;
    } cases[] = {
        { "\x90", 1, true, STEP_PLAIN },
        { "\x9c", 1, true, STEP_PUSHF },
        { "\x66\x9c", 2, true, STEP_PUSHF },
        { "\x9d", 1, false, STEP_LOADS_FLAGS },
        { "\x48\xcf", 2, true, STEP_LOADS_FLAGS },
        { "\x48\xcf", 2, false, STEP_PLAIN }, /* DEC EAX */
        { "\x0f\x05", 2, true, STEP_SYSCALL },
        { "\x48\x0f\x07", 3, true, STEP_SYSRET },
        { "\x2e\xf3\x67\x0f\x05", 5, true, STEP_SYSCALL },
        { "\x0f\x0b", 2, true, STEP_PLAIN },
        { "\x0f", 1, true, STEP_PLAIN },
        { "\x0f\x21\xf0", 3, true, STEP_MOV_DR },
        { "\x41\x0f\x23\xf0", 4, true, STEP_MOV_DR },
        { "\x8e\xd0", 2, true, STEP_HOLDS },
        { "\x8e\xd8", 2, true, STEP_PLAIN }, /* to DS */
        { "\x17", 1, false, STEP_HOLDS },
        { "\x17", 1, true, STEP_PLAIN },
        { "\x66\x66", 2, true, STEP_PLAIN },
        { "", 0, true, STEP_PLAIN },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(
            step_class_of((const uint8_t *)cases[i].bytes, cases[i].count, cases[i].is_64bit),
            cases[i].class);
}

static void while_it_runs_nothing_gets_away(void **state)
{
    struct machine_vcpu *m = fresh("\x90", 1, RFLAGS_CF);

    (void)state;
    step_before_entry(m);
    assert_true(vmcb.rflags == (RFLAGS_CF | RFLAGS_TF));
    assert_true(vmcb.intercept_exceptions == UINT32_MAX && (vmcb.intercept_misc1 & SVM_SWINT));
    assert_false(vmcb.efer & EFER_SCE);
    vmcb.rip++;
    assert_int_equal(ends(m, DB, BS), KIND_EXCEPTION);
    assert_true(vmcb.rflags == RFLAGS_CF && vmcb.dr6 == RESET);
    assert_true(vmcb.intercept_exceptions == 1u << VECTOR_DB && vmcb.intercept_misc1 == 0);
    assert_true(vmcb.efer == (EFER_LMA | EFER_SCE));
    assert_string_equal(order, "close 0;");
    assert_false(m->step.open || m->step.armed);
}

/* TF before, what the instruction has left in it, TF after, and whether the guest has its trap. */
static void the_guest_has_its_own_trap_flag(void **state)
{
    static const struct {
        const char *code;
        bool        own, loaded, after, trap;
    } cases[] = {
        { "\x90", false, true, false, false },  { "\x90", true, true, true, true },
        { "\x9d", false, false, false, false }, { "\x9d", false, true, true, false },
        { "\x9d", true, false, false, true },   { "\xcf", true, true, true, true },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct machine_vcpu *m = fresh(cases[i].code, 1, cases[i].own ? RFLAGS_TF : 0);

        step_before_entry(m);
        vmcb.rflags = cases[i].loaded ? RFLAGS_TF : 0;
        ends(m, DB, BS);
        assert_int_equal((vmcb.rflags & RFLAGS_TF) != 0, cases[i].after);
        assert_string_equal(order, cases[i].trap ? "close 0;exception 1;" : "close 0;");
        assert_true(vmcb.dr6 == (cases[i].trap ? RESET | BS : RESET));
    }
}

/* Of PUSHF, and of what follows MOV SS. */
static void pushed_flags_are_the_guests(void **state)
{
    static const struct {
        const char *code;
        size_t      length;
        bool        own;
    } cases[] = { { "\x9c", 1, false }, { "\x9c", 1, true }, { "\x8e\xd0\x9c", 3, false } };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct machine_vcpu *m =
            fresh(cases[i].code, cases[i].length, cases[i].own ? RFLAGS_TF : 0);

        memory[STACK + 1] = 0xff;
        step_before_entry(m);
        ends(m, DB, BS);
        assert_int_equal(memory[STACK + 1], cases[i].own ? 0xff : 0xfe);
        assert_int_equal(memory[STACK], 0x90);
    }
}

/* A processor that does not hold the trap back has not executed what stands behind MOV SS. */
static void a_trap_behind_mov_ss_is_before_the_next(void **state)
{
    static const struct {
        const char *code;
        size_t      length;
    } cases[] = { { "\x8e\xd0\x9c", 3 }, /* PUSHF */
                  { "\x8e\xd0\x9d", 3 }, /* POPF */
                  { "\x8e\xd0\x0f\x23\xf0", 5 } /* MOV DR6 */ };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct machine_vcpu *m = fresh(cases[i].code, cases[i].length, 0);

        memory[STACK + 1] = 0xff;
        step_before_entry(m);
        vmcb.rip += 2;
        ends(m, DB, BS);
        assert_int_equal(memory[STACK + 1], 0xff);
        assert_true(vmcb.rflags == 0 && vmcb.dr6 == RESET);
        assert_string_equal(order, "close 0;");
    }
}

static void debug_registers_are_the_guests(void **state)
{
    struct machine_vcpu *m;

    (void)state;
    m = fresh("\x90", 1, 0); /* a breakpoint that is on, and one that is off */
    vmcb.dr7 = 1;
    vmcb.dr6 = RESET | 8;
    step_before_entry(m);
    ends(m, DB, BS | 3);
    assert_true(vmcb.dr6 == (RESET | 8 | 1));
    assert_string_equal(order, "close 0;exception 1;");

    m = fresh("\x0f\x21\xf0", 3, 0); /* MOV RAX, DR6 sees what is there */
    vmcb.dr6 = RESET | BS | 2;
    step_before_entry(m);
    assert_true(vmcb.dr6 == (RESET | BS | 2));
    vmcb.rip += 3;
    ends(m, DB, BS);
    assert_true(vmcb.dr6 == (RESET | BS | 2));
    assert_string_equal(order, "close 0;");

    m = fresh("\x41\x0f\x23\xf1", 4, 0); /* MOV DR6, R9 */
    vmcb.dr6 = RESET | BS | 2;
    m->cpu.gpr[9] = RESET;
    step_before_entry(m);
    vmcb.rip += 4;
    vmcb.dr6 = RESET;
    ends(m, DB, BS);
    assert_true(vmcb.dr6 == RESET);
}

static void faults_on_our_tables_go_on_with_frames_open(void **state)
{
    struct machine_vcpu *m = fresh("\x90", 1, 0);

    (void)state;
    step_before_entry(m);
    ends(m, SVM_EXIT_NPF, 0);
    assert_true(m->step.open && !m->step.armed);
    assert_true(vmcb.rflags == 0 && vmcb.dr6 == RESET);
    assert_string_equal(order, "exit 400;");
}

static void other_exits_find_the_frames_closed(void **state)
{
    struct machine_vcpu *m = fresh("\x0f\xa2", 2, 0);

    (void)state;
    step_before_entry(m);
    ends(m, SVM_EXIT_CPUID, 0);
    assert_true(vmcb.rflags == 0);
    assert_string_equal(order, "close 0;exit 72;");
}

static void exceptions_are_the_guests_once_the_frames_are_closed(void **state)
{
    struct machine_vcpu *m;

    (void)state;
    m = fresh("\x90", 1, 0);
    step_before_entry(m);
    vmcb.exitinfo1 = 7;
    vmcb.exitinfo2 = 0x1234;
    ends(m, SVM_EXIT_EXCEPTION + VECTOR_PF, 0);
    assert_string_equal(order, "close 0;#PF at 1234;is 7;");
    m = fresh("\x90", 1, 0);
    step_before_entry(m);
    vmcb.exitinfo1 = 0x18;
    ends(m, SVM_EXIT_EXCEPTION + VECTOR_GP, 0);
    assert_string_equal(order, "close 0;error of d;is 18;");
    m = fresh("\x90", 1, 0);
    step_before_entry(m);
    ends(m, SVM_EXIT_EXCEPTION + VECTOR_UD, 0);
    assert_string_equal(order, "close 0;exception 6;");
    m = fresh("\x90", 1, 0); /* the code has changed meanwhile: it is run again */
    step_before_entry(m);
    memory[CODE] = 0x0f, memory[CODE + 1] = 0x05;
    ends(m, SVM_EXIT_EXCEPTION + VECTOR_UD, 0);
    assert_string_equal(order, "close 0;");
}

/* What a listener has excused is so until it is executed, and nothing comes before it. */
static void an_excuse_lasts_until_the_instruction_is_executed(void **state)
{
    struct machine_vcpu *m = fresh("\x90", 1, 0);

    (void)state;
    vcpu.paging.excused = true;
    step_before_entry(m);
    ends(m, SVM_EXIT_INTR, 0);
    assert_true(vcpu.paging.excused && m->step.open && m->step.first);
    step_before_entry(m);
    ends(m, SVM_EXIT_NPF, 0);
    assert_true(vcpu.paging.excused && m->step.open && m->step.first);
    step_before_entry(m);
    ends(m, DB, BS);
    assert_false(vcpu.paging.excused || m->step.open || m->step.first);
    m = fresh("\x0f\xa2", 2, 0);
    vcpu.paging.excused = true;
    step_before_entry(m);
    ends(m, SVM_EXIT_CPUID, 0);
    assert_false(vcpu.paging.excused || m->step.open);
}

static void each_instruction_is_told_while_that_is_wanted(void **state)
{
    struct machine_vcpu *m = fresh("\x90", 1, 0);

    (void)state;
    m->step.each = true;
    step_before_entry(m);
    vmcb.rip++;
    ends(m, DB, BS);
    assert_string_equal(order, "close 0;stepped to 1001;");
    assert_true(m->step.open && !m->step.first);
}

static void software_interrupts_are_injected(void **state)
{
    static const struct {
        enum insn_kind kind;
        uint64_t       exit;
        unsigned       length, vector;
    } cases[] = {
        { INSN_INT, SVM_EXIT_SWINT, 2, 0x80 },
        { INSN_INT3, SVM_EXIT_EXCEPTION + VECTOR_BP, 1, 3 },
        { INSN_INTO, SVM_EXIT_EXCEPTION + VECTOR_OF, 1, 4 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct machine_vcpu *m = fresh("\xcd\x80", 2, RFLAGS_TF);

        insn = (struct insn){ .kind = cases[i].kind, .length = (uint8_t)cases[i].length };
        insn.operand[0].value = 0x80;
        step_before_entry(m);
        ends(m, cases[i].exit, 0);
        assert_true(vmcb.eventinj == (cases[i].vector | SVM_EVENT_SOFT | SVM_EVENT_VALID));
        assert_true(vmcb.rip == CODE + cases[i].length && vmcb.rflags == RFLAGS_TF);
        assert_int_equal(m->lifted_length, cases[i].length);
        assert_string_equal(order, "close 0;");
    }
}

static void a_delivery_ends_with_an_interrupt_of_ours(void **state)
{
    struct machine_vcpu *m = fresh("\x9c", 1, RFLAGS_IF);

    (void)state;
    vmcb.eventinj = 0x21 | SVM_EVENT_VALID;
    step_before_entry(m);
    assert_true(vmcb.rflags == RFLAGS_IF && vmcb.intercept_exceptions == UINT32_MAX);
    assert_string_equal(order, "self 60;");
    ends(m, SVM_EXIT_INTR, 0);
    assert_string_equal(order, "self 60;close 0;exit 60;");
    assert_true(vmcb.rflags == RFLAGS_IF && vmcb.intercept_exceptions == 1u << VECTOR_DB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_are_told_by_the_bytes),
        cmocka_unit_test(while_it_runs_nothing_gets_away),
        cmocka_unit_test(the_guest_has_its_own_trap_flag),
        cmocka_unit_test(pushed_flags_are_the_guests),
        cmocka_unit_test(a_trap_behind_mov_ss_is_before_the_next),
        cmocka_unit_test(debug_registers_are_the_guests),
        cmocka_unit_test(faults_on_our_tables_go_on_with_frames_open),
        cmocka_unit_test(other_exits_find_the_frames_closed),
        cmocka_unit_test(exceptions_are_the_guests_once_the_frames_are_closed),
        cmocka_unit_test(an_excuse_lasts_until_the_instruction_is_executed),
        cmocka_unit_test(each_instruction_is_told_while_that_is_wanted),
        cmocka_unit_test(software_interrupts_are_injected),
        cmocka_unit_test(a_delivery_ends_with_an_interrupt_of_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
