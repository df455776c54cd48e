/* What an instruction is to the counter: its first bytes in, an event out. */
#ifndef BENCH_EVENT_H
#define BENCH_EVENT_H

#include <stddef.h>
#include <stdint.h>

enum event {
    EVENT_INSN, /* every instruction; the others are kinds of it */
    EVENT_VMRUN,
    EVENT_VMMCALL,
    EVENT_VMLOAD,
    EVENT_VMSAVE,
    EVENT_CLGI,
    EVENT_INVLPGA,
    EVENT_INVLPG,
    EVENT_INVPCID,
    EVENT_WRCR0,
    EVENT_WRCR3,
    EVENT_WRCR4,
    EVENT_IRET,
    EVENT_SYSCALL,
    EVENT_SYSRET,
    EVENT_HLT,
    EVENT_IO,
    EVENT_CPUID,
    EVENT_WRMSR,
    EVENT_RDMSR,
    EVENT_RDTSC,
    EVENT_PAUSE,
    EVENT_REP,      /* iterations of a string instruction: see event_rep_bytes */
    EVENT_REPBYTES, /* the bytes that they handled */
    EVENTS
};

extern const char *const event_names[EVENTS];

/* Which event it is; EVENT_INSN: none of interest. */
enum event event_of(const uint8_t *bytes, size_t length);

/*
 * Bytes that one iteration of a repeated string instruction handles, 0 for any other. QEMU runs
 * such an instruction as one instruction for each iteration: that is what "rep" counts, so that
 * insn - rep is the number of ordinary instructions.
 */
unsigned event_rep_bytes(const uint8_t *bytes, size_t length);

/*
 * Markers: PREFETCHNTA disp32(%RAX), which never faults, needs no privilege and is not intercepted.
 * The region (1 to 255) if it is one, else 0.
 */
enum marker { MARKER_BEGIN = 0x42, MARKER_END = 0x45 };
unsigned event_marker(const uint8_t *bytes, size_t length, enum marker which);

#endif
