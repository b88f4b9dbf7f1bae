/*
 * Motorola MC146818A. The registers 0..9 (and the century) are as the chip would have them at the last update
 * before `updated`; updates since then are applied when somebody looks. Until then a guest reads back what it
 * wrote.
 *
 * The divider chain runs in virtual time: seconds end at updated + k s; the 32768 Hz periods of register A
 * divide them. A flag that is set already, or whose interrupt is not enabled, needs no host timer.
 */
#include "devices/timer/rtc.h"

#include <stdlib.h>
#include <string.h>

#include "devices/timer/calendar.h"

enum {
    SECONDS,
    SECONDS_ALARM,
    MINUTES,
    MINUTES_ALARM,
    HOURS,
    HOURS_ALARM,
    WEEKDAY,
    DAY,
    MONTH,
    YEAR,
    REG_A,
    REG_B,
    REG_C,
    REG_D,
    RAM
};
enum { A_UIP = BIT(7), A_DV = 7 << 4, A_DV_32KHZ = 2 << 4, A_RS = 0xf };
enum {
    B_SET = BIT(7),
    B_PIE = BIT(6),
    B_AIE = BIT(5),
    B_UIE = BIT(4),
    B_SQWE = BIT(3),
    B_DM = BIT(2),
    B_24 = BIT(1)
};
enum { C_IRQF = BIT(7), C_PF = BIT(6), C_AF = BIT(5), C_UF = BIT(4) };

/* UIP comes t_BUC = 244 us before an update cycle, which takes t_UC = 1984 us; the registers change at its
 * end. */
#define UIP_NS         ((244 + 1984) * 1000ull)
#define DAY_SECONDS    86400u
#define ALARM_NEVER    (~0u)
#define ALARM_ANY      0xc0 /* this and above: "don't care" */
#define CHECKSUM_FIRST 0x10
#define CHECKSUM_LAST  0x2d
#define CHECKSUM       0x2e

struct rtc {
    u8 reg[CMOS_SIZE];
    u8 index, index2;
    bool nmi_masked;
    s64 updated;       /* virtual time of the last update that was applied; may be before 0 */
    u64 periodic_seen; /* periods up to this virtual time have set PF */
    bool line;
    struct timer timer;
    struct irq_line irq;
    struct loop *loop;
    struct mem_space *mem;
    struct log *log;
    struct port_region ports;
};

static u64 rtc_now(const struct rtc *rtc)
{
    return clock_now(loop_clock(rtc->loop));
}

/* --- the registers' formats ------------------------------------------------------------------------------
 */

static unsigned rtc_decode(const struct rtc *rtc, u8 value)
{
    return rtc->reg[REG_B] & B_DM ? value : (value >> 4) * 10u + (value & 15);
}

static u8 rtc_encode(const struct rtc *rtc, unsigned value)
{
    return (u8)(rtc->reg[REG_B] & B_DM ? value : value / 10 << 4 | value % 10);
}

static unsigned rtc_decode_hour(const struct rtc *rtc, u8 value)
{
    if (rtc->reg[REG_B] & B_24)
        return rtc_decode(rtc, value);
    return rtc_decode(rtc, value & 0x7f) % 12 + (value & 0x80 ? 12 : 0);
}

static u8 rtc_encode_hour(const struct rtc *rtc, unsigned hour)
{
    if (rtc->reg[REG_B] & B_24)
        return rtc_encode(rtc, hour);
    return rtc_encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? 0x80 : 0);
}

static unsigned rtc_second_of_day(const struct rtc *rtc)
{
    return (rtc_decode_hour(rtc, rtc->reg[HOURS]) % 24 * 60 + rtc_decode(rtc, rtc->reg[MINUTES]) % 60) * 60 +
           rtc_decode(rtc, rtc->reg[SECONDS]) % 60;
}

/* The century byte is RAM to the chip, and BCD to all software. */
static unsigned rtc_year(const struct rtc *rtc)
{
    u8 century = rtc->reg[CMOS_CENTURY];
    return ((century >> 4) * 10u + (century & 15)) * 100u + rtc_decode(rtc, rtc->reg[YEAR]) % 100;
}

static void rtc_set_date(struct rtc *rtc, struct date date)
{
    rtc->reg[DAY] = rtc_encode(rtc, date.day);
    rtc->reg[MONTH] = rtc_encode(rtc, date.month);
    rtc->reg[YEAR] = rtc_encode(rtc, (unsigned)date.year % 100);
    unsigned century = (unsigned)date.year / 100 % 100;
    rtc->reg[CMOS_CENTURY] = (u8)(century / 10 << 4 | century % 10);
}

static void rtc_set_time(struct rtc *rtc, unsigned second_of_day)
{
    rtc->reg[HOURS] = rtc_encode_hour(rtc, second_of_day / 3600);
    rtc->reg[MINUTES] = rtc_encode(rtc, second_of_day / 60 % 60);
    rtc->reg[SECONDS] = rtc_encode(rtc, second_of_day % 60);
}

/* Advances the calendar by `n` > 0 seconds. What was out of range is brought into it. */
static void rtc_advance(struct rtc *rtc, u64 n)
{
    u64 second = rtc_second_of_day(rtc) + n;
    rtc_set_time(rtc, (unsigned)(second % DAY_SECONDS));
    u64 days = second / DAY_SECONDS;
    if (!days)
        return;
    unsigned weekday = rtc_decode(rtc, rtc->reg[WEEKDAY]); /* 1..7, counts on its own */
    rtc->reg[WEEKDAY] = rtc_encode(rtc, (unsigned)((weekday + 6 + days) % 7 + 1));
    struct date date = {(int)rtc_year(rtc), rtc_decode(rtc, rtc->reg[MONTH]), rtc_decode(rtc, rtc->reg[DAY])};
    date.month = MIN(MAX(date.month, 1u), 12u);
    date.day = MIN(MAX(date.day, 1u), 31u);
    rtc_set_date(rtc, date_from_days(days_from_date(date) + (s64)days));
}

/* --- the alarm -------------------------------------------------------------------------------------------
 */

/* The chip compares bytes as they are: one that is no valid time never matches. */
static bool alarm_matches(const struct rtc *rtc, unsigned reg, unsigned value)
{
    u8 alarm = rtc->reg[reg];
    return alarm >= ALARM_ANY ||
           alarm == (reg == HOURS_ALARM ? rtc_encode_hour(rtc, value) : rtc_encode(rtc, value));
}

/* Seconds (1..86400) until the next update at which the alarm matches, or ALARM_NEVER. */
static unsigned rtc_seconds_to_alarm(const struct rtc *rtc)
{
    unsigned second = 0, now = rtc_second_of_day(rtc), at = now + 1;
    while (second < 60 && !alarm_matches(rtc, SECONDS_ALARM, second))
        second++;
    if (second == 60)
        return ALARM_NEVER; /* else every minute that matches has an end to the search */
    while (at <= now + DAY_SECONDS) {
        if (!alarm_matches(rtc, HOURS_ALARM, at / 3600 % 24))
            at = (at / 3600 + 1) * 3600;
        else if (!alarm_matches(rtc, MINUTES_ALARM, at / 60 % 60))
            at = (at / 60 + 1) * 60;
        else if (!alarm_matches(rtc, SECONDS_ALARM, at % 60))
            at++;
        else
            return at - now;
    }
    return ALARM_NEVER;
}

/* --- time passes -----------------------------------------------------------------------------------------
 */

static bool rtc_divider_runs(const struct rtc *rtc)
{
    return (rtc->reg[REG_A] & A_DV) <= A_DV_32KHZ;
}

static bool rtc_updates(const struct rtc *rtc)
{
    return rtc_divider_runs(rtc) && !(rtc->reg[REG_B] & B_SET);
}

/* 32768 Hz ticks of a period: table 5 of the data sheet; 0: none. */
static u64 rtc_period(const struct rtc *rtc)
{
    unsigned rs = rtc->reg[REG_A] & A_RS;
    return rs == 0 ? 0 : rs <= 2 ? BIT(rs + 6) : BIT(rs - 1);
}

/* Periods since the last update. */
static u64 rtc_periods(const struct rtc *rtc, u64 now)
{
    s64 elapsed = (s64)now - rtc->updated;
    return elapsed < 0 ? 0 : mul_div((u64)elapsed, 32768, NS_PER_SEC) / rtc_period(rtc);
}

static u64 rtc_period_end(const struct rtc *rtc, u64 periods)
{
    return (u64)rtc->updated + mul_div(periods * rtc_period(rtc), NS_PER_SEC, 32768) + 1;
}

static void rtc_update_irq(struct rtc *rtc)
{
    bool irq = rtc->reg[REG_C] & rtc->reg[REG_B] & (C_PF | C_AF | C_UF);
    rtc->reg[REG_C] = (u8)((rtc->reg[REG_C] & ~C_IRQF) | (irq ? C_IRQF : 0));
    if (irq == rtc->line)
        return;
    rtc->line = irq;
    irq_set(&rtc->irq, irq);
}

/* Brings registers and flags up to now. Before every access. */
static void rtc_sync(struct rtc *rtc)
{
    u64 now = rtc_now(rtc);
    if (rtc_divider_runs(rtc) && rtc_period(rtc) && now > rtc->periodic_seen &&
        rtc_periods(rtc, now) > rtc_periods(rtc, rtc->periodic_seen))
        rtc->reg[REG_C] |= C_PF;
    rtc->periodic_seen = now;
    s64 elapsed = (s64)now - rtc->updated;
    if (rtc_divider_runs(rtc) && elapsed >= (s64)NS_PER_SEC) {
        u64 seconds = (u64)elapsed / NS_PER_SEC;
        if (rtc_updates(rtc)) {
            rtc->reg[REG_C] |= C_UF;
            if (rtc_seconds_to_alarm(rtc) <= seconds)
                rtc->reg[REG_C] |= C_AF;
            rtc_advance(rtc, seconds);
        }
        rtc->updated += (s64)(seconds * NS_PER_SEC);
    }
    rtc_update_irq(rtc);
}

/* Waits for the next flag that would interrupt. */
static void rtc_arm(struct rtc *rtc)
{
    u8 wanted = rtc->reg[REG_B] & (u8)~rtc->reg[REG_C];
    u64 deadline = ~0ull;
    /* While the interrupt is pending further flags change nothing that is not found by a look. */
    if ((rtc->reg[REG_C] & C_IRQF) || !rtc_divider_runs(rtc)) {
        timer_disarm(&rtc->timer);
        return;
    }
    if ((wanted & B_PIE) && rtc_period(rtc))
        deadline = rtc_period_end(rtc, rtc_periods(rtc, rtc_now(rtc)) + 1);
    if ((wanted & B_UIE) && rtc_updates(rtc))
        deadline = MIN(deadline, (u64)rtc->updated + NS_PER_SEC);
    if ((wanted & B_AIE) && rtc_updates(rtc) && rtc_seconds_to_alarm(rtc) != ALARM_NEVER)
        deadline = MIN(deadline, (u64)rtc->updated + rtc_seconds_to_alarm(rtc) * NS_PER_SEC);
    if (deadline == ~0ull)
        timer_disarm(&rtc->timer);
    else
        timer_arm(&rtc->timer, deadline);
}

static void rtc_expired(void *opaque)
{
    struct rtc *rtc = opaque;
    rtc_sync(rtc);
    rtc_arm(rtc);
}

/* --- ports -----------------------------------------------------------------------------------------------
 */

static bool rtc_is_updating(const struct rtc *rtc)
{
    s64 elapsed = (s64)rtc_now(rtc) - rtc->updated;
    return rtc_updates(rtc) && elapsed >= (s64)(NS_PER_SEC - UIP_NS);
}

static u8 rtc_read_register(struct rtc *rtc, u8 index)
{
    rtc_sync(rtc);
    u8 value = rtc->reg[index];
    switch (index) {
    case REG_A:
        return value | (rtc_is_updating(rtc) ? A_UIP : 0);
    case REG_C: /* reading clears it */
        rtc->reg[REG_C] = 0;
        rtc_update_irq(rtc);
        rtc_arm(rtc);
        return value;
    default:
        return value;
    }
}

static void rtc_write_a(struct rtc *rtc, u8 value)
{
    bool ran = rtc_divider_runs(rtc);
    rtc->reg[REG_A] = value & (u8)~A_UIP;
    /* "The first update cycle begins one-half second after the divider reset is removed." */
    if (!ran && rtc_divider_runs(rtc))
        rtc->updated = (s64)rtc_now(rtc) - (s64)NS_PER_SEC / 2;
}

static void rtc_write_register(struct rtc *rtc, u8 index, u8 value)
{
    log_trace(rtc->log, TRACE_TIMER, "rtc: %#x <- %#x", index, value);
    rtc_sync(rtc);
    switch (index) {
    case REG_A:
        rtc_write_a(rtc, value);
        break;
    case REG_B:
        if (value & B_SET)
            value &= (u8)~B_UIE;
        rtc->reg[REG_B] = value;
        break;
    case REG_C:
    case REG_D:
        return; /* read-only */
    default:
        rtc->reg[index] = value;
        break;
    }
    rtc_update_irq(rtc);
    rtc_arm(rtc);
}

static u64 rtc_read(void *dev, u64 offset, unsigned size)
{
    struct rtc *rtc = dev;
    switch (offset) {
    case 1:
        return rtc_read_register(rtc, rtc->index);
    case 3:
        return rtc->reg[128 + rtc->index2];
    default:
        return 0xff; /* the index registers are write-only */
    }
}

static void rtc_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct rtc *rtc = dev;
    switch (offset) {
    case 0:
        rtc->index = value & 0x7f;
        rtc->nmi_masked = value & 0x80;
        break;
    case 1:
        rtc_write_register(rtc, rtc->index, (u8)value);
        break;
    case 2:
        rtc->index2 = value & 0x7f;
        break;
    default:
        rtc->reg[128 + rtc->index2] = (u8)value;
        break;
    }
}

static const struct io_ops rtc_ops = {rtc_read, rtc_write, .max_size = 1};

bool rtc_masks_nmi(const struct rtc *rtc)
{
    return rtc->nmi_masked;
}

/* --- contents --------------------------------------------------------------------------------------------
 */

void rtc_set_cmos(struct rtc *rtc, u8 index, u8 value)
{
    if (index < RAM)
        return;
    rtc->reg[index] = value;
    u16 sum = 0;
    for (unsigned i = CHECKSUM_FIRST; i <= CHECKSUM_LAST; i++)
        sum += rtc->reg[i];
    rtc->reg[CHECKSUM] = (u8)(sum >> 8);
    rtc->reg[CHECKSUM + 1] = (u8)sum;
}

static void cmos_set_word(struct rtc *rtc, u8 index, u64 value)
{
    value = MIN(value, 0xffff);
    rtc_set_cmos(rtc, index, (u8)value);
    rtc_set_cmos(rtc, index + 1, (u8)(value >> 8));
}

void rtc_set_memory(struct rtc *rtc, u64 below_4g, u64 above_4g)
{
    u64 base = MIN(below_4g, KIB(640)), extended = below_4g > MIB(1) ? below_4g - MIB(1) : 0;
    cmos_set_word(rtc, 0x15, base >> 10);
    cmos_set_word(rtc, 0x17, extended >> 10);
    cmos_set_word(rtc, 0x30, extended >> 10);
    cmos_set_word(rtc, 0x34, below_4g > MIB(16) ? (below_4g - MIB(16)) >> 16 : 0);
    for (u8 i = 0; i < 3; i++) /* 64 KiB units, 24 bits */
        rtc_set_cmos(rtc, 0x5b + i, (u8)(above_4g >> (16 + 8 * i)));
}

void rtc_reset(struct rtc *rtc)
{
    rtc_sync(rtc);
    rtc->reg[REG_B] &= (u8) ~(B_PIE | B_AIE | B_UIE | B_SQWE);
    rtc->reg[REG_C] = 0;
    rtc->index = rtc->index2 = 0;
    rtc->nmi_masked = false;
    rtc_update_irq(rtc);
    rtc_arm(rtc);
}

/* A battery that was never empty: the date is right, in BCD and 24 hours. */
static void rtc_set_up(struct rtc *rtc, s64 start)
{
    s64 days = start / DAY_SECONDS, second = start % DAY_SECONDS;
    if (second < 0) {
        days--;
        second += DAY_SECONDS;
    }
    rtc->reg[REG_A] = A_DV_32KHZ | 6; /* 1024 Hz */
    rtc->reg[REG_B] = B_24;
    rtc->reg[REG_D] = 0x80; /* VRT */
    rtc_set_time(rtc, (unsigned)second);
    rtc_set_date(rtc, date_from_days(days));
    rtc->reg[WEEKDAY] =
        rtc_encode(rtc, (unsigned)(((days + 4) % 7 + 7) % 7 + 1)); /* 1970-01-01 was a Thursday */
    rtc_set_cmos(rtc, 0x14, 0x06); /* equipment: FPU, mouse port; no diskette drive */
}

/* --- saved state -----------------------------------------------------------------------------------------
 */

struct rtc_state {
    u8 reg[CMOS_SIZE];
    u8 index, index2;
    bool nmi_masked, line;
    s64 updated;
    u64 periodic_seen, deadline;
};

static void rtc_save(const void *dev, void *out)
{
    const struct rtc *rtc = dev;
    struct rtc_state *s = out;
    memcpy(s->reg, rtc->reg, sizeof s->reg);
    s->index = rtc->index, s->index2 = rtc->index2;
    s->nmi_masked = rtc->nmi_masked, s->line = rtc->line;
    s->updated = rtc->updated, s->periodic_seen = rtc->periodic_seen;
    s->deadline = timer_is_armed(&rtc->timer) ? rtc->timer.deadline : ~0ull;
}

static int rtc_check(const void *dev, const void *in, struct error *err)
{
    const struct rtc_state *s = in;
    /* A bound of 73 years each way keeps the arithmetic of `updated` in 64 bits. */
    if (s->updated > (s64)BIT(61) || s->updated < -(s64)BIT(61))
        return error_set(err, EINVAL, "rtc: the last update is at no possible time");
    if (s->reg[REG_A] & A_UIP)
        return error_set(err, EINVAL, "rtc: register A has a bit that is computed");
    return 0;
}

static void rtc_load(void *dev, const void *in)
{
    struct rtc *rtc = dev;
    const struct rtc_state *s = in;
    memcpy(rtc->reg, s->reg, sizeof rtc->reg);
    rtc->index = s->index, rtc->index2 = s->index2;
    rtc->nmi_masked = s->nmi_masked, rtc->line = s->line;
    rtc->updated = s->updated, rtc->periodic_seen = s->periodic_seen;
    if (s->deadline == ~0ull)
        timer_disarm(&rtc->timer);
    else
        timer_arm(&rtc->timer, s->deadline);
}

static const struct state_field rtc_fields[] = {
    STATE_ARRAY(struct rtc_state, reg, u8),
    STATE_FIELD_MAX(struct rtc_state, index, 0x7f),
    STATE_FIELD_MAX(struct rtc_state, index2, 0x7f),
    STATE_BOOL(struct rtc_state, nmi_masked),
    STATE_BOOL(struct rtc_state, line),
    STATE_FIELD(struct rtc_state, updated),
    STATE_FIELD(struct rtc_state, periodic_seen),
    STATE_FIELD(struct rtc_state, deadline),
};

static const struct state_desc rtc_desc = {
    .name = "rtc",
    .version = 1,
    .size = sizeof(struct rtc_state),
    .fields = rtc_fields,
    .field_count = ARRAY_LEN(rtc_fields),
    .save = rtc_save,
    .check = rtc_check,
    .load = rtc_load,
};

/* --- lifecycle -------------------------------------------------------------------------------------------
 */

int rtc_create(struct rtc **out, const struct device_env *env, struct irq_line irq, s64 start,
               struct error *err)
{
    struct rtc *rtc = calloc(1, sizeof *rtc);
    if (!rtc || state_set_add(env->state, &rtc_desc, rtc, 0) < 0) {
        free(rtc);
        return error_set(err, ENOMEM, "no memory for the real-time clock");
    }
    rtc->irq = irq;
    rtc->loop = env->loop;
    rtc->mem = env->mem;
    rtc->log = env->log;
    timer_init(&rtc->timer, env->loop, rtc_expired, rtc);
    rtc_set_up(rtc, start);
    rtc->ports = (struct port_region){"rtc", 0x70, 4, &rtc_ops, rtc};
    port_map(env->mem, &rtc->ports);
    rtc_reset(rtc);
    *out = rtc;
    return 0;
}

void rtc_destroy(struct rtc *rtc)
{
    if (!rtc)
        return;
    timer_disarm(&rtc->timer);
    port_unmap(rtc->mem, &rtc->ports);
    free(rtc);
}
