/*
 * The I/O APIC, driven by the PIT (GSI 2), the UART (GSI 4), the HPET: edge and level, mask, remote
 * IRR, polarity, destinations.
 */
/* ## cpus: 2 */
#include "apic.h"

static volatile u32 hits[2], stop, ready, eoi_off, level_limit;

static void on_irq(struct regs *r)
{
    hits[smp_cpu()]++;
    if (level_limit != 0 && hits[0] == level_limit)
        outb(0x3f8 + 1, 0); /* the line goes down: else nothing but this handler would run */
    if (!eoi_off)
        lapic_eoi();
}

static void other_cpu(int cpu)
{
    lapic_write(LAPIC_DFR, 0xffffffff);
    lapic_write(LAPIC_LDR, 2u << 24);
    ready = 1;
    while (!stop)
        asm volatile("sti\n\tnop\n\tpause\n\tcli" ::: "memory");
}

static void pit_edge(void)
{
    outb(0x43, 0x30);
    outb(0x40, 20);
    outb(0x40, 0);
    delay_us(30000); /* a busy host may be late */
}

static void uart_up(void)
{
    while ((inb(0x3f8 + 5) & 0x60) != 0x60)
        ;
    outb(0x3f8 + 1, 0);
    inb(0x3f8 + 2);
    outb(0x3f8 + 4, 0x0b);
    outb(0x3f8 + 1, 2);
}
static void uart_down(void)
{
    outb(0x3f8 + 1, 0);
}

/* Lets interrupts in until CPU 0 has taken `want`, and a little longer. */
static void window_for(u32 want)
{
    irq_on();
    wait_for(&hits[0], want, 1000000);
    delay_us(2000);
    irq_off();
}
static void window(void)
{
    window_for(0);
}

int main(void)
{
    u32 version = ioapic_read(1);
    check_eq(version >> 16 & 0xff, 23, "24 pins");
    check_range(version & 0xff, 0x11, 0x20, "version");
    ioapic_write(0, 0x05000000);
    check_eq(ioapic_read(0) >> 24 & 0xf, 5, "the ID is writable");
    ioapic_write(0, 0);
    print_hold(true); /* output would raise GSI 4 */
    lapic_enable();
    trap_handle(0x50, on_irq);
    check_eq((u64)smp_start(other_cpu, 2), 2, "two CPUs");
    wait_for(&ready, 1, 1000000);
    lapic_write(LAPIC_DFR, 0xffffffff);
    lapic_write(LAPIC_LDR, 1u << 24);
    u32 id0 = smp_apic_ids[0], id1 = smp_apic_ids[1];

    /* every pin's entry holds what is written, read-only bits apart */
    bool held = true;
    for (int pin = 0; pin < 24; pin++) {
        ioapic_pin_set(pin, 0x1af00 | (u32)pin, (u32)pin << 24);
        held = held && (ioapic_read(0x10 + (u32)pin * 2) & ~0x5000u) == (0x1af00u | (u32)pin) &&
               ioapic_read(0x11 + (u32)pin * 2) >> 24 == (u32)pin;
        ioapic_pin_set(pin, 0x10000, 0);
    }
    check(held, "24 redirection entries hold their bits");
    ioapic_pin_set(5, 0x15000 | 0x50, 0);
    check_eq(ioapic_read(0x10 + 10) & 0x5000, 0, "delivery status and remote IRR are read-only");
    ioapic_pin_set(5, 0x10000, 0);

    /* edge: GSI 2 is the PIT */
    ioapic_pin_set(2, 0x50, id0 << 24);
    pit_edge();
    window_for(1);
    check_eq(hits[0], 1, "edge: one interrupt");
    window();
    check_eq(hits[0], 1, "edge: and only one");
    ioapic_pin_set(2, 0x10050, id0 << 24);
    pit_edge();
    window();
    check_eq(hits[0], 1, "masked edge: none");
    ioapic_pin_set(2, 0x50, id0 << 24);
    window();
    check_eq(hits[0], 1, "an edge while masked is lost");
    /* destinations */
    ioapic_pin_set(2, 0x50, id1 << 24);
    pit_edge();
    check(wait_for(&hits[1], 1, 1000000), "physical destination: CPU 1");
    check_eq(hits[0], 1, "and not CPU 0");
    ioapic_pin_set(2, 0x850, 2u << 24);
    pit_edge();
    check(wait_for(&hits[1], 2, 1000000), "logical destination: CPU 1");
    ioapic_pin_set(2, 0x850, 3u << 24);
    pit_edge();
    window_for(2);
    check(wait_for(&hits[1], 3, 1000000), "logical destination, both: CPU 1");
    check_eq(hits[0], 2, "logical destination, both: CPU 0");
    ioapic_pin_set(2, 0x950, 3u << 24);
    u32 before = hits[0] + hits[1];
    pit_edge();
    window();
    delay_us(20000);
    check_eq(hits[0] + hits[1] - before, 1, "lowest priority: exactly one");
    ioapic_pin_set(2, 0x10000, 0);

    /* level: GSI 4, the UART; remote IRR until EOI; again while the line is up */
    hits[0] = 0;
    eoi_off = 1;
    ioapic_pin_set(4, 0x8050, id0 << 24);
    check_eq(ioapic_read(0x18) & 0x4000, 0, "level: remote IRR clear");
    uart_up();
    window_for(1);
    check_eq(hits[0], 1, "level: an interrupt");
    check_eq(ioapic_read(0x18) & 0x4000, 0x4000, "level: remote IRR set until EOI");
    check(lapic_bit(LAPIC_TMR, 0x50), "TMR says level");
    eoi_off = 0;
    level_limit = 3;
    lapic_eoi();
    window_for(3);
    check_eq(hits[0], 3, "level: again after each EOI while the line is up");
    level_limit = 0;
    uart_down();
    irq_window();
    irq_window();
    u32 n = hits[0];
    window();
    check_eq(hits[0], n, "level: no more when the line is down");
    check_eq(ioapic_read(0x18) & 0x4000, 0, "level: remote IRR clear after EOI");
    /* a level pin that is up when it is unmasked */
    ioapic_pin_set(4, 0x18050, id0 << 24);
    uart_up();
    window();
    check_eq(hits[0], n, "level, masked: none");
    eoi_off = 1;
    ioapic_pin_set(4, 0x8050, id0 << 24);
    window_for(n + 1);
    check_eq(hits[0], n + 1, "level: unmasking with the line up interrupts");
    uart_down();
    eoi_off = 0;
    lapic_eoi();
    ioapic_pin_set(4, 0x10000, 0);
    /* NMI delivery */
    static volatile u32 *h = &hits[0];
    trap_handle(NMI, on_irq);
    eoi_off = 1;
    n = *h;
    ioapic_pin_set(2, 0x400, id0 << 24);
    pit_edge();
    wait_for(h, n + 1, 1000000);
    check_eq(*h, n + 1, "NMI delivery comes with IF clear");
    ioapic_pin_set(2, 0x10000, 0);
    stop = 1;
    return 0;
}
