/*
 * Keys by what is printed on them: characters on a US keyboard, X11 keysyms (what VNC viewers send), and
 * names (QMP's, and those that people write). All pure.
 */
#ifndef RING3_DISPLAY_KEYMAP_H
#define RING3_DISPLAY_KEYMAP_H

#include "base/types.h"

enum keymap_shift {
    KEYMAP_ANY,     /* the key means the same with and without Shift */
    KEYMAP_PLAIN,   /* only without Shift */
    KEYMAP_SHIFTED, /* only with Shift */
};

struct keymap_key {
    u16 code; /* KEY_*; KEY_RESERVED (0): there is no such key */
    u8 shift; /* enum keymap_shift */
    bool letter;
};

/* A character (ASCII, with '\n', '\t', '\b' and Esc) on a US keyboard. */
struct keymap_key keymap_from_char(u32 c);
/* `num_lock`: the guest's, as the keypad's digits and arrows are one set of keys. */
struct keymap_key keymap_from_keysym(u32 keysym, bool num_lock);
/* "ctrl", "down", "f10", "a", "kp_enter"; any case. Returns KEY_RESERVED if no key is called that. */
u16 keymap_from_name(const char *name, size_t len);

#endif
