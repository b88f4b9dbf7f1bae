/* The pair of 8259A interrupt controllers of a PC: master at 20h, slave at A0h on its IR2, ELCR at 4D0h. */
#ifndef RING3_DEVICES_IRQ_PIC_H
#define RING3_DEVICES_IRQ_PIC_H

#include "devices/device.h"

struct pic;

/* `intr` is the master's INT output, a level. */
int pic_create(struct pic **out, const struct device_env *env, struct irq_line intr, struct error *err);
void pic_destroy(struct pic *pic);
void pic_reset(struct pic *pic);

/* Input IRQ n, 0..15. IRQ2 is the cascade: its line is connected to nothing. */
struct irq_line pic_line(struct pic *pic, unsigned n);

/* The INTA sequence: the vector. With no request left it is the spurious one of IR7 (of the chip in
 * question). */
int pic_ack(struct pic *pic);

/* Is INT high? */
bool pic_is_pending(const struct pic *pic);

#endif
