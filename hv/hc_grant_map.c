/*
 * grant_table_op: mapping what others have granted, and giving it back. A mapping is an entry of a
 * leaf table of the guest's own; only guests under direct paging have such.
 */
#include "hv/grant.h"
#include "hv/hc_grant.h"
#include "hv/pv.h"

#define KNOWN_FLAGS                                                                                \
    (GNTMAP_host_map | GNTMAP_readonly | GNTMAP_application_map | GNTMAP_contains_pte |            \
     GNTMAP_guest_avail_mask)
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

static int16_t map(struct vcpu *v, const struct gnttab_map_grant_ref *op, grant_handle_t *given)
{
    struct domain      *d = v->domain, *owner = domain_by_id(op->dom);
    bool                readonly = (op->flags & GNTMAP_readonly) != 0;
    bool                entry = (op->flags & GNTMAP_contains_pte) != 0;
    unsigned            handle = grant_handle(d);
    struct grant_active what;
    struct pv_place     place;
    int16_t             status;

    if ((op->flags & ~KNOWN_FLAGS) != 0)
        return GNTST_no_device_space; /* no device sees memory */
    if ((op->flags & GNTMAP_host_map) == 0)
        return GNTST_bad_gntref;
    if (owner == NULL)
        return GNTST_bad_domain;
    if (handle == GRANT_MAPS_MAX)
        return GNTST_no_space;
    if (!find_place(v, op->host_addr, entry, &place))
        return entry ? GNTST_general_error : GNTST_bad_virt_addr;
    status = grant_begin(owner, op->ref, d, readonly, &what);
    if (status != GNTST_okay)
        return status;
    if (!pv_map_foreign(v->pv, &place, entry_value(what.mfn, op->flags), owner->id)) {
        grant_end(owner, op->ref, readonly);
        return GNTST_general_error;
    }
    d->grants->map[handle] = (struct grant_map){
        .ref = op->ref, .domain = owner->id, .used = true, .readonly = readonly, .entry = entry
    };
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
    op.status = v->pv != NULL ? map(v, &op, &op.handle) : GNTST_general_error;
    op.dev_bus_addr = 0;
    return guest_copy_out(v, va, &op, sizeof(op)) ? 0 : -XEN_EFAULT;
}

static int16_t unmap(struct vcpu *v, const struct gnttab_unmap_grant_ref *op)
{
    struct domain    *d = v->domain, *owner;
    struct grant_map *m;
    struct pv_place   place;

    if (d->grants == NULL || op->handle >= GRANT_MAPS_MAX || !d->grants->map[op->handle].used)
        return GNTST_bad_handle;
    if (op->dev_bus_addr != 0)
        return GNTST_bad_dev_addr;
    if (op->host_addr == 0)
        return GNTST_okay; /* no mapping is named */
    m = &d->grants->map[op->handle];
    owner = domain_by_id(m->domain);
    if (!find_place(v, op->host_addr, m->entry, &place))
        return m->entry ? GNTST_general_error : GNTST_bad_virt_addr;
    /* It must be an entry that this handle could have: of its frame, and of no more rights. */
    if (!pte_has(place.entry, PTE_P) ||
        pte_frame(place.entry) != owner->grants->active[m->ref].mfn.raw ||
        pte_has(place.entry, PTE_W) == m->readonly)
        return GNTST_general_error;
    if (!pv_map_foreign(v->pv, &place, 0, d->id))
        return GNTST_general_error;
    m->used = false;
    grant_end(owner, m->ref, m->readonly);
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
    return guest_copy_out(v, va, &op, sizeof(op)) ? 0 : -XEN_EFAULT;
}
