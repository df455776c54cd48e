/*
 * Entries that are not present and name memory: a PV guest may have them, and finds them as it wrote
 * them, on every processor. Where they could leak, its tables are shadowed from the first one on,
 * of which it notices nothing.
 */
#include "test/guests/pv/pv.h"

const char pv_name[] = "pv-l1tf";

#define WINDOW 0x80000000ul /* addresses that the builder does not map: entry 2 of level 3 */
#define FLAGS  (P | W | U | A | D)
#define ROUNDS 200

static uint64_t level1[512] __attribute__((aligned(4096)));
static uint64_t level2[512] __attribute__((aligned(4096)));
static uint64_t page[512] __attribute__((aligned(4096)));

static uint64_t machine(const void *p)
{
    return pv_mfn(p) * PAGE + ((uint64_t)p & (PAGE - 1));
}

static uint64_t map_at(void *p, uint64_t entry)
{
    return (uint64_t)pv_call(__HYPERVISOR_update_va_mapping, (uint64_t)p, entry, UVMF_INVLPG, 0);
}

/* By hypercall, where a page was: as a kernel does that takes it away for a while. */
static void check_entry(void)
{
    uint64_t *entry = pv_entry(page), gone = machine(page) | W | U | A | D, value = 0;

    page[7] = 0x7777;
    pv_check(map_at(page, gone), 0, "an entry that is not present and names a page");
    pv_check(*entry, gone, "how it is stored");
    pv_check(pv_load((uint64_t)&page[7], &value), false, "what it names");
    pv_check(pv_fault.error, 0, "the error code of a page that is not present");
    pv_check(pv_fault.cr2, (uint64_t)&page[7], "its address");
    pv_check((uint64_t)pv_update(machine(entry), gone | 1ul << 9), 0, "the same by mmu_update");
    pv_check(map_at(page, machine(page) | FLAGS), 0, "the page again");
    pv_check(page[7], 0x7777, "what was in it");
}

/* A table that is full of them before it is one. */
static void check_table(void)
{
    uint64_t *root = (uint64_t *)pv_info->pt_base,
             *level3 = pv_page_of(root[0] >> 12 & 0xffffffffff);
    uint64_t value = 0;

    for (unsigned i = 0; i < 512; i++)
        level1[i] = machine(page) | W | U;
    level1[1] = machine(page) | FLAGS;
    level2[0] = machine(level1) | FLAGS;
    pv_check((uint64_t)pv_protect(level1, false), 0, "making a table of level 1 read-only");
    pv_check((uint64_t)pv_protect(level2, false), 0, "making a table of level 2 read-only");
    pv_check((uint64_t)pv_update(machine(&level3[2]), machine(level2) | FLAGS), 0, "linking them");
    pv_check(pv_load(WINDOW + 2 * PAGE, &value), false, "an address that is not present");
    pv_check(pv_load(WINDOW + PAGE + 56, &value), true, "one that is");
    pv_check(value, 0x7777, "what is there");
}

/* By an instruction, again and again, while it is used. */
static void check_writes(void)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t value = 0;

        pv_check(pv_store((uint64_t)&level1[3], machine(page) | FLAGS), true, "an entry written");
        pv_check(pv_store(WINDOW + 3 * PAGE, i), true, "a write through it");
        pv_check(page[0], i, "what was written");
        pv_check(pv_store((uint64_t)&level1[3], machine(page) | W | U), true, "P taken out of it");
        pv_check((uint64_t)pv_mmuext(MMUEXT_INVLPG_LOCAL, WINDOW + 3 * PAGE, 0), 0, "a flush");
        pv_check(pv_load(WINDOW + 3 * PAGE, &value), false, "what it led to");
    }
}

void pv_main(void)
{
    check_entry();
    check_table();
    check_writes();
}
