/*
 * Grants between two guests. One lends (`lend=N`, to domain N): pages of every kind that may and may
 * not be used, and while they are used it tries to make tables of them, to grant others by the same
 * reference, and to give them back. The other uses them (`use=N`): maps and copies, and tries to get
 * more than was granted. They take turns by a word in a page that both see.
 *
 * The lender may be a bare guest of another kind: grants.c. What it lends is the same.
 */
#include "test/guests/grants.h"
#include "test/guests/pv/pv.h"

const char pv_name[] = "pv-grant";

#define FLAGS   (P | W | U | A | D)
#define REFUSED ((uint64_t)-XEN_EINVAL)
#define PATIENT 2000000 /* looks at the word before giving up */

static union {
    struct grant_entry_v1 entry[512];
    uint64_t              word[512];
} table __attribute__((aligned(4096)));
static uint64_t window[8][512] __attribute__((aligned(4096)));
static uint64_t lent[8][512] __attribute__((aligned(4096)));
static uint64_t other, peer;

static uint64_t machine(const void *p)
{
    return pv_mfn(p) * PAGE + ((uint64_t)p & (PAGE - 1));
}

static uint64_t map_at(void *p, uint64_t entry)
{
    return (uint64_t)pv_call(__HYPERVISOR_update_va_mapping, (uint64_t)p, entry, UVMF_INVLPG, 0);
}

static void await(const volatile uint64_t *word, uint64_t value)
{
    for (unsigned i = 0; *word != value; i++) {
        if (i == PATIENT)
            pv_fail("the other guest does not come", *word, value);
        pv_call(__HYPERVISOR_sched_op, SCHEDOP_yield, 0, 0, 0);
    }
}

/* ---- the lender ---- */

static void set_up_table(void)
{
    uint64_t                  frame = 0;
    struct gnttab_setup_table setup = { .dom = DOMID_SELF, .nr_frames = 1 };

    setup.frame_list.p = (void *)&frame;
    pv_check((uint64_t)pv_call(__HYPERVISOR_grant_table_op, GNTTABOP_setup_table, (uint64_t)&setup,
                               1, 0),
             0, "setup_table");
    pv_check((uint64_t)setup.status, GNTST_okay, "its status");
    pv_check(map_at(&table, frame * PAGE | FLAGS), 0, "the grant table");
}

static void grant(unsigned ref, uint64_t frame, uint16_t domain, uint16_t flags)
{
    table.entry[ref].frame = (uint32_t)frame;
    table.entry[ref].domid = domain;
    __atomic_store_n(&table.entry[ref].flags, flags, __ATOMIC_SEQ_CST);
}

static void grant_all(void)
{
    uint16_t to = (uint16_t)peer;

    lent[1][0] = GRANTS_PATTERN;
    grant(GRANTS_READABLE, pv_mfn(lent[1]), to, GTF_permit_access | GTF_readonly);
    grant(GRANTS_TABLE, pv_mfn(pv_entry(lent[0])), to, GTF_permit_access);
    grant(GRANTS_NOBODYS, 0x200, to, GTF_permit_access);
    grant(GRANTS_ELSEWHERE, pv_mfn(lent[1]), (uint16_t)(to + 5), GTF_permit_access);
    grant(GRANTS_TRANSFER, 0, to, GTF_accept_transfer);
    lent[2][0] = GRANTS_PATTERN + 2;
    grant(GRANTS_GOING, pv_mfn(lent[2]), to, GTF_permit_access);
    grant(GRANTS_COPIED, pv_mfn(lent[3]), to, GTF_permit_access);
    lent[0][0] = GRANTS_READY;
    grant(GRANTS_WORD, pv_mfn(lent[0]), to, GTF_permit_access);
}

static void lend(void)
{
    struct xen_memory_reservation r = { .nr_extents = 1, .domid = DOMID_SELF };
    uint64_t                      going = pv_mfn(lent[2]);

    set_up_table();
    grant_all();
    await(&lent[0][0], GRANTS_MAPPED);
    pv_check(table.entry[GRANTS_WORD].flags, GTF_permit_access | GTF_reading | GTF_writing,
             "the flags of an entry that is mapped");
    pv_check(table.entry[GRANTS_TABLE].flags, GTF_permit_access,
             "the flags of an entry whose frame cannot be mapped");
    /* Nothing that is written into the entry changes what it is mapped to. */
    table.entry[GRANTS_WORD].frame = (uint32_t)pv_mfn(lent[4]);
    table.entry[GRANTS_READABLE].flags = 0;
    pv_check((uint64_t)pv_protect(lent[3], false), 0, "making a page read-only that is granted");
    pv_check((uint64_t)pv_mmuext(MMUEXT_PIN_L1_TABLE, pv_mfn(lent[3]), 0), 0,
             "making a table of it");
    pv_check(map_at(lent[2], 0), 0, "unmapping what goes back");
    r.extent_start.p = (void *)&going;
    pv_check(
        (uint64_t)pv_call(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, (uint64_t)&r, 0, 0),
        1, "giving a frame back that somebody has mapped");
    lent[0][0] = GRANTS_CHANGED;
    await(&lent[0][0], GRANTS_CHECKED);
    pv_check((uint64_t)pv_mmuext(MMUEXT_UNPIN_TABLE, pv_mfn(lent[3]), 0), 0, "no table any more");
    pv_check((uint64_t)pv_protect(lent[3], true), 0, "a page again");
    lent[0][0] = GRANTS_PAGE;
    await(&lent[3][5], GRANTS_PATTERN + 5);
    pv_check(table.entry[GRANTS_WORD].flags & (GTF_reading | GTF_writing), 0,
             "the flags of an entry that is mapped no more");
    pv_check((uint64_t)pv_protect(lent[0], false), 0, "making the shared page read-only");
    lent[5][0] = 0;
    pv_check((uint64_t)pv_mmuext(MMUEXT_PIN_L1_TABLE, pv_mfn(lent[0]), 0), REFUSED,
             "a table with what is in the shared page");
    pv_check((uint64_t)pv_protect(lent[0], true), 0, "making it writable");
}

/* ---- the user ---- */

static int16_t map(uint64_t address, unsigned ref, unsigned flags, uint16_t domain,
                   uint32_t *handle)
{
    struct gnttab_map_grant_ref op = {
        .host_addr = address, .flags = flags, .ref = ref, .dom = domain, .handle = ~0u
    };

    pv_check(
        (uint64_t)pv_call(__HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, (uint64_t)&op, 1, 0),
        0, "map_grant_ref");
    if (handle != NULL)
        *handle = op.handle;
    return op.status;
}

static int16_t unmap(uint64_t address, uint32_t handle)
{
    struct gnttab_unmap_grant_ref op = { .host_addr = address, .handle = handle };

    pv_check((uint64_t)pv_call(__HYPERVISOR_grant_table_op, GNTTABOP_unmap_grant_ref, (uint64_t)&op,
                               1, 0),
             0, "unmap_grant_ref");
    return op.status;
}

#define COPY_FROM_GRANT(r) .source = { .u.ref = (r), .domid = (uint16_t)peer }
#define COPY_TO_PAGE(p)    .dest = { .u.gmfn = pv_mfn(p), .domid = DOMID_SELF }
#define COPY_FROM_PAGE(p)  .source = { .u.gmfn = pv_mfn(p), .domid = DOMID_SELF }
#define COPY_TO_GRANT(r)   .dest = { .u.ref = (r), .domid = (uint16_t)peer }

static int16_t copy(struct gnttab_copy op)
{
    pv_check((uint64_t)pv_call(__HYPERVISOR_grant_table_op, GNTTABOP_copy, (uint64_t)&op, 1, 0), 0,
             "the copy");
    return op.status;
}

/* The word as it is in the lender's page, by a copy. */
static void await_copy(uint64_t value)
{
    struct gnttab_copy op = { COPY_FROM_GRANT(GRANTS_WORD), COPY_TO_PAGE(&other), .len = 8,
                              .flags = GNTCOPY_source_gref };

    op.dest.offset = (uint64_t)&other & (PAGE - 1);
    for (unsigned i = 0; copy(op) != GNTST_okay || other != value; i++) {
        if (i == PATIENT)
            pv_fail("the other guest does not lend", other, value);
        pv_call(__HYPERVISOR_sched_op, SCHEDOP_yield, 0, 0, 0);
    }
}

static void status(int16_t got, int16_t wanted, const char *what)
{
    pv_check((uint64_t)got, (uint64_t)wanted, what);
}

#define AT(i) ((uint64_t)window[i])
#define HOST  GNTMAP_host_map
#define READ  (GNTMAP_host_map | GNTMAP_readonly)

/* Nothing of this may be mapped, and the page stays what it was. */
static void refuse_maps(void)
{
    uint64_t before = *pv_entry(window[5]);
    uint16_t from = (uint16_t)peer;
    uint64_t at = machine(pv_entry(window[5])), root = pv_info->pt_base;

    status(map(AT(5), GRANTS_READABLE, HOST, from, 0), GNTST_general_error, "more than readable");
    status(map(AT(5), GRANTS_NOBODYS, HOST, from, 0), GNTST_bad_page, "nobody's frame");
    status(map(AT(5), GRANTS_ELSEWHERE, HOST, from, 0), GNTST_general_error, "another's grant");
    status(map(AT(5), GRANTS_TRANSFER, HOST, from, 0), GNTST_general_error, "a place to transfer");
    status(map(AT(5), 5, HOST, from, 0), GNTST_general_error, "an empty entry");
    status(map(AT(5), 5000, HOST, from, 0), GNTST_bad_gntref, "beyond the table");
    status(map(AT(5), ~0u, HOST, from, 0), GNTST_bad_gntref, "far beyond it");
    status(map(AT(5), GRANTS_WORD, HOST, 77, 0), GNTST_bad_domain, "a domain that is not there");
    status(map(AT(5), GRANTS_WORD, 0, from, 0), GNTST_bad_gntref, "a map of no kind");
    status(map(AT(5), GRANTS_WORD, GNTMAP_device_map | HOST, from, 0), GNTST_no_device_space,
           "a map for devices");
    status(map(MACH2PHYS_VIRT_START, GRANTS_WORD, HOST, from, 0), GNTST_bad_virt_addr,
           "at the hypervisor's address");
    status(map(0x80000000ul, GRANTS_WORD, HOST, from, 0), GNTST_bad_virt_addr,
           "at an address without a table");
    status(map(at + 4, GRANTS_WORD, HOST | GNTMAP_contains_pte, from, 0), GNTST_general_error,
           "into half an entry");
    status(map(0x200 * PAGE, GRANTS_WORD, HOST | GNTMAP_contains_pte, from, 0), GNTST_general_error,
           "into the hypervisor's frame");
    status(map(~7ul, GRANTS_WORD, HOST | GNTMAP_contains_pte, from, 0), GNTST_general_error,
           "into the last frame there could be");
    status(map(machine((void *)root), GRANTS_WORD, HOST | GNTMAP_contains_pte, from, 0),
           GNTST_general_error, "into an entry of the root");
    status(map(machine(window[6]), GRANTS_WORD, HOST | GNTMAP_contains_pte, from, 0),
           GNTST_general_error, "into a page that is no table");
    pv_check(*pv_entry(window[5]), before, "the entry that nothing was mapped at");
}

/* What is mapped gives no right but that one. */
static void refuse_more(uint32_t readable)
{
    uint64_t shared = *pv_entry(window[0]), read = *pv_entry(window[1]);

    pv_check((uint64_t)pv_update(machine(pv_entry(window[5])), shared), REFUSED,
             "the entry once more");
    pv_check((uint64_t)pv_update(machine(pv_entry(window[1])), read | W), REFUSED,
             "write access to what is readable");
    pv_check(pv_store((uint64_t)pv_entry(window[1]), read | W), false, "by an instruction");
    pv_check(*pv_entry(window[1]), read, "the entry then");
    pv_check(pv_store(AT(1), 1), false, "a write to what is readable");
    pv_check(window[1][0], GRANTS_PATTERN, "what is there");
    window[6][0] = shared;
    pv_check((uint64_t)pv_protect(window[6], false), 0, "making a page read-only");
    pv_check((uint64_t)pv_mmuext(MMUEXT_PIN_L1_TABLE, pv_mfn(window[6]), 0), REFUSED,
             "a table with another's frame");
    pv_check((uint64_t)pv_protect(window[6], true), 0, "a page again");
    status(unmap(machine(pv_entry(window[1])), readable + 77), GNTST_bad_handle, "no such handle");
    status(unmap(machine(pv_entry(window[1])), ~0u), GNTST_bad_handle, "no handle");
    status(unmap(AT(1), readable), GNTST_general_error, "a page where an entry is meant");
    status(unmap(machine(pv_entry(window[5])), readable), GNTST_general_error, "another page's");
    status(unmap(machine(pv_entry(window[0])), readable), GNTST_general_error, "another grant's");
    status(unmap(0, readable), GNTST_okay, "no page");
    pv_check(window[1][0], GRANTS_PATTERN, "what is mapped still");
}

static void refuse_copies(void)
{
    struct gnttab_copy good = { COPY_FROM_GRANT(GRANTS_READABLE), COPY_TO_PAGE(window[6]),
                                .len = 16, .flags = GNTCOPY_source_gref };
    struct gnttab_copy back = { COPY_FROM_PAGE(window[6]), COPY_TO_GRANT(GRANTS_READABLE),
                                .len = 16, .flags = GNTCOPY_dest_gref };
    struct gnttab_copy op = good;

    status(copy(good), GNTST_okay, "a copy");
    pv_check(window[6][0], GRANTS_PATTERN, "what was copied");
    op.source.offset = 4090;
    status(copy(op), GNTST_bad_copy_arg, "over the end of the source");
    op = good;
    op.dest.offset = 0xfff8;
    status(copy(op), GNTST_bad_copy_arg, "over the end of the destination");
    op = good;
    op.flags = 0;
    status(copy(op), GNTST_permission_denied, "another's frame without a grant");
    op = good;
    op.dest.u.gmfn = 0x200;
    status(copy(op), GNTST_bad_page, "into the hypervisor");
    op.dest.u.gmfn = ~0ul;
    status(copy(op), GNTST_bad_page, "into nowhere");
    op.dest.u.gmfn = pv_mfn((void *)pv_info->pt_base);
    status(copy(op), GNTST_bad_page, "into a page table of ours");
    op.dest.u.gmfn = *pv_entry(window[0]) >> 12 & 0xffffffffff;
    status(copy(op), GNTST_bad_page, "into a frame by its number that was granted otherwise");
    status(copy(back), GNTST_general_error, "into what is readable");
    back.dest.u.ref = GRANTS_NOBODYS;
    status(copy(back), GNTST_bad_page, "into nobody's frame");
    op = good;
    op.source.u.ref = GRANTS_TRANSFER;
    status(copy(op), GNTST_general_error, "from a place to transfer");
}

static void refuse_transfer(void)
{
    struct gnttab_transfer op = { .mfn = pv_mfn(window[7]),
                                  .domid = (uint16_t)peer,
                                  .ref = GRANTS_TRANSFER };

    pv_check((uint64_t)pv_call(__HYPERVISOR_grant_table_op, GNTTABOP_transfer, (uint64_t)&op, 1, 0),
             0, "transfer");
    status(op.status, GNTST_bad_page, "a transfer");
    window[7][0] = 7;
    pv_check(map_at(window[7], machine(window[7]) | FLAGS), 0, "the frame is ours as before");
}

static void use(void)
{
    uint16_t           from = (uint16_t)peer;
    bool               direct = pv_number("kind=", 0) == 0; /* it lends with types of its own */
    uint32_t           word, word_again, readable, going, table_handle;
    uint64_t           old[8];
    struct gnttab_copy last = { COPY_FROM_PAGE(window[7]), COPY_TO_GRANT(GRANTS_COPIED), .len = 64,
                                .flags = GNTCOPY_dest_gref };

    for (unsigned i = 0; i < 8; i++)
        old[i] = machine(window[i]) | FLAGS;
    await_copy(GRANTS_READY);
    refuse_maps();
    status(map(AT(0), GRANTS_WORD, HOST | 1u << _GNTMAP_guest_avail0, from, &word), GNTST_okay,
           "the word");
    pv_check(*pv_entry(window[0]) >> 9 & 7, 1, "software's bits of its entry");
    pv_check(window[0][0], GRANTS_READY, "what is in it");
    status(map(machine(pv_entry(window[1])), GRANTS_READABLE, READ | GNTMAP_contains_pte, from,
               &readable),
           GNTST_okay, "a readable page by its entry");
    status(map(AT(2), GRANTS_GOING, HOST, from, &going), GNTST_okay, "a page that will go");
    if (direct) {
        status(map(AT(3), GRANTS_TABLE, HOST, from, 0), GNTST_general_error, "another's table");
        status(map(AT(3), GRANTS_TABLE, READ, from, &table_handle), GNTST_okay, "to read only");
        pv_check(window[3][0] != 0 || window[3][511] == 0, true, "which can be read");
        status(unmap(AT(3), table_handle), GNTST_okay, "and given back");
    }
    refuse_more(readable);
    refuse_copies();
    refuse_transfer();
    window[0][0] = GRANTS_MAPPED;
    await(&window[0][0], GRANTS_CHANGED);

    status(map(AT(4), GRANTS_WORD, HOST, from, &word_again), GNTST_okay, "the word once more");
    pv_check(window[4][0], GRANTS_CHANGED, "the same page, whatever the entry says");
    status(unmap(AT(0), word), GNTST_okay, "one of the two given back");
    status(unmap(AT(0), word), GNTST_bad_handle, "and again");
    pv_check(pv_store(AT(0), 1), false, "a write to what was given back");
    pv_check(window[4][0], GRANTS_CHANGED, "the other one");
    status(map(AT(0), GRANTS_WORD, READ, from, &word), GNTST_okay, "the word to be read");
    status(unmap(AT(4), word), GNTST_general_error, "its handle for the writable page");
    status(unmap(AT(0), word), GNTST_okay, "for its own");
    pv_check(window[2][0], GRANTS_PATTERN + 2, "the page that its owner has given back");
    if (direct) {
        status(map(AT(5), GRANTS_COPIED, HOST, from, 0), GNTST_general_error,
               "a page that is a table now");
        status(copy(last), GNTST_bad_page, "a copy to it");
    }
    status(unmap(AT(2), going), GNTST_okay, "the page that goes");
    window[4][0] = GRANTS_CHECKED;
    await(&window[4][0], GRANTS_PAGE);
    status(unmap(AT(4), word_again), GNTST_okay, "the word");
    window[7][5] = GRANTS_PATTERN + 5;
    for (unsigned i = 0; i < 8; i++)
        if (i != 1)
            pv_check(map_at(window[i], old[i]), 0, "a page of our own again");
    status(copy(last), GNTST_okay, "the last copy");
    /* The readable page stays mapped when this ends. */
}

void pv_main(void)
{
    static bool done;

    peer = pv_number("lend=", 0);
    if (peer != 0) {
        lend();
        done = true;
    }
    peer = pv_number("use=", 0);
    if (peer != 0) {
        use();
        done = true;
    }
    pv_check(done, true, "a word on the command line that says what to do");
}
