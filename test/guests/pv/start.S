/*
 * How a bare PV guest starts: in ring 3, on its own tables, RSI the address of start_info. Exceptions
 * and callbacks come to pv_trap, which is in C and gets the frame as Xen's ABI has it.
 */
#define VECTOR_EVENT    0x100
#define VECTOR_FAILSAFE 0x101
#define VECTOR_SYSCALL  0x102
#define VECTOR_SYSENTER 0x103
#define CALL_IRET       23

    .macro note type, value
    .pushsection .note.Xen, "a", @note
    .align 4
    .long 4, 8, \type
    .asciz "Xen"
    .quad \value
    .popsection
    .endm

    note 2, pv_hypercall_page            /* XEN_ELFNOTE_HYPERCALL_PAGE */
    note 1, pv_start                     /* XEN_ELFNOTE_ENTRY */

    .text
    .globl pv_start
pv_start:
    cld
    leaq pv_stack_end(%rip), %rsp
    movq %rsi, %rdi
    call pv_begin
    ud2

    .align 4096
    .globl pv_hypercall_page
pv_hypercall_page:
    .skip 4096

/* One entry point per vector, 16 bytes apart; what has no error code pushes 0 where it would be. */
    .align 16
    .globl pv_vectors
pv_vectors:
vector = 0
    .rept VECTOR_SYSENTER + 1
    .align 16
    .if (vector == 8 || (vector >= 10 && vector <= 14) || vector == 17)
    pushq $vector
    jmp trap_error
    .else
    pushq $vector
    jmp trap
    .endif
vector = vector + 1
    .endr

/*
 * The stack: vector, RCX, R11, [error,] RIP, CS, RFLAGS, RSP, SS. It is made struct pv_frame: the
 * general registers, vector, error, and what IRETQ would take.
 */
trap:
    pushq %rax
    movq 8(%rsp), %rax                   /* vector */
    pushq $0                             /* error */
    jmp 1f
trap_error:
    pushq %rax
    movq 8(%rsp), %rax
    pushq 32(%rsp)                       /* error */
1:  /* error, RAX, vector, RCX, R11, ... */
    pushq %rcx
    pushq %rdx
    pushq %rbx
    pushq %rbp
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, %rdi
    cld
    call pv_trap                         /* returns the address of an iret_context */
    movq %rax, %rbx
    movq 0(%rsp), %r15
    movq 8(%rsp), %r14
    movq 16(%rsp), %r13
    movq 24(%rsp), %r12
    movq 40(%rsp), %r10
    movq 48(%rsp), %r9
    movq 56(%rsp), %r8
    movq 64(%rsp), %rdi
    movq 72(%rsp), %rsi
    movq 80(%rsp), %rbp
    movq 96(%rsp), %rdx
    movq 88(%rsp), %rcx
    movq %rbx, %rsp
    movq %rcx, %rbx
    movl $CALL_IRET, %eax
    syscall
    ud2

/* void pv_run(const struct iret_context *): goes there; whoever wants back uses pv_resume. */
    .globl pv_run
pv_run:
    movq %rdi, %rsp
    movl $CALL_IRET, %eax
    syscall
    ud2

    .bss
    .align 4096
    .skip 16384
pv_stack_end:
    .section .note.GNU-stack, "", @progbits
