/* One operation of each kind behind grant_table_op: its structure is at `va`. 0, HC_AGAIN or an error. */
#ifndef HV_HC_GRANT_H
#define HV_HC_GRANT_H

#include "hv/hc.h"

int64_t hc_grant_map(struct vcpu *v, uint64_t va);
int64_t hc_grant_unmap(struct vcpu *v, uint64_t va);
int64_t hc_grant_copy(struct vcpu *v, uint64_t va);

#endif
