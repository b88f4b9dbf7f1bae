/*
 * The loop is libuv's; timers are our own heap, because the guest's need nanoseconds: the earliest deadline
 * is on one timerfd. The heap, like everything the callbacks touch, is under the machine lock.
 */
#include "loop/loop.h"

#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <uv.h>

struct deferred {
    void (*fn)(void *opaque);
    void *opaque;
};

struct loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_poll_t timer_poll;
    int timer_fd;
    pthread_mutex_t lock; /* the machine lock */
    struct vclock clock;
    _Atomic(bool) quit;
    struct timer **heap; /* binary heap by deadline */
    int timer_count, timer_capacity;
    u64 armed_deadline; /* what timer_fd waits for; ~0: nothing */
    struct deferred *deferred;
    size_t deferred_count, deferred_capacity;
    struct fd_watch *changed; /* watches whose directions changed, for the loop thread */
};

struct fd_watch {
    uv_poll_t poll;
    struct loop *loop;
    void (*readable)(void *opaque);
    void (*writable)(void *opaque);
    void *opaque;
    int events;
    bool queued, closing;
    struct fd_watch *next_changed;
};

/* --- timers ----------------------------------------------------------------------------------------- */

static void heap_place(struct loop *loop, struct timer *timer, int i)
{
    loop->heap[i] = timer;
    timer->heap_index = i;
}

static void heap_up(struct loop *loop, int i)
{
    struct timer *timer = loop->heap[i];
    for (; i > 0 && loop->heap[(i - 1) / 2]->deadline > timer->deadline; i = (i - 1) / 2)
        heap_place(loop, loop->heap[(i - 1) / 2], i);
    heap_place(loop, timer, i);
}

static void heap_down(struct loop *loop, int i)
{
    struct timer *timer = loop->heap[i];
    for (int child; (child = 2 * i + 1) < loop->timer_count; i = child) {
        if (child + 1 < loop->timer_count && loop->heap[child + 1]->deadline < loop->heap[child]->deadline)
            child++;
        if (loop->heap[child]->deadline >= timer->deadline)
            break;
        heap_place(loop, loop->heap[child], i);
    }
    heap_place(loop, timer, i);
}

/* Puts the earliest deadline on the timerfd. A later deadline than the one set is left to a harmless early
 * wake-up, which saves a system call for timers that are moved again and again. */
static void timers_program(struct loop *loop)
{
    if (!loop->timer_count || !atomic_load(&loop->clock.running))
        return;
    u64 deadline = loop->heap[0]->deadline;
    if (deadline >= loop->armed_deadline)
        return;
    u64 now = clock_now(&loop->clock);
    u64 delta = deadline > now ? deadline - now : 1;
    /* timerfd takes a signed 64-bit number of seconds; a century is as good as never. */
    delta = MIN(delta, 3200000000ull * NS_PER_SEC);
    struct itimerspec spec = {.it_value = {(time_t)(delta / NS_PER_SEC), (long)(delta % NS_PER_SEC)}};
    timerfd_settime(loop->timer_fd, 0, &spec, NULL);
    loop->armed_deadline = deadline;
}

void timer_init(struct timer *timer, struct loop *loop, void (*expired)(void *opaque), void *opaque)
{
    *timer = (struct timer){.loop = loop, .expired = expired, .opaque = opaque, .heap_index = -1};
}

void timer_arm(struct timer *timer, u64 deadline_ns)
{
    struct loop *loop = timer->loop;
    if (timer->heap_index < 0) {
        if (loop->timer_count == loop->timer_capacity) {
            int capacity = loop->timer_capacity * 2 + 16;
            struct timer **heap = realloc(loop->heap, (size_t)capacity * sizeof *heap);
            if (!heap)
                return; /* a handful of pointers: the host is beyond help; the timer stays unarmed */
            loop->heap = heap;
            loop->timer_capacity = capacity;
        }
        timer->deadline = deadline_ns;
        heap_place(loop, timer, loop->timer_count++);
        heap_up(loop, timer->heap_index);
    } else {
        timer->deadline = deadline_ns;
        heap_up(loop, timer->heap_index);
        heap_down(loop, timer->heap_index);
    }
    timers_program(loop);
}

void timer_disarm(struct timer *timer)
{
    struct loop *loop = timer->loop;
    int i = timer->heap_index;
    if (i < 0)
        return;
    timer->heap_index = -1;
    struct timer *last = loop->heap[--loop->timer_count];
    if (last == timer)
        return;
    heap_place(loop, last, i);
    heap_up(loop, last->heap_index);
    heap_down(loop, last->heap_index);
}

void loop_run_timers(struct loop *loop, u64 now)
{
    /* A timer that re-arms itself in the past must not keep the loop (and the lock) forever. */
    for (int budget = 1000; budget && loop->timer_count && loop->heap[0]->deadline <= now; budget--) {
        struct timer *timer = loop->heap[0];
        timer_disarm(timer);
        timer->expired(timer->opaque);
    }
}

u64 loop_next_deadline(const struct loop *loop)
{
    return loop->timer_count ? loop->heap[0]->deadline : ~0ull;
}

static void timerfd_ready(uv_poll_t *poll, int status, int events)
{
    struct loop *loop = poll->data;
    u64 expirations;
    if (read(loop->timer_fd, &expirations, sizeof expirations) < 0 && errno != EAGAIN)
        return;
    loop_lock(loop);
    loop->armed_deadline = ~0ull;
    if (atomic_load(&loop->clock.running))
        loop_run_timers(loop, clock_now(&loop->clock));
    timers_program(loop);
    loop_unlock(loop);
}

void loop_clock_changed(struct loop *loop)
{
    loop->armed_deadline = ~0ull;
    if (atomic_load(&loop->clock.running)) {
        timers_program(loop);
    } else {
        struct itimerspec off = {0};
        timerfd_settime(loop->timer_fd, 0, &off, NULL);
    }
}

/* --- file descriptors ------------------------------------------------------------------------------- */

static void fd_ready(uv_poll_t *poll, int status, int events)
{
    struct fd_watch *watch = poll->data;
    struct loop *loop = watch->loop;
    loop_lock(loop);
    /* An error or hang-up reaches the reader, whose read(2) then tells. */
    if (status < 0)
        events = watch->events;
    if ((events & UV_READABLE) && (watch->events & UV_READABLE) && !watch->closing)
        watch->readable(watch->opaque);
    if ((events & UV_WRITABLE) && (watch->events & UV_WRITABLE) && !watch->closing)
        watch->writable(watch->opaque);
    loop_unlock(loop);
}

static void watch_apply(struct fd_watch *watch)
{
    if (watch->events)
        uv_poll_start(&watch->poll, watch->events, fd_ready);
    else
        uv_poll_stop(&watch->poll);
}

struct fd_watch *fd_watch_create(struct loop *loop, int fd, void (*readable)(void *opaque),
                                 void (*writable)(void *opaque), void *opaque)
{
    struct fd_watch *watch = calloc(1, sizeof *watch);
    if (!watch)
        return NULL;
    *watch = (struct fd_watch){.loop = loop, .readable = readable, .writable = writable, .opaque = opaque};
    if (uv_poll_init(&loop->uv, &watch->poll, fd) < 0) { /* e.g. a regular file cannot be watched */
        free(watch);
        return NULL;
    }
    watch->poll.data = watch;
    watch->events = (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0);
    watch_apply(watch);
    return watch;
}

static void watch_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void fd_watch_destroy(struct fd_watch *watch)
{
    if (!watch)
        return;
    for (struct fd_watch **p = &watch->loop->changed; *p; p = &(*p)->next_changed)
        if (*p == watch) {
            *p = watch->next_changed;
            break;
        }
    watch->closing = true;
    uv_close((uv_handle_t *)&watch->poll, watch_closed);
}

void fd_watch_set(struct fd_watch *watch, bool readable, bool writable)
{
    int events =
        (readable && watch->readable ? UV_READABLE : 0) | (writable && watch->writable ? UV_WRITABLE : 0);
    if (events == watch->events)
        return;
    watch->events = events;
    if (!watch->queued) {
        watch->queued = true;
        watch->next_changed = watch->loop->changed;
        watch->loop->changed = watch;
        uv_async_send(&watch->loop->wake);
    }
}

/* --- the loop --------------------------------------------------------------------------------------- */

static void loop_woken(uv_async_t *wake)
{
    struct loop *loop = wake->data;
    loop_lock(loop);
    while (loop->changed) {
        struct fd_watch *watch = loop->changed;
        loop->changed = watch->next_changed;
        watch->queued = false;
        watch_apply(watch);
    }
    /* What these defer in turn waits for the next round. */
    struct deferred *list = loop->deferred;
    size_t count = loop->deferred_count;
    loop->deferred = NULL;
    loop->deferred_count = loop->deferred_capacity = 0;
    for (size_t i = 0; i < count; i++)
        list[i].fn(list[i].opaque);
    free(list);
    loop_unlock(loop);
    if (atomic_load(&loop->quit))
        uv_stop(&loop->uv);
}

int loop_defer(struct loop *loop, void (*fn)(void *opaque), void *opaque)
{
    if (loop->deferred_count == loop->deferred_capacity) {
        size_t capacity = loop->deferred_capacity * 2 + 8;
        struct deferred *list = realloc(loop->deferred, capacity * sizeof *list);
        if (!list)
            return -ENOMEM;
        loop->deferred = list;
        loop->deferred_capacity = capacity;
    }
    loop->deferred[loop->deferred_count++] = (struct deferred){fn, opaque};
    uv_async_send(&loop->wake);
    return 0;
}

static int loop_open(struct loop *loop, struct error *err)
{
    loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (loop->timer_fd < 0)
        return error_set(err, errno,
                         "cannot create a timer descriptor: %s; raise the limit of open files (ulimit -n)",
                         strerror(errno));
    int rc = uv_async_init(&loop->uv, &loop->wake, loop_woken);
    if (!rc)
        rc = uv_poll_init(&loop->uv, &loop->timer_poll, loop->timer_fd);
    if (!rc)
        rc = uv_poll_start(&loop->timer_poll, UV_READABLE, timerfd_ready);
    if (rc)
        return error_set(err, -rc, "cannot set up the event loop: %s", uv_strerror(rc));
    loop->wake.data = loop->timer_poll.data = loop;
    return 0;
}

int loop_create(struct loop **out, struct error *err)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return error_set(err, ENOMEM, "out of memory for the event loop");
    int rc = uv_loop_init(&loop->uv);
    if (rc) {
        free(loop);
        return error_set(err, -rc,
                         "cannot create an event loop: %s; raise the limit of open files (ulimit -n)",
                         uv_strerror(rc));
    }
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&loop->lock, &attr);
    pthread_mutexattr_destroy(&attr);
    clock_init(&loop->clock);
    loop->armed_deadline = ~0ull;
    loop->timer_fd = -1;
    rc = loop_open(loop, err);
    if (rc) {
        loop_destroy(loop);
        return rc;
    }
    *out = loop;
    return 0;
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    struct loop *loop = arg;
    if (uv_is_closing(handle))
        return;
    bool is_watch = handle != (uv_handle_t *)&loop->wake && handle != (uv_handle_t *)&loop->timer_poll;
    uv_close(handle, is_watch ? watch_closed : NULL);
}

void loop_destroy(struct loop *loop)
{
    if (!loop)
        return;
    uv_walk(&loop->uv, close_handle, loop);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    uv_loop_close(&loop->uv);
    if (loop->timer_fd >= 0)
        close(loop->timer_fd);
    pthread_mutex_destroy(&loop->lock);
    free(loop->heap);
    free(loop->deferred);
    free(loop);
}

void loop_lock(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
}

void loop_unlock(struct loop *loop)
{
    pthread_mutex_unlock(&loop->lock);
}

pthread_mutex_t *loop_mutex(struct loop *loop)
{
    return &loop->lock;
}

struct vclock *loop_clock(struct loop *loop)
{
    return &loop->clock;
}

void loop_run(struct loop *loop)
{
    if (!atomic_load(&loop->quit))
        uv_run(&loop->uv, UV_RUN_DEFAULT);
    atomic_store(&loop->quit, false);
}

void loop_quit(struct loop *loop)
{
    atomic_store(&loop->quit, true);
    uv_async_send(&loop->wake);
}
