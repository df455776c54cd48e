#include "tools/access/walk.h"

#define PRESENT (1ull << 0)
#define LARGE   (1ull << 7)
#define FRAME   0x000ffffffffff000ull

bool walk(walk_read *read, void *from, uint64_t root, unsigned levels, uint64_t address,
          uint64_t *frame, unsigned *level)
{
    uint64_t at = root, entry;

    for (*level = levels; *level >= 1; (*level)--) {
        unsigned shift = 12 + 9 * (*level - 1);

        if (!read(from, at, (address >> shift) & 511, &entry) || !(entry & PRESENT))
            return false;
        at = (entry & FRAME) >> 12;
        if ((*level == 2 || *level == 3) && entry & LARGE) {
            uint64_t inside = (1ull << (shift - 12)) - 1;

            *frame = (at & ~inside) | (address >> 12 & inside);
            return true;
        }
    }
    *frame = at;
    return true;
}
