/* Between the files of an ATA drive. Only for src/devices/ata/ata*.c. */
#ifndef RING3_DEVICES_ATA_IMPL_H
#define RING3_DEVICES_ATA_IMPL_H

#include "base/bytes.h"
#include "devices/ata/ata.h"

#define ATA_BUFFER_SIZE  32768u
#define ATA_MULTIPLE_MAX 16u
#define ATA_DSM_BLOCKS   8u
#define ATAPI_PACKET     12u
#define CD_SECTOR        2048u
#define CD_RAW_SECTOR    2352u

/* BUSY: the medium is at work, or about to be. The DMA phases: waiting for the controller. */
enum ata_phase { PHASE_IDLE, PHASE_BUSY, PHASE_PIO_IN, PHASE_PIO_OUT, PHASE_DMA_IN, PHASE_DMA_OUT };

/* What is being done: what comes after the buffer's data have moved. */
enum ata_job {
    JOB_NONE,
    JOB_BUFFER_IN, /* the buffer was all */
    JOB_READ,
    JOB_WRITE,
    JOB_TRIM,
    JOB_WRITE_BUFFER,
    JOB_PACKET, /* the CDB arrives */
    JOB_PACKET_IN,
    JOB_PACKET_OUT, /* parameters for the command in `cdb` */
    JOB_PACKET_READ,
    JOB_COUNT,
};

enum ata_power { POWER_ACTIVE, POWER_IDLE, POWER_STANDBY, POWER_SLEEP };

struct ata_sense {
    u8 key, asc, ascq;
};

/* What is saved: X(type, name, largest value) of scalars in struct ata_device. */
/* clang-format off */
#define ATA_FIELDS(X)                                                                                        \
    X(u8, status, 0xff) X(u8, error, 0xff) X(u8, command, 0xff)                                              \
    X(u8, phase, PHASE_DMA_OUT) X(u8, job, JOB_COUNT - 1) X(bool, extended, 1) X(bool, direct, 1)            \
    X(bool, fua, 1) X(bool, packet_dma, 1)                                                                   \
    X(u8, multiple, ATA_MULTIPLE_MAX) X(u8, transfer_mode, 0xff) X(bool, write_cache, 1)                     \
    X(bool, look_ahead, 1) X(bool, smart, 1) X(bool, revert_off, 1) X(u8, power, POWER_SLEEP)                \
    X(u8, standby_timer, 0xff) X(u8, heads, 16) X(u8, sectors_per_track, 255)                                \
    X(bool, media_status, 1) X(u64, max_sectors, ~0ull) X(bool, max_set, 1)                                  \
    X(u64, sector, ~0ull) X(u32, left, ~0u)                                                                  \
    X(u32, fill, ATA_BUFFER_SIZE) X(u32, pos, ATA_BUFFER_SIZE) X(u32, block, ATA_BUFFER_SIZE)                \
    X(u8, error_tag, 0xff) X(u64, error_sector, ~0ull)                                                       \
    X(u8, sense_key, 15) X(u8, sense_asc, 255) X(u8, sense_ascq, 255)                                        \
    X(u8, attention_asc, 255) X(u8, attention_ascq, 255) X(u8, media_event, 4)                               \
    X(bool, tray_open, 1) X(bool, locked, 1) X(u32, byte_limit, 0xffff) X(u8, raw_parts, 255)                \
    X(u64, power_on_minutes, ~0ull)
/* clang-format on */

struct ata_device {
    struct ata_config config;
    struct drive *drive;
    struct mem_space *mem;
    struct log *log;
    struct loop *loop;
    struct ata_taskfile tf;
    u8 packet[16];  /* the CDB that is carried out */
    u8 recorded[8]; /* the mode page that can be changed: see atapi_mode.c */
#define X(type, name, max) type name;
    ATA_FIELDS(X)
#undef X
    u8 buffer[ATA_BUFFER_SIZE];

    /* Not saved: nothing is under way then. */
    bool working;     /* `request` or `transfer` is under way */
    bool reset_after; /* once it is done */
    bool reset_silent;
    void (*after)(struct ata_device *dev, int result);
    struct block_request request;
    struct ata_transfer transfer;
    u8 scratch[ATA_BUFFER_SIZE]; /* what raw CD sectors are made of */
};

/* --- ata_device.c: phases --- */

void ata_end_ok(struct ata_device *dev);
/* Ends with error bits (ATA_ABRT ...). */
void ata_end_error(struct ata_device *dev, u8 error);
void ata_abort(struct ata_device *dev);
/* Ends with these bits in status; `interrupt` as the protocol has it. */
void ata_end(struct ata_device *dev, u8 status, u8 error, bool interrupt);
/* The buffer has `len` bytes for the guest, in blocks of `block`; then the job goes on. */
void ata_data_in(struct ata_device *dev, enum ata_job job, u32 len, u32 block, bool dma);
/* The guest is to fill `len` bytes of the buffer, in blocks of `block`; then the job goes on. */
void ata_data_out(struct ata_device *dev, enum ata_job job, u32 len, u32 block, bool dma, bool interrupt);
/* DMA between guest and medium: `sector` and `left` are set. */
void ata_data_direct(struct ata_device *dev, enum ata_job job, bool write);
/* Works on the medium; `after` when done, unless there was a reset. `buf` may be NULL. */
void ata_submit(struct ata_device *dev, enum block_request_kind kind, u64 sector, u32 count, void *buf,
                void (*after)(struct ata_device *dev, int result));

/* --- ata_disk.c --- */

void disk_read_more(struct ata_device *dev);
void disk_write_filled(struct ata_device *dev);
void disk_direct_done(struct ata_device *dev, enum ata_transfer_end end);
void disk_trim_filled(struct ata_device *dev);
bool disk_command(struct ata_device *dev, u8 command);
/* Default geometry, 28 or 48 bits. */
void disk_reset_geometry(struct ata_device *dev);
u64 disk_sectors(const struct ata_device *dev);

/* --- ata_identify.c --- */

void ata_identify(struct ata_device *dev);
void atapi_identify(struct ata_device *dev);

/* --- ata_features.c: commands without the medium --- */

bool ata_feature_command(struct ata_device *dev, u8 command);
void smart_command(struct ata_device *dev);
void log_command(struct ata_device *dev, bool dma);

/* --- atapi.c and on --- */

void atapi_packet(struct ata_device *dev);
void atapi_packet_arrived(struct ata_device *dev);
void atapi_data_moved(struct ata_device *dev);
void atapi_read_more(struct ata_device *dev);
void atapi_direct_done(struct ata_device *dev, enum ata_transfer_end end);
void atapi_parameters_arrived(struct ata_device *dev);
/* Sets count and byte count for the block that comes. */
void atapi_set_reason(struct ata_device *dev, u8 reason);
void atapi_reset(struct ata_device *dev, bool power_on);
bool atapi_has_medium(const struct ata_device *dev);

#endif
