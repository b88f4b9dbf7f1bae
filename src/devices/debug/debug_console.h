/* The port that firmware writes its messages to (QEMU's "isa-debugcon"): a line each becomes a trace message.
 */
#ifndef RING3_DEVICES_DEBUG_CONSOLE_H
#define RING3_DEVICES_DEBUG_CONSOLE_H

#include "devices/device.h"

struct debug_console;

int debug_console_create(struct debug_console **out, const struct device_env *env, u16 port,
                         struct error *err);
void debug_console_destroy(struct debug_console *console);

#endif
