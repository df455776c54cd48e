/*
 * Page types of direct paging: the words of a frame's record, and the machine that takes and drops
 * references. doc/direct.md is the reference; this header is internal to the core, but for the
 * structs that direct.h uses.
 *
 * Two words of a record are shared by all processors, and are changed by compare and swap only: the
 * head (kind, owner, general count) and the type word. A step makes at most one access to what
 * others may change, so that tests can interleave everywhere.
 */
#ifndef PAGING_TYPES_H
#define PAGING_TYPES_H

#include "pte.h"

/* The order matters: a table of level n has kind n. */
enum type_kind {
    TYPE_NONE,
    TYPE_L1,
    TYPE_L2,
    TYPE_L3,
    TYPE_L4,
    TYPE_SEGMENTS,
    TYPE_WRITABLE,
};

/*
 * The type word. What a frame is now decides how the 32 bits in the middle are read: as a stamp
 * (type_stamp), or as what is named here. What is not meant in a state is 0.
 */
struct type {
    union {
        struct {
            uint64_t count : 26;  /* type references */
            uint64_t cursor : 11; /* a table in use: entries below are validated...         */
            uint64_t half : 1;    /* ...and this one has a general reference                */
            int64_t  linear : 16; /* > 0: linear entries that it has; < 0: that point to it */
            uint64_t unused : 4;
            uint64_t kind : 3; /* enum type_kind; of an idle frame: what it was last */
            uint64_t validated : 1, partial : 1, pinned : 1;
        };
        uint64_t word;
    };
};
_Static_assert(sizeof(struct type) == 8, "changed by one swap");

#define TYPE_COUNT_MAX   ((UINT32_C(1) << 26) - 1)
#define TYPE_LINEAR_MAX  0x7fff
#define TYPE_KIND_MASK   7u
#define TYPE_CURSOR_MASK 0x7ffu
#define TYPE_STAMP_SHIFT 26
#define TYPE_STAMP_MASK  (UINT64_C(0xffffffff) << TYPE_STAMP_SHIFT)

static inline struct type type_unpack(uint64_t word)
{
    return (struct type){ .word = word };
}

/* Idle or writable: the TLB clock when a reference was dropped last. */
static inline uint32_t type_stamp(struct type t)
{
    return (uint32_t)(t.word >> TYPE_STAMP_SHIFT);
}

static inline struct type type_stamped(struct type t, uint32_t stamp)
{
    t.word = (t.word & ~TYPE_STAMP_MASK) | (uint64_t)stamp << TYPE_STAMP_SHIFT;
    return t;
}

static inline bool type_is_table(uint8_t kind)
{
    return kind >= TYPE_L1 && kind <= TYPE_L4;
}

static inline bool type_is_live(struct type t)
{
    return t.count > 0 && t.validated;
}

/* Somebody flushes for it, checks it or takes it down at this moment. */
static inline bool type_is_busy(struct type t)
{
    return t.count > 0 && !t.validated && !t.partial;
}

/*
 * In frame.refs of a paravirtual guest's frame. ALLOCATED: its domain has it, a reference like the
 * others. DIRECT: the count is one of direct paging, as long as somebody holds the frame.
 */
#define REFS_ALLOCATED (UINT32_C(1) << 31)
#define REFS_DIRECT    (UINT32_C(1) << 30)
/* A frame of a domain with paging of another kind, that others may hold: direct_lend. */
#define REFS_LENT  (UINT32_C(1) << 29)
#define REFS_COUNT (REFS_LENT - 1)
/* More are refused to guests. The machine's own (a flag's, a half's) may exceed it: they are few. */
#define REFS_MAX (UINT32_C(1) << 28)

#define DIRECT_CPUS_MAX    64
#define DIRECT_SLOT_FIRST  256 /* entries of an L4 that are the hypervisor's */
#define DIRECT_SLOTS       16
#define DIRECT_ENTRIES     512
#define DIRECT_STACK_MAX   8
#define DIRECT_PENDING_MAX 4
#define DIRECT_OWNER_NONE  UINT16_MAX

/* The software bit of a leaf entry that was the guest kernel's: U was clear. */
#define PTE_KERNEL (UINT64_C(1) << 52)

enum direct_error {
    DIRECT_OK,
    DIRECT_INVALID,    /* not a frame of the right owner, or bits that may not be set, or ... */
    DIRECT_TYPED,      /* the frame is in use as something else                               */
    DIRECT_LINEAR,     /* a linear entry that is not allowed                                  */
    DIRECT_UNFINISHED, /* the table is being validated, and not by this operation             */
    DIRECT_L1TF,       /* a not-present entry that asks for shadow paging                     */
    DIRECT_CHANGED,    /* the entry is not what was expected                                  */
    DIRECT_OVERFLOW,   /* too many references                                                 */
};

struct direct_machine {
    const struct phys *phys;
    uint64_t l1tf_limit; /* first frame number that a not-present entry may name; 0: any */
    uint32_t clock;      /* of TLB flushes */
    uint32_t cpus;
    uint32_t cpu_clock[DIRECT_CPUS_MAX]; /* of each CPU's last full flush */
    uint32_t freed;                      /* list of frames nobody holds, 0 ends it */
    pte_t    slots[DIRECT_SLOTS];        /* the hypervisor's entries of each L4 */
    bool     quick;                      /* what is usual is not done step by step */
    bool     wide; /* the processor's registers of 128 bits may be used now: direct_wide.h */
};

/* A reference to be dropped. */
enum pending_mode {
    PENDING_GENERAL, /* a general reference                                             */
    PENDING_CLEAN,   /* a general one; and if the table is partial, it is taken down     */
    PENDING_FULL,    /* a general and a type reference                                   */
};
struct direct_pending {
    mfn_t   mfn;
    uint8_t mode;  /* enum pending_mode */
    uint8_t level; /* of the table in `parent` whose entry it was; 0: of none */
    mfn_t   parent;
};

enum job_kind { JOB_NONE, JOB_GET, JOB_PUT };

/* The reference that is being taken or dropped now. */
struct type_job {
    uint8_t  job;   /* enum job_kind */
    uint8_t  mode;  /* enum pending_mode of a JOB_PUT */
    uint8_t  want;  /* of a JOB_GET: enum type_kind, TYPE_NONE for a general reference only */
    uint8_t  level; /* of the table `parent` whose entry it is for; 0: of none */
    mfn_t    mfn, parent;
    uint16_t owner;    /* of the frame, or it is refused */
    bool     writable; /* the entry has W */
    bool     general;  /* a general reference is held */
    bool     typed;    /* and a type reference */
    bool     linear;   /* get: counted in the parent; put: no longer counted in the parent */
};

/* A table that the operation works on; it is busy. */
struct type_level {
    mfn_t           table;
    uint8_t         kind;
    bool            down;   /* being taken down */
    bool            extra;  /* the partial flag's general reference came with it */
    bool            half;   /* as in the type word */
    uint16_t        cursor; /* as in the type word */
    struct type_job outer;  /* what it is validated or taken down for */
};

enum direct_phase {
    PHASE_START,
    PHASE_NEXT,     /* the next thing to release, or what the request says */
    PHASE_REQUEST,  /* direct.c knows */
    PHASE_VISIT,    /* the next entry of the table on top of the stack */
    PHASE_FRAME,    /* take a general reference */
    PHASE_READ,     /* take a type reference: look, ... */
    PHASE_COUNT,    /* ... count a linear entry in the parent, ... */
    PHASE_SWAP,     /* ... and take it */
    PHASE_TAKEN,    /* a writable frame, after the flush */
    PHASE_UNCOUNT,  /* it was refused: the parent has no linear entry more */
    PHASE_PUT_READ, /* drop a type reference: look, ... */
    PHASE_PUT_LINEAR,
    PHASE_PUT_CLOCK,
    PHASE_PUT_SWAP,
    PHASE_PUT_FRAME, /* drop a general reference */
    PHASE_UP,        /* all entries are validated */
    PHASE_DOWN_CLOCK,
    PHASE_DOWN, /* all entries are released */
    PHASE_EXTRA,
    PHASE_PARK_FRAME,
    PHASE_PARK,
    PHASE_PARKED, /* the last one: is its owner dying? */
    PHASE_ASK,
    PHASE_END,
};

/* What the edge must do before the operation can go on. */
enum direct_ask_kind {
    DIRECT_ASK_FLUSH,    /* full TLB flushes of `cpus`, by direct_flush_begin and _end */
    DIRECT_ASK_UNSHADOW, /* drop the shadows of the table `mfn`, and flush */
    DIRECT_ASK_FOLLOW,   /* the shadows of `mfn` follow its entry `index`, and flush */
    DIRECT_ASK_LOAD,     /* if the vCPU runs on this root: load it */
};
struct direct_ask {
    enum direct_ask_kind kind;
    mfn_t                mfn;
    unsigned             index;
    uint64_t             cpus;
};

/* ---- general references ---- */

/* One more for a frame of guest memory of this domain that somebody holds. */
must_check enum direct_error frame_get(const struct direct_machine *m, mfn_t mfn, uint16_t owner);
/* True if it is guest memory of this owner that somebody holds. */
must_check bool frame_is_held(const struct direct_machine *m, mfn_t mfn, uint16_t owner);
/* One less; the last one frees the frame. False: there was none, which is our bug. */
must_check bool frame_put(struct direct_machine *m, mfn_t mfn);
/* Takes the allocated flag, if it is set. */
must_check bool frame_take_allocated(const struct direct_machine *m, mfn_t mfn, uint16_t owner);

static inline struct type type_read(const struct direct_machine *m, mfn_t mfn)
{
    return type_unpack(__atomic_load_n(&phys_frame(m->phys, mfn)->guest.type, __ATOMIC_SEQ_CST));
}

/* False: the word is not `old` any more. */
must_check static inline bool type_swap(const struct direct_machine *m, mfn_t mfn, struct type old,
                                        struct type new)
{
    return __atomic_compare_exchange_n(&phys_frame(m->phys, mfn)->guest.type, &old.word, new.word,
                                       false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static inline pte_t *table_entry(const struct direct_machine *m, mfn_t table, unsigned index)
{
    return (pte_t *)phys_ptr(m->phys, table) + index;
}

static inline pte_t table_read(const struct direct_machine *m, mfn_t table, unsigned index)
{
    return (pte_t){ __atomic_load_n(&table_entry(m, table, index)->raw, __ATOMIC_SEQ_CST) };
}

/* CPUs whose TLB may know something of a frame with this stamp. */
uint64_t clock_stale(const struct direct_machine *m, uint32_t stamp);

/* ---- direct_entry.c ---- */

/* A segment descriptor may say this: APM vol. 2, 4.8. */
bool     descriptor_ok(uint64_t descriptor);
uint64_t descriptor_adjusted(uint64_t descriptor);

#endif
