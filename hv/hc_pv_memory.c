/*
 * memory_op of PV guests: frames are machine frames, and where the guest sees them is its own
 * affair. A frame that it gives back stays until no table and nobody else holds it any more.
 */
#include "hv/build.h"
#include "hv/hc.h"
#include "hv/pv.h"

#define M2P_END  UINT64_C(0xffff804000000000) /* arch-x86/xen-x86_64.h */
#define E820_RAM 1

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

static const struct hc_reservation_way taking = { .one = take_away };
static const struct hc_reservation_way bringing = { .one = bring, .answers = true };

static int64_t machphys_mapping(struct vcpu *v, uint64_t va)
{
    const struct xen_machphys_mapping arg = {
        .v_start = PV_RESERVED_START,
        .v_end = M2P_END,
        .max_mfn = machine_phys.frames - 1,
    };

    return guest_copy_out(v, va, &arg, sizeof(arg)) ? 0 : -XEN_EFAULT;
}

/* One piece of RAM, as large as what it may have. */
static int64_t memory_map(struct vcpu *v, uint64_t va)
{
    struct xen_memory_map arg;
    struct {
        uint64_t address, size;
        uint32_t type;
    } __attribute__((packed)) ram = { 0, (uint64_t)v->domain->config.memory << 20, E820_RAM };

    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    if (arg.nr_entries < 1)
        return -XEN_EINVAL;
    arg.nr_entries = 1;
    if (!guest_copy_out(v, hc_address(arg.buffer.p), &ram, sizeof(ram)) ||
        !guest_copy_out(v, va, &arg, sizeof(arg)))
        return -XEN_EFAULT;
    return 0;
}

static int64_t count_of(struct vcpu *v, uint64_t op, uint64_t va)
{
    domid_t id;
    int64_t result;

    if (!guest_copy_in(v, &id, va, sizeof(id)))
        return -XEN_EFAULT;
    result = hc_own_domain(v, id);
    if (result != 0)
        return result;
    return (int64_t)(op == XENMEM_current_reservation ? v->domain->pages : v->domain->max_pages);
}

/* arg[0]: operation and extents done, arg[1]: its structure. */
int64_t hc_pv_memory_op(struct vcpu *v, struct hypercall *h)
{
    uint64_t op = h->arg[0] & ((1u << HC_EXTENT_SHIFT) - 1);

    if (op != XENMEM_decrease_reservation && op != XENMEM_populate_physmap &&
        op != XENMEM_increase_reservation && op != h->arg[0])
        return -XEN_EINVAL;
    switch (op) {
    case XENMEM_decrease_reservation:
        return hc_reservation(v, h, &taking);
    case XENMEM_populate_physmap:
    case XENMEM_increase_reservation:
        return hc_reservation(v, h, &bringing);
    case XENMEM_machphys_mapping:
        return machphys_mapping(v, h->arg[1]);
    case XENMEM_memory_map:
        return memory_map(v, h->arg[1]);
    case XENMEM_maximum_ram_page:
        return (int64_t)machine_phys.frames - 1;
    case XENMEM_current_reservation:
    case XENMEM_maximum_reservation:
        return count_of(v, op, h->arg[1]);
    default:
        return -XEN_ENOSYS;
    }
}
