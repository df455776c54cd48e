/* test: with tools/access/decide.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tools/access/decide.h"

static const struct {
    enum action     action;
    bool            can_step, waits;
    struct decision wanted;
} cases[] = {
    { ACTION_LOG, true, true, { .report = true, .emulate = true } },
    { ACTION_LOG, false, true, { .report = true, .open = true, .close = true } },
    { ACTION_LOG, true, false, { .report = true } },
    { ACTION_LOG, false, false, { .report = true } },
    { ACTION_COUNT, true, true, { .emulate = true } },
    { ACTION_COUNT, false, true, { .open = true, .close = true } },
    { ACTION_COUNT, true, false, { .report = false } },
    { ACTION_COUNT, false, false, { .report = false } },
    { ACTION_ONCE, true, true, { .report = true, .open = true } },
    { ACTION_ONCE, false, true, { .report = true, .open = true } },
    { ACTION_ONCE, true, false, { .report = true, .open = true } },
    { ACTION_PAUSE, true, true, { .report = true, .stop = true } },
    { ACTION_PAUSE, false, false, { .report = true, .stop = true } },
};

static void each_action_has_its_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct decision got = decide(cases[i].action, cases[i].can_step, cases[i].waits);

        assert_memory_equal(&got, &cases[i].wanted, sizeof(got));
    }
}

/* A vCPU that waits must get on: its access becomes possible, or it passes, or all is over. */
static void nobody_is_asked_again_for_ever(void **state)
{
    (void)state;
    for (int action = ACTION_LOG; action <= ACTION_PAUSE; action++)
        for (int can_step = 0; can_step < 2; can_step++) {
            struct decision d = decide((enum action)action, can_step, true);

            assert_int_equal(d.emulate + d.open + d.stop, 1);
            assert_true(d.open || !d.close);
            assert_true(can_step || !d.emulate);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_action_has_its_answer),
        cmocka_unit_test(nobody_is_asked_again_for_ever),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
