/* test: with tools/access/summary.c tools/access/symbols.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/access/summary.h"

static struct summary summary;

static char *printed(double seconds)
{
    static const struct symbols none;
    char                       *text = NULL;
    size_t                      size;
    FILE                       *out = open_memstream(&text, &size);

    assert_non_null(out);
    summary_print(&summary, seconds, &none, out);
    fclose(out);
    summary_free(&summary);
    return text;
}

static void pages_are_counted_by_kind_and_sorted_by_count(void **state)
{
    char *text;

    (void)state;
    summary_add(&summary, 0x10, KIND_READ, 0x1111);
    for (int i = 0; i < 3; i++)
        summary_add(&summary, 0x20, KIND_WRITE, 0x2222);
    summary_add(&summary, 0, KIND_WALK, 0x3333);
    summary_add(&summary, 0x20, KIND_FETCH, 0x4444);
    text = printed(2.0);
    assert_string_equal(text, "summary: 6 events on 3 pages in 2.0 seconds, 3 a second\n"
                              "         gfn     read    write    fetch     walk  last from\n"
                              "        0x20        0        3        1        0  0x4444\n"
                              "           0        0        0        0        1  0x3333\n"
                              "        0x10        1        0        0        0  0x1111\n");
    free(text);
}

static void without_events_there_is_no_table(void **state)
{
    char *text = printed(0);

    (void)state;
    assert_string_equal(text, "summary: 0 events on 0 pages in 0.0 seconds, 0 a second\n");
    free(text);
}

/* Beside an array that is indexed by the frame. */
static void many_pages_have_their_own_counts(void **state)
{
    static uint32_t count[50000];
    uint64_t        seed = 7, pages = 0;

    (void)state;
    for (unsigned i = 0; i < 200000; i++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        uint64_t gfn = (seed >> 33) % 50000;
        pages += count[gfn]++ == 0;
        summary_add(&summary, gfn << 20, KIND_WRITE, 0);
    }
    assert_int_equal(summary.taken, pages);
    for (size_t i = 0; i < summary.places; i++)
        if (summary.page[i].total) {
            uint32_t *wanted = &count[summary.page[i].gfn >> 20];
            assert_int_equal(summary.page[i].count[KIND_WRITE], *wanted);
            *wanted = 0;
        }
    for (unsigned i = 0; i < 50000; i++)
        assert_int_equal(count[i], 0);
    char *text = printed(1);
    assert_non_null(strstr(text, " pages more\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_counted_by_kind_and_sorted_by_count),
        cmocka_unit_test(without_events_there_is_no_table),
        cmocka_unit_test(many_pages_have_their_own_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
