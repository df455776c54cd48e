/*
 * The hypervisor's own address space. Everything lies in root slots 256 to 271, which the
 * PV ABI reserves for a hypervisor.
 *
 *     first address        slot  what                                             rights
 *     0xffff800000000000   256   M2P: 8 bytes per frame, for PV guests            R in ring 3
 *     0xffff830000000000   262   direct map: physical memory from 0, 4 TiB        RW
 *                                (the image's text and constants in it: R)
 *     0xffff870000000000   270   stacks: 8 slots of 32 KiB per CPU, the lowest    RW
 *                                page of each is a guard and not mapped
 *     0xffff872000000000   270   windows of descriptors: 32 pages per CPU         RW
 *     0xffff874000000000   270   device registers, uncached                       RW
 *     0xffff878000000000   271   the image: text RX, constants R, data RW
 *
 * No page is both writable and executable, under no address; the page tables of boot, which
 * are otherwise, are gone when mm_init returns. Physical memory that is not RAM is not in
 * the direct map, except for the first MiB.
 */
#ifndef X86_MM_H
#define X86_MM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "paging/frame.h"
#include "paging/pte.h"
#include "x86/layout.h"

#define MM_PAGE_2M (UINT64_C(1) << 21)
#define MM_PAGE_1G (UINT64_C(1) << 30)

/* The parts of the image, from the linker script. */
extern char image_start[], image_end[];
extern char text_start[], text_end[];
extern char rodata_start[], rodata_end[];
extern char data_start[], data_end[];

/* Something in the direct map, by physical address. */
static inline void *mm_direct(uint64_t physical)
{
    return (void *)(LAYOUT_DIRECT + physical); /* NOLINT: an address is made here on purpose */
}

/* Physical address of something in the image. */
static inline uint64_t mm_image_physical(const void *p)
{
    return (uint64_t)p - LAYOUT_IMAGE;
}

/* Makes our page tables from the memory map and switches to them; once, at boot. */
void mm_init(void);

/*
 * Makes the frame table and gives the free memory to the allocator; once, after mm_init.
 * Panics if memory does not suffice.
 */
void mm_init_frames(void);

/* Device registers at `physical`, page aligned, uncached; panics when memory is short. */
volatile void *mm_map_device(uint64_t physical, size_t bytes);

/*
 * Maps frames of its own behind the guard page of the slot of stacks at `base`, which is
 * aligned to STACK_SIZE; panics when memory is short.
 */
void mm_map_stack(uint64_t base);

/*
 * Makes the window of descriptors of a CPU, empty but for a page of our own at the end of its GDT,
 * which is returned. Panics when memory is short.
 */
void *mm_make_window(uint32_t cpu);

/*
 * Puts a frame into page `page` of a CPU's window; MFN_NONE: a page of zeros for the GDT, nothing
 * for the LDT. Only the CPU itself may have used the old one, and flushes after.
 */
void mm_window_set(uint32_t cpu, unsigned page, mfn_t mfn);

/* The machine-to-physical table, writable. Entries of frames that no PV guest has are all ones. */
uint64_t *mm_m2p(void);

/* The first of its frames, which lie beside each other, and how many there are: a multiple of 2 MiB. */
mfn_t mm_m2p_frames(uint64_t *count);

/* The entries of our root for the slots of a hypervisor, 256 to 271; they never change. */
const pte_t *mm_slots(void);

/* Loads our own root. */
void mm_load_root(void);

/* One page of our address space, as the processor sees it. */
struct mm_page {
    uint64_t address, physical, bytes;
    uint64_t flags; /* PTE_W and PTE_NX as all levels together give them */
};
typedef void mm_visit_t(const struct mm_page *page, void *arg);

/* Calls `visit` for every page that is mapped, in ascending order. */
void mm_visit(mm_visit_t *visit, void *arg);

/* The rights of the page that maps an address; false if none does. */
bool mm_lookup(uint64_t address, struct mm_page *page);

#endif
