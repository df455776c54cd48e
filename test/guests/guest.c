/* What the bare guests share: see guest.h. */
#include "test/guests/guest.h"

#define DEBUG_PORT     0xe9
#define EXIT_PORT      0xf4 /* QEMU's isa-debug-exit */
#define CODE           0x08
#define GATE_INTERRUPT 0x8e00
#define VECTORS        32

struct gate {
    uint16_t offset_low, selector, flags, offset_middle;
    uint32_t offset_high, zero;
};

struct table_pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

extern uint8_t guest_vectors[];

struct guest_fault guest_fault;
uint64_t           guest_resume;
static struct gate idt[VECTORS];
static bool        ending;

void *memset(void *to, int byte, size_t length);
void *memset(void *to, int byte, size_t length)
{
    for (size_t i = 0; i < length; i++)
        ((volatile uint8_t *)to)[i] = (uint8_t)byte;
    return to;
}

void *memcpy(void *to, const void *from, size_t length);
void *memcpy(void *to, const void *from, size_t length)
{
    for (size_t i = 0; i < length; i++)
        ((volatile uint8_t *)to)[i] = ((const uint8_t *)from)[i];
    return to;
}

void guest_print(const char *text)
{
    for (; *text; text++)
        outb(DEBUG_PORT, (uint8_t)*text);
}

void guest_print_hex(uint64_t value)
{
    guest_print("0x");
    for (int shift = 60; shift >= 0; shift -= 4)
        if (value >> shift || !shift)
            outb(DEBUG_PORT, (uint8_t) "0123456789abcdef"[value >> shift & 15]);
}

/* The last resort, and the way out on a machine without a hypervisor. */
static _Noreturn void stop(void)
{
    outl(EXIT_PORT, 0);
    for (;;)
        __asm__ volatile("cli; hlt");
}

_Noreturn void guest_poweroff(void)
{
    struct sched_shutdown shutdown = { .reason = SHUTDOWN_poweroff };

    ending = true;
    guest_hypercall(__HYPERVISOR_sched_op, SCHEDOP_shutdown, (uint64_t)&shutdown, 0);
    guest_print(guest_name);
    guest_print(": FAILED: still here after powering off\n");
    stop();
}

_Noreturn void guest_fail(const char *why, uint64_t got, uint64_t wanted)
{
    guest_print(guest_name);
    guest_print(": FAILED: ");
    guest_print(why);
    guest_print(": got ");
    guest_print_hex(got);
    guest_print(", wanted ");
    guest_print_hex(wanted);
    guest_print("\n");
    guest_poweroff();
}

void guest_trap(struct guest_frame *frame)
{
    uint64_t resume = guest_resume;

    guest_fault = (struct guest_fault){ frame->vector, frame->error, read_cr2() };
    guest_resume = 0;
    if (ending)
        stop();
    if (!resume) {
        guest_print(guest_name);
        guest_print(": exception at ");
        guest_print_hex(frame->rip);
        guest_print(", error code ");
        guest_print_hex(frame->error);
        guest_print(", CR2 ");
        guest_print_hex(guest_fault.cr2);
        guest_print("\n");
        guest_fail("an exception that no test expects", frame->vector, 0);
    }
    frame->rip = resume;
}

void guest_start_64(const struct hvm_start_info *info)
{
    struct table_pointer pointer = { sizeof(idt) - 1, (uint64_t)idt };

    for (unsigned i = 0; i < VECTORS; i++) {
        uint64_t entry = (uint64_t)guest_vectors + i * 16;

        idt[i] =
            (struct gate){ (uint16_t)entry, CODE, GATE_INTERRUPT, (uint16_t)(entry >> 16), 0, 0 };
    }
    __asm__ volatile("lidt %0" ::"m"(pointer));
    if (info->magic != XEN_HVM_START_MAGIC_VALUE)
        guest_fail("the start info has no magic", info->magic, XEN_HVM_START_MAGIC_VALUE);
    guest_main(info);
    guest_print(guest_name);
    guest_print(": ok\n");
    guest_poweroff();
}

uint64_t guest_number(const char **text)
{
    uint64_t n = 0;

    while (**text == ' ')
        ++*text;
    for (; **text >= '0' && **text <= '9'; ++*text)
        n = n * 10 + (uint64_t)(**text - '0');
    return n;
}

void guest_wait_until(uint64_t ns)
{
    struct sched_poll poll = { .timeout = ns };

    (void)guest_hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, (uint64_t)&poll, 0);
}
