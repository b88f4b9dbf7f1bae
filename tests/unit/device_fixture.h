/* A loop with a stopped clock, an address space and a state set: what a device needs to be tested alone. */
#ifndef RING3_TESTS_DEVICE_FIXTURE_H
#define RING3_TESTS_DEVICE_FIXTURE_H

#include <stdlib.h>

#include "../tap.h"
#include "devices/device.h"

struct fixture {
    struct loop *loop;
    struct mem_space *mem;
    struct state_set *state;
    struct device_env env;
};

static inline void fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    CHECK(loop_create(&f->loop, NULL) == 0);
    CHECK(mem_space_create(&f->mem, loop_mutex(f->loop), NULL, NULL) == 0);
    f->state = state_set_create();
    CHECK(f->state != NULL);
    f->env = (struct device_env){f->loop, f->mem, f->state, NULL};
}

static inline void fixture_finish(struct fixture *f)
{
    state_set_destroy(f->state);
    mem_space_destroy(f->mem);
    loop_destroy(f->loop);
}

static inline u8 in8(struct fixture *f, u16 port)
{
    return (u8)port_read(f->mem, port, 1);
}

static inline void out8(struct fixture *f, u16 port, u8 v)
{
    port_write(f->mem, port, 1, v);
}

/* Sets the stopped clock to `ns` and lets the timers that are due by then expire. */
static inline void fixture_advance_to(struct fixture *f, u64 ns)
{
    clock_set(loop_clock(f->loop), ns);
    loop_run_timers(f->loop, ns);
}

/* A wire that remembers. */
struct probe {
    bool level;
    unsigned rises;
};

static void probe_set(void *opaque, unsigned pin, bool level)
{
    struct probe *p = opaque;
    p->rises += level && !p->level;
    p->level = level;
}

static inline struct irq_line probe_line(struct probe *p)
{
    return (struct irq_line){probe_set, p, 0};
}

#endif
