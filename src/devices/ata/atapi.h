/* Between the files of the packet device. Only for src/devices/ata/atapi*.c. */
#ifndef RING3_DEVICES_ATAPI_H
#define RING3_DEVICES_ATAPI_H

#include "devices/ata/ata_impl.h"

enum sense_key {
    SENSE_NONE = 0,
    SENSE_NOT_READY = 2,
    SENSE_MEDIUM_ERROR = 3,
    SENSE_ILLEGAL_REQUEST = 5,
    SENSE_UNIT_ATTENTION = 6,
};

enum sense_code {
    ASC_UNRECOVERED_READ = 0x11,
    ASC_PARAMETER_LIST_LENGTH = 0x1a,
    ASC_INVALID_OPCODE = 0x20,
    ASC_LBA_OUT_OF_RANGE = 0x21,
    ASC_INVALID_FIELD = 0x24,
    ASC_INVALID_PARAMETER = 0x26,
    ASC_MEDIUM_CHANGED = 0x28,
    ASC_POWER_ON = 0x29,
    ASC_SAVING_NOT_SUPPORTED = 0x39,
    ASC_NO_MEDIUM = 0x3a,
    ASC_REMOVAL_PREVENTED = 0x53,
    ASC_ILLEGAL_MODE = 0x64,
};

/* media_event: GET EVENT STATUS NOTIFICATION's codes (MMC-6 6.7.2.4). */
enum media_event { MEDIA_NO_EVENT, MEDIA_EJECT_REQUEST, MEDIA_NEW, MEDIA_REMOVAL };

static inline u16 load_be16(const u8 *p)
{
    return (u16)(p[0] << 8 | p[1]);
}

static inline u32 load_be32(const u8 *p)
{
    return (u32)load_be16(p) << 16 | load_be16(p + 2);
}

static inline void store_be16(u8 *p, u32 v)
{
    p[0] = (u8)(v >> 8);
    p[1] = (u8)v;
}

static inline void store_be32(u8 *p, u32 v)
{
    store_be16(p, v >> 16);
    store_be16(p + 2, v);
}

/* Minutes, seconds, frames; the program area starts at 00:02:00. */
static inline void store_msf(u8 *p, u32 lba)
{
    u32 frame = lba + 150;
    p[0] = (u8)(frame / (75 * 60));
    p[1] = (u8)(frame / 75 % 60);
    p[2] = (u8)(frame % 75);
}

static inline u32 cd_sectors(const struct ata_device *dev)
{
    return (u32)MIN(drive_sectors(dev->drive) / (CD_SECTOR / SECTOR_SIZE), 0xfffffffeu);
}

/* More than any CD holds: the medium is a DVD for whoever asks. */
static inline bool medium_is_dvd(const struct ata_device *dev)
{
    return cd_sectors(dev) > 80u * 60 * 75;
}

/* Ends the command. */
void atapi_ok(struct ata_device *dev);
void atapi_fail(struct ata_device *dev, enum sense_key key, enum sense_code asc, u8 ascq);
/* False: data cannot be moved, the command has failed. */
bool atapi_can_move(struct ata_device *dev);
void atapi_bad_field(struct ata_device *dev);
/* The buffer has `len` bytes, of which the host asked for `allocated` at most. */
void atapi_reply(struct ata_device *dev, u32 len, u32 allocated);
/* The host sends `len` bytes of parameters; atapi_parameters_arrived follows. */
void atapi_take(struct ata_device *dev, u32 len);

/* The commands: the CDB is in dev->packet. */
void atapi_inquiry(struct ata_device *dev);
void atapi_request_sense(struct ata_device *dev);
void atapi_mode_sense(struct ata_device *dev);
void atapi_mode_select(struct ata_device *dev);
void atapi_mode_selected(struct ata_device *dev);
void atapi_get_configuration(struct ata_device *dev);
void atapi_event_status(struct ata_device *dev);
void atapi_mechanism_status(struct ata_device *dev);
void atapi_start_stop(struct ata_device *dev);
void atapi_prevent_allow(struct ata_device *dev);
void atapi_capacity(struct ata_device *dev);
void atapi_format_capacities(struct ata_device *dev);
void atapi_toc(struct ata_device *dev);
void atapi_disc_information(struct ata_device *dev);
void atapi_track_information(struct ata_device *dev);
void atapi_dvd_structure(struct ata_device *dev);
void atapi_subchannel(struct ata_device *dev);
void atapi_seek(struct ata_device *dev);
void atapi_set_speed(struct ata_device *dev);
void atapi_read(struct ata_device *dev);
void atapi_read_cd(struct ata_device *dev);
void atapi_read_cd_msf(struct ata_device *dev);
void atapi_verify(struct ata_device *dev);

#endif
