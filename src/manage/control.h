/*
 * The control socket: a Unix socket of the owner's (mode 0600) that speaks QMP, the QEMU Machine Protocol:
 * JSON objects, a greeting, qmp_capabilities first, then commands and their answers, and events in between.
 * The commands are one table (commands.c).
 *
 * Several may be connected. What they say is bounded: the length of a message, its nesting, and how much of
 * what they are told waits for them (nothing more is read from them then).
 *
 * Everything here: [machine lock], loop thread or before machine_run.
 */
#ifndef RING3_MANAGE_CONTROL_H
#define RING3_MANAGE_CONTROL_H

#include "base/error.h"
#include "machine/machine.h"

#define CONTROL_MAX_CLIENTS 16
#define CONTROL_MAX_MESSAGE KIB(64)
#define CONTROL_MAX_WAITING KIB(512)

struct control;

/* Listens on a socket at `path`, which may be one that a ring3 left behind. */
int control_create(struct control **out, struct machine *machine, const char *path, struct error *err);
/* Removes the socket. */
void control_destroy(struct control *control);

#endif
