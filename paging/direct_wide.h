/*
 * Tables are mostly empty: whether many entries are, by registers of 128 bits. The hypervisor itself is compiled
 * without them; what they hold is the guest's, so they are kept. An instruction that uses them faults while CR0.TS
 * is set (APM vol. 2, 11.3): then direct_machine.wide is false, and words do.
 */
#ifndef PAGING_DIRECT_WIDE_H
#define PAGING_DIRECT_WIDE_H

#include <stdint.h>

#define WIDE_ENTRIES 32u /* that are looked at together, aligned: half of a KiB */

struct wide_table {
    uint64_t entry[512];
};

/*
 * How many groups of WIDE_ENTRIES entries are empty, from the one at `entry` on, one behind the other; or one
 * before the other, if `down`. At most `groups`, of one table. Each word of a group is read once, up to the first
 * group that is not empty.
 */
static inline unsigned wide_empty(const uint64_t *entry, unsigned groups, int down)
{
    const void *table =
        (const void *)((uintptr_t)entry & ~(sizeof(struct wide_table) - 1)); /* NOLINT */
    uint64_t left = groups, step = WIDE_ENTRIES * sizeof(*entry);
    uint32_t empty;
    struct {
        uint64_t word[4];
    } kept;

    if (groups == 0)
        return 0;
    if (down)
        step = -step;
    __asm__ volatile("movups %%xmm0, %[kept]\n\t"
                     "movups %%xmm1, 16+%[kept]\n\t"
                     "pxor %%xmm1, %%xmm1\n"
                     "1:\n\t"
                     "movdqa (%[at]), %%xmm0\n\t"
                     "por 16(%[at]), %%xmm0\n\t"
                     "por 32(%[at]), %%xmm0\n\t"
                     "por 48(%[at]), %%xmm0\n\t"
                     "por 64(%[at]), %%xmm0\n\t"
                     "por 80(%[at]), %%xmm0\n\t"
                     "por 96(%[at]), %%xmm0\n\t"
                     "por 112(%[at]), %%xmm0\n\t"
                     "por 128(%[at]), %%xmm0\n\t"
                     "por 144(%[at]), %%xmm0\n\t"
                     "por 160(%[at]), %%xmm0\n\t"
                     "por 176(%[at]), %%xmm0\n\t"
                     "por 192(%[at]), %%xmm0\n\t"
                     "por 208(%[at]), %%xmm0\n\t"
                     "por 224(%[at]), %%xmm0\n\t"
                     "por 240(%[at]), %%xmm0\n\t"
                     "pcmpeqb %%xmm1, %%xmm0\n\t"
                     "pmovmskb %%xmm0, %[empty]\n\t"
                     "cmp $0xffff, %[empty]\n\t"
                     "jne 2f\n\t"
                     "add %[step], %[at]\n\t"
                     "dec %[left]\n\t"
                     "jnz 1b\n"
                     "2:\n\t"
                     "movups %[kept], %%xmm0\n\t"
                     "movups 16+%[kept], %%xmm1"
                     : [at] "+r"(entry), [left] "+r"(left), [empty] "=&r"(empty), [kept] "=&m"(kept)
                     : [step] "r"(step), "m"(*(const struct wide_table *)table)
                     : "cc");
    return groups - (unsigned)left;
}

#endif
