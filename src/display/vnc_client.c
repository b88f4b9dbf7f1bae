/* One connection: what comes in and goes out, TLS, and its end. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "display/vnc_impl.h"

#define READS_AT_ONCE 16 /* then others have their turn */

/* --- what goes out ---------------------------------------------------------------------------------- */

u8 *vnc_out_reserve(struct vnc_client *c, size_t len)
{
    if (c->out_from == c->out_to)
        c->out_from = c->out_to = 0;
    if (c->out_size - c->out_to >= len)
        return c->out + c->out_to;
    if (c->out_from) {
        memmove(c->out, c->out + c->out_from, c->out_to - c->out_from);
        c->out_to -= c->out_from;
        c->out_from = 0;
    }
    if (c->out_size - c->out_to < len) {
        size_t size = c->out_to + len + KIB(4);
        u8 *out = realloc(c->out, size);
        if (!out) {
            c->out_failed = true;
            return NULL;
        }
        c->out = out;
        c->out_size = size;
    }
    return c->out + c->out_to;
}

void vnc_out(struct vnc_client *c, const void *data, size_t len)
{
    u8 *to = vnc_out_reserve(c, len);
    if (to) {
        memcpy(to, data, len);
        vnc_out_commit(c, len);
    }
}

void vnc_out_u8(struct vnc_client *c, u8 v)
{
    vnc_out(c, &v, 1);
}

void vnc_out_u16(struct vnc_client *c, u16 v)
{
    v = __builtin_bswap16(v);
    vnc_out(c, &v, sizeof v);
}

void vnc_out_u32(struct vnc_client *c, u32 v)
{
    v = __builtin_bswap32(v);
    vnc_out(c, &v, sizeof v);
}

/* Bytes sent, 0 if none can be now, -1. */
static ssize_t send_some(struct vnc_client *c)
{
    const u8 *data = c->out + c->out_from;
    size_t len = MIN(c->out_to - c->out_from, KIB(64));
    if (!c->tls_up) {
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);
        return n >= 0 ? n : errno == EAGAIN || errno == EINTR ? 0 : -1;
    }
    /* What GnuTLS could not send it keeps, and wants a call without data to go on. */
    ssize_t n = c->tls_pending ? gnutls_record_send(c->tls, NULL, 0) : gnutls_record_send(c->tls, data, len);
    if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED) {
        c->tls_pending = c->tls_pending ? c->tls_pending : len;
        return 0;
    }
    c->tls_pending = 0;
    return n > 0 ? n : -1;
}

int vnc_client_flush(struct vnc_client *c)
{
    while (c->out_from < c->out_to && !c->out_failed) {
        ssize_t n = c->fd < 0 ? (ssize_t)(c->out_to - c->out_from) : send_some(c);
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        c->out_from += (size_t)n;
        c->progress = vnc_now();
    }
    bool waits = c->out_from < c->out_to;
    if (c->stage == VNC_TLS && !waits && !c->tls && vnc_client_start_tls(c) < 0)
        return -1;
    bool tls_waits = c->tls && !c->tls_up && gnutls_record_get_direction(c->tls);
    if (c->watch)
        fd_watch_set(c->watch, true, waits || tls_waits);
    return c->out_failed ? -1 : 0;
}

/* Sends, and makes more of the update as there is room for it. */
static int client_push(struct vnc_client *c)
{
    int rc = vnc_client_flush(c);
    /* One helping each time: the guest's devices wait for the lock meanwhile. */
    if (!rc && c->updating && c->out_to - c->out_from < VNC_OUT_LIMIT) {
        rc = vnc_update_continue(c);
        if (!rc)
            rc = vnc_client_flush(c);
    }
    if (!rc && c->updating && c->watch)
        fd_watch_set(c->watch, true, true);
    return rc;
}

/* --- what comes in ---------------------------------------------------------------------------------- */

/* Takes the messages that are complete. */
static int take_messages(struct vnc_client *c)
{
    size_t from = 0, len = c->in_len;
    int rc = 0;
    while (from < len) {
        if (c->skip) {
            size_t n = MIN(c->skip, len - from);
            c->skip -= n;
            from += n;
            continue;
        }
        if (from) {
            memmove(c->in, c->in + from, len - from);
            len -= from;
            from = 0;
        }
        c->in_len = len;
        ssize_t n = c->stage == VNC_RUNNING ? vnc_message_input(c) : vnc_handshake_input(c);
        if (n <= 0) {
            rc = n < 0 || len == sizeof c->in ? -1 : 0;
            break;
        }
        from = (size_t)n;
    }
    memmove(c->in, c->in + from, len - from);
    c->in_len = len - from;
    return rc;
}

int vnc_client_input(struct vnc_client *c, const u8 *data, size_t len)
{
    while (len) {
        size_t n = MIN(len, sizeof c->in - c->in_len);
        memcpy(c->in + c->in_len, data, n);
        c->in_len += n;
        data += n;
        len -= n;
        if (take_messages(c) < 0)
            return -1;
    }
    return 0;
}

/* Bytes read, 0 if there are none now, -1 at the end. */
static ssize_t receive_some(struct vnc_client *c, u8 *data, size_t size)
{
    if (!c->tls_up) {
        ssize_t n = recv(c->fd, data, size, 0);
        return n > 0 ? n : n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    }
    ssize_t n = gnutls_record_recv(c->tls, data, size);
    return n > 0 ? n : n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED ? 0 : -1;
}

static int tls_shake(struct vnc_client *c)
{
    int rc = gnutls_handshake(c->tls);
    if (rc == GNUTLS_E_SUCCESS) {
        c->tls_up = true;
        rc = vnc_handshake_tls_done(c);
        return rc < 0 ? rc : vnc_client_flush(c);
    }
    if (gnutls_error_is_fatal(rc))
        return -1;
    fd_watch_set(c->watch, true, gnutls_record_get_direction(c->tls));
    return 0;
}

int vnc_client_start_tls(struct vnc_client *c)
{
    if (gnutls_init(&c->tls, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) < 0) {
        c->tls = NULL;
        return -1;
    }
    if (gnutls_set_default_priority(c->tls) < 0 ||
        gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, c->vnc->credentials) < 0)
        return -1;
    if (c->fd >= 0)
        gnutls_transport_set_int(c->tls, c->fd);
    return 0;
}

static int client_pull(struct vnc_client *c)
{
    u8 data[2048];
    if (c->stage == VNC_TLS && c->tls && tls_shake(c) < 0)
        return -1;
    for (int i = 0; c->stage != VNC_TLS; i++) {
        /* What GnuTLS has decrypted already makes no descriptor readable. */
        if (i >= READS_AT_ONCE && !(c->tls_up && gnutls_record_check_pending(c->tls)))
            break;
        ssize_t n = receive_some(c, data, sizeof data);
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        if (vnc_client_input(c, data, (size_t)n) < 0)
            return -1;
        if (vnc_client_flush(c) < 0)
            return -1;
    }
    return 0;
}

/* --- life ------------------------------------------------------------------------------------------- */

static void client_readable(void *opaque)
{
    struct vnc_client *c = opaque;
    if (client_pull(c) < 0) {
        vnc_client_flush(c); /* the reason, if there is one */
        vnc_client_destroy(c);
    }
}

static void client_writable(void *opaque)
{
    struct vnc_client *c = opaque;
    bool shaking = c->stage == VNC_TLS && c->tls;
    if ((shaking ? tls_shake(c) : client_push(c)) < 0)
        vnc_client_destroy(c);
}

int vnc_client_create(struct vnc_client **out, struct vnc *vnc, int fd)
{
    struct vnc_client *c = calloc(1, sizeof *c);
    if (!c)
        return -ENOMEM;
    c->vnc = vnc;
    c->fd = fd;
    c->keys.input = vnc->input;
    c->progress = vnc_now();
    vnc_pixels_set(&c->pixels, &vnc_native_format);
    if (fd >= 0) {
        c->watch = fd_watch_create(vnc->loop, fd, client_readable, client_writable, c);
        if (!c->watch) {
            free(c);
            return -ENOMEM;
        }
    }
    c->next = vnc->clients;
    vnc->clients = c;
    vnc->client_count++;
    vnc_handshake_start(c);
    *out = c;
    return 0;
}

void vnc_client_destroy(struct vnc_client *c)
{
    struct vnc *vnc = c->vnc;
    for (struct vnc_client **p = &vnc->clients; *p; p = &(*p)->next)
        if (*p == c) {
            *p = c->next;
            vnc->client_count--;
            break;
        }
    vnc_keys_release_all(&c->keys);
    if (c->buttons)
        input_move(vnc->input, 0, 0, 0, 0);
    fd_watch_destroy(c->watch);
    if (c->tls_up)
        gnutls_bye(c->tls, GNUTLS_SHUT_WR);
    if (c->tls)
        gnutls_deinit(c->tls);
    if (c->fd >= 0)
        close(c->fd);
    vnc_encode_finish(c);
    free(c->out);
    explicit_bzero(c->in, sizeof c->in);
    free(c);
    vnc_schedule(vnc);
}
