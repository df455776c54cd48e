/* CPUID policy over processors of our own making. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#include "x86/cpuid.h"
#include "x86/hw/cpuid.h"

/* Features that must never reach a guest whatever the processor has. */
#define F1C_MONITOR (1u << 3)
#define F1C_FMA     (1u << 12)
#define F1C_PCID    (1u << 17)
#define F1C_XSAVE   (1u << 26)
#define F1C_OSXSAVE (1u << 27)
#define F1C_AVX     (1u << 28)
#define F1D_MCE     (1u << 7)
#define F1D_MTRR    (1u << 12)
#define F1D_MCA     (1u << 14)
#define FEC_SVM     (1u << 2)
#define FED_RDTSCP  (1u << 27)

static uint32_t host_maxphys = 48;

/* A processor that has everything. */
static struct cpuid all_ones(uint32_t leaf, uint32_t subleaf)
{
    (void)subleaf;
    if (leaf == LEAF_VENDOR)
        return (struct cpuid){ 0x20, 0x68747541, 0x444d4163, 0x69746e65 };
    if (leaf == LEAF_EXT)
        return (struct cpuid){ 0x8000001f, 0x68747541, 0x444d4163, 0x69746e65 };
    if (leaf == LEAF_EXT_ADDRESSES)
        return (struct cpuid){ host_maxphys | 57 << 8, ~0u, ~0u, ~0u };
    return (struct cpuid){ ~0u, ~0u, ~0u, ~0u };
}

/* One that has next to nothing. */
static struct cpuid poor(uint32_t leaf, uint32_t subleaf)
{
    (void)subleaf;
    if (leaf == LEAF_VENDOR)
        return (struct cpuid){ .eax = 1 };
    if (leaf == LEAF_EXT)
        return (struct cpuid){ .eax = LEAF_EXT_FEATURES };
    return (struct cpuid){ 0 };
}

static struct cpuid ask(cpuid_source source, uint32_t leaf, uint32_t subleaf)
{
    struct cpuid_policy     policy;
    const struct cpuid_vcpu who = { .vcpu = 3, .domain = 7, .tsc_khz = 2500000, .tsc_offset = 5 };

    cpuid_policy_init(&policy, source);
    return cpuid_guest(&policy, &who, leaf, subleaf);
}

static void what_does_not_work_is_hidden(void **state)
{
    struct cpuid one = ask(all_ones, LEAF_FEATURES, 0), ext = ask(all_ones, LEAF_EXT_FEATURES, 0);

    (void)state;
    assert_int_equal(
        one.ecx & (F1C_MONITOR | F1C_FMA | F1C_PCID | F1C_XSAVE | F1C_OSXSAVE | F1C_AVX), 0);
    assert_int_equal(one.edx & (F1D_MCE | F1D_MTRR | F1D_MCA), 0);
    assert_int_equal(ext.ecx & FEC_SVM, 0);
    assert_int_equal(ext.edx & FED_RDTSCP, 0);
    assert_int_equal(ask(all_ones, LEAF_STRUCTURED, 0).ecx & ~F7C_LA57, 0); /* UMIP, PKU */
}

static void what_works_is_offered_if_the_processor_has_it(void **state)
{
    struct cpuid one = ask(all_ones, LEAF_FEATURES, 0), ext = ask(all_ones, LEAF_EXT_FEATURES, 0);

    (void)state;
    assert_false(~one.ecx & (F1C_CX16 | F1C_X2APIC | F1C_HYPERVISOR));
    assert_false(~ext.edx & (FED_LM | FED_NX | FED_SYSCALL | FED_GB1));
    assert_false(~ask(all_ones, LEAF_STRUCTURED, 0).ebx & (F7B_SMEP | F7B_SMAP));
    assert_true(ask(all_ones, LEAF_STRUCTURED, 0).ecx & F7C_LA57);
    assert_true(ask(poor, LEAF_FEATURES, 0).ecx == (F1C_X2APIC | F1C_HYPERVISOR));
    assert_int_equal(ask(poor, LEAF_EXT_FEATURES, 0).edx, 0);
    assert_int_equal(ask(poor, LEAF_STRUCTURED, 0).ebx, 0);
    assert_int_equal(ask(poor, LEAF_STRUCTURED, 0).ecx, 0);
}

static void each_vcpu_is_a_package_with_its_own_apic_id(void **state)
{
    struct cpuid one = ask(all_ones, LEAF_FEATURES, 0);

    (void)state;
    assert_int_equal(one.ebx >> 24, 6);
    assert_int_equal(one.ebx >> 16 & 0xff, 1);
}

static void addresses_are_no_wider_than_the_p2m(void **state)
{
    (void)state;
    host_maxphys = 48;
    assert_int_equal(ask(all_ones, LEAF_EXT_ADDRESSES, 0).eax, P2M_BITS | 57 << 8);
    host_maxphys = 39;
    assert_int_equal(ask(all_ones, LEAF_EXT_ADDRESSES, 0).eax, 39 | 57 << 8);
    host_maxphys = 48;
}

static void control_bits_follow_from_the_features(void **state)
{
    struct cpuid_policy p;

    (void)state;
    cpuid_policy_init(&p, all_ones);
    assert_true(p.control.cr4_valid & CR4_SMEP);
    assert_true(p.control.cr4_valid & CR4_LA57);
    assert_false(p.control.cr4_valid & (CR4_OSXSAVE | CR4_PCIDE | CR4_PKE | CR4_MCE));
    assert_int_equal(p.control.efer_valid, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
    cpuid_policy_init(&p, poor);
    assert_false(p.control.cr4_valid & (CR4_SMEP | CR4_SMAP | CR4_PAE | CR4_LA57));
    assert_int_equal(p.control.efer_valid, 0);
}

static void xen_is_found_at_its_leaves_only(void **state)
{
    struct cpuid c = ask(all_ones, LEAF_HYPERVISOR, 0);
    char         name[13] = "";

    (void)state;
    memcpy(name, &c.ebx, 4);
    memcpy(name + 4, &c.ecx, 4);
    memcpy(name + 8, &c.edx, 4);
    assert_string_equal(name, "XenVMMXenVMM");
    assert_true(c.eax >= LEAF_HYPERVISOR + 2);
    assert_int_equal(ask(all_ones, LEAF_HYPERVISOR + 1, 0).eax, 4 << 16 | 17);
    c = ask(all_ones, LEAF_HYPERVISOR + 2, 0);
    assert_int_equal(c.eax, 1);
    assert_int_equal(c.ebx, 0x40000000);
    assert_int_equal(ask(all_ones, LEAF_HYPERVISOR + 3, 0).ecx, 2500000);
    c = ask(all_ones, LEAF_HYPERVISOR + 4, 0);
    assert_int_equal(c.ebx, 3);
    assert_int_equal(c.ecx, 7);
    for (uint32_t base = 0x40000100; base < 0x40010000; base += 0x100)
        assert_int_equal(ask(all_ones, base, 0).ebx, 0);
    assert_int_equal(ask(all_ones, 0x3fffffff, 0).eax, 0);
    assert_int_equal(ask(all_ones, CPUID_BASIC_LEAVES, 0).eax, 0);
    assert_int_equal(ask(all_ones, LEAF_EXT + CPUID_EXTENDED_LEAVES, 0).eax, 0);
    assert_int_equal(ask(all_ones, 0xffffffff, 0).eax, 0);
}

/* What the time leaf says turns ticks into nanoseconds: ((ticks << shift) * mul) >> 32. */
static void the_time_leaf_scales_to_nanoseconds(void **state)
{
    struct cpuid c = ask(all_ones, LEAF_HYPERVISOR + 3, 1);
    uint64_t     ns = (UINT64_C(2500000) << c.edx) * c.ecx >> 32;

    (void)state;
    assert_int_equal(c.eax, 5);
    assert_true(ns >= 999999 && ns <= 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_does_not_work_is_hidden),
        cmocka_unit_test(what_works_is_offered_if_the_processor_has_it),
        cmocka_unit_test(each_vcpu_is_a_package_with_its_own_apic_id),
        cmocka_unit_test(addresses_are_no_wider_than_the_p2m),
        cmocka_unit_test(control_bits_follow_from_the_features),
        cmocka_unit_test(xen_is_found_at_its_leaves_only),
        cmocka_unit_test(the_time_leaf_scales_to_nanoseconds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
