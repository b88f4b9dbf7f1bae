/*
 * The virtio block device (Virtual I/O Device Version 1.2, section 5.2) in front of a drive: the drive reads
 * into and writes from guest memory itself. Several queues, flush, write-back or write-through, discard,
 * write zeroes, serial number.
 *
 * Requests that are under way are void after a reset of the device; its status reads as 0 when the last one
 * has ended. Before state is saved the drive must be drained: nothing is under way then.
 */
#ifndef RING3_DEVICES_VIRTIO_BLK_H
#define RING3_DEVICES_VIRTIO_BLK_H

#include "block/drive.h"
#include "devices/virtio/virtio.h"

#define VIRTIO_BLK_QUEUES_MAX 16

struct virtio_blk;

struct virtio_blk_config {
    u32 instance;        /* number in the saved state */
    struct drive *drive; /* with a medium; outlives the device */
    unsigned queues;     /* 1..VIRTIO_BLK_QUEUES_MAX */
};

int virtio_blk_create(struct virtio_blk **out, const struct device_env *env,
                      const struct virtio_blk_config *config, struct error *err);
/* Waits for what is under way: without the machine lock. NULL is accepted. */
void virtio_blk_destroy(struct virtio_blk *blk);
struct virtio_device *virtio_blk_device(struct virtio_blk *blk);

#endif
