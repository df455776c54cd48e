/* Hypercalls: the only place where the ABI's numbers and errors meet our own. */
#ifndef HV_HYPERCALL_H
#define HV_HYPERCALL_H

#include "hv/domain.h"

struct hypercall {
    uint64_t nr;
    uint64_t arg[6];
    int64_t  result;
};

enum hypercall_outcome {
    HYPERCALL_DONE,  /* result is for the guest, advance past the instruction */
    HYPERCALL_AGAIN, /* not finished: leave RIP where it is, write back arg[], run it again */
};

/* The caller has checked that the guest is at CPL 0, and in 64-bit mode. */
must_check enum hypercall_outcome hypercall_run(struct vcpu *v, struct hypercall *h);

#endif
