/* ACPI tables; see acpi.h. Layouts: ACPI specification 5.0, chapter 5.2. */
#include "hv/acpi.h"

#include <stdbool.h>
#include <string.h>

struct acpi_header {
    char     signature[4];
    uint32_t length;
    uint8_t  revision, checksum;
    char     oem_id[6], oem_table_id[8];
    uint32_t oem_revision;
    char     creator_id[4];
    uint32_t creator_revision;
};
_Static_assert(sizeof(struct acpi_header) == 36, "ACPI 5.2.6");

struct acpi_rsdp {
    char     signature[8];
    uint8_t  checksum; /* of the first 20 bytes */
    char     oem_id[6];
    uint8_t  revision;
    uint32_t rsdt;
    uint32_t length;
    uint64_t xsdt;
    uint8_t  extended_checksum, reserved[3];
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_rsdp) == 36, "ACPI 5.2.5.3");

struct acpi_xsdt {
    struct acpi_header header;
    uint64_t           entry[2];
} __attribute__((packed));

/* A generic address. */
struct acpi_address {
    uint8_t  space, width, offset, access;
    uint64_t address;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_address) == 12, "ACPI 5.2.3.1");

struct acpi_fadt {
    struct acpi_header  header;
    uint32_t            facs, dsdt;
    uint8_t             reserved0, profile;
    uint16_t            sci;
    uint32_t            smi_command;
    uint8_t             acpi_enable, acpi_disable, s4bios, pstate;
    uint32_t            pm1a_event, pm1b_event, pm1a_control, pm1b_control;
    uint32_t            pm2_control, pm_timer, gpe0, gpe1;
    uint8_t             pm1_event_length, pm1_control_length, pm2_control_length;
    uint8_t             pm_timer_length, gpe0_length, gpe1_length, gpe1_base, cst;
    uint16_t            c2_latency, c3_latency, flush_size, flush_stride;
    uint8_t             duty_offset, duty_width, day_alarm, month_alarm, century;
    uint16_t            boot_flags;
    uint8_t             reserved1;
    uint32_t            flags;
    struct acpi_address reset;
    uint8_t             reset_value;
    uint16_t            arm_flags;
    uint8_t             minor;
    uint64_t            x_facs, x_dsdt;
    struct acpi_address x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control;
    struct acpi_address x_pm2_control, x_pm_timer, x_gpe0, x_gpe1;
    struct acpi_address sleep_control, sleep_status;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_fadt) == 268, "ACPI 5.2.9, revision 5");
_Static_assert(offsetof(struct acpi_fadt, boot_flags) == 109, "ACPI 5.2.9");
_Static_assert(offsetof(struct acpi_fadt, flags) == 112, "ACPI 5.2.9");
_Static_assert(offsetof(struct acpi_fadt, x_dsdt) == 140, "ACPI 5.2.9");

struct acpi_facs {
    char     signature[4];
    uint32_t length, hardware, waking, lock, flags;
    uint64_t x_waking;
    uint8_t  version, reserved[31];
};
_Static_assert(sizeof(struct acpi_facs) == 64, "ACPI 5.2.10");

struct acpi_lapic {
    uint8_t  type, length, processor, apic_id;
    uint32_t flags;
};

struct acpi_madt {
    struct acpi_header header;
    uint32_t           lapic_address, flags;
};
_Static_assert(sizeof(struct acpi_madt) == 44, "ACPI 5.2.12");

enum { /* FADT, ACPI 5.2.9: tables 5-35 and 5-36 */
       FADT_WBINVD = 1 << 0,
       FADT_PROC_C1 = 1 << 2,
       FADT_NO_POWER_BUTTON = 1 << 4, /* as a fixed feature, and no device for it either */
       FADT_NO_SLEEP_BUTTON = 1 << 5,
       FADT_NO_FIXED_RTC = 1 << 6,
       BOOT_NO_VGA = 1 << 2,
       BOOT_NO_CMOS_RTC = 1 << 5,
       LAPIC_ENABLED = 1 << 0,
};

/*
 * Full ACPI demands an event and a control block of power management. Nothing answers at
 * these ports: reading gives all ones, so that ACPI is found to be on, and no SCI ever comes.
 */
#define PM1A_EVENT   0xb000
#define PM1A_CONTROL 0xb004
#define SCI          9
#define LATENCY_NONE 0x0fff /* C2 and C3 do not exist: over 100 and 1000 */
#define LAPIC_BASE   0xfee00000u
#define LAPIC_ID_MAX 254

/* Where each table begins, from the start; FACS must be aligned to 64 bytes. */
enum {
    AT_RSDP = 0,
    AT_XSDT = 64,
    AT_FADT = 128,
    AT_FACS = 448,
    AT_DSDT = 512,
    AT_MADT = 576,
};
_Static_assert(AT_XSDT + sizeof(struct acpi_xsdt) <= AT_FADT, "");
_Static_assert(AT_FADT + sizeof(struct acpi_fadt) <= AT_FACS, "");

/* All bytes of a table add up to 0. */
static uint8_t checksum(const void *table, size_t length)
{
    const uint8_t *bytes = table;
    uint8_t        sum = 0;

    for (size_t i = 0; i < length; i++)
        sum = (uint8_t)(sum + bytes[i]);
    return (uint8_t)-sum;
}

static struct acpi_header header_of(const char *signature, size_t length, uint8_t revision)
{
    struct acpi_header h = { .length = (uint32_t)length, .revision = revision };

    memcpy(h.signature, signature, sizeof(h.signature));
    memcpy(h.oem_id, "UMBRA ", sizeof(h.oem_id));
    memcpy(h.oem_table_id, "PVH     ", sizeof(h.oem_table_id));
    memcpy(h.creator_id, "UMBR", sizeof(h.creator_id));
    h.oem_revision = 1;
    h.creator_revision = 1;
    return h;
}

/* Copies a finished table to its place and gives it its checksum. */
static void put_table(uint8_t *to, const void *table, size_t length)
{
    memcpy(to, table, length);
    to[offsetof(struct acpi_header, checksum)] = checksum(to, length);
}

static struct acpi_address io_port(uint16_t port, uint8_t bytes)
{
    /* address space 1: I/O */
    return (struct acpi_address){ .space = 1, .width = (uint8_t)(bytes * 8), .address = port };
}

static void put_fadt(uint8_t *out, uint64_t base)
{
    struct acpi_fadt fadt = {
        .header = header_of("FACP", sizeof(fadt), 5),
        .facs = (uint32_t)base + AT_FACS,
        .dsdt = (uint32_t)base + AT_DSDT,
        .sci = SCI,
        .pm1a_event = PM1A_EVENT,
        .pm1a_control = PM1A_CONTROL,
        .pm1_event_length = 4,
        .pm1_control_length = 2,
        .c2_latency = LATENCY_NONE,
        .c3_latency = LATENCY_NONE,
        .boot_flags = BOOT_NO_VGA | BOOT_NO_CMOS_RTC,
        .flags = FADT_WBINVD | FADT_PROC_C1 | FADT_NO_POWER_BUTTON | FADT_NO_SLEEP_BUTTON |
                 FADT_NO_FIXED_RTC,
        .x_dsdt = base + AT_DSDT,
        .x_pm1a_event = io_port(PM1A_EVENT, 4),
        .x_pm1a_control = io_port(PM1A_CONTROL, 2),
    };

    put_table(out + AT_FADT, &fadt, sizeof(fadt));
}

static void put_madt(uint8_t *out, unsigned vcpus)
{
    size_t           length = sizeof(struct acpi_madt) + vcpus * sizeof(struct acpi_lapic);
    struct acpi_madt madt = {
        .header = header_of("APIC", length, 2),
        .lapic_address = LAPIC_BASE,
    };
    uint8_t *entries = out + AT_MADT + sizeof(madt);

    for (unsigned i = 0; i < vcpus; i++) {
        struct acpi_lapic lapic = {
            .length = sizeof(lapic),
            .processor = (uint8_t)i,
            .apic_id = (uint8_t)acpi_apic_id(i),
            .flags = LAPIC_ENABLED,
        };

        memcpy(entries + i * sizeof(lapic), &lapic, sizeof(lapic));
    }
    memcpy(out + AT_MADT, &madt, sizeof(madt));
    out[AT_MADT + offsetof(struct acpi_header, checksum)] = checksum(out + AT_MADT, length);
}

static void put_rsdp(uint8_t *out, uint64_t base)
{
    struct acpi_rsdp rsdp = { .revision = 2, .length = sizeof(rsdp), .xsdt = base + AT_XSDT };

    memcpy(rsdp.signature, "RSD PTR ", sizeof(rsdp.signature));
    memcpy(rsdp.oem_id, "UMBRA ", sizeof(rsdp.oem_id));
    rsdp.checksum = checksum(&rsdp, offsetof(struct acpi_rsdp, length));
    rsdp.extended_checksum = checksum(&rsdp, sizeof(rsdp));
    memcpy(out + AT_RSDP, &rsdp, sizeof(rsdp));
}

size_t acpi_build(uint8_t *out, size_t size, uint64_t base, unsigned vcpus)
{
    size_t           total = AT_MADT + sizeof(struct acpi_madt) + vcpus * sizeof(struct acpi_lapic);
    struct acpi_xsdt xsdt = {
        .header = header_of("XSDT", sizeof(xsdt), 1),
        .entry = { base + AT_FADT, base + AT_MADT },
    };
    struct acpi_facs   facs = { .length = sizeof(facs), .version = 2 };
    struct acpi_header dsdt = header_of("DSDT", sizeof(dsdt), 2); /* no device, no method */

    if (vcpus == 0 || acpi_apic_id(vcpus - 1) > LAPIC_ID_MAX || total > size)
        return 0;
    memset(out, 0, total);
    put_rsdp(out, base);
    put_table(out + AT_XSDT, &xsdt, sizeof(xsdt));
    put_fadt(out, base);
    memcpy(facs.signature, "FACS", sizeof(facs.signature));
    memcpy(out + AT_FACS, &facs, sizeof(facs));
    put_table(out + AT_DSDT, &dsdt, sizeof(dsdt));
    put_madt(out, vcpus);
    return total;
}
