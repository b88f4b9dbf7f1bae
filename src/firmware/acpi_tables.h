/*
 * The ACPI tables (ACPI 6.4), built once for both ways to a guest: without firmware they are written to guest
 * memory; firmware gets them through fw_cfg, with a script that says how to put them there (QEMU's "table
 * loader").
 */
#ifndef RING3_FIRMWARE_ACPI_TABLES_H
#define RING3_FIRMWARE_ACPI_TABLES_H

#include "firmware/aml.h"
#include "firmware/layout.h"
#include "mem/mem.h"

/* What the tables depend on. */
struct firmware_config {
    struct ram_layout ram;
    unsigned cpu_count; /* local APIC IDs are 0..cpu_count-1 */
    u16 pm_base;        /* of PIIX4's power management ports */
    bool vga;           /* there is a VGA adapter */
    bool floppy;        /* and a floppy controller */
    bool iommu;         /* and a VT-d remapping unit */
};

/* Pieces that are placed on their own. */
enum acpi_part { ACPI_TABLES, ACPI_FACS, ACPI_RSDP, ACPI_PARTS };

/* `size` bytes at `at` of `part` hold an offset in `target`, to which that part's address is to be added. */
struct acpi_pointer {
    enum acpi_part part, target;
    u32 at;
    u8 size;
};

/* The byte at `at` makes the sum of [start, start + length) zero, once the pointers are right. */
struct acpi_sum {
    enum acpi_part part;
    u32 at, start, length;
};

struct acpi_image {
    struct aml part[ACPI_PARTS]; /* as byte buffers */
    struct acpi_pointer pointers[32];
    unsigned pointer_count;
    struct acpi_sum sums[16];
    unsigned sum_count;
};

/* -ENOMEM. Its size does not depend on pm_base. */
int acpi_image_build(struct acpi_image *image, const struct firmware_config *config, struct error *err);
void acpi_image_finish(struct acpi_image *image);

/* Makes the image final for parts at these addresses. */
void acpi_image_relocate(struct acpi_image *image, const u64 address[ACPI_PARTS]);

/* Names of the parts in fw_cfg, and the script that places them. */
extern const char *const acpi_part_names[ACPI_PARTS];
void acpi_image_script(const struct acpi_image *image, struct aml *script);

/* Builds the tables and writes them to guest memory: RSDP in the F segment, FACS and the rest at the top of
 * low RAM.
 * `*rsdp` is the root pointer's address. */
int acpi_tables_write(struct mem_space *mem, const struct firmware_config *config, u64 *rsdp,
                      struct error *err);

/* Appends the definition block of the DSDT (without the table header). */
void dsdt_encode(struct aml *aml, const struct firmware_config *config);

#endif
