/*
 * sysctl: the machine, as the control domain's tools see it. One copy in, one copy out (sysctl.h, version
 * 0x15). There is one processor, one node of memory, one pool, and no other scheduler than ours.
 */
#include <string.h>

#include "hv/alloc.h"
#include "hv/conring.h"
#include "hv/control.h"
#include "hv/hc_control.h"
#include "hv/monitor.h"

#define CHUNK    256
#define KEYS_MAX 32

_Static_assert(sizeof(struct xen_sysctl) == 136, "sysctl.h");
_Static_assert(sizeof(struct xen_domctl_getdomaininfo) == 112, "domctl.h");

/* ---- what was printed ---- */

/* The caller says with which character to begin, or gets the oldest one that is kept first. */
static int64_t readconsole(struct vcpu *v, struct xen_sysctl *op)
{
    struct xen_sysctl_readconsole *r = &op->u.readconsole;
    uint32_t                       at = r->incremental ? r->index : conring_first(), done = 0;
    char                           bytes[CHUNK];
    size_t                         count;

    do {
        size_t most = r->count - done < CHUNK ? r->count - done : CHUNK;

        count = conring_read(&at, bytes, most);
        if (!guest_copy_out(v, hc_address(r->buffer.p) + done, bytes, count))
            return -XEN_EFAULT;
        done += (uint32_t)count;
    } while (count == CHUNK && done < CONRING_SIZE);
    if (r->clear)
        conring_clear(at);
    r->index = at;
    r->count = done;
    return 0;
}

/* ---- the machine ---- */

static int64_t physinfo(struct vcpu *v, struct xen_sysctl *op)
{
    struct xen_sysctl_physinfo *p = &op->u.physinfo;

    (void)v;
    memset(p, 0, sizeof(*p));
    p->threads_per_core = p->cores_per_socket = p->nr_cpus = p->nr_nodes = 1;
    p->cpu_khz = (uint32_t)machine_ticks_per_ms();
    p->capabilities = XEN_SYSCTL_PHYSCAP_pv | XEN_SYSCTL_PHYSCAP_gnttab_v1;
    if (machine_offers_hvm())
        p->capabilities |= XEN_SYSCTL_PHYSCAP_hvm | XEN_SYSCTL_PHYSCAP_shadow;
    if (machine_offers_nested())
        p->capabilities |= XEN_SYSCTL_PHYSCAP_hap;
    p->total_pages = alloc_total_count();
    p->free_pages = alloc_free_count();
    p->max_mfn = machine_phys.frames - 1;
    machine_cpu_features(p->hw_cap);
    return 0;
}

/* Ours has no parameters; the one of the ABI that has none either stands for it. */
static int64_t sched_id(struct vcpu *v, struct xen_sysctl *op)
{
    (void)v;
    op->u.sched_id.sched_id = XEN_SCHEDULER_NULL;
    return 0;
}

static int64_t availheap(struct vcpu *v, struct xen_sysctl *op)
{
    (void)v;
    op->u.availheap.avail_bytes = alloc_free_count() << PAGE_SHIFT;
    return 0;
}

/* Each key is a command of the monitor's, which prints. */
static int64_t debug_keys(struct vcpu *v, struct xen_sysctl *op)
{
    char keys[KEYS_MAX];

    if (op->u.debug_keys.nr_keys > KEYS_MAX)
        return -XEN_E2BIG;
    if (!guest_copy_in(v, keys, hc_address(op->u.debug_keys.keys.p), op->u.debug_keys.nr_keys))
        return -XEN_EFAULT;
    for (uint32_t i = 0; i < op->u.debug_keys.nr_keys; i++)
        monitor_debug_key(keys[i]);
    return 0;
}

/* ---- domains ---- */

/* From the one with this number on. There are not more than memory has room for: no stop in the middle. */
static int64_t getdomaininfolist(struct vcpu *v, struct xen_sysctl *op)
{
    struct xen_sysctl_getdomaininfolist *list = &op->u.getdomaininfolist;
    struct xen_domctl_getdomaininfo      info;
    uint32_t                             done = 0;

    for (const struct domain *d = domains; d != NULL && done < list->max_domains; d = d->next) {
        if (d->id < list->first_domain)
            continue;
        domctl_describe(d, &info);
        if (!guest_copy_out(v, hc_address(list->buffer.p) + done * sizeof(info), &info,
                            sizeof(info)))
            return -XEN_EFAULT;
        done++;
    }
    list->num_domains = done;
    return 0;
}

/* ---- dispatch ---- */

static const struct {
    sysctl_run *run;
    bool        answers; /* the structure goes back */
} ops[] = {
    [XEN_SYSCTL_readconsole] = { readconsole, true },
    [XEN_SYSCTL_physinfo] = { physinfo, true },
    [XEN_SYSCTL_sched_id] = { sched_id, true },
    [XEN_SYSCTL_getdomaininfolist] = { getdomaininfolist, true },
    [XEN_SYSCTL_debug_keys] = { debug_keys, false },
    [XEN_SYSCTL_availheap] = { availheap, true },
    [XEN_SYSCTL_cputopoinfo] = { sysctl_cputopoinfo, true },
    [XEN_SYSCTL_numainfo] = { sysctl_numainfo, true },
    [XEN_SYSCTL_cpupool_op] = { sysctl_cpupool_op, true },
    [XEN_SYSCTL_get_cpu_featureset] = { sysctl_get_cpu_featureset, true },
    [XEN_SYSCTL_get_cpu_policy] = { sysctl_get_cpu_policy, true },
};

/* arg[0]: struct xen_sysctl. */
int64_t hc_sysctl(struct vcpu *v, struct hypercall *h)
{
    struct xen_sysctl op;
    int64_t           result;

    if (!domain_is_control(v->domain))
        return -XEN_EPERM;
    if (!guest_copy_in(v, &op, h->arg[0], sizeof(op)))
        return -XEN_EFAULT;
    if (op.interface_version != XEN_SYSCTL_INTERFACE_VERSION)
        return -XEN_EACCES;
    if (op.cmd >= sizeof(ops) / sizeof(ops[0]) || ops[op.cmd].run == NULL)
        return -XEN_EOPNOTSUPP;
    result = ops[op.cmd].run(v, &op);
    if (result == 0 && ops[op.cmd].answers && !guest_copy_out(v, h->arg[0], &op, sizeof(op)))
        return -XEN_EFAULT;
    return result;
}
