/*
 * The 16-bit part of the kernel real.c. All between real_first and real_last is copied to 10000h, and runs there as
 * segment 1000h: offsets in it are those from real_first, which AT() says. In protected mode, too, the selector
 * 1000h leads there.
 *
 * What is called there is in real_tries.inc.
 *
 * real_go is called by 32-bit code in any paging mode, leaves it for 16-bit code of protected mode, leaves that for
 * real mode, calls what struct real says, and comes back into the paging mode that it names. Interrupts are off
 * while segments and tables do not fit each other.
 */
#define CODE      0x08
#define DATA      0x10
#define CODE16    0x18                   /* base 10000h */
#define DATA16    0x20                   /* base 0, 64 KiB */
#define BIG16     0x28                   /* base 0, 4 GiB */
#define SEGMENT   0x1000
#define BASE      0x10000
#define SOURCE    0x2000                 /* segments of data */
#define TARGET    0x3000
#define TABLE     0x5000                 /* where a page table lies */
#define TOP       0xff00                 /* of the stack */
#define CR0_PE    1
#define EFER      0xc0000080
#define SCRATCH   0x3ff
#define FLAGS_TF  0x100
#define FLAGS_IF  0x200
#define LOGGED    40
#define AT(x)     (x - real_first)

    .section .data
    .globl real_first, real_last
real_first:
/* struct real */
to_call:     .long 0
to_call16:   .long 0
to_clear:    .long 0
big:         .long 0
new_cr0:     .long 0
new_cr3:     .long 0
new_cr4:     .long 0
new_efer:    .long 0
idtr:        .word 0                     /* in real mode */
             .long 0
             .word 0
idtr16:      .word 0                     /* in 16-bit protected mode */
             .long 0
             .word 0
skip:        .word 0                     /* bytes that a handler goes on behind, once */
timer:       .word -1                    /* the interrupt that ends at a controller of these: */
timer_apic:  .word 0                     /*   the local APIC, else the 8259 */
logged:      .word 0
result:      .fill 32, 4, 0
log:         .fill LOGGED * 6, 2, 0
count:       .fill 256, 2, 0
caller:      .long 0
gdtr:        .word 0
             .long 0
old_idtr:    .word 0
             .long 0

    .code16
/* ---- what real_go does there ---- */

in_protected:
    movw $DATA16, %ax
    cmpl $0, %cs:AT(big)
    je 1f
    movw $BIG16, %ax
1:  movw %ax, %ss
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movw %ax, %ds
    movw $TOP, %sp
    lidtl %cs:AT(idtr16)
    cmpl $0, %cs:AT(to_call16)
    je 1f
    call *%cs:AT(to_call16)
1:  movl %cs:AT(to_clear), %ecx
    notl %ecx
    movl %cr0, %eax
    andl %ecx, %eax
    movl %eax, %cr0
    ljmp $SEGMENT, $AT(in_real)
in_real:
    movw $SEGMENT, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    xorw %ax, %ax
    movw %ax, %fs
    movw %ax, %gs
    movw $TOP, %sp
    lidtl AT(idtr)
    call *AT(to_call)
    movw $SEGMENT, %ax
    movw %ax, %ds
    movl AT(new_cr3), %eax
    movl %eax, %cr3
    movl AT(new_cr4), %eax
    movl %eax, %cr4
    movl AT(new_efer), %eax
    xorl %edx, %edx
    movl $EFER, %ecx
    wrmsr
    movl AT(new_cr0), %eax
    movl %eax, %cr0
    ljmpl $CODE, $in_protected32

/* ---- interrupts ---- */

/* One entry point per vector, 8 bytes apart. */
    .align 8
    .globl real_vectors
real_vectors:
vector = 0
    .rept 128
    .align 8
    pushw $vector
    jmp interrupt
vector = vector + 1
    .endr

/* Writes down vector, IP, CS and FLAGS as pushed, FLAGS now, and SP before the processor pushed them. */
interrupt:
    pushfw
    pushaw
    pushw %ds
    movw $SEGMENT, %ax
    movw %ax, %ds
    movw %sp, %bp
    movw 20(%bp), %bx                    /* vector */
    shlw $1, %bx
    incw AT(count)(%bx)
    shrw $1, %bx
    cmpw %bx, AT(timer)
    je end_of_interrupt
    movw AT(logged), %di
    cmpw $LOGGED, %di
    jae 1f
    incw AT(logged)
    imulw $12, %di, %di
    addw $AT(log), %di
    movw %bx, (%di)
    movw 22(%bp), %ax
    movw %ax, 2(%di)
    movw 24(%bp), %ax
    movw %ax, 4(%di)
    movw 26(%bp), %ax
    movw %ax, 6(%di)
    movw 18(%bp), %ax
    movw %ax, 8(%di)
    leaw 28(%bp), %ax
    movw %ax, 10(%di)
1:  movw AT(skip), %ax
    addw %ax, 22(%bp)
    movw $0, AT(skip)
2:  popw %ds
    popaw
    popfw
    addw $2, %sp
    iretw

end_of_interrupt:
    cmpw $0, AT(timer_apic)
    jne 1f
    movb $0x20, %al
    outb %al, $0x20
    jmp 2b
1:  pushw %es
    pushl %ebx
    xorw %ax, %ax
    movw %ax, %es
    movl $0xfee00000, %ebx
    movl $0, %es:0xb0(%ebx)
    popl %ebx
    popw %es
    jmp 2b

#include "real_tries.inc"

real_last:

/* ---- the 32-bit ends of it ---- */

    .text
    .code32
    .globl real_go
real_go:
    pushal
    pushfl
    cli
    movl %esp, BASE + AT(caller)
    sgdt BASE + AT(gdtr)
    sidt BASE + AT(old_idtr)
    lgdt real_gdtr
    ljmp $CODE16, $AT(in_protected)
in_protected32:
    movl $DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    movl BASE + AT(caller), %esp
    lgdt BASE + AT(gdtr)
    lidt BASE + AT(old_idtr)
    popfl
    popal
    ret

    .data
    .align 8
real_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff             /* 32-bit code */
    .quad 0x00cf93000000ffff             /* data */
    .quad 0x00009b010000ffff             /* CODE16 */
    .quad 0x000093000000ffff             /* DATA16 */
    .quad 0x008f93000000ffff             /* BIG16 */
    .fill SEGMENT / 8 - 6, 8, 0
    .quad 0x000093010000ffff             /* SEGMENT */
real_gdtr:
    .word . - real_gdt - 1
    .long real_gdt
    .section .note.GNU-stack, "", @progbits
