/*
 * A serial ATA host bus adapter: AHCI 1.3 as the ICH9 has it (8086:2922), with six ports. Saved state:
 * requests are to be drained first (board_drain).
 *
 * Everything here: [lock].
 */
#ifndef RING3_DEVICES_AHCI_H
#define RING3_DEVICES_AHCI_H

#include "devices/ata/ata.h"

#define AHCI_PORTS 6

struct ahci_place {
    struct drive *drive; /* NULL: nothing there */
    bool cdrom;
    unsigned index; /* ata_config's */
};

struct ahci_config {
    struct pci_bus *bus;
    unsigned slot, function;
    struct ahci_place place[AHCI_PORTS];
};

struct ahci;

int ahci_create(struct ahci **out, const struct device_env *env, const struct ahci_config *config,
                struct error *err);
/* Nothing is under way. NULL is accepted. */
void ahci_destroy(struct ahci *hba);
/* Nothing is under way. */
void ahci_reset(struct ahci *hba);

#endif
