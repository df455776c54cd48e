/*
 * Instructions that write memory: see forms.h. EAX, EBX are the first eight bytes of what is to
 * be written, ECX is 1, XMM0 sixteen bytes, ESI points at them and EDI at the destination; in
 * 64-bit code RAX and RBX are eight bytes each.
 */
#define ARITHMETIC 0x8d5
#define LOGIC      0x8c5                 /* AF is undefined */
#define BIT        0x001                 /* only CF is defined */
#define ALL        0x8d5
#define SEVERAL    0x800008d5            /* ALL; several writes, any number of which may be done */

    .macro entry name, flags, wide
    .section .rodata
9:  .asciz "\name"
    .section .rodata.forms
    .long 9b, 8f, \wide, \flags
    .section .text.forms
    .endm

    .macro form name, flags, code
    .code32
    entry "\name", \flags, 0
8:  movl $form_value, %esi
    movl %edx, %edi
    movl (%esi), %eax
    movl 4(%esi), %ebx
    movl $1, %ecx
    movups (%esi), %xmm0
    fninit
    cld
    pushl $2
    popfl
    \code
    jmp end32
    .endm

    .macro wide name, flags, code
    .code64
    entry "\name", \flags, 1
8:  movl $form_value, %esi
    movl %edx, %edi
    movq (%rsi), %rax
    movq 8(%rsi), %rbx
    movl $1, %ecx
    movups (%rsi), %xmm0
    pushq $2
    popfq
    \code
    jmp end64
    .endm

    .section .rodata.forms, "a"
    .globl forms
forms:
    .section .text.forms, "ax"
    .align 4096
    .globl forms_first
forms_first:
    .code32
end32:
    pushfl
    popl form_result
    movl %eax, form_result+4
    movl %ebx, form_result+8
    movl %ecx, form_result+12
    movl %esi, form_result+16
    subl %edx, %edi
    movl %edi, form_result+20
    cld
    ret
    .code64
end64:
    pushfq
    popq %rbp
    movl $form_result, %r8d
    movl %ebp, (%r8)
    movl %eax, 4(%r8)
    movl %ebx, 8(%r8)
    movl %ecx, 12(%r8)
    movl %esi, 16(%r8)
    subl %edx, %edi
    movl %edi, 20(%r8)
    shrq $32, %rax
    movl %eax, 24(%r8)
    cld
    ret

    form "mov 8", ALL, "movb %al, (%edx)"
    form "mov 8 high", ALL, "movb %ah, (%edx)"
    form "mov 8 constant", ALL, "movb $0x23, (%edx)"
    form "mov 16", ALL, "movw %ax, (%edx)"
    form "mov 16 constant", ALL, "movw $0, (%edx)"
    form "mov 32", ALL, "movl %eax, (%edx)"
    form "mov 32 constant", ALL, "movl $0x2206023, (%edx)"
    form "mov 32 by index", ALL, "movl %eax, -4(%edx,%ecx,4)"
    form "movsb", ALL, "movsb"
    form "movsw", ALL, "movsw"
    form "movsl", ALL, "movsl"
    form "rep movsb", SEVERAL, "movl $11, %ecx; rep movsb"
    form "rep movsl", SEVERAL, "movl $4, %ecx; rep movsl"
    form "rep movsl down", SEVERAL, "movl $4, %ecx; addl $12, %esi; addl $12, %edi; std; rep movsl"
    form "rep movsl of nothing", SEVERAL, "movl $0, %ecx; rep movsl"
    form "stosb", ALL, "stosb"
    form "stosl", ALL, "stosl"
    form "rep stosb", SEVERAL, "movb $0, %al; movl $9, %ecx; rep stosb"
    form "rep stosl", SEVERAL, "movl $4, %ecx; rep stosl"
    form "xchg 8", ALL, "xchgb %al, (%edx)"
    form "xchg 16", ALL, "xchgw %ax, (%edx)"
    form "xchg 32", ALL, "xchgl %eax, (%edx)"
    form "cmpxchg 8", ARITHMETIC, "movb %al, %bl; movb (%edx), %al; lock cmpxchgb %bl, (%edx)"
    form "cmpxchg 32", ARITHMETIC, "movl %eax, %ebx; movl (%edx), %eax; lock cmpxchgl %ebx, (%edx)"
    form "cmpxchg 32 unequal", ARITHMETIC, "lock cmpxchgl %ebx, (%edx)"
    form "cmpxchg8b", ALL, "movl %eax, %ebp; movl %ebx, %ecx; movl %ebp, %ebx; call cmpxchg8b"
    form "cmpxchg8b unequal", ALL, "movl %edx, %edi; movl $0, %edx; lock cmpxchg8b (%edi); movl %edi, %edx"
    form "bts constant", BIT, "lock btsl $1, (%edx)"
    form "btr constant", BIT, "btrl $0, (%edx)"
    form "btc constant", BIT, "lock btcl $12, (%edx)"
    form "bts far", BIT, "movl $65, %eax; btsl %eax, (%edx)"
    form "btr far", BIT, "movl $64, %eax; lock btrl %eax, (%edx)"
    form "btc back", BIT, "movl $-19, %eax; btcl %eax, (%edx)"
    form "and 8", LOGIC, "andb $0xfe, (%edx)"
    form "and 32", LOGIC, "lock andl $-2, (%edx)"
    form "or 8", LOGIC, "orb $2, (%edx)"
    form "or 32", LOGIC, "lock orl $0x1002, (%edx)"
    form "xor 16", LOGIC, "xorw $0x1002, (%edx)"
    form "xor 32", LOGIC, "xorl $0x1000, (%edx)"
    form "not", ALL, "notl (%edx)"
    form "add 16", ARITHMETIC, "addw $0x1000, (%edx)"
    form "add 32", ARITHMETIC, "lock addl $0x1000, (%edx)"
    form "adc 32", ARITHMETIC, "stc; adcl $0xfff, (%edx)"
    form "sub 32", ARITHMETIC, "subl $0x1000, (%edx)"
    form "sbb 32", ARITHMETIC, "stc; lock sbbl $0xfff, (%edx)"
    form "inc 8", ARITHMETIC, "stc; incb 1(%edx)"
    form "inc 32", ARITHMETIC, "lock incl (%edx)"
    form "dec 32", ARITHMETIC, "decl (%edx)"
    form "xadd 32", ARITHMETIC, "movl $0x1000, %eax; lock xaddl %eax, (%edx)"
    form "movnti", ALL, "movnti %eax, (%edx)"
    form "pop", ALL, "pushl %eax; popl (%edx)"
    form "setc", ALL, "stc; setc (%edx)"
    form "movss", ALL, "movss %xmm0, (%edx)"
    form "movsd", ALL, "movsd %xmm0, (%edx)"
    form "movd", ALL, "movd %xmm0, (%edx)"
    form "movq", ALL, "movq %xmm0, (%edx)"
    form "movlps", ALL, "movlps %xmm0, (%edx)"
    form "movhps", ALL, "movhps %xmm0, (%edx)"
    form "movups", ALL, "movups %xmm0, (%edx)"
    form "movdqu", ALL, "movdqu %xmm0, (%edx)"
    form "movaps", ALL, "movaps %xmm0, (%edx)"
    form "movdqa", ALL, "movdqa %xmm0, (%edx)"
    form "movntps", ALL, "movntps %xmm0, (%edx)"
    form "movntdq", ALL, "movntdq %xmm0, (%edx)"
    form "fistp 32", ALL, "fildl (%esi); fistpl (%edx)"
    form "fistp 64", ALL, "fildll (%esi); fistpll (%edx)"
    form "mov 64 in two", SEVERAL, "movl %eax, (%edx); movl %ebx, 4(%edx)"

    wide "mov 64", ALL, "movq %rax, (%rdx)"
    wide "mov 64 constant", ALL, "movq $0x2206023, (%rdx)"
    wide "movsq", ALL, "movsq"
    wide "rep movsq", SEVERAL, "movl $3, %ecx; rep movsq"
    wide "rep stosq", SEVERAL, "movl $3, %ecx; rep stosq"
    wide "xchg 64", ALL, "xchgq %rax, (%rdx)"
    wide "cmpxchg 64", ARITHMETIC, "movq %rax, %rbx; movq (%rdx), %rax; lock cmpxchgq %rbx, (%rdx)"
    wide "cmpxchg 64 unequal", ARITHMETIC, "cmpxchgq %rbx, (%rdx)"
    wide "cmpxchg16b", ALL, "movq %rdx, %rdi; movq (%rdi), %rax; movq %rbx, %rcx; movq (%rsi), %rbx; movq 8(%rdi), %rdx; lock cmpxchg16b (%rdi); movl %edi, %edx"
    wide "cmpxchg16b unequal", ALL, "movq %rdx, %rdi; lock cmpxchg16b (%rdi); movl %edi, %edx"
    wide "bts 64", BIT, "lock btsq $63, (%rdx)"
    wide "btr 64 far", BIT, "movl $64, %eax; btrq %rax, (%rdx)"
    wide "and 64", LOGIC, "lock andq $-2, (%rdx)"
    wide "or 64", LOGIC, "orq $2, (%rdx)"
    wide "xor 64", LOGIC, "xorq %rax, (%rdx)"
    wide "add 64", ARITHMETIC, "lock addq $0x1000, (%rdx)"
    wide "sub 64", ARITHMETIC, "subq $0x1000, (%rdx)"
    wide "inc 64", ARITHMETIC, "incq (%rdx)"
    wide "dec 64", ARITHMETIC, "lock decq (%rdx)"
    wide "xadd 64", ARITHMETIC, "movl $0x1000, %eax; lock xaddq %rax, (%rdx)"
    wide "movnti 64", ALL, "movntiq %rax, (%rdx)"
    wide "pop 64", ALL, "pushq %rax; popq (%rdx)"
    wide "mov 32 in 64-bit code", ALL, "movl %eax, (%rdx)"
    wide "movups in 64-bit code", ALL, "movups %xmm0, (%rdx)"

    .code32
    .section .text.forms
cmpxchg8b:                               /* ECX:EBX for what is at EDX */
    movl %edx, %edi
    movl (%edi), %eax
    movl 4(%edi), %edx
    lock cmpxchg8b (%edi)
    movl %edi, %edx
    ret
    .align 4096
    .globl form_value, form_result, form_tables, form_plain
form_value:
    .skip 32
form_result:
    .skip 32
    .align 4096
form_tables:
    .skip 8192
form_plain:
    .skip 8192
    .globl forms_last
forms_last:

    .section .rodata.forms
    .globl forms_end
forms_end:
    .section .note.GNU-stack, "", @progbits
