/*
 * A small machine with direct paging for the tests: a few frames, domains, vCPUs, and processors
 * whose TLBs load whatever they may and forget nothing unless they are flushed.
 */
#ifndef TEST_DIRECT_WORLD_H
#define TEST_DIRECT_WORLD_H

#include "paging/type_work.h"

#define WORLD_FRAMES  16  /* of guests, at most */
#define WORLD_POOL    160 /* behind them, where tables are shadowed: shadowed.h */
#define WORLD_VCPUS   4
#define WORLD_DOMAINS 2

/* What a processor remembers: a bit for each frame. */
struct tlb {
    uint16_t read, writable;
    uint16_t table[TYPE_L4 + 1]; /* walked as a table of this level */
};

struct world {
    uint8_t              *memory; /* frames of 4096 bytes */
    struct frame          frame[WORLD_FRAMES + WORLD_POOL];
    unsigned              frames; /* the guests' */
    struct phys           phys;
    struct direct_machine machine;
    struct direct_domain  domain[WORLD_DOMAINS];
    struct direct_vcpu    vcpu[WORLD_VCPUS]; /* each on a processor of its own */
    struct tlb            tlb[WORLD_VCPUS];
    mfn_t                 loaded[WORLD_VCPUS][2]; /* the roots the processors have */
    unsigned              vcpus;
    bool                  ticking[WORLD_VCPUS]; /* a flush has begun */
    uint32_t              tick[WORLD_VCPUS];
    char                  why[200]; /* what was wrong first */
    struct shadowed      *shadowed; /* NULL: never */
    /* Carries out what is asked for by this vCPU as far as shadows are concerned. */
    void (*obey)(struct shadowed *s, unsigned vcpu, const struct direct_ask *ask);
};

#define ENTRY(frame, flags) ((uint64_t)(frame) << PAGE_SHIFT | (flags))
#define RO                  (PTE_P | PTE_U)
#define RW                  (PTE_P | PTE_U | PTE_W)

/* Frames 1 to `frames` - 1 belong to domain 1 (index 0); vCPUs too. */
void      world_init(struct world *w, unsigned frames, unsigned vcpus, uint64_t l1tf_limit);
void      world_free(struct world *w);
uint64_t *world_entry(const struct world *w, unsigned frame, unsigned index);

struct direct_request world_request(struct world *w, enum direct_op op, unsigned frame);

/* Runs a request of a vCPU to its end, doing what is asked; budget for each call. */
struct direct_verdict world_do(struct world *w, unsigned vcpu, const struct direct_request *r,
                               unsigned budget);
/* The request as one of a list for direct_update_now; false: it cannot be one. */
must_check bool world_store(const struct direct_vcpu *v, const struct direct_request *r,
                            struct direct_store *store);
void            world_drain(struct world *w, unsigned vcpu, unsigned budget);
/* Carries out what the vCPU's last step asked for. */
void world_carry_out(struct world *w, const struct direct_vcpu *v);
/* Processor `cpu` flushes, in two parts. */
void world_flush_begin(struct world *w, unsigned cpu);
void world_flush_end(struct world *w, unsigned cpu);

/*
 * A processor may load this: from a live table, or from one that it remembers from when that was
 * live. False: not now, or it has it already.
 */
must_check bool world_load_leaf(struct world *w, unsigned cpu, unsigned frame, bool writable);
must_check bool world_load_table(struct world *w, unsigned cpu, unsigned frame);

/* The audit of the core, and of the TLBs; false with `why`. */
must_check bool world_sound(struct world *w);
/* No call is under way and nothing is left to release. */
must_check bool world_quiet(const struct world *w);

#endif
