/*
 * Register names are the specification's (IA-PC HPET 1.0a, chapter 2).
 *
 * Time is counted in `ticks`: counter clocks since power-on in which the counter ran. The main counter is
 * ticks + offset, modulo 2^64, and `due` is the tick of a timer's next match, so neither wrap nor a counter
 * write disturbs an order. Matches are found when somebody looks; a host timer waits only for those that will
 * interrupt.
 *
 * An edge-triggered interrupt leaves its line high until the next one: a mere pulse would be gone before a
 * PIC with interrupts disabled is asked for it.
 */
#include "devices/timer/hpet.h"

#include <stdlib.h>

#include "base/bytes.h"

/* The shortest time between two host timers of a comparator. */
#define HPET_MIN_INTERVAL_NS 20000ull

#define NEVER (~0ull)

/* Nothing is armed for what is further away (nine years). Also a bound on saved state. */
#define LAST_TICK BIT(55)

enum {
    GCAP_ID = 0x00,
    GEN_CONF = 0x10,
    GINTR_STA = 0x20,
    MAIN_CNT = 0xf0,
    TIMER_BASE = 0x100,
    TIMER_STRIDE = 0x20
};
enum { TN_CONF = 0x00, TN_CMP = 0x08, TN_FSB = 0x10 };
enum { ENABLE_CNF = BIT(0), LEG_RT_CNF = BIT(1) };
enum {
    TN_LEVEL = BIT(1), /* Tn_INT_TYPE_CNF */
    TN_INT_ENB = BIT(2),
    TN_PERIODIC = BIT(3), /* Tn_TYPE_CNF */
    TN_PER_CAP = BIT(4),
    TN_SIZE_CAP = BIT(5),
    TN_VAL_SET = BIT(6),
    TN_32BIT = BIT(8), /* Tn_32MODE_CNF */
    TN_ROUTE = 0x1f << 9,
    TN_FSB_EN = BIT(14),
    TN_FSB_CAP = BIT(15),
    TN_WRITABLE = TN_LEVEL | TN_INT_ENB | TN_PERIODIC | TN_VAL_SET | TN_32BIT | TN_ROUTE | TN_FSB_EN,
};

struct hpet_timer {
    u32 config; /* TN_WRITABLE bits */
    u64 cmp, period, fsb;
    u64 due; /* tick of the next match; NEVER: none */
    u8 wire; /* where `line` is driven: a pin, or WIRE_LEGACY */
    bool line;
    struct timer timer;
    struct hpet *hpet;
};

#define WIRE_LEGACY HPET_PINS

struct hpet {
    u64 conf, status;
    u64 ticks, since; /* ticks at virtual time `since`; they advance while enabled */
    u64 offset;
    bool input[2];  /* PIT, RTC */
    bool legacy[2]; /* driven levels of IRQ0, IRQ8 */
    struct hpet_timer timer[HPET_TIMERS];
    struct hpet_config config;
    struct loop *loop;
    struct mem_space *mem;
    struct log *log;
    struct mem_region region;
};

static u64 hpet_now(const struct hpet *hpet)
{
    return clock_now(loop_clock(hpet->loop));
}

static u64 hpet_ticks(const struct hpet *hpet)
{
    u64 now = hpet_now(hpet);
    if (!(hpet->conf & ENABLE_CNF) || now < hpet->since)
        return hpet->ticks;
    return hpet->ticks + (now - hpet->since) / HPET_PERIOD_NS;
}

static unsigned timer_index(const struct hpet_timer *t)
{
    return (unsigned)(t - t->hpet->timer);
}

/* "If ENABLE_CNF and LEG_RT_CNF are both set" (2.3.5). */
static bool hpet_replaces_legacy(const struct hpet *hpet)
{
    return (hpet->conf & (ENABLE_CNF | LEG_RT_CNF)) == (ENABLE_CNF | LEG_RT_CNF);
}

/* --- lines -----------------------------------------------------------------------------------------------
 */

static void hpet_update_legacy(struct hpet *hpet)
{
    for (unsigned n = 0; n < 2; n++) {
        const struct hpet_timer *t = &hpet->timer[n];
        bool level = hpet_replaces_legacy(hpet) ? t->line && t->wire == WIRE_LEGACY : hpet->input[n];
        if (level == hpet->legacy[n])
            continue;
        hpet->legacy[n] = level;
        irq_set(&hpet->config.legacy[n], level);
    }
}

static void hpet_set_input(void *opaque, unsigned n, bool level)
{
    struct hpet *hpet = opaque;
    hpet->input[n] = level;
    hpet_update_legacy(hpet);
}

struct irq_line hpet_legacy_line(struct hpet *hpet, unsigned n)
{
    return (struct irq_line){hpet_set_input, hpet, n & 1};
}

static void timer_drive(struct hpet_timer *t, bool level)
{
    if (level == t->line)
        return;
    t->line = level;
    if (t->wire == WIRE_LEGACY)
        hpet_update_legacy(t->hpet);
    else
        irq_set(&t->hpet->config.pin[t->wire], level);
}

static bool timer_interrupts(const struct hpet_timer *t)
{
    return (t->hpet->conf & ENABLE_CNF) && (t->config & TN_INT_ENB);
}

/* Puts the line where the registers want it, after a change of them. */
static void timer_update_line(struct hpet_timer *t)
{
    struct hpet *hpet = t->hpet;
    unsigned n = timer_index(t);
    u8 wire = n < 2 && hpet_replaces_legacy(hpet) ? WIRE_LEGACY : (u8)((t->config & TN_ROUTE) >> 9);
    bool level = timer_interrupts(t) && !(t->config & TN_FSB_EN) &&
                 (t->config & TN_LEVEL ? !!(hpet->status & BIT(n)) : t->line);
    if (wire != t->wire) {
        timer_drive(t, false);
        t->wire = wire;
        level = level && (t->config & TN_LEVEL);
    }
    timer_drive(t, level);
}

static void timer_fire(struct hpet_timer *t)
{
    struct hpet *hpet = t->hpet;
    log_trace(hpet->log, TRACE_TIMER, "hpet: timer %u matches", timer_index(t));
    if (t->config & TN_LEVEL)
        hpet->status |= BIT(timer_index(t));
    if (!timer_interrupts(t))
        return;
    if (t->config & TN_FSB_EN) {
        msi_send(&hpet->config.msi, t->fsb >> 32, (u32)t->fsb);
    } else {
        if (!(t->config & TN_LEVEL))
            timer_drive(t, false);
        timer_drive(t, true);
    }
}

/* --- matches ---------------------------------------------------------------------------------------------
 */

static u64 timer_mask(const struct hpet_timer *t)
{
    return t->config & TN_32BIT ? 0xffffffff : ~0ull;
}

/* After a change of comparator, counter or size. */
static void timer_aim(struct hpet_timer *t)
{
    u64 ticks = hpet_ticks(t->hpet);
    u64 distance = (t->cmp - (ticks + t->hpet->offset)) & timer_mask(t);
    if (__builtin_add_overflow(ticks, distance, &t->due))
        t->due = NEVER;
}

/* Moves the match past `ticks`; the comparator of a periodic timer accumulates. */
static void timer_advance(struct hpet_timer *t, u64 ticks)
{
    u64 step = t->config & TN_PERIODIC ? t->period & timer_mask(t) : 0;
    bool accumulates = step != 0;
    if (!accumulates) /* the counter comes round again */
        step = t->config & TN_32BIT ? BIT(32) : NEVER;
    u64 count = (ticks - t->due) / step + 1, distance;
    if (accumulates)
        t->cmp = (t->cmp + count * step) & timer_mask(t);
    if (__builtin_mul_overflow(count, step, &distance) || __builtin_add_overflow(t->due, distance, &t->due))
        t->due = NEVER;
}

static void timer_arm_host(struct hpet_timer *t)
{
    struct hpet *hpet = t->hpet;
    u64 wait = t->due > hpet->ticks ? t->due - hpet->ticks : 0;
    /* A level that is already high need not be raised again. */
    if (!timer_interrupts(t) || t->due == NEVER || wait > LAST_TICK || ((t->config & TN_LEVEL) && t->line)) {
        timer_disarm(&t->timer);
        return;
    }
    u64 deadline = hpet->since + wait * HPET_PERIOD_NS;
    if ((t->config & TN_PERIODIC) && t->period < HPET_MIN_INTERVAL_NS / HPET_PERIOD_NS)
        deadline = MAX(deadline, hpet_now(hpet) + HPET_MIN_INTERVAL_NS);
    timer_arm(&t->timer, deadline);
}

/* Finds what has matched by now. Before every access to a register. */
static void hpet_sync(struct hpet *hpet)
{
    u64 ticks = hpet_ticks(hpet);
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        struct hpet_timer *t = &hpet->timer[n];
        if (!(hpet->conf & ENABLE_CNF) || t->due == NEVER || ticks < t->due)
            continue;
        timer_advance(t, ticks);
        timer_fire(t);
    }
}

/* After a write. A comparator that was set to the very present matches. */
static void hpet_update(struct hpet *hpet)
{
    for (unsigned n = 0; n < HPET_TIMERS; n++)
        timer_update_line(&hpet->timer[n]);
    hpet_update_legacy(hpet);
    hpet_sync(hpet);
    for (unsigned n = 0; n < HPET_TIMERS; n++)
        timer_arm_host(&hpet->timer[n]);
}

static void timer_expired(void *opaque)
{
    struct hpet_timer *t = opaque;
    hpet_sync(t->hpet);
    timer_arm_host(t);
}

/* --- registers -------------------------------------------------------------------------------------------
 */

static u64 hpet_read_timer(const struct hpet *hpet, unsigned offset)
{
    unsigned n = (offset - TIMER_BASE) / TIMER_STRIDE;
    if (n >= HPET_TIMERS)
        return 0;
    const struct hpet_timer *t = &hpet->timer[n];
    switch (offset % TIMER_STRIDE) {
    case TN_CONF:
        return (t->config & ~(u32)TN_VAL_SET) | TN_PER_CAP | TN_SIZE_CAP | TN_FSB_CAP |
               (u64)hpet->config.pin_mask << 32;
    case TN_CMP:
        return t->cmp;
    case TN_FSB:
        return t->fsb;
    default:
        return 0;
    }
}

static u64 hpet_read_register(const struct hpet *hpet, unsigned offset)
{
    switch (offset) {
    case GCAP_ID:
        return HPET_ID | (u64)HPET_PERIOD_NS * 1000000 << 32;
    case GEN_CONF:
        return hpet->conf;
    case GINTR_STA:
        return hpet->status;
    case MAIN_CNT:
        return hpet_ticks(hpet) + hpet->offset;
    default:
        return offset >= TIMER_BASE ? hpet_read_timer(hpet, offset) : 0;
    }
}

static u64 hpet_read(void *dev, u64 offset, unsigned size)
{
    struct hpet *hpet = dev;
    hpet_sync(hpet);
    return hpet_read_register(hpet, (unsigned)offset & ~7u) >> (offset & 7) * 8;
}

static void timer_write_config(struct hpet_timer *t, u32 value)
{
    value &= TN_WRITABLE;
    /* A route that does not exist cannot be set: software reads back and sees (2.3.8). */
    if (!(t->hpet->config.pin_mask >> (value >> 9 & 0x1f) & 1))
        value = (value & ~(u32)TN_ROUTE) | (t->config & TN_ROUTE);
    u32 changed = t->config ^ value;
    t->config = value;
    if (!(value & TN_LEVEL))
        t->hpet->status &= ~BIT(timer_index(t)); /* status bits are of level-triggered timers (2.3.6) */
    if (changed & TN_32BIT)
        t->cmp &= timer_mask(t);
    if (changed & (TN_32BIT | TN_PERIODIC))
        timer_aim(t);
}

/* 2.3.9.2.2: a write sets the period of a periodic timer, and its comparator only after Tn_VAL_SET_CNF. */
static void timer_write_cmp(struct hpet_timer *t, u64 value, u64 lanes)
{
    bool periodic = t->config & TN_PERIODIC;
    if ((t->config & TN_32BIT) && !(lanes & 0xffffffff))
        return;
    if (periodic)
        t->period = ((t->period & ~lanes) | value) & timer_mask(t);
    if (!periodic || (t->config & TN_VAL_SET)) {
        t->cmp = ((t->cmp & ~lanes) | value) & timer_mask(t);
        timer_aim(t);
    }
    t->config &= ~(u32)TN_VAL_SET;
}

static void hpet_write_timer(struct hpet *hpet, unsigned offset, u64 value, u64 lanes)
{
    unsigned n = (offset - TIMER_BASE) / TIMER_STRIDE;
    if (n >= HPET_TIMERS)
        return;
    struct hpet_timer *t = &hpet->timer[n];
    switch (offset % TIMER_STRIDE) {
    case TN_CONF:
        if (lanes & 0xffffffff)
            timer_write_config(t, (u32)value);
        break;
    case TN_CMP:
        timer_write_cmp(t, value, lanes);
        break;
    case TN_FSB:
        t->fsb = (t->fsb & ~lanes) | value;
        break;
    default:
        break;
    }
}

static void hpet_write_conf(struct hpet *hpet, u64 value)
{
    u64 now = hpet_now(hpet);
    hpet->ticks = hpet_ticks(hpet);
    hpet->since = now;
    hpet->conf = value & (ENABLE_CNF | LEG_RT_CNF);
}

static void hpet_write_counter(struct hpet *hpet, u64 value, u64 lanes)
{
    u64 ticks = hpet_ticks(hpet);
    hpet->offset = (((ticks + hpet->offset) & ~lanes) | value) - ticks;
    for (unsigned n = 0; n < HPET_TIMERS; n++)
        timer_aim(&hpet->timer[n]);
}

/* Only aligned 32- and 64-bit accesses are allowed (2.3.1); others are dropped. */
static void hpet_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct hpet *hpet = dev;
    if (size < 4 || (offset & (size - 1)))
        return;
    unsigned reg = (unsigned)offset & ~7u, shift = (offset & 4) * 8;
    u64 lanes = MASK(size * 8) << shift;
    value = (value << shift) & lanes;
    log_trace(hpet->log, TRACE_TIMER, "hpet: %#x <- %#llx", (unsigned)offset, (unsigned long long)value);
    hpet_sync(hpet);
    switch (reg) {
    case GEN_CONF:
        if (lanes & 0xffffffff)
            hpet_write_conf(hpet, value);
        break;
    case GINTR_STA:
        hpet->status &= ~value;
        break;
    case MAIN_CNT:
        hpet_write_counter(hpet, value, lanes);
        break;
    default:
        if (reg >= TIMER_BASE)
            hpet_write_timer(hpet, reg, value, lanes);
        break;
    }
    hpet_update(hpet);
}

static const struct io_ops hpet_ops = {hpet_read, hpet_write, .max_size = 8};

void hpet_reset(struct hpet *hpet)
{
    hpet->conf = hpet->status = hpet->ticks = hpet->offset = 0;
    hpet->since = hpet_now(hpet);
    u32 route = hpet->config.pin_mask ? (u32)__builtin_ctz(hpet->config.pin_mask) << 9 : 0;
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        struct hpet_timer *t = &hpet->timer[n];
        t->config = route;
        t->cmp = ~0ull;
        t->period = t->fsb = 0;
        t->due = NEVER;
    }
    hpet_update(hpet);
}

/* --- saved state -----------------------------------------------------------------------------------------
 */

struct hpet_state {
    u64 conf, status, ticks, since, offset;
    u64 cmp[HPET_TIMERS], period[HPET_TIMERS], fsb[HPET_TIMERS], due[HPET_TIMERS], deadline[HPET_TIMERS];
    u32 config[HPET_TIMERS];
    u8 wire[HPET_TIMERS];
    bool line[HPET_TIMERS], input[2], legacy[2];
};

static void hpet_save(const void *dev, void *out)
{
    const struct hpet *hpet = dev;
    struct hpet_state *s = out;
    s->conf = hpet->conf, s->status = hpet->status, s->ticks = hpet->ticks;
    s->since = hpet->since, s->offset = hpet->offset;
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        const struct hpet_timer *t = &hpet->timer[n];
        s->cmp[n] = t->cmp, s->period[n] = t->period, s->fsb[n] = t->fsb, s->due[n] = t->due;
        s->config[n] = t->config, s->wire[n] = t->wire, s->line[n] = t->line;
        s->deadline[n] = timer_is_armed(&t->timer) ? t->timer.deadline : ~0ull;
    }
    for (unsigned n = 0; n < 2; n++)
        s->input[n] = hpet->input[n], s->legacy[n] = hpet->legacy[n];
}

static int hpet_check(const void *dev, const void *in, struct error *err)
{
    const struct hpet *hpet = dev;
    const struct hpet_state *s = in;
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        if (s->config[n] & ~(u32)TN_WRITABLE)
            return error_set(err, EINVAL, "hpet: timer %u has reserved bits set", n);
        if (s->wire[n] == WIRE_LEGACY ? n > 1 : s->wire[n] && !(hpet->config.pin_mask >> s->wire[n] & 1))
            return error_set(err, EINVAL, "hpet: timer %u is routed to a pin that does not exist", n);
    }
    return 0;
}

static void hpet_load(void *dev, const void *in)
{
    struct hpet *hpet = dev;
    const struct hpet_state *s = in;
    hpet->conf = s->conf, hpet->status = s->status, hpet->ticks = s->ticks;
    hpet->since = s->since, hpet->offset = s->offset;
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        struct hpet_timer *t = &hpet->timer[n];
        t->cmp = s->cmp[n], t->period = s->period[n], t->fsb = s->fsb[n], t->due = s->due[n];
        t->config = s->config[n], t->wire = s->wire[n], t->line = s->line[n];
        if (s->deadline[n] == ~0ull)
            timer_disarm(&t->timer);
        else
            timer_arm(&t->timer, s->deadline[n]);
    }
    for (unsigned n = 0; n < 2; n++)
        hpet->input[n] = s->input[n], hpet->legacy[n] = s->legacy[n];
}

#define U64S(field) STATE_ARRAY(struct hpet_state, field, u64)
#define BOOLS(field, n)                                                                                      \
    {                                                                                                        \
#field, offsetof(struct hpet_state, field), 1, n, 1                                                  \
    }
static const struct state_field hpet_fields[] = {
    STATE_FIELD_MAX(struct hpet_state, conf, 3),
    STATE_FIELD_MAX(struct hpet_state, status, MASK(HPET_TIMERS)),
    STATE_FIELD_MAX(struct hpet_state, ticks, LAST_TICK),
    STATE_FIELD_MAX(struct hpet_state, since, LAST_TICK *HPET_PERIOD_NS),
    STATE_FIELD(struct hpet_state, offset),
    U64S(cmp),
    U64S(period),
    U64S(fsb),
    U64S(due),
    U64S(deadline),
    STATE_ARRAY(struct hpet_state, config, u32),
    {"wire", offsetof(struct hpet_state, wire), 1, HPET_TIMERS, WIRE_LEGACY},
    BOOLS(line, HPET_TIMERS),
    BOOLS(input, 2),
    BOOLS(legacy, 2),
};

static const struct state_desc hpet_desc = {
    .name = "hpet",
    .version = 1,
    .size = sizeof(struct hpet_state),
    .fields = hpet_fields,
    .field_count = ARRAY_LEN(hpet_fields),
    .save = hpet_save,
    .check = hpet_check,
    .load = hpet_load,
};

/* --- lifecycle -------------------------------------------------------------------------------------------
 */

int hpet_create(struct hpet **out, const struct device_env *env, const struct hpet_config *config,
                struct error *err)
{
    struct hpet *hpet = calloc(1, sizeof *hpet);
    if (!hpet || state_set_add(env->state, &hpet_desc, hpet, 0) < 0) {
        free(hpet);
        return error_set(err, ENOMEM, "no memory for the HPET");
    }
    hpet->config = *config;
    hpet->loop = env->loop;
    hpet->mem = env->mem;
    hpet->log = env->log;
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        hpet->timer[n].hpet = hpet;
        timer_init(&hpet->timer[n].timer, env->loop, timer_expired, &hpet->timer[n]);
    }
    hpet->region = (struct mem_region){
        .name = "hpet", .gpa = HPET_BASE, .size = HPET_SIZE, .kind = MEM_IO, .ops = &hpet_ops, .dev = hpet};
    mem_map(env->mem, &hpet->region);
    hpet_reset(hpet);
    *out = hpet;
    return 0;
}

void hpet_destroy(struct hpet *hpet)
{
    if (!hpet)
        return;
    for (unsigned n = 0; n < HPET_TIMERS; n++)
        timer_disarm(&hpet->timer[n].timer);
    mem_unmap(hpet->mem, &hpet->region);
    free(hpet);
}
