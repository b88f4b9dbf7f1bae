/*
 * Requests on a block: the asynchronous front of block.h.
 *
 * A request that needs no change of the image's metadata (most of them: see block_ops.direct_begin) is one
 * transfer by io_uring; what does, and everything where io_uring is missing, is carried out by worker
 * threads.
 *
 * Threads: requests are submitted from any thread. `done` is called on a thread of the queue, with the
 * queue's mutex `held` locked if it has one (a machine's lock, so that a device's completion runs like its
 * other callbacks), which is taken once for all that have ended by then. It is never called from within
 * block_queue_submit, but it is from block_queue_end. Requests have no order among each other; a flush covers
 * what was complete when it was submitted.
 */
#ifndef RING3_BLOCK_QUEUE_H
#define RING3_BLOCK_QUEUE_H

#include "block/block.h"

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
    /* The queue's own from here on. */
    struct block_request *next;
    struct block_direct direct;
    struct iovec whole;
    int result;
    struct error *failure; /* what is to be said of a result below 0 */
};

struct block_queue;

/* `held` may be NULL. The block outlives the queue. At most `threads` worker threads, made as they are
 * needed.
 */
int block_queue_create(struct block_queue **out, struct block *block, unsigned threads, pthread_mutex_t *held,
                       struct error *err);
/* Never blocks on I/O. */
void block_queue_submit(struct block_queue *queue, struct block_request *request);
/*
 * For who submits several requests, or wants the quickest answer: what is submitted between the two goes to
 * the host in one call, by block_queue_end; and that completes on the calling thread what has ended by then
 * (`done` is called from within it). Both with `held` locked, which stays so in between.
 */
void block_queue_begin(struct block_queue *queue);
void block_queue_end(struct block_queue *queue);
/* Waits until nothing is under way. Without `held`, which completions need. */
void block_queue_drain(struct block_queue *queue);
/* Drains and ends the threads; NULL is accepted. Without `held`. */
void block_queue_destroy(struct block_queue *queue);

/* "io_uring" or "threads" */
const char *block_queue_engine(const struct block_queue *queue);

#endif
