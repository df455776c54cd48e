/*
 * The monitor's rights on a domain's frames (paging/access.h), and who is told of what they forbid:
 *
 *   a listener (hv/vm_event.h)   each time; the vCPU waits for its answer
 *   else the operator            once, if the rights are his; then the frame has all rights
 *   else nobody                  the domain crashes if it requires a listener; or the frame has all
 *                                rights from then on, also where it is only opened for a walk
 */
#ifndef HV_ACCESS_H
#define HV_ACCESS_H

#include "hv/domain.h"

#define ACCESS_TOLD_LINES                                                                          \
    32 /* printed of what is told since rights were set; the rest is counted */

/*
 * An access of this vCPU at the linear address `va` was forbidden (VERDICT_ACCESS); `rip` is where,
 * or 0 if the hypervisor made it for the guest. It can be made again at once. Under nested paging the
 * linear address is not known.
 */
void access_tell(struct vcpu *v, const struct verdict *refusal, gva_t va, uint64_t rip);

/*
 * Closes what is open to one instruction of this vCPU's, which stands or stood at `rip`: what a
 * walk has written there is told. Where nobody would be told, the frame has all rights from then on:
 * else each walk of a table would be stepped for ever.
 */
void access_close(struct vcpu *v, uint64_t rip);

/* This vCPU has executed an instruction while each is to be told, and goes on at `rip`. */
void access_stepped(struct vcpu *v, gva_t rip);

/* paging_reach, where what is forbidden is told and then allowed: REACH_ACCESS never comes back. */
must_check struct paging_reach access_reach(struct vcpu *v, gva_t va, unsigned acc);

/* Why this domain cannot be given rights now, in words; NULL: it can. */
must_check const char *access_refused(const struct domain *d);

/* What a right is called, as an operator writes it: n r w rw x rx wx rwx rx2rw n2rwx default. */
must_check const char *access_name(enum access_type type);

/* False: no such name. */
must_check bool access_by_name(const char *name, enum access_type *type);

/* Where the numbers of its frames end; a PV domain's are the machine's. */
must_check uint64_t access_frames(const struct domain *d);

/*
 * Sets frames, or the default; the vCPUs may run between steps. False: there is no memory for it,
 * and the domain was told so. Rights that are set begin a new count.
 */
must_check bool access_change(struct domain *d, gfn_t first, uint64_t count, enum access_type type);
must_check bool access_change_default(struct domain *d, enum access_type type);

/* All frames have all rights again. */
void access_end(struct domain *d);

#endif
