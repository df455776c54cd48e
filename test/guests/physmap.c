/*
 * A guest changes what is behind its own frames while it uses them: memory_op's operations, each
 * looked at through addresses that were used just before, so that neither tables nor TLBs may know
 * the old frames. Words: how many rounds of random changes are made at the end, and their seed.
 */
#include "test/guests/guest.h"

const char guest_name[] = "physmap";

#define MIB2   512ul    /* frames */
#define ARENA  0x1000ul /* first of 16 MiB of ordinary frames */
#define FRAMES 0x1000ul
#define NO_RAM 0x40000ul /* frames where there is nothing, below 4 GiB and so in the first map */
#define WINDOW (1ul << 39)
#define NOBODY (~0ul) /* what reading nothing gives */

static uint64_t window_pdpt[512] __attribute__((aligned(4096)));
static uint64_t window_pd[512] __attribute__((aligned(4096)));
static uint64_t seed;

static volatile uint64_t *word_of(uint64_t frame)
{
    return (volatile uint64_t *)(frame * PAGE + 8);
}

static int64_t memory_op(uint64_t op, void *arg)
{
    return guest_hypercall(__HYPERVISOR_memory_op, op, (uint64_t)arg, 0);
}

static void check(int64_t got, int64_t wanted, const char *what)
{
    guest_check((uint64_t)got, (uint64_t)wanted, what);
}

static int64_t reservation(uint64_t op, unsigned order, uint64_t frame, uint64_t count)
{
    static xen_pfn_t              list[MIB2];
    struct xen_memory_reservation r = { .nr_extents = count,
                                        .extent_order = order,
                                        .domid = DOMID_SELF };

    for (uint64_t i = 0; i < count; i++)
        list[i] = frame + (i << order);
    set_xen_guest_handle(r.extent_start, list);
    return memory_op(op, &r);
}

static int64_t give(unsigned order, uint64_t frame, uint64_t count)
{
    return reservation(XENMEM_decrease_reservation, order, frame, count);
}

static int64_t take(unsigned order, uint64_t frame, uint64_t count)
{
    return reservation(XENMEM_populate_physmap, order, frame, count);
}

static int64_t physmap(unsigned space, uint64_t index, uint64_t frame, uint16_t size)
{
    struct xen_add_to_physmap arg = {
        .domid = DOMID_SELF, .size = size, .space = space, .idx = index, .gpfn = frame
    };

    return memory_op(XENMEM_add_to_physmap, &arg);
}

static int64_t size_of(uint64_t op)
{
    domid_t self = DOMID_SELF;

    return memory_op(op, &self);
}

static void remove(uint64_t frame, int64_t wanted)
{
    struct xen_remove_from_physmap arg = { .domid = DOMID_SELF, .gpfn = frame };

    check(memory_op(XENMEM_remove_from_physmap, &arg), wanted, "XENMEM_remove_from_physmap");
}

static void fill(uint64_t first, uint64_t count, uint64_t with)
{
    for (uint64_t i = 0; i < count; i++)
        *word_of(first + i) = with + i;
}

static void expect(uint64_t first, uint64_t count, uint64_t with, const char *what)
{
    for (uint64_t i = 0; i < count; i++)
        guest_check(*word_of(first + i), with == NOBODY || with == 0 ? with : with + i, what);
}

/* ---- what memory.h says, one operation after the other ---- */

static void single_frames(void)
{
    int64_t before = size_of(XENMEM_current_reservation);

    fill(ARENA, 100, 0x1000);
    check(give(0, ARENA, 100), 100, "decrease_reservation");
    check(size_of(XENMEM_current_reservation), before - 100, "current_reservation");
    expect(ARENA, 100, NOBODY, "a frame that was given back");
    *word_of(ARENA) = 7; /* is lost */
    check(give(0, ARENA, 100), 0, "decrease_reservation of nothing");
    check(take(0, ARENA, 100), 100, "populate_physmap");
    expect(ARENA, 100, 0, "a frame that is new");
    check(take(0, ARENA, 1), 0, "populate_physmap where there is memory");
    check(size_of(XENMEM_current_reservation), before, "current_reservation");
}

static void blocks(void)
{
    int64_t more = size_of(XENMEM_maximum_reservation) - size_of(XENMEM_current_reservation);

    fill(ARENA, 4 * MIB2, 0x2000);
    check(give(9, ARENA, 4), 4, "decrease_reservation of 2 MiB");
    expect(ARENA, 4 * MIB2, NOBODY, "2 MiB that were given back");
    check(take(9, ARENA, 3), 3, "populate_physmap of 2 MiB");
    expect(ARENA, 3 * MIB2, 0, "2 MiB that are new");
    check(take(3, ARENA + 3 * MIB2 + 5, 9), 9, "populate_physmap of 32 KiB");
    expect(ARENA + 3 * MIB2 + 5, 72, 0, "32 KiB that are new");
    expect(ARENA + 3 * MIB2 + 4, 1, NOBODY, "the frame before");
    check(take(10, NO_RAM, 1), 0, "populate_physmap of 4 MiB");
    check(take(0, ARENA + 3 * MIB2, 5), 5, "populate_physmap of the rest");
    check(take(0, ARENA + 3 * MIB2 + 77, MIB2 - 77), (int64_t)(MIB2 - 77),
          "populate_physmap of the rest");
    if (more >= (int64_t)MIB2)
        guest_fail("it may have more than it has", (uint64_t)more, 0);
    check(take(9, NO_RAM, 1), 0, "populate_physmap of 2 MiB too many");
    check(take(0, NO_RAM, MIB2), 0, "populate_physmap of frames too many");
}

static void moves(void)
{
    int64_t before = size_of(XENMEM_current_reservation);

    fill(ARENA, 200, 0x3000);
    expect(NO_RAM, 3, NOBODY, "nothing");
    check(physmap(XENMAPSPACE_gmfn, ARENA + 1, NO_RAM + 1, 0), 0, "gmfn");
    expect(NO_RAM + 1, 1, 0x3001, "a page that came");
    expect(ARENA + 1, 1, NOBODY, "the place it came from");
    check(physmap(XENMAPSPACE_gmfn, NO_RAM + 1, ARENA + 2, 0), 0, "gmfn onto a page");
    expect(ARENA + 2, 1, 0x3001, "a page that came onto another");
    check(size_of(XENMEM_current_reservation), before - 1, "current_reservation");
    check(physmap(XENMAPSPACE_gmfn, NO_RAM, ARENA, 0), -XEN_EINVAL, "gmfn of nothing");
    check(physmap(XENMAPSPACE_gmfn_range, ARENA + 10, NO_RAM, 150), 0, "gmfn_range");
    expect(NO_RAM, 150, 0x300a, "pages that came");
    expect(ARENA + 10, 150, NOBODY, "the places they came from");
    check(physmap(XENMAPSPACE_gmfn_range, NO_RAM, ARENA + 10, 150), 0, "gmfn_range back");
    expect(ARENA + 10, 150, 0x300a, "pages that came back");
    check(take(0, ARENA + 1, 1), 1, "populate_physmap");
    remove(ARENA + 1, 0);
    expect(ARENA + 1, 1, NOBODY, "a page that was removed");
    remove(ARENA + 1, -XEN_ENOENT);
    check(take(0, ARENA + 1, 1), 1, "populate_physmap");
    if (size_of(XENMEM_maximum_gpfn) < (int64_t)(NO_RAM + 149))
        guest_fail("maximum_gpfn", (uint64_t)size_of(XENMEM_maximum_gpfn), NO_RAM + 149);
    check(memory_op(XENMEM_exchange, NULL), -XEN_EOPNOTSUPP, "exchange");
}

static void batches(void)
{
    xen_ulong_t index[] = { ARENA, NO_RAM, ARENA + 1, ARENA + 2 };
    xen_pfn_t   frame[] = { NO_RAM, NO_RAM + 9, 1ul << 40, NO_RAM + 2 };
    int         errs[] = { 1, 1, 1, 1 };

    struct xen_add_to_physmap_batch arg = { .domid = DOMID_SELF,
                                            .space = XENMAPSPACE_gmfn,
                                            .size = 4 };

    fill(ARENA, 3, 0x4000);
    set_xen_guest_handle(arg.idxs, index);
    set_xen_guest_handle(arg.gpfns, frame);
    set_xen_guest_handle(arg.errs, errs);
    check(memory_op(XENMEM_add_to_physmap_batch, &arg), 0, "add_to_physmap_batch");
    check(errs[0], 0, "the first of a batch");
    check(errs[1], 0, "what the first brought is moved on");
    check(errs[2], -XEN_EINVAL, "a place that there is not");
    check(errs[3], 0, "the last of a batch");
    expect(NO_RAM, 1, NOBODY, "moved on");
    expect(NO_RAM + 9, 1, 0x4000, "the first of a batch");
    expect(NO_RAM + 2, 1, 0x4002, "the last of a batch");
    check(physmap(XENMAPSPACE_gmfn, NO_RAM + 9, ARENA, 0), 0, "gmfn back");
    check(physmap(XENMAPSPACE_gmfn, NO_RAM + 2, ARENA + 2, 0), 0, "gmfn back");
    arg.space = XENMAPSPACE_gmfn_foreign;
    arg.u.foreign_domid = 0x7ff;
    check(memory_op(XENMEM_add_to_physmap_batch, &arg), -XEN_ESRCH, "gmfn_foreign of nobody");
    arg.space = XENMAPSPACE_gmfn_range;
    arg.u.res0 = 0;
    check(memory_op(XENMEM_add_to_physmap_batch, &arg), -XEN_EINVAL, "gmfn_range in a batch");
}

/* As the BIOS tells it: RAM from 0 to where the guest's memory ends, and no entry overlaps another. */
static void memory_map(void)
{
    struct entry {
        uint64_t address, size;
        uint32_t type;
    } __attribute__((packed)) map[16];
    struct xen_memory_map arg = { .nr_entries = 16 };
    uint64_t              ram = 0;

    set_xen_guest_handle(arg.buffer, (void *)map);
    check(memory_op(XENMEM_memory_map, &arg), 0, "memory_map");
    guest_check(arg.nr_entries > 0 && arg.nr_entries <= 16, 1, "entries of the memory map");
    for (unsigned i = 0; i < arg.nr_entries; i++) {
        ram += map[i].type == 1 ? map[i].size : 0;
        for (unsigned k = 0; k < i; k++)
            guest_check(map[i].address < map[k].address + map[k].size &&
                            map[k].address < map[i].address + map[i].size,
                        0, "entries of the memory map overlap");
    }
    guest_check(ram / PAGE >= 0x3f00, 1, "the RAM of the memory map");
    arg.nr_entries = 0;
    check(memory_op(XENMEM_memory_map, &arg), -XEN_EINVAL, "memory_map without room");
}

/* The page is the hypervisor's as well, wherever it is seen. */
static void shared_pages(void)
{
    volatile struct shared_info *shared = (void *)(ARENA * PAGE);
    struct gnttab_setup_table    table = { .dom = DOMID_SELF, .nr_frames = 2 };
    xen_pfn_t                    where[2] = { 0, 0 };

    check(physmap(XENMAPSPACE_shared_info, 0, ARENA, 0), 0, "shared_info");
    check(physmap(XENMAPSPACE_shared_info, 1, ARENA, 0), -XEN_EINVAL, "a second shared_info");
    guest_check(shared->wc_sec != 0, 1, "the time in shared_info");
    shared->evtchn_mask[3] = 0x5a5a;
    check(physmap(XENMAPSPACE_gmfn, ARENA, NO_RAM, 0), 0, "gmfn of shared_info");
    shared = (void *)(NO_RAM * PAGE);
    guest_check(shared->evtchn_mask[3], 0x5a5a, "shared_info that has moved");
    check(physmap(XENMAPSPACE_grant_table, 0, ARENA, 0), 0, "grant_table");
    check(physmap(XENMAPSPACE_grant_table, 1, ARENA + 1, 0), 0, "grant_table");
    check(physmap(XENMAPSPACE_grant_table, XENMAPIDX_grant_table_status, ARENA + 1, 0), -XEN_EINVAL,
          "the status frames of version 2");
    set_xen_guest_handle(table.frame_list, where);
    check(guest_hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_setup_table, (uint64_t)&table, 1),
          0, "setup_table");
    guest_check(where[0], ARENA, "the grant table's first frame");
    guest_check(where[1], ARENA + 1, "the grant table's second frame");
    check(physmap(XENMAPSPACE_shared_info, 0, ARENA + 2, 0), 0, "shared_info elsewhere");
    expect(NO_RAM, 1, NOBODY, "where shared_info was");
    check(physmap(XENMAPSPACE_gmfn_range, ARENA, NO_RAM, 3), 0, "gmfn_range of special pages");
    check(take(0, ARENA, 3), 3, "populate_physmap");
}

/* A page table is exchanged for another one by the p2m, without a write to either. */
static void tables(void)
{
    uint64_t *first = (uint64_t *)(ARENA * PAGE), *second = (uint64_t *)((ARENA + 1) * PAGE);
    uint64_t  value = 0;

    fill(ARENA + 2, 2, 0x5000);
    guest_pml4[1] = (uint64_t)window_pdpt | P | W;
    window_pdpt[0] = (uint64_t)window_pd | P | W;
    window_pd[0] = ARENA * PAGE | P | W;
    for (unsigned i = 0; i < 512; i++)
        first[i] = second[i] = 0;
    first[0] = (ARENA + 2) * PAGE | P | W;
    second[0] = (ARENA + 3) * PAGE | P | W;
    guest_check(*(volatile uint64_t *)(WINDOW + 8), 0x5000, "by the first table");
    check(physmap(XENMAPSPACE_gmfn, ARENA, NO_RAM + 5, 0), 0, "gmfn of a table");
    guest_invlpg(WINDOW);
    if (guest_load(WINDOW + 8, &value) && value == 0x5000)
        guest_fail("a table that is not there translates", value, 0);
    check(physmap(XENMAPSPACE_gmfn, ARENA + 1, ARENA, 0), 0, "gmfn of the other table");
    guest_invlpg(WINDOW);
    guest_check(*(volatile uint64_t *)(WINDOW + 8), 0x5001, "by the second table");
    guest_pml4[1] = 0;
    write_cr3((uint64_t)guest_pml4);
    check(physmap(XENMAPSPACE_gmfn, NO_RAM + 5, ARENA + 1, 0), 0, "gmfn back");
}

/* ---- at random ---- */

static uint64_t dice(uint64_t below)
{
    seed = seed * 6364136223846793005ul + 1442695040888963407ul;
    return (seed >> 33) % below;
}

static uint64_t known[FRAMES]; /* what each frame of the arena must read as */

static void change(void)
{
    uint64_t a = dice(FRAMES), b = dice(FRAMES), block = a & ~(MIB2 - 1);

    switch (dice(8)) {
    case 0:
        check(give(0, ARENA + a, 1), known[a] != NOBODY, "decrease_reservation");
        known[a] = NOBODY;
        break;
    case 1:
    case 2:
        check(take(0, ARENA + a, 1), known[a] == NOBODY, "populate_physmap");
        known[a] = known[a] == NOBODY ? 0 : known[a];
        break;
    case 3:
        check(physmap(XENMAPSPACE_gmfn, ARENA + a, ARENA + b, 0),
              known[a] == NOBODY ? -XEN_EINVAL : 0, "gmfn");
        if (known[a] == NOBODY || a == b)
            break;
        known[b] = known[a];
        known[a] = NOBODY;
        break;
    case 4:
        if (dice(20) != 0)
            break;
        for (uint64_t i = 0; i < MIB2; i++) {
            check(give(0, ARENA + block + i, 1), known[block + i] != NOBODY,
                  "decrease_reservation");
            known[block + i] = 0;
        }
        check(take(9, ARENA + block, 1), 1, "populate_physmap of 2 MiB");
        break;
    default:
        *word_of(ARENA + a) = seed | 1;
        known[a] = known[a] == NOBODY ? NOBODY : seed | 1;
    }
}

void guest_main(const struct hvm_start_info *info)
{
    const char *words = (const char *)info->cmdline_paddr;
    uint64_t    rounds = guest_number(&words);

    seed = guest_number(&words);
    single_frames();
    blocks();
    moves();
    batches();
    memory_map();
    shared_pages();
    tables();
    fill(ARENA, FRAMES, 0x6000);
    for (uint64_t i = 0; i < FRAMES; i++)
        known[i] = 0x6000 + i;
    for (uint64_t round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < 100; i++)
            change();
        for (uint64_t i = 0; i < FRAMES; i++)
            guest_check(*word_of(ARENA + i), known[i], "a page after random changes");
    }
}
