/* test: with tools/access/rules.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tools/access/rules.h"

static const struct {
    const char *line;
    uint64_t    first, count;
    const char *symbol;
    uint8_t     rights;
    enum action action;
} good[] = {
    { "5 n", 5, 1, "", 0, ACTION_LOG },
    { "0x1000-0x10ff rx once # those", 0x1000, 0x100, "", 5, ACTION_ONCE },
    { "\t7+3   rw\tcount\r\n", 7, 3, "", 3, ACTION_COUNT },
    { "9-9 rx2rw pause", 9, 1, "", 8, ACTION_PAUSE },
    { "0+1 n2rwx log", 0, 1, "", 9, ACTION_LOG },
    { "jiffies default", 0, 1, "jiffies", 10, ACTION_LOG },
    { "do_sys-open+2 r", 0, 1, "do_sys-open+2", 1, ACTION_LOG },
};

static void rules_are_read_as_they_stand(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct rules rules = { .count = 0 };
        char         message[MESSAGE_MAX];

        assert_true(rules_add(&rules, good[i].line, message));
        assert_int_equal(rules.count, 1);
        assert_int_equal(rules.rule[0].first, good[i].first);
        assert_int_equal(rules.rule[0].count, good[i].count);
        assert_string_equal(rules.rule[0].symbol, good[i].symbol);
        assert_int_equal(rules.rule[0].rights, good[i].rights);
        assert_int_equal(rules.rule[0].action, good[i].action);
    }
}

static void lines_that_say_nothing_are_no_rules(void **state)
{
    static const char *const empty[] = { "", "\n", "  \t\r\n", "# 5 n", "   #" };
    struct rules             rules = { .count = 0 };
    char                     message[MESSAGE_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++)
        assert_true(rules_add(&rules, empty[i], message));
    assert_int_equal(rules.count, 0);
}

static void what_cannot_be_read_is_refused_with_the_reason(void **state)
{
    static const struct {
        const char *line, *why;
    } bad[] = {
        { "5", "fewer words" },
        { "5 n log more", "more words" },
        { "5 q", "rights are" },
        { "5 rwxx", "rights are" },
        { "5 n never", "an action is" },
        { "5x n", "a range is" },
        { "5- n", "a range is" },
        { "5+x n", "a range is" },
        { "5+-3 n", "a range is" },
        { "99999999999999999999 n", "a range is" },
        { "5+0 n", "no frames" },
        { "5-4 n", "no frames" },
        { "0x10000000000 n", "such that no guest has" },
        { "0+0x10000000000 n", "such that no guest has" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct rules rules = { .count = 0 };
        char         message[MESSAGE_MAX] = "";

        assert_false(rules_add(&rules, bad[i].line, message));
        assert_non_null(strstr(message, bad[i].why));
        assert_int_equal(rules.count, 0);
    }
}

static void too_much_is_refused(void **state)
{
    static struct rules rules;
    char                message[MESSAGE_MAX], line[1024];

    (void)state;
    for (unsigned i = 0; i < RULES_MAX; i++)
        assert_true(rules_add(&rules, "5 n", message));
    assert_false(rules_add(&rules, "5 n", message));
    assert_non_null(strstr(message, "more than 256"));
    rules.count = 0;
    memset(line, ' ', sizeof(line));
    line[sizeof(line) - 1] = '\0';
    assert_false(rules_add(&rules, line, message));
    memset(line, 'a', SYMBOL_MAX);
    strcpy(line + SYMBOL_MAX, " n");
    assert_false(rules_add(&rules, line, message));
    assert_non_null(strstr(message, "less than 128"));
    assert_true(rules_add(&rules, line + 1, message));
}

static void a_later_rule_goes_before_an_earlier_one(void **state)
{
    struct rules rules = { .count = 0 };
    char         message[MESSAGE_MAX];

    (void)state;
    assert_true(rules_add(&rules, "10-20 n", message));
    assert_true(rules_add(&rules, "15+2 r", message));
    assert_int_equal(rules_find(&rules, 9), -1);
    assert_int_equal(rules_find(&rules, 10), 0);
    assert_int_equal(rules_find(&rules, 14), 0);
    assert_int_equal(rules_find(&rules, 15), 1);
    assert_int_equal(rules_find(&rules, 16), 1);
    assert_int_equal(rules_find(&rules, 17), 0);
    assert_int_equal(rules_find(&rules, 20), 0);
    assert_int_equal(rules_find(&rules, 21), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_are_read_as_they_stand),
        cmocka_unit_test(lines_that_say_nothing_are_no_rules),
        cmocka_unit_test(what_cannot_be_read_is_refused_with_the_reason),
        cmocka_unit_test(too_much_is_refused),
        cmocka_unit_test(a_later_rule_goes_before_an_earlier_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
