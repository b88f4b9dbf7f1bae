/*
 * Transfers by io_uring: one ring of one disk's queue.
 *
 * Threads: transfers are added and submitted by any thread; those that have ended are taken by any thread. A
 * thread of the ring's own waits for those that did not end while they were submitted, and calls `arrived`.
 */
#ifndef RING3_BLOCK_RING_H
#define RING3_BLOCK_RING_H

#include "block/block.h"

struct ring;

/* *out is NULL on failure: -ENOSYS or another error where there is no io_uring: old kernels, and containers
 * that forbid it. */
int ring_create(struct ring **out, void (*arrived)(void *opaque), void *opaque);
/* Nothing is under way; NULL is accepted. */
void ring_destroy(struct ring *ring);

/*
 * Adds a read or write of `len` bytes; it begins with the next ring_submit at the latest. -EBUSY: the ring is
 * full and the host takes no more. The list of buffers and `tag` (not NULL) stay until it has ended. A write
 * that the host cannot do at once ends with -EAGAIN or -EOPNOTSUPP: left to a thread of the kernel it would
 * take longer than with one of ours.
 */
int ring_add(struct ring *ring, enum block_request_kind kind, int fd, u64 offset, const struct iovec *iov,
             unsigned iov_count, u64 len, void *tag);
/* What has ended by now may not be announced: call ring_take or ring_remind afterwards. */
void ring_submit(struct ring *ring);
/* The tag of a transfer that has ended, NULL if there is none; *result: bytes, or a negative errno. */
void *ring_take(struct ring *ring, int *result);
/* Has `arrived` called if there is something to take, or always. */
void ring_remind(struct ring *ring, bool always);

#endif
