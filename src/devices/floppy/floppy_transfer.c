/*
 * The commands that move sectors. Each goes from sector to sector: find its address mark, do the I/O,
 * exchange data with the host (before it, when writing), step to the next (82077AA data sheet, 5.1 and table
 * 5-3).
 */
#include "devices/floppy/floppy_impl.h"

static void sector_start(struct floppy *fdc);
static void data_done(struct floppy *fdc);

/* --- the end ------------------------------------------------------------------------------------------ */

static void transfer_end(struct floppy *fdc, u8 st0)
{
    const struct transfer *t = &fdc->transfer;
    u8 *r = fdc->result;
    dma_request(&fdc->dma, false);
    r[0] = (u8)(st0 | t->head << 2 | t->unit);
    r[1] = t->st1;
    r[2] = t->st2;
    r[3] = t->c;
    r[4] = t->h;
    r[5] = t->r;
    r[6] = t->n;
    fdc_result(fdc, 7, true);
}

static void transfer_fail(struct floppy *fdc, u8 st1, u8 st2)
{
    fdc->transfer.st1 |= st1;
    fdc->transfer.st2 |= st2;
    transfer_end(fdc, ST0_ABNORMAL);
}

/* --- I/O ---------------------------------------------------------------------------------------------- */

static void io_done(struct block_request *request, int result, const struct error *err);

static bool io_is_write(const struct transfer *t)
{
    return t->op == OP_WRITE || t->op == OP_FORMAT;
}

static void io_submit(struct floppy *fdc)
{
    const struct transfer *t = &fdc->transfer;
    if (io_is_write(t))
        memcpy(fdc->io_data, t->data, SECTOR_SIZE);
    fdc->io = (struct block_request){
        .kind = io_is_write(t) ? BLOCK_WRITE : BLOCK_READ,
        .offset = (u64)t->lba * SECTOR_SIZE,
        .len = SECTOR_SIZE,
        .buf = fdc->io_data,
        .done = io_done,
        .opaque = fdc,
    };
    fdc->io_busy = true;
    drive_submit(fdc->unit[t->unit].drive, &fdc->io);
}

static void io_finish(struct floppy *fdc, int result);

/* An image that ends early reads as zeroes from there on, and cannot be written there. */
static void io_start(struct floppy *fdc)
{
    struct transfer *t = &fdc->transfer;
    fdc->phase = PHASE_IO;
    if (t->lba >= drive_sectors(fdc->unit[t->unit].drive)) {
        memset(fdc->io_data, 0, SECTOR_SIZE);
        io_finish(fdc, io_is_write(t) ? -ENOSPC : 0);
    } else if (!fdc->io_busy) {
        io_submit(fdc);
    }
}

static void io_done(struct block_request *request, int result, const struct error *err)
{
    struct floppy *fdc = request->opaque;
    bool abandoned = fdc->io_abandoned;
    fdc->io_busy = fdc->io_abandoned = false;
    if (result)
        log_warn(fdc->log, "floppy: %s", err && err->message[0] ? err->message : "an input/output error");
    if (!abandoned)
        io_finish(fdc, result);
    else if (fdc->phase == PHASE_IO)
        io_start(fdc);
}

void transfer_abandon(struct floppy *fdc)
{
    fdc->io_abandoned = fdc->io_busy;
}

void transfer_resume(struct floppy *fdc)
{
    if (fdc->phase == PHASE_IO)
        io_start(fdc);
}

/* --- sectors ------------------------------------------------------------------------------------------ */

static bool sector_deleted(const struct unit *u, unsigned lba)
{
    return u->deleted[lba / 8] >> (lba & 7) & 1;
}

static void sector_mark(struct unit *u, unsigned lba, bool deleted)
{
    u8 bit = (u8)(1u << (lba & 7));
    u->deleted[lba / 8] = deleted ? u->deleted[lba / 8] | bit : u->deleted[lba / 8] & (u8)~bit;
}

/* The medium can be read: it is there, it turns under a head, and the data rate is its own. */
static bool medium_is_legible(const struct floppy *fdc, const struct transfer *t)
{
    const struct unit *u = &fdc->unit[t->unit];
    bool mfm = fdc->command[0] & 0x40;
    return u->format && mfm && fdc->rate == u->format->rate && u->track < u->format->cylinders &&
           t->head < u->format->heads;
}

/* The address mark c, h, r, n under the head; false: the command has failed. */
static bool sector_find(struct floppy *fdc)
{
    struct transfer *t = &fdc->transfer;
    const struct unit *u = &fdc->unit[t->unit];
    if (!medium_is_legible(fdc, t)) {
        transfer_fail(fdc, ST1_MISSING_MARK, 0);
        return false;
    }
    if (t->c != u->track) {
        transfer_fail(fdc, ST1_NO_DATA, ST2_WRONG_CYLINDER);
        return false;
    }
    if (t->h != t->head || t->n != 2 || t->r < 1 || t->r > u->format->per_track) {
        transfer_fail(fdc, ST1_NO_DATA, 0);
        return false;
    }
    t->lba = (u16)((u->track * u->format->heads + t->head) * u->format->per_track + t->r - 1);
    return true;
}

/* The address of the next sector, as the results have it, too (table 5-3); false: there is none. */
static bool address_advance(struct transfer *t)
{
    if (t->r != t->eot) {
        t->r = (u8)(t->r + t->step);
        return true;
    }
    t->r = 1;
    if (t->multi_track)
        t->h ^= 1;
    if (t->multi_track && t->head == 0) {
        t->head = 1;
        return true;
    }
    t->c++;
    return false;
}

/* A command's bytes 1 to 8. Seeks first if that is implied. False: the command has failed. */
static bool transfer_begin(struct floppy *fdc, enum operation op)
{
    const u8 *command = fdc->command;
    struct transfer *t = &fdc->transfer;
    *t = (struct transfer){
        .op = op,
        .multi_track = command[0] & 0x80,
        .skip = command[0] & 0x20,
        .unit = command[1] & 3,
        .head = command[1] >> 2 & 1,
        .c = command[2],
        .h = command[3],
        .r = command[4],
        .n = command[5],
        .eot = command[6],
        .step = 1,
    };
    struct unit *u = &fdc->unit[t->unit];
    fdc->last_eot = t->eot;
    if (fdc->config & CONFIG_IMPLIED_SEEK && u->pcn != t->c) {
        int track = u->track + t->c - u->pcn;
        u->track = (u8)(track < 0 ? 0 : MIN(track, MAX_TRACK));
        u->pcn = t->c;
        if (u->format)
            u->changed = false;
    }
    if (io_is_write(t) && u->format && u->drive->readonly) {
        transfer_fail(fdc, ST1_NOT_WRITABLE, 0);
        return false;
    }
    return true;
}

/* --- data of the host --------------------------------------------------------------------------------- */

bool transfer_to_host(const struct floppy *fdc)
{
    return fdc->transfer.op == OP_READ || fdc->transfer.op == OP_READ_TRACK;
}

/* Asks for `len` bytes, by DMA or by interrupts. */
static void data_exchange(struct floppy *fdc, unsigned len)
{
    fdc->phase = PHASE_DATA;
    fdc->transfer.pos = 0;
    fdc->transfer.len = (u16)len;
    if (fdc_non_dma(fdc))
        fdc_interrupt(fdc, true);
    else
        dma_request(&fdc->dma, fdc->dor & DOR_GATE);
}

static u8 *data_buffer(struct transfer *t)
{
    return t->op == OP_SCAN ? t->compare : t->data;
}

void transfer_granted(void *opaque)
{
    struct floppy *fdc = opaque;
    struct transfer *t = &fdc->transfer;
    if (fdc->phase != PHASE_DATA || fdc_non_dma(fdc)) {
        dma_request(&fdc->dma, false);
        return;
    }
    t->pos += (u16)dma_transfer(&fdc->dma, transfer_to_host(fdc) ? DMA_TO_MEMORY : DMA_FROM_MEMORY,
                                data_buffer(t) + t->pos, (size_t)(t->len - t->pos), &t->tc);
    if (t->tc || t->pos == t->len) {
        dma_request(&fdc->dma, false);
        data_done(fdc);
    }
}

/* An interrupt for every FIFO's worth of bytes, or for each if the FIFO is off. */
static void byte_done(struct floppy *fdc)
{
    struct transfer *t = &fdc->transfer;
    unsigned threshold = fdc->config & CONFIG_NO_FIFO ? 1 : (fdc->config & CONFIG_THRESHOLD) + 1u;
    fdc_interrupt(fdc, false);
    if (t->pos == t->len)
        data_done(fdc);
    else if (t->pos % threshold == 0)
        fdc_interrupt(fdc, true);
}

u8 transfer_take_byte(struct floppy *fdc)
{
    struct transfer *t = &fdc->transfer;
    u8 value = t->data[t->pos++];
    byte_done(fdc);
    return value;
}

void transfer_give_byte(struct floppy *fdc, u8 value)
{
    struct transfer *t = &fdc->transfer;
    data_buffer(t)[t->pos++] = value;
    byte_done(fdc);
}

/* --- from sector to sector ---------------------------------------------------------------------------- */

/* After the last sector that the command's addresses allow. */
static void transfer_exhausted(struct floppy *fdc)
{
    struct transfer *t = &fdc->transfer;
    if (t->op == OP_VERIFY && !t->counted)
        transfer_end(fdc, 0);
    else
        transfer_fail(fdc, ST1_END_OF_CYLINDER, 0);
}

static void sector_done(struct floppy *fdc)
{
    struct transfer *t = &fdc->transfer;
    u8 head = t->head;
    bool more = address_advance(t);
    bool last = t->counted && --t->left == 0;
    if (t->tc || last || t->st2 & ST2_CONTROL_MARK) {
        t->head = head; /* the address is the next one, the head has not moved on */
        transfer_end(fdc, 0);
    } else if (more)
        sector_start(fdc);
    else
        transfer_exhausted(fdc);
}

/* READ TRACK takes the sectors as they come, whatever their addresses; those that the command names are
 * compared. */
static void read_track_next(struct floppy *fdc)
{
    struct transfer *t = &fdc->transfer;
    if (t->index == t->eot || t->tc) {
        transfer_end(fdc, t->tc ? 0 : ST0_ABNORMAL);
        return;
    }
    if (!medium_is_legible(fdc, t)) {
        transfer_fail(fdc, ST1_MISSING_MARK, 0);
        return;
    }
    const struct unit *u = &fdc->unit[t->unit];
    unsigned r = t->index % u->format->per_track + 1u;
    if (t->c != u->track || t->h != t->head || t->r != r || t->n != 2)
        t->st1 |= ST1_NO_DATA;
    t->index++;
    t->r++;
    t->lba = (u16)((u->track * u->format->heads + t->head) * u->format->per_track + r - 1);
    io_start(fdc);
}

static void format_next(struct floppy *fdc)
{
    struct transfer *t = &fdc->transfer;
    if (!t->left || t->tc)
        transfer_end(fdc, 0);
    else if (medium_is_legible(fdc, t))
        data_exchange(fdc, 4);
    else
        transfer_fail(fdc, ST1_MISSING_MARK, 0);
}

/* Reads to find (or skips) the sector at c, h, r, or takes the host's data for it. */
static void sector_start(struct floppy *fdc)
{
    struct transfer *t = &fdc->transfer;
    if (!sector_find(fdc))
        return;
    if (t->op == OP_WRITE) {
        data_exchange(fdc, SECTOR_SIZE);
        return;
    }
    if (sector_deleted(&fdc->unit[t->unit], t->lba) != t->deleted) {
        if (t->skip) {
            sector_done(fdc);
            return;
        }
        t->st2 |= ST2_CONTROL_MARK; /* this one, and no more */
    }
    io_start(fdc);
}

/* The sector's I/O is over. */
static void io_finish(struct floppy *fdc, int result)
{
    struct transfer *t = &fdc->transfer;
    if (result == -ENOSPC && io_is_write(t))
        transfer_fail(fdc, ST1_NO_DATA, 0);
    else if (result && io_is_write(t))
        transfer_end(fdc, ST0_ABNORMAL | ST0_EQUIPMENT);
    else if (result)
        transfer_fail(fdc, ST1_DATA_ERROR, ST2_DATA_ERROR);
    else if (t->op == OP_FORMAT)
        format_next(fdc);
    else if (t->op == OP_WRITE || t->op == OP_VERIFY)
        sector_done(fdc);
    else {
        memcpy(t->data, fdc->io_data, SECTOR_SIZE);
        data_exchange(fdc, SECTOR_SIZE);
    }
}

/* A sector with the four bytes of address that the host gave. One that the image has no place for is not
 * stored. */
static void format_sector(struct floppy *fdc)
{
    struct transfer *t = &fdc->transfer;
    struct unit *u = &fdc->unit[t->unit];
    u8 address[4];
    memcpy(address, t->data, sizeof address);
    t->left--;
    if (!medium_is_legible(fdc, t) || address[0] != u->track || address[1] != t->head || address[2] < 1 ||
        address[2] > u->format->per_track || address[3] != 2) {
        format_next(fdc);
        return;
    }
    t->lba = (u16)((u->track * u->format->heads + t->head) * u->format->per_track + address[2] - 1);
    sector_mark(u, t->lba, false);
    memset(t->data, t->filler, SECTOR_SIZE);
    io_start(fdc);
}

/* FFh on either side matches everything (8272A data sheet, "Scan commands"). */
static void scan_sector(struct floppy *fdc)
{
    struct transfer *t = &fdc->transfer;
    int order = 0;
    for (unsigned i = 0; i < t->pos && !order; i++)
        if (t->data[i] != 0xff && t->compare[i] != 0xff)
            order = t->data[i] - t->compare[i];
    t->scan_equal = order == 0;
    t->scan_hit = order == 0 || (t->scan == SCAN_LOW_OR_EQUAL && order < 0) ||
                  (t->scan == SCAN_HIGH_OR_EQUAL && order > 0);
    t->st2 &= (u8) ~(ST2_SCAN_EQUAL | ST2_SCAN_UNSATISFIED);
    t->st2 |= t->scan_equal ? ST2_SCAN_EQUAL : t->scan_hit ? 0 : ST2_SCAN_UNSATISFIED;
    if (t->scan_hit)
        transfer_end(fdc, 0);
    else
        sector_done(fdc);
}

/* The host has taken or given what was asked for, or ended it with TC. */
static void data_done(struct floppy *fdc)
{
    struct transfer *t = &fdc->transfer;
    switch (t->op) {
    case OP_READ:
        sector_done(fdc);
        break;
    case OP_READ_TRACK:
        read_track_next(fdc);
        break;
    case OP_WRITE:
        memset(t->data + t->pos, 0, (size_t)(SECTOR_SIZE - t->pos));
        sector_mark(&fdc->unit[t->unit], t->lba, t->deleted);
        io_start(fdc);
        break;
    case OP_FORMAT:
        if (t->pos < 4)
            transfer_end(fdc, 0);
        else
            format_sector(fdc);
        break;
    case OP_SCAN:
        scan_sector(fdc);
        break;
    case OP_VERIFY: /* asks for nothing */
        break;
    }
}

/* --- the commands ------------------------------------------------------------------------------------- */

void transfer_read(struct floppy *fdc)
{
    if (!transfer_begin(fdc, OP_READ))
        return;
    fdc->transfer.deleted = (fdc->command[0] & 0x1f) == 0x0c;
    sector_start(fdc);
}

void transfer_write(struct floppy *fdc)
{
    if (!transfer_begin(fdc, OP_WRITE))
        return;
    fdc->transfer.deleted = (fdc->command[0] & 0x1f) == 0x09;
    sector_start(fdc);
}

/* With EC (bit 7 of the second byte) DTL is a number of sectors. */
void transfer_verify(struct floppy *fdc)
{
    if (!transfer_begin(fdc, OP_VERIFY))
        return;
    fdc->transfer.counted = fdc->command[1] & 0x80;
    fdc->transfer.left = fdc->command[8];
    sector_start(fdc);
}

void transfer_scan(struct floppy *fdc)
{
    if (!transfer_begin(fdc, OP_SCAN))
        return;
    u8 code = fdc->command[0] & 0x1f;
    fdc->transfer.scan = code == 0x11 ? SCAN_EQUAL : code == 0x19 ? SCAN_LOW_OR_EQUAL : SCAN_HIGH_OR_EQUAL;
    fdc->transfer.step = fdc->command[8] == 2 ? 2 : 1;
    sector_start(fdc);
}

void transfer_read_track(struct floppy *fdc)
{
    if (!transfer_begin(fdc, OP_READ_TRACK))
        return;
    read_track_next(fdc);
}

void transfer_format(struct floppy *fdc)
{
    u8 n = fdc->command[2], count = fdc->command[3], filler = fdc->command[5];
    fdc->command[2] = fdc->unit[fdc->command[1] & 3].pcn; /* no address here: no implied seek */
    if (!transfer_begin(fdc, OP_FORMAT))
        return;
    struct transfer *t = &fdc->transfer;
    t->n = n;
    t->eot = fdc->last_eot = t->left = count;
    t->filler = filler;
    format_next(fdc);
}

#define TURN_NS 200000000ull /* 300 rpm */

/* The sector that comes along now. */
void transfer_read_id(struct floppy *fdc)
{
    struct transfer *t = &fdc->transfer;
    *t = (struct transfer){.unit = fdc->command[1] & 3, .head = fdc->command[1] >> 2 & 1};
    const struct unit *u = &fdc->unit[t->unit];
    if (!medium_is_legible(fdc, t)) {
        transfer_fail(fdc, ST1_MISSING_MARK, 0);
        return;
    }
    u64 angle = clock_now(loop_clock(fdc->loop)) % TURN_NS;
    t->c = u->track;
    t->h = t->head;
    t->r = (u8)(angle * u->format->per_track / TURN_NS + 1);
    t->n = 2;
    transfer_end(fdc, 0);
}
