/*
 * Descriptor tables of a PV guest: pages of them are checked and read-only while they are used, what
 * would leave ring 3 is refused, and selectors lead to them; the LDT is looked at when it is used.
 */
#include "test/guests/pv/pv.h"

const char pv_name[] = "pv-descriptors";

#define REFUSED ((uint64_t)-XEN_EINVAL)
#define DATA    0x00cf93000000fffful /* writable data, DPL 0: flat, base 0 */
#define DATA_3  0x00cff3000000fffful /* the same as it is stored */
#define CODE    0x00af9b000000fffful
#define GATE    0x00008e0000000000ul /* an interrupt gate */
#define CALL    0x00008c0000000000ul /* a call gate */
#define TSS     0x0000890000000067ul
#define LDT     0x000082000000fffful
#define PATTERN 0xfeedul

#define CR4_FSGSBASE (1ul << 16)

static uint64_t gdt[512] __attribute__((aligned(4096)));
static uint64_t ldt[1024] __attribute__((aligned(4096)));
static uint64_t table[512] __attribute__((aligned(4096)));
static uint64_t cell[2] __attribute__((aligned(16))) = { PATTERN, PATTERN + 1 };

/* A data segment that begins at an address below 4 GiB. */
static uint64_t segment_at(const void *p)
{
    uint64_t base = (uint64_t)p;

    return DATA | (base & 0xffffff) << 16 | (base >> 24) << 56;
}

static uint64_t set_gdt(const void *page, unsigned entries)
{
    uint64_t frame = pv_mfn(page);

    return (uint64_t)pv_call(__HYPERVISOR_set_gdt, (uint64_t)&frame, entries, 0, 0);
}

static uint64_t update(const uint64_t *entry, uint64_t value)
{
    uint64_t at = pv_mfn(entry) * PAGE + ((uint64_t)entry & (PAGE - 1));

    return (uint64_t)pv_call(__HYPERVISOR_update_descriptor, at, value, 0, 0);
}

static bool load_fs(uint16_t selector)
{
    return PV_TRY("mov %w0, %%fs", , "r"((uint32_t)selector));
}

static uint64_t at_fs(void)
{
    uint64_t value;

    __asm__ volatile("movq %%fs:0, %0" : "=r"(value));
    return value;
}

static void check_gdt(void)
{
    static const uint64_t bad[] = { GATE, CALL, TSS, LDT };

    pv_check(set_gdt(gdt, 512), REFUSED, "a GDT that is mapped writable");
    pv_check((uint64_t)pv_protect(gdt, false), 0, "making it read-only");
    pv_check(set_gdt(gdt, 14 * 512 + 1), REFUSED, "a GDT that is too large");
    pv_check(set_gdt((void *)pv_info->pt_base, 512), REFUSED, "a page table as GDT");
    pv_check(set_gdt(gdt, 512), 0, "a GDT");
    pv_check(gdt[2], segment_at(&cell[0]) | 3ul << 45, "a descriptor that was given DPL 3");
    pv_check((uint64_t)pv_protect(gdt, true), REFUSED, "making a GDT writable");
    pv_check(load_fs(2 * 8 | 3), true, "a selector of the GDT");
    pv_check(at_fs(), PATTERN, "what it leads to");
    pv_check(load_fs(3 * 8 | 3), false, "a selector of an empty descriptor");
    pv_check(pv_fault.vector, 13, "its exception");
    pv_check(pv_fault.error, 3 * 8, "its error code");
    pv_check(update(&gdt[3], segment_at(&cell[1])), 0, "update_descriptor");
    pv_check(load_fs(3 * 8), true, "the selector then");
    pv_check(at_fs(), PATTERN + 1, "what it leads to");
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        pv_check(update(&gdt[4], bad[i]), REFUSED, "a system descriptor");
        pv_check(gdt[4], 0, "what became of it");
    }
    pv_check(update(&gdt[4], GATE & ~(1ul << 47)), 0, "a descriptor that is not present");
    pv_check(update(&gdt[0x1c00 % 512], CODE), 0, "a code segment");
    pv_check((uint64_t)pv_call(__HYPERVISOR_update_descriptor, 0x200 * PAGE, DATA, 0, 0), REFUSED,
             "a descriptor in the hypervisor");
    pv_check(pv_store((uint64_t)&gdt[5], DATA), false, "writing the GDT by an instruction");
    pv_check(pv_fault.error, 3, "its error code");
}

/* A page with a system descriptor is no GDT, and can be written afterwards as before. */
static void check_bad_page(void)
{
    table[17] = GATE;
    table[18] = DATA;
    pv_check((uint64_t)pv_protect(table, false), 0, "making a page read-only");
    pv_check(set_gdt(table, 512), REFUSED, "a GDT with a gate in it");
    pv_check(table[18], DATA, "a descriptor of the page that was refused");
    pv_check(load_fs(2 * 8 | 3), true, "a selector of the GDT that is still in use");
    pv_check((uint64_t)pv_protect(table, true), 0, "making the refused page writable");
    table[17] = 0;
}

static void check_exchange(void)
{
    table[2] = segment_at(&cell[1]);
    pv_check((uint64_t)pv_protect(table, false), 0, "making the other page read-only");
    pv_check(set_gdt(table, 512), 0, "another GDT");
    pv_check(load_fs(2 * 8 | 3), true, "a selector of it");
    pv_check(at_fs(), PATTERN + 1, "what it leads to");
    pv_check((uint64_t)pv_protect(gdt, true), 0, "the old GDT is a page again");
    gdt[4] = TSS;
    pv_check(set_gdt(table, 0), 0, "no GDT");
    pv_check(load_fs(2 * 8 | 3), false, "a selector without GDT");
    pv_check((uint64_t)pv_protect(table, true), 0, "the other one is a page again");
}

static void check_ldt(void)
{
    ldt[1] = segment_at(&cell[0]);
    ldt[513] = segment_at(&cell[1]);
    pv_check((uint64_t)pv_mmuext(MMUEXT_SET_LDT, (uint64_t)ldt + 8, 4), REFUSED,
             "an LDT that does not begin with a page");
    pv_check((uint64_t)pv_mmuext(MMUEXT_SET_LDT, (uint64_t)ldt, 8193), REFUSED,
             "an LDT that is too large");
    pv_check((uint64_t)pv_mmuext(MMUEXT_SET_LDT, 0xffff830000000000ul, 512), REFUSED,
             "an LDT in the hypervisor");
    pv_check((uint64_t)pv_mmuext(MMUEXT_SET_LDT, (uint64_t)ldt, 1024), 0, "an LDT");
    pv_check(load_fs(1 * 8 | 7), false, "a selector while the LDT's page is writable");
    pv_check(pv_fault.vector, 14, "its exception");
    pv_check(pv_fault.cr2, (uint64_t)&ldt[1], "its address");
    pv_check((uint64_t)pv_protect(ldt, false), 0, "making its first page read-only");
    pv_check((uint64_t)pv_protect(&ldt[512], false), 0, "and its second");
    pv_check(load_fs(1 * 8 | 7), true, "a selector of the first page");
    pv_check(at_fs(), PATTERN, "what it leads to");
    pv_check(load_fs((uint16_t)(513 * 8 | 7)), true, "a selector of the second page");
    pv_check(at_fs(), PATTERN + 1, "what it leads to");
    pv_check((uint64_t)pv_protect(ldt, true), REFUSED, "making a used page writable");
    pv_check(load_fs(2 * 8 | 7), false, "an empty descriptor of the LDT");
    pv_check(pv_fault.error, 2 * 8 | 4, "its error code");
    pv_check((uint64_t)pv_mmuext(MMUEXT_SET_LDT, 0, 0), 0, "no LDT");
    pv_check(load_fs(1 * 8 | 7), false, "a selector without LDT");
    pv_check((uint64_t)pv_protect(ldt, true), 0, "its first page is a page again");
    pv_check((uint64_t)pv_protect(&ldt[512], true), 0, "and its second");
}

static void check_segments(void)
{
    uint64_t value;

    pv_check((uint64_t)pv_call(__HYPERVISOR_set_segment_base, SEGBASE_FS, (uint64_t)&cell[1], 0, 0),
             0, "the FS base");
    pv_check(at_fs(), PATTERN + 1, "what it leads to");
    pv_check((uint64_t)pv_call(__HYPERVISOR_set_segment_base, SEGBASE_GS_KERNEL, (uint64_t)&cell[0],
                               0, 0),
             0, "the GS base");
    __asm__ volatile("movq %%gs:0, %0" : "=r"(value));
    pv_check(value, PATTERN, "what it leads to");
    pv_check((uint64_t)pv_call(__HYPERVISOR_set_segment_base, SEGBASE_FS, 1ul << 63, 0, 0), REFUSED,
             "a base that is not canonical");
    pv_check((uint64_t)pv_call(__HYPERVISOR_set_segment_base, 9, 0, 0, 0), REFUSED,
             "a base that does not exist");
    pv_check((uint64_t)pv_call(__HYPERVISOR_set_segment_base, SEGBASE_GS_USER_SEL, 0x1000, 0, 0), 0,
             "a selector for the program's GS that cannot be loaded");
    __asm__ volatile("movq %%gs:0, %0" : "=r"(value));
    pv_check(value, PATTERN, "the kernel's GS after it");
}

/* ---- bases without the hypervisor ---- */

static uint64_t read_cr4(void)
{
    uint64_t value;

    __asm__ volatile("mov %%cr4, %0" : "=r"(value));
    return value;
}

static bool has_fsgsbase(void)
{
    uint32_t eax = 7, ebx, ecx = 0, edx;

    __asm__ volatile("ud2; .ascii \"xen\"; cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    return ebx & 1;
}

static bool write_fs_base(const void *base)
{
    return PV_TRY("wrfsbase %0", , "r"(base));
}

/* RDFSBASE and the like are there while the guest wants them: APM vol. 2, 3.1.3. */
static void check_fsgsbase(void)
{
    uint64_t cr4 = read_cr4(), value = 0;

    pv_check(cr4 & CR4_FSGSBASE, 0, "CR4.FSGSBASE at first");
    pv_check(write_fs_base(&cell[0]), false, "WRFSBASE without it");
    pv_check(pv_fault.vector, 6, "#UD of WRFSBASE");
    if (!has_fsgsbase()) {
        pv_check(PV_TRY("mov %0, %%cr4", , "r"(cr4 | CR4_FSGSBASE)), false,
                 "a bit that is not there");
        pv_check(pv_fault.vector, 13, "#GP of CR4");
        return;
    }
    pv_check(PV_TRY("mov %0, %%cr4", , "r"(cr4 | CR4_FSGSBASE)), true, "setting CR4.FSGSBASE");
    pv_check(read_cr4(), cr4 | CR4_FSGSBASE, "CR4 with FSGSBASE");
    pv_check(write_fs_base(&cell[0]), true, "WRFSBASE");
    pv_check(at_fs(), PATTERN, "what it leads to");
    pv_call(__HYPERVISOR_sched_op, SCHEDOP_yield, 0, 0, 0);
    pv_check(PV_TRY("rdfsbase %0", "+r"(value)), true, "RDFSBASE");
    pv_check(value, (uint64_t)&cell[0], "the FS base");
    pv_check((uint64_t)pv_call(__HYPERVISOR_set_segment_base, SEGBASE_FS, (uint64_t)&cell[1], 0, 0),
             0, "the FS base by a call");
    pv_check(PV_TRY("rdfsbase %0", "+r"(value)), true, "RDFSBASE after it");
    pv_check(value, (uint64_t)&cell[1], "the FS base that the call has set");
    pv_check(PV_TRY("mov %0, %%cr4", , "r"(cr4)), true, "clearing CR4.FSGSBASE");
    pv_check(write_fs_base(&cell[0]), false, "WRFSBASE after that");
}

/* Null has four selectors, and the guest finds the one that it has loaded. */
static void check_null(void)
{
    for (uint64_t selector = 0; selector < 4; selector++) {
        uint32_t found = ~0u;

        pv_check(
            (uint64_t)pv_call(__HYPERVISOR_set_segment_base, SEGBASE_GS_USER_SEL, selector, 0, 0),
            0, "a null selector");
        __asm__ volatile("mov %%gs, %0" : "=r"(found));
        pv_check(found, selector, "the null selector in GS");
    }
}

void pv_main(void)
{
    gdt[2] = segment_at(&cell[0]);
    check_gdt();
    check_bad_page();
    check_exchange();
    check_ldt();
    check_segments();
    check_fsgsbase();
    check_null();
}
