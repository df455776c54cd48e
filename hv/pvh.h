/*
 * Building a PVH guest: what lies where in its memory, and the structure that tells it.
 *
 *     0 ..                  RAM, at most up to f0000000; the rest of it from 4 GiB up
 *     fc000000 ..           ACPI tables
 *     feff8000 .. feffffff  reserved: special pages, of which three exist
 *
 * The kernel goes where its program headers say, the ramdisk to the end of low RAM, and
 * hvm_start_info with command line and memory map right below the ramdisk.
 */
#ifndef HV_PVH_H
#define HV_PVH_H

#include "hv/build.h"
#include "hv/domain.h"

#define PVH_LOW_END     UINT64_C(0xf0000000)
#define PVH_ACPI        UINT64_C(0xfc000000)
#define PVH_ACPI_PAGES  1
#define PVH_SPECIAL     UINT64_C(0xfeff8)
#define PVH_SPECIAL_END UINT64_C(0xff000)
#define PVH_MONITOR_GFN UINT64_C(0xfeff9)
#define PVH_STORE_GFN   UINT64_C(0xfeffc)
#define PVH_CONSOLE_GFN UINT64_C(0xfefff)
#define PVH_MAP_MAX     4

/* Bytes of RAM below the hole, and above 4 GiB. */
uint64_t pvh_low_ram(const struct domain *d);
uint64_t pvh_high_ram(const struct domain *d);

/* The memory map, PVH_MAP_MAX entries at most; returns how many. */
unsigned pvh_memory_map(const struct domain *d, struct hvm_memmap_table_entry *map);

/* Copies into the guest's memory, which was checked to be there; it does not run yet. */
void pvh_copy_in(const struct domain *d, uint64_t gpa, const void *from, uint64_t size);

/* The last gfn that has something behind it. */
gfn_t pvh_last_gfn(const struct domain *d);

/*
 * Fills the domain's memory, which is there and zero, with ACPI tables, kernel, ramdisk and
 * hvm_start_info, and says how its first vCPU starts. False: `error` says why not.
 */
must_check bool pvh_load(struct domain *d, const struct domain_images *images,
                         struct machine_start *start, char *error, size_t error_size);

#endif
