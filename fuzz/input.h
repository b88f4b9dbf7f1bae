/* What the device fuzzers share: an input taken in pieces, and a check that ends the run. */
#ifndef RING3_FUZZ_INPUT_H
#define RING3_FUZZ_INPUT_H

#include <stdlib.h>

#include "base/types.h"

struct input {
    const u8 *data;
    size_t left;
};

/* The next `size` (up to 8) bytes, little-endian; zeroes behind the end. */
static inline u64 take(struct input *in, unsigned size)
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

#endif
