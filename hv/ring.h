/*
 * The PV console: a page shared with the guest that holds two rings of characters, `in`
 * (to the guest) and `out` (from it), and the hypervisor as its other end.
 *
 * The page is the guest's to write at any time. So our own two indices are kept here and
 * only published there; the guest's two are read once each time, with acquire order, and
 * must say that between nothing and a whole ring is filled. If they do not, the domain
 * loses its console and nothing else happens.
 */
#ifndef HV_RING_H
#define HV_RING_H

#include "hv/abi.h"
#include "paging/frame.h"

struct domain;

/* One end of the two rings. */
struct ring {
    struct xencons_interface *page;
    uint32_t                  out_cons, in_prod; /* ours */
};

struct ring_moved {
    size_t   count;   /* characters moved */
    bool     hostile; /* the indices made no sense; nothing was moved */
    bool     more;    /* ring_take: the ring holds more than was asked for */
    uint32_t guest;   /* the index that the guest showed */
};

/* Takes up to `size` characters that the guest wrote. */
must_check struct ring_moved ring_take(struct ring *ring, char *to, size_t size);

/* Gives the guest up to `count` characters, as many as there is room for. */
must_check struct ring_moved ring_give(struct ring *ring, const char *from, size_t count);

/*
 * Gives the domain a console on this page, which must not be given back before
 * ring_console_destroy, with `port` to tell it of changes. False: memory is short.
 */
must_check bool ring_console_init(struct domain *d, mfn_t page, unsigned port);

/* The guest has kicked its port: takes what it wrote, within a budget, and gives what it can. */
void ring_console_notify(struct domain *d);

/* Types characters into the console, as many as fit; returns how many. */
size_t ring_console_type(struct domain *d, const char *bytes, size_t count);

/* The domain has ended: prints all that it still has to say. */
void ring_console_finish(struct domain *d);

/* Gives everything back. Does nothing for a domain without console. */
void ring_console_destroy(struct domain *d);

#endif
