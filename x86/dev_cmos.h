/*
 * The clock and the memory with a battery of a PC (Motorola's MC146818, ports 70h and 71h), as
 * far as kernels read it: the time, in BCD and 24 hours, and how much memory there is. What
 * is written is kept only as the index.
 */
#ifndef X86_DEV_CMOS_H
#define X86_DEV_CMOS_H

#include <stdint.h>

/* `seconds` since 1970, UTC; `memory` in bytes, below 4 GiB. */
uint8_t cmos_read(uint8_t index, uint64_t seconds, uint64_t memory);

#endif
