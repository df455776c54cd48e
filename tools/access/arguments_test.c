/* test: with tools/access/arguments.c tools/access/rules.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tools/access/arguments.h"

static struct arguments a;
static char             message[MESSAGE_MAX];

/* The words of a line as a command line, behind the program's name. */
static bool parse(const char *line)
{
    static char text[512], name[] = "umbra-access";
    char       *rest, *argv[32] = { name };
    int         argc = 1;

    snprintf(text, sizeof(text), "%s", line);
    for (char *w = strtok_r(text, " ", &rest); w; w = strtok_r(NULL, " ", &rest))
        argv[argc++] = w;
    return arguments_parse(&a, argc, argv, message);
}

static void options_are_read(void **state)
{
    (void)state;
    assert_true(parse("3 -w 5 rx --watch 7-8 n once --default rw count --count 9 --seconds 0x10"));
    assert_int_equal(a.domain, 3);
    assert_int_equal(a.rules.count, 2);
    assert_int_equal(a.rules.rule[0].action, ACTION_LOG);
    assert_int_equal(a.rules.rule[1].count, 2);
    assert_int_equal(a.rules.rule[1].action, ACTION_ONCE);
    assert_true(a.has_default);
    assert_int_equal(a.default_rights, 3);
    assert_int_equal(a.default_action, ACTION_COUNT);
    assert_int_equal(a.count, 9);
    assert_int_equal(a.seconds, 16);
    assert_false(a.summary_only);
    assert_true(parse("1 --summary -w 5 n"));
    assert_true(a.summary_only);
    assert_false(a.has_default);
    assert_int_equal(a.default_rights, RIGHTS_RWX);
}

static void help_needs_nothing_else(void **state)
{
    (void)state;
    assert_true(parse("--help") && a.help);
    assert_true(parse("nonsense -h") && a.help);
    assert_true(parse("1 -w 5 n") && !a.help);
}

static void what_is_wrong_is_said(void **state)
{
    static const struct {
        const char *line, *why;
    } bad[] = {
        { "", "number comes first" },
        { "-w 5 n", "number comes first" },
        { "linux -w 5 n", "number comes first" },
        { "0 -w 5 n", "number comes first" },
        { "0x7ff0 -w 5 n", "number comes first" },
        { "1", "nothing is to be watched" },
        { "1 5 n", "no option 5" },
        { "1 -w", "--watch needs" },
        { "1 -w 5", "--watch 5: a rule is" },
        { "1 -w 5 n log 6 n", "no option 6" },
        { "1 -w 5 n --default", "--default needs" },
        { "1 --default q", "--default: rights are" },
        { "1 --default default", "cannot be the default" },
        { "1 -w 5 n --count", "--count needs a number" },
        { "1 -w 5 n --count 0", "--count needs a number" },
        { "1 -w 5 n --seconds many", "--seconds needs a number" },
        { "1 -w 5 n --map", "--map needs a file" },
        { "1 -w jiffies n", "jiffies is a symbol" },
        { "1 -w 5 n --rules /nowhere/at/all", "/nowhere/at/all: No such file" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        message[0] = '\0';
        assert_false(parse(bad[i].line));
        assert_non_null(strstr(message, bad[i].why));
    }
    assert_true(parse("1 -w jiffies n --map System.map"));
    assert_string_equal(a.map, "System.map");
}

static void a_file_of_rules_is_named_with_the_line(void **state)
{
    char  path[] = "/tmp/arguments_test.XXXXXX", line[128], why[128];
    int   fd = mkstemp(path);
    FILE *file = fdopen(fd, "w");

    (void)state;
    assert_non_null(file);
    fputs("# rules\n5 n\n\n6+2 rx once\n", file);
    fflush(file);
    snprintf(line, sizeof(line), "1 --rules %s", path);
    assert_true(parse(line));
    assert_int_equal(a.rules.count, 2);
    fputs("7 nothing\n", file);
    fclose(file);
    assert_false(parse(line));
    snprintf(why, sizeof(why), "%s:5: rights are", path);
    assert_int_equal(strncmp(message, why, strlen(why)), 0);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_read),
        cmocka_unit_test(help_needs_nothing_else),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(a_file_of_rules_is_named_with_the_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
