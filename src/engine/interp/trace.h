/* --trace insn: each instruction with the registers that it changed. */
#ifndef RING3_ENGINE_INTERP_TRACE_H
#define RING3_ENGINE_INTERP_TRACE_H

#include "cpu/cpu.h"

struct trace_state {
    u64 rip, rflags, gpr[16];
    char text[96];
};

void trace_begin(const struct vcpu *v, const struct insn *insn, struct trace_state *before);
void trace_end(const struct vcpu *v, const struct trace_state *before);

#endif
