/*
 * A page table that lies where there is no memory. The processor reads all ones there, an
 * entry with reserved bits, so the access is a page fault that says so. The guest chose it,
 * so neither it nor anybody else is to fall. Then the entry is mended and all is well.
 */
#include "test/guests/guest.h"

const char guest_name[] = "table-outside";

#define NOWHERE 0xe0000000ul
#define VA      0x100000000ul

void guest_main(const struct hvm_start_info *info)
{
    static uint64_t __attribute__((aligned(PAGE))) pd[512], table[512], page[512];
    uint64_t value = 0;

    (void)info;
    guest_pdpt[4] = (uint64_t)pd | P | W;
    pd[0] = NOWHERE | P | W;
    guest_check(guest_load(VA, &value), false, "a read through a table that is nowhere");
    guest_check(guest_fault.vector, VECTOR_PF, "its exception");
    guest_check(guest_fault.error, PF_P | PF_RSVD, "its error code");
    guest_check(guest_fault.cr2, VA, "its address");
    guest_check(guest_store(VA, 1), false, "a write through a table that is nowhere");
    guest_check(guest_fault.error, PF_P | PF_RSVD | PF_W, "the error code of the write");

    page[0] = 0x77;
    table[0] = (uint64_t)page | P | W;
    pd[0] = (uint64_t)table | P | W;
    guest_invlpg(VA);
    guest_check(guest_load(VA, &value), true, "a read through the mended table");
    guest_check(value, 0x77, "what it finds");
}
