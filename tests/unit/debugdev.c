/* The debug-exit port, the firmware's debug port and the test device. */
#include "device_fixture.h"
#include "devices/debug/debug_console.h"
#include "devices/debug/debug_exit.h"
#include "devices/debug/testdev.h"

static void note_exit(void *opaque, u32 value)
{
    *(u64 *)opaque = value | 1ull << 32;
}

/* A line is a message, without what a terminal might obey; what is left at the end is one too. */
static void test_debug_console(void)
{
    struct fixture f;
    struct debug_console *dev;
    struct log log;
    char text[128] = "";
    fixture_init(&f);
    log_init(&log);
    log.out = tmpfile();
    log.topics = BIT(TRACE_FIRMWARE);
    f.env.log = &log;
    CHECK(debug_console_create(&dev, &f.env, 0x402, NULL) == 0);
    CHECK_EQ(port_read(f.mem, 0x402, 1), 0xe9);
    for (const char *p = "one\r\n\x1b[Jtwo\n\nthree"; *p; p++)
        port_write(f.mem, 0x402, 1, (u8)*p);
    debug_console_destroy(dev);
    debug_console_destroy(NULL);
    rewind(log.out);
    CHECK(fread(text, 1, sizeof text - 1, log.out) > 0);
    CHECK_STR(text, "ring3: firmware: one\nring3: firmware: .[Jtwo\nring3: firmware: three\n");
    fclose(log.out);
    fixture_finish(&f);
}

static void test_debug_exit(void)
{
    struct fixture f;
    struct debug_exit *dev;
    u64 seen = 0;
    struct debug_exit_config config = {0xf4, note_exit, &seen};
    fixture_init(&f);
    CHECK(debug_exit_create(&dev, &f.env, &config, NULL) == 0);
    CHECK_EQ(port_read(f.mem, 0xf4, 1), 0);
    CHECK_EQ(seen, 0);
    port_write(f.mem, 0xf4, 4, 0x12345678);
    CHECK_EQ(seen, 0x112345678);
    port_write(f.mem, 0xf4, 1, 0);
    CHECK_EQ(seen, 0x100000000);
    debug_exit_destroy(dev);
    debug_exit_destroy(NULL);
    CHECK_EQ(port_read(f.mem, 0xf4, 1), 0xff);
    fixture_finish(&f);
}

static void test_ports(void)
{
    struct fixture f;
    struct testdev *dev;
    struct irq_line lines[TESTDEV_LINES] = {{0}};
    fixture_init(&f);
    CHECK(testdev_create(&dev, &f.env, lines, NULL) == 0);
    port_write(f.mem, 0xe0, 4, 0x11223344);
    CHECK_EQ(port_read(f.mem, 0xe0, 4), 0x11223344);
    CHECK_EQ(port_read(f.mem, 0xe1, 2), 0x2233);
    port_write(f.mem, 0xe0, 2, 0x9999);
    CHECK_EQ(port_read(f.mem, 0xe8, 4), 0x11229999);
    port_write(f.mem, 0xe9, 1, 0x77);
    CHECK_EQ(port_read(f.mem, 0xe0, 2), 0x7799);
    port_write(f.mem, 0xe4, 4, 0x1000);
    CHECK_EQ(port_read(f.mem, 0xe0, 4), 0x11227799);
    testdev_destroy(dev);
    fixture_finish(&f);
}

static void test_lines_and_memory(void)
{
    struct fixture f;
    struct testdev *dev;
    struct probe probes[TESTDEV_LINES] = {{0}};
    struct irq_line lines[TESTDEV_LINES];
    struct error err;
    u8 *buf;
    size_t len;
    for (unsigned i = 0; i < TESTDEV_LINES; i++)
        lines[i] = probe_line(&probes[i]);
    fixture_init(&f);
    CHECK(testdev_create(&dev, &f.env, lines, NULL) == 0);
    port_write(f.mem, 0x200e, 1, 1);
    CHECK(probes[14].level);
    port_write(f.mem, 0x2017, 1, 1);
    CHECK(probes[23].level);
    port_write(f.mem, 0x2018, 1, 1); /* nothing there */
    mem_write(f.mem, 0xff000000, 8, 0x1122334455667788);
    CHECK_EQ(mem_read(f.mem, 0xff000003, 2), 0x4455);
    mem_write(f.mem, 0xff00ffff, 1, 0xab);
    CHECK_EQ(mem_read(f.mem, 0xff00ffff, 1), 0xab);
    CHECK_EQ(mem_read(f.mem, 0xff00ffff, 2), 0xffab); /* runs over the end */
    CHECK(state_set_save(f.state, &buf, &len, &err) == 0);
    testdev_reset(dev);
    CHECK(!probes[14].level && !probes[23].level);
    CHECK_EQ(mem_read(f.mem, 0xff000000, 8), 0);
    CHECK(state_set_load(f.state, buf, len, &err) == 0);
    CHECK(probes[14].level && probes[23].level && !probes[13].level);
    CHECK_EQ(mem_read(f.mem, 0xff000000, 8), 0x1122334455667788);
    free(buf);
    testdev_destroy(dev);
    testdev_destroy(NULL);
    fixture_finish(&f);
}

int main(void)
{
    TAP_RUN(test_debug_exit);
    TAP_RUN(test_debug_console);
    TAP_RUN(test_ports);
    TAP_RUN(test_lines_and_memory);
    return tap_done();
}
