/* See vm_event_ring.h. */
#include "hv/vm_event_ring.h"

_Static_assert(sizeof(vm_event_request_t) == 400, "vm_event.h");
_Static_assert(offsetof(vm_event_request_t, u) == 24, "vm_event.h");
_Static_assert(offsetof(vm_event_request_t, data) == 56, "vm_event.h");
_Static_assert(VM_EVENT_INTERFACE_VERSION == 7, "what Debian's tools speak");
_Static_assert(offsetof(struct vm_event_sring, ring) == 64, "ring.h");
_Static_assert(64 + VM_EVENT_SLOTS * sizeof(union vm_event_sring_entry) <= PAGE_SIZE, "ring.h");

#define SLOT_WORDS (sizeof(vm_event_request_t) / sizeof(uint64_t))

static uint64_t *slot(const struct vm_event_ring *r, uint32_t index)
{
    return (uint64_t *)((uint8_t *)r->page + offsetof(struct vm_event_sring, ring) +
                        index % VM_EVENT_SLOTS * sizeof(union vm_event_sring_entry));
}

void vm_event_ring_init(struct vm_event_ring *r, void *page)
{
    *r = (struct vm_event_ring){ .page = page };
    __builtin_memset(page, 0, PAGE_SIZE);
    r->page->req_event = 1;
    r->page->rsp_event = 1;
}

bool vm_event_ring_put(struct vm_event_ring *r, const vm_event_request_t *request)
{
    uint64_t *to = slot(r, r->req_prod), word;

    if (vm_event_ring_free(r) == 0)
        return false;
    for (size_t i = 0; i < SLOT_WORDS; i++) {
        __builtin_memcpy(&word, (const uint8_t *)request + i * sizeof(word), sizeof(word));
        __atomic_store_n(&to[i], word, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&r->page->req_prod, ++r->req_prod, __ATOMIC_RELEASE);
    return true;
}

bool vm_event_ring_put_again(struct vm_event_ring *r)
{
    if (__atomic_load_n(&r->page->req_prod, __ATOMIC_RELAXED) == r->req_prod)
        return false;
    __atomic_store_n(&r->page->req_prod, r->req_prod, __ATOMIC_RELEASE);
    return true;
}

bool vm_event_ring_take(struct vm_event_ring *r, vm_event_response_t *response)
{
    const uint64_t *from = slot(r, r->rsp_cons);
    uint32_t        said = __atomic_load_n(&r->page->rsp_prod, __ATOMIC_ACQUIRE) - r->rsp_cons;
    uint64_t        word;

    if (said == 0 || r->req_prod == r->rsp_cons)
        return false;
    for (size_t i = 0; i < SLOT_WORDS; i++) {
        word = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
        __builtin_memcpy((uint8_t *)response + i * sizeof(word), &word, sizeof(word));
    }
    r->rsp_cons++;
    return true;
}
