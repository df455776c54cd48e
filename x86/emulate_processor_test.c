/*
 * Execution of one instruction by the processor, for the emulator's differential test.
 *
 * The code around the instruction reaches its state by absolute 32-bit addresses alone. When the
 * instruction raises an exception, the signal's context holds what it left; the handler makes it
 * go on at the common way out, which saves all registers.
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "x86/emulate_native_test.h"

static struct native *const native = (struct native *)NATIVE_STATE;
static uint8_t *const       code = (uint8_t *)CODE;

void              native_run(void);
extern const char native_exit[];

__asm__(".text\n"
        "native_run:\n"
        "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "mov %rsp, 0x20000090\n"
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
        "movups 0x20000100+16*\\n, %xmm\\n\n"
        ".endr\n"
        "pushq 0x20000080; popfq\n"
        "mov 0x20000000, %rax; mov 0x20000008, %rcx; mov 0x20000010, %rdx\n"
        "mov 0x20000018, %rbx; mov 0x20000020, %rsp; mov 0x20000028, %rbp\n"
        "mov 0x20000030, %rsi; mov 0x20000038, %rdi\n"
        ".irp n,8,9,10,11,12,13,14,15\n"
        "mov 0x20000000+8*\\n, %r\\n\n"
        ".endr\n"
        "jmp *0x20000098\n"
        "native_exit:\n"
        "mov %rax, 0x20000000; mov %rcx, 0x20000008; mov %rdx, 0x20000010\n"
        "mov %rbx, 0x20000018; mov %rsp, 0x20000020; mov %rbp, 0x20000028\n"
        "mov %rsi, 0x20000030; mov %rdi, 0x20000038\n"
        ".irp n,8,9,10,11,12,13,14,15\n"
        "mov %r\\n, 0x20000000+8*\\n\n"
        ".endr\n"
        "mov 0x20000090, %rsp\n"
        "pushfq; popq 0x20000080\n"
        "cld\n"
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
        "movups %xmm\\n, 0x20000100+16*\\n\n"
        ".endr\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "ret\n");

_Static_assert(NATIVE_STATE == 0x20000000, "the assembly above says so");
_Static_assert(offsetof(struct native, xmm) == 0x100, "and so");
_Static_assert(offsetof(struct native, rflags) == 0x80, "and so");
_Static_assert(offsetof(struct native, host_rsp) == 0x90, "and so");

/* Any exception in the tested instruction ends it; what it left is in the signal's context. */
static void on_signal(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    greg_t     *regs = uc->uc_mcontext.gregs;

    (void)info;
    if ((uint64_t)regs[REG_RIP] - CODE >= CODE_BYTES) {
        /* Not the tested instruction: a fault of this program, taken again at the return. */
        signal(number, SIG_DFL);
        return;
    }
    native->vector = regs[REG_TRAPNO];
    native->rip = (uint64_t)regs[REG_RIP];
    regs[REG_RIP] = (greg_t)(uintptr_t)native_exit;
}

static bool catch_signals(void)
{
    static uint8_t   stack[65536] __attribute__((aligned(64)));
    static const int numbers[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };
    stack_t          alternate = { .ss_sp = stack, .ss_size = sizeof(stack) };
    struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };

    if (sigaltstack(&alternate, NULL) != 0)
        return false;
    for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (sigaction(numbers[i], &action, NULL) != 0)
            return false;
    }
    return true;
}

static bool map_at(uintptr_t where, size_t bytes, int protection)
{
    return mmap((void *)where, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
                -1, 0) == (void *)where;
}

bool native_prepare(void)
{
    return catch_signals() && map_at(NATIVE_STATE, 4096, PROT_READ | PROT_WRITE) &&
           map_at(SANDBOX, SANDBOX_BYTES, PROT_READ | PROT_WRITE) &&
           map_at(CODE, CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC) &&
           syscall(SYS_arch_prctl, ARCH_SET_GS, GS_BASE) == 0;
}

/* At `at`: note that this way out was taken, and leave. */
static void put_exit(uint64_t at, uint32_t id)
{
    static const uint8_t leave[] = { 0xff, 0x24, 0x25, 0xa0, 0x00, 0x00, 0x20 };
    uint8_t             *p = code + (at - CODE);

    memcpy(p, (const uint8_t[]){ 0x48, 0xc7, 0x04, 0x25, 0x88, 0x00, 0x00, 0x20 }, 8);
    memcpy(p + 8, &id, 4);
    memcpy(p + 12, leave, sizeof(leave));
}

void native_execute(const struct generated *g)
{
    native->vector = NO_EXCEPTION;
    native->exit_id = 0;
    native->entry = CODE;
    native->leave = (uintptr_t)native_exit;
    memcpy(code, g->bytes, g->length);
    put_exit(CODE + g->length, EXIT_NEXT);
    put_exit(BRANCH_TARGET, EXIT_BRANCH);
    native_run();
    if (native->exit_id == EXIT_NEXT)
        native->rip = CODE + g->length;
    else if (native->exit_id == EXIT_BRANCH)
        native->rip = BRANCH_TARGET;
}
