/*
 * Domains and vCPUs.
 *
 * A domain is built while paused, runs, stops (of itself, or because it crashed), keeps its
 * structures until somebody has looked at them, and is then destroyed piece by piece.
 */
#ifndef HV_DOMAIN_H
#define HV_DOMAIN_H

#include "hv/abi.h"
#include "hv/config.h"
#include "hv/machine.h"
#include "hv/timer.h"
#include "paging/paging.h"

#define DOMAIN_VCPUS_MAX 8
#define DOMAIN_PORTS_MAX 1024 /* event channels, two-level ABI, of which we offer so many */

enum domain_state {
    DOMAIN_BUILDING,
    DOMAIN_RUNNING,
    DOMAIN_STOPPED, /* powered off, rebooted or destroyed by itself: `stop` says which */
    DOMAIN_CRASHED, /* `why` says why */
    DOMAIN_DYING,
};

enum vcpu_state {
    VCPU_DOWN,
    VCPU_RUNNABLE,
    VCPU_BLOCKED, /* until an event */
    VCPU_WATCHED, /* until a listener has heard of what it did: hv/vm_event.h */
};

/* How its memory is translated: hv/kind.h. */
enum kind { PAGED_DIRECT, PAGED_SHADOW, PAGED_NESTED, PAGED_KINDS };

/* What happened under a kind of paging: by this one kind is to be compared with another. */
struct kind_account {
    uint64_t ran;    /* ns that its vCPUs had a processor, exits included   */
    uint64_t exits;  /* out of the guest...                                 */
    uint64_t ticks;  /* ...and what the hypervisor took for them            */
    uint64_t faults; /* on memory that ended in our tables' core            */
    uint64_t walks;  /* of the guest's tables that we made for it           */
};

/* Areas in guest memory that are older than what they should say. */
enum {
    VCPU_STALE_TIME = 1,
    VCPU_STALE_RUNSTATE = 2,
};

#define DOMAIN_GRANT_FRAMES 4  /* grant table frames a domain may have */
#define DOMAIN_LIMBO_MAX    32 /* frames taken from a guest that our own tables still name */
#define DOMAIN_HYPERCALLS   64

#define DOMAIN_RANGES_MAX 16

/* An entry of the BIOS's e820 call: 20 bytes, nothing between them. */
struct domain_range {
    uint64_t address, size;
    uint32_t type;
} __attribute__((packed));

struct machine_vcpu; /* the edge's side */
struct machine_platform;
struct evtchn_port;  /* hv/evtchn.c */
struct ring_console; /* hv/ring.c */
struct pv_domain;    /* hv/pv.h */
struct grant_uses;   /* hv/grant.h */
struct vm_event;     /* hv/vm_event.h */
struct dirty_look;   /* hv/hc_domctl_save.c */
struct pv_vcpu;

/* What a listener knows of a vCPU, and wants of it: hv/vm_event.h. */
struct vcpu_watch {
    uint8_t notes;   /* of what it did, that are not in the ring yet */
    bool    asked;   /* it waits for an answer                       */
    bool    stepped; /* each of its instructions is told             */
    uint8_t gate;    /* enum vm_event_gate */
};

struct vcpu {
    struct domain       *domain;
    unsigned             id;
    enum vcpu_state      state;
    struct machine_vcpu *machine;
    struct pv_vcpu
        *pv; /* of a PV domain, else NULL; such a one has neither `machine` nor `paging` */
    struct paging_vcpu paging;
    struct vcpu_watch  watch;

    /* The ABI's areas, as registered. NULL or GFN_NONE: none. */
    struct vcpu_info         *info; /* in memory of the domain, which stays while it lives */
    mfn_t                     info_mfn;
    gva_t                     runstate_va; /* written when the vCPU runs, by guest_write */
    gva_t                     time_va;
    struct vcpu_runstate_info runstate;

    struct timer singleshot; /* VCPUOP_set_singleshot_timer */
    struct timer periodic;
    uint64_t     period; /* ns, 0: off */
    uint16_t     virq_port[24];
    uint64_t     slice_end; /* machine_now() at which others may have the CPU */
    uint64_t     ran;       /* ns */
    bool         poll;      /* SCHEDOP_poll: blocked until one of its ports */
    struct timer poll_timer;
    uint32_t     stale;        /* VCPU_STALE_*: what vcpu_before_entry has to write */
    uint32_t     time_version; /* of the last vcpu_time_info, even */
    uint64_t     time_written; /* machine_now() of it */
};

struct domain {
    uint16_t             id;
    char                 name[CONFIG_NAME_MAX];
    enum domain_state    state;
    unsigned             stop;     /* SHUTDOWN_* when stopped */
    char                 why[160]; /* when crashed */
    unsigned             paused;   /* by the monitor */
    unsigned             nr_vcpus;
    struct vcpu         *vcpu[DOMAIN_VCPUS_MAX];
    struct domain       *next; /* list of all, by id */
    struct paging_domain paging;
    struct config        config; /* as the file says */
    xen_domain_handle_t  handle; /* as whoever made it calls it */
    uint64_t             pages;  /* of memory that it owns */
    uint64_t             max_pages;
    struct domain_range  map[DOMAIN_RANGES_MAX]; /* that it is told of */
    uint32_t             map_entries;

    struct shared_info  *shared; /* a frame of its own memory accounting aside */
    mfn_t                shared_mfn;
    gfn_t                shared_gfn; /* where the guest has put it, GFN_NONE: nowhere */
    mfn_t                grant_mfn[DOMAIN_GRANT_FRAMES]; /* grant table frames, version 1 */
    gfn_t                grant_gfn[DOMAIN_GRANT_FRAMES];
    unsigned             grant_frames;
    struct grant_uses   *grants;       /* hv/grant.h; NULL: nobody has used any */
    struct foreign_uses *foreigns;     /* hv/foreign.h; NULL: it never had any */
    unsigned             grant_cursor; /* of its destruction */
    uint64_t             hvm_param[HVM_NR_PARAMS];
    uint8_t              callback_vector; /* 0: none */
    struct evtchn_port  *ports;           /* [DOMAIN_PORTS_MAX] */
    unsigned             ports_end;       /* from here on all are free */
    struct ring_console *console;
    uint64_t             build_frames; /* frames free in the machine before it was built */

    struct kind_account kind_account[PAGED_KINDS]; /* up to the last change... */
    struct kind_account kind_since;                /* ...when the counters stood here */
    uint64_t            kind_changes;
    uint64_t            access_told;        /* since rights were set: access.h */
    bool                access_by_operator; /* whose rights they are; else a listener's */
    bool                access_every;       /* he is told each time, and not once a frame */
    bool                access_required;    /* without a listener what they forbid is a crash */
    struct vm_event    *vm_event;           /* NULL: nobody listens */
    struct dirty_look  *dirty_look;         /* hv/hc_domctl_save.c; NULL: none goes on */

    struct pv_domain        *pv;          /* a PV domain: direct paging; NULL: another */
    struct machine_platform *platform;    /* its devices; NULL: none */
    uint32_t                 exit_status; /* when it stopped by domain_exit, else 0 */

    mfn_t    console_frame, store_frame; /* special pages; they stay while the domain lives */
    mfn_t    block;                      /* 2 MiB that are being made ready, MFN_NONE: none */
    uint64_t block_cleared;              /* frames of it */
    mfn_t    limbo[DOMAIN_LIMBO_MAX];    /* MFN_NONE: unused */
    uint32_t vm_assist;                  /* bit per VMASST_TYPE_* that is on */
    uint64_t hypercalls[DOMAIN_HYPERCALLS];
    uint64_t hypercalls_unknown;
    bool     paging_ready;   /* paging_domain_init has succeeded */
    uint8_t  destroy_stage;  /* hv/destroy.c */
    uint64_t destroy_cursor; /* frame number */
    uint64_t destroy_again;  /* machine_now() before which it waits for others to let go */
};

extern struct domain *domains; /* list */

struct domain *domain_by_id(uint16_t id);
struct domain *domain_by_name(const char *name_or_id);

/* The paging lock of the domain. Today one CPU runs the hypervisor: it is the big lock. */
static inline struct paging_locked domain_lock(struct domain *d)
{
    return (struct paging_locked){ &d->paging };
}

/*
 * The guest broke a rule that cannot be undone. Prints "umbra: NAME crashed: ..." once,
 * stops all its vCPUs, touches nothing else. The caller goes on to its return.
 */
void domain_crash(struct domain *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The domain stopped by itself: SHUTDOWN_poweroff, _reboot, _crash... */
void domain_stop(struct domain *d, unsigned reason);

/*
 * It stopped with SHUTDOWN_suspend: it keeps what it has, and whoever manages it may look at it, and let it go on
 * or destroy it.
 */
static inline bool domain_is_suspended(const struct domain *d)
{
    return d->state == DOMAIN_STOPPED && d->stop == SHUTDOWN_suspend;
}

/* A suspended domain goes on behind the call by which it stopped; false: it is not suspended. */
must_check bool domain_resume(struct domain *d);

/* The domain stopped by itself, and said how well it went: 0 is success. */
void domain_exit(struct domain *d, uint32_t status);

/* It crashed, or ended with a status that its file does not call a success. */
bool domain_failed(const struct domain *d);

/* The main loop is to look again who may run. */
void domain_reschedule(void);

void domain_pause(struct domain *d);
void domain_unpause(struct domain *d);

/* The edge's side of it is there: it may run. */
static inline bool vcpu_has_edge(const struct vcpu *v)
{
    return v->machine != NULL || v->pv != NULL;
}

/* ---- scheduling ---- */
bool vcpu_may_run(const struct vcpu *v); /* running, not paused, nothing pending on this CPU */

/* The same for who knows the CPU: asked before each entry. */
static inline bool vcpu_may_run_on(const struct cpu *cpu, const struct vcpu *v)
{
    return v->state == VCPU_RUNNABLE && v->domain->state == DOMAIN_RUNNING &&
           v->domain->paused == 0 && __atomic_load_n(&cpu->pending, __ATOMIC_RELAXED) == 0;
}

void vcpu_block(struct vcpu *v); /* HLT, SCHEDOP_block: until vcpu_kick */
void vcpu_kick(struct vcpu *v);  /* an event has come for it */

/* ---- events ---- */
/*
 * True if the event channel upcall is to be injected as an interrupt with this vector as
 * soon as the guest takes interrupts. Level triggered: it stays until the guest clears it.
 */
bool vcpu_upcall(const struct vcpu *v, uint8_t *vector);

/* Whether there is one; asked before each entry. */
static inline bool vcpu_has_vector_upcall(const struct vcpu *v)
{
    return v->domain->callback_vector != 0 &&
           __atomic_load_n(&v->info->evtchn_upcall_pending, __ATOMIC_SEQ_CST) != 0;
}

/* The same of a PV guest, which masks events itself. */
static inline bool vcpu_has_event_upcall(const struct vcpu *v)
{
    return __atomic_load_n(&v->info->evtchn_upcall_pending, __ATOMIC_SEQ_CST) != 0 &&
           __atomic_load_n(&v->info->evtchn_upcall_mask, __ATOMIC_SEQ_CST) == 0;
}

static inline bool vcpu_has_upcall(const struct vcpu *v)
{
    return v->pv != NULL ? vcpu_has_event_upcall(v) : vcpu_has_vector_upcall(v);
}

/* Called by the edge right before it enters the guest: time and runstate areas, if stale. */
void vcpu_before_entry(struct vcpu *v);

/* A port of I/O that nobody else knows: 0xe9 is the domain's debug console. */
void domain_debug_char(struct domain *d, char c);

#endif
