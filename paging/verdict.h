/* What goes into the core, and what it answers. The edge carries it out. */
#ifndef PAGING_VERDICT_H
#define PAGING_VERDICT_H

#include "pte.h"

/* An access. */
enum {
    ACC_WRITE = 1,
    ACC_USER = 2, /* made at CPL 3; implicit accesses to GDT, LDT, IDT, TSS never are */
    ACC_FETCH = 4,
    ACC_AC = 8, /* EFLAGS.AC was set, and the access is explicit */
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
    VERDICT_CRASH,   /* this domain cannot go on; `why` says so                     */
};

struct verdict {
    enum verdict_kind kind;
    enum flush_kind   flush;
    gva_t             va;   /* of FLUSH_PAGE, and of the fault that is injected */
    uint32_t          pfec; /* error code of the #PF, APM vol. 2, 8.4.2          */
    uint64_t          gpa;  /* of VERDICT_DEVICE and VERDICT_EMULATE             */
    mfn_t             mfn;  /* of VERDICT_EMULATE: the frame behind gpa; A and D are set */
    const char       *why;
    bool              again; /* not finished: call again, after whoever waits; do not retire */
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
