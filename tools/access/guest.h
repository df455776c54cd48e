/* The domain watched, by Debian's libxenctrl: who it is, its rights, and where its tables lead. */
#ifndef TOOLS_ACCESS_GUEST_H
#define TOOLS_ACCESS_GUEST_H

#include <xenctrl.h>
#include <xenforeignmemory.h>

#include "tools/access/arguments.h"
#include "tools/access/symbols.h"

struct guest {
    xc_interface            *xc;
    xenforeignmemory_handle *memory;
    uint32_t                 domain;
    bool                     pv;
    uint64_t                 shared_info; /* a PV guest's, a machine frame */
};

/* Prints what was refused, why, and what can be done about it; gives false. */
bool guest_refused(const struct guest *g, const char *what);

/* False, and a message is printed: the domain is not there, or this is not the control domain. */
bool guest_open(struct guest *g, uint32_t domain);
void guest_close(struct guest *g);

/* Whether the domain is there and has not ended. */
bool guest_runs(const struct guest *g);

/* Sets the frames of rules that name symbols. False, and a message is printed, if one is not found. */
bool guest_resolve(const struct guest *g, struct rules *rules, const struct symbols *symbols);

/* Sets rights of frames of their own; those by default, of all frames that have none. */
bool guest_set_rights(const struct guest *g, uint64_t first, uint64_t count, uint8_t rights);
bool guest_set_default(const struct guest *g, uint8_t rights);

#endif
