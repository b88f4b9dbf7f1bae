/* The stack as PUSH, POP, CALL and RET use it. */
#ifndef RING3_ENGINE_INTERP_PUSH_H
#define RING3_ENGINE_INTERP_PUSH_H

#include "engine/interp/interp.h"

/* Moves rSP to `sp`, as wide as the stack is. */
static inline void stack_set(struct vcpu *v, u64 sp)
{
    if (v->stack_mask == 0xffff)
        store_le16(&v->gpr[RSP], (u16)sp);
    else
        v->gpr[RSP] = sp & v->stack_mask;
}

/* The linear address of `size` bytes at rSP + `delta`. */
static inline u64 stack_at(struct vcpu *v, s64 delta, unsigned size, enum mmu_access access)
{
    return seg_linear(v, SS, (v->gpr[RSP] + (u64)delta) & v->stack_mask, size, access);
}

/* Writes below rSP and then moves it. */
static inline void stack_push_value(struct vcpu *v, unsigned size, u64 value)
{
    interp_store(v, stack_at(v, -(s64)size, size, MMU_WRITE), size, value);
    stack_set(v, v->gpr[RSP] - size);
}

/* Reads `delta` bytes above rSP, which stays. */
static inline u64 stack_peek(struct vcpu *v, s64 delta, unsigned size)
{
    return interp_load(v, stack_at(v, delta, size, MMU_READ), size);
}

#endif
