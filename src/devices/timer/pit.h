/* The 8254 interval timer at 40h, and port 61h (NMI status and control), which gates its channel 2. */
#ifndef RING3_DEVICES_TIMER_PIT_H
#define RING3_DEVICES_TIMER_PIT_H

#include "devices/device.h"

#define PIT_HZ 1193182ull

struct pit;

/* `irq` follows the output of channel 0 (but for the low CLK of modes 2 and 4, see pit.c). */
int pit_create(struct pit **out, const struct device_env *env, struct irq_line irq, struct error *err);
void pit_destroy(struct pit *pit);

/* Nothing counts until it is programmed; channels 0 and 1 have their gates high. */
void pit_reset(struct pit *pit);

#endif
