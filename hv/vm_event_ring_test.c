/* test: with hv/vm_event_ring.c */
/* The ring by itself: the tools' own macros at the other end, and an end that lies. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "hv/vm_event_ring.h"

/* The macros of ring.h want these, and are written without our warnings in mind. */
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wconversion"
#define xen_mb()  __sync_synchronize()
#define xen_rmb() __sync_synchronize()
#define xen_wmb() __sync_synchronize()

static union {
    uint8_t               bytes[PAGE_SIZE];
    struct vm_event_sring sring;
} page __attribute__((aligned(4096)));
static struct vm_event_ring ring;
static vm_event_back_ring_t back; /* of a listener that keeps to the rules */

static void fresh(void)
{
    memset(page.bytes, 0xa5, sizeof(page));
    vm_event_ring_init(&ring, page.bytes);
    SHARED_RING_INIT(&page.sring);
    BACK_RING_INIT(&back, &page.sring, PAGE_SIZE);
    assert_int_equal(RING_SIZE(&back), VM_EVENT_SLOTS);
}

static bool put(uint32_t vcpu)
{
    vm_event_request_t request;

    memset(&request, (int)vcpu, sizeof(request));
    request.vcpu_id = vcpu;
    return vm_event_ring_put(&ring, &request);
}

/* The listener takes a request, and gives it back with a mark, as the tools do. */
static uint32_t serve(void)
{
    vm_event_request_t  request;
    vm_event_response_t response;

    assert_true(RING_HAS_UNCONSUMED_REQUESTS(&back));
    memcpy(&request, RING_GET_REQUEST(&back, back.req_cons), sizeof(request));
    back.req_cons++;
    back.sring->req_event = back.req_cons + 1;
    response = request;
    response.flags = 0x5a;
    memcpy(RING_GET_RESPONSE(&back, back.rsp_prod_pvt), &response, sizeof(response));
    back.rsp_prod_pvt++;
    RING_PUSH_RESPONSES(&back);
    return request.vcpu_id;
}

static void requests_come_in_order_and_answers_go_back(void **state)
{
    vm_event_response_t r;

    (void)state;
    fresh();
    assert_int_equal(page.sring.req_event, 1);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_true(put(2 * i) && put(2 * i + 1));
        assert_int_equal(serve(), 2 * i);
        assert_int_equal(serve(), 2 * i + 1);
        assert_true(vm_event_ring_take(&ring, &r));
        assert_true(r.vcpu_id == 2 * i && r.flags == 0x5a);
        assert_int_equal(((uint8_t *)&r)[399], (uint8_t)(2 * i));
        assert_true(vm_event_ring_take(&ring, &r));
        assert_false(vm_event_ring_take(&ring, &r));
    }
}

static void a_full_ring_takes_no_more_and_slots_come_back_one_by_one(void **state)
{
    vm_event_response_t r;

    (void)state;
    fresh();
    for (uint32_t i = 0; i < VM_EVENT_SLOTS; i++)
        assert_true(put(i));
    assert_int_equal(vm_event_ring_free(&ring), 0);
    assert_false(put(99));
    assert_int_equal(page.sring.req_prod, VM_EVENT_SLOTS);
    assert_int_equal(serve(), 0);
    assert_false(put(99)); /* an answer that was not taken yet holds its slot */
    assert_true(vm_event_ring_take(&ring, &r));
    assert_true(put(99));
    assert_false(put(100));
    for (uint32_t i = 1; i < VM_EVENT_SLOTS; i++)
        assert_int_equal(serve(), i);
    assert_int_equal(serve(), 99);
}

/* Indices of all kinds: at most as many answers as requests, and what is put stays within the page. */
static void an_end_that_lies_hurts_nobody_else(void **state)
{
    const char *text = getenv("SEED");
    unsigned    seed = text ? (unsigned)atoi(text) : 1;
    uint64_t    puts = 0, takes = 0;

    (void)state;
    fresh();
    for (unsigned i = 0; i < 200000; i++) {
        vm_event_response_t r;

        switch (rand_r(&seed) % 6) {
        case 0:
            page.sring.rsp_prod = (uint32_t)rand_r(&seed);
            break;
        case 1:
            page.sring.rsp_prod = page.sring.req_prod - (uint32_t)rand_r(&seed) % 20 + 10;
            break;
        case 2:
            page.sring.req_prod = (uint32_t)rand_r(&seed);
            break;
        case 3:
            page.bytes[rand_r(&seed) % (int)PAGE_SIZE] = (uint8_t)rand_r(&seed);
            break;
        case 4:
            puts += put(i);
            break;
        default:
            takes += vm_event_ring_take(&ring, &r);
        }
        if (takes > puts || puts - takes > VM_EVENT_SLOTS ||
            vm_event_ring_free(&ring) != VM_EVENT_SLOTS - (puts - takes))
            fail_msg("%lu put, %lu taken, %u free (SEED=%s)", (unsigned long)puts,
                     (unsigned long)takes, vm_event_ring_free(&ring), text ? text : "1");
    }
    assert_true(puts > 1000 && takes > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_come_in_order_and_answers_go_back),
        cmocka_unit_test(a_full_ring_takes_no_more_and_slots_come_back_one_by_one),
        cmocka_unit_test(an_end_that_lies_hurts_nobody_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
