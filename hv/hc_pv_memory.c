/*
 * memory_op of PV guests: frames are machine frames, and where the guest sees them is its own
 * affair. A frame that it gives back stays until no table and nobody else holds it any more.
 */
#include "hv/alloc.h"
#include "hv/build.h"
#include "hv/control.h"
#include "hv/hc.h"
#include "hv/hc_foreign.h"
#include "hv/pv.h"
#include "hv/vm_event.h"

#define M2P_END UINT64_C(0xffff804000000000) /* arch-x86/xen-x86_64.h */

static int64_t take_away(struct domain *d, uint64_t *mfn)
{
    if (direct_release(&d->pv->direct, mfn_of(*mfn)) != DIRECT_OK)
        return -XEN_EINVAL;
    (void)!pv_collect(); /* the rest is background work */
    return 0;
}

/* The word is the guest's frame number, and becomes the machine's. */
static int64_t bring(struct domain *d, uint64_t *word)
{
    uint64_t spoken_for = DOMAIN_GRANT_FRAMES - d->grant_frames;
    mfn_t    mfn;

    if (d->pages + spoken_for >= d->max_pages)
        return -XEN_EINVAL;
    mfn = pv_allocate(d, *word);
    if (!mfn_valid(mfn))
        return -XEN_ENOMEM;
    *word = mfn.raw;
    return 0;
}

/* The page of a listener's ring is none of the domain's from the start. */
static int64_t take_from_other(struct domain *d, uint64_t *mfn)
{
    if (*mfn == VM_EVENT_PV_PFN && mfn_valid(d->pv->ring))
        return 0;
    return vm_event_is_page(d, mfn_of(*mfn)) ? 0 : take_away(d, mfn);
}

static int64_t bring_to_other(struct domain *d, uint64_t *word)
{
    struct domain *control = domain_by_id(CONTROL_ID);
    mfn_t          mfn;

    if (*word != VM_EVENT_PV_PFN || control == NULL)
        return bring(d, word);
    if (vm_event_is_on(d))
        return -XEN_EBUSY;
    if (control->pv == NULL)
        return 0; /* it is brought when the listener says where it is to be */
    mfn = vm_event_make_page(d, control);
    if (!mfn_valid(mfn))
        return -XEN_ENOMEM;
    *word = mfn.raw;
    return 0;
}

const struct hc_reservation_way hc_pv_way[] = {
    [HC_TAKE] = { .one = take_away },
    [HC_BRING] = { .one = bring, .answers = true },
};
const struct hc_reservation_way hc_pv_other_way[] = {
    [HC_TAKE] = { .one = take_from_other },
    [HC_BRING] = { .one = bring_to_other, .answers = true },
};

/* ---- exchange ---- */

/*
 * What is exchanged at once: all of it or nothing. Frames are contiguous only to be better memory for
 * devices, which no guest has; so larger blocks are not given.
 */
#define EXCHANGE_ORDER_MAX 3
#define EXCHANGE_MAX       (1u << EXCHANGE_ORDER_MAX)

struct exchange {
    struct domain *d;
    uint64_t       in, out;             /* addresses of the next extents */
    unsigned       in_order, out_order; /* of which one fills the piece, and several may */
    unsigned       frames;              /* of the piece */
    unsigned       taken, given;        /* frames so far */
    mfn_t          old[EXCHANGE_MAX], new[EXCHANGE_MAX];
};

static int64_t take_old(struct vcpu *v, struct exchange *x)
{
    while (x->taken < x->frames) {
        unsigned within = x->taken & ((1u << x->in_order) - 1);
        uint64_t base;

        if (within != 0)
            base = x->old[x->taken - within].raw;
        else if (!guest_copy_in(v, &base, x->in + (x->taken >> x->in_order) * sizeof(base),
                                sizeof(base)))
            return -XEN_EFAULT;
        x->old[x->taken] = mfn_of(base + within);
        if (!pv_take(x->d, x->old[x->taken]))
            return -XEN_EINVAL;
        x->taken++;
    }
    return 0;
}

static int64_t give_new(struct vcpu *v, struct exchange *x)
{
    while (x->given < x->frames) {
        uint64_t at = x->out + (x->given >> x->out_order) * sizeof(uint64_t), pfn;
        mfn_t    first;

        if (!guest_copy_in(v, &pfn, at, sizeof(pfn)))
            return -XEN_EFAULT;
        first = pv_allocate_block(x->d, pfn, x->out_order);
        if (!mfn_valid(first))
            return -XEN_ENOMEM;
        for (unsigned i = 0; i < 1u << x->out_order; i++)
            x->new[x->given++] = mfn_of(first.raw + i);
        if (!guest_copy_out(v, at, &first.raw, sizeof(first.raw)))
            return -XEN_EFAULT;
    }
    return 0;
}

/* One piece: the guest has all of its new frames and none of the old ones, or the other way. */
static int64_t exchange_piece(struct vcpu *v, struct exchange *x)
{
    int64_t result = take_old(v, x);

    if (result == 0)
        result = give_new(v, x);
    if (result == 0) {
        for (unsigned i = 0; i < x->taken; i++) {
            pv_put_back(x->d, x->old[i]);
            (void)!direct_release(&x->d->pv->direct, x->old[i]);
        }
        (void)!pv_collect(); /* the rest is background work */
        return 0;
    }
    /* Another vCPU may have used one already: then it goes when that lets go. */
    for (unsigned i = 0; i < x->given; i++)
        (void)!direct_release(&x->d->pv->direct, x->new[i]);
    for (unsigned i = 0; i < x->taken; i++)
        pv_put_back(x->d, x->old[i]);
    return result;
}

/* What memory.h requires of the two lists; the sizes are small enough for all sums below. */
static int64_t exchange_check(const struct vcpu *v, const struct xen_memory_exchange *arg)
{
    uint64_t most = UINT64_MAX >> (HC_EXTENT_SHIFT + EXCHANGE_ORDER_MAX);
    int64_t  result = hc_own_domain(v, arg->in.domid);

    if (result != 0)
        return result;
    if (hc_own_domain(v, arg->out.domid) != 0)
        return -XEN_EINVAL;
    if (arg->in.extent_order > EXCHANGE_ORDER_MAX || arg->out.extent_order > EXCHANGE_ORDER_MAX)
        return -XEN_EPERM;
    if (arg->in.nr_extents > most || arg->out.nr_extents > most ||
        arg->in.nr_extents << arg->in.extent_order != arg->out.nr_extents
                                                          << arg->out.extent_order ||
        arg->nr_exchanged > arg->in.nr_extents)
        return -XEN_EINVAL;
    return 0;
}

/* How far it has come stands in the guest's structure, by which a call that stopped goes on. */
static int64_t exchange(struct vcpu *v, uint64_t va)
{
    struct xen_memory_exchange arg;
    unsigned                   order;
    int64_t                    result;

    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    result = exchange_check(v, &arg);
    if (result != 0)
        return result;
    order = arg.in.extent_order > arg.out.extent_order ? arg.in.extent_order : arg.out.extent_order;
    if ((arg.nr_exchanged << arg.in.extent_order & ((1u << order) - 1)) != 0)
        return -XEN_EINVAL;
    for (bool first = true; arg.nr_exchanged < arg.in.nr_extents; first = false) {
        uint64_t        done = arg.nr_exchanged << arg.in.extent_order;
        struct exchange x = {
            .d = v->domain,
            .in = hc_address(arg.in.extent_start.p) + arg.nr_exchanged * sizeof(uint64_t),
            .out = hc_address(arg.out.extent_start.p) +
                   (done >> arg.out.extent_order) * sizeof(uint64_t),
            .in_order = arg.in.extent_order,
            .out_order = arg.out.extent_order,
            .frames = 1u << order,
        };

        if (!first && hc_preempt())
            return HC_AGAIN;
        result = exchange_piece(v, &x);
        if (result != 0)
            return result;
        arg.nr_exchanged += (1u << order) >> arg.in.extent_order;
        if (!guest_copy_out(v, va + offsetof(struct xen_memory_exchange, nr_exchanged),
                            &arg.nr_exchanged, sizeof(arg.nr_exchanged)))
            return -XEN_EFAULT;
    }
    return 0;
}

/* ---- what is there ---- */

static int64_t machphys_mapping(struct vcpu *v, uint64_t va)
{
    const struct xen_machphys_mapping arg = {
        .v_start = PV_RESERVED_START,
        .v_end = M2P_END,
        .max_mfn = machine_phys.frames - 1,
    };

    return guest_copy_out(v, va, &arg, sizeof(arg)) ? 0 : -XEN_EFAULT;
}

/* arg[0]: operation and extents done, arg[1]: its structure. */
int64_t hc_pv_memory_op(struct vcpu *v, struct hypercall *h)
{
    uint64_t op = h->arg[0] & ((1u << HC_EXTENT_SHIFT) - 1);

    if (op != XENMEM_decrease_reservation && op != XENMEM_populate_physmap &&
        op != XENMEM_increase_reservation && op != XENMEM_access_op && op != h->arg[0])
        return -XEN_EINVAL;
    switch (op) {
    case XENMEM_decrease_reservation:
        return hc_reservation(v, h, HC_TAKE);
    case XENMEM_populate_physmap:
    case XENMEM_increase_reservation:
        return hc_reservation(v, h, HC_BRING);
    case XENMEM_set_memory_map:
        return hc_set_memory_map(v, h->arg[1]);
    case XENMEM_claim_pages:
        return hc_claim_pages(v, h->arg[1]);
    case XENMEM_acquire_resource:
        return hc_acquire_resource(v, h->arg[1]);
    case XENMEM_access_op:
        return hc_access_op(v, h);
    case XENMEM_exchange:
        return exchange(v, h->arg[1]);
    case XENMEM_machphys_mfn_list:
        return hc_machphys_mfn_list(v, h->arg[1]);
    case XENMEM_get_vnumainfo: /* there is one node */
        return -XEN_EOPNOTSUPP;
    case XENMEM_machphys_mapping:
        return machphys_mapping(v, h->arg[1]);
    case XENMEM_machine_memory_map: /* the control domain is to see no more than its own */
        if (!domain_is_control(v->domain))
            return -XEN_EPERM;
        return hc_memory_map(v, h->arg[1]);
    case XENMEM_memory_map:
        return hc_memory_map(v, h->arg[1]);
    case XENMEM_get_sharing_freed_pages: /* no frame is shared with another of the same content */
    case XENMEM_get_sharing_shared_pages:
        return 0;
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
