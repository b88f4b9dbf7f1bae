#include "devices/virtio/virtio_rng.h"

#include <stdlib.h>
#include <sys/random.h>

#define QUEUE_SIZE 8
#define CHUNK      256u /* what getrandom gives without being interrupted */

struct virtio_rng {
    struct virtio_device dev;
    struct virtio_rng_config config;
    u32 left; /* bytes that may still go out in this period */
    struct timer period;
    struct virtq_chain chain;
};

static struct virtio_rng *rng_of(const struct virtio_device *dev)
{
    return container_of(dev, struct virtio_rng, dev);
}

/* Fills the chain's buffers, up to `left` bytes; returns how many. */
static u32 chain_fill(struct virtio_rng *rng)
{
    u8 bytes[CHUNK];
    u32 done = 0, want = (u32)MIN((u64)rng->left, rng->chain.in_len);
    while (done < want) {
        ssize_t n = getrandom(bytes, MIN(want - done, CHUNK), 0);
        if (n <= 0)
            break;
        virtq_chain_write(&rng->chain, done, bytes, (size_t)n);
        done += (u32)n;
    }
    return done;
}

static void period_begin(struct virtio_rng *rng)
{
    if (!timer_is_armed(&rng->period))
        timer_arm(&rng->period, clock_now(loop_clock(rng->dev.env.loop)) + rng->config.period_ns);
}

static void kick(struct virtio_device *dev, unsigned queue)
{
    struct virtio_rng *rng = rng_of(dev);
    struct virtq *q = &dev->queue[queue];
    unsigned budget = QUEUE_SIZE;
    while (budget-- && rng->left && virtq_pop(q, &rng->chain)) {
        u32 n = chain_fill(rng);
        rng->left -= n;
        virtq_push(q, &rng->chain, n);
        period_begin(rng);
    }
    virtio_signal(dev, queue);
    virtq_set_quiet(q, false);
    if (rng->left && virtq_has_next(q))
        virtio_notify_later(dev);
}

static void period_ended(void *opaque)
{
    struct virtio_rng *rng = opaque;
    rng->left = rng->config.rate;
    virtio_notify(&rng->dev, 0);
}

static void config_read(struct virtio_device *dev, u8 *config) {}

static void reset(struct virtio_device *dev)
{
    struct virtio_rng *rng = rng_of(dev);
    timer_disarm(&rng->period);
    rng->left = rng->config.rate;
}

static const struct virtio_ops rng_ops = {.config_read = config_read, .kick = kick, .reset = reset};

int virtio_rng_create(struct virtio_rng **out, const struct device_env *env,
                      const struct virtio_rng_config *config, struct error *err)
{
    const struct virtio_info info = {.name = "virtio entropy source",
                                     .type = VIRTIO_RNG,
                                     .instance = config->instance,
                                     .queue_count = 1,
                                     .queue_size = QUEUE_SIZE};
    struct virtio_rng *rng = calloc(1, sizeof *rng);
    if (!rng)
        return error_set(err, ENOMEM, "out of memory for the virtio entropy source");
    rng->config = *config;
    rng->left = config->rate;
    timer_init(&rng->period, env->loop, period_ended, rng);
    int rc = virtio_init(&rng->dev, env, &rng_ops, &info, err);
    if (rc) {
        virtio_rng_destroy(rng);
        return rc;
    }
    *out = rng;
    return 0;
}

void virtio_rng_destroy(struct virtio_rng *rng)
{
    if (!rng)
        return;
    timer_disarm(&rng->period);
    virtio_finish(&rng->dev);
    virtq_chain_finish(&rng->chain);
    free(rng);
}

struct virtio_device *virtio_rng_device(struct virtio_rng *rng)
{
    return &rng->dev;
}
