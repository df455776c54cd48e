/*
 * Into ring 3 and back; see doc/pv.md. struct pv_vcpu begins with the 22 words of struct pv_regs,
 * then host_rsp.
 */
#include "x86/layout.h"
#include "x86/push.inc"

#define REGS_VECTOR    120
#define REGS_RIP       136
#define REGS_CS        144
#define REGS_RFLAGS    152
#define REGS_RSP       160
#define REGS_SS        168
#define REGS_BYTES     176
#define HOST_RSP       176
#define KEPT_BYTES     48  /* R15 to RBX, which functions in C keep */
#define IRET_WORDS     40  /* what IRETQ takes */
#define VECTOR_SYSCALL 256
#define VECTOR_SYSCALL32 257
#define VECTOR_REFUSED 258
#define VECTOR_SYSENTER 259
#define WAY_KEPT       1   /* enum pv_way */
#define CS_UNKNOWN     3
#define RFLAGS_NONE    2
#define KERNEL_TOP     0   /* offsets in the words that GS points to: x86/pv/cpu.c */
#define KERNEL_SCRATCH 8

        .text

/* void pv_enter(struct pv_vcpu *): returns when the guest has left ring 3, or could not get there. */
        .globl pv_enter
        .type pv_enter, @function
pv_enter:
        pushq   %rbp
        pushq   %rbx
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        pushq   %rdi
        movq    %rsp, HOST_RSP(%rdi)
pv_resume:
        movq    0(%rdi), %r15
        movq    8(%rdi), %r14
        movq    16(%rdi), %r13
        movq    24(%rdi), %r12
        movq    32(%rdi), %rbp
        movq    40(%rdi), %rbx
pv_resume_kept: /* those above are as they are in memory */
        pushq   REGS_SS(%rdi)
        pushq   REGS_RSP(%rdi)
        pushq   REGS_RFLAGS(%rdi)
        pushq   REGS_CS(%rdi)
        pushq   REGS_RIP(%rdi)
        movq    48(%rdi), %r11
        movq    56(%rdi), %r10
        movq    64(%rdi), %r9
        movq    72(%rdi), %r8
        movq    88(%rdi), %rsi
        movq    96(%rdi), %rdx
        movq    104(%rdi), %rcx
        movq    112(%rdi), %rax
        movq    80(%rdi), %rdi
pv_iret:
        iretq
        .pushsection .ex_table, "a"
        .balign 8
        .quad   pv_iret, pv_iret_refused
        .popsection

        /* The registers that were to go in are still in their places in memory. */
pv_iret_refused:
        movq    IRET_WORDS(%rsp), %rdi
        movq    $VECTOR_REFUSED, REGS_VECTOR(%rdi)
        jmp     pv_leave
        .size pv_enter, . - pv_enter

/*
 * Where SYSCALL leads from 64-bit and from 32-bit code, with the guest's stack. The frame is that of
 * an exception in ring 3.
 */
        .globl pv_syscall
        .balign 16
pv_syscall:
        swapgs
        movq    %rsp, %gs:KERNEL_SCRATCH
        movq    %gs:KERNEL_TOP, %rsp
        pushq   $SELECTOR_USER_SS
        pushq   %gs:KERNEL_SCRATCH
        swapgs
        pushq   %r11
        pushq   $SELECTOR_USER_CS64
        pushq   %rcx
        pushq   $0
        pushq   $VECTOR_SYSCALL
        push_called
        leaq    -KEPT_BYTES(%rsp), %rdi
        movq    HOST_RSP(%rdi), %rsp
        call    pv_quick_system_call
        movq    (%rsp), %rdi
        cmpl    $WAY_KEPT, %eax
        je      pv_resume_kept
        /* Others look at all registers. */
        movq    %r15, 0(%rdi)
        movq    %r14, 8(%rdi)
        movq    %r13, 16(%rdi)
        movq    %r12, 24(%rdi)
        movq    %rbp, 32(%rdi)
        movq    %rbx, 40(%rdi)
        jb      pv_leave
        call    pv_quick_hypercall
        /* By the way that it says. */
pv_go:
        movq    (%rsp), %rdi
        cmpl    $WAY_KEPT, %eax
        je      pv_resume_kept
        ja      pv_resume
        jmp     pv_leave

        .globl pv_syscall32
        .balign 16
pv_syscall32:
        swapgs
        movq    %rsp, %gs:KERNEL_SCRATCH
        movq    %gs:KERNEL_TOP, %rsp
        pushq   $SELECTOR_USER_SS
        pushq   %gs:KERNEL_SCRATCH
        swapgs
        pushq   %r11
        pushq   $SELECTOR_USER_CS32
        pushq   %rcx
        pushq   $0
        pushq   $VECTOR_SYSCALL32
        jmp     trap_common

/*
 * Where SYSENTER leads, with RSP at the top of the vCPU's registers. It keeps neither where it came from
 * nor the stack, and leaves TF, NT and AC as they were: a single step before the POPF is ignored.
 */
        .globl pv_sysenter
        .balign 16
pv_sysenter:
        pushq   $SELECTOR_USER_SS
        pushq   $0
        pushfq
        pushq   $RFLAGS_NONE
        popfq
        pushq   $CS_UNKNOWN
        pushq   $0
        pushq   $0
        pushq   $VECTOR_SYSENTER
        jmp     trap_common

/* From ring 3, with the frame complete: RSP is the struct pv_vcpu. */
        .globl pv_exit
pv_exit:
        cld
        movq    %rsp, %rdi
        movq    HOST_RSP(%rdi), %rsp
        call    pv_quick
        jmp     pv_go
pv_leave:
        movq    HOST_RSP(%rdi), %rsp
        popq    %rdi
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbx
        popq    %rbp
        ret

/* The same with the frame on a stack of the vector's own. */
        .globl pv_exit_copied
pv_exit_copied:
        cld
        movq    %rsp, %rsi
        swapgs
        movq    %gs:KERNEL_TOP, %rdi
        swapgs
        subq    $REGS_BYTES, %rdi
        movq    %rdi, %rax
        movl    $REGS_BYTES / 8, %ecx
        rep movsq
        movq    %rax, %rdi
        jmp     pv_leave

        .section .note.GNU-stack, "", @progbits
