/*
 * Direct paging: the operations of a paravirtual guest on its own tables, and what the edge carries
 * out for them. See doc/direct.md.
 *
 * No lock is needed: operations of several vCPUs, of several domains too, may run at once, one per
 * struct direct_vcpu. The edge calls direct_do until it does not answer AGAIN or ASK; between two
 * calls answered AGAIN anything may happen, between ASK and the next call only what was asked.
 */
#ifndef PAGING_DIRECT_H
#define PAGING_DIRECT_H

#include "types.h"

struct direct_domain {
    struct direct_machine *machine;
    struct direct_vcpu    *vcpus; /* list */
    uint16_t               id;
    bool                   dying;    /* set once, atomically, before its teardown */
    bool                   shadowed; /* it runs on shadows: what is not present may say anything */
    bool                   leaky;    /* and it did: no processor may walk its tables any more */
    uint64_t               scan;     /* where the teardown stands */
    bool                   found;    /* it found something in this pass */
};

enum direct_op {
    DIRECT_UPDATE,     /* entry `index` of the table `mfn` becomes `value`                */
    DIRECT_DESCRIPTOR, /* descriptor `index` of `mfn` becomes `value`                     */
    DIRECT_ROOT,       /* the kernel's or user's (`user`) root of the vCPU becomes `mfn`; */
                       /* MFN_NONE for none                                               */
    DIRECT_PIN,        /* the table `mfn` is validated as `kind`, and kept                */
    DIRECT_UNPIN,
    DIRECT_GET,      /* the caller gets a general and a type reference of `kind`          */
    DIRECT_PUT,      /* gives one back                                                    */
    DIRECT_TEARDOWN, /* takes everything of `owner` down: it is dying, none of its vCPUs runs */
    DIRECT_DRAIN,    /* nothing: only what earlier calls have left is released              */
};

/* Of DIRECT_UPDATE. */
enum {
    DIRECT_PRESERVE = 1, /* A and D of the old entry are kept                             */
    DIRECT_EXPECT = 2,   /* refused with CHANGED unless the entry is `expect`             */
    DIRECT_LEAF = 4,     /* refused unless it is a live level 1 table: an emulated write  */
};

struct direct_request {
    enum direct_op        op;
    struct direct_domain *owner; /* of `mfn` */
    uint16_t from; /* domain whose frames a new leaf entry may map; its own: owner->id */
    uint8_t  kind; /* enum type_kind */
    uint8_t  flags;
    bool     user;
    mfn_t    mfn;
    unsigned index;
    uint64_t value, expect;
};

/* How far a request has come. */
enum direct_stage { STAGE_BEGIN, STAGE_LOOK, STAGE_HOLD, STAGE_ENTRY, STAGE_STORE, STAGE_CHECK };

struct direct_vcpu {
    struct direct_domain *domain;
    struct direct_vcpu   *next;
    mfn_t                 root[2]; /* the kernel's, the user's; MFN_NONE: none */

    /* Kept between calls: what is still to be released. */
    struct direct_pending pending[DIRECT_PENDING_MAX];
    uint8_t               pendings;

    /* Of a call, and of the calls that follow an ASK. */
    bool                  running, parking, progress;
    bool                  goes_on; /* it was begun in one go, and no ASK was answered yet */
    bool                  decided, flush_all; /* the answer is known: `result` */
    enum direct_error     result;
    uint8_t               phase, after_ask; /* enum direct_phase */
    uint8_t               stage, level; /* level: of the table that is updated, 0: plain memory */
    bool                  fresh;        /* the new entry has references of its own */
    enum direct_error     error;        /* the table on top of the stack, or the job, is refused */
    struct direct_request request;
    unsigned              budget;
    struct type           seen;
    uint32_t              clock;
    pte_t                 old, new;
    struct type_job       job;
    uint8_t               depth;
    struct type_level     stack[DIRECT_STACK_MAX];
    struct direct_ask     ask;
    const char           *broken;
};

enum direct_status {
    DIRECT_DONE,
    DIRECT_REFUSED, /* and nothing has changed */
    DIRECT_AGAIN,   /* nothing is decided: come again, after others had their turn */
    DIRECT_ASK,
    DIRECT_BROKEN, /* our bug: the counts are wrong */
};

struct direct_verdict {
    enum direct_status status;
    enum direct_error  error; /* of REFUSED */
    bool flush_all;           /* of DONE: flush the CPUs of the domain before the guest goes on */
    bool unfinished; /* of DONE and REFUSED: DIRECT_DRAIN until DONE before the guest goes on */
    struct direct_ask ask; /* of ASK */
    const char       *why; /* of BROKEN */
};

/* `cpus` at most DIRECT_CPUS_MAX. The hypervisor's slots of L4 tables are `slots`, DIRECT_SLOTS. */
void direct_machine_init(struct direct_machine *m, const struct phys *phys, unsigned cpus,
                         uint64_t l1tf_limit, const pte_t *slots);
void direct_domain_init(struct direct_domain *d, struct direct_machine *m, uint16_t id);
void direct_vcpu_init(struct direct_vcpu *v, struct direct_domain *d);

/*
 * Carries a request out, looking at about `budget` entries and at least one. The request must stay
 * the same from call to call while the answer is ASK. After AGAIN it may be another one, of an
 * interrupt handler of the guest's for instance: what earlier calls have left is released first,
 * whatever is asked.
 */
must_check struct direct_verdict direct_do(struct direct_vcpu          *v,
                                           const struct direct_request *request, unsigned budget);

/*
 * The same in two: what needs no steps first. True: it is carried out, and direct_unfinished says the
 * rest. False: direct_do_steps says, then or later, and is called until the request is answered.
 */
must_check bool direct_at_once(struct direct_vcpu *v, const struct direct_request *request,
                               unsigned budget);
must_check struct direct_verdict direct_do_steps(struct direct_vcpu          *v,
                                                 const struct direct_request *request,
                                                 unsigned                     budget);

/* One update of a list: the entry's address in the machine, whose low three bits say how, and what it becomes. */
struct direct_store {
    uint64_t at, value;
};
#define DIRECT_AT_PRESERVE UINT64_C(2) /* as DIRECT_PRESERVE; the other two are 0 */

/*
 * Carries out updates of the domain's own leaf tables, with its own frames, as far as they take no steps:
 * what as many DIRECT_UPDATE do one after the other, but a table is held from one to the next. Returns
 * how many, 0 to `count`. If that is less, the next one is to be made by direct_do before anything else of
 * this vCPU's, unchanged: it may have been stored already, and shadows are to follow. What is left to be
 * released is unfinished, and ends the list.
 */
must_check unsigned direct_update_now(struct direct_vcpu *v, const struct direct_store *list,
                                      unsigned count, unsigned budget);

/*
 * What a DIRECT_ROOT does for a live table that nobody works on, one of the domain's own. True: it is
 * the root now, and as soon as the vCPU's processor has loaded it, if it runs on this one,
 * direct_root_leave is to be called with `old`, before anything else of this vCPU's; what that cannot
 * release at once is unfinished. False: nothing has changed, and it takes the request.
 */
must_check bool direct_root_take(struct direct_vcpu *v, mfn_t mfn, bool user, mfn_t *old);
void            direct_root_leave(struct direct_vcpu *v, mfn_t old);

/* True if calls have left something to be released. */
static inline bool direct_unfinished(const struct direct_vcpu *v)
{
    return v->pendings != 0;
}

/* ---- frames ---- */

/* A frame of the allocator becomes the domain's. direct_stale_cpus were flushed before. */
void direct_allocate(const struct direct_domain *d, mfn_t mfn);
/* The domain gives a frame back; it is freed when nobody holds it. */
must_check enum direct_error direct_release(const struct direct_domain *d, mfn_t mfn);
/*
 * Takes a frame away from its domain at once, if nobody else holds it and it is no type of anything:
 * the caller's from now on, as if the list of freed frames had returned it.
 */
must_check enum direct_error direct_steal(const struct direct_domain *d, mfn_t mfn);
/*
 * A frame of a domain with paging of another kind may be held, and mapped writable, by requests `from`
 * its domain, from the first of these to the last, and after that for as long as entries map it, or
 * anybody else needs it to stay, who holds it. Each loan and each hold is taken back once.
 */
void direct_lend(const struct phys *phys, mfn_t mfn);
void direct_hold(const struct phys *phys, mfn_t mfn);
void direct_take_back(const struct phys *phys, mfn_t mfn);
/* It is lent, or entries made then may still map it. */
must_check bool direct_is_lent(const struct phys *phys, mfn_t mfn);
/* How often a frame is held, besides by the domain that has it. */
must_check uint32_t direct_holds(const struct phys *phys, mfn_t mfn);
/* A frame that nobody holds any more, the first of the list; MFN_NONE if there is none. */
must_check mfn_t direct_freed_first(const struct direct_machine *m);
/* The same, off the list. */
must_check mfn_t direct_freed(struct direct_machine *m);
/* CPUs that may still reach a freed frame through their TLB. */
uint64_t direct_stale_cpus(const struct direct_machine *m, mfn_t mfn);

/* ---- TLB clock ---- */

/*
 * A CPU flushes its whole TLB between the two, with interrupts off, so that nothing comes between.
 * If begin says 0, every CPU must flush so, and then one calls restart.
 */
uint32_t direct_flush_begin(struct direct_machine *m);
void     direct_flush_end(struct direct_machine *m, unsigned cpu, uint32_t clock);
void     direct_clock_restart(struct direct_machine *m);

/* ---- audit ---- */

/* What a scan counts for one frame. */
struct direct_tally {
    uint32_t refs, types;
    int32_t  linear;
};
/* The frames that are audited; with little memory, window after window. */
struct direct_window {
    mfn_t                first;
    uint64_t             frames;
    struct direct_tally *tally; /* [frames]; at first, what DIRECT_GET has given out of each */
};
struct direct_audit {
    uint64_t violations, frames, tables, entries;
    char     first[160];
};
/*
 * Recomputes P1 to P5 of doc/direct.md for the frames of the window, by a scan of all memory;
 * nothing moves meanwhile. `domains` are all there are; `audit` is added to.
 */
void direct_audit(const struct direct_machine *m, struct direct_domain *const *domains,
                  unsigned count, const struct direct_window *window, struct direct_audit *audit);

/* ---- internal ---- */

/* One step; false when the call has ended (PHASE_END) or an ASK is due (PHASE_ASK). */
must_check bool direct_step(struct direct_vcpu *v);
void direct_begin(struct direct_vcpu *v, const struct direct_request *request, unsigned budget);
must_check struct direct_verdict direct_end(struct direct_vcpu *v);

#endif
