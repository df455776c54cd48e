/*
 * A PV domain is switched to shadows of its tables and back: doc/direct.md, "Shadow mode".
 *
 *     on its own ──► filling ──► shadowed ──► emptying ──► on its own
 *
 * The pool of our tables is there from the first step of filling to the last of emptying, and
 * d->paging with it while paging_ready says so. No vCPU is in the guest when anything here is
 * called; which tables it has next is asked at its next entry.
 */
#include "hv/domain_pool.h"
#include "hv/guest.h"
#include "hv/pv.h"

/* What a step may do: below 100,000 instructions. */
#define ENTRIES_PER_STEP 128

/* The pool is full enough: from now on its vCPUs need roots of ours. */
static bool begin(struct domain *d)
{
    if (!paging_pv_init(&d->paging, &machine_phys, d->id, machine_guest_features(),
                        pv_machine.slots))
        return false;
    for (unsigned i = 0; i < d->nr_vcpus; i++)
        paging_vcpu_init(&d->paging, &d->vcpu[i]->paging, MFN_NONE); /* never a root of PAE */
    d->paging_ready = true;
    d->pv->mode = PV_SHADOWED;
    d->pv->direct.shadowed = true;
    pv_edge_mode_changed(d);
    return true;
}

static enum pv_shadow_result fill(struct domain *d)
{
    enum domain_pool_result result = domain_pool_grow(d, domain_pool_of_shadows(&d->config));

    if (result == DOMAIN_POOL_AGAIN)
        return PV_SHADOW_AGAIN;
    if (result == DOMAIN_POOL_DONE && begin(d))
        return PV_SHADOW_DONE;
    d->pv->mode = PV_EMPTYING;
    return PV_SHADOW_NO_MEMORY;
}

enum pv_shadow_result pv_shadow_on_step(struct domain *d)
{
    switch ((enum pv_mode)d->pv->mode) {
    case PV_ON_ITS_OWN:
        pool_init(&d->paging.pool, &machine_phys, d->id);
        d->pv->mode = PV_FILLING;
        return fill(d);
    case PV_FILLING:
        return fill(d);
    case PV_EMPTYING:
        (void)!pv_shadow_work(d);
        return PV_SHADOW_AGAIN;
    case PV_SHADOWED:
        break;
    }
    return PV_SHADOW_DONE;
}

/* Every vCPU needs a root of the guest's at its next entry. */
static void leave(struct domain *d)
{
    if (d->pv->mode == PV_SHADOWED)
        paging_pv_leave(domain_lock(d));
    if (d->pv->mode != PV_ON_ITS_OWN)
        d->pv->mode = PV_EMPTYING;
}

void pv_shadow_off(struct domain *d)
{
    leave(d);
    d->pv->direct.shadowed = false;
    pv_edge_mode_changed(d);
}

/* True when nothing of ours is left. */
static bool empty(struct domain *d)
{
    if (d->paging_ready) {
        d->paging_ready = !paging_domain_reap(domain_lock(d), ENTRIES_PER_STEP);
        return false;
    }
    if (!domain_pool_drain(d))
        return false;
    d->pv->mode = PV_ON_ITS_OWN;
    return true;
}

bool pv_shadow_work(struct domain *d)
{
    if (d->pv->mode == PV_EMPTYING)
        return empty(d);
    if (d->pv->mode != PV_SHADOWED || d->paging.dead.head == 0)
        return true;
    (void)!paging_work(domain_lock(d), ENTRIES_PER_STEP);
    return false;
}

bool pv_shadow_release_step(struct domain *d)
{
    leave(d);
    return d->pv->mode == PV_ON_ITS_OWN || empty(d);
}

void pv_shadow_obey(struct domain *d, const struct direct_ask *ask)
{
    struct verdict verdict = ask->kind == DIRECT_ASK_UNSHADOW
                                 ? paging_pv_unshadow(domain_lock(d), ask->mfn)
                                 : paging_pv_follow(domain_lock(d), ask->mfn, ask->index);

    verdict_flush(d, &verdict);
}
