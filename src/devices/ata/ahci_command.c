/* Commands: from the list to the drive, and its answers back into memory (5.3, 5.6). */
#include <stdlib.h>

#include "devices/ata/ahci_impl.h"

#define HEADER_SIZE  32u
#define PACKET_AT    0x40u /* of the command table */
#define PRDT_AT      0x80u
#define PRD_SIZE     16u
#define CONTROL_SRST BIT(2)

enum header_bit { HEADER_ATAPI = BIT(5), HEADER_WRITE = BIT(6), HEADER_CLEAR_BUSY = BIT(10) };

static struct pci_function *function_of(struct ahci_port *port)
{
    return &port->hba->function;
}

/* --- what is posted to memory --- */

static void post(struct ahci_port *port, enum fis_offset at, const u8 *fis, u32 len)
{
    if (port->cmd & CMD_FRE)
        pci_dma_write(function_of(port), port->fb + at, fis, len);
}

static void fis_fill(const struct ahci_port *port, u8 *fis, enum fis_type type, bool interrupt)
{
    const struct ata_taskfile *tf = ata_taskfile(port->dev);
    memset(fis, 0, 20);
    fis[0] = (u8)type;
    fis[1] = interrupt ? 0x40 : 0;
    fis[2] = (u8)port->tfd;
    fis[3] = (u8)(port->tfd >> 8);
    for (unsigned i = 0; i < 3; i++) {
        fis[4 + i] = tf->reg[ATA_REG_LBA0 + i][0];
        fis[8 + i] = tf->reg[ATA_REG_LBA0 + i][1];
    }
    fis[7] = tf->device;
    fis[12] = tf->reg[ATA_REG_COUNT][0];
    fis[13] = tf->reg[ATA_REG_COUNT][1];
}

void ahci_post_d2h(struct ahci_port *port, bool interrupt)
{
    u8 fis[20];
    fis_fill(port, fis, FIS_D2H, interrupt);
    post(port, RFIS_D2H, fis, sizeof fis);
    if (interrupt)
        ahci_raise(port, IS_DHRS);
}

static void post_pio_setup(struct ahci_port *port, u32 len, bool to_guest, bool interrupt)
{
    u8 fis[20];
    fis_fill(port, fis, FIS_PIO_SETUP, interrupt);
    fis[1] |= to_guest ? 0x20 : 0;
    fis[2] = ATA_DRDY | ATA_DSC | ATA_DRQ;
    fis[15] = to_guest ? ATA_DRDY | ATA_DSC : ATA_BSY; /* the status afterwards */
    store_le16(fis + 16, (u16)len);
    post(port, RFIS_PIO, fis, sizeof fis);
    if (interrupt)
        ahci_raise(port, IS_PSS);
}

/* Set device bits: queued commands are done, or one has failed. */
static void post_set_bits(struct ahci_port *port, u32 done)
{
    u8 fis[8] = {FIS_SDB, 0x40, (u8)(port->tfd & 0x77), (u8)(port->tfd >> 8)};
    store_le32(fis + 4, done);
    port->sact &= ~done;
    post(port, RFIS_SDB, fis, sizeof fis);
    ahci_raise(port, IS_SDBS | (port->tfd & ATA_ERR ? IS_TFES : 0));
}

/* --- the PRD table --- */

static bool cursor_next(struct ahci_port *port, struct ahci_cursor *c, u32 max, struct dma_piece *out)
{
    if (!c->left) {
        u8 prd[PRD_SIZE];
        if (!c->left_entries || !pci_dma_read(function_of(port), c->table, prd, sizeof prd))
            return false;
        c->left_entries--;
        c->table += PRD_SIZE;
        c->address = load_le64(prd) & ~1ull;
        c->left = ((load_le32(prd + 12) & 0x3fffff) + 2) & ~1u; /* even: an odd count of bytes less one */
        if (load_le32(prd + 12) & BIT(31))
            ahci_raise(port, IS_DPS);
    }
    out->address = c->address;
    out->len = MIN(max, c->left);
    c->address += out->len;
    c->left -= out->len;
    c->moved += out->len;
    return true;
}

static bool port_dma_next(void *opaque, u32 max, struct dma_piece *out)
{
    struct ahci_port *port = opaque;
    return port->current < AHCI_SLOTS && cursor_next(port, &port->slot[port->current].cursor, max, out);
}

static bool slot_dma_next(void *opaque, u32 max, struct dma_piece *out)
{
    struct ahci_slot *slot = opaque;
    return !slot->forgotten && cursor_next(slot->port, &slot->cursor, max, out);
}

static void write_count(struct ahci_port *port, const struct ahci_slot *slot)
{
    u8 count[4];
    store_le32(count, slot->cursor.moved);
    pci_dma_write(function_of(port), slot->header + 4, count, sizeof count);
}

/* --- the drive's side --- */

static void move_block(struct ahci_port *port, bool interrupt)
{
    u32 len, moved;
    bool to_guest;
    u8 *block = ata_block(port->dev, &len, &to_guest);
    if (ata_wants_packet(port->dev)) {
        if (port->current < AHCI_SLOTS)
            pci_dma_read(function_of(port), port->slot[port->current].table + PACKET_AT, block, len);
        post_pio_setup(port, len, false, false);
    } else {
        moved = to_guest ? ata_copy_to_guest(function_of(port), port_dma_next, port, block, len)
                         : ata_copy_from_guest(function_of(port), port_dma_next, port, block, len);
        if (moved < len && port->current < AHCI_SLOTS)
            ahci_raise(port, IS_OFS);
        post_pio_setup(port, len, to_guest, interrupt);
    }
    ata_block_done(port->dev);
}

/* Blocks come one out of the other: not by recursion. */
static void port_block_ready(void *opaque, bool interrupt)
{
    struct ahci_port *port = opaque;
    port->block_pending = true;
    port->block_interrupt = interrupt;
    if (port->moving)
        return;
    port->moving = true;
    while (port->block_pending) {
        port->block_pending = false;
        move_block(port, port->block_interrupt);
    }
    port->moving = false;
}

static void port_dma_wanted(void *opaque)
{
    struct ahci_port *port = opaque;
    ata_dma_start(port->dev);
}

/* The table is too short for the data: the rest goes nowhere. */
static void port_dma_stopped(void *opaque)
{
    struct ahci_port *port = opaque;
    if (port->current < AHCI_SLOTS)
        ahci_raise(port, IS_OFS);
    ata_dma_discard(port->dev);
}

static void port_ended(void *opaque, bool interrupt)
{
    struct ahci_port *port = opaque;
    bool failed = ata_status(port->dev) & ATA_ERR;
    unsigned current = port->current;
    if (port->resetting || current == AHCI_SLOTS) { /* forgotten meanwhile */
        ahci_port_settle(port);
        ahci_port_run(port);
        return;
    }
    port->current = AHCI_SLOTS;
    port->tfd = (u32)ata_error(port->dev) << 8 | ata_status(port->dev);
    write_count(port, &port->slot[current]);
    if (failed) {
        port->stopped = true;
        ahci_post_d2h(port, true);
        ahci_raise(port, IS_TFES);
        return;
    }
    port->ci &= ~(u32)BIT(current);
    if (interrupt)
        ahci_post_d2h(port, true);
    ahci_port_run(port);
}

static void port_reset_done(void *opaque)
{
    struct ahci_port *port = opaque;
    ahci_port_signature(port);
    ahci_port_run(port);
}

const struct ata_port_ops ahci_port_ops = {
    .block_ready = port_block_ready,
    .dma_wanted = port_dma_wanted,
    .dma_next = port_dma_next,
    .ended = port_ended,
    .dma_stopped = port_dma_stopped,
    .reset_done = port_reset_done,
};

/* --- queued commands (5.6.4) --- */

static void queued_fail(struct ahci_port *port, unsigned tag)
{
    struct ahci_slot *slot = &port->slot[tag];
    ata_queued_fail(port->dev, tag, &slot->queued);
    port->tfd = (u32)ata_error(port->dev) << 8 | ata_status(port->dev);
    port->stopped = true;
    post_set_bits(port, 0);
}

static void queued_end(struct ahci_slot *slot, bool failed)
{
    struct ahci_port *port = slot->port;
    unsigned tag = (unsigned)(slot - port->slot);
    free(slot->transfer);
    slot->transfer = NULL;
    port->queued--;
    if (slot->forgotten) {
        ahci_port_settle(port);
    } else if (failed) {
        queued_fail(port, tag);
    } else {
        write_count(port, slot);
        post_set_bits(port, (u32)BIT(tag));
    }
    ahci_port_run(port);
}

static void queued_flushed(struct block_request *request, int result, const struct error *err)
{
    queued_end(request->opaque, result < 0);
}

static void queued_done(struct ata_transfer *t, enum ata_transfer_end end)
{
    struct ahci_slot *slot = t->opaque;
    if (end == ATA_TRANSFER_FAILED)
        slot->queued.sector = t->sector;
    if (end == ATA_TRANSFER_SHORT && !slot->forgotten)
        ahci_raise(slot->port, IS_OFS);
    bool durable = t->write && (slot->queued.fua || !ata_writes_are_cached(slot->port->dev));
    if (end != ATA_TRANSFER_DONE || !durable) {
        queued_end(slot, end != ATA_TRANSFER_DONE);
        return;
    }
    t->request = (struct block_request){.kind = BLOCK_FLUSH, .done = queued_flushed, .opaque = slot};
    drive_submit(t->drive, &t->request);
}

static void queued_start(struct ahci_port *port, unsigned tag, u8 command)
{
    struct ahci_slot *slot = &port->slot[tag];
    port->ci &= ~(u32)BIT(tag);
    if (!ata_queued_parse(port->dev, command, &slot->queued) ||
        !(slot->transfer = malloc(sizeof *slot->transfer))) {
        queued_fail(port, tag);
        return;
    }
    struct ata_transfer *t = slot->transfer;
    t->function = function_of(port);
    t->mem = port->hba->env.mem;
    t->drive = ata_drive(port->dev);
    t->next = slot_dma_next;
    t->done = queued_done;
    t->opaque = slot;
    t->write = slot->queued.write;
    t->sector = slot->queued.sector;
    t->left = slot->queued.count;
    slot->forgotten = false;
    port->queued++;
    port->tfd = ATA_DRDY | ATA_DSC;
    ahci_post_d2h(port, false); /* accepted */
    ata_transfer_start(t);
}

/* --- the list --- */

static bool slot_fetch(struct ahci_port *port, unsigned n, u32 *flags, u8 *fis)
{
    struct ahci_slot *slot = &port->slot[n];
    u8 header[16];
    slot->header = port->clb + (u64)n * HEADER_SIZE;
    if (!pci_dma_read(function_of(port), slot->header, header, sizeof header))
        return false;
    *flags = load_le32(header);
    slot->table = load_le64(header + 8) & ~0x7full;
    slot->cursor = (struct ahci_cursor){.table = slot->table + PRDT_AT, .left_entries = *flags >> 16};
    return pci_dma_read(function_of(port), slot->table, fis, 20) && fis[0] == FIS_H2D;
}

static void taskfile_set(struct ahci_port *port, const u8 *fis)
{
    struct ata_taskfile *tf = ata_taskfile(port->dev);
    tf->reg[ATA_REG_FEATURE][0] = fis[3];
    tf->reg[ATA_REG_FEATURE][1] = fis[11];
    tf->reg[ATA_REG_COUNT][0] = fis[12];
    tf->reg[ATA_REG_COUNT][1] = fis[13];
    for (unsigned i = 0; i < 3; i++) {
        tf->reg[ATA_REG_LBA0 + i][0] = fis[4 + i];
        tf->reg[ATA_REG_LBA0 + i][1] = fis[8 + i];
    }
    tf->device = fis[7];
}

/* A control FIS: SRST going up and down again is a reset, at whose end comes the signature. */
static void control_arrived(struct ahci_port *port, unsigned n, u8 control)
{
    bool ends = port->srst && !(control & CONTROL_SRST);
    port->srst = control & CONTROL_SRST;
    port->ci &= ~(u32)BIT(n);
    if (ends) {
        port->tfd = ATA_BSY;
        ata_device_reset(port->dev);
    }
}

/* Starts slot n; false: it has to wait. */
static bool slot_start(struct ahci_port *port, unsigned n)
{
    u8 fis[20];
    u32 flags;
    if (port->slot[n].transfer)
        return false;
    if (!slot_fetch(port, n, &flags, fis)) { /* no memory there, or nonsense in it */
        port->stopped = true;
        ahci_raise(port, IS_HBFS);
        return true;
    }
    bool queued = (fis[1] & 0x80) && (fis[2] == 0x60 || fis[2] == 0x61) && !ata_device_is_cdrom(port->dev);
    if (!queued && port->queued)
        return false;
    port->cmd = (port->cmd & ~CMD_CCS) | n << CMD_CCS_SHIFT;
    if (!(fis[1] & 0x80)) {
        control_arrived(port, n, fis[15]);
        return true;
    }
    if (port->srst) /* no commands in reset */
        return false;
    taskfile_set(port, fis);
    if (queued) {
        queued_start(port, n, fis[2]);
        return true;
    }
    port->current = n;
    port->tfd = ATA_BSY;
    ata_command(port->dev, fis[2]);
    return true;
}

static bool port_is_ready(const struct ahci_port *port)
{
    return (port->cmd & CMD_ST) && !port->stopped && !port->resetting && port->dev && port->ci &&
           port->current == AHCI_SLOTS && !(port->tfd & (ATA_BSY | ATA_DRQ)) &&
           !ata_device_is_working(port->dev) && pci_is_bus_master(&port->hba->function);
}

static bool start_next(struct ahci_port *port)
{
    for (unsigned i = 0; i < AHCI_SLOTS; i++) {
        unsigned n = (port->next + i) % AHCI_SLOTS;
        if (!(port->ci & BIT(n)))
            continue;
        if (!slot_start(port, n))
            return false; /* in order */
        port->next = (u8)((n + 1) % AHCI_SLOTS);
        return true;
    }
    return false;
}

void ahci_port_run(struct ahci_port *port)
{
    if (port->running)
        return;
    port->running = true;
    while (port_is_ready(port) && start_next(port))
        ;
    port->running = false;
}

bool ahci_port_is_working(const struct ahci_port *port)
{
    return port->queued || port->resetting || (port->dev && ata_device_is_working(port->dev));
}

void ahci_port_abandon(struct ahci_port *port)
{
    for (unsigned i = 0; i < AHCI_SLOTS; i++)
        if (port->slot[i].transfer) {
            port->slot[i].forgotten = true;
            ata_transfer_stop(port->slot[i].transfer);
        }
    port->current = AHCI_SLOTS;
    port->ci = port->sact = 0;
}
