/* The drive as such: task file, phases, resets, saved state. */
#include <stdlib.h>

#include "devices/ata/ata_impl.h"

#define PHASES_OF_PIO(p) ((p) == PHASE_PIO_IN || (p) == PHASE_PIO_OUT)

/* --- the end of commands --- */

void ata_end(struct ata_device *dev, u8 status, u8 error, bool interrupt)
{
    dev->phase = PHASE_IDLE;
    dev->job = JOB_NONE;
    dev->status = status;
    dev->error = error;
    if (status & ATA_ERR)
        log_trace(dev->log, TRACE_DISK, "ata%u: command %02xh ended with error %02xh", dev->config.index,
                  dev->command, error);
    dev->config.ops->ended(dev->config.port, interrupt);
}

void ata_end_ok(struct ata_device *dev)
{
    ata_end(dev, ATA_DRDY | ATA_DSC, 0, true);
}

void ata_end_error(struct ata_device *dev, u8 error)
{
    ata_end(dev, ATA_DRDY | ATA_DSC | ATA_ERR, error, true);
}

void ata_abort(struct ata_device *dev)
{
    ata_end_error(dev, ATA_ABRT);
}

/* --- data by way of the buffer --- */

static void go_on(struct ata_device *dev)
{
    switch (dev->job) {
    case JOB_BUFFER_IN:
        ata_end(dev, ATA_DRDY | ATA_DSC, 0, dev->phase == PHASE_DMA_IN);
        break;
    case JOB_READ:
        disk_read_more(dev);
        break;
    case JOB_WRITE:
        disk_write_filled(dev);
        break;
    case JOB_TRIM:
        disk_trim_filled(dev);
        break;
    case JOB_PACKET:
        atapi_packet_arrived(dev);
        break;
    case JOB_PACKET_IN:
        atapi_data_moved(dev);
        break;
    case JOB_PACKET_READ:
        atapi_read_more(dev);
        break;
    case JOB_PACKET_OUT:
        atapi_parameters_arrived(dev);
        break;
    default: /* JOB_WRITE_BUFFER: it is where it should be */
        ata_end_ok(dev);
        break;
    }
}

static void offer_block(struct ata_device *dev, bool interrupt)
{
    dev->status = ATA_DRDY | ATA_DSC | ATA_DRQ;
    dev->error = 0;
    if (dev->job >= JOB_PACKET)
        atapi_set_reason(dev, dev->phase == PHASE_PIO_IN ? 2 : dev->job == JOB_PACKET ? 1 : 0);
    dev->config.ops->block_ready(dev->config.port, interrupt);
}

static void want_dma(struct ata_device *dev)
{
    dev->status = ATA_DRDY | ATA_DSC | ATA_DRQ;
    dev->error = 0;
    dev->config.ops->dma_wanted(dev->config.port);
}

/* A transfer of `len` bytes between the buffer and the host; `interrupt` tells of its first block. */
static void data_start(struct ata_device *dev, enum ata_job job, u32 len, u32 block, u8 phase, bool interrupt)
{
    dev->job = (u8)job;
    dev->direct = false;
    dev->fill = len;
    dev->pos = 0;
    dev->block = block;
    dev->phase = phase;
    if (phase == PHASE_DMA_IN || phase == PHASE_DMA_OUT)
        want_dma(dev);
    else
        offer_block(dev, interrupt);
}

void ata_data_in(struct ata_device *dev, enum ata_job job, u32 len, u32 block, bool dma)
{
    data_start(dev, job, len, block, dma ? PHASE_DMA_IN : PHASE_PIO_IN, true);
}

void ata_data_out(struct ata_device *dev, enum ata_job job, u32 len, u32 block, bool dma, bool interrupt)
{
    data_start(dev, job, len, block, dma ? PHASE_DMA_OUT : PHASE_PIO_OUT, interrupt);
}

u8 *ata_block(struct ata_device *dev, u32 *len, bool *to_guest)
{
    *len = PHASES_OF_PIO(dev->phase) ? MIN(dev->block, dev->fill - dev->pos) : 0;
    *to_guest = dev->phase == PHASE_PIO_IN;
    return dev->buffer + dev->pos;
}

bool ata_wants_packet(const struct ata_device *dev)
{
    return dev->phase == PHASE_PIO_OUT && dev->job == JOB_PACKET;
}

void ata_block_done(struct ata_device *dev)
{
    if (!PHASES_OF_PIO(dev->phase))
        return;
    dev->pos += MIN(dev->block, dev->fill - dev->pos);
    if (dev->pos < dev->fill)
        offer_block(dev, true);
    else
        go_on(dev);
}

/* --- the medium --- */

static bool finish_working(struct ata_device *dev);

static void request_done(struct block_request *request, int result, const struct error *err)
{
    struct ata_device *dev = request->opaque;
    if (result < 0)
        log_trace(dev->log, TRACE_DISK, "ata%u: %s", dev->config.index, err->message);
    if (finish_working(dev))
        dev->after(dev, result);
}

void ata_submit(struct ata_device *dev, enum block_request_kind kind, u64 sector, u32 count, void *buf,
                void (*after)(struct ata_device *dev, int result))
{
    struct drive *drive = dev->drive;
    dev->phase = PHASE_BUSY;
    dev->status = ATA_BSY;
    dev->after = after;
    dev->working = true;
    dev->request = (struct block_request){
        .kind = kind,
        .offset = sector * SECTOR_SIZE,
        .len = (u64)count * SECTOR_SIZE,
        .buf = buf,
        .done = request_done,
        .opaque = dev,
    };
    drive_submit(drive, &dev->request);
}

void ata_data_direct(struct ata_device *dev, enum ata_job job, bool write)
{
    dev->job = (u8)job;
    dev->direct = true;
    dev->phase = write ? PHASE_DMA_OUT : PHASE_DMA_IN;
    want_dma(dev);
}

/* --- DMA --- */

bool ata_wants_dma(const struct ata_device *dev)
{
    return !dev->working && (dev->phase == PHASE_DMA_IN || dev->phase == PHASE_DMA_OUT);
}

/* The descriptors ended before the data did: the drive waits for more. */
static void dma_stop(struct ata_device *dev)
{
    dev->status = ATA_DRDY | ATA_DSC | ATA_DRQ;
    dev->config.ops->dma_stopped(dev->config.port);
}

static void transfer_done(struct ata_transfer *t, enum ata_transfer_end end)
{
    struct ata_device *dev = t->opaque;
    dev->sector = t->sector;
    dev->left = t->left;
    if (!finish_working(dev))
        return;
    if (end == ATA_TRANSFER_SHORT)
        dma_stop(dev);
    else if (dev->job == JOB_PACKET_READ)
        atapi_direct_done(dev, end);
    else
        disk_direct_done(dev, end);
}

static bool next_piece(void *opaque, u32 max, struct dma_piece *out)
{
    struct ata_device *dev = opaque;
    return dev->config.ops->dma_next(dev->config.port, max, out);
}

static void dma_start_direct(struct ata_device *dev)
{
    struct ata_transfer *t = &dev->transfer;
    dev->working = true;
    dev->status = ATA_BSY;
    t->function = dev->config.function;
    t->mem = dev->mem;
    t->drive = dev->drive;
    t->next = next_piece;
    t->done = transfer_done;
    t->opaque = dev;
    t->write = dev->phase == PHASE_DMA_OUT;
    t->sector = dev->sector;
    t->left = dev->left;
    ata_transfer_start(t);
}

void ata_dma_start(struct ata_device *dev)
{
    if (!ata_wants_dma(dev))
        return;
    if (dev->direct) {
        dma_start_direct(dev);
        return;
    }
    u8 *at = dev->buffer + dev->pos;
    u32 len = dev->fill - dev->pos;
    dev->pos += dev->phase == PHASE_DMA_IN
                    ? ata_copy_to_guest(dev->config.function, next_piece, dev, at, len)
                    : ata_copy_from_guest(dev->config.function, next_piece, dev, at, len);
    if (dev->pos < dev->fill)
        dma_stop(dev);
    else
        go_on(dev);
}

void ata_dma_discard(struct ata_device *dev)
{
    if (!ata_wants_dma(dev)) {
        return;
    } else if (dev->phase == PHASE_DMA_OUT) {
        ata_abort(dev);
    } else if (dev->direct) {
        dev->left = 0;
        if (dev->job == JOB_PACKET_READ)
            atapi_direct_done(dev, ATA_TRANSFER_DONE);
        else
            disk_direct_done(dev, ATA_TRANSFER_DONE);
    } else {
        dev->pos = dev->fill;
        go_on(dev);
    }
}

/* --- resets --- */

static void set_signature(struct ata_device *dev)
{
    memset(&dev->tf, 0, sizeof dev->tf);
    dev->tf.reg[ATA_REG_COUNT][0] = dev->tf.reg[ATA_REG_LBA0][0] = 1;
    if (dev->config.cdrom) {
        dev->tf.reg[ATA_REG_LBA1][0] = 0x14;
        dev->tf.reg[ATA_REG_LBA2][0] = 0xeb;
    }
    dev->error = 1; /* diagnostics passed */
    dev->status = dev->config.cdrom ? 0 : ATA_DRDY | ATA_DSC;
}

static void reset_settings(struct ata_device *dev)
{
    dev->phase = PHASE_IDLE;
    dev->job = JOB_NONE;
    dev->extended = false;
    dev->power = POWER_ACTIVE;
    if (!dev->revert_off) {
        dev->multiple = 0;
        dev->write_cache = dev->look_ahead = true;
        disk_reset_geometry(dev);
    }
    if (dev->config.cdrom)
        atapi_reset(dev, false);
}

static void reset_now(struct ata_device *dev)
{
    dev->reset_after = false;
    reset_settings(dev);
    set_signature(dev);
    if (!dev->reset_silent)
        dev->config.ops->reset_done(dev->config.port);
}

/* False: there was a reset meanwhile, which is what follows. */
static bool finish_working(struct ata_device *dev)
{
    dev->working = false;
    if (!dev->reset_after)
        return true;
    reset_now(dev);
    return false;
}

static void device_reset(struct ata_device *dev, bool silent)
{
    dev->status = ATA_BSY;
    dev->reset_after = true;
    dev->reset_silent = silent;
    if (dev->working)
        ata_transfer_stop(&dev->transfer);
    else
        reset_now(dev);
}

void ata_device_reset(struct ata_device *dev)
{
    device_reset(dev, false);
}

void ata_device_power_on(struct ata_device *dev)
{
    dev->revert_off = false;
    dev->transfer_mode = 0x08;
    dev->smart = true;
    dev->media_status = false;
    dev->max_set = false;
    dev->max_sectors = drive_sectors(dev->drive);
    dev->standby_timer = 0;
    dev->error_tag = 0xff;
    reset_settings(dev);
    if (dev->config.cdrom)
        atapi_reset(dev, true);
    set_signature(dev);
}

bool ata_device_is_working(const struct ata_device *dev)
{
    return dev->working;
}

bool ata_device_is_cdrom(const struct ata_device *dev)
{
    return dev->config.cdrom;
}

bool ata_writes_are_cached(const struct ata_device *dev)
{
    return dev->write_cache;
}

struct drive *ata_drive(struct ata_device *dev)
{
    return dev->drive;
}

/* --- registers and commands --- */

struct ata_taskfile *ata_taskfile(struct ata_device *dev)
{
    return &dev->tf;
}

u8 ata_status(const struct ata_device *dev)
{
    return dev->status;
}

u8 ata_error(const struct ata_device *dev)
{
    return dev->error;
}

void ata_diagnose(struct ata_device *dev)
{
    device_reset(dev, true);
}

enum { CMD_DEVICE_RESET = 0x08, CMD_DIAGNOSTIC = 0x90, CMD_PACKET = 0xa0, CMD_IDENTIFY_PACKET = 0xa1 };

static void packet_device_command(struct ata_device *dev, u8 command)
{
    switch (command) {
    case CMD_PACKET:
        atapi_packet(dev);
        return;
    case CMD_IDENTIFY_PACKET:
        atapi_identify(dev);
        ata_data_in(dev, JOB_BUFFER_IN, SECTOR_SIZE, SECTOR_SIZE, false);
        return;
    case 0xec: /* IDENTIFY DEVICE, READ SECTORS: aborted with the signature in place (7.12.6) */
    case 0x20:
    case 0x21:
        set_signature(dev);
        ata_end(dev, ATA_ERR, ATA_ABRT, true);
        return;
    default:
        if (!ata_feature_command(dev, command))
            ata_abort(dev);
        return;
    }
}

void ata_command(struct ata_device *dev, u8 command)
{
    if (dev->config.cdrom && command == CMD_DEVICE_RESET) {
        device_reset(dev, true);
        return;
    }
    if (dev->status & (ATA_BSY | ATA_DRQ))
        return;
    if (dev->power == POWER_SLEEP && command != CMD_DIAGNOSTIC)
        return; /* only a reset wakes it */
    log_trace(dev->log, TRACE_DISK,
              "ata%u: command %02xh feature %02x%02x count %02x%02x lba %02x%02x%02x%02x%02x%02x device %02x",
              dev->config.index, command, dev->tf.reg[ATA_REG_FEATURE][1], dev->tf.reg[ATA_REG_FEATURE][0],
              dev->tf.reg[ATA_REG_COUNT][1], dev->tf.reg[ATA_REG_COUNT][0], dev->tf.reg[ATA_REG_LBA2][1],
              dev->tf.reg[ATA_REG_LBA1][1], dev->tf.reg[ATA_REG_LBA0][1], dev->tf.reg[ATA_REG_LBA2][0],
              dev->tf.reg[ATA_REG_LBA1][0], dev->tf.reg[ATA_REG_LBA0][0], dev->tf.device);
    dev->command = command;
    dev->extended = dev->fua = dev->packet_dma = false;
    dev->error = 0;
    if (command == CMD_DIAGNOSTIC) {
        reset_settings(dev);
        set_signature(dev);
        ata_end(dev, dev->status, dev->error, true);
    } else if (dev->config.cdrom) {
        packet_device_command(dev, command);
    } else if (!disk_command(dev, command) && !ata_feature_command(dev, command)) {
        ata_abort(dev);
    }
}

/* --- saved state --- */

struct ata_device_state {
    u8 regs[ATA_REG_DEVICE][2];
    u8 device;
    u8 packet[16];
    u8 recorded[8];
#define X(type, name, max) type name;
    ATA_FIELDS(X)
#undef X
    u8 buffer[ATA_BUFFER_SIZE];
};

#define X(type, name, max) {#name, offsetof(struct ata_device_state, name), sizeof(type), 1, max},
static const struct state_field ata_device_fields[] = {
    STATE_ARRAY(struct ata_device_state, regs, u8),
    STATE_FIELD(struct ata_device_state, device),
    STATE_ARRAY(struct ata_device_state, packet, u8),
    STATE_ARRAY(struct ata_device_state, recorded, u8),
    ATA_FIELDS(X) STATE_ARRAY(struct ata_device_state, buffer, u8),
};
#undef X

static void ata_device_save(const void *device, void *out)
{
    const struct ata_device *dev = device;
    struct ata_device_state *s = out;
    memcpy(s->regs, dev->tf.reg, sizeof s->regs);
    s->device = dev->tf.device;
    memcpy(s->packet, dev->packet, sizeof s->packet);
    memcpy(s->recorded, dev->recorded, sizeof s->recorded);
#define X(type, name, max) s->name = dev->name;
    ATA_FIELDS(X)
#undef X
    memcpy(s->buffer, dev->buffer, sizeof s->buffer);
}

/* A range that a direct transfer goes on with. */
static bool range_is_on_medium(const struct ata_device *dev, u64 sector, u32 left)
{
    u64 size = drive_sectors(dev->drive);
    return sector <= size && left <= size - sector;
}

static int ata_device_check(const void *device, const void *in, struct error *err)
{
    const struct ata_device *dev = device;
    const struct ata_device_state *s = in;
    bool pio = PHASES_OF_PIO(s->phase), dma = s->phase == PHASE_DMA_IN || s->phase == PHASE_DMA_OUT;
    if (s->phase == PHASE_BUSY || (dev->config.serial_ata && s->phase != PHASE_IDLE))
        return error_set(err, EINVAL, "ata%u: it was saved while the disk was at work", dev->config.index);
    if (s->pos > s->fill || ((pio || (dma && !s->direct)) && (s->pos == s->fill || !s->block)))
        return error_set(err, EINVAL, "ata%u: its buffer is in no possible state", dev->config.index);
    if ((s->phase == PHASE_IDLE) != (s->job == JOB_NONE) || (s->job >= JOB_PACKET && !dev->config.cdrom) ||
        (s->direct && dma &&
         (!s->left || (s->job != JOB_READ && s->job != JOB_WRITE && s->job != JOB_PACKET_READ))))
        return error_set(err, EINVAL, "ata%u: no command can be in that phase", dev->config.index);
    if (!range_is_on_medium(dev, s->sector, s->left) && s->phase != PHASE_IDLE &&
        (s->job == JOB_READ || s->job == JOB_WRITE || s->job == JOB_PACKET_READ))
        return error_set(err, EINVAL, "ata%u: a transfer is beyond the end of the disk", dev->config.index);
    if ((s->job == JOB_WRITE && s->phase != PHASE_IDLE && s->fill > (u64)s->left * SECTOR_SIZE &&
         !s->direct) ||
        (s->job == JOB_PACKET && (s->fill != ATAPI_PACKET || s->phase != PHASE_PIO_OUT)))
        return error_set(err, EINVAL, "ata%u: it has more data than its command", dev->config.index);
    if (!dev->config.cdrom &&
        (!s->heads || !s->sectors_per_track || s->max_sectors > drive_sectors(dev->drive)))
        return error_set(err, EINVAL, "ata%u: no disk has that geometry", dev->config.index);
    return 0;
}

static void ata_device_load(void *device, const void *in)
{
    struct ata_device *dev = device;
    const struct ata_device_state *s = in;
    memcpy(dev->tf.reg, s->regs, sizeof s->regs);
    dev->tf.device = s->device;
    memcpy(dev->packet, s->packet, sizeof s->packet);
    memcpy(dev->recorded, s->recorded, sizeof s->recorded);
#define X(type, name, max) dev->name = s->name;
    ATA_FIELDS(X)
#undef X
    memcpy(dev->buffer, s->buffer, sizeof s->buffer);
}

static const struct state_desc ata_device_desc = {
    .name = "ata-device",
    .version = 1,
    .size = sizeof(struct ata_device_state),
    .fields = ata_device_fields,
    .field_count = ARRAY_LEN(ata_device_fields),
    .save = ata_device_save,
    .check = ata_device_check,
    .load = ata_device_load,
};

/* --- lifecycle --- */

int ata_device_create(struct ata_device **out, const struct device_env *env, const struct ata_config *config,
                      struct error *err)
{
    struct ata_device *dev = calloc(1, sizeof *dev);
    if (!dev || state_set_add(env->state, &ata_device_desc, dev, config->index) < 0) {
        free(dev);
        return error_set(err, ENOMEM, "no memory for a drive");
    }
    dev->config = *config;
    dev->drive = config->drive;
    dev->mem = env->mem;
    dev->log = env->log;
    dev->loop = env->loop;
    ata_device_power_on(dev);
    *out = dev;
    return 0;
}

void ata_device_destroy(struct ata_device *dev)
{
    free(dev);
}
