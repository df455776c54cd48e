/*
 * The core: what the edge and the hypervisor call. Event in, verdict out.
 *
 * The core takes no lock, flushes nothing, injects nothing and prints nothing. Each
 * function that needs the domain's paging lock takes a token that proves it is held.
 */
#ifndef PAGING_PAGING_H
#define PAGING_PAGING_H

#include "access.h"
#include "mode.h"
#include "p2m.h"
#include "verdict.h"

enum paging_kind { PAGING_SHADOW, PAGING_NESTED };

#define PAGING_ROOTS  16 /* roots a vCPU keeps */
#define PAGING_GUARDS 2  /* linear addresses at which it may not write unseen */

/* What the guest put into the registers that decide how it is paged. */
struct paging_regs {
    uint64_t cr0, cr3, cr4, efer;
};

struct paging_stats {
    uint64_t faults, reflected, fixed, emulated, devices, spurious;
    uint64_t walks; /* of the guest's tables, for faults and for who reaches its memory */
    uint64_t root_hits, root_misses;
    uint64_t made, freed;      /* shadows */
    uint64_t writes;           /* guest tables written through paging_write */
    uint64_t protected_frames; /* frames whose writable leaves were withdrawn */
    uint64_t withdrawn;        /* leaves that this withdrew */
    uint64_t unshadowed, evicted, reclaimed, unhooked;
    uint64_t freshened; /* tables of an older generation that are used again */
    uint64_t unsynced, synced,
        changed;            /* tables let out of sync and back; entries then found changed */
    uint64_t merged, split; /* tables of ours that gave way to one large leaf, and the reverse */
    uint32_t shadows, leaves[LEAF_SIZES]; /* alive now: tables of ours, leaf entries in them */
};

/* Log-dirty, dirty.c. */
struct paging_dirty {
    bool     on;
    uint64_t faults; /* by writes to frames that were not marked; whoever asks sets it to 0 */
    gfn_t    cursor; /* before it is on: marks are cleared up to here */
};

/* Tables of ours on a list, by frame number; 0 ends it. */
struct shadow_list {
    uint32_t head, tail, count;
};

#define PAGING_OPEN 48 /* frames that one instruction with its event can walk through, and more */

/* A frame that the monitor's rights would not let the hardware reach as it must: permit.c. */
struct paging_open {
    gfn_t    gfn;
    uint8_t  bits;   /* enum access_type, beyond its rights */
    uint16_t offset; /* of the first access that was a walk's */
    uint32_t copy;   /* frame number of how it was before, if it may be written; else 0 */
};

struct paging_domain {
    const struct phys *phys;
    uint16_t           id;
    enum paging_kind   kind;
    struct pt_features features;
    struct pool        pool;
    struct p2m         p2m;
    struct access      access; /* the monitor's rights */
    struct {
        const struct paging_vcpu *by;
        unsigned                  count;
        struct paging_open        frame[PAGING_OPEN];
    } open;                         /* to one instruction of a vCPU */
    mfn_t               direct;     /* root of the tree of direct tables, MFN_NONE if none */
    const pte_t        *slots;      /* a PV domain: the hypervisor's entries of each root: pv.c */
    uint64_t            generation; /* of our tables in use; older ones allow nothing: blow.c */
    uint64_t            lowered;    /* counts every loss of rights in our tables */
    struct shadow_list  roots;      /* kept, newest first */
    struct shadow_list  unsynced;   /* out of sync, newest first */
    struct shadow_list  idle;       /* out of sync and unlinked */
    struct shadow_list  dead;       /* to be reaped, oldest last */
    struct paging_vcpu *vcpus;      /* list */
    uint32_t            blocked;    /* frames whose mappings are being removed */
    bool                all_dead;   /* being torn down */
    struct paging_stats stats;
    struct paging_dirty dirty;
    struct pt_mode      mode[PT_FORMATS][2][2]; /* by format, NX and PSE; views are added */
};

/* One root that a vCPU keeps: one table, or four behind a PAE root. */
struct paging_root {
    bool     used;
    bool     empty; /* stands in for one that was lost, until the next fault */
    uint8_t  format, view;
    uint8_t  count;    /* tables: 1 or 4 */
    mfn_t    guest[4]; /* frames of the guest's tables it stands for, or MFN_NONE */
    mfn_t    table[4]; /* of ours */
    uint64_t stamp;    /* last use */
    uint64_t serial;   /* changes when the slot is used for another root */
};

/*
 * A walk through our tables to one of the lower two levels, with the entries that it read: while they
 * say the same, from the root's in use down, it would end the same (way.h).
 */
struct paging_way {
    uint64_t block; /* of 2 MiB of addresses, and 1; 0: none */
    uint64_t value[3];
    const uint64_t
            *at[2];  /* the second entry and the third, or `value` of it where there is none */
    uint32_t table;  /* of ours, that the last one leads to */
    uint32_t level;  /* of it */
    uint64_t rights; /* PTE_W, PTE_U, PTE_NX that the way there leaves */
};
#define PAGING_WAYS 32 /* a power of two */

struct paging_vcpu {
    struct paging_domain *domain;
    struct paging_vcpu   *next;
    struct paging_regs    regs;
    struct pt_mode        mode;
    uint64_t              pdpte[4]; /* latched, PAE */
    struct paging_root    root[PAGING_ROOTS];
    unsigned              current;  /* slot of the root in use */
    unsigned              previous; /* and of the one before; the most likely next one */
    uint64_t              clock; /* counts changes of the root in use, and of what is in its slot */
    uint64_t              serials;
    bool                  cr3_loaded; /* set by the edge at MOV CR3: PDPTEs are read anew */
    bool                  noted;      /* the registers are not those that the root in use is for */
    bool                  excused;    /* set by the edge: what it does now the monitor permits */
    uint64_t              events; /* faults, register writes, flushes: what the core saw of it */
    struct {
        uint64_t event; /* of a fault that changed nothing */
        gva_t    va;
        unsigned acc;
    } suspect;
    struct {
        uint64_t event; /* of a write to a table that was emulated */
        mfn_t    mfn;
        unsigned offset;
    } last_write;
    struct {
        gva_t va[PAGING_GUARDS];
        mfn_t mfn[PAGING_GUARDS]; /* the frames that are protected for it, or MFN_NONE */
    } guard;
    mfn_t             pae; /* a frame below 4 GiB that holds the roots' PDPTEs */
    struct paging_way way[PAGING_WAYS];
};

/* Proof, for the compiler, that the domain's paging lock is held. */
struct paging_locked {
    struct paging_domain *domain;
};

/* ---- building and tearing down ---- */

/*
 * The pool must have been given frames (pool_init, pool_add) before. False: too few, and none
 * is taken.
 */
must_check bool paging_domain_init(struct paging_domain *d, const struct phys *phys, uint16_t id,
                                   enum paging_kind kind, struct pt_features features);

/*
 * The same for a domain under direct paging (direct.h), whose tables are shadowed from now on. Its
 * guest frames are the machine's. `slots` are DIRECT_SLOTS entries, and stay where they are. May be
 * called again after paging_domain_reap; the counters go on.
 */
must_check bool paging_pv_init(struct paging_domain *d, const struct phys *phys, uint16_t id,
                               struct pt_features features, const pte_t *slots);

/*
 * `pae` is a frame of the hypervisor's below 4 GiB; contents are the core's from now on. MFN_NONE for a
 * vCPU of a PV domain, which always has four levels.
 */
void paging_vcpu_init(struct paging_domain *d, struct paging_vcpu *v, mfn_t pae);

/*
 * Takes everything down, at most about `budget` entries a call; true when all is done and
 * every frame of the pool is free. No vCPU runs any more, and all TLBs were flushed.
 */
must_check bool paging_domain_reap(struct paging_locked p, unsigned budget);

/* ---- events ---- */

/*
 * CR0, CR3, CR4 or EFER was written (all already checked as the processor checks them), or
 * the vCPU starts. VERDICT_RETRY when the new root is installed; VERDICT_INJECT with pfec 0
 * and va 0 stands for #GP(0): PDPTEs with reserved bits. Nothing changed then.
 */
must_check struct verdict paging_set_regs(struct paging_locked p, struct paging_vcpu *v,
                                          const struct paging_regs *regs);

/*
 * The usual write: CR3, or bits of CR0 and CR4 that concern no more than WP of what makes a root, when
 * the vCPU has run on that root before and no table is out of sync. True: it is installed, and nothing
 * is to be flushed; false: nothing has changed, and paging_set_regs does it.
 */
must_check bool paging_set_regs_quickly(struct paging_locked p, struct paging_vcpu *v,
                                        const struct paging_regs *regs);

must_check struct verdict paging_fault(struct paging_locked p, struct paging_vcpu *v,
                                       const struct fault *f);

/*
 * The two faults that are most frequent under shadow paging, where nothing is out of the ordinary: the
 * guest's own, and a write to a table that stays in sync. PAGING_QUICK_NOT: nothing has changed, and
 * paging_fault says what to do; else it has been done what that would do, with the same verdict.
 */
enum paging_quick {
    PAGING_QUICK_NOT,
    PAGING_QUICK_INJECT, /* #PF with `pfec` */
    PAGING_QUICK_WRITE, /* the instruction is to be executed: it writes at `gpa`, in the frame `mfn` */
};
struct paging_quick_fault {
    uint32_t pfec;
    uint64_t gpa;
    mfn_t    mfn;
};
must_check enum paging_quick paging_fault_quickly(struct paging_locked p, struct paging_vcpu *v,
                                                  const struct fault        *f,
                                                  struct paging_quick_fault *q);

must_check struct verdict paging_invlpg(struct paging_locked p, struct paging_vcpu *v, gva_t va);

/* ---- what the types of a PV domain's frames ask for: direct.h ---- */

/*
 * DIRECT_ASK_UNSHADOW: the table in this frame is about to be none any more, and no table that is
 * in use leads to it. Takes a time that does not depend on the guest.
 */
must_check struct verdict paging_pv_unshadow(struct paging_locked p, mfn_t mfn);

/*
 * The domain goes back to its own tables: no vCPU has a root of ours any more, and nothing that is
 * left allows anything. paging_domain_reap takes it away, while the guest may run and the two calls
 * here may come.
 */
void paging_pv_leave(struct paging_locked p);

/*
 * A table of ours, maybe a dead one, has an entry for this frame of a PV domain: it must not be given
 * away, although nobody holds it.
 */
must_check bool paging_pv_knows(const struct phys *phys, mfn_t mfn);

/* DIRECT_ASK_FOLLOW: entry `index` of the table in this frame has changed. */
must_check struct verdict paging_pv_follow(struct paging_locked p, mfn_t mfn, unsigned index);

/* True if the vCPU's current root stands for the top table in this frame. */
must_check bool paging_runs_on(const struct paging_vcpu *v, mfn_t guest);

/* ---- guards: pages that a vCPU must not write unseen; see guard.c ---- */

/* Where they are from now on (two addresses, which may be in one page); NULL: nowhere. */
void paging_guard_set(struct paging_locked p, struct paging_vcpu *v, const gva_t *va);

/*
 * Called before each entry while there are guards, after all else that the core is asked: our
 * tables let the vCPU write at none of them. A write there is VERDICT_EMULATE then.
 */
must_check struct verdict paging_guard(struct paging_locked p, struct paging_vcpu *v);

/* The frame may be written until a guard finds it again: no vCPU's guard is there any more. */
void paging_guard_lift(struct paging_locked p, mfn_t mfn);

/* ---- what the edge installs ---- */

struct paging_hw {
    uint64_t cr3;     /* physical address, for CR3 or nCR3                              */
    unsigned levels;  /* the format: 3 (PAE), 4, or 5; that of nCR3 is 4                */
    unsigned slot;    /* of the root: an ASID may be kept for it...                     */
    uint64_t serial;  /* ...while this stays the same...                                */
    uint64_t lowered; /* ...and until its last full flush is older than this            */
    bool     intercept_invlpg;
};
must_check static inline struct paging_hw paging_hw(const struct paging_vcpu *v)
{
    const struct paging_root *r = &v->root[v->current];
    uint64_t                  base = r->table[0].raw << PAGE_SHIFT;

    if (r->count == 4)
        base = (v->pae.raw << PAGE_SHIFT) + 32 * v->current;
    return (struct paging_hw){
        .cr3 = base,
        .levels = r->count == 4          ? 3
                  : r->format == PT_LA57 ? 5
                                         : 4,
        .slot = v->current,
        .serial = r->serial,
        .lowered = v->domain->lowered,
        .intercept_invlpg = v->domain->unsynced.head != 0,
    };
}

/* ---- reaching guest memory ---- */

enum paging_reach_kind {
    REACH_RAM,    /* mfn is behind it */
    REACH_FAULT,  /* the guest's own #PF: va and pfec say which */
    REACH_DEVICE, /* gpa is not memory */
    REACH_ACCESS, /* the monitor's rights forbid it: `flush` is the verdict */
};
struct paging_reach {
    enum paging_reach_kind kind;
    uint32_t               pfec;
    uint64_t               gpa;
    mfn_t                  mfn;
    bool                   rom;   /* writes are lost */
    struct verdict         flush; /* what must be flushed: A and D were set in a table */
};

/*
 * Translates as the processor would for this access, A and D set included. The answer
 * holds while the lock is held.
 */
must_check struct paging_reach paging_reach(struct paging_locked p, struct paging_vcpu *v, gva_t va,
                                            unsigned acc);

/*
 * Tells the core the vCPU's registers without any effect on its roots: under nested paging
 * CR3 changes unseen, so the edge says what it is before guest memory is reached by address.
 */
void paging_note_regs(struct paging_locked p, struct paging_vcpu *v,
                      const struct paging_regs *regs);

/* The same for a guest-physical address. */
must_check struct paging_reach paging_reach_gpa(struct paging_locked p, uint64_t gpa);

/*
 * All that the hypervisor writes into guest memory goes through these two: within one page,
 * `len` bytes at `offset` of a guest frame. If the frame is a table, its shadows follow.
 * Returns what must be flushed before the guest runs again. An aligned write of 1, 2, 4 or 8
 * bytes is a single access.
 */
must_check struct verdict paging_write(struct paging_locked p, mfn_t mfn, unsigned offset,
                                       const void *bytes, unsigned len);

/*
 * The same for an aligned word of eight bytes, an entry most likely; `swap`: *value gets what was there,
 * atomically.
 */
struct paging_flush {
    enum flush_kind kind;
    gva_t           va;
};
must_check struct paging_flush paging_write_entry(struct paging_locked p, mfn_t mfn,
                                                  uint64_t offset, uint64_t *value, bool swap);

/* Compare and exchange of 1, 2, 4, 8 or 16 bytes; `old` gets what was there. *done: it was equal. */
must_check struct verdict paging_cmpxchg(struct paging_locked p, mfn_t mfn, unsigned offset,
                                         void *old, const void *new, unsigned len, bool *done);

/* What the emulator cannot execute: forget the shadows of the table in this frame. */
must_check struct verdict paging_unshadow(struct paging_locked p, mfn_t mfn);

/*
 * The guest is about to write over much of this frame: it is no table any more, or will be
 * another. *forgotten: its shadows go, and the guest runs the instruction itself, at which the
 * fault comes again if that was not all; false: it must be emulated.
 */
must_check struct verdict paging_overwrite(struct paging_locked p, mfn_t mfn, bool *forgotten);

/* Changes the p2m, and takes away what our tables and shadows said of the block before. */
must_check struct verdict paging_p2m_set(struct paging_locked p, gfn_t gfn, struct p2m_entry entry);

/*
 * What is behind `from`, memory, is behind `to` instead, where there is nothing. All or nothing: with
 * `again` nothing has changed.
 */
must_check struct verdict paging_p2m_move(struct paging_locked p, gfn_t from, gfn_t to);

/* ---- memory of others: doc/shadow.md ---- */

/*
 * Why a domain maps a frame of another. The record is the caller's, and stays where it is from
 * paging_borrow to paging_give_back; meanwhile somebody holds the frame.
 */
struct borrow {
    struct mapped  mapped;
    struct borrow *next; /* of another domain's, of the same frame */
    struct borrow *more; /* the domain's other ones of the frame, which have no leaves */
    mfn_t          mfn;
    uint16_t       domain;
};

/* From now on the frame may stand in the p2m of the domain; any owner's but its own need it. */
void paging_borrow(const struct phys *phys, struct borrow *b, uint16_t domain, mfn_t mfn);

/*
 * Takes back what the domain's tables allow by this record, in bounded steps: again, call again. No
 * vCPU of the domain runs from the last one to paging_give_back.
 */
must_check struct verdict paging_borrow_unmap(struct paging_locked p, const struct borrow *b);

/* The record is the caller's again: none of the domain's tables has an entry by it. */
void paging_give_back(const struct phys *phys, struct borrow *b);

/*
 * Makes so many pairs of the pool free that `pairs` can be taken out of it (pool_remove) and one
 * operation can still be done with the rest: reaps, reclaims the roots used longest ago, empties
 * the ones in use. What the verdict asks for must be flushed before the pairs are taken. *ready:
 * they are free; else, without `again`, so many cannot be had.
 */
must_check struct verdict paging_pool_spare(struct paging_locked p, unsigned pairs, bool *ready);

/*
 * Takes back all that our tables allow, in a time that depends on the number of vCPUs only: what
 * is needed again is built anew by faults, under the rules that hold then. All vCPUs have left
 * the guest, and what the verdict asks for is flushed before one enters it. `again`: nothing is
 * done yet.
 */
must_check struct verdict paging_blow(struct paging_locked p);

/*
 * Changes the kind of paging: all vCPUs have left the guest, and the edge has said what their
 * registers are (paging_note_regs). Everything is built anew, and guards are set anew. Flushes and
 * `again` are as for a blow. Takes as long as that; what was left goes in the background: kind.c.
 */
must_check struct verdict paging_set_kind(struct paging_locked p, enum paging_kind kind);

/* ---- log-dirty: which frames are written; see dirty.c ---- */

/*
 * Begins to log, with no frame marked. `again`: call again, and nothing is logged yet; the rest as
 * for paging_blow.
 */
must_check struct verdict paging_dirty_on(struct paging_locked p);

/* Ends it; `again` and the rest as for paging_blow. */
must_check struct verdict paging_dirty_off(struct paging_locked p);

/* What is marked among the guest frames from `next` up to, but without, `end`. */
struct dirty_fetch {
    gfn_t     next; /* not looked at yet: moves with each call */
    gfn_t     end;
    bool      clean;  /* marks are taken: the next write to the frame marks it again */
    gfn_t     first;  /* of which bit 0 of the bitmap is */
    uint64_t *bitmap; /* zero at first; NULL: not wanted */
    uint64_t  found;  /* bits so far */
};

/*
 * Sets the bits of guest frames that are marked. `again`: not all of them yet. What the verdict
 * asks for is flushed before somebody relies on a bit that was taken.
 */
must_check struct verdict paging_dirty_fetch(struct paging_locked p, struct dirty_fetch *f);

/* A frame of this domain was written by somebody whom the core does not see: a device, a grant. */
void paging_dirty_mark(struct paging_locked p, mfn_t mfn);

/* ---- the monitor's rights, access.h; see permit.c ---- */

must_check enum access_type paging_access_get(struct paging_locked p, gfn_t gfn);

/*
 * Gives `count` frames from `first` on rights of their own, or ACCESS_DEFAULT; *done: so many in this
 * call, `again` if that is not all. If it is more than a few frames, all vCPUs have left the guest,
 * and the verdict is like that of a blow.
 */
must_check struct verdict paging_access_set(struct paging_locked p, gfn_t first, uint64_t count,
                                            enum access_type type, uint64_t *done);

/*
 * Changes the default, in a time that depends on the number of vCPUs only: `again` and the rest as
 * for a blow.
 */
must_check struct verdict paging_access_default(struct paging_locked p, enum access_type type);

/*
 * After a verdict with `step` the vCPU executes one instruction, or the edge does, and says so: what
 * was opened for it is closed, a frame at a time. VERDICT_ACCESS: its walk has written to a table that
 * must not be written unseen. VERDICT_RETRY: nothing is to be told; `refused` is what the frame at `gpa`
 * was opened for, 0 if none was. `again`: not all is closed.
 */
must_check struct verdict paging_step_done(struct paging_locked p, const struct paging_vcpu *v);

/*
 * Background work: dead tables, and shadows left from before nested paging; about `budget` entries.
 * True when none are left.
 */
must_check bool paging_work(struct paging_locked p, unsigned budget);

/* ---- looking at it ---- */

struct paging_level_view {
    uint8_t  level;
    uint64_t gpa, guest; /* address and value of the guest's entry; gpa ~0 if there is none  */
    uint64_t ma, ours;   /* machine address and value of ours; ma ~0 if there is none        */
};
struct paging_view {
    unsigned                 count;
    struct paging_level_view level[PT_LEVELS_MAX];
    bool                     mapped; /* the guest maps it, to gpa */
    uint64_t                 gpa;
};
/* Walks without changing anything. */
void paging_view(struct paging_locked p, const struct paging_vcpu *v, gva_t va,
                 struct paging_view *view);

struct audit {
    uint64_t violations, frames, shadows, entries;
    char     first[160]; /* the first violation, in words */
};
/* Checks the invariants of doc/model.md. */
void paging_audit(struct paging_locked p, struct audit *audit);

#endif
