/* A kernel that listens to its serial port by interrupts, through the 8259s, up to a dot. */
#include "test/guests/multiboot/kernel.h"

const char kernel_name[] = "echo";

#define SERIAL 0x3f8
#define VECTOR 0x24

static char              heard[64];
static volatile unsigned count;
static volatile bool     over;

static void take(uint32_t vector)
{
    (void)vector;
    while (!(inb(SERIAL + 2) & 1)) {
        char c = (char)inb(SERIAL);

        if (c == '.' || count == sizeof(heard) - 1)
            over = true;
        else
            heard[count++] = c;
    }
    outb(0x20, 0x20);
}

static void print_number(uint32_t number)
{
    char  digits[12];
    char *at = digits + sizeof(digits) - 1;

    *at = '\0';
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    kernel_print(at);
}

void kernel_main(const struct multiboot_info *info)
{
    static const uint8_t words[] = { 0x20, 4, 1, 0xef }; /* line 4 is not masked */

    (void)info;
    kernel_eoi = take;
    outb(0x20, 0x11);
    for (unsigned i = 0; i < sizeof(words); i++)
        outb(0x21, words[i]);
    outb(SERIAL + 2, 1);
    outb(SERIAL + 4, 0x0b);
    outb(SERIAL + 1, 1);
    kernel_print("echo: type, and end with a dot\n");
    while (!over) {
        __asm__ volatile("sti; hlt" ::: "memory");
        __asm__ volatile("cli" ::: "memory");
    }
    kernel_print("echo: heard '");
    kernel_print(heard);
    kernel_print("' by ");
    print_number(kernel_count[VECTOR]);
    kernel_print(" interrupts\n");
}
