/*
 * What CPUID says to guests, for the tools: the same for all of them, so that a policy that they set for a
 * domain is only compared with it. sysctl.h, domctl.h, arch-x86/xen.h.
 */
#include "hv/hc_control.h"

#define LEAVES_MAX   192 /* of a policy: the tools write more of them than we do */
#define MSRS_MAX     8   /* the same */
#define FEATURES     10  /* words of a feature set, in the order of arch-x86/cpufeatureset.h */
#define HTT          (UINT32_C(1) << 28) /* 1.EDX: is about topology, which the tools make up */
#define LEAF_FEATURE UINT32_C(1)
#define LEAF_CACHES  UINT32_C(4)
#define LEAF_SEVEN   UINT32_C(7)
#define LEAF_EXT     UINT32_C(0x80000001)
#define LEAF_POWER   UINT32_C(0x80000007)
#define LEAF_WIDTHS  UINT32_C(0x80000008)

_Static_assert(sizeof(xen_cpuid_leaf_t) == 24, "arch-x86/xen.h");

/* The leaf that guests see; zeros if there is none. */
static xen_cpuid_leaf_t seen(uint32_t leaf)
{
    xen_cpuid_leaf_t l;

    for (unsigned i = 0; machine_guest_cpuid(i, &l.leaf, &l.a, &l.b, &l.c, &l.d); i++)
        if (l.leaf == leaf)
            return l;
    return (xen_cpuid_leaf_t){ .leaf = leaf };
}

static bool has_subleaves(uint32_t leaf)
{
    return leaf == LEAF_CACHES || leaf == LEAF_SEVEN;
}

/* Without a place for it only the size is asked for. MSRs of a policy there are none, but room for them. */
static int64_t policy_out(struct vcpu *v, uint64_t to, uint32_t *room, uint32_t *msrs)
{
    xen_cpuid_leaf_t l;
    uint32_t         count = 0;

    *msrs = to == 0 ? MSRS_MAX : 0;
    for (; machine_guest_cpuid(count, &l.leaf, &l.a, &l.b, &l.c, &l.d); count++) {
        l.subleaf = has_subleaves(l.leaf) ? 0 : XEN_CPUID_NO_SUBLEAF;
        if (to == 0)
            continue;
        if (count >= *room)
            return -XEN_ENOBUFS;
        if (!guest_copy_out(v, to + count * sizeof(l), &l, sizeof(l)))
            return -XEN_EFAULT;
    }
    *room = to == 0 ? LEAVES_MAX : count;
    return 0;
}

int64_t sysctl_get_cpu_policy(struct vcpu *v, struct xen_sysctl *op)
{
    struct xen_sysctl_cpu_policy *p = &op->u.cpu_policy;

    if (p->_rsvd != 0 || p->index > XEN_SYSCTL_cpu_policy_hvm_default)
        return -XEN_EINVAL;
    return policy_out(v, hc_address(p->leaves.p), &p->nr_leaves, &p->nr_msrs);
}

int64_t domctl_get_cpu_policy(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    struct xen_domctl_cpu_policy *p = &op->u.cpu_policy;

    (void)d;
    return policy_out(v, hc_address(p->leaves.p), &p->nr_leaves, &p->nr_msrs);
}

int64_t sysctl_get_cpu_featureset(struct vcpu *v, struct xen_sysctl *op)
{
    struct xen_sysctl_cpu_featureset *f = &op->u.cpu_featureset;
    xen_cpuid_leaf_t                  one = seen(LEAF_FEATURE), seven = seen(LEAF_SEVEN);
    xen_cpuid_leaf_t                  ext = seen(LEAF_EXT);
    const uint32_t                    words[FEATURES] = {
                           one.d,   one.c, ext.d, ext.c, 0, seven.b, seven.c, seen(LEAF_POWER).d, seen(LEAF_WIDTHS).b,
                           seven.d,
    };
    uint32_t count = f->nr_features < FEATURES ? f->nr_features : FEATURES;

    if (f->index > XEN_SYSCTL_cpu_featureset_hvm_max)
        return -XEN_EINVAL;
    if (hc_address(f->features.p) != 0 &&
        !guest_copy_out(v, hc_address(f->features.p), words, count * sizeof(words[0])))
        return -XEN_EFAULT;
    f->nr_features = FEATURES;
    return 0;
}

/* No feature is promised that guests do not see. */
static bool promised(const xen_cpuid_leaf_t *l)
{
    const xen_cpuid_leaf_t ours = seen(l->leaf);

    switch (l->leaf) {
    case LEAF_FEATURE:
        return (l->c & ~ours.c) == 0 && (l->d & ~ours.d & ~HTT) == 0;
    case LEAF_SEVEN:
        return l->subleaf != 0 ||
               ((l->b & ~ours.b) == 0 && (l->c & ~ours.c) == 0 && (l->d & ~ours.d) == 0);
    case LEAF_EXT:
        return (l->c & ~ours.c) == 0 && (l->d & ~ours.d) == 0;
    default:
        return true;
    }
}

/* The tools write them as zeros, which is what they read as. */
static int64_t no_msrs(struct vcpu *v, const struct xen_domctl_cpu_policy *p)
{
    xen_msr_entry_t m;

    for (uint32_t i = 0; i < p->nr_msrs; i++) {
        if (!guest_copy_in(v, &m, hc_address(p->msrs.p) + i * sizeof(m), sizeof(m)))
            return -XEN_EFAULT;
        if (m.val != 0 || m.flags != 0)
            return -XEN_EINVAL;
    }
    return 0;
}

int64_t domctl_set_cpu_policy(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    struct xen_domctl_cpu_policy *p = &op->u.cpu_policy;

    if (d->state != DOMAIN_BUILDING || p->nr_leaves > LEAVES_MAX || p->nr_msrs > MSRS_MAX)
        return -XEN_EINVAL;
    for (uint32_t i = 0; i < p->nr_leaves; i++) {
        xen_cpuid_leaf_t l;

        if (!guest_copy_in(v, &l, hc_address(p->leaves.p) + i * sizeof(l), sizeof(l)))
            return -XEN_EFAULT;
        if (!promised(&l))
            return -XEN_EINVAL;
    }
    return no_msrs(v, p);
}
