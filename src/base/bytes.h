/* Unaligned little-endian loads and stores (the host is x86-64), sign extension, bit fields. */
#ifndef RING3_BASE_BYTES_H
#define RING3_BASE_BYTES_H

#include <string.h>
#include "base/types.h"

#define DEFINE_LE(bits)                                                                                      \
    static inline u##bits load_le##bits(const void *p)                                                       \
    {                                                                                                        \
        u##bits v;                                                                                           \
        memcpy(&v, p, sizeof v);                                                                             \
        return v;                                                                                            \
    }                                                                                                        \
    static inline void store_le##bits(void *p, u##bits v)                                                    \
    {                                                                                                        \
        memcpy(p, &v, sizeof v);                                                                             \
    }
DEFINE_LE(16)
DEFINE_LE(32)
DEFINE_LE(64)
#undef DEFINE_LE

/* The lowest `size` bytes (1, 2, 4 or 8) at `p`, zero-extended. */
static inline u64 load_le(const void *p, unsigned size)
{
    u64 v = 0;
    memcpy(&v, p, size);
    return v;
}

static inline void store_le(void *p, unsigned size, u64 v)
{
    memcpy(p, &v, size);
}

static inline u64 sign_extend(u64 v, unsigned bits)
{
    return (u64)((s64)(v << (64 - bits)) >> (64 - bits));
}

/* Bits hi..lo of `v`. */
static inline u64 bits_get(u64 v, unsigned hi, unsigned lo)
{
    return (v >> lo) & MASK(hi - lo + 1);
}

#endif
