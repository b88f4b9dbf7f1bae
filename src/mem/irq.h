/* Interrupt lines and message-signalled interrupts, as devices see them: a wire, and an address to write to. */
#ifndef RING3_MEM_IRQ_H
#define RING3_MEM_IRQ_H

#include "base/types.h"

/* One wire. Copied by value; an all-zero line is not connected. Machine lock held. */
struct irq_line {
    void (*set)(void *opaque, unsigned pin, bool level);
    void *opaque;
    unsigned pin;
};

static inline void irq_set(const struct irq_line *line, bool level)
{
    if (line->set)
        line->set(line->opaque, line->pin, level);
}

static inline void irq_pulse(const struct irq_line *line)
{
    irq_set(line, true);
    irq_set(line, false);
}

/* Where interrupt messages go (writes to FEEx_xxxxh; Intel SDM vol. 3 10.11). Machine lock held. */
struct msi_sink {
    void (*send)(void *opaque, u64 address, u32 data);
    void *opaque;
};

static inline void msi_send(const struct msi_sink *sink, u64 address, u32 data)
{
    if (sink->send)
        sink->send(sink->opaque, address, data);
}

#endif
