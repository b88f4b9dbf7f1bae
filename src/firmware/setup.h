/* What a BIOS leaves behind for a kernel that is started without one. */
#ifndef RING3_FIRMWARE_SETUP_H
#define RING3_FIRMWARE_SETUP_H

#include "firmware/acpi_tables.h"
#include "firmware/smbios.h"

/* Places PCI functions, programs the chip set as the tables say, and writes BIOS data area, ACPI and SMBIOS
 * tables.
 * `*rsdp` is the address of the ACPI root pointer. config->pm_base is not looked at: it becomes PC_PM_BASE.
 */
int firmware_setup(struct mem_space *mem, const struct firmware_config *config, u64 *rsdp, struct error *err);

#endif
