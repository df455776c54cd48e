/*
 * The page of a listener's ring, which is out of the guest's reach while somebody listens; see
 * vm_event.h.
 *
 *   a domain with a map of ours   the frame at HVM_PARAM_MONITOR_RING_PFN: the tool takes it out of the
 *                                 map, and it comes back when the listener goes
 *   a PV domain                   a frame of the listener's: what is the domain's own it can map by its
 *                                 number, whether or not it was taken away. The parameter names no
 *                                 frame, so that the tool wants one to be put there. A PV listener
 *                                 gets that at once, and its number; another one when it says where
 *                                 in its map it wants to see what has the parameter's number
 */
#include "hv/guest.h"
#include "hv/kind.h"
#include "hv/print.h"
#include "hv/vm_event.h"

mfn_t vm_event_page(const struct domain *d)
{
    gfn_t            gfn = gfn_of(d->hvm_param[HVM_PARAM_MONITOR_RING_PFN]);
    struct p2m_entry entry;

    if (d->pv != NULL)
        return d->pv->ring;
    if (gfn.raw == 0)
        return MFN_NONE;
    entry = p2m_get(&d->paging.p2m, gfn);
    return entry.type == P2M_RAM ? entry.mfn : MFN_NONE;
}

mfn_t vm_event_make_page(struct domain *d, struct domain *listener)
{
    mfn_t mfn;

    if (d->vm_event != NULL || listener->pv == NULL || listener == d)
        return MFN_NONE;
    if (mfn_valid(d->pv->ring))
        return d->pv->ring; /* another try */
    mfn = pv_allocate(listener, PV_PFN_NONE);
    if (!mfn_valid(mfn))
        return MFN_NONE;
    if (!pv_hold(listener, mfn)) {
        (void)!direct_release(&listener->pv->direct, mfn);
        return MFN_NONE;
    }
    return d->pv->ring = mfn;
}

/* It goes when its owner has unmapped it. */
static void drop_page(struct domain *d)
{
    mfn_t          mfn = d->pv->ring;
    struct domain *owner;

    if (!mfn_valid(mfn))
        return;
    owner = domain_by_id(phys_frame(&machine_phys, mfn)->owner);
    d->pv->ring = MFN_NONE;
    if (owner != NULL && owner->pv == NULL) {
        direct_take_back(&machine_phys, mfn);
        return;
    }
    BUG_ON(owner == NULL || !pv_unhold(owner, mfn));
    (void)!direct_release(&owner->pv->direct, mfn);
}

void vm_event_use_page(struct domain *d, mfn_t mfn)
{
    drop_page(d);
    direct_lend(&machine_phys, mfn);
    d->pv->ring = mfn;
}

bool vm_event_is_page(const struct domain *d, mfn_t mfn)
{
    return d->pv != NULL && mfn_valid(mfn) && mfn_eq(d->pv->ring, mfn);
}

/* It was in the map of a domain of ours, and is no more. */
static bool is_in_limbo(const struct domain *d, mfn_t mfn)
{
    for (unsigned i = 0; i < DOMAIN_LIMBO_MAX; i++)
        if (mfn_eq(d->limbo[i], mfn))
            return true;
    return false;
}

bool vm_event_is_mapped(const struct domain *d, mfn_t mfn)
{
    const struct domain *owner = domain_by_id(phys_frame(&machine_phys, mfn)->owner);

    if (d->pv == NULL)
        return direct_is_lent(&machine_phys, mfn);
    if (owner->pv == NULL)
        return !is_in_limbo(owner, mfn);
    return direct_holds(&machine_phys, mfn) > 1; /* ours is one */
}

/* Shadows that were only for the listener go with it. A PV guest's last step is always the first. */
static void take_shadows(struct domain *d)
{
    if (d->pv->watched && kind_refused(d, PAGED_DIRECT) == NULL)
        (void)!kind_change_step(d, PAGED_DIRECT);
    d->pv->watched = false;
}

void vm_event_give_back(struct domain *d, mfn_t mfn)
{
    gfn_t          gfn = gfn_of(d->hvm_param[HVM_PARAM_MONITOR_RING_PFN]);
    struct verdict verdict;

    if (d->pv != NULL) {
        drop_page(d);
        take_shadows(d);
        return;
    }
    /* The ring of a domain that dies stays as it is: its listener still reads it, and would find it full. */
    if (d->state == DOMAIN_DYING || p2m_get(&d->paging.p2m, gfn).type != P2M_HOLE)
        return;
    __builtin_memset(phys_ptr(&machine_phys, mfn), 0, PAGE_SIZE);
    do {
        verdict =
            paging_p2m_set(domain_lock(d), gfn, (struct p2m_entry){ .mfn = mfn, .type = P2M_RAM });
        verdict_flush(d, &verdict);
    } while (verdict.kind == VERDICT_RETRY && verdict.again);
    if (verdict.kind == VERDICT_CRASH)
        domain_crash(d, "%s", verdict.why);
}

void vm_event_end(struct domain *d)
{
    vm_event_disable(d);
    if (d->pv != NULL)
        drop_page(d);
    for (struct domain *of = domains; of != NULL; of = of->next) {
        if (of->pv == NULL || !mfn_valid(of->pv->ring) ||
            phys_frame(&machine_phys, of->pv->ring)->owner != d->id)
            continue;
        vm_event_disable(of);
        drop_page(of);
    }
}
