/*
 * The "educational device" of QEMU (docs/specs/edu.txt): a PCI function that inverts a number, computes
 * factorials, moves memory by DMA and raises interrupts. Courses on drivers and test images use it.
 */
#ifndef RING3_DEVICES_DEBUG_EDU_H
#define RING3_DEVICES_DEBUG_EDU_H

#include "devices/pci/pci.h"

struct edu;

int edu_create(struct edu **out, const struct device_env *env, struct pci_bus *bus, unsigned slot,
               struct error *err);
void edu_destroy(struct edu *edu);
void edu_reset(struct edu *edu);

#endif
