/*
 * A port to end the VM with, as QEMU's isa-debug-exit: test images made for it run as they are. A write of v
 * (1, 2 or 4 bytes) ends the VM; the process's status is then (v << 1) | 1.
 */
#ifndef RING3_DEVICES_DEBUG_EXIT_H
#define RING3_DEVICES_DEBUG_EXIT_H

#include "devices/device.h"

struct debug_exit;

struct debug_exit_config {
    u16 base;                              /* of 4 ports; F4h by custom */
    void (*exit)(void *opaque, u32 value); /* [lock] */
    void *opaque;
};

int debug_exit_create(struct debug_exit **out, const struct device_env *env,
                      const struct debug_exit_config *config, struct error *err);
void debug_exit_destroy(struct debug_exit *dev);

#endif
