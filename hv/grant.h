/* The grant table's frames: memory that both we and the guest see, placed where it asks. */
#ifndef HV_GRANT_H
#define HV_GRANT_H

#include "hv/domain.h"

/* Makes the table at least `frames` long; false: more than allowed, or memory is short. */
must_check bool grant_grow(struct domain *d, unsigned frames);

#endif
