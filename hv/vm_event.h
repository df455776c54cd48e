/*
 * The monitor of a domain as a program of the control domain sees it: vm_event, version 7, by a ring
 * page and an event channel; doc/vm_event.md.
 *
 * Invariants:
 *  - A vCPU that waits for an answer, or for a place in the ring, does not run (VCPU_WATCHED).
 *  - A request is in the ring, or in the backlog in the order in which they arose; none is lost, and
 *    the backlog has a place for each that can arise before its vCPU stops. (What one hypercall of a
 *    guest reaches in vain beyond that is counted: `untold`.)
 *  - An answer counts if it has the version, a vCPU of the domain's, and that one was asked.
 *  - When the listener goes, every vCPU that waits goes on, and makes its access again. It has gone when
 *    its end of the channel closes, and before it has one, when nobody has the page mapped.
 */
#ifndef HV_VM_EVENT_H
#define HV_VM_EVENT_H

#include "hv/domain.h"
#include "hv/pv.h"
#include "hv/vm_event_ring.h"

#define VM_EVENT_NOTES                                                                             \
    17 /* of a vCPU in the backlog: one it waits for, and those of accesses made for it */

/* In a mask of events: domctl.h. */
#define VM_EVENT_BIT(name) (1u << XEN_DOMCTL_MONITOR_EVENT_##name)

#define VM_EVENT_CRS  3  /* control registers: CR0, CR3, CR4 by their numbers in vm_event.h */
#define VM_EVENT_MSRS 16 /* that are told at once */

/* Writes to one register that are told. */
struct vm_event_register {
    uint32_t msr;
    bool     on, sync;
    bool     on_change; /* only if the value changes           */
    uint64_t ignored;   /* bits whose change alone is not told */
};

/* A write to a register that was told: what becomes of it. */
enum vm_event_gate {
    VM_EVENT_GATE_NONE,
    VM_EVENT_GATE_ASKED, /* it waits for the answer  */
    VM_EVENT_GATE_OPEN,  /* it is to be made         */
    VM_EVENT_GATE_SHUT,  /* it is over, and not made */
};

union vm_event_what {
    struct vm_event_mem_access    mem_access;
    struct vm_event_singlestep    singlestep;
    struct vm_event_write_ctrlreg write_ctrlreg;
    struct vm_event_mov_to_msr    mov_to_msr;
    struct vm_event_debug         debug;
    struct vm_event_cpuid         cpuid;
};

/* A request without the registers, which are added when it goes into the ring: its vCPU stands still. */
struct vm_event_note {
    uint32_t            reason; /* VM_EVENT_REASON_* */
    uint8_t             vcpu;
    bool                sync; /* the vCPU waits for the answer */
    union vm_event_what what;
};

/* What a domain has while somebody listens. */
struct vm_event {
    struct vm_event_ring     ring;
    mfn_t                    frame; /* of the ring */
    unsigned                 port;  /* of the domain's, whose owner is the hypervisor */
    uint16_t                 listener;
    uint32_t                 events;       /* VM_EVENT_BIT: told besides accesses */
    bool                     request_sync; /* the guest waits when it asks        */
    bool                     debug_sync;   /* at a debug exception                */
    struct vm_event_register cr[VM_EVENT_CRS], msr[VM_EVENT_MSRS];
    unsigned                 first, count; /* of the backlog */
    struct vm_event_note     backlog[DOMAIN_VCPUS_MAX * VM_EVENT_NOTES];
    uint64_t                 asked, answered, refused, untold;
    struct timer             again; /* until there is an answer: the ring is looked at */
};

enum vm_event_result {
    VM_EVENT_OK,
    VM_EVENT_BUSY,      /* somebody listens already, or nobody does */
    VM_EVENT_NO_PAGE,   /* the domain has no page for a ring */
    VM_EVENT_NO_MEMORY, /* or no free port */
};

/*
 * From now on the domain `listener` is asked, by the page at HVM_PARAM_MONITOR_RING_PFN. *port is for
 * it to bind to.
 */
must_check enum vm_event_result vm_event_enable(struct domain *d, uint16_t listener,
                                                unsigned *port);
/* Nobody listens any more. */
void vm_event_disable(struct domain *d);
/* The same if the listener has died before it bound its channel. */
void vm_event_disable_dead(struct domain *d);

static inline bool vm_event_is_on(const struct domain *d)
{
    return d->vm_event != NULL;
}

/* Something happened on this vCPU. Somebody must listen. */
void vm_event_raise(struct vcpu *v, const struct vm_event_note *note);

/* Each instruction of this vCPU's is told, or no more. */
void vm_event_step(struct vcpu *v, bool on);

/* It has executed one of them, and the next is in this guest frame. */
void vm_event_stepped(struct vcpu *v, uint64_t gfn);

/* The guest itself asks for an event: HVMOP_guest_request_vm_event. */
void vm_event_guest_request(struct vcpu *v);

/*
 * It has executed CPUID, of so many bytes. True: the listener is asked, and RIP stays where it is: it is
 * the listener that moves it.
 */
must_check bool vm_event_cpuid(struct vcpu *v, unsigned length, uint32_t leaf, uint32_t subleaf);

/*
 * The vCPU is about to write a register, by an instruction that stands at RIP. OPEN: it is to be written
 * now; vm_event_written is called when it was, or when the guest got an exception instead. SHUT: it is
 * not, and the instruction is over. ASKED: its exit is dealt with again when the vCPU runs next.
 */
must_check enum vm_event_gate vm_event_write_cr(struct vcpu *v, unsigned index, uint64_t old,
                                                uint64_t value);
must_check enum vm_event_gate vm_event_write_msr(struct vcpu *v, uint32_t msr, uint64_t old,
                                                 uint64_t value);
static inline void            vm_event_written(struct vcpu *v)
{
    v->watch.gate = VM_EVENT_GATE_NONE;
}

/* Is anything told of the register, or of such an event (VM_EVENT_BIT)? */
must_check bool vm_event_wants_cr(const struct domain *d, unsigned index);
must_check bool vm_event_wants(const struct domain *d, uint32_t bit);

/*
 * INT3, or a debug exception with the causes `pending`, in this guest frame. True: the listener is asked, and
 * nothing is delivered unless it does that itself.
 */
must_check bool vm_event_breakpoint(struct vcpu *v, uint64_t gfn, unsigned length);
must_check bool vm_event_debug(struct vcpu *v, uint64_t gfn, const struct vm_event_debug *what);

/* Writes to a register are told from now on, or no more: 0, -EEXIST, -ENOSPC. */
must_check int64_t vm_event_watch_cr(struct domain *d, unsigned index,
                                     const struct vm_event_register *how);
must_check int64_t vm_event_watch_msr(struct domain *d, const struct vm_event_register *how);

/* The listener has sent its event, or asks for it by hypercall: answers are there. */
void vm_event_answered(struct domain *d);

/* ---- the page of the ring: vm_event_page.c ---- */

/* What HVM_PARAM_MONITOR_RING_PFN is of a PV domain: a number that none of its frames has. */
#define VM_EVENT_PV_PFN (PV_PFN_MAX - 1)

/* Where the ring of a listener can be; MFN_NONE: there is no page for it. */
must_check mfn_t vm_event_page(const struct domain *d);
/* It is the guest's again, or nobody's, unless something else is there by now. */
void vm_event_give_back(struct domain *d, mfn_t mfn);

/*
 * A page for the ring of this listener to a PV domain, which is there from then on until the domain, its
 * listener or the listening ends: MFN_NONE if there is none.
 */
must_check mfn_t vm_event_make_page(struct domain *d, struct domain *listener);
/* A frame of the listener's, which has a map of ours, is that from now on. */
void vm_event_use_page(struct domain *d, mfn_t mfn);
/* True if the frame is that. */
must_check bool vm_event_is_page(const struct domain *d, mfn_t mfn);

/* True if somebody has the ring's page mapped, as a listener has it from before it is enabled. */
must_check bool vm_event_is_mapped(const struct domain *d, mfn_t mfn);

/* The domain ends: nobody listens to it, and it listens to nobody. */
void vm_event_end(struct domain *d);

/* True if the frame must not be given back: it is the ring of a listener. */
static inline bool vm_event_holds(const struct domain *d, mfn_t mfn)
{
    return d->vm_event != NULL && mfn_eq(mfn, d->vm_event->frame);
}

#endif
