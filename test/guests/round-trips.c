/*
 * What a round trip to the hypervisor costs, in ticks of the TSC from the guest's instruction to
 * its next one. Under QEMU's -icount a tick is an instruction, and the figures are exact and the
 * same at every run; elsewhere they are times. Each is the least of several, less what measuring
 * itself costs; the first round fills the caches.
 */
#include "test/guests/guest.h"

const char guest_name[] = "round-trips";

#define ROUNDS      64
#define WARM        8
#define PORT        0x80 /* nothing is there */
#define VECTOR_SELF 0x20 /* the first after the exceptions' */

#define X2APIC_EOI  0x80b
#define X2APIC_SVR  0x80f
#define X2APIC_SELF 0x83f
#define BASE_X2APIC (1ul << 10)
#define SVR_ENABLE  (1ul << 8)

static volatile uint64_t interrupts;

static void wrmsr_quick(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory");
}

static void nothing(void)
{
}

static void do_cpuid(void)
{
    (void)cpuid(0, 0);
}

/* No such hypercall: what it costs to ask. */
static void do_vmmcall(void)
{
    uint64_t nr = 63;

    __asm__ volatile("vmmcall" : "+a"(nr)::"memory");
}

static void do_port(void)
{
    (void)inb(PORT);
}

static void do_msr(void)
{
    uint64_t value;

    __asm__ volatile("rdmsr" : "=A"(value) : "c"(MSR_EFER));
}

static void do_self_ipi(void)
{
    uint64_t before = interrupts;

    wrmsr_quick(X2APIC_SELF, VECTOR_SELF);
    while (interrupts == before)
        ;
}

static void do_cr0(void)
{
    uint64_t cr0 = CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_PE;

    write_cr0(cr0 & ~CR0_WP);
    write_cr0(cr0);
}

static void do_cr3(void)
{
    write_cr3((uint64_t)guest_pml4);
}

static void do_cr4(void)
{
    write_cr4(CR4_PAE | CR4_PGE);
    write_cr4(CR4_PAE);
}

static const struct trip {
    const char *name;
    void (*run)(void);
} trips[] = {
    { "CPUID", do_cpuid },      { "VMMCALL", do_vmmcall },           { "port", do_port },
    { "RDMSR EFER", do_msr },   { "self-IPI and EOI", do_self_ipi }, { "MOV to CR3", do_cr3 },
    { "CR0.WP twice", do_cr0 }, { "CR4.PGE twice", do_cr4 },
};

static uint64_t least(void (*run)(void))
{
    uint64_t best = ~0ul;

    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t start = rdtsc(), ticks;

        run();
        ticks = rdtsc() - start;
        if (i >= WARM && ticks < best)
            best = ticks;
    }
    return best;
}

static void print_number(uint64_t value)
{
    char     text[21];
    unsigned at = sizeof(text) - 1;

    text[at] = '\0';
    do {
        text[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    guest_print(text + at);
}

/* The vector's handler: counts, ends the interrupt, goes back. */
void interrupt_handler(void);
__asm__(".text\n"
        ".globl interrupt_handler\n"
        "interrupt_handler:\n\t"
        "push %rax\n\t"
        "push %rcx\n\t"
        "push %rdx\n\t"
        "incq interrupts\n\t"
        "mov $0x80b, %ecx\n\t"
        "xor %eax, %eax\n\t"
        "xor %edx, %edx\n\t"
        "wrmsr\n\t"
        "pop %rdx\n\t"
        "pop %rcx\n\t"
        "pop %rax\n\t"
        "iretq\n");

/* A table of our own: that of the other tests has the exceptions only. */
static void take_interrupts(void)
{
    static uint64_t idt[2 * (VECTOR_SELF + 1)] __attribute__((aligned(16)));
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer;
    uint64_t handler = (uint64_t)interrupt_handler, base = 0;

    __asm__ volatile("sidt %0" : "=m"(pointer));
    for (unsigned i = 0; i < 2 * VECTOR_SELF; i++)
        idt[i] = ((uint64_t *)pointer.base)[i];
    idt[2 * VECTOR_SELF] =
        (handler & 0xffff) | 0x08ul << 16 | 0x8e00ul << 32 | (handler >> 16 & 0xffff) << 48;
    idt[2 * VECTOR_SELF + 1] = handler >> 32;
    pointer.limit = sizeof(idt) - 1;
    pointer.base = (uint64_t)idt;
    __asm__ volatile("lidt %0" ::"m"(pointer));
    guest_check(guest_rdmsr(MSR_APIC_BASE, &base), true, "reading the APIC's base");
    guest_check(guest_wrmsr(MSR_APIC_BASE, base | BASE_X2APIC), true, "turning x2APIC mode on");
    guest_check(guest_wrmsr(X2APIC_SVR, SVR_ENABLE | 0xff), true, "turning the APIC on");
    __asm__ volatile("sti");
}

void guest_main(const struct hvm_start_info *info)
{
    uint64_t empty;

    (void)info;
    take_interrupts();
    empty = least(nothing);
    for (unsigned i = 0; i < sizeof(trips) / sizeof(trips[0]); i++) {
        uint64_t ticks = least(trips[i].run);

        guest_print("round-trips: ");
        guest_print(trips[i].name);
        guest_print(": ");
        print_number(ticks > empty ? ticks - empty : 0);
        guest_print("\n");
    }
    guest_check(interrupts, ROUNDS, "interrupts that came");
    __asm__ volatile("cli");
}
