#include "cli/console.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/escape.h"
#include "cli/terminal.h"
#include "machine/machine.h"

#define OUTPUT_LIMIT MIB(4) /* what may wait for a slow reader before the guest has to */
#define STALL_MS     2000   /* a terminal that takes nothing for this long has nobody looking at it */

struct console {
    struct machine *machine;
    enum console_port port;
    int in, out; /* -1: none */
    bool close_in, close_out;
    int in_flags;  /* of a shared `in`, to be put back: watching makes it non-blocking */
    bool terminal; /* `in` is one, and raw while attached */
    unsigned timeout;
    struct timespec give_up; /* after it, blocked output is dropped */
    struct fd_watch *in_watch, *out_watch;
    struct escape escape;
    u8 typed[4096]; /* what the serial port has not taken yet: typed[typed_from..typed_to) */
    size_t typed_from, typed_to;
    u8 *output; /* what the reader has not taken yet */
    size_t output_len, output_size;
    bool quit;
    int write_error; /* errno; output is discarded from then on */
};

bool console_spec_is_valid(const char *spec)
{
    return !strcmp(spec, "stdio") || !strcmp(spec, "none") || (!strncmp(spec, "file:", 5) && spec[5]);
}

/* A descriptor for `fd` that does not block if that can be had without a change to what others share. */
static int open_standard(int fd, int flags, bool *ours)
{
    int own = descriptor_reopen(fd, flags);
    *ours = own >= 0;
    return own >= 0 ? own : fd;
}

int console_open(struct console **out, const char *spec, unsigned timeout, struct error *err)
{
    struct console *c = calloc(1, sizeof *c);
    if (!c)
        return error_set(err, ENOMEM, "no memory for the console; close other programs");
    *c = (struct console){.in = -1, .out = -1, .timeout = timeout};

    if (!strncmp(spec, "file:", 5)) {
        c->out = open(spec + 5, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
        c->close_out = c->out >= 0;
        if (c->out < 0) {
            error_set(err, errno, "cannot write the console to '%s': %s; choose a file that can be written",
                      spec + 5, strerror(errno));
            free(c);
            return -err->code;
        }
    } else if (!strcmp(spec, "stdio")) {
        c->terminal = isatty(STDIN_FILENO);
        c->in = open_standard(STDIN_FILENO, O_RDONLY, &c->close_in);
        c->in_flags = fcntl(c->in, F_GETFL);
        c->out = open_standard(STDOUT_FILENO, O_WRONLY, &c->close_out);
    }
    *out = c;
    return 0;
}

void console_close(struct console *c)
{
    if (!c)
        return;
    if (c->close_in)
        close(c->in);
    else if (c->in >= 0)
        fcntl(c->in, F_SETFL, c->in_flags);
    if (c->close_out)
        close(c->out);
    free(c->output);
    free(c);
}

/* --- output --- */

static bool deadline_passed(const struct timespec *deadline)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec > deadline->tv_sec ||
           (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec);
}

/* Writes as much as goes without waiting; returns how much that was (all of it after an error). */
static size_t write_some(struct console *c, const u8 *data, size_t len)
{
    size_t done = 0;
    while (done < len && !c->write_error) {
        ssize_t n = write(c->out, data + done, len - done);
        if (n >= 0) {
            done += (size_t)n;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno == EAGAIN)
            return done;
        c->write_error = errno;
        if (c->machine)
            machine_quit(c->machine);
    }
    return len;
}

static void output_flush_some(struct console *c)
{
    size_t n = write_some(c, c->output, c->output_len);
    memmove(c->output, c->output + n, c->output_len - n);
    c->output_len -= n;
}

/* Waits until the buffer holds no more than `limit` bytes; drops what nobody takes. */
static void output_drain(struct console *c, size_t limit, unsigned stall_ms)
{
    unsigned stalled = 0;
    while (c->output_len > limit) {
        struct pollfd p = {.fd = c->out, .events = POLLOUT};
        size_t before = c->output_len;
        poll(&p, 1, 100);
        output_flush_some(c);
        stalled = c->output_len < before ? 0 : stalled + 100;
        bool patience_over = signals_caught() || (c->timeout && deadline_passed(&c->give_up));
        if ((stall_ms && stalled >= stall_ms) || (stalled && patience_over))
            c->output_len = 0;
    }
}

static bool output_reserve(struct console *c, size_t len)
{
    if (c->output_size - c->output_len >= len)
        return true;
    size_t size = MAX(c->output_len + len, MIN(2 * c->output_size, OUTPUT_LIMIT));
    u8 *bigger = realloc(c->output, size);
    if (!bigger)
        return false;
    c->output = bigger;
    c->output_size = size;
    return true;
}

static void console_write(void *opaque, const u8 *data, size_t len)
{
    struct console *c = opaque;
    if (c->out < 0 || c->write_error)
        return;
    if (c->output_len + len > OUTPUT_LIMIT)
        output_drain(c, OUTPUT_LIMIT / 2, c->terminal ? STALL_MS : 0);
    if (c->output_len == 0) {
        size_t n = write_some(c, data, len);
        data += n;
        len -= n;
    }
    if (len == 0)
        return;
    if (!output_reserve(c, len))
        return; /* no memory: these bytes are lost, the guest goes on */
    memcpy(c->output + c->output_len, data, len);
    c->output_len += len;
    if (c->out_watch)
        fd_watch_set(c->out_watch, false, true);
}

static void out_writable(void *opaque)
{
    struct console *c = opaque;
    output_flush_some(c);
    if (c->output_len == 0)
        fd_watch_set(c->out_watch, false, false);
}

/* --- input --- */

static const char escape_help[] =
    "\r\n[ring3: Ctrl-] q quits, Ctrl-] Ctrl-] types one Ctrl-], Ctrl-] ? shows this]\r\n";

/* Hands what was typed to the serial port until it takes no more (only then does it tell when it has room
 * again). */
static void typed_deliver(struct console *c)
{
    size_t n = 1;
    while (n && c->typed_from < c->typed_to) {
        n = machine_console_input(c->machine, c->port, c->typed + c->typed_from, c->typed_to - c->typed_from);
        c->typed_from += n;
    }
    if (c->typed_from == c->typed_to)
        c->typed_from = c->typed_to = 0;
}

/* Sorts escape sequences out of what the terminal said. Returns how many bytes are left for the guest. */
static size_t escape_filter(struct console *c, u8 *data, size_t len)
{
    size_t kept = 0;
    for (size_t i = 0; i < len; i++) {
        switch (escape_feed(&c->escape, data[i])) {
        case ESCAPE_TYPE:
            data[kept++] = data[i];
            break;
        case ESCAPE_QUIT:
            c->quit = true;
            machine_quit(c->machine);
            return 0;
        case ESCAPE_HELP:
            if (write(STDERR_FILENO, escape_help, sizeof escape_help - 1) < 0)
                return kept;
            break;
        case ESCAPE_NONE:
            break;
        }
    }
    return kept;
}

static void in_readable(void *opaque)
{
    struct console *c = opaque;
    u8 data[1024];
    size_t room = sizeof c->typed - (c->typed_to - c->typed_from);

    /* A terminal is read even if the guest takes nothing, so that the escape key always works. */
    ssize_t n = read(c->in, data, c->terminal ? sizeof data : MIN(room, sizeof data));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) { /* end of input: the guest goes on without */
        fd_watch_destroy(c->in_watch);
        c->in_watch = NULL;
        return;
    }
    size_t len = c->terminal ? escape_filter(c, data, (size_t)n) : (size_t)n;
    memmove(c->typed, c->typed + c->typed_from, c->typed_to - c->typed_from);
    c->typed_to -= c->typed_from;
    c->typed_from = 0;
    len = MIN(len, room);
    memcpy(c->typed + c->typed_to, data, len);
    c->typed_to += len;
    typed_deliver(c);
    if (!c->terminal && c->typed_to - c->typed_from == sizeof c->typed)
        fd_watch_set(c->in_watch, false, false);
}

/* The serial port has room again. [machine lock] */
static void input_room(void *opaque)
{
    struct console *c = opaque;
    typed_deliver(c);
    if (c->in_watch) {
        fd_watch_set(c->in_watch, true, false);
        return;
    }
    /* A regular file cannot be watched, but is always readable. */
    while (c->in >= 0 && c->typed_to == 0) {
        ssize_t n = read(c->in, c->typed, sizeof c->typed);
        if (n <= 0) {
            if (c->close_in)
                close(c->in);
            c->close_in = false;
            c->in = -1;
            return;
        }
        c->typed_to = (size_t)n;
        typed_deliver(c);
    }
}

/* --- life --- */

int console_attach(struct console *c, struct machine *machine, enum console_port port, struct error *err)
{
    const struct machine_console ops = {.write = console_write, .opaque = c};
    struct loop *loop = machine_loop(machine);

    c->machine = machine;
    c->port = port;
    clock_gettime(CLOCK_MONOTONIC, &c->give_up);
    c->give_up.tv_sec += c->timeout;
    if (c->terminal) {
        fprintf(stderr, "ring3: this terminal is the guest's console; Ctrl-] q quits, Ctrl-] ? helps\n");
        int rc = terminal_make_raw(STDIN_FILENO, err);
        if (rc < 0)
            return rc;
        machine_log(machine)->crlf = isatty(STDERR_FILENO);
    }
    machine_set_console(machine, port, &ops);
    machine_on_console_room(machine, port, input_room, c);
    if (c->in >= 0) {
        c->in_watch = fd_watch_create(loop, c->in, in_readable, NULL, c);
        if (!c->in_watch) {
            loop_lock(loop);
            loop_defer(loop, input_room, c);
            loop_unlock(loop);
        }
    }
    if (c->close_out) { /* only a descriptor of our own may become non-blocking */
        c->out_watch = fd_watch_create(loop, c->out, NULL, out_writable, c);
        if (c->out_watch) {
            loop_lock(loop);
            fd_watch_set(c->out_watch, false, false);
            loop_unlock(loop);
        }
    }
    return 0;
}

void console_detach(struct console *c)
{
    if (!c || !c->machine)
        return;
    struct machine *machine = c->machine;
    c->machine = NULL;
    fd_watch_destroy(c->in_watch);
    fd_watch_destroy(c->out_watch);
    c->in_watch = c->out_watch = NULL;
    output_drain(c, 0, c->terminal || c->quit ? STALL_MS / 2 : 0);
    terminal_restore();
    machine_log(machine)->crlf = false;
}

bool console_was_quit(const struct console *c)
{
    return c->quit;
}

int console_check_output(const struct console *c, struct error *err)
{
    if (!c->write_error)
        return 0;
    return error_set(
        err, c->write_error,
        "cannot write the guest's console output: %s; check its reader, or the disk's free space",
        strerror(c->write_error));
}
