/* Loading a PVH guest; see pvh.h. Structures: Xen's hvm/start_info.h. */
#include "hv/pvh.h"

#include <string.h>

#include "hv/acpi.h"
#include "hv/control.h"
#include "hv/elf.h"
#include "hv/print.h"

#define FOUR_GB (UINT64_C(1) << 32)

/* The page that the guest is pointed to: everything but kernel and ramdisk. */
struct start_page {
    struct hvm_start_info         info;
    struct hvm_modlist_entry      module;
    struct hvm_memmap_table_entry map[PVH_MAP_MAX];
    char                          command_line[CONFIG_EXTRA_MAX];
};
_Static_assert(sizeof(struct start_page) <= PAGE_SIZE, "it is one page");

static uint64_t ram(const struct domain *d)
{
    return (uint64_t)d->config.memory << 20;
}

uint64_t pvh_low_ram(const struct domain *d)
{
    return ram(d) < PVH_LOW_END ? ram(d) : PVH_LOW_END;
}

uint64_t pvh_high_ram(const struct domain *d)
{
    return ram(d) - pvh_low_ram(d);
}

unsigned pvh_memory_map(const struct domain *d, struct hvm_memmap_table_entry *map)
{
    unsigned count = 0;

    map[count++] = (struct hvm_memmap_table_entry){ 0, pvh_low_ram(d), XEN_HVM_MEMMAP_TYPE_RAM, 0 };
    map[count++] = (struct hvm_memmap_table_entry){ PVH_ACPI, PVH_ACPI_PAGES * PAGE_SIZE,
                                                    XEN_HVM_MEMMAP_TYPE_ACPI, 0 };
    map[count++] = (struct hvm_memmap_table_entry){ PVH_SPECIAL << PAGE_SHIFT,
                                                    (PVH_SPECIAL_END - PVH_SPECIAL) << PAGE_SHIFT,
                                                    XEN_HVM_MEMMAP_TYPE_RESERVED, 0 };
    if (pvh_high_ram(d) != 0)
        map[count++] =
            (struct hvm_memmap_table_entry){ FOUR_GB, pvh_high_ram(d), XEN_HVM_MEMMAP_TYPE_RAM, 0 };
    return count;
}

gfn_t pvh_last_gfn(const struct domain *d)
{
    if (pvh_high_ram(d) != 0)
        return gfn_of((FOUR_GB + pvh_high_ram(d) - 1) >> PAGE_SHIFT);
    return gfn_of(PVH_SPECIAL_END - 1);
}

void pvh_copy_in(const struct domain *d, uint64_t gpa, const void *from, uint64_t size)
{
    const uint8_t *bytes = from;

    while (size != 0) {
        struct p2m_entry entry = p2m_get(&d->paging.p2m, gfn_of(gpa >> PAGE_SHIFT));
        uint64_t         offset = gpa & PAGE_MASK;
        uint64_t         piece = PAGE_SIZE - offset < size ? PAGE_SIZE - offset : size;

        BUG_ON(entry.type != P2M_RAM);
        memcpy((uint8_t *)phys_ptr(&machine_phys, entry.mfn) + offset, bytes, piece);
        gpa += piece;
        bytes += piece;
        size -= piece;
    }
}

static void load_kernel(const struct domain *d, const struct domain_images *images,
                        const struct elf_image *elf)
{
    for (unsigned i = 0; i < elf->count; i++) {
        const struct elf_segment *s = &elf->segment[i];

        pvh_copy_in(d, s->address, (const uint8_t *)images->kernel + s->offset, s->file_size);
    }
}

static bool load_acpi(const struct domain *d, char *error, size_t error_size)
{
    uint8_t tables[1024];
    size_t  size = acpi_build(tables, sizeof(tables), PVH_ACPI, d->nr_vcpus);

    if (size == 0) {
        (void)format_string(error, error_size,
                            "there is no room for %u vCPUs in the ACPI tables: "
                            "lower vcpus=",
                            d->nr_vcpus);
        return false;
    }
    pvh_copy_in(d, PVH_ACPI, tables, size);
    return true;
}

static void load_start_page(const struct domain *d, uint64_t at, uint64_t ramdisk,
                            uint64_t ramdisk_size)
{
    struct start_page page;

    memset(&page, 0, sizeof(page));
    page.info.magic = XEN_HVM_START_MAGIC_VALUE;
    page.info.version = 1;
    page.info.flags = domain_is_control(d) ? SIF_PRIVILEGED | SIF_INITDOMAIN : 0;
    page.info.cmdline_paddr = at + offsetof(struct start_page, command_line);
    page.info.rsdp_paddr = PVH_ACPI;
    page.info.memmap_paddr = at + offsetof(struct start_page, map);
    page.info.memmap_entries = pvh_memory_map(d, page.map);
    if (ramdisk_size != 0) {
        page.info.nr_modules = 1;
        page.info.modlist_paddr = at + offsetof(struct start_page, module);
        page.module.paddr = ramdisk;
        page.module.size = ramdisk_size;
    }
    memcpy(page.command_line, d->config.extra, sizeof(page.command_line) - 1);
    pvh_copy_in(d, at, &page, sizeof(page));
}

bool pvh_load(struct domain *d, const struct domain_images *images, struct machine_start *start,
              char *error, size_t error_size)
{
    uint64_t         low = pvh_low_ram(d), ramdisk_size = 0, ramdisk, start_page;
    struct elf_image elf;
    enum elf_error   result = elf_describe(images->kernel, images->kernel_size, low, &elf);

    if (result != ELF_OK) {
        (void)format_string(error, error_size, "the kernel %s", elf_error_text(result));
        return false;
    }
    if (images->ramdisk != NULL)
        ramdisk_size = images->ramdisk_size;
    /* Rounded up it must not wrap, so the size is looked at first. */
    if (ramdisk_size > low || elf.end + PAGE_SIZE > low ||
        ((ramdisk_size + PAGE_MASK) & ~PAGE_MASK) > low - elf.end - PAGE_SIZE) {
        (void)format_string(error, error_size,
                            "kernel (up to %llu KiB) and ramdisk (%llu KiB) do "
                            "not fit into %u MiB: raise memory=",
                            (unsigned long long)(elf.end >> 10),
                            (unsigned long long)(ramdisk_size >> 10), d->config.memory);
        return false;
    }
    /* Linux reads the start page through a map of the first GiB, and the ramdisk much later. */
    start_page = (elf.end + PAGE_MASK) & ~PAGE_MASK;
    ramdisk = (low - ramdisk_size) & ~PAGE_MASK;
    if (!load_acpi(d, error, error_size))
        return false;
    load_kernel(d, images, &elf);
    pvh_copy_in(d, ramdisk, images->ramdisk, ramdisk_size);
    load_start_page(d, start_page, ramdisk, ramdisk_size);
    start->rip = elf.entry;
    start->rbx = start_page;
    print("umbra: %s: kernel %llx-%llx, entry %llx, ramdisk %llx+%llx\n", d->name,
          (unsigned long long)elf.lowest, (unsigned long long)elf.end,
          (unsigned long long)elf.entry, (unsigned long long)ramdisk,
          (unsigned long long)ramdisk_size);
    return true;
}
