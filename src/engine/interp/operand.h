/* Memory operands that are read and then written. */
#ifndef RING3_ENGINE_INTERP_OPERAND_H
#define RING3_ENGINE_INTERP_OPERAND_H

#include "engine/interp/interp.h"

/* new = fn(old, operand, flags) */
typedef u64 (*rmw_fn)(u64 old, u64 operand, u64 *flags);

/*
 * Replaces the `size` bytes at `lin` by fn(old, operand, flags) and returns the old value; `locked`:
 * atomically with regard to all other vCPUs. Raises before anything has changed. *flags is only a result if
 * it returns.
 */
u64 interp_rmw(struct vcpu *v, u64 lin, unsigned size, bool locked, rmw_fn fn, u64 operand, u64 *flags);

/* Compare and exchange: if the memory holds *expected, `desired` is stored, else the old value is written
 * back; *expected becomes what was read. True if they were equal. 16 bytes: `size` 16, two words each. */
bool interp_cmpxchg(struct vcpu *v, u64 lin, unsigned size, bool locked, u64 expected[2],
                    const u64 desired[2]);

static inline bool insn_locked(const struct insn *insn)
{
    return insn->prefixes & PREFIX_LOCK;
}

/* 0, 1, 2, 3 for operands of 1, 2, 4, 8 bytes: the index into a handler's functions. */
static inline unsigned size_index(unsigned size)
{
    return (unsigned)__builtin_ctz(size);
}

/* Operand `n` = fn(it, operand) wherever it lies; returns the old value. The flags are committed by the
 * caller. */
u64 interp_modify(struct vcpu *v, const struct insn *insn, unsigned n, rmw_fn fn, u64 operand, u64 *flags);

#endif
