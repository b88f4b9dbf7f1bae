/* Entropy source, console, balloon and input devices, as a driver sees them. */
#include <linux/input-event-codes.h>
#include <sys/mman.h>

#include "devices/virtio/virtio_balloon.h"
#include "devices/virtio/virtio_console.h"
#include "devices/virtio/virtio_input.h"
#include "devices/virtio/virtio_rng.h"
#include "virtio_driver.h"

#define ALL_OF_RATE 96u

/* One writable buffer per descriptor: i is `len` bytes at DATA + i * step. */
static void offer_buffers(struct rig *r, unsigned n, unsigned count, u32 step, u32 len)
{
    for (unsigned i = 0; i < count; i++) {
        rig_desc(r, Q_DESC(n), i, DATA + (u64)i * step, len, WRITE, 0);
        rig_offer(r, n, (u16)i);
    }
}

/* --- entropy --------------------------------------------------------------------------------------------
 */

static void test_rng(void)
{
    struct rig r;
    struct virtio_rng *rng;
    const struct virtio_rng_config config = {.rate = ALL_OF_RATE, .period_ns = 1000};
    u8 zero[64] = {0};
    rig_init(&r);
    CHECK(virtio_rng_create(&rng, &r.f.env, &config, NULL) == 0);
    rig_plug(&r, virtio_rng_device(rng));
    CHECK_EQ(rig_cfg(&r, 0, 4), 0x10051af4);
    r.size = 8;
    rig_start(&r, 0, 1);
    offer_buffers(&r, 0, 3, 0x100, 64);
    rig_notify(&r, 0);
    CHECK_EQ(rig_used(&r, 0), 2); /* 64 + 32: the rate is reached */
    CHECK_EQ(rig_used_len(&r, 0, 0), 64);
    CHECK_EQ(rig_used_len(&r, 0, 1), 32);
    CHECK(memcmp(r.hva + DATA, zero, 64) && memcmp(r.hva + DATA + 0x100, zero, 32));
    CHECK(!memcmp(r.hva + DATA + 0x120, zero, 32));
    CHECK(memcmp(r.hva + DATA, r.hva + DATA + 0x100, 32));
    fixture_advance_to(&r.f, 999);
    CHECK_EQ(rig_used(&r, 0), 2);
    fixture_advance_to(&r.f, 1000);
    CHECK_EQ(rig_used(&r, 0), 3);
    CHECK_EQ(rig_used_len(&r, 0, 2), 64);
    rig_unplug(&r);
    virtio_rng_destroy(rng);
    rig_finish(&r);
}

/* --- console --------------------------------------------------------------------------------------------
 */

struct host_end {
    char out[256];
    size_t len;
    unsigned invited;
};

static void host_write(void *opaque, const u8 *bytes, size_t n)
{
    struct host_end *h = opaque;
    memcpy(h->out + h->len, bytes, MIN(n, sizeof h->out - 1 - h->len));
    h->len += MIN(n, sizeof h->out - 1 - h->len);
}

static void host_invited(void *opaque)
{
    ((struct host_end *)opaque)->invited++;
}

static void test_console(void)
{
    struct rig r;
    struct virtio_console *c;
    struct host_end h = {0};
    const struct virtio_console_config config = {.backend = {host_write, host_invited, &h}};
    rig_init(&r);
    CHECK(virtio_console_create(&c, &r.f.env, &config, NULL) == 0);
    rig_plug(&r, virtio_console_device(c));
    rig_write(&r, RIG_CONFIG + 8, 4, '!'); /* an emergency */
    CHECK_STR(h.out, "!");
    CHECK_EQ(virtio_console_can_receive(c), 0);
    rig_start(&r, BIT(0), 2);
    /* Output: two chains, one of two buffers. */
    memcpy(r.hva + DATA, "hello, world", 12);
    rig_desc(&r, Q_DESC(1), 0, DATA, 5, NEXT, 1);
    rig_desc(&r, Q_DESC(1), 1, DATA + 5, 2, 0, 0);
    rig_desc(&r, Q_DESC(1), 2, DATA + 7, 5, 0, 0);
    rig_offer(&r, 1, 0);
    rig_offer(&r, 1, 2);
    rig_notify(&r, 1);
    CHECK_STR(h.out, "!hello, world");
    CHECK_EQ(rig_used(&r, 1), 2);
    /* Input: no room, then some. */
    CHECK_EQ(virtio_console_receive(c, (const u8 *)"x", 1), 0);
    offer_buffers(&r, 0, 2, 16, 4);
    CHECK_EQ(h.invited, 0);
    rig_notify(&r, 0);
    CHECK_EQ(h.invited, 1);
    CHECK_EQ(virtio_console_can_receive(c), 4);
    CHECK_EQ(virtio_console_receive(c, (const u8 *)"abcdefghij", 10), 8);
    CHECK(!memcmp(r.hva + DATA, "abcd", 4) && !memcmp(r.hva + DATA + 16, "efgh", 4));
    CHECK_EQ(rig_used(&r, 0), 2);
    CHECK_EQ(virtio_console_can_receive(c), 0);
    /* Size. */
    unsigned before = r.messages[0];
    virtio_console_resize(c, 132, 50);
    CHECK_EQ(rig_read(&r, RIG_CONFIG, 4), 50u << 16 | 132);
    CHECK_EQ(r.messages[0], before + 1);
    rig_unplug(&r);
    virtio_console_destroy(c);
    rig_finish(&r);
}

/* --- balloon --------------------------------------------------------------------------------------------
 */

static bool page_is_resident(struct rig *r, u64 gpa)
{
    unsigned char in = 0;
    CHECK(mincore(r->hva + gpa, PAGE_SIZE, &in) == 0);
    return in & 1;
}

static void test_balloon_pages(void)
{
    struct rig r;
    struct virtio_balloon *b;
    const struct virtio_balloon_config config = {.target = MIB(1)};
    rig_init(&r);
    CHECK(virtio_balloon_create(&b, &r.f.env, &config, NULL) == 0);
    rig_plug(&r, virtio_balloon_device(b));
    CHECK_EQ(rig_read(&r, RIG_CONFIG, 4), 256);
    rig_start(&r, BIT(1) | BIT(2) | BIT(5), RIG_QUEUES);
    memset(r.hva + MIB(3), 0xcc, 8 * PAGE_SIZE);
    /* Pages 300h, 301h, 303h, one that is none, and half a number. */
    static const u32 numbers[] = {0x300, 0x301, 0x303, 0xffffffff, 7};
    memcpy(r.hva + DATA, numbers, sizeof numbers);
    rig_desc(&r, Q_DESC(0), 0, DATA, 18, 0, 0);
    rig_offer(&r, 0, 0);
    rig_notify(&r, 0);
    CHECK_EQ(rig_used(&r, 0), 1);
    for (unsigned i = 0; i < 5; i++)
        CHECK_EQ(page_is_resident(&r, MIB(3) + i * PAGE_SIZE), i == 2 || i == 4);
    CHECK_EQ(r.hva[MIB(3)], 0);
    CHECK_EQ(r.hva[MIB(3) + 2 * PAGE_SIZE], 0xcc);
    rig_write(&r, RIG_CONFIG + 4, 4, 3);
    CHECK_EQ(virtio_balloon_actual(b), 3 * PAGE_SIZE);
    rig_offer(&r, 1, 0); /* deflation: descriptor 0 of queue 1 is empty, which is fine */
    rig_notify(&r, 1);
    CHECK_EQ(rig_used(&r, 1), 1);
    unsigned before = r.messages[0];
    virtio_balloon_set_target(b, MIB(2));
    CHECK_EQ(rig_read(&r, RIG_CONFIG, 4), 512);
    CHECK_EQ(r.messages[0], before + 1);
    rig_unplug(&r);
    virtio_balloon_destroy(b);
    rig_finish(&r);
}

/* Reporting is in the third queue for a driver without statistics. */
static void test_balloon_report(void)
{
    struct rig r;
    struct virtio_balloon *b;
    const struct virtio_balloon_config config = {0};
    rig_init(&r);
    CHECK(virtio_balloon_create(&b, &r.f.env, &config, NULL) == 0);
    rig_plug(&r, virtio_balloon_device(b));
    rig_start(&r, BIT(5), RIG_QUEUES);
    memset(r.hva + MIB(3), 0xcc, 8 * PAGE_SIZE);
    rig_desc(&r, Q_DESC(2), 0, MIB(3) + 1, 3 * PAGE_SIZE, WRITE, 0); /* whole pages of it: two */
    rig_offer(&r, 2, 0);
    rig_notify(&r, 2);
    CHECK_EQ(rig_used(&r, 2), 1);
    for (unsigned i = 0; i < 5; i++)
        CHECK_EQ(page_is_resident(&r, MIB(3) + i * PAGE_SIZE), i != 1 && i != 2);
    rig_unplug(&r);
    virtio_balloon_destroy(b);
    rig_finish(&r);
}

static void test_balloon_stats(void)
{
    struct rig r;
    struct virtio_balloon *b;
    const struct virtio_balloon_config config = {.stats_seconds = 1};
    rig_init(&r);
    CHECK(virtio_balloon_create(&b, &r.f.env, &config, NULL) == 0);
    rig_plug(&r, virtio_balloon_device(b));
    rig_start(&r, BIT(1), RIG_QUEUES);
    memset(r.hva + DATA, 0, 30);
    store_le16(r.hva + DATA, 4); /* free memory */
    store_le64(r.hva + DATA + 2, 123456789);
    store_le16(r.hva + DATA + 10, 999); /* unknown */
    rig_desc(&r, Q_DESC(2), 0, DATA, 25, 0, 0);
    rig_offer(&r, 2, 0);
    rig_notify(&r, 2);
    CHECK_EQ(rig_used(&r, 2), 0); /* kept until new ones are wanted */
    CHECK_EQ(virtio_balloon_stats(b)->valid, BIT(4));
    CHECK_EQ(virtio_balloon_stats(b)->value[4], 123456789);
    u8 *buf;
    size_t len;
    CHECK(state_set_save(r.f.state, &buf, &len, NULL) == 0);
    fixture_advance_to(&r.f, NS_PER_SEC);
    CHECK_EQ(rig_used(&r, 2), 1);
    CHECK_EQ(state_set_load(r.f.state, buf, len, NULL), 0);
    CHECK_EQ(virtio_balloon_stats(b)->value[4], 123456789);
    free(buf);
    rig_unplug(&r);
    virtio_balloon_destroy(b);
    rig_finish(&r);
}

/* --- input ----------------------------------------------------------------------------------------------
 */

static void expect_event(struct rig *r, unsigned i, u16 type, u16 code, u32 value)
{
    const u8 *e = r->hva + DATA + 8ull * i;
    CHECK_EQ(load_le16(e), type);
    CHECK_EQ(load_le16(e + 2), code);
    CHECK_EQ(load_le32(e + 4), value);
}

static unsigned select_config(struct rig *r, u8 select, u8 subselect)
{
    rig_write(r, RIG_CONFIG, 1, select);
    rig_write(r, RIG_CONFIG + 1, 1, subselect);
    return (unsigned)rig_read(r, RIG_CONFIG + 2, 1);
}

static struct virtio_input *input_start(struct rig *r, struct input **input, enum virtio_input_kind kind)
{
    struct virtio_input *in;
    rig_init(r);
    CHECK(input_create(input, NULL) == 0);
    struct virtio_input_config config = {.kind = kind, .input = *input};
    CHECK(virtio_input_create(&in, &r->f.env, &config, NULL) == 0);
    rig_plug(r, virtio_input_device(in));
    return in;
}

static void input_stop(struct rig *r, struct input *input, struct virtio_input *in)
{
    rig_unplug(r);
    virtio_input_destroy(in);
    input_destroy(input);
    rig_finish(r);
}

static void test_keyboard(void)
{
    struct rig r;
    struct input *input;
    struct virtio_input *in = input_start(&r, &input, VIRTIO_KEYBOARD);
    CHECK_EQ(rig_cfg(&r, 0, 4), 0x10521af4);
    CHECK_EQ(rig_cfg(&r, PCI_BAR0, 4), 0); /* no legacy interface */
    CHECK_EQ(select_config(&r, 0x01, 0), strlen("ring3 virtio keyboard"));
    CHECK_EQ(rig_read(&r, RIG_CONFIG + 8, 4), load_le32("ring"));
    CHECK_EQ(select_config(&r, 0x11, EV_KEY), 31);
    CHECK(rig_read(&r, RIG_CONFIG + 8 + KEY_A / 8, 1) & BIT(KEY_A % 8));
    CHECK_EQ(select_config(&r, 0x11, EV_ABS), 0);
    CHECK_EQ(select_config(&r, 0x77, 0), 0);
    input_key(input, KEY_A, true); /* nobody listens */
    rig_start(&r, 0, 2);
    offer_buffers(&r, 0, 3, 8, 8);
    rig_notify(&r, 0);
    CHECK_EQ(rig_used(&r, 0), 0);
    input_key(input, KEY_B, true);
    input_key(input, KEY_B, false); /* one event too many: waits */
    CHECK_EQ(rig_used(&r, 0), 3);
    expect_event(&r, 0, EV_KEY, KEY_B, 1);
    expect_event(&r, 1, EV_SYN, SYN_REPORT, 0);
    expect_event(&r, 2, EV_KEY, KEY_B, 0);
    offer_buffers(&r, 0, 1, 8, 8);
    rig_notify(&r, 0);
    CHECK_EQ(rig_used(&r, 0), 4);
    expect_event(&r, 0, EV_SYN, SYN_REPORT, 0);
    for (unsigned i = 0; i < 1000; i++) /* nobody reads them: bounded */
        input_key(input, KEY_C, i % 2 == 0);
    CHECK_EQ(rig_used(&r, 0), 4);
    /* Lights. */
    store_le16(r.hva + DATA + 0x800, EV_LED);
    store_le16(r.hva + DATA + 0x802, LED_CAPSL);
    store_le32(r.hva + DATA + 0x804, 1);
    rig_desc(&r, Q_DESC(1), 0, DATA + 0x800, 8, 0, 0);
    rig_offer(&r, 1, 0);
    rig_notify(&r, 1);
    CHECK_EQ(rig_used(&r, 1), 1);
    CHECK_EQ(input_leds(input), INPUT_LED_CAPS);
    u8 *buf;
    size_t len;
    CHECK(state_set_save(r.f.state, &buf, &len, NULL) == 0);
    rig_set_status(&r, 0);
    CHECK_EQ(state_set_load(r.f.state, buf, len, NULL), 0);
    CHECK_EQ(input_leds(input), INPUT_LED_CAPS);
    offer_buffers(&r, 0, 2, 8, 8);
    rig_notify(&r, 0);
    CHECK_EQ(rig_used(&r, 0), 6);
    expect_event(&r, 0, EV_KEY, KEY_C, 1); /* what waited is still there */
    free(buf);
    input_stop(&r, input, in);
}

static void test_tablet(void)
{
    struct rig r;
    struct input *input;
    struct virtio_input *in = input_start(&r, &input, VIRTIO_TABLET);
    CHECK_EQ(select_config(&r, 0x12, ABS_Y), 20);
    CHECK_EQ(rig_read(&r, RIG_CONFIG + 12, 4), INPUT_ABS_MAX);
    CHECK_EQ(select_config(&r, 0x12, 2), 0);
    rig_start(&r, 0, 2);
    offer_buffers(&r, 0, 16, 8, 8);
    input_point(input, 100, 32767, 640, 480, -1, INPUT_LEFT);
    CHECK_EQ(rig_used(&r, 0), 5);
    expect_event(&r, 0, EV_ABS, ABS_X, 100);
    expect_event(&r, 1, EV_ABS, ABS_Y, 32767);
    expect_event(&r, 2, EV_KEY, BTN_LEFT, 1);
    expect_event(&r, 3, EV_REL, REL_WHEEL, (u32)-1);
    expect_event(&r, 4, EV_SYN, SYN_REPORT, 0);
    input_point(input, 101, 5, 640, 480, 0, 0);
    expect_event(&r, 7, EV_KEY, BTN_LEFT, 0);
    input_stop(&r, input, in);
}

static void test_mouse(void)
{
    struct rig r;
    struct input *input;
    struct virtio_input *in = input_start(&r, &input, VIRTIO_MOUSE);
    rig_start(&r, 0, 2);
    offer_buffers(&r, 0, 16, 8, 8);
    input_move(input, -3, 0, 0, INPUT_RIGHT);
    CHECK_EQ(rig_used(&r, 0), 3);
    expect_event(&r, 0, EV_REL, REL_X, (u32)-3);
    expect_event(&r, 1, EV_KEY, BTN_RIGHT, 1);
    input_move(input, 0, 0, 0, INPUT_RIGHT); /* nothing changed: nothing said */
    CHECK_EQ(rig_used(&r, 0), 3);
    input_stop(&r, input, in);
}

int main(void)
{
    TAP_RUN(test_rng);
    TAP_RUN(test_console);
    TAP_RUN(test_balloon_pages);
    TAP_RUN(test_balloon_report);
    TAP_RUN(test_balloon_stats);
    TAP_RUN(test_keyboard);
    TAP_RUN(test_tablet);
    TAP_RUN(test_mouse);
    return tap_done();
}
