/* The control domain and other domains' memory; see hc_foreign.h. */
#include "hv/hc_foreign.h"

#include "hv/alloc.h"
#include "hv/control.h"
#include "hv/foreign.h"
#include "hv/grant.h"
#include "hv/hc_control.h"
#include "hv/vm_event.h"

/* ---- mappings ---- */

static bool is_frame_of(const struct domain *d, mfn_t mfn)
{
    return mfn.raw < machine_phys.frames && phys_frame(&machine_phys, mfn)->kind == FRAME_GUEST &&
           phys_frame(&machine_phys, mfn)->owner == d->id;
}

/* A frame of a domain that has a map of ours, which keeps it from here until direct_take_back. */
static int64_t borrow(struct domain *from, uint64_t number, bool translate, mfn_t *mfn)
{
    struct foreign_frame frame = { .owner = from, .mfn = mfn_of(number) };

    if (translate ? foreign_find(from, number, &frame) != 0 : !is_frame_of(from, frame.mfn))
        return -XEN_EINVAL;
    *mfn = frame.mfn;
    direct_lend(&machine_phys, *mfn);
    return 0;
}

/* Frames of DOMID_XEN are those of the M2P, which nobody but us writes. */
static int64_t update_of_ours(struct vcpu *v, struct direct_request *r)
{
    r->from = DOMID_XEN;
    return pte_has((pte_t){ r->value }, PTE_P | PTE_W) ? -XEN_EINVAL
                                                       : hc_pv_request(&v->pv->direct, r);
}

int64_t hc_foreign_update(struct vcpu *v, struct domain *from, struct direct_request *r,
                          bool translate)
{
    const pte_t value = { r->value };
    mfn_t       mfn;
    int64_t     result;

    r->owner = &v->domain->pv->direct;
    if (from == NULL)
        return update_of_ours(v, r);
    r->from = from->id;
    /* A PV domain's own numbers are the machine's, and its frames have counts of this kind. */
    if (pte_has(value, PTE_P) && vm_event_is_page(from, mfn_of(pte_frame(value))))
        r->from = v->domain->id; /* the listener's own, if it is that */
    if (!pte_has(value, PTE_P) || from->pv != NULL)
        return hc_pv_request(&v->pv->direct, r);
    result = borrow(from, pte_frame(value), translate, &mfn);
    if (result != 0)
        return result;
    r->value = pte_make(mfn, value.raw & ~PTE_FRAME).raw;
    result = hc_pv_request(&v->pv->direct, r);
    direct_take_back(&machine_phys, mfn);
    return result;
}

/* ---- tables ---- */

int64_t hc_foreign_operation(struct domain *of, const struct mmuext_op *op)
{
    struct direct_request r = { .op = DIRECT_PIN, .mfn = mfn_of(op->arg1.mfn) };

    if (of == NULL || of->pv == NULL)
        return -XEN_EINVAL;
    r.owner = &of->pv->direct;
    r.from = of->id;
    switch (op->cmd) {
    case MMUEXT_PIN_L1_TABLE:
    case MMUEXT_PIN_L2_TABLE:
    case MMUEXT_PIN_L3_TABLE:
    case MMUEXT_PIN_L4_TABLE:
        r.kind = (uint8_t)(op->cmd - MMUEXT_PIN_L1_TABLE + 1);
        break;
    case MMUEXT_UNPIN_TABLE:
        r.op = DIRECT_UNPIN;
        break;
    default:
        return -XEN_EPERM; /* the others are about a processor, which is the caller's */
    }
    return hc_pv_request(&of->pv->keeper, &r);
}

/* ---- the M2P ---- */

#define EXTENT_FRAMES (UINT64_C(1) << level_order(2)) /* of 2 MiB: memory.h */

/* The first frame of each extent of it, as far as there is room; they are mapped as frames of DOMID_XEN. */
int64_t hc_machphys_mfn_list(struct vcpu *v, uint64_t va)
{
    struct xen_machphys_mfn_list arg;
    uint64_t                     frames = 0;
    mfn_t                        first = pv_edge_m2p_frames(&frames);

    if (!domain_is_control(v->domain))
        return -XEN_EPERM;
    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    arg.nr_extents = 0;
    for (uint64_t i = 0; i < frames && arg.nr_extents < arg.max_extents;
         i += EXTENT_FRAMES, arg.nr_extents++) {
        uint64_t mfn = first.raw + i;

        if (!guest_copy_out(v, hc_address(arg.extent_start.p) + arg.nr_extents * sizeof(mfn), &mfn,
                            sizeof(mfn)))
            return -XEN_EFAULT;
    }
    return guest_copy_out(v, va, &arg, sizeof(arg)) ? 0 : -XEN_EFAULT;
}

/* ---- resources ---- */

/* One frame of a list: a PV caller is told the machine's number, another says where in its map it is to be. */
static int64_t give_resource(struct vcpu *v, struct domain *d, mfn_t mfn, uint64_t va)
{
    uint64_t word = mfn.raw;

    if (v->pv != NULL)
        return guest_copy_out(v, va, &word, sizeof(word)) ? 0 : -XEN_EFAULT;
    if (!guest_copy_in(v, &word, va, sizeof(word)))
        return -XEN_EFAULT;
    if (word >> (P2M_BITS - PAGE_SHIFT) != 0)
        return -XEN_EINVAL;
    return foreign_map(v->domain, gfn_of(word), (struct foreign_frame){ d, mfn });
}

/* The shared frames of a grant table; more are made if it is shorter. */
int64_t hc_acquire_resource(struct vcpu *v, uint64_t va)
{
    struct xen_mem_acquire_resource arg;
    struct domain                  *d;
    int64_t                         result = 0;

    if (!domain_is_control(v->domain))
        return -XEN_EPERM;
    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    if (arg.pad != 0)
        return -XEN_EINVAL;
    if (hc_target(v, arg.domid, &d) != 0)
        return -XEN_ESRCH;
    if (arg.type != XENMEM_resource_grant_table)
        return -XEN_EOPNOTSUPP;
    if (arg.id != XENMEM_resource_grant_table_id_shared)
        return -XEN_EINVAL;
    if (arg.nr_frames == 0) {
        arg.nr_frames = DOMAIN_GRANT_FRAMES;
        return hc_address(arg.frame_list.p) == 0 && guest_copy_out(v, va, &arg, sizeof(arg))
                   ? 0
                   : -XEN_EINVAL;
    }
    if (arg.frame >= DOMAIN_GRANT_FRAMES || arg.nr_frames > DOMAIN_GRANT_FRAMES - arg.frame)
        return -XEN_EINVAL;
    if (!grant_grow(d, (unsigned)arg.frame + arg.nr_frames))
        return -XEN_ENOMEM;
    for (unsigned i = 0; i < arg.nr_frames && result == 0; i++)
        result = give_resource(v, d, d->grant_mfn[arg.frame + i],
                               hc_address(arg.frame_list.p) + i * sizeof(uint64_t));
    return result;
}

/* ---- what others shall have ---- */

int64_t hc_set_memory_map(struct vcpu *v, uint64_t va)
{
    struct xen_foreign_memory_map arg;
    struct domain                *d;

    if (!domain_is_control(v->domain))
        return -XEN_EPERM;
    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    if (hc_target(v, arg.domid, &d) != 0)
        return -XEN_ESRCH;
    if (d == v->domain || arg.map.nr_entries > DOMAIN_RANGES_MAX)
        return -XEN_EINVAL;
    d->map_entries = 0;
    if (!guest_copy_in(v, d->map, hc_address(arg.map.buffer.p),
                       arg.map.nr_entries * sizeof(d->map[0])))
        return -XEN_EFAULT;
    d->map_entries = arg.map.nr_entries;
    return 0;
}

/* What is claimed must be there; it is not kept for the domain. */
int64_t hc_claim_pages(struct vcpu *v, uint64_t va)
{
    struct xen_memory_reservation arg;
    struct domain                *d;

    if (!domain_is_control(v->domain))
        return -XEN_EPERM;
    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    if (arg.extent_order != 0 || hc_address(arg.extent_start.p) != 0)
        return -XEN_EINVAL;
    if (hc_target(v, arg.domid, &d) != 0)
        return -XEN_ESRCH;
    if (arg.nr_extents > d->max_pages)
        return -XEN_EINVAL;
    return arg.nr_extents <= d->pages || arg.nr_extents - d->pages <= alloc_free_count()
               ? 0
               : -XEN_ENOMEM;
}
