/* The MC146818 real-time clock and CMOS RAM: ports 70h/71h, a second bank of 128 bytes at 72h/73h. IRQ8. */
#ifndef RING3_DEVICES_TIMER_RTC_H
#define RING3_DEVICES_TIMER_RTC_H

#include "devices/device.h"

#define CMOS_SIZE    256
#define CMOS_CENTURY 0x32 /* what the FADT's CENTURY field says */

/* What SeaBIOS looks at besides. */
#define CMOS_BOOT_LOW  0x38 /* third boot device in bits 7:4; bit 0: do not check a diskette's signature */
#define CMOS_BOOT_HIGH 0x3d /* second boot device in bits 7:4, first in 3:0 */
#define CMOS_CPU_COUNT 0x5f /* CPUs but one */

struct rtc;

/* `start`: the date at virtual time 0, in seconds since 1970 (UTC). */
int rtc_create(struct rtc **out, const struct device_env *env, struct irq_line irq, s64 start,
               struct error *err);
void rtc_destroy(struct rtc *rtc);

/* The RESET pin: interrupts off; the clock and the RAM have a battery. */
void rtc_reset(struct rtc *rtc);

/* A byte of RAM (index 0Eh..FFh); recomputes the standard checksum (of 10h..2Dh at 2Eh). */
void rtc_set_cmos(struct rtc *rtc, u8 index, u8 value);

/* The fields that say how much memory there is below and above 4 GiB, in bytes, as PC firmware writes them.
 */
void rtc_set_memory(struct rtc *rtc, u64 below_4g, u64 above_4g);

/* Bit 7 of port 70h: NMIs are not to reach the CPU. */
bool rtc_masks_nmi(const struct rtc *rtc);

#endif
