/*
 * The PV console against guests that behave and guests that do not. The rest of the
 * hypervisor is a few recorders at the head of this file. The oracle of the property is a
 * plain queue of characters.
 */
#include "hv/ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/alloc.h"
#include "hv/console.h"
#include "hv/domain.h"
#include "hv/evtchn.h"
#include "hv/print.h"

#define PORT 3
#define OUT  (sizeof(page->out))
#define IN   (sizeof(page->in))

static _Alignas(4096) uint8_t memory[2 * PAGE_SIZE];
static struct xencons_interface *page;
static struct domain             domain = { .name = "guest" };
static char                      output[65536];
static size_t                    printed;
static unsigned                  notified, lines, flushed, forgotten;
static bool                      no_memory;
static struct timer             *armed;

struct phys machine_phys = { .base = memory, .frames = 2 };

/* ---- the recorders ---- */

void *alloc_bytes(size_t bytes)
{
    return no_memory ? NULL : calloc(1, bytes);
}

void free_bytes(void *p, size_t bytes)
{
    (void)bytes;
    free(p);
}

void console_guest_output(struct domain *d, const char *bytes, size_t count)
{
    assert_ptr_equal(d, &domain);
    assert_true(printed + count <= sizeof(output));
    memcpy(output + printed, bytes, count);
    printed += count;
}

void console_flush(struct domain *d)
{
    (void)d;
    flushed++;
}

void console_forget(struct domain *d)
{
    (void)d;
    forgotten++;
}

void evtchn_notify_guest(struct domain *d, unsigned port)
{
    assert_ptr_equal(d, &domain);
    assert_int_equal(port, PORT);
    notified++;
}

void print(const char *fmt, ...)
{
    (void)fmt;
    lines++;
}

uint64_t machine_now(void)
{
    return 1000;
}

void timer_set(struct timer *timer, uint64_t when)
{
    assert_true(when > 1000);
    armed = timer;
}

void timer_cancel(struct timer *timer)
{
    if (armed == timer)
        armed = NULL;
}

static int set_up(void **state)
{
    (void)state;
    memset(memory, 0, sizeof(memory));
    page = (struct xencons_interface *)(memory + PAGE_SIZE);
    printed = 0;
    notified = lines = flushed = forgotten = 0;
    armed = NULL;
    no_memory = false;
    return ring_console_init(&domain, mfn_of(1), PORT) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    ring_console_destroy(&domain);
    return domain.console || armed ? -1 : 0;
}

/* The guest's side: writes as much as fits, without telling. */
static size_t guest_writes(const char *bytes, size_t count)
{
    size_t n = 0;

    while (n < count && page->out_prod - page->out_cons < OUT)
        page->out[page->out_prod++ % OUT] = bytes[n++];
    return n;
}

static size_t guest_reads(char *bytes, size_t size)
{
    size_t n = 0;

    while (n < size && page->in_cons != page->in_prod)
        bytes[n++] = page->in[page->in_cons++ % IN];
    return n;
}

/* ---- tests ---- */

static void what_the_guest_writes_is_printed_and_acknowledged(void **state)
{
    (void)state;
    assert_int_equal(guest_writes("hello\n", 6), 6);
    ring_console_notify(&domain);
    assert_int_equal(printed, 6);
    assert_memory_equal(output, "hello\n", 6);
    assert_int_equal(page->out_cons, 6);
    assert_int_equal(notified, 1);
    ring_console_notify(&domain);
    assert_int_equal(printed, 6);
    assert_int_equal(notified, 1);
}

static void a_flood_is_taken_in_bounded_turns(void **state)
{
    static char flood[4096];

    (void)state;
    memset(flood, 'x', sizeof(flood));
    assert_int_equal(guest_writes(flood, sizeof(flood)), OUT);
    ring_console_notify(&domain);
    assert_in_range(printed, 1, OUT / 2);
    assert_non_null(armed);
    for (unsigned i = 0; armed && i < 100; i++) {
        struct timer *timer = armed;
        size_t        before = printed;

        armed = NULL;
        timer->run(timer->arg);
        assert_in_range(printed - before, 1, OUT / 2);
    }
    assert_null(armed);
    assert_int_equal(printed, OUT);
}

static void the_end_prints_all_that_is_left_and_tells_nobody(void **state)
{
    static char flood[4096];

    (void)state;
    memset(flood, 'x', sizeof(flood));
    (void)guest_writes(flood, sizeof(flood));
    ring_console_finish(&domain);
    assert_int_equal(printed, OUT);
    assert_int_equal(flushed, 1);
    assert_int_equal(notified, 0);
}

static void what_is_typed_reaches_the_guest_in_order(void **state)
{
    char   typed[3000], got[3000];
    size_t taken, n;

    (void)state;
    for (size_t i = 0; i < sizeof(typed); i++)
        typed[i] = (char)(i * 7);
    taken = ring_console_type(&domain, typed, 700);
    assert_int_equal(taken, 700);
    assert_int_equal(notified, 1);
    taken += ring_console_type(&domain, typed + taken, sizeof(typed) - taken);
    /* The rest of a full ring waits here; what is beyond that is refused. */
    taken += ring_console_type(&domain, typed + taken, 500);
    taken += ring_console_type(&domain, typed + taken, 500);
    assert_in_range(taken, IN + 1, sizeof(typed) - 1);
    n = guest_reads(got, sizeof(got));
    assert_int_equal(n, IN);
    ring_console_notify(&domain);
    n += guest_reads(got + n, sizeof(got) - n);
    assert_int_equal(n, taken);
    assert_memory_equal(got, typed, n);
}

static void impossible_indices_switch_the_console_off_once(void **state)
{
    static const uint32_t cases[] = { OUT + 1, 0x80000000, 0xffffffff };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(set_up(NULL), 0);
        page->out_prod = cases[i];
        ring_console_notify(&domain);
        ring_console_notify(&domain);
        ring_console_finish(&domain);
        assert_int_equal(lines, 1);
        assert_int_equal(printed, 0);
        assert_int_equal(notified, 0);
        assert_int_equal(page->out_cons, 0);
        assert_int_equal(ring_console_type(&domain, "a", 1), 0);
        ring_console_destroy(&domain);

        assert_int_equal(set_up(NULL), 0);
        page->in_cons = cases[i] == OUT + 1 ? 1 : cases[i] - (uint32_t)IN;
        (void)ring_console_type(&domain, "a", 1);
        assert_int_equal(lines, 1);
        assert_int_equal(page->in_prod, 0);
        assert_int_equal(notified, 0);
        ring_console_notify(&domain);
        assert_int_equal(lines, 1);
        ring_console_destroy(&domain);
    }
}

static void no_timer_outlives_the_console(void **state)
{
    static const char flood[1000];

    (void)state;
    assert_int_equal(guest_writes(flood, sizeof(flood)), sizeof(flood));
    ring_console_notify(&domain);
    assert_non_null(armed);
    page->out_prod = 0x80000000;
    ring_console_notify(&domain);
    assert_null(armed);
    ring_console_destroy(&domain);
    assert_int_equal(set_up(NULL), 0);
    assert_int_equal(guest_writes(flood, sizeof(flood)), sizeof(flood));
    ring_console_notify(&domain);
    assert_non_null(armed);
    ring_console_destroy(&domain);
    assert_null(armed);
    assert_int_equal(forgotten, 1);
}

static void a_whole_ring_is_not_too_much(void **state)
{
    (void)state;
    page->out_prod = OUT;
    ring_console_finish(&domain);
    assert_int_equal(printed, OUT);
    assert_int_equal(lines, 0);
}

static void our_indices_are_not_read_back(void **state)
{
    char got[4];

    (void)state;
    assert_int_equal(guest_writes("abc", 3), 3);
    ring_console_notify(&domain);
    page->out_cons = 0x1234;
    page->in_prod = 0x5678;
    page->out[3] = 'd';
    page->out_prod = 4;
    ring_console_notify(&domain);
    assert_int_equal(printed, 4);
    assert_memory_equal(output, "abcd", 4);
    assert_int_equal(page->out_cons, 4);
    assert_int_equal(ring_console_type(&domain, "z", 1), 1);
    assert_int_equal(page->in_prod, 1);
    assert_int_equal(guest_reads(got, sizeof(got)), 1);
    assert_int_equal(got[0], 'z');
}

static void without_memory_there_is_no_console(void **state)
{
    (void)state;
    ring_console_destroy(&domain);
    no_memory = true;
    assert_false(ring_console_init(&domain, mfn_of(1), PORT));
    assert_null(domain.console);
    ring_console_notify(&domain);
    ring_console_finish(&domain);
    assert_int_equal(ring_console_type(&domain, "a", 1), 0);
}

/* Both directions at random, over the wrap of the indices, against plain queues. */
static void characters_neither_vanish_nor_change(void **state)
{
    static char sent[4096], got[4096];
    static char page_bytes[sizeof(struct xencons_interface)] __attribute__((aligned(4096)));
    const char *given = getenv("SEED");
    unsigned    seed = given ? (unsigned)strtoul(given, NULL, 0) : 1;
    struct ring ring = { (struct xencons_interface *)page_bytes, 0xffffff00, 0xffffff00 };

    (void)state;
    print_message("SEED=%u\n", seed);
    srand(seed);
    page = ring.page;
    page->out_cons = page->out_prod = page->in_cons = page->in_prod = 0xffffff00;
    for (unsigned round = 0; round < 20000; round++) {
        size_t            n = (unsigned)rand() % sizeof(sent), took = 0;
        struct ring_moved moved = { .more = true };

        for (size_t i = 0; i < n; i++)
            sent[i] = (char)rand();
        if (rand() % 2) {
            n = guest_writes(sent, n);
            while (moved.more) {
                moved = ring_take(&ring, got + took, 1 + (unsigned)rand() % 500);
                assert_false(moved.hostile);
                took += moved.count;
                assert_true(took <= n);
            }
        } else {
            moved = ring_give(&ring, sent, n);
            assert_false(moved.hostile);
            assert_int_equal(moved.count, n < IN ? n : IN);
            n = moved.count;
            took = guest_reads(got, sizeof(got));
        }
        assert_int_equal(took, n);
        assert_memory_equal(got, sent, n);
    }
}

/* Whatever the guest shows, what moves is bounded, and nothing outside the page is touched. */
static void random_indices_do_no_harm(void **state)
{
    static char got[4096], sent[4096];
    struct ring ring = { page, 0, 0 };

    (void)state;
    for (unsigned round = 0; round < 50000; round++) {
        uint32_t          near = (uint32_t)rand() % 4096 - 1024;
        struct ring_moved moved;
        uint32_t          filled;

        page->out_prod = rand() % 4 ? ring.out_cons + near : (uint32_t)rand() << 1;
        filled = page->out_prod - ring.out_cons;
        moved = ring_take(&ring, got, (unsigned)rand() % sizeof(got));
        assert_int_equal(moved.hostile, filled > OUT);
        assert_true(moved.count <= OUT && (!moved.hostile || moved.count == 0));
        page->in_cons = rand() % 4 ? ring.in_prod - near : (uint32_t)rand() << 1;
        filled = ring.in_prod - page->in_cons;
        moved = ring_give(&ring, sent, (unsigned)rand() % sizeof(sent));
        assert_int_equal(moved.hostile, filled > IN);
        assert_true(moved.count <= IN && (!moved.hostile || moved.count == 0));
    }
    for (size_t i = sizeof(*page); i < PAGE_SIZE; i++)
        assert_int_equal(memory[PAGE_SIZE + i], 0);
    for (size_t i = 0; i < PAGE_SIZE; i++)
        assert_int_equal(memory[i], 0);
}

int main(void)
{
#define RING_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        RING_TEST(what_the_guest_writes_is_printed_and_acknowledged),
        RING_TEST(a_flood_is_taken_in_bounded_turns),
        RING_TEST(the_end_prints_all_that_is_left_and_tells_nobody),
        RING_TEST(what_is_typed_reaches_the_guest_in_order),
        cmocka_unit_test(impossible_indices_switch_the_console_off_once),
        RING_TEST(no_timer_outlives_the_console),
        RING_TEST(a_whole_ring_is_not_too_much),
        RING_TEST(our_indices_are_not_read_back),
        RING_TEST(without_memory_there_is_no_console),
        RING_TEST(characters_neither_vanish_nor_change),
        RING_TEST(random_indices_do_no_harm),
    };

    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
