#include "devices/ata/ide_channel.h"

#include "base/bytes.h"

enum control_bit { CONTROL_NIEN = BIT(1), CONTROL_SRST = BIT(2), CONTROL_HOB = BIT(7) };

enum bm_command_bit { BM_START = BIT(0), BM_TO_MEMORY = BIT(3) };
enum bm_status_bit {
    BM_ACTIVE = BIT(0),
    BM_ERROR = BIT(1),
    BM_INTERRUPT = BIT(2),
    BM_CAPABLE = BIT(5) | BIT(6),
};

/* A physical region descriptor: address, byte count in the low half of the second doubleword. */
#define PRD_SIZE 8u
#define PRD_LAST BIT(31)

static const struct {
    u16 command, control;
} legacy_ports[IDE_CHANNELS] = {{0x1f0, 0x3f6}, {0x170, 0x376}};

#define CMD_DIAGNOSTIC 0x90

static struct ide_port *selected(struct ide_channel *ch)
{
    return &ch->port[ch->slave];
}

/* --- INTRQ --- */

static void irq_update(struct ide_channel *ch)
{
    bool level = *selected(ch)->intrq && selected(ch)->dev && !(ch->control & CONTROL_NIEN);
    if (level && !ch->line)
        ch->bm_status |= BM_INTERRUPT;
    ch->line = level;
    irq_set(&ch->irq, level);
}

static void intrq_set(struct ide_port *port, bool level)
{
    *port->intrq = level;
    irq_update(port->channel);
}

/* --- what the drives ask for --- */

static void port_block_ready(void *opaque, bool interrupt)
{
    struct ide_port *port = opaque;
    port->channel->data_pos = 0;
    if (interrupt)
        intrq_set(port, true);
}

/* The drive is done with all that the descriptors name: the bus master is, too. */
static void port_ended(void *opaque, bool interrupt)
{
    struct ide_port *port = opaque;
    struct ide_channel *ch = port->channel;
    if (!ch->piece_left && ch->prd_last)
        ch->bm_status &= (u8)~BM_ACTIVE;
    if (interrupt)
        intrq_set(port, true);
}

static void port_dma_wanted(void *opaque)
{
    struct ide_port *port = opaque;
    if (port->channel->bm_status & BM_ACTIVE)
        ata_dma_start(port->dev);
}

static bool prd_fetch(struct ide_channel *ch)
{
    u8 prd[PRD_SIZE];
    if (!pci_dma_read(ch->function, ch->prd_next, prd, sizeof prd)) {
        ch->bm_status |= BM_ERROR;
        return false;
    }
    u32 count = load_le32(prd + 4);
    ch->piece_address = load_le32(prd) & ~1u;
    ch->piece_left = count & 0xfffe;
    if (!ch->piece_left)
        ch->piece_left = 0x10000;
    ch->prd_last = count & PRD_LAST;
    /* A table does not cross 64 KiB. */
    ch->prd_next = (ch->prd_next & 0xffff0000) | ((ch->prd_next + PRD_SIZE) & 0xffff);
    return true;
}

static bool port_dma_next(void *opaque, u32 max, struct dma_piece *out)
{
    struct ide_channel *ch = ((struct ide_port *)opaque)->channel;
    if (!(ch->bm_status & BM_ACTIVE))
        return false;
    if (!ch->piece_left && (ch->prd_last || !prd_fetch(ch))) {
        ch->bm_status &= (u8)~BM_ACTIVE;
        return false;
    }
    out->address = ch->piece_address;
    out->len = MIN(max, ch->piece_left);
    ch->piece_address += out->len;
    ch->piece_left -= out->len;
    return true;
}

static void port_dma_stopped(void *opaque)
{
    struct ide_port *port = opaque;
    port_dma_wanted(port); /* the guest may have started it anew meanwhile */
}

static void port_reset_done(void *opaque)
{
    intrq_set(opaque, false);
}

static const struct ata_port_ops port_ops = {
    .block_ready = port_block_ready,
    .dma_wanted = port_dma_wanted,
    .dma_next = port_dma_next,
    .ended = port_ended,
    .dma_stopped = port_dma_stopped,
    .reset_done = port_reset_done,
};

/* --- the bus master's registers --- */

static void bm_write_command(struct ide_channel *ch, u8 value)
{
    bool starts = (value & BM_START) && !(ch->bm_command & BM_START);
    ch->bm_command = value & (BM_START | BM_TO_MEMORY);
    if (!(value & BM_START)) {
        ch->bm_status &= (u8)~BM_ACTIVE;
        return;
    }
    if (!starts)
        return;
    ch->bm_status |= BM_ACTIVE;
    ch->prd_next = ch->bm_table;
    ch->piece_left = 0;
    ch->prd_last = false;
    struct ata_device *dev = selected(ch)->dev;
    if (dev && ata_wants_dma(dev))
        ata_dma_start(dev);
}

u8 ide_bm_read(struct ide_channel *ch, unsigned offset)
{
    switch (offset) {
    case 0:
        return ch->bm_command;
    case 2:
        return ch->bm_status;
    case 4 ... 7:
        return (u8)(ch->bm_table >> (8 * (offset - 4)));
    default:
        return 0xff;
    }
}

void ide_bm_write(struct ide_channel *ch, unsigned offset, u8 value)
{
    unsigned shift = 8 * (offset & 3);
    switch (offset) {
    case 0:
        bm_write_command(ch, value);
        break;
    case 2:
        ch->bm_status &= (u8) ~(value & (BM_ERROR | BM_INTERRUPT));
        ch->bm_status = (u8)((ch->bm_status & ~BM_CAPABLE) | (value & BM_CAPABLE));
        break;
    case 4 ... 7:
        ch->bm_table = ((ch->bm_table & ~(0xffu << shift)) | (u32)value << shift) & ~3u;
        break;
    default:
        break;
    }
}

/* --- the data port --- */

static u64 data_read(struct ide_channel *ch, unsigned size)
{
    struct ata_device *dev = selected(ch)->dev;
    u32 len;
    bool in;
    u64 value = 0;
    if (!dev)
        return MASK(8 * size);
    const u8 *block = ata_block(dev, &len, &in);
    if (!in || ch->data_pos >= len)
        return MASK(8 * size);
    for (unsigned i = 0; i < size && ch->data_pos < len; i++)
        value |= (u64)block[ch->data_pos++] << (8 * i);
    if (ch->data_pos == len)
        ata_block_done(dev);
    return value;
}

static void data_write(struct ide_channel *ch, unsigned size, u64 value)
{
    struct ata_device *dev = selected(ch)->dev;
    u32 len;
    bool in;
    if (!dev)
        return;
    u8 *block = ata_block(dev, &len, &in);
    if (in || ch->data_pos >= len)
        return;
    for (unsigned i = 0; i < size && ch->data_pos < len; i++)
        block[ch->data_pos++] = (u8)(value >> (8 * i));
    if (ch->data_pos == len)
        ata_block_done(dev);
}

/* --- command block and control block --- */

/* A drive that is not there: the other one answers for device 1 with a status of 0 (the host sees
 * that from the pull-ups). An empty channel reads as zeroes, which no drive's registers do. */
static u8 status_read(const struct ide_channel *ch)
{
    const struct ata_device *dev = ch->port[ch->slave].dev;
    if (!dev)
        return 0;
    if (ch->control & CONTROL_SRST)
        return ATA_BSY;
    return ata_status(dev);
}

static u8 register_read(struct ide_channel *ch, unsigned reg)
{
    struct ata_device *dev = selected(ch)->dev;
    struct ata_device *answers = dev ? dev : ch->port[0].dev;
    bool hob = ch->control & CONTROL_HOB;
    if (reg == ATA_REG_COMMAND) {
        u8 status = status_read(ch);
        intrq_set(selected(ch), false);
        return status;
    }
    if (!answers)
        return 0;
    if (reg == ATA_REG_DEVICE)
        return (u8)((ata_taskfile(answers)->device & ~ATA_DEV) | 0xa0 | (ch->slave ? ATA_DEV : 0));
    if (reg == ATA_REG_FEATURE)
        return ata_error(answers);
    return ata_taskfile(answers)->reg[reg][hob];
}

static void diagnose(struct ide_channel *ch)
{
    for (unsigned i = 0; i < IDE_DEVICES; i++) {
        *ch->port[i].intrq = false;
        if (ch->port[i].dev)
            ata_diagnose(ch->port[i].dev);
    }
    ch->slave = false;
    *ch->port[0].intrq = ch->port[0].dev;
    irq_update(ch);
}

static void command_write(struct ide_channel *ch, u8 command)
{
    struct ata_device *dev = selected(ch)->dev;
    if (ch->control & CONTROL_SRST)
        return;
    if (command == CMD_DIAGNOSTIC && !(dev && (ata_status(dev) & ATA_BSY))) {
        diagnose(ch);
        return;
    }
    if (!dev)
        return;
    intrq_set(selected(ch), false);
    ata_command(dev, command);
}

static void register_write(struct ide_channel *ch, unsigned reg, u8 value)
{
    ch->control &= (u8)~CONTROL_HOB;
    if (reg == ATA_REG_COMMAND) {
        command_write(ch, value);
        return;
    }
    for (unsigned i = 0; i < IDE_DEVICES; i++) {
        if (!ch->port[i].dev)
            continue;
        struct ata_taskfile *tf = ata_taskfile(ch->port[i].dev);
        if (reg == ATA_REG_DEVICE) {
            tf->device = value;
        } else {
            tf->reg[reg][1] = tf->reg[reg][0];
            tf->reg[reg][0] = value;
        }
    }
    if (reg == ATA_REG_DEVICE) {
        ch->slave = value & ATA_DEV;
        irq_update(ch);
    }
}

static u64 command_read_port(void *opaque, u64 offset, unsigned size)
{
    struct ide_channel *ch = opaque;
    u64 value = 0;
    if (offset == ATA_REG_DATA)
        return data_read(ch, size);
    for (unsigned i = 0; i < size; i++)
        value |= (u64)register_read(ch, (unsigned)offset + i) << (8 * i);
    return value;
}

static void command_write_port(void *opaque, u64 offset, unsigned size, u64 value)
{
    struct ide_channel *ch = opaque;
    if (offset == ATA_REG_DATA) {
        data_write(ch, size, value);
        return;
    }
    for (unsigned i = 0; i < size; i++)
        register_write(ch, (unsigned)offset + i, (u8)(value >> (8 * i)));
}

static u64 control_read_port(void *opaque, u64 offset, unsigned size)
{
    return status_read(opaque);
}

static void control_write_port(void *opaque, u64 offset, unsigned size, u64 value)
{
    struct ide_channel *ch = opaque;
    bool reset = (value & CONTROL_SRST) && !(ch->control & CONTROL_SRST);
    ch->control = value & (CONTROL_NIEN | CONTROL_SRST | CONTROL_HOB);
    if (reset) {
        ch->slave = false;
        for (unsigned i = 0; i < IDE_DEVICES; i++) {
            *ch->port[i].intrq = false;
            if (ch->port[i].dev)
                ata_device_reset(ch->port[i].dev);
        }
    }
    irq_update(ch);
}

static const struct io_ops command_ops = {command_read_port, command_write_port, .max_size = 4};
static const struct io_ops control_ops = {control_read_port, control_write_port, .max_size = 1};

void ide_channel_map(struct ide_channel *ch, bool on)
{
    if (on) {
        port_map(ch->env.mem, &ch->command_ports);
        port_map(ch->env.mem, &ch->control_port);
    } else {
        port_unmap(ch->env.mem, &ch->command_ports);
        port_unmap(ch->env.mem, &ch->control_port);
    }
}

/* --- saved state --- */

struct ide_channel_state {
#define X(type, name, max) type name;
    IDE_CHANNEL_FIELDS(X)
#undef X
};

#define X(type, name, max) {#name, offsetof(struct ide_channel_state, name), sizeof(type), 1, max},
static const struct state_field ide_channel_fields[] = {IDE_CHANNEL_FIELDS(X)};
#undef X

static void ide_channel_save(const void *dev, void *out)
{
    const struct ide_channel *ch = dev;
    struct ide_channel_state *s = out;
#define X(type, name, max) s->name = ch->name;
    IDE_CHANNEL_FIELDS(X)
#undef X
}

static void ide_channel_load(void *dev, const void *in)
{
    struct ide_channel *ch = dev;
    const struct ide_channel_state *s = in;
#define X(type, name, max) ch->name = s->name;
    IDE_CHANNEL_FIELDS(X)
#undef X
    ch->bm_status &= BM_ACTIVE | BM_ERROR | BM_INTERRUPT | BM_CAPABLE;
    ch->piece_address &= ~1u;
    ch->piece_left &= ~1u;
}

static const struct state_desc ide_channel_desc = {
    .name = "ide-channel",
    .version = 1,
    .size = sizeof(struct ide_channel_state),
    .fields = ide_channel_fields,
    .field_count = ARRAY_LEN(ide_channel_fields),
    .save = ide_channel_save,
    .load = ide_channel_load,
};

/* --- lifecycle --- */

void ide_channel_reset(struct ide_channel *ch)
{
#define X(type, name, max) ch->name = 0;
    IDE_CHANNEL_FIELDS(X)
#undef X
    for (unsigned i = 0; i < IDE_DEVICES; i++)
        if (ch->port[i].dev)
            ata_device_power_on(ch->port[i].dev);
    irq_update(ch);
}

static int attach_drive(struct ide_channel *ch, const struct ide_place *place, unsigned i, struct error *err)
{
    struct ata_config config = {
        .drive = place->drive,
        .cdrom = place->cdrom,
        .index = place->index,
        .slave = i,
        .function = ch->function,
        .ops = &port_ops,
        .port = &ch->port[i],
    };
    return place->drive ? ata_device_create(&ch->port[i].dev, &ch->env, &config, err) : 0;
}

int ide_channel_init(struct ide_channel *ch, const struct device_env *env, struct pci_function *function,
                     const struct piix_ide_config *config, unsigned index, struct error *err)
{
    ch->env = *env;
    ch->function = function;
    ch->irq = config->irq[index];
    ch->port[0] = (struct ide_port){.channel = ch, .intrq = &ch->intrq0};
    ch->port[1] = (struct ide_port){.channel = ch, .intrq = &ch->intrq1};
    ch->command_ports = (struct port_region){"ide", legacy_ports[index].command, 8, &command_ops, ch};
    ch->control_port = (struct port_region){"ide control", legacy_ports[index].control, 1, &control_ops, ch};
    int rc = state_set_add(env->state, &ide_channel_desc, ch, index);
    if (rc)
        return error_set(err, ENOMEM, "no memory for an IDE channel");
    for (unsigned i = 0; !rc && i < IDE_DEVICES; i++)
        rc = attach_drive(ch, &config->place[index][i], i, err);
    return rc;
}

void ide_channel_finish(struct ide_channel *ch)
{
    if (!ch->env.mem)
        return;
    ide_channel_map(ch, false);
    for (unsigned i = 0; i < IDE_DEVICES; i++)
        ata_device_destroy(ch->port[i].dev);
}
