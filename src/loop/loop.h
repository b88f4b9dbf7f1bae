/*
 * The event loop of one VM: file descriptors, timers in virtual time, and the machine lock.
 *
 * One thread runs the loop (loop_run). Callbacks run on that thread with the machine lock held. Functions
 * marked [lock] are called from any thread that holds the lock; the others say their thread.
 */
#ifndef RING3_LOOP_LOOP_H
#define RING3_LOOP_LOOP_H

#include <pthread.h>
#include "base/error.h"
#include "loop/clock.h"

struct loop;

/* A one-shot timer in virtual nanoseconds; lives inside its owner, which disarms it before it goes away. */
struct timer {
    struct loop *loop;
    void (*expired)(void *opaque);
    void *opaque;
    u64 deadline;   /* virtual ns; valid while armed */
    int heap_index; /* -1: not armed */
};

int loop_create(struct loop **out, struct error *err);
void loop_destroy(struct loop *loop);

void loop_lock(struct loop *loop);
void loop_unlock(struct loop *loop);
/* For `mem`, which takes the same lock around device callbacks. */
pthread_mutex_t *loop_mutex(struct loop *loop);

struct vclock *loop_clock(struct loop *loop);

/* Runs until loop_quit. Called without the lock. */
void loop_run(struct loop *loop);
/* Makes loop_run return soon. Any thread, with or without the lock; also from a signal handler. */
void loop_quit(struct loop *loop);

/* [lock] Timers. Arming an armed timer moves it. A deadline in the past expires at once (on the loop thread).
 */
void timer_init(struct timer *timer, struct loop *loop, void (*expired)(void *opaque), void *opaque);
void timer_arm(struct timer *timer, u64 deadline_ns);
void timer_disarm(struct timer *timer);
static inline bool timer_is_armed(const struct timer *timer)
{
    return timer->heap_index >= 0;
}

/* [lock] The virtual clock was started or stopped: timers are held or released. */
void loop_clock_changed(struct loop *loop);

/* [lock] Runs what has expired by `now`, on the calling thread. The loop does this itself; tests with a
 * stopped clock call it after clock_set. */
void loop_run_timers(struct loop *loop, u64 now);
/* [lock] The earliest armed deadline, ~0 if no timer is armed. For tests that step through virtual time. */
u64 loop_next_deadline(const struct loop *loop);

/* File descriptors. `readable`/`writable` may be NULL; watching starts at once. Loop thread or before
 * loop_run. NULL if `fd` cannot be watched (a regular file). */
struct fd_watch;
struct fd_watch *fd_watch_create(struct loop *loop, int fd, void (*readable)(void *opaque),
                                 void (*writable)(void *opaque), void *opaque);
void fd_watch_destroy(struct fd_watch *watch);
/* [lock] Turns the two directions on or off; any thread. */
void fd_watch_set(struct fd_watch *watch, bool readable, bool writable);

/* [lock] Runs `fn(opaque)` once on the loop thread, soon, with the lock held. Any thread. */
int loop_defer(struct loop *loop, void (*fn)(void *opaque), void *opaque);

#endif
