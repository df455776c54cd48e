/* Where a guest's tables lead an address of its kernel, in long mode (AMD APM 2, 5.3; Intel SDM 3A, 4.5). */
#ifndef TOOLS_ACCESS_WALK_H
#define TOOLS_ACCESS_WALK_H

#include <stdbool.h>
#include <stdint.h>

/* Reads entry `index` of the table in a frame; false: that frame cannot be read. */
typedef bool walk_read(void *from, uint64_t frame, unsigned index, uint64_t *entry);

/*
 * The frame of an address by tables of 4 or 5 levels, whose root is this frame. Large pages are known.
 * False: it is not mapped, or a table cannot be read; `level` says where (1 is the last).
 */
bool walk(walk_read *read, void *from, uint64_t root, unsigned levels, uint64_t address,
          uint64_t *frame, unsigned *level);

#endif
