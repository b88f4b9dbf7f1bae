/* The console's escape key: Ctrl-] q leaves, Ctrl-] Ctrl-] types one Ctrl-], Ctrl-] ? explains. */
#ifndef RING3_CLI_ESCAPE_H
#define RING3_CLI_ESCAPE_H

#include "base/types.h"

#define ESCAPE_KEY 0x1d /* Ctrl-] */

struct escape {
    bool pending; /* the key was typed; the next byte is a command */
};

enum escape_action {
    ESCAPE_TYPE, /* the byte is for the guest */
    ESCAPE_NONE, /* nothing to do (yet) */
    ESCAPE_QUIT,
    ESCAPE_HELP, /* asked for, or the byte is no command */
};

/* What to do about `byte`, typed on the terminal. */
static inline enum escape_action escape_feed(struct escape *e, u8 byte)
{
    if (!e->pending) {
        e->pending = byte == ESCAPE_KEY;
        return e->pending ? ESCAPE_NONE : ESCAPE_TYPE;
    }
    e->pending = false;
    switch (byte) {
    case ESCAPE_KEY:
        return ESCAPE_TYPE;
    case 'q':
    case 'Q':
        return ESCAPE_QUIT;
    default:
        return ESCAPE_HELP;
    }
}

#endif
