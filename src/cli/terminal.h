/*
 * The controlling terminal in raw mode, and the signals that must not leave it there.
 *
 * The terminal and the signal dispositions belong to the process, not to a VM; so this module keeps one
 * static record, written before the handlers are installed. It is the only mutable state of this kind in
 * ring3.
 */
#ifndef RING3_CLI_TERMINAL_H
#define RING3_CLI_TERMINAL_H

#include "base/error.h"

struct machine;

/*
 * Installs the handlers; before the machine is made, so that an engine's own handlers come after and pass on
 * what is not theirs. SIGINT, SIGTERM and SIGHUP restore the terminal and make the machine quit (without one,
 * and the second time, they kill); a crash of ring3 restores the terminal and dies as it would have; SIGTSTP
 * restores it and stops, SIGCONT makes it raw again.
 */
void signals_install(void);
/* Which machine quits; NULL before it is destroyed. */
void signals_set_machine(struct machine *machine);
/* The signal that asked ring3 to quit, or 0. */
int signals_caught(void);

/* Makes the terminal `fd` raw. It must stay open until terminal_restore. Once at a time. */
int terminal_make_raw(int fd, struct error *err);
/* As it was before; does nothing if it is not raw. */
void terminal_restore(void);

/*
 * A non-blocking file description of our own for the terminal or FIFO `fd`, so that O_NONBLOCK is not set on
 * one that is shared with the shell. Returns a new descriptor, or -1 if there is none to be had.
 */
int descriptor_reopen(int fd, int flags);

#endif
