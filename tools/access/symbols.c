#include "tools/access/symbols.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FAR (1ull << 20)

static int compare(const void *a, const void *b)
{
    const struct symbol *left = a, *right = b;

    return left->address < right->address ? -1 : left->address > right->address;
}

static bool add(struct symbols *symbols, uint64_t address, const char *name)
{
    if (symbols->count == symbols->room) {
        size_t         room = symbols->room ? symbols->room * 2 : 4096;
        struct symbol *more = realloc(symbols->symbol, room * sizeof(*more));

        if (!more)
            return false;
        symbols->symbol = more;
        symbols->room = room;
    }
    char *copy = strdup(name);
    if (!copy)
        return false;
    symbols->symbol[symbols->count++] = (struct symbol){ address, copy };
    return true;
}

bool symbols_read(struct symbols *symbols, FILE *file)
{
    char     line[1024], name[512], type;
    uint64_t address;

    *symbols = (struct symbols){ 0 };
    while (fgets(line, sizeof(line), file)) {
        if (sscanf(line, "%" SCNx64 " %c %511s", &address, &type, name) != 3 || type == 'a' ||
            type == 'A')
            continue;
        if (!add(symbols, address, name)) {
            symbols_free(symbols);
            return false;
        }
    }
    if (symbols->count)
        qsort(symbols->symbol, symbols->count, sizeof(*symbols->symbol), compare);
    return symbols->count != 0;
}

void symbols_free(struct symbols *symbols)
{
    for (size_t i = 0; i < symbols->count; i++)
        free(symbols->symbol[i].name);
    free(symbols->symbol);
    *symbols = (struct symbols){ 0 };
}

void symbols_name(const struct symbols *symbols, uint64_t address, char *out, size_t size)
{
    size_t low = 0, high = symbols->count; /* below `low` all are at or before the address */

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (symbols->symbol[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    *out = '\0';
    if (low == 0 || address - symbols->symbol[low - 1].address >= FAR)
        return;
    snprintf(out, size, "%s+0x%" PRIx64, symbols->symbol[low - 1].name,
             address - symbols->symbol[low - 1].address);
}

bool symbols_address(const struct symbols *symbols, const char *name, uint64_t *address)
{
    for (size_t i = 0; i < symbols->count; i++)
        if (strcmp(symbols->symbol[i].name, name) == 0) {
            *address = symbols->symbol[i].address;
            return true;
        }
    return false;
}
