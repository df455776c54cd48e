/*
 * The longest of each kind of call that a PV guest can make: tables of descriptors, batches and lists
 * of calls, each as full and as slow as may be. Each must stop on the way where others want their
 * turn, which the hypervisor's `stretch` shows, and come to its end all the same. With a word on the
 * command line only the kind of that name is run.
 */
#include "test/guests/pv/pv.h"

const char pv_name[] = "pv-long";

#define FRAMES  14 /* of a GDT */
#define LDT     16
#define ENTRIES 512
#define LIST    1024
#define FLAGS   (P | W | U | A | D)
#define DATA    0x00cf93000000fffful
#define DATA_3  (DATA | 3ul << 45)

static uint64_t gdt[FRAMES][ENTRIES] __attribute__((aligned(4096)));
static uint64_t other[FRAMES][ENTRIES] __attribute__((aligned(4096)));
static uint64_t ldt[LDT][ENTRIES] __attribute__((aligned(4096)));
static uint64_t pages[64][ENTRIES] __attribute__((aligned(4096)));
static union {
    struct multicall_entry calls[LIST];
    struct mmuext_op       ops[LIST];
    struct mmu_update      updates[LIST];
    struct trap_info       traps[257];
    uint64_t               words[LIST];
    char                   text[LIST * 64];
} list __attribute__((aligned(4096)));
static struct trap_info traps[257];
static uint64_t         words[64];

static bool is(const char *word)
{
    const char *said = (const char *)pv_info->cmd_line;

    if (*said == '\0')
        return true;
    while (*word != '\0' && *word == *said) {
        word++;
        said++;
    }
    return *word == *said;
}

static uint64_t machine(const void *p)
{
    return pv_mfn(p) * PAGE + ((uint64_t)p & (PAGE - 1));
}

/* ---- descriptors ---- */

static void fill_table(uint64_t (*table)[ENTRIES], unsigned frames)
{
    for (unsigned i = 0; i < frames; i++) {
        pv_check((uint64_t)pv_protect(table[i], true), 0, "making a page writable");
        for (unsigned n = 0; n < ENTRIES; n++)
            table[i][n] = DATA;
        pv_check((uint64_t)pv_protect(table[i], false), 0, "making a page read-only");
    }
}

static uint64_t set_gdt(uint64_t (*table)[ENTRIES], unsigned frames)
{
    for (unsigned i = 0; i < frames; i++)
        words[i] = pv_mfn(table[i]);
    return (uint64_t)pv_call(__HYPERVISOR_set_gdt, (uint64_t)words, frames * ENTRIES, 0, 0);
}

static void long_gdt(void)
{
    fill_table(gdt, FRAMES);
    fill_table(other, FRAMES);
    pv_check(set_gdt(gdt, FRAMES), 0, "a GDT of all frames");
    pv_check(gdt[FRAMES - 1][ENTRIES - 1], DATA_3, "its last descriptor");
    pv_check(set_gdt(other, FRAMES), 0, "another GDT of all frames");
    pv_check((uint64_t)pv_protect(gdt[0], true), 0, "the first is none any more");
    gdt[0][7] = 0x0000890000000067ul; /* a TSS */
    pv_check((uint64_t)pv_protect(gdt[0], false), 0, "making it read-only again");
    for (unsigned i = 0; i < FRAMES; i++)
        words[i] = pv_mfn(gdt[FRAMES - 1 - i]);
    pv_check((uint64_t)pv_call(__HYPERVISOR_set_gdt, (uint64_t)words, FRAMES * ENTRIES, 0, 0),
             (uint64_t)-XEN_EINVAL, "a GDT whose last frame is a bad one");
    pv_check((uint64_t)pv_protect(gdt[1], true), 0, "a page of the GDT that was refused");
    pv_check((uint64_t)pv_protect(other[0], true), (uint64_t)-XEN_EINVAL, "one that is in use");
    pv_check(set_gdt(other, 0), 0, "no GDT");
    pv_check((uint64_t)pv_protect(other[0], true), 0, "now it is in use no more");
}

static void long_ldt(void)
{
    fill_table(ldt, LDT);
    for (unsigned i = 0; i < LIST; i++) {
        list.ops[i] = (struct mmuext_op){ .cmd = MMUEXT_SET_LDT };
        list.ops[i].arg1.linear_addr = (uint64_t)ldt;
        list.ops[i].arg2.nr_ents = LDT * ENTRIES;
    }
    pv_check((uint64_t)pv_mmuext(MMUEXT_SET_LDT, (uint64_t)ldt, LDT * ENTRIES), 0, "an LDT");
    for (unsigned i = 0; i < LDT; i++)
        pv_check(PV_TRY("mov %w0, %%fs", , "r"(i * ENTRIES * 8 + 7)), true, "a selector of it");
    pv_check((uint64_t)pv_call(__HYPERVISOR_mmuext_op, (uint64_t)list.ops, LIST, 0, DOMID_SELF), 0,
             "the LDT again and again");
    pv_check((uint64_t)pv_mmuext(MMUEXT_SET_LDT, 0, 0), 0, "no LDT");
}

static void long_descriptors(void)
{
    fill_table(gdt, 1);
    pv_check(set_gdt(gdt, 1), 0, "a GDT");
    for (unsigned i = 0; i < LIST; i++)
        list.calls[i] = (struct multicall_entry){
            .op = __HYPERVISOR_update_descriptor,
            .args = { machine(&gdt[0][i % ENTRIES]), DATA },
        };
    pv_check((uint64_t)pv_call(__HYPERVISOR_multicall, (uint64_t)list.calls, LIST, 0, 0), 0,
             "a list of descriptors");
    pv_check(list.calls[LIST - 1].result, 0, "the last one");
    pv_check(set_gdt(gdt, 0), 0, "no GDT");
}

/* ---- batches ---- */

static void long_extended(const char *what, unsigned cmd, uint64_t one, uint64_t two)
{
    uint32_t done = 0;

    for (unsigned i = 0; i < LIST; i++) {
        list.ops[i] = (struct mmuext_op){ .cmd = cmd };
        list.ops[i].arg1.linear_addr = one;
        list.ops[i].arg2.src_mfn = two;
    }
    pv_check((uint64_t)pv_call(__HYPERVISOR_mmuext_op, (uint64_t)list.ops, LIST, (uint64_t)&done,
                               DOMID_SELF),
             0, what);
    pv_check(done, LIST, what);
}

/* A table of 512 entries, all present, is validated and taken down again and again. */
static void long_pins(void)
{
    for (unsigned i = 0; i < ENTRIES; i++)
        pages[0][i] = machine(pages[1 + i % 63]) | FLAGS;
    pv_check((uint64_t)pv_protect(pages[0], false), 0, "making a page read-only");
    for (unsigned i = 0; i < LIST; i++) {
        list.ops[i] = (struct mmuext_op){ .cmd = i % 2 ? MMUEXT_UNPIN_TABLE : MMUEXT_PIN_L1_TABLE };
        list.ops[i].arg1.mfn = pv_mfn(pages[0]);
    }
    pv_check((uint64_t)pv_call(__HYPERVISOR_mmuext_op, (uint64_t)list.ops, 32, 0, DOMID_SELF), 0,
             "pins of a full table");
    pv_check((uint64_t)pv_protect(pages[0], true), 0, "making it a page again");
}

static void long_updates(void)
{
    for (unsigned i = 0; i < LIST; i++)
        list.updates[i] = (struct mmu_update){ machine(pv_entry(pages[i % 64])),
                                               machine(pages[(i + i / 64) % 64]) | FLAGS };
    pv_check(
        (uint64_t)pv_call(__HYPERVISOR_mmu_update, (uint64_t)list.updates, LIST, 0, DOMID_SELF), 0,
        "a list of updates");
    for (unsigned i = 0; i < LIST; i++)
        list.updates[i] = (struct mmu_update){ machine(pages[i % 64]) | MMU_MACHPHYS_UPDATE,
                                               (uint64_t)pages[i % 64] / PAGE };
    pv_check(
        (uint64_t)pv_call(__HYPERVISOR_mmu_update, (uint64_t)list.updates, LIST, 0, DOMID_SELF), 0,
        "a list of updates of the M2P");
}

/* ---- lists of calls ---- */

static void some_calls(const char *what, unsigned count, struct multicall_entry call)
{
    for (unsigned i = 0; i < count; i++)
        list.calls[i] = call;
    list.calls[count - 1].result = 1;
    pv_check((uint64_t)pv_call(__HYPERVISOR_multicall, (uint64_t)list.calls, count, 0, 0), 0, what);
    pv_check(list.calls[count - 1].result, 0, what);
}

static void long_list(const char *what, uint64_t nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    some_calls(what, LIST, (struct multicall_entry){ .op = nr, .args = { a, b, c, d } });
}

static void long_texts(void)
{
    char *text = (char *)pages[2];

    for (unsigned i = 0; i < 2000; i++)
        text[i] = i % 100 == 99 ? '\n' : '.';
    some_calls("a list of texts", 8,
               (struct multicall_entry){
                   .op = __HYPERVISOR_console_io,
                   .args = { CONSOLEIO_write, 2000, (uint64_t)text },
               });
}

static void long_traps(void)
{
    for (unsigned i = 0; i < 256; i++)
        traps[i] = (struct trap_info){ .vector = (uint8_t)i,
                                       .flags = i == 3 ? 3 : 0,
                                       .cs = 0xe033,
                                       .address = (uint64_t)pv_vectors + (i < 32 ? i : 0) * 16 };
    long_list("a list of trap tables", __HYPERVISOR_set_trap_table, (uint64_t)traps, 0, 0, 0);
}

/* Frames are given back and taken again, in calls of many and in calls of one. */
static void long_memory(void)
{
    struct xen_memory_reservation r = { .nr_extents = ENTRIES, .domid = DOMID_SELF };
    static uint64_t               extent[ENTRIES];
    const uint64_t               *p2m = (const uint64_t *)pv_info->mfn_list;

    r.extent_start.p = (void *)extent;
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < ENTRIES; i++)
            extent[i] = round ? extent[i] : p2m[pv_info->nr_pages - 1 - i];
        pv_check((uint64_t)pv_call(__HYPERVISOR_memory_op, XENMEM_decrease_reservation,
                                   (uint64_t)&r, 0, 0),
                 ENTRIES, "giving many frames back");
        for (unsigned i = 0; i < ENTRIES; i++)
            extent[i] = pv_info->nr_pages - 1 - i;
        pv_check(
            (uint64_t)pv_call(__HYPERVISOR_memory_op, XENMEM_populate_physmap, (uint64_t)&r, 0, 0),
            ENTRIES, "getting many frames");
    }
    r.nr_extents = 8;
    for (unsigned i = 0; i < LIST; i++)
        list.calls[i] = (struct multicall_entry){
            .op = __HYPERVISOR_memory_op,
            .args = { i % 2 ? XENMEM_populate_physmap : XENMEM_decrease_reservation, (uint64_t)&r },
        };
    pv_check((uint64_t)pv_call(__HYPERVISOR_multicall, (uint64_t)list.calls, LIST, 0, 0), 0,
             "a list of calls about memory");
}

static void long_grants(void)
{
    static struct gnttab_query_size query[LIST];

    for (unsigned i = 0; i < LIST; i++)
        query[i].dom = DOMID_SELF;
    long_list("a list of grant operations", __HYPERVISOR_grant_table_op, GNTTABOP_query_size,
              (uint64_t)query, 1, 0);
}

void pv_main(void)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } kinds[] = {
        { "gdt", long_gdt },       { "ldt", long_ldt },         { "descriptors", long_descriptors },
        { "pins", long_pins },     { "updates", long_updates }, { "traps", long_traps },
        { "memory", long_memory }, { "grants", long_grants },   { "texts", long_texts },
    };

    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (is(kinds[i].name))
            kinds[i].run();
    if (is("clear"))
        long_extended("pages cleared", MMUEXT_CLEAR_PAGE, pv_mfn(pages[0]), 0);
    if (is("copy"))
        long_extended("pages copied", MMUEXT_COPY_PAGE, pv_mfn(pages[0]), pv_mfn(pages[1]));
    if (is("flush"))
        long_extended("flushes", MMUEXT_TLB_FLUSH_ALL, 0, 0);
    if (is("invlpg"))
        long_extended("flushes of an address", MMUEXT_INVLPG_ALL, (uint64_t)pages, 0);
    if (is("mappings"))
        long_list("a list of mappings", __HYPERVISOR_update_va_mapping, (uint64_t)pages[0],
                  machine(pages[0]) | FLAGS, UVMF_TLB_FLUSH | UVMF_ALL, 0);
    if (is("version"))
        long_list("a list of texts of us", __HYPERVISOR_xen_version, XENVER_commandline,
                  (uint64_t)pages[2], 0, 0);
    if (is("runstate"))
        long_list("a list of questions about time", __HYPERVISOR_vcpu_op, VCPUOP_get_runstate_info,
                  0, (uint64_t)pages[2], 0);
}
