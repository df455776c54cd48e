/*
 * A new root begins with what another one has: the kernel's half is the same in all of them, and would
 * come back by a fault for each of its parts.
 */
#include "shadow.h"

#define SIBLINGS 4 /* roots that are looked at for one to copy from */

/* A root that another process has run on, by the same rules, and that is up to date; or none. */
static mfn_t sibling_of(const struct paging_domain *d, mfn_t table)
{
    const struct frame *f = shadow_of(d, table);
    uint32_t            next = d->roots.head;

    /* Without WP what an entry says depends on who needed it. */
    for (unsigned i = 0; i < SIBLINGS && next != 0 && (f->shadow.view & PT_VIEW_WP); i++) {
        const struct frame *other = &d->phys->frame[next];

        if (next != table.raw && other->shadow.level == f->shadow.level &&
            other->shadow.format == f->shadow.format && other->shadow.view == f->shadow.view &&
            other->shadow.key != SHADOW_KEY_NONE && !is_stale(d, other))
            return mfn_of(next);
        next = other->shadow.list_next;
    }
    return MFN_NONE;
}

static uint64_t guest_entry(const struct paging_domain *d, mfn_t guest, unsigned index)
{
    const pte_t *entries = phys_ptr(d->phys, guest);

    return __atomic_load_n(&entries[index].raw, __ATOMIC_RELAXED);
}

/* Where the guest's entries are the same, so are ours; no table is out of sync. */
static void copy_entries(struct change *c, mfn_t table, mfn_t guest, mfn_t sibling)
{
    mfn_t theirs = mfn_of(shadow_of(c->d, sibling)->shadow.key);

    for (unsigned i = entry_next(c->d, sibling, 0); i < 512 && c->work < CHANGE_BUDGET;
         i = entry_next(c->d, sibling, i + 1))
        if (guest_entry(c->d, guest, i) == guest_entry(c->d, theirs, i))
            entry_set(c, table, i, entry_get(c->d, sibling, i));
}

/*
 * A new top table gets at once what another root has built already: the kernel's half. It is
 * no more than saving faults, so it may stop early. While the monitor has rights, each link is made by
 * a fault, which asks whether the table may be read.
 */
void root_prelink(struct change *c, mfn_t table, mfn_t guest)
{
    mfn_t sibling;

    if (c->d->access.active)
        return;
    sibling = sibling_of(c->d, table);
    if (mfn_valid(sibling) && c->d->unsynced.head == 0) {
        copy_entries(c, table, guest, sibling);
        return;
    }
    for (unsigned i = 0; i < 512 && c->work < CHANGE_BUDGET; i++)
        if (guest_entry(c->d, guest, i) & PTE_P)
            sync_entry(c, table, i);
}
