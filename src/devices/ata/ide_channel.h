/*
 * One parallel ATA channel: the command and control block, up to two drives, INTRQ, and the bus master
 * (Programming Interface for Bus Master IDE Controller 1.0) that moves their data.
 *
 * Everything here: [lock].
 */
#ifndef RING3_DEVICES_IDE_CHANNEL_H
#define RING3_DEVICES_IDE_CHANNEL_H

#include "devices/ata/piix_ide.h"

#define IDE_BM_PORTS 8 /* of a channel's bus master */

/* What is saved: X(type, name, largest value). */
/* clang-format off */
#define IDE_CHANNEL_FIELDS(X)                                                                                \
    X(bool, slave, 1) X(u8, control, 0xff) X(u32, data_pos, 0xffff) X(bool, intrq0, 1) X(bool, intrq1, 1)    \
    X(bool, line, 1) X(u8, bm_command, 0x09) X(u8, bm_status, 0x67) X(u32, bm_table, ~0u)                    \
    X(u32, prd_next, ~0u) X(u32, piece_address, ~0u) X(u32, piece_left, 0x10000) X(bool, prd_last, 1)
/* clang-format on */

struct ide_channel;

struct ide_port {
    struct ide_channel *channel;
    struct ata_device *dev; /* NULL: nothing there */
    bool *intrq;
};

struct ide_channel {
    struct device_env env;
    struct pci_function *function;
    struct irq_line irq;
    struct ide_port port[IDE_DEVICES];
    struct port_region command_ports, control_port;
#define X(type, name, max) type name;
    IDE_CHANNEL_FIELDS(X)
#undef X
};

int ide_channel_init(struct ide_channel *ch, const struct device_env *env, struct pci_function *function,
                     const struct piix_ide_config *config, unsigned index, struct error *err);
void ide_channel_finish(struct ide_channel *ch);
void ide_channel_reset(struct ide_channel *ch);
/* Do the legacy ports answer? */
void ide_channel_map(struct ide_channel *ch, bool on);

u8 ide_bm_read(struct ide_channel *ch, unsigned offset);
void ide_bm_write(struct ide_channel *ch, unsigned offset, u8 value);

#endif
