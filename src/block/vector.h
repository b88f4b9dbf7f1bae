/*
 * A position in a list of buffers: what is still to be read into or written from. Every operation that moves
 * bytes moves the position by as many. The list holds at least what is asked of it.
 */
#ifndef RING3_BLOCK_VECTOR_H
#define RING3_BLOCK_VECTOR_H

#include <string.h>
#include <sys/uio.h>
#include "base/types.h"

struct vector {
    const struct iovec *iov;
    unsigned count;
    size_t skip; /* bytes of the first buffer that are done */
};

/* The next contiguous piece, at most `len` bytes, which is passed over. */
static inline u8 *vector_next(struct vector *v, size_t len, size_t *piece)
{
    while (v->skip == v->iov->iov_len) {
        v->iov++;
        v->count--;
        v->skip = 0;
    }
    u8 *at = (u8 *)v->iov->iov_base + v->skip;
    *piece = MIN(len, v->iov->iov_len - v->skip);
    v->skip += *piece;
    return at;
}

static inline void vector_skip(struct vector *v, size_t len)
{
    for (size_t n; len; len -= n)
        vector_next(v, len, &n);
}

static inline void vector_fill(struct vector *v, const void *from, size_t len)
{
    const u8 *at = from;
    for (size_t n; len; len -= n, at += n) {
        u8 *to = vector_next(v, len, &n);
        memcpy(to, at, n);
    }
}

static inline void vector_zero(struct vector *v, size_t len)
{
    for (size_t n; len; len -= n) {
        u8 *to = vector_next(v, len, &n);
        memset(to, 0, n);
    }
}

/* Copies out of the buffers. */
static inline void vector_take(struct vector *v, void *to, size_t len)
{
    u8 *at = to;
    for (size_t n; len; len -= n, at += n) {
        const u8 *from = vector_next(v, len, &n);
        memcpy(at, from, n);
    }
}

/* The next `len` bytes as at most `room` buffers in `out`; returns how many, *covered: their bytes. */
static inline unsigned vector_slice(struct vector *v, size_t len, struct iovec *out, unsigned room,
                                    size_t *covered)
{
    unsigned count = 0;
    size_t left = len;
    for (size_t n; left && count < room; left -= n, count++) {
        out[count].iov_base = vector_next(v, left, &n);
        out[count].iov_len = n;
    }
    *covered = len - left;
    return count;
}

#endif
