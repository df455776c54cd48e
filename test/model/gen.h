/*
 * The generator: looks at the naive world and proposes the next operation, plausible most of
 * the time. Its choices come from a seed, or from the bytes of a fuzzer.
 */
#ifndef TEST_MODEL_GEN_H
#define TEST_MODEL_GEN_H

#include "test/model/world.h"

/* Ways of paging that a run may use. */
enum { GEN_OFF = 1, GEN_64 = 2, GEN_PAE = 4, GEN_32 = 8, GEN_LA57 = 16 };

#define GEN_PENDING 4096

#define GEN_TABLES  28
#define GEN_ENTRIES 6

/* Leaf tables made for a storm: gen_storm.c. */
struct gen_tables {
    unsigned count; /* 0: none */
    unsigned flag;  /* the mode they are for */
    bool     wide;  /* many entries of them are written */
    bool     both;  /* the other vCPU uses them as well */
    uint64_t base;  /* linear address of the first entry of the first table */
    uint64_t table2, table3;
    uint64_t entry[GEN_TABLES][GEN_ENTRIES];
};

struct gen {
    const struct world *world;
    unsigned            modes; /* GEN_* */
    unsigned            vcpus;
    bool     piece; /* most data is where the p2m has memory in one piece, as real guests' is */
    uint64_t seed;
    const uint8_t    *bytes; /* instead of the seed, if not NULL */
    size_t            left;
    struct op         pending[GEN_PENDING]; /* steps of something longer, first first */
    unsigned          first, count;
    unsigned          vcpu; /* that acts now */
    struct gen_tables tables;
};

/* The next operation; false when a fuzzer's bytes are used up. */
bool gen_next(struct gen *g, struct op *op);

#endif
