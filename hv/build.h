/* Making domains and taking them away again. */
#ifndef HV_BUILD_H
#define HV_BUILD_H

#include "hv/domain.h"

/* What a domain is started from. Both stay the caller's and are only read. */
struct domain_images {
    const void *kernel; /* ELF with a PVH note, already unpacked */
    size_t      kernel_size;
    const void *ramdisk; /* NULL: none */
    size_t      ramdisk_size;
};

/*
 * Builds a domain as its file says and leaves it paused once (domain_unpause lets it run).
 * NULL: everything was given back, and `error` says in one sentence what was wrong and
 * what to do.
 */
must_check struct domain *domain_create(const struct config        *config,
                                        const struct domain_images *images, char *error,
                                        size_t error_size);

/* Takes a domain away in the background; it does not run any more from now on. */
void domain_destroy(struct domain *d);

/*
 * One bounded step of the same, for callers that wait for the end. True: it is gone, and
 * `d` must not be used any more.
 */
must_check bool domain_destroy_step(struct domain *d);

/* Background work of all domains, one bounded step. True when nothing is left to do. */
must_check bool domains_work_step(void);

/* ---- between build.c, pvh.c and destroy.c ---- */

/* Gives one guest frame back to the machine; nothing refers to it any more. */
void domain_free_frame(struct domain *d, mfn_t mfn);

/* Allocates 2^order frames in one piece that the domain owns, whatever is in them; or MFN_NONE. */
must_check mfn_t domain_alloc_block(struct domain *d, unsigned order);

/* Allocates one zeroed frame that the domain owns; MFN_NONE if there is none. */
must_check mfn_t domain_alloc_frame(struct domain *d);

/*
 * A domain for the control domain to fill: no memory but what it shares with us, no vCPU, paused; if it needs a
 * pool for our tables, one that a domain without memory can live with. `id`: its number, which is free; 0: any.
 * NULL: memory is short.
 */
must_check struct domain *domain_create_empty(const struct config *config, uint16_t id);

/*
 * Gives it one more of the vCPUs that its config says; it is down, and how it begins is not said yet. False: memory
 * is short; it may be asked again.
 */
must_check bool domain_create_vcpu(struct domain *d);

#endif
