/* test: with x86/pv/event.c */
/* What a listener is asked about of a PV guest's exceptions, and what it injects in their place. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "hv/guest.h"
#include "hv/vm_event.h"
#include "x86/cpu.h"
#include "x86/pv/pv.h"
#include "x86/traps.h"

#define CODE 0x1000ul

static struct domain  domain;
static struct vcpu    vcpu;
static struct pv_vcpu pv;
static uint8_t        memory[2 * PAGE_SIZE];
static char           order[200]; /* what was asked of others */
static uint32_t       wanted;     /* events */
static bool           sync;

static void say(const char *what, uint64_t value)
{
    snprintf(order + strlen(order), sizeof(order) - strlen(order), "%s %lx;", what,
             (unsigned long)value);
}

bool vm_event_wants(const struct domain *d, uint32_t bit)
{
    (void)d;
    return wanted & bit;
}

bool vm_event_breakpoint(struct vcpu *v, uint64_t gfn, unsigned length)
{
    say("INT3 at", v->pv->regs.rip);
    say("in", gfn);
    say("of", length);
    return sync;
}

bool vm_event_debug(struct vcpu *v, uint64_t gfn, const struct vm_event_debug *what)
{
    (void)v, (void)gfn;
    say("#DB of", what->pending_dbg);
    return sync;
}

void paging_view(struct paging_locked p, const struct paging_vcpu *v, gva_t va,
                 struct paging_view *view)
{
    (void)p, (void)v;
    *view = (struct paging_view){ .mapped = true, .gpa = va.raw + 0x5000 };
}

gva_t pv_step_rip(const struct pv_vcpu *v)
{
    return gva_of(v->regs.rip);
}

unsigned pv_peek(struct pv_vcpu *v, gva_t va, uint8_t bytes[INSN_BYTES_MAX])
{
    (void)v;
    memcpy(bytes, memory + va.raw, INSN_BYTES_MAX);
    return INSN_BYTES_MAX;
}

void pv_bounce_exception(struct pv_vcpu *v, uint8_t vector, uint64_t error)
{
    (void)v;
    say("exception", vector);
    say("error", error);
}

void pv_bounce_interrupt(struct pv_vcpu *v, uint8_t vector)
{
    say("interrupt", vector);
    say("rip", v->regs.rip);
}

void pv_bounce_page_fault(struct pv_vcpu *v, uint64_t address, uint64_t error)
{
    (void)v;
    say("#PF at", address);
    say("error", error);
}

/* ---- registers ---- */

static enum vm_event_gate gate; /* what becomes of a write that is told */
static struct vm_event    listener;

/* As the real one does: told the first time, then the answer counts. */
static enum vm_event_gate tell(struct vcpu *v, const char *what, uint64_t number, uint64_t old,
                               uint64_t value)
{
    if (v->watch.gate == VM_EVENT_GATE_NONE) {
        say(what, number);
        say("was", old);
        say("is", value);
        v->watch.gate = (uint8_t)gate;
    }
    return (enum vm_event_gate)v->watch.gate;
}

enum vm_event_gate vm_event_write_cr(struct vcpu *v, unsigned index, uint64_t old, uint64_t value)
{
    return tell(v, "CR", index, old, value);
}

enum vm_event_gate vm_event_write_msr(struct vcpu *v, uint32_t msr, uint64_t old, uint64_t value)
{
    return tell(v, "MSR", msr, old, value);
}

bool pv_edge_get_control(struct pv_vcpu *v, unsigned number, uint64_t *value)
{
    *value = number == 0 ? (v->ts ? CR0_TS : 0) | 1 : 0x100 * number;
    return true;
}

bool pv_edge_set_control(struct pv_vcpu *v, unsigned number, uint64_t value)
{
    if (number == 0)
        v->ts = value & CR0_TS;
    say("set", number);
    say("to", value);
    return value != 0xbad;
}

bool pv_read_msr(struct pv_vcpu *v, uint32_t msr, uint64_t *value)
{
    (void)v;
    *value = 0x1000 + msr;
    return true;
}

bool pv_write_msr(struct pv_vcpu *v, uint32_t msr, uint64_t value)
{
    (void)v;
    say("write", msr);
    say("of", value);
    return value != 0xbad;
}

void pv_edge_set_ts(struct pv_vcpu *v, bool ts)
{
    v->ts = ts;
    say("ts", ts);
}

void pv_edge_set_base(struct pv_vcpu *v, enum pv_base which, uint64_t base)
{
    (void)v;
    say("base", which);
    say("at", base);
}

static void fresh(const char *code, size_t length, uint32_t events)
{
    vcpu = (struct vcpu){ .domain = &domain, .pv = &pv };
    pv = (struct pv_vcpu){ .vcpu = &vcpu, .regs = { .rip = CODE + length } };
    memset(memory, 0x90, sizeof(memory));
    memcpy(memory + CODE, code, length);
    order[0] = '\0';
    wanted = events;
    sync = true;
    domain.vm_event = NULL;
}

static void listen(enum vm_event_gate answer)
{
    fresh("", 0, VM_EVENT_BIT(MOV_TO_MSR));
    domain.vm_event = &listener;
    gate = answer;
}

static void breakpoints_stand_at_rip_for_a_listener(void **state)
{
    (void)state;
    fresh("\xcc", 1, VM_EVENT_BIT(SOFTWARE_BREAKPOINT));
    assert_true(pv_event_breakpoint(&pv));
    assert_string_equal(order, "INT3 at 1000;in 6;of 1;");
    fresh("\xcd\x03", 2, VM_EVENT_BIT(SOFTWARE_BREAKPOINT));
    assert_true(pv_event_breakpoint(&pv));
    assert_string_equal(order, "INT3 at 1000;in 6;of 2;");
    fresh("\xcc", 1, VM_EVENT_BIT(SOFTWARE_BREAKPOINT));
    sync = false; /* nobody waits for an answer */
    assert_false(pv_event_breakpoint(&pv));
    assert_true(pv.regs.rip == CODE + 1);
    fresh("\x90", 1, VM_EVENT_BIT(SOFTWARE_BREAKPOINT)); /* another instruction by now */
    assert_false(pv_event_breakpoint(&pv));
    assert_true(order[0] == '\0' && pv.regs.rip == CODE + 1);
    fresh("\xcc", 1, 0);
    assert_false(pv_event_breakpoint(&pv));
    assert_true(order[0] == '\0' && pv.regs.rip == CODE + 1);
}

static void debug_exceptions_are_told_with_their_causes(void **state)
{
    (void)state;
    fresh("\x90", 1, VM_EVENT_BIT(DEBUG_EXCEPTION));
    assert_true(pv_event_debug(&pv, 0xffff4ff1));
    sync = false;
    assert_false(pv_event_debug(&pv, 0xffff4ff0));
    wanted = 0;
    assert_false(pv_event_debug(&pv, 0xffff4ff0));
    assert_string_equal(order, "#DB of 4001;#DB of 4000;");
}

static void what_is_injected_is_bounced_once(void **state)
{
    static const struct {
        struct machine_event event;
        const char          *bounced;
    } cases[] = {
        { { .vector = 3, .type = XEN_DMOP_EVENT_sw_exc, .length = 1, .error = ~0u },
          "interrupt 3;rip 1001;" },
        { { .vector = 0x80, .type = XEN_DMOP_EVENT_sw_int, .length = 2, .error = ~0u },
          "interrupt 80;rip 1002;" },
        { { .vector = 1, .type = XEN_DMOP_EVENT_hw_exc, .error = ~0u }, "exception 1;error 0;" },
        { { .vector = 13, .type = XEN_DMOP_EVENT_hw_exc, .error = 0x18 }, "exception d;error 18;" },
        { { .vector = 14, .type = XEN_DMOP_EVENT_hw_exc, .error = 6, .cr2 = 0x1234 },
          "#PF at 1234;error 6;" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fresh("", 0, 0);
        assert_true(pv_vcpu_inject(&vcpu, &cases[i].event));
        assert_false(pv_vcpu_inject(&vcpu, &cases[i].event));
        assert_true(pv.injected.due && order[0] == '\0');
        pv_event_deliver(&pv);
        assert_string_equal(order, cases[i].bounced);
        assert_false(pv.injected.due);
    }
}

static void what_no_processor_has_is_refused(void **state)
{
    static const struct machine_event wrong[] = {
        { .vector = 2, .type = XEN_DMOP_EVENT_hw_exc },
        { .vector = 32, .type = XEN_DMOP_EVENT_hw_exc },
        { .vector = 3, .type = XEN_DMOP_EVENT_sw_exc, .length = 16 },
        { .vector = 3, .type = 0 },
        { .vector = 3, .type = 7 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        fresh("", 0, 0);
        assert_false(pv_vcpu_inject(&vcpu, &wrong[i]));
        assert_true(!pv.injected.due && pv.regs.rip == CODE);
    }
}

static void without_a_listener_registers_are_written_at_once(void **state)
{
    (void)state;
    fresh("", 0, 0);
    assert_true(pv_event_write_control(&pv, 4, 7) && pv_event_write_msr(&pv, 5, 8));
    assert_true(pv_edge_write_ts(&pv, true) && pv_edge_write_base(&pv, PV_BASE_FS, 9));
    assert_string_equal(order, "set 4;to 7;write 5;of 8;ts 1;base 0;at 9;");
    assert_false(pv_event_write_control(&pv, 4, 0xbad) || pv_event_write_msr(&pv, 5, 0xbad));
}

static void a_listener_is_told_before_a_register_is_written(void **state)
{
    (void)state;
    listen(VM_EVENT_GATE_OPEN);
    assert_true(pv_event_write_control(&pv, 0, 8) && pv_event_write_control(&pv, 4, 7));
    assert_string_equal(order, "CR 0;was 1;is 8;set 0;to 8;CR 2;was 400;is 7;set 4;to 7;");
    listen(VM_EVENT_GATE_OPEN);
    assert_false(pv_event_write_control(&pv, 4, 0xbad) || pv_event_write_msr(&pv, 5, 0xbad));
    assert_string_equal(order, "CR 2;was 400;is bad;set 4;to bad;MSR 5;was 1005;is bad;"
                               "write 5;of bad;");
    listen(VM_EVENT_GATE_OPEN);
    assert_true(pv_event_write_control(&pv, 2, 7)); /* CR2 is told to nobody */
    assert_string_equal(order, "set 2;to 7;");
    assert_int_equal(vcpu.watch.gate, VM_EVENT_GATE_NONE);
}

static void hypercalls_that_write_registers_are_told_as_these(void **state)
{
    (void)state;
    listen(VM_EVENT_GATE_OPEN);
    assert_true(pv_edge_write_ts(&pv, true) && pv_edge_write_ts(&pv, false));
    assert_string_equal(order, "CR 0;was 1;is 9;set 0;to 9;CR 0;was 9;is 1;set 0;to 1;");
    listen(VM_EVENT_GATE_OPEN);
    assert_true(pv_edge_write_base(&pv, PV_BASE_FS, 1) &&
                pv_edge_write_base(&pv, PV_BASE_GS_KERNEL, 2) &&
                pv_edge_write_base(&pv, PV_BASE_GS_USER, 3));
    assert_string_equal(order, "MSR c0000100;was c0001100;is 1;write c0000100;of 1;"
                               "MSR c0000101;was c0001101;is 2;write c0000101;of 2;"
                               "MSR c0000102;was c0001102;is 3;write c0000102;of 3;");
}

static void a_write_that_is_asked_about_comes_again(void **state)
{
    static const enum vm_event_gate answers[] = { VM_EVENT_GATE_OPEN, VM_EVENT_GATE_SHUT };

    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        bool called[2];

        listen(VM_EVENT_GATE_ASKED);
        for (unsigned again = 0; again < 2; again++) {
            switch (i / 2) {
            case 0:
                called[again] = pv_event_write_control(&pv, 4, 7);
                break;
            case 1:
                called[again] = pv_event_write_msr(&pv, 5, 8);
                break;
            case 2:
                called[again] = pv_edge_write_ts(&pv, true);
                break;
            default:
                called[again] = pv_edge_write_base(&pv, PV_BASE_GS_USER, 3);
            }
            if (again == 0) {
                assert_int_equal(vcpu.watch.gate, VM_EVENT_GATE_ASKED);
                vcpu.watch.gate = (uint8_t)answers[i % 2];
                assert_null(strstr(order, "set"));
                assert_null(strstr(order, "write"));
            }
        }
        assert_int_equal(called[0], i / 2 < 2); /* an instruction is not the guest's #GP */
        assert_true(called[1]);
        assert_int_equal(vcpu.watch.gate, VM_EVENT_GATE_NONE);
        assert_int_equal(strstr(order, "set") || strstr(order, "write"), i % 2 == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(breakpoints_stand_at_rip_for_a_listener),
        cmocka_unit_test(debug_exceptions_are_told_with_their_causes),
        cmocka_unit_test(what_is_injected_is_bounced_once),
        cmocka_unit_test(what_no_processor_has_is_refused),
        cmocka_unit_test(without_a_listener_registers_are_written_at_once),
        cmocka_unit_test(a_listener_is_told_before_a_register_is_written),
        cmocka_unit_test(hypercalls_that_write_registers_are_told_as_these),
        cmocka_unit_test(a_write_that_is_asked_about_comes_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
