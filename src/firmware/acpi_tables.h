/*
 * What a BIOS leaves behind for an operating system: ACPI tables (ACPI 6.4), the BIOS data area, and chips
 * set up as the tables say.
 */
#ifndef RING3_FIRMWARE_ACPI_TABLES_H
#define RING3_FIRMWARE_ACPI_TABLES_H

#include "firmware/aml.h"
#include "firmware/layout.h"
#include "mem/mem.h"

struct firmware_config {
    struct ram_layout ram;
    unsigned cpu_count; /* local APIC IDs are 0..cpu_count-1 */
    bool vga;
};

/* Writes all of it to guest memory and ports; `*rsdp` is the address of the ACPI root pointer. -ENOMEM. */
int firmware_setup(struct mem_space *mem, const struct firmware_config *config, u64 *rsdp, struct error *err);

/* The ACPI tables alone: RSDP in the F segment, FACS and the rest at the top of low RAM. */
int acpi_tables_write(struct mem_space *mem, const struct firmware_config *config, u64 *rsdp,
                      struct error *err);

/* Appends the definition block of the DSDT (without the table header). */
void dsdt_encode(struct aml *aml, const struct firmware_config *config);

#endif
