#include "loop/clock.h"

#include <time.h>

static u64 host_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (u64)ts.tv_sec * NS_PER_SEC + (u64)ts.tv_nsec;
}

void clock_init(struct vclock *clock)
{
    atomic_init(&clock->offset, 0);
    atomic_init(&clock->frozen, 0);
    atomic_init(&clock->running, false);
}

void clock_start(struct vclock *clock)
{
    if (atomic_load(&clock->running))
        return;
    atomic_store(&clock->offset, (s64)(atomic_load(&clock->frozen) - host_ns()));
    atomic_store(&clock->running, true);
}

void clock_stop(struct vclock *clock)
{
    if (!atomic_load(&clock->running))
        return;
    atomic_store(&clock->frozen, clock_now(clock));
    atomic_store(&clock->running, false);
}

void clock_set(struct vclock *clock, u64 ns)
{
    atomic_store(&clock->frozen, ns);
}

u64 clock_now(const struct vclock *clock)
{
    if (unlikely(!atomic_load_explicit(&clock->running, memory_order_acquire)))
        return atomic_load(&clock->frozen);
    return host_ns() + (u64)atomic_load_explicit(&clock->offset, memory_order_relaxed);
}
