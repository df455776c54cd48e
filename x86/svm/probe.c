/*
 * Does this processor intercept task switches? APM vol. 2, 12.4 (task switches), 15.14.1.
 *
 * An emulated one may not: it then carries the switch out itself and loads CR3 with what a TSS of
 * the guest's says, which is an address of the machine's as soon as the tables are ours. So a tiny
 * guest in protected mode, under tables written here by hand, jumps to a TSS whose CR3 is another
 * one, that leads to the same place: either way it does no harm.
 */
#include "x86/svm/probe.h"

#include <string.h>

#include "hv/alloc.h"
#include "hv/print.h"
#include "paging/pte.h"
#include "x86/svm/enter.h"
#include "x86/svm/svm.h"
#include "x86/task_switch.h"
#include "x86/traps.h"

#define CODE_ADDRESS 0x1000u
#define HALT         0xf4
#define NEW_TASK     0x20u  /* offsets in the page: where the new task begins to run, */
#define GDT          0x100u /* the tables, */
#define OLD_TSS      0x200u /* and the tasks   */
#define NEW_TSS      0x300u
#define SELECTOR_NEW 0x18
#define SELECTOR_OLD 0x20
#define ALL_RIGHTS   (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D)
#define OTHER_ROOT   32 /* a second root in the page of the first: where its four entries begin */
#define TSS_LIMIT    0x67u

static uint8_t *page(uint64_t *address)
{
    mfn_t    mfn = alloc_frames(0, ALLOC_LOW_4G);
    uint8_t *p;

    if (!mfn_valid(mfn))
        panic("no memory to look at the processor");
    p = phys_ptr(&machine_phys, mfn);
    memset(p, 0, PAGE_SIZE);
    *address = mfn.raw << PAGE_SHIFT;
    return p;
}

static void release(uint64_t address)
{
    free_frames(mfn_of(address >> PAGE_SHIFT), 0);
}

static void put(uint8_t *at, uint64_t value, unsigned bytes)
{
    memcpy(at, &value, bytes);
}

static uint64_t task_descriptor(uint32_t base, uint64_t type)
{
    return TSS_LIMIT | (uint64_t)base << 16 | type << 40;
}

/* The page that the guest sees at CODE_ADDRESS: `jmp SELECTOR_NEW:0`, and all that this needs. */
static void fill(uint8_t *p, uint32_t new_cr3)
{
    static const uint8_t jump[] = { 0xea, 0, 0, 0, 0, SELECTOR_NEW, 0, HALT };

    memcpy(p, jump, sizeof(jump));
    p[NEW_TASK] = HALT;
    put(p + GDT + 0x08, UINT64_C(0x00cf9b000000ffff), 8);
    put(p + GDT + 0x10, UINT64_C(0x00cf93000000ffff), 8);
    put(p + GDT + SELECTOR_NEW, task_descriptor(CODE_ADDRESS + NEW_TSS, 0x89), 8);
    put(p + GDT + SELECTOR_OLD, task_descriptor(CODE_ADDRESS + OLD_TSS, SVM_SEG_TSS_BUSY), 8);
    put(p + NEW_TSS + TASK_CR3, new_cr3, 4);
    put(p + NEW_TSS + TASK_EIP, CODE_ADDRESS + NEW_TASK, 4);
    put(p + NEW_TSS + TASK_EFLAGS, RFLAGS_ALWAYS, 4);
    put(p + NEW_TSS + TASK_CS, 0x08, 2);
    for (unsigned at = TASK_SS; at <= TASK_GS; at += 4)
        put(p + NEW_TSS + at, 0x10, 2);
    put(p + NEW_TSS + TASK_ES, 0x10, 2);
}

static void build(struct vmcb *b, uint32_t cr3)
{
    struct svm_segment data = { 0x10, SVM_SEG_DATA_FLAT, UINT32_MAX, 0 };

    b->intercept_misc1 =
        SVM_INTR | SVM_NMI | SVM_HLT | SVM_MSR | SVM_IOIO | SVM_TASK_SWITCH | SVM_SHUTDOWN;
    b->intercept_misc2 = SVM_VMRUN;
    b->iopm = svm_iopm();
    b->msrpm = svm_msrpm();
    b->asid = 1;
    b->tlb_control = SVM_TLB_FLUSH_ALL;
    b->int_ctl = SVM_V_INTR_MASKING;
    b->cs = (struct svm_segment){ 0x08, SVM_SEG_CODE_FLAT, UINT32_MAX, 0 };
    b->es = b->ss = b->ds = b->fs = b->gs = data;
    b->gdtr = (struct svm_segment){ 0, 0, SELECTOR_OLD + 7, CODE_ADDRESS + GDT };
    b->ldtr = (struct svm_segment){ 0, SVM_SEG_LDT, 0, 0 };
    b->tr =
        (struct svm_segment){ SELECTOR_OLD, SVM_SEG_TSS_BUSY, TSS_LIMIT, CODE_ADDRESS + OLD_TSS };
    b->efer = EFER_SVME;
    b->cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_ET;
    b->cr4 = CR4_PAE;
    b->cr3 = cr3;
    b->dr6 = 0xffff0ff0;
    b->dr7 = 0x400;
    b->rflags = RFLAGS_ALWAYS;
    b->rip = CODE_ADDRESS;
    b->g_pat = PAT_RESET;
}

struct probe_result probe_task_switch(void)
{
    uint64_t            vmcb_pa, root, directory, table, code, gpr[16] = { 0 };
    struct vmcb        *b = (struct vmcb *)(void *)page(&vmcb_pa);
    uint8_t            *top = page(&root);
    struct probe_result r;

    fill(page(&code), (uint32_t)root + OTHER_ROOT);
    put(page(&table) + (CODE_ADDRESS >> PAGE_SHIFT) * 8, code | ALL_RIGHTS, 8);
    put(page(&directory), table | ALL_RIGHTS, 8);
    put(top, directory | PTE_P, 8);
    put(top + OTHER_ROOT, directory | PTE_P, 8);
    build(b, (uint32_t)root);
    __asm__ volatile("vmload %0" ::"a"(vmcb_pa) : "memory");
    do {
        svm_enter(gpr, vmcb_pa);
        if (b->exitcode == SVM_EXIT_INTR)
            machine_take_interrupts();
    } while (b->exitcode == SVM_EXIT_INTR || b->exitcode == SVM_EXIT_NMI);
    r = (struct probe_result){
        .intercepted = b->exitcode == SVM_EXIT_TASK_SWITCH,
        .escaped = b->exitcode == SVM_EXIT_HLT && b->cr3 == root + OTHER_ROOT,
        .selector_right = (uint16_t)b->exitinfo1 == SELECTOR_NEW,
        .exitcode = b->exitcode,
        .cr3_kept = b->cr3 == root,
    };
    release(vmcb_pa);
    release(root);
    release(directory);
    release(table);
    release(code);
    return r;
}
