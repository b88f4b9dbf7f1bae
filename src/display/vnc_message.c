/* What a viewer says (RFC 6143, section 7.5; QEMU's extended key event: rfbproto). */
#include "display/vnc_impl.h"

enum message {
    SET_PIXEL_FORMAT = 0,
    SET_ENCODINGS = 2,
    UPDATE_REQUEST = 3,
    KEY_EVENT = 4,
    POINTER_EVENT = 5,
    CUT_TEXT = 6,
    QEMU = 255,
};

enum pointer_button {
    POINTER_LEFT = BIT(0),
    POINTER_MIDDLE = BIT(1),
    POINTER_RIGHT = BIT(2),
    POINTER_WHEEL_UP = BIT(3),
    POINTER_WHEEL_DOWN = BIT(4),
};

/* Without a palette of ours a viewer would have none: SetColourMapEntries (section 7.6.2). */
static void out_colour_map(struct vnc_client *c)
{
    const struct vnc_format *f = &c->pixels.format;
    vnc_out_u8(c, 1);
    vnc_out_u8(c, 0);
    vnc_out_u16(c, 0);
    vnc_out_u16(c, 256);
    for (u32 i = 0; i < 256; i++)
        for (int part = 0; part < 3; part++)
            vnc_out_u16(c, (u16)((i >> f->shift[part] & f->max[part]) * 65535u / f->max[part]));
}

int vnc_format_apply(struct vnc_client *c)
{
    c->format_pending = false;
    if (vnc_pixels_set(&c->pixels, &c->next_format) < 0)
        return -1;
    if (c->next_format.colour_map)
        out_colour_map(c);
    vnc_damage_all(c);
    return 0;
}

static ssize_t take_pixel_format(struct vnc_client *c)
{
    const u8 *p = c->in + 4;
    if (c->in_len < 20)
        return 0;
    c->next_format = (struct vnc_format){
        .bpp = p[0],
        .depth = p[1],
        .big_endian = p[2],
        .colour_map = !p[3],
        .max = {vnc_get_u16(p + 4), vnc_get_u16(p + 6), vnc_get_u16(p + 8)},
        .shift = {p[10], p[11], p[12]},
    };
    /* An update under way is in the old format to its end. */
    c->format_pending = true;
    return c->updating || !vnc_format_apply(c) ? 20 : -1;
}

static void take_encoding(struct vnc_client *c, s32 encoding)
{
    switch (encoding) {
    case VNC_RAW:
    case VNC_HEXTILE:
    case VNC_TIGHT:
    case VNC_ZRLE: /* the first that we have is the one that it likes best */
        if (!c->encoding_chosen)
            c->encoding = (enum vnc_encoding)encoding;
        c->encoding_chosen = true;
        break;
    case VNC_DESKTOP_SIZE:
        c->can_resize = true;
        break;
    case VNC_EXTENDED_KEY:
        c->wants_extended_keys = true;
        break;
    case VNC_COMPRESS_FIRST ... VNC_COMPRESS_LAST:
        c->compress_level = encoding - VNC_COMPRESS_FIRST;
        break;
    default:
        break;
    }
}

static ssize_t take_encodings(struct vnc_client *c)
{
    if (c->in_len < 4)
        return 0;
    c->encodings_left = vnc_get_u16(c->in + 2);
    c->encoding = VNC_RAW;
    c->encoding_chosen = c->can_resize = c->wants_extended_keys = false;
    return 4;
}

/* The list may be longer than our buffer. */
static ssize_t take_encodings_rest(struct vnc_client *c)
{
    size_t n = MIN(c->in_len / 4, c->encodings_left);
    for (size_t i = 0; i < n; i++)
        take_encoding(c, (s32)vnc_get_u32(c->in + 4 * i));
    c->encodings_left -= (u32)n;
    return (ssize_t)n * 4;
}

static struct display_rect join(struct display_rect a, struct display_rect b)
{
    u32 right = MAX(a.x + a.w, b.x + b.w), bottom = MAX(a.y + a.h, b.y + b.h);
    u32 x = MIN(a.x, b.x), y = MIN(a.y, b.y);
    return (struct display_rect){x, y, right - x, bottom - y};
}

static ssize_t take_update_request(struct vnc_client *c)
{
    if (c->in_len < 10)
        return 0;
    const u8 *p = c->in + 2;
    struct display_rect r = {vnc_get_u16(p), vnc_get_u16(p + 2), vnc_get_u16(p + 4), vnc_get_u16(p + 6)};
    if (!c->in[1])
        vnc_damage(c, r);
    c->region = c->requested ? join(c->region, r) : r;
    c->requested = true;
    vnc_schedule(c->vnc);
    return 10;
}

static ssize_t take_key(struct vnc_client *c)
{
    if (c->in_len < 8)
        return 0;
    vnc_keys_keysym(&c->keys, vnc_get_u32(c->in + 4), c->in[1] != 0);
    return 8;
}

static ssize_t take_qemu(struct vnc_client *c)
{
    enum { EXTENDED_KEY = 0 };
    if (c->in_len < 2)
        return 0;
    if (c->in[1] != EXTENDED_KEY)
        return -1;
    if (c->in_len < 12)
        return 0;
    bool pressed = vnc_get_u16(c->in + 2) != 0;
    if (!vnc_keys_scancode(&c->keys, vnc_get_u32(c->in + 8), pressed))
        vnc_keys_keysym(&c->keys, vnc_get_u32(c->in + 4), pressed);
    return 12;
}

static unsigned buttons_of(u8 mask)
{
    return (mask & POINTER_LEFT ? INPUT_LEFT : 0) | (mask & POINTER_MIDDLE ? INPUT_MIDDLE : 0) |
           (mask & POINTER_RIGHT ? INPUT_RIGHT : 0);
}

static unsigned to_absolute(u32 at, u32 size)
{
    return size > 1 ? (unsigned)((u64)MIN(at, size - 1) * INPUT_ABS_MAX / (size - 1)) : 0;
}

/* The wheel is two buttons: each press is a notch. */
static ssize_t take_pointer(struct vnc_client *c)
{
    if (c->in_len < 6)
        return 0;
    u8 mask = c->in[1], risen = mask & (u8)~c->buttons;
    int wheel = (risen & POINTER_WHEEL_UP ? 1 : 0) - (risen & POINTER_WHEEL_DOWN ? 1 : 0);
    c->buttons = mask;
    input_point(c->vnc->input, to_absolute(vnc_get_u16(c->in + 2), c->width),
                to_absolute(vnc_get_u16(c->in + 4), c->height), c->width, c->height, wheel, buttons_of(mask));
    return 6;
}

static ssize_t take_cut_text(struct vnc_client *c)
{
    if (c->in_len < 8)
        return 0;
    u32 len = vnc_get_u32(c->in + 4);
    if (len > VNC_MAX_CUT_TEXT)
        return -1;
    c->skip = len; /* the guest has no clipboard to put it in */
    return 8;
}

ssize_t vnc_message_input(struct vnc_client *c)
{
    if (c->encodings_left)
        return take_encodings_rest(c);
    switch (c->in[0]) {
    case SET_PIXEL_FORMAT:
        return take_pixel_format(c);
    case SET_ENCODINGS:
        return take_encodings(c);
    case UPDATE_REQUEST:
        return take_update_request(c);
    case KEY_EVENT:
        c->vnc->last_change = vnc_now(); /* something will be seen of it soon */
        return take_key(c);
    case POINTER_EVENT:
        c->vnc->last_change = vnc_now();
        return take_pointer(c);
    case CUT_TEXT:
        return take_cut_text(c);
    case QEMU:
        c->vnc->last_change = vnc_now();
        return take_qemu(c);
    default:
        return -1;
    }
}
