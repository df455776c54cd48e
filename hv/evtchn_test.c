/* test: with hv/evtchn.c hv/shared.c */
/*
 * Event channels of two domains. Shared pages are an array here; the rest of the hypervisor
 * is a few recorders. The oracle of the property: a port's upcall comes exactly when it is
 * raised unmasked, or unmasked while pending.
 */
#include "hv/evtchn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/alloc.h"
#include "hv/guest.h"
#include "hv/ring.h"
#include "hv/trace.h"
#include "hv/vm_event.h"

#define VCPUS 2

static _Alignas(4096) uint8_t memory[4 * PAGE_SIZE];
static struct frame frames[4];
struct phys         machine_phys = { memory, 4, frames, NULL, NULL };
bool                trace_enabled;

static struct domain dom[2];
static struct vcpu   vcpus[2][VCPUS];
static unsigned      kicks, console_notes, followed, marked;
static bool          no_memory;

void *alloc_bytes(size_t bytes)
{
    return no_memory ? NULL : calloc(1, bytes);
}

void free_bytes(void *p, size_t bytes)
{
    (void)bytes;
    free(p);
}

struct domain *domain_by_id(uint16_t id)
{
    return id >= 1 && id <= 2 && dom[id - 1].id == id ? &dom[id - 1] : NULL;
}

void vcpu_kick(struct vcpu *v)
{
    v->state = VCPU_RUNNABLE;
    v->poll = false;
    kicks++;
}

void ring_console_notify(struct domain *d)
{
    (void)d;
    console_notes++;
}

static unsigned answers, gone;

void vm_event_answered(struct domain *d)
{
    (void)d;
    answers++;
}

void vm_event_disable(struct domain *d)
{
    (void)d;
    gone++;
}

void paging_dirty_mark(struct paging_locked p, mfn_t mfn)
{
    (void)p;
    assert_true(mfn.raw < 4);
    marked++;
}

struct verdict paging_write(struct paging_locked p, mfn_t mfn, unsigned offset, const void *bytes,
                            unsigned len)
{
    (void)p;
    memcpy((uint8_t *)phys_ptr(&machine_phys, mfn) + offset, bytes, len);
    followed++;
    return (struct verdict){ .kind = VERDICT_RETRY };
}

void vcpu_flush(struct domain *d, const struct verdict *verdict)
{
    (void)d;
    (void)verdict;
}

void domain_crash(struct domain *d, const char *fmt, ...)
{
    (void)d;
    fail_msg("%s", fmt);
}

void trace_write(enum trace_kind kind, const struct vcpu *v, uint64_t a, uint64_t b, uint64_t c)
{
    (void)kind;
    (void)v;
    (void)a;
    (void)b;
    (void)c;
}

static int set_up(void **state)
{
    (void)state;
    memset(memory, 0, sizeof(memory));
    memset(frames, 0, sizeof(frames));
    memset(dom, 0, sizeof(dom));
    memset(vcpus, 0, sizeof(vcpus));
    no_memory = false;
    for (unsigned i = 0; i < 2; i++) {
        dom[i].id = (uint16_t)(i + 1);
        dom[i].nr_vcpus = VCPUS;
        dom[i].shared_mfn = mfn_of(i + 1);
        dom[i].shared = phys_ptr(&machine_phys, dom[i].shared_mfn);
        for (unsigned n = 0; n < VCPUS; n++) {
            dom[i].vcpu[n] = &vcpus[i][n];
            vcpus[i][n].domain = &dom[i];
            vcpus[i][n].id = n;
            vcpus[i][n].info = &dom[i].shared->vcpu_info[n];
            vcpus[i][n].info_mfn = dom[i].shared_mfn;
        }
        assert_true(evtchn_init(&dom[i]));
    }
    kicks = console_notes = followed = marked = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++)
        while (!evtchn_destroy(&dom[i]))
            ;
    return 0;
}

/* What a guest's handler does: takes the upcall and clears its bits. True: it was for `port`. */
static bool upcall_for(struct vcpu *v, unsigned port)
{
    struct shared_info *s = v->domain->shared;
    bool                mine = v->info->evtchn_upcall_pending != 0 &&
                (v->info->evtchn_pending_sel >> (port / 64) & 1) != 0 &&
                (s->evtchn_pending[port / 64] >> (port % 64) & 1) != 0;

    v->info->evtchn_upcall_pending = 0;
    v->info->evtchn_pending_sel = 0;
    s->evtchn_pending[port / 64] &= ~(UINT64_C(1) << (port % 64));
    return mine;
}

static void an_ipi_reaches_its_vcpu_only(void **state)
{
    unsigned port;

    (void)state;
    assert_int_equal(evtchn_bind_ipi(&dom[0], 1, &port), EVTCHN_OK);
    assert_int_equal(port, 1);
    assert_int_equal(evtchn_send(&dom[0], port), EVTCHN_OK);
    assert_false(upcall_for(&vcpus[0][0], 2));
    assert_int_equal(evtchn_send(&dom[0], port), EVTCHN_OK); /* pending already: no more kicks */
    assert_int_equal(kicks, 1);
    assert_true(upcall_for(&vcpus[0][1], port));
}

static void a_masked_port_waits_for_unmask(void **state)
{
    unsigned port;

    (void)state;
    assert_int_equal(evtchn_bind_ipi(&dom[0], 0, &port), EVTCHN_OK);
    dom[0].shared->evtchn_mask[0] = ~UINT64_C(0);
    assert_int_equal(evtchn_send(&dom[0], port), EVTCHN_OK);
    assert_int_equal(vcpus[0][0].info->evtchn_upcall_pending, 0);
    assert_true(evtchn_pending(&dom[0], port));
    assert_int_equal(evtchn_unmask(&dom[0], port), EVTCHN_OK);
    assert_int_equal(dom[0].shared->evtchn_mask[0] >> port & 1, 0);
    assert_true(upcall_for(&vcpus[0][0], port));
    assert_int_equal(evtchn_unmask(&dom[0], port), EVTCHN_OK);
    assert_int_equal(vcpus[0][0].info->evtchn_upcall_pending, 0);
}

static void a_poller_wakes_for_a_masked_port(void **state)
{
    unsigned port;

    (void)state;
    assert_int_equal(evtchn_bind_ipi(&dom[0], 0, &port), EVTCHN_OK);
    dom[0].shared->evtchn_mask[0] = ~UINT64_C(0);
    vcpus[0][1].poll = true;
    assert_int_equal(evtchn_send(&dom[0], port), EVTCHN_OK);
    assert_int_equal(kicks, 1);
    assert_false(vcpus[0][1].poll);
}

static void domains_connect_talk_and_part(void **state)
{
    unsigned             far, near, other;
    struct evtchn_report report;

    (void)state;
    assert_int_equal(evtchn_alloc_unbound(&dom[0], 2, &far), EVTCHN_OK);
    assert_int_equal(evtchn_send(&dom[0], far), EVTCHN_OK); /* nobody hears it */
    assert_int_equal(evtchn_bind_interdomain(&dom[1], 1, far, &near), EVTCHN_OK);
    assert_true(upcall_for(&vcpus[1][0], near));
    assert_int_equal(evtchn_bind_interdomain(&dom[1], 1, far, &other), EVTCHN_INVALID);
    assert_int_equal(evtchn_send(&dom[0], far), EVTCHN_OK);
    assert_true(upcall_for(&vcpus[1][0], near));
    assert_int_equal(evtchn_send(&dom[1], near), EVTCHN_OK);
    assert_true(upcall_for(&vcpus[0][0], far));
    assert_int_equal(evtchn_status(&dom[0], far, &report), EVTCHN_OK);
    assert_int_equal(report.status, EVTCHNSTAT_interdomain);
    assert_int_equal(report.remote_domain, 2);
    assert_int_equal(report.remote_port, near);

    assert_int_equal(evtchn_close(&dom[1], near), EVTCHN_OK);
    assert_int_equal(evtchn_status(&dom[0], far, &report), EVTCHN_OK);
    assert_int_equal(report.status, EVTCHNSTAT_unbound);
    assert_int_equal(report.remote_domain, 2);
}

static void strangers_and_wrong_numbers_are_refused(void **state)
{
    unsigned port, local;

    (void)state;
    assert_int_equal(evtchn_alloc_unbound(&dom[0], 1, &port), EVTCHN_OK);
    assert_int_equal(evtchn_bind_interdomain(&dom[1], 1, port, &local), EVTCHN_INVALID);
    assert_int_equal(evtchn_bind_interdomain(&dom[1], 9, port, &local), EVTCHN_NO_DOMAIN);
    assert_int_equal(evtchn_send(&dom[0], 0), EVTCHN_INVALID);
    assert_int_equal(evtchn_send(&dom[0], 77), EVTCHN_INVALID);
    assert_int_equal(evtchn_send(&dom[0], UINT32_MAX), EVTCHN_INVALID);
    assert_int_equal(evtchn_close(&dom[0], DOMAIN_PORTS_MAX), EVTCHN_INVALID);
    assert_int_equal(evtchn_unmask(&dom[0], UINT32_MAX), EVTCHN_INVALID);
    assert_int_equal(evtchn_bind_ipi(&dom[0], VCPUS, &local), EVTCHN_NO_VCPU);
    assert_int_equal(evtchn_bind_virq(&dom[0], UINT32_MAX, VIRQ_TIMER, &local), EVTCHN_NO_VCPU);
    assert_int_equal(evtchn_bind_virq(&dom[0], 0, 24, &local), EVTCHN_INVALID);
    assert_int_equal(evtchn_bind_vcpu(&dom[0], port, VCPUS), EVTCHN_NO_VCPU);
    assert_false(evtchn_pending(&dom[0], UINT32_MAX));
}

static void a_virq_has_one_port_per_vcpu(void **state)
{
    unsigned first, second, global;

    (void)state;
    assert_int_equal(evtchn_bind_virq(&dom[0], 0, VIRQ_TIMER, &first), EVTCHN_OK);
    assert_int_equal(evtchn_bind_virq(&dom[0], 1, VIRQ_TIMER, &second), EVTCHN_OK);
    assert_int_equal(evtchn_bind_virq(&dom[0], 1, VIRQ_TIMER, &global), EVTCHN_EXISTS);
    assert_int_equal(evtchn_bind_vcpu(&dom[0], first, 1), EVTCHN_INVALID);
    evtchn_raise_virq(&vcpus[0][1], VIRQ_TIMER);
    assert_true(upcall_for(&vcpus[0][1], second));
    assert_int_equal(evtchn_close(&dom[0], second), EVTCHN_OK);
    evtchn_raise_virq(&vcpus[0][1], VIRQ_TIMER);
    assert_int_equal(vcpus[0][1].info->evtchn_upcall_pending, 0);

    /* One of the whole domain may be told to any vCPU, and is still found when it closes. */
    assert_int_equal(evtchn_bind_virq(&dom[0], 0, VIRQ_DOM_EXC, &global), EVTCHN_OK);
    assert_int_equal(evtchn_bind_vcpu(&dom[0], global, 1), EVTCHN_OK);
    assert_int_equal(evtchn_close(&dom[0], global), EVTCHN_OK);
    assert_int_equal(vcpus[0][0].virq_port[VIRQ_DOM_EXC], 0);
    assert_int_equal(vcpus[0][0].virq_port[VIRQ_TIMER], first);
}

static void the_console_port_rings_the_hypervisor(void **state)
{
    unsigned port;

    (void)state;
    assert_int_equal(evtchn_bind_console(&dom[0], &port), EVTCHN_OK);
    assert_int_equal(evtchn_send(&dom[0], port), EVTCHN_OK);
    assert_int_equal(console_notes, 1);
    evtchn_notify_guest(&dom[0], port);
    assert_true(upcall_for(&vcpus[0][0], port));
    evtchn_notify_guest(&dom[0], UINT32_MAX);
    evtchn_notify_guest(&dom[0], 500);
    assert_int_equal(kicks, 1);
}

static void ports_run_out_and_reset_frees_them(void **state)
{
    unsigned port, last = 0;

    (void)state;
    for (unsigned i = 1; i < DOMAIN_PORTS_MAX; i++)
        assert_int_equal(evtchn_bind_ipi(&dom[0], 0, &last), EVTCHN_OK);
    assert_int_equal(last, DOMAIN_PORTS_MAX - 1);
    assert_int_equal(evtchn_bind_ipi(&dom[0], 0, &port), EVTCHN_FULL);
    assert_int_equal(evtchn_send(&dom[0], last), EVTCHN_OK);
    assert_true(upcall_for(&vcpus[0][0], last));
    for (last = 1; !evtchn_reset(&dom[0]); last++)
        ;
    assert_in_range(last, DOMAIN_PORTS_MAX / 256, DOMAIN_PORTS_MAX); /* it stops in between */
    assert_int_equal(evtchn_bind_ipi(&dom[0], 0, &port), EVTCHN_OK);
    assert_int_equal(port, 1);
}

static void a_shared_page_that_is_a_table_is_followed(void **state)
{
    unsigned port;

    (void)state;
    assert_int_equal(evtchn_bind_ipi(&dom[0], 0, &port), EVTCHN_OK);
    frames[1].guest.shadows = 7;
    followed = marked = 0;
    assert_int_equal(evtchn_send(&dom[0], port), EVTCHN_OK);
    assert_int_equal(followed, 3); /* the port, its word, and the upcall */
    assert_int_equal(marked, 2);   /* paging_write marks by itself */
}

static void no_memory_means_no_ports(void **state)
{
    unsigned port;

    (void)state;
    assert_true(evtchn_destroy(&dom[0]));
    assert_true(evtchn_destroy(&dom[0]));
    no_memory = true;
    assert_false(evtchn_init(&dom[0]));
    assert_int_equal(evtchn_bind_ipi(&dom[0], 0, &port), EVTCHN_INVALID);
    assert_int_equal(evtchn_send(&dom[0], 1), EVTCHN_INVALID);
}

static void upcalls_come_exactly_when_they_should(void **state)
{
    bool     pending[64] = { false }, masked[64] = { false };
    unsigned port;

    (void)state;
    srand(1);
    for (unsigned i = 1; i < 64; i++)
        assert_int_equal(evtchn_bind_ipi(&dom[0], 0, &port), EVTCHN_OK);
    for (unsigned round = 0; round < 20000; round++) {
        bool expected = false;

        port = 1 + (unsigned)rand() % 63;
        switch (rand() % 4) {
        case 0:
            masked[port] = true;
            dom[0].shared->evtchn_mask[0] |= UINT64_C(1) << port;
            break;
        case 1:
            expected = masked[port] && pending[port];
            masked[port] = false;
            assert_int_equal(evtchn_unmask(&dom[0], port), EVTCHN_OK);
            break;
        default:
            expected = !masked[port] && !pending[port];
            pending[port] = true;
            assert_int_equal(evtchn_send(&dom[0], port), EVTCHN_OK);
        }
        assert_int_equal(vcpus[0][0].info->evtchn_upcall_pending, expected);
        if (expected) {
            assert_true(upcall_for(&vcpus[0][0], port));
            pending[port] = false;
        }
        assert_int_equal(evtchn_pending(&dom[0], port), pending[port]);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_ipi_reaches_its_vcpu_only),
        TEST(a_masked_port_waits_for_unmask),
        TEST(a_poller_wakes_for_a_masked_port),
        TEST(domains_connect_talk_and_part),
        TEST(strangers_and_wrong_numbers_are_refused),
        TEST(a_virq_has_one_port_per_vcpu),
        TEST(the_console_port_rings_the_hypervisor),
        TEST(ports_run_out_and_reset_frees_them),
        TEST(a_shared_page_that_is_a_table_is_followed),
        TEST(no_memory_means_no_ports),
        TEST(upcalls_come_exactly_when_they_should),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
