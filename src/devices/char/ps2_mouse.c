#include "devices/char/ps2.h"

#include <string.h>

enum reply { REPLY_ACK = 0xfa, REPLY_PASSED = 0xaa, REPLY_ERROR = 0xfc };

enum mouse_command {
    MOUSE_SCALE_1 = 0xe6,
    MOUSE_SCALE_2 = 0xe7,
    MOUSE_RESOLUTION = 0xe8,
    MOUSE_STATUS = 0xe9,
    MOUSE_STREAM = 0xea,
    MOUSE_READ = 0xeb,
    MOUSE_UNWRAP = 0xec,
    MOUSE_WRAP = 0xee,
    MOUSE_REMOTE = 0xf0,
    MOUSE_IDENTIFY = 0xf2,
    MOUSE_RATE = 0xf3,
    MOUSE_ENABLE = 0xf4,
    MOUSE_DISABLE = 0xf5,
    MOUSE_DEFAULT = 0xf6,
    MOUSE_RESEND = 0xfe,
    MOUSE_RESET = 0xff,
};

enum mouse_id { ID_STANDARD = 0, ID_WHEEL = 3, ID_BUTTONS = 4 };

#define PACKET_MAX 4

static int clamp(int v, int low, int high)
{
    return v < low ? low : v > high ? high : v;
}

/* 2:1 scaling, in stream mode only. */
static int scale(const struct ps2_mouse *mouse, int v)
{
    static const s8 table[] = {0, 1, 1, 3, 6, 9};
    int size = v < 0 ? -v : v;
    if (!mouse->scaling || mouse->remote)
        return v;
    size = size < (int)ARRAY_LEN(table) ? table[size] : 2 * size;
    return v < 0 ? -size : size;
}

/* One movement packet: takes what fits in 9 bits a direction. */
static void push_packet(struct ps2_mouse *mouse)
{
    int dx = clamp(mouse->dx, -255, 255), dy = clamp(mouse->dy, -255, 255), dz = clamp(mouse->dz, -8, 7);
    mouse->dx -= dx;
    mouse->dy -= dy;
    mouse->dz -= dz;
    mouse->reported_buttons = mouse->buttons;
    dx = clamp(scale(mouse, dx), -256, 255);
    dy = clamp(scale(mouse, dy), -256, 255);
    ps2_queue_push(&mouse->out,
                   (u8)(0x08 | (mouse->buttons & 7) | (dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0)));
    ps2_queue_push(&mouse->out, (u8)dx);
    ps2_queue_push(&mouse->out, (u8)dy);
    if (mouse->id == ID_WHEEL)
        ps2_queue_push(&mouse->out, (u8)-dz); /* towards the user counts up */
    else if (mouse->id == ID_BUTTONS)
        ps2_queue_push(&mouse->out, (u8)((-dz & 0x0f) | (mouse->buttons & 0x18) << 1));
}

static bool has_news(const struct ps2_mouse *mouse)
{
    bool wheel = mouse->id != ID_STANDARD && mouse->dz;
    return mouse->dx || mouse->dy || wheel || mouse->buttons != mouse->reported_buttons;
}

void ps2_mouse_flush(struct ps2_mouse *mouse)
{
    /* Half of the queue stays free for answers. */
    while (mouse->reporting && !mouse->remote && !mouse->wrap && has_news(mouse) &&
           ps2_queue_room(&mouse->out) >= PS2_QUEUE_SIZE / 2 + PACKET_MAX)
        push_packet(mouse);
}

void ps2_mouse_move(struct ps2_mouse *mouse, int dx, int dy, int dz, u8 buttons)
{
    enum { FAR = 1 << 20 }; /* nobody reads so late: do not overflow */
    mouse->dx = clamp(mouse->dx + clamp(dx, -FAR, FAR), -FAR, FAR);
    mouse->dy = clamp(mouse->dy + clamp(dy, -FAR, FAR), -FAR, FAR);
    mouse->dz = clamp(mouse->dz + clamp(dz, -FAR, FAR), -FAR, FAR);
    mouse->buttons = buttons & 0x1f;
    if (!mouse->reporting && !mouse->remote) {
        /* Nobody is told: the counters stand still. */
        mouse->dx = mouse->dy = mouse->dz = 0;
        mouse->reported_buttons = mouse->buttons;
    }
    ps2_mouse_flush(mouse);
}

/* --- commands ---------------------------------------------------------------------------------------------
 */

static void set_defaults(struct ps2_mouse *mouse)
{
    mouse->rate = 100;
    mouse->resolution = 2;
    mouse->scaling = mouse->remote = mouse->wrap = mouse->reporting = false;
    mouse->dx = mouse->dy = mouse->dz = 0;
    mouse->command = 0;
}

void ps2_mouse_reset(struct ps2_mouse *mouse)
{
    u8 buttons = mouse->buttons;
    memset(mouse, 0, sizeof *mouse);
    mouse->buttons = mouse->reported_buttons = buttons;
    set_defaults(mouse);
}

/* Sample rates 200, 100, 80 turn the wheel on, 200, 200, 80 the side buttons too (Microsoft's convention). */
static void set_rate(struct ps2_mouse *mouse, u8 rate)
{
    if (rate == 80 && mouse->rates[1] == 200 && mouse->rates[0] == 100)
        mouse->id = ID_WHEEL;
    else if (rate == 80 && mouse->rates[1] == 200 && mouse->rates[0] == 200 && mouse->id != ID_STANDARD)
        mouse->id = ID_BUTTONS;
    mouse->rates[1] = mouse->rates[0];
    mouse->rates[0] = rate;
    mouse->rate = rate;
}

static void push_status(struct ps2_mouse *mouse)
{
    u8 b = mouse->buttons;
    ps2_queue_push(&mouse->out, (u8)(mouse->remote << 6 | mouse->reporting << 5 | mouse->scaling << 4 |
                                     (b & 1) << 2 | (b >> 2 & 1) << 1 | (b >> 1 & 1)));
    ps2_queue_push(&mouse->out, mouse->resolution);
    ps2_queue_push(&mouse->out, mouse->rate);
}

static void write_argument(struct ps2_mouse *mouse, u8 byte)
{
    u8 command = mouse->command;
    mouse->command = 0;
    if (command == MOUSE_RESOLUTION && byte > 3) {
        ps2_queue_push(&mouse->out, REPLY_ERROR);
        return;
    }
    if (command == MOUSE_RESOLUTION)
        mouse->resolution = byte;
    else
        set_rate(mouse, byte);
    ps2_queue_push(&mouse->out, REPLY_ACK);
}

static void write_mode(struct ps2_mouse *mouse, u8 byte)
{
    switch (byte) {
    case MOUSE_SCALE_1:
    case MOUSE_SCALE_2:
        mouse->scaling = byte == MOUSE_SCALE_2;
        break;
    case MOUSE_STREAM:
    case MOUSE_REMOTE:
        mouse->remote = byte == MOUSE_REMOTE;
        break;
    case MOUSE_WRAP:
    case MOUSE_UNWRAP:
        mouse->wrap = byte == MOUSE_WRAP;
        break;
    case MOUSE_ENABLE:
    case MOUSE_DISABLE:
        mouse->reporting = byte == MOUSE_ENABLE;
        break;
    case MOUSE_DEFAULT:
        set_defaults(mouse);
        break;
    case MOUSE_RESOLUTION:
    case MOUSE_RATE:
        mouse->command = byte;
        break;
    }
}

static void write_command(struct ps2_mouse *mouse, u8 byte)
{
    /* Any command ends what was being sent. */
    if (byte != MOUSE_RESEND)
        mouse->out.count = 0;
    switch (byte) {
    case MOUSE_SCALE_1 ... MOUSE_RESOLUTION:
    case MOUSE_STREAM:
    case MOUSE_UNWRAP:
    case MOUSE_WRAP:
    case MOUSE_REMOTE:
    case MOUSE_RATE ... MOUSE_DEFAULT:
        write_mode(mouse, byte);
        ps2_queue_push(&mouse->out, REPLY_ACK);
        break;
    case MOUSE_STATUS:
        ps2_queue_push(&mouse->out, REPLY_ACK);
        push_status(mouse);
        break;
    case MOUSE_READ:
        ps2_queue_push(&mouse->out, REPLY_ACK);
        push_packet(mouse);
        break;
    case MOUSE_IDENTIFY:
        ps2_queue_push(&mouse->out, REPLY_ACK);
        ps2_queue_push(&mouse->out, mouse->id);
        break;
    case MOUSE_RESEND:
        ps2_queue_unpop(&mouse->out, mouse->out.last);
        break;
    case MOUSE_RESET:
        ps2_mouse_reset(mouse);
        ps2_queue_push(&mouse->out, REPLY_ACK);
        ps2_queue_push(&mouse->out, REPLY_PASSED);
        ps2_queue_push(&mouse->out, mouse->id);
        break;
    default:
        ps2_queue_push(&mouse->out, REPLY_ERROR);
        break;
    }
}

void ps2_mouse_write(struct ps2_mouse *mouse, u8 byte)
{
    if (mouse->wrap && byte != MOUSE_RESET && byte != MOUSE_UNWRAP)
        ps2_queue_push(&mouse->out, byte);
    else if (mouse->command)
        write_argument(mouse, byte);
    else
        write_command(mouse, byte);
}

int ps2_mouse_check(const struct ps2_mouse *mouse, struct error *err)
{
    if (mouse->out.count > PS2_QUEUE_SIZE || mouse->resolution > 3 ||
        (mouse->id != ID_STANDARD && mouse->id != ID_WHEEL && mouse->id != ID_BUTTONS))
        return error_set(err, EINVAL, "mouse: queue of %u bytes, resolution %u, identity %u cannot be",
                         mouse->out.count, mouse->resolution, mouse->id);
    if (mouse->dx != clamp(mouse->dx, -(1 << 20), 1 << 20) ||
        mouse->dy != clamp(mouse->dy, -(1 << 20), 1 << 20) ||
        mouse->dz != clamp(mouse->dz, -(1 << 20), 1 << 20))
        return error_set(err, EINVAL, "mouse: pending movement out of range");
    return 0;
}
