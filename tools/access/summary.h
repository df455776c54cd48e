/* How often each page was accessed, and how: counted while the program runs, printed when it ends. */
#ifndef TOOLS_ACCESS_SUMMARY_H
#define TOOLS_ACCESS_SUMMARY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tools/access/symbols.h"

enum kind {
    KIND_READ,
    KIND_WRITE,
    KIND_FETCH,
    KIND_WALK, /* by the processor, on the way through the guest's tables */
    KINDS,
};

struct page {
    uint64_t gfn, total, rip; /* total 0: a free place; where the last access came from */
    uint64_t count[KINDS];
};

struct summary {
    struct page *page; /* a table of 2^n places, at most half of them taken */
    size_t       places, taken;
    uint64_t     events, lost; /* lost: for want of memory in no page's count */
};

void summary_add(struct summary *summary, uint64_t gfn, enum kind kind, uint64_t rip);

/* Prints the pages, the most accessed first, and how many events there were a second. */
void summary_print(const struct summary *summary, double seconds, const struct symbols *symbols,
                   FILE *out);
void summary_free(struct summary *summary);

#endif
