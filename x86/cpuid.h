/*
 * The CPUID that guests see: what the machine has, of which only what works is let through,
 * and the leaves by which a guest knows Xen's ABI.
 */
#ifndef X86_CPUID_H
#define X86_CPUID_H

#include "x86/control.h"
#include "x86/cpu.h"

/* Reads a leaf of the machine; the tests give their own. */
typedef struct cpuid (*cpuid_source)(uint32_t leaf, uint32_t subleaf);

#define CPUID_BASIC_LEAVES    8
#define CPUID_EXTENDED_LEAVES 9

/* The same for all guests; made once. */
struct cpuid_policy {
    struct cpuid          basic[CPUID_BASIC_LEAVES];
    struct cpuid          extended[CPUID_EXTENDED_LEAVES];
    struct pt_features    paging;
    struct control_policy control;
};

/* What differs from vCPU to vCPU. */
struct cpuid_vcpu {
    uint32_t vcpu, domain;
    uint32_t tsc_khz;
    uint64_t tsc_offset;
};

/* APIC id of a vCPU, as the ACPI tables say too. */
static inline uint32_t cpuid_apic_id(uint32_t vcpu)
{
    return 2 * vcpu;
}

void         cpuid_policy_init(struct cpuid_policy *policy, cpuid_source source);
struct cpuid cpuid_guest(const struct cpuid_policy *policy, const struct cpuid_vcpu *vcpu,
                         uint32_t leaf, uint32_t subleaf);

/* The policy of this machine; made at its first use. */
const struct cpuid_policy *cpuid_machine_policy(void);

#endif
