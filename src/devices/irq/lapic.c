/*
 * The local APIC: acceptance and priority of interrupts (SDM vol. 3 10.8), local pins and errors, lifecycle,
 * saved state. Everything under the machine lock.
 *
 * Invariant: after every call from outside `intr` equals "an interrupt is due", and the CPU knows it.
 */
#include "devices/irq/lapic_priv.h"

#include <stdlib.h>
#include <string.h>

/* --- 256-bit registers -----------------------------------------------------------------------------------
 */

static void vector_set(u32 *reg, u8 vector, bool value)
{
    if (value)
        reg[vector >> 5] |= (u32)BIT(vector & 31);
    else
        reg[vector >> 5] &= ~(u32)BIT(vector & 31);
}

static bool vector_test(const u32 *reg, u8 vector)
{
    return reg[vector >> 5] >> (vector & 31) & 1;
}

/* The highest vector in `reg`, or -1. */
static int vector_highest(const u32 *reg)
{
    for (int i = 7; i >= 0; i--)
        if (reg[i])
            return i * 32 + 31 - __builtin_clz(reg[i]);
    return -1;
}

/* --- priority --------------------------------------------------------------------------------------------
 */

/* 10.8.3.1. */
u8 lapic_ppr(const struct lapic *apic)
{
    int isrv = vector_highest(apic->isr);
    u8 service = isrv < 0 ? 0 : (u8)isrv & 0xf0;
    return (apic->tpr & 0xf0) >= service ? (u8)apic->tpr : service;
}

/* 10.6.2.4, the arbitration priority. */
u8 lapic_apr(const struct lapic *apic)
{
    int irrv = vector_highest(apic->irr), isrv = vector_highest(apic->isr);
    u8 request = irrv < 0 ? 0 : (u8)irrv & 0xf0, service = isrv < 0 ? 0 : (u8)isrv & 0xf0;
    u8 task = apic->tpr & 0xf0;
    if (task >= request && task > service)
        return (u8)apic->tpr;
    return MAX(MAX(task & service, service), request);
}

/* Is the PIC's INTR to be passed on? While the APIC is disabled LINT0 is the CPU's INTR pin (10.4.3). */
static bool lapic_has_extint(const struct lapic *apic)
{
    if (!lapic_is_enabled(apic))
        return apic->lint[0];
    if (apic->extint_pending)
        return true;
    u32 lvt = apic->lvt[LVT_LINT0];
    return (lvt & (LVT_MODE | LVT_MASKED)) == APIC_EXTINT << 8 && apic->lint[0] != !!(lvt & LVT_POLARITY);
}

/* The request that may interrupt the CPU, or -1. */
static int lapic_request(const struct lapic *apic)
{
    int irrv = lapic_is_enabled(apic) ? vector_highest(apic->irr) : -1;
    return irrv >= 0 && irrv >> 4 > lapic_ppr(apic) >> 4 ? irrv : -1;
}

void lapic_update(struct lapic *apic)
{
    bool intr = lapic_has_extint(apic) || lapic_request(apic) >= 0;
    if (intr == apic->intr)
        return;
    apic->intr = intr;
    const struct cpu_port *port = &apic->config.port;
    if (port->set_intr)
        port->set_intr(port->cpu, intr);
}

static int lapic_ack(void *opaque)
{
    struct lapic *apic = opaque;
    int vector;
    if (lapic_has_extint(apic)) {
        apic->extint_pending = false;
        vector = lapic_bus_extint(apic->bus);
    } else {
        vector = lapic_request(apic);
        if (vector >= 0) {
            vector_set(apic->irr, (u8)vector, false);
            vector_set(apic->isr, (u8)vector, true);
        }
    }
    lapic_update(apic);
    return vector;
}

/* --- acceptance ------------------------------------------------------------------------------------------
 */

void lapic_raise_error(struct lapic *apic, u32 bits)
{
    u32 fresh = bits & ~apic->esr_pending;
    apic->esr_pending |= bits;
    /* A write to ESR re-arms (10.5.3): one interrupt per kind of error until then. */
    if (fresh)
        lapic_raise_lvt(apic, LVT_ERROR);
}

bool lapic_accept(struct lapic *apic, u8 vector, bool level)
{
    if (!(apic->svr & SVR_ENABLED))
        return false; /* 10.4.7.2 */
    if (vector < 16) {
        lapic_raise_error(apic, ESR_RECEIVE_VECTOR);
        return true;
    }
    vector_set(apic->irr, vector, true);
    vector_set(apic->tmr, vector, level);
    lapic_update(apic);
    return true;
}

bool lapic_receive(struct lapic *apic, const struct apic_message *msg)
{
    const struct cpu_port *port = &apic->config.port;
    switch (msg->mode) {
    case APIC_FIXED:
    case APIC_LOWEST:
        return lapic_accept(apic, msg->vector, msg->level);
    case APIC_NMI:
        if (port->nmi)
            port->nmi(port->cpu);
        return true;
    case APIC_INIT:
        if (!msg->deassert && port->init)
            port->init(port->cpu);
        return true;
    case APIC_SIPI:
        if (port->sipi)
            port->sipi(port->cpu, msg->vector);
        return true;
    case APIC_EXTINT:
        apic->extint_pending = true;
        lapic_update(apic);
        return true;
    default: /* SMI: nowhere to go; 3: reserved */
        return false;
    }
}

void lapic_raise_lvt(struct lapic *apic, enum lapic_lvt n)
{
    u32 lvt = apic->lvt[n];
    if ((lvt & LVT_MASKED) || !lapic_is_enabled(apic))
        return;
    struct apic_message msg = {.mode = (u8)(lvt >> 8 & 7), .vector = (u8)lvt};
    if (n == LVT_TIMER || n == LVT_ERROR)
        msg.mode = APIC_FIXED; /* these have no delivery mode field */
    if (msg.mode == APIC_SIPI || msg.mode == APIC_LOWEST)
        return; /* not for local sources (10.5.1) */
    lapic_receive(apic, &msg);
}

/* A level-triggered fixed LINT0 asks again as long as it is high and not in service. */
void lapic_lint_changed(struct lapic *apic, unsigned n)
{
    u32 *lvt = &apic->lvt[LVT_LINT0 + n];
    bool asserted = apic->lint[n] != !!(*lvt & LVT_POLARITY);
    bool is_level = n == 0 && (*lvt & (LVT_LEVEL | LVT_MODE)) == LVT_LEVEL;
    if (!is_level)
        *lvt &= ~(u32)LVT_REMOTE_IRR;
    else if (asserted && !(*lvt & (LVT_MASKED | LVT_REMOTE_IRR)) && lapic_is_enabled(apic) &&
             lapic_accept(apic, (u8)*lvt, true))
        *lvt |= LVT_REMOTE_IRR;
    lapic_update(apic);
}

void lapic_set_lint(struct lapic *apic, unsigned n, bool level)
{
    if (apic->lint[n] == level)
        return;
    apic->lint[n] = level;
    u32 lvt = apic->lvt[LVT_LINT0 + n];
    bool asserted = level != !!(lvt & LVT_POLARITY);
    const struct cpu_port *port = &apic->config.port;
    unsigned mode = lvt >> 8 & 7;
    if (!lapic_is_enabled(apic)) { /* the pins are the CPU's INTR and NMI */
        if (n == 1 && level && port->nmi)
            port->nmi(port->cpu);
    } else if (asserted && mode != APIC_EXTINT && !(n == 0 && mode == APIC_FIXED && (lvt & LVT_LEVEL))) {
        lapic_raise_lvt(apic, LVT_LINT0 + n); /* an edge */
    }
    lapic_lint_changed(apic, n);
}

void lapic_end(struct lapic *apic)
{
    int vector = vector_highest(apic->isr);
    if (vector < 0)
        return;
    vector_set(apic->isr, (u8)vector, false);
    if (vector_test(apic->tmr, (u8)vector)) {
        if (!(apic->svr & SVR_NO_EOI_BROADCAST))
            lapic_bus_eoi(apic->bus, (u8)vector);
        u32 *lvt = &apic->lvt[LVT_LINT0];
        if ((*lvt & LVT_REMOTE_IRR) && (u8)*lvt == vector) {
            *lvt &= ~(u32)LVT_REMOTE_IRR;
            lapic_lint_changed(apic, 0);
        }
    }
    lapic_update(apic);
}

/* --- modes and reset -------------------------------------------------------------------------------------
 */

static u32 x2apic_ldr(u32 id)
{
    return (id >> 4) << 16 | (u32)BIT(id & 15);
}

void lapic_reset_registers(struct lapic *apic)
{
    timer_disarm(&apic->timer);
    apic->tpr = apic->esr = apic->esr_pending = 0;
    apic->icr = 0;
    apic->svr = 0xff;
    apic->dfr = ~0u;
    apic->ldr = lapic_is_x2apic(apic) ? x2apic_ldr(apic->id) : 0;
    for (unsigned i = 0; i < LVT_COUNT; i++)
        apic->lvt[i] = LVT_MASKED;
    memset(apic->isr, 0, sizeof apic->isr);
    memset(apic->irr, 0, sizeof apic->irr);
    memset(apic->tmr, 0, sizeof apic->tmr);
    apic->extint_pending = false;
    apic->initial_count = apic->divide = 0;
    apic->timer_running = false;
    apic->timer_next = apic->tsc_deadline = 0;
    lapic_update(apic);
}

/* The transitions of figure 10-27; `base` was checked. */
void lapic_set_mode(struct lapic *apic, u64 base)
{
    bool was_enabled = lapic_is_enabled(apic), was_x2apic = lapic_is_x2apic(apic);
    apic->base = base;
    if (!lapic_is_enabled(apic) && was_enabled) {
        apic->id = apic->config.id;
        lapic_reset_registers(apic);
    } else if (lapic_is_x2apic(apic) && !was_x2apic) { /* 10.12.5.1: all but these is preserved */
        apic->id = apic->config.id;
        apic->ldr = x2apic_ldr(apic->id);
        apic->icr &= 0xffffffff;
    }
    lapic_update(apic);
}

void lapic_reset(struct lapic *apic)
{
    apic->base = LAPIC_BASE | APIC_BASE_EN | (apic->config.bsp ? APIC_BASE_BSP : 0);
    apic->id = apic->config.id;
    lapic_reset_registers(apic);
}

static void lapic_init(void *opaque)
{
    lapic_reset_registers(opaque);
}

void lapic_set_virtual_wire(struct lapic *apic)
{
    apic->svr = SVR_ENABLED | 0xff;
    apic->lvt[LVT_LINT0] = LVT_LEVEL | APIC_EXTINT << 8;
    apic->lvt[LVT_LINT1] = APIC_NMI << 8;
    lapic_update(apic);
}

/* --- the CPU's side --------------------------------------------------------------------------------------
 */

static u64 lapic_page(void *opaque)
{
    const struct lapic *apic = opaque;
    if (!lapic_is_enabled(apic) || lapic_is_x2apic(apic))
        return ~0ull;
    return apic->base & PAGE_MASK;
}

static u8 lapic_cr8_read(void *opaque)
{
    const struct lapic *apic = opaque;
    return (u8)(apic->tpr >> 4);
}

static void lapic_cr8_write(void *opaque, u8 value)
{
    struct lapic *apic = opaque;
    apic->tpr = (u32)(value & 15) << 4;
    lapic_update(apic);
}

static bool lapic_send_ipi(void *opaque, u32 id, u32 icr)
{
    struct lapic *apic = opaque;
    struct apic_message msg = {.dest = id, .mode = icr >> 8 & 7, .vector = (u8)icr, .wide = true};
    if (msg.mode == APIC_EXTINT || msg.mode == 3 || (msg.mode <= APIC_LOWEST && msg.vector < 16))
        return false;
    return lapic_bus_send(apic->bus, &msg);
}

const struct apic_ops lapic_ops = {
    .read = lapic_page_read,
    .write = lapic_page_write,
    .msr_read = lapic_msr_read,
    .msr_write = lapic_msr_write,
    .page = lapic_page,
    .ack = lapic_ack,
    .cr8_read = lapic_cr8_read,
    .cr8_write = lapic_cr8_write,
    .init = lapic_init,
    .send_ipi = lapic_send_ipi,
    .tsc_changed = lapic_timer_tsc_changed,
};

/* --- saved state -----------------------------------------------------------------------------------------
 */

struct lapic_state {
    u64 base, icr, timer_next, tsc_deadline;
    u32 id, ldr, dfr, tpr, svr, esr, esr_pending, initial_count, divide;
    u32 lvt[LVT_COUNT], isr[8], irr[8], tmr[8];
    bool lint[2], extint_pending, timer_running;
};

/* The scalars whose name is the same in both structs: X(name). */
/* clang-format off */
#define LAPIC_SCALARS(X)                                                                                     \
    X(base) X(icr) X(timer_next) X(tsc_deadline) X(id) X(ldr) X(dfr) X(tpr) X(svr) X(esr) X(esr_pending)     \
    X(initial_count) X(divide) X(extint_pending) X(timer_running)
/* clang-format on */
#define LAPIC_ARRAYS(X) X(lvt) X(isr) X(irr) X(tmr) X(lint)

static void lapic_save(const void *dev, void *out)
{
    const struct lapic *apic = dev;
    struct lapic_state *s = out;
#define X(f) s->f = apic->f;
    LAPIC_SCALARS(X)
#undef X
#define X(f) memcpy(s->f, apic->f, sizeof s->f);
    LAPIC_ARRAYS(X)
#undef X
}

static int lapic_check(const void *dev, const void *in, struct error *err)
{
    const struct lapic *apic = dev;
    const struct lapic_state *s = in;
    u64 mode = s->base & (APIC_BASE_EN | APIC_BASE_EXTD);
    if (mode == APIC_BASE_EXTD || ((mode & APIC_BASE_EXTD) && !apic->config.x2apic) || (s->base & 0x2ff))
        return error_set(err, EINVAL, "local APIC %u: no mode has the base %#llx", apic->config.id,
                         (unsigned long long)s->base);
    if ((s->irr[0] | s->isr[0]) & 0xffff)
        return error_set(err, EINVAL, "local APIC %u: an interrupt with a vector below 16", apic->config.id);
    for (unsigned i = 0; i < LVT_COUNT; i++)
        if (!(s->svr & SVR_ENABLED) && !(s->lvt[i] & LVT_MASKED))
            return error_set(err, EINVAL, "local APIC %u: disabled, but LVT entry %u is not masked",
                             apic->config.id, i);
    return 0;
}

static void lapic_load(void *dev, const void *in)
{
    struct lapic *apic = dev;
    const struct lapic_state *s = in;
#define X(f) apic->f = s->f;
    LAPIC_SCALARS(X)
#undef X
#define X(f) memcpy(apic->f, s->f, sizeof s->f);
    LAPIC_ARRAYS(X)
#undef X
    lapic_timer_arm(apic);
    apic->intr =
        !(lapic_has_extint(apic) || lapic_request(apic) >= 0); /* tell the CPU whatever it believes */
    lapic_update(apic);
}

#define SCALAR(field)        STATE_FIELD(struct lapic_state, field)
#define SCALAR_MAX(field, m) STATE_FIELD_MAX(struct lapic_state, field, m)
#define WORDS(field)         STATE_ARRAY(struct lapic_state, field, u32)
static const struct state_field lapic_fields[] = {
    SCALAR_MAX(base, MASK(PHYS_BITS)),
    SCALAR(icr),
    SCALAR(timer_next),
    SCALAR(tsc_deadline),
    SCALAR(id),
    SCALAR(ldr),
    SCALAR(dfr),
    SCALAR_MAX(tpr, 0xff),
    SCALAR_MAX(svr, 0x13ff),
    SCALAR_MAX(esr, 0xff),
    SCALAR_MAX(esr_pending, 0xff),
    SCALAR(initial_count),
    SCALAR_MAX(divide, 0xb),
    {"lvt", offsetof(struct lapic_state, lvt), 4, LVT_COUNT, 0x7ffff},
    WORDS(isr),
    WORDS(irr),
    WORDS(tmr),
    {"lint", offsetof(struct lapic_state, lint), 1, 2, 1},
    STATE_BOOL(struct lapic_state, extint_pending),
    STATE_BOOL(struct lapic_state, timer_running),
};

static const struct state_desc lapic_desc = {
    .name = "lapic",
    .version = 1,
    .size = sizeof(struct lapic_state),
    .fields = lapic_fields,
    .field_count = ARRAY_LEN(lapic_fields),
    .save = lapic_save,
    .check = lapic_check,
    .load = lapic_load,
};

/* --- lifecycle -------------------------------------------------------------------------------------------
 */

int lapic_create(struct lapic **out, const struct device_env *env, struct lapic_bus *bus,
                 const struct lapic_config *config, struct error *err)
{
    struct lapic *apic = calloc(1, sizeof *apic);
    if (!apic)
        return error_set(err, ENOMEM, "no memory for a local APIC");
    apic->config = *config;
    apic->loop = env->loop;
    apic->log = env->log;
    timer_init(&apic->timer, env->loop, lapic_timer_expired, apic);
    if (lapic_bus_add(bus, apic) < 0) {
        free(apic);
        return error_set(err, ENOSPC, "more than %d local APICs", LAPIC_MAX);
    }
    apic->bus = bus;
    if (state_set_add(env->state, &lapic_desc, apic, config->id) < 0) {
        lapic_destroy(apic);
        return error_set(err, ENOMEM, "no memory for a local APIC's state");
    }
    lapic_reset(apic);
    *out = apic;
    return 0;
}

void lapic_destroy(struct lapic *apic)
{
    if (!apic)
        return;
    timer_disarm(&apic->timer);
    lapic_bus_remove(apic->bus, apic);
    free(apic);
}
