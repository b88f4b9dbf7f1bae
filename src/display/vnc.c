/* The server: where it listens, who is there, and when the screen is looked at. */
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "display/vnc_impl.h"

#define QUIET_AFTER_NS (2 * NS_PER_SEC) /* without a change the screen is looked at less often */

u64 vnc_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (u64)now.tv_sec * NS_PER_SEC + (u64)now.tv_nsec;
}

/* --- the timer -------------------------------------------------------------------------------------- */

/*
 * One timer, in the host's time: a stopped VM's screen can be looked at, and its viewers' limits are those of
 * the host. It stands still while nobody is there.
 */
static void timer_set(struct vnc *vnc, u64 at)
{
    struct itimerspec spec = {.it_value = {(time_t)(at / NS_PER_SEC), (long)(at % NS_PER_SEC)}};
    timerfd_settime(vnc->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

void vnc_schedule(struct vnc *vnc)
{
    u64 now = vnc_now(), at = ~0ull;
    bool quiet = now - vnc->last_change > QUIET_AFTER_NS;
    for (const struct vnc_client *c = vnc->clients; c; c = c->next) {
        at = MIN(at, now + NS_PER_SEC); /* their limits */
        if (c->stage == VNC_REJECTED)
            at = MIN(at, c->deadline);
        if (vnc_wants_update(c))
            at = MIN(at, vnc->last_frame + (quiet ? VNC_QUIET_FRAME_NS : VNC_FRAME_NS));
    }
    if (vnc->listeners_paused)
        at = MIN(at, now + NS_PER_SEC);
    timer_set(vnc, at == ~0ull ? 0 : MAX(at, 1u));
}

/* Has this one used up its time? */
static bool client_is_late(struct vnc_client *c, u64 now)
{
    if (c->stage == VNC_REJECTED && now >= c->deadline) {
        vnc_handshake_rejected(c);
        return true;
    }
    if (c->stage < VNC_RUNNING)
        return now >= c->deadline;
    return c->out_from < c->out_to && now - c->progress > VNC_STALL_NS;
}

static void listeners_pause(struct vnc *vnc, bool pause)
{
    vnc->listeners_paused = pause;
    for (unsigned i = 0; i < vnc->listener_count; i++)
        fd_watch_set(vnc->listeners[i].watch, !pause, false);
}

static void timer_expired(void *opaque)
{
    struct vnc *vnc = opaque;
    u64 now = vnc_now(), expirations;
    bool wanted = false;
    if (read(vnc->timer_fd, &expirations, sizeof expirations) < 0)
        return;
    if (vnc->listeners_paused)
        listeners_pause(vnc, false);
    for (struct vnc_client *c = vnc->clients; c; c = c->next)
        wanted |= vnc_wants_update(c);
    if (wanted) {
        vnc->last_frame = now;
        display_refresh(vnc->display);
    }
    for (struct vnc_client *c = vnc->clients, *next; c; c = next) {
        next = c->next;
        if (client_is_late(c, now) || vnc_update_start(c) < 0 || vnc_client_flush(c) < 0)
            vnc_client_destroy(c);
        else if (c->updating && c->watch)
            fd_watch_set(c->watch, true, true); /* the rest follows */
    }
    vnc_schedule(vnc);
}

/* --- the screen ------------------------------------------------------------------------------------- */

static void screen_resized(void *opaque)
{
    struct vnc *vnc = opaque;
    vnc->last_change = vnc_now();
    for (struct vnc_client *c = vnc->clients; c; c = c->next)
        vnc_damage_all(c);
}

static void screen_damaged(void *opaque, struct display_rect rect)
{
    struct vnc *vnc = opaque;
    vnc->last_change = vnc_now();
    for (struct vnc_client *c = vnc->clients; c; c = c->next)
        vnc_damage(c, rect);
}

/* --- connections ------------------------------------------------------------------------------------ */

/* Makes room for one more: of those that are not authenticated yet the oldest has to go. */
static bool make_room(struct vnc *vnc)
{
    unsigned strangers = 0;
    struct vnc_client *oldest = NULL; /* the list has the newest first */
    for (struct vnc_client *c = vnc->clients; c; c = c->next)
        if (c->stage < VNC_RUNNING) {
            strangers++;
            oldest = c;
        }
    if (strangers < VNC_MAX_STRANGERS && vnc->client_count < VNC_MAX_CLIENTS)
        return true;
    if (oldest)
        vnc_client_destroy(oldest);
    return oldest;
}

static void connection_accept(struct vnc *vnc, int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
    struct vnc_client *c;
    if (fd < 0) {
        /* Without descriptors the connection stays where it is, and would wake us at once again. */
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            listeners_pause(vnc, true);
        vnc_schedule(vnc);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    if (!make_room(vnc) || vnc_client_create(&c, vnc, fd) < 0) {
        close(fd);
        return;
    }
    if (vnc_client_flush(c) < 0)
        vnc_client_destroy(c);
    vnc_schedule(vnc);
}

static void listeners_readable(void *opaque)
{
    struct vnc *vnc = opaque;
    /* Whichever it is: none of them blocks. */
    for (unsigned i = 0; i < vnc->listener_count; i++)
        connection_accept(vnc, vnc->listeners[i].fd);
}

/* --- listening -------------------------------------------------------------------------------------- */

static int listener_add(struct vnc *vnc, const struct addrinfo *a)
{
    int one = 1, fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (a->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    struct fd_watch *watch = NULL;
    int rc = bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, 16) < 0 ? -errno : 0;
    if (!rc) {
        watch = fd_watch_create(vnc->loop, fd, listeners_readable, NULL, vnc);
        rc = watch ? 0 : -ENOMEM;
    }
    if (rc) {
        close(fd);
        return rc;
    }
    vnc->listeners[vnc->listener_count].fd = fd;
    vnc->listeners[vnc->listener_count++].watch = watch;
    return 0;
}

/* At least one of the host's addresses must do; none may be in use. */
static int listen_on(struct vnc *vnc, const char *host, unsigned port, bool must, struct error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *list;
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc)
        return must ? error_set(err, EINVAL, "cannot listen for VNC viewers on '%s': %s", host,
                                gai_strerror(rc))
                    : 0;
    int last = 0, added = 0;
    for (const struct addrinfo *a = list; a && vnc->listener_count < VNC_MAX_LISTENERS; a = a->ai_next) {
        rc = listener_add(vnc, a);
        added += !rc;
        if (rc)
            last = rc;
        if (rc == -EADDRINUSE)
            break;
    }
    freeaddrinfo(list);
    if (last == -EADDRINUSE)
        return error_set(err, EADDRINUSE,
                         "port %u for VNC viewers is in use; choose another display number than %u", port,
                         port - 5900);
    if (added || !must)
        return 0;
    return error_set(err, -last, "cannot listen for VNC viewers on '%s', port %u: %s", host, port,
                     strerror(-last));
}

static int listen_all(struct vnc *vnc, const struct vnc_config *config, struct error *err)
{
    unsigned port = 5900 + config->display;
    if (config->host[0]) {
        if (!vnc->has_password && strcmp(config->host, "127.0.0.1") != 0 &&
            strcmp(config->host, "localhost") != 0 && strcmp(config->host, "::1") != 0)
            log_warn(vnc->log, "whoever reaches %s, port %u, may use this machine: there is no VNC password",
                     config->host, port);
        return listen_on(vnc, config->host, port, true, err);
    }
    int rc = listen_on(vnc, "127.0.0.1", port, true, err);
    return rc ? rc : listen_on(vnc, "::1", port, false, err); /* not every host has it */
}

/* --- life ------------------------------------------------------------------------------------------- */

int vnc_create(struct vnc **out, const struct vnc_config *config, struct loop *loop, struct display *display,
               struct input *input, struct log *log, struct error *err)
{
    struct vnc *vnc = calloc(1, sizeof *vnc);
    if (!vnc)
        return error_set(err, ENOMEM, "no memory for the VNC server");
    vnc->loop = loop;
    vnc->display = display;
    vnc->input = input;
    vnc->log = log;
    vnc->viewer =
        (struct display_viewer){.resized = screen_resized, .damaged = screen_damaged, .opaque = vnc};
    display_add_viewer(display, &vnc->viewer);
    vnc->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (vnc->timer_fd >= 0)
        vnc->timer_watch = fd_watch_create(loop, vnc->timer_fd, timer_expired, NULL, vnc);
    int rc = 0;
    if (!vnc->timer_watch)
        rc = error_set(err, EMFILE, "no descriptor for the VNC server's timer; raise ulimit -n");
    if (!rc)
        rc = vnc_load_secrets(vnc, config, err);
    if (!rc)
        rc = listen_all(vnc, config, err);
    if (rc) {
        vnc_destroy(vnc);
        return rc;
    }
    *out = vnc;
    return 0;
}

void vnc_destroy(struct vnc *vnc)
{
    if (!vnc)
        return;
    for (unsigned i = 0; i < vnc->listener_count; i++) {
        fd_watch_destroy(vnc->listeners[i].watch);
        close(vnc->listeners[i].fd);
    }
    while (vnc->clients)
        vnc_client_destroy(vnc->clients);
    display_remove_viewer(vnc->display, &vnc->viewer);
    fd_watch_destroy(vnc->timer_watch);
    if (vnc->timer_fd >= 0)
        close(vnc->timer_fd);
    if (vnc->has_tls)
        gnutls_certificate_free_credentials(vnc->credentials);
    explicit_bzero(vnc->password, sizeof vnc->password);
    free(vnc);
}
