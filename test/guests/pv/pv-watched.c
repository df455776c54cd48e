/*
 * Touches a seeded sequence of pages while a listener has taken rights away, and says what it has
 * touched; the test compares that with what the listener was told. Words: rounds=, touches= in each,
 * seed=. The first round begins a second after the domain was paused for two seconds.
 *
 * Each page is reached by the builder's mapping, and by a window whose entries lose A and D now and
 * then: what an access sets in these is seen by looking. All numbers said are the machine's.
 */
#include "test/guests/pv/pv.h"

const char pv_name[] = "watched";

#define ARENA   0x300ul /* first frame that is touched; the builder has mapped it */
#define FRAMES  24ul
#define WINDOW  (1ul << 39) /* where root entry 1 leads */
#define SECOND  1000000000ul
#define LEAF    (P | W | U)
#define LEVELS  4
#define TOUCHES 1024
#define RET     0xc3

#define CR4_FSGSBASE (1ul << 16)

enum { READ, WRITE, FETCH, WAYS };

static uint64_t tables[LEVELS - 1][512] __attribute__((aligned(4096)));
static uint64_t seed;

struct touched {
    uint8_t frame, way, marks; /* of which level, from the root on, an entry has changed */
    bool    window;
};
static struct touched touched[TOUCHES];

static uint64_t dice(uint64_t below)
{
    seed = seed * 6364136223846793005ul + 1442695040888963407ul;
    return (seed >> 33) % below;
}

static void ok(int64_t result, const char *what)
{
    pv_check((uint64_t)result, 0, what);
}

static uint64_t mfn_of(uint64_t frame)
{
    return pv_mfn((const void *)((ARENA + frame) * PAGE));
}

/* The entry of each level on the way to a frame in the window. */
static uint64_t *entry(unsigned level, uint64_t frame)
{
    if (level == 0)
        return &((uint64_t *)pv_info->pt_base)[WINDOW >> 39];
    return &tables[level - 1][level == LEVELS - 1 ? frame : 0];
}

static uint64_t machine_of(const void *p)
{
    return pv_mfn(p) * PAGE + (uint64_t)p % PAGE;
}

static void build_window(void)
{
    for (uint64_t i = 0; i < FRAMES; i++) {
        *(volatile uint8_t *)((ARENA + i) * PAGE) = RET;
        *entry(LEVELS - 1, i) = mfn_of(i) * PAGE | LEAF;
    }
    for (unsigned level = 1; level < LEVELS - 1; level++)
        *entry(level, 0) = pv_mfn(tables[level]) * PAGE | LEAF;
    for (unsigned i = 0; i < LEVELS - 1; i++)
        ok(pv_protect(tables[i], false), "making a table read-only");
    ok(pv_update(machine_of(entry(0, 0)), pv_mfn(tables[0]) * PAGE | LEAF), "the window");
}

static void touch(uint64_t va, unsigned way)
{
    uint64_t value;

    if (way == READ)
        __asm__ volatile("mov (%1), %0" : "=r"(value) : "r"(va) : "memory");
    else if (way == WRITE)
        __asm__ volatile("movb %1, (%0)" : : "r"(va), "i"(RET) : "memory");
    else
        __asm__ volatile("call *%0" ::"r"(va) : "memory");
}

static void one_touch(struct touched *t)
{
    uint64_t before[LEVELS], va;

    *t = (struct touched){ .frame = (uint8_t)dice(FRAMES),
                           .way = (uint8_t)dice(WAYS),
                           .window = dice(2) };
    va = t->window ? WINDOW + t->frame * PAGE : (ARENA + t->frame) * PAGE;
    if (t->window && dice(3) == 0) { /* a request: nobody is told of it */
        ok(pv_update(machine_of(entry(LEVELS - 1, t->frame)), mfn_of(t->frame) * PAGE | LEAF),
           "an entry without A and D");
        ok(pv_mmuext(MMUEXT_INVLPG_LOCAL, va, 0), "INVLPG");
    }
    for (unsigned i = 0; i < LEVELS; i++)
        before[i] = *(volatile uint64_t *)entry(i, t->frame);
    touch(va, t->way);
    for (unsigned i = 0; i < LEVELS; i++)
        t->marks |= (uint8_t)((*(volatile uint64_t *)entry(i, t->frame) != before[i]) << i);
}

static void say(uint64_t round, uint64_t touches)
{
    static const char *const ways[WAYS] = { " read ", " write ", " fetch " };

    for (uint64_t i = 0; i < touches; i++) {
        const struct touched *t = &touched[i];

        pv_print("watched: round ");
        pv_print_hex(round);
        pv_print(t->window ? " window " : " direct ");
        pv_print_hex(mfn_of(t->frame));
        pv_print(ways[t->way]);
        pv_print_hex(t->marks);
        pv_print("\n");
    }
}

/* What lies where: the frames in their order, then the tables from the root on. */
static void say_places(void)
{
    pv_print("watched: frames");
    for (uint64_t i = 0; i < FRAMES; i++) {
        pv_print(" ");
        pv_print_hex(mfn_of(i));
    }
    pv_print(" tables");
    for (unsigned level = 0; level < LEVELS; level++) {
        pv_print(" ");
        pv_print_hex(pv_mfn(entry(level, 0)));
    }
    pv_print("\n");
}

/* The system time at which the vCPU began to run. */
static uint64_t now(void)
{
    struct vcpu_runstate_info info;

    ok(pv_call(__HYPERVISOR_vcpu_op, VCPUOP_get_runstate_info, 0, (uint64_t)&info, 0),
       "VCPUOP_get_runstate_info");
    return info.state_entry_time;
}

static void wait_until(uint64_t ns)
{
    struct sched_poll poll = { .timeout = ns };

    (void)pv_call(__HYPERVISOR_sched_op, SCHEDOP_poll, (uint64_t)&poll, 0, 0);
}

/* Somebody has paused the domain for two seconds, and lets it go on; a busy machine may stand still for one. */
static uint64_t wait_for_pause(void)
{
    uint64_t before, after = now();

    do {
        before = after;
        wait_until(before + SECOND / 20);
        after = now();
    } while (after - before < SECOND * 19 / 10);
    return after;
}

/* CR4 three times, of which two change it. */
static void change_cr4(void)
{
    uint64_t old, seen;

    __asm__ volatile("mov %%cr4, %0" : "=r"(old));
    for (unsigned i = 0; i < 3; i++) {
        uint64_t wanted = old | (i < 2 ? CR4_FSGSBASE : 0);

        pv_check(PV_TRY("mov %0, %%cr4", , "r"(wanted)), true, "writing CR4");
        __asm__ volatile("mov %%cr4, %0" : "=r"(seen));
        pv_check(seen, wanted, "CR4");
    }
}

/* What a listener may want to hear of, and must not show: it is the kernel's as if nobody listened. */
static void told(void)
{
    uint32_t a = 0x40000000, b, c = 0, d;

    pv_check(PV_TRY("int3", ), false, "INT3");
    pv_check(pv_fault.vector, 3, "its vector");
    pv_check(*(const uint8_t *)(pv_fault.at.rip - 1), 0xcc, "RIP behind INT3");
    pv_check(PV_TRY(".byte 0xcd, 3", ), false, "INT 3");
    pv_check(pv_fault.vector, 3, "its vector");
    pv_check(*(const uint8_t *)(pv_fault.at.rip - 2), 0xcd, "RIP behind INT 3");
    pv_check(PV_TRY("pushfq; orq $0x100, (%%rsp); popfq; nop", ), false, "a single step");
    pv_check(pv_fault.vector, 1, "its vector");
    pv_check((uint64_t)pv_call(__HYPERVISOR_get_debugreg, 6, 0, 0, 0), 0xffff4ff0, "DR6");
    __asm__ volatile("ud2\n\t.ascii \"xen\"\n\tcpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    pv_check(a, 0x40000004, "CPUID");
    change_cr4();
}

void pv_main(void)
{
    uint64_t rounds = pv_number("rounds=", 2), touches = pv_number("touches=", 40), start;

    seed = pv_number("seed=", 1);
    if (touches > TOUCHES)
        pv_fail("too many touches", touches, TOUCHES);
    build_window();
    pv_shared.arch.p2m_cr3 = pv_mfn((const void *)pv_info->pt_base) * PAGE; /* as Linux does */
    say_places();
    start = wait_for_pause();
    for (uint64_t round = 0; round < rounds; round++) {
        wait_until(start + (round + 1) * SECOND);
        told();
        for (uint64_t i = 0; i < touches; i++)
            one_touch(&touched[i]);
        wait_until(start + (round + 1) * SECOND + SECOND / 2);
        say(round, touches);
    }
}
