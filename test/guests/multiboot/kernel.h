/*
 * What the multiboot kernels of the tests share. A kernel is one C file with kernel_main(); it
 * starts in 32-bit protected mode without paging, says what it finds on the serial line at
 * 3f8, which it polls, and ends by isa-debug-exit. Its last line is `NAME: ok` or
 * `NAME: FAILED: ...`.
 */
#ifndef TEST_GUESTS_MULTIBOOT_KERNEL_H
#define TEST_GUESTS_MULTIBOOT_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RFLAGS_IF (1u << 9)

/* Multiboot Specification, 3.3, as far as it is looked at */
struct multiboot_info {
    uint32_t flags, mem_lower, mem_upper, boot_device, command_line;
    uint32_t modules_count, modules_at;
    uint32_t symbols[4];
    uint32_t map_length, map_at;
    uint32_t drives_length, drives_at, config_table, loader_name;
};

struct multiboot_module {
    uint32_t start, end, string, zero;
};

struct multiboot_region {
    uint32_t size;
    uint64_t address, length;
    uint32_t type;
} __attribute__((packed));

struct kernel_frame {
    uint32_t vector, error, eip, cs, eflags;
};

extern const char        kernel_name[]; /* each kernel defines its own */
extern uint8_t           kernel_first[], kernel_end[];
extern volatile uint32_t kernel_count[64]; /* interrupts, by vector */
/* Called for an interrupt of this vector, 20h and up, to end it. */
extern void (*kernel_eoi)(uint32_t vector);
/* Where to go on after an exception that is allowed for, or 0; and what it was. */
extern volatile uint32_t kernel_resume, kernel_vector, kernel_error, kernel_eip;

void kernel_main(const struct multiboot_info *info);

/* Entered from start.S. */
void kernel_start(uint32_t magic, const struct multiboot_info *info, uint32_t eflags);
void kernel_trap(struct kernel_frame *frame);

void           kernel_print(const char *text);
_Noreturn void kernel_exit(uint32_t status);
_Noreturn void kernel_fail(const char *why, uint32_t got, uint32_t wanted);

static inline void kernel_check(uint32_t got, uint32_t wanted, const char *what)
{
    if (got != wanted)
        kernel_fail(what, got, wanted);
}

static inline void outb(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}

static inline void outl(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint32_t inl(uint16_t port)
{
    uint32_t value;

    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint64_t rdmsr(uint32_t msr)
{
    uint64_t value;

    __asm__ volatile("rdmsr" : "=A"(value) : "c"(msr));
    return value;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" ::"A"(value), "c"(msr) : "memory");
}

struct registers {
    uint32_t eax, ebx, ecx, edx;
};

static inline struct registers cpuid(uint32_t leaf)
{
    struct registers r;

    __asm__ volatile("cpuid"
                     : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                     : "a"(leaf), "c"(0));
    return r;
}

static inline uint32_t load(uint32_t address)
{
    return *(volatile uint32_t *)address;
}

static inline void store(uint32_t address, uint32_t value)
{
    *(volatile uint32_t *)address = value;
}

#endif
