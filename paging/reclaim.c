/*
 * Memory comes back: dead tables are taken apart, and tables that live are let go when the pool
 * is short, the least useful first. Everything is done in steps, so that it can stop anywhere
 * and go on when it is called again; while a fault waits for memory its vCPU executes nothing.
 */
#include "shadow.h"

/* Entries of dead tables between two looks at the pool. */
#define REAP_STEP 32
/* Looking for the entries of a table takes as long as clearing so many. */
#define TABLE_WORK 2

bool shadow_reap(struct paging_domain *d, unsigned *budget)
{
    while (d->dead.tail != 0) {
        mfn_t         table = mfn_of(d->dead.tail);
        struct frame *f = shadow_of(d, table);
        struct change quiet = { .d = d }; /* what loses rights here was unlinked and flushed */

        while (f->shadow.used > 0) {
            f->shadow.cursor = (uint16_t)entry_next(d, table, f->shadow.cursor);
            if (*budget == 0)
                return false;
            --*budget;
            entry_set(&quiet, table, f->shadow.cursor, PTE_EMPTY);
        }
        if (*budget == 0)
            return false;
        *budget -= *budget < TABLE_WORK ? *budget : TABLE_WORK;
        list_remove(d->phys, &d->dead, table);
        if (has_slots(d, f))
            pool_put_pair(&d->pool, table);
        else
            pool_put_empty_pair(&d->pool, table);
        d->stats.freed++;
        d->stats.shadows--;
    }
    return true;
}

static void reap_some(struct change *c)
{
    unsigned left = REAP_STEP;

    (void)!shadow_reap(c->d, &left);
    c->work += REAP_STEP - left;
}

static bool drop_last(struct change *c, const struct shadow_list *list)
{
    c->work++;
    return shadow_drop(c, mfn_of(shadow_of(c->d, mfn_of(list->tail))->shadow.key));
}

/*
 * One step towards letting go of all that is not in use; false: nothing is left, or it must stop.
 * A root in use only loses its pin.
 */
static bool let_go_some(struct change *c)
{
    struct paging_domain *d = c->d;

    if (d->dead.tail != 0) {
        reap_some(c);
        return true;
    }
    if (d->idle.tail != 0)
        return drop_last(c, &d->idle);
    if (d->roots.tail != 0) {
        mfn_t root = mfn_of(d->roots.tail);

        d->stats.reclaimed++;
        root_forget(c, root);
        shadow_unpin(c, root);
        c->work++;
        return true;
    }
    return d->unsynced.tail != 0 && drop_last(c, &d->unsynced);
}

/* One step towards more memory; false: there is none, or it must stop. */
static bool reclaim(struct change *c)
{
    return let_go_some(c) || (c->work < CHANGE_BUDGET && root_unhook(c));
}

bool shadow_reserve(struct change *c, unsigned pairs)
{
    while (c->d->pool.free_pairs < pairs)
        if (must_stop(c) || !reclaim(c))
            return false;
    return true;
}

/* A fault, or a change of the p2m by which every vCPU loses its root. */
static unsigned pairs_of_one_operation(const struct paging_domain *d)
{
    unsigned pairs = FAULT_PAIRS + ROOT_PAIRS;

    for (const struct paging_vcpu *v = d->vcpus; v; v = v->next)
        pairs++;
    return pairs;
}

struct verdict paging_pool_spare(struct paging_locked p, unsigned pairs, bool *ready)
{
    struct change c = { .d = p.domain };

    *ready = shadow_reserve(&c, pairs + pairs_of_one_operation(p.domain));
    return verdict_of(&c, VERDICT_RETRY);
}

/* ---- the end ---- */

/* Nobody runs any more: every table loses what keeps it, the rest is the reaper's. */
static bool let_go(struct paging_domain *d)
{
    struct change c = { .d = d };

    for (; d->vcpus; d->vcpus = d->vcpus->next) {
        paging_guard_set((struct paging_locked){ d }, d->vcpus, NULL);
        root_release_all(&c, d->vcpus);
    }
    while (d->unsynced.tail != 0)
        if (!drop_last(&c, &d->unsynced))
            return false;
    while (d->idle.tail != 0)
        if (!drop_last(&c, &d->idle))
            return false;
    while (d->roots.tail != 0) {
        if (must_stop(&c))
            return false;
        c.work++;
        shadow_unpin(&c, mfn_of(d->roots.tail));
    }
    if (mfn_valid(d->direct))
        shadow_put(&c, d->direct);
    d->direct = MFN_NONE;
    return true;
}

bool paging_domain_reap(struct paging_locked p, unsigned budget)
{
    struct paging_domain *d = p.domain;

    if (!d->all_dead) {
        permit_close_all(d);
        d->all_dead = let_go(d);
        return false;
    }
    return shadow_reap(d, &budget) && access_reap(&d->access, budget / 64 + 1) &&
           p2m_reap(&d->p2m, budget / 64 + 1);
}

/* Under nested paging all shadows are left from before, and nothing leads to them: see kind.c. */
bool paging_work(struct paging_locked p, unsigned budget)
{
    struct change c = { .d = p.domain };

    if (!shadow_reap(p.domain, &budget))
        return false;
    return p.domain->kind == PAGING_SHADOW || !(let_go_some(&c) || c.again);
}
