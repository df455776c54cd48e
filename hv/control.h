/*
 * The control domain: the one domain whose kernel and tools manage the others. doc/control.md says what
 * it may and how that goes. Its number is 0; there is one at most.
 *
 * Its console is no ring but console_io, with a queue here of what was typed and a virq that tells of it.
 */
#ifndef HV_CONTROL_H
#define HV_CONTROL_H

#include "hv/domain.h"

#define CONTROL_ID 0

/* The domain may manage others. */
static inline bool domain_is_control(const struct domain *d)
{
    return d->config.control != 0;
}

/* NULL: there is none, or it does not run any more. */
struct domain *control_domain(void);

/* Raises a virq of the whole machine (xen.h, "G.") in the control domain, if there is one. */
void control_raise(unsigned virq);

/* Tells the control domain of what was printed since. Part of the main loop. */
void control_tell(void);

/* Types characters for its console, as many as fit; returns how many. */
size_t control_type(struct domain *d, const char *bytes, size_t count);

/* Takes up to `count` of them; returns how many. */
size_t control_typed(struct domain *d, char *bytes, size_t count);

#endif
