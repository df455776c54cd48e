/*
 * Frames of other domains that a domain maps: what it was granted, or may map as a foreign domain's.
 *
 * The record of a frame has the lists of its owner's leaves only. Whoever else maps the frame brings a
 * record of his own with the same lists, and it stands on a chain of the frame's. So every leaf is on a
 * list that belongs to one domain, and whatever goes by the reverse map asks for the lists of a frame
 * in one way (mapped_of), its own frame or not.
 *
 * One domain may have several records of one frame, for each of its reasons to map it. One of them is
 * on the frame's chain and has all the leaves; the others hang on that one, so that the chain is as
 * long as there are domains. When the one goes, the leaves are taken back, and the next takes its place.
 *
 * What belongs to the frame itself (shadows, guards, dirty marks, types) is its owner's: others make no
 * tables of it, and are not stopped by the owner's.
 */
#ifndef PAGING_BORROW_H
#define PAGING_BORROW_H

#include "paging.h"

static inline bool is_own(const struct paging_domain *d, const struct frame *f)
{
    return f->owner == d->id;
}

/* The record by which a domain has borrowed a frame of another; NULL: it has not. */
static inline struct borrow *borrow_of(const struct frame *f, uint16_t domain)
{
    struct borrow *b = f->guest.borrows;

    while (b && b->domain != domain)
        b = b->next;
    return b;
}

/* The lists of the domain's leaves that map the frame; NULL: it is nothing of the domain's. */
static inline struct mapped *mapped_of(const struct paging_domain *d, struct frame *f)
{
    struct borrow *b;

    if (is_own(d, f))
        return &f->guest.mapped;
    b = borrow_of(f, d->id);
    return b ? &b->mapped : NULL;
}

#endif
