/*
 * Keys by their place on the keyboard: Linux input event codes (KEY_*) against the scan codes of set 1 that a
 * PC's keyboard sends, which VNC's extended key events carry too.
 */
#ifndef RING3_DISPLAY_SCANCODE_H
#define RING3_DISPLAY_SCANCODE_H

#include "base/types.h"

/* Set 1: the code alone, E0xxh for extended keys, E11Dh for Pause; 0: the key has none. */
u16 scancode_from_key(u16 key);
/* KEY_RESERVED (0): no such key. */
u16 scancode_to_key(u16 scancode);

#endif
