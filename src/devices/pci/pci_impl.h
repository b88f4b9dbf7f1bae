/* Between bus and function. Only for src/devices/pci. */
#ifndef RING3_DEVICES_PCI_IMPL_H
#define RING3_DEVICES_PCI_IMPL_H

#include "devices/pci/pci.h"

struct mem_space *pci_bus_mem(struct pci_bus *bus);
const struct msi_sink *pci_bus_msi(const struct pci_bus *bus);
const struct pci_iommu *pci_bus_iommu(const struct pci_bus *bus);
/* The function's pin has changed to `level`: counts it on the link that it is wired to. */
void pci_bus_drive_link(struct pci_bus *bus, const struct pci_function *f, bool level);

/* Makes BAR mappings and interrupt pin follow the configuration space. */
void pci_function_update(struct pci_function *f);
void pci_function_unmap(struct pci_function *f);
void pci_function_write(struct pci_function *f, unsigned offset, unsigned size, u32 value);

/* MSI and MSI-X: the configuration space was written; power-on values; the table's saved state. */
void pci_msi_written(struct pci_function *f);
void pci_msi_reset(struct pci_function *f);
/* Refuses a configuration space that the capabilities cannot have. */
int pci_msi_check(const struct pci_function *f, const u8 *config, struct error *err);
int pci_msi_register(struct pci_function *f, struct state_set *state, u32 instance);

#endif
