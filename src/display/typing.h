/*
 * Keys typed by a script: --type on the command line, and the control socket.
 *
 * Notation of a text: characters of a US keyboard stand for themselves; \n Enter, \t Tab, \e Esc, \b
 * Backspace, \\ \{ \@ the character; {NAME} a key by its name (keymap.h), {MOD-MOD-NAME} with others held,
 * such as {ctrl-alt-del}; {wait SECONDS} a pause. "@SECONDS" at the end is when to begin, counted from
 * power-on; without it a text follows the one before at once.
 *
 * All times are the VM's virtual time. Each stroke waits until the guest has read the ones before (a
 * bounded time), and strokes are paced so that a BIOS' buffer of 15 keys is not overrun by somebody who
 * polls it.
 *
 * Everything here: [machine lock].
 */
#ifndef RING3_DISPLAY_TYPING_H
#define RING3_DISPLAY_TYPING_H

#include "base/error.h"
#include "display/input.h"
#include "loop/loop.h"

#define TYPING_MAX_CHORD   8                  /* keys held at once */
#define TYPING_MAX_STEPS   65536              /* strokes and pauses that wait */
#define TYPING_DEFAULT_NS  (50 * 1000000ull)  /* from one stroke to the next */
#define TYPING_MAX_HOLD_NS (600 * NS_PER_SEC) /* a key held, or a pause */

struct typing;

int typing_create(struct typing **out, struct loop *loop, struct input *input, struct error *err);
/* Releases what is held down. */
void typing_destroy(struct typing *typing);

/* Is that a text as above? -EINVAL, with a sentence that starts with the bad part. No lock. */
int typing_check(const char *text, struct error *err);
/* Types it, after what waits already. -EINVAL, -ENOSPC, -ENOMEM. */
int typing_add(struct typing *typing, const char *text, struct error *err);
/* Holds `count` keys down together, in that order, for `hold_ns`; after what waits already. */
int typing_add_chord(struct typing *typing, const u16 *codes, unsigned count, u64 hold_ns, struct error *err);

#endif
