/*
 * Into the guest and back.
 *
 * VMRUN keeps our RAX, RSP, RIP, RFLAGS, CS, SS, DS, ES, GDTR, IDTR, CR0, CR3, CR4 and EFER
 * and loads the guest's; #VMEXIT brings them back. The others are exchanged here. Interrupts
 * are held by GIF=0 on both sides of the guest; IF=1 at VMRUN lets them end the guest's turn
 * (APM vol. 2, 15.13.1). An NMI that waits is taken at STGI. No FPU register is touched.
 */
#ifndef X86_SVM_ENTER_H
#define X86_SVM_ENTER_H

#include <stdint.h>

/*
 * Runs the guest until #VMEXIT; host interrupts are off before and after. RAX and RSP are not taken from
 * `gpr`, nor put there: the VMCB has them. APM vol. 2, 15.5. Inlined, so that the compiler keeps what it needs itself.
 */
static inline __attribute__((always_inline)) void svm_enter(uint64_t gpr[16], uint64_t vmcb_pa)
{
    __asm__ volatile("push %%rbp\n\t"
                     "push %%rdi\n\t"
                     "clgi\n\t"
                     "sti\n\t"
                     "mov 8*1(%%rdi), %%rcx\n\t"
                     "mov 8*2(%%rdi), %%rdx\n\t"
                     "mov 8*3(%%rdi), %%rbx\n\t"
                     "mov 8*5(%%rdi), %%rbp\n\t"
                     "mov 8*6(%%rdi), %%rsi\n\t"
                     "mov 8*8(%%rdi), %%r8\n\t"
                     "mov 8*9(%%rdi), %%r9\n\t"
                     "mov 8*10(%%rdi), %%r10\n\t"
                     "mov 8*11(%%rdi), %%r11\n\t"
                     "mov 8*12(%%rdi), %%r12\n\t"
                     "mov 8*13(%%rdi), %%r13\n\t"
                     "mov 8*14(%%rdi), %%r14\n\t"
                     "mov 8*15(%%rdi), %%r15\n\t"
                     "mov 8*7(%%rdi), %%rdi\n\t"
                     "vmrun %%rax\n\t"
                     "xchg %%rdi, (%%rsp)\n\t"
                     "mov %%rcx, 8*1(%%rdi)\n\t"
                     "mov %%rdx, 8*2(%%rdi)\n\t"
                     "mov %%rbx, 8*3(%%rdi)\n\t"
                     "mov %%rbp, 8*5(%%rdi)\n\t"
                     "mov %%rsi, 8*6(%%rdi)\n\t"
                     "mov %%r8, 8*8(%%rdi)\n\t"
                     "mov %%r9, 8*9(%%rdi)\n\t"
                     "mov %%r10, 8*10(%%rdi)\n\t"
                     "mov %%r11, 8*11(%%rdi)\n\t"
                     "mov %%r12, 8*12(%%rdi)\n\t"
                     "mov %%r13, 8*13(%%rdi)\n\t"
                     "mov %%r14, 8*14(%%rdi)\n\t"
                     "mov %%r15, 8*15(%%rdi)\n\t"
                     "pop 8*7(%%rdi)\n\t"
                     "cli\n\t"
                     "stgi\n\t"
                     "pop %%rbp"
                     : "+D"(gpr), "+a"(vmcb_pa)
                     :
                     : "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
                       "r15", "memory", "cc");
}

#endif
