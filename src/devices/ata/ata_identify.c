/* IDENTIFY DEVICE (7.18) and IDENTIFY PACKET DEVICE (7.19). */
#include <stdio.h>

#include "devices/ata/ata_impl.h"

/* Two characters a word, the first in the upper byte; padded with spaces. */
static void set_string(struct ata_device *dev, unsigned word, unsigned words, const char *text)
{
    size_t len = strlen(text);
    for (unsigned i = 0; i < 2 * words; i++)
        dev->buffer[2 * word + (i ^ 1)] = (u8)(i < len ? text[i] : ' ');
}

static void set_word(struct ata_device *dev, unsigned word, u16 value)
{
    store_le16(dev->buffer + 2 * word, value);
}

/* The selected mode's bit, if it is of this kind (03h of SET FEATURES: kind in bits 7:3). */
static u16 selected_mode(const struct ata_device *dev, u8 kind)
{
    return dev->transfer_mode >> 3 == kind ? (u16)(BIT(dev->transfer_mode & 7) << 8) : 0;
}

static void set_names(struct ata_device *dev, const char *model)
{
    char serial[DRIVE_SERIAL_MAX + 1];
    snprintf(serial, sizeof serial, "R3%05u", dev->config.index + 1);
    set_string(dev, 10, 10, dev->drive->serial[0] ? dev->drive->serial : serial);
    set_string(dev, 23, 4, RING3_VERSION);
    set_string(dev, 27, 20, model);
}

/* Word 255: signature and a checksum that makes all 512 bytes add up to 0. */
static void set_integrity(struct ata_device *dev)
{
    u8 sum = 0;
    dev->buffer[510] = 0xa5;
    dev->buffer[511] = 0;
    for (unsigned i = 0; i < SECTOR_SIZE; i++)
        sum += dev->buffer[i];
    dev->buffer[511] = (u8)-sum;
}

static void set_transfer_modes(struct ata_device *dev)
{
    set_word(dev, 53, 0x0007);                         /* 54-58, 64-70 and 88 are valid */
    set_word(dev, 63, 0x0007 | selected_mode(dev, 4)); /* multiword DMA 0-2 */
    set_word(dev, 64, 0x0003);                         /* PIO 3, 4 */
    for (unsigned word = 65; word <= 68; word++)
        set_word(dev, word, 120);                      /* ns a cycle */
    set_word(dev, 88, 0x003f | selected_mode(dev, 8)); /* Ultra DMA 0-5 */
    /* Device 0 found its jumper, device 1 asserted PDIAG-; an 80-wire cable. */
    if (!dev->config.serial_ata)
        set_word(dev, 93, dev->config.slave ? 0x6b00 : 0x600b);
}

static void set_serial_words(struct ata_device *dev)
{
    set_word(dev, 76, dev->config.cdrom ? 0x0006 : 0x0106); /* generations 1 and 2; disks: queued commands */
    set_word(dev, 222, 0x1020);                             /* serial transport, SATA 2.5 */
}

static void set_geometry(struct ata_device *dev, u64 sectors)
{
    u64 cylinders = MIN(sectors / (16 * 63), 16383);
    set_word(dev, 1, (u16)cylinders);
    set_word(dev, 3, 16);
    set_word(dev, 6, 63);
    u64 current = MIN(sectors / (dev->heads * dev->sectors_per_track), 65535);
    set_word(dev, 54, (u16)current);
    set_word(dev, 55, dev->heads);
    set_word(dev, 56, dev->sectors_per_track);
    store_le32(dev->buffer + 2 * 57, (u32)(current * dev->heads * dev->sectors_per_track));
    store_le32(dev->buffer + 2 * 60, (u32)MIN(sectors, 0x0fffffff));
    store_le64(dev->buffer + 2 * 100, sectors);
}

void ata_identify(struct ata_device *dev)
{
    memset(dev->buffer, 0, SECTOR_SIZE);
    set_names(dev, "RING3 HARDDISK");
    set_geometry(dev, disk_sectors(dev));
    set_transfer_modes(dev);
    set_word(dev, 0, 0x0040); /* a fixed disk */
    set_word(dev, 47, 0x8000 | ATA_MULTIPLE_MAX);
    set_word(dev, 49, 0x2f00); /* standby timers, IORDY, LBA, DMA */
    set_word(dev, 50, 0x4000);
    set_word(dev, 59, dev->multiple ? 0x0100 | dev->multiple : 0);
    set_word(dev, 69, 0x4020); /* trimmed sectors read the same each time, as zeroes */
    set_word(dev, 75, 31);     /* queue depth 32 */
    set_word(dev, 80, 0x01f0); /* ATA/ATAPI-4 to ATA8-ACS */
    set_word(dev, 82,
             0x7469); /* NOP, READ/WRITE BUFFER, HPA, look-ahead, write cache, power management, SMART */
    set_word(dev, 83, 0x7500); /* FLUSH CACHE (EXT), 48 bits, SET MAX */
    set_word(dev, 84, 0x4062); /* WRITE FUA, general purpose logging, self-test */
    set_word(
        dev, 85,
        (u16)(0x7408 | (dev->smart ? 1 : 0) | (dev->write_cache ? 0x20 : 0) | (dev->look_ahead ? 0x40 : 0)));
    set_word(dev, 86, 0x3500);
    set_word(dev, 87, 0x4062);
    set_word(dev, 105, ATA_DSM_BLOCKS);
    set_word(dev, 106, 0x4000); /* sectors of 512 bytes */
    set_word(dev, 169, 0x0001); /* TRIM */
    set_word(dev, 217, 0x0001); /* nothing turns */
    if (dev->config.serial_ata)
        set_serial_words(dev);
    set_integrity(dev);
}

void atapi_identify(struct ata_device *dev)
{
    memset(dev->buffer, 0, SECTOR_SIZE);
    set_names(dev, "RING3 CD-ROM");
    set_transfer_modes(dev);
    set_word(dev, 0, 0x85c0);  /* ATAPI, CD-ROM, removable, DRQ within 50 us, packets of 12 bytes */
    set_word(dev, 49, 0x0b00); /* IORDY, LBA, DMA */
    set_word(dev, 50, 0x4000);
    set_word(dev, 80, 0x01f0);
    set_word(dev, 82, 0x4210); /* NOP, DEVICE RESET, PACKET */
    set_word(dev, 83, 0x4000);
    set_word(dev, 84, 0x4000);
    set_word(dev, 85, 0x4210);
    set_word(dev, 87, 0x4000);
    if (dev->config.serial_ata)
        set_serial_words(dev);
    set_integrity(dev);
}
