/*
 * The ports of the 8254, its interrupt, and port 61h.
 *
 * Channel 0's output is computed when somebody looks; one host timer waits for its next edge. If the host is
 * late, edges that were missed become one. The single low CLK at the end of a mode 2 or 4 count is not
 * driven: the line is pulsed at its end, which is the edge that interrupt controllers see.
 */
#include "devices/timer/pit.h"

#include <stdlib.h>

#include "devices/timer/pit_channel.h"

/* The shortest time between two host timers: a guest may ask for half a megahertz. */
#define PIT_MIN_INTERVAL_NS 20000ull

/* The refresh request toggles port 61h bit 4 every 15.085 us. */
#define REFRESH_NS 15085ull

/* Beyond this tick (two centuries) nothing is armed. */
#define PIT_LAST_TICK BIT(53)

enum { PORT61_GATE2 = BIT(0), PORT61_WRITABLE = 0x0f, PORT61_REFRESH = BIT(4), PORT61_OUT2 = BIT(5) };

struct pit {
    struct pit_channel channel[3];
    u8 port61;
    bool line;     /* the level that was driven */
    u64 seen_tick; /* edges of channel 0 up to here have been driven */
    struct timer timer;
    struct irq_line irq;
    struct loop *loop;
    struct mem_space *mem;
    struct log *log;
    struct port_region ports, control;
};

static u64 pit_tick(const struct pit *pit)
{
    return mul_div(clock_now(loop_clock(pit->loop)), PIT_HZ, NS_PER_SEC);
}

static void pit_drive(struct pit *pit, bool level)
{
    if (level == pit->line)
        return;
    pit->line = level;
    irq_set(&pit->irq, level);
}

/* Drives the edges that are due. Before a change of channel 0 and after it. */
static void pit_update(struct pit *pit, u64 tick)
{
    struct pit_channel *c = &pit->channel[0];
    if (pit_channel_rose(c, pit->seen_tick, tick)) {
        pit_drive(pit, false);
        pit_drive(pit, true);
    }
    pit_drive(pit, pit_channel_level(c, tick));
    pit->seen_tick = tick;
    u64 edge = pit_channel_next_edge(c, tick);
    if (edge > PIT_LAST_TICK) {
        timer_disarm(&pit->timer);
        return;
    }
    u64 now = clock_now(loop_clock(pit->loop));
    timer_arm(&pit->timer, MAX(mul_div(edge, NS_PER_SEC, PIT_HZ) + 1, now + PIT_MIN_INTERVAL_NS));
}

static void pit_expired(void *opaque)
{
    struct pit *pit = opaque;
    pit_update(pit, pit_tick(pit));
}

static void pit_read_back(struct pit *pit, u64 tick, u8 value)
{
    for (unsigned n = 0; n < 3; n++) {
        if (!(value & BIT(n + 1)))
            continue;
        if (!(value & BIT(5)))
            pit_channel_latch_count(&pit->channel[n], tick);
        if (!(value & BIT(4)))
            pit_channel_latch_status(&pit->channel[n], tick);
    }
}

static void pit_write_control(struct pit *pit, u64 tick, u8 value)
{
    unsigned n = value >> 6;
    if (n == 3)
        pit_read_back(pit, tick, value);
    else if ((value >> 4 & 3) == PIT_LATCH)
        pit_channel_latch_count(&pit->channel[n], tick);
    else
        pit_channel_control(&pit->channel[n], tick, value);
}

static u64 pit_read(void *dev, u64 offset, unsigned size)
{
    struct pit *pit = dev;
    if (offset == 3)
        return 0xff; /* the control word cannot be read */
    return pit_channel_read(&pit->channel[offset], pit_tick(pit));
}

static void pit_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct pit *pit = dev;
    u64 tick = pit_tick(pit);
    log_trace(pit->log, TRACE_TIMER, "pit: %u <- %#x", (unsigned)offset, (unsigned)value);
    pit_update(pit, tick);
    if (offset == 3)
        pit_write_control(pit, tick, (u8)value);
    else
        pit_channel_write(&pit->channel[offset], tick, (u8)value);
    pit_update(pit, tick);
}

static u64 port61_read(void *dev, u64 offset, unsigned size)
{
    struct pit *pit = dev;
    u8 value = pit->port61;
    if (clock_now(loop_clock(pit->loop)) / REFRESH_NS & 1)
        value |= PORT61_REFRESH;
    if (pit_channel_output(&pit->channel[2], pit_tick(pit)))
        value |= PORT61_OUT2;
    return value;
}

static void port61_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct pit *pit = dev;
    pit->port61 = (u8)value & PORT61_WRITABLE;
    pit_channel_set_gate(&pit->channel[2], pit_tick(pit), value & PORT61_GATE2);
}

static const struct io_ops pit_ops = {pit_read, pit_write, .max_size = 1};
static const struct io_ops port61_ops = {port61_read, port61_write, .max_size = 1};

void pit_reset(struct pit *pit)
{
    for (unsigned n = 0; n < 3; n++)
        pit_channel_reset(&pit->channel[n], n != 2);
    pit->port61 = 0;
    pit->seen_tick = pit_tick(pit);
    pit_update(pit, pit->seen_tick);
}

/* --- saved state -----------------------------------------------------------------------------------------
 */

struct pit_state {
    u8 mode[3], access[3], write_low[3], latched[3], status[3];
    bool bcd[3], gate[3], armed[3], stopped[3], before[3], written[3], pending[3];
    bool write_high[3], read_high[3], status_latched[3];
    u16 latch[3];
    u32 count[3], elapsed[3], reload[3];
    u64 start[3], switch_at[3];
    u8 port61;
    bool line;
    u64 seen_tick, deadline;
};

/* Of every channel: X(name, type, largest value). */
/* clang-format off */
#define PIT_CHANNEL_FIELDS(X)                                                                                \
    X(mode, u8, 5) X(access, u8, 3) X(write_low, u8, 0xff) X(latched, u8, 2) X(status, u8, 0xff)             \
    X(bcd, bool, 1) X(gate, bool, 1) X(armed, bool, 1) X(stopped, bool, 1) X(before, bool, 1)                \
    X(written, bool, 1) X(pending, bool, 1) X(write_high, bool, 1) X(read_high, bool, 1)                     \
    X(status_latched, bool, 1) X(latch, u16, 0xffff) X(count, u32, 65536) X(elapsed, u32, 262144)            \
    X(reload, u32, 65536) X(start, u64, ~0ull) X(switch_at, u64, ~0ull)
/* clang-format on */

static void pit_save(const void *dev, void *out)
{
    const struct pit *pit = dev;
    struct pit_state *s = out;
    for (unsigned n = 0; n < 3; n++) {
#define X(f, type, max) s->f[n] = pit->channel[n].f;
        PIT_CHANNEL_FIELDS(X)
#undef X
    }
    s->port61 = pit->port61;
    s->line = pit->line;
    s->seen_tick = pit->seen_tick;
    s->deadline = timer_is_armed(&pit->timer) ? pit->timer.deadline : ~0ull;
}

static void pit_state_get(const struct pit_state *s, unsigned n, struct pit_channel *c)
{
#define X(f, type, max) c->f = s->f[n];
    PIT_CHANNEL_FIELDS(X)
#undef X
}

static int pit_check(const void *dev, const void *in, struct error *err)
{
    const struct pit_state *s = in;
    for (unsigned n = 0; n < 3; n++) {
        struct pit_channel c;
        pit_state_get(s, n, &c);
        if (!pit_channel_is_valid(&c))
            return error_set(err, EINVAL, "pit: channel %u is in no possible state", n);
    }
    return 0;
}

static void pit_load(void *dev, const void *in)
{
    struct pit *pit = dev;
    const struct pit_state *s = in;
    for (unsigned n = 0; n < 3; n++)
        pit_state_get(s, n, &pit->channel[n]);
    pit->port61 = s->port61;
    pit->line = s->line;
    pit->seen_tick = s->seen_tick;
    if (s->deadline == ~0ull)
        timer_disarm(&pit->timer);
    else
        timer_arm(&pit->timer, s->deadline);
}

#define X(f, type, max) {#f, offsetof(struct pit_state, f), sizeof(type), 3, max},
static const struct state_field pit_fields[] = {
    PIT_CHANNEL_FIELDS(X) STATE_FIELD_MAX(struct pit_state, port61, PORT61_WRITABLE),
    STATE_BOOL(struct pit_state, line),
    STATE_FIELD(struct pit_state, seen_tick),
    STATE_FIELD(struct pit_state, deadline),
};
#undef X

static const struct state_desc pit_desc = {
    .name = "pit",
    .version = 1,
    .size = sizeof(struct pit_state),
    .fields = pit_fields,
    .field_count = ARRAY_LEN(pit_fields),
    .save = pit_save,
    .check = pit_check,
    .load = pit_load,
};

/* --- lifecycle -------------------------------------------------------------------------------------------
 */

int pit_create(struct pit **out, const struct device_env *env, struct irq_line irq, struct error *err)
{
    struct pit *pit = calloc(1, sizeof *pit);
    if (!pit || state_set_add(env->state, &pit_desc, pit, 0) < 0) {
        free(pit);
        return error_set(err, ENOMEM, "no memory for the interval timer");
    }
    pit->irq = irq;
    pit->loop = env->loop;
    pit->mem = env->mem;
    pit->log = env->log;
    timer_init(&pit->timer, env->loop, pit_expired, pit);
    pit->ports = (struct port_region){"pit", 0x40, 4, &pit_ops, pit};
    pit->control = (struct port_region){"port 61h", 0x61, 1, &port61_ops, pit};
    port_map(env->mem, &pit->ports);
    port_map(env->mem, &pit->control);
    pit_reset(pit);
    *out = pit;
    return 0;
}

void pit_destroy(struct pit *pit)
{
    if (!pit)
        return;
    timer_disarm(&pit->timer);
    port_unmap(pit->mem, &pit->ports);
    port_unmap(pit->mem, &pit->control);
    free(pit);
}
