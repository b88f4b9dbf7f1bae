/* A board with nothing on it, for the tests of single chips: memory, ports, a stopped clock that is moved by
 * hand. */
#ifndef RING3_TESTS_CHIPS_H
#define RING3_TESTS_CHIPS_H

#include <stdlib.h>
#include "devices/device.h"
#include "tests/tap.h"

struct board {
    struct loop *loop;
    struct mem_space *mem;
    struct state_set *state;
    struct device_env env;
};

/* One per test file: TAP cases take no argument. */
static struct board board;

static inline void board_setup(void)
{
    struct error err = {0};
    CHECK(loop_create(&board.loop, &err) == 0);
    CHECK(mem_space_create(&board.mem, loop_mutex(board.loop), NULL, &err) == 0);
    board.state = state_set_create();
    CHECK(board.state != NULL);
    board.env = (struct device_env){board.loop, board.mem, board.state, NULL};
}

static inline void board_teardown(void)
{
    state_set_destroy(board.state);
    mem_space_destroy(board.mem);
    loop_destroy(board.loop);
}

static inline u64 board_now(void)
{
    return clock_now(loop_clock(board.loop));
}

/* Moves virtual time to `ns`, stopping at every deadline on the way; returns how many there were. */
static inline unsigned board_run_to(u64 ns)
{
    unsigned count = 0;
    for (u64 at; (at = loop_next_deadline(board.loop)) <= ns && count < 1000000; count++) {
        clock_set(loop_clock(board.loop), MAX(at, board_now()));
        loop_run_timers(board.loop, board_now());
    }
    clock_set(loop_clock(board.loop), ns);
    return count;
}

/* The host was late: everything that was due by `ns` is found at `ns` only. */
static inline void board_jump_to(u64 ns)
{
    clock_set(loop_clock(board.loop), ns);
    loop_run_timers(board.loop, ns);
}

static inline void outb(u16 port, u8 value)
{
    port_write(board.mem, port, 1, value);
}

static inline u8 inb(u16 port)
{
    return (u8)port_read(board.mem, port, 1);
}

/* The end of an interrupt line. */
struct wire {
    bool level;
    unsigned rises;
};

static inline void wire_set(void *opaque, unsigned pin, bool level)
{
    struct wire *wire = (struct wire *)opaque + pin;
    wire->rises += level && !wire->level;
    wire->level = level;
}

static inline struct irq_line wire_line(struct wire *wires, unsigned pin)
{
    return (struct irq_line){wire_set, wires, pin};
}

/* Saves the board; restoring frees the snapshot. */
struct snapshot {
    u8 *data;
    size_t len;
};

static inline struct snapshot board_save(void)
{
    struct snapshot s = {0};
    CHECK(state_set_save(board.state, &s.data, &s.len, NULL) == 0);
    return s;
}

static inline void board_restore(struct snapshot s)
{
    struct error err = {0};
    CHECK(state_set_load(board.state, s.data, s.len, &err) == 0);
    CHECK_STR(err.message, "");
    free(s.data);
}

#endif
