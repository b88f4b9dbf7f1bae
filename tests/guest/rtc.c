/* The MC146818: time registers, BCD and binary, 12 and 24 hours, UIP and update rate, periodic rates, alarm,
 * update interrupt, registers A to D, NVRAM. */
/* ## timeout: 60 */
#include "apic.h"

static volatile u32 irqs;
static volatile u8 flags;

static u8 cmos(u8 reg)
{
    outb(0x70, reg);
    return inb(0x71);
}
static void cmos_set(u8 reg, u8 v)
{
    outb(0x70, reg);
    outb(0x71, v);
}

static void on_irq(struct regs *r)
{
    irqs++;
    flags |= cmos(0x0c);
    pic_eoi(8);
}

static void set_time(u8 hour, u8 minute, u8 second)
{
    cmos_set(0x0b, (u8)(cmos(0x0b) | 0x80));
    cmos_set(4, hour);
    cmos_set(2, minute);
    cmos_set(0, second);
    cmos_set(0x0b, (u8)(cmos(0x0b) & ~0x80));
}

int main(void)
{
    tsc_per_us();
    check_eq(cmos(0x0d) & 0x80, 0x80, "register D: valid RAM and time");
    check(cmos(0) < 0x60 && cmos(2) < 0x60 && cmos(8) >= 1 && cmos(8) <= 0x12 && cmos(7) >= 1 &&
              cmos(7) <= 0x31,
          "the time is a time");
    cmos_set(0x0a, 0x26);
    cmos_set(0x0b, 0x02);
    cmos_set(0x7f, 0x5a);
    cmos_set(0x40, 0xa5);
    check(cmos(0x7f) == 0x5a && cmos(0x40) == 0xa5, "NVRAM holds its bytes");
    cmos_set(0x0d, 0);
    check_eq(cmos(0x0d) & 0x80, 0x80, "register D is read-only");

    /* SET freezes the time; BCD carry over midnight, month end and leap year */
    cmos_set(7, 0x28);
    cmos_set(8, 0x02);
    cmos_set(9, 0x24);
    cmos_set(0x32, 0x20);
    set_time(0x23, 0x59, 0x59);
    cmos_set(0x0b, 0x82);
    delay_us(1200000);
    check_eq(cmos(0), 0x59, "SET freezes the time");
    cmos_set(0x0b, 0x02);
    for (u64 end = time_us() + 2500000; cmos(0) == 0x59 && time_us() < end;)
        ;
    check_eq((u32)cmos(4) << 16 | cmos(2) << 8 | cmos(0), 0, "23:59:59 goes to 00:00:00");
    check_eq((u32)cmos(9) << 16 | cmos(8) << 8 | cmos(7), 0x240229, "28 February 2024 goes to the 29th");

    /* update rate: one second by the TSC; UIP is seen before it */
    u8 s = cmos(0);
    bool uip = false;
    while (cmos(0) == s)
        ;
    u64 t0 = time_us();
    s = cmos(0);
    for (u64 end = time_us() + 2500000; cmos(0) == s && time_us() < end;)
        uip = uip || (cmos(0x0a) & 0x80);
    u32 second_us = (u32)(time_us() - t0);
    /* it lasts 2 ms; a busy host may miss it */
    for (u64 end = time_us() + 20000000; !uip && time_us() < end;)
        uip = cmos(0x0a) & 0x80;
    check_range(second_us, 900000, 1100000, "a second is a second");
    check(uip, "UIP was seen before the update");

    /* binary and 12-hour modes */
    cmos_set(0x0b, 0x06);
    set_time(13, 45, 10);
    check(cmos(4) == 13 && cmos(2) == 45 && cmos(0) == 10, "binary mode");
    cmos_set(0x0b, 0x84);
    cmos_set(4, 0x80 | 11);
    cmos_set(2, 59);
    cmos_set(0, 59);
    cmos_set(0x0b, 0x04);
    for (u64 end = time_us() + 2500000; cmos(0) == 59 && time_us() < end;)
        ;
    check_eq((u32)cmos(4) << 8 | cmos(2), 12 << 8, "12-hour mode: 11:59:59 pm goes to 12:00 am");

    /* interrupts */
    lapic_write(LAPIC_SVR, 0x1ff);
    lapic_write(LAPIC_LVT_LINT0, 0x700);
    trap_handle(0x28, on_irq);
    pic_init(0xfb, 0xfe);
    cmos(0x0c);
    irq_on();
    static const struct {
        u8 rate;
        u32 us;
    } rates[] = {{6, 976}, {10, 15625}, {3, 122}};
    for (unsigned i = 0; i < ARRAY_SIZE(rates); i++) {
        cmos_set(0x0a, 0x20 | rates[i].rate);
        irqs = 0;
        flags = 0;
        cmos_set(0x0b, 0x42);
        wait_for(&irqs, 1, 1000000);
        t0 = time_us();
        u32 first = irqs;
        check(wait_for(&irqs, first + 16, 2000000), "periodic rate %u fires", rates[i].rate);
        if (rates[i].rate != 3)
            check_range((u32)(time_us() - t0), rates[i].us * 14, rates[i].us * 300, "16 periods at rate %u",
                        rates[i].rate);
        check_eq(flags & 0xc0, 0xc0, "register C: IRQF and PF");
        cmos_set(0x0b, 0x02);
    }
    cmos_set(0x0a, 0x26);
    cmos(0x0c);
    irqs = 0;
    flags = 0;
    cmos_set(0x0b, 0x12);
    check(wait_for(&irqs, 1, 2500000), "update-ended interrupt");
    check_eq(flags & 0x90, 0x90, "register C: IRQF and UF");
    cmos_set(0x0b, 0x02);
    /* alarm in two seconds; 0xff does not care about hours and minutes */
    set_time(0x10, 0x20, 0x30);
    cmos_set(5, 0xff);
    cmos_set(3, 0xff);
    cmos_set(1, 0x32);
    irqs = 0;
    flags = 0;
    cmos(0x0c);
    cmos_set(0x0b, 0x22);
    t0 = time_us();
    check(wait_for(&irqs, 1, 5000000), "alarm interrupt");
    check_range((u32)(time_us() - t0), 900000, 2200000, "alarm within two seconds");
    check_eq(cmos(0), 0x32, "alarm at its second");
    check_eq(flags & 0xa0, 0xa0, "register C: IRQF and AF");
    cmos_set(0x0b, 0x02);
    irq_off();
    cmos(0x0c);
    check_eq(cmos(0x0c), 0, "reading register C clears it");
    return 0;
}
