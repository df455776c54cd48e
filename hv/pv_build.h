/*
 * Building a PV guest: what lies where in its memory, its first tables, and the page that tells it.
 * Everything is counted in guest frames (pfn) from 0:
 *
 *     kernel                 where its program headers say
 *     ramdisk                unless the kernel takes one that is not mapped (MOD_START_PFN)
 *     p2m list               unless the kernel says where to map it (INIT_P2M)
 *     start_info, xenstore, console, page tables, boot stack; the mapping ends at 4 MiB, at
 *                            least 512 KiB behind that
 *     ramdisk, p2m list with its tables    otherwise
 */
#ifndef HV_PV_BUILD_H
#define HV_PV_BUILD_H

#include "hv/build.h"
#include "hv/elf.h"
#include "hv/pv.h"

/* A range of guest frames. */
struct pv_range {
    uint64_t first, count;
};

struct pv_plan {
    struct elf_image image;
    struct elf_notes notes;
    uint64_t         pages;     /* of the guest */
    uint64_t         virt_base; /* where pfn 0 is mapped */
    uint64_t         mapped;    /* so many frames from there */
    struct pv_range  ramdisk, list, list_tables, tables;
    uint64_t         start_info, store, console, stack; /* one frame each */
    uint64_t         list_va;
    bool             ramdisk_unmapped, list_apart;
    uint64_t         needed; /* frames: what is mapped, the ramdisk, the list */
    uint64_t        *mfn;    /* [pages]: the p2m, until the domain runs */
    uint64_t         l4;
    uint64_t         table_next; /* cursor */
};

/* Decides what lies where; false: `error` says why it cannot be. */
must_check bool pv_plan(struct pv_plan *plan, const struct config *config,
                        const struct domain_images *images, char *error, size_t error_size);

/* Makes the domain's memory and fills it, tables and start_info aside. False: memory is short. */
must_check bool pv_build_memory(struct domain *d, struct pv_plan *plan,
                                const struct domain_images *images);

/*
 * Writes tables and start_info, and has the tables validated for vCPU 0. False: refused, or memory
 * is short.
 */
must_check bool pv_build_start(struct domain *d, struct pv_plan *plan,
                               const struct domain_images *images, struct machine_start *start);

/* Frees what the plan holds of ours; may be called at any time. */
void pv_plan_done(struct pv_plan *plan);

#endif
