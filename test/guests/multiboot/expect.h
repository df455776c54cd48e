/*
 * What the processor does with an access, as AMD's manual says it, written once more: the
 * third voice beside the processor under test and QEMU's.
 */
#ifndef TEST_GUESTS_MULTIBOOT_EXPECT_H
#define TEST_GUESTS_MULTIBOOT_EXPECT_H

#include "test/guests/multiboot/probe.h"

/* What decides beside the entries. */
struct rules {
    bool     wp, nx, smep, smap, ac;
    unsigned physical_bits;
    bool     gigabyte_pages;
};

struct expectation {
    bool     fault;
    uint32_t error;
    unsigned level;             /* of the entry where the walk ended */
    uint64_t entry[LEVELS + 1]; /* afterwards */
};

struct expectation expect(const struct paging_mode *mode, const struct rules *rules,
                          const uint64_t *entry, enum probe_access access, bool user);

/* The bits that must be 0 in this entry. */
uint64_t expect_reserved(const struct paging_mode *mode, const struct rules *rules, unsigned level,
                         uint64_t entry);
/* True if this entry maps a page. */
bool expect_page(const struct paging_mode *mode, const struct rules *rules, unsigned level,
                 uint64_t entry);

#endif
