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

static void fresh(const char *code, size_t length, uint32_t events)
{
    vcpu = (struct vcpu){ .domain = &domain, .pv = &pv };
    pv = (struct pv_vcpu){ .vcpu = &vcpu, .regs = { .rip = CODE + length } };
    memset(memory, 0x90, sizeof(memory));
    memcpy(memory + CODE, code, length);
    order[0] = '\0';
    wanted = events;
    sync = true;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(breakpoints_stand_at_rip_for_a_listener),
        cmocka_unit_test(debug_exceptions_are_told_with_their_causes),
        cmocka_unit_test(what_is_injected_is_bounced_once),
        cmocka_unit_test(what_no_processor_has_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
