/*
 * Virtio input devices (Virtual I/O Device Version 1.2, section 5.8): a keyboard, a mouse or a tablet with
 * absolute positions. Events that the guest has no buffers for wait here, a bounded number of them, and are
 * saved.
 */
#ifndef RING3_DEVICES_VIRTIO_INPUT_H
#define RING3_DEVICES_VIRTIO_INPUT_H

#include "devices/virtio/virtio.h"
#include "display/input.h"

struct virtio_input;

enum virtio_input_kind { VIRTIO_KEYBOARD, VIRTIO_MOUSE, VIRTIO_TABLET };

struct virtio_input_config {
    u32 instance; /* number in the saved state */
    enum virtio_input_kind kind;
    struct input *input; /* whose events it takes; NULL: nobody's. Outlives the device. */
};

int virtio_input_create(struct virtio_input **out, const struct device_env *env,
                        const struct virtio_input_config *config, struct error *err);
void virtio_input_destroy(struct virtio_input *input);
struct virtio_device *virtio_input_device(struct virtio_input *input);

#endif
