#include "devices/virtio/virtio_blk.h"

#include <stdlib.h>

#include "base/bytes.h"

#define QUEUE_SIZE  256
#define SERIAL_SIZE 20u

/* Chains that one notification may start, so that a guest that keeps adding them does not hold the lock. */
#define KICK_BUDGET (2 * QUEUE_SIZE)

/* One request's data: more than any driver asks for. */
#define DATA_MAX GIB(1)

/* Of discard and write zeroes: sectors of one range, and ranges of one request. */
#define RANGE_SECTORS_MAX (INT32_MAX / (u32)SECTOR_SIZE)
#define RANGES_MAX        32u

enum blk_feature {
    F_SEG_MAX = BIT(2),
    F_READONLY = BIT(5),
    F_BLK_SIZE = BIT(6),
    F_FLUSH = BIT(9),
    F_TOPOLOGY = BIT(10),
    F_CONFIG_WCE = BIT(11),
    F_MULTIQUEUE = BIT(12),
    F_DISCARD = BIT(13),
    F_WRITE_ZEROES = BIT(14),
};

/* struct virtio_blk_config (5.2.4). */
enum blk_config {
    CONFIG_CAPACITY = 0,
    CONFIG_SEG_MAX = 12,
    CONFIG_BLK_SIZE = 20,
    CONFIG_PHYSICAL_EXP = 24,
    CONFIG_ALIGNMENT = 25,
    CONFIG_MIN_IO = 26,
    CONFIG_OPT_IO = 28,
    CONFIG_WRITEBACK = 32,
    CONFIG_QUEUES = 34,
    CONFIG_DISCARD_SECTORS = 36,
    CONFIG_DISCARD_RANGES = 40,
    CONFIG_DISCARD_ALIGNMENT = 44,
    CONFIG_ZEROES_SECTORS = 48,
    CONFIG_ZEROES_RANGES = 52,
    CONFIG_ZEROES_MAY_UNMAP = 56,
    CONFIG_SIZE = 60,
};

enum blk_type { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum blk_status { S_OK = 0, S_IOERR = 1, S_UNSUPPORTED = 2 };

/* struct virtio_blk_req's header, and struct virtio_blk_discard_write_zeroes. */
#define HEADER_SIZE 16u
#define RANGE_SIZE  16u
#define RANGE_UNMAP BIT(0)

struct blk_request {
    struct block_request block;
    struct virtio_blk *blk;
    unsigned queue;
    struct virtq_chain chain;
    u8 *status; /* in guest memory: the last byte of the chain */
    u32 type;
    unsigned range, range_count; /* discard and write zeroes: the one under way */
    struct blk_request *next;    /* in the list of free ones */
};

struct virtio_blk {
    struct virtio_device dev;
    struct drive *drive;
    unsigned queues;
    bool writeback;
    bool batching;                             /* within drive_begin ... drive_end: signalled behind it */
    unsigned under_way[VIRTIO_BLK_QUEUES_MAX]; /* requests of each queue, those before a reset too */
    bool held_back[VIRTIO_BLK_QUEUES_MAX];     /* as many as the queue has entries are under way */
    struct blk_request *free;
};

static struct virtio_blk *blk_of(const struct virtio_device *dev)
{
    return container_of(dev, struct virtio_blk, dev);
}

static void kick(struct virtio_device *dev, unsigned queue);

/* --- requests -------------------------------------------------------------------------------------------
 */

static struct blk_request *request_get(struct virtio_blk *blk, unsigned queue)
{
    struct blk_request *r = blk->free;
    if (r)
        blk->free = r->next;
    else
        r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->blk = blk;
    r->queue = queue;
    blk->under_way[queue]++;
    blk->dev.in_flight++;
    return r;
}

static void request_put(struct blk_request *r)
{
    struct virtio_blk *blk = r->blk;
    blk->under_way[r->queue]--;
    blk->dev.in_flight--;
    r->next = blk->free;
    blk->free = r;
}

/* Gives the chain back to the guest. */
static void request_complete(struct blk_request *r, enum blk_status status)
{
    struct virtio_blk *blk = r->blk;
    unsigned queue = r->queue;
    struct virtq *q = &blk->dev.queue[queue];
    if (r->chain.epoch == q->epoch) {
        *r->status = (u8)status;
        virtq_push(q, &r->chain, (u32)MIN(r->chain.in_len, (u64)UINT32_MAX));
    }
    request_put(r);
    if (blk->batching)
        return;
    virtio_signal(&blk->dev, queue);
    if (blk->held_back[queue]) {
        blk->held_back[queue] = false;
        virtio_notify(&blk->dev, queue);
    }
}

/* What has been written must be durable when the driver hears of it (5.2.6.2: flush and write-back). */
static bool is_write_through(const struct virtio_blk *blk)
{
    if (virtio_has(&blk->dev, F_CONFIG_WCE))
        return !blk->writeback;
    return !virtio_has(&blk->dev, F_FLUSH);
}

static void block_done(struct block_request *block, int result, const struct error *err);

static void request_submit(struct blk_request *r, enum block_request_kind kind, u64 offset, u64 len)
{
    r->block.kind = kind;
    r->block.offset = offset;
    r->block.len = len;
    r->block.done = block_done;
    drive_submit(r->blk->drive, &r->block);
}

/* Starts the next range of a discard or write-zeroes request, as it was checked before. */
static void range_submit(struct blk_request *r)
{
    u8 range[RANGE_SIZE];
    struct virtio_blk *blk = r->blk;
    virtq_chain_read(&r->chain, HEADER_SIZE + (u64)r->range * RANGE_SIZE, range, sizeof range);
    u64 sector = load_le64(range), count = load_le32(range + 8), flags = load_le32(range + 12);
    u64 sectors = drive_sectors(blk->drive);
    u64 known = r->type == T_WRITE_ZEROES ? RANGE_UNMAP : 0;
    if (flags & ~known)
        request_complete(r, S_UNSUPPORTED);
    else if (count > RANGE_SECTORS_MAX || count > sectors || sector > sectors - count)
        request_complete(r, S_IOERR);
    else
        request_submit(r, r->type == T_DISCARD ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES, sector * SECTOR_SIZE,
                       count * SECTOR_SIZE);
}

static void block_done(struct block_request *block, int result, const struct error *err)
{
    struct blk_request *r = container_of(block, struct blk_request, block);
    bool writes = r->type == T_OUT || r->type == T_WRITE_ZEROES;
    if (result < 0)
        log_trace(r->blk->dev.env.log, TRACE_VIRTIO, "%s: request %u: %s", r->blk->dev.name, r->type,
                  err->message);
    if (result >= 0 && ++r->range < r->range_count && r->chain.epoch == r->blk->dev.queue[r->queue].epoch)
        range_submit(r);
    else if (result >= 0 && writes && block->kind != BLOCK_FLUSH && is_write_through(r->blk))
        request_submit(r, BLOCK_FLUSH, 0, 0);
    else
        request_complete(r, result < 0 ? S_IOERR : S_OK);
}

/* Reading and writing: the buffers without header and status are what the drive works on. */
static void transfer_start(struct blk_request *r, u64 sector)
{
    struct virtio_blk *blk = r->blk;
    struct virtq_chain *c = &r->chain;
    bool reads = r->type == T_IN;
    u64 len = reads ? c->in_len - 1 : c->out_len - HEADER_SIZE, sectors = drive_sectors(blk->drive);
    unsigned first = reads ? c->out_count : 0, count = reads ? c->in_count : c->out_count;
    u64 cut = reads ? 0 : HEADER_SIZE;
    if (len % SECTOR_SIZE || len > DATA_MAX || len / SECTOR_SIZE > sectors ||
        sector > sectors - len / SECTOR_SIZE || (!reads && blk->drive->readonly)) {
        request_complete(r, S_IOERR);
        return;
    }
    while (count && cut >= c->iov[first].iov_len) {
        cut -= c->iov[first].iov_len;
        first++;
        count--;
    }
    if (count) {
        c->iov[first].iov_base = (u8 *)c->iov[first].iov_base + cut;
        c->iov[first].iov_len -= cut;
    }
    if (reads && --c->iov[first + count - 1].iov_len == 0)
        count--;
    r->block.iov = &c->iov[first];
    r->block.iov_count = count;
    if (len)
        request_submit(r, reads ? BLOCK_READ : BLOCK_WRITE, sector * SECTOR_SIZE, len);
    else
        request_complete(r, S_OK);
}

static void ranges_start(struct blk_request *r)
{
    u64 len = r->chain.out_len - HEADER_SIZE;
    if (!len || len % RANGE_SIZE || len / RANGE_SIZE > RANGES_MAX)
        request_complete(r, S_IOERR);
    else if (!virtio_has(&r->blk->dev, r->type == T_DISCARD ? F_DISCARD : F_WRITE_ZEROES))
        request_complete(r, S_UNSUPPORTED);
    else if (r->blk->drive->readonly)
        request_complete(r, S_IOERR);
    else {
        r->range_count = (unsigned)(len / RANGE_SIZE);
        range_submit(r);
    }
}

static void id_write(struct blk_request *r)
{
    char id[SERIAL_SIZE] = {0};
    memcpy(id, r->blk->drive->serial, strnlen(r->blk->drive->serial, sizeof id));
    virtq_chain_write(&r->chain, 0, id, MIN(sizeof id, r->chain.in_len - 1));
    request_complete(r, S_OK);
}

/* The chain's form is good: at least a header and a status. */
static void request_start(struct blk_request *r)
{
    u8 header[HEADER_SIZE];
    struct virtq_chain *c = &r->chain;
    const struct iovec *last = &c->iov[c->out_count + c->in_count - 1];
    r->status = (u8 *)last->iov_base + last->iov_len - 1;
    r->range = r->range_count = 0;
    virtq_chain_read(c, 0, header, sizeof header);
    r->type = load_le32(header);
    switch (r->type) {
    case T_IN:
    case T_OUT:
        transfer_start(r, load_le64(header + 8));
        break;
    case T_FLUSH:
        request_submit(r, BLOCK_FLUSH, 0, 0);
        break;
    case T_GET_ID:
        id_write(r);
        break;
    case T_DISCARD:
    case T_WRITE_ZEROES:
        ranges_start(r);
        break;
    default:
        request_complete(r, S_UNSUPPORTED);
        break;
    }
}

/* Takes the queue's next chain; false: nothing there, not now, or broken. */
static bool request_next(struct virtio_blk *blk, unsigned queue)
{
    struct virtq *q = &blk->dev.queue[queue];
    if (blk->under_way[queue] >= q->size) {
        blk->held_back[queue] = virtq_has_next(q);
        return false;
    }
    if (!virtq_has_next(q))
        return false;
    struct blk_request *r = request_get(blk, queue);
    if (!r) {
        blk->held_back[queue] = true; /* until memory comes back with a request's end */
        return false;
    }
    if (!virtq_pop(q, &r->chain)) {
        request_put(r);
        return false;
    }
    if (r->chain.out_len < HEADER_SIZE || r->chain.in_len < 1) {
        request_put(r);
        virtio_break(&blk->dev, "a request without header or status");
        return false;
    }
    request_start(r);
    return true;
}

static void kick(struct virtio_device *dev, unsigned queue)
{
    struct virtio_blk *blk = blk_of(dev);
    struct virtq *q = &dev->queue[queue];
    unsigned budget = KICK_BUDGET;
    if (blk->batching)
        return; /* a completion's own: the loop below is at work */
    blk->batching = true;
    drive_begin(blk->drive);
    do {
        virtq_set_quiet(q, true);
        while (budget && request_next(blk, queue))
            budget--;
        virtq_set_quiet(q, false);
    } while (budget && !blk->held_back[queue] && virtio_is_live(dev) && virtq_has_next(q));
    drive_end(blk->drive);
    blk->batching = false;
    virtio_signal(dev, queue);
    /* What is held back goes on with the next completion, unless all that could be have come already. */
    bool stuck = blk->held_back[queue] && !blk->under_way[queue];
    blk->held_back[queue] &= !stuck;
    if (!budget || stuck)
        virtio_notify_later(dev);
}

/* --- configuration --------------------------------------------------------------------------------------
 */

static void config_read(struct virtio_device *dev, u8 *config)
{
    const struct virtio_blk *blk = blk_of(dev);
    store_le64(config + CONFIG_CAPACITY, drive_sectors(blk->drive));
    store_le32(config + CONFIG_SEG_MAX, QUEUE_SIZE - 2);
    store_le32(config + CONFIG_BLK_SIZE, SECTOR_SIZE);
    config[CONFIG_PHYSICAL_EXP] = 3; /* 4 KiB: what host file systems work with */
    store_le16(config + CONFIG_MIN_IO, 8);
    config[CONFIG_WRITEBACK] = blk->writeback;
    store_le16(config + CONFIG_QUEUES, (u16)blk->queues);
    store_le32(config + CONFIG_DISCARD_SECTORS, RANGE_SECTORS_MAX);
    store_le32(config + CONFIG_DISCARD_RANGES, RANGES_MAX);
    store_le32(config + CONFIG_DISCARD_ALIGNMENT, 8);
    store_le32(config + CONFIG_ZEROES_SECTORS, RANGE_SECTORS_MAX);
    store_le32(config + CONFIG_ZEROES_RANGES, RANGES_MAX);
    config[CONFIG_ZEROES_MAY_UNMAP] = 1;
}

static void config_write(struct virtio_device *dev, unsigned offset, unsigned size, u32 value)
{
    struct virtio_blk *blk = blk_of(dev);
    if (offset == CONFIG_WRITEBACK && size == 1 && virtio_has(dev, F_CONFIG_WCE))
        blk->writeback = value & 1;
}

static void reset(struct virtio_device *dev)
{
    struct virtio_blk *blk = blk_of(dev);
    blk->writeback = true;
    memset(blk->held_back, 0, sizeof blk->held_back);
}

static const struct virtio_ops blk_ops = {
    .config_read = config_read, .config_write = config_write, .kick = kick, .reset = reset};

/* --- life -----------------------------------------------------------------------------------------------
 */

struct virtio_blk_state {
    bool writeback;
    u64 sectors; /* the disk must be of the same size */
};

static const struct state_field virtio_blk_fields[] = {
    STATE_BOOL(struct virtio_blk_state, writeback),
    STATE_FIELD(struct virtio_blk_state, sectors),
};

static void virtio_blk_save(const void *opaque, void *out)
{
    const struct virtio_blk *blk = opaque;
    *(struct virtio_blk_state *)out = (struct virtio_blk_state){blk->writeback, drive_sectors(blk->drive)};
}

static int virtio_blk_check(const void *opaque, const void *state, struct error *err)
{
    const struct virtio_blk *blk = opaque;
    const struct virtio_blk_state *s = state;
    if (s->sectors != drive_sectors(blk->drive))
        return error_set(err, EINVAL, "%s: the saved disk has %llu sectors, this one %llu", blk->dev.name,
                         (unsigned long long)s->sectors, (unsigned long long)drive_sectors(blk->drive));
    return 0;
}

/* After virtio_load, which resets the device. */
static void virtio_blk_load(void *opaque, const void *state)
{
    struct virtio_blk *blk = opaque;
    blk->writeback = ((const struct virtio_blk_state *)state)->writeback;
}

static const struct state_desc virtio_blk_desc = {
    .name = "virtio-blk",
    .version = 1,
    .size = sizeof(struct virtio_blk_state),
    .fields = virtio_blk_fields,
    .field_count = ARRAY_LEN(virtio_blk_fields),
    .save = virtio_blk_save,
    .check = virtio_blk_check,
    .load = virtio_blk_load,
};

int virtio_blk_create(struct virtio_blk **out, const struct device_env *env,
                      const struct virtio_blk_config *config, struct error *err)
{
    struct virtio_blk *blk = calloc(1, sizeof *blk);
    if (!blk)
        return error_set(err, ENOMEM, "out of memory for a virtio disk");
    blk->drive = config->drive;
    blk->queues = MIN(MAX(config->queues, 1u), (unsigned)VIRTIO_BLK_QUEUES_MAX);
    blk->writeback = true;
    struct virtio_info info = {
        .name = "virtio disk",
        .type = VIRTIO_BLK,
        .instance = config->instance,
        .features = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY | F_CONFIG_WCE | F_MULTIQUEUE,
        .config_size = CONFIG_SIZE,
        .queue_count = blk->queues,
        .queue_size = QUEUE_SIZE,
    };
    info.features |= blk->drive->readonly ? F_READONLY : F_DISCARD | F_WRITE_ZEROES;
    if (virtio_init(&blk->dev, env, &blk_ops, &info, NULL) < 0 ||
        state_set_add(env->state, &virtio_blk_desc, blk, config->instance) < 0) {
        virtio_blk_destroy(blk);
        return error_set(err, ENOMEM, "out of memory for a virtio disk");
    }
    *out = blk;
    return 0;
}

void virtio_blk_destroy(struct virtio_blk *blk)
{
    if (!blk)
        return;
    if (blk->dev.in_flight)
        block_queue_drain(blk->drive->queue);
    virtio_finish(&blk->dev);
    while (blk->free) {
        struct blk_request *r = blk->free;
        blk->free = r->next;
        virtq_chain_finish(&r->chain);
        free(r);
    }
    free(blk);
}

struct virtio_device *virtio_blk_device(struct virtio_blk *blk)
{
    return &blk->dev;
}
