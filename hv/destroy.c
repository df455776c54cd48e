/*
 * Taking a domain away, in bounded steps, from whatever state it was built to. First all
 * that can reach it, then our tables, then the frames: none is freed while a table or a TLB
 * knows it.
 */
#include "hv/alloc.h"
#include "hv/build.h"
#include "hv/console.h"
#include "hv/control.h"
#include "hv/domain_pool.h"
#include "hv/evtchn.h"
#include "hv/foreign.h"
#include "hv/grant.h"
#include "hv/guest.h"
#include "hv/hc_control.h"
#include "hv/preempt.h"
#include "hv/print.h"
#include "hv/pv.h"
#include "hv/ring.h"
#include "hv/sched.h"
#include "hv/time.h"
#include "hv/vm_event.h"

/* What a step may do: each is well below 100,000 instructions. */
#define TABLE_ENTRIES_PER_STEP 128
#define FRAMES_PER_STEP        1024 /* looked at */
#define FREED_PER_STEP         128
#define WORK_ENTRIES           128
#define LOOK_AGAIN             UINT64_C(100000000) /* ns: whether frames are mapped by others still */

enum {
    STAGE_CUT_OFF,
    STAGE_PORTS,
    STAGE_DIRECT,
    STAGE_TABLES,
    STAGE_BORROWED,
    STAGE_LENT,
    STAGE_POOL,
    STAGE_FRAMES,
    STAGE_REST,
};

static void release(mfn_t first, unsigned order)
{
    for (uint64_t i = 0; i < UINT64_C(1) << order; i++)
        *phys_frame(&machine_phys, mfn_of(first.raw + i)) = (struct frame){ .kind = FRAME_HV };
    phys_frame(&machine_phys, first)->order = (uint8_t)order;
    free_frames(first, order);
}

void domain_free_frame(struct domain *d, mfn_t mfn)
{
    d->pages--;
    release(mfn, 0);
}

/* No vCPU runs any more, nobody sends it events, no TLB knows its memory. */
static void cut_off(struct domain *d)
{
    const struct verdict everything = { .kind = VERDICT_RETRY, .flush = FLUSH_ALL };
    bool                 may_have_run = d->nr_vcpus != 0;

    d->state = DOMAIN_DYING;
    vm_event_end(d);
    dirty_look_forget(d);
    ring_console_destroy(d);
    machine_platform_destroy(d);
    console_forget(d);
    for (unsigned i = 0; i < d->nr_vcpus; i++)
        may_have_run = may_have_run && d->vcpu[i]->machine != NULL;
    if (may_have_run)
        vcpu_flush(d, &everything);
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        time_vcpu_stop(d->vcpu[i]);
        sched_forget(d->vcpu[i]);
    }
    control_raise(VIRQ_DOM_EXC);
}

/* The references of ours that keep frames which we share with it. */
static void let_go_of_shared(struct domain *d)
{
    if (d->pv != NULL)
        return; /* they are gone with its tables */
    if (mfn_valid(d->store_frame))
        direct_take_back(&machine_phys, d->store_frame);
    if (mfn_valid(d->shared_mfn))
        direct_take_back(&machine_phys, d->shared_mfn);
    for (unsigned i = 0; i < d->grant_frames; i++)
        direct_take_back(&machine_phys, d->grant_mfn[i]);
    for (unsigned i = 0; i < d->nr_vcpus; i++)
        if (!mfn_eq(d->vcpu[i]->info_mfn, d->shared_mfn))
            direct_take_back(&machine_phys, d->vcpu[i]->info_mfn);
}

/* The control domain still maps frames of it: then it is looked at again later, not at once. */
static bool waits(const struct domain *d)
{
    switch (d->destroy_stage) {
    case STAGE_LENT:
        return grant_is_lent(d) || (d->pv != NULL && d->pages != 0);
    case STAGE_FRAMES:
        return machine_now() < d->destroy_again;
    default:
        return false;
    }
}

/*
 * Frees the guest's frames that the next stretch of the frame table shows, those aside that somebody
 * still maps; true when none is left.
 */
static bool free_memory(struct domain *d)
{
    if (waits(d))
        return false;
    for (unsigned i = 0, freed = 0; i < FRAMES_PER_STEP && freed < FREED_PER_STEP && d->pages != 0;
         i++) {
        mfn_t               mfn = mfn_of(d->destroy_cursor);
        const struct frame *frame;

        if (mfn.raw >= machine_phys.frames)
            break;
        frame = phys_frame(&machine_phys, mfn);
        if (frame->kind == FRAME_GUEST && frame->owner == d->id &&
            !direct_is_lent(&machine_phys, mfn)) {
            pv_forget(mfn);
            domain_free_frame(d, mfn);
            freed++;
        }
        d->destroy_cursor++;
    }
    if (d->pages != 0 && d->destroy_cursor >= machine_phys.frames) {
        d->destroy_cursor = 0;
        d->destroy_again = machine_now() + LOOK_AGAIN;
    }
    return d->pages == 0;
}

static void free_vcpus(struct domain *d)
{
    for (unsigned i = d->nr_vcpus; i-- > 0;) {
        struct vcpu *v = d->vcpu[i];

        if (vcpu_has_edge(v))
            machine_vcpu_destroy(v);
        sched_forget(v);
        if (v->pv == NULL)
            release(v->paging.pae, 0);
        pv_vcpu_destroy(v);
        d->vcpu[i] = NULL;
        free_bytes(v, sizeof(*v));
    }
    d->nr_vcpus = 0;
}

static void free_domain(struct domain *d)
{
    struct domain **link = &domains;

    /* Every frame that was counted has been found again. */
    BUG_ON(d->pages != 0);
    BUG_ON(d->paging.pool.total != 0);
    free_vcpus(d);
    grant_destroy(d);
    pv_domain_destroy(d);
    while (*link != d)
        link = &(*link)->next;
    *link = d->next;
    free_bytes(d, sizeof(*d));
    control_raise(VIRQ_DOM_EXC);
}

bool domain_destroy_step(struct domain *d)
{
    bool done = true;

    switch (d->destroy_stage) {
    case STAGE_CUT_OFF:
        cut_off(d);
        break;
    case STAGE_PORTS:
        done = evtchn_destroy(d);
        break;
    case STAGE_DIRECT:
        done = d->pv == NULL || pv_domain_release_step(d);
        break;
    case STAGE_TABLES:
        done = !d->paging_ready || paging_domain_reap(domain_lock(d), TABLE_ENTRIES_PER_STEP);
        break;
    case STAGE_BORROWED:
        done = grant_release(d) && foreign_release(d);
        break;
    case STAGE_LENT:
        done = (d->pv == NULL || pv_collect()) && !waits(d);
        if (done)
            let_go_of_shared(d);
        break;
    case STAGE_POOL:
        done = domain_pool_drain(d);
        break;
    case STAGE_FRAMES:
        done = free_memory(d);
        break;
    case STAGE_REST:
        free_domain(d);
        return true;
    default:
        break;
    }
    if (done)
        d->destroy_stage++;
    return false;
}

void domain_destroy(struct domain *d)
{
    if (d->state == DOMAIN_DYING)
        return;
    cut_off(d);
    d->destroy_stage = STAGE_PORTS;
}

/* ---- background work ---- */

/* One step for this domain; true if it needs none soon. */
static bool work_step(struct domain *d)
{
    if (d->state == DOMAIN_DYING) /* nothing to do, if it waits for others */
        return domain_destroy_step(d) || waits(d);
    if (d->pv != NULL)
        return pv_shadow_work(d) && pv_collect();
    if (!d->paging_ready)
        return true;
    (void)hc_memory_settle(d);
    return paging_work(domain_lock(d), WORK_ENTRIES);
}

bool domains_work_step(void)
{
    bool done = true;

    for (struct domain *d = domains, *next; d != NULL; d = next) {
        next = d->next;
        done = work_step(d) && done;
        preemption_point(this_cpu(), "background work");
    }
    return done;
}
