/*
 * A PV guest that does what cannot be answered, by a word on its command line: the hypervisor must
 * end it, and nothing else. What it prints last says what it is about to do.
 */
#include "test/guests/pv/pv.h"

const char pv_name[] = "pv-crash";

static uint64_t nothing[512] __attribute__((aligned(4096)));

static bool is(const char *word)
{
    const char *said = (const char *)pv_info->cmd_line;

    while (*word != '\0' && *word == *said) {
        word++;
        said++;
    }
    return *word == *said;
}

static void no_handler(void)
{
    pv_call(__HYPERVISOR_set_trap_table, 0, 0, 0, 0);
    __asm__ volatile("ud2");
}

/* The stack is where nothing can be written when an exception comes. */
static void bad_stack(uint64_t rsp)
{
    __asm__ volatile("movq %0, %%rsp\n\tud2" ::"r"(rsp));
}

/* There is no root for programs. */
static void no_root(void)
{
    const struct iret_context context = {
        .rip = 0x100000, .cs = 0xe033, .rsp = 0x100000, .ss = 0xe02b, .rflags = 0x202
    };

    pv_run(&context);
}

/* A root in which not even the code that runs is mapped. */
static void empty_root(void)
{
    pv_protect(nothing, false);
    pv_mmuext(MMUEXT_NEW_BASEPTR, pv_mfn(nothing), 0);
}

static void no_frame(void)
{
    __asm__ volatile("movq %0, %%rsp\n\tsyscall" ::"r"(0x8000000000000000ul), "a"(23ul));
}

/* A breakpoint on data and a single step in one instruction: QEMU makes two exceptions of them. */
static void two_traps(void)
{
    static volatile uint64_t watched;

    pv_call(__HYPERVISOR_set_debugreg, 0, (uint64_t)&watched, 0, 0);
    pv_call(__HYPERVISOR_set_debugreg, 7, 0x90001, 0, 0);
    __asm__ volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tmovq $1, %0"
                     : "=m"(watched)::"memory");
}

void pv_main(void)
{
    pv_print("pv-crash: about to crash by ");
    pv_print((const char *)pv_info->cmd_line);
    pv_print("\n");
    if (is("no-handler"))
        no_handler();
    else if (is("wild-stack"))
        bad_stack(0x8000000000000000ul);
    else if (is("hypervisor-stack"))
        bad_stack(0xffff870000000000ul + 0x8000);
    else if (is("m2p-stack"))
        bad_stack(MACH2PHYS_VIRT_START + 0x100);
    else if (is("read-only-stack"))
        bad_stack(pv_info->pt_base + 0x800);
    else if (is("no-root"))
        no_root();
    else if (is("empty-root"))
        empty_root();
    else if (is("no-frame"))
        no_frame();
    else if (is("two-traps"))
        two_traps();
    pv_print("pv-crash: FAILED: still here\n");
}
