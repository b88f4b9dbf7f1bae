/* The keyboard and the mouse behind the i8042 as devices of what a person does (display/input.h). */
#include "devices/char/i8042.h"
#include "display/scancode.h"

static void keyboard_key(void *opaque, u16 code, bool pressed)
{
    u16 scancode = scancode_from_key(code);
    if (scancode)
        i8042_key_event(opaque, scancode, pressed);
}

static bool keyboard_idle(void *opaque)
{
    return i8042_keyboard_is_idle(opaque);
}

static unsigned keyboard_leds(void *opaque)
{
    return i8042_leds(opaque);
}

static bool mouse_active(void *opaque)
{
    return i8042_mouse_is_active(opaque);
}

/* A PS/2 mouse counts up as positive; its buttons are in the order of enum input_button. */
static void mouse_move(void *opaque, int dx, int dy, int wheel, unsigned buttons)
{
    i8042_mouse_event(opaque, dx, -dy, wheel, (u8)(buttons & 0x1f));
}

void ps2_input_connect(struct ps2_input *ps2, struct i8042 *kbc, struct input *input)
{
    *ps2 = (struct ps2_input){
        .input = input,
        .keyboard = {.key = keyboard_key, .idle = keyboard_idle, .leds = keyboard_leds, .opaque = kbc},
        .mouse = {.active = mouse_active, .move = mouse_move, .opaque = kbc},
    };
    input_connect(input, &ps2->keyboard);
    input_connect(input, &ps2->mouse);
}

void ps2_input_disconnect(struct ps2_input *ps2)
{
    if (!ps2->input)
        return;
    input_disconnect(ps2->input, &ps2->mouse);
    input_disconnect(ps2->input, &ps2->keyboard);
    ps2->input = NULL;
}
