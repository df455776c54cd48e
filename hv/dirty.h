/*
 * Log-dirty for whoever asks: the monitor, and XEN_DOMCTL_shadow_op by a control domain.
 *
 * Everything is done in bounded steps, between which the domain may run, and others. What is left is
 * kept in the domain (dirty_on, dirty_off: call again) or in the round, which is the caller's.
 */
#ifndef HV_DIRTY_H
#define HV_DIRTY_H

#include "hv/domain.h"

enum dirty_result {
    DIRTY_DONE,
    DIRTY_AGAIN,  /* one step was done: call again */
    DIRTY_WINDOW, /* of dirty_step: a part of the bitmap is complete; call again for the next */
    DIRTY_REFUSED, /* on: logs already; else: does not log. Or it is being built, dies, runs direct */
};

/* XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY: from now on, and nothing is marked. */
must_check enum dirty_result dirty_on(struct domain *d);

/* XEN_DOMCTL_SHADOW_OP_OFF */
must_check enum dirty_result dirty_off(struct domain *d);

#define DIRTY_WINDOW_FRAMES 4096 /* a multiple of 64 */

/* One look at all that is marked. */
struct dirty_round {
    gfn_t              first;  /* of the window */
    uint64_t           frames; /* guest frames from 0 on that the round is about */
    uint64_t           bitmap[DIRTY_WINDOW_FRAMES / 64]; /* bit 0: guest frame `first` */
    uint64_t           faults; /* fault_count: since the last clean, when the round began */
    uint64_t           found;  /* dirty_count: so far */
    bool               begun;
    struct dirty_fetch fetch;
};

/* Guest frames that a round can be about: beyond them there never was memory. */
must_check uint64_t dirty_frames(const struct domain *d);

/*
 * Begins a round about the first `frames` guest frames. Clean: marks are taken, and faults counted anew.
 * Final (XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL): pages that the hypervisor writes without marking them, those
 * that it shares with the guest by contract, are marked first.
 */
void dirty_begin(struct domain *d, struct dirty_round *round, uint64_t frames, bool clean,
                 bool final);

/*
 * One step. DIRTY_WINDOW: `bitmap` is right for [first, first + DIRTY_WINDOW_FRAMES), as far as
 * that is below `frames`, and what was taken is flushed. DIRTY_DONE: there is no window left.
 */
must_check enum dirty_result dirty_step(struct domain *d, struct dirty_round *round);

#endif
