/*
 * The machine that a multiboot kernel finds: what its loader tells it, the serial port, timer
 * and interrupt controllers of a PC, the local APIC by memory and by MSRs, with paging off and
 * with tables of two and of three levels. It runs on QEMU without a hypervisor, too, where it
 * leaves out what that machine does not have.
 */
#include "test/guests/multiboot/kernel.h"

const char kernel_name[] = "board";

#define PIC1         0x20
#define PIC2         0xa0
#define PIT          0x40
#define SPEAKER      0x61
#define SERIAL       0x3f8
#define APIC         0xfee00000u
#define APIC_ID      0x020u
#define APIC_VERSION 0x030u
#define APIC_EOI     0x0b0u
#define APIC_SVR     0x0f0u
#define APIC_ISR     0x100u
#define APIC_IRR     0x200u
#define APIC_ICR     0x300u
#define APIC_ICR2    0x310u
#define APIC_TIMER   0x320u
#define APIC_LINT0   0x350u
#define APIC_INITIAL 0x380u
#define APIC_CURRENT 0x390u
#define APIC_DIVIDE  0x3e0u
#define IOAPIC       0xfec00000u
#define MASKED       0x10000u
#define PERIODIC     0x20000u
#define MSR_BASE     0x1bu
#define BASE_X2APIC  (1ull << 10)
#define MSR_X2APIC   0x800u

#define VECTOR_PIC    0x20u /* line 0 */
#define VECTOR_TIMER  0x30u
#define VECTOR_SELF   0x31u
#define VECTOR_PIN    0x32u
#define VECTOR_SERIAL 0x33u

static bool x2apic;

static void enable(void)
{
    __asm__ volatile("sti" ::: "memory");
}

static void disable(void)
{
    __asm__ volatile("cli" ::: "memory");
}

/* Halts until so many interrupts of this vector have come since `before`. */
static void wait_for(uint32_t vector, uint32_t before, uint32_t count)
{
    while (kernel_count[vector] - before < count) {
        __asm__ volatile("sti; hlt" ::: "memory");
        disable();
    }
}

static uint32_t apic_read(uint32_t reg)
{
    return x2apic ? (uint32_t)rdmsr(MSR_X2APIC + (reg >> 4)) : load(APIC + reg);
}

static void apic_write(uint32_t reg, uint32_t value)
{
    if (x2apic)
        wrmsr(MSR_X2APIC + (reg >> 4), value);
    else
        store(APIC + reg, value);
}

static void eoi_pic(uint32_t vector)
{
    if (vector >= VECTOR_PIC + 8)
        outb(PIC2, 0x20);
    outb(PIC1, 0x20);
}

static void eoi_apic(uint32_t vector)
{
    (void)vector;
    apic_write(APIC_EOI, 0);
}

/* ---- what the loader says ---- */

static bool contains(const char *text, const char *word)
{
    for (; *text; text++) {
        size_t i = 0;

        while (word[i] && text[i] == word[i])
            i++;
        if (!word[i])
            return true;
    }
    return false;
}

static void check_place(uint32_t first, uint32_t size, const char *what)
{
    if (first < 0x1000 || (first < (uint32_t)kernel_end && (uint32_t)kernel_first < first + size))
        kernel_fail(what, first, size);
}

static void check_map(const struct multiboot_info *info)
{
    uint64_t ram = 0;

    for (uint32_t at = 0; at < info->map_length;) {
        const struct multiboot_region *r = (const void *)(info->map_at + at);

        if (r->type == 1) {
            ram += r->length;
            if (r->address < 0x100000 && r->address + r->length > 0xa0000)
                kernel_fail("the screen is no memory", (uint32_t)r->address, (uint32_t)r->length);
        }
        at += r->size + 4;
    }
    if (ram < 31ull << 20)
        kernel_fail("the memory map has the memory", (uint32_t)ram, 31u << 20);
}

static void test_information(const struct multiboot_info *info)
{
    const struct multiboot_module *module = (const void *)info->modules_at;

    kernel_check(info->flags & 0x4d, 0x4d, "memory, command line, modules and map are there");
    check_place((uint32_t)info, sizeof(*info), "the information is in nobody's way");
    check_place(info->command_line, 1, "so is the command line");
    check_place(info->map_at, info->map_length, "so is the memory map");
    if (info->mem_lower < 600 || info->mem_lower > 640 || info->mem_upper < 31 * 1024)
        kernel_fail("memory below and above", info->mem_lower, info->mem_upper);
    check_map(info);
    if (!contains((const char *)info->command_line, "colour=green"))
        kernel_fail("the command line has what was asked for", 0, 0);
    kernel_check(info->modules_count, 1, "there is one module");
    check_place(module->start, module->end - module->start, "it is in nobody's way");
    kernel_check(module->start & 0xfff, 0, "it begins on a page");
    kernel_check(module->end - module->start, 12, "its size");
    kernel_check(load(module->start), 0x68207349, "it is the module"); /* "Is h" */
}

/* ---- ports ---- */

static void test_serial(void)
{
    kernel_check(inb(SERIAL + 5) & 0x60, 0x60, "the transmitter is empty");
    outb(SERIAL + 7, 0x5a);
    kernel_check(inb(SERIAL + 7), 0x5a, "the scratch register keeps what it is given");
    outb(SERIAL + 4, 0x1e);
    outb(SERIAL, 0xae);
    kernel_check(inb(SERIAL + 5) & 1, 1, "a character comes back in loopback");
    kernel_check(inb(SERIAL), 0xae, "and it is the one that was sent");
    outb(SERIAL + 4, 0x0b);
    kernel_check(inl(0x5550), 0xffffffff, "where nothing is all ones are read");
}

static void pic_setup(void)
{
    static const uint8_t words[][3] = { { VECTOR_PIC, 4, 1 }, { VECTOR_PIC + 8, 2, 1 } };

    for (unsigned i = 0; i < 2; i++) {
        uint16_t port = i ? PIC2 : PIC1;

        outb(port, 0x11);
        for (unsigned w = 0; w < 3; w++)
            outb(port + 1, words[i][w]);
        outb(port + 1, 0xff);
        kernel_check(inb(port + 1), 0xff, "the mask is read back");
    }
}

static void pit_start(uint8_t mode, uint16_t count)
{
    outb(PIT + 3, (uint8_t)(0x30 | mode << 1));
    outb(PIT, (uint8_t)count);
    outb(PIT, (uint8_t)(count >> 8));
}

static void test_timer(void)
{
    uint32_t before = kernel_count[VECTOR_PIC];

    kernel_eoi = eoi_pic;
    pit_start(2, 1193); /* a thousand times a second */
    outb(PIC1 + 1, 0xfe);
    wait_for(VECTOR_PIC, before, 5);
    outb(PIC1 + 1, 0xff);
    before = kernel_count[VECTOR_PIC];
    pit_start(0, 1193); /* once */
    outb(PIC1 + 1, 0xfe);
    wait_for(VECTOR_PIC, before, 1);
    outb(PIC1 + 1, 0xff);

    outb(SPEAKER, inb(SPEAKER) & 0xfc);
    outb(PIT + 3, 0xb0); /* counter 2, once, waiting for its gate */
    outb(PIT + 2, 0x00);
    outb(PIT + 2, 0x40);
    kernel_check(inb(SPEAKER) & 0x20, 0, "counter 2 has not ended");
    outb(SPEAKER, (inb(SPEAKER) & 0xfc) | 1);
    while (!(inb(SPEAKER) & 0x20))
        ;
}

/* ---- the APICs ---- */

static void test_apic(void)
{
    uint32_t before, value;

    kernel_eoi = eoi_apic;
    kernel_check(apic_read(APIC_VERSION) & 0xf0, 0x10, "it is a local APIC");
    apic_write(APIC_SVR, 0x13f);
    kernel_check(apic_read(APIC_SVR) & 0x1ff, 0x13f, "it is on");
    before = kernel_count[VECTOR_SELF];
    apic_write(APIC_ICR, 0x40000 | VECTOR_SELF); /* to self */
    kernel_check(apic_read(APIC_IRR + 0x10), 1u << (VECTOR_SELF - 32), "it requests");
    enable();
    __asm__ volatile("nop");
    disable();
    kernel_check(kernel_count[VECTOR_SELF] - before, 1, "an interrupt to self comes at once");
    kernel_check(apic_read(APIC_ISR + 0x10), 0, "and has ended");
    apic_write(APIC_ICR, 0xc0000 | VECTOR_SELF); /* to all others: nobody */
    apic_write(APIC_ICR, 0xc4500);               /* INIT to all others, then where to start */
    apic_write(APIC_ICR, 0xc4608);
    enable();
    __asm__ volatile("nop");
    disable();
    kernel_check(kernel_count[VECTOR_SELF] - before, 1, "others' interrupts do not come here");

    before = kernel_count[VECTOR_TIMER];
    apic_write(APIC_DIVIDE, 0xb);
    apic_write(APIC_TIMER, VECTOR_TIMER);
    apic_write(APIC_INITIAL, 0xffffffff);
    value = apic_read(APIC_CURRENT);
    if (apic_read(APIC_CURRENT) >= value)
        kernel_fail("the timer counts down", apic_read(APIC_CURRENT), value);
    apic_write(APIC_INITIAL, 1000000);
    wait_for(VECTOR_TIMER, before, 1);
    kernel_check(apic_read(APIC_CURRENT), 0, "it has counted once");
    apic_write(APIC_TIMER, PERIODIC | VECTOR_TIMER);
    apic_write(APIC_INITIAL, 1000000);
    wait_for(VECTOR_TIMER, before, 4);
    apic_write(APIC_TIMER, MASKED | VECTOR_TIMER);
    apic_write(APIC_INITIAL, 0);
}

/* Other instructions than MOV reach the registers, too. */
static void test_instructions(void)
{
    uint32_t value = 0x40000 | VECTOR_SELF, before = kernel_count[VECTOR_SELF], version;

    __asm__ volatile("andl $~0x10000, %0" : "+m"(*(volatile uint32_t *)(APIC + APIC_TIMER)));
    kernel_check(load(APIC + APIC_TIMER) & MASKED, 0, "AND clears a bit of a register");
    __asm__ volatile("orl $0x10000, %0" : "+m"(*(volatile uint32_t *)(APIC + APIC_TIMER)));
    kernel_check(load(APIC + APIC_TIMER) & MASKED, MASKED, "OR sets it");
    __asm__ volatile("pushl %1; popl %0" : "=r"(version) : "m"(*(uint32_t *)(APIC + APIC_VERSION)));
    kernel_check(version, load(APIC + APIC_VERSION), "PUSH reads a register");
    __asm__ volatile("xchgl %0, %1" : "+r"(value), "+m"(*(uint32_t *)(APIC + APIC_ICR)));
    enable();
    __asm__ volatile("nop");
    disable();
    kernel_check(kernel_count[VECTOR_SELF] - before, 1, "XCHG sends an interrupt");
}

static void ioapic_write(uint32_t index, uint32_t value)
{
    store(IOAPIC, index);
    store(IOAPIC + 0x10, value);
}

static void test_ioapic(void)
{
    uint32_t before = kernel_count[VECTOR_PIN];

    store(IOAPIC, 1);
    kernel_check(load(IOAPIC + 0x10) >> 16, 23, "the IOAPIC has 24 pins");
    ioapic_write(0x10 + 2 * 2 + 1, apic_read(APIC_ID) & (x2apic ? 0xffu : 0xff000000u));
    pit_start(2, 1193);
    ioapic_write(0x10 + 2 * 2, VECTOR_PIN); /* line 0 is pin 2 */
    wait_for(VECTOR_PIN, before, 3);
    ioapic_write(0x10 + 2 * 2, MASKED);
    before = kernel_count[VECTOR_SERIAL];
    ioapic_write(0x10 + 2 * 4 + 1, apic_read(APIC_ID) & 0xff000000u);
    ioapic_write(0x10 + 2 * 4, VECTOR_SERIAL);
    outb(SERIAL + 4, 0x0b);
    outb(SERIAL + 1, 2); /* the transmitter is empty */
    wait_for(VECTOR_SERIAL, before, 1);
    kernel_check(inb(SERIAL + 2) & 0x0f, 2, "the serial port says why");
    outb(SERIAL + 1, 0);
    ioapic_write(0x10 + 2 * 4, MASKED);
}

static void test_x2apic(void)
{
    if (!(cpuid(1).ecx & 1u << 21)) {
        kernel_print("board: no x2APIC here\n");
        return;
    }
    wrmsr(MSR_BASE, rdmsr(MSR_BASE) | BASE_X2APIC);
    x2apic = true;
    test_apic();
    kernel_check(load(APIC + APIC_VERSION), 0xffffffff, "nothing is in memory any more");
    wrmsr(MSR_BASE, rdmsr(MSR_BASE) & ~(BASE_X2APIC | 1ull << 11));
    wrmsr(MSR_BASE, rdmsr(MSR_BASE) | 1ull << 11);
    x2apic = false;
    kernel_check(load(APIC + APIC_SVR), 0xff, "it begins anew");
}

/* ---- paging ---- */

#define P  1u
#define W  2u
#define A  0x20u
#define D  0x40u
#define PS 0x80u

#define WINDOW 0x40000000u /* where the page is that the tests map */

static uint32_t          directory[1024] __attribute__((aligned(4096)));
static uint32_t          table[1024] __attribute__((aligned(4096)));
static uint64_t          pdpt[4] __attribute__((aligned(32)));
static uint64_t          pae_directory[4][512] __attribute__((aligned(4096)));
static uint64_t          pae_table[512] __attribute__((aligned(4096)));
static volatile uint32_t page[1024] __attribute__((aligned(4096)));

static void paging_on(uint32_t cr3, uint32_t cr4)
{
    uint32_t cr0;

    __asm__ volatile("mov %0, %%cr4; mov %1, %%cr3" ::"r"(cr4), "r"(cr3) : "memory");
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("mov %0, %%cr0" ::"r"(cr0 | 0x80010000u) : "memory");
}

static void paging_off(void)
{
    uint32_t cr0;

    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("mov %0, %%cr0" ::"r"(cr0 & 0x7fffffffu) : "memory");
    __asm__ volatile("mov %0, %%cr4" ::"r"(0) : "memory");
}

/* False if the store faults. */
static bool try_store(uint32_t address, uint32_t value)
{
    kernel_vector = ~0u;
    __asm__ volatile(
        "movl $1f, kernel_resume\n\tmovl %0, (%1)\n1: movl $0, kernel_resume" ::"r"(value),
        "r"(address)
        : "memory");
    return kernel_vector == ~0u;
}

static void use_window(const volatile void *entry)
{
    const volatile uint32_t *e = entry;

    store(WINDOW + 8, 0x1234);
    kernel_check(page[2], 0x1234, "a write goes where the tables say");
    kernel_check(*e & (A | D), A | D, "A and D are set");
    kernel_check(load(APIC + APIC_VERSION) & 0xf0, 0x10, "the local APIC is where it was");
    test_apic();
}

static void test_two_levels(void)
{
    for (uint32_t i = 0; i < 1024; i++)
        directory[i] = i << 22 | PS | W | P;
    directory[WINDOW >> 22] = (uint32_t)table | W | P;
    table[0] = (uint32_t)page | W | P;
    paging_on((uint32_t)directory, 1u << 4);
    use_window(&table[0]);
    table[0] = (uint32_t)page | P;
    __asm__ volatile("invlpg (%0)" ::"r"(WINDOW) : "memory");
    kernel_check(try_store(WINDOW, 1), false, "a write to a page without W faults");
    kernel_check(kernel_vector, 14, "by a page fault");
    kernel_check(kernel_error, 3, "of a write to what is present");
    paging_off();
}

static void test_three_levels(void)
{
    for (uint32_t i = 0; i < 4; i++) {
        pdpt[i] = (uint32_t)pae_directory[i] | P;
        for (uint32_t k = 0; k < 512; k++)
            pae_directory[i][k] = (uint64_t)(i << 30 | k << 21) | PS | W | P;
    }
    pae_directory[WINDOW >> 30][0] = (uint32_t)pae_table | W | P;
    pae_table[0] = (uint32_t)page | W | P;
    page[2] = 0;
    paging_on((uint32_t)pdpt, 1u << 5);
    use_window(&pae_table[0]);
    pae_table[0] = 0;
    __asm__ volatile("invlpg (%0)" ::"r"(WINDOW) : "memory");
    kernel_check(try_store(WINDOW, 1), false, "a write to a page without P faults");
    kernel_check(kernel_error, 2, "as a write to what is not present");
    paging_off();
}

/* ---- MSRs ---- */

static void test_msrs(void)
{
    for (uint32_t msr = 0xc0010000; msr <= 0xc0010007; msr++)
        wrmsr(msr, 0);
    if (cpuid(0x40000000).ebx != 0x566e6558)
        return; /* what follows is a promise of the hypervisor's */
    kernel_vector = ~0u;
    __asm__ volatile("movl $1f, kernel_resume\n\trdmsr\n1: movl $0, kernel_resume" ::"c"(0x4d5)
                     : "eax", "edx", "memory");
    kernel_check(kernel_vector, 13, "an MSR that is not offered is not there");
    kernel_check(inb(0x511), 0xff, "there is no fw_cfg");
}

void kernel_main(const struct multiboot_info *info)
{
    test_information(info);
    test_serial();
    pic_setup();
    test_timer();
    test_apic();
    test_instructions();
    test_ioapic();
    test_two_levels();
    test_three_levels();
    test_msrs();
    test_x2apic();
    apic_write(APIC_SVR, 0x13f);
    apic_write(APIC_LINT0, 0x700); /* the way of the 8259s, once more, by hand */
    test_timer();
}
