/*
 * The processor: switching SVM on, the permission maps, ASIDs, and whose registers are in it.
 * APM vol. 2, 15.4 (enabling), 15.10 and 15.11 (maps), 15.16 (ASIDs).
 */
#include "x86/svm/fetch.h"

#include "hv/alloc.h"
#include "hv/print.h"
#include "x86/desc.h"
#include "x86/svm/probe.h"

#define DR7_ENABLES 0xffu

static struct svm_cpu *cpus[SVM_CPUS_MAX];
static uint64_t        iopm, msrpm;
static bool            nested_paging, task_switches_seen;

struct svm_cpu *svm_this_cpu(void)
{
    return cpus[this_cpu()->id];
}

uint64_t svm_iopm(void)
{
    return iopm;
}

uint64_t svm_msrpm(void)
{
    return msrpm;
}

bool svm_has_nested_paging(void)
{
    return nested_paging;
}

bool svm_task_switches_seen(void)
{
    return task_switches_seen;
}

static uint64_t allocate(unsigned order)
{
    mfn_t mfn = alloc_frames(order, ALLOC_ANY);

    if (!mfn_valid(mfn))
        panic("no memory for the tables of SVM");
    __builtin_memset(phys_ptr(&machine_phys, mfn), 0, PAGE_SIZE << order);
    return mfn.raw << PAGE_SHIFT;
}

static void *pointer(uint64_t address)
{
    return machine_phys.base + address;
}

/* Lets the guest read and write an MSR of its own: both bits clear. */
static void msrpm_pass(uint8_t *map, uint32_t msr)
{
    uint32_t range = msr >= SVM_MSRPM_BASE_1;
    uint32_t number = range ? msr - SVM_MSRPM_BASE_1 : msr;

    BUG_ON(number >= SVM_MSRPM_RANGE_MSRS);
    map[range * SVM_MSRPM_RANGE_BYTES + number / 4] &= (uint8_t) ~(3u << number % 4 * 2);
}

static const uint32_t own[] = {
    MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE, MSR_STAR,         MSR_LSTAR,
    MSR_CSTAR,   MSR_SFMASK,  MSR_SYSENTER_CS,    MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,
};

bool machine_msr_is_seen(uint32_t msr)
{
    for (unsigned i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        if (own[i] == msr)
            return false;
    return true;
}

static void maps_init(void)
{
    iopm = allocate(2);
    __builtin_memset(pointer(iopm), 0xff, SVM_IOPM_BYTES);
    msrpm = allocate(1);
    __builtin_memset(pointer(msrpm), 0xff, SVM_MSRPM_BYTES);
    for (unsigned i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        msrpm_pass(pointer(msrpm), own[i]);
}

/* Why this processor cannot run guests, in words that say what to do; NULL if it can. */
static const char *why_not(void)
{
    if (cpuid(CPUID_EXTENDED, 0).eax < CPUID_SVM ||
        !(cpuid(CPUID_EXT_FEATURES, 0).ecx & CPUID_EXT1_ECX_SVM))
        return "this processor has no SVM (AMD-V): run on one that has it, or give QEMU -cpu EPYC";
    if (rdmsr(MSR_VM_CR) & VM_CR_SVMDIS)
        return "SVM (AMD-V) is disabled by the firmware: enable it in its settings";
    return NULL;
}

static void cpu_init(uint32_t id)
{
    struct cpuid    leaf = cpuid(CPUID_SVM, 0);
    struct svm_cpu *c = alloc_bytes(sizeof(*c));

    if (!c)
        panic("no memory for the tables of SVM");
    nested_paging = leaf.edx & CPUID_SVM_EDX_NP;
    c->id = id;
    c->asid_next = 1;
    c->asid_end = leaf.ebx;
    c->asid_generation = 1;
    c->flush_all = true; /* what the firmware may have left in the TLB */
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
    wrmsr(MSR_VM_HSAVE_PA, allocate(0));
    cpus[id] = c;
    print("umbra: SVM: %u ASIDs, nested paging: %s\n", leaf.ebx, nested_paging ? "yes" : "no");
}

bool svm_enable(void)
{
    const char *why = why_not();
    uint32_t    id = this_cpu()->id;

    if (why) {
        print("umbra: %s\n", why);
        return false;
    }
    BUG_ON(id >= SVM_CPUS_MAX);
    if (cpus[id])
        return true;
    if (!iopm)
        maps_init();
    cpu_init(id);
    desc_load_idt_plain();
    task_switches_seen = probe_task_switch().intercepted;
    if (!task_switches_seen)
        print("umbra: SVM: task switches are not intercepted here: TSS pages are protected, and "
              "they are made by hand\n");
    return true;
}

/* ---- ASIDs ---- */

void svm_asid_take(struct svm_cpu *c, struct svm_asid *asid)
{
    if (c->asid_next >= c->asid_end) {
        c->asid_next = 1;
        c->asid_generation++;
        c->flush_all = true;
    }
    asid->asid = c->asid_next++;
    asid->cpu = c->id;
    asid->generation = c->asid_generation;
}

/* ---- whose registers are in the processor ---- */

static void debug_load(struct machine_vcpu *m)
{
    __asm__ volatile("mov %0, %%dr0" ::"r"(m->dr[0]));
    __asm__ volatile("mov %0, %%dr1" ::"r"(m->dr[1]));
    __asm__ volatile("mov %0, %%dr2" ::"r"(m->dr[2]));
    __asm__ volatile("mov %0, %%dr3" ::"r"(m->dr[3]));
    m->dr_live = true;
    m->vmcb->intercept_dr = 0;
}

static void debug_save(struct machine_vcpu *m)
{
    __asm__ volatile("mov %%dr0, %0" : "=r"(m->dr[0]));
    __asm__ volatile("mov %%dr1, %0" : "=r"(m->dr[1]));
    __asm__ volatile("mov %%dr2, %0" : "=r"(m->dr[2]));
    __asm__ volatile("mov %%dr3, %0" : "=r"(m->dr[3]));
    m->dr_live = false;
    m->vmcb->intercept_dr = SVM_DR_ALL;
}

/*
 * The guest touched a debug register, all of which are intercepted until then: give it the
 * real ones, and let it run the instruction. Few guests ever do.
 */
void virtual_dr(struct machine_vcpu *m)
{
    debug_load(m);
}

void svm_cpu_save_segments(const struct vcpu *v)
{
    if (svm_this_cpu()->loaded == v)
        __asm__ volatile("vmsave %0" ::"a"(v->machine->vmcb_pa) : "memory");
}

void svm_cpu_load_segments(const struct vcpu *v)
{
    if (svm_this_cpu()->loaded == v)
        __asm__ volatile("vmload %0" ::"a"(v->machine->vmcb_pa) : "memory");
}

void svm_cpu_save_fpu(const struct vcpu *v)
{
    if (svm_this_cpu()->loaded == v)
        __asm__ volatile("fxsave64 %0" : "=m"(v->machine->fpu));
}

void svm_cpu_load_fpu(const struct vcpu *v)
{
    if (svm_this_cpu()->loaded == v)
        __asm__ volatile("fxrstor64 %0" ::"m"(v->machine->fpu));
}

void svm_cpu_unload(struct vcpu *v)
{
    struct svm_cpu      *c = svm_this_cpu();
    struct machine_vcpu *m = v->machine;

    if (c->loaded != v)
        return;
    svm_cpu_save_segments(v);
    svm_cpu_save_fpu(v);
    if (m->dr_live)
        debug_save(m);
    c->loaded = NULL;
}

void svm_cpu_release(void)
{
    struct svm_cpu *c = svm_this_cpu();

    if (c && c->loaded)
        svm_cpu_unload(c->loaded);
}

void svm_cpu_load(struct vcpu *v)
{
    struct svm_cpu      *c = svm_this_cpu();
    struct machine_vcpu *m = v->machine;

    m->processor = c;
    if (c->loaded == v)
        return;
    if (c->loaded)
        svm_cpu_unload(c->loaded);
    __asm__ volatile("vmload %0" ::"a"(m->vmcb_pa) : "memory");
    __asm__ volatile("fxrstor64 %0" ::"m"(m->fpu));
    /* Breakpoints that are on need their addresses; else they wait for the first use. */
    if (m->vmcb->dr7 & DR7_ENABLES)
        debug_load(m);
    c->loaded = v;
}
