/*
 * Touches a seeded sequence of pages while a monitor has taken rights away, and says what it has
 * touched; the test compares that with what was told (monitor command `access`). Words: how many
 * rounds, how many touches in each, the seed; and 1 if it is to begin only after it was paused for two
 * seconds.
 *
 * Round n is made at n + 1 seconds after the start of the machine, or of that. Before its touches come the
 * instructions that are hard to step over, since the monitor's rights may have every instruction
 * stepped: none of them must show that.
 */
#include "test/guests/guest.h"

const char guest_name[] = "watched";

#define ARENA   0x1000ul /* first frame that is touched */
#define FRAMES  24ul
#define TABLES  0x3000ul /* frames of the window's tables: PDPT, page directory, page table */
#define WINDOW  (1ul << 39)
#define SECOND  1000000000ul
#define STRANGE 30              /* a vector that no exception has */
#define USER    (FRAMES * PAGE) /* in the window: a page of a program's */
#define TF      (1ul << 8)
#define DR6_BS  (1ul << 14)

/* What the handlers below have seen, and how far the instruction is to be passed over. */
struct caught {
    uint64_t count, rip, pushed, flags, skip;
};
extern struct caught caught;
struct caught        caught __attribute__((used));

extern uint8_t catch_plain[], catch_call[];
__asm__(
    ".text\n"
    "catch_plain:\n\t" /* an event without an error code; goes on `skip` bytes later without TF */
    "push %rax\n\t"
    "pushfq\n\tpop %rax\n\tmov %rax, caught+24\n\t"
    "mov 8(%rsp), %rax\n\tmov %rax, caught+8\n\t"
    "mov 24(%rsp), %rax\n\tmov %rax, caught+16\n\t"
    "mov caught+32, %rax\n\tadd %rax, 8(%rsp)\n\t"
    "andq $~0x100, 24(%rsp)\n\t"
    "incq caught\n\t"
    "pop %rax\n\t"
    "iretq\n"
    "catch_call:\n\t" /* SYSCALL leads here; goes on at RBX, on the stack in RBP */
    "mov %rbp, %rsp\n\t"
    "pushfq\n\tpopq caught+24\n\t"
    "mov %rcx, caught+8\n\tmov %r11, caught+16\n\t"
    "incq caught\n\t"
    "jmp *%rbx\n");

static uint64_t seed;

static uint64_t dice(uint64_t below)
{
    seed = seed * 6364136223846793005ul + 1442695040888963407ul;
    return (seed >> 33) % below;
}

static uint64_t *table(unsigned i)
{
    return (uint64_t *)((TABLES + i) * PAGE);
}

static void build_window(void)
{
    guest_pml4[1] = (uint64_t)table(0) | P | W | U | A;
    table(0)[0] = (uint64_t)table(1) | P | W | U;
    table(1)[0] = (uint64_t)table(2) | P | W | U;
    for (uint64_t i = 0; i < FRAMES; i++)
        table(2)[i] = (ARENA + i) * PAGE | P | W;
    table(2)[FRAMES] = (ARENA + FRAMES) * PAGE | P | W | U;
}

/* ---- what is hard to step over ---- */

struct gate {
    uint16_t low, selector, flags, middle;
    uint32_t high, zero;
};

static void catch (unsigned vector, const uint8_t *handler)
{
    struct {
        uint16_t     limit;
        struct gate *gate;
    } __attribute__((packed)) idt;

    __asm__ volatile("sidt %0" : "=m"(idt));
    idt.gate[vector].low = (uint16_t)(uint64_t)handler;
    idt.gate[vector].middle = (uint16_t)((uint64_t)handler >> 16);
}

static void expect(uint64_t count, uint64_t pushed, const char *what)
{
    const struct caught got = *(volatile struct caught *)&caught;

    guest_check(got.count, count, what);
    if (count != 0) {
        guest_check(got.pushed & TF, pushed, what);
        guest_check(got.flags & TF, 0, what);
    }
    caught = (struct caught){ 0 };
}

static void flags_on_the_stack(void)
{
    uint64_t wide, flags = 0;
    uint16_t narrow;

    __asm__ volatile("pushfq\n\tpop %0" : "=r"(wide)::"memory");
    __asm__ volatile("pushfw\n\tpopw %0" : "=r"(narrow)::"memory");
    guest_check(wide & TF, 0, "PUSHFQ");
    guest_check(narrow & TF, 0, "PUSHFW");
    __asm__ volatile("push %1\n\tpopfq\n\tpushfq\n\tpop %0"
                     : "=r"(flags)
                     : "r"(wide | RFLAGS_CF)
                     : "memory", "cc");
    guest_check(flags & (TF | RFLAGS_CF), RFLAGS_CF, "POPFQ");
    expect(0, 0, "no event");
}

/* The guest's own TF, by POPF and by IRET: one instruction more, then the trap. */
static void own_trap(void)
{
    uint64_t dr6 = 0;

    __asm__ volatile("mov %0, %%dr6" ::"r"(0xffff0ff0ul));
    __asm__ volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tnop\n1:\tnop" ::: "memory", "cc");
    expect(1, TF, "#DB after POPF and NOP");
    __asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
    guest_check(dr6 & (DR6_BS | 15), DR6_BS, "DR6");
    __asm__ volatile(
        "mov %%rsp, %%rax\n\tpushq $0x10\n\tpush %%rax\n\tpushfq\n\torq $0x100, (%%rsp)\n\t"
        "pushq $8\n\tpushq $1f\n\tiretq\n1:\tnop\n\tnop" ::
            : "rax", "memory", "cc");
    expect(1, TF, "#DB after IRETQ and NOP");
    __asm__ volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tint3\n\tnop" ::: "memory", "cc");
    expect(1, TF, "INT3 with TF");
}

static void events(void)
{
    uint64_t at;

    __asm__ volatile("lea 1f(%%rip), %0\n\tint3\n1:" : "=r"(at)::"memory");
    guest_check(caught.rip, at, "INT3 goes on behind it");
    expect(1, 0, "INT3");
    __asm__ volatile("lea 1f(%%rip), %0\n\tint $30\n1:" : "=r"(at)::"memory");
    guest_check(caught.rip, at, "INT goes on behind it");
    expect(1, 0, "INT");
    caught.skip = 2;
    __asm__ volatile("lea 1f(%%rip), %0\n1:\tud2" : "=r"(at)::"memory");
    guest_check(caught.rip, at, "UD2 is a fault");
    expect(1, 0, "UD2");
}

static void strings(void)
{
    static uint8_t from[200], to[200];
    uint8_t       *di = to, *si = from;
    uint64_t       count = sizeof(to);

    for (unsigned i = 0; i < sizeof(from); i++)
        from[i] = (uint8_t)(i * 7 + 1), to[i] = 0;
    __asm__ volatile("rep movsb" : "+D"(di), "+S"(si), "+c"(count)::"memory");
    for (unsigned i = 0; i < sizeof(from); i++)
        guest_check(((volatile uint8_t *)to)[i], from[i], "MOVSB");
}

/* From the kernel, and from a program that SYSRET leads to, which is a NOP and a SYSCALL. */
static void calls(uint64_t mask)
{
    uint64_t scratch;

    wrmsr(MSR_SFMASK, mask);
    __asm__ volatile("mov %%rsp, %%rbp\n\tlea 1f(%%rip), %%rbx\n\tsyscall\n1:"
                     : "=a"(scratch)::"rbx", "rbp", "rcx", "r11", "memory");
    expect(1, 0, "SYSCALL");
    *(volatile uint32_t *)((ARENA + FRAMES) * PAGE) = 0x90050f90;
    __asm__ volatile("mov %%rsp, %%rbp\n\tlea 1f(%%rip), %%rbx\n\tsysretq\n1:"
                     : "=a"(scratch)
                     : "c"(WINDOW + USER), "r"(2ul)
                     : "rbx", "rbp", "r11", "memory");
    guest_check(caught.rip, WINDOW + USER + 3, "SYSRET, NOP, SYSCALL");
    expect(1, 0, "SYSCALL of a program");
    __asm__ volatile("mov %0, %%ss" ::"r"(0x10)); /* SYSCALL has loaded a selector of ring 0 */
}

/* Instructions that a listener may want to hear of: CR4 four times, the first and last with PGE alone; CPUID. */
static void told(void)
{
    uint32_t a = 1, b, c = 0, d;
    uint64_t cr4, old;

    __asm__ volatile("mov %%cr4, %0" : "=r"(old));
    for (unsigned i = 1; i <= 4; i++) {
        uint64_t wanted = old ^ (i < 4 ? CR4_PGE : 0) ^ (i == 2 ? CR4_OSXMMEXCPT : 0);

        __asm__ volatile("mov %1, %%cr4\n\tmov %%cr4, %0" : "=r"(cr4) : "r"(wanted) : "memory");
        guest_check(cr4, wanted, "CR4");
    }
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    guest_check(d >> 25 & 1, 1, "CPUID has SSE");
}

static void hard(void)
{
    uint64_t value = 0;

    told();
    flags_on_the_stack();
    own_trap();
    events();
    strings();
    calls(TF);
    calls(0);
    __asm__ volatile("mov %%ss, %%eax\n\tmov %%eax, %%ss\n\tpushfq\n\tpop %0" : "=r"(value)::"rax");
    guest_check(value & TF, 0, "PUSHFQ behind MOV SS");
    guest_check(guest_load(WINDOW - PAGE * 4, &value), false, "a load from nowhere");
    guest_check(guest_fault.vector, 14, "its vector");
}

static void catch_all(void)
{
    catch (1, catch_plain);
    catch (3, catch_plain);
    catch (6, catch_plain);
    catch (STRANGE, catch_plain);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
    wrmsr(MSR_STAR, 0x8ul << 32 | 0x10ul << 48);
    wrmsr(MSR_LSTAR, (uint64_t)catch_call);
}

/* ---- touches ---- */

static void fetch_at(uint64_t va)
{
    __asm__ volatile("call *%0" ::"r"(va) : "memory");
}

static void touch(uint64_t va, uint64_t way)
{
    uint64_t value;

    switch (way) {
    case 0:
        __asm__ volatile("mov (%1), %0" : "=r"(value) : "r"(va) : "memory");
        break;
    case 1:
        __asm__ volatile("movb $0xc3, (%0)" ::"r"(va) : "memory"); /* RET, as it was */
        break;
    default:
        fetch_at(va);
    }
}

/* Entries on the way to an address, as they are now, and where they lie. */
static unsigned look(uint64_t va, volatile uint64_t *at[4])
{
    if (va >= WINDOW) {
        at[0] = &guest_pml4[1];
        at[1] = &table(0)[0];
        at[2] = &table(1)[0];
        at[3] = &table(2)[(va - WINDOW) / PAGE];
        return 4;
    }
    at[0] = &guest_pml4[0];
    at[1] = &guest_pdpt[0];
    at[2] = &guest_pd[va >> 21];
    return 3;
}

struct touched {
    uint8_t frame, way, marks; /* of which table, by level, an entry has changed */
    bool    window;
};

#define TOUCHES 4096
static struct touched touched[TOUCHES];

static void one_touch(struct touched *t)
{
    volatile uint64_t *at[4];
    uint64_t           before[4], va;

    *t = (struct touched){ .frame = (uint8_t)dice(FRAMES),
                           .way = (uint8_t)dice(3),
                           .window = dice(2) };
    va = t->window ? WINDOW + t->frame * PAGE : (ARENA + t->frame) * PAGE;
    unsigned levels = look(va, at);
    if (t->window && dice(3) == 0) {
        __asm__ volatile("andq %1, %0" : "+m"(*at[3]) : "er"(~(A | D)) : "cc");
        guest_invlpg(va);
        t->marks |= 0x80;
    }
    for (unsigned i = 0; i < levels; i++)
        before[i] = *at[i];
    touch(va, t->way);
    for (unsigned i = 0; i < levels; i++)
        t->marks |= (uint8_t)((*at[i] != before[i]) << i);
}

static void say(uint64_t round, uint64_t touches)
{
    for (uint64_t i = 0; i < touches; i++) {
        guest_print("watched: round ");
        guest_print_hex(round);
        guest_print(touched[i].window ? " window " : " direct ");
        guest_print_hex(ARENA + touched[i].frame);
        guest_print(touched[i].way == 0 ? " read " : touched[i].way == 1 ? " write " : " fetch ");
        guest_print_hex(touched[i].marks);
        guest_print("\n");
    }
}

static void print_frame(const char *what, uint64_t frame)
{
    guest_print(what);
    guest_print_hex(frame);
}

/* The system time at which the vCPU began to run. */
static uint64_t now(void)
{
    struct vcpu_runstate_info info;

    guest_check((uint64_t)guest_hypercall(__HYPERVISOR_vcpu_op, VCPUOP_get_runstate_info, 0,
                                          (uint64_t)&info),
                0, "VCPUOP_get_runstate_info");
    return info.state_entry_time;
}

/* Somebody has paused the domain for two seconds, and lets it go on; a busy machine may stand still for one. */
static uint64_t wait_for_pause(void)
{
    uint64_t before, after = now();

    do {
        before = after;
        guest_wait_until(before + SECOND / 20);
        after = now();
    } while (after - before < SECOND * 19 / 10);
    return after;
}

void guest_main(const struct hvm_start_info *info)
{
    const char *words = (const char *)info->cmdline_paddr;
    uint64_t    rounds = guest_number(&words), touches = guest_number(&words), start = 0;

    seed = guest_number(&words);
    if (touches > TOUCHES)
        guest_fail("too many touches", touches, TOUCHES);
    build_window();
    for (uint64_t i = 0; i <= FRAMES; i++)
        *(volatile uint8_t *)((ARENA + i) * PAGE) = 0xc3;
    catch_all();
    hard();
    print_frame("watched: roots ", (uint64_t)guest_pml4 / PAGE);
    print_frame(" ", (uint64_t)guest_pdpt / PAGE);
    print_frame(" ", (uint64_t)guest_pd / PAGE);
    guest_print("\n");
    if (guest_number(&words) != 0)
        start = wait_for_pause();
    for (uint64_t round = 0; round < rounds; round++) {
        guest_wait_until(start + (round + 1) * SECOND);
        hard();
        for (uint64_t i = 0; i < touches; i++)
            one_touch(&touched[i]);
        guest_wait_until(start + (round + 1) * SECOND + SECOND / 2);
        say(round, touches);
    }
}
