/*
 * What a PV guest finds when it starts: start_info, its page tables and p2m, the M2P, the hypercall
 * page, version and CPUID; and that the hypervisor's addresses are not for it.
 */
#include "test/guests/pv/pv.h"

const char pv_name[] = "pv-start";

#define FIRST_OURS 0xffff810000000000ul
#define LAST_OURS  0xffff880000000000ul

static void check_start_info(void)
{
    for (unsigned i = 0; "xen-3.0-x86_64"[i]; i++)
        pv_check((uint8_t)pv_info->magic[i], (uint8_t) "xen-3.0-x86_64"[i], "the magic");
    pv_check(pv_info->nr_pages, 32ul << 8, "the number of pages");
    pv_check(pv_info->flags & SIF_INITDOMAIN, 0, "SIF_INITDOMAIN");
    for (unsigned i = 0; "colour=green"[i]; i++)
        pv_check((uint8_t)pv_info->cmd_line[i], (uint8_t) "colour=green"[i], "the command line");
    pv_check(pv_shared.vcpu_info[1].evtchn_upcall_mask, 1, "the mask of events at first");
}

/* Each frame once, each way back; frames of tables are mapped read-only, all others writable. */
static void check_tables(void)
{
    const uint64_t *m2p = (const uint64_t *)MACH2PHYS_VIRT_START;
    const uint64_t *p2m = (const uint64_t *)pv_info->mfn_list;
    uint64_t        first = pv_info->pt_base / PAGE, end = first + pv_info->nr_pt_frames;

    for (uint64_t pfn = 0; pfn < pv_info->nr_pages; pfn++)
        pv_check(m2p[p2m[pfn]], pfn, "the M2P of a frame of the p2m");
    for (uint64_t pfn = 0; pfn < end; pfn++) {
        uint64_t entry = *pv_entry((const void *)(pfn * PAGE));

        if (pfn == (uint64_t)&pv_shared / PAGE)
            continue;
        pv_check(entry >> 12 & 0xffffffffff, p2m[pfn], "the frame that a page is mapped to");
        pv_check(entry & (P | W | U), P | U | (pfn >= first && pfn < end ? 0 : W),
                 "the rights of a page");
    }
    pv_check(m2p[pv_info->shared_info / PAGE], ~0ul, "the M2P of a frame that is no memory");
}

static void check_ours(void)
{
    uint64_t value = 0;

    pv_check(pv_load(MACH2PHYS_VIRT_START, &value), true, "reading the M2P");
    pv_check(pv_store(MACH2PHYS_VIRT_START, 0), false, "writing the M2P");
    pv_check(pv_fault.vector, 14, "the exception of a write to the M2P");
    pv_check(pv_fault.error & 7, 3, "the error code of a write to the M2P");
    for (uint64_t at = FIRST_OURS; at < LAST_OURS; at += 0x1000000000ul) {
        pv_check(pv_load(at, &value), false, "reading what is the hypervisor's");
        pv_check(pv_fault.vector, 14, "the exception of it");
        pv_check(pv_fault.cr2, at, "its address");
        pv_check(pv_store(at, 0), false, "writing what is the hypervisor's");
    }
    pv_check(pv_load(0xffff830000000000ul + 0x200000, &value), false, "reading the image");
}

static void check_pointers(void)
{
    static const uint64_t   bad[] = { FIRST_OURS, LAST_OURS - 8,    MACH2PHYS_VIRT_START, ~0ul - 7,
                                      ~0ul,       0x800000000000ul, 0x7ffffffffff8 };
    struct xen_feature_info info = { 0 };

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        pv_check((uint64_t)pv_call(__HYPERVISOR_xen_version, XENVER_get_features, bad[i], 0, 0),
                 (uint64_t)-XEN_EFAULT, "a structure where none can be");
    pv_check(
        (uint64_t)pv_call(__HYPERVISOR_xen_version, XENVER_get_features, (uint64_t)&info, 0, 0), 0,
        "get_features");
    pv_check(info.submap >> XENFEAT_mmu_pt_update_preserve_ad & 1, 1, "preserve_ad");
    pv_check(info.submap >> XENFEAT_auto_translated_physmap & 1, 0, "auto_translated");
    pv_check((uint64_t)pv_call(63, 0, 0, 0, 0), (uint64_t)-XEN_ENOSYS, "an unknown hypercall");
    pv_check((uint64_t)pv_call(1000000, 0, 0, 0, 0), (uint64_t)-XEN_ENOSYS, "a wild hypercall");
}

/* The page's stub for xen_version gives the same as SYSCALL does. */
static void check_hypercall_page(void)
{
    int64_t  by_page;
    uint64_t op = XENVER_version;

    __asm__ volatile("call *%2"
                     : "=a"(by_page), "+D"(op)
                     : "r"(pv_hypercall_page + __HYPERVISOR_xen_version * 32)
                     : "memory", "rcx", "r11", "rsi", "rdx", "r8", "r9", "r10");
    pv_check((uint64_t)by_page, 4 << 16 | 17, "the version by the hypercall page");
    pv_check((uint64_t)pv_call(__HYPERVISOR_xen_version, XENVER_version, 0, 0, 0),
             (uint64_t)by_page, "the version by SYSCALL");
}

static void check_cpuid(void)
{
    uint32_t eax = 0x40000000, ebx, ecx = 0, edx;

    __asm__ volatile("ud2; .ascii \"xen\"; cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    pv_check(ebx, XEN_CPUID_SIGNATURE_EBX, "the hypervisor's signature");
    pv_check(eax >= 0x40000002, 1, "the last leaf");
    eax = 1;
    __asm__ volatile("ud2; .ascii \"xen\"; cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    pv_check(ecx >> 31, 1, "the hypervisor bit");
    pv_check(edx >> 9 & 1, 0, "a local APIC");
    pv_check(ecx >> 26 & 3, 0, "XSAVE");
    pv_check(PV_TRY("ud2", ), false, "UD2 alone");
    pv_check(pv_fault.vector, 6, "the exception of UD2");
}

void pv_main(void)
{
    check_start_info();
    check_tables();
    check_ours();
    check_pointers();
    check_hypercall_page();
    check_cpuid();
}
