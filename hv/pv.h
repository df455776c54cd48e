/*
 * Paravirtual domains: what one has beside a domain's common parts, and the calls into the
 * page-type machine (paging/direct.h). See doc/pv.md.
 *
 * References that are held for the hypervisor's own writes (shared pages) and for the tables of
 * descriptors are all listed here, so that nothing is left when a domain is taken down.
 */
#ifndef HV_PV_H
#define HV_PV_H

#include "hv/abi.h"
#include "hv/domain.h"
#include "paging/direct.h"

#define PV_GDT_FRAMES 14 /* pages of a GDT that are the guest's: FIRST_RESERVED_GDT_PAGE */
#define PV_LDT_FRAMES 16 /* 8192 descriptors */
#define PV_VECTORS    256
#define PV_BUDGET     64   /* entries that one call into the page-type machine looks at */
#define PV_BUDGET_NOW 1024 /* of a request that does not stop: a page of descriptors, twice */

#define PV_PFN_NONE UINT64_MAX                               /* in the M2P */
#define PV_PFN_MAX  (UINT64_C(1) << (P2M_BITS - PAGE_SHIFT)) /* what is not below it is no number */

#define PV_RESERVED_START UINT64_C(0xffff800000000000) /* the hypervisor's: root slots 256 to 271 */
#define PV_RESERVED_END   UINT64_C(0xffff880000000000)

/*
 * The general registers and what an interrupt pushes, in the order in which entry.S has them. A system
 * call that takes the short way leaves the first six in the processor.
 */
struct pv_regs {
    uint64_t r15, r14, r13, r12, rbp, rbx;
    uint64_t r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

/* Where the guest's kernel wants to be entered. */
struct pv_trap {
    uint64_t address; /* 0: nowhere */
    uint8_t  dpl;     /* INT n of a program may use it if this is 3 */
    bool     masks;   /* events are masked at its entry */
};

enum pv_callback {
    PV_CALLBACK_EVENT,
    PV_CALLBACK_FAILSAFE,
    PV_CALLBACK_SYSCALL,
    PV_CALLBACK_SYSCALL32,
    PV_CALLBACK_SYSENTER,
    PV_CALLBACK_NMI,
    PV_CALLBACKS,
};

enum { PV_DS, PV_ES, PV_FS, PV_GS, PV_SELECTORS };

/* Kinds of exit that are counted. */
enum pv_kind {
    PV_KIND_INTERRUPT,
    PV_KIND_HYPERCALL,
    PV_KIND_SYSCALL, /* of a program, to the guest's kernel */
    PV_KIND_PAGE_FAULT,
    PV_KIND_SHADOW_FAULT, /* of ours, not of the guest's */
    PV_KIND_TABLE_WRITE,
    PV_KIND_PRIVILEGED,
    PV_KIND_EXCEPTION,
    PV_KIND_REFUSED, /* the processor refused to enter the guest */
    PV_KINDS,
};

struct pv_stat {
    uint64_t count, ticks;
};

/* One instruction and nothing after it, and each of them told: x86/pv/step.c. */
struct pv_step {
    bool open;     /* the next entry ends after one instruction:                  */
    bool first;    /* nothing else may be bounced before it,                      */
    bool each;     /* or all entries do so, since a listener wants to know        */
    bool mute;     /* it is to be carried out here, without its writes            */
    bool due;      /* one has been executed, which is to be told                  */
    bool armed;    /* this entry ends so                                          */
    bool trap;     /* the guest's own TF                                          */
    bool held;     /* it stands behind a MOV SS, and may be executed together     */
    uint8_t class; /* enum step_class of the instruction...                       */
    uint64_t at;   /* ...that stands there                                        */
};

/* An exception or a software interrupt of a listener's, which the vCPU finds next: x86/pv/event.c. */
struct pv_injected {
    bool     due;
    uint8_t  vector, type; /* XEN_DMOP_EVENT_* */
    uint32_t error;        /* ~0: none */
    uint64_t cr2;
};

struct pv_vcpu {
    struct pv_regs regs;     /* first: entry.S. What RSP0 points behind while it is loaded */
    uint64_t       host_rsp; /* entry.S */
    bool           slow;     /* no exit may take the short way */
    bool           kernel;   /* the guest's kernel runs, not one of its programs */
    bool           ts;       /* CR0.TS, as the guest wants it */
    bool           fsgsbase; /* CR4.FSGSBASE, the same        */

    struct cpu        *cpu; /* that runs it, or did so last */
    struct vcpu       *vcpu;
    struct direct_vcpu direct;
    struct pv_trap     trap[PV_VECTORS];
    struct pv_trap     callback[PV_CALLBACKS];
    uint64_t           kernel_sp;                   /* where bounces from programs begin */
    uint64_t           fs_base, gs_kernel, gs_user; /* while it is not loaded: see x86/pv */
    uint16_t           selector[PV_SELECTORS];      /* the same                            */
    uint64_t           dr[8];                       /* DR0 to DR3, DR6, DR7                */
    bool               selectors_refused;           /* one could not be loaded: failsafe   */
    uint64_t           fault_address;               /* CR2 of the last page fault          */
    mfn_t              gdt[PV_GDT_FRAMES];          /* each with a reference; MFN_NONE: none */
    unsigned           gdt_entries;
    mfn_t              gdt_next[PV_GDT_FRAMES]; /* of a set_gdt that goes on: its frames...  */
    unsigned           gdt_ready;               /* ...of which so many have a reference each */
    gva_t              ldt;
    unsigned           ldt_entries;
    mfn_t              ldt_frame[PV_LDT_FRAMES]; /* the same, when used */
    struct pv_stat     stat[PV_KINDS];
    struct pv_step     step;
    struct pv_injected injected;
    uint8_t            fpu[512] __attribute__((aligned(16)));
};
_Static_assert(sizeof(struct pv_regs) == 22 * 8, "x86/pv/entry.S");
_Static_assert(offsetof(struct pv_vcpu, host_rsp) == 22 * 8, "x86/pv/entry.S");

/* Where a PV domain stands between its own tables and shadows of them: pv_shadow.c. */
enum pv_mode { PV_ON_ITS_OWN, PV_FILLING, PV_SHADOWED, PV_EMPTYING };

#define PV_RINGS_MAX 8 /* of other PV domains, which one listens to */
#define PV_HELD_MAX  (DOMAIN_VCPUS_MAX + DOMAIN_GRANT_FRAMES + 3 + PV_RINGS_MAX)

struct pv_domain {
    struct direct_domain direct;
    struct direct_vcpu   keeper;            /* for what no vCPU of the domain asks for */
    mfn_t                held[PV_HELD_MAX]; /* kept writable for us */
    unsigned             helds;
    uint8_t              mode;    /* enum pv_mode */
    bool                 logging; /* log-dirty is why it is shadowed */
    bool                 watched; /* a listener is */
    mfn_t                ring;    /* of a listener, or MFN_NONE: vm_event_page.c */
    uint64_t             pfn_end; /* beyond all numbers of its frames that there ever were */
};

/* ---- the page-type machine ---- */

extern struct direct_machine pv_machine;

enum pv_result {
    PV_DONE,
    PV_AGAIN, /* make the same request again, after others had their turn */
    PV_REFUSED,
};

/*
 * Carries out a request for `v` (a vCPU of the domain, or its keeper), with all that it asks of the
 * processor, as far as it comes until others should have their turn (hc_preempt); *error says why it was refused, if that is not NULL.
 */
must_check enum pv_result pv_request(struct direct_vcpu *v, const struct direct_request *request,
                                     enum direct_error *error);

/*
 * The kernel's or the user's root of a vCPU becomes a table that is live already; false: nothing has
 * changed, and it takes a DIRECT_ROOT.
 */
must_check bool pv_root_now(struct pv_vcpu *v, mfn_t mfn, bool user);

/* pv_request until it is done, for what is known to be short; true if it was done. */
must_check bool pv_request_now(struct direct_vcpu *v, const struct direct_request *request);

/*
 * Releases a part of what earlier requests have left; true when nothing is left, which must be so
 * before the guest goes on.
 */
must_check bool pv_drain(struct direct_vcpu *v);

/* One reference of a kind (enum type_kind) on a frame of the domain, for as long as it is wanted. */
must_check bool pv_get(struct pv_vcpu *v, mfn_t mfn, uint8_t kind);
void            pv_put(struct pv_vcpu *v, mfn_t mfn, uint8_t kind);

/* Keeps a frame of the domain's own writable until the domain ends; false if it cannot be. */
must_check bool pv_hold(struct domain *d, mfn_t mfn);
/* Or until this; false: it is not held so. */
must_check bool pv_unhold(struct domain *d, mfn_t mfn);

/* The same for a domain: TYPE_NONE keeps the frame, whatever it is used as; pv_let_go ends that. */
must_check bool pv_keep(struct domain *d, mfn_t mfn, uint8_t kind);
void            pv_let_go(struct domain *d, mfn_t mfn, uint8_t kind);
/* True if the domain has the frame, or has given it back and still holds it. */
must_check bool pv_owns(const struct domain *d, mfn_t mfn);

/* A frame for the domain, zero, with its number in the M2P; MFN_NONE if there is none. */
must_check mfn_t pv_allocate(struct domain *d, uint64_t pfn);

/* Takes a frame from the domain that it has and nobody holds; what was taken is put back as it was. */
must_check bool pv_take(struct domain *d, mfn_t mfn);
void            pv_put_back(struct domain *d, mfn_t mfn);

/* Frames as pv_allocate's, 2^order of them beside each other, with numbers from `pfn` on. */
must_check mfn_t pv_allocate_block(struct domain *d, uint64_t pfn, unsigned order);

/* No TLB may know the frame any more from before nobody held it. */
void pv_forget(mfn_t mfn);

/* Gives frames that nobody holds any more to the allocator, a bounded number; true: none is left. */
must_check bool pv_collect(void);

/* The M2P's entry of a frame of the domain's, which is behind another guest frame from now on. */
void pv_m2p_set(struct domain *d, mfn_t mfn, uint64_t pfn);

/* What it says: the guest's own word, which may be any, and several frames may have the same. */
uint64_t pv_m2p_get(mfn_t mfn);

/* ---- tables ---- */

/* Where the entry of `level` for an address is. */
struct pv_place {
    mfn_t    table;
    unsigned index;
    pte_t    entry; /* read once */
};

/* Follows the tables of a validated root down; false if something is not present above `level`. */
must_check bool pv_walk(mfn_t root, gva_t va, unsigned level, struct pv_place *place);

/* Of an address in four levels: APM vol. 2, 5.3.1. */
static inline bool pv_is_canonical(uint64_t address)
{
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

/* True if a guest may use `bytes` bytes at a linear address: canonical, and none of ours. */
static inline bool pv_address_ok(uint64_t va, uint64_t bytes)
{
    uint64_t last = va + bytes - (bytes != 0);

    if (last < va)
        return false;
    return last < UINT64_C(0x800000000000) || va >= PV_RESERVED_END;
}

/*
 * The entry at `place`, of a leaf table, becomes one that maps a frame of the domain `from`, or none
 * (`value` 0), unless it has changed since it was read. The TLB does not know the old one then.
 */
must_check bool pv_map_foreign(struct pv_vcpu *v, const struct pv_place *place, uint64_t value,
                               uint16_t from);

/* ---- shadow mode: pv_shadow.c ---- */

/* Its vCPUs run on tables of ours. */
static inline bool pv_is_shadowed(const struct domain *d)
{
    return d->pv->mode == PV_SHADOWED;
}

/* Its tables say what no processor may see: it stays shadowed. */
static inline bool pv_is_leaky(const struct domain *d)
{
    return d->pv->direct.leaky;
}

enum pv_shadow_result { PV_SHADOW_DONE, PV_SHADOW_AGAIN, PV_SHADOW_NO_MEMORY };

/*
 * One bounded step towards shadows. The domain may run between two steps. No memory: what was taken
 * for it goes back in the background.
 */
must_check enum pv_shadow_result pv_shadow_on_step(struct domain *d);

/* Back to its own tables, at once; what is left of ours goes in the background. */
void pv_shadow_off(struct domain *d);

/* One bounded step of background work; false: there was something to do. */
must_check bool pv_shadow_work(struct domain *d);

/* The same when no vCPU will run again: true when no table of ours is left. */
must_check bool pv_shadow_release_step(struct domain *d);

/* What the page-type machine asks for about a table's shadows. */
void pv_shadow_obey(struct domain *d, const struct direct_ask *ask);

/* ---- looking at it: pv_view.c ---- */

/* Recomputes what doc/direct.md promises, for all PV domains at once; adds to `sum`. */
void pv_audit(struct audit *sum);
/* Walks the tables that the vCPU runs on; addresses in it are the machine's. */
void pv_view(const struct vcpu *v, gva_t va, struct paging_view *view);

/* shared_info, as a domain without vCPUs begins with; false: memory is short. */
must_check bool pv_build_shared(struct domain *d);
/* Fills the page of hypercalls, of a kernel that has one. */
void pv_hypercall_page(void *page);

/* ---- life ---- */

must_check bool pv_domain_create(struct domain *d);
must_check bool pv_vcpu_create(struct vcpu *v);
/* One bounded step of giving up all that the domain has; true when nothing is left. */
must_check bool pv_domain_release_step(struct domain *d);
void            pv_vcpu_destroy(struct vcpu *v);
void            pv_domain_destroy(struct domain *d);

/* ---- what the edge provides (x86/pv) ---- */

/* The hypervisor's entries of each root, DIRECT_SLOTS of them; and the writable M2P. */
const pte_t *pv_edge_slots(void);
uint64_t    *pv_edge_m2p(void);

/* The M2P's own frames, in pieces of 2 MiB beside each other, which are held and lent for DOMID_XEN. */
mfn_t pv_edge_m2p_frames(uint64_t *count);

/* The whole TLB of this CPU; one address of it. */
void pv_edge_flush(void);
void pv_edge_flush_address(gva_t va);

/* First frame number that an entry which is not present may say where processors see it; 0: any. */
uint64_t pv_edge_l1tf_limit(void);

/* The domain has just begun or ceased to be shadowed: the processor leaves what it has of it. */
void pv_edge_mode_changed(const struct domain *d);

/* The roots of the vCPU have changed: loads the one to be used, if it is the one that runs. */
void pv_edge_load_root(struct pv_vcpu *v);

/* The frames or the size of its descriptor tables have changed. */
void pv_edge_load_tables(struct pv_vcpu *v);

/* Between the guest's kernel and its programs. */
void pv_edge_toggle(struct pv_vcpu *v);

/* What is in the processor while the vCPU is loaded: FS and GS bases, TS, debug registers. */
enum pv_base { PV_BASE_FS, PV_BASE_GS_KERNEL, PV_BASE_GS_USER };
uint64_t pv_edge_get_base(struct pv_vcpu *v, enum pv_base which);
void     pv_edge_set_base(struct pv_vcpu *v, enum pv_base which, uint64_t base);
void     pv_edge_set_user_gs(struct pv_vcpu *v, uint16_t selector);
void     pv_edge_set_ts(struct pv_vcpu *v, bool ts);
/* The same when the guest itself asks for it. False: a listener is asked first, and the call is made again. */
must_check bool pv_edge_write_base(struct pv_vcpu *v, enum pv_base which, uint64_t base);
must_check bool pv_edge_write_ts(struct pv_vcpu *v, bool ts);
/* PV_CALLBACK_SYSENTER has another address, or none. */
void     pv_edge_sysenter_changed(struct pv_vcpu *v);
void     pv_edge_set_debug(struct pv_vcpu *v, unsigned number, uint64_t value);
uint64_t pv_edge_get_debug(const struct pv_vcpu *v, unsigned number);
/* CR0, CR2, CR3 and CR4 as the guest's kernel reads and writes them; false: there is none, or it may not be so. */
must_check bool pv_edge_get_control(struct pv_vcpu *v, unsigned number, uint64_t *value);
must_check bool pv_edge_set_control(struct pv_vcpu *v, unsigned number, uint64_t value);

/* Copies between us and the guest's linear addresses, which the loaded vCPU's kernel sees. */
must_check bool pv_edge_copy_in(struct vcpu *v, void *to, uint64_t va, size_t len);
must_check bool pv_edge_copy_out(struct vcpu *v, uint64_t va, const void *from, size_t len);

#endif
