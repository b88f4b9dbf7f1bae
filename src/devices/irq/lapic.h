/*
 * The local APICs of a machine and the bus that connects them with one another, the IOAPICs and the PIC
 * (Intel SDM vol. 3 chapter 10; AMD APM vol. 2 chapter 16).
 *
 * One local APIC per vCPU: xAPIC and x2APIC, version 14h, six LVT entries (no CMCI), EOI-broadcast
 * suppression. The timer's input clock runs at LAPIC_BUS_HZ, whatever the divider says after it. SMIs are
 * dropped: there is no system management mode.
 */
#ifndef RING3_DEVICES_IRQ_LAPIC_H
#define RING3_DEVICES_IRQ_LAPIC_H

#include "devices/device.h"

#define LAPIC_BUS_HZ 1000000000ull /* the same as the TSC: one tick is a nanosecond of virtual time */
#define LAPIC_BASE   0xfee00000ull

struct lapic;
struct lapic_bus;

/* Fields of an interrupt message (SDM vol. 3 10.11): of the address, and of the data. */
enum msi_field {
    MSI_LOGICAL = BIT(2),
    MSI_REDIRECT = BIT(3),
    MSI_ASSERT = BIT(14),
    MSI_LEVEL = BIT(15),
};

enum apic_delivery {
    APIC_FIXED = 0,
    APIC_LOWEST = 1,
    APIC_SMI = 2,
    APIC_NMI = 4,
    APIC_INIT = 5,
    APIC_SIPI = 6,
    APIC_EXTINT = 7,
};

/* An interrupt message on the bus. */
struct apic_message {
    u32 dest;
    u8 mode; /* enum apic_delivery */
    u8 vector;
    bool logical;  /* logical destination mode, else physical */
    bool wide;     /* `dest` has 32 bits (sent in x2APIC mode), else 8 */
    bool level;    /* level-triggered, else edge */
    bool deassert; /* INIT level de-assert: ignored by these processors */
    bool redirect; /* MSI redirection hint: to one of the addressed, the one of lowest priority */
};

int lapic_bus_create(struct lapic_bus **out, const struct device_env *env, struct error *err);
void lapic_bus_destroy(struct lapic_bus *bus); /* after all local APICs */

/* Sends a message; false if nobody accepted it. */
bool lapic_bus_send(struct lapic_bus *bus, const struct apic_message *msg);
/* Memory writes to FEEx_xxxxh by devices (SDM vol. 3 10.11). */
struct msi_sink lapic_bus_msi(struct lapic_bus *bus);
/* The LINT0 (n = 0, usually the PIC's INTR) or LINT1 (n = 1, NMI) pins of all local APICs. */
struct irq_line lapic_bus_lint(struct lapic_bus *bus, unsigned n);
/* Who answers an ExtINT acknowledge: pic_ack. */
void lapic_bus_set_extint(struct lapic_bus *bus, int (*ack)(void *pic), void *pic);
/* Who hears EOI broadcasts: the IOAPIC. One. */
void lapic_bus_set_eoi(struct lapic_bus *bus, void (*eoi)(void *ioapic, u8 vector), void *ioapic);

struct lapic_config {
    u32 id;
    bool bsp;
    bool x2apic;       /* CPUID says so */
    bool tsc_deadline; /* likewise */
    struct cpu_port port;
};

/* Power-on state. The register page is not in the memory map: each CPU reaches its own through lapic_ops. */
int lapic_create(struct lapic **out, const struct device_env *env, struct lapic_bus *bus,
                 const struct lapic_config *config, struct error *err);
void lapic_destroy(struct lapic *apic);
void lapic_reset(struct lapic *apic);

/* What firmware leaves on the bootstrap processor: enabled, LINT0 ExtINT, LINT1 NMI ("virtual wire mode",
 * MultiProcessor Specification 3.6.2.2). For machines that start without firmware. */
void lapic_set_virtual_wire(struct lapic *apic);

/* The half of the socket that the CPU uses; the `apic` of its calls is the struct lapic. */
extern const struct apic_ops lapic_ops;

#endif
