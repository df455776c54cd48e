/*
 * The tables as a guest finds them: from the RSDP on by pointers only, each checked by its
 * checksum. Offsets are those of the ACPI specification, written down here again.
 */
#include "hv/acpi.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define BASE UINT64_C(0xfc000000)

static uint8_t memory[4096];
static size_t  used;

static uint64_t get(const uint8_t *at, size_t bytes)
{
    uint64_t value = 0;

    memcpy(&value, at, bytes);
    return value;
}

static void assert_sums_to_zero(const uint8_t *at, size_t length)
{
    unsigned sum = 0;

    for (size_t i = 0; i < length; i++)
        sum += at[i];
    assert_int_equal(sum & 0xff, 0);
}

/* A table by its guest-physical address, inside of what was written. */
static const uint8_t *table_at(uint64_t address, const char *signature)
{
    const uint8_t *table;
    uint64_t       length;

    assert_true(address >= BASE && address + 8 <= BASE + used);
    table = memory + (address - BASE);
    length = get(table + 4, 4);
    assert_true(address + length <= BASE + used);
    assert_memory_equal(table, signature, 4);
    if (memcmp(signature, "FACS", 4) != 0)
        assert_sums_to_zero(table, length);
    return table;
}

static const uint8_t *entry_of_xsdt(unsigned i, const char *signature)
{
    const uint8_t *xsdt = table_at(get(memory + 24, 8), "XSDT");

    assert_int_equal(get(xsdt + 4, 4), 36 + 2 * 8);
    return table_at(get(xsdt + 36 + 8 * i, 8), signature);
}

static void build(unsigned vcpus)
{
    memset(memory, 0xcc, sizeof(memory));
    used = acpi_build(memory, sizeof(memory), BASE, vcpus);
    assert_int_not_equal(used, 0);
}

static void the_rsdp_leads_to_the_xsdt(void **state)
{
    (void)state;
    build(1);
    assert_memory_equal(memory, "RSD PTR ", 8);
    assert_int_equal(memory[15], 2);
    assert_int_equal(get(memory + 20, 4), 36);
    assert_sums_to_zero(memory, 20);
    assert_sums_to_zero(memory, 36);
    table_at(get(memory + 24, 8), "XSDT");
}

static void the_fadt_says_what_is_not_there(void **state)
{
    const uint8_t *fadt;

    (void)state;
    build(2);
    fadt = entry_of_xsdt(0, "FACP");
    assert_int_equal(get(fadt + 4, 4), 268);
    assert_int_equal(fadt[8], 5);
    table_at(get(fadt + 40, 4), "DSDT");
    table_at(get(fadt + 140, 8), "DSDT");
    table_at(get(fadt + 36, 4), "FACS");
    assert_int_equal(get(fadt + 36, 4) % 64, 0);
    assert_int_equal(get(fadt + 109, 2), 1 << 2 | 1 << 5); /* no VGA, no RTC, no 8042 */
    assert_int_equal(get(fadt + 76, 4), 0);                /* no timer */
    assert_int_equal(get(fadt + 112, 4) & (1 << 4 | 1 << 5), 1 << 4 | 1 << 5);
    assert_int_equal(get(fadt + 112, 4) & 1 << 8, 0); /* nor a wider one */
    assert_int_equal(get(fadt + 48, 4), 0);           /* no SMI: ACPI is always on */
    assert_int_equal(get(fadt + 56, 4), get(fadt + 148 + 4, 8));
}

static void the_madt_names_every_vcpu(void **state)
{
    (void)state;
    for (unsigned vcpus = 1; vcpus <= 8; vcpus++) {
        const uint8_t *madt;

        build(vcpus);
        madt = entry_of_xsdt(1, "APIC");
        assert_int_equal(madt[8], 2);
        assert_int_equal(get(madt + 4, 4), 44 + 8 * vcpus);
        assert_int_equal(get(madt + 36, 4), 0xfee00000u);
        assert_int_equal(get(madt + 40, 4), 0);
        for (unsigned i = 0; i < vcpus; i++) {
            const uint8_t *lapic = madt + 44 + 8 * i;

            assert_int_equal(lapic[0], 0);
            assert_int_equal(lapic[1], 8);
            assert_int_equal(lapic[2], i);
            assert_int_equal(lapic[3], 2 * i);
            assert_int_equal(lapic[3], acpi_apic_id(i));
            assert_int_equal(get(lapic + 4, 4), 1);
        }
    }
}

static void what_does_not_fit_is_not_written(void **state)
{
    (void)state;
    build(1);
    for (size_t size = 0; size < used; size++) {
        memset(memory, 0xcc, sizeof(memory));
        assert_int_equal(acpi_build(memory, size, BASE, 1), 0);
        assert_int_equal(memory[0], 0xcc);
    }
    assert_int_equal(acpi_build(memory, sizeof(memory), BASE, 0), 0);
    assert_int_equal(acpi_build(memory, sizeof(memory), BASE, 129), 0);
    assert_int_not_equal(acpi_build(memory, sizeof(memory), BASE, 128), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rsdp_leads_to_the_xsdt),
        cmocka_unit_test(the_fadt_says_what_is_not_there),
        cmocka_unit_test(the_madt_names_every_vcpu),
        cmocka_unit_test(what_does_not_fit_is_not_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
