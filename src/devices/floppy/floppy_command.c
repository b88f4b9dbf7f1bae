/* The commands (82077AA data sheet, order number 290166, chapter 5): all but those that move sectors. */
#include "devices/floppy/floppy_impl.h"

static struct unit *command_unit(struct floppy *fdc)
{
    return &fdc->unit[fdc->command[1] & 3];
}

/* Unit and head select, as ST0 and ST3 repeat them. */
static u8 command_select(const struct floppy *fdc)
{
    return fdc->command[1] & 7;
}

/* --- seeks -------------------------------------------------------------------------------------------- */

/* Microseconds between steps: SPECIFY's step rate is 16 - n milliseconds at 500 kbit/s. */
static u64 step_ns(const struct floppy *fdc)
{
    static const u8 scale[4] = {6, 10, 12, 3}; /* times 1/6, by data rate */
    return (u64)(16 - (fdc->specify[0] >> 4)) * 1000000 * scale[fdc->rate] / 6;
}

void unit_seek_ended(void *opaque)
{
    struct unit *u = opaque;
    struct floppy *fdc = u->fdc;
    u->seeking = false;
    u->track = u->seek_track;
    u->pcn = u->seek_pcn;
    fdc->seek_ended |= (u8)(1u << (u - fdc->unit));
    fdc_interrupt(fdc, true);
}

static void seek_start(struct floppy *fdc, struct unit *u, u8 track, u8 pcn, unsigned steps, u8 st0)
{
    u->seeking = true;
    u->seek_track = track;
    u->seek_pcn = pcn;
    u->seek_st0 = (u8)(st0 | ST0_SEEK_END | command_select(fdc));
    if (u->format)
        u->changed = false;
    fdc->seek_ended &= (u8) ~(1u << (u - fdc->unit));
    fdc->phase = PHASE_IDLE;
    timer_arm(&u->timer, clock_now(loop_clock(fdc->loop)) + steps * step_ns(fdc));
}

static u8 track_after(const struct unit *u, int steps)
{
    int track = u->track + steps;
    return (u8)(track < 0 ? 0 : MIN(track, MAX_TRACK));
}

static void run_seek(struct floppy *fdc)
{
    struct unit *u = command_unit(fdc);
    int steps = fdc->command[2] - u->pcn;
    seek_start(fdc, u, track_after(u, steps), fdc->command[2], (unsigned)(steps < 0 ? -steps : steps), 0);
}

/* Bit 6 of the command: towards the centre. */
static void run_relative_seek(struct floppy *fdc)
{
    struct unit *u = command_unit(fdc);
    int steps = fdc->command[0] & 0x40 ? fdc->command[2] : -fdc->command[2];
    seek_start(fdc, u, track_after(u, steps), (u8)(u->pcn + steps), fdc->command[2], 0);
}

/* Steps out until the drive says track 0, but 79 times at most; a drive that is not there never says so. */
static void run_recalibrate(struct floppy *fdc)
{
    struct unit *u = command_unit(fdc);
    unsigned steps = MIN(u->track, 79);
    fdc->command[1] &= 3;
    if (!u->drive)
        seek_start(fdc, u, 0, 0, 79, ST0_ABNORMAL | ST0_EQUIPMENT);
    else
        seek_start(fdc, u, (u8)(u->track - steps), 0, steps,
                   steps < u->track ? ST0_ABNORMAL | ST0_EQUIPMENT : 0);
}

static void run_sense_interrupt(struct floppy *fdc)
{
    unsigned n = 0;
    bool seek = fdc->seek_ended;
    u8 pending = seek ? fdc->seek_ended : fdc->reset_pending;
    if (!pending) {
        fdc->result[0] = ST0_INVALID;
        fdc_result(fdc, 1, false);
        return;
    }
    while (!(pending & 1u << n))
        n++;
    fdc->result[0] = seek ? fdc->unit[n].seek_st0 : (u8)(ST0_READY_CHANGED | n);
    fdc->result[1] = fdc->unit[n].pcn;
    if (seek)
        fdc->seek_ended &= (u8) ~(1u << n);
    else
        fdc->reset_pending &= (u8) ~(1u << n);
    fdc_interrupt(fdc, false);
    fdc_result(fdc, 2, false);
    if (fdc->seek_ended)
        fdc_interrupt(fdc, true);
}

/* --- modes and status --------------------------------------------------------------------------------- */

static void run_specify(struct floppy *fdc)
{
    fdc->specify[0] = fdc->command[1];
    fdc->specify[1] = fdc->command[2];
    fdc->phase = PHASE_IDLE;
}

static void run_sense_drive(struct floppy *fdc)
{
    const struct unit *u = command_unit(fdc);
    u8 st3 = (u8)(0x28 | command_select(fdc)); /* ready and two-sided are tied high */
    if (u->drive && u->track == 0)
        st3 |= BIT(4);
    if (u->drive && u->format && u->drive->readonly)
        st3 |= BIT(6);
    fdc->result[0] = st3;
    fdc_result(fdc, 1, false);
}

static void run_version(struct floppy *fdc)
{
    fdc->result[0] = 0x90;
    fdc_result(fdc, 1, false);
}

/* As the 82078 (44 pins) answers, which has nothing that matters here and the 82077AA has not. */
static void run_part_id(struct floppy *fdc)
{
    fdc->result[0] = 0x41;
    fdc_result(fdc, 1, false);
}

static void run_power_down_mode(struct floppy *fdc)
{
    fdc->result[0] = fdc->command[1];
    fdc_result(fdc, 1, false);
}

static void run_configure(struct floppy *fdc)
{
    fdc->config = fdc->command[2] & 0x7f;
    fdc->precompensation = fdc->command[3];
    fdc->phase = PHASE_IDLE;
}

static void run_perpendicular(struct floppy *fdc)
{
    /* The drives' bits change only with OW. */
    u8 keep = fdc->command[1] & 0x80 ? 0 : 0x3c;
    fdc->perpendicular = (u8)((fdc->perpendicular & keep) | (fdc->command[1] & 0x3f & ~keep));
    fdc->phase = PHASE_IDLE;
}

static void run_lock(struct floppy *fdc)
{
    fdc->locked = fdc->command[0] & 0x80;
    fdc->result[0] = (u8)(fdc->locked << 4);
    fdc_result(fdc, 1, false);
}

static void run_dump_registers(struct floppy *fdc)
{
    u8 *r = fdc->result;
    for (unsigned n = 0; n < UNITS; n++)
        r[n] = fdc->unit[n].pcn;
    r[4] = fdc->specify[0];
    r[5] = fdc->specify[1];
    r[6] = fdc->last_eot;
    r[7] = (u8)(fdc->locked << 7 | fdc->perpendicular);
    r[8] = fdc->config;
    r[9] = fdc->precompensation;
    fdc_result(fdc, 10, false);
}

static void run_invalid(struct floppy *fdc)
{
    fdc->result[0] = ST0_INVALID;
    fdc_result(fdc, 1, false);
}

/* --- the table ---------------------------------------------------------------------------------------- */

static const struct command {
    u8 mask, code, length;
    void (*run)(struct floppy *fdc);
} commands[] = {
    {0x1f, 0x06, 9, transfer_read},       /* READ DATA */
    {0x1f, 0x0c, 9, transfer_read},       /* READ DELETED DATA */
    {0x3f, 0x05, 9, transfer_write},      /* WRITE DATA */
    {0x3f, 0x09, 9, transfer_write},      /* WRITE DELETED DATA */
    {0xbf, 0x02, 9, transfer_read_track}, /* READ TRACK */
    {0x1f, 0x16, 9, transfer_verify},     /* VERIFY */
    {0x1f, 0x11, 9, transfer_scan},       /* SCAN EQUAL */
    {0x1f, 0x19, 9, transfer_scan},       /* SCAN LOW OR EQUAL */
    {0x1f, 0x1d, 9, transfer_scan},       /* SCAN HIGH OR EQUAL */
    {0xbf, 0x0d, 6, transfer_format},     /* FORMAT TRACK */
    {0xbf, 0x0a, 2, transfer_read_id},    /* READ ID */
    {0xff, 0x07, 2, run_recalibrate},     /* RECALIBRATE */
    {0xff, 0x08, 1, run_sense_interrupt}, /* SENSE INTERRUPT STATUS */
    {0xff, 0x03, 3, run_specify},         /* SPECIFY */
    {0xff, 0x04, 2, run_sense_drive},     /* SENSE DRIVE STATUS */
    {0xff, 0x0f, 3, run_seek},            /* SEEK */
    {0xbf, 0x8f, 3, run_relative_seek},   /* RELATIVE SEEK */
    {0xff, 0x13, 4, run_configure},       /* CONFIGURE */
    {0xff, 0x0e, 1, run_dump_registers},  /* DUMPREG */
    {0xff, 0x12, 2, run_perpendicular},   /* PERPENDICULAR MODE */
    {0x7f, 0x14, 1, run_lock},            /* LOCK */
    {0xff, 0x10, 1, run_version},         /* VERSION */
    {0xff, 0x18, 1, run_part_id},         /* PART ID */
    {0xff, 0x17, 2, run_power_down_mode}, /* POWERDOWN MODE */
    {0x00, 0x00, 1, run_invalid},
};

static const struct command *command_find(u8 first)
{
    const struct command *c = commands;
    while ((first & c->mask) != c->code)
        c++;
    return c;
}

unsigned fdc_command_length(u8 first)
{
    return command_find(first)->length;
}

void fdc_command_run(struct floppy *fdc)
{
    command_find(fdc->command[0])->run(fdc);
}
