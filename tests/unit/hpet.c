/* The HPET, against the IA-PC HPET specification 1.0a. */
#include "devices/timer/hpet.h"

#include "tests/chips.h"

enum { IRQ0 = 40, IRQ8 = 41 };

enum { ID = 0, CONF = 0x10, STATUS = 0x20, COUNTER = 0xf0 };
#define TN_CONF(n) (0x100 + 0x20 * (n))
#define TN_CMP(n)  (0x108 + 0x20 * (n))
#define TN_FSB(n)  (0x110 + 0x20 * (n))

static struct hpet *hpet;
static struct wire wires[42];
static unsigned msi_count;
static u64 msi_address;
static u32 msi_data;

static bool take_msi(void *opaque, u32 source, u64 address, u32 data)
{
    msi_count++;
    msi_address = address;
    msi_data = data;
    return true;
}

static void setup(void)
{
    board_setup();
    memset(wires, 0, sizeof wires);
    msi_count = 0;
    struct hpet_config config = {.legacy = {wire_line(wires, IRQ0), wire_line(wires, IRQ8)},
                                 .pin_mask = 0x00f00000,
                                 .msi = {take_msi, NULL}};
    for (unsigned n = 0; n < HPET_PINS; n++)
        config.pin[n] = wire_line(wires, n);
    CHECK(hpet_create(&hpet, &board.env, &config, NULL) == 0);
}

static void teardown(void)
{
    hpet_destroy(hpet);
    board_teardown();
}

static u64 get(unsigned reg)
{
    return mem_read(board.mem, HPET_BASE + reg, 8);
}

static u32 get32(unsigned reg)
{
    return (u32)mem_read(board.mem, HPET_BASE + reg, 4);
}

static void put(unsigned reg, u64 value)
{
    mem_write(board.mem, HPET_BASE + reg, 8, value);
}

static void put32(unsigned reg, u32 value)
{
    mem_write(board.mem, HPET_BASE + reg, 4, value);
}

/* To the moment when the counter, started at time 0, shows `ticks`. */
static unsigned to_tick(u64 ticks)
{
    return board_run_to(ticks * 10);
}

static void test_identity(void)
{
    setup();
    CHECK_EQ(get(ID), 0x009896808086a201); /* 10^7 fs, Intel, legacy, 64 bits, three timers, revision 1 */
    CHECK_EQ(get32(ID), HPET_ID);
    CHECK_EQ(get32(ID + 4), 10000000);
    put(ID, 0);
    CHECK_EQ(get32(ID), HPET_ID);
    for (unsigned n = 0; n < 3; n++) {
        CHECK_EQ(get(TN_CONF(n)), 0x00f0000000008030 | 20 << 9);
        CHECK_EQ(get(TN_CMP(n)), ~0ull);
    }
    CHECK_EQ(get(TN_CONF(3)), 0);
    CHECK_EQ(get(CONF) | get(STATUS) | get(COUNTER), 0);
    /* Routes that are not in the capability cannot be set. */
    put(TN_CONF(1), 23 << 9);
    CHECK_EQ(get32(TN_CONF(1)) >> 9 & 31, 23);
    put(TN_CONF(1), 2 << 9);
    CHECK_EQ(get32(TN_CONF(1)) >> 9 & 31, 23);
    teardown();
}

static void test_counter(void)
{
    setup();
    board_run_to(5000);
    CHECK_EQ(get(COUNTER), 0);
    put(COUNTER, 0x1fffffff0);
    CHECK_EQ(get(COUNTER), 0x1fffffff0);
    put(CONF, 1);
    board_run_to(5000 + 320);
    CHECK_EQ(get(COUNTER), 0x200000010);
    CHECK_EQ(get32(COUNTER), 0x10);
    CHECK_EQ(get32(COUNTER + 4), 2);
    put(CONF, 0);
    board_run_to(1000000);
    CHECK_EQ(get(COUNTER), 0x200000010);
    put32(COUNTER + 4, 7);
    CHECK_EQ(get(COUNTER), 0x700000010);
    put(COUNTER, ~0ull);
    put(CONF, 1);
    board_run_to(1000020);
    CHECK_EQ(get(COUNTER), 1);
    teardown();
}

static void test_one_shot(void)
{
    setup();
    put(TN_CONF(0), 4 | 21 << 9);
    put(TN_CMP(0), 5000);
    put(CONF, 1);
    to_tick(4999);
    CHECK(!wires[21].level);
    to_tick(5000);
    CHECK_EQ(wires[21].rises, 1);
    CHECK_EQ(get(STATUS), 0); /* edge: no status */
    CHECK_EQ(to_tick(1000000), 0);
    CHECK_EQ(get(TN_CMP(0)), 5000);
    put(TN_CMP(0), 1000500);
    to_tick(1000500);
    CHECK_EQ(wires[21].rises, 2);
    put(TN_CMP(0), 1000500); /* the present matches */
    CHECK_EQ(wires[21].rises, 3);
    put(TN_CMP(0), 1000499); /* the past does not: 64 bits take a while */
    CHECK_EQ(to_tick(100000000), 0);
    CHECK_EQ(wires[21].rises, 3);
    /* A counter that wraps. */
    put(COUNTER, -1000ull);
    put(TN_CMP(0), 1000);
    to_tick(100001999);
    CHECK_EQ(wires[21].rises, 3);
    to_tick(100002000);
    CHECK_EQ(wires[21].rises, 4);
    teardown();
}

static void test_32bit(void)
{
    setup();
    put(TN_CONF(2), 4 | 0x100 | 20 << 9);
    put(TN_CMP(2), 0x300001000); /* the upper half does not exist */
    CHECK_EQ(get(TN_CMP(2)), 0x1000);
    put32(TN_CMP(2) + 4, 7);
    CHECK_EQ(get(TN_CMP(2)), 0x1000);
    put(CONF, 1);
    to_tick(0x1000);
    CHECK_EQ(wires[20].rises, 1);
    to_tick(0x100000fff);
    CHECK_EQ(wires[20].rises, 1);
    to_tick(0x100001000); /* again whenever the lower half comes round */
    CHECK_EQ(wires[20].rises, 2);
    put32(TN_CMP(2), 0xfff);
    to_tick(0x200000fff);
    CHECK_EQ(wires[20].rises, 3);
    teardown();
}

static void test_level(void)
{
    setup();
    put(TN_CONF(1), 2 | 4 | 22 << 9);
    put(TN_CMP(1), 1000);
    put(CONF, 1);
    to_tick(1000);
    CHECK(wires[22].level);
    CHECK_EQ(get(STATUS), 2);
    put(STATUS, 1); /* another's bit */
    CHECK(wires[22].level);
    put(STATUS, 2);
    CHECK(!wires[22].level);
    CHECK_EQ(get(STATUS), 0);
    /* The status is kept without the interrupt, which comes with its enabling. */
    put(TN_CONF(1), 2 | 22 << 9);
    put(TN_CMP(1), 2000);
    to_tick(3000);
    CHECK_EQ(get(STATUS), 2);
    CHECK(!wires[22].level);
    put(TN_CONF(1), 2 | 4 | 23 << 9);
    CHECK(wires[23].level);
    put(TN_CONF(1), 2 | 4 | 22 << 9); /* the line moves */
    CHECK(wires[22].level && !wires[23].level);
    put(CONF, 0);
    CHECK(!wires[22].level);
    put(CONF, 1);
    CHECK(wires[22].level);
    put(TN_CONF(1), 4 | 22 << 9); /* edge: no status any more */
    CHECK_EQ(get(STATUS), 0);
    teardown();
}

static void test_periodic(void)
{
    setup();
    /* Linux's way: set the accumulator, then the period. */
    put(TN_CONF(0), 4 | 8 | 0x40 | 20 << 9);
    CHECK(!(get(TN_CONF(0)) & 0x40));
    put(TN_CMP(0), 50000);
    put(TN_CMP(0), 100000);
    CHECK_EQ(get(TN_CMP(0)), 50000);
    put(CONF, 1);
    to_tick(49999);
    CHECK_EQ(wires[20].rises, 0);
    to_tick(50000);
    CHECK_EQ(wires[20].rises, 1);
    CHECK_EQ(get(TN_CMP(0)), 150000);
    to_tick(100050000);
    CHECK_EQ(wires[20].rises, 1001);
    board_jump_to(1000500000 + 10000 * 1000); /* a late host: one, and the phase stays */
    CHECK_EQ(wires[20].rises, 1002);
    CHECK_EQ(get(TN_CMP(0)), 101150000);
    put(TN_CMP(0), 7); /* period only; the next match stays */
    CHECK_EQ(get(TN_CMP(0)), 101150000);
    CHECK(board_run_to(board_now() + NS_PER_SEC) <= 50001); /* 70 ns: the host survives */
    put(TN_CMP(0), 0);                                      /* no period: the comparator stays */
    u64 cmp = get(TN_CMP(0));
    board_run_to(board_now() + NS_PER_SEC);
    CHECK_EQ(get(TN_CMP(0)), cmp);
    teardown();
}

static void test_periodic_32bit(void)
{
    setup();
    put(COUNTER, 0xffffff00);
    put(TN_CONF(0), 4 | 8 | 0x40 | 0x100 | 20 << 9);
    put32(TN_CMP(0), 0xffffff80);
    put32(TN_CMP(0), 0x1000);
    put(CONF, 1);
    to_tick(0x80);
    CHECK_EQ(wires[20].rises, 1);
    CHECK_EQ(get(TN_CMP(0)), 0xf80); /* wraps with the counter */
    to_tick(0x107f);
    CHECK_EQ(wires[20].rises, 1);
    to_tick(0x1080);
    CHECK_EQ(wires[20].rises, 2);
    teardown();
}

static void test_legacy(void)
{
    setup();
    struct irq_line pit = hpet_legacy_line(hpet, 0), rtc = hpet_legacy_line(hpet, 1);
    irq_set(&pit, true);
    CHECK(wires[IRQ0].level);
    irq_set(&rtc, true);
    CHECK(wires[IRQ8].level);
    put(TN_CONF(0), 4 | 20 << 9);
    put(TN_CMP(0), 1000);
    put(TN_CONF(1), 2 | 4 | 20 << 9);
    put(TN_CMP(1), 2000);
    put(CONF, 2); /* not without ENABLE_CNF */
    CHECK(wires[IRQ0].level && wires[IRQ8].level);
    put(CONF, 3);
    CHECK(!wires[IRQ0].level && !wires[IRQ8].level);
    irq_set(&pit, false);
    irq_set(&pit, true);
    CHECK(!wires[IRQ0].level);
    to_tick(2000);
    CHECK(wires[IRQ0].level && wires[IRQ8].level && !wires[20].rises);
    put(STATUS, 2);
    CHECK(!wires[IRQ8].level);
    irq_set(&rtc, false);
    put(CONF, 1);
    CHECK(wires[IRQ0].level && !wires[IRQ8].level);
    irq_set(&pit, false);
    CHECK(!wires[IRQ0].level);
    teardown();
}

static void test_msi(void)
{
    setup();
    put(TN_FSB(0), 0xfee0100000004041);
    put(TN_CONF(0), 4 | 0x4000 | 20 << 9);
    put(TN_CMP(0), 1000);
    put(CONF, 1);
    to_tick(1000);
    CHECK_EQ(msi_count, 1);
    CHECK_EQ(msi_address, 0xfee01000);
    CHECK_EQ(msi_data, 0x4041);
    CHECK_EQ(wires[20].rises, 0);
    put32(TN_FSB(0), 0x55);
    CHECK_EQ(get(TN_FSB(0)), 0xfee0100000000055);
    teardown();
}

static void test_state(void)
{
    setup();
    put(TN_CONF(0), 4 | 8 | 0x40 | 20 << 9);
    put(TN_CMP(0), 50000);
    put(TN_CMP(0), 100000);
    put(TN_CONF(1), 2 | 4 | 22 << 9);
    put(TN_CMP(1), 1000);
    put(CONF, 1);
    to_tick(60000);
    struct snapshot s = board_save();
    hpet_reset(hpet);
    CHECK_EQ(get(COUNTER), 0);
    memset(wires, 0, sizeof wires);
    board_restore(s);
    CHECK_EQ(get(COUNTER), 60000);
    CHECK_EQ(get(STATUS), 2);
    CHECK_EQ(wires[22].rises, 0); /* restoring drives no line */
    to_tick(150000);
    CHECK_EQ(wires[20].rises, 1);
    s = board_save();
    for (size_t i = 0; i < s.len; i++) {
        u8 *copy = malloc(s.len);
        memcpy(copy, s.data, s.len);
        copy[i] ^= 0xff;
        if (state_set_load(board.state, copy, s.len, NULL) == 0) {
            CHECK(board_run_to(board_now() + 1000000) < 1000);
            for (unsigned n = 0; n < 3; n++)
                get(TN_CMP(n));
            put(STATUS, 7);
        }
        free(copy);
    }
    board_restore(s);
    teardown();
}

int main(void)
{
    TAP_RUN(test_identity);
    TAP_RUN(test_counter);
    TAP_RUN(test_one_shot);
    TAP_RUN(test_32bit);
    TAP_RUN(test_level);
    TAP_RUN(test_periodic);
    TAP_RUN(test_periodic_32bit);
    TAP_RUN(test_legacy);
    TAP_RUN(test_msi);
    TAP_RUN(test_state);
    return tap_done();
}
