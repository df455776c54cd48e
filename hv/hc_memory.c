/*
 * memory_op: what a guest may do to its own memory map.
 *
 * Frames that we reach through the direct map (shared_info, the grant table, registered
 * vcpu_info, the console's and xenstore's pages) have a reference of ours. The guest may
 * take them out of its map, but they stay its memory until it is destroyed. Every other
 * frame that leaves the map is freed, after the TLBs were flushed, or waits in the domain's
 * limbo until no table of ours names it any more.
 */
#include "hv/build.h"
#include "hv/control.h"
#include "hv/domain_pool.h"
#include "hv/foreign.h"
#include "hv/grant.h"
#include "hv/hc_foreign.h"
#include "hv/pv.h"
#include "hv/pvh.h"
#include "hv/shared.h"
#include "hv/vm_event.h"

static const struct p2m_entry hole = { .type = P2M_HOLE };

/* ---- taking frames back ---- */

static bool stays(const struct domain *d, mfn_t mfn)
{
    if (mfn_eq(mfn, d->shared_mfn) || mfn_eq(mfn, d->console_frame) ||
        mfn_eq(mfn, d->store_frame) || vm_event_holds(d, mfn))
        return true;
    for (unsigned i = 0; i < d->grant_frames; i++)
        if (mfn_eq(mfn, d->grant_mfn[i]))
            return true;
    for (unsigned i = 0; i < d->nr_vcpus; i++)
        if (mfn_eq(mfn, d->vcpu[i]->info_mfn))
            return true;
    return false;
}

/* A free place in limbo, NULL if there is none. */
static mfn_t *limbo_place(struct domain *d)
{
    for (unsigned i = 0; i < DOMAIN_LIMBO_MAX; i++)
        if (!mfn_valid(d->limbo[i]))
            return &d->limbo[i];
    return NULL;
}

bool hc_memory_settle(struct domain *d)
{
    bool empty = true;

    for (unsigned i = 0; i < DOMAIN_LIMBO_MAX; i++) {
        if (!mfn_valid(d->limbo[i]))
            continue;
        if (phys_frame(&machine_phys, d->limbo[i])->refs != 0) {
            empty = false;
            continue;
        }
        pv_forget(d->limbo[i]);
        domain_free_frame(d, d->limbo[i]);
        d->limbo[i] = MFN_NONE;
    }
    return empty;
}

/* The frame has left the map, and no TLB knows it. The caller has seen a place in limbo. */
static void give_up(struct domain *d, mfn_t mfn)
{
    if (stays(d, mfn))
        return;
    if (phys_frame(&machine_phys, mfn)->refs == 0) {
        pv_forget(mfn);
        domain_free_frame(d, mfn);
    } else {
        *limbo_place(d) = mfn;
    }
}

/* False: not finished, the hypercall is to be made again. */
static bool set_entry(struct domain *d, gfn_t gfn, struct p2m_entry entry)
{
    struct verdict verdict = paging_p2m_set(domain_lock(d), gfn, entry);

    shared_apply(d, &verdict);
    return !verdict.again;
}

/* A special frame that stood at this gfn stands there no more. */
static void forget_place(struct domain *d, gfn_t gfn)
{
    if (gfn_eq(d->shared_gfn, gfn))
        d->shared_gfn = GFN_NONE;
    for (unsigned i = 0; i < DOMAIN_GRANT_FRAMES; i++)
        if (gfn_eq(d->grant_gfn[i], gfn))
            d->grant_gfn[i] = GFN_NONE;
}

int64_t hc_memory_withdraw(struct domain *d, gfn_t gfn, mfn_t mfn)
{
    struct p2m_entry entry = p2m_get(&d->paging.p2m, gfn);

    if (!p2m_is_borrowed(entry.type) || !mfn_eq(entry.mfn, mfn) || set_entry(d, gfn, hole))
        return 0;
    return HC_AGAIN;
}

static bool gfn_in_range(uint64_t gfn)
{
    return gfn >> (P2M_BITS - PAGE_SHIFT) == 0;
}

int64_t hc_memory_replace(struct domain *d, gfn_t gfn, struct p2m_entry entry)
{
    struct p2m_entry old = p2m_get(&d->paging.p2m, gfn);
    bool             memory = old.type == P2M_RAM || old.type == P2M_ROM;

    if (p2m_is_borrowed(old.type))
        return -XEN_EPERM; /* who has borrowed it gives it back */
    if (memory && !hc_memory_settle(d) && limbo_place(d) == NULL)
        return -XEN_EBUSY;
    if (!set_entry(d, gfn, entry))
        return HC_AGAIN;
    if (d->state == DOMAIN_CRASHED)
        return 0; /* the map is as it was or as it should be: leave the frames alone */
    forget_place(d, gfn);
    if (memory)
        give_up(d, old.mfn);
    return 0;
}

/* ---- the map ---- */

/* Where the guest sees a frame of ours; NULL: it is none of those that have a place. */
static gfn_t *place_of(struct domain *d, mfn_t mfn)
{
    if (mfn_eq(mfn, d->shared_mfn))
        return &d->shared_gfn;
    for (unsigned i = 0; i < d->grant_frames; i++)
        if (mfn_eq(mfn, d->grant_mfn[i]))
            return &d->grant_gfn[i];
    return NULL;
}

/* What is behind `from` is behind `to` instead, and what was there is given up first. */
static int64_t move(struct domain *d, gfn_t from, gfn_t to)
{
    struct p2m_entry source = p2m_get(&d->paging.p2m, from);
    struct verdict   verdict;
    gfn_t           *place = place_of(d, source.mfn);
    int64_t          result = 0;

    if (source.type != P2M_RAM && source.type != P2M_ROM)
        return -XEN_EINVAL;
    if (gfn_eq(from, to))
        return 0;
    if (p2m_get(&d->paging.p2m, to).type != P2M_HOLE)
        result = hc_memory_replace(d, to, hole);
    if (result != 0 || d->state == DOMAIN_CRASHED)
        return result;
    verdict = paging_p2m_move(domain_lock(d), from, to);
    shared_apply(d, &verdict);
    if (verdict.again)
        return HC_AGAIN;
    if (d->state != DOMAIN_CRASHED && place != NULL)
        *place = to;
    return 0;
}

/* Puts a frame of ours where the guest wants to see it, and only there. */
static int64_t place(struct domain *d, mfn_t mfn, gfn_t *where, gfn_t gfn)
{
    const struct p2m_entry entry = { .mfn = mfn, .type = P2M_RAM };
    int64_t                result;

    if (gfn_eq(*where, gfn))
        return 0;
    if (!gfn_eq(*where, GFN_NONE)) {
        if (!set_entry(d, *where, hole))
            return HC_AGAIN;
        *where = GFN_NONE;
    }
    result = hc_memory_replace(d, gfn, entry);
    if (result == 0)
        *where = gfn;
    return result;
}

/*
 * The ring of a listener to a PV domain: memory of the listener's own, beyond what it may have else,
 * and no more of it than there are such domains.
 */
static int64_t bring_ring(struct domain *d, struct domain *watched, gfn_t gfn)
{
    struct p2m_entry entry = { .type = P2M_RAM };
    int64_t          result = vm_event_is_on(watched) ? -XEN_EBUSY : foreign_unmap(d, gfn);

    if (result != 0)
        return result;
    if (domain_pool_least(d, 1) > d->paging.pool.total)
        return -XEN_ENOMEM;
    entry.mfn = domain_alloc_frame(d);
    if (!mfn_valid(entry.mfn))
        return -XEN_ENOMEM;
    result = hc_memory_replace(d, gfn, entry);
    if (!mfn_eq(p2m_get(&d->paging.p2m, gfn).mfn, entry.mfn)) {
        domain_free_frame(d, entry.mfn);
        return result;
    }
    vm_event_use_page(watched, entry.mfn);
    return result;
}

/* One page of a mapping space; `owner`: of a foreign frame, NULL if that is DOMID_XEN's. */
static int64_t add_page(struct domain *d, unsigned space, struct domain *owner, uint64_t index,
                        uint64_t gfn)
{
    struct foreign_frame frame;

    if (!gfn_in_range(gfn))
        return -XEN_EINVAL;
    switch (space) {
    case XENMAPSPACE_gmfn_foreign:
        if (owner != NULL && owner->pv != NULL && index == VM_EVENT_PV_PFN)
            return bring_ring(d, owner, gfn_of(gfn));
        if (foreign_find(owner, index, &frame) != 0)
            return -XEN_EINVAL;
        return foreign_map(d, gfn_of(gfn), frame);
    case XENMAPSPACE_shared_info:
        return index == 0 ? place(d, d->shared_mfn, &d->shared_gfn, gfn_of(gfn)) : -XEN_EINVAL;
    case XENMAPSPACE_grant_table:
        if (index >= DOMAIN_GRANT_FRAMES)
            return -XEN_EINVAL;
        if (!grant_grow(d, (unsigned)index + 1))
            return -XEN_ENOMEM;
        return place(d, d->grant_mfn[index], &d->grant_gfn[index], gfn_of(gfn));
    case XENMAPSPACE_gmfn:
    case XENMAPSPACE_gmfn_range:
        return gfn_in_range(index) ? move(d, gfn_of(index), gfn_of(gfn)) : -XEN_EINVAL;
    default:
        return -XEN_EINVAL;
    }
}

/* The hypercall is made again, for what comes from `done` on. */
static int64_t goes_on(struct hypercall *h, uint64_t done)
{
    h->arg[0] = (h->arg[0] & ((1u << HC_EXTENT_SHIFT) - 1)) | done << HC_EXTENT_SHIFT;
    return HC_AGAIN;
}

static int64_t add_to_physmap(struct vcpu *v, struct hypercall *h)
{
    struct xen_add_to_physmap arg;
    uint64_t                  start = h->arg[0] >> HC_EXTENT_SHIFT;
    int64_t                   result;

    if (!guest_copy_in(v, &arg, h->arg[1], sizeof(arg)))
        return -XEN_EFAULT;
    result = hc_own_domain(v, arg.domid);
    if (result != 0)
        return result;
    if (arg.space == XENMAPSPACE_gmfn_foreign)
        return -XEN_ENOSYS; /* the batch alone says whose */
    if (arg.space != XENMAPSPACE_gmfn_range)
        return add_page(v->domain, arg.space, NULL, arg.idx, arg.gpfn);
    for (uint64_t i = start; i < arg.size; i++) {
        if (i != start && hc_preempt())
            return goes_on(h, i);
        result = add_page(v->domain, arg.space, NULL, arg.idx + i, arg.gpfn + i);
        if (result == HC_AGAIN)
            return goes_on(h, i);
        if (result != 0 || v->domain->state == DOMAIN_CRASHED)
            return result;
    }
    return 0;
}

/* Others' memory, and what DOMID_XEN has of it, is for the control domain. */
static int64_t check_batch(struct vcpu *v, const struct xen_add_to_physmap_batch *arg,
                           struct domain **owner)
{
    int64_t result = hc_own_domain(v, arg->domid);

    if (result != 0)
        return result;
    if (arg->space == XENMAPSPACE_gmfn_foreign && domain_is_control(v->domain) &&
        arg->u.foreign_domid == DOMID_XEN)
        return 0;
    if (arg->space == XENMAPSPACE_gmfn_foreign) {
        result = hc_target(v, arg->u.foreign_domid, owner);
        return result == 0 && *owner == v->domain ? -XEN_EINVAL : result;
    }
    return arg->space == XENMAPSPACE_gmfn_range || arg->u.res0 != 0 ? -XEN_EINVAL : 0;
}

/* Each page has an index, a place, and its own error. */
static int64_t add_to_physmap_batch(struct vcpu *v, struct hypercall *h)
{
    struct xen_add_to_physmap_batch arg;
    uint64_t                        start = h->arg[0] >> HC_EXTENT_SHIFT;
    struct domain                  *owner = NULL;
    int64_t                         result;

    if (!guest_copy_in(v, &arg, h->arg[1], sizeof(arg)))
        return -XEN_EFAULT;
    result = check_batch(v, &arg, &owner);
    if (result != 0)
        return result;
    for (uint64_t i = start; i < arg.size; i++) {
        uint64_t index, gfn;
        int32_t  error;

        if (i != start && hc_preempt())
            return goes_on(h, i);
        if (!guest_copy_in(v, &index, hc_address(arg.idxs.p) + i * sizeof(index), sizeof(index)) ||
            !guest_copy_in(v, &gfn, hc_address(arg.gpfns.p) + i * sizeof(gfn), sizeof(gfn)))
            return -XEN_EFAULT;
        result = add_page(v->domain, arg.space, owner, index, gfn);
        if (result == HC_AGAIN)
            return goes_on(h, i);
        error = (int32_t)result;
        if (!guest_copy_out(v, hc_address(arg.errs.p) + i * sizeof(error), &error, sizeof(error)))
            return -XEN_EFAULT;
    }
    return 0;
}

static int64_t remove_from_physmap(struct vcpu *v, uint64_t va)
{
    struct xen_remove_from_physmap arg;
    enum p2m_type                  old;
    int64_t                        result;

    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    result = hc_own_domain(v, arg.domid);
    if (result != 0)
        return result;
    if (!gfn_in_range(arg.gpfn))
        return -XEN_ENOENT;
    old = p2m_get(&v->domain->paging.p2m, gfn_of(arg.gpfn)).type;
    if (old == P2M_HOLE)
        return -XEN_ENOENT;
    if (p2m_is_foreign(old))
        return foreign_unmap(v->domain, gfn_of(arg.gpfn));
    return hc_memory_replace(v->domain, gfn_of(arg.gpfn), hole);
}

int64_t hc_memory_map(struct vcpu *v, uint64_t va)
{
    const struct domain  *d = v->domain;
    struct xen_memory_map arg;

    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    if (arg.nr_entries < d->map_entries)
        return -XEN_EINVAL;
    arg.nr_entries = d->map_entries;
    if (!guest_copy_out(v, hc_address(arg.buffer.p), d->map, d->map_entries * sizeof(d->map[0])) ||
        !guest_copy_out(v, va, &arg, sizeof(arg)))
        return -XEN_EFAULT;
    return 0;
}

/* ---- more and less memory ---- */

#define BLOCK_ORDER     9
#define BLOCK_FRAMES    (UINT64_C(1) << BLOCK_ORDER)
#define CLEARED_AT_ONCE 16 /* frames */

/* Extents of a guest may have 2 MiB; larger ones are refused. */
static hc_extent take_away, bring, bring_block;

static const struct hc_reservation_way mapped_way[] = {
    [HC_TAKE] = { .one = take_away, .order_max = BLOCK_ORDER },
    [HC_BRING] = { .one = bring, .block = bring_block, .order_max = BLOCK_ORDER },
};

static int64_t take_away(struct domain *d, uint64_t *word)
{
    uint64_t gfn = *word;

    if (!gfn_in_range(gfn) || p2m_get(&d->paging.p2m, gfn_of(gfn)).type != P2M_RAM)
        return -XEN_EINVAL;
    return hc_memory_replace(d, gfn_of(gfn), hole);
}

/* It may have so many frames more, and its pool is large enough for the map of them. */
static bool may_have(const struct domain *d, uint64_t frames)
{
    uint64_t spoken_for = DOMAIN_GRANT_FRAMES - d->grant_frames;

    return d->pages + spoken_for + frames <= d->max_pages &&
           domain_pool_least(d, frames) <= d->paging.pool.total;
}

static int64_t bring(struct domain *d, uint64_t *word)
{
    uint64_t         gfn = *word;
    struct p2m_entry entry = { .type = P2M_RAM };

    if (!gfn_in_range(gfn) || p2m_get(&d->paging.p2m, gfn_of(gfn)).type != P2M_HOLE ||
        !may_have(d, 1))
        return -XEN_EINVAL;
    entry.mfn = domain_alloc_frame(d);
    if (!mfn_valid(entry.mfn))
        return -XEN_ENOMEM;
    if (!set_entry(d, gfn_of(gfn), entry)) {
        domain_free_frame(d, entry.mfn);
        return HC_AGAIN;
    }
    return d->state == DOMAIN_CRASHED ? -XEN_EINVAL : 0;
}

/*
 * 2 MiB in one piece, so that one leaf of ours can map them. They are the domain's from the start, and
 * cleared in steps; what is left of them when nobody goes on serves the next who asks.
 */
static int64_t bring_block(struct domain *d, uint64_t *word)
{
    struct p2m_entry entry = { .type = P2M_RAM, .order = BLOCK_ORDER };
    uint64_t         gfn = *word;

    if (!gfn_in_range(gfn) || p2m_holes(&d->paging.p2m, gfn_of(gfn)) < BLOCK_FRAMES)
        return -XEN_EINVAL;
    if (!mfn_valid(d->block)) {
        if (!may_have(d, BLOCK_FRAMES))
            return -XEN_EINVAL;
        d->block = domain_alloc_block(d, BLOCK_ORDER);
        d->block_cleared = 0;
        if (!mfn_valid(d->block))
            return -XEN_ENOMEM;
    }
    for (uint64_t start = d->block_cleared; d->block_cleared < BLOCK_FRAMES;
         d->block_cleared += CLEARED_AT_ONCE) {
        if (d->block_cleared != start && hc_preempt())
            return HC_AGAIN;
        __builtin_memset(phys_ptr(&machine_phys, mfn_of(d->block.raw + d->block_cleared)), 0,
                         CLEARED_AT_ONCE * PAGE_SIZE);
    }
    entry.mfn = d->block;
    if (!set_entry(d, gfn_of(gfn), entry))
        return HC_AGAIN;
    d->block = MFN_NONE;
    return d->state == DOMAIN_CRASHED ? -XEN_EINVAL : 0;
}

/* The way's 2 MiB at once, where that can be; else one frame. *frames: how many it was about. */
static int64_t one_step(struct domain *d, const struct hc_reservation_way *way, unsigned order,
                        uint64_t within, uint64_t *word, uint64_t *frames)
{
    int64_t result;

    *frames = 1;
    if (order == BLOCK_ORDER && way->block != NULL && within == 0 && *word % BLOCK_FRAMES == 0) {
        result = way->block(d, word);
        if (result != -XEN_ENOMEM) {
            *frames = BLOCK_FRAMES;
            return result;
        }
    }
    *word += within;
    return way->one(d, word);
}

int64_t hc_reservation(struct vcpu *v, struct hypercall *h, enum hc_change change)
{
    const struct hc_reservation_way *way;
    struct xen_memory_reservation    arg;
    uint64_t                         start = h->arg[0] >> HC_EXTENT_SHIFT, frames, i;
    struct domain                   *d;
    int64_t                          result;

    if (!guest_copy_in(v, &arg, h->arg[1], sizeof(arg)))
        return -XEN_EFAULT;
    result = hc_target(v, arg.domid, &d);
    if (result != 0)
        return result;
    if (d->pv == NULL)
        way = &mapped_way[change];
    else
        way = d == v->domain ? &hc_pv_way[change] : &hc_pv_other_way[change];
    if (arg.extent_order > way->order_max)
        return 0;
    if (arg.nr_extents > UINT64_MAX >> (HC_EXTENT_SHIFT + 1 + way->order_max))
        return -XEN_EINVAL;
    for (i = start; i < arg.nr_extents << arg.extent_order; i += frames) {
        uint64_t extent = i >> arg.extent_order, word;
        uint64_t va = hc_address(arg.extent_start.p) + extent * sizeof(word);

        if (i != start && hc_preempt())
            return goes_on(h, i);
        if (!guest_copy_in(v, &word, va, sizeof(word)))
            break;
        result =
            one_step(d, way, arg.extent_order, i - (extent << arg.extent_order), &word, &frames);
        if (result == HC_AGAIN)
            return goes_on(h, i);
        if (result != 0 || (way->answers && !guest_copy_out(v, va, &word, sizeof(word))))
            break;
    }
    return (int64_t)(i >> arg.extent_order);
}

/* As a PV guest's kernel says, if that can be. */
static int64_t last_pfn(const struct domain *d)
{
    const struct shared_info *info = phys_ptr(&machine_phys, d->shared_mfn);
    uint64_t                  end = __atomic_load_n(&info->arch.max_pfn, __ATOMIC_RELAXED);

    return (int64_t)(end != 0 && end <= machine_phys.frames ? end : d->pages) - 1;
}

int64_t hc_count_of(struct vcpu *v, uint64_t op, uint64_t va)
{
    struct domain *d;
    domid_t        id;
    int64_t        result;

    if (!guest_copy_in(v, &id, va, sizeof(id)))
        return -XEN_EFAULT;
    result = hc_target(v, id, &d);
    if (result != 0)
        return result;
    if (op == XENMEM_current_reservation)
        return (int64_t)d->pages;
    if (op == XENMEM_maximum_reservation)
        return (int64_t)d->max_pages;
    if (d->pv != NULL)
        return last_pfn(d);                                             /* XENMEM_maximum_gpfn */
    return d->paging.p2m.end != 0 ? (int64_t)d->paging.p2m.end - 1 : 0; /* also while it has none */
}

/* How far the call has come stands in the operation's word: only these take several runs. */
static bool takes_several(uint64_t op)
{
    return op == XENMEM_decrease_reservation || op == XENMEM_populate_physmap ||
           op == XENMEM_add_to_physmap || op == XENMEM_add_to_physmap_batch ||
           op == XENMEM_access_op;
}

/* arg[0]: operation and what is done of it, arg[1]: its structure. */
int64_t hc_memory_op(struct vcpu *v, struct hypercall *h)
{
    uint64_t op = h->arg[0] & ((1u << HC_EXTENT_SHIFT) - 1);

    if (!takes_several(op) && op != h->arg[0])
        return -XEN_EINVAL;
    switch (op) {
    case XENMEM_add_to_physmap:
        return add_to_physmap(v, h);
    case XENMEM_add_to_physmap_batch:
        return add_to_physmap_batch(v, h);
    case XENMEM_remove_from_physmap:
        return remove_from_physmap(v, h->arg[1]);
    case XENMEM_memory_map:
        return hc_memory_map(v, h->arg[1]);
    case XENMEM_decrease_reservation:
        return hc_reservation(v, h, HC_TAKE);
    case XENMEM_populate_physmap:
        return hc_reservation(v, h, HC_BRING);
    case XENMEM_access_op:
        return hc_access_op(v, h);
    case XENMEM_acquire_resource:
        return hc_acquire_resource(v, h->arg[1]);
    case XENMEM_set_memory_map:
        return hc_set_memory_map(v, h->arg[1]);
    case XENMEM_claim_pages:
        return hc_claim_pages(v, h->arg[1]);
    case XENMEM_machphys_mfn_list:
        return hc_machphys_mfn_list(v, h->arg[1]);
    case XENMEM_exchange:      /* memory.h: "only PV guests can use this" */
    case XENMEM_get_vnumainfo: /* there is one node */
        return -XEN_EOPNOTSUPP;
    case XENMEM_maximum_ram_page:
        return (int64_t)machine_phys.frames - 1;
    case XENMEM_current_reservation:
    case XENMEM_maximum_reservation:
    case XENMEM_maximum_gpfn:
        return hc_count_of(v, op, h->arg[1]);
    default:
        return -XEN_ENOSYS;
    }
}
