/* The socket, its connections, and where a message ends. */
#include "manage/control.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "manage/control_impl.h"

/* --- what goes out ---------------------------------------------------------------------------------- */

static void client_flush(struct control_client *c)
{
    while (c->out_from < c->out_to && c->fd >= 0) {
        ssize_t n = send(c->fd, c->out + c->out_from, c->out_to - c->out_from, MSG_NOSIGNAL);
        if (n < 0) {
            c->failed |= errno != EAGAIN && errno != EINTR;
            break;
        }
        c->out_from += (size_t)n;
    }
    if (c->out_from == c->out_to || c->fd < 0)
        c->out_from = c->out_to = 0;
    /* Who does not listen is not listened to. */
    if (c->watch)
        fd_watch_set(c->watch, c->out_to - c->out_from<CONTROL_MAX_WAITING, c->out_to> 0);
}

void control_send(struct control_client *c, json_t *message)
{
    char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
    size_t len = text ? strlen(text) : 0;
    json_decref(message);
    if (!text) {
        c->failed = true;
        return;
    }
    if (c->out_from) {
        memmove(c->out, c->out + c->out_from, c->out_to - c->out_from);
        c->out_to -= c->out_from;
        c->out_from = 0;
    }
    if (c->out_size - c->out_to < len + 2) {
        char *out = realloc(c->out, c->out_to + len + 2);
        if (!out) {
            c->failed = true;
            free(text);
            return;
        }
        c->out = out;
        c->out_size = c->out_to + len + 2;
    }
    memcpy(c->out + c->out_to, text, len);
    memcpy(c->out + c->out_to + len, "\r\n", 2);
    c->out_to += len + 2;
    free(text);
    client_flush(c);
}

void control_event(struct control *control, const char *name)
{
    struct timeval now;
    gettimeofday(&now, NULL);
    for (struct control_client *c = control->clients; c; c = c->next)
        /* Somebody who reads nothing hears of no events either, or they would pile up. */
        if (c->negotiated && c->out_to - c->out_from < CONTROL_MAX_WAITING)
            control_send(c, json_pack("{s:s, s:{s:I, s:I}}", "event", name, "timestamp", "seconds",
                                      (json_int_t)now.tv_sec, "microseconds", (json_int_t)now.tv_usec));
}

/* --- what comes in ---------------------------------------------------------------------------------- */

static void take_message(struct control_client *c, const char *text, size_t len)
{
    json_error_t error;
    json_t *request = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    if (!request) {
        control_send(c, json_pack("{s:{s:s, s:s}}", "error", "class", "GenericError", "desc", error.text));
        return;
    }
    control_send(c, control_execute(c, request));
    json_decref(request);
}

/* A message ends with the brace that closes its first one. False until then. */
static bool find_end(struct control_client *c)
{
    for (; c->scanned < c->in_len; c->scanned++) {
        char ch = c->in[c->scanned];
        if (c->in_string) {
            c->in_string = ch != '"' || c->escaped;
            c->escaped = ch == '\\' && !c->escaped;
        } else if (ch == '"') {
            c->in_string = true;
            c->escaped = false;
        } else if (ch == '{' || ch == '[') {
            c->depth++;
        } else if ((ch == '}' || ch == ']') && c->depth && !--c->depth) {
            c->scanned++;
            return true;
        }
    }
    return false;
}

static bool is_space(char ch)
{
    return ch == ' ' || ch == '\t' || ch == '\r' || ch == '\n';
}

static void drop_input(struct control_client *c, size_t n)
{
    c->in_len -= n;
    memmove(c->in, c->in + n, c->in_len);
    c->scanned = 0;
}

static int take_messages(struct control_client *c)
{
    for (;;) {
        size_t spaces = 0;
        if (!c->depth)
            while (spaces < c->in_len && is_space(c->in[spaces]))
                spaces++;
        if (spaces)
            drop_input(c, spaces);
        if (!c->in_len)
            return 0;
        if (c->in[0] != '{') {
            control_send(c, json_pack("{s:{s:s, s:s}}", "error", "class", "GenericError", "desc",
                                      "JSON parse error, a command is an object"));
            return -1;
        }
        if (!find_end(c))
            return 0;
        size_t len = c->scanned;
        c->in_string = c->escaped = false;
        take_message(c, c->in, len);
        drop_input(c, len);
        if (c->failed)
            return -1;
    }
}

int control_client_input(struct control_client *c, const char *data, size_t len)
{
    while (len) {
        size_t n = MIN(len, CONTROL_MAX_MESSAGE - c->in_len);
        if (c->in_size - c->in_len < n) {
            size_t size = MIN(c->in_len + MAX(n, KIB(4)), CONTROL_MAX_MESSAGE);
            char *in = realloc(c->in, size);
            if (!in)
                return -1;
            c->in = in;
            c->in_size = size;
        }
        memcpy(c->in + c->in_len, data, n);
        c->in_len += n;
        data += n;
        len -= n;
        if (take_messages(c) < 0)
            return -1;
        if (c->in_len == CONTROL_MAX_MESSAGE) {
            control_send(c, json_pack("{s:{s:s, s:s}}", "error", "class", "GenericError", "desc",
                                      "JSON parse error, the message is too long"));
            return -1;
        }
    }
    return c->failed ? -1 : 0;
}

static void client_readable(void *opaque)
{
    struct control_client *c = opaque;
    char data[4096];
    ssize_t n = recv(c->fd, data, sizeof data, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || control_client_input(c, data, (size_t)n) < 0)
        control_client_destroy(c);
}

static void client_writable(void *opaque)
{
    struct control_client *c = opaque;
    client_flush(c);
    if (c->failed)
        control_client_destroy(c);
}

/* --- connections ------------------------------------------------------------------------------------ */

struct control_client *control_client_create(struct control *control, int fd)
{
    struct control_client *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->control = control;
    c->fd = fd;
    if (fd >= 0) {
        c->watch = fd_watch_create(machine_loop(control->machine), fd, client_readable, client_writable, c);
        if (!c->watch) {
            free(c);
            return NULL;
        }
    }
    c->next = control->clients;
    control->clients = c;
    control->client_count++;
    control_send(c, json_pack("{s:{s:{s:{s:i, s:i, s:i}, s:s}, s:[]}}", "QMP", "version", "qemu", "major", 7,
                              "minor", 2, "micro", 0, "package", "ring3 " RING3_VERSION, "capabilities"));
    return c;
}

void control_client_destroy(struct control_client *c)
{
    for (struct control_client **p = &c->control->clients; *p; p = &(*p)->next)
        if (*p == c) {
            *p = c->next;
            c->control->client_count--;
            break;
        }
    fd_watch_destroy(c->watch);
    if (c->fd >= 0)
        close(c->fd);
    free(c->in);
    free(c->out);
    free(c);
}

/* The mode keeps others out; a descriptor that was passed on does not. */
static bool peer_is_trusted(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) && (peer.uid == geteuid() || peer.uid == 0);
}

static void listener_readable(void *opaque)
{
    struct control *control = opaque;
    int fd = accept4(control->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (control->client_count == CONTROL_MAX_CLIENTS || !peer_is_trusted(fd) ||
        !control_client_create(control, fd))
        close(fd);
}

/* --- life ------------------------------------------------------------------------------------------- */

/* A socket that nobody listens on any more may go. */
static void remove_stale(const struct sockaddr_un *address)
{
    struct stat st;
    if (lstat(address->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 && errno == ECONNREFUSED)
        unlink(address->sun_path);
    close(fd);
}

static int control_listen(struct control *control, struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    strcpy(address.sun_path, control->path);
    remove_stale(&address);
    control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The mode before the name: there is no moment at which others could connect. */
    if (control->fd < 0 || fchmod(control->fd, 0600) < 0 ||
        bind(control->fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int code = errno;
        control->path[0] = '\0'; /* not ours */
        return error_set(err, code, "cannot make the control socket '%s': %s%s", address.sun_path,
                         strerror(code), code == EADDRINUSE ? "; choose another path" : "");
    }
    if (chmod(control->path, 0600) < 0 || stat(control->path, &st) < 0 || listen(control->fd, 8) < 0)
        return error_set(err, errno, "cannot listen on the control socket '%s': %s", control->path,
                         strerror(errno));
    control->device = st.st_dev;
    control->inode = st.st_ino;
    control->watch =
        fd_watch_create(machine_loop(control->machine), control->fd, listener_readable, NULL, control);
    return control->watch ? 0 : error_set(err, ENOMEM, "no memory for the control socket");
}

int control_create(struct control **out, struct machine *machine, const char *path, struct error *err)
{
    struct control *control = calloc(1, sizeof *control);
    if (!control)
        return error_set(err, ENOMEM, "no memory for the control socket");
    control->machine = machine;
    control->fd = -1;
    int rc;
    if (!*path || strlen(path) >= sizeof control->path) {
        rc = error_set(err, ENAMETOOLONG, "the control socket's path '%.120s' must have 1 to %zu characters",
                       path, sizeof control->path - 1);
    } else {
        strcpy(control->path, path);
        rc = control_listen(control, err);
    }
    if (rc) {
        control_destroy(control);
        return rc;
    }
    *out = control;
    return 0;
}

void control_destroy(struct control *control)
{
    struct stat st;
    if (!control)
        return;
    for (struct control_client *c = control->clients, *next; c; c = next) {
        next = c->next;
        control_client_destroy(c);
    }
    fd_watch_destroy(control->watch);
    if (control->fd >= 0)
        close(control->fd);
    if (control->inode && !stat(control->path, &st) && st.st_dev == control->device &&
        st.st_ino == control->inode)
        unlink(control->path);
    free(control);
}
