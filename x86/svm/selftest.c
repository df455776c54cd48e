/*
 * Two tiny guests without a domain: real mode, nested paging over one page of code written
 * here by hand.
 *
 * svm-guest   CPUID, OUT to 0xe9, HLT: each must exit as such, with the registers right.
 * svm-nmi     the guest's TR is in the processor, with base 0 as at reset. An NMI comes while
 *             GIF is 0, ends the guest's turn, and is taken at the STGI behind #VMEXIT:
 *             its gate must not touch the TSS. Again with the NMI raised behind #VMEXIT.
 * svm-task    a guest that switches tasks is intercepted, or the processor does what probe.c says,
 *             and the hypervisor knows it.
 */
#include "x86/svm/selftest.h"

#include <string.h>

#include "hv/alloc.h"
#include "hv/print.h"
#include "paging/pte.h"
#include "x86/mm.h"
#include "x86/svm/probe.h"
#include "x86/svm/enter.h"
#include "x86/svm/svm.h"
#include "x86/traps.h"

#define CODE_ADDRESS UINT64_C(0x1000)
#define ALL_RIGHTS   (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D)
#define REAL_CODE    0x9b
#define REAL_DATA    0x93
#define REAL_LIMIT   0xffff
#define DEBUG_PORT   0xe9
#define LETTER       'u'
#define SOME_BITS    UINT64_C(0x1234567812345678)

/* The local APIC's interrupt command, APM vol. 2, 16.5 */
#define APIC_ID        0x020
#define APIC_ICR_LOW   0x300
#define APIC_ICR_HIGH  0x310
#define ICR_NMI_ASSERT (4u << 8 | 1u << 14)

struct tiny {
    struct vmcb *vmcb;
    uint64_t     vmcb_pa;
    uint64_t     gpr[16];
};

static uint8_t *page(uint64_t *address)
{
    mfn_t    mfn = alloc_frames(0, ALLOC_ANY);
    uint8_t *p;

    if (!mfn_valid(mfn))
        panic("no memory for a test");
    p = phys_ptr(&machine_phys, mfn);
    memset(p, 0, PAGE_SIZE);
    *address = mfn.raw << PAGE_SHIFT;
    return p;
}

static uint64_t table_of(uint64_t below, unsigned index)
{
    uint64_t address;
    pte_t   *table = (pte_t *)(void *)page(&address);

    table[index] = (pte_t){ below | ALL_RIGHTS };
    return address;
}

/* Four levels that map CODE_ADDRESS to a page with this code. */
static uint64_t nested_tables(const uint8_t *code, size_t length)
{
    uint64_t address;

    memcpy(page(&address), code, length);
    for (unsigned level = 1; level <= 4; level++)
        address = table_of(address, level == 1 ? CODE_ADDRESS >> PAGE_SHIFT : 0);
    return address;
}

static void build(struct tiny *t, const uint8_t *code, size_t length)
{
    struct svm_segment data = { 0, REAL_DATA, REAL_LIMIT, 0 };
    struct vmcb       *b;

    memset(t, 0, sizeof(*t));
    b = t->vmcb = (struct vmcb *)(void *)page(&t->vmcb_pa);
    b->intercept_misc1 =
        SVM_INTR | SVM_NMI | SVM_CPUID | SVM_HLT | SVM_IOIO | SVM_MSR | SVM_SHUTDOWN;
    b->intercept_misc2 = SVM_VMRUN;
    b->iopm = svm_iopm();
    b->msrpm = svm_msrpm();
    b->asid = 1;
    b->tlb_control = SVM_TLB_FLUSH_ALL;
    b->int_ctl = SVM_V_INTR_MASKING;
    b->np_enable = SVM_NP_ENABLE;
    b->ncr3 = nested_tables(code, length);
    b->cs = (struct svm_segment){ 0, REAL_CODE, REAL_LIMIT, 0 };
    b->es = b->ss = b->ds = b->fs = b->gs = data;
    b->gdtr.limit = b->idtr.limit = REAL_LIMIT;
    b->ldtr = (struct svm_segment){ 0, SVM_SEG_LDT, REAL_LIMIT, 0 };
    b->tr = (struct svm_segment){ 0, SVM_SEG_TSS_BUSY, REAL_LIMIT, 0 };
    b->efer = EFER_SVME;
    b->cr0 = CR0_ET;
    b->dr6 = 0xffff0ff0;
    b->dr7 = 0x400;
    b->rflags = RFLAGS_ALWAYS;
    b->rip = CODE_ADDRESS;
    b->g_pat = PAT_RESET;
    __asm__ volatile("vmload %0" ::"a"(t->vmcb_pa) : "memory");
}

static bool run_to(struct tiny *t, uint64_t code, uint64_t rip)
{
    svm_enter(t->gpr, t->vmcb_pa);
    while (t->vmcb->exitcode == SVM_EXIT_INTR) {
        machine_take_interrupts();
        svm_enter(t->gpr, t->vmcb_pa);
    }
    if (t->vmcb->exitcode == code && t->vmcb->rip == rip)
        return true;
    print("umbra: selftest: exit 0x%lx at 0x%lx, info 0x%lx 0x%lx; expected 0x%lx at 0x%lx\n",
          t->vmcb->exitcode, t->vmcb->rip, t->vmcb->exitinfo1, t->vmcb->exitinfo2, code, rip);
    return false;
}

static bool check(bool good, const char *what)
{
    if (!good)
        print("umbra: selftest: %s\n", what);
    return good;
}

static bool test_guest(void)
{
    /* cpuid; mov %edx, %ebx; mov $LETTER, %al; out %al, $DEBUG_PORT; hlt */
    static const uint8_t code[] = { 0x0f, 0xa2,   0x66, 0x89,       0xd3,
                                    0xb0, LETTER, 0xe6, DEBUG_PORT, 0xf4 };
    struct tiny          t;
    uint64_t             io = (uint64_t)DEBUG_PORT << SVM_IO_PORT_SHIFT | 1u << SVM_IO_SIZE_SHIFT;

    build(&t, code, sizeof(code));
    t.gpr[REG_RDI] = t.gpr[15] = SOME_BITS;
    if (!run_to(&t, SVM_EXIT_CPUID, CODE_ADDRESS))
        return false;
    t.gpr[REG_RDX] = SOME_BITS;
    t.vmcb->rip += 2;
    if (!run_to(&t, SVM_EXIT_IOIO, CODE_ADDRESS + 7) ||
        !check((uint8_t)t.vmcb->rax == LETTER, "RAX did not come out of the guest") ||
        !check((uint32_t)t.gpr[REG_RBX] == (uint32_t)SOME_BITS, "RDX did not reach the guest") ||
        !check(t.gpr[REG_RDI] == SOME_BITS && t.gpr[15] == SOME_BITS, "a register was lost") ||
        !check((t.vmcb->exitinfo1 & (0xffff0000u | SVM_IO_SIZE << SVM_IO_SIZE_SHIFT | 1)) == io,
               "the port's exit information is wrong"))
        return false;
    t.vmcb->rip = t.vmcb->exitinfo2;
    return run_to(&t, SVM_EXIT_HLT, CODE_ADDRESS + 9);
}

static void send_nmi_to_self(volatile uint8_t *apic)
{
    uint32_t id = *(volatile uint32_t *)(apic + APIC_ID);

    *(volatile uint32_t *)(apic + APIC_ICR_HIGH) = id;
    *(volatile uint32_t *)(apic + APIC_ICR_LOW) = ICR_NMI_ASSERT;
}

static uint16_t task_register(void)
{
    uint16_t selector;

    __asm__ volatile("str %0" : "=r"(selector));
    return selector;
}

static bool test_nmi(void)
{
    static const uint8_t code[] = { 0x0f, 0xa2, 0xf4 }; /* cpuid; hlt */
    volatile uint8_t    *apic = mm_map_device(LAPIC_BASE_ADDRESS, PAGE_SIZE);
    uint64_t             taken = traps_ignored();
    struct tiny          t;

    build(&t, code, sizeof(code));
    if (!run_to(&t, SVM_EXIT_CPUID, CODE_ADDRESS) ||
        !check(task_register() == 0, "TR is not the guest's after #VMEXIT"))
        return false;
    __asm__ volatile("clgi" ::: "memory");
    send_nmi_to_self(apic);
    if (!check(traps_ignored() == taken, "an NMI was taken with GIF=0") ||
        !run_to(&t, SVM_EXIT_NMI, CODE_ADDRESS) ||
        !check(traps_ignored() == taken + 1, "the NMI that ended the guest's turn was not taken"))
        return false;
    t.vmcb->rip += 2;
    if (!run_to(&t, SVM_EXIT_HLT, CODE_ADDRESS + 2))
        return false;
    __asm__ volatile("clgi" ::: "memory");
    send_nmi_to_self(apic);
    __asm__ volatile("stgi" ::: "memory");
    return check(traps_ignored() == taken + 2, "the NMI behind #VMEXIT was not taken");
}

static bool test_task(void)
{
    struct probe_result r = probe_task_switch();

    print("umbra: svm-task: exit 0x%lx: a task switch of a guest %s\n", r.exitcode,
          r.intercepted ? "is intercepted"
          : r.escaped   ? "loads the real CR3 from the guest's TSS"
                        : "did something else");
    return check(r.intercepted ? r.selector_right && r.cr3_kept : r.escaped,
                 "a task switch did what no processor should do") &&
           check(r.intercepted == svm_task_switches_seen(), "the probe at boot said otherwise");
}

bool svm_selftest(const char *name)
{
    static const struct {
        const char *name;
        bool (*run)(void);
    } tests[] = {
        { "svm-guest", test_guest },
        { "svm-nmi", test_nmi },
        { "svm-task", test_task },
    };

    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        bool good;

        if (strcmp(name, tests[i].name) != 0)
            continue;
        good = machine_enable_guests() && svm_has_nested_paging() && tests[i].run();
        print("umbra: %s: %s\n", name, good ? "ok" : "FAILED");
        return good;
    }
    return false;
}
