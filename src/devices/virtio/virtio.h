/*
 * What is common to virtio devices (Virtual I/O Device Version 1.2, chapter 2): status, features, queues,
 * configuration, whatever transport they are reached by (virtio_pci.h).
 *
 * A device embeds `struct virtio_device` and describes itself with virtio_init. It serves a queue when `kick`
 * is called and whenever it has something to say. Everything here: [lock].
 *
 * Saved state: registers and the places in the rings. A device holds no chain while nothing is under way
 * (`in_flight` is 0): drives are drained before state is saved. A loaded device looks at its queues as soon
 * as time goes on.
 */
#ifndef RING3_DEVICES_VIRTIO_VIRTIO_H
#define RING3_DEVICES_VIRTIO_VIRTIO_H

#include "devices/virtio/virtq.h"

#define VIRTIO_QUEUES_MAX 20
#define VIRTIO_CONFIG_MAX 256

/* Device types (chapter 5). */
enum virtio_type {
    VIRTIO_NET = 1,
    VIRTIO_BLK = 2,
    VIRTIO_CONSOLE = 3,
    VIRTIO_RNG = 4,
    VIRTIO_BALLOON = 5,
    VIRTIO_SCSI = 8,
    VIRTIO_INPUT = 18,
};

/* Device status (2.1). */
enum virtio_status {
    VIRTIO_ACKNOWLEDGE = 1,
    VIRTIO_DRIVER = 2,
    VIRTIO_DRIVER_OK = 4,
    VIRTIO_FEATURES_OK = 8,
    VIRTIO_NEEDS_RESET = 64,
    VIRTIO_FAILED = 128,
};

/* Feature bits that are not a device's own (chapter 6). */
#define VIRTIO_F_ANY_LAYOUT    BIT(27)
#define VIRTIO_F_INDIRECT_DESC BIT(28)
#define VIRTIO_F_EVENT_IDX     BIT(29)
#define VIRTIO_F_VERSION_1     BIT(32)

/* Interrupt status. */
enum virtio_isr { VIRTIO_ISR_QUEUE = 1, VIRTIO_ISR_CONFIG = 2 };

struct virtio_device;

/* All but config_read and kick may be NULL. */
struct virtio_ops {
    /* Fills the device's configuration, `config_size` bytes. */
    void (*config_read)(struct virtio_device *dev, u8 *config);
    void (*config_write)(struct virtio_device *dev, unsigned offset, unsigned size, u32 value);
    /* May these features be together? */
    bool (*features_check)(const struct virtio_device *dev, u64 features);
    /* The driver is ready (DRIVER_OK); kicks for all queues follow. */
    void (*start)(struct virtio_device *dev);
    /* Perhaps there is something in the queue. */
    void (*kick)(struct virtio_device *dev, unsigned queue);
    /* Back to the state after power-on; the queues are void already. */
    void (*reset)(struct virtio_device *dev);
};

/* The transport's side. */
struct virtio_transport {
    void (*interrupt)(void *opaque, u16 vector, enum virtio_isr why);
    /* May the device access guest memory? */
    bool (*can_access)(void *opaque);
    void *opaque;
};

struct virtio_device {
    const struct virtio_ops *ops;
    const char *name;
    enum virtio_type type;
    struct device_env env;
    struct virtio_transport transport;
    u64 offered, features; /* ours; those that the driver took */
    u8 status, status_before_reset;
    u8 isr;
    u8 generation; /* of the configuration */
    u16 config_vector;
    unsigned config_size;
    unsigned queue_count;
    unsigned in_flight; /* requests that the host works on */
    struct timer resume;
    struct virtq queue[VIRTIO_QUEUES_MAX];
};

/* --- the device's side ----------------------------------------------------------------------------------
 */

struct virtio_info {
    const char *name;
    enum virtio_type type;
    u32 instance; /* number in the saved state */
    u64 features; /* the device's own */
    unsigned config_size;
    unsigned queue_count;
    u16 queue_size; /* largest: of all queues */
};

/* Registers the saved state of what is common. -ENOMEM. */
int virtio_init(struct virtio_device *dev, const struct device_env *env, const struct virtio_ops *ops,
                const struct virtio_info *info, struct error *err);
void virtio_finish(struct virtio_device *dev);

/* May the device serve its queues now? */
bool virtio_is_live(const struct virtio_device *dev);
static inline bool virtio_has(const struct virtio_device *dev, u64 feature)
{
    return dev->features & feature;
}
/* Interrupts the guest if it wants to hear of what was pushed to the queue; finds out if it is broken. To be
 * called after the queue was served. */
void virtio_signal(struct virtio_device *dev, unsigned queue);
/* Looks at all queues again on the loop thread: there is more to do than one call may take. */
void virtio_notify_later(struct virtio_device *dev);
/* The configuration is another one than before. */
void virtio_config_changed(struct virtio_device *dev);
/* The guest broke the rules in a way that the device cannot go on from (2.1.2). */
void virtio_break(struct virtio_device *dev, const char *why);

/* --- the transport's side -------------------------------------------------------------------------------
 */

void virtio_connect(struct virtio_device *dev, const struct virtio_transport *transport);
void virtio_reset(struct virtio_device *dev);

u8 virtio_status_read(const struct virtio_device *dev);
void virtio_status_write(struct virtio_device *dev, u8 status);
/* 32 bits of the features: `word` 0 or 1; others read as 0. `legacy`: for a driver of before version 1. */
u32 virtio_features_read(const struct virtio_device *dev, u32 word, bool legacy);
void virtio_features_write(struct virtio_device *dev, u32 word, u32 value);
u32 virtio_config_read(struct virtio_device *dev, u64 offset, unsigned size);
void virtio_config_write(struct virtio_device *dev, u64 offset, unsigned size, u32 value);
/* The queue's addresses and size are as they shall be. */
void virtio_queue_enable(struct virtio_device *dev, unsigned queue);
void virtio_notify(struct virtio_device *dev, unsigned queue);
/* Notifies all queues. */
void virtio_notify_all(struct virtio_device *dev);

#endif
