/* The other end of the control socket: one command to a running machine. No machine, no loop, no lock. */
#ifndef RING3_MANAGE_CONTROL_CALL_H
#define RING3_MANAGE_CONTROL_CALL_H

#include <jansson.h>

#include "base/error.h"

/*
 * Connects, runs `command` and waits for its answer, not longer than `seconds`. Takes over `arguments` (NULL:
 * none). `*result` is the answer's, to be released by the caller. Fails if nobody answers there, and with the
 * machine's own words if the command failed.
 */
int control_call(const char *path, const char *command, json_t *arguments, unsigned seconds, json_t **result,
                 struct error *err);

#endif
