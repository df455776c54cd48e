/*
 * The control domain's hypercalls: sysctl about the machine, domctl about a domain. Each operation gets our
 * copy of the caller's structure, which goes back if the operation answers. See doc/control.md.
 */
#ifndef HV_HC_CONTROL_H
#define HV_HC_CONTROL_H

#include "hv/hc.h"

typedef int64_t sysctl_run(struct vcpu *v, struct xen_sysctl *op);

/* `d` is the domain that is named: not dying, unless the operation says that it takes such. */
typedef int64_t domctl_run(struct vcpu *v, struct domain *d, struct xen_domctl *op);

/* ---- hc_domctl_info.c ---- */

void       domctl_describe(const struct domain *d, struct xen_domctl_getdomaininfo *info);
domctl_run domctl_getdomaininfo, domctl_getvcpuinfo, domctl_getvcpuaffinity, domctl_setvcpuaffinity,
    domctl_nodeaffinity;

/* ---- hc_monitor.c ---- */

domctl_run domctl_vm_event_op, domctl_set_access_required, domctl_debug_op, domctl_monitor_op;

/* ---- hc_domctl_build.c: of createdomain there is no domain ---- */

domctl_run domctl_createdomain, domctl_max_vcpus, domctl_settscinfo, domctl_gettscinfo,
    domctl_hypercall_init;

/* ---- hc_domctl_vcpu.c ---- */

domctl_run domctl_setvcpucontext, domctl_getvcpucontext, domctl_set_ext_vcpucontext,
    domctl_get_ext_vcpucontext, domctl_vcpuextstate, domctl_vcpu_msrs;

/* ---- hc_domctl_save.c ---- */

domctl_run domctl_getpageframeinfo3, domctl_shadow_op, domctl_resumedomain;
/* Of a domain that ends. */
void dirty_look_forget(struct domain *d);

/* ---- hc_domctl_hvm.c ---- */

domctl_run domctl_get_mempool_size, domctl_set_mempool_size, domctl_gethvmcontext,
    domctl_gethvmcontext_partial, domctl_sethvmcontext;
/* Registers of a vCPU that is up, as the structure of PV guests has them; what it has no place for is not told. */
void hvm_vcpu_tell(struct vcpu *v, struct vcpu_guest_context *c);
/*
 * General registers, RIP and those flags that a program may set are changed, after its domain has run. The rest must
 * be what is told: else, and before, -EOPNOTSUPP.
 */
must_check int64_t hvm_vcpu_change(struct vcpu *v, const struct vcpu_guest_context *c);
/* A step towards a pool of so many frames, or of the least that it must have: as a call's result. */
int64_t domctl_set_pool(struct domain *d, uint64_t frames);

/* ---- hc_policy.c ---- */

sysctl_run sysctl_get_cpu_policy, sysctl_get_cpu_featureset;
domctl_run domctl_get_cpu_policy, domctl_set_cpu_policy;

/* ---- hc_sysctl_cpu.c ---- */

sysctl_run sysctl_cputopoinfo, sysctl_numainfo, sysctl_cpupool_op;

/* Bits 0 to 7 of a bitmap that a caller has given room for; the rest of it, up to 512 bits, is 0. */
must_check bool bitmap_out(struct vcpu *v, const struct xenctl_bitmap *map, uint8_t bits);
/* The first 8 bits of a caller's bitmap. */
must_check bool bitmap_in(struct vcpu *v, const struct xenctl_bitmap *map, uint8_t *bits);

#endif
