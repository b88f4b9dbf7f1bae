/*
 * Intel 82093AA I/O APIC (order number 290566), with the EOI register that version 20h has at offset 40h.
 *
 * An edge on a masked pin is lost (data sheet 3.2.4, bit 16); a level is looked at again when its entry is
 * written and when its interrupt ends.
 */
#include "devices/irq/ioapic.h"

#include <stdlib.h>

#define IOAPIC_VERSION 0x20
#define IOAPIC_SIZE    0x1000

enum { SELECT = 0x00, WINDOW = 0x10, EOI = 0x40 };
enum { INDEX_ID = 0, INDEX_VERSION = 1, INDEX_ARBITRATION = 2, INDEX_ENTRIES = 0x10 };

/* A redirection table entry. */
enum {
    RTE_LOGICAL = BIT(11),
    RTE_PENDING = BIT(12), /* delivery status: messages are sent at once, it is never seen set */
    RTE_LOW = BIT(13),
    RTE_REMOTE_IRR = BIT(14),
    RTE_LEVEL = BIT(15),
    RTE_MASKED = BIT(16),
};
#define RTE_REMAPPING 0x00ff000000000000ull
#define RTE_FIELDS    (0xff00000000000000ull | RTE_MASKED | RTE_LEVEL | RTE_LOW | 0xfff)

struct ioapic {
    u64 entry[IOAPIC_PINS];
    u32 lines; /* asserted */
    u32 active_low;
    u8 id, select, power_on_id;
    struct lapic_bus *bus;
    struct msi_sink sink;
    u64 fields; /* bits of an entry that are there */
    struct mem_space *mem;
    struct log *log;
    struct mem_region region;
};

struct ioapic_state {
    u64 entry[IOAPIC_PINS];
    u32 lines;
    u8 id, select;
};

/* Does the pin, as its polarity bit sees it, ask for an interrupt? */
static bool pin_is_active(const struct ioapic *ioapic, unsigned pin)
{
    bool electrical = ((ioapic->lines ^ ioapic->active_low) >> pin) & 1;
    return electrical != !!(ioapic->entry[pin] & RTE_LOW);
}

/* Only fixed and lowest-priority interrupts can be level-triggered (data sheet 3.2.4, bits 10:8). */
static bool pin_is_level(const struct ioapic *ioapic, unsigned pin)
{
    u64 rte = ioapic->entry[pin];
    return (rte & RTE_LEVEL) && (rte >> 8 & 7) <= APIC_LOWEST;
}

/* The message has the entry's bits in other places, so that an entry in a remapping unit's format (VT-d
 * 5.1.5.1: bits 63:48 and 11) becomes a message in its format (5.1.2.2). */
static void pin_send(struct ioapic *ioapic, unsigned pin)
{
    u64 rte = ioapic->entry[pin];
    unsigned mode = rte >> 8 & 7;
    bool level = pin_is_level(ioapic, pin);
    if (mode == APIC_SIPI)
        return; /* reserved */
    log_trace(ioapic->log, TRACE_IRQ, "ioapic: pin %u fires", pin);
    u64 address = LAPIC_BASE | rte >> 48 << 4 | (rte & RTE_LOGICAL ? MSI_LOGICAL : 0);
    u32 data = (u8)rte | mode << 8 | (level ? MSI_LEVEL | MSI_ASSERT : 0);
    if (msi_send(&ioapic->sink, address, data) && level)
        ioapic->entry[pin] |= RTE_REMOTE_IRR;
}

/* A level that is active, not masked and not in service. */
static void pin_check_level(struct ioapic *ioapic, unsigned pin)
{
    if (pin_is_level(ioapic, pin) && pin_is_active(ioapic, pin) &&
        !(ioapic->entry[pin] & (RTE_MASKED | RTE_REMOTE_IRR)))
        pin_send(ioapic, pin);
}

static void ioapic_set(void *opaque, unsigned pin, bool asserted)
{
    struct ioapic *ioapic = opaque;
    u32 bit = (u32)BIT(pin);
    if (asserted == !!(ioapic->lines & bit))
        return;
    ioapic->lines ^= bit;
    if (pin_is_level(ioapic, pin))
        pin_check_level(ioapic, pin);
    else if (pin_is_active(ioapic, pin) && !(ioapic->entry[pin] & RTE_MASKED))
        pin_send(ioapic, pin);
}

struct irq_line ioapic_line(struct ioapic *ioapic, unsigned pin)
{
    return (struct irq_line){ioapic_set, ioapic, MIN(pin, IOAPIC_PINS - 1u)};
}

static void ioapic_end(void *opaque, u8 vector)
{
    struct ioapic *ioapic = opaque;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        if ((ioapic->entry[pin] & RTE_REMOTE_IRR) && (u8)ioapic->entry[pin] == vector) {
            ioapic->entry[pin] &= ~(u64)RTE_REMOTE_IRR;
            pin_check_level(ioapic, pin);
        }
}

static void ioapic_write_entry(struct ioapic *ioapic, unsigned index, u32 value)
{
    unsigned pin = (index - INDEX_ENTRIES) / 2;
    u64 old = ioapic->entry[pin];
    u64 rte = index & 1 ? (u32)old | (u64)value << 32 : (old & ~0xffffffffull) | value;
    ioapic->entry[pin] = (rte & ioapic->fields) | (old & RTE_REMOTE_IRR);
    /* Remote IRR means nothing for an edge, and is clear when the pin becomes level-triggered again. */
    if (!pin_is_level(ioapic, pin))
        ioapic->entry[pin] &= ~(u64)RTE_REMOTE_IRR;
    log_trace(ioapic->log, TRACE_IRQ, "ioapic: pin %u <- %#llx", pin, (unsigned long long)ioapic->entry[pin]);
    pin_check_level(ioapic, pin);
}

static u32 ioapic_read_index(const struct ioapic *ioapic)
{
    unsigned index = ioapic->select;
    switch (index) {
    case INDEX_ID:
    case INDEX_ARBITRATION: /* loaded with the ID */
        return (u32)ioapic->id << 24;
    case INDEX_VERSION:
        return IOAPIC_VERSION | (IOAPIC_PINS - 1) << 16;
    default:
        if (index < INDEX_ENTRIES || index >= INDEX_ENTRIES + 2 * IOAPIC_PINS)
            return 0xffffffff;
        return (u32)(ioapic->entry[(index - INDEX_ENTRIES) / 2] >> (index & 1) * 32);
    }
}

static void ioapic_write_index(struct ioapic *ioapic, u32 value)
{
    unsigned index = ioapic->select;
    if (index == INDEX_ID)
        ioapic->id = value >> 24 & 0xf;
    else if (index >= INDEX_ENTRIES && index < INDEX_ENTRIES + 2 * IOAPIC_PINS)
        ioapic_write_entry(ioapic, index, value);
}

static u64 ioapic_read(void *dev, u64 offset, unsigned size)
{
    const struct ioapic *ioapic = dev;
    u32 value = 0;
    switch (offset & ~3ull) {
    case SELECT:
        value = ioapic->select;
        break;
    case WINDOW:
        value = ioapic_read_index(ioapic);
        break;
    default:
        break;
    }
    return value >> (offset & 3) * 8;
}

/* Registers are written as aligned doublewords (3.0); the select register is a byte, and is taken as one too.
 */
static void ioapic_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct ioapic *ioapic = dev;
    if (offset == SELECT)
        ioapic->select = (u8)value;
    else if (offset == WINDOW && size == 4)
        ioapic_write_index(ioapic, (u32)value);
    else if (offset == EOI)
        ioapic_end(ioapic, (u8)value);
}

static const struct io_ops ioapic_ops = {ioapic_read, ioapic_write, .max_size = 4};

void ioapic_reset(struct ioapic *ioapic)
{
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        ioapic->entry[pin] = RTE_MASKED;
    ioapic->id = ioapic->power_on_id;
    ioapic->select = 0;
}

static void ioapic_save(const void *dev, void *out)
{
    const struct ioapic *ioapic = dev;
    struct ioapic_state *s = out;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        s->entry[pin] = ioapic->entry[pin];
    s->lines = ioapic->lines;
    s->id = ioapic->id;
    s->select = ioapic->select;
}

static int ioapic_check(const void *dev, const void *in, struct error *err)
{
    const struct ioapic *ioapic = dev;
    const struct ioapic_state *s = in;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        if (s->entry[pin] & ~(ioapic->fields | RTE_REMOTE_IRR))
            return error_set(err, EINVAL, "ioapic: entry %u has reserved bits set", pin);
    return 0;
}

static void ioapic_load(void *dev, const void *in)
{
    struct ioapic *ioapic = dev;
    const struct ioapic_state *s = in;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        ioapic->entry[pin] = s->entry[pin];
    ioapic->lines = s->lines;
    ioapic->id = s->id;
    ioapic->select = s->select;
}

static const struct state_field ioapic_fields[] = {
    STATE_ARRAY(struct ioapic_state, entry, u64),
    STATE_FIELD_MAX(struct ioapic_state, lines, MASK(IOAPIC_PINS)),
    STATE_FIELD_MAX(struct ioapic_state, id, 0xf),
    STATE_FIELD(struct ioapic_state, select),
};

static const struct state_desc ioapic_desc = {
    .name = "ioapic",
    .version = 1,
    .size = sizeof(struct ioapic_state),
    .fields = ioapic_fields,
    .field_count = ARRAY_LEN(ioapic_fields),
    .save = ioapic_save,
    .check = ioapic_check,
    .load = ioapic_load,
};

int ioapic_create(struct ioapic **out, const struct device_env *env, const struct ioapic_config *config,
                  struct error *err)
{
    struct ioapic *ioapic = calloc(1, sizeof *ioapic);
    if (!ioapic || state_set_add(env->state, &ioapic_desc, ioapic, 0) < 0) {
        free(ioapic);
        return error_set(err, ENOMEM, "no memory for the I/O APIC");
    }
    ioapic->bus = config->bus;
    ioapic->sink = config->sink;
    ioapic->fields = RTE_FIELDS | (config->remapping ? RTE_REMAPPING : 0);
    ioapic->mem = env->mem;
    ioapic->log = env->log;
    ioapic->active_low = config->active_low & MASK(IOAPIC_PINS);
    ioapic->power_on_id = config->id & 0xf;
    ioapic_reset(ioapic);
    ioapic->region = (struct mem_region){.name = "ioapic",
                                         .gpa = IOAPIC_BASE,
                                         .size = IOAPIC_SIZE,
                                         .kind = MEM_IO,
                                         .ops = &ioapic_ops,
                                         .dev = ioapic};
    mem_map(env->mem, &ioapic->region);
    lapic_bus_set_eoi(ioapic->bus, ioapic_end, ioapic);
    *out = ioapic;
    return 0;
}

void ioapic_destroy(struct ioapic *ioapic)
{
    if (!ioapic)
        return;
    lapic_bus_set_eoi(ioapic->bus, NULL, NULL);
    mem_unmap(ioapic->mem, &ioapic->region);
    free(ioapic);
}
