/*
 * What the bare PV guests share. A guest is one C file with pv_main(); it says what it finds by
 * console_io, and powers off. Its last line is `NAME: ok`, or `NAME: FAILED: ...` from pv_fail.
 *
 * An instruction that may raise an exception is made by PV_TRY, which says whether it did not;
 * `pv_fault` tells what came. Any other exception fails the test.
 */
#ifndef TEST_GUESTS_PV_PV_H
#define TEST_GUESTS_PV_PV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/abi.h"

#define PAGE 4096ul

/* Entries, APM vol. 2, 5.3 and 5.4 */
#define P  (1ul << 0)
#define W  (1ul << 1)
#define U  (1ul << 2)
#define A  (1ul << 5)
#define D  (1ul << 6)
#define NX (1ul << 63)

/* Vectors that are none: callbacks */
#define VECTOR_EVENT    0x100
#define VECTOR_FAILSAFE 0x101
#define VECTOR_SYSCALL  0x102
#define VECTOR_SYSENTER 0x103
#define VECTOR_SIZE     16 /* of the code that pv_vectors has for each */

/* As start.S leaves it on the stack: registers, then what the ABI pushes, the error code aside. */
struct pv_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx;
    uint64_t error, rax, vector;
    uint64_t pushed_rcx, pushed_r11;
    uint64_t rest[10]; /* [error,] or four selectors, then RIP, CS, RFLAGS, RSP, SS */
};

/* The part that IRETQ would take, wherever it is in the frame. */
struct pv_return {
    uint64_t rip, cs, rflags, rsp, ss;
};

struct pv_fault {
    uint64_t         vector, error, cr2;
    struct pv_return at;
    uint64_t         selector[4]; /* of a failsafe callback */
    uint64_t         mask;        /* of events when the handler was entered */
    uint64_t         frame;       /* address of the lowest word that was pushed */
};

/* A page of the image, over which shared_info is mapped. */
union pv_page {
    struct shared_info info;
    uint8_t            bytes[4096];
};
#define pv_shared (pv_shared_page.info)

extern const char         pv_name[]; /* each guest defines its own */
extern struct start_info *pv_info;
extern union pv_page      pv_shared_page;
extern struct pv_fault    pv_fault;  /* the last exception or callback that was allowed for */
extern uint64_t           pv_resume; /* where to go on after it, or 0 */
extern bool               pv_failsafe_is_fine; /* at any time, and nothing is to be done */
extern unsigned           pv_events;           /* event callbacks so far */
extern char               pv_vectors[], pv_hypercall_page[];

void pv_main(void);
void pv_run(const struct iret_context *context);

void     pv_begin(struct start_info *info);
uint64_t pv_trap(struct pv_frame *frame);
void     pv_print(const char *text);
void     pv_print_hex(uint64_t value);
/* The number behind a word of the command line, `key=`. */
uint64_t       pv_number(const char *key, uint64_t otherwise);
_Noreturn void pv_poweroff(void);
_Noreturn void pv_fail(const char *why, uint64_t got, uint64_t wanted);

static inline void pv_check(uint64_t got, uint64_t wanted, const char *what)
{
    if (got != wanted)
        pv_fail(what, got, wanted);
}

/* Goes to a program's or the kernel's code with these registers, and comes back at the next trap. */
void pv_visit(uint64_t rip, uint64_t cs, uint64_t rflags, uint64_t rsp, uint64_t ss,
              uint64_t flags);

/* Several operands as one argument. */
#define ARGUMENTS(...) __VA_ARGS__

#define PV_TRY(instruction, outputs, ...)                                                          \
    ({                                                                                             \
        pv_fault = (struct pv_fault){ .vector = ~0ul };                                            \
        __asm__ volatile("movq $1f, pv_resume\n\t" instruction "\n1: movq $0, pv_resume"           \
                         : outputs:__VA_ARGS__                                                     \
                         : "memory", "cc");                                                        \
        (bool)(*(volatile uint64_t *)&pv_fault.vector == ~0ul);                                    \
    })

static inline bool pv_load(uint64_t address, uint64_t *value)
{
    return PV_TRY("movq (%1), %0", "+r"(*value), "r"(address));
}

static inline bool pv_store(uint64_t address, uint64_t value)
{
    return PV_TRY("movq %0, (%1)", , "r"(value), "r"(address));
}

static inline int64_t pv_call(uint64_t nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    register uint64_t r10 __asm__("r10") = d;
    int64_t           result;

    __asm__ volatile("syscall"
                     : "=a"(result), "+D"(a), "+S"(b), "+d"(c), "+r"(r10)
                     : "0"(nr)
                     : "memory", "rcx", "r11", "r8", "r9");
    return result;
}

/* ---- tables ---- */

/* The machine frame of an address of the image or of another mapped by the builder. */
uint64_t pv_mfn(const void *p);
/* The level 1 entry of an address as it is now, and where it is. */
uint64_t *pv_entry(const void *p);
/* What is in a frame of ours, through the builder's mapping. */
void *pv_page_of(uint64_t mfn);
/* Makes a page of the image read-only or writable: 0 or an error. */
int64_t pv_protect(void *p, bool writable);
int64_t pv_update(uint64_t machine_address, uint64_t value);
int64_t pv_mmuext(unsigned cmd, uint64_t one, uint64_t two);

#endif
