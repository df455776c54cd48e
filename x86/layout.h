/* Numbers of the address-space layout that assembler and C share. The table is in x86/mm.h. */
#ifndef X86_LAYOUT_H
#define X86_LAYOUT_H

#define LAYOUT_DIRECT 0xffff830000000000 /* physical address 0 */
#define LAYOUT_STACKS 0xffff870000000000
#define LAYOUT_DEVICE 0xffff874000000000
#define LAYOUT_IMAGE  0xffff878000000000 /* the image's physical address 0 */

#define STACK_SHIFT 15 /* one slot, the guard page at its bottom included */
#define STACK_SIZE  (1 << STACK_SHIFT)

/* Selectors of our GDT. */
#define SELECTOR_CODE 0x08
#define SELECTOR_DATA 0x10
#define SELECTOR_TSS  0x18

#endif
