/*
 * What the bare guests share. A guest is one C file with guest_main(); it starts in long
 * mode with 4 GiB mapped one to one, says what it finds on port 0xe9, and powers off. Its
 * last line is `NAME: ok`, or `NAME: FAILED: ...`, which guest_fail prints.
 *
 * An access that may fault is made by one of the functions below that return false then;
 * `guest_fault` tells what came. Any other exception fails the test.
 */
#ifndef TEST_GUESTS_GUEST_H
#define TEST_GUESTS_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/abi.h"
#include "x86/cpu.h"

#define PAGE 4096ul

/* Entries, APM vol. 2, 5.3 and 5.4 */
#define P  (1ul << 0)
#define W  (1ul << 1)
#define U  (1ul << 2)
#define A  (1ul << 5)
#define D  (1ul << 6)
#define PS (1ul << 7)
#define NX (1ul << 63)

/* Error code of a page fault, APM vol. 2, 8.4.2 */
#define PF_P    (1ul << 0)
#define PF_W    (1ul << 1)
#define PF_U    (1ul << 2)
#define PF_RSVD (1ul << 3)
#define PF_I    (1ul << 4)

struct guest_frame {
    uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

struct guest_fault {
    uint64_t vector, error, cr2;
};

extern const char         guest_name[]; /* each guest defines its own */
extern struct guest_fault guest_fault;
extern uint64_t guest_resume; /* where to go on after an exception that was allowed for, or 0 */
extern uint64_t guest_pml4[512], guest_pdpt[512], guest_pd[4 * 512];

void guest_main(const struct hvm_start_info *info);

/* Entered from start.S. */
void guest_start_64(const struct hvm_start_info *info);
void guest_trap(struct guest_frame *frame);

void guest_print(const char *text);
void guest_print_hex(uint64_t value);
/* The next number of a command line, in decimal; 0 where there is none. */
uint64_t guest_number(const char **text);
/* Sleeps until this system time. */
void           guest_wait_until(uint64_t ns);
_Noreturn void guest_poweroff(void);

/* The test fails: why, and the two values that differ if there are such. */
_Noreturn void guest_fail(const char *why, uint64_t got, uint64_t wanted);

static inline void guest_check(uint64_t got, uint64_t wanted, const char *what)
{
    if (got != wanted)
        guest_fail(what, got, wanted);
}

/* One instruction that may fault; false if it did. */
#define GUEST_TRY(instruction, outputs, ...)                                                       \
    ({                                                                                             \
        guest_fault = (struct guest_fault){ ~0ul, 0, 0 };                                          \
        __asm__ volatile("movq $1f, guest_resume\n\t" instruction "\n1: movq $0, guest_resume"     \
                         : outputs:__VA_ARGS__                                                     \
                         : "memory", "cc");                                                        \
        (bool)(*(volatile uint64_t *)&guest_fault.vector == ~0ul);                                 \
    })

static inline bool guest_load(uint64_t address, uint64_t *value)
{
    return GUEST_TRY("movq (%1), %0", "+r"(*value), "r"(address));
}

static inline bool guest_store(uint64_t address, uint64_t value)
{
    return GUEST_TRY("movq %0, (%1)", , "r"(value), "r"(address));
}

static inline bool guest_rdmsr(uint32_t msr, uint64_t *value)
{
    uint32_t low = 0, high = 0;
    bool     fine;

    guest_fault = (struct guest_fault){ ~0ul, 0, 0 };
    __asm__ volatile("movq $1f, guest_resume\n\trdmsr\n1: movq $0, guest_resume"
                     : "+a"(low), "+d"(high)
                     : "c"(msr)
                     : "memory");
    fine = *(volatile uint64_t *)&guest_fault.vector == ~0ul;
    *value = (uint64_t)high << 32 | low;
    return fine;
}

static inline bool guest_wrmsr(uint32_t msr, uint64_t value)
{
    return GUEST_TRY("wrmsr", , "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

static inline void guest_invlpg(uint64_t address)
{
    __asm__ volatile("invlpg (%0)" ::"r"(address) : "memory");
}

static inline int64_t guest_hypercall(uint64_t nr, uint64_t a, uint64_t b, uint64_t c)
{
    register uint64_t r10 __asm__("r10") = 0;
    int64_t           result;

    __asm__ volatile("vmmcall"
                     : "=a"(result), "+D"(a), "+S"(b), "+d"(c), "+r"(r10)
                     : "0"(nr)
                     : "memory", "r8");
    return result;
}

#endif
