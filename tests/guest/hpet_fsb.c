/* HPET timers that send messages (FSB delivery; IA-PC HPET specification 2.3.9.3). */
/* ## tcg: skip its HPET has no FSB delivery unless asked for */
#include "apic.h"

#define HPET 0xfed00000u

enum { CONFIG_INT = 4, CONFIG_FSB = 1 << 14, CONFIG_FSB_CAPABLE = 1 << 15 };

static volatile u32 ticks, vector;

static volatile u32 *hpet(u32 reg)
{
    return (volatile u32 *)(ulong)(HPET + reg);
}

static void on_tick(struct regs *r)
{
    ticks++;
    vector = (u32)r->vector;
    lapic_eoi();
}

int main(void)
{
    trap_handle(0x61, on_tick);
    trap_handle(0x62, on_tick);
    lapic_enable();
    u32 period_fs = *hpet(4), per_us = 1000000000u / period_fs;
    check(*hpet(0x100) & CONFIG_FSB_CAPABLE, "timer 0 can send messages");

    *hpet(0x10) = 0;
    *hpet(0xf0) = *hpet(0xf4) = 0;
    *hpet(0x114) = LAPIC_BASE | lapic_id() << 12;
    *hpet(0x110) = 0x61;
    check_eq(*hpet(0x110), 0x61, "the message's data reads back");
    check_eq(*hpet(0x114), LAPIC_BASE | lapic_id() << 12, "and its address");
    *hpet(0x108) = 1000 * per_us;
    *hpet(0x10c) = 0;
    *hpet(0x100) = CONFIG_INT | CONFIG_FSB;
    check(*hpet(0x100) & CONFIG_FSB, "FSB delivery is on");
    *hpet(0x10) = 1;
    irq_on();
    wait_for(&ticks, 1, 1000000);
    irq_off();
    check_eq(ticks << 8 | vector, 0x161, "the message arrives with its vector");

    /* once more with another vector; then without delivery */
    *hpet(0x110) = 0x62;
    *hpet(0x108) = *hpet(0xf0) + 1000 * per_us;
    irq_on();
    wait_for(&ticks, 2, 1000000);
    check_eq(ticks << 8 | vector, 0x262, "another vector");
    *hpet(0x100) = CONFIG_FSB;
    *hpet(0x108) = *hpet(0xf0) + 500 * per_us;
    delay_us(3000);
    irq_off();
    check_eq(ticks, 2, "none while the timer's interrupt is off");
    *hpet(0x10) = 0;
    return 0;
}
