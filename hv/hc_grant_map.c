/*
 * grant_table_op: mapping what others have granted, and giving it back. A mapping is an entry of a
 * leaf table of a PV guest's own, or a guest frame of another guest's.
 *
 * The frame is borrowed (paging/borrow.h) from before it is mapped until after it is mapped no more:
 * a PV guest may have, or get, shadows of its tables.
 */
#include "hv/grant.h"
#include "hv/guest.h"
#include "hv/hc_grant.h"
#include "hv/pv.h"

#define KNOWN_FLAGS                                                                                \
    (GNTMAP_host_map | GNTMAP_readonly | GNTMAP_application_map | GNTMAP_contains_pte |            \
     GNTMAP_guest_avail_mask)
#define STATUS_AGAIN    INT16_MIN /* none: the hypercall is made again */
#define AVAILABLE_FIRST 9 /* software's bits of an entry, of which a guest may choose three: */
#define AVAILABLE_MASK  7u

/* The entry that is meant, as it is now: by its machine address, or by the page that it maps. */
static bool find_place(struct vcpu *v, uint64_t address, bool entry, struct pv_place *place)
{
    if (!entry)
        return pv_address_ok(address, 1) &&
               pv_walk(v->pv->direct.root[0], gva_of(address), 1, place);
    place->table = mfn_of(address >> PAGE_SHIFT);
    place->index = (unsigned)((address & PAGE_MASK) / sizeof(pte_t));
    if (address % sizeof(pte_t) != 0 || !pv_keep(v->domain, place->table, TYPE_NONE))
        return false;
    /* Whether it is a table at all is looked at when it is written. */
    place->entry.raw = __atomic_load_n(
        (const uint64_t *)phys_ptr(&machine_phys, place->table) + place->index, __ATOMIC_SEQ_CST);
    pv_let_go(v->domain, place->table, TYPE_NONE);
    return true;
}

static uint64_t entry_value(mfn_t mfn, uint32_t flags)
{
    uint64_t value = mfn.raw << PAGE_SHIFT | PTE_P | PTE_A | PTE_D;

    if ((flags & GNTMAP_readonly) == 0)
        value |= PTE_W;
    if ((flags & GNTMAP_application_map) != 0)
        value |= PTE_U;
    return value | (uint64_t)(flags >> _GNTMAP_guest_avail0 & AVAILABLE_MASK) << AVAILABLE_FIRST;
}

/* Into an entry of a table of the guest's. */
static int16_t map_entry(struct vcpu *v, const struct gnttab_map_grant_ref *op,
                         const struct domain *owner, mfn_t mfn)
{
    struct pv_place place;
    bool            entry = (op->flags & GNTMAP_contains_pte) != 0;

    if (!find_place(v, op->host_addr, entry, &place))
        return entry ? GNTST_general_error : GNTST_bad_virt_addr;
    if (!pv_map_foreign(v->pv, &place, entry_value(mfn, op->flags), owner->id))
        return GNTST_general_error;
    return GNTST_okay;
}

/* As a guest frame; what was there is given up. */
static int16_t map_frame(struct domain *d, const struct gnttab_map_grant_ref *op, mfn_t mfn)
{
    const struct p2m_entry entry = { .mfn = mfn,
                                     .type = (op->flags & GNTMAP_readonly) != 0 ? P2M_GRANT_ROM
                                                                                : P2M_GRANT };
    int64_t                result;

    if ((op->flags | GNTMAP_readonly) != (GNTMAP_host_map | GNTMAP_readonly))
        return GNTST_general_error;
    if (op->host_addr >> P2M_BITS != 0)
        return GNTST_bad_virt_addr;
    result = hc_memory_replace(d, gfn_of(op->host_addr >> PAGE_SHIFT), entry);
    if (result == HC_AGAIN)
        return STATUS_AGAIN;
    return result == 0 ? GNTST_okay : GNTST_general_error;
}

static int16_t map(struct vcpu *v, const struct gnttab_map_grant_ref *op, grant_handle_t *given)
{
    struct domain      *d = v->domain, *owner = domain_by_id(op->dom);
    bool                readonly = (op->flags & GNTMAP_readonly) != 0;
    unsigned            handle = grant_handle(d);
    struct grant_active what;
    struct grant_map   *m;
    int16_t             status;

    if ((op->flags & ~KNOWN_FLAGS) != 0)
        return GNTST_no_device_space; /* no device sees memory */
    if ((op->flags & GNTMAP_host_map) == 0)
        return GNTST_bad_gntref;
    if (owner == NULL)
        return GNTST_bad_domain;
    if (handle == GRANT_MAPS_MAX)
        return GNTST_no_space;
    status = grant_begin(owner, op->ref, d, readonly, &what);
    if (status != GNTST_okay)
        return status;
    m = &d->grants->map[handle];
    *m = (struct grant_map){ .ref = op->ref,
                             .domain = owner->id,
                             .readonly = readonly,
                             .entry = (op->flags & GNTMAP_contains_pte) != 0,
                             .gfn = gfn_of(op->host_addr >> PAGE_SHIFT) };
    paging_borrow(&machine_phys, &m->borrow, d->id, what.mfn);
    status = v->pv != NULL ? map_entry(v, op, owner, what.mfn) : map_frame(d, op, what.mfn);
    if (status != GNTST_okay) {
        paging_give_back(&machine_phys, &m->borrow);
        grant_end(owner, op->ref, readonly);
        return status;
    }
    m->used = true;
    *given = handle;
    return GNTST_okay;
}

int64_t hc_grant_map(struct vcpu *v, uint64_t va)
{
    struct gnttab_map_grant_ref op;

    /* What earlier calls have left would be released here, and may be much. */
    if (v->pv != NULL && !pv_drain(&v->pv->direct))
        return HC_AGAIN;
    if (!guest_copy_in(v, &op, va, sizeof(op)))
        return -XEN_EFAULT;
    op.status = map(v, &op, &op.handle);
    if (op.status == STATUS_AGAIN)
        return HC_AGAIN;
    op.dev_bus_addr = 0;
    return guest_copy_out(v, va, &op, sizeof(op)) ? 0 : -XEN_EFAULT;
}

/* Our tables have nothing of it any more; false: not finished. */
static bool unmap_borrowed(struct domain *d, const struct grant_map *m)
{
    struct verdict verdict;

    if (!d->paging_ready)
        return true;
    verdict = paging_borrow_unmap(domain_lock(d), &m->borrow);
    verdict_flush(d, &verdict);
    return !verdict.again;
}

static int16_t unmap_entry(struct vcpu *v, const struct gnttab_unmap_grant_ref *op,
                           const struct grant_map *m)
{
    struct pv_place place;

    if (!find_place(v, op->host_addr, m->entry, &place))
        return m->entry ? GNTST_general_error : GNTST_bad_virt_addr;
    /* It must be an entry that this handle could have: of its frame, and of no more rights. */
    if (!pte_has(place.entry, PTE_P) || pte_frame(place.entry) != m->borrow.mfn.raw ||
        pte_has(place.entry, PTE_W) == m->readonly)
        return GNTST_general_error;
    if (!unmap_borrowed(v->domain, m))
        return STATUS_AGAIN;
    return pv_map_foreign(v->pv, &place, 0, v->domain->id) ? GNTST_okay : GNTST_general_error;
}

static int16_t unmap_frame(struct domain *d, const struct gnttab_unmap_grant_ref *op,
                           const struct grant_map *m)
{
    if (op->host_addr >> PAGE_SHIFT != m->gfn.raw)
        return GNTST_general_error;
    if (hc_memory_withdraw(d, m->gfn, m->borrow.mfn) != 0 || !unmap_borrowed(d, m))
        return STATUS_AGAIN;
    return d->state == DOMAIN_CRASHED ? GNTST_general_error : GNTST_okay;
}

static int16_t unmap(struct vcpu *v, const struct gnttab_unmap_grant_ref *op)
{
    struct domain    *d = v->domain;
    struct grant_map *m;
    int16_t           status;

    if (d->grants == NULL || op->handle >= GRANT_MAPS_MAX || !d->grants->map[op->handle].used)
        return GNTST_bad_handle;
    if (op->dev_bus_addr != 0)
        return GNTST_bad_dev_addr;
    if (op->host_addr == 0)
        return GNTST_okay; /* no mapping is named */
    m = &d->grants->map[op->handle];
    status = v->pv != NULL ? unmap_entry(v, op, m) : unmap_frame(d, op, m);
    if (status != GNTST_okay)
        return status;
    m->used = false;
    paging_give_back(&machine_phys, &m->borrow);
    grant_end(domain_by_id(m->domain), m->ref, m->readonly);
    return GNTST_okay;
}

int64_t hc_grant_unmap(struct vcpu *v, uint64_t va)
{
    struct gnttab_unmap_grant_ref op;

    /* What earlier calls have left would be released here, and may be much. */
    if (v->pv != NULL && !pv_drain(&v->pv->direct))
        return HC_AGAIN;
    if (!guest_copy_in(v, &op, va, sizeof(op)))
        return -XEN_EFAULT;
    op.status = unmap(v, &op);
    if (op.status == STATUS_AGAIN)
        return HC_AGAIN;
    return guest_copy_out(v, va, &op, sizeof(op)) ? 0 : -XEN_EFAULT;
}
