#include "block/queue.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define MAX_THREADS 64u

struct block_queue {
    struct block *block;
    pthread_mutex_t *held;
    pthread_mutex_t lock; /* covers all below; taken alone, never around I/O or completions */
    pthread_cond_t work, idle;
    struct block_request *first, **last;
    unsigned busy; /* requests that a worker has, completion included */
    bool ending;
    unsigned threads;
    pthread_t thread[MAX_THREADS];
};

static int request_execute(struct block *b, const struct block_request *q, struct error *err)
{
    struct iovec whole = {q->buf, q->len};
    const struct iovec *iov = q->iov ? q->iov : &whole;
    unsigned count = q->iov ? q->iov_count : 1;
    switch (q->kind) {
    case BLOCK_READ:
        return block_readv(b, q->offset, iov, count, q->len, err);
    case BLOCK_WRITE:
        return block_writev(b, q->offset, iov, count, q->len, err);
    case BLOCK_WRITE_ZEROES:
        return block_write_zeroes(b, q->offset, q->len, err);
    case BLOCK_DISCARD:
        return block_discard(b, q->offset, q->len, err);
    case BLOCK_FLUSH:
        return block_flush(b, err);
    }
    return error_set(err, EINVAL, "%s: no such request", b->path);
}

static void request_finish(struct block_queue *queue, struct block_request *request)
{
    struct error err = {0};
    int r = request_execute(queue->block, request, &err);
    if (queue->held)
        pthread_mutex_lock(queue->held);
    request->done(request, r, &err);
    if (queue->held)
        pthread_mutex_unlock(queue->held);
}

static void *worker(void *opaque)
{
    struct block_queue *q = opaque;
    pthread_mutex_lock(&q->lock);
    for (;;) {
        struct block_request *request = q->first;
        if (!request && q->ending)
            break;
        if (!request) {
            pthread_cond_wait(&q->work, &q->lock);
            continue;
        }
        q->first = request->next;
        if (!q->first)
            q->last = &q->first;
        q->busy++;
        pthread_mutex_unlock(&q->lock);
        request_finish(q, request);
        pthread_mutex_lock(&q->lock);
        q->busy--;
        if (!q->busy && !q->first)
            pthread_cond_broadcast(&q->idle);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

int block_queue_create(struct block_queue **out, struct block *block, unsigned threads, pthread_mutex_t *held,
                       struct error *err)
{
    struct block_queue *q = calloc(1, sizeof *q);
    sigset_t all, old;
    if (!q)
        return error_set(err, ENOMEM, "no memory for the requests of %s", block->path);
    q->block = block;
    q->held = held;
    q->last = &q->first;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->work, NULL);
    pthread_cond_init(&q->idle, NULL);
    /* Signals are for the threads that know what to do about them. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = 0;
    threads = MIN(MAX(threads, 1), MAX_THREADS);
    while (q->threads < threads && r == 0) {
        r = pthread_create(&q->thread[q->threads], NULL, worker, q);
        q->threads += r == 0;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!q->threads) {
        block_queue_destroy(q);
        return error_set(err, r, "%s: no thread for its requests: %s", block->path, strerror(r));
    }
    *out = q;
    return 0;
}

void block_queue_submit(struct block_queue *q, struct block_request *request)
{
    request->next = NULL;
    pthread_mutex_lock(&q->lock);
    *q->last = request;
    q->last = &request->next;
    pthread_cond_signal(&q->work);
    pthread_mutex_unlock(&q->lock);
}

void block_queue_drain(struct block_queue *q)
{
    pthread_mutex_lock(&q->lock);
    while (q->busy || q->first)
        pthread_cond_wait(&q->idle, &q->lock);
    pthread_mutex_unlock(&q->lock);
}

void block_queue_destroy(struct block_queue *q)
{
    if (!q)
        return;
    if (q->threads)
        block_queue_drain(q);
    pthread_mutex_lock(&q->lock);
    q->ending = true;
    pthread_cond_broadcast(&q->work);
    pthread_mutex_unlock(&q->lock);
    for (unsigned i = 0; i < q->threads; i++)
        pthread_join(q->thread[i], NULL);
    pthread_cond_destroy(&q->work);
    pthread_cond_destroy(&q->idle);
    pthread_mutex_destroy(&q->lock);
    free(q);
}
