/* What goes into the core, and what it answers. The edge carries it out. */
#ifndef PAGING_VERDICT_H
#define PAGING_VERDICT_H

#include "pte.h"

/* An access. */
enum {
    ACC_WRITE = 1,
    ACC_USER = 2, /* made at CPL 3; implicit accesses to GDT, LDT, IDT, TSS never are */
    ACC_FETCH = 4,
    ACC_AC = 8,    /* EFLAGS.AC was set, and the access is explicit */
    ACC_WALK = 16, /* under nested paging: the processor walks the guest's tables */
    ACC_OURS = 32, /* the hypervisor's, for the guest: the monitor's rights are not asked */
};

/* A fault on memory after decoding. Nothing here names a vendor. */
struct fault {
    gva_t    va;      /* linear address; guest-physical under nested paging */
    unsigned acc;     /* ACC_* */
    bool     present; /* the processor found a present entry that forbids the access */
};

/* What of the TLB may hold too much now, for every root of the domain. */
enum flush_kind { FLUSH_NONE, FLUSH_PAGE, FLUSH_ALL };

enum verdict_kind {
    VERDICT_RETRY,   /* our tables are right now: run the instruction again         */
    VERDICT_INJECT,  /* the guest's own fault: deliver #PF with pfec, cr2 = va      */
    VERDICT_EMULATE, /* execute the instruction for the guest: a write to a table   */
    VERDICT_DEVICE,  /* gpa is not memory: a device, a hole, read-only memory       */
    VERDICT_ACCESS,  /* the monitor's rights forbid it at gpa: tell the monitor     */
    VERDICT_CRASH,   /* this domain cannot go on; `why` says so                     */
};

struct verdict {
    enum verdict_kind kind;
    enum flush_kind   flush;
    gva_t             va;   /* of FLUSH_PAGE, and of the fault that is injected */
    uint32_t          pfec; /* error code of the #PF, APM vol. 2, 8.4.2          */
    uint64_t          gpa;  /* of VERDICT_DEVICE, VERDICT_EMULATE, VERDICT_ACCESS */
    mfn_t             mfn;  /* of VERDICT_EMULATE: the frame behind gpa; A and D are set */
    const char       *why;
    bool              again; /* not finished: call again, after whoever waits; do not retire */
    bool              step;  /* frames are open to one instruction: then paging_step_done */
    uint8_t refused;  /* of VERDICT_ACCESS: enum access_type, what was missing; paging_step_done */
    bool    in_walk;  /* it was a walk of the guest's tables that needed it */
    bool    promoted; /* nothing is refused any more: the guest need not wait */
};

/* Error code bits of #PF: APM vol. 2, 8.4.2. */
enum {
    PFEC_P = 1,
    PFEC_W = 2,
    PFEC_U = 4,
    PFEC_RSVD = 8,
    PFEC_FETCH = 16,
};

#endif
