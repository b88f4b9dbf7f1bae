/* The I/O APIC: 24 pins, version 20h (82093AA with the EOI register of later ones), at FEC00000h. */
#ifndef RING3_DEVICES_IRQ_IOAPIC_H
#define RING3_DEVICES_IRQ_IOAPIC_H

#include "devices/irq/lapic.h"

#define IOAPIC_BASE 0xfec00000ull
#define IOAPIC_PINS 24

struct ioapic;

struct ioapic_config {
    struct lapic_bus *bus; /* it hears EOI broadcasts from here */
    struct msi_sink sink;  /* where its interrupts go */
    bool remapping;        /* `sink` is a remapping unit: entries have bits 55:48 too */
    u8 id;
    /* Bit per pin whose wire is electrically active low (PCI interrupts, on a board whose firmware says so);
     * a line's `true` always means asserted, and only the pin's polarity bit compares with the electrical
     * level. */
    u32 active_low;
};

int ioapic_create(struct ioapic **out, const struct device_env *env, const struct ioapic_config *config,
                  struct error *err);
void ioapic_destroy(struct ioapic *ioapic);
void ioapic_reset(struct ioapic *ioapic);

struct irq_line ioapic_line(struct ioapic *ioapic, unsigned pin);

#endif
