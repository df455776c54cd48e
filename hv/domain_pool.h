/* The memory of a domain's own tables: how much, and how it is set while the domain lives. */
#ifndef HV_DOMAIN_POOL_H
#define HV_DOMAIN_POOL_H

#include "hv/domain.h"

/* Frames that the file asks for, or the default; even. */
must_check uint64_t domain_pool_wanted(const struct config *config);

/* What tables of ours take, of any domain like this, a PV domain's shadows too; even. */
must_check uint64_t domain_pool_of_shadows(const struct config *config);

/* The least that a domain like this must have, in frames; even. */
must_check uint64_t domain_pool_minimum(const struct config *config);

/* The same of a domain that is there, with so many frames of memory more than it has. */
must_check uint64_t domain_pool_least(const struct domain *d, uint64_t more);

enum domain_pool_result {
    DOMAIN_POOL_DONE,
    DOMAIN_POOL_AGAIN,     /* one bounded step was done: call again */
    DOMAIN_POOL_REFUSED,   /* less than the minimum, or more than a domain may have */
    DOMAIN_POOL_NO_MEMORY, /* the machine has no more: it grew as far as it went */
    DOMAIN_POOL_IN_USE,    /* what is left in the pool cannot be given up: it shrank so far */
};

#define DOMAIN_POOL_MB_MAX 4096

/*
 * One bounded step towards a pool of so many frames (rounded up to a pair). The domain may run
 * between two steps; each leaves less to be done. Not for a domain that is being built or dies.
 */
must_check enum domain_pool_result domain_pool_set(struct domain *d, uint64_t frames);

/* The same towards a larger pool, whatever is in it now: what the domain must have is not asked. */
must_check enum domain_pool_result domain_pool_grow(struct domain *d, uint64_t frames);

/* All steps, for so many MiB, with a preemption point after each; never AGAIN. */
must_check enum domain_pool_result domain_pool_resize(struct domain *d, uint64_t mb);

/* The same while the domain is built, before anything is in the pool: all at once; false: no memory. */
must_check bool domain_pool_fill(struct domain *d, uint64_t frames);

/* Gives back free pairs, some at a time; true when the pool has none any more. */
must_check bool domain_pool_drain(struct domain *d);

#endif
