/*
 * The script's parser: what each line means, and that what is wrong is an error with its
 * line. The property: a script printed from random contents parses to those contents.
 */
#include "hv/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct script       script;
static struct script_error error;

static bool parse(const char *text)
{
    return script_parse(text, strlen(text), &script, &error);
}

static bool text_is(struct script_text t, const char *want)
{
    return t.length == strlen(want) && memcmp(t.start, want, t.length) == 0;
}

static void nothing_is_a_script(void **state)
{
    (void)state;
    assert_true(parse(""));
    assert_false(script.batch);
    assert_int_equal(script.nr_commands, 0);
    assert_true(parse("\n \n# at x\n\t\r\n"));
    assert_int_equal(script.nr_commands, 0);
}

static void each_line_means_what_it_says(void **state)
{
    (void)state;
    assert_true(parse("batch\n"
                      "name 0 a.cfg\n"
                      "name 31  dir with blanks/b.cfg \r\n"
                      "end audit; domains\n"
                      "  at 1.5 key 0 x\n"
                      "at 0 trace on\n"
                      "at .25 a\n"
                      "every 250 audit"));
    assert_true(script.batch);
    assert_true(text_is(script.name[0], "a.cfg"));
    assert_true(text_is(script.name[31], "dir with blanks/b.cfg"));
    assert_int_equal(script.name[1].length, 0);
    assert_int_equal(script.nr_commands, 5);
    assert_int_equal(script.command[0].when, SCRIPT_END);
    assert_true(text_is(script.command[0].text, "audit; domains"));
    assert_int_equal(script.command[1].when, SCRIPT_AT);
    assert_int_equal(script.command[1].ns, 1500000000);
    assert_true(text_is(script.command[1].text, "key 0 x"));
    assert_int_equal(script.command[2].ns, 0);
    assert_int_equal(script.command[3].ns, 250000000);
    assert_int_equal(script.command[4].when, SCRIPT_EVERY);
    assert_int_equal(script.command[4].ns, 250000000);
}

static void what_is_wrong_is_said_with_its_line(void **state)
{
    static const struct {
        const char *text, *what;
        unsigned    line;
    } cases[] = {
        { "batch now", "something behind batch", 1 },
        { "batch\nbatches", "unknown line", 2 },
        { "\n\nEND audit", "unknown line", 3 },
        { "end", "no commands", 1 },
        { "at 1", "no commands", 1 },
        { "at audit", "not a time", 1 },
        { "at -1 audit", "not a time", 1 },
        { "at 1,5 audit", "not a time", 1 },
        { "at . audit", "not a time", 1 },
        { "at 1.2.3 audit", "not a time", 1 },
        { "at 2678401 audit", "not a time", 1 },
        { "at 99999999999999999999999999 audit", "not a time", 1 },
        { "at", "not a time", 1 },
        { "every 0 audit", "not an interval", 1 },
        { "every 0.0000001 audit", "not an interval", 1 },
        { "every audit", "not an interval", 1 },
        { "name 32 a", "not a number of a configuration", 1 },
        { "name x a", "not a number of a configuration", 1 },
        { "name 1. a", "not a number of a configuration", 1 },
        { "name", "not a number of a configuration", 1 },
        { "name 1", "no file", 1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (parse(cases[i].text))
            fail_msg("accepted: %s", cases[i].text);
        assert_int_equal(error.line, cases[i].line);
        if (strncmp(error.what, cases[i].what, strlen(cases[i].what)) != 0)
            fail_msg("%s: %s, not %s", cases[i].text, error.what, cases[i].what);
        assert_non_null(strstr(error.what, "expected"));
    }
}

static void there_are_limits_and_they_are_exact(void **state)
{
    char text[SCRIPT_LINE_MAX + 16] = "end ";

    (void)state;
    memset(text + 4, 'x', SCRIPT_LINE_MAX - 1);
    assert_true(parse(text));
    text[4 + SCRIPT_LINE_MAX - 1] = 'x';
    assert_false(parse(text));

    char   many[(SCRIPT_COMMANDS_MAX + 1) * 8 + 1] = "";
    size_t at = 0;

    for (unsigned i = 0; i < SCRIPT_COMMANDS_MAX; i++)
        at += (size_t)sprintf(many + at, "end a\n");
    assert_true(parse(many));
    strcpy(many + at, "end a\n");
    assert_false(parse(many));
    assert_int_equal(error.line, SCRIPT_COMMANDS_MAX + 1);
}

static void the_text_need_not_end_with_a_nul(void **state)
{
    /* Exactly as long as it is, so that the sanitizer sees a step too far. */
    static const char text[] = "at 1 audit";
    size_t            n = sizeof(text) - 1;

    (void)state;
    for (size_t length = 0; length <= n; length++) {
        char *copy = malloc(length ? length : 1);

        memcpy(copy, text, length);
        /* at 1 A is the shortest that is whole; nothing at all is one as well. */
        assert_int_equal(script_parse(copy, length, &script, &error), length == 0 || length > 5);
        free(copy);
    }
}

static void copies_are_cut_and_ended(void **state)
{
    char to[4];

    (void)state;
    assert_true(script_copy((struct script_text){ "abcdef", 3 }, to, sizeof(to)));
    assert_string_equal(to, "abc");
    assert_false(script_copy((struct script_text){ "abcdef", 4 }, to, sizeof(to)));
    assert_string_equal(to, "abc");
}

static void what_is_printed_is_parsed(void **state)
{
    const char *given = getenv("SEED");
    unsigned    seed = given ? (unsigned)strtoul(given, NULL, 0) : 1;

    (void)state;
    print_message("SEED=%u\n", seed);
    srand(seed);
    for (unsigned round = 0; round < 2000; round++) {
        char     text[4096] = "";
        uint64_t want[SCRIPT_COMMANDS_MAX];
        size_t   at = 0;
        unsigned count = (unsigned)rand() % SCRIPT_COMMANDS_MAX;

        for (unsigned i = 0; i < count; i++) {
            unsigned whole = (unsigned)rand() % 1000000, part = (unsigned)rand() % 1000;
            bool     seconds = rand() % 2;

            want[i] = (whole * UINT64_C(1000) + part) * (seconds ? 1000000 : 1000);
            if (!seconds && want[i] == 0)
                want[i] = 1000, part = 1;
            at += (size_t)sprintf(text + at, "%s%s %u.%03u audit %u\n", rand() % 4 ? "" : "#\n",
                                  seconds ? "at" : "every", whole, part, i);
        }
        assert_true(parse(text));
        assert_int_equal(script.nr_commands, count);
        for (unsigned i = 0; i < count; i++) {
            char words[32];

            sprintf(words, "audit %u", i);
            assert_int_equal(script.command[i].ns, want[i]);
            assert_true(text_is(script.command[i].text, words));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_a_script),
        cmocka_unit_test(each_line_means_what_it_says),
        cmocka_unit_test(what_is_wrong_is_said_with_its_line),
        cmocka_unit_test(there_are_limits_and_they_are_exact),
        cmocka_unit_test(the_text_need_not_end_with_a_nul),
        cmocka_unit_test(copies_are_cut_and_ended),
        cmocka_unit_test(what_is_printed_is_parsed),
    };

    return cmocka_run_group_tests_name("script", tests, NULL, NULL);
}
