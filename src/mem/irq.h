/* Interrupt lines and message-signalled interrupts, as devices see them: a wire, and an address to write to.
 */
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

/* Where interrupt messages go (writes to FEEx_xxxxh; Intel SDM vol. 3 10.11). Copied by value; whoever sends
 * as a PCI function sets `source` in its copy. Machine lock held. */
struct msi_sink {
    /* False: no processor took it. */
    bool (*send)(void *opaque, u32 source, u64 address, u32 data);
    void *opaque;
    u32 source; /* bus << 8 | device << 3 | function, or MSI_SOURCE_BOARD */
};

/* A chip that is on no PCI bus: its messages carry no requester ID. */
#define MSI_SOURCE_BOARD 0x10000u

static inline bool msi_send(const struct msi_sink *sink, u64 address, u32 data)
{
    return sink->send && sink->send(sink->opaque, sink->source, address, data);
}

/*
 * The two halves of the socket between a CPU and its local APIC: neither includes the other. All calls with
 * the machine lock held, except the cpu_port's, which never take a lock.
 */

/* What the local APIC offers to its CPU. */
struct apic_ops {
    /* The register page (xAPIC mode), offset 0..FFFh. */
    u64 (*read)(void *apic, u64 offset, unsigned size);
    void (*write)(void *apic, u64 offset, unsigned size, u64 value);
    /* IA32_APIC_BASE, x2APIC registers (800h..8FFh) and IA32_TSC_DEADLINE; false: #GP. */
    bool (*msr_read)(void *apic, u32 msr, u64 *value);
    bool (*msr_write)(void *apic, u32 msr, u64 value);
    /* Guest-physical address of the register page, or ~0 while there is none (disabled, x2APIC). */
    u64 (*page)(void *apic);
    /* Takes the interrupt that is due (moves it from IRR to ISR, or acknowledges the PIC for ExtINT): its
     * vector, or -1 if none is due any more. */
    int (*ack)(void *apic);
    /* CR8: task priority bits 7:4. */
    u8 (*cr8_read)(void *apic);
    void (*cr8_write)(void *apic, u8 value);
    /* Sends an edge-triggered IPI to the APIC with this ID, whatever modes they are in; `icr`: vector and
     * delivery mode. False: nobody took it. */
    bool (*send_ipi)(void *apic, u32 id, u32 icr);
    /* INIT at the CPU: the APIC keeps its ID and base. */
    void (*init)(void *apic);
    /* The CPU's TSC offset changed (WRMSR to IA32_TIME_STAMP_COUNTER or IA32_TSC_ADJUST): an armed TSC
     * deadline moves with it. */
    void (*tsc_changed)(void *apic);
};

/* What a CPU offers to its local APIC. Any thread. */
struct cpu_port {
    void (*set_intr)(void *cpu, bool level); /* an interrupt is due (level, follows IRR/ISR/TPR) */
    void (*nmi)(void *cpu);
    void (*init)(void *cpu);
    void (*sipi)(void *cpu, u8 vector); /* start-up at vector << 12 */
    /* Guest TSC minus virtual clock; NULL: 0. Only called from within apic_ops on the CPU's own thread. */
    s64 (*tsc_offset)(void *cpu);
    void *cpu;
};

#endif
