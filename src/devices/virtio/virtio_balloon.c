#include "devices/virtio/virtio_balloon.h"

#include <stdlib.h>

#include "base/bytes.h"

#define QUEUE_SIZE  128
#define KICK_BUDGET QUEUE_SIZE

/* Page numbers that one chain may carry: Linux sends 256. */
#define PAGES_MAX   4096u
#define CHUNK_PAGES 256u
#define REPORT_MAX  GIB(1) /* bytes that one chain may report: Linux reports 128 MiB */
#define STAT_SIZE   10u    /* struct virtio_balloon_stat: tag, value */

/* The specification's numbers. Linux leaves no gaps: without the queue of free page hints, which we do not
 * offer, it reports in QUEUE_HINT, and without statistics in QUEUE_STATS. */
enum balloon_queue { QUEUE_INFLATE, QUEUE_DEFLATE, QUEUE_STATS, QUEUE_HINT, QUEUE_REPORT, QUEUE_COUNT };

enum balloon_feature {
    F_MUST_TELL_HOST = BIT(0),
    F_STATS = BIT(1),
    F_DEFLATE_ON_OOM = BIT(2),
    F_REPORTING = BIT(5),
};

enum balloon_config { CONFIG_TARGET = 0, CONFIG_ACTUAL = 4, CONFIG_SIZE = 16 };

struct virtio_balloon {
    struct virtio_device dev;
    u32 target, actual; /* pages */
    u64 stats_seconds;
    struct timer stats_timer;
    struct balloon_stats stats;
    struct virtq_chain chain;
};

static struct virtio_balloon *balloon_of(const struct virtio_device *dev)
{
    return container_of(dev, struct virtio_balloon, dev);
}

/* --- pages ----------------------------------------------------------------------------------------------
 */

/* Gives the pages with these numbers back to the host, those in a row at once. */
static void pages_release(struct virtio_balloon *b, const u8 *numbers, size_t count)
{
    for (size_t i = 0; i < count;) {
        u64 first = load_le32(numbers + 4 * i), run = 1;
        while (i + run < count && load_le32(numbers + 4 * (i + run)) == first + run)
            run++;
        mem_release(b->dev.env.mem, first << PAGE_SHIFT, run << PAGE_SHIFT);
        i += run;
    }
}

/* Inflation. Deflation needs nothing: a page comes back when it is touched. */
static u32 chain_inflate(struct virtio_balloon *b)
{
    u8 numbers[4 * CHUNK_PAGES];
    size_t n;
    for (u64 at = 0; at < 4ull * PAGES_MAX; at += n) {
        n = virtq_chain_read(&b->chain, at, numbers, sizeof numbers);
        if (n < 4)
            break;
        pages_release(b, numbers, n / 4);
    }
    return 0;
}

/* The chain's buffers are the free pages themselves. */
static u32 chain_report(struct virtio_balloon *b)
{
    if (b->chain.in_len > REPORT_MAX)
        return 0;
    for (unsigned i = 0; i < b->chain.in_count; i++) {
        const struct virtq_segment *s = &b->chain.segment[b->chain.out_count + i];
        u64 first = ALIGN_UP(s->gpa, PAGE_SIZE), end = ALIGN_DOWN(s->gpa + s->len, PAGE_SIZE);
        if (end > first)
            mem_release(b->dev.env.mem, first, end - first);
    }
    return 0;
}

static u32 chain_deflate(struct virtio_balloon *b)
{
    return 0;
}

static void queue_serve(struct virtio_balloon *b, unsigned queue, u32 (*serve)(struct virtio_balloon *))
{
    struct virtq *q = &b->dev.queue[queue];
    unsigned budget = KICK_BUDGET;
    while (budget && virtq_pop(q, &b->chain)) {
        virtq_push(q, &b->chain, serve(b));
        budget--;
    }
    virtq_set_quiet(q, false);
    virtio_signal(&b->dev, queue);
    if (virtq_has_next(q))
        virtio_notify_later(&b->dev);
}

/* --- statistics -----------------------------------------------------------------------------------------
 */

/* Reads what the guest has put into its buffer, which stays where it is. */
static void stats_read(struct virtio_balloon *b)
{
    u8 stat[STAT_SIZE];
    struct balloon_stats stats = {0};
    if (!virtq_peek(&b->dev.queue[QUEUE_STATS], &b->chain))
        return;
    for (u64 at = 0; at < 64 * STAT_SIZE; at += STAT_SIZE) {
        if (virtq_chain_read(&b->chain, at, stat, sizeof stat) < sizeof stat)
            break;
        u16 tag = load_le16(stat);
        if (tag >= BALLOON_STATS)
            continue;
        stats.valid |= BIT(tag);
        stats.value[tag] = load_le64(stat + 2);
    }
    b->stats = stats;
}

static void stats_timer_set(struct virtio_balloon *b)
{
    u64 now = clock_now(loop_clock(b->dev.env.loop));
    if (b->stats_seconds && virtio_has(&b->dev, F_STATS))
        timer_arm(&b->stats_timer, now + b->stats_seconds * NS_PER_SEC);
}

/* Asks for new ones: by giving the buffer back. */
static void stats_timer_expired(void *opaque)
{
    struct virtio_balloon *b = opaque;
    struct virtq *q = &b->dev.queue[QUEUE_STATS];
    if (virtio_is_live(&b->dev) && virtq_pop(q, &b->chain))
        virtq_push(q, &b->chain, 0);
    virtq_set_quiet(q, false);
    virtio_signal(&b->dev, QUEUE_STATS);
    stats_timer_set(b);
}

/* --- the device -----------------------------------------------------------------------------------------
 */

static void start(struct virtio_device *dev)
{
    stats_timer_set(balloon_of(dev));
}

static void kick(struct virtio_device *dev, unsigned queue)
{
    struct virtio_balloon *b = balloon_of(dev);
    if (queue == QUEUE_INFLATE)
        queue_serve(b, queue, chain_inflate);
    else if (queue == QUEUE_DEFLATE)
        queue_serve(b, queue, chain_deflate);
    else if (queue == QUEUE_STATS && virtio_has(dev, F_STATS))
        stats_read(b);
    else if (virtio_has(dev, F_REPORTING))
        queue_serve(b, queue, chain_report);
}

static void config_read(struct virtio_device *dev, u8 *config)
{
    const struct virtio_balloon *b = balloon_of(dev);
    store_le32(config + CONFIG_TARGET, b->target);
    store_le32(config + CONFIG_ACTUAL, b->actual);
}

static void config_write(struct virtio_device *dev, unsigned offset, unsigned size, u32 value)
{
    struct virtio_balloon *b = balloon_of(dev);
    if (offset == CONFIG_ACTUAL && size == 4)
        b->actual = value;
}

static void reset(struct virtio_device *dev)
{
    struct virtio_balloon *b = balloon_of(dev);
    timer_disarm(&b->stats_timer);
    b->actual = 0;
    b->stats = (struct balloon_stats){0};
}

static const struct virtio_ops balloon_ops = {
    .config_read = config_read, .config_write = config_write, .start = start, .kick = kick, .reset = reset};

void virtio_balloon_set_target(struct virtio_balloon *b, u64 bytes)
{
    u32 pages = (u32)MIN(bytes >> PAGE_SHIFT, (u64)UINT32_MAX);
    if (pages == b->target)
        return;
    b->target = pages;
    virtio_config_changed(&b->dev);
}

u64 virtio_balloon_actual(const struct virtio_balloon *b)
{
    return (u64)b->actual << PAGE_SHIFT;
}

const struct balloon_stats *virtio_balloon_stats(const struct virtio_balloon *b)
{
    return &b->stats;
}

/* --- life -----------------------------------------------------------------------------------------------
 */

struct virtio_balloon_state {
    u32 target, actual;
    u64 stats_valid;
    u64 stats[BALLOON_STATS];
    bool stats_armed;
    u64 stats_deadline; /* virtual ns */
};

static const struct state_field virtio_balloon_fields[] = {
    STATE_FIELD(struct virtio_balloon_state, target),
    STATE_FIELD(struct virtio_balloon_state, actual),
    STATE_FIELD_MAX(struct virtio_balloon_state, stats_valid, MASK(BALLOON_STATS)),
    STATE_ARRAY(struct virtio_balloon_state, stats, u64),
    STATE_BOOL(struct virtio_balloon_state, stats_armed),
    STATE_FIELD(struct virtio_balloon_state, stats_deadline),
};

static void virtio_balloon_save(const void *opaque, void *out)
{
    const struct virtio_balloon *b = opaque;
    struct virtio_balloon_state *s = out;
    s->target = b->target;
    s->actual = b->actual;
    s->stats_valid = b->stats.valid;
    memcpy(s->stats, b->stats.value, sizeof s->stats);
    s->stats_armed = timer_is_armed(&b->stats_timer);
    s->stats_deadline = s->stats_armed ? b->stats_timer.deadline : 0;
}

/* After virtio_load, which resets the device. */
static void virtio_balloon_load(void *opaque, const void *state)
{
    struct virtio_balloon *b = opaque;
    const struct virtio_balloon_state *s = state;
    b->target = s->target;
    b->actual = s->actual;
    b->stats.valid = s->stats_valid;
    memcpy(b->stats.value, s->stats, sizeof s->stats);
    timer_disarm(&b->stats_timer);
    if (s->stats_armed)
        timer_arm(&b->stats_timer, s->stats_deadline);
}

static const struct state_desc virtio_balloon_desc = {
    .name = "virtio-balloon",
    .version = 1,
    .size = sizeof(struct virtio_balloon_state),
    .fields = virtio_balloon_fields,
    .field_count = ARRAY_LEN(virtio_balloon_fields),
    .save = virtio_balloon_save,
    .load = virtio_balloon_load,
};

int virtio_balloon_create(struct virtio_balloon **out, const struct device_env *env,
                          const struct virtio_balloon_config *config, struct error *err)
{
    const struct virtio_info info = {.name = "virtio balloon",
                                     .type = VIRTIO_BALLOON,
                                     .instance = config->instance,
                                     .features = F_MUST_TELL_HOST | F_STATS | F_DEFLATE_ON_OOM | F_REPORTING,
                                     .config_size = CONFIG_SIZE,
                                     .queue_count = QUEUE_COUNT,
                                     .queue_size = QUEUE_SIZE};
    struct virtio_balloon *b = calloc(1, sizeof *b);
    if (!b)
        return error_set(err, ENOMEM, "out of memory for the virtio balloon");
    b->stats_seconds = config->stats_seconds;
    b->target = (u32)MIN(config->target >> PAGE_SHIFT, (u64)UINT32_MAX);
    timer_init(&b->stats_timer, env->loop, stats_timer_expired, b);
    if (virtio_init(&b->dev, env, &balloon_ops, &info, NULL) < 0 ||
        state_set_add(env->state, &virtio_balloon_desc, b, config->instance) < 0) {
        virtio_balloon_destroy(b);
        return error_set(err, ENOMEM, "out of memory for the virtio balloon");
    }
    *out = b;
    return 0;
}

void virtio_balloon_destroy(struct virtio_balloon *b)
{
    if (!b)
        return;
    timer_disarm(&b->stats_timer);
    virtio_finish(&b->dev);
    virtq_chain_finish(&b->chain);
    free(b);
}

struct virtio_device *virtio_balloon_device(struct virtio_balloon *b)
{
    return &b->dev;
}
