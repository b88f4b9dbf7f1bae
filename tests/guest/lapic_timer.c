/* The local APIC timer: one-shot, periodic, divider, current count, TSC deadline, rates against the TSC. */
#include "apic.h"

static volatile u32 ticks;
static volatile u64 last;

static void on_tick(struct regs *r)
{
    ticks++;
    last = rdtsc();
    lapic_eoi();
}

static u32 timer_up(void)
{
    return ~lapic_read(LAPIC_TIMER_CURRENT);
}

static u32 count_in_us(u32 us)
{
    lapic_write(LAPIC_LVT_TIMER, 0x10041);
    lapic_write(LAPIC_TIMER_INITIAL, 0xffffffff);
    u32 rate = counter_rate(timer_up, 0xffffffff, us);
    lapic_write(LAPIC_TIMER_INITIAL, 0);
    return rate * (us / 100);
}

int main(void)
{
    static const u8 codes[8] = {0xb, 0x0, 0x1, 0x2, 0x3, 0x8, 0x9, 0xa};
    tsc_per_us(); /* calibrate now */
    lapic_enable();
    trap_handle(0x41, on_tick);
    irq_on();

    lapic_write(LAPIC_TIMER_DIVIDE, 0xb);
    u32 rate = count_in_us(5000);
    check(rate > 1000, "the counter counts down (%u in 5 ms)", rate);
    for (u32 i = 1; i < 8; i++) {
        lapic_write(LAPIC_TIMER_DIVIDE, codes[i]);
        check_eq(lapic_read(LAPIC_TIMER_DIVIDE), codes[i], "divide register 0x%x", codes[i]);
        u32 n = count_in_us(5000), want = rate >> i;
        check_range(n, want - want / 20, want + want / 20, "divided by %u", 1u << i);
    }
    lapic_write(LAPIC_TIMER_DIVIDE, 0xb);
    u32 per_ms = rate / 5;

    /* one-shot: once, after the right time; the counter stays at 0 */
    lapic_write(LAPIC_LVT_TIMER, 0x41);
    ticks = 0;
    u64 t0 = rdtsc();
    lapic_write(LAPIC_TIMER_INITIAL, per_ms * 3);
    check(wait_for(&ticks, 1, 100000), "one-shot fires");
    check_range((u32)(last - t0) / tsc_per_us(), 2900, 900000, "one-shot of 3 ms");
    delay_us(8000);
    check_eq(ticks, 1, "one-shot fires once");
    check_eq(lapic_read(LAPIC_TIMER_CURRENT), 0, "the count stays at 0");
    check_eq(lapic_read(LAPIC_TIMER_INITIAL), per_ms * 3, "the initial count reads back");

    /* periodic */
    lapic_write(LAPIC_LVT_TIMER, 0x20041);
    ticks = 0;
    t0 = rdtsc();
    lapic_write(LAPIC_TIMER_INITIAL, per_ms);
    check(wait_for(&ticks, 20, 1000000), "periodic fires");
    check_range((u32)(last - t0) / tsc_per_us(), 19500, 900000, "20 periods of 1 ms");
    lapic_write(LAPIC_TIMER_INITIAL, 0);
    ticks = 0;
    delay_us(5000);
    check(ticks <= 1, "initial count 0 stops it");
    /* masked: counts, does not interrupt */
    lapic_write(LAPIC_LVT_TIMER, 0x30041);
    ticks = 0;
    lapic_write(LAPIC_TIMER_INITIAL, per_ms);
    delay_us(5000);
    check_eq(ticks, 0, "a masked timer does not interrupt");
    check(lapic_read(LAPIC_TIMER_CURRENT) <= per_ms, "a masked periodic timer counts");
    lapic_write(LAPIC_TIMER_INITIAL, 0);
    lapic_write(LAPIC_LVT_TIMER, 0x41);

    /* a new initial count restarts */
    ticks = 0;
    lapic_write(LAPIC_TIMER_INITIAL, per_ms * 50);
    delay_us(20000);
    lapic_write(LAPIC_TIMER_INITIAL, per_ms * 50);
    delay_us(32000);
    check_eq(ticks, 0, "writing the initial count starts over");
    check(wait_for(&ticks, 1, 100000), "and then fires");

    if (!(cpuid(1, 0).c & 1u << 24)) {
        skip("TSC deadline", "not in CPUID");
        return 0;
    }
    lapic_write(LAPIC_LVT_TIMER, 0x40041);
    ticks = 0;
    t0 = rdtsc();
    wrmsr(0x6e0, t0 + 2000ull * tsc_per_us());
    check(rdmsr(0x6e0) != 0, "TSC_DEADLINE reads back while armed");
    check(wait_for(&ticks, 1, 100000), "TSC deadline fires");
    check_range((u32)(last - t0) / tsc_per_us(), 2000, 900000, "TSC deadline 2 ms away");
    check_eq(rdmsr(0x6e0), 0, "TSC_DEADLINE is 0 after it fired");
    ticks = 0;
    wrmsr(0x6e0, 1);
    check(wait_for(&ticks, 1, 10000), "a deadline in the past fires at once");
    ticks = 0;
    wrmsr(0x6e0, rdtsc() + 3000ull * tsc_per_us());
    wrmsr(0x6e0, 0);
    delay_us(6000);
    check_eq(ticks, 0, "0 disarms");
    lapic_write(LAPIC_TIMER_INITIAL, per_ms);
    delay_us(3000);
    check_eq(ticks, 0, "the initial count is ignored in deadline mode");
    check_eq(lapic_read(LAPIC_TIMER_CURRENT), 0, "the current count is 0 in deadline mode");
    wrmsr(0x6e0, rdtsc() + 3000ull * tsc_per_us());
    lapic_write(LAPIC_LVT_TIMER, 0x41);
    check_eq(rdmsr(0x6e0), 0, "leaving deadline mode disarms");
    return 0;
}
