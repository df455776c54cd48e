/*
 * Where the machine has memory, and what of it is not in use yet. Used at boot, until the
 * allocator takes over what is left.
 */
#ifndef X86_MEMMAP_H
#define X86_MEMMAP_H

#include <stdbool.h>
#include <stdint.h>

struct range {
    uint64_t start, end; /* physical bytes, whole pages; end is the first byte behind */
};

#define MEMMAP_LOW (UINT64_C(1) << 20) /* nothing below is ever given out */

/* All of these take physical bytes. */
void memmap_add(uint64_t start, uint64_t end);     /* RAM; rounded inwards */
void memmap_remove(uint64_t start, uint64_t end);  /* no RAM after all; rounded outwards */
void memmap_reserve(uint64_t start, uint64_t end); /* RAM, in use; rounded outwards */

/*
 * Takes memory out of the free ranges, as high as possible under `below`; `bytes` are rounded
 * up to pages, the result is aligned to `align`, a power of two of at least a page. 0: none.
 */
uint64_t memmap_take(uint64_t bytes, uint64_t align, uint64_t below);

unsigned     memmap_ram_count(void);
struct range memmap_ram(unsigned i); /* not in order */
unsigned     memmap_free_count(void);
struct range memmap_free(unsigned i); /* not in order */
uint64_t     memmap_end(void);        /* the first byte behind the highest RAM */
uint64_t     memmap_bytes(void);      /* of RAM */

/* False if there were more ranges than could be kept: some memory is then not used. */
bool memmap_complete(void);

#endif
