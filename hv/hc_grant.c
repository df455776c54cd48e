/*
 * grant_table_op: the table of a domain, version 1, and what is refused. Mapping and copying stand in
 * files of their own.
 */
#include "hv/grant.h"
#include "hv/hc_grant.h"

static int16_t status_of(int64_t own)
{
    if (own == 0)
        return GNTST_okay;
    return own == -XEN_EPERM ? GNTST_permission_denied : GNTST_bad_domain;
}

static int64_t query_size(struct vcpu *v, uint64_t va)
{
    struct gnttab_query_size arg;

    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    arg.status = status_of(hc_own_domain(v, arg.dom));
    if (arg.status == GNTST_okay) {
        arg.nr_frames = v->domain->grant_frames;
        arg.max_nr_frames = DOMAIN_GRANT_FRAMES;
    }
    return guest_copy_out(v, va, &arg, sizeof(arg)) ? 0 : -XEN_EFAULT;
}

/*
 * Tells where the guest has put the frames (XENMEM_add_to_physmap); ~0: nowhere yet. A PV guest gets
 * the machine's numbers.
 */
static int64_t setup_table(struct vcpu *v, uint64_t va)
{
    struct gnttab_setup_table arg;
    struct domain            *d = v->domain;

    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    arg.status = status_of(hc_own_domain(v, arg.dom));
    if (arg.status == GNTST_okay && !grant_grow(d, arg.nr_frames))
        arg.status = GNTST_general_error;
    for (unsigned i = 0; arg.status == GNTST_okay && i < arg.nr_frames; i++)
        if (!guest_copy_out(v, hc_address(arg.frame_list.p) + i * sizeof(uint64_t),
                            d->pv != NULL ? &d->grant_mfn[i].raw : &d->grant_gfn[i].raw,
                            sizeof(uint64_t)))
            return -XEN_EFAULT;
    return guest_copy_out(v, va, &arg, sizeof(arg)) ? 0 : -XEN_EFAULT;
}

static int64_t set_version(struct vcpu *v, uint64_t va)
{
    struct gnttab_set_version arg;

    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    if (arg.version != 1)
        return -XEN_EINVAL;
    return guest_copy_out(v, va, &arg, sizeof(arg)) ? 0 : -XEN_EFAULT;
}

static int64_t get_version(struct vcpu *v, uint64_t va)
{
    struct gnttab_get_version arg;

    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    if (status_of(hc_own_domain(v, arg.dom)) != GNTST_okay)
        return hc_own_domain(v, arg.dom);
    arg.version = 1;
    return guest_copy_out(v, va, &arg, sizeof(arg)) ? 0 : -XEN_EFAULT;
}

/* A frame never becomes another domain's. This answer says that it is still the caller's. */
static int64_t transfer(struct vcpu *v, uint64_t va)
{
    struct gnttab_transfer arg;

    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    arg.status = GNTST_bad_page;
    return guest_copy_out(v, va, &arg, sizeof(arg)) ? 0 : -XEN_EFAULT;
}

static int64_t dump_table(struct vcpu *v, uint64_t va)
{
    struct gnttab_dump_table arg;

    if (!guest_copy_in(v, &arg, va, sizeof(arg)))
        return -XEN_EFAULT;
    arg.status = GNTST_permission_denied;
    return guest_copy_out(v, va, &arg, sizeof(arg)) ? 0 : -XEN_EFAULT;
}

static const struct grant_op {
    int64_t (*run)(struct vcpu *v, uint64_t va);
    size_t size;
    bool   single; /* exactly one structure */
} ops[] = {
    [GNTTABOP_map_grant_ref] = { hc_grant_map, sizeof(struct gnttab_map_grant_ref), false },
    [GNTTABOP_unmap_grant_ref] = { hc_grant_unmap, sizeof(struct gnttab_unmap_grant_ref), false },
    [GNTTABOP_copy] = { hc_grant_copy, sizeof(struct gnttab_copy), false },
    [GNTTABOP_transfer] = { transfer, sizeof(struct gnttab_transfer), false },
    [GNTTABOP_dump_table] = { dump_table, sizeof(struct gnttab_dump_table), true },
    [GNTTABOP_setup_table] = { setup_table, sizeof(struct gnttab_setup_table), true },
    [GNTTABOP_query_size] = { query_size, sizeof(struct gnttab_query_size), true },
    [GNTTABOP_set_version] = { set_version, sizeof(struct gnttab_set_version), true },
    [GNTTABOP_get_version] = { get_version, sizeof(struct gnttab_get_version), false },
};

/* arg[0]: operation, arg[1]: its structures, arg[2]: how many. */
int64_t hc_grant_table_op(struct vcpu *v, struct hypercall *h)
{
    const struct grant_op *op;

    if (h->arg[0] >= sizeof(ops) / sizeof(ops[0]) || ops[h->arg[0]].run == NULL)
        return -XEN_ENOSYS;
    op = &ops[h->arg[0]];
    h->arg[2] = (uint32_t)h->arg[2];
    if (op->single && h->arg[2] != 1)
        return -XEN_EINVAL;
    for (bool first = true; h->arg[2] != 0; first = false) {
        int64_t result;

        if (!first && hc_preempt())
            return HC_AGAIN;
        result = op->run(v, h->arg[1]);
        if (result != 0)
            return result;
        h->arg[1] += op->size;
        h->arg[2]--;
    }
    return 0;
}
