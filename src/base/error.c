#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *err, int code, const char *fmt, ...)
{
    if (err) {
        va_list args;
        va_start(args, fmt);
        err->code = code;
        vsnprintf(err->message, sizeof err->message, fmt, args);
        va_end(args);
    }
    return -code;
}

int error_prefix(struct error *err, const char *fmt, ...)
{
    if (!err)
        return -EINVAL;
    char old[sizeof err->message + 2] = ": ";
    memcpy(old + 2, err->message, sizeof err->message);
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    size_t used = strlen(err->message), room = sizeof err->message - 1 - used;
    size_t len = MIN(strlen(old), room);
    memcpy(err->message + used, old, len);
    err->message[used + len] = '\0';
    return -err->code;
}
