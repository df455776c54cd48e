/* The end after a bug of ours: what is known is printed, and the machine stops. */
#ifndef X86_PANIC_H
#define X86_PANIC_H

#include "x86/traps.h"

/* An exception that the hypervisor itself raised. */
_Noreturn void panic_trap(const struct trap_frame *frame);

#endif
