/* Virtio devices: cards in the PCI slots from PC_SLOT_CARDS on, in the order of this file. */
#include <stdlib.h>

#include "devices/virtio/virtio_balloon.h"
#include "devices/virtio/virtio_blk.h"
#include "devices/virtio/virtio_console.h"
#include "devices/virtio/virtio_input.h"
#include "devices/virtio/virtio_pci.h"
#include "devices/virtio/virtio_rng.h"
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
    struct virtio_console *console; /* NULL: none */
};

/* PCI class codes of the devices. */
enum virtio_class {
    CLASS_OTHER = 0x00ff00,
    CLASS_SCSI_STORAGE = 0x010000,
    CLASS_COMMUNICATION = 0x078000,
    CLASS_KEYBOARD = 0x090000,
    CLASS_MOUSE = 0x090200,
    CLASS_INPUT = 0x098000,
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

/* --- the others --------------------------------------------------------------------------------------- */

static void rng_destroy(void *device)
{
    virtio_rng_destroy(device);
}

/* Enough for any guest to start with, and too little to drain the host. */
#define RNG_RATE   KIB(256)
#define RNG_PERIOD (NS_PER_SEC / 10)

static int rng_add(struct board *b, struct error *err)
{
    struct virtio_rng_config config = {.instance = next_slot(b), .rate = RNG_RATE, .period_ns = RNG_PERIOD};
    struct virtio_rng *rng;
    int rc = slot_check(b, err);
    if (!rc)
        rc = virtio_rng_create(&rng, &b->env, &config, err);
    return rc ? rc : card_add(b, rng, rng_destroy, virtio_rng_device(rng), CLASS_OTHER, err);
}

static void balloon_destroy(void *device)
{
    virtio_balloon_destroy(device);
}

#define BALLOON_STATS_SECONDS 10

static int balloon_add(struct board *b, struct error *err)
{
    struct virtio_balloon_config config = {.instance = next_slot(b),
                                           .target = b->machine->config.balloon_target,
                                           .stats_seconds = BALLOON_STATS_SECONDS};
    struct virtio_balloon *balloon;
    int rc = slot_check(b, err);
    if (!rc)
        rc = virtio_balloon_create(&balloon, &b->env, &config, err);
    return rc ? rc : card_add(b, balloon, balloon_destroy, virtio_balloon_device(balloon), CLASS_OTHER, err);
}

static void console_destroy(void *device)
{
    virtio_console_destroy(device);
}

static void console_write(void *opaque, const u8 *data, size_t len)
{
    board_console_write(opaque, CONSOLE_VIRTIO, data, len);
}

static void console_input_wanted(void *opaque)
{
    board_console_invite(opaque, CONSOLE_VIRTIO);
}

static int console_add(struct board *b, struct error *err)
{
    struct virtio_console_config config = {.instance = next_slot(b),
                                           .backend = {console_write, console_input_wanted, b}};
    struct virtio_console *console;
    int rc = slot_check(b, err);
    if (!rc)
        rc = virtio_console_create(&console, &b->env, &config, err);
    if (rc)
        return rc;
    b->virtio->console = console;
    return card_add(b, console, console_destroy, virtio_console_device(console), CLASS_COMMUNICATION, err);
}

size_t board_virtio_console_input(struct board *b, const u8 *data, size_t len)
{
    struct virtio_console *console = b->virtio->console;
    if (!console)
        return 0;
    size_t n = MIN(len, virtio_console_can_receive(console));
    return n ? virtio_console_receive(console, data, n) : 0;
}

static void input_destroy_card(void *device)
{
    virtio_input_destroy(device);
}

static int input_add(struct board *b, enum virtio_input_kind kind, u32 class_code, struct error *err)
{
    struct virtio_input_config config = {.instance = next_slot(b), .kind = kind, .input = b->input};
    struct virtio_input *input;
    int rc = slot_check(b, err);
    if (!rc)
        rc = virtio_input_create(&input, &b->env, &config, err);
    return rc ? rc : card_add(b, input, input_destroy_card, virtio_input_device(input), class_code, err);
}

/* --- the row -------------------------------------------------------------------------------------------- */

int virtio_row_create(struct board *b, struct error *err)
{
    const struct machine_config *config = &b->machine->config;
    b->virtio = calloc(1, sizeof *b->virtio);
    if (!b->virtio)
        return error_set(err, ENOMEM, "out of memory for virtio devices");
    int rc = 0;
    for (unsigned i = 0; i < config->disk_count && !rc; i++) {
        if (config->disks[i].bus == DISK_VIRTIO)
            rc = disk_add(b, i, err);
    }
    if (!rc && config->rng)
        rc = rng_add(b, err);
    if (!rc && config->virtio_console)
        rc = console_add(b, err);
    if (!rc && config->balloon)
        rc = balloon_add(b, err);
    if (!rc && config->virtio_keyboard)
        rc = input_add(b, VIRTIO_KEYBOARD, CLASS_KEYBOARD, err);
    if (!rc && config->virtio_mouse)
        rc = input_add(b, VIRTIO_MOUSE, CLASS_MOUSE, err);
    if (!rc && config->virtio_tablet)
        rc = input_add(b, VIRTIO_TABLET, CLASS_INPUT, err);
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
