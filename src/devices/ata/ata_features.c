/* Commands that do not reach the medium: features, power, SMART, logs. */
#include "devices/ata/ata_impl.h"

/* --- SET FEATURES (7.45) --- */

/* Subcommand 03h: what count asks for, kept as "kind << 3 | mode". */
static bool set_transfer_mode(struct ata_device *dev, u8 v)
{
    static const struct {
        u8 kind, modes;
    } kinds[] = {{0, 2}, {1, 5}, {4, 3}, {8, 6}}; /* default PIO, PIO 0-4, multiword DMA 0-2, Ultra DMA 0-5 */
    for (unsigned i = 0; i < ARRAY_LEN(kinds); i++)
        if (v >> 3 == kinds[i].kind && (v & 7) < kinds[i].modes) {
            /* PIO and DMA modes are apart from each other: a PIO mode changes nothing about DMA. */
            if (kinds[i].kind >= 4)
                dev->transfer_mode = v;
            return true;
        }
    return false;
}

static bool set_feature(struct ata_device *dev, u8 feature)
{
    bool disk = !dev->config.cdrom;
    switch (feature) {
    case 0x02:
    case 0x82:
        dev->write_cache = feature == 0x02;
        return disk;
    case 0x03:
        return set_transfer_mode(dev, dev->tf.reg[ATA_REG_COUNT][0]);
    case 0x55:
    case 0xaa:
        dev->look_ahead = feature == 0xaa;
        return disk;
    case 0x66: /* what was set stays, or not, over a soft reset */
    case 0xcc:
        dev->revert_off = feature == 0x66;
        return true;
    default:
        return false;
    }
}

static void cache_flushed(struct ata_device *dev, int result)
{
    if (result < 0)
        ata_abort(dev);
    else
        ata_end_ok(dev);
}

static void set_features(struct ata_device *dev)
{
    u8 feature = dev->tf.reg[ATA_REG_FEATURE][0];
    if (!set_feature(dev, feature))
        ata_abort(dev);
    else if (feature == 0x82) /* what is in the cache is to be written */
        ata_submit(dev, BLOCK_FLUSH, 0, 0, NULL, cache_flushed);
    else
        ata_end_ok(dev);
}

/* --- power --- */

static void set_power(struct ata_device *dev, enum ata_power power, bool timer)
{
    dev->power = (u8)power;
    if (timer)
        dev->standby_timer = dev->tf.reg[ATA_REG_COUNT][0];
    ata_end_ok(dev);
}

static bool power_command(struct ata_device *dev, u8 command)
{
    switch (command) {
    case 0x94:
    case 0xe0:
        set_power(dev, POWER_STANDBY, false);
        return true;
    case 0x95:
    case 0xe1:
        set_power(dev, POWER_IDLE, false);
        return true;
    case 0x96:
    case 0xe2:
        set_power(dev, POWER_STANDBY, true);
        return true;
    case 0x97:
    case 0xe3:
        set_power(dev, POWER_IDLE, true);
        return true;
    case 0x98:
    case 0xe5:
        dev->tf.reg[ATA_REG_COUNT][0] = dev->power == POWER_STANDBY ? 0 : 0xff;
        ata_end_ok(dev);
        return true;
    case 0x99:
    case 0xe6:
        set_power(dev, POWER_SLEEP, false);
        return true;
    default:
        return false;
    }
}

/* --- SMART (7.53) --- */

#define SMART_KEY_MID  0x4f
#define SMART_KEY_HIGH 0xc2

static void set_checksum(struct ata_device *dev)
{
    u8 sum = 0;
    for (unsigned i = 0; i < SECTOR_SIZE - 1; i++)
        sum += dev->buffer[i];
    dev->buffer[SECTOR_SIZE - 1] = (u8)-sum;
}

static const struct {
    u8 id, flags, threshold;
} smart_attributes[] = {{0x01, 0x03, 0x06}, {0x05, 0x03, 0x24}, {0x09, 0x03, 0x00}, {0x0c, 0x03, 0x00}};

static void smart_data(struct ata_device *dev, bool thresholds)
{
    memset(dev->buffer, 0, SECTOR_SIZE);
    store_le16(dev->buffer, 0x0010);
    for (unsigned i = 0; i < ARRAY_LEN(smart_attributes); i++) {
        u8 *at = dev->buffer + 2 + (size_t)12 * i;
        at[0] = smart_attributes[i].id;
        if (thresholds) {
            at[1] = smart_attributes[i].threshold;
            continue;
        }
        at[1] = smart_attributes[i].flags;
        at[3] = at[4] = 100;   /* value, worst */
        at[5] = at[0] == 0x0c; /* switched on once; hours are not counted */
    }
    if (!thresholds) {
        dev->buffer[362] = 0x82; /* off-line collection has run */
        dev->buffer[367] = 0x19; /* off-line immediate, abort, self-test */
        store_le16(dev->buffer + 368, 3);
        dev->buffer[370] = 1;                    /* errors are logged */
        dev->buffer[372] = dev->buffer[373] = 1; /* minutes of the self-tests */
    }
    set_checksum(dev);
    ata_data_in(dev, JOB_BUFFER_IN, SECTOR_SIZE, SECTOR_SIZE, false);
}

/* Directory, summary error log, self-test log: nothing has ever happened. */
static void smart_log(struct ata_device *dev)
{
    u8 page = dev->tf.reg[ATA_REG_LBA0][0];
    if ((page != 0 && page != 1 && page != 6) || dev->tf.reg[ATA_REG_COUNT][0] != 1) {
        ata_abort(dev);
        return;
    }
    memset(dev->buffer, 0, SECTOR_SIZE);
    dev->buffer[0] = 1;
    if (page == 0)
        dev->buffer[2 * 1] = dev->buffer[2 * 6] = 1;
    else
        set_checksum(dev);
    ata_data_in(dev, JOB_BUFFER_IN, SECTOR_SIZE, SECTOR_SIZE, false);
}

void smart_command(struct ata_device *dev)
{
    u8 feature = dev->tf.reg[ATA_REG_FEATURE][0];
    if (dev->config.cdrom || dev->tf.reg[ATA_REG_LBA1][0] != SMART_KEY_MID ||
        dev->tf.reg[ATA_REG_LBA2][0] != SMART_KEY_HIGH || (!dev->smart && feature != 0xd8)) {
        ata_abort(dev);
        return;
    }
    switch (feature) {
    case 0xd0:
    case 0xd1:
        smart_data(dev, feature == 0xd1);
        return;
    case 0xd5:
        smart_log(dev);
        return;
    case 0xd8:
    case 0xd9:
        dev->smart = feature == 0xd8;
        break;
    case 0xd2: /* autosave, save, self-test, status (healthy: the key as it is) */
    case 0xd3:
    case 0xd4:
    case 0xda:
        break;
    default:
        ata_abort(dev);
        return;
    }
    ata_end_ok(dev);
}

/* --- READ LOG EXT (7.32) --- */

void log_command(struct ata_device *dev, bool dma)
{
    const struct ata_taskfile *tf = &dev->tf;
    u8 page = tf->reg[ATA_REG_LBA0][0];
    u32 count = tf->reg[ATA_REG_COUNT][0] | (u32)tf->reg[ATA_REG_COUNT][1] << 8;
    bool ncq = page == 0x10 && dev->config.serial_ata;
    if (dev->config.cdrom || count != 1 || tf->reg[ATA_REG_LBA1][0] || tf->reg[ATA_REG_LBA1][1] ||
        (page && !ncq)) {
        ata_abort(dev);
        return;
    }
    memset(dev->buffer, 0, SECTOR_SIZE);
    if (!page) {
        dev->buffer[0] = 1;
        dev->buffer[2 * 0x10] = dev->config.serial_ata;
    } else { /* the queued command that failed (SATA 2.6: 13.7.4) */
        dev->buffer[0] = dev->error_tag == 0xff ? 0x80 : dev->error_tag;
        dev->buffer[2] = ATA_DRDY | ATA_DSC | ATA_ERR;
        dev->buffer[3] = ATA_UNC;
        for (unsigned i = 0; i < 3; i++) {
            dev->buffer[4 + i] = (u8)(dev->error_sector >> 8 * i);
            dev->buffer[8 + i] = (u8)(dev->error_sector >> (24 + 8 * i));
        }
        dev->buffer[7] = ATA_LBA;
        set_checksum(dev);
        dev->error_tag = 0xff;
    }
    ata_data_in(dev, JOB_BUFFER_IN, SECTOR_SIZE, SECTOR_SIZE, dma);
}

bool ata_feature_command(struct ata_device *dev, u8 command)
{
    switch (command) {
    case 0x00: /* NOP: is aborted, which is what it is for */
        return false;
    case 0x2f:
    case 0x47:
        log_command(dev, command == 0x47);
        return true;
    case 0xb0:
        smart_command(dev);
        return true;
    case 0xef:
        set_features(dev);
        return true;
    default:
        return power_command(dev, command);
    }
}
