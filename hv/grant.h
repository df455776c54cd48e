/*
 * Grant tables, version 1 (grant_table.h): what a domain lets others do with its frames, and who does
 * it at present.
 *
 * The table itself is shared with the guest, who may write anything into it at any time. So a use
 * begins with one look at the entry and one at its frame; what was found then is kept here, holds the
 * frame, and is all that counts until the last use has ended.
 */
#ifndef HV_GRANT_H
#define HV_GRANT_H

#include "hv/domain.h"

#define GRANTS_PER_FRAME (PAGE_SIZE / sizeof(struct grant_entry_v1))
#define GRANTS_MAX       (DOMAIN_GRANT_FRAMES * GRANTS_PER_FRAME)
#define GRANT_MAPS_MAX   1024 /* that one domain may have of others' frames */

/* An entry that is used. */
struct grant_active {
    uint64_t frame; /* as the entry said */
    mfn_t    mfn;
    uint16_t user;             /* domain */
    uint16_t readers, writers; /* both 0: it is not used */
};

/* A handle of a domain's: one mapping of another's frame, or of its own. */
struct grant_map {
    uint32_t      ref;
    uint16_t      domain;                /* whose table */
    bool          used, readonly, entry; /* entry: the address was that of a page table's entry */
    gfn_t         gfn;                   /* where it stands in the p2m of a domain that has one */
    struct borrow borrow;                /* while it is used */
};

struct grant_uses {
    struct grant_active active[GRANTS_MAX];  /* by reference */
    struct grant_map    map[GRANT_MAPS_MAX]; /* by handle */
    uint32_t            lent;                /* uses of the domain's own entries */
};

/* Makes the table at least `frames` long; false: more than allowed, or memory is short. */
must_check bool grant_grow(struct domain *d, unsigned frames);

/*
 * One use more of an entry of `d`, by `user`: GNTST_okay with what it is about, else why not. It
 * lasts until grant_end, also if `d` is destroyed meanwhile: then `d` waits.
 */
must_check int16_t grant_begin(struct domain *d, uint32_t ref, const struct domain *user,
                               bool readonly, struct grant_active *what);
void               grant_end(struct domain *d, uint32_t ref, bool readonly);

/* Log-dirty: all that others may write at this moment counts as written. */
void grant_mark_written(struct domain *d);

/* A free handle of the domain's; GRANT_MAPS_MAX: there is none. */
must_check unsigned grant_handle(struct domain *d);

/* Ends the uses by a domain whose own tables are gone, a bounded number; true: none is left. */
must_check bool grant_release(struct domain *d);

/* Others still use what the domain has granted. */
static inline bool grant_is_lent(const struct domain *d)
{
    return d->grants != NULL && d->grants->lent != 0;
}

/* The rest of what is kept here. */
void grant_destroy(struct domain *d);

#endif
