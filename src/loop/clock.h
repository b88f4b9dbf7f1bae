/*
 * The virtual clock: nanoseconds of VM time. It starts stopped at 0, runs with the host's monotonic clock,
 * and stands still while the VM is stopped. Every clock of the guest (TSC, PIT, HPET, LAPIC timer, RTC, PM
 * timer) derives from it; this is the one door through which time enters the machine.
 *
 * Threads: clock_now may be called from any thread; start and stop from one at a time.
 */
#ifndef RING3_LOOP_CLOCK_H
#define RING3_LOOP_CLOCK_H

#include <stdatomic.h>
#include "base/types.h"

#define NS_PER_SEC 1000000000ull

/* The guest's TSC frequency: one tick is one nanosecond of virtual time. */
#define TSC_HZ 1000000000ull

struct vclock {
    _Atomic(s64) offset; /* virtual = host monotonic + offset while running */
    _Atomic(u64) frozen; /* virtual time while stopped */
    _Atomic(bool) running;
};

void clock_init(struct vclock *clock);
void clock_start(struct vclock *clock);
void clock_stop(struct vclock *clock);

/* Sets the time of a stopped clock (restore). */
void clock_set(struct vclock *clock, u64 ns);

/* Virtual nanoseconds since the VM's start. */
u64 clock_now(const struct vclock *clock);

/* a * b / c without overflow of the product; c != 0. For converting between tick rates. */
static inline u64 mul_div(u64 a, u64 b, u64 c)
{
    return (u64)((u128)a * b / c);
}

#endif
