/*
 * A guest whose IDT is empty raises an exception. The processor cannot deliver it, nor the
 * double fault that follows, and shuts down: that ends this guest as a crash, with one line
 * that says so, and is no business of any other guest or of the machine.
 */
#include "test/guests/guest.h"

const char guest_name[] = "triple-fault";

void guest_main(const struct hvm_start_info *info)
{
    static const struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) none;

    (void)info;
    guest_print("triple-fault: about to fault\n");
    __asm__ volatile("lidt %0; ud2" ::"m"(none));
    guest_fail("the guest goes on after a triple fault", 0, 0);
}
