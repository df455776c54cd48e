/*
 * Writes a seeded set of pages in every way a PV guest has, and says which: the test compares that with
 * what log-dirty says (monitor command `dirty`). Words: how many rounds, how many writes in each, the
 * seed.
 *
 * Round n is made at n + 1 seconds after the start of the machine and ends long before half past, when
 * the log is taken. The pages are mapped in a window whose entries begin without A and D. What an
 * access changes in these is seen by looking: a table in which A or D was set was written as well.
 */
#include "test/guests/pv/pv.h"

const char pv_name[] = "pv-log-dirty";

#define MEMORY 0x2000ul /* frames; all numbers of frames here are the guest's */
#define ARENA  0x1000ul /* first frame that is written */
#define FRAMES 0x400ul
#define MAPPED 0x400ul     /* by the builder, from 0 on */
#define WINDOW (1ul << 39) /* where root entry 1 leads */
#define SECOND 1000000000ul
#define LEAF   (P | W | U)

enum { T3, T2, T1, TABLES = T1 + FRAMES / 512 };

static uint64_t tables[TABLES][512] __attribute__((aligned(4096)));
static uint64_t wrote[MEMORY / 64];
static uint64_t seed;

static uint64_t frame_of(const void *p)
{
    return (uint64_t)p / PAGE;
}

static uint64_t mfn_at(uint64_t frame)
{
    return pv_mfn((const void *)(frame * PAGE));
}

static uint64_t machine_of(const void *p)
{
    return pv_mfn(p) * PAGE + (uint64_t)p % PAGE;
}

static uint64_t *leaf(uint64_t frame)
{
    return &tables[T1 + (frame - ARENA) / 512][frame % 512];
}

static uint64_t window(uint64_t frame)
{
    return WINDOW + (frame - ARENA) * PAGE;
}

/* What was written, by the address that is the frame's number and what is behind it. */
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

static void ok(int64_t result, const char *what)
{
    pv_check((uint64_t)result, 0, what);
}

/* ---- the window ---- */

static void build_window(void)
{
    uint64_t *root = &((uint64_t *)pv_info->pt_base)[WINDOW >> 39];

    for (uint64_t frame = ARENA; frame < ARENA + FRAMES; frame++)
        *leaf(frame) = mfn_at(frame) * PAGE | LEAF;
    for (unsigned i = 0; i < FRAMES / 512; i++)
        tables[T2][i] = pv_mfn(tables[T1 + i]) * PAGE | LEAF;
    tables[T3][0] = pv_mfn(tables[T2]) * PAGE | LEAF;
    for (unsigned i = 0; i < TABLES; i++)
        ok(pv_protect(tables[i], false), "making a table read-only");
    ok(pv_update(machine_of(root), pv_mfn(tables[T3]) * PAGE | LEAF), "the window");
}

static void invalidate(uint64_t va)
{
    ok(pv_mmuext(MMUEXT_INVLPG_LOCAL, va, 0), "INVLPG");
}

/* An entry becomes another one: by either hypercall, or by an instruction that is carried out. */
static void set_leaf(uint64_t frame, uint64_t entry)
{
    switch (dice(3)) {
    case 0:
        ok(pv_update(machine_of(leaf(frame)), entry), "mmu_update");
        break;
    case 1:
        ok(pv_call(__HYPERVISOR_update_va_mapping, window(frame), entry, UVMF_INVLPG, 0),
           "update_va_mapping");
        break;
    default:
        *(volatile uint64_t *)leaf(frame) = entry;
        break;
    }
    note((uint64_t)leaf(frame), 8);
    invalidate(window(frame));
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
    uint64_t to = va & ~7ul, count = 512;

    __asm__ volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(va) : "memory");
    return PAGE - va % 8;
}

static uint64_t by_add(uint64_t va)
{
    __asm__ volatile("lock addl $3, (%0)" : : "r"(va) : "memory", "cc");
    return 4;
}

/* The processor writes back what it has found. */
static uint64_t by_failed_exchange(uint64_t va)
{
    uint64_t old = ~*(volatile uint64_t *)va;

    __asm__ volatile("lock cmpxchgq %1, (%2)" : "+a"(old) : "r"(old), "r"(va) : "memory", "cc");
    return 8;
}

/* The hypervisor writes for the guest. */
static uint64_t by_hypercall(uint64_t va)
{
    ok(pv_call(__HYPERVISOR_xen_version, XENVER_extraversion, va, 0, 0), "XENVER_extraversion");
    return sizeof(xen_extraversion_t);
}

static uint64_t by_reading(uint64_t va)
{
    (void)*(volatile uint64_t *)va;
    return 0;
}

static uint64_t (*const ways[])(uint64_t va) = {
    by_byte,      by_word,      by_stos,    by_add,     by_failed_exchange,
    by_hypercall, by_hypercall, by_reading, by_reading, by_reading,
};

/* Entries on the way to a page of the window, as they are now. */
static void look(uint64_t frame, uint64_t entry[3])
{
    entry[0] = *(volatile uint64_t *)&tables[T3][0];
    entry[1] = *(volatile uint64_t *)&tables[T2][(frame - ARENA) / 512];
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
            note((uint64_t)tables[T3], 8);
        if (before[i][1] != after[i][1])
            note((uint64_t)tables[T2], 8);
        if (before[i][2] != after[i][2])
            note((uint64_t)leaf(frame + i), 8);
    }
}

/* ---- frames by their numbers ---- */

static void clear_page(uint64_t frame)
{
    ok(pv_mmuext(MMUEXT_CLEAR_PAGE, mfn_at(frame), 0), "CLEAR_PAGE");
    note(frame * PAGE, 1);
}

static void copy_page(uint64_t frame)
{
    ok(pv_mmuext(MMUEXT_COPY_PAGE, mfn_at(frame), mfn_at(ARENA + dice(FRAMES))), "COPY_PAGE");
    note(frame * PAGE, 1);
}

static void write_word(uint64_t frame)
{
    ok(pv_update(mfn_at(frame) * PAGE + 8 * dice(512), frame), "mmu_update of plain memory");
    note(frame * PAGE, 1);
}

/* It comes behind its number once more. */
static void renumber(uint64_t frame)
{
    struct mmu_update update = { .ptr = mfn_at(frame) * PAGE | MMU_MACHPHYS_UPDATE, .val = frame };

    ok(pv_call(__HYPERVISOR_mmu_update, (uint64_t)&update, 1, 0, DOMID_SELF), "MACHPHYS_UPDATE");
    note(frame * PAGE, 1);
}

/* Another frame comes in its place. */
static void exchange_frame(uint64_t frame)
{
    uint64_t                     *p2m = (uint64_t *)pv_info->mfn_list, word = mfn_at(frame);
    struct xen_memory_reservation r = { .nr_extents = 1, .domid = DOMID_SELF };

    set_leaf(frame, 0);
    r.extent_start.p = (void *)&word;
    pv_check(
        (uint64_t)pv_call(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, (uint64_t)&r, 0, 0),
        1, "XENMEM_decrease_reservation");
    word = frame;
    pv_check((uint64_t)pv_call(__HYPERVISOR_memory_op, XENMEM_populate_physmap, (uint64_t)&r, 0, 0),
             1, "XENMEM_populate_physmap");
    p2m[frame] = word;
    note(frame * PAGE, 1);
    set_leaf(frame, word * PAGE | LEAF);
}

/* What the hypervisor reads to check it, it does not write. */
static void pin_empty(uint64_t frame)
{
    clear_page(frame);
    set_leaf(frame, mfn_at(frame) * PAGE | P | U);
    ok(pv_mmuext(MMUEXT_PIN_L1_TABLE, mfn_at(frame), 0), "PIN_L1_TABLE");
    ok(pv_mmuext(MMUEXT_UNPIN_TABLE, mfn_at(frame), 0), "UNPIN_TABLE");
    set_leaf(frame, mfn_at(frame) * PAGE | LEAF);
}

static void (*const by_number[])(uint64_t frame) = {
    clear_page, copy_page, write_word, renumber, exchange_frame, pin_empty,
};

/* ---- rounds ---- */

/* Some accesses begin shortly before the end of a page. */
static uint64_t some_offset(void)
{
    uint64_t offset = dice(FRAMES - 3) * PAGE;

    return dice(4) == 0 ? offset + PAGE - 1 - dice(7) : offset + 8 * dice(512);
}

static void one_write(void)
{
    uint64_t offset = some_offset(), frame = ARENA + offset / PAGE, kind = dice(100);

    if (kind < 30)
        by_number[dice(sizeof(by_number) / sizeof(by_number[0]))](frame);
    else if (kind < 40)
        set_leaf(frame, *leaf(frame) & ~(A | D));
    else
        through_window((unsigned)dice(sizeof(ways) / sizeof(ways[0])), offset);
}

static void print_range(const char *what, uint64_t first, uint64_t end)
{
    pv_print(what);
    pv_print_hex(first);
    pv_print("-");
    pv_print_hex(end - 1);
}

static void say_what_was_written(uint64_t round)
{
    pv_print("log-dirty: round ");
    pv_print_hex(round);
    pv_print(" wrote");
    for (uint64_t frame = 0; frame < MEMORY; frame++) {
        uint64_t first = frame;

        while (frame < MEMORY && (wrote[frame / 64] >> frame % 64 & 1))
            frame++;
        if (first != frame)
            print_range(" ", first, frame);
    }
    pv_print("\n");
}

static void wait_until(uint64_t ns)
{
    struct sched_poll poll = { .timeout = ns };

    (void)pv_call(__HYPERVISOR_sched_op, SCHEDOP_poll, (uint64_t)&poll, 0, 0);
}

void pv_main(void)
{
    uint64_t rounds = pv_number("rounds=", 0), writes = pv_number("writes=", 0);

    seed = pv_number("seed=", 0);
    pv_check(pv_info->nr_pages, MEMORY, "the number of pages");
    build_window();
    /* What it writes without saying so: its image but for the tables, what the builder made. */
    print_range("log-dirty: own ", 0, frame_of(tables));
    print_range(" ", frame_of(tables) + TABLES, MAPPED);
    print_range("\nlog-dirty: tables ", frame_of(tables), frame_of(tables) + TABLES);
    pv_print("\n");
    for (uint64_t round = 0; round < rounds; round++) {
        wait_until((round + 1) * SECOND);
        for (unsigned i = 0; i < MEMORY / 64; i++)
            wrote[i] = 0;
        for (uint64_t i = 0; i < writes; i++)
            one_write();
        wait_until((round + 1) * SECOND + SECOND / 4); /* until nobody else says anything */
        say_what_was_written(round);
    }
    wait_until((rounds + 1) * SECOND);
}
