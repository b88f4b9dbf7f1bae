/*
 * The virtio console (Virtual I/O Device Version 1.2, section 5.3): one port (Linux: hvc0), its size, and
 * emergency writes. Input that the guest has no buffer for stays with the backend, output leaves at once, so
 * nothing is held over a save.
 */
#ifndef RING3_DEVICES_VIRTIO_CONSOLE_H
#define RING3_DEVICES_VIRTIO_CONSOLE_H

#include "devices/char/char_backend.h"
#include "devices/virtio/virtio.h"

struct virtio_console;

struct virtio_console_config {
    u32 instance; /* number in the saved state */
    struct char_backend backend;
};

int virtio_console_create(struct virtio_console **out, const struct device_env *env,
                          const struct virtio_console_config *config, struct error *err);
void virtio_console_destroy(struct virtio_console *console);
struct virtio_device *virtio_console_device(struct virtio_console *console);

/* [lock] Bytes that the guest has room for now; after 0 the backend hears `input_wanted`. */
size_t virtio_console_can_receive(struct virtio_console *console);
/* [lock] Returns how many of the bytes the guest got. */
size_t virtio_console_receive(struct virtio_console *console, const u8 *buf, size_t n);
/* [lock] The size of the terminal; 0: not known. */
void virtio_console_resize(struct virtio_console *console, u16 columns, u16 rows);

#endif
