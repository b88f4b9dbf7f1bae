/*
 * Transfers of bytes that are in the host's page cache end while they are submitted: the submitter takes them
 * at once, without a switch of threads. The others are announced through an event descriptor. It is turned
 * off during a submission; what ended in that time is found by looking after it is turned on again, which
 * every submitter does (by ring_take or ring_remind).
 */
#include <liburing.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "block/ring.h"

#define ENTRIES 256

struct ring {
    struct io_uring uring;
    pthread_mutex_t submit_lock, take_lock; /* the ring's two ends */
    int event;
    void (*arrived)(void *opaque);
    void *opaque;
    atomic_bool ending;
    bool has_uring, has_thread;
    pthread_t thread;
};

static void *waiter(void *opaque)
{
    struct ring *r = opaque;
    u64 count;
    for (;;) {
        ssize_t n = read(r->event, &count, sizeof count);
        if (atomic_load(&r->ending))
            return NULL;
        if (n == sizeof count)
            r->arrived(r->opaque);
    }
}

int ring_create(struct ring **out, void (*arrived)(void *opaque), void *opaque)
{
    struct ring *r = calloc(1, sizeof *r);
    sigset_t all, old;
    if (!r)
        return -ENOMEM;
    *out = r; /* before there is a thread that uses it */
    r->arrived = arrived;
    r->opaque = opaque;
    pthread_mutex_init(&r->submit_lock, NULL);
    pthread_mutex_init(&r->take_lock, NULL);
    r->event = eventfd(0, EFD_CLOEXEC);
    int e = r->event < 0 ? -errno : io_uring_queue_init(ENTRIES, &r->uring, 0);
    r->has_uring = e == 0;
    /* A kernel that would drop what has ended when the ring is full is too old. */
    if (e == 0 && !(r->uring.features & IORING_FEAT_NODROP))
        e = -ENOSYS;
    if (e == 0)
        e = io_uring_register_eventfd(&r->uring, r->event);
    if (e == 0) {
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        e = -pthread_create(&r->thread, NULL, waiter, r);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        r->has_thread = e == 0;
    }
    if (e < 0) {
        ring_destroy(r);
        *out = NULL;
    }
    return e;
}

void ring_destroy(struct ring *r)
{
    if (!r)
        return;
    if (r->has_thread) {
        atomic_store(&r->ending, true);
        eventfd_write(r->event, 1);
        pthread_join(r->thread, NULL);
    }
    if (r->has_uring)
        io_uring_queue_exit(&r->uring);
    if (r->event >= 0)
        close(r->event);
    pthread_mutex_destroy(&r->submit_lock);
    pthread_mutex_destroy(&r->take_lock);
    free(r);
}

int ring_add(struct ring *r, enum block_request_kind kind, int fd, u64 offset, const struct iovec *iov,
             unsigned iov_count, u64 len, void *tag)
{
    int result = iov_count > IOV_MAX || len > INT_MAX ? -EBUSY : 0;
    pthread_mutex_lock(&r->submit_lock);
    struct io_uring_sqe *sqe = result < 0 ? NULL : io_uring_get_sqe(&r->uring);
    if (!sqe && result == 0) {
        io_uring_submit(&r->uring);
        sqe = io_uring_get_sqe(&r->uring);
        result = sqe ? 0 : -EBUSY;
    }
    if (sqe) {
        if (kind == BLOCK_READ)
            io_uring_prep_readv(sqe, fd, iov, iov_count, offset);
        else
            io_uring_prep_writev2(sqe, fd, iov, iov_count, offset, RWF_NOWAIT);
        io_uring_sqe_set_data(sqe, tag);
    }
    pthread_mutex_unlock(&r->submit_lock);
    return result;
}

void ring_submit(struct ring *r)
{
    pthread_mutex_lock(&r->submit_lock);
    io_uring_cq_eventfd_toggle(&r->uring, false);
    while (io_uring_sq_ready(&r->uring) && io_uring_submit(&r->uring) == -EINTR)
        ;
    io_uring_cq_eventfd_toggle(&r->uring, true);
    atomic_thread_fence(memory_order_seq_cst); /* before the look at what has ended */
    pthread_mutex_unlock(&r->submit_lock);
}

void *ring_take(struct ring *r, int *result)
{
    struct io_uring_cqe *cqe;
    void *tag = NULL;
    pthread_mutex_lock(&r->take_lock);
    if (io_uring_peek_cqe(&r->uring, &cqe) == 0 && cqe) {
        tag = io_uring_cqe_get_data(cqe);
        *result = cqe->res;
        io_uring_cqe_seen(&r->uring, cqe);
    }
    pthread_mutex_unlock(&r->take_lock);
    return tag;
}

void ring_remind(struct ring *r, bool always)
{
    pthread_mutex_lock(&r->take_lock);
    bool ready = io_uring_cq_ready(&r->uring);
    pthread_mutex_unlock(&r->take_lock);
    if (always || ready)
        eventfd_write(r->event, 1);
}
