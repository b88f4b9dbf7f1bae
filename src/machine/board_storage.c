/* Disks: the images, and the controllers in front of them. */
#include "block/drive.h"
#include "devices/ata/ahci.h"
#include "devices/ata/piix_ide.h"
#include "machine/board_rows.h"

/* --- images --- */

int board_open_drives(struct board *b, struct machine *m, struct error *err)
{
    b->machine = m;
    for (unsigned i = 0; i < m->config.disk_count; i++) {
        const struct machine_disk *disk = &m->config.disks[i];
        struct drive_config config = {
            .file = disk->file,
            .format = disk->format,
            .serial = disk->serial,
            .readonly = disk->readonly,
            .snapshot = disk->snapshot,
        };
        int rc = drive_open(&b->drives[i], &config, loop_mutex(m->loop), err);
        if (rc)
            return rc;
    }
    for (unsigned i = 0; i < MACHINE_MAX_FLOPPIES; i++) {
        struct drive_config config = {.file = m->config.floppies[i]};
        int rc = config.file ? drive_open(&b->floppy_drives[i], &config, loop_mutex(m->loop), err) : 0;
        if (rc)
            return rc;
    }
    return 0;
}

static void drives_drain(struct drive *const *drives, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (drives[i] && drive_has_medium(drives[i]))
            block_queue_drain(drives[i]->queue);
}

void board_drain(struct board *b)
{
    drives_drain(b->drives, MACHINE_MAX_DISKS);
    drives_drain(b->floppy_drives, MACHINE_MAX_FLOPPIES);
}

static void drives_close(struct board *b, struct drive **drives, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct error err = {0};
        if (drive_close(drives[i], &err) < 0)
            log_write(&b->machine->log, "disk", "%s", err.message);
        drives[i] = NULL;
    }
}

void board_close_drives(struct board *b)
{
    drives_close(b, b->drives, MACHINE_MAX_DISKS);
    drives_close(b, b->floppy_drives, MACHINE_MAX_FLOPPIES);
}

/* --- IDE --- */

CHIP_DESTROY_RESET(, piix_ide)

#define IDE_PLACES (IDE_CHANNELS * IDE_DEVICES)

/* The first free place in the order that this kind of drive takes them; -1: none. */
static int ide_place_find(const struct ide_place *places, bool cdrom)
{
    static const u8 disk_order[IDE_PLACES] = {0, 1, 3, 2}, cdrom_order[IDE_PLACES] = {2, 3, 1, 0};
    for (unsigned i = 0; i < IDE_PLACES; i++) {
        unsigned at = cdrom ? cdrom_order[i] : disk_order[i];
        if (!places[at].drive)
            return (int)at;
    }
    return -1;
}

static int disk_size_check(const struct machine_disk *disk, const struct drive *drive, struct error *err)
{
    if (disk->cdrom || drive->size)
        return 0;
    return error_set(err, EINVAL, "%s is too small for a disk: it has not even one sector of %u bytes",
                     disk->file, SECTOR_SIZE);
}

/* CD-ROM drives first: the secondary master is theirs. */
static int ide_places_take(struct board *b, struct ide_place *places, struct error *err)
{
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < b->machine->config.disk_count; i++) {
            const struct machine_disk *disk = &b->machine->config.disks[i];
            if (disk->bus != DISK_IDE || disk->cdrom != (pass == 0))
                continue;
            int at = ide_place_find(places, disk->cdrom);
            if (at < 0)
                return error_set(err, EINVAL,
                                 "IDE has room for %d disks and CD-ROM drives; put the others elsewhere with "
                                 "if=ahci or if=virtio",
                                 IDE_PLACES);
            int rc = disk_size_check(disk, b->drives[i], err);
            if (rc)
                return rc;
            places[at] = (struct ide_place){b->drives[i], disk->cdrom, i};
        }
    }
    return 0;
}

int piix_ide_row_create(struct board *b, struct error *err)
{
    struct piix_ide_config config = {
        .bus = b->pci_bus,
        .slot = PC_SLOT_PIIX,
        .function = PC_FUNCTION_IDE,
        .irq = {board_isa_irq(b, PC_IRQ_IDE0), board_isa_irq(b, PC_IRQ_IDE0 + 1)},
    };
    int rc = ide_places_take(b, config.place[0], err);
    return rc ? rc : piix_ide_create(&b->piix_ide, &b->env, &config, err);
}

/* --- AHCI --- */

CHIP_DESTROY_RESET(, ahci)

/* Only there if a disk asks for it. */
int ahci_row_create(struct board *b, struct error *err)
{
    struct ahci_config config = {.bus = b->pci_bus, .slot = PC_SLOT_AHCI};
    unsigned count = 0;
    for (unsigned i = 0; i < b->machine->config.disk_count; i++) {
        const struct machine_disk *disk = &b->machine->config.disks[i];
        if (disk->bus != DISK_AHCI)
            continue;
        if (count == AHCI_PORTS)
            return error_set(err, EINVAL, "AHCI has %d ports; put the other disks elsewhere with if=virtio",
                             AHCI_PORTS);
        int rc = disk_size_check(disk, b->drives[i], err);
        if (rc)
            return rc;
        config.place[count++] = (struct ahci_place){b->drives[i], disk->cdrom, i};
    }
    return count ? ahci_create(&b->ahci, &b->env, &config, err) : 0;
}
