/*
 * Real mode, from each paging mode and from none, and into each: 32-bit code of one mode goes
 * to 16-bit code of protected mode, from there to real mode, and comes back into the other,
 * with one write to CR0 that changes paging and protection together, or paging alone before and
 * after. On the way, 16-bit protected mode and real mode try what instructions do there that a
 * hypervisor may have a hand in: interrupts through the vector table at 0 and elsewhere, from
 * software, faults, single steps, the 8259 and the local APIC; segments, strings, ports, far
 * transfers, system registers; 32-bit addresses with limits kept from protected mode, up to the
 * local APIC's registers; writes to a page table of the modes left and to come, by
 * instructions and by the pushes of interrupts and far calls.
 *
 * What is expected is the manual's (APM vol. 2, 1.3.4, 2.1, 4.5.1, 8.6, 13.1.4). QEMU
 * 7.2 stops for ever at a reserved bit in CR4, so that bits which must be refused are tried
 * under the hypervisor only.
 */
#include "test/guests/multiboot/probe.h"

const char kernel_name[] = "real";

#define BASE      0x10000u /* where the 16-bit part runs, and its selector */
#define SEGMENT   0x1000u
#define CODE16    0x18u
#define SOURCE    0x20000u
#define TARGET    0x30000u
#define TABLE     0x50000u
#define VECTORS   128u
#define TOP       0xff00u /* SP before it is called */
#define WHERE     0x20u   /* in a page */
#define OTHER     (PROBE_TARGET + PAGE)
#define MAGIC     0x11111111u
#define OTHERS    0x22222222u
#define APIC      0xfee00000u
#define PIC1_MASK 0x21
#define PIC2_MASK 0xa1
#define VISITS    (PAGING_MODES + 1u)

#define FLAGS_TF 0x100u
#define FLAGS_IF 0x200u
#define CR0_MP   2u
#define CR0_TS   8u

struct idtr {
    uint16_t limit;
    uint32_t base;
    uint16_t unused;
} __attribute__((packed));

struct event {
    uint16_t vector, ip, cs, flags; /* as pushed */
    uint16_t inside, sp;            /* FLAGS in the handler, SP before the pushes */
};

/* What the 16-bit part begins with; it knows the order. */
struct real {
    uint32_t    call, call16, clear, big;
    uint32_t    cr0, cr3, cr4, efer;
    struct idtr idtr, idtr16;
    uint16_t    skip, timer, timer_apic, logged;
    union {
        uint32_t wide[32];
        uint16_t word[64];
        uint8_t  byte[128];
    } result;
    struct event log[40];
    uint16_t     count[256];
};

extern uint8_t real_first[], real_last[], real_vectors[];
void           real_go(void);
/* Of the 16-bit part, called by it. */
extern uint8_t real_nothing[], real_software[], real_segments[], real_strings[], real_ports[],
    real_big[], real_timer[], real_apic_timer[], real_registers[], real_refused[],
    real_refused_pg[], real_steps[], real_far[], real_table[], real_protected16[],
    real_protected16_int[];
/* Places in it. */
extern uint8_t real_after_int[], real_after_int3[], real_after_into[], real_at_div[], real_at_ud[],
    real_at_bound[], real_at_gp[], real_after_int16[], real_after_memory[], real_after_wide[];
extern uint16_t real_steps_seen[], real_steps_end[];

static volatile struct real *const     real = (volatile struct real *)BASE;
static const struct paging_mode *const modes[VISITS] = {
    NULL, &paging_2level, &paging_pse, &paging_pae, &paging_long, &paging_five
};
static const struct paging_mode *from, *to;
static bool                      stepped; /* paging is switched with protection on */
static bool                      big;
static uint32_t                  visits, apic_version;
static uint64_t                  idt16[VECTORS];

static uint16_t at(const void *place)
{
    return (uint16_t)((uint32_t)place - (uint32_t)real_first);
}

static void turn(const struct paging_mode *mode)
{
    if (read_cr0() & CR0_PG)
        probe_paging_off();
    if (mode)
        probe_paging_on(mode);
}

/* ---- there and back ---- */

/* Vectors 0 to 7f lead to their handlers, in a table at `base`. */
static void build_vectors(uint32_t base)
{
    for (uint32_t i = 0; i < VECTORS; i++)
        ((volatile uint32_t *)base)[i] = SEGMENT << 16 | (at(real_vectors) + 8 * i);
    real->idtr = (struct idtr){ .limit = 4 * VECTORS - 1, .base = base };
}

/* Interrupt gates of 16 bits. In long mode there are none. */
static void build_gates(void)
{
    for (uint32_t i = 0; i < VECTORS; i++)
        idt16[i] = 0x860000000000ull | CODE16 << 16 | (at(real_vectors) + 8 * i);
    real->idtr16 = (struct idtr){ .limit = sizeof(idt16) - 1, .base = (uint32_t)idt16 };
}

static void prepare(void)
{
    uint32_t base = visits++ & 1 ? 0x4000 : 0; /* where the table is, and where it is not */

    __builtin_memcpy((void *)BASE, real_first, (uint32_t)(real_last - real_first));
    build_vectors(base);
    for (uint32_t i = 0; i < VECTORS; i++)
        store((base ^ 0x4000) + 4 * i, 0xffffffff);
    build_gates();
}

/* From `from` by 16-bit protected mode, which calls call16, and real mode, which calls call. */
static void visit(const void *call, const void *call16)
{
    bool at_once = !stepped;

    real->call = at(call);
    real->call16 = call16 ? at(call16) : 0;
    real->logged = 0;
    real->big = big;
    turn(from);
    if (!at_once)
        turn(NULL);
    real->clear = CR0_PE | CR0_PG;
    real->cr0 = (read_cr0() & ~(CR0_PG | CR0_WP)) | CR0_PE;
    real->cr4 = CR4_OSFXSR;
    real->cr3 = real->efer = 0;
    if (to && at_once) {
        real->cr0 |= CR0_PG | CR0_WP;
        real->cr3 = probe_cr3(to);
        real->cr4 |= to->cr4;
        real->efer = (uint32_t)(to->efer | EFER_NXE);
    }
    real_go();
    probe_came(at_once ? to : NULL);
    if (!at_once && to)
        probe_paging_on(to);
    kernel_check(read_cr0() & CR0_PG, to ? CR0_PG : 0, "paging after real mode");
}

static void is_logged(unsigned i, uint16_t vector, const void *ip, const char *what)
{
    const volatile struct event *e = &real->log[i];

    kernel_check(real->logged > i, true, what);
    kernel_check(e->vector, vector, what);
    kernel_check(e->ip, at(ip), what);
    kernel_check(e->inside & (FLAGS_IF | FLAGS_TF), 0, "IF and TF in a handler");
}

/* ---- what is tried ---- */

static void test_software(void)
{
    visit(real_software, NULL);
    is_logged(0, 0x60, real_after_int, "INT 60h");
    kernel_check(real->log[0].flags & FLAGS_IF, FLAGS_IF, "IF as it was pushed");
    is_logged(1, 3, real_after_int3, "INT3");
    is_logged(2, 4, real_after_into, "INTO");
    kernel_check(real->log[2].flags & FLAGS_IF, 0, "IF clear as it was pushed");
    is_logged(3, 0, real_at_div, "a division by 0");
    is_logged(4, 6, real_at_ud, "UD2");
    is_logged(5, 5, real_at_bound, "BOUND");
    is_logged(6, 13, real_at_gp, "INT beyond the vector table");
    kernel_check(real->logged, 7, "events");
    for (unsigned i = 0; i < 7; i++) {
        kernel_check(real->log[i].cs, SEGMENT, "CS as it was pushed");
        kernel_check(real->log[i].sp, TOP - 2, "SP before three words were pushed");
    }
}

static void test_segments(void)
{
    store(SOURCE + 0x8000, 0);
    store(TARGET + 0x8000, 0);
    store(TARGET + 0x8004, 0);
    visit(real_segments, NULL);
    kernel_check(load(SOURCE + 0x8000), 0x77778888, "a store by DS");
    kernel_check(load(TARGET + 0x8000), 0x33334444, "a store by ES");
    kernel_check(load(TARGET + 0x8004), 0x55556666, "a store by FS");
    kernel_check(real->result.wide[0], 0x55556666, "a load by ES of what FS wrote");
    kernel_check(real->result.wide[1], load(0x100000), "a load by GS from above 1 MiB");
    kernel_check(real->result.word[4], SEGMENT, "SS is read");
    kernel_check(real->result.wide[3], 0x77778888, "a load by BP from SS");
    kernel_check(real->result.word[8], SEGMENT, "CS is read");
    kernel_check(real->result.word[9], 0x2fff, "FS is read");
}

static void fill(void)
{
    for (uint32_t i = 0; i < 16; i++) {
        ((volatile uint8_t *)SOURCE)[0x100 + i] = (uint8_t)(0x40 + i);
        ((volatile uint8_t *)TARGET)[0x200 + i] = ((volatile uint8_t *)TARGET)[0x300 + i] = 0;
    }
    store(TARGET + 0x100, 0x6789);
    store(TARGET + 0xfffc, 0);
    store(TARGET, 0);
}

static void test_strings(void)
{
    fill();
    visit(real_strings, NULL);
    for (unsigned i = 0; i < 6; i++) {
        kernel_check(((volatile uint8_t *)TARGET)[0x200 + i], 0x40 + i, "MOVSB, upwards");
        kernel_check(((volatile uint8_t *)TARGET)[0x301 + i], 0x41 + i, "MOVSW, downwards");
    }
    kernel_check(real->result.wide[0], 0x02070107, "DI and SI after MOVSB");
    kernel_check(real->result.wide[1], 0x02ff00ff, "DI and SI after MOVSW");
    kernel_check(load(TARGET + 0xfffc), 0xabcd1234, "STOSD at the end of a segment");
    kernel_check(load(TARGET), 0xabcd1234, "STOSD goes on at its beginning");
    kernel_check(real->result.word[4], 4, "DI after STOSD");
    kernel_check(real->result.word[5], 0x105, "DI after SCASB");
    kernel_check(real->result.word[6], 95, "CX after SCASB");
    kernel_check(real->result.word[7], 0x108, "SI after CMPSB");
    kernel_check(real->result.word[8], 0x6789, "LODSW by ES");
}

static void test_ports(void)
{
    fill();
    visit(real_ports, NULL);
    kernel_check(real->result.byte[0], 0x5a, "a port by AL");
    kernel_check(real->result.byte[1], 0x44, "the last byte of REP OUTSB");
    kernel_check(real->result.word[1], 0x105, "SI after OUTSB");
    kernel_check(load(TARGET + 0xfffc), 0x44440000, "INSB at the end of a segment");
    kernel_check(load(TARGET), 0x44, "INSB goes on at its beginning");
    kernel_check(real->result.word[2], 1, "DI after INSB");
    kernel_check(real->result.word[3], 0x106, "SI after OUTSB, downwards");
    kernel_check(real->result.byte[8], 0x47, "OUTSB by FS");
    kernel_check(real->result.wide[3], 0xffffffff, "a port that is not there");
}

static void test_big(void)
{
    turn(NULL);
    for (uint32_t i = 0; i < 3; i++)
        store(PROBE_TARGET + 0x804 + 4 * i, 0x1234000 + i);
    visit(real_big, NULL);
    turn(NULL);
    kernel_check(real->result.wide[0], 0xcafe0012, "memory above 1 MiB");
    kernel_check(load(PROBE_TARGET + 0x900), 0xcafe0012, "MOVSD above 1 MiB");
    kernel_check(load(PROBE_TARGET + 0x908), 0x1234001, "MOVSD above 1 MiB, the last");
    kernel_check(real->result.wide[1], PROBE_TARGET + 0x80c, "ESI after MOVSD");
    kernel_check(real->result.wide[2], PROBE_TARGET + 0x90c - BASE, "EDI after MOVSD");
    kernel_check(real->result.wide[3], apic_version, "the local APIC's version");
    kernel_check(real->result.wide[4], 0x30, "its task priority after OR, by ES");
    kernel_check(real->result.wide[5], 0x30, "its task priority by LODSD");
    kernel_check(real->result.wide[6], 0x30, "its task priority by PUSH");
    kernel_check(real->result.wide[7], 0x40, "its task priority after STOSD, by XCHG");
    kernel_check(real->result.byte[32], 1, "its task priority after XCHG, by CMP");
    kernel_check(real->result.wide[9], 0x10, "its task priority after SUB");
}

static void test_timers(void)
{
    visit(real_timer, NULL);
    kernel_check(real->count[8] >= 3, true, "interrupts of the 8259");
    kernel_check(real->result.word[0], TOP - 2, "SP after them");
    kernel_check(real->result.word[2] & FLAGS_IF, 0, "IF after CLI");
    kernel_check(real->logged, 0, "nothing else came");
    if (!big)
        return;
    visit(real_apic_timer, NULL);
    kernel_check(real->count[0x70], 1, "the last of three interrupts of the local APIC");
    kernel_check(real->logged, 0, "nothing else came");
}

static void test_registers(void)
{
    bool     was_paged = from && !stepped;
    uint32_t cr0;

    visit(real_registers, NULL);
    cr0 = real->result.wide[0];
    kernel_check(cr0 & (CR0_PE | CR0_PG), 0, "PE and PG as they are read");
    kernel_check(real->result.wide[1], cpuid(0).ebx, "CPUID");
    kernel_check(real->result.wide[2], was_paged ? (uint32_t)(from->efer | EFER_NXE) : 0,
                 "EFER, where LMA has gone");
    kernel_check(real->result.wide[3], 0xabcd000, "CR3");
    kernel_check(real->result.wide[4], 0xabcd000, "CR2");
    kernel_check(real->result.wide[5], cr0 | CR0_MP | CR0_TS, "CR0 after LMSW");
    kernel_check(real->result.word[12], (uint16_t)(cr0 | CR0_MP | CR0_TS), "SMSW after LMSW");
    kernel_check(real->result.wide[7], cr0 | CR0_MP, "CR0 after CLTS");
    kernel_check(real->result.wide[8], 0x12345678, "DR1");
    kernel_check(real->result.word[18], 0x7002, "NT and IOPL");
    kernel_check(real->result.wide[10], CR4_OSFXSR | (was_paged ? from->cr4 : 0), "CR4");
}

static void test_refused(void)
{
    if (cpuid(0x40000000).ebx != 0x566e6558)
        return;
    visit(real_refused, NULL);
    kernel_check(real->logged, 1, "a reserved bit of CR4");
    kernel_check(real->log[0].vector, 13, "a reserved bit of CR4");
    kernel_check(real->log[0].sp, TOP - 2, "without an error code");
    visit(real_refused_pg, NULL);
    kernel_check(real->logged, 1, "paging without protection");
    kernel_check(real->log[0].vector, 13, "paging without protection");
    kernel_check(real->result.wide[0] & CR0_PG, 0, "which did not come");
}

static void test_steps(void)
{
    unsigned count = (unsigned)(real_steps_end - real_steps_seen) / 2;

    visit(real_steps, NULL);
    for (unsigned i = 0; i < count; i++) {
        kernel_check(i < real->logged ? real->log[i].vector : 0, real_steps_seen[2 * i],
                     "the vector of a step");
        kernel_check(real->log[i].ip, real_steps_seen[2 * i + 1], "the address of a step");
        kernel_check(real->log[i].inside & FLAGS_TF, 0, "TF in a handler");
    }
    kernel_check(real->logged, count, "steps");
}

static void test_far(void)
{
    real->result.word[3] = 0;
    visit(real_far, NULL);
    kernel_check(real->result.word[0], at(real_after_memory), "IP as a far CALL pushed it");
    kernel_check(real->result.word[1], SEGMENT, "CS as a far CALL pushed it");
    kernel_check(real->result.word[2], SEGMENT - 1, "CS after a far CALL");
    kernel_check(real->result.word[3], 2, "far calls");
    kernel_check(real->result.wide[2], at(real_after_wide), "EIP as a far CALL pushed it");
    kernel_check(real->result.word[6], SEGMENT, "CS beside it");
    kernel_check(real->result.word[7], SEGMENT - 1, "CS after it");
    kernel_check(real->result.word[11], real->result.word[10], "SP after a far RET with 4");
    kernel_check(real->result.word[12], SEGMENT - 1, "CS after IRET");
    kernel_check(real->log[0].vector, 0x62, "an interrupt after it");
    kernel_check(real->log[0].cs, SEGMENT - 1, "CS as it was pushed");
    kernel_check(real->result.word[13], SEGMENT, "CS after a far JMP");
}

/* ---- a page table ---- */

/* Where the entry of 64 bits with this index, which is two of 32 bits, maps its page. */
static uint64_t mapped_at(const struct paging_mode *mode, uint32_t index)
{
    uint64_t address = (mode->window | PROBE_TARGET) & ~((1ull << mode->shift[2]) - 1);

    return address + (uint64_t)index * (mode->entry_bytes == 4 ? 2 : 1) * PAGE + WHERE;
}

static void maps(const struct paging_mode *mode, uint32_t index, uint32_t value, const char *what)
{
    probe.access = PROBE_READ;
    probe.address = mapped_at(mode, index);
    probe_go();
    kernel_check(probe.vector, VECTOR_NONE, what);
    kernel_check(probe.value, value, what);
}

static void test_table(void)
{
    volatile uint64_t *table = (volatile uint64_t *)TABLE;

    for (uint32_t i = 0; i < 3; i++) {
        uint32_t index = 17 + i;

        table[index] = OTHER | PTE_P | PTE_W;
        turn(from);
        if (from)
            maps(from, index, OTHERS, "a page by the table, before real mode");
        real->result.wide[0] = PROBE_TARGET | (uint32_t)(PTE_P | PTE_W);
        real->result.wide[1] = 0;
        real->result.word[4] = (uint16_t)(8 * index);
        real->result.word[5] = 4; /* from the lower half of the entry to the upper */
        visit(real_table, NULL);
        if (to)
            maps(to, index, MAGIC, "a page by the table, as real mode wrote it");
        turn(from);
        if (from)
            maps(from, index, MAGIC, "the same in the mode that was left");
        kernel_check((uint32_t)table[index] & ~(uint32_t)PTE_A,
                     PROBE_TARGET | (uint32_t)(PTE_P | PTE_W), "the entry");
        kernel_check((uint32_t)(table[index] >> 32), 0, "and its upper half");
        kernel_check(load(TABLE + 0xffc), 0x5a5a5a5a, "what PUSH wrote into the table");
        is_logged(0, 0x63, (void *)((uint32_t)real_first + load(TABLE + 0xff4) / 0x10000),
                  "an interrupt that pushes into the table");
        kernel_check(real->log[0].sp, 0xffc, "SP before it");
    }
}

/* ---- 16-bit protected mode ---- */

static void test_protected16(void)
{
    bool paged = from && !stepped;
    bool gates = !(paged && from->efer); /* long mode has gates of 64 bits only */

    visit(real_nothing, gates ? real_protected16_int : real_protected16);
    kernel_check(real->result.wide[16], 0x13572468, "a store by a segment");
    kernel_check(real->result.wide[17] & (CR0_PE | CR0_PG), CR0_PE | (paged ? CR0_PG : 0), "CR0");
    kernel_check(real->result.wide[18], cpuid(0).ebx, "CPUID");
    kernel_check(real->result.byte[76], real_protected16[0], "OUTSB");
    kernel_check(real->result.word[39], at(real_protected16) + 1u, "SI after OUTSB");
    if (!gates)
        return;
    is_logged(0, 0x64, real_after_int16, "an interrupt through a gate of 16 bits");
    kernel_check(real->log[0].cs, CODE16, "CS as it was pushed");
    kernel_check(real->log[0].sp, TOP - 2, "SP before three words were pushed");
}

/* ---- all of it ---- */

static void test_all(void)
{
    prepare();
    test_protected16();
    test_software();
    test_segments();
    test_strings();
    test_ports();
    if (big)
        test_big();
    test_timers();
    test_registers();
    test_refused();
    test_steps();
    test_far();
    test_table();
    turn(NULL);
}

void kernel_main(const struct multiboot_info *info)
{
    unsigned count = probe_has_five() ? VISITS : VISITS - 1;

    (void)info;
    probe_init();
    probe.keep = 1;
    outb(PIC1_MASK, 0xff); /* nothing comes that was not asked for */
    outb(PIC2_MASK, 0xff);
    apic_version = load(APIC + 0x30);
    store(PROBE_TARGET + WHERE, MAGIC);
    store(OTHER + WHERE, OTHERS);
    for (unsigned i = 1; i < count; i++) {
        probe_build(modes[i]);
        probe_set_entry(2, TABLE | PTE_ALL);
    }
    for (unsigned i = 0; i < count * count * 2; i++) {
        from = modes[i / 2 / count];
        to = modes[i / 2 % count];
        stepped = i & 1;
        big = (i ^ i >> 1) & 1; /* one of the two, by turns */
        test_all();
    }
}
