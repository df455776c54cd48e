/* What becomes of an access that is told: pure, so that it can be tested without a hypervisor. */
#ifndef TOOLS_ACCESS_DECIDE_H
#define TOOLS_ACCESS_DECIDE_H

#include <stdbool.h>

#include "tools/access/rules.h"

struct decision {
    bool report;  /* a line is printed */
    bool emulate; /* the instruction passes, and the rights stay */
    bool open;    /* the page gets all rights */
    bool stop;    /* the domain is paused, and the program ends */
};

/*
 * By the action of the page's rule. `waits`: the vCPU stands still until the answer. It does not for
 * what a hypercall has accessed: that is over.
 */
struct decision decide(enum action action, bool waits);

#endif
