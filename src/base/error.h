/*
 * Errors that a person reads. A function that can fail for a reason the user must know takes a
 * `struct error *` (may be NULL) as its last parameter and returns a negative errno; the message says what,
 * why and what to do, without a newline.
 */
#ifndef RING3_BASE_ERROR_H
#define RING3_BASE_ERROR_H

#include <errno.h>
#include "base/types.h"

struct error {
    int code; /* errno, positive; 0 if nothing failed */
    char message[512];
};

/* Fills `err` (if not NULL) and returns `-code`, so that a caller can `return error_set(err, EINVAL, ...)`.
 */
int error_set(struct error *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Puts "prefix: " before the message that is already in `err`; returns -err->code. */
int error_prefix(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
