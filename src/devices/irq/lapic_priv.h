/* What the files of the local APIC share: lapic.c (acceptance, lifecycle), lapic_regs.c, lapic_timer.c,
 * lapic_bus.c. */
#ifndef RING3_DEVICES_IRQ_LAPIC_PRIV_H
#define RING3_DEVICES_IRQ_LAPIC_PRIV_H

#include "devices/irq/lapic.h"

#define LAPIC_VERSION 0x14
#define LAPIC_MAX     256 /* on one bus */

enum { APIC_BASE_BSP = BIT(8), APIC_BASE_EXTD = BIT(10), APIC_BASE_EN = BIT(11) };

enum lapic_lvt { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };

enum {
    LVT_MODE = 7 << 8,
    LVT_POLARITY = BIT(13),
    LVT_REMOTE_IRR = BIT(14),
    LVT_LEVEL = BIT(15),
    LVT_MASKED = BIT(16),
    LVT_PERIODIC = BIT(17),
    LVT_TSC_DEADLINE = BIT(18),
    LVT_TIMER_MODE = LVT_PERIODIC | LVT_TSC_DEADLINE,
};

enum { SVR_ENABLED = BIT(8), SVR_FOCUS = BIT(9), SVR_NO_EOI_BROADCAST = BIT(12) };

/* SDM vol. 3 figure 10-9; bits 0..3 are of the P6 family only. */
enum { ESR_SEND_VECTOR = BIT(5), ESR_RECEIVE_VECTOR = BIT(6), ESR_REGISTER = BIT(7) };

struct lapic {
    u64 base; /* IA32_APIC_BASE */
    u32 id;   /* in xAPIC mode the guest may have changed it */
    u32 ldr, dfr, tpr, svr;
    u32 esr;         /* what a read sees */
    u32 esr_pending; /* what the next write makes visible */
    u64 icr;
    u32 lvt[LVT_COUNT];
    u32 isr[8], irr[8], tmr[8];
    bool lint[2];        /* levels at the pins */
    bool extint_pending; /* an ExtINT message was accepted */

    /* The timer (lapic_timer.c). */
    u32 initial_count, divide;
    bool timer_running;
    u64 timer_next;   /* virtual ns when the count reaches zero, or the deadline is met */
    u64 tsc_deadline; /* IA32_TSC_DEADLINE, 0 when disarmed */
    struct timer timer;

    bool intr; /* what the CPU was told */
    struct lapic_config config;
    struct lapic_bus *bus;
    struct loop *loop;
    struct log *log;
};

static inline bool lapic_is_enabled(const struct lapic *apic)
{
    return apic->base & APIC_BASE_EN;
}

static inline bool lapic_is_x2apic(const struct lapic *apic)
{
    return (apic->base & (APIC_BASE_EN | APIC_BASE_EXTD)) == (APIC_BASE_EN | APIC_BASE_EXTD);
}

static inline u64 lapic_now(const struct lapic *apic)
{
    return clock_now(loop_clock(apic->loop));
}

/* lapic.c */
bool lapic_accept(struct lapic *apic, u8 vector, bool level); /* false: not accepted (software-disabled) */
bool lapic_receive(struct lapic *apic, const struct apic_message *msg);
void lapic_set_lint(struct lapic *apic, unsigned n, bool level);
void lapic_lint_changed(struct lapic *apic,
                        unsigned n); /* its LVT entry was written, or its interrupt ended */
void lapic_raise_lvt(struct lapic *apic, enum lapic_lvt n);
void lapic_raise_error(struct lapic *apic, u32 bits);
void lapic_update(struct lapic *apic);
void lapic_end(struct lapic *apic); /* EOI */
u8 lapic_ppr(const struct lapic *apic);
u8 lapic_apr(const struct lapic *apic);
/* All registers as after INIT, but for the ID and the base. */
void lapic_reset_registers(struct lapic *apic);
void lapic_set_mode(struct lapic *apic, u64 base);

/* lapic_regs.c */
u64 lapic_page_read(void *opaque, u64 offset, unsigned size);
void lapic_page_write(void *opaque, u64 offset, unsigned size, u64 value);
bool lapic_msr_read(void *opaque, u32 msr, u64 *value);
bool lapic_msr_write(void *opaque, u32 msr, u64 value);

/* lapic_timer.c */
void lapic_timer_expired(void *opaque);
/* Brings the count up to the present. The interrupt of an expiry that is found here is raised. */
void lapic_timer_sync(struct lapic *apic);
/* Arms or disarms the host's timer, after any change; the timer is in sync. */
void lapic_timer_arm(struct lapic *apic);
u32 lapic_timer_count(const struct lapic *apic);
void lapic_timer_set_lvt(struct lapic *apic, u32 value);
void lapic_timer_set_count(struct lapic *apic, u32 count);
void lapic_timer_set_divide(struct lapic *apic, u32 divide);
void lapic_timer_set_deadline(struct lapic *apic, u64 tsc);
void lapic_timer_tsc_changed(void *opaque);

/* lapic_bus.c */
int lapic_bus_add(struct lapic_bus *bus, struct lapic *apic);
void lapic_bus_remove(struct lapic_bus *bus, struct lapic *apic);
/* ... to all but `except` (NULL: to all). */
bool lapic_bus_broadcast(struct lapic_bus *bus, const struct apic_message *msg, const struct lapic *except);
int lapic_bus_extint(struct lapic_bus *bus); /* -1: nobody answers */
void lapic_bus_eoi(struct lapic_bus *bus, u8 vector);

#endif
