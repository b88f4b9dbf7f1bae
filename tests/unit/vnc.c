/*
 * The VNC server over a real socket: handshakes of every version, passwords, what is sent when, keys and
 * pointer, and viewers that mean no good. What real viewers make of it is in tests/system/run-vnc.
 */
#include <arpa/inet.h>
#include <gnutls/crypto.h>
#include <linux/input-event-codes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "../tap.h"
#include "display/vnc_impl.h"

struct rig {
    struct loop *loop;
    struct display *display;
    struct input *input;
    struct vnc *vnc;
    unsigned number; /* of the display */
    pthread_t thread;
    struct input_device keyboard, tablet;
    char keys[256];
    unsigned x, y, buttons, led_bits;
    int wheel;
};

static void rig_key(void *opaque, u16 code, bool pressed)
{
    struct rig *r = opaque;
    size_t len = strlen(r->keys);
    snprintf(r->keys + len, sizeof r->keys - len, "%c%u", pressed ? '+' : '-', code);
}

static unsigned rig_leds(void *opaque)
{
    return ((struct rig *)opaque)->led_bits;
}

static void rig_point(void *opaque, unsigned x, unsigned y, int wheel, unsigned buttons)
{
    struct rig *r = opaque;
    r->x = x;
    r->y = y;
    r->wheel += wheel;
    r->buttons = buttons;
}

static void *rig_thread(void *arg)
{
    loop_run(((struct rig *)arg)->loop);
    return NULL;
}

static u32 colour_at(u32 x, u32 y)
{
    return x << 16 | y << 8 | (x ^ y);
}

static void paint(struct rig *r)
{
    const struct display_frame *f = display_frame(r->display);
    for (u32 y = 0; y < f->height; y++)
        for (u32 x = 0; x < f->width; x++)
            f->pixels[y * f->stride + x] = colour_at(x & 0xff, y & 0xff);
}

static void rig_init(struct rig *r, const char *password)
{
    struct error err = {0};
    char path[] = "/tmp/ring3-vnc-XXXXXX", text[64];
    memset(r, 0, sizeof *r);
    CHECK(loop_create(&r->loop, NULL) == 0);
    CHECK(display_create(&r->display, NULL) == 0);
    CHECK(input_create(&r->input, NULL) == 0);
    r->keyboard = (struct input_device){.key = rig_key, .leds = rig_leds, .opaque = r};
    r->tablet = (struct input_device){.point = rig_point, .opaque = r};
    input_connect(r->input, &r->keyboard);
    input_connect(r->input, &r->tablet);
    CHECK(display_set_size(r->display, 200, 130) == 0);
    paint(r);
    int fd = mkstemp(path);
    if (password)
        CHECK(write(fd, password, strlen(password)) == (ssize_t)strlen(password));
    close(fd);
    int rc = -1;
    for (r->number = 100; rc && r->number < 5000; r->number++) {
        struct vnc_config config;
        snprintf(text, sizeof text, "%u%s%s", r->number, password ? ",password-file=" : "",
                 password ? path : "");
        CHECK(vnc_config_parse(&config, text, NULL) == 0);
        rc = vnc_create(&r->vnc, &config, r->loop, r->display, r->input, NULL, &err);
    }
    r->number--;
    CHECK_STR(rc ? err.message : "", "");
    unlink(path);
    pthread_create(&r->thread, NULL, rig_thread, r);
}

static void rig_finish(struct rig *r)
{
    loop_quit(r->loop);
    pthread_join(r->thread, NULL);
    loop_lock(r->loop);
    vnc_destroy(r->vnc);
    loop_unlock(r->loop);
    input_destroy(r->input);
    display_destroy(r->display);
    loop_destroy(r->loop);
}

/* --- a viewer --------------------------------------------------------------------------------------- */

static int dial(const struct rig *r)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((u16)(5900 + r->number)),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct timeval limit = {.tv_sec = 20};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    CHECK(connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    return fd;
}

static void tell(int fd, const void *data, size_t len)
{
    (void)!send(fd, data, len, MSG_NOSIGNAL);
}

/* All `len` bytes; false at the end of the connection. */
static bool hear(int fd, void *data, size_t len)
{
    return recv(fd, data, len, MSG_WAITALL) == (ssize_t)len;
}

static bool hears(int fd, const void *want, size_t len)
{
    u8 got[64] = {0};
    return hear(fd, got, len) && !memcmp(got, want, len);
}

/* Nothing comes any more. */
static bool is_over(int fd)
{
    u8 rest[4096];
    ssize_t n;
    while ((n = recv(fd, rest, sizeof rest, 0)) > 0)
        ;
    return n == 0 || errno == ECONNRESET;
}

static bool greet(int fd)
{
    if (!hears(fd, "RFB 003.008\n", 12))
        return false;
    tell(fd, "RFB 003.008\n", 12);
    return true;
}

/* ServerInit of a picture of 200 x 130. */
static bool hears_init(int fd)
{
    return hears(fd, "\0\310\0\202\40\30\0\1\0\377\0\377\0\377\20\10\0\0\0\0\0\0\0\5ring3", 29);
}

/* A viewer without a password, ready to ask. */
static int enter(const struct rig *r)
{
    int fd = dial(r);
    CHECK(greet(fd));
    CHECK(hears(fd, "\1\1", 2));
    tell(fd, "\1", 1);
    CHECK(hears(fd, "\0\0\0\0", 4));
    tell(fd, "\0", 1); /* alone, please */
    CHECK(hears_init(fd));
    return fd;
}

static void ask(int fd, bool incremental, u16 x, u16 y, u16 w, u16 h)
{
    u8 m[10] = {3, incremental, x >> 8, (u8)x, y >> 8, (u8)y, w >> 8, (u8)w, h >> 8, (u8)h};
    tell(fd, m, sizeof m);
}

/* Takes an update of raw rectangles; counts its pixels, and those that are not what `want` says. -1: none. */
static int take_raw(int fd, u32 (*want)(u32 x, u32 y), unsigned *wrong)
{
    u8 head[12];
    int pixels = 0;
    if (!hear(fd, head, 4) || head[0] != 0)
        return -1;
    for (unsigned n = vnc_get_u16(head + 2); n; n--) {
        if (!hear(fd, head, 12) || vnc_get_u32(head + 8) != VNC_RAW)
            return -1;
        u32 x0 = vnc_get_u16(head), y0 = vnc_get_u16(head + 2), w = vnc_get_u16(head + 4),
            h = vnc_get_u16(head + 6);
        u32 *rgb = malloc((size_t)w * h * 4);
        bool whole = hear(fd, rgb, (size_t)w * h * 4);
        for (u32 i = 0; whole && i < w * h; i++)
            *wrong += rgb[i] != want(x0 + i % w, y0 + i / w);
        free(rgb);
        if (!whole)
            return -1;
        pixels += (int)(w * h);
    }
    return pixels;
}

/* Waits until the server has taken all that was told: it answers in order. */
static void settle(int fd)
{
    unsigned wrong = 0;
    ask(fd, false, 0, 0, 1, 1);
    CHECK(take_raw(fd, colour_at, &wrong) > 0);
}

/* --- handshakes ------------------------------------------------------------------------------------- */

static void test_versions(void)
{
    struct rig r;
    rig_init(&r, NULL);
    int fd = enter(&r);
    close(fd);
    /* 3.7: no result where nothing is asked. */
    fd = dial(&r);
    CHECK(hears(fd, "RFB 003.008\n", 12));
    tell(fd, "RFB 003.007\n\1\1", 14);
    CHECK(hears(fd, "\1\1", 2));
    CHECK(hears_init(fd));
    close(fd);
    /* 3.3: the server decides. 3.5 is what some said who meant it. */
    fd = dial(&r);
    CHECK(hears(fd, "RFB 003.008\n", 12));
    tell(fd, "RFB 003.005\n\1", 13);
    CHECK(hears(fd, "\0\0\0\1", 4));
    CHECK(hears_init(fd));
    close(fd);
    /* What Apple says. */
    fd = dial(&r);
    CHECK(hears(fd, "RFB 003.008\n", 12));
    tell(fd, "RFB 003.889\n", 12);
    CHECK(hears(fd, "\1\1", 2));
    close(fd);
    static const char *const bad[] = {"RFB 004.000\n", "RFB 003.0x8\n", "GET / HTTP/1.1\r\n", "RFB 003.008 "};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        fd = dial(&r);
        CHECK(hears(fd, "RFB 003.008\n", 12));
        tell(fd, bad[i], strlen(bad[i]));
        CHECK(is_over(fd));
        close(fd);
    }
    /* A security type that is not offered. */
    fd = dial(&r);
    CHECK(greet(fd));
    CHECK(hears(fd, "\1\1", 2));
    tell(fd, "\2", 1);
    CHECK(is_over(fd));
    close(fd);
    rig_finish(&r);
}

/* Each byte's bits backwards. */
static void answer_challenge(const char *password, u8 data[16])
{
    u8 key[8] = {0}, iv[8] = {0};
    gnutls_datum_t k = {key, 8}, v = {iv, 8};
    for (size_t i = 0; i < 8 && password[i]; i++)
        for (int bit = 0; bit < 8; bit++)
            key[i] |= (u8)((password[i] >> bit & 1) << (7 - bit));
    for (int block = 0; block < 2; block++) {
        gnutls_cipher_hd_t cipher;
        CHECK(gnutls_cipher_init(&cipher, GNUTLS_CIPHER_DES_CBC, &k, &v) == 0);
        gnutls_cipher_encrypt(cipher, data + 8 * block, 8);
        gnutls_cipher_deinit(cipher);
    }
}

static int log_in(const struct rig *r, const char *password, bool *accepted)
{
    u8 challenge[16], result[4];
    int fd = dial(r);
    CHECK(greet(fd));
    CHECK(hears(fd, "\1\2", 2));
    tell(fd, "\2", 1);
    CHECK(hear(fd, challenge, sizeof challenge));
    answer_challenge(password, challenge);
    tell(fd, challenge, sizeof challenge);
    CHECK(hear(fd, result, sizeof result));
    *accepted = vnc_get_u32(result) == 0;
    return fd;
}

static void test_password(void)
{
    struct rig r;
    bool accepted;
    rig_init(&r, "secret\n");
    int fd = log_in(&r, "secret", &accepted);
    CHECK(accepted);
    tell(fd, "\1", 1);
    CHECK(hears_init(fd));
    close(fd);
    u64 begin = vnc_now();
    fd = log_in(&r, "Secret", &accepted);
    CHECK(!accepted);
    CHECK(vnc_now() - begin >= VNC_REJECT_NS);
    CHECK(hears(fd, "\0\0\0\16wrong password", 18));
    CHECK(is_over(fd));
    close(fd);
    fd = log_in(&r, "", &accepted);
    CHECK(!accepted);
    close(fd);
    /* Nobody gets by without it. */
    fd = dial(&r);
    CHECK(greet(fd));
    CHECK(hears(fd, "\1\2", 2));
    tell(fd, "\1", 1);
    CHECK(is_over(fd));
    close(fd);
    rig_finish(&r);
}

static void test_challenges_differ(void)
{
    struct rig r;
    u8 challenge[2][16];
    rig_init(&r, "secret");
    for (int i = 0; i < 2; i++) {
        int fd = dial(&r);
        CHECK(greet(fd));
        CHECK(hears(fd, "\1\2", 2));
        tell(fd, "\2", 1);
        CHECK(hear(fd, challenge[i], 16));
        close(fd);
    }
    CHECK(memcmp(challenge[0], challenge[1], 16) != 0);
    rig_finish(&r);
}

/* --- updates ---------------------------------------------------------------------------------------- */

static u32 black(u32 x, u32 y)
{
    return 0;
}

static u32 cut_at_100(u32 x, u32 y)
{
    return x < 100 && y < 100 ? colour_at(x, y) : 0;
}

static void test_updates(void)
{
    struct rig r;
    unsigned wrong = 0;
    rig_init(&r, NULL);
    int fd = enter(&r), second = enter(&r);
    ask(fd, false, 0, 0, 200, 130);
    CHECK_EQ(take_raw(fd, colour_at, &wrong), 200 * 130);
    CHECK_EQ(wrong, 0);
    /* Only what changes, in squares of 64; the last ones are cut off by the edge. */
    ask(fd, true, 0, 0, 200, 130);
    loop_lock(r.loop);
    display_damage(r.display, (struct display_rect){130, 127, 1, 2});
    loop_unlock(r.loop);
    CHECK_EQ(take_raw(fd, colour_at, &wrong), 64 * (64 + 2));
    CHECK_EQ(wrong, 0);
    /* The other one has lost nothing by it. */
    ask(second, true, 0, 0, 200, 130);
    CHECK_EQ(take_raw(second, colour_at, &wrong), 200 * 130);
    CHECK_EQ(wrong, 0);
    close(second);
    close(fd);
    rig_finish(&r);
}

static void test_resize(void)
{
    struct rig r;
    unsigned wrong = 0;
    rig_init(&r, NULL);
    int able = enter(&r), fixed = enter(&r);
    tell(able, "\2\0\0\1\377\377\377\41", 8); /* SetEncodings: DesktopSize */
    ask(able, false, 0, 0, 200, 130);
    ask(fixed, false, 0, 0, 200, 130);
    CHECK_EQ(take_raw(able, colour_at, &wrong), 200 * 130);
    CHECK_EQ(take_raw(fixed, colour_at, &wrong), 200 * 130);
    loop_lock(r.loop);
    CHECK(display_set_size(r.display, 100, 100) == 0);
    paint(&r);
    loop_unlock(r.loop);
    ask(able, true, 0, 0, 200, 130);
    CHECK(hears(able, "\0\0\0\1\0\0\0\0\0\144\0\144\377\377\377\41", 16));
    ask(able, false, 0, 0, 100, 100);
    CHECK_EQ(take_raw(able, colour_at, &wrong), 100 * 100);
    /* Who cannot be told sees what is there, and black around it. */
    ask(fixed, true, 0, 0, 200, 130);
    CHECK_EQ(take_raw(fixed, cut_at_100, &wrong), 200 * 130);
    CHECK_EQ(wrong, 0);
    /* Regions outside of the picture are nothing, and harmless. */
    ask(fixed, false, 5000, 5000, 65535, 65535);
    ask(fixed, false, 199, 129, 65535, 65535);
    CHECK(take_raw(fixed, black, &wrong) > 0);
    CHECK_EQ(wrong, 0);
    close(able);
    close(fixed);
    rig_finish(&r);
}

static void test_pixel_formats(void)
{
    struct rig r;
    u8 got[12 + 2];
    rig_init(&r, NULL);
    int fd = enter(&r);
    /* 16 bits, big-endian, 5-6-5. */
    tell(fd, "\0\0\0\0\20\20\1\1\0\37\0\77\0\37\13\5\0\0\0\0", 20);
    loop_lock(r.loop);
    CHECK(display_set_size(r.display, 1, 1) == 0);
    display_frame(r.display)->pixels[0] = 0xff8000;
    loop_unlock(r.loop);
    ask(fd, false, 0, 0, 1, 1);
    CHECK(hears(fd, "\0\0\0\1", 4));
    CHECK(hear(fd, got, sizeof got));
    CHECK_EQ(vnc_get_u16(got + 12), 31 << 11 | 32 << 5);
    close(fd);
    static const char *const bad[] = {
        "\0\0\0\0\30\30\0\1\0\377\0\377\0\377\20\10\0\0\0\0", /* 24 bits */
        "\0\0\0\0\40\30\0\1\0\376\0\377\0\377\20\10\0\0\0\0", /* maximum 254 */
        "\0\0\0\0\40\30\0\1\0\0\0\377\0\377\20\10\0\0\0\0",   /* no red */
        "\0\0\0\0\40\30\0\1\0\377\0\377\0\377\40\10\0\0\0\0", /* shifted by 32 */
        "\0\0\0\0\20\20\0\1\0\377\0\377\0\377\20\10\0\0\0\0", /* beyond 16 bits */
        "\0\0\0\0\20\20\0\0\0\37\0\77\0\37\13\5\0\0\0\0",     /* a map of 65536 colours */
        "\0\0\0\0\10\11\0\1\0\7\0\7\0\3\0\3\6\0\0\0",         /* deeper than it is wide */
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        loop_lock(r.loop);
        display_set_size(r.display, 200, 130);
        loop_unlock(r.loop);
        fd = enter(&r);
        tell(fd, bad[i], 20);
        CHECK(is_over(fd));
        close(fd);
    }
    rig_finish(&r);
}

/* --- keys and pointer ------------------------------------------------------------------------------- */

static void press(struct vnc_keys *keys, u32 keysym)
{
    vnc_keys_keysym(keys, keysym, true);
    vnc_keys_keysym(keys, keysym, false);
}

static void test_keysyms(void)
{
    enum { SHIFT_L = 0xffe1, CONTROL_L = 0xffe3, ALTGR = 0xfe03, KP_8 = 0xffb8, KP_UP = 0xff97 };
    struct rig r;
    rig_init(&r, NULL);
    struct vnc_keys keys = {.input = r.input};
#define TYPED(want)                                                                                          \
    do {                                                                                                     \
        CHECK_STR(r.keys, want);                                                                             \
        r.keys[0] = 0;                                                                                       \
    } while (0)
    press(&keys, 'a');
    TYPED("+30-30");
    press(&keys, 'A'); /* Caps Lock of the viewer alone */
    TYPED("+42+30-42-30");
    vnc_keys_keysym(&keys, SHIFT_L, true);
    press(&keys, 'A');
    press(&keys, '/'); /* Shift 7 on a German keyboard */
    vnc_keys_keysym(&keys, SHIFT_L, false);
    TYPED("+42+30-30-42+53+42-53-42");
    r.led_bits = INPUT_LED_CAPS;
    press(&keys, 'A');
    press(&keys, 'a');
    press(&keys, '1');
    TYPED("+30-30+42+30-42-30+2-2");
    r.led_bits = 0;
    vnc_keys_keysym(&keys, ALTGR, true);
    press(&keys, '@');
    vnc_keys_keysym(&keys, ALTGR, false);
    TYPED("+42+3-42-3");
    vnc_keys_keysym(&keys, CONTROL_L, true);
    press(&keys, 'C');
    vnc_keys_keysym(&keys, CONTROL_L, false);
    TYPED("+29+46-46-29");
    press(&keys, KP_8);
    press(&keys, KP_UP);
    r.led_bits = INPUT_LED_NUM;
    press(&keys, KP_8);
    press(&keys, KP_UP);
    TYPED("+9-9+72-72+72-72+103-103");
    /* Shift rose first, and the viewer tells of another character's release. */
    r.led_bits = 0;
    vnc_keys_keysym(&keys, SHIFT_L, true);
    vnc_keys_keysym(&keys, '!', true);
    vnc_keys_keysym(&keys, SHIFT_L, false);
    vnc_keys_keysym(&keys, '1', false);
    TYPED("+42+2-42-2");
    /* Scan codes; then both kinds at once, let go together. */
    CHECK(vnc_keys_scancode(&keys, 0x9d, true));
    CHECK(!vnc_keys_scancode(&keys, 0x1ff, true));
    CHECK(!vnc_keys_scancode(&keys, 0, true));
    CHECK(vnc_keys_scancode(&keys, 0xc6, true));
    vnc_keys_keysym(&keys, 'x', true);
    vnc_keys_keysym(&keys, 'x', true); /* it repeats */
    vnc_keys_release_all(&keys);
    TYPED("+97+119+45+45-45-119-97");
    for (u32 c = ' '; c < 0x7f; c++)
        vnc_keys_keysym(&keys, c, true);
    CHECK(keys.count <= VNC_MAX_HELD);
    vnc_keys_release_all(&keys);
#undef TYPED
    rig_finish(&r);
}

static void test_events(void)
{
    struct rig r;
    rig_init(&r, NULL);
    int fd = enter(&r);
    tell(fd, "\4\1\0\0\0\0\0a", 8);
    tell(fd, "\377\0\0\1\0\0\0b\0\0\0\60", 12); /* QEMU: the key B */
    tell(fd, "\5\1\0\307\0\0", 6);              /* left button at 199,0 */
    tell(fd, "\5\11\0\144\0\201", 6);           /* and the wheel, at 100,129 */
    settle(fd);
    loop_lock(r.loop);
    CHECK_STR(r.keys, "+30+48");
    CHECK_EQ(r.x, 100 * INPUT_ABS_MAX / 199);
    CHECK_EQ(r.y, INPUT_ABS_MAX);
    CHECK_EQ(r.buttons, INPUT_LEFT);
    CHECK_EQ(r.wheel, 1);
    loop_unlock(r.loop);
    /* It leaves with keys and a button down. */
    close(fd);
    for (int i = 0; i < 200; i++) {
        loop_lock(r.loop);
        bool left = !r.vnc->client_count;
        loop_unlock(r.loop);
        if (left)
            break;
        usleep(10000);
    }
    loop_lock(r.loop);
    CHECK_STR(r.keys, "+30+48-48-30");
    CHECK_EQ(r.buttons, 0);
    loop_unlock(r.loop);
    rig_finish(&r);
}

/* --- viewers that mean no good ---------------------------------------------------------------------- */

static void test_silent_connections(void)
{
    struct rig r;
    int silent[40];
    rig_init(&r, NULL);
    int friend = enter(&r);
    settle(friend);
    for (size_t i = 0; i < ARRAY_LEN(silent); i++)
        silent[i] = dial(&r);
    /* They neither keep anybody out nor throw anybody out. */
    int fd = enter(&r);
    settle(fd);
    settle(friend);
    loop_lock(r.loop);
    CHECK(r.vnc->client_count <= VNC_MAX_STRANGERS + 2);
    loop_unlock(r.loop);
    CHECK(hears(silent[0], "RFB 003.008\n", 12));
    CHECK(is_over(silent[0]));
    for (size_t i = 0; i < ARRAY_LEN(silent); i++)
        close(silent[i]);
    close(fd);
    close(friend);
    rig_finish(&r);
}

static void test_bad_messages(void)
{
    struct rig r;
    static const struct {
        const char *data;
        size_t len;
    } bad[] = {
        {"\1", 1},                       /* no such message */
        {"\377\1\0\0", 4},               /* QEMU's audio, not offered */
        {"\6\0\0\0\177\377\377\377", 8}, /* 2 GiB of text */
    };
    rig_init(&r, NULL);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int fd = enter(&r);
        tell(fd, bad[i].data, bad[i].len);
        CHECK(is_over(fd));
        close(fd);
    }
    /* Long, but no harm: text and encodings. */
    int fd = enter(&r);
    u8 *list = calloc(1, 4 + 4 * 65535);
    list[0] = 2;
    list[2] = list[3] = 0xff;
    tell(fd, list, 4 + 4 * 65535);
    memcpy(list, "\6\0\0\0\0\1\0\0", 8);
    tell(fd, list, 8 + 65536);
    settle(fd);
    free(list);
    close(fd);
    rig_finish(&r);
}

/* Asks and asks, and reads nothing. */
static void test_slow_reader(void)
{
    struct rig r;
    rig_init(&r, NULL);
    loop_lock(r.loop);
    CHECK(display_set_size(r.display, 2000, 1500) == 0);
    loop_unlock(r.loop);
    int fd = dial(&r), good;
    CHECK(greet(fd));
    tell(fd, "\1\1", 2);
    for (int i = 0; i < 300; i++) {
        ask(fd, false, 0, 0, 2000, 1500);
        tell(fd, "\4\1\0\0\0\0\0a", 8);
        usleep(3000);
    }
    loop_lock(r.loop);
    CHECK(r.vnc->client_count == 1);
    CHECK(r.vnc->clients && r.vnc->clients->out_size <= VNC_OUT_LIMIT + VNC_SCRATCH + KIB(64));
    CHECK(strlen(r.keys) > 100); /* and is heard all the same */
    display_set_size(r.display, 200, 130);
    paint(&r);
    loop_unlock(r.loop);
    good = enter(&r);
    settle(good);
    close(good);
    close(fd);
    rig_finish(&r);
}

static void test_nobody_no_timer(void)
{
    struct rig r;
    struct itimerspec left;
    rig_init(&r, NULL);
    int fd = enter(&r);
    settle(fd);
    loop_lock(r.loop);
    timerfd_gettime(r.vnc->timer_fd, &left);
    CHECK(left.it_value.tv_sec || left.it_value.tv_nsec);
    loop_unlock(r.loop);
    close(fd);
    usleep(300000);
    loop_lock(r.loop);
    timerfd_gettime(r.vnc->timer_fd, &left);
    CHECK_EQ(left.it_value.tv_sec, 0);
    CHECK_EQ(left.it_value.tv_nsec, 0);
    loop_unlock(r.loop);
    rig_finish(&r);
}

static void test_config(void)
{
    struct vnc_config c;
    CHECK(vnc_config_parse(&c, "1", NULL) == 0);
    CHECK_EQ(c.display, 1);
    CHECK_STR(c.host, "");
    CHECK(vnc_config_parse(&c, "0.0.0.0:12,password-file=a b,tls=/x", NULL) == 0);
    CHECK_STR(c.host, "0.0.0.0");
    CHECK_STR(c.password_file, "a b");
    CHECK_STR(c.tls_dir, "/x");
    CHECK_EQ(c.display, 12);
    CHECK(vnc_config_parse(&c, "[::1]:0", NULL) == 0);
    CHECK_STR(c.host, "::1");
    static const char *const bad[] = {"",     ":",     ":1", "host:",  "-1",    "1x",
                                      "+1",   "59636", "1,", "1,tls=", "1,x=y", "1,password-file=",
                                      "[]:1", "a:b:"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK(vnc_config_parse(&c, bad[i], NULL) == -EINVAL);
}

int main(void)
{
    TAP_RUN(test_config);
    TAP_RUN(test_versions);
    TAP_RUN(test_password);
    TAP_RUN(test_challenges_differ);
    TAP_RUN(test_updates);
    TAP_RUN(test_resize);
    TAP_RUN(test_pixel_formats);
    TAP_RUN(test_keysyms);
    TAP_RUN(test_events);
    TAP_RUN(test_silent_connections);
    TAP_RUN(test_bad_messages);
    TAP_RUN(test_slow_reader);
    TAP_RUN(test_nobody_no_timer);
    return tap_done();
}
