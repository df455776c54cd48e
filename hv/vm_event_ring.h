/*
 * A ring page of vm_event (xen/vm_event.h), seen from the hypervisor: requests go in, responses come
 * out of the same eight slots. Who is at the other end is not trusted: our own indices are kept here,
 * each word of the page is read once, and nobody answers more than was asked.
 *
 *      rsp_cons ≤ responses ≤ req_prod ≤ rsp_cons + 8
 */
#ifndef HV_VM_EVENT_RING_H
#define HV_VM_EVENT_RING_H

#include <stdbool.h>

#include "hv/abi.h"
#include "paging/frame.h"

#define VM_EVENT_SLOTS 8

struct vm_event_ring {
    struct vm_event_sring *page;
    uint32_t               req_prod; /* requests put...                */
    uint32_t               rsp_cons; /* ...and slots that are free again */
};

/* The page is empty; the other end initialises it too, at any time before its first response. */
void vm_event_ring_init(struct vm_event_ring *r, void *page);

must_check static inline unsigned vm_event_ring_free(const struct vm_event_ring *r)
{
    return VM_EVENT_SLOTS - (r->req_prod - r->rsp_cons);
}

/* False: no slot is free. The other end has to be told after it. */
must_check bool vm_event_ring_put(struct vm_event_ring *r, const vm_event_request_t *request);

/* The other end has initialised the page after requests were put: says again how many. False: it knows. */
must_check bool vm_event_ring_put_again(struct vm_event_ring *r);

/* False: there is none. At most as many as there were requests. */
must_check bool vm_event_ring_take(struct vm_event_ring *r, vm_event_response_t *response);

#endif
