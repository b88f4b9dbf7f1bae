/* lower_alu.c's rows of the table. */
#ifndef RING3_ENGINE_JIT_LOWER_ALU_H
#define RING3_ENGINE_JIT_LOWER_ALU_H

#include "engine/jit/lower.h"

/* Any operands in any registers, memory checked by its access: nearly everything. */
bool lower_same(struct translation *t, unsigned i);
bool lower_aligned(struct translation *t, unsigned i, unsigned align); /* memory that must be aligned */
/* Only the instruction itself, its memory operand at T1. Without general registers. */
void lower_operand_t1(struct translation *t, unsigned i);
bool lower_bit_test(struct translation *t, unsigned i);
bool lower_cmpxchg(struct translation *t, unsigned i);
bool lower_cmpxchg_pair(struct translation *t, unsigned i);
bool lower_mov(struct translation *t, unsigned i);
bool lower_xchg(struct translation *t, unsigned i);
bool lower_bswap(struct translation *t, unsigned i);
bool lower_lea(struct translation *t, unsigned i);

#endif
