/* The configuration parser: what it takes, and what it says about what it does not take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/config.h"

/* The least that a file must say, on line 1; more may follow. */
#define NEEDED_PV "name=\"a\"; type=\"pv\"; kernel=\"k\"; memory=64\n"
#define NEEDED    "name=\"a\"; type=\"pvh\"; kernel=\"k\"; memory=64\n"

/* Parses a copy that ends where the text ends, so that reading further is seen. */
static bool parse(const char *text, size_t length, struct config *config,
                  struct config_error *error)
{
    char *copy = malloc(length + !length);
    bool  fine;

    assert_non_null(copy);
    memcpy(copy, text, length);
    fine = config_parse(copy, length, config, error);
    free(copy);
    return fine;
}

static struct config accepted(const char *text)
{
    struct config       config;
    struct config_error error;

    if (!parse(text, strlen(text), &config, &error))
        fail_msg("\"%s\": line %u: %s", text, error.line, error.what);
    return config;
}

static void an_example_is_read_as_it_says(void **state)
{
    struct config c = accepted("# Debian\n"
                               "name    = \"linux\"   # its name\n"
                               "type    = 'pvh'\r\n"
                               "\n"
                               "kernel=\"build/guest/vmlinuz\"; ramdisk = 'disk #1'\n"
                               "extra   = \"console=hvc0 say=\\\"it's\\\" back=\\\\\";\n"
                               "memory  = 0x200\n"
                               "vcpus   = 1\n"
                               "shadow_memory = 8\n"
                               "paging  = \"shadow\"");

    (void)state;
    assert_string_equal(c.name, "linux");
    assert_int_equal(c.type, CONFIG_PVH);
    assert_string_equal(c.kernel, "build/guest/vmlinuz");
    assert_string_equal(c.ramdisk, "disk #1");
    assert_string_equal(c.extra, "console=hvc0 say=\"it's\" back=\\");
    assert_int_equal(c.memory, 512);
    assert_int_equal(c.vcpus, 1);
    assert_int_equal(c.shadow_memory, 8);
    assert_int_equal(c.paging, CONFIG_PAGING_SHADOW);
}

static void what_is_not_said_has_its_default(void **state)
{
    struct config c = accepted(NEEDED);

    (void)state;
    assert_string_equal(c.ramdisk, "");
    assert_string_equal(c.extra, "");
    assert_int_equal(c.vcpus, 1);
    assert_int_equal(c.shadow_memory, 0);
    assert_int_equal(c.paging, CONFIG_PAGING_DEFAULT);
}

static void a_multiboot_kernel_may_say_which_status_is_success(void **state)
{
    struct config c = accepted("exit_ok=0x10; name='a'; type='multiboot'; kernel='k'; memory=64");

    (void)state;
    assert_int_equal(c.type, CONFIG_MULTIBOOT);
    assert_int_equal(c.exit_ok, 16);
    c = accepted("type=\"multiboot\"; name='a'; kernel='k'; memory=64");
    assert_int_equal(c.exit_ok, 0);
    assert_int_equal(accepted(NEEDED).type, CONFIG_PVH);
    assert_int_equal(accepted(NEEDED_PV).type, CONFIG_PV);
}

static void cmdline_is_another_name_of_extra(void **state)
{
    (void)state;
    assert_string_equal(accepted(NEEDED "cmdline=\"quiet\"").extra, "quiet");
}

static void hap_says_which_paging(void **state)
{
    (void)state;
    assert_int_equal(accepted(NEEDED "hap=0").paging, CONFIG_PAGING_SHADOW);
    assert_int_equal(accepted(NEEDED "hap=1").paging, CONFIG_PAGING_NESTED);
    assert_int_equal(accepted(NEEDED "hap=1;paging='nested'").paging, CONFIG_PAGING_NESTED);
    assert_int_equal(accepted(NEEDED "paging=\"shadow\"\nhap=0").paging, CONFIG_PAGING_SHADOW);
}

static void the_ends_of_a_range_are_in_it(void **state)
{
    (void)state;
    assert_int_equal(accepted("name='a';type='pvh';kernel='k';memory=32").memory, 32);
    assert_int_equal(accepted("name='a';type='pvh';kernel='k';memory=65536").memory, 65536);
    assert_int_equal(accepted("shadow_memory=1;"
                              "name='a';type='pvh';kernel='k';memory=128")
                         .shadow_memory,
                     1);
    assert_int_equal(accepted("shadow_memory=2;"
                              "name='a';type='pvh';kernel='k';memory=129")
                         .shadow_memory,
                     2);
}

static void strings_fit_up_to_their_last_character(void **state)
{
    char                text[CONFIG_EXTRA_MAX + 100], extra[CONFIG_EXTRA_MAX];
    struct config_error error;
    struct config       c;

    (void)state;
    memset(extra, 'x', sizeof(extra) - 1);
    extra[sizeof(extra) - 1] = '\0';
    snprintf(text, sizeof(text), NEEDED "extra='%s'", extra);
    assert_string_equal(accepted(text).extra, extra);
    snprintf(text, sizeof(text), NEEDED "extra='%sx'", extra);
    assert_false(parse(text, strlen(text), &c, &error));
    assert_string_equal(error.what, "the string is too long: at most 1023 characters");
    snprintf(text, sizeof(text), NEEDED "ramdisk='%.*s'", CONFIG_PATH_MAX - 1, extra);
    assert_int_equal(strlen(accepted(text).ramdisk), CONFIG_PATH_MAX - 1);
    snprintf(text, sizeof(text), NEEDED "ramdisk='%.*s'", CONFIG_PATH_MAX, extra);
    assert_false(parse(text, strlen(text), &c, &error));
    assert_string_equal(error.what, "\"ramdisk\" must be at most 255 characters long");
}

struct refusal {
    const char *text;
    unsigned    line;
    const char *what; /* how the message begins */
};

static const struct refusal refusals[] = {
    { "", 0, "the key \"name\" is missing" },
    { "name='a'", 0, "the key \"type\" is missing" },
    { "name='a'\ntype='pvh'\nmemory=64", 0, "the key \"kernel\" is missing" },
    { "name='a'\ntype='pvh'\nkernel='k'", 0, "the key \"memory\" is missing" },
    { NEEDED "colour = 1", 2,
      "unknown key \"colour\" (known: cmdline, control, exit_ok, extra, hap, kernel, memory, name, "
      "paging, "
      "ramdisk, shadow_memory, type, vcpus)" },
    { NEEDED "\n# a comment\n\nNAME='a'", 5, "unknown key \"NAME\"" },
    { NEEDED "a23456789012345678901234567890123456789=1", 2,
      "unknown key \"a2345678901234567890123456789012\"" },
    { "memory=\"64\"", 1, "\"memory\" must be a number of MiB, without quotes, 32 to 65536" },
    { "memory=['64']", 1, "\"memory\" must be a number of MiB, without quotes, 32 to 65536" },
    { "memory=31", 1, "\"memory\" must be a number of MiB, without quotes, 32 to 65536, not 31" },
    { "memory=65537", 1,
      "\"memory\" must be a number of MiB, without quotes, 32 to 65536, not 65537" },
    { "memory=4294967360", 1, "\"memory\" must be a number of MiB" },
    { "memory=18446744073709551616", 1, "the number is too large" },
    { "memory=0x10000000000000040", 1, "the number is too large" },
    { "memory=0100", 1, "a number may not begin with 0" },
    { "memory=64M", 1, "this is no number" },
    { "memory=0x", 1, "this is no number" },
    { "memory=0x4g", 1, "this is no number" },
    { "memory=-64", 1, "expected a \"string\" or a number after =" },
    { "memory=", 1, "there is no value after =" },
    { "memory=\n64", 1, "there is no value after =" },
    { "memory=64 65", 1, "expected the end of the line after the value" },
    { "memory 64", 1, "expected = after \"memory\"" },
    { "= 64", 1, "expected the name of a key" },
    { "vcpus=2", 1,
      "\"vcpus\" must be a number, without quotes, 1, not 2: only 1 is supported so far" },
    { "vcpus=0", 1, "\"vcpus\" must be a number, without quotes, 1, not 0" },
    { "type='hvm'", 1,
      "\"type\" must be \"pvh\", \"pv\" or \"multiboot\": no other type is supported so far" },
    { "type=1", 1, "\"type\" must be \"pvh\", \"pv\" or" },
    { NEEDED_PV "paging='shadow'", 2, "\"paging\", \"hap\" and \"shadow_memory\" do not go with" },
    { "hap=1\n" NEEDED_PV, 1, "\"paging\", \"hap\" and \"shadow_memory\" do not go with" },
    { NEEDED_PV "shadow_memory=4", 2, "\"paging\", \"hap\" and \"shadow_memory\" do not" },
    { "name='a'; type='multiboot'; kernel='k'; memory=64\ncontrol=1", 2,
      "\"control\" goes with type=\"pv\" or \"pvh\"" },
    { "control=2", 1, "\"control\" must be a number, without quotes, 0 to 1, not 2" },
    { "control='1'", 1, "\"control\" must be a number, without quotes, 0 to 1" },
    { NEEDED "exit_ok=3", 2, "\"exit_ok\" goes with type=\"multiboot\" only" },
    { "exit_ok=3\n" NEEDED, 1, "\"exit_ok\" goes with type=\"multiboot\" only" },
    { "exit_ok='3'", 1, "\"exit_ok\" must be a number, without quotes, 0 to 4294967295" },
    { "exit_ok=4294967296", 1,
      "\"exit_ok\" must be a number, without quotes, 0 to 4294967295, not 4294967296" },
    { "kernel=1", 1, "\"kernel\" must be a string, in quotes" },
    { "kernel=''", 1, "\"kernel\" must be something: the string is empty" },
    { "kernel=k", 1, "expected a \"string\" or a number after =" },
    { "kernel='k", 1, "the string has no end: expected '" },
    { "kernel=\"k\n\"", 1, "the string has no end: expected \"" },
    { "kernel='k\\", 1, "a backslash in a string goes before" },
    { "kernel='a\\n'", 1, "a backslash in a string goes before" },
    { "kernel='a\001'", 1, "a control character in a string" },
    { "kernel='a'\nkernel='b'", 2, "\"kernel\" was given before, on line 1" },
    { "extra='a'\n\ncmdline='b'", 3, "\"cmdline\" says the same as \"extra\" on line 1" },
    { "name=''", 1, "\"name\" must be a string that begins with a letter" },
    { "name='1'", 1, "\"name\" must be a string that begins with a letter" },
    { "name='a b'", 1, "\"name\" must be a string that begins with a letter" },
    { "name=1", 1, "\"name\" must be a string that begins with a letter" },
    { "name='a234567890123456789012345678901x'", 1, "\"name\" must be at most 31 characters long" },
    { "paging='none'", 1, "\"paging\" must be \"shadow\" or \"nested\"" },
    { "paging=1", 1, "\"paging\" must be \"shadow\" or \"nested\"" },
    { "hap=2", 1, "\"hap\" must be 0 (shadow paging) or 1 (nested paging)" },
    { "hap='1'", 1, "\"hap\" must be 0 (shadow paging) or 1 (nested paging)" },
    { "hap=1\npaging='shadow'", 2, "\"hap\" and \"paging\" contradict each other" },
    { "paging='nested'\nhap=0", 2, "\"hap\" and \"paging\" contradict each other" },
    { "shadow_memory=0", 1,
      "\"shadow_memory\" must be a number of MiB, without quotes, 1 to 4096, not 0" },
    { "name='a';type='pvh';kernel='k'\nshadow_memory=1\nmemory=512", 2,
      "\"shadow_memory\" must be at least 2 MiB for 512 MiB of memory, not 1" },
    { "name='a';type='pvh';kernel='k'\nmemory=8192\nshadow_memory=16", 3,
      "\"shadow_memory\" must be at least 17 MiB for 8192 MiB of memory, not 16" },
    { "\377\376", 1, "expected the name of a key" },
};

static void what_is_wrong_is_said_with_its_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        const struct refusal *r = &refusals[i];
        struct config         config;
        struct config_error   error;

        if (parse(r->text, strlen(r->text), &config, &error))
            fail_msg("\"%s\" was accepted", r->text);
        if (error.line != r->line || strncmp(error.what, r->what, strlen(r->what)) != 0)
            fail_msg("\"%s\": line %u: %s; expected line %u: %s", r->text, error.line, error.what,
                     r->line, r->what);
        assert_true(strlen(error.what) < sizeof(error.what) - 1);
    }
}

static void a_zero_byte_does_not_end_the_text(void **state)
{
    static const char   text[] = NEEDED "\0bad";
    struct config       config;
    struct config_error error;

    (void)state;
    assert_false(parse(text, sizeof(text) - 1, &config, &error));
    assert_int_equal(error.line, 2);
}

/* SplitMix64. */
static uint64_t next_random(uint64_t *seed)
{
    uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Pieces of files in any order: whatever comes of it, it ends, and an error has words. */
static void random_text_is_accepted_or_refused_with_words(void **state)
{
    static const char *const pieces[] = {
        "name",   "type",
        "kernel", "memory",
        "extra",  "=",
        "\"",     "'",
        "pvh",    "64",
        "0x",     "#",
        ";",      "\n",
        " ",      "[",
        "\\",     "hap",
        "1",      "=\"pvh\"\n",
        "=64\n",  "paging=\"shadow\"\n",
        "\t",     "999999999999999999999",
    };
    uint64_t seed = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 0) : 1, start = seed;

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        char                text[256] = "";
        struct config       config;
        struct config_error error;

        for (uint64_t n = next_random(&seed) % 12; n > 0; n--)
            strcat(text, pieces[next_random(&seed) % (sizeof(pieces) / sizeof(pieces[0]))]);
        if (!parse(text, strlen(text), &config, &error) && !error.what[0])
            fail_msg("SEED=%llu round %u: \"%s\": no words", (unsigned long long)start, round,
                     text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_example_is_read_as_it_says),
        cmocka_unit_test(what_is_not_said_has_its_default),
        cmocka_unit_test(a_multiboot_kernel_may_say_which_status_is_success),
        cmocka_unit_test(cmdline_is_another_name_of_extra),
        cmocka_unit_test(hap_says_which_paging),
        cmocka_unit_test(the_ends_of_a_range_are_in_it),
        cmocka_unit_test(strings_fit_up_to_their_last_character),
        cmocka_unit_test(what_is_wrong_is_said_with_its_line),
        cmocka_unit_test(a_zero_byte_does_not_end_the_text),
        cmocka_unit_test(random_text_is_accepted_or_refused_with_words),
    };

    return cmocka_run_group_tests_name("hv/config", tests, NULL, NULL);
}
