/* The 8259 pair, driven by the PIT (IRQ 0), the RTC (IRQ 8) and the UART (IRQ 4): initialisation, masks,
 * priorities, EOI modes, rotation, special mask, poll, ELCR, cascade, spurious IRQ 7 and 15. */
#include "apic.h"

static volatile u32 seen[16], total;

static void on_irq(struct regs *r)
{
    seen[r->vector - 0x20]++;
    total++;
    if (r->vector == 0x28) { /* RTC: reading C makes it let go */
        outb(0x70, 0x0c);
        inb(0x71);
    }
    if (r->vector == 0x24)
        inb(0x3f8 + 2);
    pic_eoi((int)r->vector - 0x20);
}

static volatile u32 order[8], depth;
static void on_irq_no_eoi(struct regs *r)
{
    if (depth < 8)
        order[depth++] = (u32)r->vector - 0x20;
}

static u8 ocw3(u16 port, u8 command)
{
    outb(port, command);
    return inb(port);
}
static u8 irr(u16 port)
{
    return ocw3(port, 0x0a);
}
static u8 isr(u16 port)
{
    return ocw3(port, 0x0b);
}

/* Edges on IRQ 0: PIT mode 0 with a short count goes high at its end. */
static void pit_edge(void)
{
    outb(0x43, 0x30); /* mode 0: the output goes low now */
    outb(0x40, 20);
    outb(0x40, 0);
    for (u64 end = time_us() + 1000000; !(irr(0x20) & 1) && time_us() < end;) /* a busy host may be late */
        ;
}

/* An edge on IRQ 4: the UART's THRE interrupt is switched on with its transmitter empty. */
static void uart_edge(void)
{
    while ((inb(0x3f8 + 5) & 0x60) != 0x60)
        ;
    outb(0x3f8 + 1, 0);
    inb(0x3f8 + 2);
    outb(0x3f8 + 4, 0x0b); /* OUT2 gates the interrupt line */
    outb(0x3f8 + 1, 2);
}
static void uart_quiet(void)
{
    outb(0x3f8 + 1, 0);
}

/* An edge on IRQ 8: the RTC's update-ended interrupt would take a second; its periodic one, 8192 Hz, does
 * not. */
static void rtc_on(void)
{
    outb(0x70, 0x0a);
    outb(0x71, 0x23);
    outb(0x70, 0x0b);
    outb(0x71, 0x42);
    outb(0x70, 0x0c);
    inb(0x71);
}
static void rtc_off(void)
{
    outb(0x70, 0x0b);
    outb(0x71, 0x02);
    outb(0x70, 0x0c);
    inb(0x71);
}

static void restart(u8 master_mask, u8 slave_mask)
{
    pic_init(master_mask, slave_mask);
    for (int i = 0; i < 16; i++)
        seen[i] = 0;
    total = depth = 0;
}

static void handlers(trap_handler fn)
{
    for (int v = 0x20; v < 0x30; v++)
        trap_handle(v, fn);
}

int main(void)
{
    /* the local APIC passes the 8259's INTR through: virtual wire */
    lapic_write(LAPIC_SVR, 0x1ff);
    lapic_write(LAPIC_LVT_LINT0, 0x700);
    rtc_off();
    handlers(on_irq);
    print_hold(true); /* output would raise IRQ 4 */

    restart(0xfb, 0xfd);
    check_eq(inb(0x21), 0xfb, "master mask reads back");
    check_eq(inb(0xa1), 0xfd, "slave mask reads back");
    restart(0xfe, 0xff);
    check_eq(isr(0x20) | isr(0xa0) << 8, 0, "nothing in service after initialisation");
    pit_edge();
    check_eq(irr(0x20) & 1, 1, "IRR shows the edge");
    irq_window();
    check_eq(seen[0], 1, "IRQ 0 arrives as vector 0x20");
    check_eq(irr(0x20) & 1, 0, "IRR is clear after the acknowledge");
    irq_window();
    check_eq(total, 1, "and only once");

    /* mask: kept in IRR */
    restart(0xff, 0xff);
    pit_edge();
    irq_window();
    check_eq(total, 0, "a masked IRQ stays out");
    outb(0x21, 0xfe);
    irq_window();
    check_eq(seen[0], 1, "and comes when unmasked");
    /* initialisation clears the edge detector: an input that stays high does not interrupt again */
    restart(0xfe, 0xff);
    irq_window();
    check_eq(total, 0, "ICW1 forgets a pending edge");

    /* priorities: IRQ 0 before IRQ 4; ISR blocks lower ones until EOI */
    handlers(on_irq_no_eoi);
    restart(0xee, 0xff);
    uart_edge();
    pit_edge();
    irq_window();
    check_eq(depth << 8 | order[0], 0x100, "IRQ 0 before IRQ 4, which waits for its EOI");
    check_eq(isr(0x20), 1, "ISR: IRQ 0");
    outb(0x20, 0x20);
    check_eq(isr(0x20), 0, "nonspecific EOI clears the ISR bit");
    irq_window();
    check_eq(order[1], 4, "IRQ 4 follows");
    /* a higher one interrupts a lower one's service */
    pit_edge();
    irq_window();
    check_eq(depth << 8 | order[2], 0x300, "IRQ 0 during IRQ 4's service");
    check_eq(isr(0x20), 0x11, "ISR: both");
    outb(0x20, 0x20);
    check_eq(isr(0x20), 0x10, "nonspecific EOI takes the highest");
    outb(0x20, 0x64);
    check_eq(isr(0x20), 0, "specific EOI");
    uart_quiet();

    /* special mask mode: the ISR bit of a masked IRQ blocks nobody */
    restart(0xee, 0xff);
    pit_edge();
    irq_window();
    uart_edge();
    irq_window();
    check_eq(depth, 1, "IRQ 4 waits behind IRQ 0");
    outb(0x20, 0x68);
    outb(0x21, 0xef);
    irq_window();
    check_eq(depth << 8 | order[1], 0x204, "special mask mode: IRQ 0 masked, IRQ 4 comes through");
    outb(0x20, 0x48);
    outb(0x20, 0x60);
    outb(0x20, 0x64);
    check_eq(isr(0x20), 0, "both ended");
    uart_quiet();

    /* rotation: after a rotating EOI of IRQ 0 it has the lowest priority */
    restart(0xee, 0xff);
    pit_edge();
    irq_window();
    outb(0x20, 0xa0);
    uart_edge();
    pit_edge();
    irq_window();
    check_eq(order[1], 4, "rotate on EOI: IRQ 4 now before IRQ 0");
    outb(0x20, 0x20);
    irq_window();
    check_eq(order[2], 0, "then IRQ 0");
    outb(0x20, 0x20);
    uart_quiet();
    /* set priority: IRQ 3 lowest, so IRQ 4 highest */
    restart(0xee, 0xff);
    outb(0x20, 0xc3);
    uart_edge();
    pit_edge();
    irq_window();
    check_eq(order[0], 4, "set priority: IRQ 4 first");
    uart_quiet();

    /* automatic EOI */
    outb(0x20, 0x11);
    outb(0x21, 0x20);
    outb(0x21, 4);
    outb(0x21, 3);
    outb(0x21, 0xfe);
    depth = 0;
    pit_edge();
    irq_window();
    check_eq(depth, 1, "automatic EOI: the interrupt came");
    check_eq(isr(0x20), 0, "automatic EOI: nothing in service");

    /* poll mode */
    restart(0xfe, 0xff);
    outb(0x20, 0x0c);
    check_eq(inb(0x20) & 0x80, 0, "poll: nothing");
    pit_edge();
    outb(0x20, 0x0c);
    check_eq(inb(0x20), 0x80, "poll: IRQ 0");
    check_eq(isr(0x20), 1, "poll acknowledges");
    outb(0x20, 0x20);

    /* cascade: IRQ 8 through IRQ 2 */
    restart(0xfb, 0xfe);
    rtc_on();
    for (u64 end = time_us() + 1000000; !(irr(0xa0) & 1) && time_us() < end;)
        ;
    check_eq(irr(0xa0) & 1, 1, "slave IRR: IRQ 8");
    check_eq(irr(0x20) & 4, 4, "master IRR: IRQ 2");
    irq_window();
    check_eq(depth << 8 | order[0], 0x108, "IRQ 8 arrives as vector 0x28");
    check_eq(isr(0x20) | isr(0xa0) << 8, 0x104, "both ISRs");
    outb(0xa0, 0x20);
    check_eq(isr(0x20) | isr(0xa0) << 8, 0x004, "the slave's EOI leaves the master's");
    outb(0x20, 0x62);
    rtc_off();
    /* many through both */
    handlers(on_irq);
    restart(0xfb, 0xfe);
    rtc_on();
    irq_on();
    check(wait_for(&seen[8], 20, 1000000), "the RTC's IRQ 8 keeps coming");
    irq_off();
    rtc_off();
    check_eq(total, seen[8], "and nothing else");

    /* spurious: the request vanishes between INTR and the acknowledge: level-triggered IRQ 4 that goes away
     */
    handlers(on_irq_no_eoi);
    restart(0xef, 0xff);
    outb(0x4d0, 0x10);
    check_eq(inb(0x4d0), 0x10, "ELCR reads back");
    uart_edge();
    check_eq(irr(0x20) & 0x10, 0x10, "level-triggered IRQ 4 is requested");
    uart_quiet();
    delay_us(10);
    check_eq(irr(0x20) & 0x10, 0, "and is withdrawn with its line");
    uart_edge();
    irq_window();
    check_eq(depth << 8 | order[0], 0x104, "level-triggered IRQ 4 arrives");
    outb(0x20, 0x64);
    irq_window();
    check_eq(depth, 2, "and again while the line stays up");
    uart_quiet();
    outb(0x20, 0x64);
    irq_window();
    check_eq(depth, 2, "and no more when it is down");
    outb(0x4d0, 0);
    outb(0x4d0, 0xff);
    outb(0x4d1, 0xff);
    check_eq(inb(0x4d0) | inb(0x4d1) << 8, 0xdef8, "ELCR: IRQ 0, 1, 2, 8 and 13 stay edge");
    outb(0x4d0, 0);
    outb(0x4d1, 0);

    /* a poll without request, and ICW2's low three bits are ignored */
    outb(0x20, 0x11);
    outb(0x21, 0x47);
    outb(0x21, 4);
    outb(0x21, 1);
    outb(0x21, 0xfe);
    static volatile u32 *d = &depth;
    trap_handle(0x40, on_irq_no_eoi);
    *d = 0;
    pit_edge();
    irq_window();
    check_eq(depth << 8 | (order[0] & 0xff), 0x120, "ICW2 0x47: IRQ 0 is vector 0x40");
    pic_init(0xff, 0xff);
    return 0;
}
