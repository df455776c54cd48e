/*
 * Where a measured region begins and ends: see bench/event.h. `id` is a constant, 1 to 255. Without
 * the counter a marker is a prefetch that does nothing.
 */
#ifndef BENCH_MARKER_H
#define BENCH_MARKER_H

#define MARKER_BEGIN_AT(id) (0x50420000 + (id))
#define MARKER_END_AT(id)   (0x50450000 + (id))

#define MARK_BEGIN(id)                                                                             \
    __asm__ volatile("prefetchnta %c0(%%rax)" ::"i"(MARKER_BEGIN_AT(id)) : "memory")
#define MARK_END(id) __asm__ volatile("prefetchnta %c0(%%rax)" ::"i"(MARKER_END_AT(id)) : "memory")

#endif
