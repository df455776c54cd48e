/* test: with tools/access/symbols.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tools/access/symbols.h"

static struct symbols symbols;

static bool read_text(const char *text)
{
    char  copy[1024];
    FILE *file;
    bool  read;

    snprintf(copy, sizeof(copy), "%s", text);
    file = fmemopen(copy, strlen(copy), "r");
    assert_non_null(file);
    read = symbols_read(&symbols, file);
    fclose(file);
    return read;
}

/* Not in order, with a symbol of no place, a module's, and a line that is none. */
static const char map[] = "0000000000000010 A absolute\n"
                          "ffffffff81002000 T second\n"
                          "ffffffff81001000 T first\n"
                          "nothing\n"
                          "ffffffffc0000000 t module_code\t[module]\n";

static void is(uint64_t address, const char *name)
{
    char out[64];

    symbols_name(&symbols, address, out, sizeof(out));
    assert_string_equal(out, name);
}

static void an_address_belongs_to_the_symbol_before_it(void **state)
{
    (void)state;
    assert_true(read_text(map));
    assert_int_equal(symbols.count, 3);
    is(0xffffffff81001000, "first+0x0");
    is(0xffffffff81001fff, "first+0xfff");
    is(0xffffffff81002000, "second+0x0");
    is(0xffffffffc0000012, "module_code+0x12");
    symbols_free(&symbols);
}

static void an_address_of_no_symbol_has_no_name(void **state)
{
    (void)state;
    assert_true(read_text(map));
    is(0x10, "");
    is(0xffffffff81000fff, "");
    is(0xffffffff81101fff, "second+0xfffff");
    is(0xffffffff81102000, "");
    is(0xffffffffc0100000, "");
    symbols_free(&symbols);
    is(0xffffffff81001000, "");
}

static void a_symbol_has_an_address_or_there_is_none(void **state)
{
    uint64_t address = 0;

    (void)state;
    assert_true(read_text(map));
    assert_true(symbols_address(&symbols, "second", &address));
    assert_int_equal(address, 0xffffffff81002000);
    assert_false(symbols_address(&symbols, "secon", &address));
    assert_false(symbols_address(&symbols, "absolute", &address));
    symbols_free(&symbols);
}

static void a_file_without_symbols_is_refused(void **state)
{
    (void)state;
    assert_false(read_text("what is this\n"));
    assert_false(read_text("0000000000000010 A absolute\n"));
}

static void a_long_name_is_cut_and_many_symbols_are_kept(void **state)
{
    char  out[8];
    FILE *file = tmpfile();

    (void)state;
    assert_non_null(file);
    for (unsigned i = 0; i < 10000; i++)
        fprintf(file, "%x t symbol%u\n", 0x100000 + i * 16, i);
    rewind(file);
    assert_true(symbols_read(&symbols, file));
    fclose(file);
    assert_int_equal(symbols.count, 10000);
    is(0x100000 + 9999 * 16 + 3, "symbol9999+0x3");
    symbols_name(&symbols, 0x100000, out, sizeof(out));
    assert_string_equal(out, "symbol0");
    symbols_free(&symbols);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_belongs_to_the_symbol_before_it),
        cmocka_unit_test(an_address_of_no_symbol_has_no_name),
        cmocka_unit_test(a_symbol_has_an_address_or_there_is_none),
        cmocka_unit_test(a_file_without_symbols_is_refused),
        cmocka_unit_test(a_long_name_is_cut_and_many_symbols_are_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
