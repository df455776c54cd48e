/*
 * What a PV guest may do with its page tables, by hypercalls and by instructions, and what is refused
 * without a trace: each attack leaves the entry as it was.
 */
#include "test/guests/pv/pv.h"

const char pv_name[] = "pv-tables";

#define REFUSED ((uint64_t)-XEN_EINVAL)
#define WINDOW  0x80000000ul /* addresses that the builder does not map: entry 2 of level 3 */
#define FRAME   0xffffffffff000ul
#define PWT     (1ul << 3)
#define PCD     (1ul << 4)
#define PAT     (1ul << 7)
#define KERNEL  (1ul << 52) /* U was clear: doc/direct.md */
#define FLAGS   (P | W | U | A | D)

static uint64_t level1[512] __attribute__((aligned(4096)));
static uint64_t level2[512] __attribute__((aligned(4096)));
static uint64_t page[512] __attribute__((aligned(4096)));
static uint64_t other[512] __attribute__((aligned(4096)));

static uint64_t machine(const void *p)
{
    return pv_mfn(p) * PAGE + ((uint64_t)p & (PAGE - 1));
}

static uint64_t map_at(void *p, uint64_t entry)
{
    return (uint64_t)pv_call(__HYPERVISOR_update_va_mapping, (uint64_t)p, entry, UVMF_INVLPG, 0);
}

static uint64_t mmuext(unsigned cmd, uint64_t one, uint64_t two)
{
    return (uint64_t)pv_mmuext(cmd, one, two);
}

/* An update that must be refused, and change nothing. */
static void refuse(uint64_t *entry, uint64_t value, const char *what)
{
    uint64_t before = *entry;

    pv_check((uint64_t)pv_update(machine(entry), value), REFUSED, what);
    pv_check(*entry, before, what);
}

/* ---- leaf entries ---- */

static void check_leaves(void)
{
    uint64_t *entry = pv_entry(page), good = *entry;
    uint64_t  max = (uint64_t)pv_call(__HYPERVISOR_memory_op, XENMEM_maximum_ram_page, 0, 0, 0);
    const uint64_t *m2p = (const uint64_t *)MACH2PHYS_VIRT_START;

    refuse(entry, machine((void *)pv_info->pt_base) | FLAGS, "a writable mapping of the root");
    refuse(entry, machine(level1) | FLAGS | PWT, "an uncached mapping: PWT");
    refuse(entry, machine(level1) | FLAGS | PCD, "an uncached mapping: PCD");
    refuse(entry, machine(level1) | FLAGS | PAT, "an uncached mapping: PAT");
    refuse(entry, (max + 1) * PAGE | FLAGS, "a frame beyond the end");
    refuse(entry, FRAME | FLAGS, "the last frame there could be");
    for (uint64_t mfn = 0; mfn < max; mfn += 61)
        if (m2p[mfn] == ~0ul && mfn != pv_info->shared_info / PAGE) {
            refuse(entry, mfn * PAGE | FLAGS, "a frame of somebody else");
            refuse(entry, mfn * PAGE | P | U, "a frame of somebody else, to read");
        }
    pv_check(map_at(page, machine(page) | P | W | A | D), 0, "an entry for the kernel only");
    pv_check(*entry, machine(page) | FLAGS | KERNEL, "how it is stored");
    pv_check(map_at(page, good), 0, "an entry as it was");
    pv_check(map_at(page, 0), 0, "no entry");
    pv_check(pv_store((uint64_t)page, 1), false, "a write to where nothing is mapped");
    pv_check(pv_fault.error, 2, "its error code");
    pv_check(map_at(page, good), 0, "an entry again");
    pv_check(pv_store((uint64_t)page, 1), true, "a write to it");
    pv_check(map_at((void *)WINDOW, good), REFUSED, "an address without a table");
    pv_check(map_at((void *)MACH2PHYS_VIRT_START, good), REFUSED, "the hypervisor's address");
}

/* ---- upper levels ---- */

static void check_upper(void)
{
    uint64_t *root = (uint64_t *)pv_info->pt_base,
             *level3 = pv_page_of(root[0] >> 12 & 0xffffffffff);
    uint64_t self = machine(root);

    for (unsigned slot = 256; slot < 272; slot++) {
        refuse(&root[slot], 0, "clearing the hypervisor's entry");
        refuse(&root[slot], root[0], "an entry of ours in the hypervisor's place");
    }
    refuse(&root[300], machine(page) | FLAGS, "a page as a table of level 3");
    refuse(&root[300], (machine(level3) & FRAME) | FLAGS | PAT, "a large page in the root");
    refuse(&level3[5], machine(page) | FLAGS | PAT, "a large page at level 3");
    refuse(&root[300], self | FLAGS, "the root in itself, writable");
    pv_check((uint64_t)pv_update(machine(&root[300]), self | P | U | A), 0, "the root in itself");
    pv_check(*(const uint64_t *)(0xffff000000000000ul | 300ul << 39 | 300ul << 30 | 300ul << 21 |
                                 300ul << 12),
             root[0], "the root through itself");
    pv_check((uint64_t)pv_update(machine(&root[300]), 0), 0, "taking it out again");
    refuse(&root[301], machine(level3) | FLAGS | 1ul << 51, "a frame number too large");
}

/* ---- pins and roots ---- */

static void check_pins(void)
{
    pv_check(mmuext(MMUEXT_PIN_L1_TABLE, pv_mfn(page), 0), REFUSED, "pinning a writable page");
    pv_check(mmuext(MMUEXT_UNPIN_TABLE, pv_mfn(page), 0), REFUSED, "unpinning what is not pinned");
    pv_check((uint64_t)pv_protect(other, false), 0, "making a page read-only");
    pv_check(mmuext(MMUEXT_PIN_L1_TABLE, pv_mfn(other), 0), 0, "pinning an empty table");
    pv_check(mmuext(MMUEXT_PIN_L1_TABLE, pv_mfn(other), 0), REFUSED, "pinning it twice");
    pv_check(mmuext(MMUEXT_PIN_L2_TABLE, pv_mfn(other), 0), REFUSED, "pinning it as level 2");
    pv_check((uint64_t)pv_protect(other, true), REFUSED, "making a pinned table writable");
    pv_check(mmuext(MMUEXT_CLEAR_PAGE, pv_mfn(other), 0), REFUSED, "clearing a table as a page");
    pv_check(mmuext(MMUEXT_NEW_BASEPTR, pv_mfn(other), 0), REFUSED, "a table of level 1 as root");
    pv_check(mmuext(MMUEXT_NEW_USER_BASEPTR, pv_mfn(other), 0), REFUSED, "and as a program's");
    pv_check(mmuext(MMUEXT_UNPIN_TABLE, pv_mfn(other), 0), 0, "unpinning it");
    pv_check((uint64_t)pv_protect(other, true), 0, "making it writable then");
    pv_check(pv_store((uint64_t)other, FRAME | FLAGS), true, "a bad entry in a page");
    pv_check((uint64_t)pv_protect(other, false), 0, "making it read-only");
    pv_check(mmuext(MMUEXT_PIN_L1_TABLE, pv_mfn(other), 0), REFUSED, "pinning a bad table");
    pv_check((uint64_t)pv_protect(other, true), 0, "making the refused table writable");
    pv_check(other[0], FRAME | FLAGS, "what is in the refused table");
    pv_check(mmuext(MMUEXT_NEW_BASEPTR, 0x200, 0), REFUSED, "the hypervisor's frame as root");
    pv_check(mmuext(MMUEXT_NEW_BASEPTR, ~0ul, 0), REFUSED, "a wild frame as root");
    pv_check(mmuext(99, 0, 0), (uint64_t)-XEN_ENOSYS, "an unknown operation");
    pv_check(mmuext(MMUEXT_CLEAR_PAGE, pv_mfn(other), 0), 0, "clearing a page");
    pv_check(other[0], 0, "a page that was cleared");
    page[7] = 0x7777;
    pv_check(mmuext(MMUEXT_COPY_PAGE, pv_mfn(other), pv_mfn(page)), 0, "copying a page");
    pv_check(other[7], 0x7777, "a page that was copied");
}

/* ---- a table of our own, written by instructions ---- */

static void link_table(void)
{
    uint64_t *root = (uint64_t *)pv_info->pt_base,
             *level3 = pv_page_of(root[0] >> 12 & 0xffffffffff);

    level1[0] = machine(page) | FLAGS;
    level2[0] = machine(level1) | FLAGS;
    refuse(&level3[2], machine(level2) | FLAGS, "tables that are mapped writable");
    pv_check((uint64_t)pv_protect(level1, false), 0, "making the table read-only");
    pv_check((uint64_t)pv_protect(level2, false), 0, "making the table above read-only");
    pv_check((uint64_t)pv_update(machine(&level3[2]), machine(level2) | FLAGS), 0, "linking them");
    page[0] = 0x1234;
    pv_check(*(uint64_t *)WINDOW, 0x1234, "a page through the new table");
}

static void write_entries(void)
{
    uint64_t entry = machine(other) | FLAGS, old = level1[0], got = 0;
    bool     carry;

    other[0] = 0x5678;
    pv_check(pv_store((uint64_t)&level1[1], entry), true, "MOV to an entry");
    pv_check(level1[1], entry, "the entry");
    pv_check(*(uint64_t *)(WINDOW + PAGE), 0x5678, "the page behind it");
    got = entry & ~W;
    pv_check(PV_TRY("xchgq %0, %1", ARGUMENTS("+r"(got), "+m"(level1[1]))), true, "XCHG");
    pv_check(got, entry, "what XCHG found");
    pv_check(level1[1], entry & ~W, "what XCHG left");
    pv_check(PV_TRY("xchgq %0, %1", ARGUMENTS("+r"(got), "+m"(level1[1]))), true, "XCHG back");
    entry = 0;
    pv_check(PV_TRY("lock cmpxchgq %2, %1", ARGUMENTS("+a"(old), "+m"(level1[0])), "r"(entry)),
             true, "CMPXCHG");
    pv_check(level1[0], 0, "the entry after CMPXCHG");
    old = 1;
    pv_check(PV_TRY("lock cmpxchgq %2, %1", ARGUMENTS("+a"(old), "+m"(level1[1])), "r"(entry)),
             true, "CMPXCHG of another value");
    pv_check(level1[1], old, "what it found, and left");
    pv_check(PV_TRY("lock btrq $1, %1; setc %b0", ARGUMENTS("+r"(got), "+m"(level1[1]))), true,
             "BTR");
    carry = got & 1;
    pv_check(carry, true, "what BTR found");
    pv_check(level1[1] & W, 0, "W after BTR");
    pv_check(PV_TRY("movl %k1, %0", "+m"(level1[1]), "r"(0)), true, "half an entry");
    pv_check(level1[1], machine(other) >> 32 << 32, "the other half");
    pv_check(PV_TRY("lock orq %1, %0", "+m"(level1[2]), "r"(machine(other) | P | U)), true, "OR");
    pv_check(*(uint64_t *)(WINDOW + 2 * PAGE), 0x5678, "the page that OR has mapped");
}

static void refuse_writes(void)
{
    uint64_t before = level1[3];

    pv_check(pv_store((uint64_t)&level1[3], 0x200 * PAGE | FLAGS), false, "the hypervisor's frame");
    pv_check(pv_fault.vector, 14, "its exception");
    pv_check(pv_fault.error, 3, "its error code");
    pv_check(pv_store((uint64_t)&level1[3], machine(level1) | FLAGS), false, "the table in itself");
    pv_check(pv_store((uint64_t)&level1[3] + 4, 0), false, "a write across two entries");
    pv_check(level1[3], before, "the entry after writes that were refused");
    pv_check(pv_store((uint64_t)&level2[0], 0), false, "a write to a table of level 2");
    pv_check(level2[0] & FRAME, machine(level1), "the table of level 2");
    pv_check(PV_TRY("movups %%xmm0, %0", "+m"(level1[4])), false, "a write of two entries");
}

static void unlink_table(void)
{
    uint64_t *root = (uint64_t *)pv_info->pt_base,
             *level3 = pv_page_of(root[0] >> 12 & 0xffffffffff);
    uint64_t value = 0;

    pv_check((uint64_t)pv_protect(level1, true), REFUSED, "writing a table that is in use");
    pv_check((uint64_t)pv_update(machine(&level3[2]), 0), 0, "unlinking the tables");
    pv_check(pv_load(WINDOW + 2 * PAGE, &value), false, "a page that was mapped by them");
    pv_check((uint64_t)pv_protect(level1, true), 0, "the table is a page again");
    pv_check((uint64_t)pv_protect(level2, true), 0, "and the one above");
    pv_check(pv_store((uint64_t)&level1[3], FRAME | FLAGS), true, "anything may be written there");
}

/* ---- batches, A and D, the M2P ---- */

static void check_batches(void)
{
    struct mmu_update updates[3] = {
        { machine(&other[0]), 0x1111 },
        { machine(&other[1]), 0x2222 },
        { machine(pv_entry(page)), 0x200 * PAGE | FLAGS },
    };
    struct multicall_entry calls[2] = {
        { .op = __HYPERVISOR_xen_version, .args = { XENVER_version } },
        { .op = __HYPERVISOR_iret },
    };
    uint32_t  done = 77;
    uint64_t *entry = pv_entry(page);

    pv_check((uint64_t)pv_call(__HYPERVISOR_mmu_update, (uint64_t)updates, 3, (uint64_t)&done,
                               DOMID_SELF),
             REFUSED, "a batch whose third update is refused");
    pv_check(done, 2, "how many were done");
    pv_check(other[1], 0x2222, "an update of a page that is no table");
    pv_check((uint64_t)pv_call(__HYPERVISOR_mmu_update, (uint64_t)updates, 1, 0, 0x7ff4),
             (uint64_t)-XEN_ESRCH, "frames of a domain that is not there");
    pv_check((uint64_t)pv_call(__HYPERVISOR_multicall, (uint64_t)calls, 2, 0, 0), 0, "a multicall");
    pv_check(calls[0].result, 4 << 16 | 17, "its first result");
    pv_check(calls[1].result, REFUSED, "iret in a multicall");

    page[0] = 1; /* A and D are set */
    pv_check(
        (uint64_t)pv_update(machine(entry) | MMU_PT_UPDATE_PRESERVE_AD, machine(page) | P | W | U),
        0, "an update that preserves A and D");
    pv_check(*entry & (A | D), A | D, "A and D after it");
    pv_check((uint64_t)pv_update(machine(page) | MMU_MACHPHYS_UPDATE, 0x4321), 0, "an M2P update");
    pv_check(((const uint64_t *)MACH2PHYS_VIRT_START)[pv_mfn(page)], 0x4321, "the M2P");
    pv_check((uint64_t)pv_update(machine(page) | MMU_MACHPHYS_UPDATE, (uint64_t)page / PAGE), 0,
             "the M2P as it was");
    pv_check((uint64_t)pv_update(0x200 * PAGE | MMU_MACHPHYS_UPDATE, 1), REFUSED,
             "the M2P of the hypervisor's frame");
}

/* ---- memory that is given back ---- */

static void check_reservation(void)
{
    uint64_t                      mfn = pv_mfn(other), had = mfn, pages;
    struct xen_memory_reservation r = { .nr_extents = 1, .domid = DOMID_SELF };
    domid_t                       self = DOMID_SELF;

    r.extent_start.p = (void *)&mfn;
    pages = (uint64_t)pv_call(__HYPERVISOR_memory_op, XENMEM_current_reservation, (uint64_t)&self,
                              0, 0);
    other[5] = 0x5555;
    pv_check(
        (uint64_t)pv_call(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, (uint64_t)&r, 0, 0),
        1, "giving a frame back that is mapped");
    pv_check(other[5], 0x5555, "the page while it is mapped");
    pv_check(
        (uint64_t)pv_call(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, (uint64_t)&r, 0, 0),
        0, "giving it back twice");
    pv_check(map_at(other, 0), 0, "unmapping it");
    for (unsigned i = 0; i < 16; i++) /* under shadow paging dead tables may still know it */
        pv_call(__HYPERVISOR_sched_op, SCHEDOP_yield, 0, 0, 0);
    pv_check((uint64_t)pv_call(__HYPERVISOR_memory_op, XENMEM_current_reservation, (uint64_t)&self,
                               0, 0),
             pages - 1, "what is left");
    pv_check(map_at(other, had * PAGE | FLAGS), REFUSED, "mapping what was given back");
    mfn = (uint64_t)other / PAGE;
    pv_check((uint64_t)pv_call(__HYPERVISOR_memory_op, XENMEM_populate_physmap, (uint64_t)&r, 0, 0),
             1, "getting a frame");
    pv_check(map_at(other, mfn * PAGE | FLAGS), 0, "mapping it");
    for (unsigned i = 0; i < 512; i++)
        pv_check(other[i], 0, "a frame that is new");
    pv_check(((const uint64_t *)MACH2PHYS_VIRT_START)[mfn], (uint64_t)other / PAGE, "its M2P");
    ((uint64_t *)pv_info->mfn_list)[(uint64_t)other / PAGE] = mfn;
    mfn = 0x200;
    pv_check(
        (uint64_t)pv_call(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, (uint64_t)&r, 0, 0),
        0, "giving the hypervisor's frame back");
}

/* Longer than what is read at once; what is refused ends it, wherever that is. */
static void check_lists(void)
{
    struct mmu_update list[20];
    uint64_t         *entry = pv_entry(page), good = *entry;
    uint32_t          done = 0;

    for (unsigned i = 0; i < 20; i++)
        list[i] = (struct mmu_update){ machine(entry), i % 2 ? good : good & ~W };
    pv_check(
        (uint64_t)pv_call(__HYPERVISOR_mmu_update, (uint64_t)list, 20, (uint64_t)&done, DOMID_SELF),
        0, "a list of updates");
    pv_check(done, 20, "how many were done of it");
    pv_check(*entry, good, "the entry after the last");
    list[17].val = 0x200 * PAGE | FLAGS;
    pv_check(
        (uint64_t)pv_call(__HYPERVISOR_mmu_update, (uint64_t)list, 20, (uint64_t)&done, DOMID_SELF),
        REFUSED, "a list with one that is refused");
    pv_check(done, 17, "how many were done before it");
    pv_check(*entry, good & ~W, "the entry before it");
    pv_check((uint64_t)pv_update(machine(entry), good), 0, "the entry as it was");
}

/* An operation on a table, with values in XMM0 and XMM1: how many of their halves it changes. */
static unsigned changed_halves(unsigned cmd, const void *table)
{
    struct mmuext_op  op = { .cmd = cmd, .arg1.mfn = pv_mfn(table) };
    uint64_t          nr = __HYPERVISOR_mmuext_op, at = (uint64_t)&op, count = 1, none = 0;
    uint64_t          low[2], high[2];
    register uint64_t whose __asm__("r10") = DOMID_SELF;

    __asm__ volatile("pcmpeqd %%xmm0, %%xmm0\n\tpcmpeqd %%xmm1, %%xmm1\n\tpsrld $3, %%xmm1\n\t"
                     "syscall\n\t"
                     "movlps %%xmm0, (%[low])\n\tmovhps %%xmm0, (%[high])\n\t"
                     "movlps %%xmm1, 8(%[low])\n\tmovhps %%xmm1, 8(%[high])"
                     : "+a"(nr), "+D"(at), "+S"(count), "+d"(none), "+r"(whose)
                     : [low] "b"(low), [high] "r"(high)
                     : "memory", "cc", "rcx", "r11", "r8", "r9");
    pv_check(nr, 0, "pinning or unpinning an empty table");
    return (low[0] != ~0ul ? 1u : 0) + (high[0] != ~0ul ? 1u : 0) +
           (low[1] != 0x1fffffff1ffffffful ? 1u : 0) + (high[1] != 0x1fffffff1ffffffful ? 1u : 0);
}

/* The hypervisor looks at tables by registers that are the guest's; or by others, where CR0.TS is set. */
static void check_wide(void)
{
    pv_check(mmuext(MMUEXT_CLEAR_PAGE, pv_mfn(other), 0), 0, "clearing a page");
    pv_check((uint64_t)pv_protect(other, false), 0, "making it read-only");
    pv_check(changed_halves(MMUEXT_PIN_L1_TABLE, other), 0, "XMM registers that change");
    pv_check(changed_halves(MMUEXT_UNPIN_TABLE, other), 0, "XMM registers that change");
    pv_call(__HYPERVISOR_fpu_taskswitch, 1, 0, 0, 0);
    pv_check(mmuext(MMUEXT_PIN_L1_TABLE, pv_mfn(other), 0), 0, "pinning with CR0.TS set");
    pv_check(mmuext(MMUEXT_UNPIN_TABLE, pv_mfn(other), 0), 0, "unpinning with CR0.TS set");
    pv_call(__HYPERVISOR_fpu_taskswitch, 0, 0, 0, 0);
    pv_check((uint64_t)pv_protect(other, true), 0, "making it writable");
}

void pv_main(void)
{
    check_leaves();
    check_upper();
    check_pins();
    link_table();
    write_entries();
    refuse_writes();
    unlink_table();
    check_batches();
    check_lists();
    check_wide();
    check_reservation();
}
