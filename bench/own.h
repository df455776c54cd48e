/*
 * What Umbra itself counts, read from outside while it runs: exits by kind with the instructions
 * they took, what the core did, and what the machine's frames are used for. It is compiled with Umbra's own headers,
 * and finds its variables in the machine's memory as QEMU has it.
 *
 * Options: domains=, phys= (addresses of these variables), svm=, pv_names= (of the kinds' names).
 */
#ifndef BENCH_OWN_H
#define BENCH_OWN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "paging/paging.h"

#define OWN_KINDS  32
#define OWN_FRAMES 16

struct own {
    bool        valid; /* there is a domain with a vCPU */
    const char *name[OWN_KINDS];
    uint64_t    count[OWN_KINDS], ticks[OWN_KINDS];
    uint64_t    frames[OWN_FRAMES]; /* by enum frame_kind */

    struct paging_stats paging;
};

bool own_option(const char *option);
/* An instruction of the image, and where QEMU has it. */
void own_place(uint64_t va, const void *place);
/* The first domain's, as it is now. */
struct own own_read(void);
/* Lines for the kinds of exit and the core between the two, and for the frames at the later. */
void own_print(FILE *out, unsigned region, const struct own *before, const struct own *after);

#endif
