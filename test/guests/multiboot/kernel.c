/* What the multiboot kernels share: see kernel.h. */
#include "test/guests/multiboot/kernel.h"

#define SERIAL         0x3f8
#define SERIAL_STATUS  5
#define SERIAL_EMPTY   0x20
#define EXIT_PORT      0xf4
#define LOADER_MAGIC   0x2badb002u
#define CODE           0x08
#define GATE_INTERRUPT 0x8e00
#define VECTORS        64
#define EXCEPTIONS     32

struct gate {
    uint16_t offset_low, selector, flags, offset_high;
};

struct table_pointer {
    uint16_t limit;
    uint32_t base;
} __attribute__((packed));

extern uint8_t kernel_vectors[];

volatile uint32_t kernel_count[VECTORS], kernel_resume, kernel_vector, kernel_error, kernel_eip;
void (*kernel_eoi)(uint32_t vector);
static struct gate idt[VECTORS];

void *memset(void *to, int byte, size_t length);
void *memset(void *to, int byte, size_t length)
{
    for (size_t i = 0; i < length; i++)
        ((volatile uint8_t *)to)[i] = (uint8_t)byte;
    return to;
}

static void put(char c)
{
    while (!(inb(SERIAL + SERIAL_STATUS) & SERIAL_EMPTY))
        ;
    outb(SERIAL, (uint8_t)c);
}

void kernel_print(const char *text)
{
    for (; *text; text++)
        put(*text);
}

static void print_hex(uint32_t value)
{
    kernel_print("0x");
    for (int shift = 28; shift >= 0; shift -= 4)
        if (value >> shift || !shift)
            put("0123456789abcdef"[value >> shift & 15]);
}

_Noreturn void kernel_exit(uint32_t status)
{
    outl(EXIT_PORT, status);
    kernel_print("still here after the end\n");
    for (;;)
        __asm__ volatile("cli; hlt");
}

_Noreturn void kernel_fail(const char *why, uint32_t got, uint32_t wanted)
{
    __asm__ volatile("cli");
    kernel_print(kernel_name);
    kernel_print(": FAILED: ");
    kernel_print(why);
    kernel_print(": got ");
    print_hex(got);
    kernel_print(", wanted ");
    print_hex(wanted);
    kernel_print("\n");
    kernel_exit(1);
}

void kernel_trap(struct kernel_frame *frame)
{
    uint32_t resume = kernel_resume;

    if (frame->vector >= EXCEPTIONS) {
        kernel_count[frame->vector]++;
        if (kernel_eoi)
            kernel_eoi(frame->vector);
        return;
    }
    kernel_vector = frame->vector;
    kernel_error = frame->error;
    kernel_eip = frame->eip;
    kernel_resume = 0;
    if (!resume) {
        kernel_print("exception at ");
        print_hex(frame->eip);
        kernel_print("\n");
        kernel_fail("an exception that no test expects", frame->vector, frame->error);
    }
    frame->eip = resume;
}

void kernel_start(uint32_t magic, const struct multiboot_info *info, uint32_t eflags)
{
    struct table_pointer pointer = { sizeof(idt) - 1, (uint32_t)idt };

    for (unsigned i = 0; i < VECTORS; i++) {
        uint32_t entry = (uint32_t)kernel_vectors + i * 16;

        idt[i] = (struct gate){ (uint16_t)entry, CODE, GATE_INTERRUPT, (uint16_t)(entry >> 16) };
    }
    __asm__ volatile("lidt %0" ::"m"(pointer));
    kernel_check(magic, LOADER_MAGIC, "EAX holds the loader's magic");
    kernel_check(eflags & RFLAGS_IF, 0, "interrupts are off at the start");
    kernel_main(info);
    kernel_print(kernel_name);
    kernel_print(": ok\n");
    kernel_exit(0);
}
