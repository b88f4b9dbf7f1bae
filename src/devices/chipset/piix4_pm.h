/*
 * The power management function (3) of the 82371AB (PIIX4): the configuration registers that place the ACPI
 * registers (acpi_pm) and the SMBus controller in the port space, and switch them on.
 */
#ifndef RING3_DEVICES_CHIPSET_PIIX4_PM_H
#define RING3_DEVICES_CHIPSET_PIIX4_PM_H

#include "devices/pci/pci.h"

#define PIIX4_PMBASE    0x40
#define PIIX4_PMREGMISC 0x80 /* bit 0: the ports at PMBASE are there */
#define PIIX4_SMBBASE   0x90
#define PIIX4_SMBHSTCFG                                                                                      \
    0xd2 /* bit 0: the ports at SMBBASE are there; bits 3:1: their interrupt, 4: IRQ 9                       \
          */
#define PIIX4_SMB_ENABLE 0x01
#define PIIX4_SMB_IRQ9   0x08

struct acpi_pm;
struct piix4_pm;

struct piix4_pm_config {
    unsigned slot;
    struct acpi_pm *acpi;
    struct irq_line smbus_irq; /* IRQ 9, from the SMBus alone */
};

int piix4_pm_create(struct piix4_pm **out, const struct device_env *env, struct pci_bus *bus,
                    const struct piix4_pm_config *config, struct error *err);
void piix4_pm_destroy(struct piix4_pm *pm);
/* After pci_bus_reset. Both port ranges are off. */
void piix4_pm_reset(struct piix4_pm *pm);

/* Where the ACPI registers are; 0: nowhere. */
u16 piix4_pm_base(const struct piix4_pm *pm);

#endif
