/* The control domain and other domains' memory; see hc_foreign.h. */
#include "hv/hc_foreign.h"

#include "hv/control.h"
#include "hv/grant.h"

/* ---- mappings ---- */

/* A frame of a domain that has a map of ours, which keeps it from here until direct_take_back. */
static int64_t borrow(struct domain *from, uint64_t number, bool translate, mfn_t *mfn)
{
    struct p2m_entry entry;

    *mfn = mfn_of(number);
    if (translate) {
        if (number >> (P2M_BITS - PAGE_SHIFT) != 0)
            return -XEN_EINVAL;
        entry = p2m_get(&from->paging.p2m, gfn_of(number));
        if (entry.type != P2M_RAM)
            return -XEN_EINVAL;
        *mfn = entry.mfn;
    } else if (number >= machine_phys.frames ||
               phys_frame(&machine_phys, *mfn)->kind != FRAME_GUEST ||
               phys_frame(&machine_phys, *mfn)->owner != from->id) {
        return -XEN_EINVAL;
    }
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

/* The shared frames of a grant table; more are made if it is shorter. */
int64_t hc_acquire_resource(struct vcpu *v, uint64_t va)
{
    struct xen_mem_acquire_resource arg;
    struct domain                  *d;
    uint64_t                        mfns[DOMAIN_GRANT_FRAMES];

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
    for (unsigned i = 0; i < arg.nr_frames; i++)
        mfns[i] = d->grant_mfn[arg.frame + i].raw;
    return guest_copy_out(v, hc_address(arg.frame_list.p), mfns, arg.nr_frames * sizeof(mfns[0]))
               ? 0
               : -XEN_EFAULT;
}
