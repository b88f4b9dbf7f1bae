#include "devices/virtio/virtio_console.h"

#include <stdlib.h>

#include "base/bytes.h"

#define QUEUE_SIZE 64
enum console_queue { QUEUE_RECEIVE, QUEUE_TRANSMIT, QUEUE_COUNT };

/* One notification writes no more chains, and of a chain no more bytes: drivers write a page at most. */
#define KICK_BUDGET QUEUE_SIZE
#define CHAIN_BYTES KIB(64)

enum console_feature { F_SIZE = BIT(0), F_EMERGENCY_WRITE = BIT(2) };
enum console_config { CONFIG_COLUMNS = 0, CONFIG_ROWS = 2, CONFIG_EMERGENCY = 8, CONFIG_SIZE = 12 };

struct virtio_console {
    struct virtio_device dev;
    struct char_backend backend;
    u16 columns, rows;
    bool starved; /* the backend was turned away */
    struct virtq_chain chain;
};

static struct virtio_console *console_of(const struct virtio_device *dev)
{
    return container_of(dev, struct virtio_console, dev);
}

static void backend_write(struct virtio_console *c, const u8 *bytes, size_t len)
{
    if (c->backend.write && len)
        c->backend.write(c->backend.opaque, bytes, len);
}

static void transmit(struct virtio_console *c)
{
    struct virtq *q = &c->dev.queue[QUEUE_TRANSMIT];
    unsigned budget = KICK_BUDGET;
    while (budget && virtq_pop(q, &c->chain)) {
        u8 bytes[1024];
        size_t done = 0, n;
        while (done < CHAIN_BYTES && (n = virtq_chain_read(&c->chain, done, bytes, sizeof bytes)) > 0) {
            backend_write(c, bytes, n);
            done += n;
        }
        virtq_push(q, &c->chain, 0);
        budget--;
    }
    virtq_set_quiet(q, false);
    virtio_signal(&c->dev, QUEUE_TRANSMIT);
    if (virtq_has_next(q))
        virtio_notify_later(&c->dev);
}

/* The guest has added room: whoever waits for it may feed us at once. */
static void invite_input(struct virtio_console *c)
{
    if (!c->starved || !virtq_has_next(&c->dev.queue[QUEUE_RECEIVE]))
        return;
    c->starved = false;
    if (c->backend.input_wanted)
        c->backend.input_wanted(c->backend.opaque);
}

static void kick(struct virtio_device *dev, unsigned queue)
{
    struct virtio_console *c = console_of(dev);
    if (queue == QUEUE_TRANSMIT)
        transmit(c);
    else
        invite_input(c);
}

size_t virtio_console_can_receive(struct virtio_console *c)
{
    struct virtq *q = &c->dev.queue[QUEUE_RECEIVE];
    if (virtio_is_live(&c->dev) && virtq_peek(q, &c->chain) && c->chain.in_len)
        return (size_t)MIN(c->chain.in_len, CHAIN_BYTES);
    c->starved = true;
    virtq_set_quiet(q, false);
    return 0;
}

size_t virtio_console_receive(struct virtio_console *c, const u8 *buf, size_t n)
{
    struct virtq *q = &c->dev.queue[QUEUE_RECEIVE];
    size_t done = 0;
    unsigned budget = KICK_BUDGET;
    while (done < n && budget-- && virtio_is_live(&c->dev) && virtq_pop(q, &c->chain)) {
        size_t got = virtq_chain_write(&c->chain, 0, buf + done, n - done);
        virtq_push(q, &c->chain, (u32)got);
        done += got;
    }
    virtio_signal(&c->dev, QUEUE_RECEIVE);
    if (done < n)
        c->starved = true;
    return done;
}

void virtio_console_resize(struct virtio_console *c, u16 columns, u16 rows)
{
    if (c->columns == columns && c->rows == rows)
        return;
    c->columns = columns;
    c->rows = rows;
    if (virtio_has(&c->dev, F_SIZE))
        virtio_config_changed(&c->dev);
}

static void config_read(struct virtio_device *dev, u8 *config)
{
    const struct virtio_console *c = console_of(dev);
    store_le16(config + CONFIG_COLUMNS, c->columns);
    store_le16(config + CONFIG_ROWS, c->rows);
    store_le32(config + 4, 1); /* ports */
}

/* A character may be written before the queues are set up (5.3.4). */
static void config_write(struct virtio_device *dev, unsigned offset, unsigned size, u32 value)
{
    u8 byte = (u8)value;
    if (offset == CONFIG_EMERGENCY)
        backend_write(console_of(dev), &byte, 1);
}

static void reset(struct virtio_device *dev)
{
    console_of(dev)->starved = true; /* whoever has input is asked for it when the guest has room */
}

static const struct virtio_ops console_ops = {
    .config_read = config_read, .config_write = config_write, .kick = kick, .reset = reset};

int virtio_console_create(struct virtio_console **out, const struct device_env *env,
                          const struct virtio_console_config *config, struct error *err)
{
    const struct virtio_info info = {.name = "virtio console",
                                     .type = VIRTIO_CONSOLE,
                                     .instance = config->instance,
                                     .features = F_SIZE | F_EMERGENCY_WRITE,
                                     .config_size = CONFIG_SIZE,
                                     .queue_count = QUEUE_COUNT,
                                     .queue_size = QUEUE_SIZE};
    struct virtio_console *c = calloc(1, sizeof *c);
    if (!c)
        return error_set(err, ENOMEM, "out of memory for the virtio console");
    c->backend = config->backend;
    c->starved = true;
    int rc = virtio_init(&c->dev, env, &console_ops, &info, err);
    if (rc) {
        virtio_console_destroy(c);
        return rc;
    }
    *out = c;
    return 0;
}

void virtio_console_destroy(struct virtio_console *c)
{
    if (!c)
        return;
    virtio_finish(&c->dev);
    virtq_chain_finish(&c->chain);
    free(c);
}

struct virtio_device *virtio_console_device(struct virtio_console *c)
{
    return &c->dev;
}
