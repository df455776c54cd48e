/*
 * A guest tries registers, ports and instructions that are not for it. A model-specific
 * register that it is not offered is a #GP, as on any processor that lacks it; so is a bit
 * that a register does not have. SVM is not offered: its registers are not there and its
 * instructions are undefined. A port with nothing behind it reads all ones and swallows
 * what is written, and that goes for the one that would end the machine.
 */
#include "test/guests/guest.h"

const char guest_name[] = "bad-msr";

#define EXIT_PORT 0xf4 /* QEMU's isa-debug-exit */

static void registers_that_are_not_there(void)
{
    static const uint32_t none[] = { 0xdeadbeef, 0x40000fff, 0xc0010114,
                                     0xc0010117, 0xc001ffff, 0xffffffff };
    uint64_t              value;

    for (unsigned i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        guest_check(guest_rdmsr(none[i], &value), false, "reading a register that is not there");
        guest_check(guest_fault.vector, VECTOR_GP, "its exception");
        guest_check(guest_fault.error, 0, "its error code");
        guest_check(guest_wrmsr(none[i], 1), false, "writing a register that is not there");
        guest_check(guest_fault.vector, VECTOR_GP, "its exception");
    }
}

static void values_that_are_refused(void)
{
    uint64_t efer = 0;

    guest_check(guest_rdmsr(MSR_EFER, &efer), true, "reading EFER");
    guest_check(efer, EFER_LME | EFER_LMA | EFER_NXE, "EFER");
    guest_check(guest_wrmsr(MSR_EFER, efer | EFER_SVME), false, "turning SVM on");
    guest_check(guest_fault.vector, VECTOR_GP, "its exception");
    guest_check(guest_wrmsr(MSR_EFER, efer | 1ul << 40), false, "a reserved bit of EFER");
    guest_check(guest_wrmsr(MSR_EFER, efer & ~EFER_LME), false,
                "leaving long mode while paging is on");
    guest_check(guest_wrmsr(MSR_LSTAR, 0xffffffff81000000), true, "a canonical LSTAR");
    guest_check(guest_rdmsr(MSR_EFER, &efer), true, "reading EFER again");
    guest_check(efer, EFER_LME | EFER_LMA | EFER_NXE, "EFER after all that");
}

#define UNDEFINED(instruction)                                                                     \
    do {                                                                                           \
        bool fine = GUEST_TRY(instruction, , "a"(0ul));                                            \
                                                                                                   \
        guest_check(fine, false, instruction);                                                     \
        guest_check(guest_fault.vector, VECTOR_UD, instruction);                                   \
    } while (0)

static void svm_is_not_offered(void)
{
    UNDEFINED("vmrun %%rax");
    UNDEFINED("vmload %%rax");
    UNDEFINED("vmsave %%rax");
    UNDEFINED("stgi");
    UNDEFINED("clgi");
}

static void ports_without_a_device(void)
{
    static const uint16_t ports[] = { 0x2e, 0x70, 0x71, 0x3fd, 0x510, 0xcf8, 0x5000 };
    uint16_t              word;
    uint32_t              dword;

    for (unsigned i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
        outb(ports[i], 0);
        guest_check(inb(ports[i]), 0xff, "a byte from a port without a device");
        __asm__ volatile("inw %1, %0" : "=a"(word) : "Nd"(ports[i]));
        guest_check(word, 0xffff, "a word from a port without a device");
        __asm__ volatile("inl %1, %0" : "=a"(dword) : "Nd"(ports[i]));
        guest_check(dword, 0xffffffff, "four bytes from a port without a device");
    }
    outb(EXIT_PORT, 0x10);
    outl(EXIT_PORT, 0x10);
    guest_print("bad-msr: the machine is still there\n");
}

void guest_main(const struct hvm_start_info *info)
{
    (void)info;
    registers_that_are_not_there();
    values_that_are_refused();
    svm_is_not_offered();
    ports_without_a_device();
}
