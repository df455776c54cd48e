/*
 * Instructions that are hard to step over: what they do to flags, registers, memory and frames is
 * written down, first while nobody watches, then again and again while a monitor has each of them
 * stepped. The notes must be the same. Words: rounds=, of which round n begins n + 1 seconds after
 * the start of the machine.
 */
#include "test/guests/pv/pv.h"

const char pv_name[] = "stepped";

#define SECOND    1000000000ul
#define NOTES     512
#define TF        0x100ul
#define FLAGS     0x202ul /* of what is visited */
#define CS_KERNEL 0xe030ul
#define CS_USER   0xe033ul
#define CS_USER32 0xe023ul
#define SS_FLAT   0xe02bul
#define PATTERN   0x5a5a5a5a5a5a5a5aul
#define USER_SP   ((uint64_t)&user_stack[sizeof(user_stack)])
#define KERNEL_SP ((uint64_t)&kernel_stack[sizeof(kernel_stack)])

static uint8_t user_stack[4096] __attribute__((aligned(16)));
static uint8_t kernel_stack[4096] __attribute__((aligned(16)));
static uint8_t plain_page[4096] __attribute__((aligned(4096)));

static uint64_t    first[NOTES]; /* nobody watches */
static const char *what_of[NOTES];
static unsigned    count, rounds_done;

static void note(const char *what, uint64_t value)
{
    if (count == NOTES)
        pv_fail("too many notes", count, NOTES);
    if (rounds_done == 0) {
        first[count] = value;
        what_of[count] = what;
    } else if (what_of[count] != what || first[count] != value) {
        pv_fail(what, value, first[count]);
    }
    count++;
}

/* What the handler has found. */
static void note_trap(const char *what)
{
    note(what, pv_fault.vector);
    note(what, pv_fault.error);
    note(what, pv_fault.at.rip);
    note(what, pv_fault.at.cs & 0xffff);
    note(what, pv_fault.at.rflags);
    note(what, pv_fault.at.rsp);
    if (pv_fault.vector == 14)
        note(what, pv_fault.cr2);
    if (pv_fault.vector == 1)
        note(what, (uint64_t)pv_call(__HYPERVISOR_get_debugreg, 6, 0, 0, 0));
}

/* ---- flags in the kernel ---- */

static void flags_that_are_pushed(void)
{
    uint64_t stack[4] = { PATTERN, PATTERN, PATTERN, PATTERN }, value;
    uint16_t narrow;

    __asm__ volatile("xor %%eax, %%eax\n\tpushfq\n\tpop %0" : "=r"(value)::"rax", "memory", "cc");
    note("PUSHFQ", value);
    __asm__ volatile("xor %%eax, %%eax\n\tpushfw\n\tpopw %0" : "=r"(narrow)::"rax", "memory", "cc");
    note("PUSHFW", narrow);
    __asm__ volatile("pushq $0x203\n\tpopfq\n\tpushfq\n\tpop %0" : "=r"(value)::"memory", "cc");
    note("POPFQ", value);
    __asm__ volatile("xor %%eax, %%eax\n\tmov %%rsp, %%rbx\n\tlea 16(%1), %%rsp\n\t"
                     "mov %%ss, %%eax\n\tmov %%eax, %%ss\n\tpushfq\n\tmov %%rbx, %%rsp\n\t"
                     "mov 8(%1), %0"
                     : "=r"(value)
                     : "r"(stack)
                     : "rax", "rbx", "memory", "cc");
    note("PUSHFQ behind MOV SS", value);
    for (unsigned i = 0; i < 4; i++)
        note("the stack of PUSHFQ behind MOV SS", stack[i]);
    __asm__ volatile("std\n\tpushfq\n\tcld\n\tpop %0" : "=r"(value)::"memory", "cc");
    note("PUSHFQ with DF", value);
}

/* As PV_TRY does it, and the stack is as before, wherever a trap has come. */
static uint64_t resume_rsp __attribute__((used));

#define TRY(instruction, outputs, inputs)                                                          \
    ({                                                                                             \
        pv_fault = (struct pv_fault){ .vector = ~0ul };                                            \
        __asm__ volatile("movq %%rsp, resume_rsp\n\tmovq $1f, pv_resume\n\txor %%eax, %%eax\n\t"   \
                         "pushq $0x202\n\tpopfq\n\t" instruction                                   \
                         "\n1:\tmovq $0, pv_resume\n\tmovq resume_rsp, %%rsp"                      \
                         : outputs:inputs                                                          \
                         : "memory", "cc", "rax", "rbx", "r8", "r9", "r10", "r11");                \
    })
#define WITH_TRAP "pushq $0x302\n\tpopfq\n\t"

/* TF of the guest's own: the trap after the instruction behind POPF, or what that one brings. */
static void own_trap(void)
{
    static uint8_t from[16], to[16];
    uint64_t       value = 0, cx = 5;
    uint8_t       *si = from, *di = to;

    TRY(WITH_TRAP "nop\n\tnop", , );
    note_trap("NOP with TF");
    TRY("mov %0, %%rsp\n\t" WITH_TRAP "pushfq\n\tnop", , "r"(USER_SP));
    note_trap("PUSHFQ with TF");
    note("flags of PUSHFQ with TF", *(volatile uint64_t *)(USER_SP - 8));
    TRY(WITH_TRAP "pushq $0x202\n\tnop", , );
    note_trap("PUSH with TF");
    TRY("pushq $0x202\n\t" WITH_TRAP "popfq\n\tnop\n\tnop", , );
    note_trap("POPFQ that clears TF");
    TRY(WITH_TRAP "int3\n\tnop", , );
    note_trap("INT3 with TF");
    TRY(WITH_TRAP "int $0x1f\n\tnop", , );
    note_trap("INT with TF");
    TRY(WITH_TRAP "ud2\n\tnop", , );
    note_trap("UD2 with TF");
    TRY(WITH_TRAP "mov 0x40000000, %%rbx\n\tnop", , );
    note_trap("a page fault with TF");
    TRY(WITH_TRAP "mov %%cr0, %0\n\tnop", "=r"(value), );
    note_trap("MOV from CR0 with TF");
    TRY(WITH_TRAP "rep movsb", ARGUMENTS("+c"(cx), "+S"(si), "+D"(di)), );
    note_trap("REP MOVSB with TF");
    note("RCX of REP MOVSB with TF", cx);
    TRY(WITH_TRAP "mov %%ss, %%ebx\n\tnop", , );
    note_trap("a read of SS with TF");
}

/* By IRETQ, which ring 3 has, and by the iret hypercall. */
#define RETURN(flags)                                                                              \
    "mov %%rsp, %%rax\n\tpushq $0xe02b\n\tpush %%rax\n\tpushq $" flags                             \
    "\n\tpushq $0xe033\n\tpushq $2f\n\tiretq\n2:\t"

static void returns(void)
{
    TRY(RETURN("0x302") "nop\n\tnop", , );
    note_trap("IRETQ that sets TF");
    TRY(RETURN("0x202") "ud2", , );
    note_trap("IRETQ that does not");
    TRY("mov %%rsp, %%rax\n\tpushq $0xe02b\n\tpush %%rax\n\tpushq $0x202\n\tpushq $0xe033\n\t"
        "pushq $2f\n\t" WITH_TRAP "iretq\n2:\tud2",
        , );
    note_trap("IRETQ that clears TF");
}

/* ---- hypercalls ---- */

static void calls(void)
{
    uint64_t rax = __HYPERVISOR_xen_version, rcx, flags, after;

    __asm__ volatile("pushq $0x202\n\tpopfq\n\tsyscall\n\tpushfq\n\tpop %3"
                     : "+a"(rax), "=c"(rcx), "=&r"(flags), "=&r"(after)
                     : "D"(XENVER_version), "S"(0ul)
                     : "memory", "cc", "r11", "rdx", "r8", "r9", "r10");
    note("RAX of a hypercall", rax);
    note("RCX of a hypercall", rcx);
    note("flags behind a hypercall", after);
    __asm__ volatile("pushq $0x202\n\tpopfq\n\tsyscall\n\tmov %%r11, %0"
                     : "=r"(flags), "+a"(rax)
                     : "D"(XENVER_version), "S"(0ul)
                     : "memory", "cc", "rcx", "r11", "rdx", "r8", "r9", "r10");
    note("R11 of a hypercall", flags);
    TRY(WITH_TRAP "mov $17, %%eax\n\tsyscall\n\tnop", , ARGUMENTS("D"(XENVER_version), "S"(0ul)));
    note_trap("an instruction before a hypercall with TF");
    TRY("mov $17, %%eax\n\t" WITH_TRAP "syscall\n\tnop", ARGUMENTS("=&c"(rcx), "=&d"(flags)),
        ARGUMENTS("D"(XENVER_version), "S"(0ul)));
    note_trap("a hypercall with TF");
    note("RCX of a hypercall with TF", rcx);
}

/* ---- what is carried out for it ---- */

static void carried_out(void)
{
    uint32_t a = 0x40000000, b, c = 0, d;
    uint64_t value, *entry = pv_entry(plain_page), was;

    __asm__ volatile("ud2\n\t.ascii \"xen\"\n\tcpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    note("CPUID", (uint64_t)a << 32 | b);
    __asm__ volatile("mov %%cr0, %0" : "=r"(value));
    note("CR0", value);
    was = *(volatile uint64_t *)entry;
    if (rounds_done == 0)
        plain_page[0] = 1;
    *(volatile uint64_t *)entry = was & ~W;
    (void)pv_mmuext(MMUEXT_INVLPG_LOCAL, (uint64_t)plain_page, 0);
    note("a page made read-only by a write to its table", pv_store((uint64_t)plain_page, 0));
    *(volatile uint64_t *)entry = was | W;
    (void)pv_mmuext(MMUEXT_INVLPG_LOCAL, (uint64_t)plain_page, 0);
    note("and writable", pv_store((uint64_t)plain_page, 0));
}

static void strings(void)
{
    static uint8_t from[300], to[300];
    uint8_t       *di = to, *si = from;
    uint64_t       n = sizeof(to), sum = 0;

    for (unsigned i = 0; i < sizeof(from); i++)
        from[i] = (uint8_t)(i * 7 + 1), ((volatile uint8_t *)to)[i] = 0;
    __asm__ volatile("rep movsb" : "+D"(di), "+S"(si), "+c"(n)::"memory");
    for (unsigned i = 0; i < sizeof(from); i++)
        sum = sum * 31 + ((volatile uint8_t *)to)[i];
    note("REP MOVSB", sum);
}

/* An event that is due before the next instruction. */
static void events(void)
{
    static struct evtchn_bind_ipi bind;
    struct evtchn_send            send;
    unsigned                      before = pv_events;

    if (rounds_done == 0)
        pv_check((uint64_t)pv_call(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_ipi,
                                   (uint64_t)&bind, 0, 0),
                 0, "bind_ipi");
    send.port = bind.port;
    pv_shared.vcpu_info[0].evtchn_upcall_mask = 0;
    pv_call(__HYPERVISOR_event_channel_op, EVTCHNOP_send, (uint64_t)&send, 0, 0);
    note("events", pv_events - before);
    pv_shared.vcpu_info[0].evtchn_upcall_mask = 1;
    for (unsigned i = 0; i < 64; i++)
        pv_shared.evtchn_pending[i] = 0;
}

/* ---- a program ---- */

extern const char user_syscall[], user_fault[], user_int3[], user_int31[], user_hlt[], user_ud[],
    user_pushf[], user_pushf32[], user_syscall32[];
extern uint64_t user_word;
uint64_t        user_word;
__asm__(".text\n"
        "user_syscall: xor %eax, %eax\n syscall\n ud2\n"
        "user_fault: xor %eax, %eax\n movq 0x40000000, %rax\n"
        "user_int3: xor %eax, %eax\n int3\n"
        "user_int31: xor %eax, %eax\n int $0x1f\n"
        "user_hlt: xor %eax, %eax\n hlt\n"
        "user_ud: xor %eax, %eax\n ud2\n"
        "user_pushf: xor %eax, %eax\n pushfq\n popq user_word\n ud2\n"
        ".code32\n"
        "user_pushf32: xor %eax, %eax\n pushfl\n popl user_word\n ud2\n"
        "user_syscall32: xor %eax, %eax\n syscall\n ud2\n"
        ".code64\n");

static uint64_t user_root[512] __attribute__((aligned(4096)));

static void make_user_root(void)
{
    const struct callback_register call = {
        .type = CALLBACKTYPE_syscall32,
        .address = (uint64_t)pv_vectors + VECTOR_SYSCALL * VECTOR_SIZE,
    };

    pv_check(
        (uint64_t)pv_call(__HYPERVISOR_callback_op, CALLBACKOP_register, (uint64_t)&call, 0, 0), 0,
        "a handler of system calls of 32-bit code");
    user_root[0] = *(const uint64_t *)pv_info->pt_base;
    pv_check((uint64_t)pv_protect(user_root, false), 0, "making a table read-only");
    pv_check((uint64_t)pv_mmuext(MMUEXT_PIN_L4_TABLE, pv_mfn(user_root), 0), 0, "pinning it");
    pv_check((uint64_t)pv_mmuext(MMUEXT_NEW_USER_BASEPTR, pv_mfn(user_root), 0), 0,
             "making it the user's root");
    pv_check((uint64_t)pv_call(__HYPERVISOR_stack_switch, SS_FLAT, KERNEL_SP, 0, 0), 0,
             "stack_switch");
}

static void visit(const char *code, uint64_t cs, uint64_t flags, const char *what)
{
    user_word = 0;
    pv_visit((uint64_t)code, cs, flags, USER_SP, SS_FLAT, 0);
    pv_shared.vcpu_info[0].evtchn_upcall_mask = 1;
    note_trap(what);
    note(what, user_word);
}

static void programs(void)
{
    static const struct {
        const char *code, *what;
        uint64_t    cs;
    } cases[] = {
        { user_syscall, "SYSCALL of a program", CS_USER },
        { user_fault, "a page fault of a program", CS_USER },
        { user_int3, "INT3 of a program", CS_USER },
        { user_int31, "INT of a program", CS_USER },
        { user_hlt, "HLT of a program", CS_USER },
        { user_ud, "UD2 of a program", CS_USER },
        { user_pushf, "PUSHFQ of a program", CS_USER },
        { user_pushf32, "PUSHFD of a program", CS_USER32 },
        { user_syscall32, "SYSCALL of a program's 32-bit code", CS_USER32 },
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        visit(cases[i].code, cases[i].cs, FLAGS, cases[i].what);
        visit(cases[i].code, cases[i].cs, FLAGS | TF, cases[i].what);
        /* From its second instruction on, with TF set by the return. */
        visit(cases[i].code + 2, cases[i].cs, FLAGS | TF, cases[i].what);
    }
    pv_visit((uint64_t)user_pushf, CS_KERNEL, FLAGS | TF, KERNEL_SP, SS_FLAT, 0);
    note_trap("the iret hypercall to the kernel with TF");
}

static void one_round(void)
{
    count = 0;
    pv_shared.vcpu_info[0].evtchn_upcall_mask = 1;
    flags_that_are_pushed();
    own_trap();
    returns();
    calls();
    carried_out();
    strings();
    events();
    programs();
}

static void wait_until(uint64_t ns)
{
    struct sched_poll poll = { .timeout = ns };

    (void)pv_call(__HYPERVISOR_sched_op, SCHEDOP_poll, (uint64_t)&poll, 0, 0);
}

void pv_main(void)
{
    uint64_t rounds = pv_number("rounds=", 0);

    make_user_root();
    one_round();
    for (rounds_done = 1; rounds_done <= rounds; rounds_done++) {
        wait_until((rounds_done + 1) * SECOND);
        one_round();
    }
}
