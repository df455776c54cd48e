/*
 * CPUID policy. Features pass an allow-list, so that what a newer processor has stays hidden
 * until somebody has thought of it. Not offered: all that needs XSAVE (AVX and what is
 * encoded with VEX), MONITOR, MTRRs, machine check, SVM, PCID, protection keys, RDTSCP.
 * Each vCPU is a package of its own. APM vol. 3, appendix E; Xen's leaves: xen/arch-x86/cpuid.h.
 */
#include "x86/cpuid.h"

#include "hv/abi.h"
#include "x86/hw/cpuid.h"

#define XEN_MAJOR         4
#define XEN_MINOR         17
#define XEN_LAST          (LEAF_HYPERVISOR + 4)
#define XEN_HYPERCALL_MSR 0x40000000u

#define MAXVIRT      48u
#define MAXVIRT_LA57 57u
#define ONE_CPU      (1u << 16)  /* logical processors in the package: 1, EBX */
#define CLFLUSH_SIZE 0x0000ff00u /* 1, EBX */

static const struct cpuid allow_features = {
    .ecx = F1C_SSE3 | F1C_PCLMULQDQ | F1C_SSSE3 | F1C_CX16 | F1C_SSE41 | F1C_SSE42 | F1C_MOVBE |
           F1C_POPCNT | F1C_AES | F1C_RDRAND,
    .edx = F1D_FPU | F1D_VME | F1D_DE | F1D_PSE | F1D_TSC | F1D_MSR | F1D_PAE | F1D_CX8 | F1D_APIC |
           F1D_SEP | F1D_PGE | F1D_CMOV | F1D_PAT | F1D_PSE36 | F1D_CLFLUSH | F1D_MMX | F1D_FXSR |
           F1D_SSE | F1D_SSE2,
};

static const struct cpuid allow_structured = {
    .ebx = F7B_FSGSBASE | F7B_SMEP | F7B_ERMS | F7B_RDSEED | F7B_ADX | F7B_SMAP | F7B_CLFLUSHOPT |
           F7B_CLWB | F7B_SHA,
    .ecx = F7C_LA57,
    .edx = F7D_FSRM,
};

/* EDX repeats some of leaf 1. */
static const struct cpuid allow_extended = {
    .ecx = FEC_LAHF | FEC_ABM | FEC_SSE4A | FEC_MISALIGN | FEC_PREFETCH,
    .edx = F1D_FPU | F1D_VME | F1D_DE | F1D_PSE | F1D_TSC | F1D_MSR | F1D_PAE | F1D_CX8 | F1D_APIC |
           F1D_PGE | F1D_CMOV | F1D_PAT | F1D_PSE36 | F1D_MMX | F1D_FXSR | FED_SYSCALL | FED_NX |
           FED_MMXEXT | FED_GB1 | FED_LM,
};

static void init_basic(struct cpuid_policy *p, cpuid_source source)
{
    struct cpuid vendor = source(LEAF_VENDOR, 0), one = source(LEAF_FEATURES, 0);

    p->basic[0] = vendor;
    p->basic[0].eax = CPUID_BASIC_LEAVES - 1;
    p->basic[LEAF_FEATURES] = (struct cpuid){
        .eax = one.eax,
        .ebx = (one.ebx & CLFLUSH_SIZE) | ONE_CPU,
        .ecx = (one.ecx & allow_features.ecx) | F1C_X2APIC | F1C_HYPERVISOR,
        .edx = (one.edx & allow_features.edx) | F1D_APIC,
    };
    p->basic[6].eax = F6A_ARAT;
    if (vendor.eax >= LEAF_STRUCTURED) {
        struct cpuid seven = source(LEAF_STRUCTURED, 0);

        p->basic[LEAF_STRUCTURED] = (struct cpuid){
            .ebx = seven.ebx & allow_structured.ebx,
            .ecx = seven.ecx & allow_structured.ecx,
            .edx = seven.edx & allow_structured.edx,
        };
    }
}

static void init_extended(struct cpuid_policy *p, cpuid_source source)
{
    struct cpuid *e = p->extended, zero = source(LEAF_EXT, 0), one = source(LEAF_EXT_FEATURES, 0);
    uint32_t      maxphys = 36, maxvirt = MAXVIRT;

    e[0] = zero;
    e[0].eax = LEAF_EXT + CPUID_EXTENDED_LEAVES - 1;
    e[1] = (struct cpuid){
        .eax = one.eax,
        .ebx = one.ebx,
        .ecx = one.ecx & allow_extended.ecx,
        .edx = one.edx & allow_extended.edx,
    };
    for (uint32_t leaf = LEAF_EXT_BRAND; leaf <= LEAF_EXT_CACHE_L2 && leaf <= zero.eax; leaf++)
        e[leaf - LEAF_EXT] = source(leaf, 0);
    /* All our own clocks rest on a TSC that never changes its pace. */
    e[LEAF_EXT_POWER - LEAF_EXT].edx = FPD_INVARIANT_TSC;
    if (zero.eax >= LEAF_EXT_ADDRESSES)
        maxphys = source(LEAF_EXT_ADDRESSES, 0).eax & 0xff;
    if (p->basic[LEAF_STRUCTURED].ecx & F7C_LA57)
        maxvirt = MAXVIRT_LA57;
    if (maxphys > P2M_BITS)
        maxphys = P2M_BITS;
    e[LEAF_EXT_ADDRESSES - LEAF_EXT].eax = maxphys | maxvirt << 8;
    p->paging = (struct pt_features){
        .maxphys = (uint8_t)maxphys,
        .gb1 = e[1].edx & FED_GB1,
        .nx = e[1].edx & FED_NX,
    };
}

/* A bit of CR4 or EFER may be set if its feature is offered. */
static void init_control(struct cpuid_policy *p)
{
    uint32_t c = p->basic[LEAF_FEATURES].edx, s = p->basic[LEAF_STRUCTURED].ebx;
    uint32_t e = p->extended[1].edx;
    uint64_t cr4 = CR4_TSD | CR4_PCE;

    cr4 |= c & F1D_VME ? CR4_VME | CR4_PVI : 0;
    cr4 |= c & F1D_DE ? CR4_DE : 0;
    cr4 |= c & F1D_PSE ? CR4_PSE : 0;
    cr4 |= c & F1D_PAE ? CR4_PAE : 0;
    cr4 |= c & F1D_PGE ? CR4_PGE : 0;
    cr4 |= c & F1D_FXSR ? CR4_OSFXSR : 0;
    cr4 |= c & F1D_SSE ? CR4_OSXMMEXCPT : 0;
    cr4 |= s & F7B_FSGSBASE ? CR4_FSGSBASE : 0;
    cr4 |= s & F7B_SMEP ? CR4_SMEP : 0;
    cr4 |= s & F7B_SMAP ? CR4_SMAP : 0;
    cr4 |= p->basic[LEAF_STRUCTURED].ecx & F7C_LA57 ? CR4_LA57 : 0;
    p->control = (struct control_policy){
        .cr4_valid = cr4,
        .efer_valid = (e & FED_SYSCALL ? EFER_SCE : 0) | (e & FED_LM ? EFER_LME | EFER_LMA : 0) |
                      (e & FED_NX ? EFER_NXE : 0),
        .maxphys = p->paging.maxphys,
    };
}

void cpuid_policy_init(struct cpuid_policy *policy, cpuid_source source)
{
    *policy = (struct cpuid_policy){ 0 };
    init_basic(policy, source);
    init_extended(policy, source);
    init_control(policy);
}

static struct cpuid xen_time(const struct cpuid_vcpu *v, uint32_t subleaf)
{
    /* Cycles to nanoseconds, scaled by 2^32: the subleaf wants (cycles << shift) * mul >> 32. */
    uint64_t mul = v->tsc_khz ? (UINT64_C(1000000) << 32) / v->tsc_khz : 0;
    int      shift = 0;

    switch (subleaf) {
    case 0:
        return (struct cpuid){ 1u << 1 /* host TSC is safe */, 2 /* never emulated */, v->tsc_khz,
                               0 };
    case 1:
        while (mul >> 32) {
            mul >>= 1;
            shift++;
        }
        return (struct cpuid){ (uint32_t)v->tsc_offset, (uint32_t)(v->tsc_offset >> 32),
                               (uint32_t)mul, (uint32_t)shift };
    case 2:
        return (struct cpuid){ .eax = v->tsc_khz };
    default:
        return (struct cpuid){ 0 };
    }
}

static struct cpuid xen_leaf(const struct cpuid_vcpu *v, uint32_t leaf, uint32_t subleaf)
{
    switch (leaf) {
    case LEAF_HYPERVISOR:
        return (struct cpuid){ XEN_LAST, XEN_CPUID_SIGNATURE_EBX, XEN_CPUID_SIGNATURE_ECX,
                               XEN_CPUID_SIGNATURE_EDX };
    case LEAF_HYPERVISOR + 1:
        return (struct cpuid){ .eax = XEN_MAJOR << 16 | XEN_MINOR };
    case LEAF_HYPERVISOR + 2:
        return (struct cpuid){ .eax = 1, .ebx = XEN_HYPERCALL_MSR };
    case LEAF_HYPERVISOR + 3:
        return xen_time(v, subleaf);
    case LEAF_HYPERVISOR + 4:
        return subleaf
                   ? (struct cpuid){ 0 }
                   : (struct cpuid){ XEN_HVM_CPUID_VCPU_ID_PRESENT | XEN_HVM_CPUID_DOMID_PRESENT,
                                     v->vcpu, v->domain, 0 };
    default:
        return (struct cpuid){ 0 };
    }
}

struct cpuid cpuid_guest(const struct cpuid_policy *policy, const struct cpuid_vcpu *vcpu,
                         uint32_t leaf, uint32_t subleaf)
{
    struct cpuid c = { 0 };

    if (leaf < CPUID_BASIC_LEAVES) {
        if (leaf == LEAF_STRUCTURED && subleaf)
            return c;
        c = policy->basic[leaf];
        if (leaf == LEAF_FEATURES)
            c.ebx |= cpuid_apic_id(vcpu->vcpu) << 24;
        return c;
    }
    if (leaf - LEAF_EXT < CPUID_EXTENDED_LEAVES)
        return policy->extended[leaf - LEAF_EXT];
    if (leaf - LEAF_HYPERVISOR <= XEN_LAST - LEAF_HYPERVISOR)
        return xen_leaf(vcpu, leaf, subleaf);
    return c; /* no such leaf: zeros, as AMD's processors answer */
}

const struct cpuid_policy *cpuid_machine_policy(void)
{
    static struct cpuid_policy policy;
    static bool                made;

    if (!made) {
        cpuid_policy_init(&policy, cpuid);
        made = true;
    }
    return &policy;
}
