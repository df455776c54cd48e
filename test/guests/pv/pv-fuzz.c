/*
 * Hypercalls at random from a PV guest: numbers, operations, pointers, and what is at the pointers,
 * alone and as lists of calls. They work on a pool of pages, so that the guest lives on; its own
 * tables, the hypervisor's frames and wild numbers are among what they name. Between them come stories:
 * calls that are right nearly always, so that what follows meets tables, descriptors, grants and memory
 * in every state. Now and then the pool is mended. `seed=N`, `seconds=N`, `self=N` and `peer=N`
 * (domains) on the command line.
 */
#include "test/guests/pv/pv.h"

#include "test/guests/pv/fuzz_clock.h"

const char pv_name[] = "pv-fuzz";

#define POOL    64
#define SPARE   64 /* frames that nothing maps */
#define WORDS   64
#define LIST    24
#define HANDLES 16
#define FLAGS   (P | W | U | A | D)
#define NS      1000000000ul
#define BATCH   256 /* calls between two looks at the clock */
#define MENDED  8   /* batches after which the pool is mended */
#define DATA    0x00cf93000000fffful

static uint64_t pool[POOL][512] __attribute__((aligned(4096)));
static uint64_t area[WORDS] __attribute__((aligned(4096))); /* what calls are pointed to */
static uint64_t pool_at[POOL], leaf_at[POOL]; /* machine addresses: pages, and their entries */
static uint64_t spare[SPARE];
static uint64_t dice, max; /* of the machine's frame numbers */
static uint64_t calls, succeeded, stories, told;
static union {
    struct grant_entry_v1 entry[512];
    uint64_t              word[512];
} grants __attribute__((aligned(4096)));
static uint32_t               handle[HANDLES]; /* grants that are mapped, or were */
static uint64_t               mapped_at[HANDLES];
static struct multicall_entry list[LIST];
static struct trap_info       traps[34];
static uint64_t               extents[2][SPARE];

static uint64_t roll(uint64_t below)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return dice % below;
}

static uint64_t frame(void)
{
    uint64_t mfn;

    switch (roll(16)) {
    case 0: /* levels 4 to 2: leaf tables may be written through a mapping, which would be the end */
        return pv_mfn((void *)(pv_info->pt_base + PAGE * roll(3)));
    case 1:
        return 0x200 + roll(256); /* the image of the hypervisor */
    case 2: /* somebody else's: what is ours, the pool aside, must not be written */
        mfn = roll(max);
        return ((const uint64_t *)MACH2PHYS_VIRT_START)[mfn] == ~0ul ? mfn : max + mfn;
    case 3:
        return dice | 1ul << 40;
    default:
        return pv_mfn(pool[roll(POOL)]);
    }
}

static uint64_t entry(void)
{
    static const uint64_t flags[] = { FLAGS, FLAGS, P | U, P | U | A, 0, P | W, 0x1ff, ~0xffful };

    return frame() * PAGE | flags[roll(8)];
}

/* A number that some call may mean something by. */
static uint64_t value(void)
{
    switch (roll(8)) {
    case 0:
        return roll(32);
    case 1:
        return frame();
    case 2:
        return entry();
    case 3:
        return (uint64_t)&area[roll(WORDS)];
    case 4:
        return (uint64_t)pool[roll(POOL)];
    case 5:
        return DOMID_SELF;
    case 6:
        return MACH2PHYS_VIRT_START + roll(1ul << 44);
    default:
        return dice;
    }
}

/*
 * Machine address of an entry that may be written: in the pool, or one that maps the pool. Those are
 * found beforehand, by the M2P as it is at the start: calls may change it.
 */
static uint64_t entry_address(void)
{
    return (roll(4) ? pool_at[roll(POOL)] + 8 * roll(512) : leaf_at[roll(POOL)]) +
           (roll(4) ? 0 : roll(4));
}

static void find_entries(void)
{
    for (unsigned i = 0; i < POOL; i++) {
        uint64_t *e = pv_entry(pool[i]);

        pool_at[i] = pv_mfn(pool[i]) * PAGE;
        leaf_at[i] = pv_mfn(e) * PAGE + ((uint64_t)e & (PAGE - 1));
    }
}

static void fill(uint64_t nr)
{
    for (unsigned i = 0; i < WORDS; i++)
        area[i] = value();
    if (nr == __HYPERVISOR_mmu_update) {
        for (unsigned i = 0; i < WORDS; i += 2) {
            area[i] = entry_address();
            area[i + 1] = entry();
        }
    } else if (nr == __HYPERVISOR_mmuext_op) {
        for (unsigned i = 0; i + 3 <= WORDS; i += 3) {
            area[i] = roll(20);
            area[i + 1] = roll(4) ? frame() : (uint64_t)pool[roll(POOL)];
            area[i + 2] = roll(2) ? frame() : roll(600);
            if (area[i] == MMUEXT_NEW_BASEPTR) /* a root of the pool's would be empty */
                area[i + 1] = 0x200 + roll(256);
        }
    } else if (nr == __HYPERVISOR_memory_op) {
        area[0] = (uint64_t)&area[32];
        area[1] = 1 + roll(3);
        area[2] = 0;
        area[3] = DOMID_SELF;
        for (unsigned i = 32; i < 40; i++)
            area[i] = roll(8) ? 0x200 + roll(256) : pv_mfn(pool[roll(POOL)]);
    }
}

/*
 * Calls that would end the guest by what it asks for itself. With its vcpu_info elsewhere it would clear the pending
 * bit where nobody looks, and get the same upcall for ever.
 */
static bool ends_it(uint64_t nr, uint64_t op)
{
    return nr == __HYPERVISOR_iret || nr == __HYPERVISOR_sched_op || nr == __HYPERVISOR_multicall ||
           nr == __HYPERVISOR_set_trap_table || nr == __HYPERVISOR_console_io ||
           nr == __HYPERVISOR_update_va_mapping_otherdomain || nr == __HYPERVISOR_set_callbacks ||
           nr == __HYPERVISOR_callback_op ||
           (nr == __HYPERVISOR_vcpu_op && (op == VCPUOP_down || op == VCPUOP_register_vcpu_info));
}

struct call {
    uint64_t nr, arg[4];
};

static struct call some_call(uint64_t nr)
{
    struct call c = { .nr = nr };
    uint64_t   *arg = c.arg;

    for (unsigned i = 0; i < 4; i++)
        arg[i] = value();
    fill(nr);
    if (roll(4))
        arg[0] = (uint64_t)area;
    if (nr == __HYPERVISOR_mmu_update || nr == __HYPERVISOR_mmuext_op) {
        arg[0] = roll(16) ? (uint64_t)area : dice | 1ul << 47;
        arg[1] = roll(8) ? 1 + roll(8) : 8 + roll(14);
        arg[2] = 0;
        arg[3] = roll(8) ? DOMID_SELF : arg[3];
    } else if (nr == __HYPERVISOR_update_va_mapping) {
        arg[0] = (uint64_t)pool[roll(POOL)];
        arg[1] = entry();
    } else if (nr == __HYPERVISOR_memory_op) {
        arg[0] = roll(2) ? roll(30) : roll(2) * 6;
        arg[1] = (uint64_t)area;
    } else if (nr == __HYPERVISOR_update_descriptor) {
        arg[0] = entry_address();
    } else if (nr == __HYPERVISOR_set_gdt) {
        arg[1] = roll(1600);
        for (unsigned i = 0; i < 4; i++)
            area[i] = frame();
    } else if (nr == __HYPERVISOR_vcpu_op || nr == __HYPERVISOR_event_channel_op ||
               nr == __HYPERVISOR_grant_table_op) {
        arg[0] = roll(20);
        arg[1] = nr == __HYPERVISOR_vcpu_op ? roll(2) : (uint64_t)area;
        arg[2] = nr == __HYPERVISOR_grant_table_op ? roll(5) : (uint64_t)area;
    }
    return c;
}

static uint64_t some_number(void)
{
    static const uint64_t often[] = { __HYPERVISOR_mmu_update,        __HYPERVISOR_mmuext_op,
                                      __HYPERVISOR_update_va_mapping, __HYPERVISOR_memory_op,
                                      __HYPERVISOR_update_descriptor, __HYPERVISOR_set_gdt,
                                      __HYPERVISOR_grant_table_op };

    return roll(3) ? often[roll(7)] : roll(80);
}

static int64_t made(uint64_t nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    int64_t result = pv_call(nr, a, b, c, d);

    calls++;
    succeeded += result >= 0;
    if (nr == __HYPERVISOR_set_debugreg)
        pv_call(__HYPERVISOR_set_debugreg, 7, 0, 0, 0); /* a breakpoint would be an exception */
    pv_shared.vcpu_info[0].evtchn_upcall_mask = 1;
    return result;
}

static void one_call(void)
{
    struct call c = some_call(some_number());

    if (!ends_it(c.nr, c.arg[0]))
        (void)made(c.nr, c.arg[0], c.arg[1], c.arg[2], c.arg[3]);
}

/* By what is in the area for another call, it could take its own tables away. */
static bool is_dangerous(uint64_t nr, uint64_t filled_for)
{
    return (nr == __HYPERVISOR_mmu_update || nr == __HYPERVISOR_mmuext_op) && nr != filled_for;
}

/* Most of them of one kind, so that they mean something by what is in the area. */
static void one_list(void)
{
    uint64_t nr = some_number(), count = 1 + roll(LIST), wanted = 0;

    for (uint64_t i = 0; i < count; i++) {
        struct call c = some_call(roll(4) ? nr : some_number());

        if (ends_it(c.nr, c.arg[0]) || c.nr == __HYPERVISOR_set_debugreg || is_dangerous(c.nr, nr))
            continue;
        list[wanted++] =
            (struct multicall_entry){ .op = c.nr,
                                      .args = { c.arg[0], c.arg[1], c.arg[2], c.arg[3] } };
    }
    fill(nr);
    (void)made(__HYPERVISOR_multicall, (uint64_t)list, wanted, 0, 0);
}

/* Instructions that write tables; most of them fault. */
static void one_write(void)
{
    (void)pv_store((uint64_t)pool[roll(POOL)] + roll(PAGE - 8), entry());
    if (roll(4) == 0)
        (void)PV_TRY("mov %w0, %%fs", , "r"((uint32_t)roll(1 << 16)));
}

/* ---- stories ---- */

static bool map_at(void *p, uint64_t value)
{
    return made(__HYPERVISOR_update_va_mapping, (uint64_t)p, value, UVMF_INVLPG, 0) == 0;
}

/* A page of the pool with a few words in it, and mapped so that it may be a table. */
static uint64_t *prepared(unsigned page, uint64_t (*word)(void))
{
    uint64_t *p = pool[page];

    if (!map_at(p, pool_at[page] | FLAGS))
        return NULL;
    (void)made(__HYPERVISOR_mmuext_op,
               (uint64_t) &
                   (struct mmuext_op){ .cmd = MMUEXT_CLEAR_PAGE, .arg1.mfn = pool_at[page] / PAGE },
               1, 0, DOMID_SELF);
    for (uint64_t n = roll(16); n > 0; n--)
        (void)pv_store((uint64_t)&p[roll(512)], word());
    return map_at(p, pool_at[page] | P | U | A) ? p : NULL;
}

static uint64_t good_entry(void)
{
    return roll(32) ? pool_at[roll(POOL)] | P | U | (roll(3) ? 0 : W) : entry();
}

static uint64_t good_descriptor(void)
{
    return roll(256) ? DATA : dice;
}

static int64_t extended(unsigned cmd, uint64_t one, uint64_t two)
{
    struct mmuext_op op = { .cmd = cmd };

    op.arg1.linear_addr = one;
    op.arg2.src_mfn = two;
    return made(__HYPERVISOR_mmuext_op, (uint64_t)&op, 1, 0, DOMID_SELF);
}

/* A table that is pinned, changed by calls and by instructions, linked by others or let go. */
static bool tell_table(void)
{
    unsigned  page = (unsigned)roll(POOL), level = roll(2) ? 1 : 1 + (unsigned)roll(4);
    uint64_t *p = prepared(page, good_entry);

    if (p == NULL || extended(MMUEXT_PIN_L1_TABLE + level - 1, pool_at[page] / PAGE, 0) != 0)
        return false;
    for (uint64_t n = roll(16); n > 0; n--) {
        struct mmu_update u = { pool_at[page] + 8 * roll(512) +
                                    (roll(4) ? MMU_NORMAL_PT_UPDATE : MMU_PT_UPDATE_PRESERVE_AD),
                                good_entry() };

        if (roll(4) == 0)
            (void)pv_store((uint64_t)&p[roll(512)], good_entry());
        else
            (void)made(__HYPERVISOR_mmu_update, (uint64_t)&u, 1, 0, DOMID_SELF);
    }
    if (level == 4 && roll(2))
        (void)extended(MMUEXT_NEW_USER_BASEPTR, pool_at[page] / PAGE, 0);
    return roll(2) || extended(MMUEXT_UNPIN_TABLE, pool_at[page] / PAGE, 0) == 0;
}

static bool tell_descriptors(void)
{
    uint64_t count = 1 + roll(roll(4) ? 3 : 14);

    for (uint64_t i = 0; i < count; i++) {
        unsigned page = (unsigned)roll(POOL);

        if (prepared(page, good_descriptor) == NULL)
            return false;
        extents[0][i] = pool_at[page] / PAGE;
    }
    if (roll(4) == 0)
        return extended(MMUEXT_SET_LDT, (uint64_t)pool[roll(POOL)], roll(1024)) == 0 &&
               PV_TRY("mov %w0, %%fs", , "r"((uint32_t)(roll(1024) * 8 + 7)));
    return made(__HYPERVISOR_set_gdt, (uint64_t)extents[0], count * 512 - roll(512), 0, 0) == 0;
}

/* Frames of the spare ones for others, in pieces of any size. */
static bool tell_exchange(void)
{
    unsigned                   order = (unsigned)roll(4), from = (unsigned)roll(SPARE - 16);
    uint64_t                   blocks = 1 + roll(16ul >> order >> 1), frames = blocks << order;
    struct xen_memory_exchange x = {
        .in = { .nr_extents = frames, .domid = DOMID_SELF },
        .out = { .nr_extents = blocks, .extent_order = order, .domid = DOMID_SELF },
    };

    for (uint64_t i = 0; i < frames; i++)
        extents[0][i] = roll(64) ? spare[from + i] : frame();
    for (uint64_t i = 0; i < blocks; i++)
        extents[1][i] = roll(1 << 20);
    x.in.extent_start.p = (void *)(roll(16) ? (uint64_t)extents[0] : value());
    x.out.extent_start.p = (void *)(roll(16) ? (uint64_t)extents[1] : value());
    (void)made(__HYPERVISOR_memory_op, XENMEM_exchange, (uint64_t)&x, 0, 0);
    for (uint64_t i = 0; i < x.nr_exchanged && i < frames; i++)
        spare[from + i] = extents[1][i >> order] + (i & ((1ul << order) - 1));
    return x.nr_exchanged == frames;
}

static bool tell_reservation(void)
{
    unsigned                      from = (unsigned)roll(SPARE - 16);
    struct xen_memory_reservation r = { .nr_extents = 1 + roll(16), .domid = DOMID_SELF };
    int64_t                       given;

    for (unsigned i = 0; i < 16; i++)
        extents[0][i] = spare[from + i];
    r.extent_start.p = (void *)extents[0];
    given = made(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, (uint64_t)&r, 0, 0);
    if (given <= 0)
        return false;
    r.nr_extents = (uint64_t)given;
    for (int64_t i = 0; i < given; i++)
        extents[0][i] = roll(1 << 20);
    if (made(__HYPERVISOR_memory_op, XENMEM_populate_physmap, (uint64_t)&r, 0, 0) != given)
        return false;
    for (int64_t i = 0; i < given; i++)
        spare[from + (unsigned)i] = extents[0][i];
    return true;
}

/* ---- stories of grants: to ourselves, and to and from whoever is beside us ---- */

static uint16_t domain(void)
{
    static const uint16_t wild[] = { DOMID_SELF, 0, 77, 0x7ff2 };

    if (roll(16) == 0)
        return wild[roll(4)];
    return (uint16_t)(roll(3) ? pv_number("self=", 1) : pv_number("peer=", 2));
}

static bool tell_map(void)
{
    unsigned                    i = (unsigned)roll(HANDLES), page = (unsigned)roll(POOL);
    struct gnttab_map_grant_ref op = { .flags = GNTMAP_host_map, .dom = domain() };

    if (roll(2))
        op.flags |= GNTMAP_readonly;
    if (roll(8) == 0)
        op.flags = (uint32_t)dice;
    op.host_addr = (uint64_t)pool[page];
    if (roll(2)) {
        op.flags |= GNTMAP_contains_pte;
        op.host_addr = roll(8) ? leaf_at[page] : entry_address();
    }
    op.ref = (grant_ref_t)(roll(32) ? roll(64) : dice);
    if (made(__HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, (uint64_t)&op, 1, 0) != 0 ||
        op.status != GNTST_okay)
        return false;
    handle[i] = op.handle;
    mapped_at[i] = op.host_addr;
    return true;
}

static bool tell_unmap(void)
{
    unsigned                      i = (unsigned)roll(HANDLES);
    struct gnttab_unmap_grant_ref op = {
        .host_addr = roll(8) ? mapped_at[i] : mapped_at[roll(HANDLES)],
        .handle = roll(8) ? handle[i] : (grant_handle_t)roll(64),
    };

    return made(__HYPERVISOR_grant_table_op, GNTTABOP_unmap_grant_ref, (uint64_t)&op, 1, 0) == 0 &&
           op.status == GNTST_okay;
}

static bool tell_copy(void)
{
    struct gnttab_copy op = { .len = (uint16_t)roll(4100), .flags = (uint16_t)roll(4) };

    if (roll(2))
        op.source.offset = op.dest.offset = (uint16_t)roll(4096 - op.len % 4096);
    op.source.domid = (op.flags & GNTCOPY_source_gref) != 0 ? domain() : DOMID_SELF;
    op.dest.domid = (op.flags & GNTCOPY_dest_gref) != 0 ? domain() : DOMID_SELF;
    op.source.u.gmfn = (op.flags & GNTCOPY_source_gref) != 0 ? roll(64) : frame();
    op.dest.u.gmfn = (op.flags & GNTCOPY_dest_gref) != 0 ? roll(64) : pool_at[roll(POOL)] / PAGE;
    return made(__HYPERVISOR_grant_table_op, GNTTABOP_copy, (uint64_t)&op, 1, 0) == 0 &&
           op.status == GNTST_okay;
}

/* The entries say anything at any time; most are right. What others copy to is no page of the guest's. */
static bool tell_grant(void)
{
    struct grant_entry_v1 *e = &grants.entry[roll(64)];

    e->frame = (uint32_t)(roll(16) ? pool_at[roll(POOL)] / PAGE : max + dice);
    e->domid = domain();
    __atomic_store_n(&e->flags,
                     (uint16_t)(roll(16) ? GTF_permit_access | (roll(3) ? 0 : GTF_readonly) : dice),
                     __ATOMIC_SEQ_CST);
    return true;
}

/* ---- what else a kernel does ---- */

static bool tell_traps(void)
{
    for (unsigned i = 0; i < 32; i++)
        traps[i].flags = (uint8_t)(i == 3 ? 3 : roll(2) * 4);
    return made(__HYPERVISOR_set_trap_table, (uint64_t)traps, 0, 0, 0) == 0;
}

static bool tell_waiting(void)
{
    struct sched_poll poll = { .nr_ports = (unsigned)roll(3), .timeout = now() + roll(100000) };

    poll.ports.p = (void *)area;
    area[0] = roll(1030) | roll(1030) << 32;
    return made(__HYPERVISOR_sched_op, roll(2) ? SCHEDOP_yield : SCHEDOP_poll, (uint64_t)&poll, 0,
                0) == 0;
}

#include "test/guests/pv/fuzz_wrong.h"

static void one_story(void)
{
    static bool (*const tell[])(void) = {
        tell_table, tell_table,   tell_descriptors, tell_exchange,  tell_reservation, tell_map,
        tell_unmap, tell_copy,    tell_grant,       tell_traps,     tell_waiting,     tell_wrong,
        tell_wrong, tell_nowhere, tell_callbacks,   tell_elsewhere,
    };

    stories++;
    told += tell[roll(sizeof(tell) / sizeof(tell[0]))]();
}

/* ---- mending ---- */

/* A frame that is ours, of which nothing is known; 0 if there is none. */
static uint64_t new_frame(uint64_t pfn)
{
    struct xen_memory_reservation r = { .nr_extents = 1, .domid = DOMID_SELF };

    r.extent_start.p = (void *)&pfn;
    return pv_call(__HYPERVISOR_memory_op, XENMEM_populate_physmap, (uint64_t)&r, 0, 0) == 1 ? pfn
                                                                                             : 0;
}

/* Pages are pages again as far as that may be; what is not ours any more is replaced. */
static void mend(void)
{
    uint64_t *p2m = (uint64_t *)pv_info->mfn_list;

    pv_call(__HYPERVISOR_set_gdt, (uint64_t)extents[0], 0, 0, 0);
    pv_mmuext(MMUEXT_SET_LDT, 0, 0);
    pv_mmuext(MMUEXT_NEW_USER_BASEPTR, 0, 0);
    for (unsigned i = 0; i < POOL; i++)
        pv_mmuext(MMUEXT_UNPIN_TABLE, pool_at[i] / PAGE, 0);
    for (unsigned i = 0; i < POOL; i++) {
        uint64_t pfn = (uint64_t)pool[i] / PAGE, mfn;

        if (pv_call(__HYPERVISOR_update_va_mapping, (uint64_t)pool[i], pool_at[i] | P | U | A,
                    UVMF_INVLPG, 0) == 0)
            continue;
        mfn = new_frame(pfn);
        if (mfn == 0)
            continue;
        p2m[pfn] = mfn;
        pool_at[i] = mfn * PAGE;
    }
}

static void set_up(void)
{
    uint64_t                  frame = 0;
    struct gnttab_setup_table setup = { .dom = DOMID_SELF, .nr_frames = 1 };

    for (unsigned i = 0; i < SPARE; i++)
        spare[i] = ((const uint64_t *)pv_info->mfn_list)[pv_info->nr_pages - 1 - i];
    for (unsigned i = 0; i < 32; i++)
        traps[i] = (struct trap_info){ .vector = (uint8_t)i,
                                       .cs = 0xe033,
                                       .address = (uint64_t)pv_vectors + i * 16 };
    setup.frame_list.p = (void *)&frame;
    pv_call(__HYPERVISOR_grant_table_op, GNTTABOP_setup_table, (uint64_t)&setup, 1, 0);
    pv_check(map_at(&grants, frame * PAGE | FLAGS), true, "the grant table");
}

void pv_main(void)
{
    uint64_t end;

    start_clock();
    end = now() + pv_number("seconds=", 5) * NS;
    pv_failsafe_is_fine = true; /* the GDT may go while its selectors are loaded */
    find_entries();
    set_up();
    max = (uint64_t)pv_call(__HYPERVISOR_memory_op, XENMEM_maximum_ram_page, 0, 0, 0);
    dice = pv_number("seed=", 1) * 0x9e3779b97f4a7c15ul + 1;
    for (unsigned batch = 1; batch == 1 || now() < end; batch++) {
        for (unsigned i = 0; i < BATCH; i++) {
            one_call();
            one_write();
            if (roll(4) == 0)
                one_story();
            if (roll(16) == 0)
                one_list();
        }
        if (batch % MENDED == 0)
            mend();
    }
    pv_print("pv-fuzz: hypercalls ");
    pv_print_hex(calls);
    pv_print(", of which succeeded ");
    pv_print_hex(succeeded);
    pv_print("; stories ");
    pv_print_hex(stories);
    pv_print(", of which came to their end ");
    pv_print_hex(told);
    pv_print("\n");
    pv_check(succeeded > calls / 8, true, "hypercalls that did something");
    pv_check(told > stories / 4, true, "stories that came to their end");
}
