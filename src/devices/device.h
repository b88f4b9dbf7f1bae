/*
 * What every device is handed when it is created: the machine's services. A device knows ranges, lines and
 * backends, never a CPU or an engine. All its callbacks (I/O, timers, lines) run with the machine lock held.
 *
 * Conventions: `int NAME_create(struct NAME **out, const struct device_env *env, ..., struct error *err)`
 * maps its ports and regions and registers its saved state; `void NAME_destroy(struct NAME *)` accepts NULL;
 * `void NAME_reset(struct NAME *)` is power-on reset.
 */
#ifndef RING3_DEVICES_DEVICE_H
#define RING3_DEVICES_DEVICE_H

#include "base/error.h"
#include "base/log.h"
#include "loop/loop.h"
#include "mem/irq.h"
#include "mem/mem.h"
#include "state/state.h"

struct device_env {
    struct loop *loop;
    struct mem_space *mem;
    struct state_set *state;
    struct log *log;
};

#endif
