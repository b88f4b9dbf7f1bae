/* The MC146818A, against its data sheet (motorola ADI856R2), and the CMOS contents. */
#include "devices/timer/rtc.h"

#include "devices/timer/calendar.h"
#include "tests/chips.h"

#define MS 1000000ull

static struct rtc *rtc;
static struct wire irq8;

/* 2024-02-28 23:59:50 UTC, a Wednesday. */
#define START 1709164790

static void setup(void)
{
    board_setup();
    irq8 = (struct wire){0};
    CHECK(rtc_create(&rtc, &board.env, wire_line(&irq8, 0), START, NULL) == 0);
}

static void teardown(void)
{
    rtc_destroy(rtc);
    board_teardown();
}

static u8 get(u8 index)
{
    outb(0x70, index);
    return inb(0x71);
}

static void put(u8 index, u8 value)
{
    outb(0x70, index);
    outb(0x71, value);
}

static void check_clock(u8 hour, u8 minute, u8 second)
{
    CHECK_EQ(get(4), hour);
    CHECK_EQ(get(2), minute);
    CHECK_EQ(get(0), second);
}

static void check_date(u8 century, u8 year, u8 month, u8 day, u8 weekday)
{
    CHECK_EQ(get(0x32), century);
    CHECK_EQ(get(9), year);
    CHECK_EQ(get(8), month);
    CHECK_EQ(get(7), day);
    CHECK_EQ(get(6), weekday);
}

static void test_calendar(void)
{
    for (s64 day = -800000; day < 800000; day += 37) {
        struct date d = date_from_days(day);
        CHECK_EQ(days_from_date(d), day);
        CHECK(d.month >= 1 && d.month <= 12 && d.day >= 1 && d.day <= 31);
    }
    struct date d = date_from_days(0);
    CHECK(d.year == 1970 && d.month == 1 && d.day == 1);
    d = date_from_days(19782);
    CHECK(d.year == 2024 && d.month == 2 && d.day == 29);
    d = date_from_days(days_from_date((struct date){2100, 2, 28}) + 1);
    CHECK(d.month == 3 && d.day == 1);
}

static void test_date(void)
{
    setup();
    check_clock(0x23, 0x59, 0x50);
    check_date(0x20, 0x24, 2, 0x28, 4);
    CHECK_EQ(board_run_to(9999 * MS), 0); /* nothing ticks */
    check_clock(0x23, 0x59, 0x59);
    board_run_to(10000 * MS);
    check_clock(0, 0, 0);
    check_date(0x20, 0x24, 2, 0x29, 5);
    board_run_to((10000 + 86400000ull) * MS);
    check_date(0x20, 0x24, 3, 1, 6);
    CHECK_EQ(get(0x0d), 0x80);
    teardown();
}

static void test_century(void)
{
    setup();
    put(0x0b, 0x82);
    put(0x32, 0x19);
    put(9, 0x99);
    put(8, 0x12);
    put(7, 0x31);
    put(4, 0x23);
    put(2, 0x59);
    put(0, 0x59);
    put(0x0b, 0x02);
    board_run_to(1000 * MS);
    check_clock(0, 0, 0);
    check_date(0x20, 0, 1, 1, 5);
    teardown();
}

static void test_formats(void)
{
    setup();
    put(0x0b, 0x80 | 0x04); /* binary, 12 hours; registers are not converted by the chip */
    put(4, 0x80 | 11);
    put(2, 59);
    put(0, 59);
    put(0x0b, 0x04);
    board_run_to(1000 * MS);
    check_clock(12, 0, 0); /* midnight */
    board_run_to((1000 + 3600000) * MS);
    check_clock(1, 0, 0);
    board_run_to((1000 + 12 * 3600000) * MS);
    check_clock(0x80 | 12, 0, 0); /* noon */
    put(0x0b, 0x80);              /* BCD, 12 hours */
    put(4, 0x80 | 0x11);
    put(2, 0x09);
    put(0, 0x59);
    put(0x0b, 0);
    board_run_to(board_now() + 1000 * MS);
    check_clock(0x80 | 0x11, 0x10, 0);
    teardown();
}

static void test_set(void)
{
    setup();
    board_run_to(300 * MS);
    put(0x0b, 0x82 | 0x10);
    CHECK_EQ(get(0x0b), 0x82); /* SET clears UIE */
    static const u8 odd[] = {0xff, 0x77, 0xab};
    for (unsigned i = 0; i < sizeof odd; i++) { /* reads back what was written, sense or not */
        put(0, odd[i]);
        board_run_to(board_now() + 1500 * MS);
        CHECK_EQ(get(0), odd[i]);
        CHECK(!(get(0x0a) & 0x80));
    }
    CHECK_EQ(get(0x0c), 0x40); /* no updates: no UF; periods go on */
    put(0, 0x10);
    board_run_to(5300 * MS);
    put(0x0b, 2); /* the divider chain was not disturbed: the next update is at 6 s */
    board_run_to(5999 * MS);
    CHECK_EQ(get(0), 0x10);
    board_run_to(6000 * MS);
    CHECK_EQ(get(0), 0x11);
    teardown();
}

static void test_divider_reset(void)
{
    setup();
    board_run_to(700 * MS);
    put(0x0a, 0x66);
    board_run_to(5700 * MS);
    check_clock(0x23, 0x59, 0x50);
    put(0x0a, 0x26); /* first update half a second later */
    board_run_to(6199 * MS);
    CHECK_EQ(get(0), 0x50);
    board_run_to(6200 * MS);
    CHECK_EQ(get(0), 0x51);
    board_run_to(7200 * MS);
    CHECK_EQ(get(0), 0x52);
    teardown();
}

static void test_uip(void)
{
    setup();
    /* t_BUC + t_UC = 244 + 1984 us before the registers change. */
    board_run_to(1000 * MS - 2229000);
    CHECK_EQ(get(0x0a), 0x26);
    board_run_to(1000 * MS - 2228000);
    CHECK_EQ(get(0x0a), 0xa6);
    CHECK_EQ(get(0), 0x50);
    board_run_to(1000 * MS - 1);
    CHECK_EQ(get(0x0a), 0xa6);
    CHECK(!(get(0x0c) & 0x10));
    board_run_to(1000 * MS);
    CHECK_EQ(get(0x0a), 0x26);
    CHECK_EQ(get(0), 0x51);
    CHECK(get(0x0c) & 0x10);
    put(0x0a, 0xff);
    CHECK(!(get(0x0a) & 0x80)); /* read-only */
    teardown();
}

static void test_update_interrupt(void)
{
    setup();
    put(0x0b, 0x12);
    board_run_to(999 * MS);
    CHECK(!irq8.level);
    board_run_to(1000 * MS);
    CHECK(irq8.level);
    CHECK_EQ(board_run_to(5500 * MS), 0); /* not read: no further interrupt, no timer */
    CHECK_EQ(get(0x0c), 0x80 | 0x40 | 0x10);
    CHECK(!irq8.level);
    CHECK_EQ(get(0x0c), 0);
    board_run_to(6000 * MS);
    CHECK_EQ(irq8.rises, 2);
    put(0x0b, 0x02); /* disabled: the line falls, the flag stays */
    CHECK(!irq8.level);
    CHECK_EQ(get(0x0c) & 0x90, 0x10);
    teardown();
}

static void test_periodic(void)
{
    static const u16 hz[16] = {0, 256, 128, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 2};
    for (u8 rs = 0; rs < 16; rs++) {
        setup();
        put(0x0a, 0x20 | rs);
        put(0x0b, 0x42);
        unsigned count = 0;
        while (board_now() < 2000 * MS) {
            board_run_to(board_now() + 30000);
            if (irq8.level) {
                count++;
                CHECK_EQ(get(0x0c) & 0xc0, 0xc0);
            }
        }
        CHECK(count >= 2u * hz[rs] - (rs != 0) && count <= 2u * hz[rs] + 1);
        teardown();
    }
    /* The flag without the interrupt. */
    setup();
    put(0x0a, 0x26);
    get(0x0c);
    board_run_to(board_now() + 2 * MS);
    CHECK_EQ(get(0x0c), 0x40);
    CHECK(!irq8.rises);
    CHECK_EQ(board_run_to(5000 * MS), 0);
    teardown();
}

static void test_alarm(void)
{
    setup();
    put(5, 0x00), put(3, 0x01), put(1, 0x05); /* 00:01:05 */
    put(0x0b, 0x22);
    CHECK(board_run_to(74999 * MS) == 0);
    CHECK(!irq8.level);
    CHECK_EQ(board_run_to(75000 * MS), 1);
    CHECK(irq8.level);
    check_clock(0, 1, 5);
    CHECK_EQ(get(0x0c) & 0xb0, 0xb0);
    /* Every hour, minute and second. */
    put(5, 0xc0), put(3, 0xff), put(1, 0xd0);
    board_run_to(76000 * MS);
    CHECK_EQ(get(0x0c) & 0x20, 0x20);
    put(1, 0x30); /* once a minute */
    get(0x0c);
    board_run_to(99999 * MS);
    CHECK(!(get(0x0c) & 0x20));
    board_run_to(100000 * MS);
    CHECK(get(0x0c) & 0x20);
    /* No such time: never. */
    put(1, 0x7a);
    CHECK_EQ(board_run_to(200000 * MS), 0);
    put(1, 0x00), put(3, 0x60);
    CHECK_EQ(board_run_to(100000000 * MS), 0);
    CHECK(!(get(0x0c) & 0x20));
    /* The flag alone is found by a look, days later. */
    put(0x0b, 0x02);
    put(3, 0x00);
    board_run_to(board_now() + 200000000 * MS);
    CHECK(get(0x0c) & 0x20);
    teardown();
}

static void test_cmos(void)
{
    setup();
    outb(0x70, 0x80 | 0x40);
    CHECK(rtc_masks_nmi(rtc));
    CHECK_EQ(inb(0x70), 0xff);
    outb(0x71, 0x5a);
    CHECK_EQ(get(0x40), 0x5a);
    CHECK(!rtc_masks_nmi(rtc));
    outb(0x72, 0xc0); /* the second bank, 128 bytes */
    outb(0x73, 0xa5);
    CHECK_EQ(get(0x40), 0x5a);
    outb(0x72, 0x40);
    CHECK_EQ(inb(0x73), 0xa5);
    put(0x0c, 0xff), put(0x0d, 0);
    CHECK_EQ(get(0x0c), 0);
    CHECK_EQ(get(0x0d), 0x80);

    rtc_set_memory(rtc, GIB(3), GIB(3));
    CHECK_EQ(get(0x15) | get(0x16) << 8, 640);
    CHECK_EQ(get(0x17) | get(0x18) << 8, 0xffff);
    CHECK_EQ(get(0x30) | get(0x31) << 8, 0xffff);
    CHECK_EQ(get(0x34) | get(0x35) << 8, (GIB(3) - MIB(16)) >> 16);
    CHECK_EQ(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, GIB(3) >> 16);
    rtc_set_memory(rtc, MIB(17), 0);
    CHECK_EQ(get(0x17) | get(0x18) << 8, 16384);
    CHECK_EQ(get(0x34) | get(0x35) << 8, 16);
    rtc_set_cmos(rtc, 0x10, 0x40);
    unsigned sum = 0;
    for (u8 i = 0x10; i <= 0x2d; i++)
        sum += get(i);
    CHECK_EQ(get(0x2e) << 8 | get(0x2f), sum);
    CHECK(sum > 0x100);
    rtc_set_cmos(rtc, 0x0b, 0xff); /* not RAM */
    CHECK_EQ(get(0x0b), 0x02);
    teardown();
}

static void test_reset(void)
{
    setup();
    put(0x40, 0x77);
    put(0x0b, 0x7e);
    board_run_to(1500 * MS);
    CHECK(irq8.level);
    rtc_reset(rtc);
    CHECK(!irq8.level);
    CHECK_EQ(get(0x0b), 0x06); /* PIE, AIE, UIE, SQWE */
    CHECK_EQ(get(0x0c), 0);
    CHECK_EQ(get(0x40), 0x77);
    board_run_to(3000 * MS);
    CHECK(!irq8.level);
    teardown();
}

static void test_state(void)
{
    setup();
    put(0x40, 0x77);
    put(0x0b, 0x12);
    board_run_to(2500 * MS);
    get(0x0c);
    struct snapshot s = board_save();
    put(0x40, 0);
    put(0x0b, 0x82);
    irq8 = (struct wire){0};
    board_restore(s);
    CHECK_EQ(get(0x40), 0x77);
    CHECK_EQ(get(0), 0x52);
    board_run_to(3000 * MS);
    CHECK(irq8.level);
    CHECK_EQ(get(0), 0x53);
    /* Every single byte changed: refused, or loaded and then harmless. */
    s = board_save();
    for (size_t i = 0; i < s.len; i++) {
        u8 *copy = malloc(s.len);
        memcpy(copy, s.data, s.len);
        copy[i] ^= 0xff;
        if (state_set_load(board.state, copy, s.len, NULL) == 0) {
            CHECK(board_run_to(board_now() + 10 * MS) < 100);
            get(0), get(9), get(0x0c);
        }
        free(copy);
    }
    board_restore(s);
    teardown();
}

int main(void)
{
    TAP_RUN(test_calendar);
    TAP_RUN(test_date);
    TAP_RUN(test_century);
    TAP_RUN(test_formats);
    TAP_RUN(test_set);
    TAP_RUN(test_divider_reset);
    TAP_RUN(test_uip);
    TAP_RUN(test_update_interrupt);
    TAP_RUN(test_periodic);
    TAP_RUN(test_alarm);
    TAP_RUN(test_cmos);
    TAP_RUN(test_reset);
    TAP_RUN(test_state);
    return tap_done();
}
