/*
 * What holds between the paging modes and between the bits that change what entries mean: any
 * mode after any other while running, also without leaving paging; CR0.WP, EFER.NXE, CR4.SMEP,
 * CR4.SMAP and EFLAGS.AC seen at once; the root entries of PAE latched at MOV CR3 and checked
 * there; global pages; one page as a table of two levels, and of two formats.
 *
 * Where QEMU 7.2's emulation differs, that is counted and printed last: it reads PAE's root
 * entries at each use (changed-root-seen), and takes reserved bits in them (root-not-checked).
 */
#include "test/guests/multiboot/probe.h"

const char kernel_name[] = "modes";

#define WHERE     0x20u
#define OTHER     (PROBE_TARGET + PAGE) /* another page than the target */
#define MAGIC     0x11111111u
#define OTHERS    0x22222222u
#define RECURSIVE 0x55u /* the index of a table in itself */

static const struct paging_mode *const modes[PAGING_MODES] = { &paging_2level, &paging_pse,
                                                               &paging_pae, &paging_long,
                                                               &paging_five };
static const struct paging_mode       *mode;
static unsigned                        count; /* of the modes that there are */
static uint32_t                        changed_root_seen, root_not_checked;
static uint8_t                         shared[PAGE] __attribute__((aligned(PAGE)));

/* ---- accesses ---- */

static uint32_t act(enum probe_access access, uint64_t address, bool user)
{
    probe.access = access;
    probe.address = address;
    probe.user = user;
    probe_go();
    return probe.vector;
}

static uint64_t target(void)
{
    return (mode->window | PROBE_TARGET) + WHERE;
}

/* The target through the window, with what the TLB knows of it. */
static void reads(uint32_t value, const char *what)
{
    kernel_check(act(PROBE_READ, target(), false), VECTOR_NONE, what);
    kernel_check(probe.value, value, what);
}

static void faults(enum probe_access access, bool user, uint32_t error, const char *what)
{
    uint64_t address = target() - (access == PROBE_FETCH ? WHERE : 0);

    kernel_check(act(access, address, user), VECTOR_PF, what);
    kernel_check(probe.error, error, what);
    kernel_check(probe.cr2 == address, true, "CR2 of that fault");
}

static void works(enum probe_access access, bool user, const char *what)
{
    kernel_check(act(access, target() - (access == PROBE_FETCH ? WHERE : 0), user), VECTOR_NONE,
                 what);
}

/* The leaf maps this page, with these flags. */
static void map(uint32_t page, uint64_t flags)
{
    probe_set_entry(1, page | PTE_P | PTE_A | PTE_D | flags);
}

static void flush(void)
{
    probe.keep = 0;
    (void)act(PROBE_READ, target(), false);
    probe.keep = 1;
}

/* ---- any mode after any other ---- */

static void turn(const struct paging_mode *next)
{
    if (mode)
        probe_paging_off();
    mode = next;
    if (mode)
        probe_paging_on(mode);
}

/*
 * Before a mode is left, its window is led elsewhere, and it is found so again when the mode
 * comes back; with paging off, the other modes' tables change.
 */
static void test_any_order(void)
{
    uint32_t expected[PAGING_MODES], round = 0;

    for (unsigned i = 0; i < count; i++) {
        probe_build(modes[i]);
        expected[i] = MAGIC;
    }
    for (unsigned from = 0; from < count; from++)
        for (unsigned to = 0; to < count; to++)
            for (unsigned way = 0; way < 2; way++, round++) {
                turn(modes[from]);
                reads(expected[from], "what the mode mapped when it was left");
                expected[from] = round & 1 ? MAGIC : OTHERS;
                map(round & 1 ? PROBE_TARGET : OTHER, PTE_W);
                flush();
                reads(expected[from], "what it maps now");
                turn(NULL);
                kernel_check(load(PROBE_TARGET + WHERE), MAGIC, "memory without paging");
                turn(modes[to]);
                reads(expected[to], "what the next mode maps");
            }
    turn(NULL);
}

/*
 * From two levels to PAE and back by CR4.PAE alone. CR3 leads to a page that is a directory of
 * two levels, of which the last entries are PAE's four: bits 11:5 of CR3 count for PAE only.
 */
static void test_pae_while_paging(void)
{
    uint32_t *directory = (uint32_t *)(void *)probe_table_of(&paging_2level, 2);
    uint64_t *roots = (uint64_t *)(void *)(directory + 1016);

    probe_build(&paging_2level);
    probe_build(&paging_pae);
    __builtin_memcpy(roots, probe_table_of(&paging_pae, 3), 32);
    turn(&paging_2level);
    write_cr3(read_cr3() | 0xfe0);
    map(PROBE_TARGET, PTE_W);
    for (unsigned i = 0; i < 4; i++) {
        mode = &paging_2level;
        flush();
        reads(MAGIC, "the target, by two levels");
        write_cr4(read_cr4() | CR4_PAE);
        reads(MAGIC, "the target, by PAE");
        write_cr4(read_cr4() & ~CR4_PAE);
    }
    turn(NULL);
}

/* CR4.PSE while paging: the same entry is a table or a page. */
static void test_pse_while_paging(void)
{
    probe_build(&paging_pse);
    turn(&paging_pse);
    probe_set_entry(2, probe_large(2) | PTE_ALL | PTE_PS);
    for (unsigned i = 0; i < 4; i++) {
        write_cr4(read_cr4() | CR4_PSE);
        reads(MAGIC, "the target in a page of 4 MiB");
        write_cr4(read_cr4() & ~CR4_PSE);
        /* Without PSE the page's first frame is a table: its entries are absent. */
        kernel_check(act(PROBE_READ, target(), false), VECTOR_PF, "that page as a table");
        kernel_check(probe.error, 0, "which has no such entry");
    }
    turn(NULL);
}

/* ---- bits that are seen at once ---- */

static void set_cr4(uint32_t bits, bool on)
{
    write_cr4((read_cr4() & ~bits) | (on ? bits : 0));
}

static void test_write_protect(void)
{
    map(PROBE_TARGET, PTE_U);
    flush();
    for (unsigned i = 0; i < 4; i++) {
        works(PROBE_READ, i & 1, "a read of a read-only page");
        faults(PROBE_WRITE, false, ERROR_P | ERROR_W, "a write to it");
        write_cr0(read_cr0() & ~CR0_WP);
        probe.value = MAGIC;
        works(PROBE_WRITE, false, "a write to it without WP");
        faults(PROBE_WRITE, true, ERROR_P | ERROR_W | ERROR_U, "a user's write to it without WP");
        works(PROBE_READ, true, "a user's read of it without WP");
        probe.value = MAGIC;
        works(PROBE_WRITE, false, "a second write to it without WP");
        write_cr0(read_cr0() | CR0_WP);
    }
    faults(PROBE_WRITE, false, ERROR_P | ERROR_W, "a write to it with WP again");
}

static void test_smep_and_smap(void)
{
    map(PROBE_TARGET, PTE_U | PTE_W);
    flush();
    for (unsigned i = 0; i < 4; i++) {
        works(PROBE_FETCH, false, "a fetch from a user page without SMEP");
        set_cr4(CR4_SMEP, true);
        faults(PROBE_FETCH, false, ERROR_P | ERROR_I, "a fetch from a user page with SMEP");
        works(PROBE_FETCH, true, "a user's own fetch with SMEP");
        set_cr4(CR4_SMEP, false);
        works(PROBE_READ, false, "a read of a user page without SMAP");
        set_cr4(CR4_SMAP, true);
        faults(PROBE_READ, false, ERROR_P, "a read of a user page with SMAP");
        faults(PROBE_WRITE, false, ERROR_P | ERROR_W, "a write to a user page with SMAP");
        probe.eflags = EFLAGS_ONE | EFLAGS_AC;
        works(PROBE_READ, false, "a read of a user page with SMAP and AC");
        probe.value = MAGIC;
        works(PROBE_WRITE, false, "a write to a user page with SMAP and AC");
        probe.eflags = EFLAGS_ONE;
        faults(PROBE_READ, false, ERROR_P, "a read of a user page when AC is clear again");
        works(PROBE_READ, true, "a user's own read with SMAP");
        set_cr4(CR4_SMAP, false);
    }
}

static void test_no_execute(void)
{
    if (mode->entry_bytes != 8)
        return;
    map(PROBE_TARGET, PTE_W | PTE_NX);
    flush();
    for (unsigned i = 0; i < 4; i++) {
        faults(PROBE_FETCH, false, ERROR_P | ERROR_I, "a fetch from a page with NX");
        wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_NXE);
        write_cr3(read_cr3());
        kernel_check(act(PROBE_READ, target(), false), VECTOR_PF,
                     "NX is a reserved bit without NXE");
        kernel_check(probe.error & ~ERROR_P, ERROR_RSVD, "and said to be so");
        wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
        write_cr3(read_cr3());
        works(PROBE_READ, false, "a read of a page with NX");
    }
}

/* ---- global pages ---- */

static bool page_was_exchanged(void)
{
    kernel_check(act(PROBE_READ, target(), false), VECTOR_NONE, "a read of a global page");
    if (probe.value != MAGIC)
        kernel_check(probe.value, OTHERS, "what a global page has");
    return probe.value == OTHERS;
}

static void test_global(void)
{
    for (unsigned on = 0; on < 2; on++) {
        set_cr4(CR4_PGE, true);
        map(PROBE_TARGET, PTE_W | PTE_G);
        flush();
        kernel_check(page_was_exchanged(), false, "the first page");
        map(OTHER, PTE_W | PTE_G);
        write_cr3(read_cr3());
        (void)page_was_exchanged(); /* either is right: CR3 leaves global pages */
        set_cr4(CR4_PGE, false);
        kernel_check(page_was_exchanged(), true, "CR4.PGE cleared flushes global pages");
        map(PROBE_TARGET, PTE_W | PTE_G);
        set_cr4(CR4_PGE, true);
        kernel_check(page_was_exchanged(), false, "CR4.PGE set flushes all pages");
        map(OTHER, PTE_W | PTE_G);
        flush();
        kernel_check(page_was_exchanged(), true, "INVLPG flushes global pages");
        set_cr4(CR4_PGE, false);
    }
}

/* ---- a table that maps itself ---- */

/*
 * The highest table on the way to the window whose entries have rights gets an entry that is
 * this table itself. Through it, each table below is a page, and the table is its own leaf.
 */
static uint64_t through_itself(unsigned top, unsigned level, uint64_t table_index)
{
    uint64_t address = mode->window & ~((1ull << (mode->shift[top] + mode->index_bits)) - 1);

    for (unsigned l = top; l >= 1; l--) /* so often the table itself, then what it leads to */
        address |= (uint64_t)(l > level ? RECURSIVE : table_index) << mode->shift[l];
    return address;
}

static unsigned index_at(unsigned level)
{
    return (unsigned)(target() >> mode->shift[level]) & ((1u << mode->index_bits) - 1);
}

static void write_low(uint64_t address, uint32_t value, const char *what)
{
    probe.value = value;
    kernel_check(act(PROBE_WRITE, address, false), VECTOR_NONE, what);
}

static void test_recursive(void)
{
    unsigned top = mode->levels == 3 ? 2 : mode->levels;
    uint8_t *table = probe_table_of(mode, top);
    uint64_t itself = (uint32_t)table | PTE_P | PTE_W, leaf = 0, own = 0;

    map(PROBE_TARGET, PTE_W);
    flush();
    __builtin_memcpy(table + RECURSIVE * mode->entry_bytes, &itself, mode->entry_bytes);
    /* The leaf table as a page: once through itself, then as the target's address goes. */
    leaf = through_itself(top, top - 1, 0);
    for (unsigned l = top - 1; l >= 1; l--)
        leaf = (leaf & ~((((uint64_t)1 << mode->index_bits) - 1) << mode->shift[l])) |
               (uint64_t)index_at(l + 1) << mode->shift[l];
    leaf += index_at(1) * mode->entry_bytes;
    own = through_itself(top, 0, 0) + index_at(top) * mode->entry_bytes;
    for (unsigned i = 0; i < 8; i++) {
        uint32_t page = i & 1 ? PROBE_TARGET : OTHER;

        kernel_check(act(PROBE_READ, leaf, false), VECTOR_NONE, "a leaf through a table in itself");
        kernel_check(probe.value, (uint32_t)probe_entry(1), "is the leaf");
        write_low(leaf, page | PTE_P | PTE_W, "a leaf is written there");
        flush();
        reads(i & 1 ? MAGIC : OTHERS, "the page that it maps then");
        kernel_check(act(PROBE_READ, own, false), VECTOR_NONE, "the table through itself");
        kernel_check(probe.value, (uint32_t)probe_entry(top), "is the table");
        write_low(own, (uint32_t)(probe_entry(top) & ~PTE_P), "its entry is written there");
        probe.keep = 0;
        kernel_check(act(PROBE_READ, target(), false), VECTOR_PF, "what it led to is absent");
        probe.keep = 1;
        write_low(own, (uint32_t)(probe_entry(top) | PTE_P), "and is written back");
        flush();
        reads(i & 1 ? MAGIC : OTHERS, "the page is there again");
    }
}

/* ---- one page as a table of two formats ---- */

/*
 * A 64-bit entry below 4 GiB is two entries of 32 bits: itself, and one that is absent. So
 * the page is a leaf table of PAE, of four levels and of two levels, at twice the index.
 */
static void test_two_formats(void)
{
    static const struct paging_mode *const formats[] = { &paging_2level, &paging_pae,
                                                         &paging_long };
    uint64_t                              *leaf = (uint64_t *)(void *)shared;

    for (unsigned f = 0; f < 3; f++) {
        probe_build(formats[f]);
        mode = formats[f];
        probe_set_entry(2, (uint32_t)shared | PTE_ALL);
    }
    for (unsigned i = 0; i < 12; i++) {
        uint32_t page = i & 1 ? PROBE_TARGET : OTHER, index = 17 + (i & 3);

        turn(formats[i % 3]);
        leaf[index] = page | PTE_P | PTE_W;
        for (unsigned f = 0; f < 3; f++) {
            uint64_t address;

            turn(formats[(i + f) % 3]);
            address = (target() & ~0x3fffffull) |
                      (target() & 0x200000 && mode->levels > 2 ? 0x200000 : 0);
            address += (uint64_t)index * (mode->levels == 2 ? 2 : 1) * PAGE + WHERE;
            kernel_check(act(PROBE_READ, address, false), VECTOR_NONE, "a page by a shared table");
            kernel_check(probe.value, i & 1 ? MAGIC : OTHERS, "is the page");
            kernel_check((uint32_t)leaf[index] & (PTE_A | PTE_D), PTE_A, "A is set, and D is not");
            kernel_check((uint32_t)(leaf[index] >> 32), 0, "and nothing beside");
            if (mode->levels == 2) {
                kernel_check(act(PROBE_READ, address + PAGE, false), VECTOR_PF, "the upper half");
                kernel_check(probe.error, 0, "is an absent entry");
            }
            leaf[index] &= ~PTE_A;
            probe.keep = 0;
        }
    }
    probe.keep = 1;
    turn(NULL);
}

/* ---- canonical addresses ---- */

/* Bits above the highest index equal its highest bit: APM vol. 2, 5.3.1. */
static void test_canonical(void)
{
    unsigned top = mode->shift[mode->levels] + 8; /* the highest bit that counts */

    if (mode->levels < 4)
        return;
    for (unsigned bit = top; bit < 64; bit++) {
        uint64_t address = 1ull << bit | WHERE;

        kernel_check(act(PROBE_READ, address, false), VECTOR_GP, "an address with one high bit");
        kernel_check(act(PROBE_WRITE, address, true), VECTOR_GP, "the same for a user");
        kernel_check(probe.error, 0, "the error code of that");
    }
    kernel_check(act(PROBE_READ, ~0ull << top | WHERE, false), VECTOR_PF,
                 "an address with all high bits");
    kernel_check(probe.cr2 == (~0ull << top | WHERE), true, "CR2 of that");
}

/* ---- the number of levels ---- */

static void change_levels(void)
{
    write_cr4(read_cr4() ^ CR4_LA57);
}

/*
 * CR4.LA57 does not change in long mode. QEMU 7.2 refuses that to 64-bit code only, and this is
 * none: so it is tried under the hypervisor.
 */
static void test_levels_are_fixed(void)
{
    if (!probe_has_five() || cpuid(0x40000000).ebx != 0x566e6558)
        return;
    for (unsigned i = 3; i < PAGING_MODES; i++) {
        probe_build(modes[i]);
        turn(modes[i]);
        kernel_check(probe_call(change_levels), VECTOR_GP, "another number of levels");
        flush();
        reads(MAGIC, "the target after #GP");
        turn(NULL);
    }
    set_cr4(CR4_LA57, true);
    set_cr4(CR4_LA57, false);
}

/* ---- PAE's root entries ---- */

static uint32_t new_cr3;

static void load_cr3(void)
{
    write_cr3(new_cr3);
}

static void test_latched(void)
{
    volatile uint64_t *roots = (volatile uint64_t *)(void *)probe_table_of(&paging_pae, 3);
    uint64_t           good = roots[1];
    uint32_t           vector;

    roots[1] = 0;
    probe.keep = 0;
    vector = act(PROBE_READ, target(), false);
    if (vector != VECTOR_NONE)
        changed_root_seen++;
    new_cr3 = read_cr3();
    kernel_check(probe_call(load_cr3), VECTOR_NONE, "absent root entries are fine");
    faults(PROBE_READ, false, 0, "a read where the root entry is absent");
    roots[1] = ~PTE_P; /* nothing is reserved in an absent entry */
    kernel_check(probe_call(load_cr3), VECTOR_NONE, "absent root entries may have any bits");
    roots[1] = good;
    if (act(PROBE_READ, target(), false) == VECTOR_NONE)
        changed_root_seen++;
    load_cr3();
    reads(MAGIC, "the target");
    probe.keep = 1;
}

/* APM vol. 2, 5.2.3: a reserved bit in a present root entry is #GP at MOV CR3, which is not done. */
static void test_roots_checked(void)
{
    static const uint8_t reserved[] = { 1, 2, 6, 7, 8, 40, 51, 52, 62, 63 };
    static uint64_t      other[4] __attribute__((aligned(32)));
    uint32_t             before = read_cr3();
    uint64_t             good;

    __builtin_memcpy(other, probe_table_of(&paging_pae, 3), sizeof(other));
    good = other[1];
    new_cr3 = (uint32_t)other;
    for (unsigned i = 0; i < sizeof(reserved); i++) {
        for (unsigned at = 1; at < 4; at++) { /* the first maps ourselves */
            uint64_t was = other[at];

            other[at] = good | 1ull << reserved[i];
            if (probe_call(load_cr3) != VECTOR_GP) {
                root_not_checked++;
                write_cr3(before);
            }
            kernel_check(read_cr3(), before, "CR3 after #GP");
            flush();
            reads(MAGIC, "the target after #GP");
            other[at] = was;
        }
    }
    for (unsigned bit = 3; bit < 12; bit++) { /* caching, and the guest's own */
        if (bit > 4 && bit < 9)
            continue;
        other[1] = good | 1ull << bit;
        kernel_check(probe_call(load_cr3), VECTOR_NONE, "a bit that is not reserved");
        flush();
        reads(MAGIC, "the target by other root entries");
    }
    write_cr3(before);
}

/* ---- all of it ---- */

void kernel_main(const struct multiboot_info *info)
{
    (void)info;
    probe_init();
    count = probe_has_five() ? PAGING_MODES : PAGING_MODES - 1;
    probe.keep = 1;
    store(PROBE_TARGET + WHERE, MAGIC);
    store(OTHER + WHERE, OTHERS);
    test_any_order();
    test_pae_while_paging();
    test_pse_while_paging();
    test_two_formats();
    for (unsigned i = 0; i < count; i++) {
        probe_build(modes[i]);
        turn(modes[i]);
        test_write_protect();
        test_smep_and_smap();
        test_no_execute();
        test_global();
        test_recursive();
        test_canonical();
        if (modes[i] == &paging_pae) {
            flush();
            test_latched();
            test_roots_checked();
        }
        turn(NULL);
    }
    test_levels_are_fixed();
    probe_print("modes: ", count);
    probe_print("\nquirks: changed-root-seen ", changed_root_seen);
    probe_print(" root-not-checked ", root_not_checked);
    kernel_print("\n");
}
