/*
 * The two edges behind one face: what hv/machine.h asks for, by the kind of the domain. At most
 * one of them has a vCPU loaded at any time.
 */
#include "hv/machine.h"

#include "hv/guest.h"
#include "hv/print.h"
#include "hv/pv.h"
#include "x86/cpuid.h"
#include "x86/desc.h"
#include "x86/hw/cpuid.h"
#include "x86/platform.h"
#include "x86/pv/pv.h"
#include "x86/svm/svm.h"

#define HYPERVISOR_STEP 0x100u /* from the leaves of one hypervisor to another one's */

static bool has_svm;

/* Without virtualization hardware there still are PV guests. */
bool machine_enable_guests(void)
{
    pv_cpu_init();
    has_svm = svm_enable();
    if (!has_svm)
        print("umbra: only PV guests can run\n");
    return true;
}

void machine_cpu_features(uint32_t caps[8])
{
    struct cpuid one = cpuid(1, 0), seven = cpuid(7, 0), ext = cpuid(0x80000001, 0);

    caps[0] = one.edx;
    caps[1] = one.ecx;
    caps[2] = ext.edx;
    caps[3] = ext.ecx;
    caps[4] = cpuid(0xd, 1).eax;
    caps[5] = seven.ebx;
    caps[6] = seven.ecx;
    caps[7] = cpuid(0x80000007, 0).edx;
}

bool machine_guest_cpuid(unsigned i, uint32_t *leaf, uint32_t *a, uint32_t *b, uint32_t *c,
                         uint32_t *d)
{
    const struct cpuid_policy *p = cpuid_machine_policy();
    const struct cpuid_vcpu    any = { 0 };
    struct cpuid               value = { 0 };

    /* First and last leaf of two hypervisors stand between the others: ours, and none. */
    if (i < CPUID_BASIC_LEAVES)
        *leaf = i;
    else if (i < CPUID_BASIC_LEAVES + 2)
        *leaf = LEAF_HYPERVISOR + HYPERVISOR_STEP * (i - CPUID_BASIC_LEAVES);
    else if (i < CPUID_BASIC_LEAVES + 2 + CPUID_EXTENDED_LEAVES)
        *leaf = LEAF_EXT + (i - CPUID_BASIC_LEAVES - 2);
    else
        return false;
    if (i < CPUID_BASIC_LEAVES)
        value = p->basic[i];
    else if (*leaf == LEAF_HYPERVISOR)
        value.eax = cpuid_guest(p, &any, *leaf, 0).eax;
    else if (*leaf >= LEAF_EXT)
        value = p->extended[*leaf - LEAF_EXT];
    *a = value.eax;
    *b = value.ebx;
    *c = value.ecx;
    *d = value.edx;
    return true;
}

bool machine_offers_hvm(void)
{
    return has_svm;
}

struct pt_features machine_guest_features(void)
{
    return cpuid_machine_policy()->paging;
}

bool machine_vcpu_create(struct vcpu *v, const struct machine_start *start)
{
    return v->pv ? pv_vcpu_start(v, start) : svm_vcpu_create(v, start);
}

void machine_vcpu_destroy(struct vcpu *v)
{
    if (v->pv)
        pv_vcpu_stop(v);
    else
        svm_vcpu_destroy(v);
}

void machine_vcpu_set_kind(struct vcpu *v)
{
    if (!v->pv)
        svm_vcpu_set_kind(v);
}

bool machine_offers_nested(void)
{
    return has_svm && svm_has_nested_paging();
}

/* INIT and SIPI start nobody. */
unsigned machine_vcpus_max(void)
{
    return 1;
}

void machine_vcpu_run(struct vcpu *v)
{
    if (v->pv) {
        svm_cpu_release();
        pv_vcpu_run(v);
        return;
    }
    pv_cpu_unload();
    desc_load_idt_plain();
    svm_vcpu_run(v);
}

/* ---- its state as records ---- */

void machine_vcpu_save(struct vcpu *v, struct hvm_hw_cpu *cpu)
{
    svm_vcpu_save(v, cpu);
}

void machine_vcpu_save_lapic(const struct vcpu *v, struct hvm_hw_lapic *lapic)
{
    svm_vcpu_save_lapic(v, lapic);
}

void machine_vcpu_save_lapic_regs(const struct vcpu *v, struct hvm_hw_lapic_regs *regs)
{
    svm_vcpu_save_lapic_regs(v, regs);
}

void machine_vcpu_save_mtrr(const struct vcpu *v, struct hvm_hw_mtrr *mtrr)
{
    svm_vcpu_save_mtrr(v, mtrr);
}

bool machine_vcpu_load(struct vcpu *v, const struct hvm_hw_cpu *cpu)
{
    return svm_vcpu_load(v, cpu);
}

bool machine_vcpu_load_lapic(struct vcpu *v, const struct hvm_hw_lapic *lapic)
{
    return svm_vcpu_load_lapic(v, lapic);
}

bool machine_vcpu_load_lapic_regs(struct vcpu *v, const struct hvm_hw_lapic_regs *regs)
{
    return svm_vcpu_load_lapic_regs(v, regs);
}

bool machine_vcpu_load_mtrr(struct vcpu *v, const struct hvm_hw_mtrr *mtrr)
{
    return svm_vcpu_load_mtrr(v, mtrr);
}

/* ---- for a listener ---- */

void machine_vcpu_event_regs(const struct vcpu *v, struct vm_event_regs_x86 *regs)
{
    if (v->pv)
        pv_vcpu_event_regs(v, regs);
    else
        svm_vcpu_event_regs(v, regs);
}

void machine_vcpu_event_set_regs(struct vcpu *v, const struct vm_event_regs_x86 *regs)
{
    if (v->pv)
        pv_vcpu_event_set_regs(v, regs);
    else
        svm_vcpu_event_set_regs(v, regs);
}

void machine_vcpu_excuse(struct vcpu *v, bool without_writing)
{
    if (v->pv)
        pv_vcpu_excuse(v, without_writing);
    else
        svm_vcpu_excuse(v, without_writing);
}

void machine_vcpu_single_step(struct vcpu *v, bool on)
{
    if (v->pv)
        pv_vcpu_single_step(v, on);
    else
        svm_vcpu_single_step(v, on);
}

void machine_vcpu_watch(struct vcpu *v)
{
    if (!v->pv)
        svm_vcpu_watch(v);
}

bool machine_vcpu_inject(struct vcpu *v, const struct machine_event *event)
{
    return v->pv ? pv_vcpu_inject(v, event) : svm_vcpu_inject(v, event);
}

/* ---- looking at it ---- */

bool machine_vcpu_uses_nested(const struct vcpu *v)
{
    return !v->pv && svm_vcpu_uses_nested(v);
}

bool machine_vcpu_has_interrupt(const struct vcpu *v)
{
    return !v->pv && svm_vcpu_has_interrupt(v);
}

uint64_t machine_vcpu_tsc_offset(const struct vcpu *v)
{
    return v->pv ? 0 : svm_vcpu_tsc_offset(v);
}

bool machine_vcpu_is_64bit(const struct vcpu *v)
{
    return v->pv || svm_vcpu_is_64bit(v);
}

bool machine_vcpu_exit_stat(const struct vcpu *v, unsigned i, struct machine_exit_stat *stat)
{
    return v->pv ? pv_vcpu_exit_stat(v, i, stat) : svm_vcpu_exit_stat(v, i, stat);
}

void machine_vcpu_show(const struct vcpu *v)
{
    if (v->pv)
        pv_vcpu_show(v);
    else
        svm_vcpu_show(v);
}

void vcpu_flush(struct domain *d, const struct verdict *verdict)
{
    if (!d->pv)
        svm_flush(d, verdict);
    else if (verdict->flush != FLUSH_NONE)
        pv_edge_flush();
}
