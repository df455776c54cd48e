/* A kernel that ends with the status 3, which its domain's file may call a success. */
#include "test/guests/multiboot/kernel.h"

const char kernel_name[] = "status";

void kernel_main(const struct multiboot_info *info)
{
    (void)info;
    kernel_print("status: about to exit\n");
    kernel_exit(3);
}
