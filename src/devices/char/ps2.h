/*
 * The two PS/2 devices behind an i8042: an MF2 keyboard and a mouse (standard, IntelliMouse wheel, Explorer
 * with five buttons). IBM PS/2 Hardware Interface Technical Reference, keyboard and mouse sections.
 *
 * They hold bytes for the controller in a queue; the controller takes them when its output buffer is free.
 * Both structs are their own saved state: fixed-width fields only.
 */
#ifndef RING3_DEVICES_CHAR_PS2_H
#define RING3_DEVICES_CHAR_PS2_H

#include "base/error.h"

#define PS2_QUEUE_SIZE 64

struct ps2_queue {
    u8 data[PS2_QUEUE_SIZE]; /* oldest first */
    u8 count;
    u8 last; /* sent last: for the resend command */
};

static inline unsigned ps2_queue_room(const struct ps2_queue *q)
{
    return PS2_QUEUE_SIZE - q->count;
}

/* A byte that does not fit is lost. */
void ps2_queue_push(struct ps2_queue *q, u8 byte);
/* The queue is not empty. */
u8 ps2_queue_pop(struct ps2_queue *q);
/* Puts the byte that was popped last back. */
void ps2_queue_unpop(struct ps2_queue *q, u8 byte);

struct ps2_keyboard {
    struct ps2_queue out;
    u8 scan_set; /* 1..3 */
    u8 leds;     /* bit 0: scroll lock, 1: num lock, 2: caps lock */
    u8 typematic;
    u8 command; /* that waits for its argument; 0: none */
    bool scanning;
};

struct ps2_mouse {
    struct ps2_queue out;
    s32 dx, dy, dz; /* movement that has not been reported; dy > 0 is up */
    u8 buttons;     /* bit 0: left, 1: right, 2: middle, 3, 4: side */
    u8 reported_buttons;
    u8 id; /* 0: standard, 3: wheel, 4: five buttons */
    u8 rate, resolution;
    u8 rates[2]; /* the two sample rates set before the last: the knock for wheel and buttons */
    u8 command;
    bool reporting, scaling, remote, wrap;
};

void ps2_keyboard_reset(struct ps2_keyboard *kbd);
/* A byte from the host. */
void ps2_keyboard_write(struct ps2_keyboard *kbd, u8 byte);
/* `key`: scan code of set 1, E0xxh for the extended keys, E11Dh for Pause. Unknown keys are ignored. */
void ps2_keyboard_key(struct ps2_keyboard *kbd, u16 key, bool pressed);
/* Is that a state that a keyboard can be in? */
int ps2_keyboard_check(const struct ps2_keyboard *kbd, struct error *err);

void ps2_mouse_reset(struct ps2_mouse *mouse);
void ps2_mouse_write(struct ps2_mouse *mouse, u8 byte);
/* Relative movement (dy > 0: up; dz > 0: wheel away from the user) and the buttons that are down now. */
void ps2_mouse_move(struct ps2_mouse *mouse, int dx, int dy, int dz, u8 buttons);
/* Reports movement that is still waiting, if there is room in the queue now. */
void ps2_mouse_flush(struct ps2_mouse *mouse);
int ps2_mouse_check(const struct ps2_mouse *mouse, struct error *err);

#endif
