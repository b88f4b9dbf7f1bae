/* The HPET: capabilities, counter, one-shot and periodic comparators through the I/O APIC, level mode, legacy
 * replacement. */
#include "apic.h"

#define HPET 0xfed00000u
static volatile u32 ticks;

static u64 hpet(u32 reg)
{
    return *(volatile u32 *)(ulong)(HPET + reg) | (u64) * (volatile u32 *)(ulong)(HPET + reg + 4) << 32;
}
static void hpet_set(u32 reg, u32 v)
{
    *(volatile u32 *)(ulong)(HPET + reg) = v;
}
static u32 hpet_low(u32 reg)
{
    return *(volatile u32 *)(ulong)(HPET + reg);
}

static u32 counter(void)
{
    return hpet_low(0xf0);
}

static void on_tick(struct regs *r)
{
    ticks++;
    if (hpet_low(0x20) & 1)
        hpet_set(0x20, 1); /* level mode: write 1 to clear */
    lapic_eoi();
}

int main(void)
{
    u64 caps = hpet(0);
    u32 period_fs = (u32)(caps >> 32), per_us;
    check(period_fs > 0 && period_fs <= 100000000, "period %u fs", period_fs);
    check((caps & 0xff) != 0, "revision");
    check((caps >> 8 & 0x1f) >= 2, "three timers or more");
    check(caps & 0x8000, "legacy replacement");
    per_us = 1000000000u / period_fs;
    tsc_per_us();

    hpet_set(0x10, 0);
    hpet_set(0xf0, 0);
    hpet_set(0xf4, 0);
    u32 a = hpet_low(0xf0);
    delay_us(1000);
    check_eq(hpet_low(0xf0), a, "the counter stands while disabled");
    check_eq(a, 0, "the counter is writable while disabled");
    hpet_set(0x10, 1);
    u32 rate = counter_rate(counter, 0xffffffff, 20000);
    check_range(rate, per_us * 98, per_us * 102, "the counter runs at its rate");
    u64 t0;

    /* timer 0, one-shot, to I/O APIC pin: the first that its routing allows */
    u32 route = (u32)(hpet(0x100) >> 32), pin = 32;
    outb(0x43, 0x30); /* the PIT shares GSI 2: quiet */
    outb(0x40, 1);
    outb(0x40, 0);
    delay_us(1000);
    for (u32 i = 23; i >= 2; i--)
        if (route >> i & 1 && i != 4 && i != 8) {
            pin = i;
            break;
        }
    check(pin < 24, "timer 0 has a pin (routing 0x%x)", route);
    check(hpet_low(0x100) & 0x10, "timer 0 can be periodic");
    lapic_enable();
    trap_handle(0x60, on_tick);
    ioapic_pin_set((int)pin, 0x60, lapic_id() << 24);
    hpet_set(0x100, 0);
    t0 = time_us();
    hpet_set(0x108, hpet_low(0xf0) + per_us * 5000);
    hpet_set(0x10c, 0);
    hpet_set(0x100, 4 | pin << 9);
    check_eq(hpet_low(0x100) >> 9 & 0x1f, pin, "the route reads back");
    irq_on();
    check(wait_for(&ticks, 1, 200000), "one-shot fires");
    check_range((u32)(time_us() - t0), 4900, 900000, "one-shot after 5 ms");
    delay_us(10000);
    check_eq(ticks, 1, "and once");

    /* periodic */
    hpet_set(0x10, 0);
    hpet_set(0xf0, 0);
    hpet_set(0xf4, 0);
    hpet_set(0x100, 0x4c | pin << 9); /* enable, periodic, value set */
    hpet_set(0x108, per_us * 2000);
    hpet_set(0x108, per_us * 2000);
    ticks = 0;
    t0 = time_us();
    hpet_set(0x10, 1);
    check(wait_for(&ticks, 20, 500000), "periodic fires");
    check_range((u32)(time_us() - t0), 39000, 900000, "20 periods of 2 ms");
    hpet_set(0x100, pin << 9);
    delay_us(1000);
    ticks = 0;
    delay_us(5000);
    check_eq(ticks, 0, "a disabled timer is silent");

    /* level mode: the status bit holds the line */
    ioapic_pin_set((int)pin, 0x8060, lapic_id() << 24);
    hpet_set(0x108, hpet_low(0xf0) + per_us * 1000);
    hpet_set(0x100, 6 | pin << 9);
    check(wait_for(&ticks, 1, 200000), "level mode fires");
    delay_us(2000);
    check_eq(hpet_low(0x20) & 1, 0, "the status bit was cleared by writing 1");
    check_eq(ticks, 1, "level mode: once");
    hpet_set(0x100, 0);
    ioapic_pin_set((int)pin, 0x10000, 0);

    /* legacy replacement: timer 0 is GSI 2 instead of the PIT */
    ioapic_pin_set(2, 0x60, lapic_id() << 24);
    hpet_set(0x10, 3);
    hpet_set(0x108, hpet_low(0xf0) + per_us * 1000);
    hpet_set(0x10c, 0);
    hpet_set(0x100, 4);
    ticks = 0;
    check(wait_for(&ticks, 1, 200000), "legacy replacement: timer 0 comes at GSI 2");
    ticks = 0;
    outb(0x43, 0x34);
    outb(0x40, 0xa9);
    outb(0x40, 4); /* 1 kHz */
    delay_us(10000);
    check_eq(ticks, 0, "legacy replacement: the PIT is cut off");
    hpet_set(0x100, 0);
    hpet_set(0x10, 1);
    check(wait_for(&ticks, 5, 1000000), "without it the PIT is at GSI 2 again");
    irq_off();
    ioapic_pin_set(2, 0x10000, 0);
    return 0;
}
