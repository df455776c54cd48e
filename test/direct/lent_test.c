/* test: with paging/ test/direct/world.c */
/* Direct paging: frames of domains with paging of another kind, which they lend. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "story.h"

static int fresh(void **state)
{
    (void)state;
    world_init(&w, 10, 2, 0);
    return 0;
}

static int fresh_and_quick(void **state)
{
    (void)fresh(state);
    w.machine.quick = true;
    return 0;
}

/* Domain 1 has paging of another kind, and lends frame 5 to the first. */
static void each_mapping_of_a_lent_frame_that_goes_is_stamped(void **state)
{
    struct direct_request pin = world_request(&w, DIRECT_PIN, 1);
    struct direct_request r = world_request(&w, DIRECT_UPDATE, 1);

    (void)state;
    pin.kind = TYPE_L1;
    w.frame[5].owner = w.domain[1].id;
    w.frame[5].refs = 0;
    assert_int_equal(world_do(&w, 0, &pin, 1000).status, DIRECT_DONE);
    r.from = w.domain[1].id;
    r.value = ENTRY(5, RO);
    assert_int_equal(world_do(&w, 0, &r, 10).status, DIRECT_REFUSED);
    direct_lend(w.machine.phys, mfn_of(5));
    assert_int_equal(world_do(&w, 0, &r, 10).status, DIRECT_DONE);
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        world_flush_begin(&w, cpu);
        world_flush_end(&w, cpu);
    }
    assert_int_equal(direct_stale_cpus(&w.machine, mfn_of(5)), 0);
    r.value = 0;
    assert_int_equal(world_do(&w, 0, &r, 10).status, DIRECT_DONE);
    assert_int_equal(direct_stale_cpus(&w.machine, mfn_of(5)), 3);
    assert_int_equal(direct_holds(w.machine.phys, mfn_of(5)), 1);
    direct_take_back(w.machine.phys, mfn_of(5)); /* its domain has it, and flushes by that stamp */
    assert_false(direct_is_lent(w.machine.phys, mfn_of(5)));
    assert_int_equal(direct_stale_cpus(&w.machine, mfn_of(5)), 3);
    w.frame[5].refs = REFS_ALLOCATED | REFS_DIRECT; /* as the world was made */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_mapping_of_a_lent_frame_that_goes_is_stamped, fresh,
                                        sound),
        cmocka_unit_test_setup_teardown(each_mapping_of_a_lent_frame_that_goes_is_stamped,
                                        fresh_and_quick, sound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
