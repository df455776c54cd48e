/* Clocks: measured once at boot, against the interval timer. */
#ifndef X86_TIME_H
#define X86_TIME_H

/* Measures TSC and APIC timer (40 ms), reads the clock, starts machine_now(). After apic_init. */
void time_init(void);

#endif
