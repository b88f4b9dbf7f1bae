/*
 * The keyboard controller of a PC (Intel 8042 with IBM's PS/2 firmware), its keyboard and mouse, and port 92h
 * ("system control port A", IBM PS/2 Hardware Interface Technical Reference).
 *
 * The A20 gate is one latch behind both the controller's output port and port 92h: the last write counts, and
 * both read it back. Chip sets that snoop the controller's commands behave so.
 */
#ifndef RING3_DEVICES_CHAR_I8042_H
#define RING3_DEVICES_CHAR_I8042_H

#include "devices/device.h"
#include "devices/reset.h"
#include "display/input.h"

struct i8042;

struct i8042_config {
    struct irq_line keyboard_irq, mouse_irq; /* edge */
    struct reset_line reset;
};

int i8042_create(struct i8042 **out, const struct device_env *env, const struct i8042_config *config,
                 struct error *err);
void i8042_destroy(struct i8042 *kbc);
void i8042_reset(struct i8042 *kbc);

/* [lock] Events from the user. `key`: scan code of set 1, E0xxh for extended keys, E11Dh for Pause. */
void i8042_key_event(struct i8042 *kbc, u16 key, bool pressed);
/* [lock] dy > 0: up; dz > 0: wheel away from the user; buttons: bit 0 left, 1 right, 2 middle, 3 and 4 side.
 */
void i8042_mouse_event(struct i8042 *kbc, int dx, int dy, int dz, u8 buttons);

/* [lock] The guest has read all that the keyboard had to say. */
bool i8042_keyboard_is_idle(const struct i8042 *kbc);
/* [lock] Bit 0: scroll lock, 1: num lock, 2: caps lock. */
u8 i8042_leds(const struct i8042 *kbc);
/* [lock] The guest wants to hear of movement. */
bool i8042_mouse_is_active(const struct i8042 *kbc);

/* [lock] Makes keyboard and mouse devices of `input`, in storage of the caller's; disconnect first. */
struct ps2_input {
    struct input *input;
    struct input_device keyboard, mouse;
};
void ps2_input_connect(struct ps2_input *ps2, struct i8042 *kbc, struct input *input);
void ps2_input_disconnect(struct ps2_input *ps2); /* accepts one that is not connected */

#endif
