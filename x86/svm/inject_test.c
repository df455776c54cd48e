/* test: with x86/svm/inject.c x86/lapic.c */
/* Events: what survives an exit, how exceptions combine, when an interrupt goes in. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "x86/platform.h"
#include "x86/svm/svm.h"

#define EXCEPTION(vector) ((vector) | SVM_EVENT_EXCEPTION | SVM_EVENT_VALID)
#define UPCALL            0xf3
#define EXTERNAL          0x21

static bool upcall, crashed;

bool vcpu_upcall(const struct vcpu *v, uint8_t *vector)
{
    (void)v;
    *vector = UPCALL;
    return upcall;
}

void domain_crash(struct domain *d, const char *fmt, ...)
{
    (void)d, (void)fmt;
    crashed = true;
}

static struct machine_platform platform;
static bool                    external;
static struct domain           domain;
static struct vmcb             vmcb;
static struct vcpu             vcpu;

bool platform_has_interrupt(const struct vcpu *v)
{
    (void)v;
    return external;
}

uint8_t platform_acknowledge(struct vcpu *v)
{
    (void)v;
    assert_true(external);
    external = false;
    return EXTERNAL;
}

static struct machine_vcpu machine;

static struct machine_vcpu *fresh(void)
{
    struct lapic_effect e;

    vmcb = (struct vmcb){ .cr0 = CR0_PE, .rflags = RFLAGS_IF };
    machine = (struct machine_vcpu){ .vmcb = &vmcb, .vcpu = &vcpu };
    domain.platform = NULL;
    vcpu.domain = &domain;
    external = false;
    lapic_init(&machine.msrs.lapic, 0, true);
    assert_true(lapic_set_base(&machine.msrs.lapic, machine.msrs.lapic.base | LAPIC_BASE_X2APIC));
    assert_true(lapic_write(&machine.msrs.lapic, LAPIC_SVR, LAPIC_SVR_ENABLE, 0, &e));
    upcall = crashed = false;
    return &machine;
}

static void interrupted_events_are_delivered_again_but_for_software_ones(void **state)
{
    static const struct {
        uint64_t was, again;
    } cases[] = {
        { 0, 0 },
        { 0x40, 0 }, /* not valid */
        { 0x40 | SVM_EVENT_INTR | SVM_EVENT_VALID, 0x40 | SVM_EVENT_INTR | SVM_EVENT_VALID },
        { 2 | SVM_EVENT_NMI | SVM_EVENT_VALID, 2 | SVM_EVENT_NMI | SVM_EVENT_VALID },
        { 0x80 | SVM_EVENT_SOFT | SVM_EVENT_VALID, 0 },
        { EXCEPTION(VECTOR_BP), 0 },
        { EXCEPTION(VECTOR_OF), 0 },
        { EXCEPTION(VECTOR_DB), EXCEPTION(VECTOR_DB) },
        { EXCEPTION(VECTOR_PF) | SVM_EVENT_ERROR | UINT64_C(6) << 32,
          EXCEPTION(VECTOR_PF) | SVM_EVENT_ERROR | UINT64_C(6) << 32 },
        { EXCEPTION(0xf3), 0xf3 | SVM_EVENT_INTR | SVM_EVENT_VALID },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct machine_vcpu *m = fresh();

        vmcb.exitintinfo = cases[i].was;
        vmcb.eventinj = ~UINT64_C(0);
        inject_interrupted(m);
        assert_true(vmcb.eventinj == cases[i].again);
        assert_int_equal(m->delivering, (cases[i].was & SVM_EVENT_VALID) != 0);
    }
}

/* APM vol. 2, 8.2.9: the rows are what came first, the columns #DB, #GP, #PF. */
static void exceptions_combine_as_the_table_says(void **state)
{
    enum { SECOND, DOUBLE, SHUTDOWN };
    static const struct {
        uint8_t first;
        uint8_t outcome[3];
    } cases[] = {
        { VECTOR_DB, { SECOND, SECOND, SECOND } },     { VECTOR_UD, { SECOND, SECOND, SECOND } },
        { VECTOR_DE, { SECOND, DOUBLE, SECOND } },     { VECTOR_TS, { SECOND, DOUBLE, SECOND } },
        { VECTOR_NP, { SECOND, DOUBLE, SECOND } },     { VECTOR_SS, { SECOND, DOUBLE, SECOND } },
        { VECTOR_GP, { SECOND, DOUBLE, SECOND } },     { VECTOR_PF, { SECOND, DOUBLE, DOUBLE } },
        { VECTOR_DF, { SECOND, SHUTDOWN, SHUTDOWN } },
    };
    static const uint8_t seconds[3] = { VECTOR_DB, VECTOR_GP, VECTOR_PF };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (unsigned j = 0; j < 3; j++) {
            struct machine_vcpu *m = fresh();
            uint8_t              vector = cases[i].outcome[j] == DOUBLE ? VECTOR_DF : seconds[j];

            vmcb.exitintinfo = EXCEPTION(cases[i].first);
            inject_interrupted(m);
            if (seconds[j] == VECTOR_DB)
                inject_exception(m, VECTOR_DB);
            else
                inject_error(m, seconds[j], 0);
            assert_int_equal(crashed, cases[i].outcome[j] == SHUTDOWN);
            if (!crashed)
                assert_int_equal(vmcb.eventinj & SVM_EVENT_VECTOR, vector);
            if (!crashed && vector != VECTOR_DB)
                assert_true(vmcb.eventinj & SVM_EVENT_ERROR);
        }
}

static void an_interrupt_that_was_interrupted_makes_no_double_fault(void **state)
{
    struct machine_vcpu *m = fresh();

    (void)state;
    vmcb.exitintinfo = VECTOR_PF | SVM_EVENT_INTR | SVM_EVENT_VALID;
    inject_interrupted(m);
    inject_page_fault(m, gva_of(0x1234), PFEC_W);
    assert_true(vmcb.eventinj == (EXCEPTION(VECTOR_PF) | SVM_EVENT_ERROR | UINT64_C(2) << 32));
    assert_int_equal(vmcb.cr2, 0x1234);
}

static void real_mode_pushes_no_error_code(void **state)
{
    struct machine_vcpu *m = fresh();

    (void)state;
    vmcb.cr0 = 0;
    inject_error(m, VECTOR_GP, 0);
    assert_true(vmcb.eventinj == EXCEPTION(VECTOR_GP));
}

static bool window(void)
{
    assert_int_equal((vmcb.int_ctl & SVM_V_IRQ) != 0, (vmcb.intercept_misc1 & SVM_VINTR) != 0);
    return vmcb.int_ctl & SVM_V_IRQ;
}

static void interrupts_wait_for_the_guest(void **state)
{
    struct machine_vcpu *m = fresh();

    (void)state;
    upcall = true;
    vmcb.rflags = 0;
    inject_prepare(m);
    assert_true(window() && !vmcb.eventinj);
    vmcb.rflags = RFLAGS_IF;
    vmcb.eventinj = EXCEPTION(VECTOR_PF); /* an exception goes first */
    inject_prepare(m);
    assert_true(window() && vmcb.eventinj == EXCEPTION(VECTOR_PF));
    vmcb.eventinj = 0;
    vmcb.interrupt_shadow = SVM_INTERRUPT_SHADOW;
    inject_prepare(m);
    assert_true(window() && !vmcb.eventinj);
    vmcb.interrupt_shadow = 0;
    inject_prepare(m);
    assert_true(!window() && vmcb.eventinj == (UPCALL | SVM_EVENT_INTR | SVM_EVENT_VALID));
    vmcb.eventinj = 0;
    upcall = false;
    inject_prepare(m);
    assert_true(!window() && !vmcb.eventinj);
}

static void the_apic_is_asked_after_the_upcall_and_told_when_accepted(void **state)
{
    struct machine_vcpu *m = fresh();
    uint8_t              vector;

    (void)state;
    upcall = true;
    lapic_raise(&m->msrs.lapic, 0x41);
    inject_prepare(m);
    assert_int_equal(vmcb.eventinj & SVM_EVENT_VECTOR, UPCALL);
    assert_true(window()); /* the other one still waits */
    upcall = false;
    vmcb.eventinj = 0;
    inject_prepare(m);
    assert_int_equal(vmcb.eventinj & SVM_EVENT_VECTOR, 0x41);
    assert_false(window());
    assert_false(lapic_pending(&m->msrs.lapic, &vector));
}

static void the_line_of_the_8259s_passes_the_apic_by(void **state)
{
    struct machine_vcpu *m = fresh();

    (void)state;
    external = true; /* of no concern to a domain without devices */
    inject_prepare(m);
    assert_true(!window() && !vmcb.eventinj && !inject_has_interrupt(m));
    domain.platform = &platform;
    lapic_raise(&m->msrs.lapic, 0x41);
    assert_true(inject_has_interrupt(m));
    vmcb.rflags = 0;
    inject_prepare(m);
    assert_true(window() && !vmcb.eventinj && external); /* not acknowledged before its time */
    vmcb.rflags = RFLAGS_IF;
    inject_prepare(m);
    assert_int_equal(vmcb.eventinj & SVM_EVENT_VECTOR, EXTERNAL);
    assert_true(window());
    vmcb.eventinj = 0;
    inject_prepare(m);
    assert_int_equal(vmcb.eventinj & SVM_EVENT_VECTOR, 0x41);
    assert_false(window());
}

/* A processor that does not load the shadow opens the window where the shadow was. */
static void a_window_inside_the_shadow_is_closed_for_one_entry(void **state)
{
    struct machine_vcpu *m = fresh();

    (void)state;
    upcall = true;
    vmcb.rip = 0x100;
    vmcb.interrupt_shadow = SVM_INTERRUPT_SHADOW;
    inject_prepare(m);
    assert_true(window());
    vmcb.interrupt_shadow = 0; /* as such a processor reports it */
    inject_window(m);
    inject_prepare(m);
    assert_true(!window() && !vmcb.eventinj);
    vmcb.rip = 0x103;
    vmcb.interrupt_shadow = 0;
    inject_prepare(m);
    assert_true(vmcb.eventinj & SVM_EVENT_VALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interrupted_events_are_delivered_again_but_for_software_ones),
        cmocka_unit_test(exceptions_combine_as_the_table_says),
        cmocka_unit_test(an_interrupt_that_was_interrupted_makes_no_double_fault),
        cmocka_unit_test(real_mode_pushes_no_error_code),
        cmocka_unit_test(interrupts_wait_for_the_guest),
        cmocka_unit_test(the_apic_is_asked_after_the_upcall_and_told_when_accepted),
        cmocka_unit_test(the_line_of_the_8259s_passes_the_apic_by),
        cmocka_unit_test(a_window_inside_the_shadow_is_closed_for_one_entry),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
