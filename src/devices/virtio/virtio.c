/* Status, features, configuration and saved state of virtio devices. */
#include "devices/virtio/virtio.h"

#include <string.h>

#include "base/bytes.h"

/* What every device of ours can. */
#define COMMON_FEATURES                                                                                      \
    (VIRTIO_F_ANY_LAYOUT | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1)
/* Only drivers of before version 1 know it. */
#define LEGACY_FEATURES VIRTIO_F_ANY_LAYOUT
#define STATUS_BITS                                                                                          \
    (VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_DRIVER_OK | VIRTIO_FEATURES_OK | VIRTIO_NEEDS_RESET |       \
     VIRTIO_FAILED)

/* --- the device's side ----------------------------------------------------------------------------------
 */

/* Drivers of before version 1 may use their queues before they say that they are ready (3.1.1). */
bool virtio_is_live(const struct virtio_device *dev)
{
    u8 ready = virtio_has(dev, VIRTIO_F_VERSION_1) ? VIRTIO_DRIVER_OK : VIRTIO_DRIVER_OK | VIRTIO_DRIVER;
    if (!(dev->status & ready) || (dev->status & VIRTIO_NEEDS_RESET))
        return false;
    return !dev->transport.can_access || dev->transport.can_access(dev->transport.opaque);
}

static void interrupt(struct virtio_device *dev, u16 vector, enum virtio_isr why)
{
    dev->isr |= (u8)why;
    if (dev->transport.interrupt)
        dev->transport.interrupt(dev->transport.opaque, vector, why);
}

void virtio_break(struct virtio_device *dev, const char *why)
{
    if (dev->status & VIRTIO_NEEDS_RESET)
        return;
    log_trace(dev->env.log, TRACE_VIRTIO, "%s needs a reset: %s", dev->name, why);
    dev->status |= VIRTIO_NEEDS_RESET;
    if (dev->status & VIRTIO_DRIVER_OK)
        interrupt(dev, dev->config_vector, VIRTIO_ISR_CONFIG);
}

void virtio_signal(struct virtio_device *dev, unsigned queue)
{
    struct virtq *q = &dev->queue[queue];
    if (q->broken)
        virtio_break(dev, "its rings or descriptors are impossible");
    else if (virtq_wants_interrupt(q))
        interrupt(dev, q->vector, VIRTIO_ISR_QUEUE);
}

/* Not at once: the loop thread has other things to do, and other threads wait for the lock. */
#define RESUME_DELAY 50000 /* ns */

void virtio_notify_later(struct virtio_device *dev)
{
    timer_arm(&dev->resume, clock_now(loop_clock(dev->env.loop)) + RESUME_DELAY);
}

void virtio_config_changed(struct virtio_device *dev)
{
    dev->generation++;
    if (dev->status & VIRTIO_DRIVER_OK)
        interrupt(dev, dev->config_vector, VIRTIO_ISR_CONFIG);
}

/* --- the transport's side -------------------------------------------------------------------------------
 */

void virtio_connect(struct virtio_device *dev, const struct virtio_transport *transport)
{
    dev->transport = *transport;
}

void virtio_reset(struct virtio_device *dev)
{
    log_trace(dev->env.log, TRACE_VIRTIO, "%s: reset", dev->name);
    if (dev->status)
        dev->status_before_reset = dev->status;
    dev->status = dev->isr = 0;
    dev->features = 0;
    dev->config_vector = VIRTQ_NO_VECTOR;
    for (unsigned i = 0; i < dev->queue_count; i++)
        virtq_reset(&dev->queue[i]);
    timer_disarm(&dev->resume);
    if (dev->ops->reset)
        dev->ops->reset(dev);
}

/* A reset is complete when the status reads as 0 (2.4.1): not before the host has let go of the guest's
 * memory. */
u8 virtio_status_read(const struct virtio_device *dev)
{
    return !dev->status && dev->in_flight ? dev->status_before_reset : dev->status;
}

static void queues_apply_features(struct virtio_device *dev)
{
    for (unsigned i = 0; i < dev->queue_count; i++) {
        dev->queue[i].event_idx = virtio_has(dev, VIRTIO_F_EVENT_IDX);
        dev->queue[i].indirect = virtio_has(dev, VIRTIO_F_INDIRECT_DESC);
    }
}

static bool features_are_good(const struct virtio_device *dev)
{
    if ((dev->features & ~dev->offered) || !virtio_has(dev, VIRTIO_F_VERSION_1))
        return false;
    return !dev->ops->features_check || dev->ops->features_check(dev, dev->features);
}

void virtio_status_write(struct virtio_device *dev, u8 status)
{
    log_trace(dev->env.log, TRACE_VIRTIO, "%s: status %#x, features %#llx", dev->name, status,
              (unsigned long long)dev->features);
    if (!status) {
        virtio_reset(dev);
        return;
    }
    u8 old = dev->status;
    /* The driver clears bits by a reset only (2.1.1), and we say whether we need one. */
    status = (u8)((status & STATUS_BITS & ~VIRTIO_NEEDS_RESET) | old);
    if ((status & ~old & VIRTIO_FEATURES_OK) && !features_are_good(dev))
        status &= (u8)~VIRTIO_FEATURES_OK;
    dev->status = status;
    queues_apply_features(dev);
    if (!(status & ~old & VIRTIO_DRIVER_OK))
        return;
    if (dev->ops->start)
        dev->ops->start(dev);
    virtio_notify_all(dev);
}

u32 virtio_features_read(const struct virtio_device *dev, u32 word, bool legacy)
{
    u64 offered = legacy ? dev->offered : dev->offered & ~LEGACY_FEATURES;
    return word < 2 ? (u32)(offered >> (32 * word)) : 0;
}

void virtio_features_write(struct virtio_device *dev, u32 word, u32 value)
{
    if (word > 1 || (dev->status & (VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK)))
        return;
    dev->features &= word ? 0xffffffffull : ~0xffffffffull;
    dev->features |= (u64)value << (32 * word);
    queues_apply_features(dev);
}

u32 virtio_config_read(struct virtio_device *dev, u64 offset, unsigned size)
{
    u8 config[VIRTIO_CONFIG_MAX + 4] = {0};
    if (offset >= dev->config_size)
        return 0;
    dev->ops->config_read(dev, config);
    memset(config + dev->config_size, 0, sizeof config - dev->config_size);
    return (u32)load_le(config + offset, size);
}

void virtio_config_write(struct virtio_device *dev, u64 offset, unsigned size, u32 value)
{
    if (dev->ops->config_write && offset + size <= dev->config_size)
        dev->ops->config_write(dev, (unsigned)offset, size, value);
}

void virtio_queue_enable(struct virtio_device *dev, unsigned queue)
{
    struct virtq *q = &dev->queue[queue];
    log_trace(dev->env.log, TRACE_VIRTIO, "%s: queue %u: %u entries at %#llx, %#llx, %#llx", dev->name, queue,
              q->size, (unsigned long long)q->desc.gpa, (unsigned long long)q->avail.gpa,
              (unsigned long long)q->used.gpa);
    q->enabled = true;
}

void virtio_notify(struct virtio_device *dev, unsigned queue)
{
    if (queue >= dev->queue_count || !dev->queue[queue].enabled || !virtio_is_live(dev))
        return;
    dev->ops->kick(dev, queue);
    if (dev->queue[queue].broken)
        virtio_signal(dev, queue);
}

void virtio_notify_all(struct virtio_device *dev)
{
    for (unsigned i = 0; i < dev->queue_count; i++)
        virtio_notify(dev, i);
}

/* --- saved state ----------------------------------------------------------------------------------------
 */

enum queue_flag { QUEUE_ENABLED = 1, QUEUE_BROKEN = 2, QUEUE_QUIET = 4 };

struct virtio_state {
    u64 features;
    u8 status, isr, generation;
    u16 config_vector;
    u8 queue_flags[VIRTIO_QUEUES_MAX];
    u16 size[VIRTIO_QUEUES_MAX], vector[VIRTIO_QUEUES_MAX];
    u64 desc[VIRTIO_QUEUES_MAX], avail[VIRTIO_QUEUES_MAX], used[VIRTIO_QUEUES_MAX];
    u16 avail_next[VIRTIO_QUEUES_MAX], used_next[VIRTIO_QUEUES_MAX], used_told[VIRTIO_QUEUES_MAX];
};

static const struct state_field virtio_fields[] = {
    STATE_FIELD(struct virtio_state, features),
    STATE_FIELD_MAX(struct virtio_state, status, STATUS_BITS),
    STATE_FIELD_MAX(struct virtio_state, isr, VIRTIO_ISR_QUEUE | VIRTIO_ISR_CONFIG),
    STATE_FIELD(struct virtio_state, generation),
    STATE_FIELD(struct virtio_state, config_vector),
    STATE_ARRAY(struct virtio_state, queue_flags, u8),
    STATE_ARRAY(struct virtio_state, size, u16),
    STATE_ARRAY(struct virtio_state, vector, u16),
    STATE_ARRAY(struct virtio_state, desc, u64),
    STATE_ARRAY(struct virtio_state, avail, u64),
    STATE_ARRAY(struct virtio_state, used, u64),
    STATE_ARRAY(struct virtio_state, avail_next, u16),
    STATE_ARRAY(struct virtio_state, used_next, u16),
    STATE_ARRAY(struct virtio_state, used_told, u16),
};

static void virtio_save(const void *opaque, void *out)
{
    const struct virtio_device *dev = opaque;
    struct virtio_state *s = out;
    s->features = dev->features;
    s->status = dev->status;
    s->isr = dev->isr;
    s->generation = dev->generation;
    s->config_vector = dev->config_vector;
    for (unsigned i = 0; i < dev->queue_count; i++) {
        const struct virtq *q = &dev->queue[i];
        s->queue_flags[i] = (u8)((q->enabled ? QUEUE_ENABLED : 0) | (q->broken ? QUEUE_BROKEN : 0) |
                                 (q->quiet ? QUEUE_QUIET : 0));
        s->size[i] = q->size;
        s->vector[i] = q->vector;
        s->desc[i] = q->desc.gpa;
        s->avail[i] = q->avail.gpa;
        s->used[i] = q->used.gpa;
        s->avail_next[i] = q->avail_next;
        s->used_next[i] = q->used_next;
        s->used_told[i] = q->used_told;
    }
}

static int virtio_check(const void *opaque, const void *state, struct error *err)
{
    const struct virtio_device *dev = opaque;
    const struct virtio_state *s = state;
    if ((s->status & VIRTIO_FEATURES_OK) && (s->features & ~dev->offered))
        return error_set(err, EINVAL, "%s: the saved driver uses features %#llx, which this one lacks",
                         dev->name, (unsigned long long)(s->features & ~dev->offered));
    if (s->status & ~STATUS_BITS)
        return error_set(err, EINVAL, "%s: status %#x cannot be", dev->name, s->status);
    for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
        u16 size = s->size[i];
        bool good = i < dev->queue_count ? size && !(size & (size - 1)) && size <= dev->queue[i].size_max
                                         : !size && !s->queue_flags[i];
        if (!good || s->queue_flags[i] > (QUEUE_ENABLED | QUEUE_BROKEN | QUEUE_QUIET))
            return error_set(err, EINVAL, "%s: queue %u cannot be as its saved state says", dev->name, i);
    }
    return 0;
}

static void virtio_load(void *opaque, const void *state)
{
    struct virtio_device *dev = opaque;
    const struct virtio_state *s = state;
    virtio_reset(dev);
    dev->features = s->features;
    dev->status = s->status;
    dev->isr = s->isr;
    dev->generation = s->generation;
    dev->config_vector = s->config_vector;
    for (unsigned i = 0; i < dev->queue_count; i++) {
        struct virtq *q = &dev->queue[i];
        q->enabled = s->queue_flags[i] & QUEUE_ENABLED;
        q->broken = s->queue_flags[i] & QUEUE_BROKEN;
        q->quiet = s->queue_flags[i] & QUEUE_QUIET;
        q->size = s->size[i];
        q->vector = s->vector[i];
        q->desc.gpa = s->desc[i];
        q->avail.gpa = s->avail[i];
        q->used.gpa = s->used[i];
        q->avail_next = s->avail_next[i];
        q->used_next = s->used_next[i];
        q->used_told = s->used_told[i];
    }
    queues_apply_features(dev);
    /* The memory that the queues are in may be loaded after us. */
    timer_arm(&dev->resume, 0);
}

static const struct state_desc virtio_desc = {
    .name = "virtio",
    .version = 1,
    .size = sizeof(struct virtio_state),
    .fields = virtio_fields,
    .field_count = ARRAY_LEN(virtio_fields),
    .save = virtio_save,
    .check = virtio_check,
    .load = virtio_load,
};

static void resume_expired(void *opaque)
{
    virtio_notify_all(opaque);
}

int virtio_init(struct virtio_device *dev, const struct device_env *env, const struct virtio_ops *ops,
                const struct virtio_info *info, struct error *err)
{
    dev->ops = ops;
    dev->name = info->name;
    dev->type = info->type;
    dev->env = *env;
    dev->offered = info->features | COMMON_FEATURES;
    dev->config_size = info->config_size;
    dev->queue_count = info->queue_count;
    dev->config_vector = VIRTQ_NO_VECTOR;
    for (unsigned i = 0; i < info->queue_count; i++)
        virtq_init(&dev->queue[i], env->mem, info->queue_size);
    timer_init(&dev->resume, env->loop, resume_expired, dev);
    if (state_set_add(env->state, &virtio_desc, dev, info->instance) < 0)
        return error_set(err, ENOMEM, "out of memory for the state of the %s", info->name);
    return 0;
}

void virtio_finish(struct virtio_device *dev)
{
    if (dev->resume.loop)
        timer_disarm(&dev->resume);
}
