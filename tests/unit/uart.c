/* The 16550A: registers, FIFOs, interrupts and their priorities, loopback, saved state. */
#include "device_fixture.h"
#include "devices/char/uart.h"

#define BASE 0x3f8
enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };

struct rig {
    struct fixture f;
    struct uart *uart;
    struct probe irq;
    u8 sent[64];
    unsigned sent_count, wanted;
};

static void rig_write(void *opaque, const u8 *buf, size_t n)
{
    struct rig *r = opaque;
    for (size_t i = 0; i < n && r->sent_count < sizeof r->sent; i++)
        r->sent[r->sent_count++] = buf[i];
}

static void rig_wanted(void *opaque)
{
    ((struct rig *)opaque)->wanted++;
}

static void rig_init(struct rig *r)
{
    memset(r, 0, sizeof *r);
    fixture_init(&r->f);
    struct uart_config config = {BASE, 0, probe_line(&r->irq), {rig_write, rig_wanted, r}};
    CHECK(uart_create(&r->uart, &r->f.env, &config, NULL) == 0);
}

static void rig_finish(struct rig *r)
{
    uart_destroy(r->uart);
    fixture_finish(&r->f);
}

static u8 rd(struct rig *r, unsigned reg)
{
    return in8(&r->f, (u16)(BASE + reg));
}

static void wr(struct rig *r, unsigned reg, u8 v)
{
    out8(&r->f, (u16)(BASE + reg), v);
}

static void test_registers(void)
{
    struct rig r;
    rig_init(&r);
    CHECK_EQ(rd(&r, IIR), 0x01);
    CHECK_EQ(rd(&r, LSR), 0x60);
    CHECK_EQ(rd(&r, MSR), 0xb0);
    wr(&r, SCR, 0xa5);
    CHECK_EQ(rd(&r, SCR), 0xa5);
    wr(&r, IER, 0xff);
    CHECK_EQ(rd(&r, IER), 0x0f);
    wr(&r, MCR, 0xff & ~0x10);
    CHECK_EQ(rd(&r, MCR), 0x0f);
    wr(&r, LCR, 0x83);
    wr(&r, DATA, 0x34);
    wr(&r, IER, 0x12);
    CHECK_EQ(rd(&r, DATA), 0x34);
    CHECK_EQ(rd(&r, IER), 0x12);
    wr(&r, LCR, 0x03);
    CHECK_EQ(rd(&r, IER), 0x0f);
    CHECK_EQ(r.sent_count, 0);
    /* A 16-bit access is two registers. */
    CHECK_EQ(port_read(r.f.mem, BASE + LCR, 2), 0x0f03);
    rig_finish(&r);
}

static void test_transmit(void)
{
    struct rig r;
    rig_init(&r);
    wr(&r, LCR, 0x03);
    wr(&r, DATA, 'A');
    CHECK_EQ(r.sent_count, 1);
    CHECK_EQ(r.sent[0], 'A');
    CHECK_EQ(rd(&r, LSR), 0x60);
    wr(&r, LCR, 0x00); /* five bits */
    wr(&r, DATA, 0xff);
    CHECK_EQ(r.sent[1], 0x1f);
    rig_finish(&r);
}

static void test_thre_interrupt(void)
{
    struct rig r;
    rig_init(&r);
    wr(&r, IER, 0x02);
    CHECK(!r.irq.level); /* OUT2 is off */
    wr(&r, MCR, 0x08);
    CHECK(r.irq.level);
    CHECK_EQ(rd(&r, IIR), 0x02);
    CHECK(!r.irq.level); /* reading IIR acknowledges */
    CHECK_EQ(rd(&r, IIR), 0x01);
    wr(&r, DATA, 'x');
    CHECK(r.irq.level);
    unsigned rises = r.irq.rises;
    for (int i = 0; i < 16; i++)
        wr(&r, DATA, 'y'); /* no edge per byte */
    CHECK_EQ(r.irq.rises, rises);
    rd(&r, IIR);
    wr(&r, IER, 0x00);
    wr(&r, IER, 0x02); /* enabling it raises it again */
    CHECK(r.irq.level);
    rig_finish(&r);
}

static void test_receive_16450(void)
{
    struct rig r;
    rig_init(&r);
    wr(&r, LCR, 0x03);
    wr(&r, MCR, 0x08);
    wr(&r, IER, 0x01);
    CHECK_EQ(uart_can_receive(r.uart), 1);
    uart_receive(r.uart, (const u8 *)"a", 1);
    CHECK(r.irq.level);
    CHECK_EQ(uart_can_receive(r.uart), 0);
    CHECK_EQ(r.wanted, 0);
    CHECK_EQ(rd(&r, IIR), 0x04);
    CHECK_EQ(rd(&r, LSR), 0x61);
    CHECK_EQ(rd(&r, DATA), 'a');
    CHECK_EQ(r.wanted, 1);
    CHECK(!r.irq.level);
    CHECK_EQ(rd(&r, LSR), 0x60);
    uart_receive(r.uart, (const u8 *)"bc", 2); /* overrun: the old one is destroyed */
    CHECK_EQ(rd(&r, LSR), 0x63);
    CHECK_EQ(rd(&r, LSR), 0x61);
    CHECK_EQ(rd(&r, DATA), 'c');
    rig_finish(&r);
}

static void test_fifo_trigger_and_timeout(void)
{
    struct rig r;
    rig_init(&r);
    wr(&r, LCR, 0x83);
    wr(&r, DATA, 1); /* 115200 baud: 10 bits are 86805 ns */
    wr(&r, IER, 0);
    wr(&r, LCR, 0x03);
    wr(&r, MCR, 0x08);
    wr(&r, IER, 0x01);
    wr(&r, IIR, 0x81); /* FIFO, trigger at 8 */
    CHECK_EQ(rd(&r, IIR), 0xc1);
    CHECK_EQ(uart_can_receive(r.uart), 16);
    uart_receive(r.uart, (const u8 *)"1234567", 7);
    CHECK(!r.irq.level);
    CHECK_EQ(loop_next_deadline(r.f.loop), 4 * 86805);
    fixture_advance_to(&r.f, 4 * 86805);
    CHECK(r.irq.level);
    CHECK_EQ(rd(&r, IIR), 0xcc);
    CHECK_EQ(rd(&r, DATA), '1'); /* a read ends the time-out and starts it again */
    CHECK(!r.irq.level);
    CHECK_EQ(loop_next_deadline(r.f.loop), 8 * 86805);
    uart_receive(r.uart, (const u8 *)"89", 2);
    CHECK_EQ(rd(&r, IIR), 0xc4);
    while (rd(&r, LSR) & 1)
        rd(&r, DATA);
    CHECK_EQ(loop_next_deadline(r.f.loop), ~0ull);
    uart_receive(r.uart, (const u8 *)"0123456789abcdefX", 17);
    CHECK_EQ(rd(&r, LSR), 0x63); /* overrun: the new one is lost */
    for (unsigned i = 0; i < 15; i++)
        rd(&r, DATA);
    CHECK_EQ(rd(&r, DATA), 'f');
    CHECK_EQ(rd(&r, LSR), 0x60);
    uart_receive(r.uart, (const u8 *)"zz", 2);
    wr(&r, IIR, 0x83); /* clear the receiver */
    CHECK_EQ(rd(&r, LSR), 0x60);
    rig_finish(&r);
}

static void test_line_status_priority(void)
{
    struct rig r;
    rig_init(&r);
    wr(&r, LCR, 0x03);
    wr(&r, MCR, 0x08);
    wr(&r, IIR, 0x01);
    wr(&r, IER, 0x0f);
    uart_receive(r.uart, (const u8 *)"q", 1);
    uart_receive_break(r.uart);
    CHECK_EQ(rd(&r, IIR), 0xc4); /* the break is not at the head yet */
    CHECK_EQ(rd(&r, LSR), 0xe1); /* but the FIFO has an error */
    CHECK_EQ(rd(&r, DATA), 'q');
    CHECK_EQ(rd(&r, IIR), 0xc6);
    CHECK_EQ(rd(&r, LSR), 0xf1);
    CHECK_EQ(rd(&r, IIR), 0xc4);
    CHECK_EQ(rd(&r, DATA), 0);
    CHECK_EQ(rd(&r, IIR), 0xc2);
    CHECK_EQ(rd(&r, IIR), 0xc1);
    rig_finish(&r);
}

static void test_loopback(void)
{
    struct rig r;
    rig_init(&r);
    wr(&r, LCR, 0x03);
    wr(&r, MCR, 0x1a);           /* loop, OUT2, RTS */
    CHECK_EQ(rd(&r, MSR), 0x92); /* CTS and DCD stay, DSR fell */
    wr(&r, MCR, 0x10);
    CHECK_EQ(rd(&r, MSR) & 0xf0, 0x00);
    wr(&r, MCR, 0x14);
    CHECK_EQ(rd(&r, MSR), 0x40); /* RI on: no trailing edge */
    wr(&r, MCR, 0x1f);
    CHECK_EQ(rd(&r, MSR), 0xfb);
    wr(&r, MCR, 0x10);
    CHECK_EQ(rd(&r, MSR), 0x0f); /* all changed, RI fell */
    CHECK_EQ(rd(&r, MSR), 0x00);
    wr(&r, DATA, 0x5a);
    CHECK_EQ(r.sent_count, 0);
    CHECK_EQ(uart_can_receive(r.uart), 0);
    CHECK_EQ(rd(&r, DATA), 0x5a);
    wr(&r, LCR, 0x43); /* break */
    CHECK_EQ(rd(&r, LSR), 0x71);
    wr(&r, IER, 0x08);
    wr(&r, MCR, 0x1b);
    CHECK(r.irq.level); /* modem status, by OUT2's own loop */
    CHECK_EQ(rd(&r, IIR), 0x00);
    rd(&r, MSR);
    CHECK(!r.irq.level);
    rig_finish(&r);
}

static void test_saved_state(void)
{
    struct rig a, b;
    u8 *buf;
    size_t len;
    struct error err;
    rig_init(&a);
    rig_init(&b);
    wr(&a, LCR, 0x03);
    wr(&a, MCR, 0x08);
    wr(&a, IIR, 0x41);
    wr(&a, IER, 0x05);
    wr(&a, SCR, 0x77);
    uart_receive(a.uart, (const u8 *)"xyz", 3);
    uart_receive_break(a.uart);
    CHECK(state_set_save(a.f.state, &buf, &len, &err) == 0);
    CHECK(state_set_load(b.f.state, buf, len, &err) == 0);
    CHECK_EQ(b.irq.level, a.irq.level);
    CHECK_EQ(loop_next_deadline(b.f.loop), loop_next_deadline(a.f.loop));
    CHECK_EQ(rd(&b, SCR), 0x77);
    CHECK_EQ(rd(&b, LSR), 0xe1);
    CHECK_EQ(rd(&b, DATA), 'x');
    free(buf);
    rig_finish(&a);
    rig_finish(&b);
}

int main(void)
{
    TAP_RUN(test_registers);
    TAP_RUN(test_transmit);
    TAP_RUN(test_thre_interrupt);
    TAP_RUN(test_receive_16450);
    TAP_RUN(test_fifo_trigger_and_timeout);
    TAP_RUN(test_line_status_priority);
    TAP_RUN(test_loopback);
    TAP_RUN(test_saved_state);
    return tap_done();
}
