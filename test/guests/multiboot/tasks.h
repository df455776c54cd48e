/*
 * The tables of the kernel that switches tasks, by which its processor finds tasks and memory. All
 * that the processor touches behind the scenes is in one page, with a stack. Included once.
 */
#ifndef TEST_GUESTS_MULTIBOOT_TASKS_H
#define TEST_GUESTS_MULTIBOOT_TASKS_H

#include "test/guests/multiboot/kernel.h"

#define CODE      0x08
#define DATA      0x10
#define MAIN      0x18
#define OTHER     0x20
#define GATE      0x28
#define SMALL     0x30 /* a TSS of 16 bits */
#define FRESH     0x38 /* data that nobody has accessed */
#define MOVED     0x40 /* a TSS that is now here, now there */
#define USER_CODE 0x4b
#define USER_DATA 0x53
#define BAD       0xfff8

#define VECTOR_TASK  0x30
#define VECTOR_PLAIN 0x31
#define VECTOR_DB    1
#define VECTOR_UD    6
#define VECTOR_TS    10
#define VECTOR_NP    11
#define VECTOR_GP    13
#define VECTOR_PF    14

#define EFLAGS_TF (1u << 8)
#define EFLAGS_NT (1u << 14)
#define CR0_TS    (1u << 3)
#define CR0_PG    (1u << 31)
#define CR4_PSE   (1u << 4)
#define CR4_PAE   (1u << 5)
#define DR6_BT    (1u << 15)

#define P         1u
#define W         2u
#define PS        0x80u
#define WINDOW    0x40000000u                  /* other tables, other memory */
#define MEMORY(k) (0x1000000u + (k)*0x400000u) /* what is seen there */
#define PLACE     0x48000000u                  /* a table of small pages, and 4 MiB on once more */
#define ABSENT    0x50000000u                  /* in no table */
#define NO_CR3    0xdeadb000u                  /* what is no table */

#define STUB 0x7000u /* below 64 KiB: where the task of 16 bits begins */

struct tss {
    uint32_t link, stacks[6], cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi;
    uint32_t es, cs, ss, ds, fs, gs, ldt;
    uint16_t trap, map;
};
_Static_assert(sizeof(struct tss) == 0x68, "APM vol. 2, figure 12-6");

struct tss_small {
    uint16_t link, stacks[6], ip, flags, ax, cx, dx, bx, sp, bp, si, di, es, cs, ss, ds, ldt;
};
_Static_assert(sizeof(struct tss_small) == 0x2c, "Intel SDM vol. 3, figure 8-10");

struct mates {
    struct tss       main;
    struct tss_small small;
    uint64_t         gdt[11];
    uint8_t          stack[2048] __attribute__((aligned(16)));
};
extern volatile struct mates tasks_mates;
volatile struct mates        tasks_mates __attribute__((aligned(4096)));
static volatile struct tss   other __attribute__((aligned(4096)));
static uint8_t               other_stack[4096] __attribute__((aligned(16)));

static bool paging;

static uint32_t type_of(uint32_t selector)
{
    return (uint32_t)(tasks_mates.gdt[selector / 8] >> 40) & 0x1f;
}

struct gate {
    uint16_t offset_low, selector, flags, offset_high;
};

static volatile struct gate *idt;

static uint64_t descriptor(uint32_t base, uint32_t limit, uint64_t type)
{
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | type << 40 |
           (uint64_t)(base >> 24) << 56;
}

static void set_type(uint32_t selector, uint64_t type)
{
    tasks_mates.gdt[selector / 8] = (tasks_mates.gdt[selector / 8] & ~(0xffull << 40)) | type << 40;
}

static struct gate use_gate(uint32_t vector)
{
    struct gate former = idt[vector];

    idt[vector].selector = OTHER;
    idt[vector].flags = 0x8500;
    return former;
}

static void setup_tables(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) pointer = { sizeof(tasks_mates.gdt) - 1, (uint32_t)&tasks_mates.gdt };

    tasks_mates.gdt[CODE / 8] = 0x00cf9b000000ffff;
    tasks_mates.gdt[DATA / 8] = 0x00cf93000000ffff;
    tasks_mates.gdt[MAIN / 8] =
        descriptor((uint32_t)&tasks_mates.main, sizeof(struct tss) - 1, 0x89);
    tasks_mates.gdt[OTHER / 8] = descriptor((uint32_t)&other, sizeof(struct tss) - 1, 0x89);
    tasks_mates.gdt[GATE / 8] = (uint64_t)OTHER << 16 | 0x85ull << 40;
    tasks_mates.gdt[SMALL / 8] =
        descriptor((uint32_t)&tasks_mates.small, sizeof(struct tss_small) - 1, 0x81);
    tasks_mates.gdt[FRESH / 8] = 0x00cf92000000ffff;
    tasks_mates.gdt[USER_CODE / 8] = 0x00cffb000000ffff;
    tasks_mates.gdt[USER_DATA / 8] = 0x00cff3000000ffff;
    __asm__ volatile("lgdt %0" ::"m"(pointer));
    __asm__ volatile("sidt %0" : "=m"(pointer));
    idt = (volatile struct gate *)pointer.base;
}

static uint32_t directory[2][1024] __attribute__((aligned(4096)));
static uint64_t pdpt[2][4] __attribute__((aligned(32)));
static uint64_t pae_directory[2][4][512] __attribute__((aligned(4096)));
static uint32_t cr3_main, cr3_other;

/* Everything is where it is, but for one large page. */
static void build_two_levels(void)
{
    for (uint32_t k = 0; k < 2; k++) {
        for (uint32_t i = 0; i < 1024; i++)
            directory[k][i] = i << 22 | PS | W | P;
        directory[k][WINDOW >> 22] = MEMORY(k) | PS | W | P;
        directory[k][ABSENT >> 22] = 0;
    }
}

static void build_three_levels(void)
{
    for (uint32_t k = 0; k < 2; k++) {
        for (uint32_t i = 0; i < 4; i++) {
            pdpt[k][i] = (uint32_t)pae_directory[k][i] | P;
            for (uint32_t j = 0; j < 512; j++)
                pae_directory[k][i][j] = (uint64_t)(i << 30 | j << 21) | PS | W | P;
        }
        pae_directory[k][WINDOW >> 30][WINDOW >> 21 & 511] = MEMORY(k) | PS | W | P;
        pae_directory[k][ABSENT >> 30][ABSENT >> 21 & 511] = 0;
    }
}

static void set_paging(uint32_t cr4, uint32_t main_cr3, uint32_t other_cr3)
{
    uint32_t cr0;

    __asm__ volatile("mov %%cr0, %0; andl $0x7fffffff, %0; mov %0, %%cr0" : "=&r"(cr0)::"memory");
    paging = cr4 != 0;
    cr3_main = main_cr3;
    cr3_other = other_cr3;
    if (!paging)
        return;
    __asm__ volatile("mov %0, %%cr4; mov %1, %%cr3; mov %2, %%cr0" ::"r"(cr4), "r"(main_cr3),
                     "r"(cr0 | CR0_PG)
                     : "memory");
}

static void paging_off(void)
{
    set_paging(0, NO_CR3, NO_CR3);
}

static void two_levels(void)
{
    set_paging(CR4_PSE, (uint32_t)directory[0], (uint32_t)directory[1]);
}

static void three_levels(void)
{
    set_paging(CR4_PAE, (uint32_t)pdpt[0], (uint32_t)pdpt[1]);
}

#endif
