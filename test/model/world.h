/*
 * Two worlds that must stay equal: the naive processor on its memory, and the core with the
 * naive hardware running on the tables that the core made. Every operation happens in both
 * and is compared: outcome, error code, the frame reached, and all of the guest's memory.
 *
 * Operations are absolute (addresses and values, nothing random), so that a script of them
 * can be replayed, shortened and printed.
 */
#ifndef TEST_MODEL_WORLD_H
#define TEST_MODEL_WORLD_H

#include "paging/paging.h"
#include "test/model/hardware.h"
#include "test/model/mmu.h"
#include "test/model/past.h"

#define WORLD_FRAMES  2048 /* of the machine */
#define WORLD_VCPUS   2
#define WORLD_LARGE   512 /* first gfn of a block of 512 that the p2m maps as one */
#define WORLD_RETRIES 8   /* verdicts to run an instruction again, before that is a failure */
#define WORLD_POOL    72  /* pairs below which the pool is not set while the guest lives */
#define WORLD_AGAIN   100 /* calls that a register write may take */
#define WORLD_SEEN    64  /* addresses a vCPU touched last: what our tables say there is checked */

/* What a world is made of. */
struct world_setup {
    unsigned gfns;  /* guest frames of 4 KiB, scrambled over the machine; at most 256 */
    unsigned spare; /* pages more that may take a gfn's place */
    unsigned pairs; /* of frames, in the pool */
    unsigned maxphys;
    bool     large; /* with 2 MiB of contiguous memory at gfn 512 */
    bool     gb1;
    bool     smp;   /* each vCPU on a processor of its own, else they share one */
    unsigned audit; /* paging_audit every so many operations, 0 never */
    unsigned tlbs;  /* compare TLBs with the guest's tables every so many, 0 never */
};

enum op_kind {
    OP_READ,    /* va acc                                        */
    OP_WRITE,   /* va acc length value                           */
    OP_FETCH,   /* va acc                                        */
    OP_CMPXCHG, /* va acc length value old                       */
    OP_CR0,     /* value                                         */
    OP_CR3,
    OP_CR4,
    OP_EFER,
    OP_INVLPG,   /* va                                            */
    OP_P2M,      /* gfn in va, page in value, behind in acc       */
    OP_MOVE,     /* what is behind gfn va is behind gfn value instead, if that is a hole */
    OP_UNSHADOW, /* gfn in va                                     */
    OP_WORK,     /* budget in value                               */
    OP_POKE,     /* the hypervisor writes: gpa in va length value */
    OP_REACH,    /* va acc                                        */
    OP_VIEW,     /* va                                            */
    OP_IMPLICIT, /* va: the processor reads a descriptor while EFLAGS.AC is set */
    OP_POOL,     /* value: pairs that the pool is to have */
    OP_GUARD,    /* va: from now on at va and va + value; length 1: nowhere any more */
    OP_BLOW,
    OP_KIND,  /* value: enum paging_kind that the domain has from now on */
    OP_BLOCK, /* behind in acc: the 2 MiB at gfn 512 are one piece of that again */
    OP_DIRTY, /* WORLD_DIRTY_* in value; PEEK and CLEAN: from gfn va on, old of them (0: all) */
    OP_RIGHTS, /* va: gfn, value: how many, acc: enum access_type; length 1: as the default, 2: off */
    OP_KINDS,
};

enum { WORLD_DIRTY_ON, WORLD_DIRTY_OFF, WORLD_DIRTY_PEEK, WORLD_DIRTY_CLEAN, WORLD_DIRTY_KINDS };

struct op {
    uint8_t  kind; /* enum op_kind */
    uint8_t  vcpu;
    uint8_t  acc; /* ACC_*, of OP_P2M enum mmu_behind */
    uint8_t  length;
    uint64_t va, value, old;
};

/* How often things happened: a run that saw too little proves nothing. */
struct world_counts {
    uint64_t ops[OP_KINDS];
    uint64_t succeeded, absent, reserved, denied, fetch_denied;
    uint64_t tlb_hits, retried, emulated, injected, devices, general_protection;
    uint64_t audits, tlb_checks, tables_written;
    uint64_t stale;       /* accesses by what the guest's tables said before */
    uint64_t quick;       /* register writes that went to a root there was */
    uint64_t linked;      /* faults whose walk may begin where our links end */
    uint64_t idle, again; /* register writes that left idle tables; that took several calls */
    uint64_t invlpg_seen, table_checks;
    uint64_t pairs_taken; /* out of the pool */
    uint64_t logged;      /* pages that log-dirty said were written */
    uint64_t guarded;     /* writes to a page under guard, all of which were seen */
    uint64_t kinds, nested, nested_faults; /* changes of the kind; accesses under nested paging */
    uint64_t refused, refused_walks, promoted, stepped, told; /* by the monitor's rights */
    unsigned most_unsynced;
};

struct world_vcpu {
    struct paging_vcpu core;
    struct mmu         naive;
    struct hardware    hardware;

    unsigned            slot; /* of the root it was entered with, */
    uint64_t            serial, clock;
    bool                guarded;           /* core.guard.va is in force */
    bool                stepping;          /* frames are open to its instruction */
    bool                stepped;           /* or were */
    uint64_t            told[PAGING_OPEN]; /* gfns that this instruction's walk has written */
    unsigned            told_count;
    struct past_flushes flushes; /* by the guest */
    uint64_t            seen[WORLD_SEEN];
    unsigned            seen_count; /* all there ever were */
};

/* How an access ended, in either world. */
enum world_end { WORLD_MEMORY, WORLD_FAULT, WORLD_DEVICE, WORLD_ACCESS };

struct world_ending {
    enum world_end end;
    uint64_t       at; /* gpa, or machine address */
    bool           is_machine;
    bool           marked; /* refused, but its walk has set A and D by then */
    unsigned       faults; /* that it took */
    uint32_t       error;
    uint64_t       old; /* what a compare and exchange found */
};

struct world {
    struct world_setup   setup;
    struct mmu_memory    memory; /* the naive world's */
    struct past         *past;   /* of that memory */
    uint32_t             pages;
    uint64_t            *mfn_of_page;
    struct phys          phys;
    uint32_t             spare_pair[WORLD_FRAMES / 2]; /* taken out of the pool, by frame number */
    unsigned             spare_pairs;
    struct paging_domain domain;
    unsigned             vcpus, last_vcpu;
    struct world_vcpu    vcpu[WORLD_VCPUS];
    uint8_t             *rights; /* enum access_type of each gfn, ACCESS_DEFAULT included */
    uint8_t              rights_default;
    uint64_t             step;
    bool                 logging;
    bool                *dirty;  /* [pages]: written since they were last cleaned */
    bool                *walked; /* [pages]: a table for a processor that walks nested tables */
    uint64_t             max_lowered; /* the counter must never go back */
    struct world_counts  counts;
    struct world_ending  saw; /* what the guest saw of the last access: the core's, by gpa */
    char                 failure[512]; /* empty while all is well */
};

/* Builds both worlds with equal memory of zeros and paging off. */
struct world *world_create(const struct world_setup *setup);
/* Takes the domain down and checks that nothing is left; false: failure says what. */
bool world_finish(struct world *w);
void world_free(struct world *w);

/* One operation in both. False: the worlds differ, and w->failure says how. */
bool world_do(struct world *w, const struct op *op);

/* Compares all there is: memory, TLBs, audit. */
bool world_check(struct world *w);

/* Fails with a message; returns false. */
bool world_fail(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* world_nested.c. Under nested paging each access counts as one that took a fault. */
bool world_nested_access(struct world *w, struct world_vcpu *v, const struct op *op,
                         struct world_ending *e);
bool world_check_nested(struct world *w, const struct world_vcpu *v);
bool world_set_kind(struct world *w, struct world_vcpu *v, enum paging_kind kind);

/* For world_access.c. */
bool world_emulate(struct world *w, struct world_vcpu *v, const struct op *op,
                   enum verdict_kind kind, struct world_ending *e);
/* The write of an instruction at e->at, which nobody saw. */
bool world_write_directly(struct world *w, const struct world_vcpu *v, const struct op *op,
                          struct world_ending *e);
bool world_access(struct world *w, struct world_vcpu *v, const struct op *op);
bool world_flush(struct world *w, struct world_vcpu *v, struct verdict verdict);
void world_enter(struct world *w, struct world_vcpu *v);
bool world_reach(struct world *w, struct world_vcpu *v, const struct op *op);
struct mmu_access world_naive_access(unsigned acc);

/* What the operation writes where `found` is. */
uint64_t world_new_value(const struct op *op, uint64_t found);

/* world_memory.c */
bool world_poke(struct world *w, struct world_vcpu *v, const struct op *op);
bool world_unshadow(struct world *w, struct world_vcpu *v, const struct op *op);
/* The audit of the core finds nothing. */
bool world_audit(struct world *w);

/* world_p2m.c: what is behind guest frames; `v` is who does it, NULL while the world is made. */
bool world_p2m_set(struct world *w, struct world_vcpu *v, uint64_t gfn, struct p2m_entry entry);
bool world_p2m_change(struct world *w, struct world_vcpu *v, const struct op *op);
bool world_p2m_move(struct world *w, struct world_vcpu *v, const struct op *op);
bool world_p2m_block(struct world *w, struct world_vcpu *v, const struct op *op);

/* world_tables.c: what an operator does to our tables. */
bool world_resize_pool(struct world *w, struct world_vcpu *v, uint64_t pairs);
bool world_blow(struct world *w, struct world_vcpu *v);
/* Nothing of ours lets anybody reach memory, by a walk or by what a TLB holds. */
bool world_nothing_reachable(struct world *w, struct world_vcpu *v);

/* world_dirty.c: what was written. */
bool world_dirty(struct world *w, struct world_vcpu *v, const struct op *op);
void world_dirty_note(struct world *w); /* what this operation has touched */
/* Nobody needs to see the next write to this guest frame: no log, or it is told of already. */
bool world_dirty_told(const struct world *w, uint64_t gfn);
void world_dirty_entered(struct world *w, uint64_t gfn); /* something else is behind it now */

/* world_rights.c: the monitor's rights. */
bool world_set_rights(struct world *w, struct world_vcpu *v, const struct op *op);
/* What the guest may do with a frame: the bits of enum access_type. */
unsigned world_rights(const struct world *w, uint64_t gfn);
/* The core has refused an access: rightly? */
bool world_refused(struct world *w, const struct world_vcpu *v, const struct op *op,
                   const struct verdict *d);
/*
 * It let one through, which is about to be made in the naive world: it must have been allowed, the
 * walk of the guest's tables if there was one, and the access to *gpa if there was one.
 */
bool world_permitted(struct world *w, const struct world_vcpu *v, const struct op *op, bool walked,
                     const uint64_t *gpa);
/* What was opened for an instruction is closed. */
bool world_step_done(struct world *w, struct world_vcpu *v);

/* world_justify.c: what may be used although the guest's tables do not say it now. */
enum world_justified { WORLD_NEVER, WORLD_PAST, WORLD_NOW };
enum world_justified world_justify(const struct world *w, const struct world_vcpu *v, uint64_t va,
                                   unsigned acc, uint64_t mfn, uint64_t *gpa);
/* The guest has flushed: its past is forgotten, and our tables and the TLB must know it. */
bool world_flushed_all(struct world *w, struct world_vcpu *v);
bool world_flushed_page(struct world *w, struct world_vcpu *v, uint64_t va);
/* T1: the TLB, and our tables where the vCPU went lately. */
bool world_check_translations(struct world *w, struct world_vcpu *v);

#endif
