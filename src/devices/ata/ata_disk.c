/* Disk commands: what reads and writes the medium, and where on it. */
#include "devices/ata/ata_impl.h"

#define BUFFER_SECTORS (ATA_BUFFER_SIZE / SECTOR_SIZE)
#define LBA28_SECTORS  0x0fffffffull

enum rw_flag {
    RW_WRITE = BIT(0),
    RW_EXT = BIT(1), /* 48-bit */
    RW_DMA = BIT(2),
    RW_MULTIPLE = BIT(3),
    RW_FUA = BIT(4),
    RW_VERIFY = BIT(5),
};

static const struct {
    u8 command, flags;
} rw_commands[] = {
    {0x20, 0},
    {0x21, 0},
    {0x24, RW_EXT},
    {0x25, RW_EXT | RW_DMA},
    {0x29, RW_EXT | RW_MULTIPLE},
    {0x30, RW_WRITE},
    {0x31, RW_WRITE},
    {0x34, RW_WRITE | RW_EXT},
    {0x35, RW_WRITE | RW_EXT | RW_DMA},
    {0x39, RW_WRITE | RW_EXT | RW_MULTIPLE},
    {0x3c, RW_WRITE | RW_VERIFY}, /* WRITE VERIFY: FUA does more */
    {0x3d, RW_WRITE | RW_EXT | RW_DMA | RW_FUA},
    {0x40, RW_VERIFY},
    {0x41, RW_VERIFY},
    {0x42, RW_EXT | RW_VERIFY},
    {0xc4, RW_MULTIPLE},
    {0xc5, RW_WRITE | RW_MULTIPLE},
    {0xc8, RW_DMA},
    {0xc9, RW_DMA},
    {0xca, RW_WRITE | RW_DMA},
    {0xcb, RW_WRITE | RW_DMA},
    {0xce, RW_WRITE | RW_EXT | RW_MULTIPLE | RW_FUA},
};

/* --- addresses --- */

u64 disk_sectors(const struct ata_device *dev)
{
    return dev->max_sectors;
}

void disk_reset_geometry(struct ata_device *dev)
{
    dev->heads = 16;
    dev->sectors_per_track = 63;
}

static u64 taskfile_lba(const struct ata_device *dev, bool extended)
{
    const struct ata_taskfile *tf = &dev->tf;
    u64 lba =
        tf->reg[ATA_REG_LBA0][0] | (u64)tf->reg[ATA_REG_LBA1][0] << 8 | (u64)tf->reg[ATA_REG_LBA2][0] << 16;
    if (extended)
        return lba | (u64)tf->reg[ATA_REG_LBA0][1] << 24 | (u64)tf->reg[ATA_REG_LBA1][1] << 32 |
               (u64)tf->reg[ATA_REG_LBA2][1] << 40;
    return lba | (u64)(tf->device & 0xf) << 24;
}

/* False: there is no such place. */
static bool taskfile_sector(const struct ata_device *dev, bool extended, u64 *sector)
{
    const struct ata_taskfile *tf = &dev->tf;
    if (tf->device & ATA_LBA) {
        *sector = taskfile_lba(dev, extended);
        return true;
    }
    unsigned cylinder = tf->reg[ATA_REG_LBA1][0] | tf->reg[ATA_REG_LBA2][0] << 8;
    unsigned head = tf->device & 0xf, number = tf->reg[ATA_REG_LBA0][0];
    if (extended || !number || number > dev->sectors_per_track || head >= dev->heads)
        return false;
    *sector = ((u64)cylinder * dev->heads + head) * dev->sectors_per_track + number - 1;
    return true;
}

static void taskfile_set_sector(struct ata_device *dev, u64 sector)
{
    struct ata_taskfile *tf = &dev->tf;
    if (!(tf->device & ATA_LBA)) {
        u64 track = sector / dev->sectors_per_track;
        u64 cylinder = track / dev->heads;
        tf->reg[ATA_REG_LBA0][0] = (u8)(sector % dev->sectors_per_track + 1);
        tf->reg[ATA_REG_LBA1][0] = (u8)cylinder;
        tf->reg[ATA_REG_LBA2][0] = (u8)(cylinder >> 8);
        tf->device = (u8)((tf->device & 0xf0) | track % dev->heads);
        return;
    }
    for (unsigned i = 0; i < 3; i++) {
        tf->reg[ATA_REG_LBA0 + i][0] = (u8)(sector >> 8 * i);
        if (dev->extended)
            tf->reg[ATA_REG_LBA0 + i][1] = (u8)(sector >> (24 + 8 * i));
    }
    if (!dev->extended)
        tf->device = (u8)((tf->device & 0xf0) | (sector >> 24 & 0xf));
}

static u32 taskfile_count(const struct ata_device *dev, bool extended)
{
    u32 count = dev->tf.reg[ATA_REG_COUNT][0];
    if (!extended)
        return count ? count : 256;
    count |= (u32)dev->tf.reg[ATA_REG_COUNT][1] << 8;
    return count ? count : 65536;
}

static bool range_exists(const struct ata_device *dev, u64 sector, u64 count)
{
    u64 end = disk_sectors(dev);
    return sector <= end && count <= end - sector;
}

/* --- ends --- */

/* At `sector`. */
static void medium_failed(struct ata_device *dev, bool write, int result)
{
    taskfile_set_sector(dev, dev->sector);
    if (!write)
        ata_end_error(dev, ATA_UNC);
    else if (result == -EROFS || dev->drive->readonly)
        ata_end_error(dev, ATA_ABRT);
    else
        ata_end(dev, ATA_DRDY | ATA_DSC | ATA_DF | ATA_ERR, ATA_ABRT, true);
}

static void flushed(struct ata_device *dev, int result)
{
    if (result < 0)
        medium_failed(dev, true, result);
    else
        ata_end_ok(dev);
}

static void done_count(struct ata_device *dev)
{
    if (!dev->sector) /* nothing was done */
        return;
    dev->tf.reg[ATA_REG_COUNT][0] = 0;
    if (dev->extended)
        dev->tf.reg[ATA_REG_COUNT][1] = 0;
    taskfile_set_sector(dev, dev->sector - 1);
}

static void write_finish(struct ata_device *dev)
{
    done_count(dev);
    if (dev->fua || !dev->write_cache)
        ata_submit(dev, BLOCK_FLUSH, 0, 0, NULL, flushed);
    else
        ata_end_ok(dev);
}

/* --- PIO and verification --- */

static u32 pio_block(const struct ata_device *dev)
{
    bool multiple = dev->command == 0xc4 || dev->command == 0xc5 || dev->command == 0x29 ||
                    dev->command == 0x39 || dev->command == 0xce;
    return multiple && dev->multiple ? dev->multiple * SECTOR_SIZE : SECTOR_SIZE;
}

/* How much fits into the buffer: whole blocks. */
static u32 buffer_fill(const struct ata_device *dev)
{
    u64 most = ATA_BUFFER_SIZE / pio_block(dev) * pio_block(dev);
    return (u32)MIN((u64)dev->left * SECTOR_SIZE, most);
}

/* `len` bytes of the medium into the buffer; a transfer before may have left its place in it. */
static void fill_buffer(struct ata_device *dev, u32 len, void (*arrived)(struct ata_device *dev, int result))
{
    dev->fill = len;
    dev->pos = 0;
    ata_submit(dev, BLOCK_READ, dev->sector, len / SECTOR_SIZE, dev->buffer, arrived);
}

static void read_arrived(struct ata_device *dev, int result)
{
    u32 count = dev->fill / SECTOR_SIZE;
    if (result < 0 && count > 1) { /* which one is it? */
        fill_buffer(dev, SECTOR_SIZE, read_arrived);
    } else if (result < 0) {
        medium_failed(dev, false, result);
    } else {
        ata_data_in(dev, JOB_READ, dev->fill, pio_block(dev), false);
    }
}

static void read_fill(struct ata_device *dev)
{
    fill_buffer(dev, buffer_fill(dev), read_arrived);
}

void disk_read_more(struct ata_device *dev)
{
    dev->sector += dev->fill / SECTOR_SIZE;
    dev->left -= MIN(dev->left, dev->fill / SECTOR_SIZE);
    if (dev->left) {
        read_fill(dev);
        return;
    }
    done_count(dev);
    ata_end(dev, ATA_DRDY | ATA_DSC, 0, false);
}

static void write_stored(struct ata_device *dev, int result)
{
    if (result < 0) {
        medium_failed(dev, true, result);
        return;
    }
    dev->sector += dev->fill / SECTOR_SIZE;
    dev->left -= MIN(dev->left, dev->fill / SECTOR_SIZE);
    if (dev->left)
        ata_data_out(dev, JOB_WRITE, buffer_fill(dev), pio_block(dev), false, true);
    else
        write_finish(dev);
}

void disk_write_filled(struct ata_device *dev)
{
    ata_submit(dev, BLOCK_WRITE, dev->sector, dev->fill / SECTOR_SIZE, dev->buffer, write_stored);
}

static void verify_arrived(struct ata_device *dev, int result)
{
    u32 count = dev->fill / SECTOR_SIZE;
    if (result < 0 && count == 1) {
        medium_failed(dev, false, result);
        return;
    }
    if (result >= 0) {
        dev->sector += count;
        dev->left -= count;
    }
    if (!dev->left) {
        done_count(dev);
        ata_end_ok(dev);
        return;
    }
    u32 next = result < 0 ? SECTOR_SIZE : MIN(dev->left, BUFFER_SECTORS) * SECTOR_SIZE;
    fill_buffer(dev, next, verify_arrived);
}

static void verify_start(struct ata_device *dev)
{
    fill_buffer(dev, MIN(dev->left, BUFFER_SECTORS) * SECTOR_SIZE, verify_arrived);
}

/* --- DMA --- */

void disk_direct_done(struct ata_device *dev, enum ata_transfer_end end)
{
    bool write = dev->job == JOB_WRITE;
    if (end == ATA_TRANSFER_FAILED) {
        medium_failed(dev, write, dev->transfer.result);
    } else if (write) {
        write_finish(dev);
    } else {
        done_count(dev);
        ata_end_ok(dev);
    }
}

/* --- reading and writing commands --- */

static void rw_start(struct ata_device *dev, unsigned flags)
{
    u64 sector;
    u32 count = taskfile_count(dev, flags & RW_EXT);
    dev->extended = flags & RW_EXT;
    dev->fua = flags & (RW_FUA | RW_VERIFY);
    dev->power = POWER_ACTIVE;
    if ((flags & RW_MULTIPLE) && !dev->multiple) {
        ata_abort(dev);
        return;
    }
    if (!taskfile_sector(dev, flags & RW_EXT, &sector) || !range_exists(dev, sector, count)) {
        ata_end_error(dev, ATA_IDNF);
        return;
    }
    dev->sector = sector;
    dev->left = count;
    if ((flags & RW_WRITE) && dev->drive->readonly)
        medium_failed(dev, true, -EROFS);
    else if (flags & RW_DMA)
        ata_data_direct(dev, flags & RW_WRITE ? JOB_WRITE : JOB_READ, flags & RW_WRITE);
    else if (flags & RW_WRITE)
        ata_data_out(dev, JOB_WRITE, buffer_fill(dev), pio_block(dev), false, false);
    else if (flags & RW_VERIFY)
        verify_start(dev);
    else
        read_fill(dev);
}

bool ata_queued_parse(struct ata_device *dev, u8 command, struct ata_queued *out)
{
    const struct ata_taskfile *tf = &dev->tf;
    out->write = command == 0x61;
    out->fua = tf->device & ATA_DEVICE_FUA;
    out->sector = taskfile_lba(dev, true);
    out->count = tf->reg[ATA_REG_FEATURE][0] | (u32)tf->reg[ATA_REG_FEATURE][1] << 8;
    if (!out->count)
        out->count = 65536;
    dev->command = command;
    dev->error = 0;
    if (dev->config.cdrom || (command != 0x60 && command != 0x61) || (out->write && dev->drive->readonly))
        dev->error = ATA_ABRT;
    else if (!(tf->device & ATA_LBA) || !range_exists(dev, out->sector, out->count))
        dev->error = ATA_IDNF;
    if (dev->error)
        dev->status = ATA_DRDY | ATA_DSC | ATA_ERR;
    return !dev->error;
}

void ata_queued_fail(struct ata_device *dev, unsigned tag, const struct ata_queued *q)
{
    if (!dev->error)
        dev->error = q->write ? ATA_ABRT : ATA_UNC;
    dev->status = ATA_DRDY | ATA_DSC | ATA_ERR;
    dev->error_tag = (u8)tag;
    dev->error_sector = q->sector;
}

/* --- DATA SET MANAGEMENT (7.9): TRIM --- */

/* Entries in the buffer: 48 bits of LBA, 16 of length. */
static u64 trim_entry(const struct ata_device *dev, u32 pos, u32 *count)
{
    u64 v = load_le64(dev->buffer + pos);
    *count = (u32)(v >> 48);
    return v & MASK(48);
}

static void trim_next(struct ata_device *dev, int result)
{
    u32 count;
    if (result < 0) {
        ata_abort(dev);
        return;
    }
    for (; dev->pos + 8 <= dev->fill; dev->pos += 8) {
        u64 sector = trim_entry(dev, dev->pos, &count);
        if (count && range_exists(dev, sector, count)) {
            dev->pos += 8;
            ata_submit(dev, BLOCK_DISCARD, sector, count, NULL, trim_next);
            return;
        }
    }
    ata_end_ok(dev);
}

void disk_trim_filled(struct ata_device *dev)
{
    u32 count;
    for (u32 pos = 0; pos + 8 <= dev->fill; pos += 8) {
        u64 sector = trim_entry(dev, pos, &count);
        if (count && !range_exists(dev, sector, count)) {
            ata_end_error(dev, ATA_IDNF | ATA_ABRT);
            return;
        }
    }
    dev->pos = 0;
    trim_next(dev, 0);
}

static void trim_start(struct ata_device *dev)
{
    u32 count = dev->tf.reg[ATA_REG_COUNT][0] | (u32)dev->tf.reg[ATA_REG_COUNT][1] << 8;
    if (!(dev->tf.reg[ATA_REG_FEATURE][0] & 1) || !count || count > ATA_DSM_BLOCKS || dev->drive->readonly)
        ata_abort(dev);
    else
        ata_data_out(dev, JOB_TRIM, count * SECTOR_SIZE, SECTOR_SIZE, true, false);
}

/* --- the rest --- */

static void native_max(struct ata_device *dev, bool extended)
{
    u64 last = drive_sectors(dev->drive) - 1;
    dev->extended = extended;
    if (!(dev->tf.device & ATA_LBA)) {
        ata_abort(dev);
        return;
    }
    taskfile_set_sector(dev, extended ? last : MIN(last, LBA28_SECTORS - 1));
    ata_end_ok(dev);
}

/* SET MAX ADDRESS: what the guest sets stays until the machine is switched off, whether it asked for more
 * (the volatility bit) or not; once if it did. Its security extensions do not exist. */
static void set_max(struct ata_device *dev, bool extended)
{
    u64 last;
    bool keep = dev->tf.reg[ATA_REG_COUNT][0] & 1;
    if (!taskfile_sector(dev, extended, &last) || (keep && dev->max_set)) {
        ata_abort(dev);
        return;
    }
    if (last >= drive_sectors(dev->drive)) {
        ata_end_error(dev, ATA_IDNF | ATA_ABRT);
        return;
    }
    dev->max_set |= keep;
    dev->max_sectors = last + 1;
    ata_end_ok(dev);
}

static void init_parameters(struct ata_device *dev)
{
    u8 sectors = dev->tf.reg[ATA_REG_COUNT][0], heads = (u8)((dev->tf.device & 0xf) + 1);
    if (!sectors) {
        ata_abort(dev);
        return;
    }
    dev->heads = heads;
    dev->sectors_per_track = sectors;
    ata_end_ok(dev);
}

static void seek(struct ata_device *dev)
{
    u64 sector;
    if (!taskfile_sector(dev, false, &sector) || !range_exists(dev, sector, 1))
        ata_end_error(dev, ATA_IDNF);
    else
        ata_end_ok(dev);
}

static void set_multiple(struct ata_device *dev)
{
    u8 n = dev->tf.reg[ATA_REG_COUNT][0];
    if (n > ATA_MULTIPLE_MAX || (n & (n - 1))) {
        ata_abort(dev);
        return;
    }
    dev->multiple = n;
    ata_end_ok(dev);
}

bool disk_command(struct ata_device *dev, u8 command)
{
    for (unsigned i = 0; i < ARRAY_LEN(rw_commands); i++)
        if (rw_commands[i].command == command) {
            rw_start(dev, rw_commands[i].flags);
            return true;
        }
    switch (command) {
    case 0x06:
        trim_start(dev);
        return true;
    case 0x10 ... 0x1f: /* RECALIBRATE */
        ata_end_ok(dev);
        return true;
    case 0x70 ... 0x7f:
        seek(dev);
        return true;
    case 0x27:
    case 0xf8:
        native_max(dev, command == 0x27);
        return true;
    case 0x37:
    case 0xf9:
        set_max(dev, command == 0x37);
        return true;
    case 0x91:
        init_parameters(dev);
        return true;
    case 0xc6:
        set_multiple(dev);
        return true;
    case 0xe7: /* FLUSH CACHE, FLUSH CACHE EXT */
    case 0xea:
        dev->sector = 0;
        ata_submit(dev, BLOCK_FLUSH, 0, 0, NULL, flushed);
        return true;
    case 0xe4: /* READ BUFFER, WRITE BUFFER */
        ata_data_in(dev, JOB_BUFFER_IN, SECTOR_SIZE, SECTOR_SIZE, false);
        return true;
    case 0xe8:
        ata_data_out(dev, JOB_WRITE_BUFFER, SECTOR_SIZE, SECTOR_SIZE, false, false);
        return true;
    case 0xec:
        ata_identify(dev);
        ata_data_in(dev, JOB_BUFFER_IN, SECTOR_SIZE, SECTOR_SIZE, false);
        return true;
    default:
        return false;
    }
}
