/*
 * Message-signalled interrupts of a PCI function: the MSI and the MSI-X capability (PCI Local Bus
 * Specification 3.0 section 6.8). While either is enabled the function's pin is quiet.
 *
 * Messages leave through the bus's msi_sink, and only of a bus master: they are memory writes. Everything
 * here: [lock]. The MSI registers are saved with the configuration space, the MSI-X table in a record of its
 * own.
 */
#ifndef RING3_DEVICES_PCI_MSI_H
#define RING3_DEVICES_PCI_MSI_H

#include "devices/pci/pci.h"

#define PCI_MSI_MAX  32
#define PCI_MSIX_MAX 128

/* An entry of the MSI-X table, as the guest sees it (6.8.2.6 and on): address, upper address, data, vector
 * control. */
#define PCI_MSIX_ENTRY_SIZE 16

/* Lives in the function's owner. */
struct pci_msix {
    struct pci_function *function;
    u8 capability; /* offset in the configuration space */
    unsigned count;
    u8 table[PCI_MSIX_MAX * PCI_MSIX_ENTRY_SIZE];
    u64 pending[PCI_MSIX_MAX / 64];
};

/* Adds an MSI capability with 64-bit address and mask bits for `vectors`, a power of two up to PCI_MSI_MAX.
 * Before pci_add. -ENOSPC: no room for the capability. */
int pci_msi_add(struct pci_function *f, unsigned vectors);
/* Adds an MSI-X capability for 1 .. PCI_MSIX_MAX vectors, whose table and pending bits get the memory BAR
 * `bar` for themselves (32 bits wide, 4 KiB). Before pci_add; `msix` lives as long as `f`. */
int pci_msix_add(struct pci_function *f, struct pci_msix *msix, unsigned vectors, unsigned bar);

/* Has the guest turned them on? What a function then has to say, it says by message only. */
bool pci_msi_is_enabled(const struct pci_function *f);
bool pci_msix_is_enabled(const struct pci_function *f);

/* Sends the message of a vector, or remembers it as pending while masked. Nothing if the capability is
 * absent or off. A vector of MSI beyond those that the guest granted is folded into them (6.8.3.4: the
 * function may share vectors). */
void pci_msi_notify(struct pci_function *f, unsigned vector);
void pci_msix_notify(struct pci_function *f, unsigned vector);

#endif
