/*
 * Into the guest and back: void svm_enter(uint64_t gpr[16], uint64_t vmcb_pa).
 *
 * VMRUN keeps our RAX, RSP, RIP, RFLAGS, CS, SS, DS, ES, GDTR, IDTR, CR0, CR3, CR4 and EFER
 * and loads the guest's; #VMEXIT brings them back. The others are exchanged here. Interrupts
 * are held by GIF=0 on both sides of the guest; IF=1 at VMRUN lets them end the guest's turn
 * (APM vol. 2, 15.13.1). An NMI that waits is taken at STGI. No FPU register is touched.
 */
#define GPR(n) (8 * (n))(%rdi)

    .text
    .globl svm_enter
    .type svm_enter, @function
svm_enter:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    push %rdi
    mov  %rsi, %rax
    clgi
    sti
    mov  GPR(1), %rcx
    mov  GPR(2), %rdx
    mov  GPR(3), %rbx
    mov  GPR(5), %rbp
    mov  GPR(6), %rsi
    mov  GPR(8), %r8
    mov  GPR(9), %r9
    mov  GPR(10), %r10
    mov  GPR(11), %r11
    mov  GPR(12), %r12
    mov  GPR(13), %r13
    mov  GPR(14), %r14
    mov  GPR(15), %r15
    mov  GPR(7), %rdi
    vmrun %rax
    xchg %rdi, (%rsp)
    mov  %rcx, GPR(1)
    mov  %rdx, GPR(2)
    mov  %rbx, GPR(3)
    mov  %rbp, GPR(5)
    mov  %rsi, GPR(6)
    mov  %r8, GPR(8)
    mov  %r9, GPR(9)
    mov  %r10, GPR(10)
    mov  %r11, GPR(11)
    mov  %r12, GPR(12)
    mov  %r13, GPR(13)
    mov  %r14, GPR(14)
    mov  %r15, GPR(15)
    pop  GPR(7)
    cli
    stgi
    pop  %r15
    pop  %r14
    pop  %r13
    pop  %r12
    pop  %rbx
    pop  %rbp
    ret
    .size svm_enter, . - svm_enter

    .section .note.GNU-stack, "", @progbits
