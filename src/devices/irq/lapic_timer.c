/*
 * The local APIC's timer (SDM vol. 3 10.5.4).
 *
 * The count is not stepped: it follows from `timer_next`, the virtual time when it reaches zero. The host's
 * timer is armed only while an expiry would interrupt; a masked timer is brought up to date when it is looked
 * at.
 */
#include "devices/irq/lapic_priv.h"

/* The shortest time between two periodic expiries; what a shorter period would add is lost, as on hardware
 * whose interrupt is still pending. Keeps the host alive under a guest that asks for a gigahertz. */
#define TIMER_MIN_PERIOD_NS 10000ull

/* Ticks of the input clock per count: bits 0, 1 and 3 of the divide configuration register (figure 10-10). */
static u64 timer_divisor(const struct lapic *apic)
{
    unsigned code = (apic->divide & 3) | (apic->divide >> 1 & 4);
    return code == 7 ? 1 : 2ull << code;
}

static u64 timer_period(const struct lapic *apic)
{
    return apic->initial_count * timer_divisor(apic);
}

static u32 timer_mode(const struct lapic *apic)
{
    return apic->lvt[LVT_TIMER] & LVT_TIMER_MODE;
}

static bool timer_is_deadline(const struct lapic *apic)
{
    return timer_mode(apic) & LVT_TSC_DEADLINE;
}

/* Moves the timer past `now`; true if it expired on the way. */
static bool timer_advance(struct lapic *apic, u64 now)
{
    if (!apic->timer_running || now < apic->timer_next)
        return false;
    u64 period = timer_period(apic);
    if (timer_mode(apic) == LVT_PERIODIC && period) {
        apic->timer_next += ((now - apic->timer_next) / period + 1) * period;
        return true;
    }
    apic->timer_running = false;
    apic->tsc_deadline = 0;
    return true;
}

void lapic_timer_sync(struct lapic *apic)
{
    if (timer_advance(apic, lapic_now(apic)))
        lapic_raise_lvt(apic, LVT_TIMER);
}

void lapic_timer_arm(struct lapic *apic)
{
    if (!apic->timer_running || (apic->lvt[LVT_TIMER] & LVT_MASKED) || !lapic_is_enabled(apic)) {
        timer_disarm(&apic->timer);
        return;
    }
    u64 deadline = apic->timer_next;
    if (timer_mode(apic) == LVT_PERIODIC && timer_period(apic) < TIMER_MIN_PERIOD_NS)
        deadline = MAX(deadline, lapic_now(apic) + TIMER_MIN_PERIOD_NS);
    timer_arm(&apic->timer, deadline);
}

void lapic_timer_expired(void *opaque)
{
    struct lapic *apic = opaque;
    lapic_timer_sync(apic);
    lapic_timer_arm(apic);
}

u32 lapic_timer_count(const struct lapic *apic)
{
    u64 now = lapic_now(apic), divisor = timer_divisor(apic);
    if (!apic->timer_running || timer_is_deadline(apic) || now >= apic->timer_next)
        return 0;
    u64 count = (apic->timer_next - now - 1) / divisor + 1;
    return (u32)MIN(count, apic->initial_count);
}

static void timer_stop(struct lapic *apic)
{
    apic->timer_running = false;
    apic->tsc_deadline = 0;
    apic->initial_count = 0;
}

void lapic_timer_set_lvt(struct lapic *apic, u32 value)
{
    lapic_timer_sync(apic);
    u32 was = timer_mode(apic);
    apic->lvt[LVT_TIMER] = value;
    /* Into or out of TSC-deadline mode disarms (10.5.4.1). Between one-shot and periodic the count goes on.
     */
    if ((was ^ value) & LVT_TSC_DEADLINE)
        timer_stop(apic);
    lapic_timer_arm(apic);
}

void lapic_timer_set_count(struct lapic *apic, u32 count)
{
    if (timer_is_deadline(apic))
        return; /* ignored (10.5.4.1) */
    apic->initial_count = count;
    apic->timer_running = count != 0;
    apic->timer_next = lapic_now(apic) + timer_period(apic);
    lapic_timer_arm(apic);
}

void lapic_timer_set_divide(struct lapic *apic, u32 divide)
{
    lapic_timer_sync(apic);
    u32 count = lapic_timer_count(apic);
    apic->divide = divide & 0xb;
    if (apic->timer_running && !timer_is_deadline(apic))
        apic->timer_next = lapic_now(apic) + count * timer_divisor(apic);
    lapic_timer_arm(apic);
}

void lapic_timer_set_deadline(struct lapic *apic, u64 tsc)
{
    if (timer_mode(apic) != LVT_TSC_DEADLINE)
        return; /* ignored */
    const struct cpu_port *port = &apic->config.port;
    u64 now = lapic_now(apic);
    u64 tsc_now = now + (u64)(port->tsc_offset ? port->tsc_offset(port->cpu) : 0);
    apic->tsc_deadline = tsc;
    apic->timer_running = tsc != 0;
    if (tsc <= tsc_now)
        apic->timer_next = now;
    else
        apic->timer_next = tsc - tsc_now > ~0ull - now ? ~0ull : now + (tsc - tsc_now);
    lapic_timer_sync(apic);
    lapic_timer_arm(apic);
}

void lapic_timer_tsc_changed(void *opaque)
{
    struct lapic *apic = opaque;
    if (apic->timer_running && timer_is_deadline(apic))
        lapic_timer_set_deadline(apic, apic->tsc_deadline);
}
