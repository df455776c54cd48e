/*
 * The ACPI tables of a PVH guest: as few as Debian's kernel needs to find its local APICs.
 * No devices, no buttons, no IOAPIC, no timer.
 */
#ifndef HV_ACPI_H
#define HV_ACPI_H

#include <stddef.h>
#include <stdint.h>

/* The x2APIC id of a vCPU, as the MADT, CPUID and the local APIC must agree on. */
static inline uint32_t acpi_apic_id(unsigned vcpu)
{
    return 2 * vcpu;
}

/*
 * Writes RSDP (at the very beginning), XSDT, FADT, FACS, DSDT and MADT, as they are to be
 * seen at guest-physical `base`, which is page-aligned and below 4 GiB. Returns the bytes
 * used; 0 if `size` is too small or there are more vCPUs than LAPIC entries can name.
 */
size_t acpi_build(uint8_t *out, size_t size, uint64_t base, unsigned vcpus);

#endif
