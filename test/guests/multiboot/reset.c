/* A kernel that ends by the keyboard controller, which it first asks whether it is busy. */
#include "test/guests/multiboot/kernel.h"

const char kernel_name[] = "reset";

void kernel_main(const struct multiboot_info *info)
{
    (void)info;
    kernel_print("reset: about to reset\n");
    while (inb(0x64) & 2)
        ;
    outb(0x64, 0xfe);
    kernel_fail("the machine goes on after a reset", 0, 0);
}
