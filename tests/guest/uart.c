/* The 16550A at COM1: identification, scratch, divisor latch, loop-back, FIFO and its trigger, line status,
 * interrupt sources and their priority. */
#include "apic.h"

#define UART 0x3f8
static u8 in(int r)
{
    return inb((u16)(UART + r));
}
static void out(int r, u8 v)
{
    outb((u16)(UART + r), v);
}
static volatile u32 irqs;
static volatile u8 iir;

static void on_irq(struct regs *r)
{
    irqs++;
    iir = in(2);
    pic_eoi(4);
}

int main(void)
{
    print_hold(true);
    while ((in(5) & 0x60) != 0x60)
        ;
    tsc_per_us();
    out(7, 0x5a);
    check_eq(in(7), 0x5a, "scratch register");
    out(1, 0xff);
    check_eq(in(1), 0x0f, "IER keeps four bits");
    out(1, 0);
    out(2, 0);
    check_eq(in(2) & 0xc0, 0, "IIR without FIFOs");
    out(2, 1);
    check_eq(in(2) & 0xc0, 0xc0, "IIR with FIFOs: a 16550A");
    out(3, 0x83);
    out(0, 0x34);
    out(1, 0x12);
    check_eq(in(0) | in(1) << 8, 0x1234, "divisor latch reads back");
    out(0, 1);
    out(1, 0);
    out(3, 3);
    check_eq(in(3), 3, "LCR reads back");
    check_eq(in(1), 0, "IER is behind the divisor latch again");
    check_eq(in(5) & 0x60, 0x60, "LSR: transmitter empty");

    /* loop-back: modem lines and data */
    static const u8 mcr[] = {0x10, 0x11, 0x12, 0x14, 0x18, 0x1f}, msr[] = {0, 0x20, 0x10, 0x40, 0x80, 0xf0};
    for (int i = 0; i < 6; i++) {
        out(4, mcr[i]);
        check_eq(in(6) & 0xf0, msr[i], "loop-back: MCR 0x%x", mcr[i]);
    }
    out(4, 0x10);
    in(6);
    out(4, 0x12);
    check_eq(in(6) & 0x0f, 1, "MSR: delta CTS");
    check_eq(in(6) & 0x0f, 0, "MSR: reading clears the deltas");
    out(4, 0x10);
    out(2, 7);
    in(6);
    check_eq(in(5) & 1, 0, "loop-back: no data yet");
    out(0, 0xa5);
    delay_us(2000);
    check_eq(in(5) & 1, 1, "loop-back: data ready");
    check_eq(in(0), 0xa5, "loop-back: the byte");
    check_eq(in(5) & 1, 0, "loop-back: empty again");
    for (u8 i = 0; i < 16; i++) {
        out(0, i);
        delay_us(200);
    }
    bool ok = true;
    for (u8 i = 0; i < 16; i++) {
        for (int n = 0; n < 1000 && !(in(5) & 1); n++)
            delay_us(10);
        ok = ok && in(0) == i;
    }
    check(ok, "16 bytes through the FIFO in order");
    for (u8 i = 0; i < 17; i++) {
        out(0, i);
        delay_us(200);
    }
    delay_us(1000);
    check_eq(in(5) & 2, 2, "LSR: overrun after 17 bytes");
    check_eq(in(5) & 2, 0, "LSR: reading clears the overrun");
    out(2, 3);
    check_eq(in(5) & 1, 0, "FCR clears the receive FIFO");

    /* interrupts, polled through IIR: receiver line status, data, time-out, THRE, modem status */
    out(1, 0);
    check_eq(in(2) & 0x0f, 1, "IIR: none pending");
    out(1, 2);
    check_eq(in(2) & 0x0f, 2, "IIR: THRE when it is switched on with an empty transmitter");
    check_eq(in(2) & 0x0f, 1, "IIR: reading THRE clears it");
    out(1, 0);
    out(1, 2);
    check_eq(in(2) & 0x0f, 2, "IIR: THRE again when switched off and on");
    out(1, 1);
    out(2, 0xc7); /* trigger level 14 */
    out(0, 1);
    delay_us(300);
    u8 now = in(2) & 0x0f;
    check(now == 1 || now == 0x0c, "IIR: one byte is below the trigger level");
    delay_us(20000);
    check_eq(in(2) & 0x0f, 0x0c, "IIR: character time-out");
    in(0);
    check_eq(in(2) & 0x0f, 1, "IIR: reading the byte clears the time-out");
    for (u8 i = 0; i < 14; i++) {
        out(0, i);
        delay_us(200);
    }
    delay_us(500);
    now = in(2) & 0x0f;
    check(now == 4 || now == 0x0c, "IIR: data at the trigger level (0x%x)", now);
    out(2, 7);
    check_eq(in(2) & 0x0f, 1, "IIR: none after the FIFO was cleared");
    out(1, 8);
    in(6);
    out(4, 0x11);
    check_eq(in(2) & 0x0f, 0, "IIR: modem status");
    in(6);
    check_eq(in(2) & 0x0f, 1, "IIR: reading MSR clears it");
    out(1, 5);
    for (u8 i = 0; i < 17; i++) {
        out(0, i);
        delay_us(200);
    }
    delay_us(1000);
    check_eq(in(2) & 0x0f, 6, "IIR: line status (overrun) comes first");
    in(5);
    check((in(2) & 0x0f) != 6, "IIR: reading LSR clears it");
    out(1, 0);
    out(2, 7);

    /* the line: IRQ 4, gated by OUT2 outside loop-back */
    lapic_write(LAPIC_SVR, 0x1ff);
    lapic_write(LAPIC_LVT_LINT0, 0x700);
    trap_handle(0x24, on_irq);
    out(4, 0x03);
    pic_init(0xef, 0xff);
    irq_on();
    out(1, 2);
    delay_us(2000);
    out(1, 0);
    u32 without = irqs;
    out(4, 0x0b);
    irqs = 0;
    out(1, 2);
    wait_for(&irqs, 1, 1000000);
    u32 with = irqs;
    u8 cause = iir;
    out(1, 0);
    irq_off();
    out(4, 3);
    outb(0x21, 0xff);
    print_hold(false);
    check_eq(with, 1, "THRE raises IRQ 4");
    check_eq(cause & 0x0f, 2, "IIR in the handler");
    check_eq(without, 0, "OUT2 gates IRQ 4");
    return 0;
}
