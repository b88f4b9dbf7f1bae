/*
 * The IDE function of a PIIX3 (82371SB data sheet, section 2.3): two channels at their legacy ports,
 * each with a bus master.
 *
 * Everything here: [lock].
 */
#ifndef RING3_DEVICES_PIIX_IDE_H
#define RING3_DEVICES_PIIX_IDE_H

#include "devices/ata/ata.h"

#define IDE_CHANNELS 2
#define IDE_DEVICES  2

struct ide_place {
    struct drive *drive; /* NULL: nothing there */
    bool cdrom;
    unsigned index; /* ata_config's */
};

struct piix_ide_config {
    struct pci_bus *bus;
    unsigned slot, function;
    struct ide_place place[IDE_CHANNELS][IDE_DEVICES];
    struct irq_line irq[IDE_CHANNELS];
};

struct piix_ide;

int piix_ide_create(struct piix_ide **out, const struct device_env *env, const struct piix_ide_config *config,
                    struct error *err);
/* Nothing is under way. NULL is accepted. */
void piix_ide_destroy(struct piix_ide *ide);
/* Nothing is under way. */
void piix_ide_reset(struct piix_ide *ide);

#endif
