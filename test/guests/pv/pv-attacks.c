/*
 * Attacks on machines of this kind that have worked elsewhere, and are tried nowhere else here: each is
 * refused with an error, and what it was made on is as it was.
 */
#include "test/guests/pv/pv.h"

const char pv_name[] = "pv-attacks";

#define REFUSED ((uint64_t)-XEN_EINVAL)
#define FLAGS   (P | W | U | A | D)
#define READ    (P | U | A | D)
#define PS      (1ul << 7)
#define DATA    0x00cff3000000fffful
#define FRAME   0xffffffffff000ul
#define NOWHERE 0x1234567890abul /* a frame that is not there */

static uint64_t tables[6][512] __attribute__((aligned(4096)));
static uint64_t page[512] __attribute__((aligned(4096)));
static uint64_t ldt[1024] __attribute__((aligned(4096)));

static uint64_t machine(const void *p)
{
    return pv_mfn(p) * PAGE + ((uint64_t)p & (PAGE - 1));
}

static uint64_t mmuext(unsigned cmd, uint64_t one, uint64_t two)
{
    return (uint64_t)pv_mmuext(cmd, one, two);
}

static uint64_t update(uint64_t *entry, uint64_t value)
{
    return (uint64_t)pv_update(machine(entry), value);
}

static void refuse(uint64_t *entry, uint64_t value, const char *what)
{
    uint64_t before = *entry;

    pv_check(update(entry, value), REFUSED, what);
    pv_check(*entry, before, what);
}

static uint64_t *root(void)
{
    return (uint64_t *)pv_info->pt_base;
}

static uint64_t *below(const uint64_t *table, unsigned index)
{
    return pv_page_of(table[index] >> 12 & 0xffffffffff);
}

/* Rights and sizes are not raised by an update that seems to change flags only. */
static void check_flags(void)
{
    uint64_t *level3 = below(root(), 0), *level2 = below(level3, 0), *level1 = below(level2, 0);
    uint64_t  self = machine(root()), table = *pv_entry(level1);

    pv_check(update(&root()[300], self | READ), 0, "the root in itself, to be read");
    refuse(&root()[300], self | FLAGS, "and then to be written");
    pv_check(update(&root()[300], self | P | U), 0, "other flags of it");
    pv_check(update(&root()[300], 0), 0, "without it");
    refuse(&level2[0], level2[0] | PS, "a table that becomes a large page");
    refuse(&level3[0], level3[0] | PS, "a larger one");
    refuse(pv_entry(level1), table | W, "a mapping of a table that becomes writable");
    refuse(pv_entry(page), *pv_entry(page) | PS, "a page of other cacheability");
    pv_check(update(&level3[5], machine(level3) | READ), 0, "a table of level 3 in itself");
    refuse(&level3[5], machine(level3) | FLAGS, "and then to be written");
    refuse(&level3[6], machine(root()) | READ, "the root below itself");
    pv_check(update(&level3[5], 0), 0, "without it");
}

/* Tables of one level in each other: one step may be, two may not, in whatever order they are made. */
static void check_chains(void)
{
    for (unsigned i = 0; i < 4; i++)
        pv_check((uint64_t)pv_protect(tables[i], false), 0, "making a page read-only");
    for (unsigned i = 0; i < 3; i++)
        pv_check(mmuext(MMUEXT_PIN_L2_TABLE, pv_mfn(tables[i]), 0), 0, "a table of level 2");
    pv_check(update(&tables[0][0], machine(tables[1]) | READ), 0, "one in another");
    refuse(&tables[1][0], machine(tables[2]) | READ, "a third behind it");
    refuse(&tables[2][0], machine(tables[0]) | READ, "one before it");
    refuse(&tables[1][0], machine(tables[0]) | READ, "back again");
    refuse(&tables[2][0], machine(tables[1]) | FLAGS, "one to be written");
    refuse(&tables[2][0], machine(tables[3]) | FLAGS | PS, "a large page");
    pv_check(mmuext(MMUEXT_UNPIN_TABLE, pv_mfn(tables[1]), 0), 0, "unpinning what is still named");
    pv_check((uint64_t)pv_protect(tables[1], true), REFUSED, "writing it");
    pv_check(update(&tables[0][0], 0), 0, "naming it no more");
    pv_check((uint64_t)pv_protect(tables[1], true), 0, "writing it then");
    pv_check(mmuext(MMUEXT_UNPIN_TABLE, pv_mfn(tables[0]), 0), 0, "unpinning the first");
    pv_check(mmuext(MMUEXT_UNPIN_TABLE, pv_mfn(tables[2]), 0), 0, "unpinning the third");
    for (unsigned i = 0; i < 4; i++)
        pv_check((uint64_t)pv_protect(tables[i], true), 0, "a page again");
}

/* What is read through the root in itself is what the last update made of the tables. */
static void check_stale(void)
{
    uint64_t          *level3 = below(root(), 0), value = 0;
    volatile uint64_t *seen =
        (uint64_t *)(0xffff000000000000ul | 300ul << 39 | 300ul << 30 | 300ul << 21 | 0ul << 12);

    tables[4][7] = machine(page) | READ;
    pv_check((uint64_t)pv_protect(tables[4], false), 0, "making a page read-only");
    pv_check((uint64_t)pv_protect(tables[5], false), 0, "and another");
    pv_check(update(&root()[300], machine(root()) | READ), 0, "the root in itself");
    pv_check(seen[0] & FRAME, machine(below(level3, 0)), "a table through it");
    pv_check(update(&level3[9], machine(tables[5]) | FLAGS), 0, "one more table");
    pv_check(seen[9] & FRAME, machine(tables[5]), "which is seen at once");
    pv_check(update(&level3[9], 0), 0, "without it");
    pv_check(seen[9], 0, "which is seen at once");
    pv_check(update(&root()[300], 0), 0, "without the root");
    pv_check(pv_load((uint64_t)seen, &value), false, "where it was");
    pv_check((uint64_t)pv_protect(tables[4], true), 0, "a page again");
    pv_check((uint64_t)pv_protect(tables[5], true), 0, "and the other");
}

/* Addresses that the processor would not take, and frames that are not there. */
static void check_wild(void)
{
    static const uint64_t va[] = { 1ul << 47, 1ul << 63, 0xffff7ffffffff000ul, 0xffff800000000000ul,
                                   0xffff87fffffff000ul };
    static const unsigned pins[] = { MMUEXT_PIN_L1_TABLE,     MMUEXT_PIN_L2_TABLE,
                                     MMUEXT_PIN_L3_TABLE,     MMUEXT_PIN_L4_TABLE,
                                     MMUEXT_UNPIN_TABLE,      MMUEXT_NEW_BASEPTR,
                                     MMUEXT_NEW_USER_BASEPTR, MMUEXT_CLEAR_PAGE };
    static const uint64_t frames[] = { NOWHERE, ~0ul, 0x200, 1ul << 40 };

    for (unsigned i = 0; i < sizeof(va) / sizeof(va[0]); i++) {
        pv_check((uint64_t)pv_call(__HYPERVISOR_update_va_mapping, va[i], machine(page) | FLAGS,
                                   UVMF_INVLPG, 0),
                 REFUSED, "a mapping where there is no address");
        pv_check(mmuext(MMUEXT_INVLPG_LOCAL, va[i], 0), 0, "a flush of no address");
        pv_check(mmuext(MMUEXT_INVLPG_ALL, va[i], 0), 0, "and everywhere");
    }
    for (unsigned i = 0; i < sizeof(pins) / sizeof(pins[0]); i++)
        for (unsigned f = 0; f < sizeof(frames) / sizeof(frames[0]); f++)
            pv_check(mmuext(pins[i], frames[f], 0), REFUSED, "a frame that is not ours");
    page[3] = 0x33;
    for (unsigned f = 0; f < sizeof(frames) / sizeof(frames[0]); f++) {
        pv_check(mmuext(MMUEXT_COPY_PAGE, pv_mfn(page), frames[f]), REFUSED, "a copy from it");
        pv_check(mmuext(MMUEXT_COPY_PAGE, frames[f], pv_mfn(page)), REFUSED, "a copy to it");
        pv_check((uint64_t)pv_update(frames[f] << 12 | MMU_MACHPHYS_UPDATE, 1), REFUSED,
                 "its number in the M2P");
        pv_check((uint64_t)pv_update(frames[f] << 12, 1), REFUSED, "a word in it");
        pv_check((uint64_t)pv_call(__HYPERVISOR_update_descriptor, frames[f] << 12, DATA, 0, 0),
                 REFUSED, "a descriptor in it");
    }
    pv_check(page[3], 0x33, "the page that was not copied to");
    pv_check((uint64_t)pv_call(__HYPERVISOR_update_descriptor, machine(root()), DATA, 0, 0),
             REFUSED, "a descriptor in a table");
}

/* A page of the LDT behind its limit is not looked at, and so becomes nothing else. */
static void check_limit(void)
{
    ldt[1] = ldt[513] = DATA;
    pv_check((uint64_t)pv_protect(ldt, false), 0, "making a page read-only");
    pv_check((uint64_t)pv_protect(&ldt[512], false), 0, "and the next");
    pv_check(mmuext(MMUEXT_SET_LDT, (uint64_t)ldt, 2), 0, "an LDT of two descriptors");
    pv_check(PV_TRY("mov %w0, %%fs", , "r"(1 * 8 + 7)), true, "one of them");
    pv_check(PV_TRY("mov %w0, %%fs", , "r"(2 * 8 + 7)), false, "one behind them");
    pv_check(pv_fault.vector, 13, "its exception");
    pv_check(PV_TRY("mov %w0, %%fs", , "r"(513 * 8 + 7)), false, "one far behind them");
    pv_check(pv_fault.vector, 13, "its exception");
    pv_check(pv_fault.error, 513 * 8 + 4, "its error code");
    pv_check((uint64_t)pv_protect(ldt, true), REFUSED, "writing the page that is used");
    pv_check((uint64_t)pv_protect(&ldt[512], true), 0, "writing the one that is not");
    pv_check(mmuext(MMUEXT_SET_LDT, 0, 0), 0, "no LDT");
    pv_check(PV_TRY("mov %w0, %%fs", , "r"(0)), true, "nothing in FS");
    pv_check((uint64_t)pv_protect(ldt, true), 0, "a page again");
}

/* Extents of any order, and more of them than there can be. */
static void check_orders(void)
{
    struct xen_memory_reservation r = { .nr_extents = 1, .domid = DOMID_SELF };
    domid_t                       self = DOMID_SELF;
    uint64_t                      mfn = pv_mfn(page), pages;

    pages = (uint64_t)pv_call(__HYPERVISOR_memory_op, XENMEM_current_reservation, (uint64_t)&self,
                              0, 0);
    r.extent_start.p = (void *)&mfn;
    for (r.extent_order = 1; r.extent_order < 64; r.extent_order += 21) {
        pv_check((uint64_t)pv_call(__HYPERVISOR_memory_op, XENMEM_decrease_reservation,
                                   (uint64_t)&r, 0, 0),
                 0, "giving a large block back");
        pv_check(
            (uint64_t)pv_call(__HYPERVISOR_memory_op, XENMEM_populate_physmap, (uint64_t)&r, 0, 0),
            0, "getting one");
    }
    r.extent_order = 0;
    r.nr_extents = ~0ul;
    pv_check(
        (uint64_t)pv_call(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, (uint64_t)&r, 0, 0),
        REFUSED, "more than there are numbers for");
    pv_check((uint64_t)pv_call(__HYPERVISOR_memory_op, XENMEM_current_reservation, (uint64_t)&self,
                               0, 0),
             pages, "the reservation");
}

static void check_bases(void)
{
    uint64_t value = 0;

    pv_check(PV_TRY("rdfsbase %0", "+r"(value)), false, "RDFSBASE");
    pv_check(pv_fault.vector, 6, "its exception");
    pv_check(PV_TRY("wrgsbase %0", , "r"(0ul)), false, "WRGSBASE");
    pv_check(pv_fault.vector, 6, "its exception");
}

void pv_main(void)
{
    check_flags();
    check_chains();
    check_stale();
    check_wild();
    check_limit();
    check_orders();
    check_bases();
}
