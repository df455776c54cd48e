/*
 * The listener: takes the domain's ring, sets the rights, and answers each event until it is to end; then
 * all pages have all rights, nobody waits for an answer any more, and the ring is the domain's again.
 */
#ifndef TOOLS_ACCESS_LISTEN_H
#define TOOLS_ACCESS_LISTEN_H

#include <signal.h>

#include "tools/access/guest.h"
#include "tools/access/summary.h"

/* Set by a signal: the listener ends. */
extern volatile sig_atomic_t listen_ended;

/* False, and a message is printed: the hypervisor refused. `seconds` is how long it has listened. */
bool listen_to(const struct guest *g, const struct arguments *a, const struct symbols *symbols,
               struct summary *summary, double *seconds);

#endif
