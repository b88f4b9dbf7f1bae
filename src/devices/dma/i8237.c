/*
 * The 8237A (Intel data sheet 231466), twice, as the PC/AT wires it (and the 82371SB data sheet, 4.2).
 *
 * Invariants:
 *   1. A channel is granted only from dma_run, which is not reentered: a change that comes from a device's
 *      `granted` makes it look again.
 *   2. current and base counts are transfers less one; terminal count is the roll from 0 to FFFFh.
 *   3. The page register does not take part in counting.
 */
#include "devices/dma/i8237.h"

#include <stdlib.h>
#include <string.h>

#define CASCADE_CHANNEL 4

enum command {
    COMMAND_MEM_TO_MEM = BIT(0),
    COMMAND_HOLD_SOURCE = BIT(1),
    COMMAND_DISABLE = BIT(2),
    COMMAND_ROTATING = BIT(4),
};

enum mode {
    MODE_TYPE_SHIFT = 2, /* bits 3:2 */
    MODE_AUTOINIT = BIT(4),
    MODE_DECREMENT = BIT(5),
    MODE_KIND_SHIFT = 6, /* bits 7:6 */
};
enum type { TYPE_VERIFY, TYPE_WRITE, TYPE_READ, TYPE_ILLEGAL };
enum kind { KIND_DEMAND, KIND_SINGLE, KIND_BLOCK, KIND_CASCADE };

/* Registers of a controller, behind the channels' eight. Reads and writes differ. */
enum reg {
    REG_STATUS_COMMAND = 8,
    REG_REQUEST,
    REG_MASK_BIT,
    REG_MODE,
    REG_CLEAR_FLIPFLOP,
    REG_TEMP_MASTER_CLEAR,
    REG_CLEAR_MASK,
    REG_MASK,
};

struct channel {
    u16 base_address, base_count, address, count;
    u8 mode;
    bool dreq; /* the device's pin */
    struct dma_client client;
};

struct controller {
    struct channel channel[4];
    u8 command, mask, request, tc, temp; /* mask, request (by software), tc: a bit per channel */
    bool high_byte;                      /* the flip-flop: the next byte is the high one */
    u8 lowest;                           /* rotating priority: the channel that comes last */
    struct port_region ports;
    struct i8237 *dma;
    unsigned shift; /* 1: words */
};

struct i8237 {
    struct controller controller[2];
    u8 page[16]; /* by port, 80h-8Fh */
    bool running, again;
    struct mem_space *mem;
    struct log *log;
    struct port_region page_ports;
};

/* The page register of each channel, as an offset from port 80h. */
static const u8 page_index[DMA_CHANNELS] = {7, 3, 1, 2, 15, 11, 9, 10};

static void dma_run(struct i8237 *dma);

/* --- one channel -------------------------------------------------------------------------------------- */

static enum kind channel_kind(const struct channel *ch)
{
    return (enum kind)(ch->mode >> MODE_KIND_SHIFT);
}

static enum type channel_type(const struct channel *ch)
{
    return (enum type)(ch->mode >> MODE_TYPE_SHIFT & 3);
}

static unsigned channel_number(const struct controller *c, const struct channel *ch)
{
    return (unsigned)(ch - c->channel) + (c->shift ? 4 : 0);
}

/* The address on the bus: words are counted from bit 1 on, and the page's bit 0 is not used. */
static u32 channel_gpa(const struct controller *c, const struct channel *ch)
{
    u32 page = c->dma->page[page_index[channel_number(c, ch)]];
    if (c->shift)
        return (page & 0xfe) << 16 | (u32)ch->address << 1;
    return page << 16 | ch->address;
}

/* `n` units are done, n <= count + 1. True: terminal count. */
static bool channel_advance(struct controller *c, struct channel *ch, u32 n)
{
    unsigned index = (unsigned)(ch - c->channel);
    ch->address = (u16)(ch->mode & MODE_DECREMENT ? ch->address - n : ch->address + n);
    bool tc = n > ch->count;
    ch->count = (u16)(ch->count - n);
    if (!tc)
        return false;
    c->tc |= (u8)(1u << index);
    c->request &= (u8) ~(1u << index);
    if (ch->mode & MODE_AUTOINIT) {
        ch->address = ch->base_address;
        ch->count = ch->base_count;
    } else {
        c->mask |= (u8)(1u << index);
    }
    return true;
}

/* Moves a run of units that stays within the segment and goes upward, or a single one. */
static void channel_move(struct controller *c, struct channel *ch, enum dma_direction direction, u8 *buf,
                         u32 bytes)
{
    enum type type = channel_type(ch);
    struct mem_space *mem = c->dma->mem;
    if (direction == DMA_TO_MEMORY && type == TYPE_WRITE)
        mem_write_bytes(mem, channel_gpa(c, ch), buf, bytes);
    else if (direction == DMA_FROM_MEMORY && type == TYPE_READ)
        mem_read_bytes(mem, channel_gpa(c, ch), buf, bytes);
    else if (direction == DMA_FROM_MEMORY)
        memset(buf, 0xff, bytes);
}

static size_t channel_transfer(struct controller *c, struct channel *ch, enum dma_direction direction,
                               u8 *buf, size_t len, bool *tc)
{
    u32 left = (u32)MIN(len >> c->shift, (size_t)ch->count + 1), done = 0;
    *tc = false;
    while (left) {
        u32 n = ch->mode & MODE_DECREMENT ? 1 : MIN(left, 0x10000u - ch->address);
        channel_move(c, ch, direction, buf + (done << c->shift), n << c->shift);
        *tc = channel_advance(c, ch, n);
        done += n;
        left -= n;
    }
    return (size_t)done << c->shift;
}

/* --- requests ----------------------------------------------------------------------------------------- */

/* Hardware requests are masked, those by software are not. */
static u8 controller_pending(const struct controller *c)
{
    u8 pending = c->request;
    for (unsigned i = 0; i < 4; i++)
        if (c->channel[i].dreq && !(c->mask & 1u << i))
            pending |= (u8)(1u << i);
    return pending;
}

/* HRQ of the first controller passes through channel 4. */
static bool controller_has_bus(const struct controller *c)
{
    const struct controller *second = &c->dma->controller[1];
    if (c->command & COMMAND_DISABLE)
        return false;
    if (c == second)
        return true;
    return !(second->command & COMMAND_DISABLE) && !(second->mask & 1) &&
           channel_kind(&second->channel[0]) == KIND_CASCADE;
}

/* Block by block through the temporary register: channel 0 is read, channel 1 written and counted. */
static void memory_to_memory(struct controller *c)
{
    struct channel *from = &c->channel[0], *to = &c->channel[1];
    bool tc = false;
    c->request &= (u8)~1u;
    while (!tc) {
        u16 source = from->address;
        mem_read_bytes(c->dma->mem, channel_gpa(c, from), &c->temp, 1);
        mem_write_bytes(c->dma->mem, channel_gpa(c, to), &c->temp, 1);
        channel_advance(c, from, 1);
        if (c->command & COMMAND_HOLD_SOURCE)
            from->address = source;
        tc = channel_advance(c, to, 1);
    }
}

/* A request by software in block mode: the device takes no part, the data bus floats. */
static void software_request(struct controller *c, unsigned index)
{
    struct channel *ch = &c->channel[index];
    u8 floating[256];
    bool tc = false;
    if (index == 0 && !c->shift && c->command & COMMAND_MEM_TO_MEM) {
        memory_to_memory(c);
        return;
    }
    enum dma_direction direction = channel_type(ch) == TYPE_READ ? DMA_FROM_MEMORY : DMA_TO_MEMORY;
    do {
        memset(floating, 0xff, sizeof floating);
        channel_transfer(c, ch, direction, floating, sizeof floating, &tc);
    } while (!tc);
}

/* Serves the channel; true if something moved and more may. */
static bool channel_serve(struct controller *c, unsigned index)
{
    struct channel *ch = &c->channel[index];
    enum kind kind = channel_kind(ch);
    if (c->command & COMMAND_ROTATING)
        c->lowest = (u8)index;
    if (c->request & 1u << index) {
        if (kind == KIND_BLOCK) {
            software_request(c, index);
            return true;
        }
        if (!ch->dreq || c->mask & 1u << index)
            return false; /* requests by software are for block mode only */
    }
    u16 count = ch->count, address = ch->address;
    if (kind == KIND_CASCADE || !ch->client.granted)
        return false;
    ch->client.granted(ch->client.opaque);
    return ch->count != count || ch->address != address;
}

/* One round over the channels, the highest priority first. */
static bool controller_serve(struct controller *c)
{
    bool moved = false;
    unsigned first = c->command & COMMAND_ROTATING ? (c->lowest + 1u) & 3 : 0;
    for (unsigned i = 0; i < 4 && controller_has_bus(c); i++) {
        unsigned index = (first + i) & 3;
        if (controller_pending(c) & 1u << index)
            moved |= channel_serve(c, index);
    }
    return moved;
}

/* A device that moves something at every grant goes on; autoinit could make that endless, so that what is
 * left waits for the next change after this many rounds. */
#define MAX_ROUNDS 4096

static void dma_run(struct i8237 *dma)
{
    if (dma->running) {
        dma->again = true;
        return;
    }
    dma->running = true;
    for (unsigned round = 0; round < MAX_ROUNDS; round++) {
        dma->again = false;
        bool moved = controller_serve(&dma->controller[0]);
        moved |= controller_serve(&dma->controller[1]);
        if (!moved && !dma->again)
            break;
    }
    dma->running = false;
}

/* --- registers ---------------------------------------------------------------------------------------- */

static void controller_clear(struct controller *c)
{
    c->command = c->request = c->tc = c->temp = 0;
    c->high_byte = false;
    c->lowest = 3;
    c->mask = 0x0f;
}

static u8 controller_status(const struct controller *c)
{
    u8 requests = c->request;
    for (unsigned i = 0; i < 4; i++)
        requests |= (u8)(c->channel[i].dreq << i);
    return (u8)(c->tc | requests << 4);
}

static void set_bit(u8 *bits, u8 value)
{
    u8 bit = (u8)(1u << (value & 3));
    *bits = value & 4 ? *bits | bit : *bits & (u8)~bit;
}

static void command_write(struct controller *c, enum reg reg, u8 value)
{
    switch (reg) {
    case REG_STATUS_COMMAND:
        c->command = value;
        break;
    case REG_REQUEST:
        set_bit(&c->request, value);
        break;
    case REG_MASK_BIT:
        set_bit(&c->mask, value);
        break;
    case REG_MODE:
        c->channel[value & 3].mode = value & 0xfc;
        break;
    case REG_CLEAR_FLIPFLOP:
        c->high_byte = false;
        break;
    case REG_TEMP_MASTER_CLEAR:
        controller_clear(c);
        break;
    case REG_CLEAR_MASK:
        c->mask = 0;
        break;
    case REG_MASK:
        c->mask = value & 0x0f;
        break;
    }
}

static u16 put_byte(u16 word, bool high, u8 value)
{
    return high ? (u16)((word & 0xff) | value << 8) : (u16)((word & 0xff00) | value);
}

static void dma_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct controller *c = dev;
    unsigned reg = (unsigned)offset >> c->shift;
    if (reg >= REG_STATUS_COMMAND) {
        command_write(c, (enum reg)reg, (u8)value);
        dma_run(c->dma);
        return;
    }
    struct channel *ch = &c->channel[reg >> 1];
    if (reg & 1)
        ch->base_count = ch->count = put_byte(ch->base_count, c->high_byte, (u8)value);
    else
        ch->base_address = ch->address = put_byte(ch->base_address, c->high_byte, (u8)value);
    c->high_byte = !c->high_byte;
}

static u64 dma_read(void *dev, u64 offset, unsigned size)
{
    struct controller *c = dev;
    unsigned reg = (unsigned)offset >> c->shift;
    if (reg < REG_STATUS_COMMAND) {
        const struct channel *ch = &c->channel[reg >> 1];
        u16 value = reg & 1 ? ch->count : ch->address;
        c->high_byte = !c->high_byte;
        return c->high_byte ? value & 0xff : value >> 8;
    }
    switch (reg) {
    case REG_STATUS_COMMAND: {
        u8 status = controller_status(c);
        c->tc = 0;
        return status;
    }
    case REG_TEMP_MASTER_CLEAR:
        return c->temp;
    case REG_MASK: /* in chip sets only */
        return c->mask;
    default:
        return 0xff;
    }
}

static u64 page_read(void *dev, u64 offset, unsigned size)
{
    struct i8237 *dma = dev;
    return dma->page[offset];
}

static void page_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct i8237 *dma = dev;
    dma->page[offset] = (u8)value;
}

static const struct io_ops dma_ops = {dma_read, dma_write, .max_size = 1};
static const struct io_ops page_ops = {page_read, page_write, .max_size = 1};

/* --- for devices -------------------------------------------------------------------------------------- */

static struct controller *controller_of(const struct dma_channel *channel)
{
    return &channel->dma->controller[channel->number >> 2];
}

struct dma_channel dma_connect(struct i8237 *dma, unsigned number, const struct dma_client *client)
{
    struct dma_channel channel = {dma, number};
    controller_of(&channel)->channel[number & 3].client = *client;
    return channel;
}

void dma_request(const struct dma_channel *channel, bool active)
{
    if (!channel->dma)
        return;
    struct channel *ch = &controller_of(channel)->channel[channel->number & 3];
    if (ch->dreq == active)
        return;
    ch->dreq = active;
    if (active)
        dma_run(channel->dma);
}

size_t dma_transfer(const struct dma_channel *channel, enum dma_direction direction, void *buf, size_t len,
                    bool *tc)
{
    struct controller *c = controller_of(channel);
    struct channel *ch = &c->channel[channel->number & 3];
    *tc = false;
    if (c->mask & 1u << (channel->number & 3) || channel_kind(ch) == KIND_CASCADE)
        return 0; /* terminal count came in an earlier call */
    return channel_transfer(c, ch, direction, buf, len, tc);
}

/* --- saved state -------------------------------------------------------------------------------------- */

struct i8237_state {
    u16 base_address[8], base_count[8], address[8], count[8];
    u8 mode[8];
    bool dreq[8];
    u8 command[2], mask[2], request[2], tc[2], temp[2], lowest[2];
    bool high_byte[2];
    u8 page[16];
};

static void i8237_save(const void *dev, void *out)
{
    const struct i8237 *dma = dev;
    struct i8237_state *s = out;
    for (unsigned n = 0; n < DMA_CHANNELS; n++) {
        const struct channel *ch = &dma->controller[n >> 2].channel[n & 3];
        s->base_address[n] = ch->base_address;
        s->base_count[n] = ch->base_count;
        s->address[n] = ch->address;
        s->count[n] = ch->count;
        s->mode[n] = ch->mode;
        s->dreq[n] = ch->dreq;
    }
    for (unsigned n = 0; n < 2; n++) {
        const struct controller *c = &dma->controller[n];
        s->command[n] = c->command;
        s->mask[n] = c->mask;
        s->request[n] = c->request;
        s->tc[n] = c->tc;
        s->temp[n] = c->temp;
        s->lowest[n] = c->lowest;
        s->high_byte[n] = c->high_byte;
    }
    memcpy(s->page, dma->page, sizeof s->page);
}

static void i8237_load(void *dev, const void *in)
{
    struct i8237 *dma = dev;
    const struct i8237_state *s = in;
    for (unsigned n = 0; n < DMA_CHANNELS; n++) {
        struct channel *ch = &dma->controller[n >> 2].channel[n & 3];
        ch->base_address = s->base_address[n];
        ch->base_count = s->base_count[n];
        ch->address = s->address[n];
        ch->count = s->count[n];
        ch->mode = s->mode[n] & 0xfc;
        ch->dreq = s->dreq[n];
    }
    for (unsigned n = 0; n < 2; n++) {
        struct controller *c = &dma->controller[n];
        c->command = s->command[n];
        c->mask = s->mask[n];
        c->request = s->request[n];
        c->tc = s->tc[n];
        c->temp = s->temp[n];
        c->lowest = s->lowest[n];
        c->high_byte = s->high_byte[n];
    }
    memcpy(dma->page, s->page, sizeof s->page);
}

#define ARRAY_MAX(field, type, max)                                                                          \
    {                                                                                                        \
#field, offsetof(struct i8237_state, field), sizeof(type),                                           \
            sizeof(((struct i8237_state *)0)->field) / sizeof(type), max                                     \
    }
static const struct state_field i8237_fields[] = {
    ARRAY_MAX(base_address, u16, 0xffff),
    ARRAY_MAX(base_count, u16, 0xffff),
    ARRAY_MAX(address, u16, 0xffff),
    ARRAY_MAX(count, u16, 0xffff),
    ARRAY_MAX(mode, u8, 0xff),
    ARRAY_MAX(dreq, bool, 1),
    ARRAY_MAX(command, u8, 0xff),
    ARRAY_MAX(mask, u8, 0x0f),
    ARRAY_MAX(request, u8, 0x0f),
    ARRAY_MAX(tc, u8, 0x0f),
    ARRAY_MAX(temp, u8, 0xff),
    ARRAY_MAX(lowest, u8, 3),
    ARRAY_MAX(high_byte, bool, 1),
    ARRAY_MAX(page, u8, 0xff),
};

static const struct state_desc i8237_desc = {
    .name = "i8237",
    .version = 1,
    .size = sizeof(struct i8237_state),
    .fields = i8237_fields,
    .field_count = ARRAY_LEN(i8237_fields),
    .save = i8237_save,
    .load = i8237_load,
};

/* --- lifecycle ---------------------------------------------------------------------------------------- */

void i8237_reset(struct i8237 *dma)
{
    for (unsigned n = 0; n < 2; n++)
        controller_clear(&dma->controller[n]);
}

void i8237_set_cascade(struct i8237 *dma)
{
    struct controller *second = &dma->controller[1];
    second->channel[0].mode = KIND_CASCADE << MODE_KIND_SHIFT;
    second->mask &= (u8)~1u;
    dma_run(dma);
}

int i8237_create(struct i8237 **out, const struct device_env *env, struct error *err)
{
    struct i8237 *dma = calloc(1, sizeof *dma);
    if (!dma || state_set_add(env->state, &i8237_desc, dma, 0) < 0) {
        free(dma);
        return error_set(err, ENOMEM, "no memory for the DMA controllers");
    }
    dma->mem = env->mem;
    dma->log = env->log;
    for (unsigned n = 0; n < 2; n++) {
        struct controller *c = &dma->controller[n];
        c->dma = dma;
        c->shift = n;
        c->ports = (struct port_region){n ? "dma channels 4-7" : "dma channels 0-3", n ? 0xc0 : 0,
                                        n ? 32 : 16, &dma_ops, c};
        port_map(env->mem, &c->ports);
    }
    dma->page_ports = (struct port_region){"dma pages", 0x80, 16, &page_ops, dma};
    port_map(env->mem, &dma->page_ports);
    i8237_reset(dma);
    *out = dma;
    return 0;
}

void i8237_destroy(struct i8237 *dma)
{
    if (!dma)
        return;
    for (unsigned n = 0; n < 2; n++)
        port_unmap(dma->mem, &dma->controller[n].ports);
    port_unmap(dma->mem, &dma->page_ports);
    free(dma);
}
