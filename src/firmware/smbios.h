/* SMBIOS 2.8 tables (DMTF DSP0134): what the machine is, for inventories. */
#ifndef RING3_FIRMWARE_SMBIOS_H
#define RING3_FIRMWARE_SMBIOS_H

#include "firmware/acpi_tables.h"

#define SMBIOS_ANCHOR_SIZE 31

struct smbios {
    u8 anchor[SMBIOS_ANCHOR_SIZE]; /* the entry point; the tables' address and both checksums are still 0 */
    struct aml tables;             /* as a byte buffer */
};

/* `bios`: with the structure that describes the BIOS; firmware has its own. -ENOMEM. */
int smbios_build(struct smbios *smbios, const struct firmware_config *config, bool bios, struct error *err);
void smbios_finish(struct smbios *smbios);

/* Builds them and writes them to the F segment, behind the ACPI root pointer. */
int smbios_write(struct mem_space *mem, const struct firmware_config *config, struct error *err);

#endif
