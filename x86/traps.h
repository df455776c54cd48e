/*
 * Interrupts and exceptions of the hypervisor itself: APM vol. 2, chapter 8. An exception is
 * our bug and ends in a panic, unless the instruction has a line in the exception table. An
 * interrupt sets a bit in this_cpu()->pending, or is counted and ignored.
 */
#ifndef X86_TRAPS_H
#define X86_TRAPS_H

#include <stdbool.h>
#include <stdint.h>

/* As entry.S and the processor push it. */
struct trap_frame {
    uint64_t r15, r14, r13, r12, rbp, rbx;
    uint64_t r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};
_Static_assert(sizeof(struct trap_frame) == 22 * 8, "entry.S");

/* Vectors of interrupts. The upper half of a vector is its priority in the local APIC. */
enum {
    VECTOR_PIC = 0x20, /* 16 vectors of the legacy controllers, all masked */
    VECTOR_SERIAL = 0x40,
    VECTOR_TIMER = 0x50,
    VECTOR_SELF = 0x60, /* sent to itself: ends a guest's turn before it has begun */
    VECTOR_SPURIOUS = 0xff,
};

/* Called by entry.S for every vector. */
void trap_handle(struct trap_frame *frame);

/* An interrupt has come, from VECTOR_PIC on. */
void trap_interrupt(uint64_t vector);

/* Opens interrupts for a moment, so that those that wait are taken; for the edge after an exit. */
void machine_take_interrupts(void);

/* How many interrupts came that nobody expected. */
uint64_t traps_ignored(void);

/*
 * The instruction labelled `fault` may raise an exception; then execution goes on at `fixup`.
 * To be used in inline assembler.
 */
#define EX_TABLE(fault, fixup)                                                                     \
    ".pushsection .ex_table, \"a\"\n\t"                                                            \
    ".balign 8\n\t"                                                                                \
    ".quad " fault ", " fixup "\n\t"                                                               \
    ".popsection\n\t"

/* Reads an MSR; false if it raises an exception, and *value is 0. */
static inline bool rdmsr_safe(uint32_t msr, uint64_t *value)
{
    uint32_t lo = 0, hi = 0, ok = 0;

    __asm__ volatile("1: rdmsr\n\t"
                     "movl $1, %0\n\t"
                     "2:\n\t" EX_TABLE("1b", "2b")
                     : "+r"(ok), "+a"(lo), "+d"(hi)
                     : "c"(msr));
    *value = (uint64_t)hi << 32 | lo;
    return ok;
}

/* Writes an MSR; false if it raises an exception. */
static inline bool wrmsr_safe(uint32_t msr, uint64_t value)
{
    uint32_t ok = 0;

    __asm__ volatile("1: wrmsr\n\t"
                     "movl $1, %0\n\t"
                     "2:\n\t" EX_TABLE("1b", "2b")
                     : "+r"(ok)
                     : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory");
    return ok;
}

#endif
