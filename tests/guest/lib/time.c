/* The TSC as a clock, calibrated once against PIT channel 2 (1.193182 MHz). */
#include "guest.h"

static u32 per_us;

static u16 pit2_count(void)
{
	outb(0x43, 0x80);
	u8 lo = inb(0x42);
	return (u16)(lo | inb(0x42) << 8);
}

static u32 calibrate(void)
{
	u16 first = pit2_count();
	u64 t0 = rdtsc();
	while ((u16)(first - pit2_count()) < 2386) /* 2 ms */
		;
	return (u32)(rdtsc() - t0) / 2000;
}

u32 tsc_per_us(void)
{
	u32 runs[7];

	if (per_us != 0)
		return per_us;
	outb(0x61, (inb(0x61) & ~2u) | 1);
	outb(0x43, 0xb4); /* channel 2, mode 2 */
	outb(0x42, 0xff);
	outb(0x42, 0xff);
	for (int i = 0; i < 7; i++) { /* the median: a busy host disturbs some */
		u32 r = calibrate();
		int at = i;
		for (; at > 0 && runs[at - 1] > r; at--)
			runs[at] = runs[at - 1];
		runs[at] = r;
	}
	per_us = runs[3];
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
