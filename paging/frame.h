/*
 * Frame numbers, addresses, and what is known about each frame of the machine.
 *
 * The machine's memory is an argument of the core: a base where frame 0 can be reached,
 * a number of frames, and one record per frame. In the hypervisor the base is the direct
 * map, in the tests it is an array.
 */
#ifndef PAGING_FRAME_H
#define PAGING_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SHIFT 12
#define PAGE_SIZE  (UINT64_C(1) << PAGE_SHIFT)
#define PAGE_MASK  (PAGE_SIZE - 1)

#define must_check __attribute__((warn_unused_result))

/* A box for each kind of number, so that they cannot be mixed up; it costs nothing. */
typedef struct {
    uint64_t raw;
} mfn_t; /* machine frame: what the hardware walks  */
typedef struct {
    uint64_t raw;
} gfn_t; /* guest frame: what the guest believes in */
typedef struct {
    uint64_t raw;
} gva_t; /* guest virtual (linear) address          */

static inline mfn_t mfn_of(uint64_t raw)
{
    return (mfn_t){ raw };
}

static inline gfn_t gfn_of(uint64_t raw)
{
    return (gfn_t){ raw };
}

static inline gva_t gva_of(uint64_t raw)
{
    return (gva_t){ raw };
}

static inline bool mfn_eq(mfn_t a, mfn_t b)
{
    return a.raw == b.raw;
}

static inline bool gfn_eq(gfn_t a, gfn_t b)
{
    return a.raw == b.raw;
}

#define MFN_NONE mfn_of(~UINT64_C(0))
#define GFN_NONE gfn_of(~UINT64_C(0))

static inline bool mfn_valid(mfn_t m)
{
    return m.raw != ~UINT64_C(0);
}

enum frame_kind {
    FRAME_ABSENT,   /* no memory there, or not ours: firmware, devices          */
    FRAME_FREE,     /* in the allocator                                         */
    FRAME_HV,       /* the hypervisor's own                                     */
    FRAME_GUEST,    /* memory of the domain `owner`                             */
    FRAME_POOL,     /* free in the paging pool of `owner`                       */
    FRAME_SHADOW,   /* a table of ours: `shadow` describes it                   */
    FRAME_LINKS,    /* the companion of the shadow in the frame before          */
    FRAME_P2M,      /* a node of the p2m                                        */
    FRAME_SNAPSHOT, /* a copy of an out-of-sync table                           */
    FRAME_KINDS,
};

/* A leaf at level 1, 2 or 3 maps an aligned block of 2^0, 2^9 or 2^18 frames: 4 KiB, 2 MiB, 1 GiB. */
#define LEAF_SIZES 3

static inline unsigned level_order(unsigned level)
{
    return 9 * (level - 1);
}

static inline uint64_t level_frames(unsigned level)
{
    return UINT64_C(1) << level_order(level);
}

/*
 * A list of entries of ours is named by the number of an entry in it (rmap.h), 0 for none.
 */
typedef uint32_t rmap_t;

/* The leaves of one domain that map a frame. */
struct mapped {
    rmap_t leaves[LEAF_SIZES]
                 [2]; /* by size, whose aligned block begins here: read-only, writable */
    uint16_t writable[LEAF_SIZES]; /* lengths of the lists of writable ones             */
    uint8_t  blocked;              /* all of them are being removed: make none          */
};

struct borrow; /* paging.h */

struct frame {
    union {
        struct {
            uint8_t  kind;  /* enum frame_kind */
            uint8_t  order; /* of the free or allocated block that begins here */
            uint16_t owner; /* domain id, for guest and pool frames */
            uint32_t refs;  /* of a guest frame: who besides the p2m needs it to stay */
        };
        uint64_t head; /* the same as one word, for compare and swap: types.h */
    };
    union {
        struct { /* FRAME_FREE, FRAME_POOL: a list by frame number, 0 ends it */
            uint32_t next, prev;
            bool     zero; /* FRAME_POOL, of a pair: the frame holds zeros */
        } free;
        struct {
            /* FRAME_GUEST. All but `borrows` is the owner's. */
            uint64_t      type; /* direct paging, beside the head: see type_words.h */
            struct mapped mapped;
            uint8_t       unsynced; /* a table whose shadows are out of sync: may be written */
            uint8_t       guarded;  /* some vCPU's guard is here: may not be written (guard.c) */
            uint32_t      shadows;  /* frame number of its first shadow as a table, 0 none */
            union {
                struct borrow *borrows; /* while somebody holds it: others that map it, borrow.h */
                uint32_t       freed;   /* then: next on the machine's list of freed frames */
            };
        } guest;
        struct {                 /* FRAME_SHADOW */
            uint64_t key;        /* mfn of the table that is shadowed; gfn if direct    */
            uint64_t generation; /* entries are older than the domain's if this differs */
            rmap_t   parents;    /* entries of ours that point here                     */
            uint32_t next;       /* next shadow of the same table                       */
            uint32_t list_next;  /* one of the domain's lists: roots that are kept,      */
            uint32_t list_prev;  /* out of sync, idle, dead                              */
            uint32_t refs;       /* entries and root slots that point here, and the pin */
            uint16_t used;       /* entries not empty                                   */
            uint16_t cursor;     /* where the reaper of a dead table stands             */
            uint8_t  level;      /* 1 is the leaf                                       */
            uint8_t  format;     /* enum pt_format of the guest's table                 */
            uint8_t  view;       /* PT_VIEW_*: rules of the guest its entries obey      */
            uint8_t  part;       /* which part of a larger guest table                  */
            uint8_t  state;      /* enum shadow_state                                   */
            uint8_t  pinned;
            uint8_t  idle;     /* out of sync, and linked nowhere until it is synchronised */
            uint8_t  busy;     /* more than one entry had changed when it was synchronised */
            uint8_t  writes;   /* to a root's table since a vCPU ran on it: see reach.c */
            uint32_t snapshot; /* frame number of the copy, when out of sync; else 0 */
        } shadow;
    };
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct frame) == 64, "one cache line per frame");

/* The machine's memory. */
struct phys {
    uint8_t      *base;
    uint64_t      frames;
    struct frame *frame;   /* [frames] */
    uint16_t     *watched; /* [phys_blocks]: shadowed tables and guards in an aligned 2 MiB block */
    uint64_t     *dirty;   /* [phys_words]: a bit for each frame, see dirty.h */
};

static inline uint64_t phys_words(uint64_t frames)
{
    return (frames + 63) / 64;
}

static inline uint64_t phys_blocks(uint64_t frames)
{
    return (frames + 511) / 512;
}

static inline void *phys_ptr(const struct phys *phys, mfn_t mfn)
{
    return phys->base + (mfn.raw << PAGE_SHIFT);
}

static inline struct frame *phys_frame(const struct phys *phys, mfn_t mfn)
{
    return &phys->frame[mfn.raw];
}

#endif
