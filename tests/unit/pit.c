/* The 8254, against the data sheet (order number 231164), and port 61h. */
#include "devices/timer/pit.h"

#include "tests/chips.h"

static struct pit *pit;
static struct wire irq0;

/* The first nanosecond of CLK tick `n`. */
static u64 tick_ns(u64 n)
{
    return (n * 1000000000 + PIT_HZ - 1) / PIT_HZ;
}

static void to_tick(u64 n)
{
    board_run_to(tick_ns(n));
}

static void setup(void)
{
    board_setup();
    irq0 = (struct wire){0};
    CHECK(pit_create(&pit, &board.env, wire_line(&irq0, 0), NULL) == 0);
}

static void teardown(void)
{
    pit_destroy(pit);
    board_teardown();
}

/* Both bytes of a count. */
static void load(unsigned n, u16 count)
{
    outb(0x40 + n, (u8)count);
    outb(0x40 + n, (u8)(count >> 8));
}

static u16 count_of(unsigned n)
{
    outb(0x43, (u8)(n << 6));
    u8 low = inb(0x40 + n);
    return (u16)(low | inb(0x40 + n) << 8);
}

static u8 status_of(unsigned n)
{
    outb(0x43, 0xe0 | 2 << n);
    return inb(0x40 + n);
}

static bool out_of(unsigned n)
{
    return status_of(n) & 0x80;
}

static void test_mode0(void)
{
    setup();
    outb(0x43, 0x30);
    CHECK(!out_of(0));
    load(0, 100);
    to_tick(1); /* the load comes with the next CLK */
    CHECK_EQ(count_of(0), 100);
    to_tick(41);
    CHECK_EQ(count_of(0), 60);
    CHECK(!out_of(0) && !irq0.level);
    to_tick(100);
    CHECK(!out_of(0));
    to_tick(101); /* N + 1 CLKs after the write */
    CHECK(out_of(0));
    board_run_to(board_now() + 20000); /* the interrupt may be as late as the shortest timer */
    CHECK(irq0.level && irq0.rises == 1);
    to_tick(201);
    CHECK_EQ(count_of(0), (u16)-100); /* goes on */
    CHECK(out_of(0));
    CHECK_EQ(board_run_to(NS_PER_SEC), 0); /* one-shot: nothing ticks */
    /* The first byte of a new count stops the counter and the output is low at once. */
    outb(0x40, 200);
    CHECK(!out_of(0) && !irq0.level);
    u64 t = 1193182;
    to_tick(t + 500);
    u16 before = count_of(0);
    to_tick(t + 900);
    CHECK_EQ(count_of(0), before);
    outb(0x40, 0);
    to_tick(t + 901);
    CHECK_EQ(count_of(0), 200);
    to_tick(t + 1100);
    CHECK(!out_of(0));
    to_tick(t + 1101);
    CHECK(out_of(0));
    teardown();
}

static void test_mode0_gate(void)
{
    setup();
    outb(0x61, 1);
    outb(0x43, 0xb0);
    load(2, 100);
    to_tick(31);
    outb(0x61, 0);
    to_tick(500);
    CHECK_EQ(count_of(2), 70);
    CHECK(!(inb(0x61) & 0x20));
    outb(0x61, 1);
    to_tick(569);
    CHECK(!(inb(0x61) & 0x20));
    to_tick(570);
    CHECK(inb(0x61) & 0x20);
    CHECK_EQ(inb(0x61) & 3, 1);
    teardown();
}

static void test_mode1(void)
{
    setup();
    outb(0x43, 0xb2);
    load(2, 50);
    CHECK(out_of(2));
    to_tick(200);
    CHECK(out_of(2)); /* waits for the trigger */
    CHECK(status_of(2) & 0x40);
    outb(0x61, 1);
    to_tick(201);
    CHECK(!out_of(2)); /* low with the next CLK */
    CHECK(!(status_of(2) & 0x40));
    outb(0x61, 0); /* the gate's level has no effect */
    to_tick(231);
    CHECK(!out_of(2));
    CHECK_EQ(count_of(2), 20);
    outb(0x61, 1); /* retriggered: the pulse gets longer, without a gap */
    CHECK(!out_of(2));
    to_tick(281);
    CHECK(!out_of(2));
    to_tick(282);
    CHECK(out_of(2));
    /* A new count is for the next trigger. */
    outb(0x61, 0);
    outb(0x61, 1);
    to_tick(290);
    load(2, 500);
    to_tick(333);
    CHECK(out_of(2));
    outb(0x61, 0);
    outb(0x61, 1);
    to_tick(334);
    CHECK_EQ(count_of(2), 500);
    teardown();
}

static void test_mode2(void)
{
    setup();
    outb(0x43, 0x34);
    CHECK(out_of(0));
    load(0, 1000);
    CHECK(status_of(0) & 0x40); /* null count until the load */
    to_tick(1);
    CHECK_EQ(count_of(0), 1000);
    CHECK_EQ(status_of(0), 0x80 | 0x34);
    to_tick(999);
    CHECK_EQ(count_of(0), 2);
    CHECK(out_of(0));
    to_tick(1000);
    CHECK_EQ(count_of(0), 1);
    CHECK(!out_of(0));
    to_tick(1001);
    CHECK_EQ(count_of(0), 1000);
    CHECK(out_of(0));
    unsigned rises = irq0.rises;
    to_tick(101050);
    CHECK_EQ(irq0.rises, rises + 100);
    /* A new count waits for the end of the period. */
    load(0, 3000);
    CHECK(status_of(0) & 0x40);
    CHECK_EQ(count_of(0), 951);
    to_tick(102000);
    CHECK_EQ(count_of(0), 1);
    to_tick(102001);
    CHECK_EQ(count_of(0), 3000);
    CHECK(!(status_of(0) & 0x40));
    rises = irq0.rises;
    to_tick(102001 + 30000 + 30);
    CHECK_EQ(irq0.rises, rises + 10);
    teardown();
}

static void test_mode2_gate(void)
{
    setup();
    outb(0x61, 1);
    outb(0x43, 0xb4);
    load(2, 100);
    to_tick(61);
    CHECK_EQ(count_of(2), 40);
    outb(0x61, 0);
    to_tick(400);
    CHECK_EQ(count_of(2), 40);
    CHECK(inb(0x61) & 0x20);
    outb(0x61, 1); /* starts again from the count */
    to_tick(401);
    CHECK_EQ(count_of(2), 100);
    to_tick(500);
    CHECK(!(inb(0x61) & 0x20));
    teardown();
}

static void test_mode3(void)
{
    setup();
    outb(0x43, 0x36);
    load(0, 100);
    to_tick(1);
    CHECK_EQ(count_of(0), 100);
    to_tick(2);
    CHECK_EQ(count_of(0), 98); /* by two */
    to_tick(50);
    CHECK_EQ(count_of(0), 2);
    CHECK(out_of(0));
    to_tick(51);
    CHECK_EQ(count_of(0), 100);
    CHECK(!out_of(0));
    to_tick(101);
    CHECK(out_of(0));
    /* Odd: high for (N + 1) / 2, low for (N - 1) / 2; counting starts at N - 1 and includes 0 in the high
     * half. */
    outb(0x43, 0x76);
    load(1, 101);
    to_tick(102);
    CHECK_EQ(count_of(1), 100);
    to_tick(102 + 50);
    CHECK_EQ(count_of(1), 0);
    CHECK(out_of(1));
    to_tick(102 + 51);
    CHECK_EQ(count_of(1), 100);
    CHECK(!out_of(1));
    to_tick(102 + 100);
    CHECK_EQ(count_of(1), 2);
    CHECK(!out_of(1));
    to_tick(102 + 101);
    CHECK(out_of(1));
    teardown();
}

/* The new count is loaded at the end of the half period. */
static void test_mode3_reload(void)
{
    setup();
    outb(0x61, 1);
    outb(0x43, 0xb6);
    load(2, 1000);
    to_tick(201);
    load(2, 100);
    to_tick(500);
    CHECK(inb(0x61) & 0x20);
    CHECK_EQ(count_of(2), 2);
    to_tick(501);
    CHECK(!(inb(0x61) & 0x20));
    CHECK_EQ(count_of(2), 100);
    to_tick(550);
    CHECK(!(inb(0x61) & 0x20));
    to_tick(551);
    CHECK(inb(0x61) & 0x20);
    to_tick(611); /* in the low half */
    CHECK(!(inb(0x61) & 0x20));
    load(2, 2000);
    to_tick(651);
    CHECK(inb(0x61) & 0x20);
    to_tick(1650);
    CHECK(inb(0x61) & 0x20);
    to_tick(1651);
    CHECK(!(inb(0x61) & 0x20));
    teardown();
}

static void test_mode4(void)
{
    setup();
    outb(0x43, 0x38);
    load(0, 100);
    to_tick(100);
    CHECK(out_of(0));
    CHECK_EQ(count_of(0), 1);
    to_tick(101);
    CHECK(!out_of(0)); /* one CLK */
    to_tick(102);
    CHECK(out_of(0));
    unsigned rises = irq0.rises;
    load(0, 200); /* a new count is loaded at once */
    to_tick(103);
    CHECK_EQ(count_of(0), 200);
    to_tick(303 + 2);
    CHECK_EQ(irq0.rises, rises + 1);
    CHECK_EQ(board_run_to(NS_PER_SEC), 0);
    teardown();
}

static void test_mode5(void)
{
    setup();
    outb(0x43, 0xba);
    load(2, 100);
    to_tick(1000);
    CHECK(out_of(2));
    outb(0x61, 1);
    to_tick(1100);
    CHECK(out_of(2));
    to_tick(1101);
    CHECK(!out_of(2));
    to_tick(1102);
    CHECK(out_of(2));
    outb(0x61, 0);
    outb(0x61, 1);
    to_tick(1150);
    outb(0x61, 0);
    outb(0x61, 1); /* retriggers */
    to_tick(1203);
    CHECK(out_of(2));
    to_tick(1251);
    CHECK(!out_of(2));
    teardown();
}

static void test_bcd(void)
{
    setup();
    outb(0x43, 0x31);
    load(0, 0x1000);
    to_tick(2);
    CHECK_EQ(count_of(0), 0x999);
    to_tick(1001);
    CHECK_EQ(count_of(0), 0);
    CHECK(out_of(0));
    to_tick(1002);
    CHECK_EQ(count_of(0), 0x9999); /* wraps in decimal */
    outb(0x43, 0x35);
    load(0, 0); /* 10000 */
    to_tick(1003);
    CHECK_EQ(count_of(0), 0);
    to_tick(1004);
    CHECK_EQ(count_of(0), 0x9999);
    to_tick(1003 + 10000);
    CHECK_EQ(count_of(0), 0);
    outb(0x43, 0x34);
    load(0, 0); /* 65536 */
    to_tick(11004);
    CHECK_EQ(count_of(0), 0);
    to_tick(11005);
    CHECK_EQ(count_of(0), 0xffff);
    teardown();
}

static void test_bytes(void)
{
    setup();
    outb(0x43, 0x14); /* low byte only: the high one is zero */
    outb(0x40, 0x20);
    to_tick(1);
    CHECK_EQ(inb(0x40), 0x20);
    CHECK_EQ(inb(0x40), 0x20);
    outb(0x43, 0x24); /* high byte only */
    outb(0x40, 0x20);
    to_tick(2);
    CHECK_EQ(inb(0x40), 0x20);
    to_tick(3);
    CHECK_EQ(inb(0x40), 0x1f);
    outb(0x43, 0x34); /* both: reads alternate */
    load(0, 0x1234);
    to_tick(4);
    CHECK_EQ(inb(0x40), 0x34);
    CHECK_EQ(inb(0x40), 0x12);
    CHECK_EQ(inb(0x43), 0xff);
    teardown();
}

static void test_latches(void)
{
    setup();
    outb(0x43, 0x34);
    load(0, 0x1234);
    outb(0x43, 0xb4);
    load(2, 0x2222);
    to_tick(0x35);
    outb(0x43, 0x00);
    to_tick(0x100);
    outb(0x43, 0x00); /* a second latch is ignored until the first was read */
    CHECK_EQ(inb(0x40), 0x00);
    CHECK_EQ(inb(0x40), 0x12);
    CHECK_EQ(inb(0x40), 0x35); /* live again */
    CHECK_EQ(inb(0x40), 0x11);
    /* Read-back of count and status of channel 0: the status comes first. */
    outb(0x43, 0xc2);
    to_tick(0x200);
    CHECK_EQ(inb(0x40), 0xb4);
    CHECK_EQ(inb(0x40), 0x35);
    CHECK_EQ(inb(0x40), 0x11);
    outb(0x43, 0xd2); /* counts only */
    CHECK_EQ(inb(0x40), 0x35);
    CHECK_EQ(inb(0x40), 0x10);
    outb(0x43, 0xe8); /* status of channel 2: loaded, though its gate is low */
    CHECK_EQ(inb(0x42), 0xb4);
    teardown();
}

/* No drift: after an hour the number of ticks is exact. A late host loses ticks but not the phase. */
static void test_rate(void)
{
    setup();
    outb(0x43, 0x34);
    load(0, 11932); /* 100 Hz */
    unsigned rises = irq0.rises;
    board_run_to(3600 * NS_PER_SEC);
    CHECK_EQ(irq0.rises - rises, 3600ull * PIT_HZ / 11932);
    rises = irq0.rises;
    board_jump_to(3601 * NS_PER_SEC);
    CHECK_EQ(irq0.rises, rises + 1);
    board_run_to(3602 * NS_PER_SEC);
    CHECK_EQ(irq0.rises - rises - 1, 3602ull * PIT_HZ / 11932 - 3601ull * PIT_HZ / 11932);
    /* The shortest period does not take the host with it. */
    outb(0x43, 0x34);
    load(0, 2);
    CHECK(board_run_to(3603 * NS_PER_SEC) <= 50001);
    /* Illegal, and silent. */
    load(0, 1);
    board_run_to(3604 * NS_PER_SEC);
    CHECK_EQ(board_run_to(3605 * NS_PER_SEC), 0);
    teardown();
}

static void test_port61(void)
{
    setup();
    outb(0x61, 0xff);
    CHECK_EQ(inb(0x61) & 0xcf, 0x0f);
    unsigned toggles = 0;
    u8 last = inb(0x61) & 0x10;
    for (u64 t = 0; t < 1000000; t += 1000) {
        board_run_to(t);
        toggles += last != (inb(0x61) & 0x10);
        last = inb(0x61) & 0x10;
    }
    CHECK_EQ(toggles, 66); /* 1 ms / 15.085 us */
    teardown();
}

static void test_state(void)
{
    setup();
    outb(0x61, 1);
    outb(0x43, 0x34);
    load(0, 10000);
    outb(0x43, 0xb6);
    load(2, 5000);
    to_tick(15001);
    load(0, 20000);
    outb(0x43, 0);
    struct snapshot s = board_save();
    outb(0x40, 1);
    pit_reset(pit);
    irq0.rises = 0;
    board_restore(s);
    CHECK_EQ(inb(0x40), 5000 & 0xff);
    CHECK_EQ(inb(0x40), 5000 >> 8);
    CHECK(out_of(2)); /* at the start of its fourth period */
    to_tick(17501);
    CHECK(!out_of(2));
    to_tick(20001);
    CHECK_EQ(count_of(0), 20000);
    board_run_to(board_now() + 20000);
    CHECK_EQ(irq0.rises, 1);
    to_tick(40001);
    board_run_to(board_now() + 20000);
    CHECK_EQ(irq0.rises, 2);
    teardown();
}

static void test_bad_state(void)
{
    setup();
    outb(0x43, 0x34);
    load(0, 10000);
    struct snapshot s = board_save();
    /* Every single byte changed: refused, or loaded and then harmless. */
    for (size_t i = 0; i < s.len; i++) {
        u8 *copy = malloc(s.len);
        memcpy(copy, s.data, s.len);
        copy[i] ^= 0xff;
        if (state_set_load(board.state, copy, s.len, NULL) == 0) {
            board_run_to(board_now() + 1000000);
            for (unsigned n = 0; n < 3; n++)
                count_of(n);
        }
        free(copy);
    }
    board_restore(s);
    teardown();
}

int main(void)
{
    TAP_RUN(test_mode0);
    TAP_RUN(test_mode0_gate);
    TAP_RUN(test_mode1);
    TAP_RUN(test_mode2);
    TAP_RUN(test_mode2_gate);
    TAP_RUN(test_mode3);
    TAP_RUN(test_mode3_reload);
    TAP_RUN(test_mode4);
    TAP_RUN(test_mode5);
    TAP_RUN(test_bcd);
    TAP_RUN(test_bytes);
    TAP_RUN(test_latches);
    TAP_RUN(test_rate);
    TAP_RUN(test_port61);
    TAP_RUN(test_state);
    TAP_RUN(test_bad_state);
    return tap_done();
}
