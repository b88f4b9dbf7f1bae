/*
 * The 82371SB (PIIX3) PCI-to-ISA bridge, function 0 of its slot: the four PCI interrupt links and the ISA
 * interrupts that they are routed to. The chips behind the bridge (8259, 8254, ELCR, the reset control
 * register) are devices of their own.
 */
#ifndef RING3_DEVICES_CHIPSET_PIIX3_H
#define RING3_DEVICES_CHIPSET_PIIX3_H

#include "devices/pci/pci.h"

#define PIIX3_PIRQ     0x60 /* PIRQRC[A..D] */
#define PIIX3_ISA_IRQS 16

struct piix3;

struct piix3_config {
    unsigned slot;
    struct irq_line irq[PIIX3_ISA_IRQS]; /* level, from the links alone: whoever else drives an ISA interrupt
                                            is combined with it behind */
};

int piix3_create(struct piix3 **out, const struct device_env *env, struct pci_bus *bus,
                 const struct piix3_config *config, struct error *err);
void piix3_destroy(struct piix3 *piix);
/* After pci_bus_reset. No link is routed. */
void piix3_reset(struct piix3 *piix);

/* Link PIRQA + n. */
void piix3_set_pirq(struct piix3 *piix, unsigned link, bool level);

#endif
