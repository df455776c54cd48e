/* sysctl: one processor, one node of memory, one pool of processors; and bitmaps of these (sysctl.h). */
#include <string.h>

#include "hv/alloc.h"
#include "hv/hc_control.h"

#define NODE_DISTANCE 10 /* to itself, as ACPI's SLIT has it */
#define BITMAP_BYTES  64 /* of a caller's bitmap, what is written at most */

bool bitmap_out(struct vcpu *v, const struct xenctl_bitmap *map, uint8_t bits)
{
    uint8_t  bytes[BITMAP_BYTES] = { bits };
    uint32_t length = map->nr_bits / 8 + (map->nr_bits % 8 != 0);

    return guest_copy_out(v, hc_address(map->bitmap.p), bytes,
                          length < BITMAP_BYTES ? length : BITMAP_BYTES);
}

bool bitmap_in(struct vcpu *v, const struct xenctl_bitmap *map, uint8_t *bits)
{
    *bits = 0;
    if (map->nr_bits == 0)
        return true;
    if (!guest_copy_in(v, bits, hc_address(map->bitmap.p), 1))
        return false;
    if (map->nr_bits < 8)
        *bits &= (uint8_t)((1u << map->nr_bits) - 1);
    return true;
}

/* Without a place for the list only the number is asked for. */
int64_t sysctl_cputopoinfo(struct vcpu *v, struct xen_sysctl *op)
{
    struct xen_sysctl_cputopoinfo  *t = &op->u.cputopoinfo;
    const struct xen_sysctl_cputopo only = { 0 };

    if (hc_address(t->cputopo.p) != 0 && t->num_cpus != 0 &&
        !guest_copy_out(v, hc_address(t->cputopo.p), &only, sizeof(only)))
        return -XEN_EFAULT;
    t->num_cpus = 1;
    return 0;
}

int64_t sysctl_numainfo(struct vcpu *v, struct xen_sysctl *op)
{
    struct xen_sysctl_numainfo     *n = &op->u.numainfo;
    const struct xen_sysctl_meminfo memory = { .memsize = alloc_total_count() << PAGE_SHIFT,
                                               .memfree = alloc_free_count() << PAGE_SHIFT };
    const uint32_t                  distance = NODE_DISTANCE;

    if (n->num_nodes != 0 && hc_address(n->meminfo.p) != 0 &&
        !guest_copy_out(v, hc_address(n->meminfo.p), &memory, sizeof(memory)))
        return -XEN_EFAULT;
    if (n->num_nodes != 0 && hc_address(n->distance.p) != 0 &&
        !guest_copy_out(v, hc_address(n->distance.p), &distance, sizeof(distance)))
        return -XEN_EFAULT;
    n->num_nodes = 1;
    return 0;
}

/* All processors and domains are in pool 0, and stay there. */
int64_t sysctl_cpupool_op(struct vcpu *v, struct xen_sysctl *op)
{
    struct xen_sysctl_cpupool_op *p = &op->u.cpupool_op;

    switch (p->op) {
    case XEN_SYSCTL_CPUPOOL_OP_INFO: /* the first pool from this number on */
        if (p->cpupool_id != 0)
            return -XEN_ENOENT;
        p->sched_id = XEN_SCHEDULER_NULL;
        p->n_dom = 0;
        for (const struct domain *d = domains; d != NULL; d = d->next)
            p->n_dom++;
        return bitmap_out(v, &p->cpumap, 1) ? 0 : -XEN_EFAULT;
    case XEN_SYSCTL_CPUPOOL_OP_FREEINFO:
        return bitmap_out(v, &p->cpumap, 0) ? 0 : -XEN_EFAULT;
    case XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN:
        return p->cpupool_id == 0 ? 0 : -XEN_ENOENT;
    default:
        return -XEN_EOPNOTSUPP;
    }
}
