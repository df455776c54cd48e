/*
 * From the boot loader to C. Entered in 32-bit protected mode with paging off and flat
 * segments (Multiboot 3.2), left in long mode at the linked address.
 *
 * The tables made here map the first 4 GiB three times with 2 MiB pages and every right:
 * one to one, as the direct map, and (the first GiB) as the image. x86/mm.c replaces them.
 */
#include "x86/layout.h"
#include "x86/multiboot.h"

#define PHYS(symbol) (symbol - LAYOUT_IMAGE)
#define SLOT(address) (((address) >> 39) & 511)

#define TABLE_FLAGS 0x003 /* P, W: APM vol. 2, 5.4 */
#define LARGE_FLAGS 0x083 /* P, W, PS */

#define CR0_BITS 0x80010023 /* PG, WP, NE, MP, PE */
#define CR4_BITS 0x00000660 /* OSXMMEXCPT, OSFXSR, MCE, PAE */
#define MSR_EFER 0xc0000080
#define EFER_BITS 0x900 /* NXE, LME */
#define FEATURES    0x20100000 /* CPUID 8000_0001 EDX: long mode, no-execute */
#define FEATURES_1C 0x2000     /* CPUID 1 ECX: CMPXCHG16B */

        .global layout_image
        .set layout_image, LAYOUT_IMAGE
        .global boot_entry_physical
        .set boot_entry_physical, PHYS(boot_entry)

        .section .multiboot, "a"
        .balign 4
        .long MULTIBOOT_HEADER_MAGIC
        .long MULTIBOOT_HEADER_FLAGS
        .long -(MULTIBOOT_HEADER_MAGIC + MULTIBOOT_HEADER_FLAGS)

        .text
        .code32
        .global boot_entry
boot_entry:
        cli
        cld
        movl    %eax, %ebp
        movl    %ebx, %esi
        movl    $PHYS(boot_stack + STACK_SIZE - 16), %esp

        movl    $0x80000000, %eax
        cpuid
        cmpl    $0x80000001, %eax
        jb      no_long_mode
        movl    $0x80000001, %eax
        cpuid
        andl    $FEATURES, %edx
        cmpl    $FEATURES, %edx
        jne     no_long_mode
        movl    $1, %eax
        cpuid
        testl   $FEATURES_1C, %ecx
        jz      no_long_mode

        /* 2048 entries of 2 MiB. */
        movl    $PHYS(boot_level2), %edi
        movl    $LARGE_FLAGS, %eax
        movl    $2048, %ecx
1:      movl    %eax, (%edi)
        movl    $0, 4(%edi)
        addl    $0x200000, %eax
        addl    $8, %edi
        loop    1b

        movl    $PHYS(boot_level3), %edi
        movl    $PHYS(boot_level2) + TABLE_FLAGS, %eax
        movl    $4, %ecx
1:      movl    %eax, (%edi)
        addl    $0x1000, %eax
        addl    $8, %edi
        loop    1b

        movl    $PHYS(boot_level3) + TABLE_FLAGS, %eax
        movl    $PHYS(boot_level4), %edi
        movl    %eax, (%edi)
        movl    %eax, 8 * SLOT(LAYOUT_DIRECT)(%edi)
        movl    %eax, 8 * SLOT(LAYOUT_IMAGE)(%edi)

        movl    %edi, %cr3
        movl    $CR4_BITS, %eax
        movl    %eax, %cr4
        movl    $MSR_EFER, %ecx
        rdmsr
        orl     $EFER_BITS, %eax
        wrmsr
        movl    $CR0_BITS, %eax
        movl    %eax, %cr0

        lgdt    PHYS(boot_gdt_pointer)
        ljmp    $SELECTOR_CODE, $PHYS(long_mode)

        /* Says so on the serial line, as it was left by the firmware, and stops. */
no_long_mode:
        movl    $PHYS(no_long_mode_text), %esi
1:      movw    $0x3fd, %dx
2:      inb     %dx, %al
        testb   $0x20, %al
        jz      2b
        lodsb
        testb   %al, %al
        jz      3f
        movw    $0x3f8, %dx
        outb    %al, %dx
        jmp     1b
3:      movb    $1, %al
        outb    %al, $0xf4
4:      hlt
        jmp     4b

        .code64
long_mode:
        movabs  $boot_high, %rax
        jmp     *%rax
boot_high:
        movl    $SELECTOR_DATA, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        xorl    %eax, %eax
        movl    %eax, %fs
        movl    %eax, %gs
        movl    %ebp, %edi              /* the loader's magic */
        movl    %esi, %esi              /* its information; first and second argument */
        leaq    boot_stack + STACK_SIZE - 16(%rip), %rsp
        xorl    %ebp, %ebp
        call    boot_main
        ud2

        .section .rodata
        .balign 8
boot_gdt:
        .quad   0
        .quad   0x00af9b000000ffff      /* 64-bit code */
        .quad   0x00cf93000000ffff      /* data */
        /* Nothing looks below SELECTOR_FIRST, so that the table may begin before itself. */
boot_gdt_pointer:
        .word   SELECTOR_FIRST + . - boot_gdt - 1
        .long   PHYS(boot_gdt) - SELECTOR_FIRST
no_long_mode_text:
        .asciz  "umbra: this processor has no 64-bit mode with no-execute pages and CMPXCHG16B\r\n"

        /* Aligned so that this_cpu() works on it too. */
        .section .bss.aligned, "aw", @nobits
        .balign STACK_SIZE
        .global boot_stack
boot_stack:
        .skip   STACK_SIZE
boot_level4:
        .skip   4096
boot_level3:
        .skip   4096
boot_level2:
        .skip   4 * 4096
