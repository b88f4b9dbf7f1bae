/*
 * A viewer's keys. It says which character was typed (a keysym), or also which key that was on its keyboard
 * (QEMU's extended key event). A character is typed as on a US keyboard: where the guest must see another
 * state of Shift than the viewer holds, Shift is changed for the moment of the press.
 */
#include <linux/input-event-codes.h>

#include "display/keymap.h"
#include "display/scancode.h"
#include "display/vnc_impl.h"

#define ID_SCANCODE BIT(31)

static bool is_held(const struct vnc_keys *keys, u16 code)
{
    for (unsigned i = 0; i < keys->count; i++)
        if (keys->held[i].code == code)
            return true;
    return false;
}

static void release_at(struct vnc_keys *keys, unsigned i)
{
    u16 code = keys->held[i].code;
    keys->held[i] = keys->held[--keys->count];
    if (!is_held(keys, code)) /* two keysyms may be one key */
        input_key(keys->input, code, false);
}

void vnc_keys_release_all(struct vnc_keys *keys)
{
    while (keys->count)
        release_at(keys, keys->count - 1);
}

static void release_id(struct vnc_keys *keys, u32 id)
{
    for (unsigned i = 0; i < keys->count; i++)
        if (keys->held[i].id == id) {
            release_at(keys, i);
            return;
        }
    /* Shift was let go first, and now another character's release is told than was pressed: a key that is up
     * early is better than one that hangs. */
    if (id & ID_SCANCODE || !keymap_from_keysym(id, false).shift)
        return;
    for (unsigned i = keys->count; i-- > 0;)
        if (keys->held[i].character)
            release_at(keys, i);
}

static void hold(struct vnc_keys *keys, u32 id, u16 code, bool character)
{
    for (unsigned i = 0; i < keys->count; i++)
        if (keys->held[i].id == id)
            return; /* it repeats */
    if (keys->count == VNC_MAX_HELD)
        release_at(keys, 0); /* nobody has so many fingers */
    keys->held[keys->count].id = id;
    keys->held[keys->count].code = code;
    keys->held[keys->count++].character = character;
}

/* Is Shift as this key needs it? */
static bool wants_other_shift(const struct vnc_keys *keys, struct keymap_key key, bool shift)
{
    if (key.shift == KEYMAP_ANY)
        return false;
    bool want = key.shift == KEYMAP_SHIFTED;
    if (key.letter) {
        /* With Ctrl or Alt it is a command, and Shift is what was held. */
        if (is_held(keys, KEY_LEFTCTRL) || is_held(keys, KEY_RIGHTCTRL) || is_held(keys, KEY_LEFTALT) ||
            is_held(keys, KEY_LEFTMETA))
            return false;
        int leds = input_leds(keys->input);
        want ^= leds >= 0 && leds & INPUT_LED_CAPS;
    }
    return want != shift;
}

static void press(struct vnc_keys *keys, struct keymap_key key)
{
    static const u16 shifts[] = {KEY_LEFTSHIFT, KEY_RIGHTSHIFT};
    bool down[2] = {is_held(keys, shifts[0]), is_held(keys, shifts[1])}, shift = down[0] || down[1];
    if (!wants_other_shift(keys, key, shift)) {
        input_key(keys->input, key.code, true);
        return;
    }
    if (!shift)
        input_key(keys->input, KEY_LEFTSHIFT, true);
    for (int i = 0; i < 2; i++)
        if (down[i])
            input_key(keys->input, shifts[i], false);
    input_key(keys->input, key.code, true);
    if (!shift)
        input_key(keys->input, KEY_LEFTSHIFT, false);
    for (int i = 0; i < 2; i++)
        if (down[i])
            input_key(keys->input, shifts[i], true);
}

void vnc_keys_keysym(struct vnc_keys *keys, u32 keysym, bool pressed)
{
    if (keysym & ID_SCANCODE)
        return;
    if (!pressed) {
        release_id(keys, keysym);
        return;
    }
    int leds = input_leds(keys->input);
    struct keymap_key key = keymap_from_keysym(keysym, leds >= 0 && leds & INPUT_LED_NUM);
    if (!key.code)
        return;
    hold(keys, keysym, key.code, key.shift != KEYMAP_ANY);
    press(keys, key);
}

bool vnc_keys_scancode(struct vnc_keys *keys, u32 xt, bool pressed)
{
    u16 code = xt > 0xff ? KEY_RESERVED : scancode_to_key((u16)(xt & 0x80 ? 0xe000 | (xt & 0x7f) : xt));
    if (xt == 0xc6) /* Ctrl and Pause are "Break", E0 46; XT codes have nothing else for Pause */
        code = KEY_PAUSE;
    if (xt == 0x54) /* Alt and Print */
        code = KEY_SYSRQ;
    if (!code)
        return false;
    if (!pressed) {
        release_id(keys, ID_SCANCODE | xt);
        return true;
    }
    hold(keys, ID_SCANCODE | xt, code, false);
    input_key(keys->input, code, true);
    return true;
}
