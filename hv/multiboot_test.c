/* test: with hv/multiboot.c */
/*
 * Multiboot kernels that are good, and kernels that are wrong in each way that has a name. A
 * file is made by hand, field by field, so that each test can spoil one of them.
 */
#include "hv/multiboot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MEMORY    (UINT64_C(64) << 20)
#define FILE_SIZE 0x3000
#define HEADER_AT 0x1000
#define TEXT_AT   0x1000
#define LOAD_AT   0x100000u
#define VIRTUAL   0xc0100000u
#define PROGRAM   52 /* the program header that all tests have */

static uint8_t                file[FILE_SIZE];
static size_t                 size;
static struct multiboot_image image;

static void put(size_t at, uint32_t value, size_t bytes)
{
    memcpy(file + at, &value, bytes);
}

static void put_header(size_t at, uint32_t flags)
{
    put(at, MULTIBOOT_HEADER_MAGIC, 4);
    put(at + 4, flags, 4);
    put(at + 8, 0u - MULTIBOOT_HEADER_MAGIC - flags, 4);
}

static void put_program(unsigned i, uint32_t offset, uint32_t virtual, uint32_t physical,
                        uint32_t in_file, uint32_t in_memory)
{
    const uint32_t fields[] = { 1, offset, virtual, physical, in_file, in_memory, 7, 4096 };

    memcpy(file + PROGRAM + 32 * i, fields, sizeof(fields));
}

/* An ELF kernel: its text with the header in front, and a .bss behind. */
static int make(void **state)
{
    (void)state;
    memset(file, 0, sizeof(file));
    memcpy(file, "\177ELF\001\001\001", 7);
    put(16, 2, 2); /* executable */
    put(18, 3, 2); /* 386 */
    put(20, 1, 4);
    put(24, LOAD_AT + 0x20, 4);
    put(28, PROGRAM, 4);
    put(42, 32, 2); /* of a program header */
    put(44, 1, 2);
    put_program(0, TEXT_AT, LOAD_AT, LOAD_AT, 0x800, 0x1800);
    put_header(HEADER_AT, 3);
    size = FILE_SIZE;
    return 0;
}

/* A copy that ends where the file ends, so that reading further is seen. */
static enum multiboot_error describe(void)
{
    void                *copy = malloc(size + !size);
    enum multiboot_error error;

    assert_non_null(copy);
    memcpy(copy, file, size);
    error = multiboot_describe(copy, size, MEMORY, &image);
    free(copy);
    return error;
}

static void refused(enum multiboot_error error)
{
    assert_int_equal(describe(), error);
    assert_true(strlen(multiboot_error_text(error)) > 20);
}

static void a_good_elf_kernel_is_described(void **state)
{
    (void)state;
    assert_int_equal(describe(), MULTIBOOT_OK);
    assert_int_equal(image.image.count, 1);
    assert_int_equal(image.image.entry, LOAD_AT + 0x20);
    assert_int_equal(image.image.lowest, LOAD_AT);
    assert_int_equal(image.image.end, LOAD_AT + 0x1800);
    assert_int_equal(image.image.segment[0].offset, TEXT_AT);
    assert_int_equal(image.image.segment[0].file_size, 0x800);
    assert_int_equal(image.flags, 3);
}

static void an_entry_that_is_virtual_is_translated(void **state)
{
    (void)state;
    put_program(0, TEXT_AT, VIRTUAL, LOAD_AT, 0x800, 0x1800);
    put(24, VIRTUAL + 0x30, 4);
    assert_int_equal(describe(), MULTIBOOT_OK);
    assert_int_equal(image.image.entry, LOAD_AT + 0x30);
    put(24, LOAD_AT + 0x30, 4); /* or its maker has translated it */
    assert_int_equal(describe(), MULTIBOOT_OK);
    assert_int_equal(image.image.entry, LOAD_AT + 0x30);
}

static void the_header_lies_in_the_first_8_kib_on_a_multiple_of_4(void **state)
{
    (void)state;
    put(HEADER_AT, 0, 4);
    refused(MULTIBOOT_NO_HEADER);
    put_header(MULTIBOOT_SEARCH - 12, 0);
    assert_int_equal(describe(), MULTIBOOT_OK);
    put(MULTIBOOT_SEARCH - 12, 0, 4);
    put_header(MULTIBOOT_SEARCH - 8, 0);
    refused(MULTIBOOT_NO_HEADER);
    put_header(0x802, 0);
    refused(MULTIBOOT_NO_HEADER);
}

static void a_wrong_checksum_is_no_header_unless_a_right_one_follows(void **state)
{
    (void)state;
    put(HEADER_AT + 8, 1, 4);
    refused(MULTIBOOT_BAD_CHECKSUM);
    put_header(HEADER_AT + 0x40, 1);
    assert_int_equal(describe(), MULTIBOOT_OK);
}

static void flags_that_must_be_known_are(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 32; bit++) {
        put_header(HEADER_AT, UINT32_C(1) << bit);
        if (bit >= 3 && bit < 16)
            refused(MULTIBOOT_UNKNOWN_FLAGS);
        else if (bit != 16)
            assert_int_equal(describe(), MULTIBOOT_OK);
    }
}

static void put_addresses(uint32_t header, uint32_t load, uint32_t load_end, uint32_t bss_end,
                          uint32_t entry)
{
    const uint32_t fields[] = { header, load, load_end, bss_end, entry };

    put_header(HEADER_AT, MULTIBOOT_ADDRESSES);
    memcpy(file + HEADER_AT + 12, fields, sizeof(fields));
    memset(file, 0xcc, 64); /* no ELF file any more */
}

static void addresses_in_the_header_are_enough(void **state)
{
    (void)state;
    put_addresses(LOAD_AT + 0x100, LOAD_AT, LOAD_AT + 0x400, LOAD_AT + 0x2000, LOAD_AT + 0x200);
    assert_int_equal(describe(), MULTIBOOT_OK);
    assert_int_equal(image.image.segment[0].offset, HEADER_AT - 0x100);
    assert_int_equal(image.image.segment[0].file_size, 0x400);
    assert_int_equal(image.image.end, LOAD_AT + 0x2000);
    assert_int_equal(image.image.entry, LOAD_AT + 0x200);
    /* 0: to the end of the file, and no .bss */
    put_addresses(LOAD_AT, LOAD_AT, 0, 0, LOAD_AT);
    assert_int_equal(describe(), MULTIBOOT_OK);
    assert_int_equal(image.image.end, LOAD_AT + FILE_SIZE - HEADER_AT);
}

static void addresses_that_cannot_be_are_refused(void **state)
{
    (void)state;
    put_addresses(LOAD_AT - 1, LOAD_AT, 0, 0, LOAD_AT);
    refused(MULTIBOOT_BAD_ADDRESSES);
    put_addresses(LOAD_AT + HEADER_AT + 4, LOAD_AT, 0, 0, LOAD_AT);
    refused(MULTIBOOT_BAD_ADDRESSES);
    put_addresses(LOAD_AT, LOAD_AT, LOAD_AT - 1, 0, LOAD_AT);
    refused(MULTIBOOT_BAD_ADDRESSES);
    put_addresses(LOAD_AT, LOAD_AT, LOAD_AT + 0x800, LOAD_AT + 0x7ff, LOAD_AT);
    refused(MULTIBOOT_BAD_ADDRESSES);
    put_addresses(0xfffff000, 0xfffff000, 0, 0, 0xfffff000);
    refused(MULTIBOOT_BAD_ADDRESSES);
    put_addresses(LOAD_AT, LOAD_AT, LOAD_AT + 0x10000, 0, LOAD_AT);
    refused(MULTIBOOT_TRUNCATED);
    put_addresses(LOAD_AT, LOAD_AT, 0, 0, LOAD_AT - 1);
    refused(MULTIBOOT_BAD_ENTRY);
    put_addresses(LOAD_AT, LOAD_AT, LOAD_AT, 0, LOAD_AT);
    refused(MULTIBOOT_NOTHING_TO_LOAD);
    put_addresses(LOAD_AT, LOAD_AT, 0, 0x4000001, LOAD_AT);
    refused(MULTIBOOT_TOO_LARGE);
    put_addresses(LOAD_AT, LOAD_AT, 0, 0, LOAD_AT);
    size = HEADER_AT + 16;
    refused(MULTIBOOT_TRUNCATED);
}

static void files_that_are_wrong_are_refused_by_name(void **state)
{
    (void)state;
    put(4, 2, 1); /* 64 bits */
    refused(MULTIBOOT_NOT_ELF32);
    make(NULL);
    put(18, 62, 2); /* x86-64 */
    refused(MULTIBOOT_NOT_ELF32);
    make(NULL);
    put(0, 0, 4);
    refused(MULTIBOOT_NOT_ELF);
    make(NULL);
    put(28, FILE_SIZE - 31, 4); /* program headers beyond the end */
    refused(MULTIBOOT_TRUNCATED);
    make(NULL);
    put(28, UINT32_MAX, 4);
    refused(MULTIBOOT_TRUNCATED);
    make(NULL);
    put_program(0, FILE_SIZE - 0x7ff, LOAD_AT, LOAD_AT, 0x800, 0x800);
    refused(MULTIBOOT_TRUNCATED);
    put_program(0, TEXT_AT, LOAD_AT, LOAD_AT, 0x801, 0x800);
    refused(MULTIBOOT_BAD_ADDRESSES);
    put_program(0, TEXT_AT, LOAD_AT, 0xfffff001, 0x10, 0x1000);
    refused(MULTIBOOT_BAD_ADDRESSES);
    put_program(0, TEXT_AT, LOAD_AT, MEMORY - 0x17ff, 0x800, 0x1800);
    refused(MULTIBOOT_TOO_LARGE);
    make(NULL);
    put(24, LOAD_AT + 0x1800, 4);
    refused(MULTIBOOT_BAD_ENTRY);
    make(NULL);
    put(44, 0, 2);
    refused(MULTIBOOT_NOTHING_TO_LOAD);
    make(NULL);
    put(44, 17, 2);
    for (unsigned i = 0; i < 17; i++)
        put_program(i, TEXT_AT, LOAD_AT, LOAD_AT, 0x800, 0x800);
    refused(MULTIBOOT_TOO_MANY_SEGMENTS);
    size = 0;
    refused(MULTIBOOT_NO_HEADER);
}

/* ---- where things go ---- */

static void segment(uint64_t address, uint64_t length)
{
    image.image.segment[image.image.count++] =
        (struct elf_segment){ .address = address, .size = length };
    if (address + length > image.image.end)
        image.image.end = address + length;
}

static void nothing_lies_on_the_kernel_or_in_page_0(void **state)
{
    struct multiboot_places at;

    (void)state;
    image = (struct multiboot_image){ 0 };
    segment(LOAD_AT, 0x1801);
    assert_true(multiboot_place(&image, MEMORY, 5, &at));
    assert_int_equal(at.info, MULTIBOOT_INFO_TOP);
    assert_int_equal(at.ramdisk, LOAD_AT + 0x2000);
    segment(MULTIBOOT_INFO_TOP + 0xfff, 1);
    segment(MULTIBOOT_INFO_TOP - 0x1000, 1);
    assert_true(multiboot_place(&image, MEMORY, 0, &at));
    assert_int_equal(at.info, MULTIBOOT_INFO_TOP - 0x2000);
    assert_int_equal(at.ramdisk, 0);
    segment(0x1000, MULTIBOOT_INFO_TOP - 0x1000); /* page 0 only is left: the end of memory */
    assert_true(multiboot_place(&image, MEMORY, 5, &at));
    assert_int_equal(at.info, MEMORY - 0x1000);
}

static void a_ramdisk_does_not_lie_below_1_mib(void **state)
{
    struct multiboot_places at;

    (void)state;
    image = (struct multiboot_image){ 0 };
    segment(0x10000, 0x1000);
    assert_true(multiboot_place(&image, MEMORY, 5, &at));
    assert_int_equal(at.ramdisk, MULTIBOOT_HOLE_END);
}

static void a_ramdisk_that_does_not_fit_is_refused(void **state)
{
    struct multiboot_places at;

    (void)state;
    image = (struct multiboot_image){ 0 };
    segment(LOAD_AT, 0x1000);
    assert_true(multiboot_place(&image, MEMORY, MEMORY - LOAD_AT - 0x1000, &at));
    assert_false(multiboot_place(&image, MEMORY, MEMORY - LOAD_AT - 0xfff, &at));
    assert_false(multiboot_place(&image, MEMORY, UINT64_MAX, &at));
    segment(0x1000, LOAD_AT); /* the information needs the last page, too */
    assert_true(multiboot_place(&image, MEMORY, MEMORY - LOAD_AT - 0x2000, &at));
    assert_false(multiboot_place(&image, MEMORY, MEMORY - LOAD_AT - 0x1fff, &at));
}

/* ---- what the kernel is told ---- */

static uint32_t word(const uint8_t *page, size_t at)
{
    uint32_t value;

    memcpy(&value, page + at, sizeof(value));
    return value;
}

static void the_information_says_what_there_is(void **state)
{
    struct multiboot_places at = { .info = 0x9e000, .ramdisk = 0x200000 };
    struct multiboot_facts  facts = { .low = MEMORY,
                                      .high = 0x100000,
                                      .ramdisk_size = 0x1234,
                                      .kernel = "k",
                                      .ramdisk = "r",
                                      .extra = "a=1 b" };
    uint8_t                 page[PAGE_SIZE];
    uint64_t                ram = 0;
    uint32_t                map, length;

    (void)state;
    multiboot_info(&at, &facts, page);
    assert_int_equal(word(page, 0) & 0x4d, 0x4d);
    assert_int_equal(word(page, 4), 640);
    assert_int_equal(word(page, 8), 63 * 1024);
    assert_string_equal((char *)page + word(page, 16) - at.info, "k a=1 b");
    assert_int_equal(word(page, 20), 1);
    assert_int_equal(word(page, word(page, 24) - at.info), 0x200000);
    assert_int_equal(word(page, word(page, 24) - at.info + 4), 0x201234);
    assert_string_equal((char *)page + word(page, word(page, 24) - at.info + 8) - at.info, "r");
    assert_string_equal((char *)page + word(page, 64) - at.info, "Umbra");
    length = word(page, 44);
    map = word(page, 48) - (uint32_t)at.info;
    for (uint32_t i = 0; i < length; i += word(page, map + i) + 4) {
        uint64_t bytes;

        assert_int_equal(word(page, map + i), 20);
        memcpy(&bytes, page + map + i + 12, sizeof(bytes));
        if (word(page, map + i + 20) == 1)
            ram += bytes;
    }
    assert_int_equal(ram, MEMORY - 0x60000 + 0x100000);
    facts.ramdisk_size = 0;
    facts.extra = "";
    multiboot_info(&at, &facts, page);
    assert_int_equal(word(page, 20), 0);
    assert_string_equal((char *)page + word(page, 16) - at.info, "k");
}

/* SplitMix64. */
static uint64_t next_random(uint64_t *seed)
{
    uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void what_is_accepted_stays_within_file_and_memory(void **state)
{
    uint64_t seed = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 0) : 1, start = seed;
    unsigned accepted = 0;

    for (unsigned round = 0; round < 50000; round++) {
        make(state);
        if (next_random(&seed) % 2)
            put_addresses(LOAD_AT, LOAD_AT, LOAD_AT + 0x400, 0, LOAD_AT);
        for (uint64_t n = next_random(&seed) % 3; n > 0; n--) {
            size_t at = next_random(&seed) % 2 ? next_random(&seed) % 96
                                               : HEADER_AT + 12 + next_random(&seed) % 20;

            file[at] = (uint8_t)next_random(&seed);
        }
        if (describe() != MULTIBOOT_OK)
            continue;
        accepted++;
        for (unsigned i = 0; i < image.image.count; i++) {
            const struct elf_segment *s = &image.image.segment[i];

            if (s->file_size > s->size || s->offset > size || s->file_size > size - s->offset ||
                s->address > MEMORY || s->size > MEMORY - s->address)
                fail_msg("SEED=%llu round %u", (unsigned long long)start, round);
        }
    }
    assert_true(accepted > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_good_elf_kernel_is_described, make),
        cmocka_unit_test_setup(an_entry_that_is_virtual_is_translated, make),
        cmocka_unit_test_setup(the_header_lies_in_the_first_8_kib_on_a_multiple_of_4, make),
        cmocka_unit_test_setup(a_wrong_checksum_is_no_header_unless_a_right_one_follows, make),
        cmocka_unit_test_setup(flags_that_must_be_known_are, make),
        cmocka_unit_test_setup(addresses_in_the_header_are_enough, make),
        cmocka_unit_test_setup(addresses_that_cannot_be_are_refused, make),
        cmocka_unit_test_setup(files_that_are_wrong_are_refused_by_name, make),
        cmocka_unit_test(nothing_lies_on_the_kernel_or_in_page_0),
        cmocka_unit_test(a_ramdisk_does_not_lie_below_1_mib),
        cmocka_unit_test(a_ramdisk_that_does_not_fit_is_refused),
        cmocka_unit_test(the_information_says_what_there_is),
        cmocka_unit_test(what_is_accepted_stays_within_file_and_memory),
    };

    return cmocka_run_group_tests_name("hv/multiboot", tests, NULL, NULL);
}
