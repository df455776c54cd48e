/* The machine of page types, inside: doc/direct.md. Internal to the core. */
#ifndef PAGING_TYPE_WORK_H
#define PAGING_TYPE_WORK_H

#include "direct.h"
#include "direct_entry.h"

static inline struct type_level *work_top(struct direct_vcpu *v)
{
    return &v->stack[v->depth - 1];
}

/* ---- type_work.c: tables ---- */

/* One phase; direct.c has those of the request. */
void work_step(struct direct_vcpu *v);
void work_broken(struct direct_vcpu *v, const char *why);
/* The call ends with an ASK; the phase `after` follows. */
void work_ask(struct direct_vcpu *v, struct direct_ask ask, enum direct_phase after);
/* The frame of the job becomes the table on top; the job waits until it is done. */
void work_push(struct direct_vcpu *v, struct type was, uint8_t kind, bool down);
void pending_push(struct direct_vcpu *v, mfn_t mfn, enum pending_mode mode, mfn_t parent,
                  uint8_t level);

/* ---- type_visit.c: their entries ---- */

/* The next entry of the table on top, and those behind it as far as nobody is in the way. */
void work_visit(struct direct_vcpu *v);
/* The next entry of a table on its way up has its references. */
void accept_entry(struct direct_vcpu *v, struct type_level *t);

/*
 * What is wrong with an entry of a table of the request's owner. Where shadows are walked, no
 * processor sees what is not present.
 */
enum direct_error entry_error(const struct direct_vcpu *v, const struct entry_need *need);

/* ---- type_job.c: one reference ---- */

/* Begins a job: `job` says what is wanted, and what is held already. */
void work_get(struct direct_vcpu *v, struct type_job job);
void work_put(struct direct_vcpu *v, struct direct_pending what);
void job_end(struct direct_vcpu *v, bool taken);

/* Its phases. */
void job_take_frame(struct direct_vcpu *v);
void job_read_type(struct direct_vcpu *v);
void job_count_linear(struct direct_vcpu *v);
void job_uncount_linear(struct direct_vcpu *v);
void job_swap_type(struct direct_vcpu *v);
void job_taken(struct direct_vcpu *v);
void job_put_read(struct direct_vcpu *v);
void job_put_swap(struct direct_vcpu *v);
void job_put_frame(struct direct_vcpu *v);

/* ---- direct_quick.c ---- */

/* The references that an entry needs, taken at once; false: none is, and it takes the machine. */
must_check bool quick_take(struct direct_machine *m, const struct entry_need *need, uint16_t owner);
/* The same for dropping them: asked for each that is dropped, before the machine does it. */
must_check bool quick_drop(struct direct_vcpu *v, const struct entry_need *need);

enum quick {
    QUICK_NOT, /* nothing has changed, and the request is still to be made */
    QUICK_DONE,
    QUICK_GOES_ON, /* the machine has it from here */
};
/* Drops what is on the list, from its end, as far as it goes so. */
void quick_release(struct direct_vcpu *v);
/* An update of a leaf table where nothing is in the way. */
must_check enum quick quick_update(struct direct_vcpu *v, const struct direct_request *request,
                                   unsigned budget);

/* ---- direct.c, direct_teardown.c ---- */

/* Begins a request at where its entry has just been stored; the table and the new frame are held. */
void request_stored(struct direct_vcpu *v, const struct direct_request *request, unsigned budget,
                    uint8_t level, pte_t old, pte_t new);

void request_step(struct direct_vcpu *v);
/* The job that it started has ended. */
void request_taken(struct direct_vcpu *v, bool was_taken);
void request_decide(struct direct_vcpu *v, enum direct_error error);
void teardown_step(struct direct_vcpu *v);

#endif
