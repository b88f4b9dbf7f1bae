/* Timers in virtual time, descriptors, deferred calls. */
#include "loop/loop.h"

#include <unistd.h>

#include "tests/tap.h"

static int order[8], order_count;
static struct loop *loop;

static void record(void *opaque)
{
    order[order_count++ % 8] = *(int *)opaque;
}

static void quit(void *opaque)
{
    loop_quit(loop);
}

static void test_stopped_clock(void)
{
    CHECK(loop_create(&loop, NULL) == 0);
    struct timer t[3];
    int id[3] = {0, 1, 2};
    for (int i = 0; i < 3; i++)
        timer_init(&t[i], loop, record, &id[i]);
    order_count = 0;
    timer_arm(&t[0], 300);
    timer_arm(&t[1], 100);
    timer_arm(&t[2], 200);
    loop_run_timers(loop, 99);
    CHECK_EQ(order_count, 0);
    timer_arm(&t[1], 250); /* moved later */
    timer_arm(&t[0], 50);  /* moved earlier */
    loop_run_timers(loop, 1000);
    CHECK_EQ(order_count, 3);
    CHECK(order[0] == 0 && order[1] == 2 && order[2] == 1);
    timer_arm(&t[0], 10);
    timer_disarm(&t[0]);
    timer_disarm(&t[0]);
    CHECK(!timer_is_armed(&t[0]));
    loop_run_timers(loop, 1000);
    CHECK_EQ(order_count, 3);
    loop_destroy(loop);
}

/* Many timers, armed, moved and disarmed at random: they expire in order, each once. */
static u64 last_deadline;
static unsigned expired_count;

static void in_order(void *opaque)
{
    struct timer *t = opaque;
    CHECK(t->deadline >= last_deadline);
    last_deadline = t->deadline;
    expired_count++;
}

static void test_heap(void)
{
    enum { N = 500 };
    static struct timer t[N];
    CHECK(loop_create(&loop, NULL) == 0);
    unsigned seed = 1, armed = 0;
    for (int i = 0; i < N; i++)
        timer_init(&t[i], loop, in_order, &t[i]);
    for (int i = 0; i < 20 * N; i++) {
        seed = seed * 1103515245 + 12345;
        struct timer *x = &t[(seed >> 8) % N];
        if (seed >> 28 & 1)
            timer_disarm(x);
        else
            timer_arm(x, seed >> 4 & 0xffff);
    }
    for (int i = 0; i < N; i++)
        armed += timer_is_armed(&t[i]);
    CHECK(armed > 100);
    loop_run_timers(loop, 1 << 20);
    CHECK_EQ(expired_count, armed);
    loop_destroy(loop);
}

static void test_running_clock(void)
{
    CHECK(loop_create(&loop, NULL) == 0);
    struct timer t;
    timer_init(&t, loop, quit, NULL);
    clock_set(loop_clock(loop), 5000);
    CHECK_EQ(clock_now(loop_clock(loop)), 5000);
    clock_start(loop_clock(loop));
    u64 start = clock_now(loop_clock(loop));
    CHECK(start >= 5000 && start < NS_PER_SEC);
    loop_lock(loop);
    loop_clock_changed(loop);
    timer_arm(&t, start + 5000000);
    loop_unlock(loop);
    loop_run(loop);
    CHECK(clock_now(loop_clock(loop)) >= start + 5000000);
    clock_stop(loop_clock(loop));
    u64 stopped = clock_now(loop_clock(loop));
    usleep(1000);
    CHECK_EQ(clock_now(loop_clock(loop)), stopped);
    loop_destroy(loop);
}

static char got;

static void readable(void *opaque)
{
    if (read(*(int *)opaque, &got, 1) == 1)
        loop_quit(loop);
}

static void send_byte(void *opaque)
{
    CHECK(write(*(int *)opaque, "z", 1) == 1);
}

static void test_descriptor_and_defer(void)
{
    CHECK(loop_create(&loop, NULL) == 0);
    int fd[2];
    CHECK(pipe(fd) == 0);
    struct fd_watch *w = fd_watch_create(loop, fd[0], readable, NULL, &fd[0]);
    CHECK(w != NULL);
    CHECK(loop_defer(loop, send_byte, &fd[1]) == 0);
    loop_run(loop);
    CHECK_EQ(got, 'z');
    fd_watch_destroy(w);
    loop_destroy(loop);
    close(fd[0]);
    close(fd[1]);
}

int main(void)
{
    TAP_RUN(test_stopped_clock);
    TAP_RUN(test_heap);
    TAP_RUN(test_running_clock);
    TAP_RUN(test_descriptor_and_defer);
    return tap_done();
}
