/*
 * The virtio memory balloon (Virtual I/O Device Version 1.2, section 5.5): the guest gives pages back to the
 * host when it is asked to, reports those that it does not use, and says how its memory is doing. Pages given
 * back read as zeroes.
 *
 * The buffer with the statistics stays in the queue until new ones are wanted, so nothing of it is saved.
 */
#ifndef RING3_DEVICES_VIRTIO_BALLOON_H
#define RING3_DEVICES_VIRTIO_BALLOON_H

#include "devices/virtio/virtio.h"

struct virtio_balloon;

#define BALLOON_STATS 16 /* tags 0..15: VIRTIO_BALLOON_S_* (5.5.6.3) */

struct balloon_stats {
    u64 valid; /* bit per tag */
    u64 value[BALLOON_STATS];
};

struct virtio_balloon_config {
    u32 instance;      /* number in the saved state */
    u64 target;        /* bytes that the guest is asked for from the start */
    u64 stats_seconds; /* how often new statistics are asked for; 0: never */
};

int virtio_balloon_create(struct virtio_balloon **out, const struct device_env *env,
                          const struct virtio_balloon_config *config, struct error *err);
void virtio_balloon_destroy(struct virtio_balloon *balloon);
struct virtio_device *virtio_balloon_device(struct virtio_balloon *balloon);

/* [lock] Bytes that the guest is asked to give, and what it says it gave. */
void virtio_balloon_set_target(struct virtio_balloon *balloon, u64 bytes);
u64 virtio_balloon_actual(const struct virtio_balloon *balloon);
/* [lock] What the guest said last. */
const struct balloon_stats *virtio_balloon_stats(const struct virtio_balloon *balloon);

#endif
