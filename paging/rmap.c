/* Circular doubly linked lists of entries. */
#include "rmap.h"

struct link {
    rmap_t next, prev;
};
_Static_assert(512 * sizeof(struct link) == PAGE_SIZE, "the links of a table fill a frame");

static struct link *link_of(const struct phys *phys, rmap_t e)
{
    struct link *links = phys_ptr(phys, mfn_of(rmap_table(e).raw + 1));

    return &links[rmap_index(e)];
}

rmap_t rmap_next(const struct phys *phys, rmap_t e)
{
    return link_of(phys, e)->next;
}

rmap_t rmap_prev(const struct phys *phys, rmap_t e)
{
    return link_of(phys, e)->prev;
}

void rmap_add(const struct phys *phys, rmap_t *head, rmap_t e)
{
    struct link *l = link_of(phys, e);

    if (*head == 0) {
        *l = (struct link){ e, e };
    } else {
        struct link *newest = link_of(phys, *head);

        *l = (struct link){ .next = *head, .prev = newest->prev };
        link_of(phys, newest->prev)->next = e;
        newest->prev = e;
    }
    *head = e;
}

void rmap_remove(const struct phys *phys, rmap_t *head, rmap_t e)
{
    const struct link *l = link_of(phys, e);

    if (l->next == e) {
        *head = 0;
        return;
    }
    link_of(phys, l->next)->prev = l->prev;
    link_of(phys, l->prev)->next = l->next;
    if (*head == e)
        *head = l->next;
}

void rmap_join(const struct phys *phys, rmap_t *to, rmap_t *from)
{
    if (*from != 0 && *to != 0) {
        struct link *a = link_of(phys, *from), *b = link_of(phys, *to);
        rmap_t       oldest_from = a->prev, oldest_to = b->prev;

        link_of(phys, oldest_from)->next = *to;
        b->prev = oldest_from;
        link_of(phys, oldest_to)->next = *from;
        a->prev = oldest_to;
    }
    if (*from != 0)
        *to = *from;
    *from = 0;
}
