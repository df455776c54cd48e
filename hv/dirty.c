/* Log-dirty for whoever asks: see dirty.h. How it works is in paging/dirty.c. */
#include "hv/dirty.h"

#include "hv/shared.h"

/* Direct paging has nothing to log with: its guest's tables are the real ones. */
static bool may_log(const struct domain *d)
{
    return d->state != DOMAIN_BUILDING && d->state != DOMAIN_DYING && d->pv == NULL;
}

static enum dirty_result result_of(struct domain *d, const struct verdict *verdict)
{
    shared_apply(d, verdict);
    return verdict->again ? DIRTY_AGAIN : DIRTY_DONE;
}

uint64_t dirty_frames(const struct domain *d)
{
    return d->paging.p2m.end;
}

enum dirty_result dirty_on(struct domain *d)
{
    struct verdict verdict;

    if (!may_log(d) || d->paging.dirty.on)
        return DIRTY_REFUSED;
    verdict = paging_dirty_on(domain_lock(d));
    return result_of(d, &verdict);
}

enum dirty_result dirty_off(struct domain *d)
{
    struct verdict verdict;

    if (!may_log(d) || !d->paging.dirty.on)
        return DIRTY_REFUSED;
    verdict = paging_dirty_off(domain_lock(d));
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
}

void dirty_begin(struct domain *d, struct dirty_round *round, uint64_t frames, bool clean,
                 bool final)
{
    *round = (struct dirty_round){
        .frames = frames,
        .faults = d->paging.dirty.faults,
        .fetch = { .clean = clean },
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

enum dirty_result dirty_step(struct domain *d, struct dirty_round *round)
{
    struct verdict verdict;

    if (!may_log(d) || !d->paging.dirty.on)
        return DIRTY_REFUSED;
    if (gfn_eq(round->fetch.next, round->fetch.end))
        next_window(round);
    if (gfn_eq(round->fetch.next, round->fetch.end))
        return DIRTY_DONE;
    verdict = paging_dirty_fetch(domain_lock(d), &round->fetch);
    shared_apply(d, &verdict);
    round->found = round->fetch.found;
    return verdict.again ? DIRTY_AGAIN : DIRTY_WINDOW;
}
