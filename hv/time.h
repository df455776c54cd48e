/*
 * Time as a guest of the ABI sees it: system time is machine_now(), given as a pair of TSC
 * and nanoseconds with a scale (vcpu_time_info); the wall clock at system time 0 in
 * shared_info; two timers per vCPU that raise VIRQ_TIMER; and where a vCPU's time went
 * (runstate).
 */
#ifndef HV_TIME_H
#define HV_TIME_H

#include "hv/domain.h"

void time_vcpu_init(struct vcpu *v);
void time_vcpu_stop(struct vcpu *v); /* cancels its timers */

/* Writes the wall clock into shared_info. */
void time_wallclock_write(struct domain *d);

/* The pair of TSC and time for a vCPU now, version even. */
struct vcpu_time_info time_info_of(const struct vcpu *v);

/* The vCPU's areas have to be written before it runs again. */
void time_areas_stale(struct vcpu *v, uint32_t what);

/* The vCPU is now in this RUNSTATE_*; what it spent in the last one is added up. */
void time_runstate(struct vcpu *v, int state);
/* Up to date now, as VCPUOP_get_runstate_info reports it. */
struct vcpu_runstate_info time_runstate_of(const struct vcpu *v);

#endif
