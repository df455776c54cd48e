/* test: with x86/svm/event.c x86/svm/inject.c x86/lapic.c */
/* What is intercepted for a listener, writes that were told, exceptions on their way, and injected events. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#include "hv/guest.h"
#include "hv/vm_event.h"
#include "x86/platform.h"
#include "x86/svm/svm.h"

static struct domain       domain;
static struct vmcb         vmcb;
static struct machine_vcpu machine;
static struct vcpu         vcpu;
static struct insn         insn;
static uint32_t            wanted; /* events */
static bool                cr3_wanted, told, may_run, busy;
static unsigned            exits, breakpoints, debugs;

struct phys machine_phys;

bool vm_event_wants(const struct domain *d, uint32_t bit)
{
    (void)d;
    return wanted & bit;
}

bool vm_event_wants_cr(const struct domain *d, unsigned index)
{
    (void)d;
    return index == VM_EVENT_X86_CR3 && cr3_wanted;
}

bool vm_event_breakpoint(struct vcpu *v, uint64_t gfn, unsigned length)
{
    (void)v;
    assert_true(gfn == 5 && length == 1);
    breakpoints++;
    return told;
}

bool vm_event_debug(struct vcpu *v, uint64_t gfn, const struct vm_event_debug *what)
{
    (void)v;
    assert_true(gfn == 5 && what->pending_dbg == 0x4001 && what->type == XEN_DMOP_EVENT_hw_exc);
    debugs++;
    return told;
}

/* The exit of a write: made at the third try while it is busy. */
enum svm_kind svm_exit(struct machine_vcpu *m)
{
    exits++;
    if (!busy || exits == 3)
        vm_event_written(m->vcpu);
    return KIND_CR;
}

void paging_view(struct paging_locked p, const struct paging_vcpu *v, gva_t va,
                 struct paging_view *view)
{
    (void)p, (void)v;
    *view = (struct paging_view){ .mapped = true, .gpa = va.raw };
}

const struct insn *insn_at(struct machine_vcpu *m)
{
    (void)m;
    return &insn;
}

void regs_root(struct machine_vcpu *m)
{
    (void)m;
}

bool vcpu_may_run(const struct vcpu *v)
{
    (void)v;
    return may_run;
}

bool vcpu_upcall(const struct vcpu *v, uint8_t *vector)
{
    (void)v, (void)vector;
    return false;
}

bool platform_has_interrupt(const struct vcpu *v)
{
    (void)v;
    return false;
}

uint8_t platform_acknowledge(struct vcpu *v)
{
    (void)v;
    return 0;
}

void domain_crash(struct domain *d, const char *fmt, ...)
{
    (void)d, (void)fmt;
    fail();
}

static int fresh(void **state)
{
    (void)state;
    vmcb = (struct vmcb){ .rip = 0x5000, .cr0 = CR0_PE, .dr6 = 0xffff4ff1, .clean = 7 };
    vmcb.cs.attributes = SVM_SEG_L;
    machine = (struct machine_vcpu){ .vmcb = &vmcb, .vcpu = &vcpu };
    vcpu = (struct vcpu){ .domain = &domain, .machine = &machine };
    insn = (struct insn){ .kind = INSN_INT3, .length = 1 };
    wanted = exits = breakpoints = debugs = 0;
    cr3_wanted = told = busy = false;
    may_run = true;
    return 0;
}

static void nothing_is_intercepted_without_need(void **state)
{
    (void)state;
    machine.nested = true;
    vmcb.intercept_exceptions = 1u << VECTOR_DB;
    for (unsigned on = 0; on < 3; on++) { /* off, on, off again */
        wanted = on == 1 ? VM_EVENT_BIT(SOFTWARE_BREAKPOINT) : 0;
        cr3_wanted = on == 1;
        vmcb.clean = 7;
        svm_vcpu_watch(&vcpu);
        assert_int_equal(vmcb.intercept_exceptions,
                         1u << VECTOR_DB | (on == 1 ? 1u << VECTOR_BP : 0));
        assert_int_equal(vmcb.intercept_misc1, on == 1 ? SVM_SWINT : 0);
        assert_int_equal(vmcb.intercept_cr, on == 1 ? SVM_CR_WRITE(3) : 0);
        assert_int_equal(vmcb.clean, 0);
    }
    machine.nested = false; /* there it is intercepted anyway */
    vmcb.intercept_cr = SVM_CR_WRITE(3);
    svm_vcpu_watch(&vcpu);
    assert_int_equal(vmcb.intercept_cr, SVM_CR_WRITE(3));
    vmcb.intercept_exceptions = UINT32_MAX; /* of a lifted guard: the mask waits */
    machine.exceptions = 1u << VECTOR_DB;
    wanted = VM_EVENT_BIT(SOFTWARE_BREAKPOINT);
    svm_vcpu_watch(&vcpu);
    assert_int_equal(vmcb.intercept_exceptions, UINT32_MAX);
    assert_int_equal(machine.exceptions, 1u << VECTOR_DB | 1u << VECTOR_BP);
}

static void a_write_that_was_told_is_finished_before_all_else(void **state)
{
    (void)state;
    vcpu.watch.gate = VM_EVENT_GATE_OPEN;
    busy = true;
    event_settle(&machine);
    assert_int_equal(exits, 3);
    assert_int_equal(vcpu.watch.gate, VM_EVENT_GATE_NONE);
    vcpu.watch.gate = VM_EVENT_GATE_OPEN; /* others are to run: it stays */
    may_run = false;
    event_settle(&machine);
    assert_int_equal(exits, 3);
    assert_int_equal(vcpu.watch.gate, VM_EVENT_GATE_OPEN);
    may_run = true; /* another instruction by now: it begins anew */
    event_settle(&machine);
    assert_true(exits > 3 && exits < 100);
    assert_int_equal(vcpu.watch.gate, VM_EVENT_GATE_NONE);
}

static void exceptions_go_to_the_guest_or_are_asked_about(void **state)
{
    (void)state;
    event_software_interrupt(&machine);
    event_debug(&machine, XEN_DMOP_EVENT_hw_exc, 0);
    assert_true(breakpoints == 0 && debugs == 0); /* nobody wants to know */
    wanted = VM_EVENT_BIT(SOFTWARE_BREAKPOINT) | VM_EVENT_BIT(DEBUG_EXCEPTION);
    for (unsigned i = 0; i < 2; i++) {
        told = i == 0;
        fresh(state);
        wanted = VM_EVENT_BIT(SOFTWARE_BREAKPOINT) | VM_EVENT_BIT(DEBUG_EXCEPTION);
        told = i == 0;
        event_software_interrupt(&machine);
        assert_int_equal(breakpoints, 1);
        assert_true(vmcb.rip == (told ? 0x5000 : 0x5001));
        assert_true(vmcb.eventinj == (told ? 0 : VECTOR_BP | SVM_EVENT_SOFT | SVM_EVENT_VALID));
        vmcb.rip = 0x5000;
        vmcb.eventinj = 0;
        event_debug(&machine, XEN_DMOP_EVENT_hw_exc, 0);
        assert_int_equal(debugs, 1);
        assert_true(vmcb.eventinj ==
                    (told ? 0 : VECTOR_DB | SVM_EVENT_EXCEPTION | SVM_EVENT_VALID));
    }
    insn = (struct insn){ .kind = INSN_INT, .length = 2 };
    insn.operand[0].value = 0x80;
    vmcb.eventinj = 0;
    event_software_interrupt(&machine);
    assert_int_equal(breakpoints, 1);
    assert_true(vmcb.eventinj == (0x80 | SVM_EVENT_SOFT | SVM_EVENT_VALID));
}

static void what_is_injected_is_what_a_processor_takes(void **state)
{
    static const struct {
        struct machine_event event;
        bool                 fine;
        uint64_t             eventinj, rip;
    } cases[] = {
        { { 3, XEN_DMOP_EVENT_sw_exc, 1, ~0u, 0 }, true, 3 | SVM_EVENT_SOFT, 0x5001 },
        { { 0x80, XEN_DMOP_EVENT_sw_int, 2, ~0u, 0 }, true, 0x80 | SVM_EVENT_SOFT, 0x5002 },
        { { 1, XEN_DMOP_EVENT_hw_exc, 0, ~0u, 0 }, true, 1 | SVM_EVENT_EXCEPTION, 0x5000 },
        { { 1, XEN_DMOP_EVENT_pri_sw_exc, 1, ~0u, 0 }, true, 1 | SVM_EVENT_EXCEPTION, 0x5001 },
        { { 14, XEN_DMOP_EVENT_hw_exc, 0, 6, 0x123 },
          true,
          14 | SVM_EVENT_EXCEPTION | SVM_EVENT_ERROR | 6ul << SVM_EVENT_ERROR_SHIFT,
          0x5000 },
        { { 2, XEN_DMOP_EVENT_hw_exc, 0, ~0u, 0 }, false, 0, 0x5000 },
        { { 32, XEN_DMOP_EVENT_hw_exc, 0, ~0u, 0 }, false, 0, 0x5000 },
        { { 3, XEN_DMOP_EVENT_sw_exc, 16, ~0u, 0 }, false, 0, 0x5000 },
        { { 1, XEN_DMOP_EVENT_pri_sw_exc, 16, ~0u, 0 }, false, 0, 0x5000 },
        { { 0x40, XEN_DMOP_EVENT_ext_int, 0, ~0u, 0 }, false, 0, 0x5000 },
        { { 2, XEN_DMOP_EVENT_nmi, 0, ~0u, 0 }, false, 0, 0x5000 },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fresh(state);
        assert_int_equal(svm_vcpu_inject(&vcpu, &cases[i].event), cases[i].fine);
        assert_true(vmcb.eventinj == (cases[i].fine ? cases[i].eventinj | SVM_EVENT_VALID : 0));
        assert_true(vmcb.rip == cases[i].rip && vmcb.cr2 == cases[i].event.cr2);
        if (cases[i].fine) /* one at a time */
            assert_false(svm_vcpu_inject(&vcpu, &cases[i].event));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_is_intercepted_without_need, fresh),
        cmocka_unit_test_setup(a_write_that_was_told_is_finished_before_all_else, fresh),
        cmocka_unit_test_setup(exceptions_go_to_the_guest_or_are_asked_about, fresh),
        cmocka_unit_test_setup(what_is_injected_is_what_a_processor_takes, fresh),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
