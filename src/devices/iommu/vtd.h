/*
 * A DMA and interrupt remapping unit (Intel Virtualization Technology for Directed I/O, architecture
 * specification, revision 2.5; sections as there), with its registers at FED90000h.
 *
 * It has legacy-mode tables with 3- and 4-level second-level paging (4 KiB, 2 MiB and 1 GiB pages),
 * pass-through, queued invalidation, interrupt remapping with 32-bit destinations (EIM), and 8 fault records.
 * It caches nothing: every access walks the tables, so an invalidation is done when it is asked for.
 *
 * PCI functions have their requester ID as source. Chips of the board (I/O APIC, HPET) have none: a source
 * check in their interrupt's entry is skipped. Everything here: [lock].
 */
#ifndef RING3_DEVICES_IOMMU_VTD_H
#define RING3_DEVICES_IOMMU_VTD_H

#include "devices/device.h"
#include "devices/irq/lapic.h"
#include "devices/pci/pci.h"

#define VTD_BASE 0xfed90000ull

/* Guest address width less one, for the DMAR table. */
#define VTD_HOST_ADDRESS_BITS PHYS_BITS

struct vtd;

int vtd_create(struct vtd **out, const struct device_env *env, struct lapic_bus *bus, struct error *err);
void vtd_destroy(struct vtd *vtd);
void vtd_reset(struct vtd *vtd);

/* What stands between functions and memory, and between all message senders and the processors. */
struct pci_iommu vtd_iommu(struct vtd *vtd);
struct msi_sink vtd_msi(struct vtd *vtd);

#endif
