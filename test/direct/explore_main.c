/*
 * Every interleaving of small worlds of direct paging. EXPLORE=long gives each vCPU more turns; WORLD=n
 * takes one world only. Built without sanitizers: it goes through a million states.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "explore.h"

static void nothing_is_wrong_in_any_interleaving(void **state)
{
    const char *only = getenv("WORLD");
    bool        thorough = getenv("EXPLORE") != NULL;

    (void)state;
    for (unsigned i = 0; i < small_world_count; i++) {
        struct explored result;
        bool            good;

        if (only && strtoul(only, NULL, 0) != i)
            continue;
        good = explore(&small_worlds[i], thorough, 100000000, &result);
        printf("# %u, %s: %lu states, %lu ends, depth %u\n", i, small_worlds[i].name, result.states,
               result.ends, result.deepest);
        fflush(stdout);
        if (!good)
            fail_msg("world %u: %s\nafter: %s", i, result.why, result.trace);
        assert_true(result.ends > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_wrong_in_any_interleaving),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
