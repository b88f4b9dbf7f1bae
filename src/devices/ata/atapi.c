/* The packet protocol (ATA8-ACS 7.25), sense data, and the table of commands (MMC-6, SPC-3). */
#include "devices/ata/atapi.h"

enum reason { REASON_CD = BIT(0), REASON_IO = BIT(1) };
enum packet_feature { FEATURE_DMA = BIT(0), FEATURE_OVERLAPPED = BIT(1) };

/* --- ends --- */

void atapi_set_reason(struct ata_device *dev, u8 reason)
{
    u32 len = MIN(dev->block, dev->fill - dev->pos);
    dev->tf.reg[ATA_REG_COUNT][0] = reason;
    if (reason & REASON_CD)
        return;
    dev->tf.reg[ATA_REG_LBA1][0] = (u8)len;
    dev->tf.reg[ATA_REG_LBA2][0] = (u8)(len >> 8);
}

void atapi_ok(struct ata_device *dev)
{
    if (dev->packet[0] != 0x03)
        dev->sense_key = dev->sense_asc = dev->sense_ascq = 0;
    dev->tf.reg[ATA_REG_COUNT][0] = REASON_IO | REASON_CD;
    ata_end_ok(dev);
}

void atapi_fail(struct ata_device *dev, enum sense_key key, enum sense_code asc, u8 ascq)
{
    dev->sense_key = (u8)key;
    dev->sense_asc = (u8)asc;
    dev->sense_ascq = ascq;
    dev->tf.reg[ATA_REG_COUNT][0] = REASON_IO | REASON_CD;
    ata_end(dev, ATA_DRDY | ATA_DSC | ATA_ERR, (u8)(key << 4 | ATA_ABRT), true);
}

void atapi_bad_field(struct ata_device *dev)
{
    atapi_fail(dev, SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD, 0);
}

/* --- data --- */

bool atapi_can_move(struct ata_device *dev)
{
    if (dev->packet_dma || dev->byte_limit)
        return true;
    atapi_fail(dev, SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD, 0);
    return false;
}

void atapi_reply(struct ata_device *dev, u32 len, u32 allocated)
{
    len = MIN(len, allocated);
    dev->left = 0;
    if (!len)
        atapi_ok(dev);
    else if (atapi_can_move(dev))
        ata_data_in(dev, JOB_PACKET_IN, len, dev->packet_dma ? len : dev->byte_limit, dev->packet_dma);
}

void atapi_data_moved(struct ata_device *dev)
{
    atapi_ok(dev);
}

void atapi_take(struct ata_device *dev, u32 len)
{
    if (len > ATA_BUFFER_SIZE)
        atapi_fail(dev, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH, 0);
    else if (!len)
        atapi_ok(dev);
    else if (atapi_can_move(dev))
        ata_data_out(dev, JOB_PACKET_OUT, len, dev->packet_dma ? len : dev->byte_limit, dev->packet_dma,
                     true);
}

void atapi_parameters_arrived(struct ata_device *dev)
{
    if (dev->packet[0] == 0x55 || dev->packet[0] == 0x15)
        atapi_mode_selected(dev);
    else
        atapi_ok(dev);
}

/* --- the medium --- */

bool atapi_has_medium(const struct ata_device *dev)
{
    return drive_has_medium(dev->drive) && !dev->tray_open && cd_sectors(dev);
}

void ata_medium_changed(struct ata_device *dev)
{
    dev->tray_open = false;
    if (drive_has_medium(dev->drive)) {
        dev->attention_asc = ASC_MEDIUM_CHANGED;
        dev->attention_ascq = 0;
        dev->media_event = MEDIA_NEW;
    } else {
        dev->media_event = MEDIA_REMOVAL;
    }
}

void atapi_reset(struct ata_device *dev, bool power_on)
{
    dev->sense_key = dev->sense_asc = dev->sense_ascq = 0;
    dev->attention_asc = ASC_POWER_ON;
    dev->attention_ascq = 0;
    dev->locked = false;
    memset(dev->recorded, 0, sizeof dev->recorded);
    dev->recorded[1] = 1; /* mode page 01h: one retry */
    if (power_on) {
        dev->tray_open = false;
        dev->media_event = drive_has_medium(dev->drive) ? MEDIA_NEW : MEDIA_NO_EVENT;
    }
}

/* --- commands --- */

static void test_unit_ready(struct ata_device *dev)
{
    atapi_ok(dev);
}

static void nothing(struct ata_device *dev)
{
    atapi_ok(dev);
}

enum command_flag {
    WANTS_MEDIUM = BIT(0),
    SKIPS_ATTENTION = BIT(1), /* carried out although something is to be reported (SPC-3 5.9.4, MMC-6) */
};

static const struct {
    u8 code, flags;
    void (*run)(struct ata_device *dev);
} commands[] = {
    {0x00, WANTS_MEDIUM, test_unit_ready},
    {0x03, SKIPS_ATTENTION, atapi_request_sense},
    {0x12, SKIPS_ATTENTION, atapi_inquiry},
    {0x15, 0, atapi_mode_select},
    {0x1a, 0, atapi_mode_sense},
    {0x1b, 0, atapi_start_stop},
    {0x1e, 0, atapi_prevent_allow},
    {0x23, 0, atapi_format_capacities},
    {0x25, WANTS_MEDIUM, atapi_capacity},
    {0x28, WANTS_MEDIUM, atapi_read},
    {0x2b, WANTS_MEDIUM, atapi_seek},
    {0x2f, WANTS_MEDIUM, atapi_verify},
    {0x35, 0, nothing}, /* SYNCHRONIZE CACHE */
    {0x42, WANTS_MEDIUM, atapi_subchannel},
    {0x43, WANTS_MEDIUM, atapi_toc},
    {0x46, SKIPS_ATTENTION, atapi_get_configuration},
    {0x4a, SKIPS_ATTENTION, atapi_event_status},
    {0x4b, WANTS_MEDIUM, nothing}, /* PAUSE/RESUME, STOP PLAY/SCAN: nothing plays */
    {0x4e, WANTS_MEDIUM, nothing},
    {0x51, WANTS_MEDIUM, atapi_disc_information},
    {0x52, WANTS_MEDIUM, atapi_track_information},
    {0x55, 0, atapi_mode_select},
    {0x5a, 0, atapi_mode_sense},
    {0xa8, WANTS_MEDIUM, atapi_read},
    {0xad, WANTS_MEDIUM, atapi_dvd_structure},
    {0xb9, WANTS_MEDIUM, atapi_read_cd_msf},
    {0xbb, 0, atapi_set_speed},
    {0xbd, 0, atapi_mechanism_status},
    {0xbe, WANTS_MEDIUM, atapi_read_cd},
};

void atapi_packet_arrived(struct ata_device *dev)
{
    memset(dev->packet, 0, sizeof dev->packet);
    memcpy(dev->packet, dev->buffer, ATAPI_PACKET);
    const u8 *p = dev->packet;
    log_trace(dev->log, TRACE_DISK, "ata%u: packet %02x %02x %02x%02x%02x%02x %02x%02x%02x%02x %02x %02x",
              dev->config.index, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10], p[11]);
    dev->status = ATA_BSY;
    for (unsigned i = 0; i < ARRAY_LEN(commands); i++) {
        if (commands[i].code != p[0])
            continue;
        if (dev->attention_asc && !(commands[i].flags & SKIPS_ATTENTION)) {
            u8 asc = dev->attention_asc, ascq = dev->attention_ascq;
            dev->attention_asc = dev->attention_ascq = 0;
            atapi_fail(dev, SENSE_UNIT_ATTENTION, asc, ascq);
        } else if ((commands[i].flags & WANTS_MEDIUM) && !atapi_has_medium(dev)) {
            atapi_fail(dev, SENSE_NOT_READY, ASC_NO_MEDIUM, dev->tray_open ? 2 : 1);
        } else {
            commands[i].run(dev);
        }
        return;
    }
    atapi_fail(dev, SENSE_ILLEGAL_REQUEST, ASC_INVALID_OPCODE, 0);
}

void atapi_packet(struct ata_device *dev)
{
    u8 feature = dev->tf.reg[ATA_REG_FEATURE][0];
    u32 limit = dev->tf.reg[ATA_REG_LBA1][0] | (u32)dev->tf.reg[ATA_REG_LBA2][0] << 8;
    dev->packet_dma = feature & FEATURE_DMA;
    if (feature & FEATURE_OVERLAPPED) {
        ata_abort(dev);
        return;
    }
    /* An odd limit holds for the last block only; FFFFh is FFFEh. 0 is an error if there are data to be moved
     * by PIO. */
    dev->byte_limit = limit ? MIN(MAX(limit & ~1u, 2), ATA_BUFFER_SIZE) : 0;
    ata_data_out(dev, JOB_PACKET, ATAPI_PACKET, ATAPI_PACKET, false, false);
}
