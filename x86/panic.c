/*
 * Prints registers and a backtrace, then stops the machine. It reads no memory but stacks
 * that are known to be mapped, and writes to the serial line past the console, whose state
 * may be what is broken. If it faults nevertheless, the second panic is one line.
 */
#include "x86/panic.h"

#include <stdarg.h>
#include <stddef.h>

#include "hv/machine.h"
#include "hv/print.h"
#include "x86/cpu.h"
#include "x86/desc.h"
#include "x86/mm.h"

#define EXIT_STATUS_PANIC 0x13 /* what `umbra` knows as: the hypervisor panicked */
#define BACKTRACE_MAX     32
#define SAY_MAX           640  /* longer than what panic() makes */
#define PORT_DEBUG_EXIT   0xf4 /* QEMU's isa-debug-exit */

/* What a function with a frame pointer leaves on the stack. */
struct stack_frame {
    uint64_t rbp, return_address;
};

static bool panicking;

static const char *const exception_names[32] = {
    [VECTOR_DE] = "divide error",         [VECTOR_DB] = "debug exception",
    [VECTOR_BP] = "breakpoint",           [VECTOR_OF] = "overflow",
    [VECTOR_BR] = "bound range",          [VECTOR_UD] = "invalid opcode",
    [VECTOR_NM] = "device not available", [VECTOR_DF] = "double fault",
    [VECTOR_TS] = "invalid TSS",          [VECTOR_NP] = "segment not present",
    [VECTOR_SS] = "stack fault",          [VECTOR_GP] = "general protection fault",
    [VECTOR_PF] = "page fault",           [VECTOR_MF] = "x87 exception",
    [VECTOR_AC] = "alignment check",      [VECTOR_MC] = "machine check",
    [VECTOR_XM] = "SIMD exception",
};

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *fmt, ...)
{
    char    line[SAY_MAX];
    va_list args;

    va_start(args, fmt);
    format_string_va(line, sizeof(line), fmt, args);
    va_end(args);
    for (const char *s = line; *s != '\0'; s++)
        machine_serial_put(*s);
}

static void say_code(uint64_t address)
{
    uint64_t    offset = 0;
    const char *name = machine_symbol(address, &offset);

    if (name != NULL)
        say("umbra:   %016lx %s+0x%lx\n", address, name, offset);
    else
        say("umbra:   %016lx ?\n", address);
}

static bool readable(uint64_t address)
{
    return address % 8 == 0 && desc_is_stack(address) &&
           desc_is_stack(address + sizeof(struct stack_frame) - 1);
}

/* A call that never returns may be the last instruction of its function: look before it. */
static void say_caller(uint64_t return_address)
{
    say_code(return_address - 1);
}

/* Callers' frames lie higher on the same stack, or are those below a trap on another one. */
static void backtrace(uint64_t rbp)
{
    for (unsigned i = 0; i < BACKTRACE_MAX && readable(rbp); i++) {
        const struct stack_frame *f = (const struct stack_frame *)rbp; /* NOLINT: was checked */

        if (f->return_address == 0)
            break;
        say_caller(f->return_address);
        if (f->rbp <= rbp)
            break;
        rbp = f->rbp;
    }
}

static void say_control(void)
{
    struct cpu *cpu = this_cpu();

    say("umbra: cr0 %016lx cr2 %016lx cr3 %016lx cr4 %016lx efer %016lx\n", read_cr0(), read_cr2(),
        read_cr3(), read_cr4(), rdmsr(MSR_EFER));
    say("umbra: cpu %u, current vcpu %p, %lu entries\n", cpu->id, (void *)cpu->current,
        cpu->entries);
}

static void say_registers(const struct trap_frame *f)
{
    say("umbra: rax %016lx rbx %016lx rcx %016lx rdx %016lx\n", f->rax, f->rbx, f->rcx, f->rdx);
    say("umbra: rsi %016lx rdi %016lx rbp %016lx rsp %016lx\n", f->rsi, f->rdi, f->rbp, f->rsp);
    say("umbra: r8  %016lx r9  %016lx r10 %016lx r11 %016lx\n", f->r8, f->r9, f->r10, f->r11);
    say("umbra: r12 %016lx r13 %016lx r14 %016lx r15 %016lx\n", f->r12, f->r13, f->r14, f->r15);
    say("umbra: rip %016lx cs %04lx ss %04lx rflags %08lx\n", f->rip, f->cs, f->ss, f->rflags);
}

static void begin(void)
{
    __asm__ volatile("cli");
    if (panicking) {
        say("umbra: panic: again, while the first one was printed\n");
        machine_exit(EXIT_STATUS_PANIC);
    }
    panicking = true;
}

void machine_panic_registers(const char *message)
{
    begin();
    say("\n%s\n", message);
    say_control();
    say("umbra: backtrace:\n");
    backtrace((uint64_t)__builtin_frame_address(0));
    machine_exit(EXIT_STATUS_PANIC);
}

void panic_trap(const struct trap_frame *f)
{
    bool        faulted = f->vector == VECTOR_PF || f->vector == VECTOR_DF;
    uint64_t    offset;
    const char *name = f->vector < 32 ? exception_names[f->vector] : NULL;

    begin();
    if (faulted && desc_is_guard(read_cr2()))
        say("\numbra: panic: stack overflow (guard page)\n");
    else if (f->vector == VECTOR_PF)
        say("\numbra: panic: page fault at %016lx\n", read_cr2());
    say("%sumbra: panic: exception %lu (%s), error code 0x%lx\n", faulted ? "" : "\n", f->vector,
        name != NULL ? name : "reserved", f->error);
    say_registers(f);
    say_control();
    say("umbra: backtrace:\n");
    say_code(f->rip);
    /* After a call to nowhere, only the return address tells who called. */
    if (machine_symbol(f->rip, &offset) == NULL && readable(f->rsp))
        say_caller(*(const uint64_t *)f->rsp); /* NOLINT: was checked */
    backtrace(f->rbp);
    machine_exit(EXIT_STATUS_PANIC);
}

void machine_exit(unsigned status)
{
    __asm__ volatile("cli");
    outb(PORT_DEBUG_EXIT, (uint8_t)status);
    for (;;)
        __asm__ volatile("cli; hlt");
}
