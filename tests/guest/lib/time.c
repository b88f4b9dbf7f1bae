/* The TSC as a clock, calibrated once against PIT channel 2 (1.193182 MHz). */
#include "guest.h"

static u32 per_us;

static u16 pit2_count(void)
{
    outb(0x43, 0x80);
    u8 lo = inb(0x42);
    return (u16)(lo | inb(0x42) << 8);
}

/* A count and the TSC at that moment, good to a few ticks even if the host takes the CPU away now and then.
 */
static u64 sample(u32 (*read)(void), u32 *value)
{
    u64 best = (u64)-1, at = 0;

    for (int i = 0; i < 16; i++) {
        u64 t0 = rdtsc();
        u32 v = read();
        u64 t1 = rdtsc();
        if (t1 - t0 < best) {
            best = t1 - t0;
            at = t0 + (t1 - t0) / 2;
            *value = v;
        }
    }
    return at;
}

u32 counter_rate(u32 (*read)(void), u32 mask, u32 us)
{
    u32 a = 0, b = 0;
    u64 t0 = sample(read, &a), t1;

    delay_us(us);
    t1 = sample(read, &b);
    u32 elapsed = (u32)(t1 - t0) / tsc_per_us();
    return elapsed == 0 ? 0 : (u32)(((b - a) & mask) / (elapsed / 100 + (elapsed < 100)));
}

static u32 pit2_down(void)
{
    return 0xffff - pit2_count();
}

u32 tsc_per_us(void)
{
    u32 a = 0, b = 0;
    u64 t0, t1;

    if (per_us != 0)
        return per_us;
    outb(0x61, (inb(0x61) & ~2u) | 1);
    outb(0x43, 0xb4); /* channel 2, mode 2 */
    outb(0x42, 0xff);
    outb(0x42, 0xff);
    t0 = sample(pit2_down, &a);
    do
        t1 = sample(pit2_down, &b);
    while (((b - a) & 0xffff) < 11932); /* 10 ms */
    /* ticks * 1.193182 / counts */
    per_us = (u32)(t1 - t0) / (((b - a) & 0xffff) * 1000 / 1193);
    if (per_us == 0)
        guest_die("the TSC does not run, or PIT channel 2 does not");
    return per_us;
}

void delay_us(u32 us)
{
    u64 end = rdtsc() + (u64)us * tsc_per_us();
    while (rdtsc() < end)
        cpu_pause();
}

u64 time_us(void)
{
    u64 t = rdtsc();
    u32 d = tsc_per_us(), hi = (u32)(t >> 32), lo = (u32)t, q_hi, q_lo;

    /* two 64/32 divisions: no libgcc here */
    q_hi = hi / d;
    hi %= d;
    asm("divl %4" : "=a"(q_lo), "=d"(hi) : "a"(lo), "d"(hi), "r"(d));
    return (u64)q_hi << 32 | q_lo;
}

bool wait_for(const volatile u32 *word, u32 want, u32 us)
{
    u64 end = rdtsc() + (u64)us * tsc_per_us();
    while (*word < want) {
        if (rdtsc() > end)
            return *word >= want;
        cpu_pause();
    }
    return true;
}
