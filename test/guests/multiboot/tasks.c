/*
 * Task switches: far JMP, far CALL, INT, IRET with NT set, and exceptions through a task gate, with
 * paging off, with tables of two levels and of three. The CR3 of each TSS is one that must not
 * become the real one: with paging off it is no table at all, else it is that of other tables,
 * whose addresses are the guest's.
 *
 * With `first=KIND` and perhaps `paging` on the command line, a switch of this kind is the first thing
 * that happens, TR never having been loaded; with `user`, an exception at CPL 3 is. So each of these
 * is a run of its own.
 *
 * It runs on QEMU without a hypervisor, too. With `exact` it checks as well what that machine does
 * not do when it switches tasks or executes LTR by itself: refuse a null selector or a bad CR3,
 * trap for T.
 */
#include "test/guests/multiboot/tasks.h"

const char kernel_name[] = "tasks";

/* What the other task found. */
static volatile struct {
    uint32_t count, eflags, tr, cr0, cr3, window, top, esp, main_type, other_type, fs;
} seen;
static volatile uint32_t first_tss; /* where TR points before it is loaded */
static volatile bool     back_by_jump, behind_fault;
static bool              hypervisor, exact;

extern uint8_t tasks_start[], tasks_in_other[];

/* ---- the other task ---- */

__asm__(".globl tasks_start, tasks_in_other\n"
        "tasks_start:\n\t"
        "movl (%esp), %eax\n\t"
        "movl %esp, %edx\n\t"
        "push %edx\n\t"
        "push %eax\n\t"
        "call tasks_body\n"
        "tasks_in_other:\n\t" /* an exception came upon it before its first instruction */
        "ljmp $0x18, $0\n\t"
        "ud2\n");

void tasks_body(uint32_t top, uint32_t esp);
void tasks_body(uint32_t top, uint32_t esp)
{
    uint32_t eflags, tr, cr0, cr3, fs;

    __asm__ volatile("pushfl; popl %0" : "=r"(eflags));
    __asm__ volatile("str %0; mov %%cr0, %1; mov %%cr3, %2; mov %%fs, %3"
                     : "=r"(tr), "=r"(cr0), "=r"(cr3), "=r"(fs));
    seen.eflags = eflags;
    seen.tr = tr;
    seen.cr0 = cr0;
    seen.cr3 = cr3;
    seen.fs = fs;
    seen.window = cr0 & CR0_PG ? load(WINDOW) : 0;
    seen.top = top;
    seen.esp = esp;
    seen.main_type = type_of(MAIN);
    seen.other_type = type_of(tr);
    seen.count++;
    if (behind_fault) { /* where to go on, the outgoing task has left in EBX */
        tasks_mates.main.eip = tasks_mates.main.ebx;
        tasks_mates.main.eflags &= ~EFLAGS_TF;
    }
    if (back_by_jump)
        __asm__ volatile("ljmp $0x18, $0" ::: "memory");
    else
        __asm__ volatile("iret" ::: "memory");
    kernel_fail("a task goes on where it left", seen.count, 0);
}

/* ---- getting there and back ---- */

static void fill_tss(volatile struct tss *t, uint32_t eip, uint32_t esp, uint32_t cr3)
{
    *t = (struct tss){ .cr3 = cr3,
                       .eip = eip,
                       .eflags = 2,
                       .esp = esp,
                       .es = DATA,
                       .cs = CODE,
                       .ss = DATA,
                       .ds = DATA,
                       .fs = FRESH,
                       .map = sizeof(struct tss) };
}

#define OTHER_TOP ((uint32_t)other_stack + sizeof(other_stack) - 16)

static void clear_ts(void)
{
    __asm__ volatile("clts");
}

/* A fresh other task that comes back by JMP or by IRET. */
static void prepare(bool jump)
{
    set_type(OTHER, 0x89);
    fill_tss(&other, (uint32_t)tasks_start, OTHER_TOP, cr3_other);
    *(volatile uint32_t *)OTHER_TOP = 0x5555;
    tasks_mates.main.cr3 = cr3_main;
    back_by_jump = jump;
    clear_ts();
}

enum kind { JMP, JMP_MEMORY, JMP_GATE, CALL, CALL_GATE, INT, IRET, EXCEPTION, STEP, KINDS };

static const char *const names[KINDS] = { "first=jmp",  "first=jmp-memory", "first=jmp-gate",
                                          "first=call", "first=call-gate",  "first=int",
                                          "first=iret", "first=exception",  "first=step" };

/* What the switch leaves in place, the way back restores: registers come from the TSS. */
#define SWITCH(code) __asm__ volatile(code ::"r"(0) : "memory", "cc")

void tasks_go(enum kind kind);
void tasks_go(enum kind kind)
{
    static const struct {
        uint32_t offset;
        uint16_t selector;
    } __attribute__((packed)) far = { 0, OTHER };

    switch (kind) {
    case JMP:
        SWITCH("ljmp $0x20, $0");
        return;
    case JMP_MEMORY:
        __asm__ volatile("ljmp *%0" ::"m"(far) : "memory");
        return;
    case JMP_GATE:
        SWITCH("ljmp $0x28, $0");
        return;
    case CALL:
        SWITCH("lcall $0x20, $0");
        return;
    case CALL_GATE:
        SWITCH("lcall $0x28, $0");
        return;
    case INT:
        SWITCH("int $0x30");
        return;
    case IRET:
        SWITCH("pushfl; orl $0x4000, (%%esp); popfl; iret");
        return;
    case STEP: /* #DB behind the NOP */
        __asm__ volatile("movl $1f, %%ebx; pushfl; orl $0x100, (%%esp); popfl; nop; 1:" ::
                             : "ebx", "memory", "cc");
        return;
    default: /* the other task comes back to behind it */
        __asm__ volatile("movl $1f, %%ebx; ud2; 1:" ::: "ebx", "memory");
    }
}

static bool nests(enum kind kind)
{
    return kind == CALL || kind == CALL_GATE || kind == INT || kind == EXCEPTION || kind == STEP;
}

static void check_seen(uint32_t count, bool nested, uint32_t tr, uint32_t other_type)
{
    kernel_check(seen.count, count, "the other task ran");
    kernel_check(seen.tr, tr, "TR is its own");
    kernel_check(seen.other_type, other_type, "its TSS is busy");
    kernel_check(seen.cr0 & CR0_TS, CR0_TS, "CR0.TS is set");
    kernel_check(seen.eflags & EFLAGS_NT, nested ? EFLAGS_NT : 0, "NT tells whether it is nested");
    kernel_check(seen.fs, tr == OTHER ? FRESH : 0, "FS is its own");
    if (paging) {
        kernel_check(seen.cr3, tr == OTHER ? cr3_other : cr3_main, "CR3 is that of its TSS");
        kernel_check(seen.window, tr == OTHER ? 2 : 1, "it sees its own memory");
    } else {
        kernel_check(seen.window, 0, "paging is off");
    }
}

static uint32_t vector_of(enum kind kind)
{
    return kind == INT ? VECTOR_TASK : kind == STEP ? VECTOR_DB : VECTOR_UD;
}

/* There and back, TR being loaded. */
static void try_kind(enum kind kind)
{
    uint32_t    vector = vector_of(kind);
    struct gate former = use_gate(vector);
    uint32_t    count = seen.count + 1, cr0;

    prepare(!nests(kind));
    behind_fault = kind == EXCEPTION || kind == STEP;
    if (kind == IRET) {
        set_type(OTHER, 0x8b);
        tasks_mates.main.link = OTHER;
    }
    tasks_go(kind);
    idt[vector] = former;
    behind_fault = false;
    check_seen(count, nests(kind), OTHER, 0x0b);
    kernel_check(seen.main_type, nests(kind) ? 0x0b : 0x09, "the other is busy while nested in it");
    kernel_check(type_of(MAIN), 0x0b, "the TSS that is left is free, the one that is entered busy");
    kernel_check(type_of(OTHER), 0x09, "and the other way round");
    kernel_check(seen.esp, OTHER_TOP, "nothing is on its stack");
    if (nests(kind))
        kernel_check(other.link, MAIN, "the link leads back");
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    kernel_check(cr0 & CR0_TS, CR0_TS, "the way back sets CR0.TS");
    if (paging)
        kernel_check(load(WINDOW), 1, "and CR3 is what it was");
}

/* ---- exceptions with an error code, through a task gate ---- */

static void try_error(uint32_t vector, uint32_t error, void (*cause)(void))
{
    struct gate former = use_gate(vector);
    uint32_t    count = seen.count + 1;

    prepare(false);
    behind_fault = true;
    cause();
    idt[vector] = former;
    behind_fault = false;
    check_seen(count, true, OTHER, 0x0b);
    kernel_check(seen.esp, OTHER_TOP - 4, "an error code is on the new stack");
    kernel_check(seen.top, error, "and it is the right one");
}

static void load_bad_segment(void)
{
    __asm__ volatile("movl $1f, %%ebx; mov %0, %%gs; 1:" ::"r"(BAD) : "ebx", "memory");
}

static void touch_absent(void)
{
    __asm__ volatile("movl $1f, %%ebx; movl %%ebx, (%0); 1:" ::"r"(ABSENT) : "ebx", "memory");
}

/* What the hypervisor injects, having looked at it itself. */
static void read_no_msr(void)
{
    __asm__ volatile("movl $1f, %%ebx; rdmsr; 1:" ::"c"(0x4d5) : "eax", "ebx", "edx", "memory");
}

static void test_errors(void)
{
    uint32_t cr2;

    try_error(VECTOR_GP, BAD, load_bad_segment);
    if (hypervisor) /* QEMU knows no MSR that is not there */
        try_error(VECTOR_GP, 0, read_no_msr);
    if (paging) {
        try_error(VECTOR_PF, 2, touch_absent);
        __asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
        kernel_check(cr2, ABSENT, "CR2 has the address");
    }
}

/* ---- a task of 16 bits ---- */

static void test_small(void)
{
    uint8_t *stub = (uint8_t *)STUB;
    uint32_t count = seen.count + 1;

    prepare(false);
    tasks_mates.small = (struct tss_small){
        .ip = STUB, .flags = 2, .sp = 0x1234, .cs = CODE, .ss = DATA, .ds = DATA, .es = DATA
    };
    *(volatile uint8_t *)stub++ = 0xbc; /* mov $OTHER_TOP, %esp */
    *(volatile uint32_t *)stub = OTHER_TOP;
    stub += 4;
    *(volatile uint8_t *)stub++ = 0xb8; /* mov $tasks_start, %eax; jmp *%eax */
    *(volatile uint32_t *)stub = (uint32_t)tasks_start;
    stub += 4;
    *(volatile uint16_t *)stub = 0xe0ff;
    SWITCH("lcall $0x30, $0");
    check_seen(count, true, SMALL, 0x03);
    kernel_check(tasks_mates.small.link, MAIN, "its link leads back");
    kernel_check(tasks_mates.small.ss, DATA, "its state is in its TSS");
    kernel_check(tasks_mates.small.flags & EFLAGS_NT, 0, "without NT, since it went back by IRET");
    kernel_check(type_of(SMALL), 1, "its TSS is free");
}

/* ---- what is refused ---- */

/* Runs `code` with an exception allowed for, and checks which one it was. */
#define REFUSED(code, vector, error, what)                                                         \
    do {                                                                                           \
        kernel_vector = ~0u;                                                                       \
        __asm__ volatile("movl $1f, kernel_resume\n\t" code "\n1: movl $0, kernel_resume" ::       \
                             : "eax", "memory");                                                   \
        kernel_check(kernel_vector, vector, what);                                                 \
        kernel_check(kernel_error, error, what);                                                   \
        kernel_check(type_of(MAIN), 0x0b, "nothing has changed");                                  \
    } while (0)

static void test_refusals(void)
{
    uint64_t good = tasks_mates.gdt[OTHER / 8];

    prepare(true);
    REFUSED("ljmp $0x18, $0", VECTOR_GP, MAIN, "a busy TSS is refused");
    REFUSED("pushfl; orl $0x4000, (%%esp); popfl; iret", VECTOR_TS, OTHER,
            "IRET to a TSS that is not busy is refused");
    __asm__ volatile("pushfl; andl $~0x4000, (%%esp); popfl" ::: "memory", "cc");
    set_type(OTHER, 0x09);
    REFUSED("ljmp $0x20, $0", VECTOR_NP, OTHER, "a TSS that is not present is refused");
    REFUSED("lcall $0x28, $0", VECTOR_NP, OTHER, "behind a gate as well");
    REFUSED("movl $0x20, %%eax; ltr %%ax", VECTOR_NP, OTHER, "LTR refuses it as well");
    tasks_mates.gdt[OTHER / 8] = descriptor((uint32_t)&other, sizeof(struct tss) - 2, 0x89);
    REFUSED("ljmp $0x20, $0", VECTOR_TS, OTHER, "a TSS that is too short is refused");
    tasks_mates.gdt[OTHER / 8] = good;
    if (exact)
        REFUSED("xorl %%eax, %%eax; ltr %%ax", VECTOR_GP, 0, "LTR refuses null");
    REFUSED("movl $0x18, %%eax; ltr %%ax", VECTOR_GP, MAIN, "LTR refuses a busy TSS");
    REFUSED("movl $0x10, %%eax; ltr %%ax", VECTOR_GP, DATA, "LTR refuses what is no TSS");
    REFUSED("movl $0xfff8, %%eax; ltr %%ax", VECTOR_GP, BAD, "LTR refuses what is nowhere");
}

/* An exception that belongs to the new task: its handler runs there, and jumps back from there. */
static void try_in_other(uint32_t vector, uint32_t error, const char *what)
{
    kernel_vector = ~0u;
    kernel_resume = (uint32_t)tasks_in_other;
    SWITCH("ljmp $0x20, $0");
    kernel_check(kernel_vector, vector, what);
    kernel_check(kernel_error, error, what);
    kernel_check(type_of(MAIN), 0x0b, "it was in the other task, which is left now");
    kernel_check(type_of(OTHER), 0x09, "and can be entered again");
}

static void test_late_exceptions(void)
{
    uint32_t dr6;

    prepare(true);
    other.fs = BAD;
    try_in_other(VECTOR_TS, BAD, "a selector that leads nowhere");
    prepare(true);
    other.gs = OTHER;
    try_in_other(VECTOR_TS, OTHER, "a selector of what is no segment");
    prepare(true);
    tasks_mates.gdt[FRESH / 8] &= ~(1ull << 47);
    try_in_other(VECTOR_NP, FRESH, "a segment that is not present");
    tasks_mates.gdt[FRESH / 8] |= 1ull << 47;
    if (exact) {
        prepare(true);
        other.trap = 1;
        try_in_other(1, 0, "T in a TSS is a trap");
        __asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
        if (cr3_other == (uint32_t)pdpt[1]) {
            prepare(true);
            pdpt[1][3] |= 2; /* W, which is reserved there */
            try_in_other(VECTOR_GP, 0, "CR3 that leads to reserved bits");
            pdpt[1][3] &= ~2ull;
        }
        kernel_check(dr6 & DR6_BT, DR6_BT, "DR6 says why");
    }
}

/* ---- other writes where the TSS is ---- */

static void test_mates(void)
{
    uint32_t count = kernel_count[VECTOR_PLAIN], pushed = 0, fs = FRESH, at;

    tasks_mates.gdt[FRESH / 8] &= ~(1ull << 40);
    __asm__ volatile("mov %0, %%fs" ::"r"(fs));
    __asm__ volatile("mov %0, %%fs" ::"r"(DATA));
    kernel_check(type_of(FRESH), 0x13, "a load marks the descriptor accessed");
    kernel_vector = ~0u;
    __asm__ volatile("movl %%esp, %%ebx; movl %2, %%esp\n\t"
                     "pushl $0x77; int $0x31\n\t"
                     "movl $1f, kernel_resume\n2: ud2\n"
                     "1: popl %0; movl %%ebx, %%esp; movl $2b, %1"
                     : "=&r"(pushed), "=&r"(at)
                     : "r"((uint32_t)tasks_mates.stack + sizeof(tasks_mates.stack))
                     : "ebx", "memory");
    kernel_check(kernel_count[VECTOR_PLAIN] - count, 1, "an interrupt comes on a stack there");
    kernel_check(kernel_vector, VECTOR_UD, "and so does an exception");
    kernel_check(kernel_eip, at, "which is where it happened");
    kernel_check(pushed, 0x77, "and the stack is what it was");
}

/* ---- the page of the TSS becomes another one ---- */

static uint32_t            place_table[1024] __attribute__((aligned(4096)));
static volatile struct tss first_page __attribute__((aligned(4096)));
static volatile struct tss second_page __attribute__((aligned(4096)));

static void test_moved(void)
{
    uint32_t count = seen.count + 1;

    place_table[0] = (uint32_t)&first_page | W | P;
    for (uint32_t k = 0; k < 4; k++)
        directory[k & 1][(PLACE >> 22) + (k >> 1)] = (uint32_t)place_table | W | P;
    fill_tss(&second_page, 0, 0, cr3_main);
    tasks_mates.gdt[MOVED / 8] = descriptor(PLACE, sizeof(struct tss) - 1, 0x89);
    __asm__ volatile("ltr %w0" ::"r"(MOVED) : "memory");
    prepare(false);
    store(PLACE + 4, 1);
    place_table[0] = (uint32_t)&second_page | W | P;
    __asm__ volatile("invlpg (%0)" ::"r"(PLACE) : "memory");
    __asm__ volatile("invlpg (%0)" ::"r"(PLACE + 0x400000) : "memory");
    store(PLACE + 0x400000 + 4, 2); /* by the other way: there it may be writable now */
    (void)load(PLACE);
    tasks_go(CALL);
    check_seen(count, true, OTHER, 0x0b);
    kernel_check(other.link, MOVED, "the link leads back to where TR was");
    kernel_check(first_page.stacks[0], 1, "the first page was written while it was there");
    kernel_check(first_page.cs, 0, "but not by the switch");
    kernel_check(second_page.stacks[0], 2, "the second page was written");
    kernel_check(second_page.cs, CODE, "and has the state");
    set_type(MAIN, 0x89);
    __asm__ volatile("ltr %w0" ::"r"(MAIN) : "memory");
}

/* ---- all of it ---- */

static void test_mode(const char *name)
{
    kernel_print(name);
    for (enum kind kind = JMP; kind < KINDS; kind++)
        try_kind(kind);
    test_errors();
    test_small();
    test_refusals();
    test_late_exceptions();
    test_mates();
}

/* The first switch of all, by tasks_go: TR has never been loaded, and its base is 0. */
__asm__(".globl tasks_first\n"
        "tasks_first:\n\t"
        "pusha\n\t"
        "movl %esp, tasks_mates + 0x38\n\t"
        "movl $1f, tasks_mates + 0x20\n\t"
        "movl 36(%esp), %eax\n\t"
        "pushl %eax\n\t"
        "call tasks_go\n"
        "1:\tpopa\n\t"
        "ret\n");
void tasks_first(enum kind kind);

static void test_first(enum kind kind)
{
    uint32_t count = seen.count + 1, tr;

    use_gate(vector_of(kind));
    fill_tss(&tasks_mates.main, 0, 0, cr3_main);
    prepare(true);
    store(first_tss + 0x20, 0);
    if (kind == IRET) {
        set_type(OTHER, 0x8b);
        store(first_tss, OTHER);
    }
    tasks_first(kind);
    __asm__ volatile("str %0" : "=r"(tr));
    kernel_check(tr, MAIN, "TR is loaded by the way back");
    check_seen(count, nests(kind), OTHER, 0x0b);
    kernel_check(load(first_tss + 0x4c) & 0xffff, CODE, "the state is where TR's base is: at 0");
    kernel_check(load(first_tss + 0x20) > 0x100000, true, "with EIP");
}

/* Is this word in the command line? */
static bool has(const char *line, const char *word)
{
    for (; *line; line++) {
        size_t k = 0;

        while (word[k] && line[k] == word[k])
            k++;
        if (!word[k] && (line[k] == ' ' || !line[k]))
            return true;
    }
    return false;
}

/*
 * An exception at CPL 3, whose stack is in the TSS that is where TR's base is: at 0. What follows
 * is at CPL 3 still, with IOPL 3.
 */
static void test_user(void)
{
    store(first_tss + 4, OTHER_TOP);
    store(first_tss + 8, DATA);
    __asm__ volatile("movl %%esp, %%eax; pushl %0; pushl %%eax; pushl $0x3002; pushl %1\n\t"
                     "pushl $1f; iret\n"
                     "1:\tmov %0, %%ds; mov %0, %%es\n\t"
                     "movl $2f, kernel_resume; hlt\n2:" ::"r"(USER_DATA),
                     "r"(USER_CODE)
                     : "eax", "memory", "cc");
    kernel_check(kernel_vector, VECTOR_GP, "HLT is refused to the user");
}

void kernel_main(const struct multiboot_info *info)
{
    const char *line = info->flags & 4 ? (const char *)info->command_line : "";

    hypervisor = cpuid(0x40000000).ebx == 0x566e6558;
    store(MEMORY(0), 1);
    store(MEMORY(1), 2);
    exact = has(line, "exact");
    build_two_levels();
    build_three_levels();
    setup_tables();
    paging_off();
    for (enum kind kind = JMP; kind < KINDS; kind++) {
        if (!has(line, names[kind]))
            continue;
        if (has(line, "paging"))
            two_levels();
        test_first(kind);
        return;
    }
    if (has(line, "user")) {
        test_user();
        return;
    }
    fill_tss(&tasks_mates.main, 0, 0, cr3_main);
    __asm__ volatile("ltr %w0" ::"r"(MAIN) : "memory");
    test_mode("tasks: paging is off\n");
    two_levels();
    test_mode("tasks: two levels\n");
    test_moved();
    three_levels();
    test_mode("tasks: three levels\n");
    paging_off();
    test_mode("tasks: paging is off again\n");
}
