/* One event through the interrupt vector table or the IDT. Private to the CPU core. */
#ifndef RING3_CPU_IDT_H
#define RING3_CPU_IDT_H

#include "cpu/exc.h"

enum interrupt_kind {
    INTERRUPT_FAULT,    /* exceptions, and #DB traps */
    INTERRUPT_EXTERNAL, /* from the APIC, NMI */
    INTERRUPT_SOFT,     /* INT n, INT3, INTO: the gate's DPL counts */
    INTERRUPT_ICEBP,    /* INT1: like an exception */
};

struct interrupt {
    u8 vector;
    enum interrupt_kind kind;
    bool has_error;
    u32 error;
    u64 rip;   /* to push */
    u64 flags; /* to push */
};

/* Raises what goes wrong; v->ext is the caller's. */
void interrupt_deliver(struct vcpu *v, const struct interrupt *in);

/* INT n in virtual-8086 mode with VME: true if it went through the 8086 vector table (SDM vol. 3 20.3.3). */
bool v86_redirect(struct vcpu *v, u8 vector, u64 next_rip);

#endif
