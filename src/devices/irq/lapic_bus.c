/* Who an interrupt message is for: destinations, lowest-priority arbitration, MSIs (SDM vol.
 * 3 10.6.2, 10.11). */
#include "devices/irq/lapic_priv.h"

#include <stdlib.h>

struct lapic_bus {
    struct lapic *apic[LAPIC_MAX];
    unsigned count;
    unsigned next_arbiter; /* ties in an arbitration go round */
    int (*extint_ack)(void *pic);
    void *pic;
    void (*eoi)(void *ioapic, u8 vector);
    void *ioapic;
    struct log *log;
};

int lapic_bus_create(struct lapic_bus **out, const struct device_env *env, struct error *err)
{
    struct lapic_bus *bus = calloc(1, sizeof *bus);
    if (!bus)
        return error_set(err, ENOMEM, "no memory for the APIC bus");
    bus->log = env->log;
    *out = bus;
    return 0;
}

void lapic_bus_destroy(struct lapic_bus *bus)
{
    free(bus);
}

int lapic_bus_add(struct lapic_bus *bus, struct lapic *apic)
{
    if (bus->count == LAPIC_MAX)
        return -ENOSPC;
    bus->apic[bus->count++] = apic;
    return 0;
}

void lapic_bus_remove(struct lapic_bus *bus, struct lapic *apic)
{
    for (unsigned i = 0; i < bus->count; i++)
        if (bus->apic[i] == apic) {
            bus->apic[i] = bus->apic[--bus->count];
            return;
        }
}

void lapic_bus_set_extint(struct lapic_bus *bus, int (*ack)(void *pic), void *pic)
{
    bus->extint_ack = ack;
    bus->pic = pic;
}

void lapic_bus_set_eoi(struct lapic_bus *bus, void (*eoi)(void *ioapic, u8 vector), void *ioapic)
{
    bus->eoi = eoi;
    bus->ioapic = ioapic;
}

int lapic_bus_extint(struct lapic_bus *bus)
{
    return bus->extint_ack ? bus->extint_ack(bus->pic) : -1;
}

void lapic_bus_eoi(struct lapic_bus *bus, u8 vector)
{
    if (bus->eoi)
        bus->eoi(bus->ioapic, vector);
}

static bool lapic_matches_logical(const struct lapic *apic, u32 dest)
{
    if (lapic_is_x2apic(apic)) /* 10.12.10: cluster in the upper half, a bit per member in the lower */
        return dest >> 16 == apic->ldr >> 16 && (dest & apic->ldr & 0xffff);
    u8 mda = (u8)dest, ldr = (u8)(apic->ldr >> 24);
    if (dest > 0xff)
        return false;
    switch (apic->dfr >> 28) {
    case 0xf: /* flat */
        return mda & ldr;
    case 0: /* cluster */
        return mda >> 4 == ldr >> 4 && (mda & ldr & 0xf);
    default:
        return false;
    }
}

static bool lapic_matches(const struct lapic *apic, const struct apic_message *msg)
{
    if (!lapic_is_enabled(apic))
        return false;
    if (msg->dest == (msg->wide ? 0xffffffff : 0xff))
        return true;
    if (msg->logical)
        return lapic_matches_logical(apic, msg->dest);
    return apic->id == msg->dest;
}

/* 10.6.2.4: of all that match and can accept, one of those with the lowest arbitration priority. */
static struct lapic *bus_arbitrate(struct lapic_bus *bus, const struct apic_message *msg)
{
    struct lapic *best = NULL;
    unsigned best_index = 0;
    for (unsigned n = 0; n < bus->count; n++) {
        unsigned i = (bus->next_arbiter + n) % bus->count;
        struct lapic *apic = bus->apic[i];
        if (!lapic_matches(apic, msg) || !(apic->svr & SVR_ENABLED))
            continue;
        if (!best || lapic_apr(apic) < lapic_apr(best)) {
            best = apic;
            best_index = i;
        }
    }
    if (best)
        bus->next_arbiter = best_index + 1;
    return best;
}

bool lapic_bus_send(struct lapic_bus *bus, const struct apic_message *msg)
{
    log_trace(bus->log, TRACE_IRQ, "apic bus: mode %u vector %#x to %s %#x%s", msg->mode, msg->vector,
              msg->logical ? "logical" : "physical", msg->dest, msg->level ? ", level" : "");
    if (msg->mode == APIC_LOWEST || (msg->redirect && msg->mode == APIC_FIXED)) {
        struct lapic *apic = bus_arbitrate(bus, msg);
        return apic && lapic_receive(apic, msg);
    }
    bool accepted = false;
    for (unsigned i = 0; i < bus->count; i++)
        if (lapic_matches(bus->apic[i], msg))
            accepted |= lapic_receive(bus->apic[i], msg);
    return accepted;
}

bool lapic_bus_broadcast(struct lapic_bus *bus, const struct apic_message *msg, const struct lapic *except)
{
    bool accepted = false;
    for (unsigned i = 0; i < bus->count; i++)
        if (bus->apic[i] != except && lapic_is_enabled(bus->apic[i]))
            accepted |= lapic_receive(bus->apic[i], msg);
    return accepted;
}

/* Figures 10-24 and 10-25. */
static bool bus_send_msi(void *opaque, u32 source, u64 address, u32 data)
{
    struct lapic_bus *bus = opaque;
    if (address >> 20 != LAPIC_BASE >> 20) {
        log_trace(bus->log, TRACE_IRQ, "apic bus: MSI to %#llx is not for a processor",
                  (unsigned long long)address);
        return false;
    }
    struct apic_message msg = {
        .dest = address >> 12 & 0xff,
        .redirect = address & MSI_REDIRECT,
        .logical = address & MSI_LOGICAL,
        .vector = (u8)data,
        .mode = data >> 8 & 7,
        .level = data & MSI_LEVEL,
        .deassert = (data & MSI_LEVEL) && !(data & MSI_ASSERT),
    };
    if (msg.mode == APIC_SIPI || msg.deassert)
        return false; /* a start-up cannot come from a device; a level's end is no message to these processors
                       */
    return lapic_bus_send(bus, &msg);
}

struct msi_sink lapic_bus_msi(struct lapic_bus *bus)
{
    return (struct msi_sink){bus_send_msi, bus, MSI_SOURCE_BOARD};
}

static void bus_set_lint(void *opaque, unsigned n, bool level)
{
    struct lapic_bus *bus = opaque;
    for (unsigned i = 0; i < bus->count; i++)
        lapic_set_lint(bus->apic[i], n, level);
}

struct irq_line lapic_bus_lint(struct lapic_bus *bus, unsigned n)
{
    return (struct irq_line){bus_set_lint, bus, n & 1};
}
