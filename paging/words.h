/*
 * Tables looked at sixteen bytes at a time, by SSE2, which every 64-bit processor has. The hypervisor
 * is compiled without XMM registers: they hold what the guest has there, so those that are used here
 * are put back (as in direct_wide.h, where the caller knows whether CR0.TS is set). MXCSR and the upper
 * halves of YMM registers are left alone (APM vol. 1, 4.2 and 4.4: integer instructions, in their form
 * without VEX).
 */
#ifndef PAGING_WORDS_H
#define PAGING_WORDS_H

#include <stdbool.h>
#include <stdint.h>

#define WORDS_AT_ONCE 16 /* words of 8 bytes that are compared together */

struct words_saved {
    uint64_t xmm[2][2];
};

/*
 * With CR0.TS set an SSE instruction faults (APM vol. 2, 3.1.1): so it is while a paravirtual guest is
 * served that has set it. The hypervisor is the only freestanding program that this is compiled in.
 */
static inline bool words_have_sse(void)
{
#if __STDC_HOSTED__
    return true;
#else
    uint32_t cr0;

    __asm__ volatile("smsw %0" : "=r"(cr0));
    return (cr0 & 8) == 0;
#endif
}

/* What words_differ does, by SSE2; there is at least one group. */
static inline unsigned words_differ_sse(const uint64_t *now, const uint64_t *then, unsigned from,
                                        unsigned end)
{
    struct words_saved saved;
    int64_t            at = ((int64_t)from - end) * 8; /* counts up to 0 */
    uint32_t           equal;

    __asm__ volatile("movups %%xmm0, %[saved]\n\t"
                     "movups %%xmm1, 16+%[saved]\n"
                     "1:\n\t"
                     "movdqa (%[now],%[at]), %%xmm0\n\t"
                     "pcmpeqd (%[then],%[at]), %%xmm0\n\t"
                     ".irp offset, 16, 32, 48, 64, 80, 96, 112\n\t"
                     "movdqa \\offset(%[now],%[at]), %%xmm1\n\t"
                     "pcmpeqd \\offset(%[then],%[at]), %%xmm1\n\t"
                     "pand %%xmm1, %%xmm0\n\t"
                     ".endr\n\t"
                     "pmovmskb %%xmm0, %[equal]\n\t"
                     "cmp $0xffff, %[equal]\n\t"
                     "jne 2f\n\t"
                     "add $128, %[at]\n\t"
                     "jne 1b\n"
                     "2:\n\t"
                     "movups %[saved], %%xmm0\n\t"
                     "movups 16+%[saved], %%xmm1"
                     : [at] "+r"(at), [equal] "=&r"(equal), [saved] "=m"(saved)
                     : [now] "r"(now + end), [then] "r"(then + end)
                     : "memory", "cc");
    return (unsigned)((int64_t)end + at / 8);
}

/* The same without; a word of `now` is read once, and whole. */
static inline unsigned words_differ_plain(const uint64_t *now, const uint64_t *then, unsigned from,
                                          unsigned end)
{
    for (unsigned i = from; i < end; i += WORDS_AT_ONCE) {
        uint64_t difference = 0;

        for (unsigned k = i; k < i + WORDS_AT_ONCE; k++)
            difference |= __atomic_load_n(now + k, __ATOMIC_RELAXED) ^ then[k];
        if (difference != 0)
            return i;
    }
    return end;
}

/*
 * The first aligned group of WORDS_AT_ONCE words, from word `from` on and before `end`, that is not the
 * same in two tables; `end` if there is none. Both bounds are multiples of WORDS_AT_ONCE, and the tables
 * aligned to 16 bytes. `now` may change meanwhile, if what is written after this is called need not be
 * seen: where a load of 16 bytes is two loads, a group in which words were written one after the
 * other may be taken for one that has never been.
 */
static inline unsigned words_differ(const uint64_t *now, const uint64_t *then, unsigned from,
                                    unsigned end)
{
    if (from >= end)
        return end;
    return words_have_sse() ? words_differ_sse(now, then, from, end)
                            : words_differ_plain(now, then, from, end);
}

/* What words_used does, by SSE2; there is at least one group. */
static inline unsigned words_used_sse(const uint64_t *table, unsigned from, unsigned end)
{
    struct words_saved saved;
    int64_t            at = ((int64_t)from - end) * 8; /* counts up to 0 */
    uint32_t           empty;

    __asm__ volatile("movups %%xmm0, %[saved]\n\t"
                     "movups %%xmm1, 16+%[saved]\n\t"
                     "pxor %%xmm1, %%xmm1\n"
                     "1:\n\t"
                     "movdqa (%[table],%[at]), %%xmm0\n\t"
                     ".irp offset, 16, 32, 48, 64, 80, 96, 112\n\t"
                     "por \\offset(%[table],%[at]), %%xmm0\n\t"
                     ".endr\n\t"
                     "pcmpeqd %%xmm1, %%xmm0\n\t"
                     "pmovmskb %%xmm0, %[empty]\n\t"
                     "cmp $0xffff, %[empty]\n\t"
                     "jne 2f\n\t"
                     "add $128, %[at]\n\t"
                     "jne 1b\n"
                     "2:\n\t"
                     "movups %[saved], %%xmm0\n\t"
                     "movups 16+%[saved], %%xmm1"
                     : [at] "+r"(at), [empty] "=&r"(empty), [saved] "=m"(saved)
                     : [table] "r"(table + end)
                     : "memory", "cc");
    return (unsigned)((int64_t)end + at / 8);
}

/* The same without. */
static inline unsigned words_used_plain(const uint64_t *table, unsigned from, unsigned end)
{
    for (unsigned i = from; i < end; i++)
        if (__atomic_load_n(table + i, __ATOMIC_RELAXED) != 0)
            return i & ~(WORDS_AT_ONCE - 1u);
    return end;
}

/*
 * The first aligned group of WORDS_AT_ONCE words of a table, from word `from` on and before `end`, that
 * are not all zero; `end` if there is none. Bounds and alignment are as above.
 */
static inline unsigned words_used(const uint64_t *table, unsigned from, unsigned end)
{
    if (from >= end)
        return end;
    return words_have_sse() ? words_used_sse(table, from, end) : words_used_plain(table, from, end);
}

#endif
