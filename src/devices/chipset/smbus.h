/*
 * The SMBus host controller of the PIIX4 (82371AB data sheet 7.4): 16 ports. Nothing is on the bus: every
 * transfer ends with "device error", as an address that nobody acknowledges does. [lock]
 */
#ifndef RING3_DEVICES_CHIPSET_SMBUS_H
#define RING3_DEVICES_CHIPSET_SMBUS_H

#include "devices/device.h"

#define SMBUS_PORTS 16

struct smbus;

/* `irq`: level; whether it reaches anything is for its owner's configuration registers to say. No ports are
 * mapped yet. */
int smbus_create(struct smbus **out, const struct device_env *env, struct irq_line irq, struct error *err);
void smbus_destroy(struct smbus *bus);
void smbus_reset(struct smbus *bus);

/* The ports are at `base` from now on; 0: nowhere. */
void smbus_move(struct smbus *bus, u16 base);

#endif
