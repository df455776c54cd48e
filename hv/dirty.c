/*
 * Log-dirty for whoever asks: see dirty.h. How it works is in paging/dirty.c.
 *
 * Marks are of machine frames. A guest with a p2m is gone through by its own numbers, a PV guest by
 * the machine's: the M2P says then what is told, and only what it says at that moment counts.
 */
#include "hv/dirty.h"

#include "hv/foreign.h"
#include "hv/grant.h"
#include "hv/kind.h"
#include "hv/pv.h"
#include "hv/shared.h"

static bool may_log(const struct domain *d)
{
    return d->state != DOMAIN_BUILDING && d->state != DOMAIN_DYING;
}

static enum dirty_result result_of(struct domain *d, const struct verdict *verdict)
{
    shared_apply(d, verdict);
    return verdict->again ? DIRTY_AGAIN : DIRTY_DONE;
}

uint64_t dirty_frames(const struct domain *d)
{
    return d->pv != NULL ? d->pv->pfn_end : d->paging.p2m.end;
}

/* A PV guest's own tables are the real ones, with which nothing can be logged. */
static enum dirty_result give_shadows(struct domain *d)
{
    switch (kind_change_step(d, PAGED_SHADOW)) {
    case KIND_DONE:
        d->pv->logging = true;
        return DIRTY_AGAIN;
    case KIND_AGAIN:
        return DIRTY_AGAIN;
    case KIND_NO_MEMORY:
    case KIND_CRASHED:
        break;
    }
    return DIRTY_NO_MEMORY;
}

/* They go unless something else needs them by now. A PV guest's last step is always the first. */
static void take_shadows(struct domain *d)
{
    if (d->pv->logging && kind_refused(d, PAGED_DIRECT) == NULL)
        (void)!kind_change_step(d, PAGED_DIRECT);
    d->pv->logging = false;
}

enum dirty_result dirty_on(struct domain *d)
{
    struct verdict verdict;

    if (!may_log(d) || d->paging.dirty.on)
        return DIRTY_REFUSED;
    if (d->pv != NULL && !pv_is_shadowed(d))
        return kind_refused(d, PAGED_SHADOW) == NULL ? give_shadows(d) : DIRTY_REFUSED;
    verdict = paging_dirty_on(domain_lock(d));
    return result_of(d, &verdict);
}

enum dirty_result dirty_off(struct domain *d)
{
    struct verdict verdict;

    if (!may_log(d) || !d->paging.dirty.on)
        return DIRTY_REFUSED;
    verdict = paging_dirty_off(domain_lock(d));
    if (d->pv != NULL && !d->paging.dirty.on)
        take_shadows(d);
    return result_of(d, &verdict);
}

static void mark(struct domain *d, mfn_t mfn)
{
    if (mfn_valid(mfn))
        paging_dirty_mark(domain_lock(d), mfn);
}

static void mark_shared(struct domain *d)
{
    mark(d, d->shared_mfn);
    mark(d, d->console_frame);
    mark(d, d->store_frame);
    for (unsigned i = 0; i < d->grant_frames; i++)
        mark(d, d->grant_mfn[i]);
    for (unsigned i = 0; i < d->nr_vcpus; i++)
        if (d->vcpu[i]->info != NULL)
            mark(d, d->vcpu[i]->info_mfn);
    grant_mark_written(d);
}

void dirty_begin(struct domain *d, struct dirty_round *round, uint64_t frames, bool clean,
                 bool final)
{
    *round = (struct dirty_round){
        .frames = frames,
        .faults = d->paging.dirty.faults,
        .fetch = { .clean = clean },
        .final = final,
    };
    if (!may_log(d) || !d->paging.dirty.on)
        return;
    if (clean)
        d->paging.dirty.faults = 0;
    if (final)
        mark_shared(d);
}

static void next_window(struct dirty_round *round)
{
    uint64_t first = round->begun ? round->first.raw + DIRTY_WINDOW_FRAMES : 0;
    uint64_t rest = first < round->frames ? round->frames - first : 0;

    round->begun = true;
    round->first = gfn_of(first);
    __builtin_memset(round->bitmap, 0, sizeof(round->bitmap));
    round->fetch.next = round->fetch.first = round->first;
    round->fetch.end = gfn_of(first + (rest < DIRTY_WINDOW_FRAMES ? rest : DIRTY_WINDOW_FRAMES));
    round->fetch.bitmap = round->bitmap;
}

/* ---- by the machine's numbers ---- */

/* Of one step: a look at 64 frames counts as 1, a frame that is told as many, and each leaf of it. */
#define STEP_WORK  256
#define FRAME_WORK 8

/* A part of the machine's marks, of at most 64 frames; what is found is counted. */
static uint64_t fetch(struct domain *d, uint64_t first, uint64_t frames, bool clean)
{
    uint64_t           bits = 0;
    struct dirty_fetch f = { .clean = clean, .bitmap = &bits };
    struct verdict     verdict;

    f.first = f.next = gfn_of(first);
    f.end = gfn_of(first + frames);
    verdict = paging_dirty_fetch(domain_lock(d), &f);
    shared_apply(d, &verdict);
    return bits;
}

/* The next 64 frames, of which those that are marked are looked at then. False: there are none. */
static bool next_machine_frames(struct domain *d, struct dirty_round *round)
{
    uint64_t rest = machine_phys.frames - round->machine;

    if (rest == 0)
        return false;
    rest = rest < 64 ? rest : 64;
    round->marked = fetch(d, round->machine, rest, false);
    round->machine_base = round->machine;
    round->machine += rest;
    return true;
}

/* One frame that was marked; false: it belongs to another window, and is not looked at yet. */
static bool tell_frame(struct domain *d, struct dirty_round *round, unsigned *work)
{
    uint64_t mfn = round->machine_base + (unsigned)__builtin_ctzll(round->marked);
    uint64_t pfn = pv_m2p_get(mfn_of(mfn)), window = pfn & ~(uint64_t)(DIRTY_WINDOW_FRAMES - 1);
    uint64_t withdrawn = d->paging.stats.withdrawn, at = pfn - window;

    if (pfn < round->frames && pfn < PV_PFN_MAX) {
        if (round->open && window != round->first.raw)
            return false;
        if (fetch(d, mfn, 1, round->fetch.clean) != 0) {
            round->open = true;
            round->first = gfn_of(window);
            round->found += !(round->bitmap[at / 64] >> at % 64 & 1);
            round->bitmap[at / 64] |= UINT64_C(1) << at % 64;
        }
        *work += FRAME_WORK * (1 + (unsigned)(d->paging.stats.withdrawn - withdrawn));
    }
    round->marked &= round->marked - 1;
    return true;
}

static enum dirty_result step_by_machine(struct domain *d, struct dirty_round *round)
{
    if (!round->open)
        __builtin_memset(round->bitmap, 0, sizeof(round->bitmap));
    for (unsigned work = 0; work < STEP_WORK; work++) {
        if (round->marked == 0 ? next_machine_frames(d, round) : tell_frame(d, round, &work))
            continue;
        if (!round->open)
            return DIRTY_DONE;
        round->open = false;
        return DIRTY_WINDOW;
    }
    return DIRTY_AGAIN;
}

enum dirty_result dirty_step(struct domain *d, struct dirty_round *round)
{
    struct verdict verdict;

    if (!may_log(d) || !d->paging.dirty.on)
        return DIRTY_REFUSED;
    if (round->final && !foreign_mark_written(d, &round->foreign))
        return DIRTY_AGAIN;
    round->final = false;
    if (d->pv != NULL)
        return step_by_machine(d, round);
    if (gfn_eq(round->fetch.next, round->fetch.end))
        next_window(round);
    if (gfn_eq(round->fetch.next, round->fetch.end))
        return DIRTY_DONE;
    verdict = paging_dirty_fetch(domain_lock(d), &round->fetch);
    shared_apply(d, &verdict);
    round->found = round->fetch.found;
    return verdict.again ? DIRTY_AGAIN : DIRTY_WINDOW;
}
