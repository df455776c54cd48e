/*
 * What the control domain does with other domains' memory: it maps it by entries of its own tables, and
 * makes tables of it before its owner runs. See doc/control.md.
 */
#ifndef HV_HC_FOREIGN_H
#define HV_HC_FOREIGN_H

#include "hv/hc.h"
#include "hv/pv.h"

/* A request of the page-type machine's as a result of a hypercall: 0, HC_AGAIN, or an error. */
must_check int64_t hc_pv_request(struct direct_vcpu *v, const struct direct_request *r);

/*
 * An entry of the caller's table becomes `r->value`, which names a frame of `from`: by the owner's own
 * numbers, if `translate` and it has such; NULL: of the M2P, and not writable. 0, HC_AGAIN, or an error.
 */
must_check int64_t hc_foreign_update(struct vcpu *v, struct domain *from, struct direct_request *r,
                                     bool translate);

/* A table of another PV domain's is pinned or unpinned for it. */
must_check int64_t hc_foreign_operation(struct domain *of, const struct mmuext_op *op);

/* Operations on tables of others, for a caller that has none of its own. */
hypercall_handler hc_mmuext_op_of_others;

/* XENMEM_set_memory_map: what XENMEM_memory_map will answer to another domain. */
must_check int64_t hc_set_memory_map(struct vcpu *v, uint64_t va);

/* XENMEM_claim_pages: what is claimed must be there; it is not kept for the domain. */
must_check int64_t hc_claim_pages(struct vcpu *v, uint64_t va);

/* XENMEM_machphys_mfn_list: where the M2P's frames are. */
must_check int64_t hc_machphys_mfn_list(struct vcpu *v, uint64_t va);

/* XENMEM_acquire_resource: the frames of something that has no place in its owner's memory. */
must_check int64_t hc_acquire_resource(struct vcpu *v, uint64_t va);

#endif
