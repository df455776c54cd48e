/* Frames of other domains: see borrow.h. */
#include "shadow.h"

void paging_borrow(const struct phys *phys, struct borrow *b, uint16_t domain, mfn_t mfn)
{
    struct frame  *f = phys_frame(phys, mfn);
    struct borrow *first = borrow_of(f, domain);

    *b = (struct borrow){ .mfn = mfn, .domain = domain };
    if (first) {
        b->more = first->more;
        first->more = b;
    } else {
        b->next = f->guest.borrows;
        f->guest.borrows = b;
    }
}

void paging_give_back(const struct phys *phys, struct borrow *b)
{
    struct frame   *f = phys_frame(phys, b->mfn);
    struct borrow  *first = borrow_of(f, b->domain);
    struct borrow **link = &f->guest.borrows;

    if (first != b) {
        for (link = &first->more; *link != b;)
            link = &(*link)->more;
        *link = b->more;
        return;
    }
    while (*link != b)
        link = &(*link)->next;
    *link = b->next;
    if (b->more) {
        b->more->next = b->next;
        *link = b->more;
    }
}

struct verdict paging_borrow_unmap(struct paging_locked p, const struct borrow *b)
{
    struct change c = { .d = p.domain };

    if (!is_own(p.domain, phys_frame(p.domain->phys, b->mfn)) &&
        borrow_of(phys_frame(p.domain->phys, b->mfn), b->domain) == b)
        (void)!shadow_unmap(&c, b->mfn);
    return verdict_of(&c, VERDICT_RETRY);
}
