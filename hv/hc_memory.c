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
#include "hv/grant.h"
#include "hv/hc.h"
#include "hv/pvh.h"
#include "hv/shared.h"

static const struct p2m_entry hole = { .type = P2M_HOLE };

/* ---- taking frames back ---- */

static bool stays(const struct domain *d, mfn_t mfn)
{
    if (mfn_eq(mfn, d->shared_mfn) || mfn_eq(mfn, d->console_frame) || mfn_eq(mfn, d->store_frame))
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
    if (phys_frame(&machine_phys, mfn)->refs == 0)
        domain_free_frame(d, mfn);
    else
        *limbo_place(d) = mfn;
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

static bool gfn_in_range(uint64_t gfn)
{
    return gfn >> (P2M_BITS - PAGE_SHIFT) == 0;
}

/* Changes what is behind a gfn: 0, HC_AGAIN, or -EBUSY: frames have to be freed first. */
static int64_t replace(struct domain *d, gfn_t gfn, struct p2m_entry entry)
{
    struct p2m_entry old = p2m_get(&d->paging.p2m, gfn);
    bool             memory = old.type == P2M_RAM || old.type == P2M_ROM;

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
    result = replace(d, gfn, entry);
    if (result == 0)
        *where = gfn;
    return result;
}

static int64_t add_to_physmap(struct vcpu *v, uint64_t va)
{
    struct xen_add_to_physmap arg;
    struct domain            *d = v->domain;
    int64_t                   result;

    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    result = hc_own_domain(v, arg.domid);
    if (result != 0)
        return result;
    if (!gfn_in_range(arg.gpfn))
        return -XEN_EINVAL;
    if (arg.space == XENMAPSPACE_shared_info && arg.idx == 0)
        return place(d, d->shared_mfn, &d->shared_gfn, gfn_of(arg.gpfn));
    if (arg.space != XENMAPSPACE_grant_table || arg.idx >= DOMAIN_GRANT_FRAMES)
        return -XEN_EINVAL;
    if (!grant_grow(d, (unsigned)arg.idx + 1))
        return -XEN_ENOMEM;
    return place(d, d->grant_mfn[arg.idx], &d->grant_gfn[arg.idx], gfn_of(arg.gpfn));
}

static int64_t remove_from_physmap(struct vcpu *v, uint64_t va)
{
    struct xen_remove_from_physmap arg;
    int64_t                        result;

    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    result = hc_own_domain(v, arg.domid);
    if (result != 0)
        return result;
    if (!gfn_in_range(arg.gpfn) ||
        p2m_get(&v->domain->paging.p2m, gfn_of(arg.gpfn)).type == P2M_HOLE)
        return -XEN_ENOENT;
    return replace(v->domain, gfn_of(arg.gpfn), hole);
}

/* An entry of the BIOS's e820 call: 20 bytes, nothing between them. */
struct e820_entry {
    uint64_t addr, size;
    uint32_t type;
} __attribute__((packed));

static int64_t memory_map(struct vcpu *v, uint64_t va)
{
    struct xen_memory_map         arg;
    struct hvm_memmap_table_entry map[PVH_MAP_MAX];
    unsigned                      count = pvh_memory_map(v->domain, map);

    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    if (arg.nr_entries < count)
        return -XEN_EINVAL;
    for (unsigned i = 0; i < count; i++) {
        const struct e820_entry e = { map[i].addr, map[i].size, map[i].type };

        if (!guest_copy_out(v, hc_address(arg.buffer.p) + i * sizeof(e), &e, sizeof(e)))
            return -XEN_EFAULT;
    }
    arg.nr_entries = count;
    return guest_copy_out(v, va, &arg, sizeof(arg)) ? 0 : -XEN_EFAULT;
}

/* ---- more and less memory: single frames only ---- */

static int64_t take_away(struct domain *d, uint64_t *word)
{
    uint64_t gfn = *word;

    if (!gfn_in_range(gfn) || p2m_get(&d->paging.p2m, gfn_of(gfn)).type != P2M_RAM)
        return -XEN_EINVAL;
    return replace(d, gfn_of(gfn), hole);
}

static int64_t bring(struct domain *d, uint64_t *word)
{
    uint64_t         gfn = *word;
    struct p2m_entry entry = { .type = P2M_RAM };
    uint64_t         spoken_for = DOMAIN_GRANT_FRAMES - d->grant_frames;

    if (!gfn_in_range(gfn) || p2m_get(&d->paging.p2m, gfn_of(gfn)).type != P2M_HOLE ||
        d->pages + spoken_for >= d->max_pages)
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

/* The hypercall is made again, for the extents from `done` on. */
static int64_t goes_on(struct hypercall *h, uint64_t done)
{
    h->arg[0] = (h->arg[0] & ((1u << HC_EXTENT_SHIFT) - 1)) | done << HC_EXTENT_SHIFT;
    return HC_AGAIN;
}

int64_t hc_reservation(struct vcpu *v, struct hypercall *h, hc_extent *one, bool answers)
{
    struct xen_memory_reservation arg;
    uint64_t                      start = h->arg[0] >> HC_EXTENT_SHIFT, i;
    int64_t                       result;

    if (!guest_copy_in(v, &arg, h->arg[1], sizeof(arg)))
        return -XEN_EFAULT;
    result = hc_own_domain(v, arg.domid);
    if (result != 0)
        return result;
    if (arg.nr_extents > UINT64_MAX >> (HC_EXTENT_SHIFT + 1))
        return -XEN_EINVAL;
    if (arg.extent_order != 0)
        return (int64_t)start;
    for (i = start; i < arg.nr_extents; i++) {
        uint64_t va = hc_address(arg.extent_start.p) + i * sizeof(uint64_t), word;

        if (i != start && hc_preempt())
            return goes_on(h, i);
        if (!guest_copy_in(v, &word, va, sizeof(word)))
            break;
        result = one(v->domain, &word);
        if (result == HC_AGAIN)
            return goes_on(h, i);
        if (result != 0 || (answers && !guest_copy_out(v, va, &word, sizeof(word))))
            break;
    }
    return (int64_t)i;
}

static int64_t count_of(struct vcpu *v, uint64_t op, uint64_t va)
{
    const struct domain *d = v->domain;
    domid_t              id;
    int64_t              result;

    if (!guest_copy_in(v, &id, va, sizeof(id)))
        return -XEN_EFAULT;
    result = hc_own_domain(v, id);
    if (result != 0)
        return result;
    if (op == XENMEM_current_reservation)
        return (int64_t)d->pages;
    if (op == XENMEM_maximum_reservation)
        return (int64_t)d->max_pages;
    return (int64_t)pvh_last_gfn(d).raw; /* XENMEM_maximum_gpfn */
}

/* arg[0]: operation and extents done, arg[1]: its structure. */
int64_t hc_memory_op(struct vcpu *v, struct hypercall *h)
{
    uint64_t op = h->arg[0] & ((1u << HC_EXTENT_SHIFT) - 1);

    if (op != XENMEM_decrease_reservation && op != XENMEM_populate_physmap && op != h->arg[0])
        return -XEN_EINVAL;
    switch (op) {
    case XENMEM_add_to_physmap:
        return add_to_physmap(v, h->arg[1]);
    case XENMEM_remove_from_physmap:
        return remove_from_physmap(v, h->arg[1]);
    case XENMEM_memory_map:
        return memory_map(v, h->arg[1]);
    case XENMEM_decrease_reservation:
        return hc_reservation(v, h, take_away, false);
    case XENMEM_populate_physmap:
        return hc_reservation(v, h, bring, false);
    case XENMEM_maximum_ram_page:
        return (int64_t)machine_phys.frames - 1;
    case XENMEM_current_reservation:
    case XENMEM_maximum_reservation:
    case XENMEM_maximum_gpfn:
        return count_of(v, op, h->arg[1]);
    default:
        return -XEN_ENOSYS;
    }
}
