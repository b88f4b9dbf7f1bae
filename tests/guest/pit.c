/* The 8254: modes 0 to 5 on channel 2 (its gate and output are at port 0x61), counting, latches, read-back,
 * BCD, rates against the TSC. */
#include "apic.h"

static void gate(bool on)
{
    outb(0x61, (u8)((inb(0x61) & ~3) | (on ? 1 : 0)));
}
static bool output(void)
{
    return inb(0x61) & 0x20;
}

static void program(int mode, u16 count)
{
    outb(0x43, (u8)(0xb0 | mode << 1));
    outb(0x42, (u8)count);
    outb(0x42, (u8)(count >> 8));
}

static u16 read_count(void)
{
    outb(0x43, 0x80);
    u8 lo = inb(0x42);
    return (u16)(lo | inb(0x42) << 8);
}

static u8 read_status(void)
{
    outb(0x43, 0xe8); /* read-back: latch the status of channel 2 */
    return inb(0x42);
}

static void wait_output(bool level, u32 limit_us)
{
    u64 end = time_us() + limit_us;
    while (output() != level && time_us() < end)
        ;
}

static volatile u32 ticks;
static void on_tick(struct regs *r)
{
    ticks++;
    pic_eoi(0);
}

int main(void)
{
    tsc_per_us();
    /* 11932 counts are 10 ms */
    gate(true);
    u64 t0 = time_us();
    program(0, 11932);
    check(!output(), "mode 0: output low at start");
    wait_output(true, 100000);
    check_range((u32)(time_us() - t0), 9900, 900000, "mode 0: high after 10 ms");
    check(output(), "mode 0: and stays high");
    program(0, 0xf000);
    gate(false);
    u16 a = read_count();
    delay_us(2000);
    check_eq(read_count(), a, "mode 0: gate low stops the count");
    gate(true);
    delay_us(1000);
    check(read_count() < a, "mode 0: gate high goes on");
    /* mode 1: starts with the gate's rising edge */
    gate(false);
    program(1, 11932);
    check(output(), "mode 1: output high before the trigger");
    delay_us(2000);
    check(output(), "mode 1: nothing without a trigger");
    t0 = time_us();
    gate(true);
    delay_us(5); /* a clock or two */
    check(!output(), "mode 1: low after the trigger");
    wait_output(true, 100000);
    check_range((u32)(time_us() - t0), 9900, 900000, "mode 1: high again after 10 ms");
    gate(false);
    gate(true);
    delay_us(5000);
    gate(false);
    t0 = time_us();
    gate(true);
    wait_output(true, 100000);
    check_range((u32)(time_us() - t0), 9900, 900000, "mode 1: retriggered, 10 ms anew");
    /* mode 2: rate generator: high but for one count */
    program(2, 11932);
    delay_us(1000);
    check(output(), "mode 2: output high while counting");
    u32 lows = 0;
    u16 max = 0, min = 0xffff;
    for (u64 end = time_us() + 1000000; (max <= 11800 || min >= 130) && time_us() < end;) {
        u16 c = read_count();
        max = c > max ? c : max;
        min = c < min ? c : min;
        lows += c == 0;
    }
    check_eq(lows, 0, "mode 2: the count never reads 0");
    check(max <= 11932 && max > 11800, "mode 2: reloads to the count (%u)", max);
    check(min < 130, "mode 2: counts down to 1 (%u)", min);
    gate(false);
    a = read_count();
    delay_us(1000);
    check(output(), "mode 2: gate low forces the output high");
    bool reloaded = false;
    for (int i = 0; i < 20 && !reloaded; i++) { /* a busy host may be late */
        gate(false);
        gate(true);
        delay_us(200);
        reloaded = read_count() > 11000;
    }
    check(reloaded, "mode 2: the gate's edge reloads");
    /* mode 3: square wave, both halves 5 ms, counts by two */
    program(3, 11932);
    u32 samples = 0, highs = 0;
    for (u64 end = time_us() + 200000; time_us() < end; samples++)
        highs += output();
    check_range(highs * 100 / samples, 20, 80, "mode 3: the output is high half the time");
    bool even = true;
    for (int i = 0; i < 50; i++)
        even = even && !(read_count() & 1);
    check(even, "mode 3 with an even count: it is always even");
    /* mode 4: software strobe; mode 5: hardware strobe: one count low */
    program(4, 1193);
    check(output(), "mode 4: output high");
    delay_us(3000);
    check(output(), "mode 4: high again after the strobe");
    gate(false);
    program(5, 1193);
    delay_us(2000);
    a = read_count();
    check(output(), "mode 5: output high before the trigger");
    gate(true);
    delay_us(3000);
    check(output(), "mode 5: high again after the strobe");

    /* status byte: output, null count, access mode, mode, BCD */
    gate(true);
    program(3, 0x1000);
    delay_us(10);
    check_eq(read_status() & 0x7f, 0x36, "read-back status: mode 3, both bytes, count loaded");
    outb(0x43, 0x90); /* low byte only, mode 0 */
    check_eq(read_status() & 0x7f, 0x50, "read-back status: null count before the count is written");
    outb(0x42, 100);
    delay_us(10);
    check_eq(read_status() & 0x7f, 0x10, "read-back status: low byte only, mode 0");
    outb(0x43, 0xb1); /* BCD */
    outb(0x42, 0x00);
    outb(0x42, 0x10);
    delay_us(50);
    u16 bcd = read_count();
    check((bcd & 0xf) < 10 && (bcd >> 4 & 0xf) < 10 && (bcd >> 8 & 0xf) < 10 && bcd < 0x1000,
          "BCD counts in decimal (0x%x)", bcd);
    check_eq(read_status() & 0x3f, 0x31, "read-back status: BCD");
    /* a latched count stays until it is read */
    program(2, 0xffff);
    outb(0x43, 0x80);
    delay_us(1000);
    outb(0x43, 0x80);
    u8 lo = inb(0x42);
    u16 latched = (u16)(lo | inb(0x42) << 8);
    check(latched > 0xffff - 600, "a second latch command is ignored until the first is read (0x%x)",
          latched);
    outb(0x43, 0xc8); /* status and count together: status comes first */
    u8 status = inb(0x42);
    lo = inb(0x42);
    u16 both = (u16)(lo | inb(0x42) << 8);
    check(status == 0xb4 && both > 0 && both < latched, "read-back of status and count");
    /* one byte first, the other later: the count of a two-byte write is taken with the second */
    program(0, 0x8000);
    outb(0x43, 0x80);
    inb(0x42);
    u8 hi = inb(0x42);
    check(hi == 0x7f || hi == 0x80, "two-byte reads: low, then high");
    /* port 0x61: refresh toggle, speaker bit */
    u32 toggles = 0;
    u8 last = inb(0x61) & 0x10;
    for (u64 end = time_us() + 2000; time_us() < end;) {
        u8 now = inb(0x61) & 0x10;
        toggles += now != last;
        last = now;
    }
    check(toggles > 10, "port 0x61: the refresh bit toggles");
    outb(0x61, 2);
    check_eq(inb(0x61) & 3, 2, "port 0x61: bits 0 and 1 read back");
    outb(0x61, 0);

    /* channel 0 interrupts at its rate, with the TSC as the measure */
    lapic_write(LAPIC_SVR, 0x1ff);
    lapic_write(LAPIC_LVT_LINT0, 0x700);
    trap_handle(0x20, on_tick);
    pic_init(0xfe, 0xff);
    outb(0x43, 0x34);
    outb(0x40, 11932 & 0xff);
    outb(0x40, 11932 >> 8);
    irq_on();
    wait_for(&ticks, 1, 1000000);
    t0 = time_us();
    check(wait_for(&ticks, 11, 1000000), "IRQ 0 keeps coming");
    check_range((u32)(time_us() - t0), 90000, 900000, "ten ticks of 10 ms");
    irq_off();
    outb(0x21, 0xff);
    return 0;
}
