/* REP: the loop that string and port-string instructions share. */
#ifndef RING3_ENGINE_INTERP_STRINGS_H
#define RING3_ENGINE_INTERP_STRINGS_H

#include "engine/interp/interp.h"

/*
 * Executes 1 to `count` iterations, moves rSI and rDI, and returns how many; clears *more if the last one
 * ended the repetition. May raise, but only before its first iteration has changed anything.
 */
typedef u64 (*string_fn)(struct vcpu *v, const struct insn *insn, u64 count, bool *more);

/* With REP as often as rCX says: rCX follows, and RIP stays on the instruction while iterations remain and
 * something else is to be looked at first (SDM vol. 2B, REP). */
void string_repeat(struct vcpu *v, const struct insn *insn, string_fn fn);

static inline u64 string_offset(const struct vcpu *v, const struct insn *insn, unsigned reg)
{
    return v->gpr[reg] & MASK(insn->adsize * 8);
}

/* Moves rSI or rDI by `count` elements in the direction of DF. */
static inline void string_advance(struct vcpu *v, const struct insn *insn, unsigned reg, u64 count)
{
    u64 delta = count * insn->opsize;
    interp_gpr_write(v, reg, insn->adsize, false,
                     v->rflags & FLAG_DF ? v->gpr[reg] - delta : v->gpr[reg] + delta);
}

#endif
