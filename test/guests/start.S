/*
 * How a bare guest starts: at the PVH entry, in 32-bit protected mode with flat segments and paging off, EBX the
 * address of the start info. Maps the first 4 GiB one to one with 2 MiB pages, goes to long mode and calls
 * guest_start_64. The exceptions come to guest_trap, which is in C.
 */
#define PTE_PRESENT_WRITABLE 0x3
#define PTE_LARGE            0x80
#define CR0_PG_WP_PE         0x80010001
#define CR4_PAE              0x20
#define EFER                 0xc0000080
#define EFER_LME_NXE         0x900
#define CODE                 0x08
#define DATA                 0x10

    .section .note.Xen, "a", @note
    .align 4
    .long 2f - 1f, 4f - 3f, 18           /* XEN_ELFNOTE_PHYS32_ENTRY */
1:  .asciz "Xen"
2:  .align 4
3:  .long guest_start
4:  .align 4

    .section .text.start, "ax"
    .code32
    .globl guest_start
guest_start:
    cld
    movl $stack_top, %esp
    movl %ebx, %ebp

    movl $guest_pdpt + PTE_PRESENT_WRITABLE, guest_pml4
    movl $4, %ecx
    movl $guest_pd + PTE_PRESENT_WRITABLE, %eax
    movl $guest_pdpt, %edi
1:  movl %eax, (%edi)
    addl $4096, %eax
    addl $8, %edi
    loop 1b
    movl $2048, %ecx
    movl $PTE_PRESENT_WRITABLE + PTE_LARGE, %eax
    movl $guest_pd, %edi
2:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    loop 2b

    movl $CR4_PAE, %eax
    movl %eax, %cr4
    movl $guest_pml4, %eax
    movl %eax, %cr3
    movl $EFER, %ecx
    xorl %edx, %edx
    movl $EFER_LME_NXE, %eax
    wrmsr
    movl $CR0_PG_WP_PE, %eax
    movl %eax, %cr0
    lgdt gdt_pointer
    ljmp $CODE, $guest_64

    .code64
guest_64:
    movl $DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %ebp, %edi
    call guest_start_64
5:  hlt
    jmp 5b

/* One entry point per exception, 16 bytes apart; those without an error code push 0. */
    .text
    .align 16
    .globl guest_vectors
guest_vectors:
vector = 0
    .rept 32
    .align 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17)
    pushq $0
    .endif
    pushq $vector
    jmp trap
vector = vector + 1
    .endr

trap:
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    leaq 72(%rsp), %rdi                  /* struct guest_frame */
    call guest_trap
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rax
    addq $16, %rsp
    iretq

    .data
    .align 8
gdt:
    .quad 0
    .quad 0x00af9b000000ffff             /* 64-bit code */
    .quad 0x00cf93000000ffff             /* data */
gdt_pointer:
    .word . - gdt - 1
    .long gdt
    .long 0

    .bss
    .align 4096
    .globl guest_pml4, guest_pdpt, guest_pd
guest_pml4: .skip 4096
guest_pdpt: .skip 4096
guest_pd:   .skip 4 * 4096
    .skip 16384
stack_top:
    .section .note.GNU-stack, "", @progbits
