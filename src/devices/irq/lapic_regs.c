/*
 * The local APIC's registers: the xAPIC page (SDM vol. 3 10.4.1, table 10-1), the x2APIC MSRs (10.12.1, table
 * 10-6), IA32_APIC_BASE. Registers are numbered by page offset >> 4, which is also MSR - 800h.
 */
#include "devices/irq/lapic_priv.h"

enum {
    REG_ID = 0x02,
    REG_VERSION = 0x03,
    REG_TPR = 0x08,
    REG_APR = 0x09,
    REG_PPR = 0x0a,
    REG_EOI = 0x0b,
    REG_REMOTE_READ = 0x0c,
    REG_LDR = 0x0d,
    REG_DFR = 0x0e,
    REG_SVR = 0x0f,
    REG_ISR = 0x10,
    REG_TMR = 0x18,
    REG_IRR = 0x20,
    REG_ESR = 0x28,
    REG_ICR = 0x30,
    REG_ICR_HIGH = 0x31,
    REG_LVT = 0x32,
    REG_LVT_LAST = REG_LVT + LVT_COUNT - 1,
    REG_INITIAL_COUNT = 0x38,
    REG_CURRENT_COUNT = 0x39,
    REG_DIVIDE = 0x3e,
    REG_SELF_IPI = 0x3f,
};

enum { MSR_APIC_BASE = 0x1b, MSR_TSC_DEADLINE = 0x6e0, MSR_X2APIC = 0x800 };

/* ICR fields, figures 10-12 and 10-28. */
enum {
    ICR_LOGICAL = BIT(11),
    ICR_BUSY = BIT(12),
    ICR_ASSERT = BIT(14),
    ICR_LEVEL = BIT(15),
    ICR_SHORTHAND = 3 << 18,
    ICR_SELF = 1 << 18,
    ICR_ALL = 2 << 18,
    ICR_OTHERS = 3 << 18,
    ICR_FIELDS = 0xcdfff & ~ICR_BUSY,
};

#define SVR_FIELDS (0xff | SVR_ENABLED | SVR_FOCUS | SVR_NO_EOI_BROADCAST)

/* What can be written in an LVT entry, figure 10-8; delivery status (12) and remote IRR (14) are read-only.
 */
static u32 lvt_fields(const struct lapic *apic, unsigned n)
{
    switch (n) {
    case LVT_TIMER:
        return 0xff | LVT_MASKED | LVT_PERIODIC | (apic->config.tsc_deadline ? LVT_TSC_DEADLINE : 0);
    case LVT_LINT0:
    case LVT_LINT1:
        return 0xff | LVT_MODE | LVT_POLARITY | LVT_LEVEL | LVT_MASKED;
    case LVT_ERROR:
        return 0xff | LVT_MASKED;
    default:
        return 0xff | LVT_MODE | LVT_MASKED;
    }
}

/* --- reading ---------------------------------------------------------------------------------------------
 */

/* The registers that both modes have; false: there is none, or it cannot be read. */
static bool reg_read(struct lapic *apic, unsigned reg, u32 *value)
{
    switch (reg) {
    case REG_VERSION: /* bit 24: EOI-broadcast suppression */
        *value = LAPIC_VERSION | (LVT_COUNT - 1) << 16 | (u32)BIT(24);
        return true;
    case REG_TPR:
        *value = apic->tpr;
        return true;
    case REG_PPR:
        *value = lapic_ppr(apic);
        return true;
    case REG_LDR:
        *value = apic->ldr;
        return true;
    case REG_SVR:
        *value = apic->svr;
        return true;
    case REG_ISR ... REG_ISR + 7:
        *value = apic->isr[reg - REG_ISR];
        return true;
    case REG_TMR ... REG_TMR + 7:
        *value = apic->tmr[reg - REG_TMR];
        return true;
    case REG_IRR ... REG_IRR + 7:
        *value = apic->irr[reg - REG_IRR];
        return true;
    case REG_ESR:
        *value = apic->esr;
        return true;
    case REG_ICR:
        *value = (u32)apic->icr;
        return true;
    case REG_LVT ... REG_LVT_LAST:
        *value = apic->lvt[reg - REG_LVT];
        return true;
    case REG_INITIAL_COUNT:
        *value = apic->initial_count;
        return true;
    case REG_CURRENT_COUNT:
        lapic_timer_sync(apic);
        *value = lapic_timer_count(apic);
        return true;
    case REG_DIVIDE:
        *value = apic->divide;
        return true;
    default:
        return false;
    }
}

static bool xapic_reg_read(struct lapic *apic, unsigned reg, u32 *value)
{
    switch (reg) {
    case REG_ID:
        *value = apic->id << 24;
        return true;
    case REG_APR:
        *value = lapic_apr(apic);
        return true;
    case REG_EOI: /* write-only */
    case REG_REMOTE_READ:
        *value = 0;
        return true;
    case REG_DFR:
        *value = apic->dfr;
        return true;
    case REG_ICR_HIGH:
        *value = (u32)(apic->icr >> 32);
        return true;
    default:
        return reg_read(apic, reg, value);
    }
}

/* Registers lie in the first four of every 16 bytes; 10.4.1 leaves other accesses undefined: the rest reads
 * as 0. */
u64 lapic_page_read(void *opaque, u64 offset, unsigned size)
{
    struct lapic *apic = opaque;
    u32 value = 0;
    unsigned low = offset & 15;
    if (low > 3)
        return 0;
    if (!xapic_reg_read(apic, (unsigned)offset >> 4 & 0xff, &value))
        lapic_raise_error(apic, ESR_REGISTER);
    return (u64)(value >> low * 8) & MASK(size * 8);
}

/* --- writing ---------------------------------------------------------------------------------------------
 */

static void lapic_write_icr(struct lapic *apic, u64 icr)
{
    apic->icr = icr;
    struct apic_message msg = {
        .mode = icr >> 8 & 7,
        .vector = (u8)icr,
        .wide = lapic_is_x2apic(apic),
        .dest = (u32)(lapic_is_x2apic(apic) ? icr >> 32 : icr >> 56),
        .logical = icr & ICR_LOGICAL,
        .deassert = (icr & ICR_LEVEL) && !(icr & ICR_ASSERT),
        /* `level` stays false: IPIs are edge-triggered whatever bit 15 says (10.6.1). */
    };
    u32 shorthand = icr & ICR_SHORTHAND;
    if ((msg.mode == APIC_FIXED || msg.mode == APIC_LOWEST) && msg.vector < 16) {
        lapic_raise_error(apic, ESR_SEND_VECTOR | (shorthand == ICR_SELF ? ESR_RECEIVE_VECTOR : 0));
        return;
    }
    if (msg.mode == APIC_EXTINT || msg.mode == 3)
        return; /* reserved in the ICR */
    log_trace(apic->log, TRACE_IRQ, "lapic %u: icr <- %#llx", apic->id, (unsigned long long)icr);
    switch (shorthand) {
    case ICR_SELF: /* table 10-3: no INIT or start-up to oneself */
        if (msg.mode != APIC_INIT && msg.mode != APIC_SIPI)
            lapic_receive(apic, &msg);
        break;
    case ICR_ALL:
        if (msg.mode != APIC_INIT && msg.mode != APIC_SIPI)
            lapic_bus_broadcast(apic->bus, &msg, NULL);
        break;
    case ICR_OTHERS:
        lapic_bus_broadcast(apic->bus, &msg, apic);
        break;
    default:
        lapic_bus_send(apic->bus, &msg);
        break;
    }
}

static void lapic_write_svr(struct lapic *apic, u32 value)
{
    lapic_timer_sync(apic);
    apic->svr = value;
    if (!(value & SVR_ENABLED)) /* 10.4.7.2: the masks are set and stay so */
        for (unsigned i = 0; i < LVT_COUNT; i++)
            apic->lvt[i] |= LVT_MASKED;
    lapic_timer_arm(apic);
    lapic_update(apic);
}

static void lapic_write_lvt(struct lapic *apic, unsigned n, u32 value)
{
    value &= lvt_fields(apic, n);
    if (!(apic->svr & SVR_ENABLED))
        value |= LVT_MASKED;
    if (n == LVT_TIMER) {
        lapic_timer_set_lvt(apic, value);
        return;
    }
    apic->lvt[n] = value | (apic->lvt[n] & LVT_REMOTE_IRR);
    if (n == LVT_LINT0 || n == LVT_LINT1)
        lapic_lint_changed(apic, n - LVT_LINT0);
}

/* The writable registers that both modes have. Reserved bits were dealt with, or are dropped here. */
static bool reg_write(struct lapic *apic, unsigned reg, u32 value)
{
    switch (reg) {
    case REG_TPR:
        apic->tpr = value & 0xff;
        lapic_update(apic);
        return true;
    case REG_EOI:
        lapic_end(apic);
        return true;
    case REG_SVR:
        lapic_write_svr(apic, value & SVR_FIELDS);
        return true;
    case REG_ESR: /* any write: what was gathered becomes visible */
        apic->esr = apic->esr_pending;
        apic->esr_pending = 0;
        return true;
    case REG_LVT ... REG_LVT_LAST:
        lapic_write_lvt(apic, reg - REG_LVT, value);
        return true;
    case REG_INITIAL_COUNT:
        lapic_timer_sync(apic);
        lapic_timer_set_count(apic, value);
        return true;
    case REG_DIVIDE:
        lapic_timer_set_divide(apic, value);
        return true;
    default:
        return false;
    }
}

static bool xapic_reg_write(struct lapic *apic, unsigned reg, u32 value)
{
    u32 unused;
    switch (reg) {
    case REG_ID:
        apic->id = value >> 24;
        return true;
    case REG_LDR:
        apic->ldr = value & 0xff000000;
        return true;
    case REG_DFR:
        apic->dfr = value | 0x0fffffff;
        return true;
    case REG_ICR:
        lapic_write_icr(apic, (apic->icr & ~0xffffffffull) | (value & ICR_FIELDS));
        return true;
    case REG_ICR_HIGH:
        apic->icr = (u32)apic->icr | (u64)(value & 0xff000000) << 32;
        return true;
    default: /* a write to a read-only register does nothing */
        return reg_write(apic, reg, value) || xapic_reg_read(apic, reg, &unused);
    }
}

void lapic_page_write(void *opaque, u64 offset, unsigned size, u64 value)
{
    struct lapic *apic = opaque;
    /* "Some registers can only be written by aligned 32-bit stores; others may hang" (10.4.1): ignored. */
    if ((offset & 15) || size < 4)
        return;
    if (!xapic_reg_write(apic, (unsigned)offset >> 4 & 0xff, (u32)value))
        lapic_raise_error(apic, ESR_REGISTER);
}

/* --- MSRs ------------------------------------------------------------------------------------------------
 */

static bool x2apic_read(struct lapic *apic, unsigned reg, u64 *value)
{
    u32 low = 0;
    switch (reg) {
    case REG_ID:
        *value = apic->id;
        return true;
    case REG_ICR:
        *value = apic->icr;
        return true;
    default:
        if (!reg_read(apic, reg, &low))
            return false;
        *value = low;
        return true;
    }
}

/* Bits that may be set in a write of an x2APIC register; others: #GP (10.12.1.3). */
static u64 x2apic_fields(const struct lapic *apic, unsigned reg)
{
    switch (reg) {
    case REG_TPR:
    case REG_SELF_IPI:
        return 0xff;
    case REG_SVR:
        return SVR_FIELDS;
    case REG_ICR: /* the former delivery status is ignored */
        return 0xffffffff00000000 | ICR_FIELDS | ICR_BUSY;
    case REG_LVT ... REG_LVT_LAST: /* read-only bits are ignored */
        return lvt_fields(apic, reg - REG_LVT) | ICR_BUSY |
               (reg == REG_LVT + LVT_LINT0 || reg == REG_LVT + LVT_LINT1 ? LVT_REMOTE_IRR : 0);
    case REG_INITIAL_COUNT:
        return 0xffffffff;
    case REG_DIVIDE:
        return 0xb;
    default: /* EOI, ESR: only 0 */
        return 0;
    }
}

static bool x2apic_write(struct lapic *apic, unsigned reg, u64 value)
{
    if (value & ~x2apic_fields(apic, reg))
        return false;
    switch (reg) {
    case REG_ICR:
        lapic_write_icr(apic, value & ~(u64)ICR_BUSY);
        return true;
    case REG_SELF_IPI: {
        struct apic_message msg = {.mode = APIC_FIXED, .vector = (u8)value};
        lapic_receive(apic, &msg);
        return true;
    }
    default:
        return reg_write(apic, reg, (u32)value);
    }
}

/* Figure 10-27: only these changes of EN and EXTD exist. */
static bool lapic_write_base(struct lapic *apic, u64 value)
{
    u64 mode = value & (APIC_BASE_EN | APIC_BASE_EXTD), was = apic->base & (APIC_BASE_EN | APIC_BASE_EXTD);
    u64 fields = (MASK(PHYS_BITS) & PAGE_MASK) | APIC_BASE_EN | APIC_BASE_BSP |
                 (apic->config.x2apic ? APIC_BASE_EXTD : 0);
    if ((value & ~fields) || mode == APIC_BASE_EXTD)
        return false;
    if (mode == (APIC_BASE_EN | APIC_BASE_EXTD) && was == 0)
        return false; /* disabled to x2APIC */
    if (mode == APIC_BASE_EN && (was & APIC_BASE_EXTD))
        return false; /* x2APIC to xAPIC */
    lapic_set_mode(apic, value);
    return true;
}

bool lapic_msr_read(void *opaque, u32 msr, u64 *value)
{
    struct lapic *apic = opaque;
    switch (msr) {
    case MSR_APIC_BASE:
        *value = apic->base;
        return true;
    case MSR_TSC_DEADLINE:
        if (!apic->config.tsc_deadline)
            return false;
        lapic_timer_sync(apic);
        *value = apic->tsc_deadline;
        return true;
    default:
        return msr >= MSR_X2APIC && msr < MSR_X2APIC + 0x100 && lapic_is_x2apic(apic) &&
               x2apic_read(apic, msr - MSR_X2APIC, value);
    }
}

bool lapic_msr_write(void *opaque, u32 msr, u64 value)
{
    struct lapic *apic = opaque;
    switch (msr) {
    case MSR_APIC_BASE:
        return lapic_write_base(apic, value);
    case MSR_TSC_DEADLINE:
        if (!apic->config.tsc_deadline)
            return false;
        lapic_timer_set_deadline(apic, value);
        return true;
    default:
        return msr >= MSR_X2APIC && msr < MSR_X2APIC + 0x100 && lapic_is_x2apic(apic) &&
               x2apic_write(apic, msr - MSR_X2APIC, value);
    }
}
