/* The keyboard controller: commands, A20 and reset, keyboard and mouse protocols, translation, interrupts. */
#include "device_fixture.h"
#include "devices/char/i8042.h"

struct rig {
    struct fixture f;
    struct i8042 *kbc;
    struct probe irq1, irq12;
    unsigned resets;
};

static void rig_reset(void *opaque, enum reset_kind kind)
{
    ((struct rig *)opaque)->resets += kind == RESET_CPU;
}

static void rig_init(struct rig *r)
{
    memset(r, 0, sizeof *r);
    fixture_init(&r->f);
    struct i8042_config config = {probe_line(&r->irq1), probe_line(&r->irq12), {rig_reset, r}};
    CHECK(i8042_create(&r->kbc, &r->f.env, &config, NULL) == 0);
}

static void rig_finish(struct rig *r)
{
    i8042_destroy(r->kbc);
    fixture_finish(&r->f);
}

static void cmd(struct rig *r, u8 v)
{
    out8(&r->f, 0x64, v);
}

static void data(struct rig *r, u8 v)
{
    out8(&r->f, 0x60, v);
}

static u8 status(struct rig *r)
{
    return in8(&r->f, 0x64);
}

/* The next byte, which must be there; ~0 if none is. */
static unsigned get(struct rig *r)
{
    return status(r) & 1 ? in8(&r->f, 0x60) : ~0u;
}

static void mouse_cmd(struct rig *r, u8 v)
{
    cmd(r, 0xd4);
    data(r, v);
}

static void check_bytes(struct rig *r, const char *want, size_t len, const char *what)
{
    for (size_t i = 0; i < len; i++) {
        unsigned got = get(r);
        if (got != (u8)want[i])
            printf("# %s: byte %zu is %#x, want %#x\n", what, i, got, (u8)want[i]);
        CHECK(got == (u8)want[i]);
    }
    CHECK_EQ(status(r) & 1, 0);
}

#define CHECK_BYTES(r, bytes) check_bytes(r, bytes, sizeof(bytes) - 1, #bytes)

static void test_controller(void)
{
    struct rig r;
    rig_init(&r);
    CHECK_EQ(status(&r), 0x14);
    cmd(&r, 0xaa);
    CHECK_EQ(status(&r), 0x1d);
    CHECK_BYTES(&r, "\x55");
    cmd(&r, 0xab);
    CHECK_BYTES(&r, "\x00");
    cmd(&r, 0xa9);
    CHECK_BYTES(&r, "\x00");
    cmd(&r, 0x20);
    CHECK_BYTES(&r, "\x65");
    cmd(&r, 0x60);
    data(&r, 0x47);
    CHECK_EQ(status(&r) & 8, 0);
    cmd(&r, 0x20);
    CHECK_BYTES(&r, "\x47");
    cmd(&r, 0xa7);
    cmd(&r, 0xad);
    cmd(&r, 0x20);
    CHECK_BYTES(&r, "\x77");
    cmd(&r, 0xa8);
    cmd(&r, 0xae);
    cmd(&r, 0x20);
    CHECK_BYTES(&r, "\x47");
    cmd(&r, 0xa4);
    CHECK_BYTES(&r, "\xf1");
    cmd(&r, 0x65);
    data(&r, 0x12);
    cmd(&r, 0x25);
    CHECK_BYTES(&r, "\x12");
    cmd(&r, 0xd2);
    data(&r, 0x99);
    CHECK_EQ(status(&r) & 0x20, 0);
    CHECK_BYTES(&r, "\x99");
    cmd(&r, 0xd3);
    data(&r, 0x5a);
    CHECK_EQ(status(&r) & 0x21, 0x21);
    CHECK(r.irq12.level);
    CHECK_BYTES(&r, "\x5a");
    CHECK(!r.irq12.level);
    rig_finish(&r);
}

static void test_a20_and_reset(void)
{
    struct rig r;
    rig_init(&r);
    CHECK_EQ(mem_a20_mask(r.f.mem), ~0ull);
    CHECK_EQ(in8(&r.f, 0x92), 2);
    cmd(&r, 0xd0);
    u8 port = (u8)get(&r);
    CHECK_EQ(port & 3, 3);
    cmd(&r, 0xd1);
    data(&r, port & ~2);
    CHECK_EQ(mem_a20_mask(r.f.mem), ~(1ull << 20));
    CHECK_EQ(in8(&r.f, 0x92), 0);
    out8(&r.f, 0x92, 2);
    CHECK_EQ(mem_a20_mask(r.f.mem), ~0ull);
    CHECK_EQ(r.resets, 0);
    out8(&r.f, 0x92, 3);
    CHECK_EQ(r.resets, 1);
    out8(&r.f, 0x92, 3); /* no edge */
    CHECK_EQ(r.resets, 1);
    cmd(&r, 0xfe);
    CHECK_EQ(r.resets, 2);
    cmd(&r, 0xff);
    CHECK_EQ(r.resets, 2);
    cmd(&r, 0xd1);
    data(&r, 0x02);
    CHECK_EQ(r.resets, 3);
    rig_finish(&r);
}

static void test_keyboard(void)
{
    struct rig r;
    rig_init(&r);
    data(&r, 0xff);
    CHECK(r.irq1.level);
    unsigned rises = r.irq1.rises;
    CHECK_BYTES(&r, "\xfa\xaa");
    CHECK_EQ(r.irq1.rises, rises + 1); /* an edge for each byte */
    data(&r, 0xf2);
    CHECK_BYTES(&r, "\xfa\xab\x41"); /* translated */
    cmd(&r, 0x60);
    data(&r, 0x05);
    data(&r, 0xf2);
    CHECK_BYTES(&r, "\xfa\xab\x83");
    data(&r, 0xee);
    CHECK_BYTES(&r, "\xee");
    data(&r, 0xfe);
    CHECK_BYTES(&r, "\xee");
    data(&r, 0xed);
    CHECK_BYTES(&r, "\xfa");
    data(&r, 0x07);
    CHECK_BYTES(&r, "\xfa");
    data(&r, 0xf3);
    CHECK_BYTES(&r, "\xfa");
    data(&r, 0xf4); /* a command instead of the argument */
    CHECK_BYTES(&r, "\xfa");
    data(&r, 0xf0);
    CHECK_BYTES(&r, "\xfa");
    data(&r, 0x00);
    CHECK_BYTES(&r, "\xfa\x02");
    data(&r, 0x12); /* not a command */
    CHECK_BYTES(&r, "\xfe");
    rig_finish(&r);
}

static void test_scan_codes(void)
{
    struct rig r;
    rig_init(&r);
    i8042_key_event(r.kbc, 0x1e, true); /* A */
    i8042_key_event(r.kbc, 0x1e, false);
    CHECK_BYTES(&r, "\x1e\x9e");
    i8042_key_event(r.kbc, 0x41, true); /* F7: 83h in set 2 */
    i8042_key_event(r.kbc, 0x41, false);
    CHECK_BYTES(&r, "\x41\xc1");
    i8042_key_event(r.kbc, 0xe048, true); /* up */
    i8042_key_event(r.kbc, 0xe048, false);
    CHECK_BYTES(&r, "\xe0\x48\xe0\xc8");
    i8042_key_event(r.kbc, 0xe11d, true); /* pause */
    CHECK_BYTES(&r, "\xe1\x1d\x45\xe1\x9d\xc5");
    i8042_key_event(r.kbc, 0xe037, true); /* print */
    i8042_key_event(r.kbc, 0xe037, false);
    CHECK_BYTES(&r, "\xe0\x2a\xe0\x37\xe0\xb7\xe0\xaa");
    i8042_key_event(r.kbc, 0x7f, true);
    i8042_key_event(r.kbc, 0xe001, true);
    i8042_key_event(r.kbc, 0x101e, true);
    CHECK_EQ(status(&r) & 1, 0);
    cmd(&r, 0x60);
    data(&r, 0x05); /* no translation: set 2 */
    i8042_key_event(r.kbc, 0x1e, true);
    i8042_key_event(r.kbc, 0x1e, false);
    CHECK_BYTES(&r, "\x1c\xf0\x1c");
    data(&r, 0xf0);
    data(&r, 0x03);
    CHECK_BYTES(&r, "\xfa\xfa");
    i8042_key_event(r.kbc, 0xe048, true);
    i8042_key_event(r.kbc, 0xe048, false);
    CHECK_BYTES(&r, "\x63\xf0\x63");
    data(&r, 0xf5);
    CHECK_BYTES(&r, "\xfa");
    i8042_key_event(r.kbc, 0x1e, true);
    CHECK_EQ(status(&r) & 1, 0);
    rig_finish(&r);
}

/* Every key's set 2 code, translated, is its set 1 code. */
static void test_translation(void)
{
    struct rig r;
    rig_init(&r);
    for (u16 key = 1; key <= 0x58; key++) {
        i8042_key_event(r.kbc, key, true);
        i8042_key_event(r.kbc, key, false);
        if (key == 0x55) {
            CHECK_EQ(status(&r) & 1, 0);
            continue;
        }
        CHECK_EQ(get(&r), key);
        CHECK_EQ(get(&r), key | 0x80);
    }
    rig_finish(&r);
}

static void test_answer_before_keys(void)
{
    struct rig r;
    rig_init(&r);
    i8042_key_event(r.kbc, 0x41, true);
    i8042_key_event(r.kbc, 0x41, false);
    CHECK_EQ(get(&r), 0x41);
    cmd(&r, 0x20); /* the break code stands in the buffer and is not lost */
    CHECK_BYTES(&r, "\x65\xc1");
    cmd(&r, 0xad);
    i8042_key_event(r.kbc, 0x1e, true);
    CHECK_EQ(status(&r) & 1, 0); /* held while the interface is off */
    cmd(&r, 0xae);
    CHECK_BYTES(&r, "\x1e");
    for (unsigned i = 0; i < 200; i++)
        i8042_key_event(r.kbc, 0x1e, true);
    unsigned n = 0, last = 0;
    for (unsigned v = get(&r); v != ~0u; v = get(&r), n++)
        last = v;
    CHECK_EQ(n, 65);      /* the queue and the buffer */
    CHECK_EQ(last, 0xff); /* overrun, translated */
    rig_finish(&r);
}

static void test_mouse(void)
{
    struct rig r;
    rig_init(&r);
    cmd(&r, 0x60);
    data(&r, 0x47);
    mouse_cmd(&r, 0xff);
    CHECK_EQ(status(&r) & 0x21, 0x21);
    CHECK(r.irq12.level);
    CHECK_BYTES(&r, "\xfa\xaa\x00");
    i8042_mouse_event(r.kbc, 1, 1, 0, 1);
    CHECK_EQ(status(&r) & 1, 0); /* reporting is off */
    mouse_cmd(&r, 0xe9);
    CHECK_BYTES(&r, "\xfa\x04\x02\x64");
    mouse_cmd(&r, 0xf4);
    CHECK_BYTES(&r, "\xfa");
    i8042_mouse_event(r.kbc, 2, -3, 0, 2);
    CHECK_BYTES(&r, "\x2a\x02\xfd");
    i8042_mouse_event(r.kbc, 300, 0, 0, 0); /* more than a packet can say */
    CHECK_BYTES(&r, "\x08\xff\x00\x08\x2d\x00");
    static const u8 knock[] = {200, 100, 80};
    for (unsigned i = 0; i < sizeof knock; i++) {
        mouse_cmd(&r, 0xf3);
        mouse_cmd(&r, knock[i]);
        CHECK_BYTES(&r, "\xfa\xfa");
    }
    mouse_cmd(&r, 0xf2);
    CHECK_BYTES(&r, "\xfa\x03");
    i8042_mouse_event(r.kbc, 0, 0, -1, 0);
    CHECK_BYTES(&r, "\x08\x00\x00\x01");
    mouse_cmd(&r, 0xee);
    mouse_cmd(&r, 0x42);
    mouse_cmd(&r, 0xec);
    get(&r);
    mouse_cmd(&r, 0xe8);
    mouse_cmd(&r, 0x04); /* no such resolution */
    unsigned last = 0;
    for (unsigned v = get(&r); v != ~0u; v = get(&r))
        last = v;
    CHECK_EQ(last, 0xfc);
    rig_finish(&r);
}

static void test_saved_state(void)
{
    struct rig a, b;
    struct error err;
    u8 *buf;
    size_t len;
    rig_init(&a);
    rig_init(&b);
    i8042_key_event(a.kbc, 0x1e, true);
    i8042_key_event(a.kbc, 0x1e, false);
    i8042_mouse_event(a.kbc, -5, -6, 0, 1);
    out8(&a.f, 0x92, 0);
    CHECK(state_set_save(a.f.state, &buf, &len, &err) == 0);
    CHECK(state_set_load(b.f.state, buf, len, &err) == 0);
    CHECK(b.irq1.level);
    CHECK_EQ(mem_a20_mask(b.f.mem), ~(1ull << 20));
    CHECK_BYTES(&b, "\x1e\x9e");
    free(buf);
    rig_finish(&a);
    rig_finish(&b);
}

int main(void)
{
    TAP_RUN(test_controller);
    TAP_RUN(test_a20_and_reset);
    TAP_RUN(test_keyboard);
    TAP_RUN(test_scan_codes);
    TAP_RUN(test_translation);
    TAP_RUN(test_answer_before_keys);
    TAP_RUN(test_mouse);
    TAP_RUN(test_saved_state);
    return tap_done();
}
