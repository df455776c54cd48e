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
    DIRTY_AGAIN,     /* one step was done: call again */
    DIRTY_WINDOW,    /* of dirty_step: a part of the bitmap is complete; call again for the next */
    DIRTY_REFUSED,   /* on: logs already; else: does not log. Or it is being built, or dies */
    DIRTY_NO_MEMORY, /* of dirty_on: none for the shadows that a PV domain needs for it */
};

/*
 * XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY: from now on, and nothing is marked. A PV domain is given
 * shadows of its tables first; what it has its tables written meanwhile may be marked.
 */
must_check enum dirty_result dirty_on(struct domain *d);

/* XEN_DOMCTL_SHADOW_OP_OFF. Shadows that were given for this go, unless something else needs them. */
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
    bool               final;   /* what others may write is marked first, */
    uint32_t           foreign; /* from there on: hv/foreign.h            */
    struct dirty_fetch fetch;

    /* Of a PV domain, whose frames are looked at in the order of the machine. */
    uint64_t machine;      /* number of the next frame to be looked at */
    uint64_t machine_base; /* of bit 0 of...                           */
    uint64_t marked;       /* ...those that are to be told             */
    bool     open;         /* there is something in the bitmap         */
};

/*
 * Guest frames that a round can be about: beyond them there never was memory. A PV guest's are those
 * that the M2P has for its frames, which are the guest's own words.
 */
must_check uint64_t dirty_frames(const struct domain *d);

/*
 * Begins a round about the first `frames` guest frames. Clean: marks are taken, and faults counted anew.
 * Final (XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL): pages that the hypervisor writes without marking them, those
 * that it shares with the guest by contract, are marked first.
 */
void dirty_begin(struct domain *d, struct dirty_round *round, uint64_t frames, bool clean,
                 bool final);

/*
 * One step. DIRTY_WINDOW: `bitmap` says what was found of [first, first + DIRTY_WINDOW_FRAMES), as far
 * as that is below `frames`, and what was taken is flushed. DIRTY_DONE: there is no window left.
 *
 * Windows of a domain with a p2m come in order, each once. Those of a PV domain come as its memory
 * lies: in any order, some again with other frames (what they say is to be added up), and none
 * where nothing was written.
 */
must_check enum dirty_result dirty_step(struct domain *d, struct dirty_round *round);

#endif
