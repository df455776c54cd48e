/*
 * The accesses of probe.h, and what catches their exceptions: entries of a 32-bit and of a
 * 64-bit interrupt table, which do not return to where they came from but to the caller of
 * probe_go. User code has pages of its own.
 */
#define CODE        0x08
#define DATA        0x10
#define CODE64      0x18
#define USER_CODE   0x23
#define USER_DATA   0x2b
#define USER_CODE64 0x33
#define TSS64       0x40
#define EFLAGS      2
#define DONE        0x40                 /* the vector that user code ends with */

/* Fields of struct probe, for 32-bit code and, with EBP at it, for 64-bit code. */
#define ACCESS    probe+0
#define FLAGS     probe+4
#define ADDRESS   probe+8
#define USER      probe+16
#define WIDE      probe+20
#define VECTOR    probe+24
#define ERROR     probe+28
#define CR2       probe+32
#define STACK     probe+40
#define ARMED     probe+44
#define VALUE     probe+48
#define EIP       probe+52
#define KEEP      probe+56
#define ACCESS64  0(%rbp)
#define FLAGS64   4(%rbp)
#define ADDRESS64 8(%rbp)
#define USER64    16(%rbp)
#define WIDE64    20(%rbp)
#define VECTOR64  24(%rbp)
#define ERROR64   28(%rbp)
#define CR264     32(%rbp)
#define STACK64   40(%rbp)
#define ARMED64   44(%rbp)
#define VALUE64   48(%rbp)
#define EIP64     52(%rbp)
#define KEEP64    56(%rbp)

    .text
    .code32
    .globl probe_go
probe_go:
    pusha
    movl %esp, STACK
    movl $-1, VECTOR
    movl $1, ARMED
    movl ACCESS, %eax
    movl ADDRESS, %ecx
    movl VALUE, %edx
    cmpl $0, WIDE
    jne wide
    cmpl $0, KEEP
    jne 1f
    invlpg (%ecx)
1:  cmpl $0, USER
    jne 1f
    pushl FLAGS
    popfl
    jmp *supervisor(,%eax,4)
1:  pushl $USER_DATA
    pushl $user_stack_top
    pushl $EFLAGS
    pushl $USER_CODE
    pushl user(,%eax,4)
    iretl

read:
    movl (%ecx), %edx
    jmp done
write:
    movl %edx, (%ecx)
    jmp done
fetch:
    call *%ecx
done:
    movl %edx, VALUE
probe_end:
    movl STACK, %esp
    movl $0, ARMED
    pushl $EFLAGS
    popfl
    popa
    ret

/* An exception where none is expected. */
unexpected:
    movl $trap_stack_top, %esp
    call probe_unexpected

trap:
    popl VECTOR
    popl ERROR
    movl (%esp), %eax
    movl %eax, EIP
    movl %cr2, %eax
    movl %eax, CR2
    movl $0, CR2+4
    cmpl $0, ARMED
    je unexpected
    jmp probe_end

    .globl probe_done32
probe_done32:
    jmp done

wide:
    ljmp $CODE64, $wide64

    .globl probe_ltr64
probe_ltr64:
    ljmp $CODE64, $1f
    .code64
1:  movl $TSS64, %eax
    ltr %ax
    movl $return_at, %eax
    ljmp *(%rax)
    .code32
return32:
    ret

    .code64
wide64:
    movl $probe, %ebp
    movq ADDRESS64, %rcx
    movl VALUE64, %edx
    cmpl $0, KEEP64
    jne 1f
    invlpg (%rcx)
1:  cmpl $0, USER64
    jne 1f
    movl FLAGS64, %ebx
    pushq %rbx
    popfq
    movl $supervisor64, %ebx
    movl (%rbx,%rax,4), %eax
    jmp *%rax
1:  pushq $USER_DATA
    movl $user_stack_top, %ebx
    pushq %rbx
    pushq $EFLAGS
    pushq $USER_CODE64
    movl $user64, %ebx
    movl (%rbx,%rax,4), %eax
    pushq %rax
    iretq

read64:
    movl (%rcx), %edx
    jmp done64
write64:
    movl %edx, (%rcx)
    jmp done64
fetch64:
    call *%rcx
    .globl probe_done64
probe_done64:
done64:
    movl $probe, %ebp
    movl %edx, VALUE64
end64:
    movl $DATA, %eax
    movl %eax, %ss
    movl STACK64, %esp
    movl $end_at, %eax
    ljmp *(%rax)

trap64:
    movl $probe, %ebp
    popq %rax
    movl %eax, VECTOR64
    popq %rax
    movl %eax, ERROR64
    movq (%rsp), %rax
    movl %eax, EIP64
    movq %cr2, %rax
    movq %rax, CR264
    cmpl $0, ARMED64
    jne end64
    movl $DATA, %eax
    movl %eax, %ss
    movl $unexpected_at, %eax
    ljmp *(%rax)

/* One entry point per exception, 16 bytes apart; those without an error code push 0. */
    .macro vectors name, target
    .align 16
    .globl \name
\name:
vector = 0
    .rept 32
    .align 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17)
    push $0
    .endif
    push $vector
    jmp \target
vector = vector + 1
    .endr
    .endm

    vectors probe_vectors64, trap64
    .code32
    vectors probe_vectors32, trap

    .section .rodata
    .align 8
end_at:
    .long probe_end
    .word CODE
unexpected_at:
    .long unexpected
    .word CODE
return_at:
    .long return32
    .word CODE
    .align 4
supervisor:
    .long read, write, fetch
supervisor64:
    .long read64, write64, fetch64
user:
    .long user_read, user_write, user_fetch
user64:
    .long user_read64, user_write64, user_fetch64

    .text
    .align 4096
    .globl probe_user_code
probe_user_code:
user_read:
    movl (%ecx), %edx
    int $DONE
user_write:
    movl %edx, (%ecx)
    int $DONE
user_fetch:
    call *%ecx
    int $DONE
    .code64
user_read64:
    movl (%rcx), %edx
    int $DONE
user_write64:
    movl %edx, (%rcx)
    int $DONE
user_fetch64:
    call *%rcx
    int $DONE
    .align 4096

    .bss
    .align 4096
    .globl probe_user_stack
probe_user_stack:
    .skip 4096
user_stack_top:
    .skip 8192
    .globl trap_stack_top
trap_stack_top:
    .section .note.GNU-stack, "", @progbits
