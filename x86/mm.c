/*
 * Makes and reads the hypervisor's own page tables: APM vol. 2, 5.3. Tables come from the
 * memory map while there is no allocator, and are reached through the direct map, which
 * start.S made for the first 4 GiB. Entries are only ever made, never changed or removed, so
 * that no TLB needs a flush; but for the windows of descriptors. Entries of the root are all made
 * before mm_slots is called first: PV guests have copies of them.
 */
#include "x86/mm.h"

#include <string.h>

#include "hv/abi.h"
#include "hv/alloc.h"
#include "hv/machine.h"
#include "hv/print.h"
#include "paging/direct.h"
#include "x86/cpu.h"
#include "x86/memmap.h"

#define ENTRIES         512
#define FIRST_4G        (UINT64_C(1) << 32)
#define WINDOW_CPUS_MAX 64
#define PTE_PWT         (UINT64_C(1) << 3) /* APM vol. 2, 5.4.1 */
#define PTE_PCD         (UINT64_C(1) << 4) /* with PWT: PAT entry 3, which is UC after reset */
#define CPUID_1G        (1u << 26)         /* CPUID 8000_0001 EDX: pages of 1 GiB */

#define SLOT_FIRST 256
#define M2P_NONE   0xff /* each byte of an entry without a frame */

#define RW (PTE_P | PTE_W | PTE_NX | PTE_A | PTE_D)
#define RO (PTE_P | PTE_NX | PTE_A)
#define RX (PTE_P | PTE_A)

struct phys machine_phys;

static pte_t    *root;
static uint64_t *m2p;
static uint64_t  m2p_frames;
static pte_t    *window[WINDOW_CPUS_MAX];
static uint64_t  zero_page;
static bool      large_1g;
static bool      allocator_ready;
static uint64_t  device_next = LAYOUT_DEVICE;

static unsigned index_at(uint64_t address, unsigned level)
{
    return (address >> (PAGE_SHIFT + 9 * (level - 1))) & (ENTRIES - 1);
}

static uint64_t bytes_at(unsigned level)
{
    return PAGE_SIZE << (9 * (level - 1));
}

static pte_t *table_of(pte_t e)
{
    return mm_direct(e.raw & PTE_FRAME);
}

/* A frame for ourselves, by physical address. */
static uint64_t page_take(void)
{
    uint64_t page;

    if (allocator_ready) {
        mfn_t mfn = alloc_frames(0, ALLOC_ANY);

        page = mfn_valid(mfn) ? mfn.raw << PAGE_SHIFT : 0;
    } else {
        page = memmap_take(PAGE_SIZE, PAGE_SIZE, FIRST_4G);
    }
    if (page == 0)
        panic("no memory for the hypervisor's own tables and stacks");
    memset(mm_direct(page), 0, PAGE_SIZE);
    return page;
}

/* The entry of `level` for an address, with the tables above it made. */
static pte_t *entry_for(uint64_t address, unsigned level)
{
    pte_t *table = root;

    for (unsigned l = 4; l > level; l--) {
        pte_t *e = &table[index_at(address, l)];

        if (!pte_has(*e, PTE_P))
            *e = pte_make(mfn_of(page_take() >> PAGE_SHIFT),
                          PTE_P | PTE_W | PTE_A | (address < LAYOUT_DIRECT ? PTE_U : 0));
        BUG_ON(pte_has(*e, PTE_PS));
        table = table_of(*e);
    }
    return &table[index_at(address, level)];
}

/* The largest page that fits at the beginning of this mapping. */
static unsigned level_for(uint64_t address, uint64_t physical, uint64_t bytes)
{
    for (unsigned level = large_1g ? 3 : 2; level > 1; level--)
        if (((address | physical) & (bytes_at(level) - 1)) == 0 && bytes >= bytes_at(level))
            return level;
    return 1;
}

static void map(uint64_t address, uint64_t physical, uint64_t bytes, uint64_t flags)
{
    while (bytes > 0) {
        unsigned level = level_for(address, physical, bytes);
        pte_t   *e = entry_for(address, level);

        BUG_ON(pte_has(*e, PTE_P));
        *e = pte_make(mfn_of(physical >> PAGE_SHIFT), flags | (level > 1 ? PTE_PS : 0));
        address += bytes_at(level);
        physical += bytes_at(level);
        bytes -= bytes_at(level);
    }
}

static void map_direct(uint64_t start, uint64_t end, uint64_t flags)
{
    if (start < end)
        map(LAYOUT_DIRECT + start, start, end - start, flags);
}

/* The image's text and constants stay read-only here as well. */
static void map_ram(struct range r)
{
    uint64_t from = mm_image_physical(image_start);
    uint64_t to = mm_image_physical(rodata_end);

    if (r.start >= to || r.end <= from) {
        map_direct(r.start, r.end, RW);
        return;
    }
    map_direct(r.start, from, RW);
    map_direct(r.start > from ? r.start : from, r.end < to ? r.end : to, RO);
    map_direct(to, r.end, RW);
}

static void map_image(const char *start, const char *end, uint64_t flags)
{
    map((uint64_t)start, mm_image_physical(start), (uint64_t)(end - start), flags);
}

void mm_init(void)
{
    if (memmap_end() > LAYOUT_STACKS - LAYOUT_DIRECT)
        panic("more than %lu TiB of physical addresses", (LAYOUT_STACKS - LAYOUT_DIRECT) >> 40);
    large_1g = cpuid(0x80000001, 0).edx & CPUID_1G;
    root = mm_direct(page_take());

    map_direct(0, MEMMAP_LOW, RW);
    for (unsigned i = 0; i < memmap_ram_count(); i++) {
        struct range r = memmap_ram(i);

        if (r.start < MEMMAP_LOW)
            r.start = MEMMAP_LOW;
        if (r.start < r.end)
            map_ram(r);
    }
    map_image(text_start, text_end, RX);
    map_image(rodata_start, rodata_end, RO);
    map_image(data_start, data_end, RW);
    write_cr3((uint64_t)root - LAYOUT_DIRECT);
}

/* What is RAM and not free is ours: the image, the modules, these tables, the frame table. */
static void claim_ram(struct range r)
{
    if (r.start < MEMMAP_LOW)
        r.start = MEMMAP_LOW;
    for (uint64_t at = r.start; at < r.end; at += PAGE_SIZE)
        phys_frame(&machine_phys, mfn_of(at >> PAGE_SHIFT))->kind = FRAME_HV;
}

static void init_m2p(void)
{
    uint64_t bytes = (machine_phys.frames * sizeof(uint64_t) + MM_PAGE_2M - 1) & ~(MM_PAGE_2M - 1);
    uint64_t table = memmap_take(bytes, MM_PAGE_2M, UINT64_MAX);

    if (table == 0)
        panic("no %lu KiB of memory in one piece for the M2P", bytes >> 10);
    m2p = mm_direct(table);
    memset(m2p, M2P_NONE, bytes);
    m2p_frames = bytes >> PAGE_SHIFT;
    for (uint64_t i = 0; i < m2p_frames; i++) {
        mfn_t mfn = mfn_of((table >> PAGE_SHIFT) + i);

        *phys_frame(&machine_phys, mfn) = (struct frame){ .kind = FRAME_GUEST, .owner = DOMID_XEN };
        direct_lend(&machine_phys, mfn); /* for ever */
    }
    map(LAYOUT_M2P, table, bytes, PTE_P | PTE_U | PTE_NX | PTE_A);
}

void mm_init_frames(void)
{
    uint64_t frames = memmap_end() >> PAGE_SHIFT;
    uint64_t records = frames * sizeof(struct frame);
    uint64_t bits = phys_words(frames) * sizeof(*machine_phys.dirty);
    uint64_t bytes = records + bits + phys_blocks(frames) * sizeof(*machine_phys.watched);
    uint64_t table = memmap_take(bytes, PAGE_SIZE, UINT64_MAX);

    if (table == 0)
        panic("no %lu KiB of memory in one piece for the frame table", bytes >> 10);
    machine_phys = (struct phys){
        .base = mm_direct(0),
        .frames = frames,
        .frame = mm_direct(table),
        .dirty = mm_direct(table + records),
        .watched = mm_direct(table + records + bits),
    };
    memset(machine_phys.frame, 0, bytes);
    for (unsigned i = 0; i < memmap_ram_count(); i++)
        claim_ram(memmap_ram(i));
    init_m2p();
    for (unsigned i = 0; i < memmap_free_count(); i++) {
        struct range r = memmap_free(i);

        alloc_add(&machine_phys, mfn_of(r.start >> PAGE_SHIFT), (r.end - r.start) >> PAGE_SHIFT);
    }
    allocator_ready = true;
}

uint64_t *mm_m2p(void)
{
    return m2p;
}

mfn_t mm_m2p_frames(uint64_t *count)
{
    *count = m2p_frames;
    return mfn_of(((uint64_t)m2p - LAYOUT_DIRECT) >> PAGE_SHIFT);
}

const pte_t *mm_slots(void)
{
    return &root[SLOT_FIRST];
}

void mm_load_root(void)
{
    write_cr3((uint64_t)root - LAYOUT_DIRECT);
}

void mm_window_set(uint32_t cpu, unsigned page, mfn_t mfn)
{
    pte_t e = PTE_EMPTY;

    /* The processor sets A in descriptors. Those of zeros it refuses before that. */
    if (mfn_valid(mfn))
        e = pte_make(mfn, RW);
    else if (page < WINDOW_GDT_PAGES)
        e = pte_make(mfn_of(zero_page >> PAGE_SHIFT), RO);
    window[cpu][page] = e;
}

void *mm_make_window(uint32_t cpu)
{
    uint64_t address = LAYOUT_WINDOW + cpu * WINDOW_PAGES * PAGE_SIZE, ours = page_take();

    if (cpu >= WINDOW_CPUS_MAX)
        panic("more than %u processors", WINDOW_CPUS_MAX);
    if (zero_page == 0)
        zero_page = page_take();
    window[cpu] = entry_for(address, 1);
    for (unsigned page = 0; page < WINDOW_PAGES; page++)
        mm_window_set(cpu, page, MFN_NONE);
    mm_window_set(cpu, WINDOW_GDT_PAGES - 1, mfn_of(ours >> PAGE_SHIFT));
    return mm_direct(ours);
}

volatile void *mm_map_device(uint64_t physical, size_t bytes)
{
    uint64_t address = device_next;

    bytes = (bytes + PAGE_MASK) & ~PAGE_MASK;
    device_next += bytes;
    /* A page at a time: a large page could take in memory with other cache attributes. */
    for (uint64_t at = 0; at < bytes; at += PAGE_SIZE)
        map(address + at, physical + at, PAGE_SIZE, RW | PTE_PCD | PTE_PWT);
    return (volatile void *)address; /* NOLINT: an address is made here on purpose */
}

void mm_map_stack(uint64_t base)
{
    for (uint64_t at = PAGE_SIZE; at < STACK_SIZE; at += PAGE_SIZE)
        map(base + at, page_take(), PAGE_SIZE, RW);
}

/* The page at an address as one entry at `level` maps it, under the rights `above` gave. */
static struct mm_page page_of(uint64_t address, pte_t e, unsigned level, uint64_t above)
{
    uint64_t bytes = bytes_at(level);

    return (struct mm_page){
        .address = address & ~(bytes - 1),
        .physical = e.raw & PTE_FRAME & ~(bytes - 1),
        .bytes = bytes,
        .flags = (above & e.raw & PTE_W) | ((above | e.raw) & PTE_NX),
    };
}

static bool is_page(pte_t e, unsigned level)
{
    return level == 1 || (level < 4 && pte_has(e, PTE_PS));
}

/* Levels nest no deeper than four. */
static void visit_table(pte_t *table, unsigned level, struct mm_page at, mm_visit_t *visit,
                        void *arg)
{
    for (unsigned i = 0; i < ENTRIES; i++) {
        uint64_t       address = at.address + i * bytes_at(level);
        struct mm_page page;

        if (!pte_has(table[i], PTE_P))
            continue;
        if (level == 4 && i >= ENTRIES / 2)
            address |= UINT64_C(0xffff) << 48;
        page = page_of(address, table[i], level, at.flags);
        if (is_page(table[i], level))
            visit(&page, arg);
        else
            visit_table(table_of(table[i]), level - 1, page, visit, arg);
    }
}

void mm_visit(mm_visit_t *visit, void *arg)
{
    visit_table(root, 4, (struct mm_page){ .flags = PTE_W }, visit, arg);
}

bool mm_lookup(uint64_t address, struct mm_page *page)
{
    pte_t   *table = root;
    uint64_t above = PTE_W;

    for (unsigned level = 4; level > 0; level--) {
        pte_t e = table[index_at(address, level)];

        if (!pte_has(e, PTE_P))
            return false;
        *page = page_of(address, e, level, above);
        if (is_page(e, level))
            return true;
        above = page->flags;
        table = table_of(e);
    }
    return false;
}
