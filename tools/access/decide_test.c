/* test: with tools/access/decide.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tools/access/decide.h"

static const struct {
    enum action     action;
    bool            waits;
    struct decision wanted;
} cases[] = {
    { ACTION_LOG, true, { .report = true, .emulate = true } },
    { ACTION_LOG, false, { .report = true } },
    { ACTION_COUNT, true, { .emulate = true } },
    { ACTION_COUNT, false, { .report = false } },
    { ACTION_ONCE, true, { .report = true, .open = true } },
    { ACTION_ONCE, false, { .report = true, .open = true } },
    { ACTION_PAUSE, true, { .report = true, .stop = true } },
    { ACTION_PAUSE, false, { .report = true, .stop = true } },
};

static void each_action_has_its_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct decision got = decide(cases[i].action, cases[i].waits);

        assert_memory_equal(&got, &cases[i].wanted, sizeof(got));
    }
}

/* A vCPU that waits must get on: its access becomes possible, or it passes, or all is over. */
static void nobody_is_asked_again_for_ever(void **state)
{
    (void)state;
    for (int action = ACTION_LOG; action <= ACTION_PAUSE; action++) {
        struct decision d = decide((enum action)action, true);

        assert_int_equal(d.emulate + d.open + d.stop, 1);
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
