/*
 * The 16-bit part of the kernel real.c. All between real_first and real_last is copied to 10000h, and runs there as
 * segment 1000h: offsets in it are those from real_first, which AT() says. In protected mode, too, the selector
 * 1000h leads there.
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

/* ---- what is tried; each begins with DS, ES and SS at this segment, FS and GS at 0 ---- */

    .globl real_nothing
real_nothing:
    ret

/* Interrupts and exceptions by instructions, and what they leave on the stack. */
    .globl real_software, real_after_int, real_after_int3, real_after_into, real_at_div, real_at_ud, real_at_bound
    .globl real_at_gp
real_software:
    sti
    int $0x60
real_after_int:
    int3
real_after_int3:
    cli
    movb $0x7f, %al
    addb $1, %al                         /* OF */
    into
real_after_into:
    movw $2, AT(skip)
    xorw %cx, %cx
real_at_div:
    divw %cx
    movw $2, AT(skip)
real_at_ud:
    ud2
    movw $4, AT(skip)
    movw $9, %cx
real_at_bound:
    boundw %cx, AT(bounds)
    movw $2, AT(skip)
    movl AT(idtr)+2, %eax
    movl %eax, AT(short_idtr)+2
    lidtl AT(short_idtr)
real_at_gp:
    int $0x60                            /* beyond the table: #GP without an error code */
    lidtl AT(idtr)
    ret
bounds:     .word 2, 8
short_idtr: .word 14 * 4 - 1
            .long 0

/* Writes to each segment, and reads of the same places by others: base is selector times 16. */
    .globl real_segments
real_segments:
    movw $SOURCE, %ax
    movw %ax, %ds
    movw $TARGET, %ax
    movw %ax, %es
    movw $0x2fff, %ax
    movw %ax, %fs
    movw $0xffff, %ax
    movw %ax, %gs
    movl $0x11112222, (0x8000)
    movl $0x33334444, %es:(0x8000)
    movl $0x55556666, %fs:(0x8014)       /* es:8004 */
    movl %es:(0x8004), %eax
    movl %eax, %cs:AT(result)+0
    movl %gs:(0x10), %eax                /* 100000h, where this kernel begins */
    movl %eax, %cs:AT(result)+4
    movw $0x2ff0, %bx                    /* 16-bit forms: BP means SS */
    movw $0x0010, %si
    movl $0x77778888, 0x5000(%bx,%si)    /* ds:8000 */
    movw %ss, %cs:AT(result)+8
    movw $SOURCE, %ax
    movw %ax, %ss
    movw $0x7ff0, %bp
    movl 0x10(%bp), %eax
    movw $SEGMENT, %cx
    movw %cx, %ds
    movw %cx, %ss
    movl %eax, AT(result)+12
    movw %cs, AT(result)+16
    movw %fs, AT(result)+18
    ret

/* String instructions: both directions, all widths, over the end of a segment. */
    .globl real_strings
real_strings:
    cld
    movw $SOURCE, %ax
    movw %ax, %ds
    movw $TARGET, %ax
    movw %ax, %es
    movw $0x100, %si
    movw $0x200, %di
    movw $7, %cx
    rep movsb
    movw %si, %cs:AT(result)+0
    movw %di, %cs:AT(result)+2
    movw $0x105, %si
    movw $0x305, %di
    movw $3, %cx
    std
    rep movsw
    movw %si, %cs:AT(result)+4
    movw %di, %cs:AT(result)+6
    cld
    movw $0xfffc, %di                    /* two, and two at the beginning */
    movl $0xabcd1234, %eax
    movw $2, %cx
    rep stosl
    movw %di, %cs:AT(result)+8
    movw $0x100, %di
    movw $SOURCE, %ax
    movw %ax, %es
    movb $0x44, %al
    movw $100, %cx
    repne scasb
    movw %di, %cs:AT(result)+10
    movw %cx, %cs:AT(result)+12
    movw $TARGET, %ax
    movw %ax, %es
    movw $0x100, %si
    movw $0x200, %di
    movw $20, %cx
    repe cmpsb
    movw %si, %cs:AT(result)+14
    movw $0x100, %si
    es lodsw
    movw %ax, %cs:AT(result)+16
    pushw $SEGMENT
    popw %ds
    ret

/* Ports: a register that keeps what it is given, from AL and by strings. */
    .globl real_ports
real_ports:
    movw $SCRATCH, %dx
    movb $0x5a, %al
    outb %al, %dx
    inb %dx, %al
    movb %al, AT(result)+0
    movw $SOURCE, %ax
    movw %ax, %fs
    movw %ax, %ds
    cld
    movw $0x100, %si
    movw $5, %cx
    rep outsb
    movw %si, %cs:AT(result)+2
    inb %dx, %al
    movb %al, %cs:AT(result)+1
    movw $TARGET, %ax
    movw %ax, %es
    movw $0xfffe, %di                    /* over the end */
    movw $3, %cx
    rep insb
    movw %di, %cs:AT(result)+4
    pushw $SEGMENT
    popw %ds
    movw $0x107, %si
    std
    fs outsb
    cld
    movw %si, AT(result)+6
    inb %dx, %al
    movb %al, AT(result)+8
    movw $0x5550, %dx
    inl %dx, %eax                        /* nobody */
    movl %eax, AT(result)+12
    ret

/* Addresses of 32 bits, in segments that kept the limit of protected mode. */
    .globl real_big
real_big:
    xorw %ax, %ax
    movw %ax, %ds
    movl $0x2205800, %esi
    movl $0xcafe0001, (%esi)
    addl $0x11, (%esi)
    movl (%esi), %eax
    movl %eax, %cs:AT(result)+0
    movw $SEGMENT, %ax
    movw %ax, %es
    movl $0x2205900 - BASE, %edi
    movl $3, %ecx
    cld
    addr32 rep movsl
    movl %esi, %cs:AT(result)+4
    movl %edi, %cs:AT(result)+8
    movl $0xfee00000, %ebx               /* the local APIC */
    movl 0x30(%ebx), %eax
    movl %eax, %cs:AT(result)+12
    movl $0x20, 0x80(%ebx)               /* task priority */
    orl $0x10, 0x80(%ebx)
    movl %es:0x80-BASE(%ebx), %eax
    movl %eax, %cs:AT(result)+16
    leal 0x80(%ebx), %esi
    addr32 lodsl
    movl %eax, %cs:AT(result)+20
    pushl 0x80(%ebx)
    popl %cs:AT(result)+24
    leal 0x80-BASE(%ebx), %edi
    movl $0x40, %eax
    addr32 stosl
    movl $0x50, %eax
    xchgl %eax, 0x80(%ebx)
    movl %eax, %cs:AT(result)+28
    cmpl $0x50, %es:0x80-BASE(%ebx)
    sete %cs:AT(result)+32
    movzwl %cs:AT(result)+28, %eax
    subl %eax, 0x80(%ebx)
    movl 0x80(%ebx), %eax
    movl %eax, %cs:AT(result)+36
    movl $0, 0x80(%ebx)
    pushw $SEGMENT
    popw %ds
    ret

/* Waits for AX interrupts of the vector in `timer`, halted between them. */
wait:
    pushl %ebx
    movw AT(timer), %bx
    shlw $1, %bx
    movw $0, AT(count)(%bx)
1:  sti
    hlt
    cli
    cmpw %ax, AT(count)(%bx)
    jb 1b
    popl %ebx
    ret

/* The 8259 has its lines from vector 8 on, as its BIOS had; the 8254 ticks. */
    .globl real_timer
real_timer:
    movb $0x11, %al
    outb %al, $0x20
    movb $8, %al
    outb %al, $0x21
    movb $4, %al
    outb %al, $0x21
    movb $1, %al
    outb %al, $0x21
    movb $0xfe, %al
    outb %al, $0x21
    movb $0x34, %al                      /* counter 0, again and again */
    outb %al, $0x43
    movb $0xa9, %al
    outb %al, $0x40
    movb $4, %al
    outb %al, $0x40
    movw $8, AT(timer)
    movw $0, AT(timer_apic)
    movw $3, %ax
    call wait
    movw $-1, AT(timer)
    movb $0xff, %al
    outb %al, $0x21
    movw %sp, AT(result)
    pushfw
    popw AT(result)+4
    ret

/* The timer of the local APIC, by vector 70h; wants 32-bit addresses. */
    .globl real_apic_timer
real_apic_timer:
    movl $0xfee00000, %ebx
    movl $0x13f, %fs:0xf0(%ebx)
    movl $0xb, %fs:0x3e0(%ebx)
    movl $0x70, %fs:0x320(%ebx)
    movw $0x70, AT(timer)
    movw $1, AT(timer_apic)
    movw $3, AT(result)
1:  movl $0xfee00000, %ebx
    movl $500000, %fs:0x380(%ebx)        /* once */
    movw $1, %ax
    call wait
    decw AT(result)
    jnz 1b
    movl $0x10000, %fs:0x320(%ebx)
    movw $-1, AT(timer)
    ret

/* Registers of the system, which are 32 bits wide here, too. */
    .globl real_registers
real_registers:
    movl %cr0, %eax
    movl %eax, AT(result)+0
    movl $0, %eax
    cpuid
    movl %ebx, AT(result)+4
    movl $EFER, %ecx
    rdmsr
    movl %eax, AT(result)+8
    movl $0xabcd000, %eax
    movl %eax, %cr3
    movl %cr3, %eax
    movl %eax, AT(result)+12
    movl %eax, %cr2
    movl %cr2, %eax
    movl %eax, AT(result)+16
    movw $0x000a, %ax                    /* MP and TS */
    lmsw %ax
    movl %cr0, %eax
    movl %eax, AT(result)+20
    smsww AT(result)+24
    clts
    movl %cr0, %eax
    movl %eax, AT(result)+28
    invlpg (0)
    wbinvd
    movl $0x12345678, %eax
    movl %eax, %dr1
    movl %dr1, %eax
    movl %eax, AT(result)+32
    pushw $0x7002                        /* NT and IOPL */
    popfw
    pushfw
    popw AT(result)+36
    pushw $2
    popfw
    movl %cr4, %eax
    movl %eax, AT(result)+40
    ret

/* What the processor must refuse, with #GP that has no error code here. */
    .globl real_refused, real_refused_pg
real_refused:
    movl %cr4, %ebx
    movl %ebx, %eax
    orl $0x80000000, %eax
    movw $3, AT(skip)
    movl %eax, %cr4
    movw $0, AT(skip)
    movl %ebx, %cr4
    ret
real_refused_pg:
    movl %cr0, %eax
    orl $0x80000000, %eax                /* paging without protection */
    movw $3, AT(skip)
    movl %eax, %cr0
    movw $0, AT(skip)
    movl %cr0, %eax
    movl %eax, AT(result)
    ret

/* A trap after each instruction, those that a hypervisor carries out included. */
    .globl real_steps, real_steps_seen, real_steps_end
real_steps:
    cld
    movw $0x100, %si
    movw $0x400, %di
    pushw $FLAGS_TF | 2
    popfw
    movw $3, %cx
11: rep movsb
12: movl $1, %eax
13: cpuid
14: movw $SCRATCH, %dx
15: outb %al, %dx
16: inb %dx, %al
17: movl %cr0, %eax
18: movl %eax, %cr0
19: int $0x61
20: pushw $2
21: popfw
22: ret
/* Vector and IP of each. POPF and IRET set TF for the second instruction from them on; an interrupt clears it. */
real_steps_seen:
    .word 1, AT(11b), 1, AT(11b), 1, AT(11b), 1, AT(12b), 1, AT(13b), 1, AT(14b), 1, AT(15b), 1, AT(16b), 1, AT(17b)
    .word 1, AT(18b), 1, AT(19b), 0x61, AT(20b), 1, AT(21b), 1, AT(22b)
real_steps_end:

/* Far transfers; 0fff:x+10h is the same place as 1000:x. */
    .globl real_far, real_after_memory, real_after_wide
real_far:
    lcall $SEGMENT - 1, $AT(1f) + 0x10
    lcall *AT(pointer)
real_after_memory:
    lcalll $SEGMENT - 1, $AT(2f) + 0x10
real_after_wide:
    movw %sp, AT(result)+20
    pushw $0xbeef
    pushw $0xbeef
    lcall $SEGMENT, $AT(3f)
    movw %sp, AT(result)+22
    pushfw
    pushw $SEGMENT - 1
    pushw $AT(in_alias) + 0x10
    iretw
in_alias:
    movw %cs, AT(result)+24
    int $0x62
    ljmp *AT(home)
1:  popw AT(result)+0                    /* IP */
    popw AT(result)+2                    /* CS */
    movw %cs, AT(result)+4
    pushw AT(result)+2
    pushw AT(result)+0
    incw AT(result)+6
    lret
2:  popl AT(result)+8                    /* EIP */
    popl %eax
    movw %ax, AT(result)+12              /* CS: what is above is not said */
    movw %cs, AT(result)+14
    pushl %eax
    pushl AT(result)+8
    lretl
3:  lret $4
4:  movw %cs, AT(result)+26
    ret
pointer: .word AT(1b) + 0x10, SEGMENT - 1
home:    .word AT(4b), SEGMENT

/*
 * TABLE is a page table of the paging mode that was left, and still one of the mode that comes: entries are written
 * by instructions and by the processor's own pushes. One entry of 64 bits becomes EBX and EDX; a stack begins at the
 * table's end.
 */
    .globl real_table
real_table:
    movl AT(result)+0, %ebx
    movl AT(result)+4, %edx
    movw AT(result)+8, %di
    movw $TABLE, %ax
    movw %ax, %es
    movl %ebx, %es:(%di)
    addw AT(result)+10, %di
    movl %edx, %eax
    cld
    stosl
    movw $TABLE, %ax
    movw %ax, %ss
    movw $0x1000, %sp
    pushl $0x5a5a5a5a                    /* 5ffc */
    int $0x63                            /* 5ff6 to 5ffb, and all that its handler pushes */
    lcall $SEGMENT, $AT(1f)
    pushw %ax
    movw $SEGMENT, %ax
    movw %ax, %ss
    movw $TOP - 2, %sp                   /* where our caller is */
    ret
1:  lret

/* 16-bit protected mode, perhaps with paging: segments by descriptors, CPUID, a port, MMIO, and an interrupt. */
    .globl real_protected16, real_protected16_int, real_after_int16
real_protected16:
    movw $SEGMENT, %ax
    movw %ax, %ds
    movl $0x13572468, AT(result)+64
    movl %cr0, %eax
    movl %eax, AT(result)+68
    movl $0, %eax
    cpuid
    movl %ebx, AT(result)+72
    movw $SCRATCH, %dx
    movw $AT(real_protected16), %si
    cld
    outsb
    inb %dx, %al
    movb %al, AT(result)+76
    movw %si, AT(result)+78
    ret
real_protected16_int:
    call real_protected16
    int $0x64
real_after_int16:
    ret

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
