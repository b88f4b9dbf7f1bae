/* What the device fuzzers share: an input taken in pieces, and a check that ends the run. */
#ifndef RING3_FUZZ_INPUT_H
#define RING3_FUZZ_INPUT_H

#include <stdlib.h>

#include "base/types.h"
#include "state/state.h"

struct fuzz_input {
    const u8 *data;
    size_t left;
};

/* The next `size` (up to 8) bytes, little-endian; zeroes behind the end. */
static inline u64 take(struct fuzz_input *in, unsigned size)
{
    u64 value = 0;
    for (unsigned i = 0; i < size && in->left; i++, in->left--)
        value |= (u64)*in->data++ << (8 * i);
    return value;
}

static inline void must(bool ok)
{
    if (!ok)
        abort();
}

/* What was saved must load; with up to seven of its first `reach` bytes changed it must be refused or be
 * harmless. */
static inline void state_reload(struct state_set *state, struct fuzz_input *in, size_t reach)
{
    u8 *buf;
    size_t len;
    must(!state_set_save(state, &buf, &len, NULL));
    unsigned changes = (unsigned)take(in, 1) & 7;
    for (unsigned i = 0; i < changes; i++)
        buf[take(in, 3) % MIN(len, reach)] = (u8)take(in, 1);
    int rc = state_set_load(state, buf, len, NULL);
    must(changes || !rc);
    free(buf);
}

#endif
