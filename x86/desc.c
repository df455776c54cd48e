#include "x86/desc.h"

#include <stddef.h>
#include <string.h>

#include "hv/machine.h"
#include "x86/cpu.h"
#include "x86/mm.h"

#define VECTORS   256
#define STUB_SIZE 16 /* entry.S */

#define GATE_INTERRUPT      0x8e /* present, DPL 0, 64-bit interrupt gate: APM vol. 2, 4.8.3 */
#define GATE_DPL3           0x60 /* INT3 and INTO of ring 3 may use it */
#define TSS_AVAILABLE       0x89 /* present, DPL 0, available 64-bit TSS: 4.8.3 */
#define LDT_PRESENT         0x82 /* present, DPL 0, 64-bit LDT: 4.8.3 */
#define GDT_INDEX(selector) (((selector)-SELECTOR_FIRST) / 8)

/* APM vol. 2, figure 4-24 */
struct gate {
    uint16_t offset_low, selector;
    uint8_t  ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};
_Static_assert(sizeof(struct gate) == 16, "APM vol. 2, 4.8.3");

/* APM vol. 2, 12.2.5 */
struct tss {
    uint32_t reserved0;
    uint64_t rsp[3], reserved1, ist[7], reserved2;
    uint16_t reserved3, io_map;
} __attribute__((packed));
_Static_assert(sizeof(struct tss) == 104, "APM vol. 2, 12.2.5");

struct table_pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

/* What a CPU has of its own; stands at the top of its main stack. */
struct descriptors {
    uint64_t  *gdt; /* our page of it, from SELECTOR_FIRST on */
    struct tss tss;
};

/* What stands at the top of every stack; entry.S and start.S start below it. */
struct stack_top {
    uint64_t    reserved;
    struct cpu *cpu;
};
_Static_assert(sizeof(struct stack_top) == 16, "keeps stacks aligned; start.S knows");

extern char trap_stubs[];
extern char boot_stack[];

static struct gate idt_plain[VECTORS], idt_with_ists[VECTORS];
static struct cpu  boot_cpu; /* until the main stack is there */
static uint32_t    cpus;

static struct stack_top *stack_top(uint64_t base)
{
    return (struct stack_top *)(base + STACK_SIZE) - 1; /* NOLINT: stacks have fixed places */
}

struct cpu *this_cpu(void)
{
    uint64_t rsp;

    __asm__ volatile("mov %%rsp, %0" : "=r"(rsp));
    return stack_top(rsp & ~(uint64_t)(STACK_SIZE - 1))->cpu;
}

static struct gate gate_for(unsigned vector, uint8_t ist)
{
    uint64_t stub = (uint64_t)trap_stubs + vector * STUB_SIZE;

    return (struct gate){
        .offset_low = (uint16_t)stub,
        .selector = SELECTOR_CODE,
        .ist = ist,
        .type = GATE_INTERRUPT,
        .offset_middle = (uint16_t)(stub >> 16),
        .offset_high = (uint32_t)(stub >> 32),
    };
}

static void load_idt(const struct gate *idt)
{
    struct table_pointer p = { .limit = sizeof(idt_plain) - 1, .base = (uint64_t)idt };

    __asm__ volatile("lidt %0" ::"m"(p));
}

void desc_load_idt_with_ists(void)
{
    load_idt(idt_with_ists);
}

void desc_load_idt_plain(void)
{
    load_idt(idt_plain);
}

void desc_init(void)
{
    for (unsigned vector = 0; vector < VECTORS; vector++)
        idt_plain[vector] = idt_with_ists[vector] = gate_for(vector, 0);
    /* The IST with number n is that of stack kind n. */
    idt_with_ists[VECTOR_NMI] = gate_for(VECTOR_NMI, STACK_NMI);
    idt_with_ists[VECTOR_DF] = gate_for(VECTOR_DF, STACK_DF);
    idt_with_ists[VECTOR_MC] = gate_for(VECTOR_MC, STACK_MC);
    idt_with_ists[VECTOR_DB] = gate_for(VECTOR_DB, STACK_DB);
    idt_with_ists[VECTOR_BP].type |= GATE_DPL3;
    idt_with_ists[VECTOR_OF].type |= GATE_DPL3;
    load_idt(idt_plain);
}

void desc_init_boot_stack(void)
{
    stack_top((uint64_t)boot_stack)->cpu = &boot_cpu;
}

/* The record of this CPU's descriptors. */
static struct descriptors *descriptors_of(uint32_t id)
{
    uint64_t stacks = LAYOUT_STACKS + (uint64_t)id * STACKS_PER_CPU * STACK_SIZE;

    return (struct descriptors *)((struct cpu *)stack_top(stacks) - 1) - 1;
}

/* A descriptor of two words, of an object in our address space: APM vol. 2, 4.8.3. */
static void set_system(struct descriptors *d, unsigned selector, uint64_t base, uint64_t limit,
                       uint64_t type)
{
    uint64_t *entry = &d->gdt[GDT_INDEX(selector)];

    entry[0] = limit | (base & 0xffffff) << 16 | type << 40 | (base >> 24 & 0xff) << 56;
    entry[1] = base >> 32;
}

/* LTR wants a TSS that is not busy, as it is if TR was ours before. */
static void load_tr(struct descriptors *d)
{
    set_system(d, SELECTOR_TSS, (uint64_t)&d->tss, sizeof(d->tss) - 1, TSS_AVAILABLE);
    __asm__ volatile("ltr %w0" ::"r"(SELECTOR_TSS) : "memory");
}

/* Loads GDT, TR and the data segments; CS stays, as the code segment is where it was. */
static void load_descriptors(struct descriptors *d, uint64_t window)
{
    struct table_pointer p = { .limit = WINDOW_GDT_PAGES * PAGE_SIZE - 1, .base = window };

    __asm__ volatile("lgdt %0\n\t"
                     "mov %w1, %%ds\n\t"
                     "mov %w1, %%es\n\t"
                     "mov %w1, %%ss\n\t"
                     "mov %w2, %%fs\n\t"
                     "mov %w2, %%gs\n\t"
                     "lldt %w2"
                     :
                     : "m"(p), "r"(SELECTOR_DATA), "r"(0)
                     : "memory");
    load_tr(d);
}

static void fill_descriptors(struct descriptors *d, uint64_t *gdt, uint64_t stacks)
{
    memset(d, 0, sizeof(*d));
    d->gdt = gdt;
    gdt[GDT_INDEX(SELECTOR_CODE)] = 0x00af9b000000ffff;      /* 64-bit code, DPL 0 */
    gdt[GDT_INDEX(SELECTOR_DATA)] = 0x00cf93000000ffff;      /* writable data, DPL 0 */
    gdt[GDT_INDEX(SELECTOR_USER_CS32)] = 0x00cffb000000ffff; /* 32-bit code, DPL 3 */
    gdt[GDT_INDEX(SELECTOR_USER_SS)] = 0x00cff3000000ffff;   /* writable data, DPL 3 */
    gdt[GDT_INDEX(SELECTOR_USER_CS64)] = 0x00affb000000ffff; /* 64-bit code, DPL 3 */
    d->tss.io_map = sizeof(d->tss);
    d->tss.rsp[0] = (uint64_t)stack_top(stacks + STACK_MAIN * STACK_SIZE);
    for (unsigned kind = STACK_NMI; kind < STACK_KINDS; kind++)
        d->tss.ist[kind - 1] = (uint64_t)stack_top(stacks + kind * STACK_SIZE);
}

void desc_load_ring0(uint64_t rsp0)
{
    struct descriptors *d = descriptors_of(this_cpu()->id);

    d->tss.rsp[0] = rsp0;
    load_tr(d);
    desc_load_ldt(0);
    load_idt(idt_with_ists);
}

void desc_load_ldt(unsigned entries)
{
    uint32_t            id = this_cpu()->id;
    struct descriptors *d = descriptors_of(id);
    uint64_t            window = LAYOUT_WINDOW + (uint64_t)id * WINDOW_PAGES * PAGE_SIZE;

    if (entries == 0) {
        __asm__ volatile("lldt %w0" ::"r"(0) : "memory");
        return;
    }
    set_system(d, SELECTOR_LDT, window + WINDOW_LDT_PAGE * PAGE_SIZE, entries * 8u - 1,
               LDT_PRESENT);
    __asm__ volatile("lldt %w0" ::"r"(SELECTOR_LDT) : "memory");
}

uint64_t desc_init_cpu(uint32_t id)
{
    uint64_t            stacks = LAYOUT_STACKS + (uint64_t)id * STACKS_PER_CPU * STACK_SIZE;
    struct cpu         *cpu = (struct cpu *)stack_top(stacks) - 1;
    struct descriptors *descriptors = descriptors_of(id);

    for (unsigned kind = STACK_MAIN; kind < STACK_KINDS; kind++) {
        mm_map_stack(stacks + kind * STACK_SIZE);
        stack_top(stacks + kind * STACK_SIZE)->cpu = cpu;
    }
    cpu->id = id;
    cpus = id + 1;
    fill_descriptors(descriptors, mm_make_window(id), stacks);
    load_descriptors(descriptors, LAYOUT_WINDOW + (uint64_t)id * WINDOW_PAGES * PAGE_SIZE);
    return (uint64_t)descriptors & ~UINT64_C(15);
}

bool desc_is_guard(uint64_t address)
{
    uint64_t at = address - LAYOUT_STACKS;

    return at < (uint64_t)cpus * STACKS_PER_CPU * STACK_SIZE &&
           at / STACK_SIZE % STACKS_PER_CPU < STACK_KINDS && at % STACK_SIZE < PAGE_SIZE;
}

bool desc_is_stack(uint64_t address)
{
    uint64_t at = address - LAYOUT_STACKS;

    if (address - (uint64_t)boot_stack < STACK_SIZE)
        return true;
    return at < (uint64_t)cpus * STACKS_PER_CPU * STACK_SIZE &&
           at / STACK_SIZE % STACKS_PER_CPU < STACK_KINDS && at % STACK_SIZE >= PAGE_SIZE;
}
