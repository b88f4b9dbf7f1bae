/* A PCI bus, guest memory and raw images in memory: what a disk controller needs to be tested alone. */
#ifndef RING3_TESTS_ATA_RIG_H
#define RING3_TESTS_ATA_RIG_H

#include <unistd.h>

#include "base/bytes.h"
#include "block/drive.h"
#include "device_fixture.h"
#include "devices/pci/pci.h"

#define RIG_RAM MIB(4)

struct rig_image {
    char path[64];
    struct drive *drive;
};

struct rig {
    struct fixture f;
    struct pci_bus *bus;
    struct ram_block *block;
    struct mem_region ram;
    struct probe irq[2], links[PCI_PINS];
};

static inline void rig_init(struct rig *r)
{
    memset(r, 0, sizeof *r);
    fixture_init(&r->f);
    struct pci_bus_config config = {0};
    for (unsigned i = 0; i < PCI_PINS; i++)
        config.links[i] = probe_line(&r->links[i]);
    CHECK(pci_bus_create(&r->bus, &r->f.env, &config, NULL) == 0);
    CHECK(ram_block_create(&r->block, "ram", RIG_RAM, NULL) == 0);
    r->ram = (struct mem_region){.name = "ram", .size = RIG_RAM, .kind = MEM_RAM, .block = r->block};
    mem_map(r->f.mem, &r->ram);
}

static inline void rig_finish(struct rig *r)
{
    pci_bus_destroy(r->bus);
    fixture_finish(&r->f);
    ram_block_destroy(r->block);
}

/* Every sector says its number. */
static inline void rig_image_open(struct rig *r, struct rig_image *image, u32 sectors, bool readonly)
{
    u8 sector[SECTOR_SIZE] = {0};
    strcpy(image->path, "/tmp/ring3-ata-XXXXXX");
    int fd = mkstemp(image->path);
    CHECK(fd >= 0);
    for (u32 i = 0; i < sectors; i++) {
        store_le32(sector, i);
        store_le32(sector + 508, ~i);
        CHECK(write(fd, sector, sizeof sector) == sizeof sector);
    }
    close(fd);
    struct drive_config config = {
        .file = image->path, .format = "raw", .readonly = readonly, .serial = "SERIAL42"};
    CHECK(drive_open(&image->drive, &config, loop_mutex(r->f.loop), NULL) == 0);
}

static inline void rig_image_close(struct rig_image *image)
{
    drive_close(image->drive, NULL);
    unlink(image->path);
}

/* What is under way ends. */
static inline void rig_drain(struct rig_image *image)
{
    block_queue_drain(image->drive->queue);
}

static inline u32 image_sector_number(const struct rig_image *image, u32 sector)
{
    u8 buf[SECTOR_SIZE];
    CHECK(block_read(image->drive->block, (u64)sector * SECTOR_SIZE, buf, sizeof buf, NULL) == 0);
    return load_le32(buf);
}

static inline u8 *ram_at(struct rig *r, u64 gpa)
{
    return r->block->hva + gpa;
}

#endif
