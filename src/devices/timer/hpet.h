/*
 * The high precision event timers (IA-PC HPET specification 1.0a) at FED00000h: a 64-bit counter at 100 MHz
 * (10 ns, a whole multiple of the virtual clock's unit) and three comparators, all periodic and MSI capable.
 *
 * It sits between PIT and RTC and their interrupt wires: in legacy replacement mode timers 0 and 1 take
 * those.
 */
#ifndef RING3_DEVICES_TIMER_HPET_H
#define RING3_DEVICES_TIMER_HPET_H

#include "devices/device.h"

#define HPET_BASE      0xfed00000ull
#define HPET_SIZE      0x400ull
#define HPET_PERIOD_NS 10
#define HPET_TIMERS    3
#define HPET_PINS      32

/* GCAP_ID[31:0], which the ACPI HPET table repeats. */
#define HPET_ID (0x80860000u | 1u << 15 | 1u << 13 | (HPET_TIMERS - 1) << 8 | 1u)

struct hpet;

struct hpet_config {
    struct irq_line legacy[2];      /* the wires of IRQ0 and IRQ8 */
    struct irq_line pin[HPET_PINS]; /* I/O APIC pins ... */
    u32 pin_mask;                   /* ... that the timers may be routed to */
    struct msi_sink msi;
};

int hpet_create(struct hpet **out, const struct device_env *env, const struct hpet_config *config,
                struct error *err);
void hpet_destroy(struct hpet *hpet);
void hpet_reset(struct hpet *hpet);

/* What the PIT (n = 0) and the RTC (n = 1) drive: passed on to config.legacy[n] unless a timer has replaced
 * it. */
struct irq_line hpet_legacy_line(struct hpet *hpet, unsigned n);

#endif
