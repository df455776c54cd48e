/*
 * How a multiboot kernel starts: 32-bit protected mode, paging off, EAX the loader's magic and EBX its information.
 * Calls kernel_start. The first 64 vectors come to kernel_trap, which is in C.
 */
#define MAGIC 0x1badb002
#define FLAGS 3                          /* modules on pages, and what memory there is */
#define CODE  0x08
#define DATA  0x10

    .section .multiboot, "a"
    .align 4
    .long MAGIC, FLAGS, -(MAGIC + FLAGS)

    .text
    .code32
    .globl kernel_entry
kernel_entry:
    cld
    movl $stack_top, %esp
    pushfl
    popl %ecx
    lgdt gdt_pointer
    ljmp $CODE, $1f
1:  movl $DATA, %edx
    movl %edx, %ds
    movl %edx, %es
    movl %edx, %ss
    pushl %ecx
    pushl %ebx
    pushl %eax
    call kernel_start
2:  cli
    hlt
    jmp 2b

/* One entry point per vector, 16 bytes apart; those without an error code push 0. */
    .align 16
    .globl kernel_vectors
kernel_vectors:
vector = 0
    .rept 64
    .align 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17)
    pushl $0
    .endif
    pushl $vector
    jmp trap
vector = vector + 1
    .endr

trap:
    pusha
    leal 32(%esp), %eax                  /* struct kernel_frame */
    pushl %eax
    call kernel_trap
    addl $4, %esp
    popa
    addl $8, %esp
    iretl

    .data
    .align 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff             /* 32-bit code */
    .quad 0x00cf93000000ffff             /* data */
gdt_pointer:
    .word . - gdt - 1
    .long gdt

    .bss
    .align 16
    .skip 16384
stack_top:
    .section .note.GNU-stack, "", @progbits
