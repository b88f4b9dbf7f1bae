/*
 * Requests on a block that are carried out by worker threads: the asynchronous front of block.h.
 *
 * Threads: requests are submitted from any thread. `done` is called on a worker thread, with the queue's
 * mutex `held` locked if it has one (a machine's lock, so that a device's completion runs like its other
 * callbacks). Requests have no order among each other; a flush covers what was complete when it was
 * submitted.
 */
#ifndef RING3_BLOCK_QUEUE_H
#define RING3_BLOCK_QUEUE_H

#include "block/block.h"

enum block_request_kind { BLOCK_READ, BLOCK_WRITE, BLOCK_WRITE_ZEROES, BLOCK_DISCARD, BLOCK_FLUSH };

/* Belongs to the caller, and lives until `done`. */
struct block_request {
    enum block_request_kind kind;
    u64 offset, len;
    /* For reading and writing: the buffers of `iov` in order, at least `len` bytes, or `buf` if `iov` is
     * NULL. The list and what it names stay as they are until `done`. */
    void *buf;
    const struct iovec *iov;
    unsigned iov_count;
    /* `result`: 0 or a negative errno. The request may be submitted again or freed from here. */
    void (*done)(struct block_request *request, int result, const struct error *err);
    void *opaque;
    struct block_request *next; /* the queue's */
};

struct block_queue;

/* `held` may be NULL. The block outlives the queue. */
int block_queue_create(struct block_queue **out, struct block *block, unsigned threads, pthread_mutex_t *held,
                       struct error *err);
/* Never blocks on I/O. */
void block_queue_submit(struct block_queue *queue, struct block_request *request);
/* Waits until nothing is under way. Without `held`, which completions need. */
void block_queue_drain(struct block_queue *queue);
/* Drains and ends the threads; NULL is accepted. Without `held`. */
void block_queue_destroy(struct block_queue *queue);

#endif
