#include "devices/timer/pit_channel.h"

enum { STATUS_OUTPUT = BIT(7), STATUS_NULL = BIT(6) };

/* After the terminal count the counting element wraps around. */
static u32 channel_modulus(const struct pit_channel *c)
{
    return c->bcd ? 10000 : 65536;
}

/* Modes 2 and 3 start again and again. */
static bool channel_is_periodic(const struct pit_channel *c)
{
    return c->mode == 2 || c->mode == 3;
}

/* Modes 1 and 5 are started by the gate's rising edge only. */
static bool channel_is_triggered(const struct pit_channel *c)
{
    return c->mode == 1 || c->mode == 5;
}

/* Mode 3: how long the output is high; odd counts are high one CLK longer than low. */
static u32 channel_high(const struct pit_channel *c)
{
    return (c->count + 1) / 2;
}

/* Ticks since the load; negative: it is still to come. */
static s64 channel_elapsed(const struct pit_channel *c, u64 tick)
{
    return c->stopped ? (s64)c->elapsed : (s64)(tick - c->start);
}

static void channel_load(struct pit_channel *c, u64 start)
{
    c->count = c->reload;
    c->pending = false;
    c->start = start;
    c->elapsed = 0;
    c->armed = true;
    c->stopped = false;
}

/* Loads a count that waited for the end of the period, or in mode 3 of the half period (figures 17 and 18).
 */
static void channel_sync(struct pit_channel *c, u64 tick)
{
    if (!channel_is_periodic(c) || !c->pending || c->stopped || (s64)(tick - c->switch_at) < 0)
        return;
    bool half = c->mode == 3 && c->switch_at == c->start + channel_high(c) && channel_high(c) != c->count;
    channel_load(c, c->switch_at);
    if (half) /* the new count's low half begins */
        c->start -= channel_high(c);
}

static void channel_stop(struct pit_channel *c, u64 tick)
{
    s64 elapsed = channel_elapsed(c, tick);
    if (elapsed < 0)
        elapsed = 0;
    else if (channel_is_periodic(c))
        elapsed %= c->count;
    else if (elapsed > c->count) /* only whether it ended, and the counter's value, are of interest */
        elapsed = c->count + 1 + (elapsed - c->count - 1) % channel_modulus(c);
    c->elapsed = (u32)elapsed;
    c->stopped = true;
}

void pit_channel_reset(struct pit_channel *c, bool gate)
{
    *c = (struct pit_channel){
        .access = PIT_BOTH, .gate = gate, .stopped = true, .count = 65536, .reload = 65536};
}

/* --- counting --------------------------------------------------------------------------------------------
 */

/* The output's initial state once a control word was written: low in mode 0, else high. */
static bool channel_idle_output(const struct pit_channel *c)
{
    return c->mode != 0;
}

bool pit_channel_output(struct pit_channel *c, u64 tick)
{
    channel_sync(c, tick);
    s64 elapsed = channel_elapsed(c, tick);
    if (!c->armed)
        return channel_idle_output(c);
    if (elapsed < 0)
        return c->before;
    switch (c->mode) {
    case 0:
    case 1:
        return elapsed >= c->count;
    case 2: /* low in the last CLK; a count of 1 is illegal */
        return c->stopped || c->count < 2 || elapsed % c->count != c->count - 1;
    case 3:
        return c->stopped || elapsed % c->count < channel_high(c);
    default:
        return elapsed != c->count;
    }
}

static u16 to_bcd(u32 n)
{
    return (u16)(n / 1000 % 10 << 12 | n / 100 % 10 << 8 | n / 10 % 10 << 4 | n % 10);
}

/* Digits beyond 9 count with their weight. */
static u32 from_bcd(u16 v)
{
    return (v >> 12) * 1000u + (v >> 8 & 15) * 100u + (v >> 4 & 15) * 10u + (v & 15);
}

/* What the counting element holds. */
static u16 channel_value(struct pit_channel *c, u64 tick)
{
    channel_sync(c, tick);
    s64 elapsed = channel_elapsed(c, tick);
    u64 e = elapsed < 0 ? 0 : (u64)elapsed;
    u32 value, modulus = channel_modulus(c);
    switch (c->mode) {
    case 2:
        value = c->count - (u32)(e % c->count);
        break;
    case 3: { /* down by two, from an even number, in each half */
        u32 at = (u32)(e % c->count), high = channel_high(c);
        value = (c->count & ~1u) - 2 * (at < high ? at : at - high);
        break;
    }
    default:
        value = (u32)((c->count + (u64)modulus * 2 - e % modulus) % modulus);
        break;
    }
    return c->bcd ? to_bcd(value) : (u16)value;
}

void pit_channel_set_gate(struct pit_channel *c, u64 tick, bool gate)
{
    if (gate == c->gate)
        return;
    channel_sync(c, tick);
    c->gate = gate;
    if (!gate) {
        if (!channel_is_triggered(c) && c->armed && !c->stopped)
            channel_stop(c, tick);
    } else if (channel_is_periodic(c) || channel_is_triggered(c)) {
        if (!c->written)
            return;
        c->before = pit_channel_output(c, tick);
        channel_load(c, tick + 1);
    } else if (c->armed) {
        c->start = tick - c->elapsed;
        c->stopped = false;
    }
}

/* --- programming -----------------------------------------------------------------------------------------
 */

void pit_channel_control(struct pit_channel *c, u64 tick, u8 control)
{
    channel_sync(c, tick);
    if (!c->stopped)
        channel_stop(c, tick);
    c->access = control >> 4 & 3;
    c->mode = control >> 1 & 7;
    if (c->mode > 5)
        c->mode &= 3;
    c->bcd = control & 1;
    c->armed = c->pending = c->written = false;
    c->write_high = c->read_high = c->status_latched = false;
    c->latched = 0;
}

/* A new count for a periodic mode that is running. */
static void channel_postpone(struct pit_channel *c, u64 tick)
{
    s64 elapsed = channel_elapsed(c, tick);
    if (elapsed < 0) { /* the old one was not even loaded */
        channel_load(c, c->start);
        return;
    }
    if (c->pending)
        return;
    u64 at = (u64)elapsed % c->count;
    c->start += (u64)elapsed - at;
    c->switch_at = c->start + (c->mode == 3 && at < channel_high(c) ? channel_high(c) : c->count);
    c->pending = true;
}

static void channel_write_count(struct pit_channel *c, u64 tick, u16 value)
{
    channel_sync(c, tick);
    u32 count = c->bcd ? from_bcd(value) : value;
    c->reload = count ? count : channel_modulus(c);
    c->written = true;
    if (channel_is_triggered(c)) {
        c->pending = true;
    } else if (channel_is_periodic(c) && c->armed) {
        if (c->stopped)
            c->pending = true;
        else
            channel_postpone(c, tick);
    } else {
        c->before = c->mode != 0 && pit_channel_output(c, tick);
        channel_load(c, tick + 1);
        if (!c->gate) {
            c->elapsed = 0;
            c->stopped = true;
        }
    }
}

void pit_channel_write(struct pit_channel *c, u64 tick, u8 value)
{
    if (c->access == PIT_LOW) {
        channel_write_count(c, tick, value);
    } else if (c->access == PIT_HIGH) {
        channel_write_count(c, tick, (u16)(value << 8));
    } else if (c->write_high) {
        c->write_high = false;
        channel_write_count(c, tick, (u16)(c->write_low | value << 8));
    } else {
        c->write_low = value;
        c->write_high = true;
        if (c->mode == 0 && c->armed) { /* counting is disabled and the output low at once */
            channel_stop(c, tick);
            c->armed = false;
        }
    }
}

/* --- reading ---------------------------------------------------------------------------------------------
 */

void pit_channel_latch_count(struct pit_channel *c, u64 tick)
{
    if (c->latched)
        return; /* the first one holds until it is read */
    c->latch = channel_value(c, tick);
    c->latched = c->access == PIT_BOTH ? 2 : 1;
}

void pit_channel_latch_status(struct pit_channel *c, u64 tick)
{
    if (c->status_latched)
        return;
    bool output = pit_channel_output(c, tick);
    bool null = !c->armed || c->pending || channel_elapsed(c, tick) < 0;
    c->status = (u8)((output ? STATUS_OUTPUT : 0) | (null ? STATUS_NULL : 0) | c->access << 4 | c->mode << 1 |
                     c->bcd);
    c->status_latched = true;
}

u8 pit_channel_read(struct pit_channel *c, u64 tick)
{
    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    u16 value = c->latched ? c->latch : channel_value(c, tick);
    if (c->latched)
        c->latched--;
    bool high = c->access == PIT_HIGH;
    if (c->access == PIT_BOTH) {
        high = c->read_high;
        c->read_high = !high;
    }
    return (u8)(high ? value >> 8 : value);
}

/* --- edges -----------------------------------------------------------------------------------------------
 */

bool pit_channel_level(struct pit_channel *c, u64 tick)
{
    bool output = pit_channel_output(c, tick);
    return c->mode == 2 || c->mode >= 4 ? channel_idle_output(c) : output;
}

/* The tick of the only rising edge of a mode that does not repeat. */
static u64 channel_end(const struct pit_channel *c)
{
    return c->start + c->count + (c->mode >= 4);
}

/* Rising edges of the counting element as it is loaded now. */
static bool channel_rose(const struct pit_channel *c, u64 from, u64 tick)
{
    if (!c->armed || c->stopped)
        return false;
    if (!channel_is_periodic(c))
        return (s64)(from - channel_end(c)) < 0 && (s64)(tick - channel_end(c)) >= 0;
    s64 first = (s64)(from - c->start), last = (s64)(tick - c->start);
    if (c->count < 2 || last < 0)
        return false;
    return last / c->count > MAX(first, 0) / c->count;
}

bool pit_channel_rose(struct pit_channel *c, u64 from, u64 tick)
{
    if (!channel_is_periodic(c) || !c->pending || (s64)(tick - c->switch_at) < 0)
        return channel_rose(c, from, tick);
    u64 switch_at = c->switch_at;
    bool rose = channel_rose(c, from, switch_at);
    channel_sync(c, tick);
    return channel_rose(c, switch_at, tick) || rose;
}

u64 pit_channel_next_edge(struct pit_channel *c, u64 tick)
{
    channel_sync(c, tick);
    if (!c->armed || c->stopped)
        return PIT_NEVER;
    if (!channel_is_periodic(c))
        return (s64)(tick - channel_end(c)) < 0 ? channel_end(c) : PIT_NEVER;
    if (c->count < 2)
        return PIT_NEVER;
    s64 elapsed = (s64)(tick - c->start);
    u64 e = elapsed < 0 ? 0 : (u64)elapsed, period = c->start + e - e % c->count;
    if (c->mode == 3 && e % c->count < channel_high(c))
        return period + channel_high(c);
    return period + c->count;
}

bool pit_channel_is_valid(const struct pit_channel *c)
{
    return c->mode <= 5 && c->access >= PIT_LOW && c->access <= PIT_BOTH && c->count >= 1 &&
           c->count <= 65536 && c->reload >= 1 && c->reload <= 65536 && c->latched <= 2 &&
           (c->armed || c->stopped);
}
