/* Keys and pointers: who gets them, what becomes of absolute positions, PS/2 keyboard and mouse behind them.
 */
#include <linux/input-event-codes.h>

#include "device_fixture.h"
#include "devices/char/i8042.h"
#include "display/input.h"
#include "display/scancode.h"

/* A device that remembers. */
struct fake {
    struct input_device device;
    bool deaf;
    unsigned keys, last_key, points, moves, buttons, x, y;
    bool last_pressed;
    int dx, dy, wheel;
};

static bool fake_active(void *opaque)
{
    return !((struct fake *)opaque)->deaf;
}

static void fake_key(void *opaque, u16 code, bool pressed)
{
    struct fake *f = opaque;
    f->keys++;
    f->last_key = code;
    f->last_pressed = pressed;
}

static void fake_move(void *opaque, int dx, int dy, int wheel, unsigned buttons)
{
    struct fake *f = opaque;
    f->moves++;
    f->dx += dx;
    f->dy += dy;
    f->wheel += wheel;
    f->buttons = buttons;
}

static void fake_point(void *opaque, unsigned x, unsigned y, int wheel, unsigned buttons)
{
    struct fake *f = opaque;
    f->points++;
    f->x = x;
    f->y = y;
    f->wheel += wheel;
    f->buttons = buttons;
}

static void fake_init(struct fake *f, bool key, bool move, bool point)
{
    *f = (struct fake){.device = {.active = fake_active,
                                  .key = key ? fake_key : NULL,
                                  .move = move ? fake_move : NULL,
                                  .point = point ? fake_point : NULL,
                                  .opaque = f}};
}

static void test_last_listener_gets_keys(void)
{
    struct input *input;
    struct fake first, second;
    CHECK(input_create(&input, NULL) == 0);
    fake_init(&first, true, false, false);
    fake_init(&second, true, false, false);
    input_key(input, KEY_A, true); /* nobody there */
    input_connect(input, &first.device);
    input_connect(input, &second.device);
    input_key(input, KEY_A, true);
    CHECK_EQ(second.keys, 1);
    CHECK_EQ(second.last_key, KEY_A);
    CHECK_EQ(first.keys, 0);
    /* The release goes where the press went. */
    second.deaf = true;
    input_key(input, KEY_A, false);
    CHECK_EQ(second.keys, 2);
    CHECK(!second.last_pressed);
    input_key(input, KEY_A, false); /* is not down: nobody hears */
    CHECK_EQ(second.keys + first.keys, 2);
    input_key(input, KEY_B, true);
    CHECK_EQ(first.keys, 1);
    input_release_all(input);
    CHECK_EQ(first.keys, 2);
    CHECK(!first.last_pressed);
    /* Codes out of range, and a device that goes with keys down. */
    input_key(input, 0, true);
    input_key(input, 0xffff, true);
    input_key(input, KEY_C, true);
    CHECK_EQ(first.keys, 3);
    input_disconnect(input, &first.device);
    input_key(input, KEY_C, false);
    CHECK_EQ(first.keys, 3);
    input_disconnect(input, &second.device);
    input_destroy(input);
}

static void test_pointer_falls_back(void)
{
    struct input *input;
    struct fake mouse, tablet;
    CHECK(input_create(&input, NULL) == 0);
    fake_init(&mouse, false, true, false);
    fake_init(&tablet, false, false, true);
    input_connect(input, &mouse.device);
    CHECK(!input_is_absolute(input));
    input_point(input, INPUT_ABS_MAX, INPUT_ABS_MAX, 640, 480, 0, INPUT_LEFT);
    CHECK_EQ(mouse.dx, 639);
    CHECK_EQ(mouse.dy, 479);
    CHECK_EQ(mouse.buttons, INPUT_LEFT);
    input_point(input, INPUT_ABS_MAX / 2, INPUT_ABS_MAX, 640, 480, 1, INPUT_LEFT);
    CHECK(mouse.dx == 319 || mouse.dx == 320);
    CHECK_EQ(mouse.wheel, 1);
    /* The tablet takes over: the mouse lets go of its button. */
    input_connect(input, &tablet.device);
    CHECK(input_is_absolute(input));
    input_point(input, 100, 200, 640, 480, 0, INPUT_LEFT);
    CHECK_EQ(mouse.buttons, 0);
    CHECK_EQ(tablet.x, 100);
    CHECK_EQ(tablet.y, 200);
    CHECK_EQ(tablet.buttons, INPUT_LEFT);
    /* Movement where only absolute positions are heard. */
    mouse.deaf = true;
    input_move(input, 639, -1000, 0, 0);
    CHECK_EQ(tablet.x, INPUT_ABS_MAX);
    CHECK_EQ(tablet.y, 0);
    CHECK_EQ(tablet.buttons, 0);
    input_point(input, 1u << 31, 1u << 31, 0, 0, 0, INPUT_RIGHT);
    CHECK_EQ(tablet.x, INPUT_ABS_MAX);
    input_release_all(input);
    CHECK_EQ(tablet.buttons, 0);
    input_destroy(input);
}

static void test_scancodes(void)
{
    unsigned known = 0;
    for (unsigned key = 1; key < KEY_CNT; key++) {
        u16 code = scancode_from_key((u16)key);
        if (!code)
            continue;
        known++;
        CHECK_EQ(scancode_to_key(code), key);
    }
    CHECK(known > 110);
    CHECK_EQ(scancode_from_key(KEY_A), 0x1e);
    CHECK_EQ(scancode_from_key(KEY_RIGHTALT), 0xe038);
    CHECK_EQ(scancode_from_key(KEY_PAUSE), 0xe11d);
    CHECK_EQ(scancode_from_key(KEY_BRIGHTNESSUP), 0);
    CHECK_EQ(scancode_to_key(0xe0ff), 0);
}

static void nothing(void *opaque, enum reset_kind kind) {}

static unsigned get(struct fixture *f)
{
    return in8(f, 0x64) & 1 ? in8(f, 0x60) : ~0u;
}

static void test_ps2(void)
{
    struct fixture f;
    struct i8042 *kbc;
    struct input *input;
    struct ps2_input ps2;
    struct probe irq1 = {0}, irq12 = {0};
    struct i8042_config config = {probe_line(&irq1), probe_line(&irq12), {nothing, NULL}};
    fixture_init(&f);
    CHECK(i8042_create(&kbc, &f.env, &config, NULL) == 0);
    CHECK(input_create(&input, NULL) == 0);
    ps2_input_connect(&ps2, kbc, input);

    CHECK(input_keys_taken(input));
    input_key(input, KEY_A, true);
    input_key(input, KEY_RIGHT, true);
    input_key(input, KEY_A, false);
    input_key(input, KEY_BRIGHTNESSUP, true); /* no such key */
    CHECK(!input_keys_taken(input));
    CHECK_EQ(get(&f), 0x1e);
    CHECK_EQ(get(&f), 0xe0);
    CHECK_EQ(get(&f), 0x4d);
    CHECK_EQ(get(&f), 0x9e);
    CHECK_EQ(get(&f), ~0u);
    CHECK(input_keys_taken(input));
    CHECK_EQ(irq1.rises, 4);

    out8(&f, 0x60, 0xed);
    out8(&f, 0x60, 0x06);
    CHECK_EQ(get(&f), 0xfa);
    CHECK_EQ(get(&f), 0xfa);
    CHECK_EQ(input_leds(input), INPUT_LED_NUM | INPUT_LED_CAPS);

    /* The mouse listens once it is told to report. */
    input_move(input, 5, 7, 0, INPUT_LEFT);
    CHECK_EQ(get(&f), ~0u);
    out8(&f, 0x64, 0xa8);
    out8(&f, 0x64, 0xd4);
    out8(&f, 0x60, 0xf4);
    CHECK_EQ(get(&f), 0xfa);
    input_move(input, 5, 7, 0, INPUT_RIGHT);
    CHECK_EQ(get(&f), 0x2a); /* right button, Y is negative: down */
    CHECK_EQ(get(&f), 5);
    CHECK_EQ(get(&f), 0xf9);

    ps2_input_disconnect(&ps2);
    ps2_input_disconnect(&ps2);
    input_key(input, KEY_A, true);
    CHECK_EQ(get(&f), ~0u);
    input_destroy(input);
    i8042_destroy(kbc);
    fixture_finish(&f);
}

int main(void)
{
    TAP_RUN(test_last_listener_gets_keys);
    TAP_RUN(test_pointer_falls_back);
    TAP_RUN(test_scancodes);
    TAP_RUN(test_ps2);
    return tap_done();
}
