/* A kernel's symbols, from its System.map or its /proc/kallsyms: lines `ADDRESS TYPE NAME`. */
#ifndef TOOLS_ACCESS_SYMBOLS_H
#define TOOLS_ACCESS_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct symbol {
    uint64_t address;
    char    *name;
};

struct symbols {
    struct symbol *symbol; /* by address */
    size_t         count, room;
};

/*
 * Reads a file. Lines of another form, and symbols of no place in memory (type a or A), are skipped; false:
 * no line is a symbol, or there is no memory for them.
 */
bool symbols_read(struct symbols *symbols, FILE *file);
void symbols_free(struct symbols *symbols);

/* Writes NAME+0xOFFSET of the symbol that an address belongs to; "" if it lies before all of them,
 * or far (a MiB) behind one. */
void symbols_name(const struct symbols *symbols, uint64_t address, char *out, size_t size);

/* The address of a symbol; false: there is none of this name. */
bool symbols_address(const struct symbols *symbols, const char *name, uint64_t *address);

#endif
