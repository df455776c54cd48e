/* Timers against a clock that the test turns. */
#include "hv/timer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "hv/machine.h"

#define TIMERS 20

static uint64_t     now, alarm_at;
static struct timer timers[TIMERS];
static unsigned     order[1000], runs;

uint64_t machine_now(void)
{
    return now;
}

void machine_alarm(uint64_t when)
{
    alarm_at = when;
}

static void note(void *arg)
{
    struct timer *t = arg;

    assert_false(t->armed);
    assert_true(t->when <= now);
    order[runs++] = (unsigned)(t - timers);
}

static int fresh(void **state)
{
    (void)state;
    for (unsigned i = 0; i < TIMERS; i++) {
        timer_cancel(&timers[i]);
        timers[i].run = note;
        timers[i].arg = &timers[i];
    }
    now = 1000;
    runs = 0;
    alarm_at = UINT64_MAX;
    return 0;
}

static void they_run_in_order_and_not_early(void **state)
{
    (void)state;
    timer_set(&timers[0], 3000);
    timer_set(&timers[1], 2000);
    timer_set(&timers[2], 2000);
    assert_int_equal(alarm_at, 2000);
    now = 1999;
    timers_run();
    assert_int_equal(runs, 0);
    now = 2500;
    timers_run();
    assert_int_equal(runs, 2);
    assert_int_equal(order[0], 1);
    assert_int_equal(order[1], 2);
    assert_int_equal(alarm_at, 3000);
    now = 3000;
    timers_run();
    assert_int_equal(order[2], 0);
    assert_true(alarm_at == UINT64_MAX && timers_next() == UINT64_MAX);
}

static void moving_and_cancelling_take_effect(void **state)
{
    (void)state;
    timer_set(&timers[0], 2000);
    timer_set(&timers[0], 5000);
    timer_set(&timers[1], 3000);
    timer_cancel(&timers[1]);
    timer_cancel(&timers[1]);
    now = 4000;
    timers_run();
    assert_int_equal(runs, 0);
    assert_int_equal(timers_next(), 5000);
}

static void again(void *arg)
{
    struct timer *t = arg;

    runs++;
    timer_set(t, 0);
}

static void one_that_is_always_due_ends_the_call(void **state)
{
    (void)state;
    timers[0].run = again;
    timer_set(&timers[0], 1);
    timers_run();
    assert_true(runs > 0 && runs < 1000);
    assert_int_equal(alarm_at, 0); /* so that the main loop comes back at once */
}

static void random_timers_each_run_once_at_their_time(void **state)
{
    uint64_t due[TIMERS];

    (void)state;
    srand(1);
    for (unsigned round = 0; round < 2000; round++) {
        unsigned expected = 0;
        uint64_t earliest = UINT64_MAX;

        runs = 0;
        for (unsigned i = 0; i < TIMERS; i++) {
            due[i] = rand() % 4 == 0 ? UINT64_MAX : now + (unsigned)rand() % 100;
            if (due[i] == UINT64_MAX)
                timer_cancel(&timers[i]);
            else
                timer_set(&timers[i], due[i]);
        }
        now += (unsigned)rand() % 120;
        for (unsigned i = 0; i < TIMERS; i++) {
            expected += due[i] <= now;
            if (due[i] > now && due[i] < earliest)
                earliest = due[i];
        }
        timers_run();
        assert_int_equal(runs, expected);
        assert_true(timers_next() == earliest && alarm_at == earliest);
        for (unsigned i = 1; i < runs; i++)
            assert_true(due[order[i - 1]] <= due[order[i]]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(they_run_in_order_and_not_early, fresh),
        cmocka_unit_test_setup(moving_and_cancelling_take_effect, fresh),
        cmocka_unit_test_setup(one_that_is_always_due_ends_the_call, fresh),
        cmocka_unit_test_setup(random_timers_each_run_once_at_their_time, fresh),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
