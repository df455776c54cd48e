/*
 * A guest reaches for what is not its memory: beyond the end of what it was given, into the
 * hole below 4 GiB, across the border. Nothing is there: reads give all ones, writes are
 * lost, in any width, and none of it reaches memory of somebody else or ends the guest.
 * To be run with 64 MiB.
 */
#include "test/guests/guest.h"

const char guest_name[] = "bad-memory";

#define MEMORY_END (64ul << 20)

static const uint64_t nowhere[] = { 0x08000000, 0x40000000, 0xc0000000,
                                    0xe0000000, 0xf0000000, 0xfffff000 };

static void reads_are_all_ones(uint64_t address)
{
    uint64_t value = 0;
    uint32_t dword;
    uint16_t word;
    uint8_t  byte;

    if (!guest_load(address, &value))
        guest_fail("a read where there is no memory faults", guest_fault.vector, ~0ul);
    guest_check(value, ~0ul, "a read of 8 bytes where there is no memory");
    __asm__ volatile("movl (%1), %0" : "=r"(dword) : "r"(address) : "memory");
    guest_check(dword, 0xffffffff, "a read of 4 bytes where there is no memory");
    __asm__ volatile("movw 2(%1), %0" : "=r"(word) : "r"(address) : "memory");
    guest_check(word, 0xffff, "a read of 2 bytes where there is no memory");
    __asm__ volatile("movb 7(%1), %0" : "=q"(byte) : "r"(address) : "memory");
    guest_check(byte, 0xff, "a read of a byte where there is no memory");
    __asm__ volatile("movzbl 3(%1), %0" : "=r"(dword) : "r"(address) : "memory");
    guest_check(dword, 0xff, "a widening read where there is no memory");
}

static void writes_are_lost(uint64_t address)
{
    uint64_t value = 0;

    if (!guest_store(address, 0x1234))
        guest_fail("a write where there is no memory faults", guest_fault.vector, ~0ul);
    __asm__ volatile("movl %0, (%1)" ::"r"(0x5678), "r"(address) : "memory");
    __asm__ volatile("movb $0, (%0)" ::"r"(address) : "memory");
    if (!guest_load(address, &value))
        guest_fail("a read where there is no memory faults", guest_fault.vector, ~0ul);
    guest_check(value, ~0ul, "what was written where there is no memory");
}

/* Its own memory goes up to the last byte, and what it holds is not changed by all that. */
static void own_memory_stays(void)
{
    uint64_t *last = (uint64_t *)(MEMORY_END - 2 * PAGE);

    last[0] = 0xfeedface;
    reads_are_all_ones(MEMORY_END + PAGE);
    writes_are_lost(MEMORY_END + PAGE);
    guest_check(*(volatile uint64_t *)last, 0xfeedface, "the end of the guest's own memory");
}

void guest_main(const struct hvm_start_info *info)
{
    (void)info;
    for (unsigned i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
        reads_are_all_ones(nowhere[i]);
        writes_are_lost(nowhere[i]);
    }
    own_memory_stays();
}
