/*
 * Kernels that are good, and kernels that are wrong in each way that has a name. A file is
 * made by hand, field by field, so that each test can spoil one of them. At the end random
 * damage: whatever is accepted must stay inside file and memory.
 */
#include "hv/elf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MEMORY     (UINT64_C(64) << 20)
#define FILE_SIZE  0x400
#define NOTES_AT   0x200
#define TEXT_AT    0x300
#define LOAD_AT    0x100000u
#define ENTRY      (LOAD_AT + 0x10)
#define PROGRAM(i) (64 + 56 * (i)) /* program headers: text, data, notes */

static uint8_t file[FILE_SIZE];

static void put(size_t at, uint64_t value, size_t bytes)
{
    memcpy(file + at, &value, bytes);
}

static void put_program(unsigned i, uint32_t type, uint64_t offset, uint64_t address,
                        uint64_t file_size, uint64_t size)
{
    size_t at = PROGRAM(i);

    put(at, type, 4);
    put(at + 8, offset, 8);
    put(at + 24, address, 8);
    put(at + 32, file_size, 8);
    put(at + 40, size, 8);
    put(at + 48, 4, 8);
}

/* A note called Xen; returns where the next one goes. */
static size_t put_note(size_t at, uint32_t type, uint64_t value, uint32_t bytes)
{
    put(at, 4, 4);
    put(at + 4, bytes, 4);
    put(at + 8, type, 4);
    memcpy(file + at + 12, "Xen", 4);
    put(at + 16, value, bytes);
    return at + 16 + bytes;
}

static int make(void **state)
{
    size_t end;

    (void)state;
    memset(file, 0, sizeof(file));
    memcpy(file, "\177ELF\2\1\1", 7);
    put(16, 2, 2);  /* executable */
    put(18, 62, 2); /* x86-64 */
    put(32, 64, 8); /* program headers */
    put(54, 56, 2);
    put(56, 3, 2);
    put_program(0, 1, TEXT_AT, LOAD_AT, 0x80, 0x80);
    put_program(1, 1, TEXT_AT + 0x80, LOAD_AT + 0x1000, 0x80, 0x3000);
    end = put_note(NOTES_AT, 6, 0x78756e696cu, 8);
    end = put_note(end, 18, ENTRY, 8);
    put_program(2, 4, NOTES_AT, 0, end - NOTES_AT, end - NOTES_AT);
    return 0;
}

static enum elf_error look(size_t size, struct elf_image *image)
{
    /* A copy of exactly this size: AddressSanitizer sees each byte that is read beyond it. */
    uint8_t       *copy = malloc(size != 0 ? size : 1);
    enum elf_error error;

    assert_non_null(copy);
    memcpy(copy, file, size);
    error = elf_describe(copy, size, MEMORY, image);
    free(copy);
    return error;
}

static void assert_error(enum elf_error expected)
{
    struct elf_image image;

    assert_int_equal(look(FILE_SIZE, &image), expected);
}

static void a_good_kernel_is_described(void **state)
{
    struct elf_image image;

    (void)state;
    assert_int_equal(look(FILE_SIZE, &image), ELF_OK);
    assert_int_equal(image.count, 2);
    assert_int_equal(image.entry, ENTRY);
    assert_int_equal(image.lowest, LOAD_AT);
    assert_int_equal(image.end, LOAD_AT + 0x4000);
    assert_int_equal(image.segment[1].offset, TEXT_AT + 0x80);
    assert_int_equal(image.segment[1].file_size, 0x80);
    assert_int_equal(image.segment[1].address, LOAD_AT + 0x1000);
    assert_int_equal(image.segment[1].size, 0x3000);
}

static void every_shorter_file_is_refused(void **state)
{
    struct elf_image image;

    (void)state;
    for (size_t size = 0; size < TEXT_AT + 0x100; size++) {
        enum elf_error error = look(size, &image);

        assert_int_equal(error, size < 4 ? ELF_NOT_ELF : ELF_TRUNCATED);
    }
}

static void what_is_not_elf_is_named(void **state)
{
    (void)state;
    file[1] = 'X';
    assert_error(ELF_NOT_ELF);
    memcpy(file + 0x202, "HdrS", 4);
    assert_error(ELF_COMPRESSED);
}

static void other_machines_are_refused(void **state)
{
    static const struct {
        size_t  at;
        uint8_t value;
    } spoil[] = {
        { 4, 1 }, { 5, 2 }, { 16, 1 }, { 18, 3 }, { 54, 32 },
    };

    for (size_t i = 0; i < sizeof(spoil) / sizeof(spoil[0]); i++) {
        make(state);
        file[spoil[i].at] = spoil[i].value;
        assert_error(ELF_WRONG_MACHINE);
    }
}

static void program_headers_beyond_the_end_are_refused(void **state)
{
    (void)state;
    put(32, UINT64_MAX - 10, 8);
    assert_error(ELF_TRUNCATED);
    put(32, 64, 8);
    put(56, 0xffff, 2);
    assert_error(ELF_TRUNCATED);
}

static void segments_that_cannot_be_are_refused(void **state)
{
    put_program(1, 1, TEXT_AT, LOAD_AT, 0x80, 0x7f);
    assert_error(ELF_BAD_SEGMENT);
    put_program(1, 1, TEXT_AT, UINT64_MAX - 5, 0x80, 0x80);
    assert_error(ELF_BAD_SEGMENT);
    put_program(1, 1, UINT64_MAX - 5, LOAD_AT, 0x80, 0x80);
    assert_error(ELF_TRUNCATED);
    put_program(1, 1, FILE_SIZE - 0x7f, LOAD_AT, 0x80, 0x80);
    assert_error(ELF_TRUNCATED);
    make(state);
    put(PROGRAM(2) + 8, UINT64_MAX - 3, 8); /* notes */
    assert_error(ELF_TRUNCATED);
}

static void too_many_segments_are_refused(void **state)
{
    (void)state;
    put(56, ELF_SEGMENTS_MAX + 1, 2);
    put(32, 0, 8);
    /* The header stands in the way of headers at 0: a table of its own behind everything. */
    uint8_t         *large = calloc(1, FILE_SIZE + 56 * (ELF_SEGMENTS_MAX + 1));
    struct elf_image image;

    assert_non_null(large);
    put(32, FILE_SIZE, 8);
    memcpy(large, file, FILE_SIZE);
    for (unsigned i = 0; i <= ELF_SEGMENTS_MAX; i++)
        memcpy(large + FILE_SIZE + 56 * i, file + PROGRAM(0), 56);
    assert_int_equal(elf_describe(large, FILE_SIZE + 56 * (ELF_SEGMENTS_MAX + 1), MEMORY, &image),
                     ELF_TOO_MANY_SEGMENTS);
    free(large);
}

static void nothing_to_load_is_refused(void **state)
{
    (void)state;
    put_program(0, 0, 0, 0, 0, 0);
    put_program(1, 1, 0, LOAD_AT, 0, 0);
    assert_error(ELF_NOTHING_TO_LOAD);
}

static void a_kernel_without_note_is_refused(void **state)
{
    (void)state;
    put_note(NOTES_AT + 24, 17, ENTRY, 8);
    assert_error(ELF_NO_NOTE);
    put_note(NOTES_AT + 24, 18, ENTRY, 8);
    memcpy(file + NOTES_AT + 24 + 12, "GNU", 4);
    assert_error(ELF_NO_NOTE);
    memcpy(file + NOTES_AT + 24 + 12, "Xen", 4);
    put(NOTES_AT, 0xfffffff0u, 4); /* the first note's name covers everything */
    assert_error(ELF_NO_NOTE);
    put(NOTES_AT, 4, 4);
    put(NOTES_AT + 4, 0xffffffffu, 4);
    assert_error(ELF_NO_NOTE);
}

static void entries_outside_are_refused(void **state)
{
    static const uint64_t bad[] = { 0, LOAD_AT - 1, LOAD_AT + 0x80, LOAD_AT + 0x4000,
                                    (UINT64_C(1) << 32) + ENTRY };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        put_note(NOTES_AT + 24, 18, bad[i], 8);
        assert_error(ELF_BAD_ENTRY);
    }
}

static void memory_is_enough_to_the_byte(void **state)
{
    struct elf_image image;

    (void)state;
    assert_int_equal(elf_describe(file, FILE_SIZE, LOAD_AT + 0x4000, &image), ELF_OK);
    assert_int_equal(elf_describe(file, FILE_SIZE, LOAD_AT + 0x3fff, &image), ELF_TOO_LARGE);
}

static void every_error_has_a_sentence_of_its_own(void **state)
{
    (void)state;
    for (enum elf_error a = ELF_OK; a <= ELF_TOO_LARGE; a++)
        for (enum elf_error b = ELF_OK; b < a; b++)
            assert_string_not_equal(elf_error_text(a), elf_error_text(b));
}

static void random_damage_never_leads_outside(void **state)
{
    const char *given = getenv("SEED");
    unsigned    seed = given != NULL ? (unsigned)strtoul(given, NULL, 0) : 1;

    print_message("SEED=%u\n", seed);
    srand(seed);
    for (unsigned round = 0; round < 20000; round++) {
        struct elf_image image;
        unsigned         hits = 1 + (unsigned)rand() % 4;

        make(state);
        while (hits-- > 0)
            file[(unsigned)rand() % (NOTES_AT + 64)] = (uint8_t)(rand() % 3 == 0 ? 0xff : rand());
        if (look(FILE_SIZE, &image) != ELF_OK)
            continue;
        for (unsigned i = 0; i < image.count; i++) {
            assert_true(image.segment[i].file_size <= FILE_SIZE);
            assert_true(image.segment[i].offset <= FILE_SIZE - image.segment[i].file_size);
            assert_true(image.segment[i].size <= MEMORY);
            assert_true(image.segment[i].address <= MEMORY - image.segment[i].size);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_good_kernel_is_described, make),
        cmocka_unit_test_setup(every_shorter_file_is_refused, make),
        cmocka_unit_test_setup(what_is_not_elf_is_named, make),
        cmocka_unit_test_setup(other_machines_are_refused, make),
        cmocka_unit_test_setup(program_headers_beyond_the_end_are_refused, make),
        cmocka_unit_test_setup(segments_that_cannot_be_are_refused, make),
        cmocka_unit_test_setup(too_many_segments_are_refused, make),
        cmocka_unit_test_setup(nothing_to_load_is_refused, make),
        cmocka_unit_test_setup(a_kernel_without_note_is_refused, make),
        cmocka_unit_test_setup(entries_outside_are_refused, make),
        cmocka_unit_test_setup(memory_is_enough_to_the_byte, make),
        cmocka_unit_test(every_error_has_a_sentence_of_its_own),
        cmocka_unit_test_setup(random_damage_never_leads_outside, make),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
