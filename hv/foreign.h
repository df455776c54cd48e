/*
 * Frames of other domains in the map of one that may have them: the control domain, if it has a map of
 * ours. A PV one maps such frames by entries of its own tables: hc_foreign.h.
 *
 * There is one record a frame, found by its number, with how many places of the map the frame stands
 * at. From the first place to the last the frame is held as memory of its owner, whatever becomes of it
 * there (doc/control.md), and borrowed (paging/borrow.h). A table of a PV owner's stands there to read.
 */
#ifndef HV_FOREIGN_H
#define HV_FOREIGN_H

#include "hv/domain.h"

#define FOREIGN_MAX 65536u /* frames at once */

struct foreign_uses;

/* A frame of a domain's; of DOMID_XEN (NULL): of the M2P, which is there to be read. */
struct foreign_frame {
    struct domain *owner;
    mfn_t          mfn;
};

/*
 * The frame that `number` names: a guest frame of an owner with a map of ours, else the machine's. 0; -EINVAL: it is
 * no memory of the owner's, DOMID_XEN's if that is NULL.
 */
must_check int64_t foreign_find(struct domain *owner, uint64_t number, struct foreign_frame *f);

/*
 * Puts the frame behind `gfn`; what was there is given up. 0; HC_AGAIN; -EINVAL: it is no memory of its owner's;
 * -ENOMEM; or what hc_memory_replace says.
 */
must_check int64_t foreign_map(struct domain *d, gfn_t gfn, struct foreign_frame f);

/* Takes away what foreign_map has put there: 0 or HC_AGAIN. */
must_check int64_t foreign_unmap(struct domain *d, gfn_t gfn);

/*
 * Log-dirty: what others may write of the owner's by their maps counts as written. One bounded step from
 * `*cursor` on, which begins at 0. True: that was all.
 */
must_check bool foreign_mark_written(struct domain *owner, uint32_t *cursor);

/* For the audit: each frame that the domain has, and whether its owner must not make a table of it. */
void foreign_each(const struct domain *d, void (*tell)(void *arg, mfn_t mfn, bool typed),
                  void                *arg);

/* Gives back all that the domain still has, a bounded number; its own tables are gone. True: nothing is left. */
must_check bool foreign_release(struct domain *d);

#endif
