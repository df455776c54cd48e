/*
 * The monitor's command lines: commands, words, quotes, prefixes, numbers, escapes. The
 * property: words that are quoted and joined come apart again as they were.
 */
#include "hv/monitor_parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char                 line[4096];
static struct monitor_words words;

static enum monitor_split split(const char *text)
{
    strcpy(line, text);
    return monitor_split(line, &words);
}

static void commands_end_at_semicolons_outside_quotes(void **state)
{
    char  text[] = "audit;; key a \"x;\\\"y;\" ; quit";
    char *rest = text;

    (void)state;
    assert_string_equal(monitor_next(&rest), "audit");
    assert_string_equal(monitor_next(&rest), "");
    assert_string_equal(monitor_next(&rest), " key a \"x;\\\"y;\" ");
    assert_string_equal(monitor_next(&rest), " quit");
    assert_null(monitor_next(&rest));
    assert_null(monitor_next(&rest));
}

static void words_are_separated_by_blanks(void **state)
{
    (void)state;
    assert_int_equal(split("  walk\tlinux  0xff \r\n"), MONITOR_SPLIT_OK);
    assert_int_equal(words.count, 3);
    assert_string_equal(words.word[0], "walk");
    assert_string_equal(words.word[1], "linux");
    assert_string_equal(words.word[2], "0xff");
    assert_int_equal(split(" \t"), MONITOR_SPLIT_OK);
    assert_int_equal(words.count, 0);
}

static void quotes_keep_blanks_and_escapes(void **state)
{
    (void)state;
    assert_int_equal(split("key a \"b  c\"d\"\" \"\" \"\\\"\\n\\\\\""), MONITOR_SPLIT_OK);
    assert_int_equal(words.count, 5);
    assert_string_equal(words.word[2], "b  cd");
    assert_string_equal(words.word[3], "");
    assert_string_equal(words.word[4], "\"\\n\\\\");
    assert_int_equal(split("key \"a b"), MONITOR_SPLIT_QUOTE);
    assert_int_equal(split("key \"a\\\""), MONITOR_SPLIT_QUOTE);
    assert_int_equal(split("key \"\\"), MONITOR_SPLIT_QUOTE);
}

static void too_many_words_are_refused(void **state)
{
    (void)state;
    assert_int_equal(split("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 "), MONITOR_SPLIT_OK);
    assert_int_equal(words.count, MONITOR_WORDS_MAX);
    assert_int_equal(split("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17"), MONITOR_SPLIT_MANY);
}

static void unique_beginnings_are_names(void **state)
{
    static const char *const names[] = { "pool", "pause", "poolside", "quit" };

    (void)state;
    assert_int_equal(monitor_match("pa", names, 4), 1);
    assert_int_equal(monitor_match("q", names, 4), 3);
    assert_int_equal(monitor_match("quit", names, 4), 3);
    assert_int_equal(monitor_match("pool", names, 4), 0);
    assert_int_equal(monitor_match("pools", names, 4), 2);
    assert_int_equal(monitor_match("p", names, 4), MONITOR_AMBIGUOUS);
    assert_int_equal(monitor_match("poo", names, 4), MONITOR_AMBIGUOUS);
    assert_int_equal(monitor_match("quits", names, 4), MONITOR_UNKNOWN);
    assert_int_equal(monitor_match("", names, 4), MONITOR_UNKNOWN);
    assert_int_equal(monitor_match("Quit", names, 4), MONITOR_UNKNOWN);
}

static void numbers_are_whole_words(void **state)
{
    static const struct {
        const char *word;
        bool        ok;
        uint64_t    value;
    } cases[] = {
        { "0", true, 0 },
        { "32", true, 32 },
        { "0x1F", true, 31 },
        { "0Xff", true, 255 },
        { "18446744073709551615", true, UINT64_MAX },
        { "0xffffffffffffffff", true, UINT64_MAX },
        { "18446744073709551616", false, 0 },
        { "0x10000000000000000", false, 0 },
        { "", false, 0 },
        { "0x", false, 0 },
        { "-1", false, 0 },
        { "1a", false, 0 },
        { "0xg", false, 0 },
        { "1 ", false, 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t value = 0;
        bool     ok = monitor_number(cases[i].word, &value);

        if (ok != cases[i].ok || value != cases[i].value)
            fail_msg("%s: %d %lx", cases[i].word, ok, (unsigned long)value);
    }
}

static void escapes_become_characters(void **state)
{
    static const char *const bad[] = { "\\", "a\\", "\\q", "\\x", "\\x1", "\\xg1", "\\x1g" };
    char                     text[] = "a\\n\\r\\t\\e\\\\\\\"\\x03\\x00z";
    size_t                   length = 0;

    (void)state;
    assert_true(monitor_unescape(text, &length));
    assert_int_equal(length, 10);
    assert_memory_equal(text, "a\n\r\t\033\\\"\003\0z", 10);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char copy[8];

        strcpy(copy, bad[i]);
        assert_false(monitor_unescape(copy, &length));
    }
}

/* A random word, and how it is written between quotes. */
static void random_word(char *word, char *quoted)
{
    static const char letters[] = "ab ;\"\t1x#";
    unsigned          n = (unsigned)rand() % 12;

    *quoted++ = '"';
    for (unsigned i = 0; i < n; i++) {
        char c = letters[(unsigned)rand() % (sizeof(letters) - 1)];

        *word++ = c;
        if (c == '"')
            *quoted++ = '\\';
        *quoted++ = c;
    }
    *word = '\0';
    strcpy(quoted, "\" ");
}

static void quoted_words_come_apart_as_they_were(void **state)
{
    const char *given = getenv("SEED");
    unsigned    seed = given ? (unsigned)strtoul(given, NULL, 0) : 1;

    (void)state;
    print_message("SEED=%u\n", seed);
    srand(seed);
    for (unsigned round = 0; round < 5000; round++) {
        char     want[3][MONITOR_WORDS_MAX][16], all[4096] = "", *rest = all;
        unsigned count[3];

        for (unsigned c = 0; c < 3; c++) {
            count[c] = (unsigned)rand() % (MONITOR_WORDS_MAX + 1);
            for (unsigned i = 0; i < count[c]; i++) {
                char quoted[32];

                random_word(want[c][i], quoted);
                strcat(all, quoted);
            }
            strcat(all, ";");
        }
        for (unsigned c = 0; c < 3; c++) {
            assert_int_equal(monitor_split(monitor_next(&rest), &words), MONITOR_SPLIT_OK);
            assert_int_equal(words.count, count[c]);
            for (unsigned i = 0; i < count[c]; i++)
                assert_string_equal(words.word[i], want[c][i]);
        }
        assert_null(monitor_next(&rest));
    }
}

static void noise_stays_within_its_bounds(void **state)
{
    static const char letters[] = "a \"\\;nx0";

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        size_t n = (unsigned)rand() % 40, length;
        char  *text = malloc(n + 1), *rest = text, *command;

        for (size_t i = 0; i < n; i++)
            text[i] = letters[(unsigned)rand() % (sizeof(letters) - 1)];
        text[n] = '\0';
        while ((command = monitor_next(&rest)) != NULL) {
            if (monitor_split(command, &words) != MONITOR_SPLIT_OK)
                continue;
            for (unsigned i = 0; i < words.count; i++)
                if (monitor_unescape(words.word[i], &length))
                    assert_true(length <= n);
        }
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_end_at_semicolons_outside_quotes),
        cmocka_unit_test(words_are_separated_by_blanks),
        cmocka_unit_test(quotes_keep_blanks_and_escapes),
        cmocka_unit_test(too_many_words_are_refused),
        cmocka_unit_test(unique_beginnings_are_names),
        cmocka_unit_test(numbers_are_whole_words),
        cmocka_unit_test(escapes_become_characters),
        cmocka_unit_test(quoted_words_come_apart_as_they_were),
        cmocka_unit_test(noise_stays_within_its_bounds),
    };

    return cmocka_run_group_tests_name("monitor_parse", tests, NULL, NULL);
}
