/*
 * Entries with bits set that the processor reserves: an address beyond what it has, the low
 * address bits of a large page, the size bit in the top-level table. Each is a page fault
 * that says both "present" and "reserved", whatever else the access was. QEMU 7.2 leaves the
 * first out of the error code where the guest's faults are its own (8 instead of 9: T1 in
 * doc/caveats.md), so that this runs under shadow paging only.
 */
#include "test/guests/guest.h"

const char guest_name[] = "reserved-bits";

#define VA  0x100000000ul  /* the first address after what start.S maps */
#define TOP 0x8000000000ul /* the second top-level slot */

static uint64_t __attribute__((aligned(PAGE))) pd[512], table[512], page[512];

static void reserved(uint64_t *slot, uint64_t entry, uint64_t address, const char *what)
{
    uint64_t value = 0;
    bool     fine;

    *(volatile uint64_t *)slot = entry;
    guest_invlpg(address);
    fine = guest_load(address, &value);
    guest_check(fine, false, what);
    guest_check(guest_fault.vector, VECTOR_PF, what);
    guest_check(guest_fault.error, PF_P | PF_RSVD, what);
    guest_check(guest_fault.cr2, address, what);
    fine = guest_store(address, 1);
    guest_check(fine, false, what);
    guest_check(guest_fault.error, PF_P | PF_RSVD | PF_W, what);
}

void guest_main(const struct hvm_start_info *info)
{
    uint64_t value = 0;

    (void)info;
    guest_pdpt[4] = (uint64_t)pd | P | W;
    pd[0] = (uint64_t)table | P | W;
    reserved(&table[0], (uint64_t)page | P | 1ul << 51, VA,
             "an address beyond all memory in a leaf");
    reserved(&pd[1], 0x2000000 | P | W | PS | 1ul << 13, VA + 0x200000,
             "a large page that is not aligned");
    reserved(&pd[2], (uint64_t)table | P | W | 1ul << 51, VA + 0x400000,
             "an address beyond all memory in a directory");
    reserved(&guest_pml4[1], (uint64_t)guest_pdpt | P | W | PS, TOP,
             "the size bit in the top-level table");
    guest_check(page[0], 0, "what refused writes left");
    table[0] = (uint64_t)page | P | W;
    guest_invlpg(VA);
    guest_check(guest_load(VA, &value), true, "the same leaf without the bit");
}
