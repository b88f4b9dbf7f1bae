/*
 * The virtio entropy device (Virtual I/O Device Version 1.2, section 5.4): the host kernel's random numbers,
 * with a bound on how many in a time. Buffers that come too early stay in the queue, so nothing of them is
 * saved; after a load a new period begins.
 */
#ifndef RING3_DEVICES_VIRTIO_RNG_H
#define RING3_DEVICES_VIRTIO_RNG_H

#include "devices/virtio/virtio.h"

struct virtio_rng;

struct virtio_rng_config {
    u32 instance;  /* number in the saved state */
    u32 rate;      /* at most so many bytes ... */
    u64 period_ns; /* ... in each such time */
};

int virtio_rng_create(struct virtio_rng **out, const struct device_env *env,
                      const struct virtio_rng_config *config, struct error *err);
void virtio_rng_destroy(struct virtio_rng *rng);
struct virtio_device *virtio_rng_device(struct virtio_rng *rng);

#endif
