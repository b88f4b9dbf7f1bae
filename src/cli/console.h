/*
 * A console of the guest, its serial port's or a virtio one: on the standard streams (raw if that is a
 * terminal), in a file, or nowhere.
 *
 * Threads: open, attach, detach and close belong to the machine's thread. Output arrives on any thread with
 * the machine lock held; it is buffered, and only an output that nobody reads for long makes the guest wait.
 */
#ifndef RING3_CLI_CONSOLE_H
#define RING3_CLI_CONSOLE_H

#include "machine/machine.h"

struct console;

/*
 * `spec` is "stdio", "file:PATH" or "none". A file is created or emptied here; the terminal is not touched
 * yet. After `timeout` seconds (0: never) of running, output that nobody reads is dropped.
 */
int console_open(struct console **out, const char *spec, unsigned timeout, struct error *err);
void console_close(struct console *console);

/* Is `spec` one of the forms above? */
bool console_spec_is_valid(const char *spec);

/* Connects it to a machine that is about to run: from now on the terminal is raw. */
int console_attach(struct console *console, struct machine *machine, enum console_port port,
                   struct error *err);
/* Writes out what is buffered, restores the terminal, lets go of the machine's loop. Accepts NULL. */
void console_detach(struct console *console);

/* After the run: did the user type Ctrl-] q? Did the output fail (then `err` says how)? */
bool console_was_quit(const struct console *console);
int console_check_output(const struct console *console, struct error *err);

#endif
