/* Vector instructions on the host's registers. */
#ifndef RING3_ENGINE_JIT_LOWER_VECTOR_H
#define RING3_ENGINE_JIT_LOWER_VECTOR_H

#include "engine/jit/lower.h"

#define AT_FIP ((u32)offsetof(struct vcpu, fpu.fip))
#define AT_FDP ((u32)offsetof(struct vcpu, fpu.fdp))

/* Can lower_vector have this, in this mode? */
bool vector_is_native(const struct insn *insn, unsigned mode);
bool lower_vector(struct translation *t, unsigned i);

/* lower_x87.c: likewise of x87 and MMX instructions. */
bool x87_is_native(const struct insn *insn, unsigned mode);
bool lower_x87(struct translation *t, unsigned i);
/* Emits the note of the last x87 instruction and the last one with an operand: index + 1, or 0. Keeps the
 * flags; uses T0, T1. */
void x87_note(struct translation *t, unsigned insn, unsigned data);
/* Likewise what has not been noted yet: before all but x87 instructions, and where the block ends. */
void x87_flush(struct translation *t);

/* From here on the vector registers (0..15) are the host's. */
void vectors_ensure(struct translation *t, unsigned i);

/* lower_state.c: fldcw gs:[offset]; LDMXCSR (op 2), STMXCSR (3). */
void emit_fldcw(struct emitter *e, u32 offset);
void emit_mxcsr(struct emitter *e, unsigned op, u32 offset);

/*
 * The thunks vectors_load (registers 0..15 and MXCSR), high_load (these, 16..31 and the opmasks),
 * vectors_store (what of these is the host's), x87_load, x87_store. They are called, and change no flag and
 * no general register, but for x87_load RCX. x87_store: when the vectors are not the host's. `n` knows the
 * model's registers.
 */
void state_emit_thunks(struct jit *j, struct emitter *e, const struct native *n);

#endif
