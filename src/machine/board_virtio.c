/* Virtio devices: cards in the PCI slots from PC_SLOT_CARDS on, in the order of this file. */
#include <stdlib.h>

#include "devices/virtio/virtio_blk.h"
#include "devices/virtio/virtio_pci.h"
#include "machine/board_rows.h"

#define CARDS_MAX (PCI_SLOTS - PC_SLOT_CARDS)

/* A device and its place on the bus. */
struct virtio_card {
    void *device;
    void (*destroy)(void *device);
    struct virtio_pci *pci;
};

struct board_virtio {
    struct virtio_card card[CARDS_MAX];
    unsigned count;
};

/* PCI class codes of the devices. */
enum virtio_class {
    CLASS_SCSI_STORAGE = 0x010000,
};

/* --- cards ---------------------------------------------------------------------------------------------- */

/* The slot that the next card gets, which is also its number in the saved state. */
static unsigned next_slot(const struct board *b)
{
    return PC_SLOT_CARDS + b->virtio->count;
}

static int slot_check(const struct board *b, struct error *err)
{
    if (b->virtio->count < CARDS_MAX)
        return 0;
    return error_set(err, ENOSPC, "there are only %u PCI slots for virtio devices; use fewer of them",
                     (unsigned)CARDS_MAX);
}

/* Takes over `device`, also when it fails. */
static int card_add(struct board *b, void *device, void (*destroy)(void *device), struct virtio_device *dev,
                    u32 class_code, struct error *err)
{
    struct virtio_pci_config config = {.bus = b->pci_bus, .slot = next_slot(b), .class_code = class_code};
    struct virtio_card *card = &b->virtio->card[b->virtio->count++];
    *card = (struct virtio_card){.device = device, .destroy = destroy};
    return virtio_pci_create(&card->pci, &b->env, dev, &config, err);
}

/* --- disks ---------------------------------------------------------------------------------------------- */

static void disk_destroy(void *device)
{
    virtio_blk_destroy(device);
}

static int disk_add(struct board *b, unsigned index, struct error *err)
{
    const struct machine_disk *disk = &b->machine->config.disks[index];
    struct virtio_blk_config config = {
        .drive = b->drives[index], .queues = b->machine->config.cpus, .instance = next_slot(b)};
    struct virtio_blk *blk;
    if (disk->cdrom || !drive_has_medium(b->drives[index]))
        return error_set(err, EINVAL, "a virtio disk is no CD-ROM drive; choose if=ide, ahci or scsi for it");
    int rc = slot_check(b, err);
    if (!rc)
        rc = virtio_blk_create(&blk, &b->env, &config, err);
    return rc ? rc : card_add(b, blk, disk_destroy, virtio_blk_device(blk), CLASS_SCSI_STORAGE, err);
}

/* --- the row -------------------------------------------------------------------------------------------- */

int virtio_row_create(struct board *b, struct error *err)
{
    const struct machine_config *config = &b->machine->config;
    b->virtio = calloc(1, sizeof *b->virtio);
    if (!b->virtio)
        return error_set(err, ENOMEM, "out of memory for virtio devices");
    int rc = 0;
    for (unsigned i = 0; i < config->disk_count && !rc; i++)
        if (config->disks[i].bus == DISK_VIRTIO)
            rc = disk_add(b, i, err);
    return rc;
}

void virtio_row_destroy(struct board *b)
{
    for (unsigned i = b->virtio ? b->virtio->count : 0; i-- > 0;) {
        struct virtio_card *card = &b->virtio->card[i];
        virtio_pci_destroy(card->pci);
        card->destroy(card->device);
    }
    free(b->virtio);
    b->virtio = NULL;
}

void virtio_row_reset(struct board *b)
{
    for (unsigned i = 0; i < b->virtio->count; i++)
        virtio_pci_reset(b->virtio->card[i].pci);
}
