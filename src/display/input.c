#include "display/input.h"

#include <linux/input-event-codes.h>
#include <stdlib.h>

/* What a picture is taken to measure as long as no viewer has said. */
#define DEFAULT_WIDTH  720
#define DEFAULT_HEIGHT 400

struct input {
    struct input_device *devices; /* the last connected first */
    /* Who was told that the key is down, and hears of its release even if another device listens by then. */
    struct input_device *holder[KEY_CNT];
    struct input_device *pointer; /* got the last pointer event */
    unsigned buttons;
    unsigned x, y;          /* the last absolute position */
    unsigned width, height; /* of the picture, in pixels */
};

int input_create(struct input **out, struct error *err)
{
    struct input *input = calloc(1, sizeof *input);
    if (!input)
        return error_set(err, ENOMEM, "no memory for keyboard and mouse");
    input->width = DEFAULT_WIDTH;
    input->height = DEFAULT_HEIGHT;
    *out = input;
    return 0;
}

void input_destroy(struct input *input)
{
    free(input);
}

void input_connect(struct input *input, struct input_device *device)
{
    device->next = input->devices;
    input->devices = device;
}

void input_disconnect(struct input *input, struct input_device *device)
{
    for (struct input_device **p = &input->devices; *p; p = &(*p)->next)
        if (*p == device) {
            *p = device->next;
            break;
        }
    for (size_t i = 0; i < KEY_CNT; i++)
        if (input->holder[i] == device)
            input->holder[i] = NULL;
    if (input->pointer == device)
        input->pointer = NULL;
}

/* --- keys ------------------------------------------------------------------------------------------- */

static bool listens(const struct input_device *device)
{
    return !device->active || device->active(device->opaque);
}

static struct input_device *find_keyboard(const struct input *input)
{
    struct input_device *d = input->devices;
    while (d && !(d->key && listens(d)))
        d = d->next;
    return d;
}

void input_key(struct input *input, u16 code, bool pressed)
{
    if (code == KEY_RESERVED || code >= KEY_CNT)
        return;
    struct input_device *device = input->holder[code];
    if (pressed && !device)
        device = find_keyboard(input);
    input->holder[code] = pressed ? device : NULL;
    if (device)
        device->key(device->opaque, code, pressed);
}

bool input_keys_taken(const struct input *input)
{
    const struct input_device *d = find_keyboard(input);
    return !d || !d->idle || d->idle(d->opaque);
}

int input_leds(const struct input *input)
{
    const struct input_device *d = find_keyboard(input);
    return d && d->leds ? (int)d->leds(d->opaque) : -1;
}

/* --- pointer ---------------------------------------------------------------------------------------- */

static struct input_device *find_relative(const struct input *input)
{
    struct input_device *d = input->devices;
    while (d && !(d->move && listens(d)))
        d = d->next;
    return d;
}

static struct input_device *find_absolute(const struct input *input)
{
    struct input_device *d = input->devices;
    while (d && !(d->point && listens(d)))
        d = d->next;
    return d;
}

bool input_is_absolute(const struct input *input)
{
    return find_absolute(input) != NULL;
}

/* The device that had the pointer must not keep buttons down when another one takes over. */
static void take_pointer(struct input *input, struct input_device *device)
{
    struct input_device *old = input->pointer;
    input->pointer = device;
    if (!old || old == device || !input->buttons)
        return;
    if (old->move)
        old->move(old->opaque, 0, 0, 0, 0);
    else if (old->point)
        old->point(old->opaque, input->x, input->y, 0, 0);
}

/* `position` moved by `pixels` of `size`, in absolute units. */
static unsigned shift_position(unsigned position, int pixels, unsigned size)
{
    s64 to = (s64)position + (s64)pixels * INPUT_ABS_MAX / (s64)MAX(size - 1, 1u);
    return (unsigned)MAX(0, MIN(to, INPUT_ABS_MAX));
}

void input_move(struct input *input, int dx, int dy, int wheel, unsigned buttons)
{
    struct input_device *device = find_relative(input);
    bool relative = device;
    if (!device)
        device = find_absolute(input);
    if (!device)
        return;
    take_pointer(input, device);
    input->buttons = buttons;
    input->x = shift_position(input->x, dx, input->width);
    input->y = shift_position(input->y, dy, input->height);
    if (relative)
        device->move(device->opaque, dx, dy, wheel, buttons);
    else
        device->point(device->opaque, input->x, input->y, wheel, buttons);
}

/* In pixels, from one absolute position to another. */
static int distance(unsigned from, unsigned to, unsigned size)
{
    unsigned last = MAX(size, 1u) - 1;
    u64 half = INPUT_ABS_MAX / 2;
    return (int)(((u64)to * last + half) / INPUT_ABS_MAX) - (int)(((u64)from * last + half) / INPUT_ABS_MAX);
}

void input_point(struct input *input, unsigned x, unsigned y, unsigned width, unsigned height, int wheel,
                 unsigned buttons)
{
    x = MIN(x, (unsigned)INPUT_ABS_MAX);
    y = MIN(y, (unsigned)INPUT_ABS_MAX);
    int dx = distance(input->x, x, width), dy = distance(input->y, y, height);
    input->x = x;
    input->y = y;
    input->width = MAX(width, 1u);
    input->height = MAX(height, 1u);
    struct input_device *device = find_absolute(input);
    bool absolute = device;
    if (!device)
        device = find_relative(input);
    if (!device)
        return;
    take_pointer(input, device);
    input->buttons = buttons;
    if (absolute)
        device->point(device->opaque, x, y, wheel, buttons);
    else
        device->move(device->opaque, dx, dy, wheel, buttons);
}

void input_release_all(struct input *input)
{
    for (u16 code = 0; code < KEY_CNT; code++)
        if (input->holder[code])
            input_key(input, code, false);
    if (input->pointer && input->buttons)
        input_move(input, 0, 0, 0, 0);
    input->buttons = 0;
}
