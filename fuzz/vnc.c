/*
 * VNC viewers from an enemy: what one says, cut into pieces by the input itself, while the picture changes
 * under it.
 *
 * First byte: bits 0..1 where the conversation begins (version, plain password, running twice), bit 2 a
 * password is asked, bit 3 TLS is offered (never carried out). Then pieces: a length byte and so much data; a
 * length of 0 is followed by a byte of something that happens to the server.
 */
#include <stdlib.h>
#include <string.h>

#include "display/vnc_impl.h"

static void swallow_key(void *opaque, u16 code, bool pressed) {}

static void swallow_pointer(void *opaque, unsigned x, unsigned y, int wheel, unsigned buttons)
{
    if (x > INPUT_ABS_MAX || y > INPUT_ABS_MAX)
        abort();
}

static void swallow_move(void *opaque, int dx, int dy, int wheel, unsigned buttons) {}

static bool listens(void *opaque)
{
    return *(const bool *)opaque;
}

static unsigned leds(void *opaque)
{
    return *(const bool *)opaque ? INPUT_LED_CAPS : INPUT_LED_NUM;
}

static void paint(struct display *display, u8 seed)
{
    const struct display_frame *f = display_frame(display);
    for (u32 y = 0; y < f->height; y++)
        for (u32 x = 0; x < f->width; x++)
            f->pixels[(size_t)y * f->stride + x] = seed & 1   ? (x * 31 + y * 17) * (seed + 1u)
                                                   : seed & 2 ? (x / 7 + y / 5) % (seed / 4 + 1u) * 0x30507u
                                                              : seed;
}

static void happen(struct vnc *vnc, u8 what)
{
    static const u16 sizes[] = {1, 63, 64, 65, 130, 300, 1100, 16};
    switch (what & 7) {
    case 0:
        paint(vnc->display, what >> 3);
        vnc_damage_all(vnc->clients);
        break;
    case 1:
        vnc_damage(vnc->clients, (struct display_rect){what, what / 2u, 70, 3});
        break;
    case 2:
        if (display_set_size(vnc->display, sizes[what >> 3 & 7], sizes[what >> 5]) == 0)
            paint(vnc->display, what);
        vnc_damage_all(vnc->clients);
        break;
    case 3:
        *(bool *)vnc->viewer.opaque = what & 8;
        break;
    default:
        break;
    }
}

/* As the server's timer and the descriptor's callback do. */
static int serve(struct vnc_client *c)
{
    if (vnc_update_start(c) < 0)
        return -1;
    for (int i = 0; c->updating && i < 3; i++)
        if (vnc_client_flush(c) < 0 || vnc_update_continue(c) < 0)
            return -1;
    if (c->stage == VNC_REJECTED)
        return vnc_handshake_rejected(c);
    return vnc_client_flush(c);
}

static void talk(struct vnc *vnc, struct vnc_client *c, const u8 *data, size_t size)
{
    while (size) {
        size_t n = *data++;
        size--;
        if (!n && size) {
            happen(vnc, *data++);
            size--;
        }
        n = n < size ? n : size;
        /* A copy of its own: a look beyond it is seen. */
        u8 *piece = malloc(n ? n : 1);
        memcpy(piece, data, n);
        /* TLS begins with a handshake that is GnuTLS's affair. */
        int rc = c->stage == VNC_TLS ? -1 : vnc_client_input(c, piece, n);
        free(piece);
        if (rc < 0 || serve(c) < 0 || c->out_to - c->out_from > 2 * VNC_OUT_LIMIT + MIB(1))
            return;
        data += n;
        size -= n;
    }
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static struct loop *loop;
    bool flag = false;
    struct vnc *vnc = calloc(1, sizeof *vnc);
    struct vnc_client *c;
    struct input_device keyboard = {.key = swallow_key, .leds = leds, .opaque = &flag};
    struct input_device tablet = {.active = listens, .point = swallow_pointer, .opaque = &flag};
    struct input_device mouse = {.move = swallow_move};
    if (!size || (!loop && loop_create(&loop, NULL) < 0))
        goto out;
    if (!vnc || display_create(&vnc->display, NULL) < 0 || input_create(&vnc->input, NULL) < 0)
        abort();
    vnc->loop = loop;
    vnc->timer_fd = -1;
    vnc->viewer.opaque = &flag;
    input_connect(vnc->input, &keyboard);
    input_connect(vnc->input, &mouse);
    input_connect(vnc->input, &tablet);
    display_set_size(vnc->display, 200, 130);
    paint(vnc->display, data[0]);
    vnc->has_password = data[0] & 4;
    strcpy(vnc->password, "pass");
    if (vnc_client_create(&c, vnc, -1) < 0)
        abort();
    if (data[0] & 1)
        c->stage = VNC_RUNNING;
    else if (data[0] & 2)
        c->stage = VNC_PLAIN;
    if (c->stage == VNC_RUNNING) {
        c->width = 200;
        c->height = 130;
        vnc_damage_all(c);
    }
    vnc->has_tls = data[0] & 8;
    talk(vnc, c, data + 1, size - 1);
    vnc->has_tls = false;
    vnc_client_destroy(c);
    input_destroy(vnc->input);
    display_destroy(vnc->display);
out:
    free(vnc);
    return 0;
}
