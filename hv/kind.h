/*
 * The kind of paging of a domain, and its change while the domain runs: `paging DOM KIND`.
 *
 *     direct   a PV guest's own tables, which the processor walks
 *     shadow   tables of ours in their place, of a guest of any type
 *     nested   the guest's own tables, and ours below them
 *
 * A change is one instant for all vCPUs. It is made while none of them is in the guest, in steps
 * that are bounded; only the last of them changes anything, and takes as long as there are vCPUs.
 * What no vCPU sees any more (tables of the kind before) goes in the background.
 */
#ifndef HV_KIND_H
#define HV_KIND_H

#include "hv/domain.h"

const char *kind_name(enum kind kind);

/* The kind that a word names; false if none. */
must_check bool kind_parse(const char *word, enum kind *kind);

/* What a domain has now. */
enum kind kind_of(const struct domain *d);

/* What a domain gets whose file does not say; nested where the processor has it. */
enum kind kind_default(const struct config *config);

/* The other kind that such a domain can have, or the one it has if there is no other. */
enum kind kind_other(const struct domain *d);

/* Why a domain that runs cannot have this kind, in words; NULL: it can. */
const char *kind_refused(const struct domain *d, enum kind kind);

enum kind_result {
    KIND_DONE,
    KIND_AGAIN,     /* a step towards the memory that it takes was made: call again    */
    KIND_NO_MEMORY, /* the machine has none for it, and nothing has changed            */
    KIND_CRASHED    /* there is not memory enough for it, and the domain has been told */
};

/*
 * One step towards another kind, which kind_refused has nothing against. The vCPUs run again
 * whenever they may, also between two steps.
 */
must_check enum kind_result kind_change_step(struct domain *d, enum kind kind);

/* All steps, with preemption points between them; never AGAIN. */
must_check enum kind_result kind_change(struct domain *d, enum kind kind);

/* What was counted under a kind, up to now. */
struct kind_account kind_account(const struct domain *d, enum kind kind);

#endif
