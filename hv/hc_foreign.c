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

int64_t hc_foreign_update(struct vcpu *v, struct domain *from, struct direct_request *r,
                          bool translate)
{
    const pte_t value = { r->value };
    mfn_t       mfn;
    int64_t     result;

    r->owner = &v->domain->pv->direct;
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

/* ---- what frames are ---- */

#define INFO_AT_ONCE 64
#define INFO_MAX     1024 /* of one call */

static uint64_t info_of_table(mfn_t mfn)
{
    const struct type t = type_read(&pv_machine, mfn);

    if (!type_is_live(t) || !type_is_table(t.kind))
        return XEN_DOMCTL_PFINFO_NOTAB;
    return (uint64_t)t.kind << XEN_DOMCTL_PFINFO_LTAB_SHIFT |
           (t.pinned ? XEN_DOMCTL_PFINFO_LPINTAB : 0);
}

/* Of a frame by the domain's own number: a PV domain's is the machine's. */
static uint64_t info_of(const struct domain *d, uint64_t number)
{
    if (d->pv == NULL)
        return number >> (P2M_BITS - PAGE_SHIFT) == 0 &&
                       p2m_get(&d->paging.p2m, gfn_of(number)).type == P2M_RAM
                   ? XEN_DOMCTL_PFINFO_NOTAB
                   : XEN_DOMCTL_PFINFO_XTAB;
    if (number >= machine_phys.frames || !frame_is_held(&pv_machine, mfn_of(number), d->id))
        return XEN_DOMCTL_PFINFO_XTAB;
    return info_of_table(mfn_of(number));
}

/* The numbers of the list become numbers with types; what is left of it when it stops goes back. */
int64_t domctl_getpageframeinfo3(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    struct xen_domctl_getpageframeinfo3 *list = &op->u.getpageframeinfo3;
    xen_pfn_t                            frames[INFO_AT_ONCE];

    if (list->num > INFO_MAX)
        return -XEN_E2BIG;
    for (bool later = false; list->num != 0; later = true) {
        uint64_t va = hc_address(list->array.p);
        unsigned n = list->num < INFO_AT_ONCE ? (unsigned)list->num : INFO_AT_ONCE;

        if (later && hc_preempt())
            return HC_AGAIN;
        if (!guest_copy_in(v, frames, va, n * sizeof(frames[0])))
            return -XEN_EFAULT;
        for (unsigned i = 0; i < n; i++)
            frames[i] |= info_of(d, frames[i]);
        if (!guest_copy_out(v, va, frames, n * sizeof(frames[0])))
            return -XEN_EFAULT;
        list->num -= n;
        list->array.p = (xen_pfn_t *)(uintptr_t)(va + n * sizeof(frames[0]));
    }
    return 0;
}

/* ---- tables ---- */

int64_t hc_foreign_operation(struct domain *of, const struct mmuext_op *op)
{
    struct direct_request r = { .op = DIRECT_PIN, .mfn = mfn_of(op->arg1.mfn) };

    if (of->pv == NULL)
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
