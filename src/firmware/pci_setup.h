/* What a BIOS does to PCI functions: BARs get addresses and interrupt lines their numbers. */
#ifndef RING3_FIRMWARE_PCI_SETUP_H
#define RING3_FIRMWARE_PCI_SETUP_H

#include "mem/mem.h"

/* [lock] Sizes and places all BARs on bus 0, in order of slot and BAR, and turns their decoding and bus
 * mastering on. A BAR for which there is no room stays at 0 with its function's decoding off. Expansion ROMs
 * are left alone. */
void pci_setup(struct mem_space *mem);

#endif
