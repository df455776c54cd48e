/* Names of functions, from the table that tools/symbols.sh makes of the first link. */
#include <stddef.h>
#include <stdint.h>

#include "hv/machine.h"
#include "x86/mm.h"

/* Sorted by address; `names` follows the last entry. */
struct symbol {
    uint32_t address; /* from image_start */
    uint32_t name;    /* from the first name */
};

struct symbol_table {
    uint32_t      count;
    struct symbol symbol[];
};

extern const char symbols_start[], symbols_end[];

const char *machine_symbol(uint64_t address, uint64_t *offset)
{
    const struct symbol_table *table = (const void *)symbols_start;
    uint64_t                   at = address - (uint64_t)image_start;
    uint32_t                   low = 0, high;

    if ((uint64_t)symbols_end == (uint64_t)symbols_start || address < (uint64_t)text_start ||
        address >= (uint64_t)text_end)
        return NULL;
    high = table->count;
    /* The last symbol that is not behind the address. */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (table->symbol[middle].address <= at)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    *offset = at - table->symbol[low - 1].address;
    return (const char *)&table->symbol[table->count] + table->symbol[low - 1].name;
}
