/* What is at the other end of a serial port: the host's side of a character stream. */
#ifndef RING3_DEVICES_CHAR_CHAR_BACKEND_H
#define RING3_DEVICES_CHAR_CHAR_BACKEND_H

#include "base/types.h"

/* Copied by value; NULL functions are not connected. Machine lock held; neither call may wait for the host's
 * reader or writer longer than a bounded time: a vCPU stands behind it. */
struct char_backend {
    /* The guest has sent `n` bytes (usually one: the backend gathers). */
    void (*write)(void *opaque, const u8 *buf, size_t n);
    /* The device had no room for input (its can_receive said 0) and has some now. */
    void (*input_wanted)(void *opaque);
    void *opaque;
};

#endif
