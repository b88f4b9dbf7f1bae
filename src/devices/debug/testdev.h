/*
 * A device for bare-metal test suites, compatible with QEMU's pc-testdev:
 *
 *   E0h-E3h        four bytes that read back what was written, any access size
 *   E4h-E7h        a 32-bit write of an address "flushes" that page (nothing here is stale: no effect)
 *   E8h-EBh        the bytes of E0h, one at a time
 *   2000h-2017h    a byte written to 2000h + n sets interrupt line n to its level (0, or not 0)
 *   FF000000h      64 KiB of memory behind a device: reads back what was written
 */
#ifndef RING3_DEVICES_TESTDEV_H
#define RING3_DEVICES_TESTDEV_H

#include "devices/device.h"

#define TESTDEV_LINES 24

struct testdev;

/* `lines`: IOAPIC pins, of which 0..15 are the ISA interrupts. */
int testdev_create(struct testdev **out, const struct device_env *env,
                   const struct irq_line lines[TESTDEV_LINES], struct error *err);
void testdev_destroy(struct testdev *dev);
void testdev_reset(struct testdev *dev);

#endif
