#include "manage/control_call.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static int connect_to(const char *path, unsigned seconds, struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = (time_t)seconds};
    if (strlen(path) >= sizeof address.sun_path)
        return error_set(err, ENAMETOOLONG, "'%.120s' is too long for a socket's path", path);
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set(err, errno, "cannot make a socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int code = errno;
        close(fd);
        return error_set(err, code,
                         "no machine listens at '%s': %s; it is the socket of 'ring3 run --control'", path,
                         strerror(code));
    }
    return fd;
}

/* The next message that is no event; NULL with `err`. */
static json_t *next_answer(FILE *stream, const char *path, struct error *err)
{
    for (;;) {
        json_error_t why;
        json_t *message = json_loadf(stream, JSON_DISABLE_EOF_CHECK, &why);
        if (!message) {
            error_set(err, EIO, "the machine at '%s' gives no answer", path);
            return NULL;
        }
        if (!json_object_get(message, "event"))
            return message;
        json_decref(message);
    }
}

/* Sends `request` and takes over its reference. */
static json_t *exchange(FILE *stream, const char *path, json_t *request, struct error *err)
{
    /* The stream is for reading alone: one for both directions loses what it has read ahead. */
    int rc = request ? json_dumpfd(request, fileno(stream), JSON_COMPACT) : -1;
    json_decref(request);
    if (rc < 0) {
        error_set(err, EIO, "the machine at '%s' takes no commands", path);
        return NULL;
    }
    return next_answer(stream, path, err);
}

static int check_answer(json_t *answer, const char *command, json_t **result, struct error *err)
{
    const char *why = "it says something else than QMP";
    if (!answer)
        return -err->code;
    *result = json_incref(json_object_get(answer, "return"));
    if (!*result)
        json_unpack(answer, "{s:{s:s}}", "error", "desc", &why);
    int rc = *result ? 0 : error_set(err, EIO, "%s: %s", command, why);
    json_decref(answer);
    return rc;
}

int control_call(const char *path, const char *command, json_t *arguments, unsigned seconds, json_t **result,
                 struct error *err)
{
    int fd = connect_to(path, seconds, err);
    FILE *stream = fd < 0 ? NULL : fdopen(fd, "re");
    if (!stream) {
        if (fd >= 0)
            close(fd);
        json_decref(arguments);
        return fd < 0 ? fd : error_set(err, ENOMEM, "no memory to talk to '%s'", path);
    }
    json_t *greeting = next_answer(stream, path, err), *ready = NULL;
    int rc = greeting ? 0 : -err->code;
    json_decref(greeting);
    if (!rc)
        rc = check_answer(exchange(stream, path, json_pack("{s:s}", "execute", "qmp_capabilities"), err),
                          "qmp_capabilities", &ready, err);
    json_decref(ready);
    if (!rc)
        rc = check_answer(exchange(stream, path,
                                   json_pack("{s:s, s:o}", "execute", command, "arguments",
                                             arguments ? json_incref(arguments) : json_object()),
                                   err),
                          command, result, err);
    json_decref(arguments);
    fclose(stream);
    return rc;
}
