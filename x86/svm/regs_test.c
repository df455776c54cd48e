/* test: with x86/svm/regs.c x86/control.c */
/*
 * Writes of control registers that are carried out for a guest: which of them leave its translations in
 * the TLB. QEMU's processor has none after an exit, so that no run of a guest shows it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "hv/guest.h"
#include "hv/print.h"
#include "hv/vm_event.h"
#include "x86/cpuid.h"
#include "x86/svm/fetch.h"

static struct domain       domain;
static struct vmcb         vmcb;
static struct vcpu         vcpu;
static struct svm_cpu      processor;
static struct machine_vcpu machine;
static struct cpuid_policy policy;
static struct cpu          cpu;
static unsigned            taken; /* ASIDs */

static bool set(struct paging_vcpu *v, const struct paging_regs *regs)
{
    v->regs = *regs;
    return true;
}

struct verdict paging_set_regs(struct paging_locked p, struct paging_vcpu *v,
                               const struct paging_regs *regs)
{
    (void)p, (void)!set(v, regs);
    return (struct verdict){ .kind = VERDICT_RETRY };
}

bool paging_set_regs_quickly(struct paging_locked p, struct paging_vcpu *v,
                             const struct paging_regs *regs)
{
    (void)p;
    return set(v, regs);
}

void paging_note_regs(struct paging_locked p, struct paging_vcpu *v, const struct paging_regs *regs)
{
    (void)p, (void)!set(v, regs);
}

void svm_asid_take(struct svm_cpu *c, struct svm_asid *a)
{
    a->asid = ++taken;
    a->cpu = c->id;
    a->generation = c->asid_generation;
}

const struct cpuid_policy *cpuid_machine_policy(void)
{
    return &policy;
}

struct cpu *this_cpu(void)
{
    return &cpu;
}

enum vm_event_gate vm_event_write_cr(struct vcpu *v, unsigned index, uint64_t old, uint64_t value)
{
    (void)v, (void)index, (void)old, (void)value;
    fail();
    return VM_EVENT_GATE_NONE;
}

void inject_error(struct machine_vcpu *m, uint8_t vector, uint32_t code)
{
    (void)m, (void)vector, (void)code;
    fail();
}

void domain_crash(struct domain *d, const char *format, ...)
{
    (void)d;
    fail_msg("%s", format);
}

_Noreturn void panic(const char *format, ...)
{
    fail_msg("%s", format);
    __builtin_unreachable();
}

void vcpu_flush(struct domain *d, const struct verdict *verdict)
{
    (void)d, (void)verdict;
}

void task_set_guards_32(struct machine_vcpu *m)
{
    (void)m;
}

static int fresh(void **state)
{
    (void)state;
    memset(&machine, 0, sizeof(machine));
    memset(&vcpu, 0, sizeof(vcpu));
    domain = (struct domain){ 0 };
    vcpu.domain = &domain;
    vcpu.machine = &machine;
    vcpu.paging.domain = &domain.paging;
    vcpu.paging.regs = (struct paging_regs){
        .cr0 = CR0_PG | CR0_PE | CR0_WP | CR0_ET,
        .cr4 = CR4_PAE | CR4_PGE,
        .efer = EFER_LMA | EFER_LME,
    };
    machine.vcpu = &vcpu;
    machine.vmcb = &vmcb;
    machine.processor = &processor;
    machine.nested = true;
    policy.control =
        (struct control_policy){ .cr4_valid = CR4_PAE | CR4_PGE | CR4_SMEP, .maxphys = 40 };
    regs_root(&machine);
    taken = 0;
    return 0;
}

/* The guest is entered again: with translations of before? */
static bool is_flushed(void)
{
    unsigned before = taken;

    if (regs_root_moved(&machine, &vcpu, &domain.paging))
        regs_root_check(&machine);
    return taken != before && vmcb.asid == taken;
}

static void what_flushes_on_a_processor_flushes_here(void **state)
{
    const struct paging_regs *r = &vcpu.paging.regs;

    (void)state;
    assert_true(regs_write_cr3(&machine, 0x5000));
    assert_true(is_flushed());
    assert_true(regs_write_cr3(&machine, 0x5000)); /* the same again, as to flush */
    assert_true(is_flushed());
    assert_true(regs_write_cr4(&machine, r->cr4 & ~CR4_PGE));
    assert_true(is_flushed());
    assert_true(regs_write_cr4(&machine, r->cr4 | CR4_SMEP));
    assert_true(is_flushed());
    assert_true(regs_enter_task(&machine, &(uint32_t){ 0x6000 }));
    assert_true(is_flushed());
}

static void and_nothing_else_does(void **state)
{
    const struct paging_regs *r = &vcpu.paging.regs;

    (void)state;
    assert_true(regs_write_cr4(&machine, r->cr4));
    assert_false(is_flushed());
    assert_true(regs_write_cr0(&machine, r->cr0 | CR0_TS));
    assert_false(is_flushed());
    assert_true(regs_write_cr0(&machine, r->cr0 & ~CR0_WP));
    assert_false(is_flushed());
    assert_true(regs_enter_task(&machine, NULL));
    assert_false(is_flushed());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_flushes_on_a_processor_flushes_here, fresh),
        cmocka_unit_test_setup(and_nothing_else_does, fresh),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
