/*
 * A guest that lends pages to a PV guest beside it (pv-grant.c, which is domain 2): it changes the
 * entries while they are used, gives a page back that the other one has mapped, and has one copied to
 * that is a page table of its own.
 */
#include "test/guests/grants.h"
#include "test/guests/guest.h"

const char guest_name[] = "grants";

#define PEER    2
#define PATIENT 2000000
#define THROUGH 0xc0000000ul /* where the lent page is the page table */
#define NOWHERE 0xfffff      /* a gfn without memory */

static struct grant_entry_v1 table[512] __attribute__((aligned(4096)));
static uint64_t              lent[6][512] __attribute__((aligned(4096)));

static uint32_t gfn(const void *p)
{
    return (uint32_t)((uint64_t)p / PAGE);
}

static void await(const volatile uint64_t *word, uint64_t value)
{
    for (unsigned i = 0; *word != value; i++) {
        if (i == PATIENT)
            guest_fail("the other guest does not come", *word, value);
        guest_hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, 0, 0);
    }
}

static void grant(unsigned ref, uint32_t frame, uint16_t domain, uint16_t flags)
{
    table[ref].frame = frame;
    table[ref].domid = domain;
    __atomic_store_n(&table[ref].flags, flags, __ATOMIC_SEQ_CST);
}

static void grant_all(void)
{
    struct xen_add_to_physmap place = {
        .domid = DOMID_SELF, .space = XENMAPSPACE_grant_table, .idx = 0, .gpfn = gfn(table)
    };

    guest_check((uint64_t)guest_hypercall(__HYPERVISOR_memory_op, XENMEM_add_to_physmap,
                                          (uint64_t)&place, 0),
                0, "the grant table");
    lent[1][0] = GRANTS_PATTERN;
    lent[2][0] = GRANTS_PATTERN + 2;
    lent[0][0] = GRANTS_READY;
    grant(GRANTS_READABLE, gfn(lent[1]), PEER, GTF_permit_access | GTF_readonly);
    grant(GRANTS_NOBODYS, NOWHERE, PEER, GTF_permit_access);
    grant(GRANTS_ELSEWHERE, gfn(lent[1]), PEER + 5, GTF_permit_access);
    grant(GRANTS_TRANSFER, 0, PEER, GTF_accept_transfer);
    grant(GRANTS_GOING, gfn(lent[2]), PEER, GTF_permit_access);
    grant(GRANTS_COPIED, gfn(lent[3]), PEER, GTF_permit_access);
    grant(GRANTS_WORD, gfn(lent[0]), PEER, GTF_permit_access);
}

void guest_main(const struct hvm_start_info *info)
{
    struct xen_memory_reservation r = { .nr_extents = 1, .domid = DOMID_SELF };
    uint64_t                      going = gfn(lent[2]), value = 0;

    (void)info;
    lent[3][5] = (uint64_t)lent[4] | P | W;
    lent[4][0] = GRANTS_PATTERN + 4;
    guest_pd[3 * 512] = (uint64_t)lent[3] | P | W;
    guest_invlpg(THROUGH + 5 * PAGE);
    guest_check(guest_load(THROUGH + 5 * PAGE, &value), true, "a page through the table");
    guest_check(value, GRANTS_PATTERN + 4, "what is there");
    grant_all();
    await(&lent[0][0], GRANTS_MAPPED);
    guest_check(table[GRANTS_WORD].flags, GTF_permit_access | GTF_reading | GTF_writing,
                "the flags of an entry that is mapped");
    table[GRANTS_WORD].frame = gfn(lent[5]);
    table[GRANTS_READABLE].flags = 0;
    r.extent_start.p = (void *)&going;
    guest_check((uint64_t)guest_hypercall(__HYPERVISOR_memory_op, XENMEM_decrease_reservation,
                                          (uint64_t)&r, 0),
                1, "giving a frame back that somebody has mapped");
    guest_check(guest_load((uint64_t)lent[2], &value), true, "a read where it was");
    guest_check(value, ~0ul, "nothing is there");
    lent[0][0] = GRANTS_CHANGED;
    await(&lent[0][0], GRANTS_CHECKED);
    lent[0][0] = GRANTS_PAGE;
    await(&lent[3][5], GRANTS_PATTERN + 5);
    guest_check(table[GRANTS_WORD].flags & (GTF_reading | GTF_writing), 0,
                "the flags of an entry that is mapped no more");
    guest_invlpg(THROUGH + 5 * PAGE);
    guest_check(guest_load(THROUGH + 5 * PAGE, &value), true,
                "through the table that was copied to");
    guest_check(value, ~0ul, "nothing is there");
    guest_print(guest_name);
    guest_print(": ok\n");
    guest_poweroff();
}
