/* The floppy controller's registers, phases and saved state. */
#include "devices/floppy/floppy_impl.h"

#include <stdlib.h>

/* Offsets from 3F0h. */
enum { REG_SRA, REG_SRB, REG_DOR, REG_TDR, REG_MSR_DSR, REG_FIFO, REG_COUNT };

/* Sizes that are a format's own. What is none of them is a 1.44M or 2.88M medium whose image ends early. */
static const struct floppy_format formats[] = {
    {320, 40, 1, 8, 2, 1},   {360, 40, 1, 9, 2, 1},   {640, 40, 2, 8, 2, 1},
    {720, 40, 2, 9, 2, 1},   {1440, 80, 2, 9, 2, 4},  {2400, 80, 2, 15, 0, 2},
    {3360, 80, 2, 21, 0, 4}, {2880, 80, 2, 18, 0, 4}, {5760, 80, 2, 36, 3, 5},
};

#define TYPE_WITHOUT_MEDIUM 4

/* --- lines and phases --------------------------------------------------------------------------------- */

static void irq_drive(struct floppy *fdc)
{
    irq_set(&fdc->irq, fdc->irq_raised && fdc->dor & DOR_GATE);
}

void fdc_interrupt(struct floppy *fdc, bool level)
{
    fdc->irq_raised = level;
    irq_drive(fdc);
}

void fdc_result(struct floppy *fdc, unsigned len, bool interrupt)
{
    fdc->phase = PHASE_RESULT;
    fdc->result_at = 0;
    fdc->result_len = (u8)len;
    log_trace(fdc->log, TRACE_DISK, "floppy: result %02x %02x %02x, %u bytes", fdc->result[0], fdc->result[1],
              fdc->result[2], len);
    if (interrupt)
        fdc_interrupt(fdc, true);
}

/* A reset by DOR, DSR or the pin; LOCK keeps what CONFIGURE set from the first two. */
static void fdc_reset(struct floppy *fdc, bool hard)
{
    transfer_abandon(fdc);
    dma_request(&fdc->dma, false);
    fdc->phase = PHASE_IDLE;
    fdc->powered_down = false;
    fdc->seek_ended = 0;
    fdc->perpendicular = 0;
    if (hard)
        fdc->locked = false;
    if (!fdc->locked) {
        fdc->config = CONFIG_NO_FIFO;
        fdc->precompensation = 0;
    }
    for (unsigned n = 0; n < UNITS; n++) {
        struct unit *u = &fdc->unit[n];
        timer_disarm(&u->timer);
        u->seeking = false;
        u->pcn = 0;
    }
    fdc->reset_pending = fdc->config & CONFIG_NO_POLL ? 0 : 0x0f;
    fdc_interrupt(fdc, false);
    if (fdc->dor & DOR_ENABLE)
        fdc_interrupt(fdc, fdc->reset_pending);
}

static void command_byte(struct floppy *fdc, u8 value)
{
    if (fdc->phase == PHASE_IDLE) {
        fdc->phase = PHASE_COMMAND;
        fdc->command_at = 0;
        fdc->command_len = (u8)fdc_command_length(value);
    }
    fdc->command[fdc->command_at++] = value;
    if (fdc->command_at < fdc->command_len)
        return;
    log_trace(fdc->log, TRACE_DISK, "floppy: command %02x %02x %02x %02x %02x", fdc->command[0],
              fdc->command[1], fdc->command[2], fdc->command[3], fdc->command[4]);
    fdc_command_run(fdc);
}

/* --- registers ---------------------------------------------------------------------------------------- */

static u8 msr_read(const struct floppy *fdc)
{
    u8 msr = 0;
    if (!(fdc->dor & DOR_ENABLE) || fdc->powered_down)
        return 0;
    for (unsigned n = 0; n < UNITS; n++)
        msr |= (u8)(fdc->unit[n].seeking << n);
    switch (fdc->phase) {
    case PHASE_IDLE:
        return msr | MSR_RQM;
    case PHASE_COMMAND:
        return msr | MSR_RQM | MSR_BUSY;
    case PHASE_DATA:
        msr |= MSR_BUSY;
        if (fdc_non_dma(fdc))
            msr |= MSR_RQM | MSR_NON_DMA | (transfer_to_host(fdc) ? MSR_DIO : 0);
        return msr;
    case PHASE_IO:
        return msr | MSR_BUSY | (fdc_non_dma(fdc) ? MSR_NON_DMA : 0);
    case PHASE_RESULT:
        return msr | MSR_RQM | MSR_DIO | MSR_BUSY;
    }
    return msr;
}

static u8 fifo_read(struct floppy *fdc)
{
    if (fdc->phase == PHASE_DATA && fdc_non_dma(fdc) && transfer_to_host(fdc))
        return transfer_take_byte(fdc);
    if (fdc->phase != PHASE_RESULT)
        return 0xff;
    u8 value = fdc->result[fdc->result_at++];
    /* The interrupt of an execution phase goes with the first byte; that of a seek stays. */
    if (fdc->result_at == 1 && !fdc->seek_ended)
        fdc_interrupt(fdc, false);
    if (fdc->result_at == fdc->result_len)
        fdc->phase = PHASE_IDLE;
    return value;
}

static void fifo_write(struct floppy *fdc, u8 value)
{
    if (!(fdc->dor & DOR_ENABLE))
        return;
    fdc->powered_down = false;
    if (fdc->phase == PHASE_DATA && fdc_non_dma(fdc) && !transfer_to_host(fdc))
        transfer_give_byte(fdc, value);
    else if (fdc->phase == PHASE_IDLE || fdc->phase == PHASE_COMMAND)
        command_byte(fdc, value);
}

static void dor_write(struct floppy *fdc, u8 value)
{
    u8 changed = fdc->dor ^ value;
    fdc->dor = value;
    if (changed & DOR_ENABLE)
        fdc_reset(fdc, false);
    if (!(changed & DOR_GATE))
        return;
    irq_drive(fdc);
    dma_request(&fdc->dma, fdc->phase == PHASE_DATA && !fdc_non_dma(fdc) && value & DOR_GATE);
}

static void dsr_write(struct floppy *fdc, u8 value)
{
    fdc->rate = value & DSR_RATE;
    if (value & DSR_RESET)
        fdc_reset(fdc, false);
    if (value & DSR_POWER_DOWN)
        fdc->powered_down = true;
}

static u64 floppy_read(void *dev, u64 offset, unsigned size)
{
    struct floppy *fdc = dev;
    switch (offset) {
    case REG_DOR:
        return fdc->dor;
    case REG_TDR:
        return fdc->tdr | 0xfc;
    case REG_MSR_DSR:
        return msr_read(fdc);
    case REG_FIFO:
        return fifo_read(fdc);
    default:
        return 0xff;
    }
}

static void floppy_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct floppy *fdc = dev;
    switch (offset) {
    case REG_DOR:
        dor_write(fdc, (u8)value);
        break;
    case REG_TDR:
        fdc->tdr = value & 3;
        break;
    case REG_MSR_DSR:
        dsr_write(fdc, (u8)value);
        break;
    case REG_FIFO:
        fifo_write(fdc, (u8)value);
        break;
    default:
        break;
    }
}

/* DIR has one bit in a PC/AT: the disk change line of the drive that DOR selects. */
static u64 dir_read(void *dev, u64 offset, unsigned size)
{
    const struct floppy *fdc = dev;
    const struct unit *u = &fdc->unit[fdc->dor & DOR_SELECT];
    return 0x7f | (u->drive && u->changed ? 0x80 : 0);
}

static void ccr_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct floppy *fdc = dev;
    fdc->rate = value & DSR_RATE;
}

static const struct io_ops floppy_ops = {floppy_read, floppy_write, .max_size = 1};
static const struct io_ops dir_ops = {dir_read, ccr_write, .max_size = 1};

/* --- saved state ---------------------------------------------------------------------------------------
 *
 * A sector's I/O that is under way is started again after a load: reading it again is harmless, and so is
 * writing the same data.
 */

struct floppy_state {
    u8 dor, rate, tdr, phase;
    bool powered_down, irq_raised, locked;
    u8 command[COMMAND_MAX], command_at, command_len;
    u8 result[RESULT_MAX], result_at, result_len;
    u8 seek_ended, reset_pending, specify[2], config, precompensation, perpendicular, last_eot;
    u8 track[UNITS], pcn[UNITS], seek_st0[UNITS], seek_track[UNITS], seek_pcn[UNITS];
    bool changed[UNITS], seeking[UNITS];
    u64 seek_deadline[UNITS];
    u8 deleted[FLOPPY_DRIVES][DELETED_BYTES];
    u8 op, scan;
    bool multi_track, skip, deleted_command, counted, scan_equal, scan_hit, tc;
    u8 unit, head, c, h, r, n, eot, step, filler, left, index, st1, st2;
    u16 lba, pos, len;
    u8 data[SECTOR_SIZE], compare[SECTOR_SIZE];
};

#define FDC_FIELDS(X)                                                                                        \
    X(dor, 0xff)                                                                                             \
    X(rate, 3)                                                                                               \
    X(tdr, 3)                                                                                                \
    X(powered_down, 1)                                                                                       \
    X(irq_raised, 1)                                                                                         \
    X(locked, 1)                                                                                             \
    X(command_at, COMMAND_MAX)                                                                               \
    X(command_len, COMMAND_MAX)                                                                              \
    X(result_at, RESULT_MAX)                                                                                 \
    X(result_len, RESULT_MAX)                                                                                \
    X(seek_ended, 0x0f)                                                                                      \
    X(reset_pending, 0x0f)                                                                                   \
    X(config, 0x7f)                                                                                          \
    X(precompensation, 0xff)                                                                                 \
    X(perpendicular, 0x3f)                                                                                   \
    X(last_eot, 0xff)
#define TRANSFER_FIELDS(X)                                                                                   \
    X(multi_track, 1)                                                                                        \
    X(skip, 1)                                                                                               \
    X(counted, 1)                                                                                            \
    X(scan_equal, 1)                                                                                         \
    X(scan_hit, 1)                                                                                           \
    X(tc, 1)                                                                                                 \
    X(unit, UNITS - 1)                                                                                       \
    X(head, 1)                                                                                               \
    X(c, 0xff)                                                                                               \
    X(h, 0xff)                                                                                               \
    X(r, 0xff)                                                                                               \
    X(n, 0xff)                                                                                               \
    X(eot, 0xff)                                                                                             \
    X(step, 2)                                                                                               \
    X(filler, 0xff)                                                                                          \
    X(left, 0xff)                                                                                            \
    X(index, 0xff)                                                                                           \
    X(st1, 0xff)                                                                                             \
    X(st2, 0xff)                                                                                             \
    X(lba, MAX_SECTORS - 1)                                                                                  \
    X(pos, SECTOR_SIZE)                                                                                      \
    X(len, SECTOR_SIZE)

static void floppy_save(const void *dev, void *out)
{
    const struct floppy *fdc = dev;
    const struct transfer *t = &fdc->transfer;
    struct floppy_state *s = out;
#define X(f, max) s->f = fdc->f;
    FDC_FIELDS(X)
#undef X
#define X(f, max) s->f = t->f;
    TRANSFER_FIELDS(X)
#undef X
    s->phase = (u8)fdc->phase;
    s->op = (u8)t->op;
    s->scan = (u8)t->scan;
    s->deleted_command = t->deleted;
    memcpy(s->command, fdc->command, sizeof s->command);
    memcpy(s->result, fdc->result, sizeof s->result);
    memcpy(s->specify, fdc->specify, sizeof s->specify);
    memcpy(s->data, t->data, sizeof s->data);
    memcpy(s->compare, t->compare, sizeof s->compare);
    for (unsigned n = 0; n < UNITS; n++) {
        const struct unit *u = &fdc->unit[n];
        s->track[n] = u->track;
        s->pcn[n] = u->pcn;
        s->changed[n] = u->changed;
        s->seeking[n] = u->seeking;
        s->seek_st0[n] = u->seek_st0;
        s->seek_track[n] = u->seek_track;
        s->seek_pcn[n] = u->seek_pcn;
        s->seek_deadline[n] = u->seeking ? u->timer.deadline : 0;
        if (n < FLOPPY_DRIVES)
            memcpy(s->deleted[n], u->deleted, sizeof u->deleted);
    }
}

/* Phases that promise something: that there is a byte to come, a sector to go to. */
static bool phase_is_possible(const struct floppy *fdc, const struct floppy_state *s)
{
    const struct floppy_format *format = fdc->unit[s->unit].format;
    bool medium = format && s->lba < format->sectors;
    unsigned room = s->op == OP_FORMAT ? 4 : SECTOR_SIZE;
    switch (s->phase) {
    case PHASE_COMMAND:
        return s->command_at && s->command_at < s->command_len &&
               s->command_len == fdc_command_length(s->command[0]);
    case PHASE_DATA:
        return medium && s->pos < s->len && s->len == room && s->op != OP_VERIFY;
    case PHASE_IO:
        return medium;
    case PHASE_RESULT:
        return s->result_at < s->result_len;
    default:
        return true;
    }
}

static int floppy_check(const void *dev, const void *in, struct error *err)
{
    const struct floppy *fdc = dev;
    const struct floppy_state *s = in;
    if (!phase_is_possible(fdc, s))
        return error_set(err, EINVAL, "floppy: the controller is in no possible state");
    return 0;
}

static void unit_load(struct unit *u, const struct floppy_state *s, unsigned n)
{
    u->track = s->track[n];
    u->pcn = s->pcn[n];
    u->changed = s->changed[n];
    u->seeking = s->seeking[n];
    u->seek_st0 = s->seek_st0[n];
    u->seek_track = s->seek_track[n];
    u->seek_pcn = s->seek_pcn[n];
    if (n < FLOPPY_DRIVES)
        memcpy(u->deleted, s->deleted[n], sizeof u->deleted);
    if (u->seeking)
        timer_arm(&u->timer, s->seek_deadline[n]);
    else
        timer_disarm(&u->timer);
}

static void floppy_load(void *dev, const void *in)
{
    struct floppy *fdc = dev;
    struct transfer *t = &fdc->transfer;
    const struct floppy_state *s = in;
    transfer_abandon(fdc);
#define X(f, max) fdc->f = s->f;
    FDC_FIELDS(X)
#undef X
#define X(f, max) t->f = s->f;
    TRANSFER_FIELDS(X)
#undef X
    fdc->phase = (enum phase)s->phase;
    t->op = (enum operation)s->op;
    t->scan = (enum scan)s->scan;
    t->deleted = s->deleted_command;
    memcpy(fdc->command, s->command, sizeof s->command);
    memcpy(fdc->result, s->result, sizeof s->result);
    memcpy(fdc->specify, s->specify, sizeof s->specify);
    memcpy(t->data, s->data, sizeof s->data);
    memcpy(t->compare, s->compare, sizeof s->compare);
    for (unsigned n = 0; n < UNITS; n++)
        unit_load(&fdc->unit[n], s, n);
    transfer_resume(fdc);
}

#define X(f, max) STATE_FIELD_MAX(struct floppy_state, f, max),
#define LIST(f, type, max)                                                                                   \
    {                                                                                                        \
#f, offsetof(struct floppy_state, f), sizeof(type),                                                  \
            sizeof(((struct floppy_state *)0)->f) / sizeof(type), max                                        \
    }
static const struct state_field floppy_fields[] = {
    FDC_FIELDS(X) TRANSFER_FIELDS(X) STATE_FIELD_MAX(struct floppy_state, phase, PHASE_RESULT),
    STATE_FIELD_MAX(struct floppy_state, op, OP_SCAN),
    STATE_FIELD_MAX(struct floppy_state, scan, SCAN_HIGH_OR_EQUAL),
    STATE_BOOL(struct floppy_state, deleted_command),
    LIST(command, u8, 0xff),
    LIST(result, u8, 0xff),
    LIST(specify, u8, 0xff),
    LIST(track, u8, MAX_TRACK),
    LIST(pcn, u8, 0xff),
    LIST(seek_st0, u8, 0xff),
    LIST(seek_track, u8, MAX_TRACK),
    LIST(seek_pcn, u8, 0xff),
    LIST(changed, bool, 1),
    LIST(seeking, bool, 1),
    LIST(seek_deadline, u64, ~0ull),
    LIST(deleted, u8, 0xff),
    LIST(data, u8, 0xff),
    LIST(compare, u8, 0xff),
};
#undef X
#undef LIST

static const struct state_desc floppy_desc = {
    .name = "floppy",
    .version = 1,
    .size = sizeof(struct floppy_state),
    .fields = floppy_fields,
    .field_count = ARRAY_LEN(floppy_fields),
    .save = floppy_save,
    .check = floppy_check,
    .load = floppy_load,
};

/* --- lifecycle ---------------------------------------------------------------------------------------- */

u8 floppy_drive_type(const struct floppy *fdc, unsigned drive)
{
    return fdc->unit[drive].type;
}

static int unit_insert(struct unit *u, struct drive *drive, struct error *err)
{
    const struct floppy_format *format = NULL;
    u64 sectors = drive_sectors(drive);
    u->drive = drive;
    u->type = TYPE_WITHOUT_MEDIUM;
    u->changed = true;
    if (!drive_has_medium(drive))
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (formats[i].sectors == sectors)
            format = &formats[i];
    for (size_t i = ARRAY_LEN(formats) - 2; !format && i < ARRAY_LEN(formats); i++)
        if (formats[i].sectors > sectors)
            format = &formats[i];
    if (!format || !sectors)
        return error_set(err, EINVAL,
                         "%s has %llu bytes: a floppy disk has at most 2.88 MB (2949120), and more than none",
                         drive->block->path, (unsigned long long)drive->size);
    u->format = format;
    u->type = format->type;
    return 0;
}

void floppy_reset(struct floppy *fdc)
{
    fdc->dor = 0;
    fdc->rate = 2; /* 250 kbit/s */
    fdc->tdr = 0;
    memset(fdc->specify, 0, sizeof fdc->specify);
    fdc->last_eot = 0;
    fdc_reset(fdc, true);
}

int floppy_create(struct floppy **out, const struct device_env *env, const struct floppy_config *config,
                  struct error *err)
{
    struct floppy *fdc = calloc(1, sizeof *fdc);
    if (!fdc || state_set_add(env->state, &floppy_desc, fdc, 0) < 0) {
        free(fdc);
        return error_set(err, ENOMEM, "no memory for the floppy controller");
    }
    fdc->irq = config->irq;
    fdc->loop = env->loop;
    fdc->mem = env->mem;
    fdc->log = env->log;
    for (unsigned n = 0; n < UNITS; n++) {
        fdc->unit[n].fdc = fdc;
        timer_init(&fdc->unit[n].timer, env->loop, unit_seek_ended, &fdc->unit[n]);
    }
    int rc = 0;
    for (unsigned n = 0; n < FLOPPY_DRIVES && !rc; n++)
        if (config->drive[n])
            rc = unit_insert(&fdc->unit[n], config->drive[n], err);
    struct dma_client client = {transfer_granted, fdc};
    fdc->dma = dma_connect(config->dma, config->dma_channel, &client);
    fdc->ports = (struct port_region){"floppy", 0x3f0, REG_COUNT, &floppy_ops, fdc};
    fdc->dir_port = (struct port_region){"floppy", 0x3f7, 1, &dir_ops, fdc};
    port_map(env->mem, &fdc->ports);
    port_map(env->mem, &fdc->dir_port);
    floppy_reset(fdc);
    *out = fdc; /* a half-made one, too, goes by floppy_destroy */
    return rc;
}

void floppy_destroy(struct floppy *fdc)
{
    if (!fdc)
        return;
    for (unsigned n = 0; n < UNITS; n++)
        timer_disarm(&fdc->unit[n].timer);
    port_unmap(fdc->mem, &fdc->ports);
    port_unmap(fdc->mem, &fdc->dir_port);
    free(fdc);
}
