/*
 * Where interrupts and exceptions enter, and the change of stacks at the end of boot.
 *
 * While guests run, TR, FS, GS and LDTR may hold a guest's values: nothing here uses them,
 * and no gate of the IDT in use then switches stacks. What comes from ring 3, where PV guests
 * run, ends the guest's turn: x86/pv/entry.S.
 */
#include "x86/push.inc"

#define FRAME_VECTOR 120 /* struct trap_frame */
#define FRAME_RIP    136
#define FRAME_CS     144
#define CS_RPL       3
#define VECTOR_LOST  261 /* x86/pv/pv.h */
#define STUB_DEBUG   16  /* of #DB, in trap_stubs */

        .text

/* A stub of 16 bytes per vector. The processor pushes an error code for some: APM vol. 2, 8.2. */
        .global trap_stubs
        .balign 16
trap_stubs:
        .set vector, 0
        .rept 256
        .balign 16
        .if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || \
            (vector == 21) || (vector == 29) || (vector == 30)
        .else
        pushq   $0
        .endif
        pushq   $vector
        .if vector == 1
        jmp     trap_debug
        .elseif (vector == 2) || (vector == 8) || (vector == 18)
        jmp     trap_own_stack
        .else
        jmp     trap_common
        .endif
        .set vector, vector + 1
        .endr

        .globl trap_common
        .balign 16
trap_common:
        push_registers
        testb   $CS_RPL, FRAME_CS(%rsp)
        jnz     pv_exit
        jmp     trap_ring0

        /*
         * #DB has a stack of its own while a PV guest is loaded. A second one before the first
         * instruction of this has overwritten its frame, and nobody can go back to where it came.
         */
trap_debug:
        push_registers
        testb   $CS_RPL, FRAME_CS(%rsp)
        jnz     pv_exit_copied
        leaq    trap_stubs+STUB_DEBUG(%rip), %rax
        cmpq    %rax, FRAME_RIP(%rsp)
        jne     trap_ring0
        movq    $VECTOR_LOST, FRAME_VECTOR(%rsp)
        jmp     pv_exit_copied

        /* What is not the guest's, wherever it comes. */
trap_own_stack:
        push_registers
trap_ring0:
        cld
        movq    %rsp, %rdi
        /* The frame is 22 words, and the processor aligned the stack to 16 before it. */
        call    trap_handle
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        popq    %r11
        popq    %r10
        popq    %r9
        popq    %r8
        popq    %rdi
        popq    %rsi
        popq    %rdx
        popq    %rcx
        popq    %rax
        addq    $16, %rsp
        iretq

/* void stack_switch(uint64_t top, void (*function)(void)): never returns. */
        .global stack_switch
stack_switch:
        movq    %rdi, %rsp
        xorl    %ebp, %ebp
        call    *%rsi
        ud2
