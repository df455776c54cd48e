/* Numbers of the address-space layout that assembler and C share. The table is in x86/mm.h. */
#ifndef X86_LAYOUT_H
#define X86_LAYOUT_H

#define LAYOUT_M2P    0xffff800000000000 /* root slot 256 */
#define LAYOUT_DIRECT 0xffff830000000000 /* physical address 0 */
#define LAYOUT_STACKS 0xffff870000000000
#define LAYOUT_WINDOW 0xffff872000000000
#define LAYOUT_DEVICE 0xffff874000000000
#define LAYOUT_IMAGE  0xffff878000000000 /* the image's physical address 0 */

#define STACK_SHIFT 15 /* one slot, the guard page at its bottom included */
#define STACK_SIZE  (1 << STACK_SHIFT)

/*
 * The GDT is a window of pages, of which only the one from SELECTOR_FIRST on is ours. Those of
 * ring 3 are promised to PV guests (Xen's arch-x86/xen-x86_64.h).
 */
#define WINDOW_GDT_PAGES   15 /* ours is the last one */
#define WINDOW_LDT_PAGE    16
#define WINDOW_PAGES       32
#define SELECTOR_FIRST     0xe000
#define SELECTOR_CODE      0xe008
#define SELECTOR_DATA      0xe010
#define SELECTOR_USER_CS32 0xe023
#define SELECTOR_USER_SS   0xe02b
#define SELECTOR_USER_CS64 0xe033
#define SELECTOR_TSS       0xe040
#define SELECTOR_LDT       0xe050

#endif
