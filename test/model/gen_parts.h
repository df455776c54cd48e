/* What the parts of the generator share. */
#ifndef TEST_MODEL_GEN_PARTS_H
#define TEST_MODEL_GEN_PARTS_H

#include "test/model/gen.h"

/* What differs between the modes, for the generator's purposes. */
struct shape {
    unsigned flag, levels, index_bits, entry;
    uint64_t map; /* linear address of the map of all memory */
};

/* A number below n; true in so many of a hundred cases. */
unsigned gen_below(struct gen *g, unsigned n);
bool     gen_percent(struct gen *g, unsigned p);

/* The naive processor of the vCPU that acts. */
const struct mmu *gen_naive(const struct gen *g);
/* A guest frame that plays the part of a table of this level; 0 is data. */
uint64_t gen_frame(struct gen *g, unsigned level);

/* An operation of the vCPU that acts, and what puts some at the end of those to come. */
struct op gen_op(const struct gen *g, enum op_kind kind);
void      gen_push(struct gen *g, struct op op);
void gen_poke(struct gen *g, const struct shape *s, uint64_t frame, unsigned index, uint64_t value);
void gen_register(struct gen *g, enum op_kind kind, uint64_t value);
/* The guest writes guest-physical memory through its map, which is repaired if it must be. */
void gen_write(struct gen *g, const struct shape *s, uint64_t gpa, unsigned length, uint64_t value);

/* gen_storm.c: tables that are written again and again, used, and flushed. */
void gen_storm(struct gen *g, const struct shape *s); /* makes them */
void gen_storm_breaks(struct gen *g, const struct shape *s);

/* What is behind a guest frame changes; memory is some that is behind no other. */
void gen_set_behind(struct gen *g, uint64_t gfn, uint8_t kind);
void gen_p2m(struct gen *g);

/* gen_rights.c: the rest of an OP_RIGHTS. */
void gen_rights(struct gen *g, struct op *op);

#endif
