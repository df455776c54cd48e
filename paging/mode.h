/*
 * The paging modes of the processor as tables of numbers.
 *
 * A mode has two halves. The format says where the bits of an address and of an entry
 * are and which bits must be zero; it is fixed by CR0.PG, CR4.PAE, EFER.LMA, CR4.LA57,
 * and by the features that change what is reserved. The view says which accesses the
 * rights found on the way permit.
 */
#ifndef PAGING_MODE_H
#define PAGING_MODE_H

#include "pte.h"

#define PT_LEVELS_MAX 5

enum pt_format {
    PT_DIRECT, /* no tables: a linear address is a guest-physical one */
    PT_32,     /* two levels of 32-bit entries                        */
    PT_PAE,    /* three levels, the four root entries latched         */
    PT_64,     /* four levels                                         */
    PT_LA57,   /* five levels                                         */
    PT_FORMATS,
};

/* What rights mean. PSE is here since it changes how a 32-bit table is read. */
enum {
    PT_VIEW_WP = 1,   /* CR0.WP: supervisor writes obey W            */
    PT_VIEW_NX = 2,   /* EFER.NXE: bit 63 denies fetches             */
    PT_VIEW_SMEP = 4, /* supervisor never fetches from a user page   */
    PT_VIEW_SMAP = 8, /* supervisor reads and writes them if AC only */
    PT_VIEW_PSE = 16, /* CR4.PSE: 4 MiB pages in 32-bit tables       */
    PT_VIEWS = 32,
};

/* How to read one level; index 0 is unused: level 1 is the last. */
struct pt_level {
    uint8_t  shift;    /* lowest address bit of the index   */
    uint8_t  bits;     /* width of the index                */
    bool     may_leaf; /* PS means a page here              */
    uint64_t rsvd[2];  /* bits that must be 0, by PS        */
};

struct pt_mode {
    uint8_t         format; /* enum pt_format */
    uint8_t         view;
    uint8_t         levels;      /* 0 if direct */
    uint8_t         entry_bytes; /* 4 or 8 */
    struct pt_level level[PT_LEVELS_MAX + 1];
};

/* What the domain's processor offers, as its CPUID says. */
struct pt_features {
    uint8_t maxphys; /* physical address bits, 32 to 52 */
    bool    gb1;     /* 1 GiB pages */
    bool    nx;
};

/* Fills a mode. Reserved bits: APM vol. 2, 5.3.4, 5.4.1 and the tables of 5.2 to 5.3. */
void pt_mode_init(struct pt_mode *mode, enum pt_format format, uint8_t view,
                  struct pt_features features);

#endif
