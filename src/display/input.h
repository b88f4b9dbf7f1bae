/*
 * What a person does to a VM: keys and the pointer, from a viewer (VNC), a script (--type) or a control
 * command to the input devices of the guest (PS/2, virtio).
 *
 * Keys are Linux input event codes (KEY_*, linux/input-event-codes.h): they name keys by place, not by what
 * is printed on them. Everything here: [machine lock].
 */
#ifndef RING3_DISPLAY_INPUT_H
#define RING3_DISPLAY_INPUT_H

#include "base/error.h"
#include "loop/loop.h"

/* Absolute positions: 0 .. INPUT_ABS_MAX from the left or top edge of the picture to the other one. */
#define INPUT_ABS_MAX 32767

enum input_button {
    INPUT_LEFT = BIT(0),
    INPUT_RIGHT = BIT(1),
    INPUT_MIDDLE = BIT(2),
    INPUT_SIDE = BIT(3),
    INPUT_EXTRA = BIT(4),
};

/* An input device. A NULL function: it has no such thing. */
struct input_device {
    /* Is the guest listening? NULL: yes. Of the devices that take a kind of event, the last connected that
     * listens gets it. */
    bool (*active)(void *opaque);
    void (*key)(void *opaque, u16 code, bool pressed);
    /* dy > 0: down; wheel > 0: away from the user; buttons: those down now. */
    void (*move)(void *opaque, int dx, int dy, int wheel, unsigned buttons);
    void (*point)(void *opaque, unsigned x, unsigned y, int wheel, unsigned buttons);
    /* All keys so far are with the guest, which is not so if it is busy or stopped. NULL: always. */
    bool (*idle)(void *opaque);
    /* The lights that the guest has turned on, enum input_led. NULL: unknown. */
    unsigned (*leds)(void *opaque);
    void *opaque;
    struct input_device *next; /* input.c's */
};

enum input_led {
    INPUT_LED_SCROLL = BIT(0),
    INPUT_LED_NUM = BIT(1),
    INPUT_LED_CAPS = BIT(2),
};

struct input;

int input_create(struct input **out, struct error *err);
void input_destroy(struct input *input);

void input_connect(struct input *input, struct input_device *device);
void input_disconnect(struct input *input, struct input_device *device);

void input_key(struct input *input, u16 code, bool pressed);
/* The keyboard that listens has room for more; true also if none listens. */
bool input_keys_taken(const struct input *input);
/* Of the keyboard that listens; -1: unknown. */
int input_leds(const struct input *input);

/* A device for absolute positions listens. */
bool input_is_absolute(const struct input *input);
/* Relative movement; where only an absolute device listens it moves a remembered position. */
void input_move(struct input *input, int dx, int dy, int wheel, unsigned buttons);
/* Absolute position, 0 .. INPUT_ABS_MAX; where only a relative device listens it becomes the movement from
 * the last position, for a picture of `width` x `height` pixels. */
void input_point(struct input *input, unsigned x, unsigned y, unsigned width, unsigned height, int wheel,
                 unsigned buttons);
/* Lets go of all keys and buttons that are down (a viewer left). */
void input_release_all(struct input *input);

#endif
