/* test: with paging/ */
/*
 * References in one swap: what is as usual changes by one, and what is not stays as it is, to be found
 * out step by step.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paging/type_words.h"

#define OWNER 7
#define CLOCK 0x12345678

static struct frame          frames[2];
static const struct phys     phys = { NULL, 2, frames, NULL, NULL };
static struct direct_machine machine = { .phys = &phys, .clock = CLOCK };
static struct frame *const   f = &frames[1];

/* The frame is so, for the machine or one step of it. */
static void is(uint16_t owner, uint32_t refs, struct type type)
{
    *f = (struct frame){ .kind = FRAME_GUEST, .owner = owner, .refs = refs };
    f->guest.type = type.word;
}

static void check(bool done, bool wanted, uint32_t refs, struct type type)
{
    assert_int_equal(done, wanted);
    assert_int_equal(f->refs, refs);
    assert_true(f->guest.type == type.word);
}

#define MINE (REFS_ALLOCATED | REFS_DIRECT)

static struct type live(uint8_t kind, unsigned count)
{
    return (struct type){ .kind = kind & TYPE_KIND_MASK,
                          .validated = true,
                          .count = count & TYPE_COUNT_MAX };
}

static void a_live_frame_gets_one_more_of_each(void **state)
{
    (void)state;
    is(OWNER, MINE | 3, live(TYPE_L1, 2));
    check(words_get(f, OWNER, TYPE_L1), true, MINE | 4, live(TYPE_L1, 3));
    is(OWNER, MINE | 3, live(TYPE_WRITABLE, 2));
    check(words_get(f, OWNER, TYPE_WRITABLE), true, MINE | 4, live(TYPE_WRITABLE, 3));
}

static void what_is_something_else_gets_none(void **state)
{
    const struct type idle = type_stamped((struct type){ .kind = TYPE_L1 }, CLOCK - 5);

    (void)state;
    is(OWNER, MINE | 3, live(TYPE_L1, 2));
    check(words_get(f, OWNER, TYPE_L2), false, MINE | 3, live(TYPE_L1, 2));
    check(words_get(f, OWNER, TYPE_WRITABLE), false, MINE | 3, live(TYPE_L1, 2));
    check(words_get(f, OWNER + 1, TYPE_L1), false, MINE | 3, live(TYPE_L1, 2));
    is(OWNER, MINE, idle); /* it may be written by a TLB's leave, or has to be looked through */
    check(words_get(f, OWNER, TYPE_WRITABLE), false, MINE, idle);
    check(words_get(f, OWNER, TYPE_L1), false, MINE, idle);
    is(OWNER, 0, live(TYPE_L1, 2)); /* nobody holds it */
    check(words_get(f, OWNER, TYPE_L1), false, 0, live(TYPE_L1, 2));
}

/* What is idle begins as if it had never been anything. */
static void an_idle_frame_that_was_no_table_may_be_written(void **state)
{
    struct type idle = type_stamped((struct type){ .kind = TYPE_WRITABLE }, CLOCK - 5);

    (void)state;
    is(OWNER, MINE, idle);
    check(words_get(f, OWNER, TYPE_WRITABLE), true, MINE | 1, live(TYPE_WRITABLE, 1));
    idle.validated = true; /* as the last reference leaves it */
    is(OWNER, MINE, idle);
    check(words_get(f, OWNER, TYPE_WRITABLE), true, MINE | 1, live(TYPE_WRITABLE, 1));
}

static void a_reference_that_nobody_has_is_not_dropped(void **state)
{
    const struct type idle = type_stamped(live(TYPE_WRITABLE, 0), CLOCK - 5);

    (void)state;
    is(OWNER, MINE | 2, idle);
    check(words_put(&machine, mfn_of(1), TYPE_WRITABLE), false, MINE | 2, idle);
    is(OWNER, MINE | 2, live(TYPE_L1, 2));
    check(words_put(&machine, mfn_of(1), TYPE_WRITABLE), false, MINE | 2, live(TYPE_L1, 2));
}

static void the_last_one_that_writes_leaves_the_time(void **state)
{
    (void)state;
    is(OWNER, MINE | 2, live(TYPE_WRITABLE, 1));
    check(words_put(&machine, mfn_of(1), TYPE_WRITABLE), true, MINE | 1,
          type_stamped(live(TYPE_WRITABLE, 0), CLOCK));
}

static void a_table_keeps_its_last_one(void **state)
{
    (void)state;
    is(OWNER, MINE | 2, live(TYPE_L1, 2));
    check(words_put(&machine, mfn_of(1), TYPE_L1), true, MINE | 1, live(TYPE_L1, 1));
    check(words_put(&machine, mfn_of(1), TYPE_L1), false, MINE | 1, live(TYPE_L1, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_live_frame_gets_one_more_of_each),
        cmocka_unit_test(what_is_something_else_gets_none),
        cmocka_unit_test(an_idle_frame_that_was_no_table_may_be_written),
        cmocka_unit_test(a_reference_that_nobody_has_is_not_dropped),
        cmocka_unit_test(the_last_one_that_writes_leaves_the_time),
        cmocka_unit_test(a_table_keeps_its_last_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
