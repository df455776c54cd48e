/*
 * Writes a seeded set of pages in every way it can, and says which: the test compares that with what
 * log-dirty says (monitor command `dirty`). Words: how many rounds, how many writes in each, the seed.
 *
 * Round n is made at n + 1 seconds after the start of the machine and ends long before half past,
 * when the log is taken. Pages are reached at two addresses: through the pages of 2 MiB that the
 * guest starts with, and in a window of 4 KiB pages, whose entries begin without A and D. What an
 * access changes in these is seen by looking: a table in which A or D was set was written as well.
 */
#include "test/guests/guest.h"

const char guest_name[] = "log-dirty";

extern uint8_t guest_data[], guest_end[];

#define MEMORY  0x4000ul /* frames */
#define ARENA   0x1000ul /* first frame that is written */
#define FRAMES  0x2000ul
#define TABLES  0x3000ul /* frames of the window's tables: PDPT, page directory, page tables */
#define WINDOW  (1ul << 39)
#define SECOND  1000000000ul
#define CR0_RUN (CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_PE)

static uint64_t wrote[MEMORY / 64];
static uint64_t seed;

static uint64_t *table(unsigned i)
{
    return (uint64_t *)((TABLES + i) * PAGE);
}

static uint64_t *leaf(uint64_t frame)
{
    return &table(2 + (unsigned)(frame - ARENA) / 512)[frame % 512];
}

/* What was written, by physical address. */
static void note(uint64_t address, uint64_t bytes)
{
    for (uint64_t frame = address / PAGE; bytes != 0 && frame * PAGE < address + bytes; frame++)
        wrote[frame / 64] |= 1ul << frame % 64;
}

static uint64_t dice(uint64_t below)
{
    seed = seed * 6364136223846793005ul + 1442695040888963407ul;
    return (seed >> 33) % below;
}

/* The guest's own write to an entry, through its other address. */
static void set_leaf(uint64_t frame, uint64_t entry)
{
    *(volatile uint64_t *)leaf(frame) = entry;
    note((uint64_t)leaf(frame), 8);
    guest_invlpg(WINDOW + (frame - ARENA) * PAGE);
}

static void build_window(void)
{
    const uint64_t flags = P | W;

    guest_pml4[1] = (uint64_t)table(0) | flags | A;
    table(0)[0] = (uint64_t)table(1) | flags;
    for (unsigned i = 0; i < FRAMES / 512; i++)
        table(1)[i] = (uint64_t)table(2 + i) | flags;
    for (uint64_t frame = ARENA; frame < ARENA + FRAMES; frame++)
        *leaf(frame) = frame * PAGE | flags;
}

/* ---- ways to write at an address; each says how many bytes from there on ---- */

static uint64_t by_byte(uint64_t va)
{
    *(volatile uint8_t *)va = (uint8_t)va;
    return 1;
}

static uint64_t by_word(uint64_t va)
{
    *(volatile uint64_t *)va = va;
    return 8;
}

static uint64_t by_stos(uint64_t va)
{
    uint64_t to = va, count = 1024;

    __asm__ volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(va) : "memory");
    return 8192;
}

static uint64_t by_movs(uint64_t va)
{
    uint64_t to = va, from = 0x100000, count = 5000;

    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
    return 5000;
}

static uint64_t by_xchg(uint64_t va)
{
    uint64_t value = va;

    __asm__ volatile("xchg %0, (%1)" : "+r"(value) : "r"(va) : "memory");
    return 8;
}

static uint64_t by_add(uint64_t va)
{
    __asm__ volatile("lock addl $3, (%0)" : : "r"(va) : "memory", "cc");
    return 4;
}

static uint64_t by_bts(uint64_t va)
{
    __asm__ volatile("lock btsq $9, (%0)" : : "r"(va) : "memory", "cc");
    return 8;
}

static uint64_t by_exchange(uint64_t va)
{
    uint64_t old = *(volatile uint64_t *)va;

    __asm__ volatile("lock cmpxchgq %1, (%2)" : "+a"(old) : "r"(~old), "r"(va) : "memory", "cc");
    return 8;
}

/* The processor writes back what it has found. */
static uint64_t by_failed_exchange(uint64_t va)
{
    uint64_t old = ~*(volatile uint64_t *)va;

    __asm__ volatile("lock cmpxchgq %1, (%2)" : "+a"(old) : "r"(old), "r"(va) : "memory", "cc");
    return 8;
}

static uint64_t by_wide_exchange(uint64_t va)
{
    va &= ~15ul;
    __asm__ volatile("lock cmpxchg16b (%0)"
                     :
                     : "r"(va), "a"(1ul), "d"(2ul), "b"(3ul), "c"(4ul)
                     : "memory", "cc");
    return 8;
}

static uint64_t by_push(uint64_t va)
{
    __asm__ volatile("movq %%rsp, %%rbx\n\tleaq 8(%0), %%rsp\n\tpushq %0\n\tmovq %%rbx, %%rsp"
                     :
                     : "r"(va)
                     : "rbx", "memory");
    return 8;
}

static uint64_t by_movnti(uint64_t va)
{
    __asm__ volatile("movnti %0, (%0)" : : "r"(va) : "memory");
    return 8;
}

/* The hypervisor writes for the guest. */
static uint64_t by_hypercall(uint64_t va)
{
    guest_check((uint64_t)guest_hypercall(__HYPERVISOR_xen_version, XENVER_extraversion, va, 0), 0,
                "XENVER_extraversion");
    return sizeof(xen_extraversion_t);
}

static uint64_t by_reading(uint64_t va)
{
    (void)*(volatile uint64_t *)va;
    return 0;
}

static uint64_t (*const ways[])(uint64_t va) = {
    by_byte,          by_word,     by_stos,
    by_movs,          by_xchg,     by_add,
    by_bts,           by_exchange, by_failed_exchange,
    by_wide_exchange, by_push,     by_movnti,
    by_hypercall,     by_reading,  by_reading,
    by_reading,
};

/* ---- rounds ---- */

/* Entries on the way to a page of the window, as they are now. */
static void look(uint64_t frame, uint64_t entry[3])
{
    entry[0] = table(0)[0];
    entry[1] = table(1)[(frame - ARENA) / 512];
    entry[2] = *(volatile uint64_t *)leaf(frame);
}

/* An access that covers two frames at most, and what it changes on the way. */
static void through_window(unsigned way, uint64_t offset)
{
    uint64_t frame = ARENA + offset / PAGE, before[2][3], after[2][3];

    for (unsigned i = 0; i < 2; i++)
        look(frame + i, before[i]);
    note(ARENA * PAGE + offset, ways[way](WINDOW + offset));
    for (unsigned i = 0; i < 2; i++) {
        look(frame + i, after[i]);
        if (before[i][0] != after[i][0])
            note((uint64_t)table(0), 8);
        if (before[i][1] != after[i][1])
            note((uint64_t)table(1), 8);
        if (before[i][2] != after[i][2])
            note((uint64_t)leaf(frame + i), 8);
    }
}

/* A supervisor may write a page without W while CR0.WP is clear. */
static void without_wp(uint64_t offset)
{
    uint64_t frame = ARENA + offset / PAGE, entry = *leaf(frame);

    set_leaf(frame, entry & ~W);
    write_cr0(CR0_RUN & ~CR0_WP);
    through_window(1, offset & ~7ul);
    write_cr0(CR0_RUN);
    set_leaf(frame, entry);
}

static void exchange_frame(uint64_t frame)
{
    struct xen_memory_reservation r = { .nr_extents = 1, .domid = DOMID_SELF };
    xen_pfn_t                     gfn = frame;

    set_xen_guest_handle(r.extent_start, &gfn);
    guest_check((uint64_t)guest_hypercall(__HYPERVISOR_memory_op, XENMEM_decrease_reservation,
                                          (uint64_t)&r, 0),
                1, "XENMEM_decrease_reservation");
    guest_check(
        (uint64_t)guest_hypercall(__HYPERVISOR_memory_op, XENMEM_populate_physmap, (uint64_t)&r, 0),
        1, "XENMEM_populate_physmap");
    note(frame * PAGE, 1);
}

/* Some accesses begin shortly before the end of a page. */
static uint64_t some_offset(void)
{
    uint64_t offset = dice(FRAMES - 3) * PAGE;

    return dice(4) == 0 ? offset + PAGE - 1 - dice(7) : offset + 8 * dice(512);
}

static void one_write(void)
{
    uint64_t offset = some_offset(), frame = ARENA + offset / PAGE, kind = dice(100);
    unsigned way = (unsigned)dice(sizeof(ways) / sizeof(ways[0]));
    bool     long_one = ways[way] == by_stos || ways[way] == by_movs;

    if (long_one || ways[way] == by_wide_exchange) /* covers two frames then */
        offset &= ~(PAGE - 1);
    if (kind < 3)
        exchange_frame(frame);
    else if (kind < 10)
        set_leaf(frame, *leaf(frame) & ~(A | D));
    else if (kind < 15)
        without_wp(offset);
    else if (kind < 40)
        note(ARENA * PAGE + offset, ways[way](ARENA * PAGE + offset));
    else
        through_window(way, offset);
}

static void print_range(const char *what, uint64_t first, uint64_t end)
{
    guest_print(what);
    guest_print_hex(first);
    guest_print("-");
    guest_print_hex(end - 1);
}

static void say_what_was_written(uint64_t round)
{
    guest_print("log-dirty: round ");
    guest_print_hex(round);
    guest_print(" wrote");
    for (uint64_t frame = 0; frame < MEMORY; frame++) {
        uint64_t first = frame;

        while (frame < MEMORY && (wrote[frame / 64] >> frame % 64 & 1))
            frame++;
        if (first != frame)
            print_range(" ", first, frame);
    }
    guest_print("\n");
}

void guest_main(const struct hvm_start_info *info)
{
    const char *words = (const char *)info->cmdline_paddr;
    uint64_t    rounds = guest_number(&words), writes = guest_number(&words);

    seed = guest_number(&words);
    build_window();
    print_range("log-dirty: own ", (uint64_t)guest_data / PAGE, (uint64_t)guest_end / PAGE + 1);
    print_range("\nlog-dirty: tables ", TABLES, TABLES + 2 + FRAMES / 512);
    guest_print("\n");
    for (uint64_t round = 0; round < rounds; round++) {
        guest_wait_until((round + 1) * SECOND);
        for (unsigned i = 0; i < MEMORY / 64; i++)
            wrote[i] = 0;
        for (uint64_t i = 0; i < writes; i++)
            one_write();
        guest_wait_until((round + 1) * SECOND + SECOND / 4); /* until nobody else says anything */
        say_what_was_written(round);
    }
    guest_wait_until((rounds + 1) * SECOND);
}
