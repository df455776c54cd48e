/* What the frames of the machine are used for, counted: what a domain had must come back. */
#ifndef HV_CENSUS_H
#define HV_CENSUS_H

#include "hv/machine.h"

struct census {
    uint64_t frames[FRAME_KINDS]; /* by enum frame_kind */
    uint64_t allocator;           /* frames that the allocator says are free */
    uint64_t entries;             /* of our tables, not empty */
};

/* Looks at each frame of the machine. */
struct census census_take(void);

/* Prints where two differ; by how many frames in all. */
must_check uint64_t census_compare(const struct census *before, const struct census *after);

/* Prints one. */
void census_show(const struct census *census);

#endif
