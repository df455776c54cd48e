/*
 * Guest memory, the one way to it. It is hostile and changes while it is read: copy each
 * word once, then look at the copy.
 */
#ifndef HV_GUEST_H
#define HV_GUEST_H

#include "hv/domain.h"

enum guest_status {
    GUEST_OK,
    GUEST_FAULT,  /* the guest's own #PF at va, with pfec */
    GUEST_DEVICE, /* not memory, at gpa */
};

struct guest_result {
    enum guest_status status;
    gva_t             va;
    uint32_t          pfec;
    uint64_t          gpa;
    size_t            done; /* bytes, a prefix */
};

/*
 * By linear address, as an access `acc` (ACC_*; the direction is added here). Crosses
 * pages; A and D are set as the processor would. A write checks all pages before it
 * changes the first byte. Flushes that follow from a write to a table are queued for the
 * next entry (vcpu_flush).
 */
must_check struct guest_result guest_read(struct vcpu *v, gva_t va, void *to, size_t len,
                                          unsigned acc);
must_check struct guest_result guest_write(struct vcpu *v, gva_t va, const void *from, size_t len,
                                           unsigned acc);

/* Compare and exchange of 1, 2, 4, 8 or 16 bytes, atomic within a page. */
must_check struct guest_result guest_cmpxchg(struct vcpu *v, gva_t va, void *old, const void *new,
                                             unsigned len, unsigned acc, bool *done);

/* The hypercall handlers' short forms: CPL 0 with AC set, true if all went well. */
must_check bool guest_copy_in(struct vcpu *v, void *to, uint64_t va, size_t len);
must_check bool guest_copy_out(struct vcpu *v, uint64_t va, const void *from, size_t len);

/* By guest-physical address; false if some of it is not memory. */
must_check bool guest_phys_read(struct domain *d, uint64_t gpa, void *to, size_t len);
must_check bool guest_phys_write(struct domain *d, uint64_t gpa, const void *from, size_t len);

/*
 * Carries out what a verdict asks of the TLBs, for all vCPUs of the domain. Provided by the
 * edge; called with the paging lock held, before a frame is reused.
 */
void vcpu_flush(struct domain *d, const struct verdict *verdict);

/* The same for a verdict that most often asks for nothing. */
static inline void verdict_flush(struct domain *d, const struct verdict *verdict)
{
    if (verdict->flush != FLUSH_NONE)
        vcpu_flush(d, verdict);
}

#endif
