/*
 * The naive processor that runs on the tables the core made: what a guest's access meets.
 *
 * It walks the machine's memory as the real one does under the real registers, CR0.WP = 1
 * and EFER.NXE = 1, and has what a real one has and an emulated one hides: a TLB and caches
 * of upper levels, per ASID, which forget nothing by themselves. Entries go only by what
 * the core's verdicts say is flushed, when a root is installed whose ASID is out of date,
 * and at the address of a page fault (SDM vol. 3A, 4.10.4.1; APM vol. 2, 5.5.2). A cached
 * translation that forbids an access faults without a new walk.
 *
 * Anything in our tables that must never be seen there ends in HARDWARE_BROKEN.
 */
#ifndef TEST_MODEL_HARDWARE_H
#define TEST_MODEL_HARDWARE_H

#include "paging/paging.h"

#define HARDWARE_TLB    1024 /* translations an ASID can hold, a power of two */
#define HARDWARE_TABLES 128  /* upper-level entries it can hold */

struct hardware_translation {
    bool     used, writable, user, no_execute, dirty;
    uint8_t  order; /* of the page it was made from */
    uint64_t page;  /* linear address >> 12 */
    uint64_t mfn;
};

/* An upper-level entry: where the next table is, and the rights so far. */
struct hardware_table {
    bool     used, writable, user, no_execute;
    uint8_t  level;  /* of the table it leads to */
    uint64_t prefix; /* linear address >> what that table covers */
    uint64_t mfn;
};

struct hardware_asid {
    bool                        used;
    uint64_t                    serial, flushed_at, cr3;
    unsigned                    held;
    struct hardware_translation tlb[HARDWARE_TLB];
    struct hardware_table       table[HARDWARE_TABLES];
};

struct hardware {
    const struct phys   *phys;
    struct hardware_asid asid[PAGING_ROOTS];
    bool                 running; /* one of them is in use */
    unsigned             slot;
    struct paging_hw     hw;
    bool                 smep, smap;
    uint16_t             owner;  /* only this domain's memory may be reached */
    const char          *broken; /* why */
    uint64_t             hits, walks, installs, full_flushes;
    uint64_t             large; /* translations found in a large leaf */
};

enum hardware_kind { HARDWARE_OK, HARDWARE_FAULT, HARDWARE_BROKEN };

struct hardware_outcome {
    enum hardware_kind kind;
    bool               present; /* of a fault: a present entry forbids it */
    uint64_t           mfn;
};

/* Enters the guest with this root: installs it if it is not the running one. */
void hardware_enter(struct hardware *h, struct paging_hw hw, bool smep, bool smap);

/* One access of the guest, ACC_*. */
struct hardware_outcome hardware_access(struct hardware *h, uint64_t va, unsigned acc);

/* What a walk from this root finds for an address now, caches aside; false if nothing. */
bool hardware_look(const struct hardware *h, struct paging_hw hw, uint64_t va,
                   struct hardware_translation *t);

/* The cached translation for this address in the running ASID, or NULL. */
const struct hardware_translation *hardware_cached(const struct hardware *h, uint64_t va);

/* Carries out what a verdict says, in the running ASID. */
void hardware_flush(struct hardware *h, enum flush_kind kind, uint64_t va);

/* Does this cached translation allow the access? */
bool hardware_allows(const struct hardware *h, const struct hardware_translation *t, unsigned acc);

#endif
