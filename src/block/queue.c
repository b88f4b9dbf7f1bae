/*
 * A request goes: submitted -> under way in the ring, or waiting for a worker, or with a worker -> ended ->
 * done. Who puts the first one on the list of those that have ended sees to it that the list is emptied: with
 * `held` locked, all at once, so that others add to it meanwhile and go on.
 *
 * The ring is for what it does better than a worker (bench/block): reads of moderate length, which end at
 * once if they are in the host's page cache and need no thread if they are not; writes where the host can do
 * them at once, which some file systems never can.
 */
#include "block/queue.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "block/ring.h"

#define MAX_THREADS 64u

/* What a submitter transfers itself, since it holds up the guest: a request, and all between begin and end.
 */
#define MAX_INLINE       KIB(128)
#define MAX_INLINE_BATCH KIB(512)

/* So many writes in a row that could not be done at once: no more are tried. */
#define MAX_REFUSED 16

struct request_list {
    struct block_request *first, **last;
};

struct block_queue {
    struct block *block;
    pthread_mutex_t *held;
    struct ring *ring;    /* NULL: threads only */
    pthread_mutex_t lock; /* covers all below; taken alone, never around I/O or completions */
    pthread_cond_t work, idle;
    struct request_list fresh; /* submitted between begin and end */
    struct request_list waiting, ended;
    unsigned pending;    /* submitted and not done */
    unsigned plugged;    /* begin without end */
    atomic_uint refused; /* writes in a row, see MAX_REFUSED */
    bool completing;     /* somebody calls `done` of all that have ended */
    bool ending;
    unsigned threads, idle_threads, max_threads;
    pthread_t thread[MAX_THREADS];
};

static void list_init(struct request_list *list)
{
    *list = (struct request_list){.last = &list->first};
}

/* True if it is the first one. */
static bool list_add(struct request_list *list, struct block_request *request)
{
    bool first = !list->first;
    request->next = NULL;
    *list->last = request;
    list->last = &request->next;
    return first;
}

static struct block_request *list_take_all(struct request_list *list)
{
    struct block_request *first = list->first;
    list_init(list);
    return first;
}

/* --- completion --- */

/* True if the caller has to see to the list of those that have ended. */
static bool request_end(struct block_queue *q, struct block_request *request, int result,
                        const struct error *err)
{
    request->result = result;
    request->failure = NULL;
    if (result < 0 && err && (request->failure = malloc(sizeof *err)))
        *request->failure = *err;
    pthread_mutex_lock(&q->lock);
    bool first = list_add(&q->ended, request);
    pthread_mutex_unlock(&q->lock);
    return first;
}

/* Calls `done` of all that have ended; with `held`. From within a `done` it leaves them to the caller of
 * that.
 */
static void complete_held(struct block_queue *q)
{
    pthread_mutex_lock(&q->lock);
    struct block_request *list;
    bool nested = q->completing;
    q->completing = true;
    while (!nested && (list = list_take_all(&q->ended))) {
        unsigned count = 0;
        pthread_mutex_unlock(&q->lock);
        while (list) {
            struct block_request *request = list;
            struct error *failure = request->failure, unsaid = {.code = -request->result};
            list = request->next;
            if (request->result < 0 && !failure)
                strcpy(unsaid.message, "no memory to say why a request failed");
            request->done(request, request->result, failure ? failure : &unsaid);
            free(failure);
            count++;
        }
        pthread_mutex_lock(&q->lock);
        q->pending -= count;
        if (!q->pending)
            pthread_cond_broadcast(&q->idle);
    }
    q->completing = nested;
    pthread_mutex_unlock(&q->lock);
}

static void complete(struct block_queue *q)
{
    if (q->held)
        pthread_mutex_lock(q->held);
    complete_held(q);
    if (q->held)
        pthread_mutex_unlock(q->held);
}

/* --- worker threads --- */

static const struct iovec *request_buffers(struct block_request *request, unsigned *count)
{
    if (request->iov) {
        *count = request->iov_count;
        return request->iov;
    }
    request->whole = (struct iovec){request->buf, request->len};
    *count = 1;
    return &request->whole;
}

static int request_execute(struct block *b, struct block_request *q, struct error *err)
{
    unsigned count;
    const struct iovec *iov = request_buffers(q, &count);
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

static void *worker(void *opaque)
{
    struct block_queue *q = opaque;
    pthread_mutex_lock(&q->lock);
    for (;;) {
        struct block_request *request = q->waiting.first;
        if (!request && q->ending)
            break;
        if (!request) {
            q->idle_threads++;
            pthread_cond_wait(&q->work, &q->lock);
            q->idle_threads--;
            continue;
        }
        q->waiting.first = request->next;
        if (!q->waiting.first)
            list_init(&q->waiting);
        pthread_mutex_unlock(&q->lock);
        struct error err = {0};
        int r = request_execute(q->block, request, &err);
        if (request_end(q, request, r, &err))
            complete(q);
        pthread_mutex_lock(&q->lock);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

/* With the queue's lock. */
static int worker_start(struct block_queue *q)
{
    sigset_t all, old;
    /* Signals are for the threads that know what to do about them. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&q->thread[q->threads], NULL, worker, q);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    q->threads += r == 0;
    return -r;
}

static void worker_give(struct block_queue *q, struct block_request *request)
{
    pthread_mutex_lock(&q->lock);
    list_add(&q->waiting, request);
    if (!q->idle_threads && q->threads < q->max_threads)
        worker_start(q); /* without a new one, the others come to it */
    pthread_cond_signal(&q->work);
    pthread_mutex_unlock(&q->lock);
}

/* --- transfers by the ring --- */

enum begun {
    GIVEN, /* to the workers */
    ADDED, /* to the ring, to be submitted */
    ENDED, /* already; the caller sees to the list of those */
};

static bool ring_suits(struct block_queue *q, const struct block_request *request)
{
    if (!q->ring || request->len > MAX_INLINE)
        return false;
    return request->kind == BLOCK_READ || (request->kind == BLOCK_WRITE && q->refused < MAX_REFUSED);
}

static enum begun request_begin(struct block_queue *q, struct block_request *request)
{
    struct block_direct *direct = &request->direct;
    unsigned count;
    const struct iovec *iov = request_buffers(request, &count);
    if (!ring_suits(q, request) ||
        !block_direct_begin(q->block, request->kind, request->offset, request->len, iov, count, direct)) {
        worker_give(q, request);
        return GIVEN;
    }
    int r = -EBUSY;
    if (!direct->store) {
        struct vector to = {iov, count, 0};
        vector_zero(&to, request->len);
        block_direct_end(direct, request->kind);
        request_end(q, request, 0, NULL);
        return ENDED;
    }
    if (direct->store->ops->descriptor)
        r = ring_add(q->ring, request->kind, direct->store->ops->descriptor(direct->store), direct->offset,
                     iov, count, request->len, request);
    if (r == 0)
        return ADDED;
    block_direct_end(direct, request->kind);
    worker_give(q, request);
    return GIVEN;
}

static void transfer_end(struct block_queue *q, struct block_request *request, int result)
{
    struct error err = {0};
    block_direct_end(&request->direct, request->kind);
    if (request->kind == BLOCK_WRITE)
        q->refused = result == -EAGAIN || result == -EOPNOTSUPP ? q->refused + 1 : 0;
    /* A part only (the file's end), not possible now, or cancelled because the thread that submitted it has
     * ended: the whole of it once more. */
    if ((result >= 0 && (u64)result != request->len) || result == -EAGAIN || result == -EOPNOTSUPP ||
        result == -EINTR || result == -ECANCELED) {
        worker_give(q, request);
        return;
    }
    if (result < 0)
        error_set(&err, -result, "%s: %s at byte %llu: %s", request->direct.block->path,
                  request->kind == BLOCK_READ ? "reading" : "writing",
                  (unsigned long long)request->direct.offset, strerror(-result));
    request_end(q, request, MIN(result, 0), &err);
}

static void transfers_take(struct block_queue *q)
{
    struct block_request *request;
    int result;
    while ((request = ring_take(q->ring, &result)))
        transfer_end(q, request, result);
}

/* On the ring's thread. */
static void transfers_arrived(void *opaque)
{
    transfers_take(opaque);
    complete(opaque);
}

/* --- the front --- */

int block_queue_create(struct block_queue **out, struct block *block, unsigned threads, pthread_mutex_t *held,
                       struct error *err)
{
    struct block_queue *q = calloc(1, sizeof *q);
    if (!q)
        return error_set(err, ENOMEM, "no memory for the requests of %s", block->path);
    q->block = block;
    q->held = held;
    q->max_threads = MIN(MAX(threads, 1), MAX_THREADS);
    list_init(&q->fresh);
    list_init(&q->waiting);
    list_init(&q->ended);
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->work, NULL);
    pthread_cond_init(&q->idle, NULL);
    if (!block->threads && block->ops->direct_begin)
        ring_create(&q->ring, transfers_arrived, q); /* else there are the threads */
    int r = worker_start(q);
    if (r < 0) {
        block_queue_destroy(q);
        return error_set(err, -r, "%s: no thread for its requests: %s", block->path, strerror(-r));
    }
    *out = q;
    return 0;
}

const char *block_queue_engine(const struct block_queue *q)
{
    return q->ring ? "io_uring" : "threads";
}

void block_queue_submit(struct block_queue *q, struct block_request *request)
{
    pthread_mutex_lock(&q->lock);
    q->pending++;
    bool later = q->plugged && q->ring;
    if (later)
        list_add(&q->fresh, request);
    pthread_mutex_unlock(&q->lock);
    if (later)
        return;
    switch (request_begin(q, request)) {
    case GIVEN:
        break;
    case ADDED:
        ring_submit(q->ring);
        ring_remind(q->ring, false);
        break;
    case ENDED:
        ring_remind(q->ring, true);
    }
}

void block_queue_begin(struct block_queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->plugged++;
    pthread_mutex_unlock(&q->lock);
}

void block_queue_end(struct block_queue *q)
{
    bool any = false, added = false;
    u64 bytes = 0;
    pthread_mutex_lock(&q->lock);
    q->plugged--;
    struct block_request *list = list_take_all(&q->fresh);
    pthread_mutex_unlock(&q->lock);
    while (list) {
        struct block_request *request = list;
        list = request->next;
        bytes += request->len;
        enum begun begun = GIVEN;
        if (bytes <= MAX_INLINE_BATCH)
            begun = request_begin(q, request);
        else
            worker_give(q, request);
        any |= begun != GIVEN;
        added |= begun == ADDED;
    }
    if (!any)
        return;
    if (added)
        ring_submit(q->ring);
    transfers_take(q);
    complete_held(q);
}

void block_queue_drain(struct block_queue *q)
{
    pthread_mutex_lock(&q->lock);
    while (q->pending)
        pthread_cond_wait(&q->idle, &q->lock);
    pthread_mutex_unlock(&q->lock);
}

void block_queue_destroy(struct block_queue *q)
{
    if (!q)
        return;
    block_queue_drain(q);
    pthread_mutex_lock(&q->lock);
    q->ending = true;
    pthread_cond_broadcast(&q->work);
    pthread_mutex_unlock(&q->lock);
    for (unsigned i = 0; i < q->threads; i++)
        pthread_join(q->thread[i], NULL);
    ring_destroy(q->ring);
    pthread_cond_destroy(&q->work);
    pthread_cond_destroy(&q->idle);
    pthread_mutex_destroy(&q->lock);
    free(q);
}
