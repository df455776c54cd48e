/* Two circular lists become one. */
#include "rmap.h"

void rmap_join(const struct phys *phys, rmap_t *to, rmap_t *from)
{
    if (*from != 0 && *to != 0) {
        struct rmap_link *a = rmap_link_of(phys, *from), *b = rmap_link_of(phys, *to);
        rmap_t            oldest_from = a->prev, oldest_to = b->prev;

        rmap_link_of(phys, oldest_from)->next = *to;
        b->prev = oldest_from;
        rmap_link_of(phys, oldest_to)->next = *from;
        a->prev = oldest_to;
    }
    if (*from != 0)
        *to = *from;
    *from = 0;
}
