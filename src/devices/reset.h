/* The board's reset wires, as chips pull them. */
#ifndef RING3_DEVICES_RESET_H
#define RING3_DEVICES_RESET_H

enum reset_kind {
    RESET_CPU,    /* INIT to the processors: a "soft" reset; memory and chips keep their state */
    RESET_SYSTEM, /* everything starts over */
};

/* Copied by value; all-zero: not connected. [lock] The machine acts after the access that asked for it. */
struct reset_line {
    void (*request)(void *opaque, enum reset_kind kind);
    void *opaque;
};

static inline void reset_request(const struct reset_line *line, enum reset_kind kind)
{
    if (line->request)
        line->request(line->opaque, kind);
}

#endif
