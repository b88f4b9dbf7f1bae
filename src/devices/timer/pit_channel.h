/*
 * One channel of an 8254 (Intel order number 231164): a function of its registers and the time, which is
 * counted in CLK ticks since the machine's start. pit.c has the ports and the interrupt.
 *
 * Invariants: `stopped` while not `armed`; in modes 2 and 3 a pending count has `switch_at`, when it is
 * loaded, and `start` is the begin of the period in which it was written.
 */
#ifndef RING3_DEVICES_TIMER_PIT_CHANNEL_H
#define RING3_DEVICES_TIMER_PIT_CHANNEL_H

#include "base/types.h"

#define PIT_NEVER (~0ull)

enum pit_access { PIT_LATCH, PIT_LOW, PIT_HIGH, PIT_BOTH }; /* the RW field of a control word */

struct pit_channel {
    u8 mode;   /* 0..5 */
    u8 access; /* enum pit_access, not PIT_LATCH */
    bool bcd;
    bool gate;

    /* The counting element: loaded with `count` at tick `start`, which may be one tick ahead (loads happen at
     * the next CLK); while stopped, `elapsed` ticks had passed when it stopped. */
    bool armed; /* a count is (or is about to be) in it; modes 1 and 5: by a trigger */
    bool stopped;
    bool before; /* the output until `start` */
    u32 count;   /* 1..10000h */
    u64 start;
    u32 elapsed;

    /* The count register. */
    u32 reload;   /* 1..10000h */
    bool written; /* since the control word */
    bool pending; /* not yet loaded */
    u64 switch_at;

    u8 write_low;    /* first byte of two */
    bool write_high; /* the second byte is next */
    bool read_high;
    u8 latched; /* bytes of the latched count that are still to be read: 0, 1, 2 */
    u16 latch;
    bool status_latched;
    u8 status;
};

/* Power-on: no mode is defined; this is mode 0, waiting for a count. */
void pit_channel_reset(struct pit_channel *c, bool gate);

/* All take the present tick, which never decreases. */
void pit_channel_control(struct pit_channel *c, u64 tick, u8 control);
void pit_channel_write(struct pit_channel *c, u64 tick, u8 value);
u8 pit_channel_read(struct pit_channel *c, u64 tick);
void pit_channel_latch_count(struct pit_channel *c, u64 tick);
void pit_channel_latch_status(struct pit_channel *c, u64 tick);
void pit_channel_set_gate(struct pit_channel *c, u64 tick, bool gate);
bool pit_channel_output(struct pit_channel *c, u64 tick);

/* For an edge-triggered input behind the output. Low pulses of one CLK (modes 2, 4, 5) are not seen as
 * levels. */
bool pit_channel_level(struct pit_channel *c, u64 tick);
/* Did the output rise in (from, tick]? To be asked before anything else at `tick`. */
bool pit_channel_rose(struct pit_channel *c, u64 from, u64 tick);
/* The next tick after `tick` at which the output rises or the level changes. PIT_NEVER: none. */
u64 pit_channel_next_edge(struct pit_channel *c, u64 tick);

/* Are all registers within their ranges (saved state)? */
bool pit_channel_is_valid(const struct pit_channel *c);

#endif
