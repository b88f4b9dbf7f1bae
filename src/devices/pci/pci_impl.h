/* Between bus and function. Only for src/devices/pci. */
#ifndef RING3_DEVICES_PCI_IMPL_H
#define RING3_DEVICES_PCI_IMPL_H

#include "devices/pci/pci.h"

struct mem_space *pci_bus_mem(struct pci_bus *bus);
/* The function's pin has changed to `level`: counts it on the link that it is wired to. */
void pci_bus_drive_link(struct pci_bus *bus, const struct pci_function *f, bool level);

/* Makes BAR mappings and interrupt pin follow the configuration space. */
void pci_function_update(struct pci_function *f);
void pci_function_unmap(struct pci_function *f);
void pci_function_write(struct pci_function *f, unsigned offset, unsigned size, u32 value);

#endif
