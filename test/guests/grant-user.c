/*
 * A guest that maps pages, as guest frames, which the guest beside it lends (grants.c or pv-grant.c, as
 * domain 1), uses them, and tries to get more.
 */
#include "test/guests/grants.h"
#include "test/guests/guest.h"

const char guest_name[] = "grant-user";

#define PEER    1
#define PATIENT 2000000
#define ROOM    0x40000ul /* frames where there is nothing, below 4 GiB */
#define NOBODY  (~0ul)    /* what reading nothing gives */
#define AT(i)   ((ROOM + (i)) * PAGE)
#define HOST    GNTMAP_host_map
#define READ    (GNTMAP_host_map | GNTMAP_readonly)

static uint64_t own[4][512] __attribute__((aligned(4096)));

static uint64_t gfn(const void *p)
{
    return (uint64_t)p / PAGE;
}

static uint64_t load(uint64_t address)
{
    uint64_t value = 0;

    guest_check(guest_load(address, &value), true, "a read");
    return value;
}

static void store(uint64_t address, uint64_t value)
{
    guest_check(guest_store(address, value), true, "a write");
}

static void yield(void)
{
    guest_hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, 0, 0);
}

static void status(int16_t got, int16_t wanted, const char *what)
{
    guest_check((uint64_t)got, (uint64_t)wanted, what);
}

static void grant_op(uint64_t nr, void *op, const char *what)
{
    guest_check((uint64_t)guest_hypercall(__HYPERVISOR_grant_table_op, nr, (uint64_t)op, 1), 0,
                what);
}

static int16_t map(uint64_t address, unsigned ref, unsigned flags, uint16_t domain,
                   uint32_t *handle)
{
    struct gnttab_map_grant_ref op = {
        .host_addr = address, .flags = flags, .ref = ref, .dom = domain, .handle = ~0u
    };

    grant_op(GNTTABOP_map_grant_ref, &op, "map_grant_ref");
    if (handle)
        *handle = op.handle;
    return op.status;
}

static int16_t unmap(uint64_t address, uint32_t handle)
{
    struct gnttab_unmap_grant_ref op = { .host_addr = address, .handle = handle };

    grant_op(GNTTABOP_unmap_grant_ref, &op, "unmap_grant_ref");
    return op.status;
}

static int16_t copy(struct gnttab_copy op)
{
    grant_op(GNTTABOP_copy, &op, "the copy");
    return op.status;
}

/* The word as it is in the lender's page, by a copy: it is not mapped yet. */
static void await_copy(uint64_t value)
{
    const struct gnttab_copy op = {
        .source = { .u.ref = GRANTS_WORD, .domid = PEER },
        .dest = { .u.gmfn = gfn(own[0]), .domid = DOMID_SELF },
        .len = 8,
        .flags = GNTCOPY_source_gref,
    };

    for (unsigned i = 0; copy(op) != GNTST_okay || *(volatile uint64_t *)own[0] != value; i++) {
        if (i == PATIENT)
            guest_fail("the other guest does not lend", own[0][0], value);
        yield();
    }
}

static void await(uint64_t address, uint64_t value)
{
    for (unsigned i = 0; load(address) != value; i++) {
        if (i == PATIENT)
            guest_fail("the other guest does not go on", load(address), value);
        yield();
    }
}

/* Nothing of this may be mapped, and there is nothing then. */
static void refuse_maps(void)
{
    status(map(AT(5), GRANTS_READABLE, HOST, PEER, 0), GNTST_general_error, "more than readable");
    status(map(AT(5), GRANTS_NOBODYS, HOST, PEER, 0), GNTST_bad_page, "nobody's frame");
    status(map(AT(5), GRANTS_ELSEWHERE, HOST, PEER, 0), GNTST_general_error, "another's grant");
    status(map(AT(5), GRANTS_TRANSFER, HOST, PEER, 0), GNTST_general_error, "a place to transfer");
    status(map(AT(5), 5000, HOST, PEER, 0), GNTST_bad_gntref, "beyond the table");
    status(map(AT(5), GRANTS_WORD, HOST, 77, 0), GNTST_bad_domain, "a domain that is not there");
    status(map(AT(5), GRANTS_WORD, 0, PEER, 0), GNTST_bad_gntref, "a map of no kind");
    status(map(AT(5), GRANTS_WORD, GNTMAP_device_map | HOST, PEER, 0), GNTST_no_device_space,
           "a map for devices");
    status(map(AT(5), GRANTS_WORD, HOST | GNTMAP_contains_pte, PEER, 0), GNTST_general_error,
           "into an entry, which is for PV guests");
    status(map(AT(5), GRANTS_WORD, HOST | GNTMAP_application_map, PEER, 0), GNTST_general_error,
           "for programs, the same");
    status(map(1ul << 40, GRANTS_WORD, HOST, PEER, 0), GNTST_bad_virt_addr, "at no guest frame");
    status(map(~0ul, GRANTS_WORD, HOST, PEER, 0), GNTST_bad_virt_addr, "far beyond them");
    guest_check(load(AT(5)), NOBODY, "where nothing was mapped");
    guest_check(load(0), load(0), "memory is there");
}

static int64_t add_page(unsigned space, uint64_t from, uint64_t to)
{
    struct xen_add_to_physmap arg = {
        .domid = DOMID_SELF, .space = space, .idx = from, .gpfn = to
    };

    return guest_hypercall(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, (uint64_t)&arg, 0);
}

static int64_t remove_page(uint64_t frame)
{
    struct xen_remove_from_physmap arg = { .domid = DOMID_SELF, .gpfn = frame };

    return guest_hypercall(__HYPERVISOR_memory_op, XENMEM_remove_from_physmap, (uint64_t)&arg, 0);
}

static int64_t reservation(uint64_t op, uint64_t frame)
{
    struct xen_memory_reservation r = { .nr_extents = 1, .domid = DOMID_SELF };

    set_xen_guest_handle(r.extent_start, &frame);
    return guest_hypercall(__HYPERVISOR_memory_op, op, (uint64_t)&r, 0);
}

/* What is mapped goes by unmap_grant_ref only, and is no memory of the guest's own. */
static void refuse_more(uint32_t readable)
{
    struct vcpu_register_vcpu_info info = { .mfn = ROOM };
    struct gnttab_copy             into = {
                    .source = { .u.gmfn = gfn(own[0]), .domid = DOMID_SELF },
                    .dest = { .u.gmfn = ROOM, .domid = DOMID_SELF },
                    .len = 8,
    };

    store(AT(1), 1);
    guest_check(load(AT(1)), GRANTS_PATTERN, "what is to be read, after a write");
    guest_check((uint64_t)add_page(XENMAPSPACE_gmfn, ROOM, ROOM + 6), (uint64_t)-XEN_EINVAL,
                "moving it");
    guest_check((uint64_t)add_page(XENMAPSPACE_gmfn, gfn(own[3]), ROOM), (uint64_t)-XEN_EPERM,
                "putting a page in its place");
    guest_check((uint64_t)add_page(XENMAPSPACE_shared_info, 0, ROOM), (uint64_t)-XEN_EPERM,
                "putting shared_info in its place");
    guest_check((uint64_t)remove_page(ROOM), (uint64_t)-XEN_EPERM, "removing it");
    guest_check((uint64_t)reservation(XENMEM_decrease_reservation, ROOM), 0, "giving it away");
    guest_check((uint64_t)reservation(XENMEM_populate_physmap, ROOM), 0, "memory in its place");
    guest_check((uint64_t)guest_hypercall(__HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0,
                                          (uint64_t)&info),
                (uint64_t)-XEN_EINVAL, "vcpu_info in it");
    status(copy(into), GNTST_bad_page, "a copy by its number");
    status(map(AT(0), GRANTS_GOING, HOST, PEER, 0), GNTST_general_error, "another page over it");
    status(unmap(AT(0), readable), GNTST_general_error, "another's page");
    status(unmap(AT(5), readable), GNTST_general_error, "where nothing is");
    status(unmap(AT(1), readable + 77), GNTST_bad_handle, "no such handle");
    status(unmap(AT(1), ~0u), GNTST_bad_handle, "no handle");
    status(unmap(0, readable), GNTST_okay, "no page");
    guest_check(load(AT(0)), GRANTS_READY, "what is mapped still");
    guest_check(load(AT(1)), GRANTS_PATTERN, "and what is to be read");
}

/* A page of our own gives way, and is not there any more then. */
static void over_a_page(void)
{
    uint32_t handle;

    own[1][0] = 77;
    guest_check(load((uint64_t)own[1]), 77, "a page of our own");
    status(map((uint64_t)own[1], GRANTS_WORD, HOST, PEER, &handle), GNTST_okay, "in its place");
    guest_check(load((uint64_t)own[1]), GRANTS_READY, "what is there");
    status(unmap((uint64_t)own[1], handle), GNTST_okay, "that given back");
    guest_check(load((uint64_t)own[1]), NOBODY, "nothing is there");
    guest_check((uint64_t)reservation(XENMEM_populate_physmap, gfn(own[1])), 1, "memory again");
    guest_check(load((uint64_t)own[1]), 0, "which is new");
}

/* The same page at several frames, each by a handle of its own. */
static void several_times(void)
{
    uint32_t handle[3];

    for (unsigned i = 0; i < 3; i++)
        status(map(AT(6 + i), GRANTS_WORD, HOST, PEER, &handle[i]), GNTST_okay, "once more");
    for (unsigned i = 0; i < 3; i++)
        guest_check(load(AT(6 + i)), GRANTS_READY, "the same page");
    store(AT(7) + 8, 5);
    guest_check(load(AT(8) + 8), 5, "a write at another frame");
    for (unsigned i = 0; i < 3; i++) {
        status(unmap(AT(6 + i), handle[i]), GNTST_okay, "one given back");
        status(unmap(AT(6 + i), handle[i]), GNTST_bad_handle, "and again");
        for (unsigned n = 0; n < 3; n++)
            guest_check(load(AT(6 + n)), n <= i ? NOBODY : GRANTS_READY, "the others");
        store(AT(6 + i) + 8, 9); /* is lost */
        guest_check(load(AT(0) + 8), 5, "the first one");
    }
}

void guest_main(const struct hvm_start_info *info)
{
    struct gnttab_copy last = { .source = { .u.gmfn = gfn(own[2]), .domid = DOMID_SELF },
                                .dest = { .u.ref = GRANTS_COPIED, .domid = PEER },
                                .len = 64,
                                .flags = GNTCOPY_dest_gref };
    uint32_t           word, readable, going;

    (void)info;
    await_copy(GRANTS_READY);
    refuse_maps();
    status(map(AT(0), GRANTS_WORD, HOST, PEER, &word), GNTST_okay, "the word");
    guest_check(load(AT(0)), GRANTS_READY, "what is in it");
    status(map(AT(1), GRANTS_READABLE, READ, PEER, &readable), GNTST_okay, "a page to read");
    status(map(AT(2), GRANTS_GOING, HOST, PEER, &going), GNTST_okay, "a page that will go");
    refuse_more(readable);
    over_a_page();
    several_times();
    store(AT(0), GRANTS_MAPPED);
    await(AT(0), GRANTS_CHANGED);
    guest_check(load(AT(1)), GRANTS_PATTERN, "the page to read, whatever its entry says");
    guest_check(load(AT(2)), GRANTS_PATTERN + 2, "the page that its owner has given back");
    status(unmap(AT(2), going), GNTST_okay, "the page that goes");
    guest_check(load(AT(2)), NOBODY, "where it was");
    store(AT(0), GRANTS_CHECKED);
    await(AT(0), GRANTS_PAGE);
    status(unmap(AT(0), word), GNTST_okay, "the word");
    own[2][5] = GRANTS_PATTERN + 5;
    status(copy(last), GNTST_okay, "the last copy");
    /* The readable page stays mapped when this ends. */
}
